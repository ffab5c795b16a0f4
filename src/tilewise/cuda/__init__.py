"""The same estimators on a GPU: labels, centres and inertia have the bits of the CPU's.

Enters: CuPy arrays and torch's CUDA tensors, or arrays in memory if ``device="cuda"``. Leaves: the
same kinds of arrays, on the device that they came from. This folder is a client of the seam,
`tilewise.engine.backend`, and validates shapes and types of arrays that lie on a device.

Importing it adds a row to the table of places to run and imports nothing else: torch and triton
come with the first array on a device. They are installed by ``pip install "tilewise[cuda]"``.

``_entry``          the row of the table: which arrays are taken
``_arrays``         arrays of other packages as tensors, and back
``_device``         the device itself: whether it will do, its memory, its errors
``_backend``        what the seam asks of a place to run
``_rows``           rows on a device
``_host``           rows of the host, of which some are on a device at a time
``_moves``          rows on their way to a device
``_streams``        the backend of rows that are read in parts
``_facts``          what a device is, each fact with its source
``_plan``           sizes of passes, and why; what they keep in memory
``_tiles``          sizes of kernels
``_passes``         a pass: first look, decision, sums, averages
``_scorer``         the first look
``_decision``       rows that it leaves open
``_sums``           exact sums, as kernels
``_clusters``       sums of the rows of each cluster, and their averages
``_moments``        exact moments of columns
``_gaps``           canonical distances, as kernels
``_pairs``          two sets of rows whose distances are wanted
``_nearest``        the nearest rows, by looks or by all distances
``_search``         a search for them: which way, and what is out of range
``_neighbor_plan``  sizes of such a search, and why
``_matrix``         matrices of distances
``_distances``      distances of two sets of rows, as kernels
``_seeding``        starts: k-means++ and k-means||
``_batches``        mini-batches
``_triton``         Triton, and what all kernels share
"""

from tilewise import engine

from ._entry import Entry, StreamEntry

__all__: list[str] = []

engine.register(StreamEntry())
engine.register(Entry())

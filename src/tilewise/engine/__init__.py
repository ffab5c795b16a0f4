"""One pass over the rows: what enters is checked here, buffers are allocated here.

`backend` is the seam: `algorithms` and `cluster` know its protocols and its table of places to run,
and helpers that compute nothing from rows. All else here is the CPU's side of it.

What enters: `Rows`, or `StreamRows` for `Pass`, `SeedingPass`, `OversamplingPass` and
`column_stats`; float64 centres in the coordinates of the data; a `Plan`. What leaves: labels, sums,
distances. The loops of `algorithms` call these passes; `kernels` run them. Nothing below this line
checks a shape again.

Where all squared distances of a finite row overflow, a pass raises `OutOfRange`; `Scale` is the
power of two with which the same rows can be computed (``ranges``).
"""

from tilewise.engine.backend import (
    BACKENDS,
    AssignmentPass,
    Backend,
    Batches,
    Request,
    RowSet,
    aligned,
    as_rows,
    backend_of,
    computing,
    few_rows,
    on_host,
    open_pair,
    open_rows,
    register,
)
from tilewise.engine.blocks import (
    DistanceBlocks,
    argkmin_blocks,
    argmin_blocks,
    radius_blocks,
)
from tilewise.engine.center_distances import (
    distances,
    farthest_first,
    inertia,
    own_distances,
)
from tilewise.engine.columns import Columns
from tilewise.engine.cpu import Cpu, NoPairs, Sample
from tilewise.engine.matrix import (
    KERNELS,
    LOOKED_AT,
    ProductTerms,
    fill_matrix,
    looked_at,
    plan_matrix,
    product_terms,
)
from tilewise.engine.minibatch import BatchPass, DrawnBatches, Draws, squared_moves
from tilewise.engine.neighbors import argkmin, radius
from tilewise.engine.oversampling import OversamplingPass, draws, hashed
from tilewise.engine.passes import (
    Bins,
    Pass,
    assign,
    assign_inertia,
    open_sums,
    weight_sizes,
)
from tilewise.engine.ranges import (
    OutOfRange,
    Scale,
    extent,
    refuse_out_of_range,
)
from tilewise.engine.seeding import (
    PartSeeding,
    SeedingPass,
    first_row,
    locate_among,
    most_trials,
    potential_bin,
    scaled_weights,
    total_gains,
    weight_exponent,
)
from tilewise.engine.stats import Moments, Stats, column_stats, largest_finite, moments_of
from tilewise.engine.stream import StreamReport, StreamRows, count_rows
from tilewise.engine.streambatch import ReadBatches, batch_bytes
from tilewise.engine.streaming import CpuStreams, sampled, weights_of
from tilewise.kernels._rows import Rows
from tilewise.kernels._single import SingleRows, labels_of

__all__ = [
    "BACKENDS", "KERNELS", "LOOKED_AT", "AssignmentPass", "Backend", "BatchPass", "Batches", "Bins",
    "Columns", "Cpu", "CpuStreams", "DistanceBlocks", "DrawnBatches", "Draws", "Moments", "NoPairs",
    "OutOfRange", "OversamplingPass", "PartSeeding", "Pass", "ProductTerms", "ReadBatches",
    "Request", "RowSet", "Rows", "Sample", "Scale", "SeedingPass", "SingleRows", "Stats",
    "StreamReport", "StreamRows", "aligned", "argkmin", "argkmin_blocks", "argmin_blocks",
    "as_rows", "assign", "assign_inertia", "backend_of", "batch_bytes", "column_stats", "computing",
    "count_rows", "distances", "draws", "extent", "farthest_first", "few_rows", "fill_matrix",
    "first_row", "hashed", "inertia", "labels_of", "largest_finite", "locate_among", "looked_at",
    "moments_of", "most_trials", "on_host", "open_pair", "open_rows", "open_sums", "own_distances",
    "plan_matrix", "potential_bin", "product_terms", "radius", "radius_blocks",
    "refuse_out_of_range", "register", "sampled", "scaled_weights", "squared_moves", "total_gains",
    "weight_exponent", "weight_sizes", "weights_of",
]  # fmt: skip

"""Rows that are not in memory, behind one small protocol.

What enters: paths, objects of pyarrow, zarr, h5py, dask and xarray, callables and iterators.
`READERS` has a row for each kind, and `as_source` looks it up. What leaves: `RowSource` objects,
which fill buffers with rows of native float32 or float64 and can locate a row in its file; and
`Prefetch`, whose thread fills the buffers ahead. Shapes, types, nulls, changed and truncated files
are checked here. Every failure is a `SourceError` that names file, shard and row in printable text.
NaN and infinity pass: the code that computes with the rows checks for them and calls `locate`.

A source has names of columns if its rows have them, and parts of a source are joined by name.
Columns that hold the index of a pandas data frame are not features. Estimators compare the names.

Besides `out`, a source holds at most `held_bytes`: a staging buffer, a decoded chunk or one record
batch. This folder needs NumPy only. It is below `engine`, beside `kernels`, and imports no other
folder. A library that reads files is imported when its reader is used; recognising an object
imports nothing.

`Archive` and `map_npy` read whole arrays of ``.npz`` and ``.npy`` files with the same checks, for
model files and checkpoints.
"""

from tilewise.sources._archive import Archive
from tilewise.sources._batches import BatchSource
from tilewise.sources._buffers import aligned_empty
from tilewise.sources._errors import MissingLibrary, SourceError
from tilewise.sources._headers import Header, map_npy
from tilewise.sources._names import column_names, index_columns, names_of, with_columns
from tilewise.sources._npy import NpySource
from tilewise.sources._prefetch import Prefetch
from tilewise.sources._protocol import RowSource, Source
from tilewise.sources._readers import READERS, Options, Reader, as_source, read_table, register
from tilewise.sources._sequential import SequentialSource
from tilewise.sources._shards import Shards

__all__ = [
    "READERS", "Archive", "BatchSource", "Header", "MissingLibrary", "NpySource", "Options",
    "Prefetch", "Reader", "RowSource", "SequentialSource", "Shards", "Source", "SourceError",
    "aligned_empty", "as_source", "column_names", "index_columns", "map_npy", "names_of",
    "read_table", "register", "with_columns",
]  # fmt: skip

"""Rows that lie somewhere else than in memory, behind one small protocol.

What enters: paths, objects of pyarrow, zarr, h5py, dask and xarray, callables and iterators;
whatever `as_source` is given and `READERS` has a row for. What leaves: `RowSource` objects, which
fill buffers with rows of native float32 or float64 and say where a row came from, and `Prefetch`,
which has a thread fill them ahead. Shapes, types, nulls, changed and truncated files are checked
here, and every failure is a `SourceError` that names file, shard and row; its text is printable
whatever a file is called or holds. NaN and infinity pass: who computes with the rows looks for
them, and asks `locate` where they were.

Names of columns are part of a source where its rows have any, and parts of a source are joined by
them. Columns that hold the index of a pandas data frame are no features. Who fits and predicts
compares the names.

Beside `out`, a source holds at most `held_bytes`: a staging buffer, a decoded chunk or one record
batch. This room knows NumPy alone; it stands below `engine`, beside `kernels`, and imports no
other room. Libraries that read files are imported by the rows of the table that need them, when
they are used: recognising an object imports nothing.

`Archive` and `map_npy` read whole arrays of ``.npz`` and ``.npy`` files with the same checks, for
the rooms above: model files and checkpoints.
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

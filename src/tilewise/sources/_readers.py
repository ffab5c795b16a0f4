"""The table of what may be read, and `as_source`, which looks it up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import FloatMatrix
from tilewise.sources._arrow import BatchReaderSource, TableSource, open_tables
from tilewise.sources._batches import BatchSource
from tilewise.sources._chunks import Hdf5Source, ZarrSource
from tilewise.sources._errors import SourceError, fault
from tilewise.sources._labels import xarray_names
from tilewise.sources._names import is_a, names_of, with_columns
from tilewise.sources._npy import open_memmap
from tilewise.sources._parquet import open_dataset
from tilewise.sources._partitions import (
    DASK_FRAMES,
    DASK_SERIES,
    DELAYED,
    DaskFrameSource,
    open_dask,
    open_delayed,
    open_xarray,
    refuse_series,
)
from tilewise.sources._paths import open_path, open_paths
from tilewise.sources._protocol import MEMBERS, Options, RowSource, wanted_dtype


@dataclass(frozen=True)
class Reader:
    """One kind of source.

    Attributes
    ----------
    name : str
        What the kind is called.
    recognises : callable
        ``recognises(X, options)``: whether this reader takes it. It must not import anything.
    opener : callable
        ``opener(X, options)`` returns the `RowSource`.
    """

    name: str
    recognises: Callable[[Any, Options], bool]
    opener: Callable[[Any, Options], RowSource]


def _is_path(X):
    return isinstance(X, (str, os.PathLike))


def _is_paths(X):
    if not isinstance(X, (list, tuple)) or not X or not _is_path(X[0]):
        return False
    for index, member in enumerate(X):
        if not _is_path(member):
            raise SourceError(
                f"a list that begins with a path must hold only paths, but item {index} is "
                f"{type(member).__name__}; open them one by one, or write arrays to files"
            )
    return True


def _is_source(X):
    return all(hasattr(X, member) for member in MEMBERS)


def _of(*names):
    return lambda X, options: is_a(X, *names)


def _list_of(*names):
    return lambda X, options: isinstance(X, (list, tuple)) and len(X) > 0 and is_a(X[0], *names)


#: Kinds of sources. The first row that recognises an object has it. Libraries' objects come before
#: callables.
READERS: list[Reader] = [
    # A delayed object claims to have every attribute, those of a source too.
    Reader("delayed", _of(*DELAYED), lambda X, options: open_delayed([X], options)),
    Reader("source", lambda X, _: _is_source(X), lambda X, _: X),
    Reader("path", lambda X, _: _is_path(X), open_path),
    Reader("paths", lambda X, _: _is_paths(X), open_paths),
    Reader(
        "memmap",
        lambda X, options: options.streamed and isinstance(X, np.memmap),
        lambda X, options: open_memmap(X, options.dtype),
    ),
    Reader("pyarrow dataset", _of("pyarrow.Dataset"), open_dataset),
    Reader("pyarrow table", _of("pyarrow.Table", "pyarrow.RecordBatch"), TableSource),
    Reader("pyarrow tables", _list_of("pyarrow.Table", "pyarrow.RecordBatch"), open_tables),
    Reader("pyarrow reader", _of("pyarrow.RecordBatchReader"), BatchReaderSource),
    Reader("zarr", _of("zarr.Array"), ZarrSource),
    Reader("hdf5", _of("h5py.Dataset"), Hdf5Source),
    Reader("dask", _of("dask.Array"), open_dask),
    Reader(
        "xarray",
        lambda X, _: is_a(X, "xarray.DataArray") and is_a(X.data, "dask.Array"),
        open_xarray,
    ),
    Reader("dask frame", _of(*DASK_FRAMES), DaskFrameSource),
    Reader("dask series", _of(*DASK_SERIES), refuse_series),
    Reader("list of delayed", _list_of(*DELAYED), open_delayed),
    Reader(
        "callable",
        lambda X, _: callable(X) and not isinstance(X, type) and not hasattr(X, "__array__"),
        lambda X, options: BatchSource(X, n_features=options.n_features, dtype=options.dtype),
    ),
    Reader(
        "iterator",
        lambda X, _: isinstance(X, Iterator),
        lambda X, options: BatchSource(X, n_features=options.n_features, dtype=options.dtype),
    ),
]


def register(reader: Reader, *, before: str = "callable") -> None:
    """Add a kind of source to the table.

    Parameters
    ----------
    reader : Reader
        Its row.
    before : str, default="callable"
        Name of the row in front of which it is put: the first that recognises an object has it.

    Raises
    ------
    ValueError
        If there is a reader of that name already, or none named `before`.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.sources import READERS, BatchSource, Reader, as_source, register
    >>> class Sensor:
    ...     def samples(self):
    ...         yield np.ones((2, 3))
    >>> register(Reader("sensor", lambda X, options: isinstance(X, Sensor),
    ...                 lambda X, options: BatchSource(X.samples)))
    >>> as_source(Sensor()).n_features
    3
    >>> READERS[:] = [reader for reader in READERS if reader.name != "sensor"]
    """
    names = [known.name for known in READERS]
    if reader.name in names:
        raise ValueError(f"there is a reader named {reader.name!r} already")
    READERS.insert(names.index(before), reader)


# Rows that are read at a time of a table that does not know how many it has.
_TABLE_ROWS = 1 << 14

# Tables that have names of columns and that NumPy can convert, but without the names.
_TABLES = ("pyarrow.Table", "pyarrow.RecordBatch", *DASK_FRAMES)


def read_table(X: object) -> tuple[FloatMatrix | None, tuple[str, ...] | None]:
    """Read a table that is no array, for functions that want all rows in memory.

    Parameters
    ----------
    X : object
        Whatever a function was given.

    Returns
    -------
    rows : numpy.ndarray of shape (rows, n_features), or None
        None if `X` is no Arrow table, no dask data frame and no array of xarray.
    names : tuple of str or None
        Names of the columns.

    Raises
    ------
    SourceError
        If the table does not hold rows of real numbers.
    """
    if is_a(X, "xarray.DataArray") and X.ndim == 2:
        return np.asarray(X), xarray_names(X)
    if not is_a(X, *_TABLES):
        return None, None
    source = as_source(X)
    if isinstance(source, TableSource):
        return source.all_rows(), names_of(source)
    if source.n_rows is not None:
        rows = np.empty((source.n_rows, source.n_features), source.dtype)
        source.read(0, rows)
        return rows, names_of(source)
    parts = []
    while not parts or len(parts[-1]) == _TABLE_ROWS:
        part = np.empty((_TABLE_ROWS, source.n_features), source.dtype)
        count = source.read(_TABLE_ROWS * len(parts), part)
        parts.append(part[:count].copy() if count < _TABLE_ROWS else part)
    return np.concatenate(parts), names_of(source)


def as_source(
    X: object,
    *,
    n_features: int | None = None,
    dtype: DTypeLike | None = None,
    streamed: bool = False,
    columns: Iterable[str] | None = None,
) -> RowSource | None:
    """Return a source for rows that are not in memory, or None for what is.

    Parameters
    ----------
    X : object
        - a path: ``.npy``, ``.parquet``, ``.h5`` or ``.hdf5`` (``"file.h5::dataset"``),
          ``.zarr``, or a directory of ``.npy`` or ``.parquet`` files, in the order of their names;
        - a list or tuple of paths: shards;
        - ``pyarrow`` datasets, tables (also a list of them) and record-batch readers,
          ``zarr.Array``, ``h5py.Dataset``;
        - dask arrays and data frames, arrays of xarray over those of dask, a list of
          ``dask.delayed`` objects or of futures;
        - a callable without arguments that returns an iterable of batches, arrays or data frames
          of shape (any, n_features), anew at each call;
        - an iterator of batches, which can be read once;
        - a `RowSource`, which is returned as it is.
    n_features : int, optional
        Columns, for batches; without it the first batch is asked.
    dtype : dtype-like, optional
        Deliver float32 or float64 whatever is stored. By default float32 stays, and all else
        becomes float64. A number that float32 has no room for is an error.
    streamed : bool, default=False
        Read the file behind a ``numpy.memmap`` by position; otherwise it is an array.
    columns : list of str, optional
        Names of the columns to read, in this order. By default all, except those that hold the
        index of a pandas data frame.

    Returns
    -------
    RowSource or None
        None if `X` is in memory: an array, a list of numbers, a data frame, a sparse matrix.

    Raises
    ------
    SourceError
        If it cannot be read, or does not hold rows of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.sources import as_source
    >>> as_source([[1.0, 2.0]]) is None
    True
    >>> source = as_source(np.ones((3, 2), "f4") for _ in range(4))
    >>> source.n_features, source.dtype.name, source.n_rows, source.one_shot
    (2, 'float32', None, True)
    """
    columns = None if columns is None else tuple(columns)
    options = Options(n_features, wanted_dtype(dtype), streamed, columns)
    for reader in READERS:
        if reader.recognises(X, options):
            source = reader.opener(X, options)
            break
    else:
        return None
    if columns is not None and not getattr(source, "selects", False):
        source = with_columns(source, columns)
    if n_features is not None and source.n_features != n_features:
        raise fault(source.name, f"{source.n_features} columns, but {n_features} are expected")
    if dtype is not None and source.dtype != options.dtype:
        raise fault(source.name, f"delivers {source.dtype}, but {options.dtype} is expected")
    return source

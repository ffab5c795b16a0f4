"""The table of what may be read, and `as_source`, which looks it up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import FloatDtype
from tilewise.sources._arrow import BatchReaderSource, TableSource
from tilewise.sources._batches import BatchSource
from tilewise.sources._chunks import Hdf5Source, ZarrSource
from tilewise.sources._dask import open_dask
from tilewise.sources._errors import SourceError
from tilewise.sources._npy import open_memmap
from tilewise.sources._parquet import open_dataset
from tilewise.sources._paths import open_path, open_paths
from tilewise.sources._protocol import MEMBERS, RowSource, wanted_dtype


@dataclass(frozen=True)
class Options:
    """What `as_source` was asked for beside the object itself."""

    n_features: int | None = None
    dtype: FloatDtype | None = None
    streamed: bool = False
    columns: tuple[str, ...] | None = None


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


def class_names(X):
    """Return "package.Name" for the classes of an object, without importing the package."""
    return {f"{str(kind.__module__).partition('.')[0]}.{kind.__name__}" for kind in type(X).__mro__}


def _is_path(X):
    return isinstance(X, (str, os.PathLike))


def _is_paths(X):
    if not isinstance(X, (list, tuple)) or not X or not _is_path(X[0]):
        return False
    for index, member in enumerate(X):
        if not _is_path(member):
            raise SourceError(
                f"a list that begins with a path must hold nothing else; at {index} is "
                f"{type(member).__name__}: open them one by one, or write arrays to files"
            )
    return True


def _is_source(X):
    return all(hasattr(X, member) for member in MEMBERS)


def _of(*names):
    names = frozenset(names)
    return lambda X, options: not names.isdisjoint(class_names(X))


#: Kinds of sources. The first row that recognises an object has it. Libraries' objects come before
#: callables.
READERS: list[Reader] = [
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
    Reader("pyarrow reader", _of("pyarrow.RecordBatchReader"), BatchReaderSource),
    Reader("zarr", _of("zarr.Array"), ZarrSource),
    Reader("hdf5", _of("h5py.Dataset"), Hdf5Source),
    Reader("dask", _of("dask.Array"), open_dask),
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
        - ``pyarrow`` datasets, tables and record-batch readers, ``zarr.Array``,
          ``h5py.Dataset``, ``dask.array.Array``;
        - a callable without arguments that returns an iterable of batches, arrays of shape
          (any, n_features), anew at each call;
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
        Of Arrow data: the columns to read, in this order. By default all.

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
    if n_features is not None and source.n_features != n_features:
        raise SourceError(
            f"{source.name}: {source.n_features} columns, but {n_features} are expected",
            source=source.name,
        )
    if dtype is not None and source.dtype != options.dtype:
        raise SourceError(
            f"{source.name}: delivers {source.dtype}, but {options.dtype} is expected",
            source=source.name,
        )
    return source

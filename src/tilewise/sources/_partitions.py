"""Rows of dask collections and of delayed objects, computed a partition at a time."""

import numpy as np

from tilewise.sources._batches import BatchSource
from tilewise.sources._dask import DaskSource, computing
from tilewise.sources._errors import SourceError, fault
from tilewise.sources._labels import xarray_names
from tilewise.sources._names import frame_names, is_a
from tilewise.sources._protocol import check_shape, delivered

#: Names of the classes, by the packages that have had them.
DASK_FRAMES = ("dask.DataFrame", "dask_expr.DataFrame")
DASK_SERIES = ("dask.Series", "dask_expr.Series")
DELAYED = ("dask.Delayed", "distributed.Future")


class PartitionSource(BatchSource):
    """Rows of partitions that are computed one after the other, again in each pass.

    A subclass has ``_parts()``, an iterator of objects to compute, and `_computed`, the function
    that computes one to an array or a data frame.
    """

    block = "partition"

    def __init__(self, name, n_features=None, dtype=None):
        super().__init__(self._partitions, n_features=n_features, dtype=dtype, name=name)

    def _partitions(self):
        for part in self._parts():
            yield self._computed(part)


class UnsizedDaskSource(PartitionSource):
    """Rows of a ``dask.array.Array`` whose block sizes are known only when they are computed."""

    block = "block"

    def __init__(self, array, options):
        name = f"dask array {array.name}"
        check_shape(array.shape, name)
        if array.numblocks[1] != 1 or np.isnan(array.shape[1]):
            raise fault(
                name,
                "its chunk sizes are not known and several chunks are side by side; call its "
                "compute_chunk_sizes() first",
            )
        self._array, self._computed = array, computing(array)
        self.row_bytes = array.shape[1] * array.dtype.itemsize
        super().__init__(name, array.shape[1], delivered(array.dtype, options.dtype, name))

    def _parts(self):
        return (self._array.blocks[index, 0] for index in range(self._array.numblocks[0]))

    def fingerprint(self):
        """Return the name of the array, which dask derives from its inputs."""
        return self._uncounted("dask", name=self._array.name)


class DaskFrameSource(PartitionSource):
    """Rows of a ``dask.dataframe.DataFrame``, whose partitions may have columns in any order."""

    selects = True

    def __init__(self, frame, options):
        name = f"dask data frame of {frame.npartitions} partitions"
        if options.columns is not None:
            frame = self._selected(frame, list(options.columns), name)
        self._frame = frame
        self._computed = computing(frame)
        stored = [
            stored_dtype(*pair, name) for pair in zip(frame.columns, frame.dtypes, strict=True)
        ]
        if not stored:
            raise fault(name, "there are no columns; choose at least one")
        narrow = all(kind == np.float32 for kind in stored)
        dtype = delivered(np.float32 if narrow else np.float64, options.dtype, name)
        self.row_bytes = sum(kind.itemsize for kind in stored)
        super().__init__(name, len(stored), dtype)
        self.feature_names = frame_names(frame)
        self._first = "the data frame"

    def _parts(self):
        return (self._frame.partitions[index] for index in range(self._frame.npartitions))

    @staticmethod
    def _selected(frame, columns, name):
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise fault(name, f"there is no column named {missing[0]!r}")
        return frame[columns]

    def fingerprint(self):
        """Return the name of the frame, which dask derives from its inputs."""
        return {
            "kind": "dask frame",
            "name": str(self._frame._name),
            "columns": list(map(str, self._frame.columns)),
            "dtype": self.dtype.str,
        }


class DelayedSource(PartitionSource):
    """Rows of ``dask.delayed`` objects, or of futures, each an array or a data frame."""

    def __init__(self, parts, options):
        self._list = list(parts)
        self._computed = computing(self._list)
        name = f"{len(self._list)} parts of {type(self._list[0]).__name__}"
        super().__init__(name, options.n_features, options.dtype)

    def _parts(self):
        return iter(self._list)

    def fingerprint(self):
        """Return the keys of the parts, which name what is computed."""
        return super().fingerprint() | {
            "kind": "delayed",
            "keys": [str(part.key) for part in self._list],
        }


def stored_dtype(column, kind, name):
    """Return the type of the numbers of a column of a data frame; one of no numbers is refused."""
    if getattr(kind, "kind", "O") not in "fiub":
        raise fault(
            name,
            f"column {column!r} is of type {kind}, not numbers; leave it out, "
            f"frame.drop(columns=[{column!r}])",
        )
    # Columns of pandas' own types, and sparse ones, say what NumPy calls their numbers.
    return np.dtype(getattr(kind, "numpy_dtype", getattr(kind, "subtype", kind)))


def open_xarray(array, options):
    """Open an ``xarray.DataArray`` in chunks, with the names of its columns."""
    source = open_dask(array.data, options)
    source.feature_names = xarray_names(array)
    return source


def open_dask(array, options):
    """Open a dask array, whether or not its chunk sizes are known."""
    unknown = any(np.isnan(size) for sizes in array.chunks for size in sizes)
    return (UnsizedDaskSource if unknown else DaskSource)(array, options)


def open_delayed(parts, options):
    """Open delayed objects as partitions."""
    for index, part in enumerate(parts):
        if not is_a(part, *DELAYED):
            raise SourceError(
                "a list that begins with a delayed object must hold only such objects, but item "
                f"{index} is {type(part).__name__}; wrap it with dask.delayed"
            )
    return DelayedSource(parts, options)


def refuse_series(series, options):
    """Refuse a single column, before anything is computed."""
    raise SourceError(
        "a dask Series is one column, not rows of features; pass a data frame, series.to_frame()"
    )

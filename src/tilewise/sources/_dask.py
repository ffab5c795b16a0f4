"""Rows of dask arrays, computed a block at a time in the reading thread.

What a cluster holds already is the exception: blocks that depend on futures are computed by the
cluster that has them, and come from there.
"""

import contextlib
import sys
from bisect import bisect_right

import numpy as np

from tilewise._numbers import readable
from tilewise.sources._chunks import ChunkedSource
from tilewise.sources._errors import SourceError
from tilewise.sources._labels import xarray_names
from tilewise.sources._names import is_a
from tilewise.sources._protocol import check_shape, convert, delivered
from tilewise.sources._sequential import SequentialSource


class DaskSource(ChunkedSource):
    """Rows of a ``dask.array.Array`` whose chunk sizes are known.

    A block is computed again in each pass. Blocks that share their rows are kept together.

    Parameters
    ----------
    array : dask.array.Array of shape (rows, columns)
        What to compute.
    options : Options
        The dtype that was asked for.
    """

    def __init__(self, array, options):
        self._array = array
        name = f"dask array {array.name}"
        check_shape(array.shape, name)
        rows, columns = (
            np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).tolist()
            for sizes in array.chunks
        )
        super().__init__(name, array.shape, array.dtype, rows, columns, options.dtype, keep=True)
        self._computed = computing(array)

    def _load(self, rows, columns):
        # Several blocks may begin at one row; all but the last of them are empty.
        row = bisect_right(self._edges, rows.start) - 1
        column = self._columns.index(columns)
        values = self._computed(self._array.blocks[row, column])
        return readable(values, f"block ({row}, {column}) of dask array {self._array.name}")

    def fingerprint(self):
        """Return the name of the array, which dask makes from what went into it."""
        return {
            "kind": "dask",
            "name": self._array.name,
            "shape": [self.n_rows, self.n_features],
            "dtype": self.dtype.str,
        }


class UnsizedDaskSource(SequentialSource):
    """Rows of a ``dask.array.Array`` that learns how long its blocks are by computing them.

    Parameters
    ----------
    array : dask.array.Array of shape (unknown, columns)
        All columns in one block.
    options : Options
        The dtype that was asked for.
    """

    block = "block"

    def __init__(self, array, options):
        super().__init__()
        self._array = array
        self.name = f"dask array {array.name}"
        check_shape(array.shape, self.name)
        if array.numblocks[1] != 1 or np.isnan(array.shape[1]):
            raise SourceError(
                f"{self.name}: the sizes of its chunks are not known and there are several side "
                "by side; call its compute_chunk_sizes() first",
                source=self.name,
            )
        self.n_features = array.shape[1]
        self.dtype = delivered(array.dtype, options.dtype, self.name)
        self.row_bytes = self.n_features * array.dtype.itemsize
        self._computed = computing(array)

    def _blocks(self, start):
        row = start
        for index in range(self._array.numblocks[0]):
            values = self._computed(self._array.blocks[index, 0])
            values = readable(values, f"block ({index}, 0) of dask array {self._array.name}")
            if (
                not isinstance(values, np.ndarray)
                or values.ndim != 2
                or values.shape[1] != self.n_features
            ):
                raise SourceError(
                    f"{self.name}: block {index} (from row {row} on) came as "
                    f"{getattr(values, 'shape', type(values))} where rows of {self.n_features} "
                    "were promised; make the chunks that they say",
                    source=self.name,
                    row=row,
                )
            self.held_bytes = max(self.held_bytes, values.nbytes)
            row += values.shape[0]
            yield values

    def _rows_of(self, block):
        return block.shape[0]

    def _copy(self, block, start, out, first):
        convert(out, block[start : start + out.shape[0]], self, first)

    def fingerprint(self):
        """Return the name of the array, which dask makes from what went into it."""
        return {
            "kind": "dask",
            "name": self._array.name,
            "n_features": self.n_features,
            "dtype": self.dtype.str,
        }


def computing(collection):
    """Return the function that computes a part of a collection: a block, a partition, a future.

    It computes in the thread that reads ahead, whatever scheduler is set. Parts that depend on
    futures are left to their cluster. Called in the thread that opens the source: if that is a
    task of a worker, its thread is given back, for the cluster may need it to compute the parts.
    """
    distributed = sys.modules.get("distributed")
    futures = [] if distributed is None else distributed.futures_of(collection)
    if not futures:
        return lambda part: part.compute(scheduler="synchronous")
    try:
        distributed.get_worker()
    except ValueError:
        client = futures[0].client
    else:
        client = distributed.get_client()
        with contextlib.suppress(Exception):  # it has been given back before
            distributed.secede()

    def compute(part):
        if is_a(part, "distributed.Future"):
            return part.result()
        return part.compute(scheduler=client.get)

    return compute


def open_xarray(array, options):
    """Open an ``xarray.DataArray`` in chunks, with the names of its columns."""
    source = open_dask(array.data, options)
    source.feature_names = xarray_names(array)
    return source


def open_dask(array, options):
    """Open a dask array, whether or not its chunk sizes are known."""
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        return UnsizedDaskSource(array, options)
    return DaskSource(array, options)

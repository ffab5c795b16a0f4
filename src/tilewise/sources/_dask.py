"""Rows of dask arrays, computed a block at a time in the reading thread.

There is one exception: blocks that depend on futures are computed by the cluster that holds them.
"""

import contextlib
import sys
from bisect import bisect_right

import numpy as np

from tilewise._numbers import readable
from tilewise.sources._chunks import ChunkedSource
from tilewise.sources._names import is_a
from tilewise.sources._protocol import check_shape


class DaskSource(ChunkedSource):
    """Rows of a ``dask.array.Array`` whose chunk sizes are known.

    A block is computed again in each pass. Blocks that share their rows are kept together.
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
        """Return the name of the array, which dask derives from its inputs."""
        return self._identified("dask", name=self._array.name)


def computing(collection):
    """Return the function that computes a part of a collection: a block, a partition, a future.

    It computes in the thread that reads ahead, whatever scheduler is set. Parts that depend on
    futures are computed by their cluster. If the caller is a task of a worker, the task gives its
    thread back, because the cluster may need it to compute the parts.
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

"""Blocks of float64 distances, and what neighbour searches make of them."""

import numpy as np
import scipy.sparse as sp

from tilewise.engine import Rows, fill_matrix, plan_matrix
from tilewise.engine.blocks import TopK
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for

from . import _door
from ._validation import result_dtype

__all__ = [
    "DoorBlocks", "KernelBlocks", "argmin_blocks", "nearest_blocks", "nearest_kernel_blocks",
    "radius_blocks",
]  # fmt: skip

# Bytes of one block of distances: what a core has in L2, so that it is still there when it is
# read again.
_BLOCK_BYTES = 2**20
# Candidates that are held at the same time.
_CANDIDATE_BYTES = 2**24


class KernelBlocks:
    """Values of a metric of the table that rank neighbours, a block at a time."""

    def __init__(self, X, Y, terms, n_threads=None):
        # float32 rows on both sides are widened as they are read.
        wide = np.float64 if result_dtype(X, Y) == np.float64 else None
        self.rows_x = Rows(X, dtype=wide)
        self.rows_y = self.rows_x if Y is X else Rows(Y, dtype=wide)
        self.shape = X.shape[0], Y.shape[0]
        self._largest_first = terms.row.largest_first
        self._what = {"kernel": terms.surrogate, "p": terms.p, "weights": terms.weights}
        self._n_threads = n_threads
        self._plans = {}

    def __call__(self, x_first, y_first, out):
        plan = self._plans.get(out.shape)
        if plan is None:
            plan = self._plans[out.shape] = plan_matrix(
                self.rows_x, self.rows_y, out.dtype, shape=out.shape,
                n_threads=self._n_threads, **self._what,
            )  # fmt: skip
        at = {"x_first": x_first, "y_first": y_first}
        fill_matrix(self.rows_x, self.rows_y, out, plan=plan, **at, **self._what)
        if self._largest_first:
            np.negative(out, out=out)


class DoorBlocks:
    """Distances from behind the door, a block at a time."""

    def __init__(self, X, Y, metric, parameters):
        parameters = _door.derived_parameters(X, Y, metric, parameters)
        self.X, self.Y = _door.as_metric_wants(X, Y, metric)
        self.metric, self.parameters = metric, parameters
        self.shape = X.shape[0], Y.shape[0]

    def _take(self, X, first, count):
        rows = X[first : first + count]
        # A callable sees sparse rows, as with scikit-learn; scipy's metrics know dense ones.
        return rows.toarray() if sp.issparse(rows) and isinstance(self.metric, str) else rows

    def __call__(self, x_first, y_first, out):
        x = self._take(self.X, x_first, out.shape[0])
        y = self._take(self.Y, y_first, out.shape[1])
        out[...] = _door.block(x, y, self.metric, self.parameters)


def _tiles(shape):
    """Row and column ranges of the blocks: short ones of whole rows where those fit."""
    n_x, n_y = shape
    width = min(n_y, 8192)
    height = max(1, min(n_x, _BLOCK_BYTES // 8 // width))
    for i in range(0, n_x, height):
        yield i, min(height, n_x - i), [(j, min(width, n_y - j)) for j in range(0, n_y, width)]


def nearest_blocks(blocks, k):
    """Values (n, k) and indices of the k smallest of each row; ties to the lowest index."""
    n_x, _ = blocks.shape
    values = np.empty((n_x, k))
    indices = np.empty((n_x, k), dtype=np.intp)
    for i, height, columns in _tiles(blocks.shape):
        best = np.empty((height, 0))
        where = np.empty((height, 0), dtype=np.intp)
        for j, width in columns:
            block = np.empty((height, width))
            blocks(i, j, block)
            found, at = _candidates(block, best, k)
            # What is kept comes first, and its indices are lower: a stable order settles ties.
            best = np.concatenate([best, found], axis=1)
            where = np.concatenate([where, at + j], axis=1)
            order = np.argsort(best, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(best, order, axis=1)
            where = np.take_along_axis(where, order, axis=1)
        values[i : i + height], indices[i : i + height] = best, where
    return values, indices


def nearest_kernel_blocks(blocks, k, n_threads):
    """The same in threads; what is not a number comes last, as infinity."""
    n_x, n_y = blocks.shape
    threads = threads_for(n_threads).value
    values = np.empty((n_x, k))
    indices = np.empty((n_x, k), dtype=np.int64)
    width = min(n_y, 2048)
    height = min(n_x, max(8, _BLOCK_BYTES // 8 // width) * threads)
    height = max(1, min(height, _CANDIDATE_BYTES // (32 * (2 * k + 80))))
    buffer = np.empty((height, width))
    for i in range(0, n_x, height):
        rows = min(height, n_x - i)
        best = TopK(rows, k, isa=machine().isa.value, n_threads=threads)
        for j in range(0, n_y, width):
            block = buffer[:rows, : min(width, n_y - j)]
            blocks(i, j, block)
            best.update(block, 0, j)
        best.result(values[i : i + rows], indices[i : i + rows])
    return values, indices


def _candidates(block, best, k):
    """Values and columns of what may be among the k smallest: few of many, in index order.

    Rows with fewer candidates than others are filled up from their end, with infinity.
    """
    if best.shape[1] == k:
        limit, open_rows = best[:, k - 1 : k], block < best[:, k - 1 : k]
    elif block.shape[1] <= 2 * k:
        return block, np.broadcast_to(np.arange(block.shape[1]), block.shape)
    else:
        limit = np.partition(block, k - 1, axis=1)[:, k - 1 : k]
        open_rows = block <= limit
    # Behind a NaN everything else has its place.
    open_rows |= np.isnan(limit)
    counts = np.count_nonzero(open_rows, axis=1)
    rows, columns = np.nonzero(open_rows)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = int(counts.max(initial=0))
    found = np.full((len(block), most), np.inf)
    at = np.zeros((len(block), most), dtype=np.intp)
    found[rows, slots] = block[rows, columns]
    at[rows, slots] = columns
    return found, at


def argmin_blocks(blocks):
    """Value and index (n,) of the smallest of each row, by the rules of `numpy.argmin`."""
    n_x, _ = blocks.shape
    values = np.empty(n_x)
    indices = np.empty(n_x, dtype=np.intp)
    for i, height, columns in _tiles(blocks.shape):
        for j, width in columns:
            block = np.empty((height, width))
            blocks(i, j, block)
            at = block.argmin(axis=1)
            least = np.take_along_axis(block, at[:, None], axis=1)[:, 0]
            if j == 0:
                values[i : i + height], indices[i : i + height] = least, at
                continue
            old = values[i : i + height]
            # NaN counts as the smallest, and the first of equals wins.
            better = (least < old) | (np.isnan(least) & ~np.isnan(old))
            old[better] = least[better]
            indices[i : i + height][better] = at[better] + j
    return values, indices


def radius_blocks(blocks, radius):
    """Offsets (n + 1), values and indices of all that are at most `radius`, in index order."""
    n_x, _ = blocks.shape
    counts = np.zeros(n_x, dtype=np.int64)
    values, indices = [], []
    for i, height, columns in _tiles(blocks.shape):
        rows, found, where = [], [], []
        for j, width in columns:
            block = np.empty((height, width))
            blocks(i, j, block)
            row, column = np.nonzero(block <= radius)
            rows.append(row)
            found.append(block[row, column])
            where.append(column + j)
        rows = np.concatenate(rows)
        order = np.argsort(rows, kind="stable")
        counts[i : i + height] = np.bincount(rows, minlength=height)
        values.append(np.concatenate(found)[order])
        indices.append(np.concatenate(where)[order])
    offsets = np.zeros(n_x + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets, np.concatenate(values), np.concatenate(indices).astype(np.intp)

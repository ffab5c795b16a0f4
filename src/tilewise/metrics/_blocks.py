"""Blocks of float64 distances, and what neighbour searches make of them."""

from copy import copy

import numpy as np
import scipy.sparse as sp

from tilewise.engine import Rows, fill_matrix, plan_matrix
from tilewise.engine.blocks import RadiusBlocks, TopK
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for

from . import _door
from ._validation import result_dtype

__all__ = [
    "DoorBlocks", "KernelBlocks", "argmin_blocks", "nearest_blocks", "radius_blocks",
]  # fmt: skip

# Bytes of one block of distances: what a core has in L2, so that it is still there when it is
# read again.
_BLOCK_BYTES = 2**20
# Candidates that are held at the same time.
_CANDIDATE_BYTES = 2**24
# Columns of the blocks of the k smallest.
_TOPK_COLUMNS = 2048


class KernelBlocks:
    """Values of a metric of the table that rank neighbours, a block at a time."""

    # Where values overflow, and come last as infinity.
    may_be_nan = False

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

    def scaled(self, scale, rows=None):
        """The same values of the rows times a power of two, of all rows of X or some."""
        other = copy(self)
        x = self.rows_x
        if rows is not None:
            x = Rows(x.source[rows] if x.is_sparse else x.take(rows), dtype=np.float64)
        other.rows_x, other.rows_y = scale.rows(x), scale.rows(self.rows_y)
        other.shape = x.n_rows, self.rows_y.n_rows
        other._plans = {}
        return other

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

    may_be_nan = True

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


def nearest_blocks(blocks, k, n_threads):
    """Values (n, k) and indices of the k smallest of each row; ties to the lowest index.

    What is not a number comes last: behind infinity where it comes from behind the door.
    """
    n_x, n_y = blocks.shape
    threads = threads_for(n_threads).value
    values = np.empty((n_x, k))
    indices = np.empty((n_x, k), dtype=np.int64)
    width = min(n_y, _TOPK_COLUMNS)
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
        here = slice(i, i + rows)
        best.result(values[here], indices[here])
        if blocks.may_be_nan:
            _nan_last(blocks, i, values[here], indices[here])
    return values, indices


def _nan_last(blocks, first, values, indices):
    """Put infinity before what is not a number, in the rows that come to either."""
    (rows,) = np.nonzero(np.isinf(values[:, -1]))
    k = values.shape[1]
    for i in rows:
        whole = np.empty((1, blocks.shape[1]))
        blocks(first + i, 0, whole)
        indices[i] = np.argsort(whole[0], kind="stable")[:k]
        values[i] = whole[0, indices[i]]


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


def radius_blocks(blocks, radius, *, sort, n_threads):
    """Offsets (n + 1), values and indices of all that are at most `radius`."""
    near = RadiusBlocks(blocks.shape[0], radius, threads_for(n_threads).value)
    for i, height, columns in _tiles(blocks.shape):
        for j, width in columns:
            block = np.empty((height, width))
            blocks(i, j, block)
            near.update(block, i, j)
    return near.result(sort=sort)

"""Nearest rows and rows within a radius by any metric, from blocks of float64 distances.

What enters is a source of blocks: ``source.shape`` is (n, m), ``source.sparse`` says which sides
are CSR, and ``source(x_first, y_first, out)`` writes one block.
"""

from copy import copy

import numpy as np

from tilewise.kernels._rows import Rows
from tilewise.kernels._topk import TopK
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for
from tilewise.plan.neighbors import block_shape
from tilewise.plan.thresholds import worth_threads

from .matrix import fill_matrix, plan_matrix
from .radius_results import RadiusResults, pairs_within

__all__ = ["DistanceBlocks", "argkmin_blocks", "argmin_blocks", "each_group", "radius_blocks"]


class DistanceBlocks:
    """Float64 distances of two sets of rows by a kernel, a block at a time.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
    kernel, p, weights
        As `fill_matrix` has them.
    negate : bool, default=False
        Change the sign, so that the largest values come first.
    n_threads : int, optional
    """

    def __init__(
        self, rows_x: Rows, rows_y: Rows, *, kernel: str, p: float = 2.0, weights=None,
        negate: bool = False, n_threads: int | None = None,
    ):  # fmt: skip
        self._metric = {"kernel": kernel, "p": p, "weights": weights}
        self._negate, self._n_threads = negate, n_threads
        self._set_rows(rows_x, rows_y)

    def _set_rows(self, rows_x, rows_y):
        self.rows_x, self.rows_y = rows_x, rows_y
        self.shape = rows_x.n_rows, rows_y.n_rows
        self.sparse = rows_x.is_sparse, rows_y.is_sparse
        self._plans = {}  # at most four: the last blocks of a row and of a column are smaller

    def scaled(self, scale, rows=None):
        """The same distances of the rows times a power of two, for all rows of X or some."""
        other = copy(self)
        x = self.rows_x
        if rows is not None:
            x = Rows(x.source[rows] if x.is_sparse else x.take(rows), dtype=np.float64)
        other._set_rows(scale.rows(x), scale.rows(self.rows_y))
        return other

    def __call__(self, x_first: int, y_first: int, out: np.ndarray) -> None:
        plan = self._plans.get(out.shape)
        if plan is None:
            plan = self._plans[out.shape] = plan_matrix(
                self.rows_x, self.rows_y, out.dtype, shape=out.shape, n_threads=self._n_threads,
                **self._metric,
            )  # fmt: skip
        fill_matrix(
            self.rows_x, self.rows_y, out, plan=plan, x_first=x_first, y_first=y_first,
            **self._metric,
        )  # fmt: skip
        if self._negate:
            np.negative(out, out=out)


def each_group(source, height: int, columns: int):
    """Yield groups of rows: the first row, how many, and an iterator over their blocks.

    A block comes with its first column. One buffer serves all blocks.
    """
    n, m = source.shape
    buffer = np.empty((height, columns))

    def blocks(first, count):
        """Yield the first column and the distances of each block."""
        for y_first in range(0, m, columns):
            out = buffer[:count, : min(columns, m - y_first)]
            source(first, y_first, out)
            yield y_first, out

    for first in range(0, n, height):
        count = min(height, n - first)
        yield first, count, blocks(first, count)


def argkmin_blocks(
    source, k: int, *, n_threads: int | None = None, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of Y closest to every row of X.

    Parameters
    ----------
    source
        Blocks of distances, (n, m) in all.
    k : int
        From 1 to m.
    n_threads : int, optional
    shape : tuple of int, optional
        Rows of X and of Y per block; planned by default.

    Returns
    -------
    distances : ndarray of shape (n, k), float64
    indices : ndarray of shape (n, k), int64
        By (distance, index). A distance that is NaN counts, and is returned, as infinity.

    Raises
    ------
    ValueError
        If k is out of range, or for the reasons of `fill_matrix`.
    """
    n, m = source.shape
    if not 1 <= k <= m:
        raise ValueError(f"k={k} neighbours are wanted of {m} rows.")
    isa, threads = machine().isa.value, threads_for(n_threads).value
    distances, indices = np.empty((n, k)), np.empty((n, k), dtype=np.int64)
    if shape is None:
        # Values and columns of the candidates of a row, twice: sorting takes that room.
        shape = _shape(source, threads, 32 * (2 * k + 80))
    for first, count, blocks in each_group(source, *shape):
        best = TopK(count, k, isa=isa)
        for y_first, block in blocks:
            best.update(block, 0, y_first, n_threads=worth_threads(threads, block.size, "block"))
        here = slice(first, first + count)
        pairs = worth_threads(threads, count * k, "pairs")
        best.result(distances[here], indices[here], n_threads=pairs)
    return distances, indices


def argmin_blocks(source) -> tuple[np.ndarray, np.ndarray]:
    """Value and index (n,) of the smallest of each row, by the rules of `numpy.argmin`."""
    n, _ = source.shape
    values, indices = np.empty(n), np.empty(n, dtype=np.intp)
    for first, count, blocks in each_group(source, *_shape(source, 1)):
        old, places = values[first : first + count], indices[first : first + count]
        for y_first, block in blocks:
            at = block.argmin(axis=1)
            least = np.take_along_axis(block, at[:, None], axis=1)[:, 0]
            # NaN counts as the smallest, and the first of equals wins.
            better = (least < old) | (np.isnan(least) & ~np.isnan(old)) | (y_first == 0)
            old[better] = least[better]
            places[better] = at[better] + y_first
    return values, indices


def radius_blocks(
    source, radius: float, *, sort: bool = False, n_threads: int | None = None,
    shape: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The rows of Y at a distance of at most `radius` from every row of X.

    Parameters
    ----------
    source
        Blocks of distances, (n, m) in all.
    radius : float
    sort : bool, default=False
        By (distance, index) within each row of X instead of by index.
    n_threads, shape
        As `argkmin_blocks` has them.

    Returns
    -------
    offsets : ndarray of shape (n + 1,), int64
    distances : ndarray, float64
    indices : ndarray, int64
        As `radius` has them. NaN is never within.
    """
    isa, threads = machine().isa.value, threads_for(n_threads).value
    results = RadiusResults(source.shape[0], threads)
    for first, _, blocks in each_group(source, *(shape or _shape(source, threads))):
        for y_first, block in blocks:
            results.add(first, *pairs_within(block, radius, y_first, isa, threads))
    return results.result(sort=sort)


def _shape(source, threads, candidate_bytes=0):
    return block_shape(
        *source.shape, n_threads=threads, sparse=source.sparse, candidate_bytes=candidate_bytes
    )

"""Nearest rows and rows within a radius by any metric: over blocks of ready distances."""

import numpy as np

from tilewise.engine.entries import block_shape_of
from tilewise.engine.found import Found, pairs_within
from tilewise.engine.matrix import fill_matrix, plan_matrix
from tilewise.kernels._rows import Rows
from tilewise.kernels._topk import TopK
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for

__all__ = ["RadiusBlocks", "TopK", "argkmin_blocks", "radius_blocks"]

# Distances of one block, for all threads: half of a common L2, so that whoever reads them
# finds them there.
_BLOCK_BYTES = 2**20
# Columns of a block; rows of it are what its threads share.
_BLOCK_COLUMNS = 2048
# Candidates that are held at the same time.
_CANDIDATE_BYTES = 16 * 2**20


class RadiusBlocks:
    """Pairs within a radius, from blocks of distances.

    Blocks of a row come in rising order of their columns. NaN is never within.

    Parameters
    ----------
    n : int
        Rows.
    radius : float
        Distances up to this one count.
    n_threads : int, default=1
    """

    def __init__(self, n: int, radius: float, n_threads: int = 1):
        self._radius, self._threads = radius, n_threads
        self._found = Found(n, n_threads)

    def update(self, block: np.ndarray, x_first: int, y_first: int) -> None:
        """Take in a block: rows from x_first on, columns from y_first on; rows are contiguous."""
        isa = machine().isa.value
        self._found.add(x_first, *pairs_within(block, self._radius, y_first, isa, self._threads))

    def result(self, *, sort=False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (n + 1,), distances and columns, in column order or by (distance, column)."""
        return self._found.result(sort=sort)


def argkmin_blocks(
    rows_x: Rows, rows_y: Rows, k: int, *, kernel: str, p: float = 2.0, weights=None,
    n_threads: int | None = None, block_shape: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The k rows of Y closest to every row of X, by float64 distances of any kernel.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
    k : int
        From 1 to m.
    kernel, p, weights
        As `fill_matrix` has them.
    n_threads : int, optional
    block_shape : tuple of int, optional
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
    n, m = rows_x.n_rows, rows_y.n_rows
    if not 1 <= k <= m:
        raise ValueError(f"k={k} neighbours are wanted of {m} rows.")
    threads = threads_for(n_threads, machine=machine()).value
    distances, indices = np.empty((n, k)), np.empty((n, k), dtype=np.int64)
    most = max(1, _CANDIDATE_BYTES // (32 * (2 * k + 80)))

    def take(first, count, blocks):
        """Find the lowest of some rows."""
        best = TopK(count, k, isa=machine().isa.value, n_threads=threads)
        for block, y_first in blocks:
            best.update(block, 0, y_first)
        best.result(distances[first : first + count], indices[first : first + count])

    _each(rows_x, rows_y, take, kernel, p, weights, threads, block_shape, most)
    return distances, indices


def radius_blocks(
    rows_x: Rows, rows_y: Rows, radius: float, *, kernel: str, p: float = 2.0, weights=None,
    sort: bool = False, n_threads: int | None = None, block_shape: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The rows of Y whose float64 distance to a row of X, of any kernel, is at most a radius.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
    radius : float
    kernel, p, weights
        As `fill_matrix` has them.
    sort : bool, default=False
        By (distance, index) within each row of X instead of by index.
    n_threads : int, optional
    block_shape : tuple of int, optional
        Rows of X and of Y per block; planned by default.

    Returns
    -------
    offsets : ndarray of shape (n + 1,), int64
    distances : ndarray, float64
    indices : ndarray, int64
        As `radius` has them. NaN is never within.
    """
    n = rows_x.n_rows
    threads = threads_for(n_threads, machine=machine()).value
    near = RadiusBlocks(n, radius, threads)

    def take(first, _, blocks):
        """Find what is within the radius of some rows."""
        for block, y_first in blocks:
            near.update(block, first, y_first)

    _each(rows_x, rows_y, take, kernel, p, weights, threads, block_shape, n)
    return near.result(sort=sort)


def _each(rows_x, rows_y, take, kernel, p, weights, threads, block_shape, most):
    """take(first row, rows, its blocks) for all rows of X; one buffer serves all blocks."""
    n, m = rows_x.n_rows, rows_y.n_rows
    if block_shape is None and (rows_x.is_sparse or rows_y.is_sparse) and min(n, m):
        height, columns = block_shape_of(rows_x, rows_y)
    elif block_shape is None:
        columns = max(1, min(m, _BLOCK_COLUMNS))
        height = max(8 * threads, _BLOCK_BYTES * threads // (8 * columns))
    else:
        height, columns = block_shape
    height = max(1, min(height, n, most))
    buffer = np.empty((height, columns))
    plan = plan_matrix(
        rows_x, rows_y, np.float64, kernel=kernel, p=p, weights=weights,
        shape=buffer.shape, n_threads=threads,
    )  # fmt: skip

    def blocks(first, count):
        """Yield the blocks of some rows, each with its first column."""
        for start in range(0, m, columns):
            out = buffer[:count, : min(columns, m - start)]
            fill_matrix(
                rows_x, rows_y, out, kernel=kernel, p=p, weights=weights, plan=plan,
                x_first=first, y_first=start,
            )  # fmt: skip
            yield out, start

    for first in range(0, n, height):
        count = min(height, n - first)
        take(first, count, blocks(first, count))

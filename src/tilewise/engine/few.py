"""The k nearest of a few short rows: every canonical distance is computed, and no score."""

import numpy as np

from tilewise.kernels import _exact, _few
from tilewise.kernels._rows import Rows
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for
from tilewise.plan.layout import TILES

from .stats import raise_nonfinite

__all__ = ["argkmin_few", "by_few"]

# What one row of X costs, in nanoseconds (measured with AVX-512), beyond what both ways share: the
# numbers of all rows of Y, their pairs, which are compared to rank them, and the rows ...
_NUMBER, _PAIR, _ROW = 0.07, 0.03, 0.6
# ... and by scores, candidates and canonical distances: alone, and for each of the k.
_SEARCH, _NEIGHBOR = 200, 40
# The nearest alone needs no ranks: numbers up to which it is found faster this way.
_MOST_NUMBERS = 1536
# Longer rows are not measured eight at a time. With vectors that are too narrow for eight sums
# that takes so many times as long.
_LANES_DEPTH, _NARROW = 24, 4
# Differences and comparisons between two looks for Ctrl-C, per thread: about a quarter of a second.
_UNINTERRUPTED = 2**29


def by_few(rows_x: Rows, rows_y: Rows, k: int) -> bool:
    """Whether Y is so small, and X so much longer, that all distances are the faster way."""
    m, d = rows_y.n_rows, rows_x.n_features
    if m > _few.most_rows or rows_x.n_rows < 8 * m or rows_x.is_sparse:
        return False
    numbers = m * max(8, d)
    if d > _LANES_DEPTH and TILES[machine().isa.value][0] < 64:
        numbers *= _NARROW
    if k == 1:
        return numbers <= _MOST_NUMBERS
    return _NUMBER * numbers + _PAIR * m * m + _ROW * m <= _SEARCH + _NEIGHBOR * k


def argkmin_few(
    rows_x: Rows, rows_y: Rows, k: int, *, root=False, dtype=np.float64, n_threads=None, isa=None,
    out=(None, None),
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The k rows of Y closest to every row of X: see `tilewise.engine.argkmin`.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
        At most ``kernels._few.most_rows``.
    k : int
        From 1 to m.
    root : bool, default=False
    dtype : dtype, default=float64
        As `argkmin` has them.
    n_threads : int, optional
    isa : str, optional
        Instruction set.
    out : tuple, optional

    Returns
    -------
    distances : ndarray of shape (n, k), float32 or float64
    indices : ndarray of shape (n, k), int64
    """
    n, m, d = rows_x.n_rows, rows_y.n_rows, rows_x.n_features
    here = machine()
    threads = threads_for(n_threads, machine=here).value
    y = _exact.padded(rows_y.take(np.arange(m)))
    distances = np.empty((n, k), dtype=dtype) if out[0] is None else out[0]
    indices = np.empty((n, k), dtype=np.int64) if out[1] is None else out[1]
    step = max(1, _UNINTERRUPTED * threads // (m * (max(8, d) + m // 2)))
    # The interpreter looks for Ctrl-C between two calls.
    for first in range(0, n, step):
        part = slice(first, first + step)
        if not _few.closest_few(
            rows_x, y, first, distances[part], indices[part], root=root,
            isa=here.isa.value if isa is None else isa, n_threads=threads,
        ):  # fmt: skip
            # Or distances overflowed: that is as it should be.
            raise_nonfinite(rows_y)
            raise_nonfinite(rows_x, first)
    return distances, indices

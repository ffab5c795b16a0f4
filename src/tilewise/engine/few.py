"""The k nearest of a few short rows: every canonical distance is computed, and no score."""

import numpy as np

from tilewise.kernels import _exact, _few
from tilewise.kernels._rows import Rows
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for

from .stats import raise_nonfinite

__all__ = ["argkmin_few", "by_few"]

# Numbers of all rows of Y, for one neighbour and for several, up to which their canonical
# distances cost less than scores, candidates and their canonical distances (measured with
# AVX-512 and 32 rows: at 2048 they meet for one neighbour and for three).
_MOST_NUMBERS = {"one": 1536, "several": 2048}
# Canonical differences between two looks for Ctrl-C, per thread: about a quarter of a second.
_UNINTERRUPTED = 2**29


def by_few(rows_x: Rows, rows_y: Rows, k: int) -> bool:
    """Whether Y is so small, and X so much longer, that all distances are the faster way."""
    m = rows_y.n_rows
    numbers = m * max(8, rows_x.n_features)
    return (
        m <= _few.most_rows
        and rows_x.n_rows >= 8 * m
        and not rows_x.is_sparse
        and numbers <= _MOST_NUMBERS["one" if k == 1 else "several"]
    )


def argkmin_few(
    rows_x: Rows, rows_y: Rows, k: int, *, root=False, dtype=np.float64, n_threads=None, isa=None
) -> tuple[np.ndarray, np.ndarray]:
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

    Returns
    -------
    distances : ndarray of shape (n, k), float32 or float64
    indices : ndarray of shape (n, k), int64
    """
    n, m, d = rows_x.n_rows, rows_y.n_rows, rows_x.n_features
    here = machine()
    threads = threads_for(n_threads, machine=here).value
    y = _exact.padded(rows_y.take(np.arange(m)))
    distances, indices = np.empty((n, k), dtype=dtype), np.empty((n, k), dtype=np.int64)
    step = max(1, _UNINTERRUPTED * threads // (m * max(8, d)))
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

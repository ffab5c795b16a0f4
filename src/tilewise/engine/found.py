"""Pairs within a radius, gathered as they are found and handed out row by row."""

import numpy as np

from tilewise.kernels import _within

__all__ = ["Found", "pairs_within", "sort_found"]

# Pairs that are sorted between two looks for Ctrl-C, per thread.
_SORTED = 2**20


class Found:
    """Pairs of rows as they are found; what belongs to one row comes in rising order.

    Memory is what the pairs take: parts are given back as they are copied into the result.

    Parameters
    ----------
    n : int
        Rows of X.
    n_threads : int
    """

    def __init__(self, n: int, n_threads: int):
        self._n, self._threads = n, n_threads
        self._parts: list[tuple] = []

    def add(self, first, starts, counts, values, columns) -> None:
        """Take pairs of the rows from `first` on: counts[r] of them stand from starts[r] on.

        Parameters
        ----------
        first : int
        starts, counts : ndarray of shape (rows,), int64
        values : ndarray, float64
        columns : ndarray, int64
        """
        self._parts.append((first, starts, counts, values, columns))

    def result(self, *, sort: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (n + 1,), values and columns; in column order or by (value, column)."""
        offsets = np.zeros(self._n + 1, dtype=np.int64)
        ends = offsets[1:]
        for first, _, counts, _, _ in self._parts:
            ends[first : first + len(counts)] += counts
        np.cumsum(ends, out=ends)
        to = offsets[:-1].copy()
        values, columns = np.empty(offsets[-1]), np.empty(offsets[-1], dtype=np.int64)
        self._parts.reverse()
        while self._parts:
            first, starts, counts, *pairs = self._parts.pop()
            _within.place_rows(
                starts, counts, *pairs, to[first : first + len(counts)], values, columns,
                n_threads=self._threads,
            )  # fmt: skip
        if sort:
            sort_found(offsets, values, columns, self._threads)
        return offsets, values, columns


def pairs_within(block, limit, y_first, isa, n_threads) -> tuple:
    """The values of a block that do not exceed a limit, and their columns, the first being y_first.

    Returns
    -------
    starts, counts : ndarray of shape (rows,), int64
    values : ndarray, float64
    columns : ndarray, int64
    """
    counts = _within.count_within(block, limit, isa=isa, n_threads=n_threads)
    starts = np.cumsum(counts)
    total = starts[-1] if len(starts) else 0
    starts -= counts
    values, columns = np.empty(total), np.empty(total, dtype=np.int64)
    _within.take_within(
        block, limit, y_first, starts, values, columns, isa=isa, n_threads=n_threads
    )
    return starts, counts, values, columns


def sort_found(offsets, values, columns, n_threads) -> None:
    """Sort what belongs to each row by (value, column), in place."""
    n = len(offsets) - 1
    step = max(1, n // max(1, len(values) // (_SORTED * n_threads)))
    # The interpreter looks for Ctrl-C between two calls.
    for first in range(0, n, step):
        _within.sort_rows(offsets[first : first + step + 1], values, columns, n_threads=n_threads)

"""Pairs within a radius, collected a block at a time and returned row by row."""

import numpy as np

from tilewise.kernels import _within
from tilewise.plan.thresholds import worth_threads

__all__ = ["RadiusResults", "pairs_within", "sort_results"]

# Pairs that are sorted between two checks for Ctrl-C, per thread.
_SORTED = 2**20


class RadiusResults:
    """Pairs of rows from successive blocks; the blocks of a row come in rising order of columns.

    Memory is what the pairs take: each block's are freed once they are copied into the result.

    Parameters
    ----------
    n : int
        Rows of X.
    n_threads : int, default=1
    """

    def __init__(self, n: int, n_threads: int = 1):
        self._n, self._threads = n, n_threads
        self._blocks: list[tuple] = []

    def add(self, first, starts, counts, values, columns) -> None:
        """Take pairs of the rows from `first` on: counts[r] of them stand from starts[r] on.

        Parameters
        ----------
        first : int
        starts, counts : ndarray of shape (rows,), int64
        values : ndarray, float64
        columns : ndarray, int64
        """
        self._blocks.append((first, starts, counts, values, columns))

    def result(self, *, sort: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (n + 1,), values and columns; in column order or by (value, column)."""
        offsets = np.zeros(self._n + 1, dtype=np.int64)
        ends = offsets[1:]
        for first, _, counts, _, _ in self._blocks:
            ends[first : first + len(counts)] += counts
        np.cumsum(ends, out=ends)
        to = offsets[:-1].copy()
        values, columns = np.empty(offsets[-1]), np.empty(offsets[-1], dtype=np.int64)
        self._blocks.reverse()
        while self._blocks:
            first, starts, counts, *pairs = self._blocks.pop()
            _within.place_rows(
                starts, counts, *pairs, to[first : first + len(counts)], values, columns,
                n_threads=worth_threads(self._threads, len(pairs[0]), "block"),
            )  # fmt: skip
        if sort:
            sort_results(offsets, values, columns, self._threads)
        return offsets, values, columns


def pairs_within(block, limit, y_first, isa, n_threads) -> tuple:
    """The values of a block up to a limit, and their columns, of which the first is y_first.

    Returns
    -------
    starts, counts : ndarray of shape (rows,), int64
    values : ndarray, float64
    columns : ndarray, int64
    """
    sizes = {"isa": isa, "n_threads": worth_threads(n_threads, block.size, "block")}
    counts = _within.count_within(block, limit, **sizes)
    starts = np.cumsum(counts)
    total = starts[-1] if len(starts) else 0
    starts -= counts
    values, columns = np.empty(total), np.empty(total, dtype=np.int64)
    _within.take_within(block, limit, y_first, starts, values, columns, **sizes)
    return starts, counts, values, columns


def sort_results(offsets, values, columns, n_threads) -> None:
    """Sort the pairs of each row by (value, column), in place."""
    n = len(offsets) - 1
    step = max(1, n // max(1, len(values) // (_SORTED * n_threads)))
    # The interpreter checks for Ctrl-C between two calls.
    for first in range(0, n, step):
        some = offsets[first : first + step + 1]
        threads = worth_threads(n_threads, some[-1] - some[0], "block")
        _within.sort_rows(some, values, columns, n_threads=threads)

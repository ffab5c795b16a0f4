"""What k-means++ asks of rows, whether they are in memory or come in parts."""

import numpy as np

from tilewise.kernels import _seeding
from tilewise.plan import Plan, exact_shard_rows
from tilewise.plan.thresholds import few_stored

__all__ = ["SeedingPass"]

# Gains have room for numbers from 2**-1024 to 2**975, which weights of another size may leave.
_WEIGHTS = 2.0**-64, 1.0


class SeedingPass:
    """Closest seed of every row while seeds are added.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
    weights : ndarray of shape (n,), float64, optional
    plan : Plan
    n_threads : int

    Attributes
    ----------
    by_entries : bool
        Whether candidates are given by their numbers, for CSR rows; else as padded rows.
    """

    def __init__(self, rows, weights, plan: Plan, n_threads: int):
        self._rows = rows
        if weights is not None and not _WEIGHTS[0] <= (most := weights.max()) <= _WEIGHTS[1]:
            # Draws and gains are compared with one another: a power of two changes none of them.
            weights = np.ldexp(weights, -int(np.frexp(most)[1]))
        self._state = _seeding.Seeding(
            rows.window, weights, isa=plan.isa, n_threads=n_threads,
            shard_rows=exact_shard_rows(rows.n_rows, rows.n_features),
            by_entries=few_stored(rows, "rows one by one"),
        )  # fmt: skip
        self.by_entries = self._state.by_entries
        self.locate = self._state.locate

    def gains(self, points, nearest) -> np.ndarray:
        """How much each candidate would lower the potential, (t,) float64.

        Parameters
        ----------
        points : ndarray of shape (t, ldc), float64, or (t,), int64
        nearest : ndarray of shape (seeds,), float64, or None
            The least squared distance of a candidate to each seed; not needed if `by_entries`.
        """
        rows, state = self._rows, self._state
        total = np.zeros((len(points), 4), dtype=np.int64)
        for first, last in rows.parts(self._wanted(lambda *piece: state.near(nearest, *piece))):
            total += state.gains(points, nearest, first, last)
        return state.worth(total)

    def take(self, points, trial: int, seed: int) -> float:
        """Make a candidate of the last `gains` a seed; returns the new potential."""
        rows, state = self._rows, self._state
        done = 0
        for first, last in rows.parts(self._wanted(lambda *piece: state.gained(trial, *piece))):
            if first > done:
                state.take(points, trial, seed, done, first)
            state.take(points, trial, seed, first, last)
            done = last
        if done < rows.n_rows:
            state.take(points, trial, seed, done, rows.n_rows)
        return state.potential()

    def _wanted(self, concerned):
        """Pieces with rows that are concerned; None, for all, of rows in memory."""
        rows = self._rows
        if rows.in_memory:
            return None
        pieces = [piece for piece in rows.pieces() if concerned(*piece)]
        if rows.can_skip:
            read = sum(last - first for first, last in pieces)
            rows.skipped(-(-rows.n_rows // rows.piece_rows) - len(pieces), rows.n_rows - read)
        return pieces

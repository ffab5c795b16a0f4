"""What k-means++ asks of rows, whether they are in memory or come in parts."""

import numpy as np

from tilewise.kernels import _exact, _seeding
from tilewise.plan import Plan, exact_shard_rows
from tilewise.plan.thresholds import few_stored, worth_threads

__all__ = ["SeedingPass", "first_row", "scaled_weights"]

# Gains have room for numbers from 2**-1024 to 2**975, which weights of another size may leave.
_WEIGHTS = 2.0**-64, 1.0


def scaled_weights(weights, exponent: int | None = None):
    """Weights times a power of two: by default the one that brings the largest into range.

    Draws and gains are compared with one another: a power of two changes none of them.
    """
    if weights is None:
        return None
    if exponent is None:
        most = weights.max()
        exponent = 0 if _WEIGHTS[0] <= most <= _WEIGHTS[1] else -int(np.frexp(most)[1])
    return np.ldexp(weights, exponent) if exponent else weights


def first_row(rows, weights, random_state) -> int:
    """Draw a row in proportion to the weights, as ``random_state.choice(n, p=...)`` does."""
    if weights is None:
        return int(_seeding.weighted_choice(random_state.random_sample(), rows.n_rows))
    weights = weights.astype(rows.result_dtype, copy=False)
    return int(random_state.choice(rows.n_rows, p=weights / weights.sum()))


class SeedingPass:
    """Closest seed of every row while seeds are added.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
    n_seeds : int
        How many there will be.
    weights : ndarray of shape (n,), float64, optional
    plan : Plan
    """

    def __init__(self, rows, n_seeds: int, weights, plan: Plan):
        self._rows, self._given, self._isa = rows, weights, plan.isa
        n, d = rows.n_rows, rows.n_features
        self._n_threads = worth_threads(plan.n_threads, n * d, "one seed")
        self._state = _seeding.Seeding(
            rows.window, scaled_weights(weights), isa=plan.isa, n_threads=self._n_threads,
            shard_rows=exact_shard_rows(n, d), by_entries=few_stored(rows, "rows one by one"),
        )  # fmt: skip
        self.locate = self._state.locate
        # Padded. Sparse rows need no distances between seeds.
        kept = 0 if self._state.by_entries else n_seeds
        self._seeds, self._n_seeds = np.empty((kept, max(8, -(-d // 8) * 8))), 0
        self._shown = self._groups = None

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights."""
        return first_row(self._rows, self._given, random_state)

    def gains(self, candidates: np.ndarray) -> np.ndarray:
        """How much each candidate would lower the potential, (t,) float64.

        Parameters
        ----------
        candidates : ndarray of shape (t,), int64
            Numbers of rows.
        """
        step = _seeding.most_trials
        self._groups = [candidates[at : at + step] for at in range(0, len(candidates), step)]
        return np.concatenate([self._measure(self._show(group)) for group in self._groups])

    def take(self, candidate: int) -> float:
        """Make a candidate of the last `gains`, or the first row, a seed; returns the potential."""
        shown, trial = self._shown, 0
        if self._n_seeds == 0:
            shown = self._show(np.array([candidate]))
        else:
            at = next(g for g, group in enumerate(self._groups) if candidate in group)
            if at + 1 < len(self._groups):
                # A later group overwrote which rows this candidate gained.
                shown = self._show(self._groups[at])
                self._measure(shown)
            trial = int(np.flatnonzero(self._groups[at] == candidate)[0])
        points = shown[0]
        self._take(points, trial)
        if not self._state.by_entries:
            self._seeds[self._n_seeds] = points[trial]
        self._n_seeds += 1
        return self._state.potential()

    def _show(self, group):
        """Candidates, as padded rows or by number, and how near each seed has one."""
        points, nearest = group, None
        if not self._state.by_entries:
            points = _exact.padded(self._rows.take(group))
            if self._n_seeds:
                d = self._rows.n_features
                work = self._n_seeds * len(points) * d
                nearest = _seeding.nearest_to_seeds(
                    self._seeds, self._n_seeds, points, d, isa=self._isa,
                    n_threads=worth_threads(self._n_threads, work, "seeds"),
                )  # fmt: skip
        self._shown = points, nearest
        return self._shown

    def _measure(self, shown):
        (points, nearest), state = shown, self._state
        total = np.zeros((len(points), 4), dtype=np.int64)
        wanted = self._wanted(lambda *piece: state.near(nearest, *piece))
        for first, last in self._rows.parts(wanted):
            total += state.gains(points, nearest, first, last)
        return state.worth(total)

    def _take(self, points, trial):
        rows, state, seed = self._rows, self._state, self._n_seeds
        done = 0
        for first, last in rows.parts(self._wanted(lambda *piece: state.gained(trial, *piece))):
            if first > done:
                state.take(points, trial, seed, done, first)
            state.take(points, trial, seed, first, last)
            done = last
        if done < rows.n_rows:
            state.take(points, trial, seed, done, rows.n_rows)

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

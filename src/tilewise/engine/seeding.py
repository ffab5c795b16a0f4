"""What k-means++ asks of rows, whether they are in memory or come in parts."""

import numpy as np

from tilewise.kernels import _exact, _seeding
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, exact_shard_rows
from tilewise.plan.thresholds import few_stored, worth_threads

__all__ = [
    "PartSeeding", "SeedingPass", "first_row", "locate_among", "most_trials", "potential_bin",
    "scaled_weights", "total_gains", "weight_exponent",
]  # fmt: skip

# Candidates that are measured together.
most_trials = _seeding.most_trials

# Gains have room for numbers from 2**-1024 to 2**975, which weights of another size may leave.
_WEIGHTS = 2.0**-64, 1.0


def scaled_weights(weights, exponent: int | None = None):
    """Weights times a power of two: by default the one that brings the largest into range.

    Draws and gains are compared with one another: a power of two changes none of them.
    """
    if weights is None:
        return None
    if exponent is None:
        exponent = weight_exponent(weights.max())
    return np.ldexp(weights, exponent) if exponent else weights


def weight_exponent(most: float) -> int:
    """The power of two that brings weights of up to `most` into range."""
    return 0 if _WEIGHTS[0] <= most <= _WEIGHTS[1] else -int(np.frexp(most)[1])


def first_row(rows, weights, random_state) -> int:
    """Draw a row in proportion to the weights, as ``random_state.choice(n, p=...)`` does."""
    if weights is None:
        return int(_seeding.weighted_choice(random_state.random_sample(), rows.n_rows))
    # Scaled first: float32 has no room for every weight.
    weights = scaled_weights(weights).astype(rows.result_dtype, copy=False)
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
        by_entries = few_stored(rows, "rows one by one")
        # Rows that come in parts are there for a moment only. A plan for them has no copy either.
        here = rows.in_memory and not by_entries
        self._state = _seeding.Seeding(
            rows.window, scaled_weights(weights), isa=plan.isa, n_threads=self._n_threads,
            shard_rows=exact_shard_rows(n, d), by_entries=by_entries,
            copy=here and plan.seeding == "copy", kept=plan.seeding_kept_bytes * here,
        )  # fmt: skip
        # Padded. Sparse rows need no distances between seeds.
        kept = 0 if self._state.by_entries else n_seeds
        self._seeds, self._n_seeds = np.empty((kept, max(8, -(-d // 8) * 8))), 0
        self._shown = self._groups = None

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights."""
        return first_row(self._rows, self._given, random_state)

    def at_once(self, n_trials: int) -> bool:
        """Each step is asked for by itself."""
        return False

    def locate(self, targets: np.ndarray) -> np.ndarray:
        """First rows at which the running sum of weight x squared distance reaches the targets."""
        return np.array([self._state.locate(target) for target in targets], dtype=np.int64)

    def gains(self, candidates: np.ndarray) -> np.ndarray:
        """How much each candidate would lower the potential, (t,) float64.

        Parameters
        ----------
        candidates : ndarray of shape (t,), int64
            Numbers of rows.
        """
        step = most_trials
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


class PartSeeding:
    """Closest seed of some of the rows, in memory, while others have the rest.

    What it says of its rows adds up to what `SeedingPass` says of all.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    weights : ndarray of shape (n,), float64, optional
    plan : Plan

    Attributes
    ----------
    n_seeds : int
    """

    def __init__(self, rows: Rows, weights, plan: Plan):
        n, d = rows.n_rows, rows.n_features
        self._depth, self._isa = d, plan.isa
        self._n_threads = worth_threads(plan.n_threads, n * d, "one seed")
        self._state = _seeding.Seeding(
            rows, weights, isa=plan.isa, n_threads=self._n_threads,
            shard_rows=exact_shard_rows(n, d),
        )  # fmt: skip
        self._seeds = np.empty((8, max(8, -(-d // 8) * 8)))
        self.n_seeds = 0
        self.locate, self.total = self._state.locate, self._state.total

    def gains(self, candidates: np.ndarray, most: float) -> np.ndarray:
        """How much each candidate row, (t, d), would gain here: see `total_gains`.

        `most` is the largest weight x distance of all rows.
        """
        points = _exact.padded(candidates)
        nearest = _seeding.nearest_to_seeds(
            self._seeds, self.n_seeds, points, self._depth, isa=self._isa,
            n_threads=self._n_threads,
        )  # fmt: skip
        return self._state.gains(points, nearest, most=most)

    def take(self, candidates: np.ndarray, trial: int, *, seen: bool) -> None:
        """Make one of these rows a seed; `seen` if they were the last that had `gains`."""
        if self.n_seeds and not seen:
            candidates, trial = candidates[trial : trial + 1], 0
            self.gains(candidates, np.inf)
        points = _exact.padded(candidates)
        self._state.take(points, trial, self.n_seeds)
        if self.n_seeds == len(self._seeds):
            self._seeds = np.concatenate([self._seeds, np.empty_like(self._seeds)])
        self._seeds[self.n_seeds] = points[trial]
        self.n_seeds += 1


total_gains = _seeding.worth
locate_among = _seeding.locate_among


def potential_bin(most: float, n_rows: int, n_features: int) -> int:
    """The first bin of the potential of so many rows."""
    return _seeding.seeding_top(most, n_rows, exact_shard_rows(n_rows, n_features))

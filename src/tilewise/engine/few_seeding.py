"""k-means++ of few rows in memory: all steps in one call of the kernel."""

import math

import numpy as np

from tilewise.kernels._seeding_few import FewSeeding as Steps
from tilewise.plan import Plan, exact_shard_rows, local_trials

from .seeding import SeedingPass, first_row, scaled_weights

__all__ = ["FewSeeding"]


class FewSeeding:
    """Closest seed of every row while seeds are added: see `SeedingPass`, whose numbers these are.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    n_seeds : int
        How many there will be.
    weights : ndarray of shape (n,), float64, optional
    plan : Plan
    """

    def __init__(self, rows, n_seeds: int, weights, plan: Plan):
        self._given = rows, n_seeds, weights, plan
        self._n_trials, self._potential = local_trials(n_seeds), math.nan
        self._first = self._by_steps = None
        scaled = scaled_weights(weights)
        # Below zero, a running sum says nothing about the ones behind it.
        if scaled is not None and scaled.min() < 0.0:
            self._by_steps = SeedingPass(*self._given)
        else:
            self._state = Steps(
                rows, scaled, self._n_trials, isa=plan.isa,
                shard_rows=exact_shard_rows(rows.n_rows, rows.n_features),
            )  # fmt: skip

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights."""
        rows, _, weights, _ = self._given
        return first_row(rows, weights, random_state)

    def at_once(self, n_trials: int) -> bool:
        """Whether `follow` chooses all further seeds, of so many candidates each."""
        if self._by_steps is not None or n_trials != self._n_trials:
            return False
        return math.isfinite(self._potential)

    def follow(self, draws: np.ndarray) -> np.ndarray:
        """All further seeds, (steps,) int64, from uniform draws (steps, n_trials)."""
        chosen = np.empty(len(draws), dtype=np.int64)
        self._state.follow(draws, chosen)
        return chosen

    def take(self, candidate: int) -> float:
        """Make a candidate of the last `gains`, or the first row, a seed; returns the potential."""
        if self._by_steps is not None:
            return self._by_steps.take(candidate)
        self._first, self._potential = candidate, self._state.begin(candidate)
        return self._potential

    def _steps(self):
        """The same rows a step at a time, from the first seed on."""
        if self._by_steps is None:
            self._by_steps = SeedingPass(*self._given)
            self._by_steps.take(self._first)
        return self._by_steps

    def locate(self, targets: np.ndarray) -> np.ndarray:
        """First rows at which the running sum of weight x squared distance reaches the targets."""
        return self._steps().locate(targets)

    def gains(self, candidates: np.ndarray) -> np.ndarray:
        """How much each candidate would lower the potential."""
        return self._steps().gains(candidates)

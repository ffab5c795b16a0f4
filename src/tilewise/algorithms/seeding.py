"""Greedy k-means++ seeding, draw for draw as scikit-learn makes it."""

import math

import numpy as np

from tilewise.engine import Rows, SeedingPass, refuse_out_of_range
from tilewise.kernels import _exact, _seeding
from tilewise.plan import Plan
from tilewise.plan.thresholds import worth_threads

__all__ = ["kmeans_plusplus"]


def kmeans_plusplus(
    rows: Rows, n_clusters: int, *, weights=None, random_state, n_local_trials=None, plan: Plan
) -> np.ndarray:
    """Rows to start from, chosen by greedy k-means++.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
        Streamed rows are read up to twice per seed; runs of rows that no candidate can reach
        are left out.
    n_clusters : int
    weights : ndarray of shape (n,), float64, optional
    random_state : RandomState
        Asked once for the first seed, then for ``n_local_trials`` uniform numbers per seed,
        the draws that scikit-learn makes.
    n_local_trials : int, optional
        Candidates per seed; 2 + log(n_clusters) by default.
    plan : Plan

    Returns
    -------
    ndarray of shape (n_clusters,), int64

    Notes
    -----
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    Distances are canonical and sums exact, so the rows do not depend on threads, chunks or
    instruction set.
    """
    n, d = rows.n_rows, rows.n_features
    n_trials = 2 + int(np.log(n_clusters)) if n_local_trials is None else int(n_local_trials)
    n_threads = worth_threads(plan.n_threads, n * d, "one seed")
    indices = np.full(n_clusters, -1, dtype=np.int64)
    indices[0] = _first(n, weights, rows.dtype, random_state)
    state = SeedingPass(rows, weights, plan, n_threads)
    # Sparse rows need no distances between seeds, and candidates stay where they are stored.
    seeds, points = None, indices[:1]
    if not state.by_entries:
        seeds = np.zeros((n_clusters, max(8, -(-d // 8) * 8)))
        seeds[0, :d] = rows.take(indices[:1])[0]
        points = seeds[:1]
    potential = state.take(points, 0, 0)
    if not math.isfinite(potential):
        # Every draw would be of the last row. Or weights are that large.
        refuse_out_of_range(rows)
    for c in range(1, n_clusters):
        targets = random_state.uniform(size=n_trials) * potential
        candidates = np.array([state.locate(target) for target in targets], dtype=np.int64)
        trial = 0
        best_gain = -np.inf
        best = None
        for start in range(0, n_trials, _seeding.most_trials):
            group = candidates[start : start + _seeding.most_trials]
            points, nearest = group, None
            if not state.by_entries:
                points = _exact.padded(rows.take(group))
                nearest = _seeding.nearest_to_seeds(
                    seeds, c, points, d, isa=plan.isa,
                    n_threads=worth_threads(n_threads, c * len(points) * d, "seeds"),
                )  # fmt: skip
            gains = state.gains(points, nearest)
            at = int(np.argmax(gains))
            if best is None or gains[at] > best_gain:
                best_gain, best, trial = gains[at], (points, nearest, start), at
        points, nearest, start = best
        if n_trials > _seeding.most_trials and start + _seeding.most_trials < n_trials:
            # A later group overwrote which rows this candidate gained.
            state.gains(points, nearest)
        potential = state.take(points, trial, c)
        indices[c] = candidates[start + trial]
        if not state.by_entries:
            seeds[c, :d] = points[trial, :d]
    return indices


def _first(n: int, weights, dtype, random_state) -> int:
    if weights is None:
        return int(_seeding.weighted_choice(random_state.random_sample(), n))
    weights = weights.astype(dtype, copy=False)
    return int(random_state.choice(n, p=weights / weights.sum()))

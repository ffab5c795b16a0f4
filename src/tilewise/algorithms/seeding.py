"""Greedy k-means++ seeding, draw for draw as scikit-learn makes it."""

import math

import numpy as np

from tilewise.engine import backend_of, refuse_out_of_range
from tilewise.plan import Plan, local_trials

__all__ = ["kmeans_plusplus"]


def kmeans_plusplus(
    rows, n_clusters: int, *, weights=None, random_state, n_local_trials=None, plan: Plan
) -> np.ndarray:
    """Rows to start from, chosen by greedy k-means++.

    Parameters
    ----------
    rows : RowSet of shape (n, d)
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
    n_trials = local_trials(n_clusters) if n_local_trials is None else int(n_local_trials)
    indices = np.full(n_clusters, -1, dtype=np.int64)
    state = backend_of(rows).open_seeding(rows, n_clusters, weights, plan)
    indices[0] = state.first(random_state)
    potential = state.take(indices[0])
    if not math.isfinite(potential):
        # Every draw would be of the last row. Or weights are that large.
        refuse_out_of_range(rows)
    if state.at_once(n_trials):
        # The same numbers, and the same state behind them, as step by step.
        indices[1:] = state.follow(random_state.uniform(size=(n_clusters - 1, n_trials)))
        return indices
    for c in range(1, n_clusters):
        targets = random_state.uniform(size=n_trials) * potential
        candidates = state.locate(targets)
        indices[c] = candidates[np.argmax(state.gains(candidates))]
        potential = state.take(indices[c])
    return indices

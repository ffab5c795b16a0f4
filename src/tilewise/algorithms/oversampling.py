"""k-means||: rows to start from, in a few rounds whatever their number."""

import math

import numpy as np

from tilewise.engine import as_rows, backend_of, hashed, refuse_out_of_range
from tilewise.plan import Plan
from tilewise.plan.oversampling import ROUNDS, rows_per_round

from .seeding import kmeans_plusplus

__all__ = ["kmeans_parallel"]


def kmeans_parallel(rows, n_clusters: int, *, weights=None, random_state, plan: Plan) -> np.ndarray:
    """Rows to start from, chosen by k-means||.

    The first candidate is drawn as k-means++ draws its first row. In each of five rounds every row
    is drawn on its own, with a probability of two per cluster times its share of the sum of
    weight x squared distance to the closest candidate. There are more rounds while fewer than
    `n_clusters` candidates differ and some row lies on none of them. Then each candidate weighs
    what the rows closest to it weigh, and greedy k-means++ chooses among the candidates.

    Parameters
    ----------
    rows : RowSet of shape (n, d)
        Streamed rows are read up to twice per round, and twice for the first candidate.
    n_clusters : int
    weights : ndarray of shape (n,), float64, optional
    random_state : RandomState
        Asked for the first candidate, then for 64 bits, from which `hashed` makes the draws of all
        rounds, then by k-means++.
    plan : Plan

    Returns
    -------
    ndarray of shape (n_clusters, d), of the rows' compute_dtype
        The same row more than once where fewer than `n_clusters` differ.

    Notes
    -----
    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable K-Means++", PVLDB 5 (2012).
    Distances are canonical and sums exact, and draws depend on the numbers of rows. So the rows
    chosen do not depend on threads, chunks, instruction set, or the parts in which rows lie.
    """
    state = backend_of(rows).open_oversampling(rows, weights, plan)
    ids = np.array([state.first(random_state)], dtype=np.int64)
    seed = int.from_bytes(random_state.bytes(8), "little")
    points = rows.take(ids)
    candidates, potential = [points], state.spread(points)
    if not math.isfinite(potential):
        refuse_out_of_range(rows)
    number = 0
    while number < ROUNDS or np.count_nonzero(state.counts(len(ids))) < n_clusters:
        # Infinite where what is left is zero, or too small for a draw.
        share = rows_per_round(n_clusters) / potential if potential > 0.0 else math.inf
        if math.isinf(share):
            break
        drawn = state.draw(int(hashed(seed, number, 1)[0]), share)
        number += 1
        if len(drawn):
            ids = np.append(ids, drawn)
            points = rows.take(drawn)
            potential = state.spread(points)
            if not rows.is_sparse:
                candidates.append(points)
    # Sparse rows stay sparse: all candidates as dense rows might be larger than the data.
    found = rows.copied(ids) if rows.is_sparse else as_rows(np.concatenate(candidates))
    chosen = kmeans_plusplus(
        found, n_clusters, weights=state.counts(len(ids)), random_state=random_state,
        plan=backend_of(found).plan(found, n_clusters, n_threads=plan.n_threads),
    )  # fmt: skip
    return found.take(chosen)

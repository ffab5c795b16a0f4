"""Plain NumPy twin of the engine and of the algorithms: slow, short, and meant to be read.

The compiled passes are checked against these functions, which share their signatures. Every
value is float64, every distance is the canonical one (direct differences, eight lanes), every sum
of rows is rounded once. ``plan`` is accepted and ignored: no result may depend on it.
"""

import math
from collections import namedtuple

import numpy as np
import scipy.sparse as sp

LANES = 8
BLOCK_VALUES = 1 << 20

Stats = namedtuple("Stats", "mean variance")
LloydResult = namedtuple("LloydResult", "labels inertia centers n_iter")


class Rows:
    """The rows of a dense array or CSR matrix, handed out as blocks of float64."""

    def __init__(self, X):
        self._X = X
        self.is_sparse = sp.issparse(X)
        self.is_direct = False
        self.n_rows, self.n_features = X.shape
        single = X.dtype.kind == "f" and X.dtype.itemsize == 4
        self.compute_dtype = self.result_dtype = np.dtype(np.float32 if single else np.float64)

    def _select(self, selection):
        rows = self._X[selection]
        return rows.toarray() if self.is_sparse else np.asarray(rows)

    def take(self, indices):
        return np.array(self._select(np.asarray(indices)), dtype=self.compute_dtype, order="C")

    def blocks(self, values_per_row):
        """Yield (first row, float64 rows); raise for the first value that is not finite."""
        step = max(1, BLOCK_VALUES // max(1, values_per_row))
        for first in range(0, self.n_rows, step):
            block = np.array(self._select(slice(first, first + step)), np.float64, order="C")
            bad = np.argwhere(~np.isfinite(block))
            if len(bad):
                row, column = bad[0]
                kind = "NaN" if np.isnan(block[row, column]) else "infinity"
                raise ValueError(f"Input X contains {kind} at row {first + row}, column {column}.")
            yield first, block

    def all(self):
        """Every row at once as float64, for the code that wants to be plain."""
        return np.concatenate([block for _, block in self.blocks(self.n_features)])


def folded(difference):
    """Sum of squares over the last axis, by eight lanes in a fixed order of additions.

    Lane l adds the squares of columns l, l + 8, l + 16, ... in this order; the lanes are then
    added as ((0+4)+(2+6)) + ((1+5)+(3+7)). A lane that has no column left adds nothing.
    """
    lanes = np.zeros((*difference.shape[:-1], LANES))
    for start in range(0, difference.shape[-1], LANES):
        part = difference[..., start : start + LANES]
        lanes[..., : part.shape[-1]] += part * part
    even = (lanes[..., 0] + lanes[..., 4]) + (lanes[..., 2] + lanes[..., 6])
    odd = (lanes[..., 1] + lanes[..., 5]) + (lanes[..., 3] + lanes[..., 7])
    return even + odd


def canonical(rows, centers):
    """Canonical squared distances (n, k) between float64 rows and float64 centres."""
    return folded(rows[:, None, :] - centers[None, :, :])


def roots(rows, others):
    """Euclidean distances (n, m) of float64 rows, right also where their squares are out of range.

    There the gaps of a pair are multiplied by the power of two that brings the largest to one.
    """
    gaps = np.abs(rows[:, None, :] - others[None, :, :])
    largest = gaps.max(axis=2)
    exponents = np.where(np.isfinite(largest), np.clip(np.frexp(largest)[1], -1000, 1000), 0)
    squares = folded(gaps)
    scaled = folded(gaps * np.ldexp(1.0, -exponents)[:, :, None])
    ordinary = (squares >= 2.0**-960) & np.isfinite(squares)
    return np.where(ordinary, np.sqrt(squares), np.ldexp(np.sqrt(scaled), exponents))


def column_stats(rows, plan=None):
    X = rows.all()
    mean = X.mean(axis=0)
    return Stats(mean, ((X - mean) ** 2).mean(axis=0))


def nearest(rows, centers):
    """Labels (n,) and the canonical squared distances (n,) that they stand for."""
    centers = np.asarray(centers, dtype=np.float64)
    labels = np.empty(rows.n_rows, dtype=np.int32)
    least = np.empty(rows.n_rows)
    for first, block in rows.blocks(rows.n_features * len(centers)):
        distance = canonical(block, centers)
        own = distance.argmin(axis=1)
        labels[first : first + len(block)] = own
        least[first : first + len(block)] = distance[np.arange(len(block)), own]
    return labels, least


def assign(rows, centers, plan=None, *, labels=None):
    found, _ = nearest(rows, centers)
    if labels is None:
        return found
    labels[:] = found
    return labels


def assign_inertia(rows, centers, weights=None, plan=None):
    labels, least = nearest(rows, centers)
    return labels, math.fsum(least if weights is None else least * weights)


def distances(rows, centers, plan=None, *, squared=False, out=None):
    centers = np.asarray(centers, dtype=np.float64)
    if out is None:
        out = np.empty((rows.n_rows, len(centers)), dtype=rows.result_dtype)
    for first, block in rows.blocks(rows.n_features * len(centers)):
        distance = canonical if squared else roots
        out[first : first + len(block)] = distance(block.astype(np.float64), centers)
    return out


def relocated(X, centers, labels, weight_in_clusters):
    """Labels with the row that lies farthest from its own centre for every empty cluster."""
    empty = np.flatnonzero(weight_in_clusters == 0)
    own = folded(X - centers[labels])
    if not len(empty) or own.max() == 0:
        return labels
    farthest = np.argpartition(own, -len(empty))[: -len(empty) - 1 : -1]
    labels = labels.copy()
    labels[farthest] = empty
    return labels


def weights_of(labels, weights, k):
    return np.array([math.fsum(weights[labels == j]) for j in range(k)])


def update(X, centers, labels, weights):
    """New centres (k, d): weighted means, whose sums are rounded once."""
    k = len(centers)
    labels = relocated(X, centers, labels, weights_of(labels, weights, k))
    weight_in_clusters = weights_of(labels, weights, k)
    fresh = np.zeros(centers.shape)
    for j in np.flatnonzero(weight_in_clusters > 0):
        own = labels == j
        columns = (X[own] * weights[own, None]).T
        fresh[j] = [math.fsum(column) for column in columns] / weight_in_clusters[j]
    fresh[weight_in_clusters <= 0] = fresh[weight_in_clusters.argmax()]
    return fresh


def lloyd(
    rows,
    centers,
    *,
    weights=None,
    max_iter=300,
    tol=0.0,
    plan=None,
    verbose=False,
    on_iteration=None,
    on_iteration_begin=None,
    stats=None,
):
    X = rows.all()
    w = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    centers = np.array(centers, dtype=np.float64)
    before = None
    for i in range(max_iter):
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        labels, least = nearest(rows, centers)
        if verbose:
            print(f"Iteration {i}, inertia {float(least @ w)}.")
        old, centers = centers, update(X, centers, labels, w)
        stop = on_iteration is not None and on_iteration(i, centers, labels)
        if before is not None and np.array_equal(labels, before):
            if verbose:
                print(f"Converged at iteration {i}: strict convergence.")
            break
        moved = float(((centers - old) ** 2).sum())
        if moved <= tol:
            if verbose:
                print(f"Converged at iteration {i}: center shift {moved} within tolerance {tol}.")
            break
        if stop:
            break
        before = labels
    centers = np.ascontiguousarray(centers, dtype=rows.result_dtype)
    labels, inertia = assign_inertia(rows, centers, weights)
    return LloydResult(labels, inertia, centers, i + 1)


def kmeans_parallel(X, k, weights, random_state):
    """k-means|| in five rounds, for data of which these draw k rows that differ."""
    w = np.ones(len(X)) if weights is None else weights
    ids = [int(random_state.choice(len(X), p=w / w.sum()))]
    seed = int.from_bytes(random_state.bytes(8), "little")
    for number in range(5):
        chances = w * canonical(X, X[ids]).min(axis=1)
        share, key = 2 * k / math.fsum(chances), split_mix(seed, number)
        drawn = [
            row
            for row in range(len(X))
            if (split_mix(key, row) >> 11) / 2**53 < share * chances[row]
        ]
        ids += drawn
    owner = canonical(X, X[ids]).argmin(axis=1)
    counts = np.array([math.fsum(w[owner == j]) for j in range(len(ids))])
    chosen = kmeans_plusplus(Rows(X[ids]), k, weights=counts, random_state=random_state)
    return X[ids][chosen]


def split_mix(state, number):
    """The number that SplitMix64 makes as the one with this number, from 0 on."""
    z = (state + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def kmeans_plusplus(
    rows, n_clusters, *, weights=None, random_state, n_local_trials=None, plan=None
):
    X = rows.all()
    w = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    trials = 2 + int(np.log(n_clusters)) if n_local_trials is None else n_local_trials
    indices = np.empty(n_clusters, dtype=np.int64)
    indices[0] = random_state.choice(len(X), p=w / w.sum())
    closest = canonical(X, X[indices[:1]])[:, 0]
    potential = closest @ w
    for c in range(1, n_clusters):
        draws = random_state.uniform(size=trials) * potential
        candidates = np.searchsorted(np.cumsum(w * closest), draws)
        np.clip(candidates, None, len(X) - 1, out=candidates)
        after = np.minimum(closest[:, None], canonical(X, X[candidates]))
        potentials = w @ after
        best = potentials.argmin()
        potential, closest, indices[c] = potentials[best], after[:, best], candidates[best]
    return indices

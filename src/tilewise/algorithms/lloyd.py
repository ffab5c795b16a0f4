"""Lloyd's algorithm on exact passes."""

from dataclasses import dataclass

import numpy as np

from tilewise.engine import Pass, Rows, inertia, own_distances
from tilewise.plan import Plan

__all__ = ["LloydResult", "lloyd"]

# Sums may be kept from pass to pass, adding only what changed, while no single row is so
# large that taking it out again leaves visible rounding behind: 2**-53 times this ratio
# stays 1e-10 of a column's spread. Sparse data are summed anew: what a column of zeros
# adds up to must be zero.
_INCREMENTAL_RATIO = 1e6
# Passes of fewer multiply-adds than this are over before bounds could save anything.
_UNBOUNDED_WORK = 50_000


@dataclass(frozen=True)
class LloydResult:
    """What one run of Lloyd's algorithm found.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Exact for `centers`.
    inertia : float
    centers : ndarray of shape (k, d), of the type of the rows
    n_iter : int
    """

    labels: np.ndarray
    inertia: float
    centers: np.ndarray
    n_iter: int


def lloyd(
    rows: Rows, centers: np.ndarray, *, weights=None, max_iter: int = 300, tol: float = 0.0,
    plan: Plan, verbose: bool = False, on_iteration=None,
    on_iteration_begin=None, shift=None, stats=None,
) -> LloydResult:  # fmt: skip
    """Alternate between assigning rows and averaging them.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    centers : ndarray of shape (k, d), float64
        Where to start, in the coordinates of the data.
    weights : ndarray of shape (n,), float64, optional
    max_iter : int
    tol : float
        Stop once the squared shifts of all centres sum to no more than this.
    plan : Plan
    verbose : bool
        Print a line per iteration.
    on_iteration : callable, optional
        Called as ``on_iteration(i, centers, labels)`` after each iteration; a true result
        stops the run there.
    on_iteration_begin : callable, optional
        Called as ``on_iteration_begin(i)`` before each iteration.
    shift : ndarray of shape (d,), float64, optional
        Taken from every row before it is summed; `Stats.shift` chooses well.
    stats : Stats, optional
        The columns' moments; they tell whether sums may be kept from pass to pass. Without
        them every pass sums anew.

    Returns
    -------
    LloydResult

    Notes
    -----
    Centres stay float64 between iterations. At the end they are rounded to the type of the
    rows, and the labels are those of the rounded centres, so that `predict` repeats them.
    """
    k = centers.shape[0]
    shift = np.zeros(rows.n_features) if shift is None else np.asarray(shift, dtype=np.float64)
    centers = np.ascontiguousarray(centers, dtype=np.float64)
    work = rows.n_rows * rows.n_features * k
    run = Pass(
        rows,
        k,
        plan,
        update=True,
        bounds=max_iter > 1 and work > _UNBOUNDED_WORK,
        weights=weights,
        shift=shift,
        incremental=not rows.is_sparse and _may_keep_sums(stats, weights),
    )
    strict = False
    i = 0
    for i in range(max_iter):
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        changed = run.run(centers)
        # Centres that nobody else has seen make room for the next ones.
        spare = centers if i > 0 and on_iteration is None else None
        centers, moved = run.average(spare) or _fill_empty(run, weights, shift)
        if verbose:
            value = inertia(rows, centers, run.labels, weights, plan)
            print(f"Iteration {i}, inertia {value}.")
        stop = on_iteration is not None and on_iteration(i, centers, run.labels)
        if changed == 0:
            if verbose:
                print(f"Converged at iteration {i}: strict convergence.")
            strict = True
            break
        if moved <= tol:
            if verbose:
                print(f"Converged at iteration {i}: center shift {moved} within tolerance {tol}.")
            break
        if stop:
            break
    final = _rounded(centers, rows.dtype)
    exact = final.astype(np.float64)
    if not strict or not np.array_equal(exact, run.assigned_centers):
        run.finish(exact)
    return LloydResult(run.labels, inertia(rows, exact, run.labels, weights, plan), final, i + 1)


def _rounded(centers, dtype):
    with np.errstate(over="ignore"):
        return centers.astype(dtype)


def _may_keep_sums(stats, weights) -> bool:
    if weights is not None:
        used = weights[weights != 0.0]
        if used.size and (used.min() < 0.0 or used.max() > _INCREMENTAL_RATIO * used.min()):
            return False
    if stats is None:
        return False
    spread = np.sqrt(stats.variance)
    reach = stats.largest + np.abs(stats.mean)
    # A constant column has no spread, and nothing to lose: all its sums are rounding.
    return bool(np.all((reach <= _INCREMENTAL_RATIO * spread) | (spread <= 1e-12 * reach)))


def _fill_empty(run: Pass, weights, shift) -> tuple[np.ndarray, float]:
    """Means of the clusters, where some are empty: those move as scikit-learn moves them."""
    centers = run.assigned_centers
    sums, weight_sums = run.sums.copy(), run.weight_sums.copy()
    empty = np.flatnonzero(weight_sums == 0.0)
    if empty.size:
        _relocate(run, centers, weights, shift, empty, sums, weight_sums)
    filled = weight_sums > 0.0
    updated = np.empty_like(centers)
    updated[filled] = sums[filled] / weight_sums[filled, None]
    # What is still empty goes to the heaviest cluster.
    updated[~filled] = updated[np.argmax(weight_sums)] if filled.any() else 0.0
    updated += shift
    return updated, float(np.square(updated - centers).sum())


def _relocate(run, centers, weights, shift, empty, sums, weight_sums):
    """Give each empty cluster one of the rows farthest from their centres."""
    gaps = np.empty(run.rows.n_rows)
    own_distances(run.rows, centers, run.labels, None, run.plan, out=gaps)
    if gaps.max() == 0.0:
        return
    farthest = np.argpartition(gaps, -empty.size)[: -empty.size - 1 : -1]
    values = run.rows.take(farthest).astype(np.float64) - shift
    for new, i, value in zip(empty, farthest, values, strict=True):
        weight = 1.0 if weights is None else weights[i]
        old = run.labels[i]
        sums[old] -= value * weight
        sums[new] = value * weight
        weight_sums[new] = weight
        weight_sums[old] -= weight

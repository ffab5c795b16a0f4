"""Lloyd's algorithm on exact passes."""

from dataclasses import asdict, dataclass

import numpy as np

from tilewise.engine import Pass, Rows, open_pass
from tilewise.plan import Plan

__all__ = ["LloydResult", "LloydState", "lloyd"]

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


@dataclass(frozen=True)
class LloydState:
    """Where a run stands after an iteration: enough to go on with, bit for bit.

    Attributes
    ----------
    n_iter : int
        Iterations done.
    centers : ndarray of shape (k, d), float64
        What the last of them found.
    assigned : ndarray of shape (k, d), float64
        The centres that it started from: the labels follow from them.
    sums, weight_sums, members : ndarray
        Sums that the next one adds to: (k, d) and (k,) float64, (k,) int64; (k, 0) where it adds
        to none.
    ended : {"", "strict", "tol", "stopped"}
        Why it was the last iteration, if it was.
    """

    n_iter: int
    centers: np.ndarray
    assigned: np.ndarray
    sums: np.ndarray
    weight_sums: np.ndarray
    members: np.ndarray
    ended: str = ""

    def arrays(self) -> dict:
        """The fields by name, as arrays."""
        return {name: np.asarray(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, arrays) -> "LloydState":
        """The state that `arrays` came from."""
        values = {name: arrays[name] for name in cls.__dataclass_fields__}
        return cls(**values | {"n_iter": int(values["n_iter"]), "ended": str(values["ended"])})


def lloyd(
    rows: Rows, centers: np.ndarray, *, weights=None, max_iter: int = 300, tol: float = 0.0,
    plan: Plan, verbose: bool = False, on_iteration=None,
    on_iteration_begin=None, shift=None, stats=None, bounds: bool = True, resume=None, keep=None,
    copy: bool = True,
) -> LloydResult:  # fmt: skip
    """Alternate between assigning rows and averaging them.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
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
    bounds : bool
        Whether bounds of each row's distances may be kept; they cost 8 bytes per row and never
        change a result.
    resume : LloydState, optional
        Go on from there; `centers` is not used then.
    keep : callable, optional
        Called as ``keep(state)`` after each iteration; its arrays are used again in later ones.
    copy : bool, default=True
        Whether `centers` stay as they are. If not, their array may be used for others.

    Returns
    -------
    LloydResult

    Notes
    -----
    Centres stay float64 between iterations. At the end they are rounded to the type of the
    rows, and the labels are those of the rounded centres, so that `predict` repeats them.
    """
    k = (centers if resume is None else resume.centers).shape[0]
    shift = np.zeros(rows.n_features) if shift is None else np.asarray(shift, dtype=np.float64)
    work = rows.n_rows * rows.n_features * k
    run = open_pass(
        rows,
        k,
        plan,
        update=True,
        bounds=bounds and max_iter > 1 and work > _UNBOUNDED_WORK,
        weights=weights,
        shift=shift,
        incremental=not rows.is_sparse and _may_keep_sums(stats, weights),
        keep_centers=False,
    )
    i, ended = 0, ""
    if resume is not None:
        i, centers, ended = resume.n_iter, resume.centers, resume.ended
        run.restore(resume.assigned, resume.sums, resume.weight_sums, resume.members)
    centers = np.ascontiguousarray(centers, dtype=np.float64)
    ours, spare = not copy and resume is None, None
    while i < max_iter and not ended:
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        changed = run.run(centers, spare)
        assigned = centers
        centers, moved = run.average() or _fill_empty(run, weights, shift)
        # Centres that nobody else has seen make room for the next ones.
        spare = assigned if ours and on_iteration is None else None
        ours = True
        if verbose:
            print(f"Iteration {i}, {run.said(centers)}.")
        stop = False
        if on_iteration is not None:
            stop = on_iteration(i, centers, run.labels)
            run.forget()
        if changed == 0:
            if verbose:
                print(f"Converged at iteration {i}: strict convergence.")
            ended = "strict"
        elif moved <= tol:
            if verbose:
                print(f"Converged at iteration {i}: center shift {moved} within tolerance {tol}.")
            ended = "tol"
        elif stop:
            ended = "stopped"
        i += 1
        if keep is not None:
            keep(
                LloydState(
                    i, centers, run.assigned_centers, run.sums, run.weight_sums, run.members, ended
                )
            )
    final = _rounded(centers, rows.dtype)
    if rows.dtype == np.float64:
        exact = final
    elif ours and on_iteration is None:
        # Nobody else has seen these.
        exact = centers
        np.copyto(exact, final)
    else:
        exact = final.astype(np.float64)
    del centers, spare
    assign = ended != "strict" or not np.array_equal(exact, run.assigned_centers)
    return LloydResult(run.labels, run.conclude(exact, assign), final, i)


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
    """Means of the clusters, where some are empty: those move as scikit-learn moves them.

    One cluster at a time: of many columns even one more array of centres is large.
    """
    centers = run.assigned_centers
    sums, weight_sums = run.sums, run.weight_sums.copy()
    empty = np.flatnonzero(weight_sums == 0.0)
    changed = {}
    if empty.size:
        changed = _relocate(run, centers, weights, shift, empty, sums, weight_sums)
    updated = np.empty_like(centers)
    filled = weight_sums > 0.0
    for j in np.flatnonzero(filled):
        np.divide(changed.get(j, sums[j]), weight_sums[j], out=updated[j])
    # What is still empty goes to the heaviest cluster.
    updated[~filled] = updated[np.argmax(weight_sums)] if filled.any() else 0.0
    moved = 0.0
    for row, old in zip(updated, centers, strict=True):
        row += shift
        moved += float(np.square(row - old).sum())
    return updated, moved


def _relocate(run, centers, weights, shift, empty, sums, weight_sums):
    """Give each empty cluster one of the rows farthest from their centres.

    Returns the sums that change, by cluster; weight_sums are changed in place.
    """
    changed = {}
    farthest = run.farthest(centers, empty.size)
    if not farthest.size:
        return changed
    for new, i in zip(empty, farthest, strict=True):
        value = run.rows.take([i])[0].astype(np.float64) - shift
        weight = 1.0 if weights is None else weights[i]
        old = run.labels[i]
        changed[old] = changed.get(old, sums[old]) - value * weight
        changed[new] = value * weight
        weight_sums[new] = weight
        weight_sums[old] -= weight
    return changed

"""Lloyd's algorithm on exact passes."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from tilewise.engine import AssignmentPass, RowSet, backend_of
from tilewise.plan import Plan

__all__ = ["LloydResult", "LloydState", "lloyd"]

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
    centers : ndarray of shape (k, d), of the rows' result_dtype
    n_iter : int
    spare : AssignmentPass or None
        The pass that found it, if another run may begin with it.
    """

    labels: np.ndarray
    inertia: float
    centers: np.ndarray
    n_iter: int
    spare: AssignmentPass | None = None


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
    ended : {"", "strict", "tol", "stopped"}
        Why it was the last iteration, if it was.
    """

    n_iter: int
    centers: np.ndarray
    assigned: np.ndarray
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
    rows: RowSet, centers: np.ndarray, *, weights=None, max_iter: int = 300, tol: float = 0.0,
    plan: Plan, verbose: bool = False, on_iteration=None,
    on_iteration_begin=None, stats=None, bounds: bool = True, resume=None, keep=None,
    copy: bool = True, spare: AssignmentPass | None = None,
) -> LloydResult:  # fmt: skip
    """Alternate between assigning rows and averaging them.

    Parameters
    ----------
    rows : RowSet of shape (n, d)
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
    stats : Stats, optional
        The columns' magnitudes, which sums need; measured here by default.
    bounds : bool
        Whether bounds of each row's distances may be kept; they cost 8 bytes per row and never
        change a result.
    resume : LloydState, optional
        Go on from there; `centers` is not used then.
    keep : callable, optional
        Called as ``keep(state)`` after each iteration; its arrays are used again in later ones.
    copy : bool, default=True
        Whether `centers` stay as they are. If not, their array may be used for others.
    spare : AssignmentPass, optional
        That of the result of an earlier run, which differed in its start alone.

    Returns
    -------
    LloydResult

    Notes
    -----
    Centres stay float64 between iterations. At the end they are rounded to
    ``rows.result_dtype``, and the labels are those of the rounded centres, so that `predict`
    repeats them.
    """
    k = (centers if resume is None else resume.centers).shape[0]
    work = rows.n_rows * rows.n_features * k
    run = spare
    if run is not None:
        run.renew()
    else:
        run = backend_of(rows).open_assignment(
            rows, k, plan, sums=True, bounds=bounds and max_iter > 1 and work > _UNBOUNDED_WORK,
            weights=weights, stats=stats,
        )  # fmt: skip
    i, ended = 0, ""
    if resume is not None:
        i, centers, ended = resume.n_iter, resume.centers, resume.ended
        run.assign_and_sum(run.hold(resume.assigned))
    centers = run.hold(centers)
    # New centres may be written over old ones that nobody else sees.
    ours = not copy and resume is None
    shared = on_iteration is not None or keep is not None
    moved = math.inf
    while i < max_iter and not ended:
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        changed = run.assign_and_sum(centers)
        assigned = centers
        if shared or not ours:
            centers = run.blank(assigned)
        ours = True
        moved = run.average(centers)
        if moved is None:
            moved = _fill_empty(run, assigned, centers)
        if verbose:
            print(f"Iteration {i}, {run.progress(centers)}.")
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
            keep(LloydState(i, centers, assigned, ended))
    # Nothing is averaged any more: of many columns the sums are as large as the centres.
    run.close_sums()
    centers = np.asarray(centers)
    final = _rounded(centers, rows.result_dtype)
    exact = final if rows.result_dtype == np.float64 else final.astype(np.float64)
    # Labels that did not change belong to the centres they were found for: these, if they stayed.
    if ended == "strict" and moved == 0.0 and np.array_equal(exact, centers):
        inertia = run.inertia(exact)
    else:
        del centers
        inertia = run.assign_and_measure(exact)
    return LloydResult(run.labels, inertia, final, i, run if run.renewable else None)


def _rounded(centers, dtype):
    with np.errstate(over="ignore"):
        return centers.astype(dtype)


def _fill_empty(run: AssignmentPass, centers, out) -> float:
    """Means of the clusters, where some are empty: those move as scikit-learn moves them.

    Each empty cluster takes one of the rows farthest from their centres.
    """
    empty = np.flatnonzero(run.weights == 0.0)
    farthest = run.farthest(centers, empty.size) if empty.size else empty
    return run.average(out, [(int(i), int(j)) for i, j in zip(farthest, empty, strict=False)])

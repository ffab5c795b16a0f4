"""Mini-batch K-Means, draw for draw as scikit-learn makes it."""

import math
from dataclasses import dataclass

import numpy as np

from tilewise.engine import BatchPass, Draws, Rows, squared_moves
from tilewise.plan import Plan

__all__ = ["MiniBatchResult", "MiniBatchState", "minibatch", "minibatch_step"]

# Samples per cluster after which centres of few rows are looked for again; scikit-learn's number.
_REASSIGN_AFTER = 10
# Share of a batch whose rows may become centres at once; scikit-learn's number.
_MOST_REASSIGNED = 0.5


@dataclass
class MiniBatchState:
    """What one step hands to the next.

    Attributes
    ----------
    centers : ndarray of shape (k, d), float64
    counts : ndarray of shape (k,), float64
        Weight that each centre stands for.
    since_reassigned : int
        Rows seen since centres of few rows were last looked for.
    """

    centers: np.ndarray
    counts: np.ndarray
    since_reassigned: int = 0


@dataclass(frozen=True)
class MiniBatchResult:
    """What a run found.

    Attributes
    ----------
    state : MiniBatchState
    n_steps : int
    smoothed_inertia : float or None
        Exponentially weighted average of the batches' inertia per row, from the second on.
    least_inertia : float or None
        The least value that it had.
    no_improvement : int
        Steps since then.
    batch_inertia : float
        Inertia per row of the last batch.
    """

    state: MiniBatchState
    n_steps: int
    smoothed_inertia: float | None
    least_inertia: float | None
    no_improvement: int
    batch_inertia: float


def minibatch(
    rows: Rows, centers: np.ndarray, *, weights=None, batch_size: int, n_steps: int,
    random_state, tol: float = 0.0, max_no_improvement: int | None = 10,
    reassignment_ratio: float = 0.01, plan: Plan, verbose: bool = False,
    on_iteration=None, on_iteration_begin=None,
) -> MiniBatchResult:  # fmt: skip
    """Move centres by one random batch of rows after another.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    centers : ndarray of shape (k, d), float64
        Where to start.
    weights : ndarray of shape (n,), float64, optional
        Rows are drawn in proportion to them. A row that was drawn counts once.
    batch_size : int
        Rows per step, drawn with replacement.
    n_steps : int
        Most steps, at least one.
    random_state : RandomState
        Asked for ``batch_size`` uniform numbers per step, and for a choice without replacement
        when centres are reassigned: the draws that scikit-learn makes.
    tol : float
        Stop once the squared moves of all centres in one step sum to no more than this; 0
        never stops.
    max_no_improvement : int, optional
        Stop after so many steps without a new least smoothed inertia.
    reassignment_ratio : float
        Centres whose count falls below this share of the largest are replaced by rows.
    plan : Plan
        Of a pass over `batch_size` rows.
    verbose : bool
        Print a line per step.
    on_iteration : callable, optional
        Called as ``on_iteration(i, centers, labels)`` after each step, with the labels of the
        batch; a true result stops the run there. The arrays are used again in later steps.
    on_iteration_begin : callable, optional
        Called as ``on_iteration_begin(i)`` before each step.

    Returns
    -------
    MiniBatchResult

    Notes
    -----
    D. Sculley, "Web-scale k-means clustering", WWW 2010. Centres stay float64 from step to
    step; labels are exact, and every sum has one order of additions, so that the result does
    not depend on threads, chunks or instruction set.
    """
    k = centers.shape[0]
    ids = np.zeros(batch_size, dtype=np.int64)
    batch = BatchPass(rows, k, plan, ids=ids)
    draws = Draws(rows, weights)
    state = MiniBatchState(np.array(centers, dtype=np.float64, order="C"), np.zeros(k))
    moved = np.empty_like(state.centers)
    alpha = min(1.0, batch_size * 2.0 / (rows.n_rows + 1))
    smoothed = least = None
    worse = 0
    inertia = math.nan
    i = 0
    for i in range(n_steps):
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        draws.draw(random_state.random_sample(batch_size), ids)
        inertia = (
            _step(batch, state, moved, batch_size, random_state, reassignment_ratio, verbose)
            / batch_size
        )
        shift = squared_moves(state.centers, moved) if tol > 0.0 else 0.0
        state.centers, moved = moved, state.centers
        stop = on_iteration is not None and on_iteration(i, state.centers, batch.labels)
        if i == 0:
            # The first batch says more about where the centres started than where they are.
            if verbose:
                print(f"Minibatch step 1/{n_steps}: mean batch inertia: {inertia}")
        else:
            smoothed = inertia if smoothed is None else smoothed * (1 - alpha) + inertia * alpha
            if verbose:
                print(
                    f"Minibatch step {i + 1}/{n_steps}: mean batch inertia: {inertia}, "
                    f"ewa inertia: {smoothed}"
                )
            if tol > 0.0 and shift <= tol:
                if verbose:
                    print(f"Converged (small centers change) at step {i + 1}/{n_steps}")
                break
            if least is None or smoothed < least:
                least, worse = smoothed, 0
            else:
                worse += 1
            if max_no_improvement is not None and worse >= max_no_improvement:
                if verbose:
                    print(f"Converged (lack of improvement in inertia) at step {i + 1}/{n_steps}")
                break
        if stop:
            break
    return MiniBatchResult(state, i + 1, smoothed, least, worse, inertia)


def minibatch_step(
    rows: Rows, state: MiniBatchState, *, weights=None, batch_size: int, random_state,
    reassignment_ratio: float = 0.01, plan: Plan, verbose: bool = False,
) -> float:  # fmt: skip
    """Move the centres of `state` by all the rows, which are one batch; returns its inertia.

    Parameters
    ----------
    rows : Rows of shape (b, d)
    state : MiniBatchState
        Updated. Its centres are a new array afterwards; nothing changes if this raises.
    weights : ndarray of shape (b,), float64, optional
        How much each row counts.
    batch_size : int
        Rows that count as seen, for the rhythm of reassigning.
    random_state : RandomState
    reassignment_ratio : float
    plan : Plan
    verbose : bool

    Returns
    -------
    float
    """
    batch = BatchPass(rows, len(state.counts), plan, weights=weights)
    moved = np.empty_like(state.centers)
    inertia = _step(batch, state, moved, batch_size, random_state, reassignment_ratio, verbose)
    state.centers = moved
    return inertia


def _step(batch, state, moved, batch_size, random_state, ratio, verbose):
    """Write the centres after one batch to `moved`; returns the inertia before."""
    counts = state.counts
    since = state.since_reassigned + batch_size
    reassign = since >= _REASSIGN_AFTER * len(counts) or not counts.all()
    inertia = batch.step(state.centers, moved, counts)
    state.since_reassigned = 0 if reassign else since
    if reassign and ratio > 0.0:
        _reassign(batch.rows, moved, counts, random_state, ratio, verbose)
    return inertia


def _reassign(rows, centers, counts, random_state, ratio, verbose):
    """Put centres that stand for few rows onto rows of the batch, with a count to start from."""
    few = counts < ratio * counts.max()
    if not few.any():
        return
    most = _MOST_REASSIGNED * rows.n_rows
    if np.count_nonzero(few) > most:
        # Stable: which of equal counts stay must not depend on how a machine sorts.
        few[np.argsort(counts, kind="stable")[int(most) :]] = False
    n_few = np.count_nonzero(few)
    if n_few:
        chosen = random_state.choice(rows.n_rows, replace=False, size=n_few)
        if verbose:
            print(f"[MiniBatchKMeans] Reassigning {n_few} cluster centers.")
        centers[few] = rows.take(chosen)
    if not few.all():
        counts[few] = counts[~few].min()

"""Mini-batch K-Means, draw for draw as scikit-learn makes it."""

import math
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from tilewise.engine import (
    Batches,
    BatchPass,
    RowSet,
    backend_of,
    refuse_out_of_range,
    squared_moves,
)
from tilewise.plan import Plan

__all__ = [
    "MiniBatchProgress", "MiniBatchResult", "MiniBatchState", "minibatch", "minibatch_step",
]  # fmt: skip

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
    batch : BatchPass or None
        What made the last step, if any, and ...
    stale : ndarray of shape (k,), uint8, or None
        ... which centres moved in it.
    """

    centers: np.ndarray
    counts: np.ndarray
    since_reassigned: int = 0
    batch: BatchPass | None = field(default=None, repr=False, compare=False)
    stale: np.ndarray | None = field(default=None, repr=False, compare=False)


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


@dataclass
class MiniBatchProgress:
    """Where a run stands after a step: enough to go on with, bit for bit.

    Attributes
    ----------
    steps : int
    centers, counts, since_reassigned
        As in `MiniBatchState`.
    smoothed, least, worse, inertia, ended
        What the stopping rules have seen; NaN for what there is not yet.
    """

    steps: int
    centers: np.ndarray
    counts: np.ndarray
    since_reassigned: int
    smoothed: float
    least: float
    worse: int
    inertia: float
    ended: bool

    def arrays(self) -> dict:
        """The fields by name, as arrays."""
        return {name: np.asarray(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, arrays) -> "MiniBatchProgress":
        """The progress that `arrays` came from."""
        return cls(
            **{
                f.name: np.array(arrays[f.name])
                if f.name in ("centers", "counts")
                else arrays[f.name].item()
                for f in fields(cls)
            }
        )


def minibatch(
    batches: Batches, centers: np.ndarray, *, n_steps: int | None, random_state, tol: float = 0.0,
    max_no_improvement: int | None = 10, reassignment_ratio: float = 0.01,
    verbose: bool = False, on_iteration=None, on_iteration_begin=None, resume=None, keep=None,
    copy: bool = True,
) -> MiniBatchResult:  # fmt: skip
    """Move centres by one random batch of rows after another.

    Parameters
    ----------
    batches : Batches
        Where the batches come from; its `next_batch` is None where there are no more.
    centers : ndarray of shape (k, d), float64
        Where to start.
    n_steps : int or None
        Most steps, at least one; None for as many as there are batches.
    random_state : RandomState
        Asked for a choice without replacement when centres are reassigned.
    tol : float
        Stop once the squared moves of all centres in one step sum to no more than this; 0
        never stops.
    max_no_improvement : int, optional
        Stop after so many steps without a new least smoothed inertia.
    reassignment_ratio : float
        Centres whose count falls below this share of the largest are replaced by rows.
    verbose : bool
        Print a line per step.
    on_iteration : callable, optional
        Called as ``on_iteration(i, centers, labels)`` after each step, with the labels of the
        batch; a true result stops the run there. The arrays are used again in later steps.
    on_iteration_begin : callable, optional
        Called as ``on_iteration_begin(i)`` before each step.
    resume : MiniBatchProgress, optional
        Go on from there; `centers` is not used then.
    keep : callable, optional
        Called as ``keep(progress)`` after steps between which nothing is half read, and at the
        end.
    copy : bool, default=True
        Whether `centers` stay as they are. If not, they are moved where they stand, if they can.

    Returns
    -------
    MiniBatchResult

    Notes
    -----
    D. Sculley, "Web-scale k-means clustering", WWW 2010. Centres stay float64 from step to
    step; labels are exact, and every sum has one order of additions, so that the result does
    not depend on threads, chunks or instruction set.
    """
    if resume is None:
        state = MiniBatchState(
            np.array(centers, dtype=np.float64, order="C", copy=copy or None),
            np.zeros(centers.shape[0]),
        )
        i, smoothed, least, worse, inertia, ended = 0, None, None, 0, math.nan, False
    else:
        state = MiniBatchState(resume.centers, resume.counts, resume.since_reassigned)
        i, worse, inertia, ended = resume.steps, resume.worse, resume.inertia, resume.ended
        smoothed = None if math.isnan(resume.smoothed) else resume.smoothed
        least = None if math.isnan(resume.least) else resume.least
    before = np.empty_like(state.centers) if tol > 0.0 else None
    while (n_steps is None or i < n_steps) and not ended:
        if on_iteration_begin is not None:
            on_iteration_begin(i)
        batch = batches.next_batch()
        if batch is None:
            break
        size = batch.rows.n_rows
        if tol > 0.0:
            np.copyto(before, state.centers)
        inertia = _step(batch, state, size, random_state, reassignment_ratio, verbose) / size
        shift = squared_moves(before, state.centers) if tol > 0.0 else 0.0
        stop = False
        if on_iteration is not None:
            stop = on_iteration(i, state.centers, batch.labels)
            # Others have had the centres in their hands.
            state.stale = None
        named = f"{i + 1}" if n_steps is None else f"{i + 1}/{n_steps}"
        if i == 0:
            # The first batch says more about where the centres started than where they are.
            if verbose:
                print(f"Minibatch step {named}: mean batch inertia: {inertia}")
        else:
            alpha = min(1.0, size * 2.0 / (batches.n_rows + 1))
            smoothed = inertia if smoothed is None else smoothed * (1 - alpha) + inertia * alpha
            if verbose:
                print(
                    f"Minibatch step {named}: mean batch inertia: {inertia}, "
                    f"ewa inertia: {smoothed}"
                )
            if tol > 0.0 and shift <= tol:
                if verbose:
                    print(f"Converged (small centers change) at step {named}")
                ended = True
            else:
                if least is None or smoothed < least:
                    least, worse = smoothed, 0
                else:
                    worse += 1
                if max_no_improvement is not None and worse >= max_no_improvement:
                    if verbose:
                        print(f"Converged (lack of improvement in inertia) at step {named}")
                    ended = True
        ended = ended or bool(stop)
        i += 1
        if keep is not None and (batches.at_rest or ended):
            keep(
                MiniBatchProgress(
                    i, state.centers, state.counts, state.since_reassigned,
                    math.nan if smoothed is None else smoothed,
                    math.nan if least is None else least, worse, inertia, ended,
                )
            )  # fmt: skip
    return MiniBatchResult(state, i, smoothed, least, worse, inertia)


def minibatch_step(
    rows: RowSet, state: MiniBatchState, *, weights=None, batch_size: int, random_state,
    reassignment_ratio: float = 0.01, plan: Plan, verbose: bool = False,
) -> float:  # fmt: skip
    """Move the centres of `state` by all the rows, which are one batch; returns its inertia.

    Parameters
    ----------
    rows : RowSet of shape (b, d)
    state : MiniBatchState
        Updated, its arrays too; nothing changes if a row holds a value that is not finite.
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
    batch = backend_of(rows).open_batch(rows, len(state.counts), plan, weights)
    return _step(batch, state, batch_size, random_state, reassignment_ratio, verbose)


def _step(batch, state, batch_size, random_state, ratio, verbose):
    """Move the centres by one batch; returns the inertia before."""
    centers, counts = state.centers, state.counts
    since = state.since_reassigned + batch_size
    reassign = since >= _REASSIGN_AFTER * len(counts) or not counts.all()
    stale = state.stale if state.batch is batch else None
    inertia = batch.step(centers, centers, counts, stale)
    if not math.isfinite(inertia):
        # Or weights are that large.
        refuse_out_of_range(batch.rows)
        refuse_out_of_range(centers)
    state.batch, state.stale = batch, np.zeros(len(counts), dtype=np.uint8)
    state.stale[batch.labels] = 1
    state.since_reassigned = 0 if reassign else since
    if reassign and ratio > 0.0:
        _reassign(batch.rows, state, random_state, ratio, verbose)
    return inertia


def _reassign(rows, state, random_state, ratio, verbose):
    """Put centres that stand for few rows onto rows of the batch, with a count to start from."""
    centers, counts = state.centers, state.counts
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
        # One at a time: rows of many columns are long.
        for j, i in zip(np.flatnonzero(few), chosen, strict=True):
            centers[j] = rows.take([i])[0]
            state.stale[j] = 1
    if not few.all():
        counts[few] = counts[~few].min()

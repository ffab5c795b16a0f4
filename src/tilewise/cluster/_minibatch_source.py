"""`MiniBatchKMeans.fit` on rows that are read."""

import math

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from tilewise import algorithms, engine
from tilewise.cluster import _checkpoint, _streaming, _validation
from tilewise.cluster._base import is_array_init
from tilewise.cluster._callbacks import fit_tasks
from tilewise.plan import LimitTooSmall, parse_bytes


def fit_source(estimator, X, y, source, sample_weight):
    """Fit on the source that ``X`` names; see the estimator's notes for the order of its rows."""
    _streaming.check_features(source, estimator, reset=True)
    fit = _fit_once if source.one_shot else _fit_again

    def tasks(n_steps, attributes):
        return fit_tasks(estimator, X, y, sample_weight, 1, n_steps, attributes)

    found, kept, begun = fit(estimator, source, sample_weight, tasks)
    estimator._found(found, kept)
    begun.finish()
    if estimator.verbose:
        print(found["stream_report_"])


def _fit_again(estimator, source, sample_weight, tasks):
    rows = _streaming.open_rows(source, estimator, "")
    n, k = rows.n_rows, estimator.n_clusters
    estimator._check_sizes(rows)
    size = estimator._batch_size
    random_state = check_random_state(estimator.random_state)
    weights = _validation.check_weights(sample_weight, n)
    init = estimator._checked_init(rows)
    plan = estimator._plan(rows, k, size)
    samples = 0 if is_array_init(init) else estimator._init_size
    if not is_array_init(init) and (estimator._n_init > 1 or estimator.verbose):
        samples *= 2
    whole = estimator._plan(rows, k)
    stream_plan = _streaming.plan_rows(
        rows, whole, estimator.memory_limit, init_rows=samples, weighted=weights is not None,
        max_iter=estimator.max_iter, bounds=False, row_bytes=4 if estimator.compute_labels else 0,
        passes="rows for the start, " + ("one to measure the columns, " if estimator.tol else "")
        + f"up to {estimator.max_iter} epochs"
        + (", one for labels and inertia." if estimator.compute_labels else "."),
        extra_bytes=engine.batch_bytes(source, n, size),
    )  # fmt: skip
    if estimator.verbose:
        print("\n".join(stream_plan.sentences()))
    kept = _checkpoint.open_checkpoint(estimator.checkpoint, estimator, rows, weights, source)
    resume = None
    estimator._tol = 0
    if estimator.tol:
        variance = engine.column_stats(rows, whole).variance
        estimator._tol = float(estimator.tol * np.mean(variance))
    if kept is not None and kept.saved is not None:
        centers, random_state, resume = _checkpoint.taken_up(kept, random_state)
    else:
        centers = _start(estimator, rows, init, random_state, weights)
    per_epoch = math.ceil(n / size)
    n_steps = estimator.max_iter * per_epoch

    def attributes(centers, steps):
        return {
            "cluster_centers_": np.array(centers, dtype=rows.result_dtype),
            "_n_features_out": k,
            "n_steps_": steps,
            "n_iter_": math.ceil(steps / per_epoch),
            "chunk_plan_": plan,
            "stream_plan_": stream_plan,
        }

    tasks = tasks(n_steps, lambda i, centers: attributes(centers, i + 1))
    batches = engine.ReadBatches(source, n, k, weights, size, random_state, plan)
    with batches:
        run = estimator._run(
            batches,
            centers,
            n_steps,
            random_state,
            resume=resume,
            keep=_checkpoint.step_keeper(kept, random_state),
            **tasks.begin_run(),
        )
    found = _state(estimator, run) | attributes(run.state.centers, run.n_steps)
    if estimator.compute_labels:
        labelled = engine.Pass(rows, k, whole, weights=weights)
        inertia = labelled.assign_and_measure(found["cluster_centers_"].astype(np.float64))
        found |= {"labels_": labelled.labels, "inertia_": inertia}
    else:
        found["inertia_"] = _estimate(run) * n
    found["stream_report_"] = batches.report(rows.report)
    return found, kept, tasks


def _fit_once(estimator, source, sample_weight, tasks):
    if estimator.checkpoint is not None:
        raise ValueError(
            f"{source.name}: rows that come once cannot be taken up again: give no checkpoint, or "
            "a callable that returns the batches anew."
        )
    if sample_weight is not None:
        raise ValueError(
            f"{source.name}: rows that come once have no number to give weights for: use "
            "partial_fit with the weights of each batch."
        )
    k, size = estimator.n_clusters, estimator.batch_size
    wanted = estimator.init_size or max(3 * size, 3 * k)
    _check_limit(estimator, source, size, max(wanted, size))
    random_state = check_random_state(estimator.random_state)
    rows = engine.StreamRows(source, 2**62, buffer_rows=384, piece_rows=384)
    plan = estimator._plan(rows, k, size)
    batches = engine.ReadBatches(source, None, k, None, size, None, plan, ahead=wanted)
    estimator._tol = 0

    def attributes(centers, steps):
        return {
            "cluster_centers_": np.array(centers, dtype=source.dtype),
            "_n_features_out": k,
            "n_steps_": steps,
            "n_iter_": 1,
            "chunk_plan_": plan,
        }

    tasks = tasks(None, lambda i, centers: attributes(centers, i + 1))
    with batches:
        first = engine.Rows(batches.first_rows(max(wanted, k)))
        engine.column_stats(first, estimator._plan(first, k))
        estimator._check_sizes(first)
        init = estimator._checked_init(first)
        centers = estimator._best_start(first.source, first, init, random_state, None)
        del first
        run = estimator._run(
            batches, centers, algorithms.ENDLESS, random_state, max_no_improvement=None,
            **tasks.begin_run(),
        )  # fmt: skip
    found = _state(estimator, run) | attributes(run.state.centers, run.n_steps)
    found |= {
        "inertia_": _estimate(run) * batches.n_rows,
        "stream_report_": batches.report(engine.StreamReport()),
    }
    return found, None, tasks


def _check_limit(estimator, source, size, ahead):
    limit = parse_bytes(estimator.memory_limit)
    needed = engine.batch_bytes(source, None, size, ahead) + int(getattr(source, "held_bytes", 0))
    needed += ahead * (source.n_features * source.dtype.itemsize + 14)
    needed += 16 * 8 * estimator.n_clusters * source.n_features
    if limit is not None and limit < needed:
        raise LimitTooSmall(
            f"memory_limit={estimator.memory_limit!r} is too small: batches of {size} rows, and "
            f"the rows that the first centres are chosen from, need {needed} bytes."
        )


def _start(estimator, rows, init, random_state, weights):
    """Where to start: the best of several, on rows that were drawn beforehand."""
    if is_array_init(init):
        return init
    n, size = rows.n_rows, estimator._init_size
    several = estimator._n_init > 1 or estimator.verbose
    ids = sample_without_replacement(n, size, random_state=random_state)
    valid = sample_without_replacement(n, size, random_state=random_state) if several else ids[:0]
    taken = rows.take(np.concatenate([ids, valid]))
    X, judged = taken[:size], engine.Rows(taken[size:])
    chosen = None if weights is None else weights[ids]
    if chosen is not None and not chosen.any():
        raise ValueError(
            f"none of the {size} rows of the sample has a weight: give a larger init_size"
        )
    judged_weights = None if weights is None else weights[valid]
    return estimator._best_of(X, init, random_state, chosen, judged, judged_weights)


def _state(estimator, run):
    return estimator._state_of(run.state) | {
        "_ewa_inertia": run.smoothed_inertia,
        "_ewa_inertia_min": run.least_inertia,
        "_no_improvement": run.no_improvement,
    }


def _estimate(run):
    # After a single step nothing has been smoothed yet.
    return run.batch_inertia if run.smoothed_inertia is None else run.smoothed_inertia

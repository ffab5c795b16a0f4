"""Sources of rows behind the estimators: opening, starting, assigning and measuring them."""

import math
import os
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.utils.random import sample_without_replacement

from tilewise import engine
from tilewise.cluster import _scaled, _validation
from tilewise.cluster._files import Output
from tilewise.plan import LimitTooSmall, parse_bytes, plan, plan_stream, sample_rows

#: Constraints of the parameters that only matter for sources.
STREAM_CONSTRAINTS = {
    "memory_limit": [_validation.Interval(_validation.Integral, 1, None, closed="left"), str, None],
    "checkpoint": [str, os.PathLike, None],
}


def find_source(X, memory_limit=None):
    """The source that ``X`` names, or None where ``X`` is data in memory.

    The limit is checked either way: a slip in it is not to wait for larger data.
    """
    parse_bytes(memory_limit)
    # Plain arrays must not pay for the question.
    if type(X) is np.ndarray or sp.issparse(X):
        return None
    from tilewise.sources import as_source

    if isinstance(X, np.memmap):
        return as_source(X, streamed=True) if memory_limit is not None else None
    return as_source(X)


def check_features(source, estimator, *, reset):
    """What ``validate_data`` does with the columns of data in memory: names and their number."""
    from tilewise.sources import names_of

    _validation.check_columns(source.n_features, names_of(source), estimator, reset=reset)


def open_rows(source, estimator, why):
    """`StreamRows` of a source that can be read again and again; counts them if need be."""
    if source.one_shot:
        raise ValueError(
            f"{source.name} can be read once only, and {why} Pass a callable that returns the "
            "batches anew each time, such as a generator function itself; MiniBatchKMeans.fit "
            "and predict take batches that come once."
        )
    rows = engine.StreamRows(source, engine.count_rows(source), buffer_rows=384, piece_rows=384)
    if rows.n_rows == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {rows.n_features})) while a minimum of 1 is "
            f"required by {type(estimator).__name__}."
        )
    return rows


def plan_rows(rows, chunk_plan, memory_limit, *, extra_bytes=0, **needs):
    """Plan the buffers of `StreamRows` and set them."""
    source = rows.source
    found = plan_stream(
        chunk_plan,
        memory_limit=parse_bytes(memory_limit),
        extra_bytes=extra_bytes + int(getattr(source, "held_bytes", 0)),
        sequential=not source.random_access,
        **needs,
    )
    rows.buffer_rows, rows.piece_rows = found.buffer_rows, found.piece_rows
    return found


# Rows to plan buffers for where nobody knows how many there are.
_SOME_ROWS = 2**24


@dataclass
class Sample:
    """Rows from which a fit starts.

    Attributes
    ----------
    X : ndarray or StreamRows
    weights : ndarray or None
    stats : Stats
        Of all rows.
    """

    X: object
    weights: np.ndarray | None
    stats: engine.Stats


def check_init_size(init_size, rows, n_clusters):
    """Rows of the sample; None where all rows are to be used."""
    if init_size is None:
        return sample_rows(rows.n_rows, rows.n_features, n_clusters, rows.dtype)
    if isinstance(init_size, str):
        return None
    if init_size < n_clusters:
        raise ValueError(
            f"init_size={init_size} should be at least n_clusters={n_clusters}: every centre "
            "starts at a row of its own."
        )
    return min(int(init_size), rows.n_rows)


def measure(rows, chunk_plan, size, weights, random_state):
    """Moments of all rows and a sample of them, in one reading.

    ``size`` None stands for all rows, which stay where they are.
    """
    if size is None:
        return Sample(rows, weights, engine.column_stats(rows, chunk_plan))
    ids = np.arange(size)
    if 0 < size < rows.n_rows:
        ids = np.sort(sample_without_replacement(rows.n_rows, size, random_state=random_state))
    X = np.empty((size, rows.n_features), dtype=rows.dtype)

    def gather(first, last):
        low, high = np.searchsorted(ids, [first, last])
        if low < high:
            # Straight into its place: what `take` makes a copy of is no part of the plan.
            np.take(rows.window.source, ids[low:high] - first, axis=0, out=X[low:high], mode="clip")

    stats = engine.column_stats(rows, chunk_plan, gather=gather)
    chosen = None if weights is None else weights[ids]
    if size and chosen is not None and not chosen.any():
        raise ValueError(
            f"none of the {size} rows of the sample has a weight: give a larger init_size"
        )
    return Sample(X, chosen, stats)


# ---------------------------------------------------------------- fitted models on sources


def parts_of(source, rows):
    """The rows of a source, so many at a time."""
    from tilewise.sources import Prefetch

    with Prefetch(source, rows=rows) as parts:
        yield from parts


def _buffer_rows(source, estimator, n_clusters, result_bytes, out):
    """Rows of a buffer within the memory limit, before anything is read."""
    limit = parse_bytes(estimator.memory_limit)
    held = result_bytes if out is None else 0
    n_rows = source.n_rows
    _check_result(estimator, held * (n_rows or 0))
    chunk_plan = plan(
        _SOME_ROWS if n_rows is None else n_rows, source.n_features, n_clusters, source.dtype,
        n_threads=estimator.n_threads, chunk_size=estimator.chunk_size, engine=estimator.engine,
    )  # fmt: skip
    found = plan_stream(
        chunk_plan, memory_limit=limit, init_rows=0, bounds=False,
        row_bytes=0 if n_rows is None else held,
        extra_bytes=int(getattr(source, "held_bytes", 0)),
    )  # fmt: skip
    # Buffers, and what a part turns into, share the room of the buffers.
    row = 2 * source.n_features * source.dtype.itemsize + result_bytes
    return max(384, found.buffer_bytes // row // 384 * 384)


def _check_result(estimator, n_bytes):
    limit = parse_bytes(estimator.memory_limit)
    if limit is not None and n_bytes > limit:
        raise LimitTooSmall(
            f"the result has {n_bytes} bytes, more than memory_limit={estimator.memory_limit!r}: "
            "give out=, an array (a memory map will do) or the path of a .npy file"
        )


def predict(estimator, source, centers, out):
    """Labels of the rows of a source."""

    def labelled(view, chunk_plan):
        return _scaled.assigned(view, centers, lambda rows: chunk_plan)

    return _mapped(estimator, source, centers, out, (), np.int32, labelled)


def transform(estimator, source, centers, out):
    """Distances of the rows of a source to all centres."""

    def measured(view, chunk_plan):
        return engine.distances(view, centers, chunk_plan)

    return _mapped(estimator, source, centers, out, (len(centers),), source.dtype, measured)


def _mapped(estimator, source, centers, out, columns, dtype, function):
    result_bytes = int(np.prod(columns, dtype=np.int64)) * np.dtype(dtype).itemsize
    size = _buffer_rows(source, estimator, len(centers), result_bytes, out)
    output = Output(out, source.n_rows, columns, dtype)

    def parts():
        for first, values in parts_of(source, size):
            if out is None:
                _check_result(estimator, (first + len(values)) * result_bytes)
            view = engine.Rows(values)
            try:
                yield function(view, estimator._plan(view, len(centers)))
            except ValueError:
                raise_located(source, view, first)
                raise

    return output.put(parts())


def raise_located(source, view, first):
    """Raise the error that names the first value of a part that is not finite, if there is one."""
    rows = engine.StreamRows(source, first + view.n_rows, buffer_rows=384, piece_rows=384)
    rows.window.show(first, view.source)
    rows.raise_nonfinite()


def inertia(estimator, source, centers, sample_weight):
    """The inertia of the rows of a source."""
    rows = open_rows(source, estimator, "score adds up rows in an order that needs their number.")
    weights = _validation.check_weights(sample_weight, rows.n_rows)
    chunk_plan = estimator._plan(rows, len(centers))
    plan_rows(
        rows, chunk_plan, estimator.memory_limit, init_rows=0, bounds=False,
        weighted=weights is not None,
    )  # fmt: skip
    run = engine.Pass(rows, len(centers), chunk_plan, weights=weights)
    try:
        found = float(run.assign_and_measure(centers))
    except engine.OutOfRange:
        found = math.inf
    if math.isfinite(found) and not engine.Scale.of(np.max(np.abs(centers))):
        return found
    # Out of range: a part at a time, each with what it needs.
    found = 0.0
    for first, values in parts_of(source, rows.buffer_rows):
        own = None if weights is None else weights[first : first + len(values)]
        found += _scaled.assigned_inertia(
            engine.Rows(values), centers, own, partial(estimator._plan, n_clusters=len(centers))
        )
    return found

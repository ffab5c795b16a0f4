"""The CPU as a backend of rows that are read: `sources` behind the seam."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.utils.random import sample_without_replacement

from tilewise.kernels._rows import Rows
from tilewise.plan import LimitTooSmall, parse_bytes, plan, plan_stream, sample_rows
from tilewise.plan.oversampling import most_candidates

from .cpu import Cpu, Sample
from .stats import column_stats
from .stream import StreamRows, count_rows
from .streambatch import ReadBatches, batch_bytes

__all__ = ["CpuStreams", "sampled", "weights_of"]

# Rows to plan buffers for where nobody knows how many there are.
_SOME_ROWS = 2**24


class CpuStreams(Cpu):
    """Rows that `tilewise.sources` reads in parts, computed by this process."""

    name = "cpu, streamed"
    few_rows = None

    def open_rows(self, X, request):
        """Take what `tilewise.sources.as_source` knows."""
        # The limit is checked either way: a slip in it is not to wait for larger data.
        parse_bytes(request.memory_limit)
        # Plain arrays must not pay for the question.
        if request.in_memory or type(X) is np.ndarray or sp.issparse(X):
            return None
        from tilewise.sources import as_source, names_of

        if isinstance(X, np.memmap):
            if request.memory_limit is None:
                return None
            source = as_source(X, streamed=True)
        else:
            source = as_source(X)
        if source is None:
            return None
        request.check_columns(source.n_features, names_of(source))
        if request.again is None:
            return StreamRows(source, source.n_rows)
        if source.one_shot and request.once:
            return StreamRows(source, None)
        if source.one_shot:
            raise ValueError(
                f"{source.name} can be read once only, and {request.again} Pass a callable that "
                "returns the batches anew each time, such as a generator function itself; "
                "MiniBatchKMeans.fit and predict take batches that come once."
            )
        return _counted(source, request.name)

    def plan_memory(self, rows, plan, memory_limit, *, batch_plan=None, oversampled=False, **needs):
        """Plan the buffers within the limit and set them."""
        source = rows.source
        if batch_plan is not None:
            needs["batch_bytes"] = batch_bytes(source, rows.n_rows, batch_plan.n_samples)
        if oversampled:
            needs["round_plan"] = self.plan(
                rows, most_candidates(plan.n_clusters, rounds=1), n_threads=plan.n_threads,
                engine=plan.engine,
            )  # fmt: skip
        found = plan_stream(
            plan, memory_limit=parse_bytes(memory_limit), batch_plan=batch_plan,
            extra_bytes=int(getattr(source, "held_bytes", 0)),
            sequential=not source.random_access, **needs,
        )  # fmt: skip
        rows.buffer_rows, rows.piece_rows = found.buffer_rows, found.piece_rows
        return found

    def sample_size(self, rows, init_size, n_clusters, *, shown):
        """Some MiB of rows, what the user says, or all."""
        if init_size is None:
            return sample_rows(rows.n_rows, rows.n_features, n_clusters, rows.compute_dtype)
        if isinstance(init_size, str):
            if shown:
                raise ValueError(
                    "init_size='all' needs all rows in memory for a callable init: give a number."
                )
            return None
        if init_size < n_clusters:
            raise ValueError(
                f"init_size={init_size} should be at least n_clusters={n_clusters}: every centre "
                "starts at a row of its own."
            )
        return min(int(init_size), rows.n_rows)

    def sample(self, rows, plan, size, weights, random_state):
        """Draw rows without replacement; moments and sample come from one reading."""
        if size is None:
            return Sample(rows, weights, column_stats(rows, plan))
        ids = sampled(rows, size, random_state)
        X = np.empty((size, rows.n_features), dtype=rows.compute_dtype)

        def gather(first, last):
            """Keep those of the rows drawn that are shown now."""
            low, high = np.searchsorted(ids, [first, last])
            if low < high:
                # Straight into its place: what `take` makes a copy of is no part of the plan.
                shown = rows.window.source
                np.take(shown, ids[low:high] - first, axis=0, out=X[low:high], mode="clip")

        stats = column_stats(rows, plan, gather=gather)
        return Sample(Rows(X), weights_of(ids, weights), stats)

    def sample_twice(self, rows, size, weights, random_state, *, given, judged):
        """Draw both without replacement and read them together; none where centres are given."""
        n = rows.n_rows
        none = np.empty(0, dtype=np.int64)
        ids = none if given else sample_without_replacement(n, size, random_state=random_state)
        valid = none
        if judged and not given:
            valid = sample_without_replacement(n, size, random_state=random_state)
        taken = rows.take(np.concatenate([ids, valid]))
        own = None if weights is None else weights[valid]
        start = Sample(Rows(taken[: len(ids)]), weights_of(ids, weights))
        return start, Sample(Rows(taken[len(ids) :]), own)

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state, *, ahead=0):
        """Batches of rows, each of which is read once an epoch."""
        return ReadBatches(rows, n_clusters, plan, weights, batch_size, random_state, ahead=ahead)

    def check_batch_memory(self, rows, n_clusters, batch_size, ahead, memory_limit):
        """Raise `LimitTooSmall` where batches of rows that come once do not fit."""
        source, limit = rows.source, parse_bytes(memory_limit)
        needed = batch_bytes(source, None, batch_size, ahead)
        needed += int(getattr(source, "held_bytes", 0))
        needed += ahead * (source.n_features * source.dtype.itemsize + 14)
        needed += 16 * 8 * n_clusters * source.n_features
        if limit is not None and limit < needed:
            raise LimitTooSmall(
                f"memory_limit={memory_limit!r} is too small: batches of {batch_size} rows, and "
                f"the rows that the first centres are chosen from, need {needed} bytes."
            )

    def mapped(self, rows, function, *, n_clusters, result_bytes, held, memory_limit, **wishes):
        """Read the rows once; results that stay in memory are kept within the limit too."""
        kept = result_bytes if held else 0
        _check_result(memory_limit, kept * (rows.n_rows or 0))
        size = _buffer_rows(rows, n_clusters, result_bytes, kept, memory_limit, wishes)
        for first, values in rows.arrivals(size):
            _check_result(memory_limit, (first + len(values)) * kept)
            view = Rows(values)
            try:
                yield function(view)
            except ValueError:
                rows.raise_located(first, values)
                raise


def _counted(source, name):
    rows = StreamRows(source, count_rows(source))
    if rows.n_rows == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {rows.n_features})) while a minimum of 1 is "
            f"required by {name}."
        )
    return rows


def sampled(rows, size, random_state):
    """Numbers of the rows of a sample, in order."""
    if 0 < size < rows.n_rows:
        return np.sort(sample_without_replacement(rows.n_rows, size, random_state=random_state))
    return np.arange(size)


def weights_of(ids, weights):
    """Weights of rows by number, at least one of which has any; None where there are none."""
    chosen = None if weights is None else weights[ids]
    if len(ids) and chosen is not None and not chosen.any():
        raise ValueError(
            f"none of the {len(ids)} rows of the sample has a weight: give a larger init_size"
        )
    return chosen


def _buffer_rows(rows, n_clusters, result_bytes, kept, memory_limit, wishes):
    """Rows of a buffer within the memory limit, before anything is read."""
    source, n_rows = rows.source, rows.n_rows
    chunk_plan = plan(
        _SOME_ROWS if n_rows is None else n_rows, source.n_features, n_clusters, source.dtype,
        **wishes,
    )  # fmt: skip
    found = plan_stream(
        chunk_plan, memory_limit=parse_bytes(memory_limit), init_rows=0, bounds=False,
        row_bytes=0 if n_rows is None else kept,
        extra_bytes=int(getattr(source, "held_bytes", 0)),
    )  # fmt: skip
    # Buffers, and what a part turns into, share the room of the buffers.
    row = 2 * source.n_features * source.dtype.itemsize + result_bytes
    return max(384, found.buffer_bytes // row // 384 * 384)


def _check_result(memory_limit, n_bytes):
    limit = parse_bytes(memory_limit)
    if limit is not None and n_bytes > limit:
        raise LimitTooSmall(
            f"the result has {n_bytes} bytes, more than memory_limit={memory_limit!r}: give out=, "
            "an array (a memory map will do) or the path of a .npy file"
        )

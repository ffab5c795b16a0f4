"""Buffers and passes of a run over rows that do not fit into memory."""

import contextlib
import math
import numbers
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import MOST_BYTES, parse_size, sized
from tilewise.plan._reasons import Reasoned
from tilewise.plan.nest import LoopNest
from tilewise.plan.oversampling import ROUNDS, most_candidates
from tilewise.plan.plan import Plan
from tilewise.plan.seeding import seeding_for

__all__ = ["LimitTooSmall", "StreamPlan", "parse_bytes", "plan_stream", "sample_rows"]

# Two buffers of together so many bytes: large against a seek and the switch of threads, and more
# gains nothing (the next part is read while one is computed).
_BUFFERS = 2
_BUFFER_BYTES = 64 * 2**20
_USEFUL_BUFFER_BYTES = 8 * 2**20
# Rows that are read or skipped together: a read that a disk does not notice.
_PIECE_BYTES = 2**20
# Whole register tiles of every instruction set.
_MULTIPLE = 384
# Pieces of a part per thread: enough to share evenly.
_PIECES_PER_THREAD = 4
# The seeded sample: so many bytes of rows, but no more than so many rows, and at least some for
# each cluster. It must not depend on the memory limit, since the result depends on it.
_SAMPLE_BYTES = 32 * 2**20
_SAMPLE_ROWS = 2**17
_SAMPLE_ROWS_PER_CLUSTER = 16
# Bytes for eight columns of each thread: sums and sums of squares in bins of 512 bytes, and largest
# and least magnitudes.
_MOMENTS_BYTES = 2 * 512 + 2 * 64
# With weights, drawing the first seed takes so many bytes of each row more: its weight, its share
# twice, and the sum of the shares up to it, less what k-means++ has not touched yet.
_WEIGHTED_SEED_BYTES = 4 * 8 - 14
# Bytes that k-means|| keeps of each row: its squared distance to the closest candidate, which one
# that is, and a label while more are taken in. Temporary arrays are of so many rows.
_CANDIDATE_BYTES = 8 + 4 + 4
_RUN_ROWS, _RUN_BYTES = 2**16, 64
# Bytes of each row of a part while rows that lie far from their centres are looked for, where
# clusters are empty: two distances, a number, and a mark.
_PART_ROW_BYTES = 8 + 8 + 8 + 1
# Bytes for each column with which a thread moves a centre: the centre, and its sums in bins.
_UPDATE_BYTES = 8 + 64
# What a fit holds besides, whatever its size.
_OBJECTS = 2**18


class LimitTooSmall(ValueError):
    """The memory limit is too small for a run over streamed rows. The message says the least."""


def parse_bytes(value: int | str | None) -> int | None:
    """Bytes from a number or from a text such as "1GB" or "512MiB".

    Parameters
    ----------
    value : int, str or None
        A text as `tilewise._sizes.parse_size` reads it.

    Returns
    -------
    int or None

    Raises
    ------
    ValueError
        If the text is not a size, or the size is not positive.

    Examples
    --------
    >>> from tilewise.plan.stream import parse_bytes
    >>> parse_bytes("1.5 GB"), parse_bytes("512MiB"), parse_bytes(1000)
    (1500000000, 536870912, 1000)
    """
    if value is None:
        return None
    size = None
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        size = min(int(value), MOST_BYTES)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            size = parse_size(value)
    if size is None or size < 1:
        raise ValueError(
            f"memory_limit={value!r} is not a size. Pass a whole number of bytes, or a text such "
            "as '1GB' or '512MiB'."
        )
    return size


def sample_rows(n_samples: int, n_features: int, n_clusters: int, dtype: DTypeLike) -> int:
    """Rows of the sample that a start is chosen from where the data are streamed.

    32 MiB of rows, at most 131,072 of them, but at least 16 for each cluster, and no more than
    there are. Memory limit, threads and machine do not enter.

    Examples
    --------
    >>> from tilewise.plan.stream import sample_rows
    >>> sample_rows(10**8, 64, 256, "float32"), sample_rows(10**8, 768, 256, "float32")
    (131072, 10922)
    """
    row = max(1, n_features * np.dtype(dtype).itemsize)
    wanted = min(_SAMPLE_ROWS, _SAMPLE_BYTES // row)
    return int(min(n_samples, max(wanted, _SAMPLE_ROWS_PER_CLUSTER * n_clusters)))


def _summing(plan: Plan) -> int:
    """Bytes of the sums of clusters, which only passes that average rows have."""
    sizes = LoopNest.of(plan).summing
    return sum(sizes.values()) - sizes["old and new centres"]


@dataclass(frozen=True, repr=False)
class StreamPlan(Reasoned):
    """What a run over streamed rows keeps in memory, stated before anything is read.

    Estimators keep theirs as ``stream_plan_``, beside ``chunk_plan_``.

    Attributes
    ----------
    n_samples, n_features, n_clusters : int
    dtype : str
    memory_limit : int or None
        Bytes that the run may allocate.
    n_buffers, buffer_rows, buffer_bytes : int
        Parts that are in memory at a time, rows of one, bytes of all.
    piece_rows : int
        Rows that are read or skipped, and computed by one thread, together.
    n_parts : int
        Parts of a pass over all rows.
    init_rows : int
        Rows from which the start is chosen.
    bounds : bool
        Whether distance bounds are kept (8 bytes per row); results do not depend on it.
    row_bytes : int
        Bytes kept per row while iterating.
    total_bytes : int
        Most that is allocated at a time.
    least_bytes : int
        What the least memory limit for this run is.
    reasons : dict of str to str
    """

    n_samples: int
    n_features: int
    n_clusters: int
    dtype: str
    memory_limit: int | None
    n_buffers: int
    buffer_rows: int
    buffer_bytes: int
    piece_rows: int
    n_parts: int
    init_rows: int
    bounds: bool
    row_bytes: int
    total_bytes: int
    least_bytes: int
    reasons: dict[str, str] = field(compare=False)

    _titles = {  # noqa: RUF012
        "limit": "Limit", "buffers": "Buffers", "rows": "Rows", "bounds": "Bounds",
        "centres": "Centres", "start": "Start", "memory": "Memory", "passes": "Passes",
    }  # fmt: skip
    _heading = "{n_samples} x {n_features} streamed rows, {n_clusters} clusters, {dtype}"


def plan_stream(
    plan: Plan, *, memory_limit: int | None = None, init_rows: int | None = None,
    seeded_from_all: bool = False, n_runs: int = 1, weighted: bool = False, max_iter: int = 1,
    row_bytes: int = 4, bounds: bool = True, extra_bytes: int = 0, sequential: bool = False,
    buffer_bytes: int | None = None, batch_plan: Plan | None = None, batch_bytes: int = 0,
    passes: str | None = None, round_plan: Plan | None = None,
) -> StreamPlan:  # fmt: skip
    """Choose buffers within a limit.

    Parameters
    ----------
    plan : Plan
        Of the same work in memory: shape, threads, workspace.
    memory_limit : int, optional
        Bytes that may be allocated beyond what the process holds at the start. Without a limit
        buffers take 64 MiB and bounds are kept.
    init_rows : int, optional
        Rows of the sample; by default what `sample_rows` says.
    seeded_from_all : bool
        Whether the start is chosen from all rows.
    n_runs : int
    weighted : bool
    max_iter : int
    row_bytes : int
        Bytes per row of the result: 4 for labels that are kept.
    bounds : bool
        Whether bounds are of use.
    extra_bytes : int
        Whatever else is held all the time.
    sequential : bool
        Whether single rows can only be had by reading all.
    buffer_bytes : int, optional
        Bytes of all buffers where memory allows.
    batch_plan : Plan, optional
        Of a pass over one batch, if centres move by batches.
    batch_bytes : int
        Bytes with which mini-batches are read and mixed. The rows to start from are gone by then,
        and the labels are not yet there.
    passes : str, optional
        What is read, where that is not one pass per iteration.
    round_plan : Plan, optional
        Of a pass over the candidates of one round, if the start is chosen by k-means||.

    Returns
    -------
    StreamPlan

    Raises
    ------
    LimitTooSmall
        If the limit is too small, a ValueError. The message says how much is needed and for what.
    """
    n, d, k, dtype = plan.n_samples, plan.n_features, plan.n_clusters, plan.dtype
    stored = max(1, d * np.dtype(dtype).itemsize)
    sample = sample_rows(n, d, k, dtype) if init_rows is None else min(init_rows, n)
    why: dict[str, str] = {}

    kept = row_bytes + (4 if n_runs > 1 else 0) + (8 if weighted else 0)
    # Beside what a pass in memory has: centres to start from, and the best so far.
    centers = plan.shared_bytes + plan.workspace_bytes_per_thread * plan.n_threads + 16 * k * d
    if batch_plan is not None:
        # Centres move without the sums of clusters; two more sets of centres, and a row of sums for
        # each thread, are there while they do.
        centers -= _summing(plan)
        step = batch_plan.shared_bytes - _summing(batch_plan) + batch_bytes + 32 * k * d
        step += (batch_plan.workspace_bytes_per_thread + _UPDATE_BYTES * d) * batch_plan.n_threads
    moments = -(-d // 8) * plan.n_threads * _MOMENTS_BYTES + 6 * 8 * d
    # The sample is kept for further runs.
    sampled = 0 if seeded_from_all else sample * stored
    if seeded_from_all:
        sample = n
    method, candidates = "k-means++", 0
    if round_plan is not None:
        method, candidates = "k-means||", _candidates(round_plan, k, stored)
        candidates += min(sample, _RUN_ROWS) * _RUN_BYTES

    def choosing(spare: bool) -> int:
        """Bytes that choosing the first centres takes."""
        if round_plan is not None:
            return sample * (_CANDIDATE_BYTES + 32 * weighted)
        screen = seeding_for(sample, d, k, np.dtype(dtype).itemsize, plan.isa, spare=spare)
        return sample * (screen.row_bytes + _WEIGHTED_SEED_BYTES * weighted)

    # Where memory is limited there is none to spare.
    seeding = choosing(memory_limit is None and not seeded_from_all)
    held = {
        f"{kept} bytes per row": kept * n, "rows to start from": sampled,
        "the source itself": extra_bytes, "objects": _OBJECTS,
    }  # fmt: skip

    def largest(rows: int, bounded: bool, seeding: int = seeding) -> dict[str, int]:
        """What is held at once, with so many rows in a buffer, at the worst of these times."""
        buffers = {"buffers": _BUFFERS * min(rows, n) * stored}
        times = [
            {"the columns' moments": moments + (16 * sample * (batch_plan is None)), **buffers},
            {
                method: seeding, **(buffers if seeded_from_all else {}), "centres": 16 * k * d,
                "candidates": candidates,
            },
            {
                "centres, sums and workspace": centers, **buffers, "bounds": 8 * n * bounded,
                "distances of a part": min(rows, n) * _PART_ROW_BYTES * (batch_plan is None),
            },
        ]  # fmt: skip
        if batch_plan is not None:
            gone = {"rows to start from": 0}
            times = [times[0] | gone, times[1], times[2] | gone]
            # While they are picked out of a part there are two of each.
            times.append({"picking them": sampled + 16 * sample, **buffers})
            unlabelled = {f"{kept} bytes per row": (kept - row_bytes) * n}
            times.append({"batches": step} | gone | unlabelled)
        return max((held | sizes for sizes in times), key=lambda sizes: sum(sizes.values()))

    def total(rows: int, bounded: bool, seeding: int = seeding) -> int:
        """Bytes of `largest`."""
        return sum(largest(rows, bounded, seeding).values())

    wanted = max(1, (_BUFFER_BYTES if buffer_bytes is None else buffer_bytes) // stored)
    wanted = max(_MULTIPLE, min(wanted // _BUFFERS, -(-max(n, 1) // _MULTIPLE) * _MULTIPLE))
    least = total(_MULTIPLE, False, choosing(spare=False))
    if memory_limit is not None and memory_limit < least:
        parts = largest(_MULTIPLE, False)
        made = ", ".join(f"{sized(size)} for {what}" for what, size in parts.items() if size)
        raise LimitTooSmall(
            f"memory_limit={sized(memory_limit)} is too small: {n} rows x {d} columns in {k} "
            f"clusters need at least {least} bytes ({made})."
        )
    limit = math.inf if memory_limit is None else memory_limit
    # Bounds go before buffers get so small that reading suffers.
    useful = max(_MULTIPLE, _USEFUL_BUFFER_BYTES // (_BUFFERS * stored))
    bounded = bounds and total(min(wanted, useful), True) <= limit
    rows = wanted
    if memory_limit is not None:
        room = memory_limit - total(0, bounded)
        rows = min(rows, room // (_BUFFERS * stored + _PART_ROW_BYTES))
    rows = max(_MULTIPLE, rows // _MULTIPLE * _MULTIPLE)
    piece = min(_PIECE_BYTES // stored, rows // (_PIECES_PER_THREAD * plan.n_threads))
    piece = max(_MULTIPLE, piece // _MULTIPLE * _MULTIPLE)
    rows = max(piece, rows // piece * piece)
    buffers = _BUFFERS * min(rows, n) * stored
    n_parts = max(1, -(-n // rows))

    given = "none given" if memory_limit is None else f"{sized(memory_limit)} may be allocated"
    why["limit"] = f"{given}. This run needs at least {sized(least)}."
    why["buffers"] = (
        f"{_BUFFERS} of {rows} rows, {sized(buffers)} together. One is read while the other is "
        f"computed. A pass has {n_parts} part{'s' if n_parts > 1 else ''}, cut into pieces of "
        f"{piece} rows for the threads."
    )
    row_total = kept + (8 if bounded else 0)
    why["rows"] = f"{row_total} bytes are kept for each row, {sized(row_total * n)} in all."
    if not bounds:
        why["bounds"] = "none: there is only one pass, or too little work for them to pay."
    elif bounded:
        why["bounds"] = "8 bytes per row. Pieces whose rows cannot change cluster are not read."
    else:
        why["bounds"] = (
            f"dropped: they need {sized(8 * n)} more, which does not fit. Every pass reads and "
            "scores every row; the result is the same."
        )
    why["centres"] = f"{sized(centers)}, the workspace of {plan.n_threads} threads included."
    if seeded_from_all:
        why["start"] = _start(method, seeding, k, sequential)
    else:
        why["start"] = (
            f"from a sample of {sample} rows ({sized(sampled + seeding)}), drawn in the first pass."
        )
    most = total(rows, bounded)
    why["memory"] = f"at most {sized(most)}, on top of what the process holds already."
    why["passes"] = passes or (
        f"one to measure the columns, {f'{method}, ' if seeded_from_all else ''}one per iteration "
        f"(at most {max_iter}), one for labels and inertia"
        f"{f'; {n_runs} runs' if n_runs > 1 else ''}."
    )
    return StreamPlan(
        n_samples=n, n_features=d, n_clusters=k, dtype=dtype, memory_limit=memory_limit,
        n_buffers=_BUFFERS, buffer_rows=rows, buffer_bytes=buffers, piece_rows=piece,
        n_parts=n_parts, init_rows=sample, bounds=bounded, row_bytes=row_total, total_bytes=most,
        least_bytes=least, reasons=why,
    )  # fmt: skip


def _candidates(round_plan: Plan, n_clusters: int, stored: int) -> int:
    """Bytes of the candidates of k-means|| and of a pass over those of one round.

    All candidates twice, while they are put together; in float64, as they are and padded, those of
    one round.
    """
    p = round_plan
    values = 2 * most_candidates(n_clusters) * stored + 16 * p.n_clusters * (p.n_features + 8)
    buffers = p.shared_bytes - _summing(p) + p.workspace_bytes_per_thread * p.n_threads
    return values + buffers


def _start(method: str, seeding: int, n_clusters: int, sequential: bool) -> str:
    """What choosing the start from all rows keeps and reads."""
    kept = f"{method} over all rows. It keeps {sized(seeding)} and reads the data "
    if method == "k-means||":
        return (
            f"{kept}up to {2 * ROUNDS + 2} times per run: for the first row, and in each of "
            f"{ROUNDS} rounds, it fetches the rows drawn, then measures all rows. There are more "
            "rounds if these draw too few rows that differ."
        )
    return (
        f"{kept}up to {(3 if sequential else 2) * n_clusters} times per run; pieces whose rows "
        "cannot change are not read."
    )

"""Measure a few sizes around the plan's own, and keep what is faster every time."""

import contextlib
import datetime
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tilewise._files import replacing
from tilewise.engine import Pass
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, machine, plan, tuning
from tilewise.plan.plan import TUNED_LAYOUTS

from ._data import blobs, check_room
from ._run import Case, Run

__all__ = ["SHAPES", "candidates", "forget", "repeatable", "save", "tune"]

#: Rows, features and clusters that are tuned unless others are named: short and long rows, few
#: and many clusters.
SHAPES = ((200_000, 16, 16), (100_000, 64, 256), (20_000, 256, 1024), (30_000, 784, 10))
#: The same for smoke tests.
QUICK_SHAPES = ((4_000, 16, 16), (2_000, 64, 64))

# A gain must be larger than this in both halves of the duel: less is noise, or not worth a file.
_GAIN = 0.05
_FACTORS = (0.25, 0.5, 2, 4)
_PANELS = (1, 4, 8)
_DUEL_ROUNDS = 12


def candidates(base: Plan) -> list[Plan]:
    """Plans near one, the plan itself first.

    Parameters
    ----------
    base : Plan

    Returns
    -------
    list of Plan
        They differ in rows per chunk and, where centres lie in the lanes, in panels per block.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.tune import candidates
    >>> found = candidates(tilewise.plan(100_000, 64, 256, n_threads=1))
    >>> len({p.chunk_rows for p in found}) > 2
    True
    """
    found = [base]
    tile, longest = base.tile_rows, min(base.shard_rows, max(base.n_samples, base.tile_rows))
    for factor in _FACTORS:
        rows = max(tile, round(base.chunk_rows * factor / tile) * tile)
        if rows <= longest and all(rows != p.chunk_rows for p in found):
            found.append(replace(base, chunk_rows=rows))
    if base.layout == "centres-in-lanes":
        panels = -(-base.n_clusters // base.panel_columns)
        for count in _PANELS:
            if count <= panels and count != base.panels_per_block:
                found.append(replace(base, panels_per_block=count))
    return found


def repeatable(plan_samples: list[float], other_samples: list[float]) -> tuple[bool, float]:
    """Is the other one faster by more than 5 % in both halves of a duel?

    Parameters
    ----------
    plan_samples, other_samples : list of float
        Seconds in the order of measuring, as many of each, at least four.

    Returns
    -------
    accepted : bool
    gain : float
        Lesser of the two halves' gains: 0.1 if the plan took 10 % longer.

    Examples
    --------
    >>> from tilewise.lab.tune import repeatable
    >>> repeatable([1.2, 1.2, 1.2, 1.2], [1.0, 1.0, 1.0, 1.0])
    (True, 0.19...)
    >>> repeatable([1.2, 1.2, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    (False, 0.0)
    """
    half = len(plan_samples) // 2
    gains = [
        statistics.median(plan_samples[part]) / statistics.median(other_samples[part]) - 1
        for part in (slice(None, half), slice(half, None))
    ]
    return min(gains) > _GAIN, min(gains)


def tune(
    shape: tuple[int, int, int], dtype: str = "float32", *, n_threads: int | None = None,
    seconds: float = 10.0, quick: bool = False,
    watch: Callable[[str, int, int, float | None], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the candidates of one shape; nothing is saved.

    Parameters
    ----------
    shape : tuple of int
        Rows, features, clusters.
    dtype : str, default="float32"
    n_threads : int, optional
        As `tilewise.plan` takes it.
    seconds : float, default=10.0
        Budget.
    quick : bool, default=False
        Smoke size.
    watch : callable, optional
        As `perform` takes it.

    Returns
    -------
    dict
        ``shape``, ``candidates`` (rows, panels and median of each), ``gain``, ``accepted`` and
        ``entry``, a `tuning.Entry` or None.

    Raises
    ------
    ValueError
        If a size is out of range.
    RuntimeError
        If two candidates do not give the same labels and sums; that would be a defect.
    """
    n, d, k = shape
    with tuning.ignored():
        base = plan(n, d, k, dtype, n_threads=n_threads)
    check_room({"rows": n, "features": d, "clusters": k, "dtype": dtype})
    X, centers = blobs(n, d, k, dtype)
    rows = Rows(X)
    run = Run({}, seconds, quick, watch)
    works = [(p, *_work(rows, centers, p)) for p in candidates(base)]
    cases = [Case("candidate", {"number": i}, call) for i, (_, _, call) in enumerate(works)]
    first = run.measure(f"candidates for {n}x{d}x{k}", cases, 0.4)
    _check_equal(works)
    best = min(range(len(works)), key=lambda i: first[i]["median"])
    told = {
        "shape": list(shape), "dtype": dtype, "n_threads": base.n_threads, "layout": base.layout,
        "candidates": [
            {"chunk_rows": p.chunk_rows, "panels_per_block": p.panels_per_block,
             "median": entry["median"], "samples": entry["samples"]}
            for (p, _, _), entry in zip(works, first, strict=True)
        ],
        "gain": 0.0, "accepted": False, "entry": None,
    }  # fmt: skip
    if best == 0 or base.layout not in TUNED_LAYOUTS:
        return told
    samples = _duel(works[0][2], works[best][2], first[0]["repeats"], run, 0.6 * seconds, shape)
    told["accepted"], told["gain"] = repeatable(*samples)
    if told["accepted"]:
        chosen = works[best][0]
        told["entry"] = tuning.Entry(
            base.dtype, base.layout, base.score_dtype, n, d, k, base.n_threads, chosen.chunk_rows,
            chosen.panels_per_block, base.chunk_rows, base.panels_per_block,
            round(told["gain"], 4), datetime.datetime.now(datetime.UTC).date().isoformat(),
        )  # fmt: skip
    return told


def _work(rows, centers, chosen):
    # A first pass of a fit: scores and sums. Later ones skip rows, but read them alike.
    work = Pass(rows, len(centers), chosen, update=True, incremental=False)

    def call():
        work.run(centers)

    return work, call


def _check_equal(works):
    _, reference, _ = works[0]
    for chosen, work, _ in works[1:]:
        same = np.array_equal(work.labels, reference.labels)
        if not same or work.sums.tobytes() != reference.sums.tobytes():
            raise RuntimeError(f"other results with {chosen.chunk_rows} rows per chunk")


def _duel(ours, theirs, repeats, run, seconds, shape):
    """Sample two calls in turn, so many times that both halves have some of each."""
    import time

    samples = ([], [])
    rounds = 4 if run.quick else _DUEL_ROUNDS
    begin = time.perf_counter()
    for turn in range(rounds):
        passed = time.perf_counter() - begin
        # At least two of each in each half, whatever the budget.
        if turn >= 4 and turn % 2 == 0 and passed > seconds:
            break
        left = passed / turn * (rounds - turn) if turn else None
        run._tell(f"duel for {'x'.join(map(str, shape))}", turn, rounds, left)
        for place in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            for _ in range(repeats):
                (ours, theirs)[place]()
            samples[place].append((time.perf_counter() - start) / repeats)
    return samples


def save(entries: list[tuning.Entry], replaced: list[dict[str, Any]], path: Path) -> None:
    """Put entries into the record of this machine.

    Parameters
    ----------
    entries : list of Entry
    replaced : list of dict
        What `tune` returned: older entries of the same shape and type go, accepted or not.
    path : Path

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If there is a file, and it is no record.
    """
    with _alone(path):
        _put(entries, replaced, path)


@contextlib.contextmanager
def _alone(path):
    """Let no other process that tunes read and write the record between our two."""
    try:
        import fcntl
    except ImportError:  # Windows: the later of two writers wins
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # folders of some networks have no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _put(entries, replaced, path):
    records = tuning.read(path) if path.exists() else []
    key = tuning.machine_key(machine())
    # Records of this machine with other versions hold for nobody any more.
    model = {name: value for name, value in key.items() if name != "version"}
    old = next((r["entries"] for r in records if r["key"] == key), [])
    gone = {(v["dtype"], *v["shape"][1:]) for v in replaced}
    kept = [e for e in old if (e.dtype, e.n_features, e.n_clusters) not in gone]
    others = [r for r in records if {**r["key"], "version": None} != {**model, "version": None}]
    mine = [{"key": key, "entries": kept + entries}] if kept + entries else []
    _write(path, others + mine)


def forget(path: Path) -> int:
    """Remove what was measured on this machine, and the file if nothing else is in it.

    Returns
    -------
    int
        Entries that are gone.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If it is no record: then it is left alone.
    """
    if not path.exists():
        return 0
    with _alone(path):
        return _forgotten(path)


def _forgotten(path):
    records = tuning.read(path)
    model = {**tuning.machine_key(machine()), "version": None}
    mine = [r for r in records if {**r["key"], "version": None} == model]
    _write(path, [r for r in records if r not in mine])
    return sum(len(r["entries"]) for r in mine)


def _write(path, records):
    if not records:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Moved into place whole: plans of other processes may be reading it.
    with replacing(path, "the tuning record") as file:
        file.write(tuning.to_text(records).encode())

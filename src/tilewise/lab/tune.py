"""Measure a few sizes around the plan's own, and keep what is reliably faster."""

import contextlib
import datetime
import errno
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tilewise._files import check_folder, replacing
from tilewise.engine import Pass
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, machine, plan, tuning
from tilewise.plan.plan import TUNED_LAYOUTS

from ._data import blobs, check_room
from ._load import Meter
from ._run import Case, Run

__all__ = ["KINDS", "SHAPES", "candidates", "check_place", "forget", "repeatable", "save", "tune"]

#: Rows, features and clusters that are tuned unless others are named: short and long rows, few
#: and many clusters.
SHAPES = ((200_000, 16, 16), (100_000, 64, 256), (20_000, 256, 1024), (30_000, 784, 10))
#: The same for smoke tests.
QUICK_SHAPES = ((4_000, 16, 16), (2_000, 64, 64))

# What is accepted: a gain above 5 % in the whole duel (less is not worth a file) and above 3 % in
# both halves of it, and so many rounds won that equal plans would do so once in 250 times; there
# are two kinds of pass, hence two chances.
# tests/lab/test_tune.py simulates duels under noise, bursts, drift and two regimes: fewer than 1 %
# of equal plans pass.
_GAIN, _HALF, _CHANCE = 0.05, 0.03, 0.004
# A plan that is faster in one way may be so much slower in the other.
_LOSS = 0.02
_FACTORS = (0.25, 0.5, 2, 4)
_PANELS = (1, 4, 8)
# Rounds of a duel: at least, at most, and how many have the same buffers. What is fast because of
# where its buffers happen to lie would not be so in the next process.
_FEWEST, _MOST, _SITTING = 12, 240, 6
#: What is timed: a pass that sums the rows of each cluster, as in a fit, and one for labels only.
KINDS = {"fit": True, "predict": False}


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
    """Is the other one faster by more than 5 %, in both halves of a duel and in most rounds?

    Parameters
    ----------
    plan_samples, other_samples : list of float
        Seconds in the order of measuring, one of each per round, at least four. The samples by
        which the other one was chosen must not be among them: the best of several looks better
        than it is.

    Returns
    -------
    accepted : bool
        Whether the gain is above 5 %, that of either half above 3 %, and the sign test
        (one-sided) gives equal plans less than one chance in 250.
    gain : float
        0.1 if the plan took 10 % longer; the lesser of the ratio of medians and the median of the
        ratios of each round.

    Raises
    ------
    ValueError
        If there are fewer than four rounds, or not as many of each.

    Examples
    --------
    >>> from tilewise.lab.tune import repeatable
    >>> repeatable([1.2] * 8, [1.0] * 8)
    (True, 0.19...)
    >>> repeatable([1.2] * 4 + [1.0] * 4, [1.0] * 8)[0]
    False
    """
    count = len(plan_samples)
    if count < 4 or count != len(other_samples):
        raise ValueError(f"a duel of {count} against {len(other_samples)} samples; at least four")
    ours, theirs = np.asarray(plan_samples), np.asarray(other_samples)
    parts = (slice(None), slice(None, count // 2), slice(count // 2, None))
    whole, *halves = (float(np.median(ours[p]) / np.median(theirs[p])) - 1 for p in parts)
    gain = min(whole, float(np.median(ours / theirs)) - 1)
    won = int(np.sum(ours > theirs))
    chance = sum(math.comb(count, wins) for wins in range(won, count + 1)) / 2**count
    return gain > _GAIN and min(halves) > _HALF and chance < _CHANCE, gain


def tune(
    shape: tuple[int, int, int], dtype: str = "float32", *, n_threads: int | None = None,
    seconds: float = 10.0, quick: bool = False,
    watch: Callable[[str, int, int, float | None], None] | None = None,
    meter: Meter | None = None,
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
    meter : Meter, optional
        As `perform` takes it.

    Returns
    -------
    dict
        ``shape``; ``quiet`` and, where that is false, ``noise`` (why; then nothing is decided);
        ``load`` (what else the machine did); ``candidates`` (rows, panels, median and samples of
        each, and ``predict``, the same of a pass for labels only); ``rival`` (rows and panels of
        the one that was fastest at first and had to prove it, or None), ``duel`` (its and the
        plan's fresh samples by kind of pass), ``gains`` (by kind, as `repeatable` says), ``kind``
        (of the pass that gained), ``gain``, ``accepted`` and ``entry``, a `tuning.Entry` or None;
        ``interrupted`` and ``decided``. Ctrl-C ends it and keeps what was measured: candidates
        that it came before have no samples and no median, and it is decided only if the duel had
        its least number of rounds.

    Raises
    ------
    ValueError
        If a size is out of range.
    RuntimeError
        If two candidates do not give the same labels and sums; that would be a defect.

    Notes
    -----
    All candidates are timed in turn. The fastest then meets the plan in a duel of fresh samples:
    both kinds of pass, the order changing from round to round, buffers made anew every few
    rounds, until the budget is spent. It is accepted if one kind of pass gains (`repeatable`) and
    the other one does not lose more than 2 %, on a machine that was quiet (`quiet.judged`).
    """
    meter = Meter() if meter is None else meter
    told = _tuned(shape, dtype, n_threads, Run({}, seconds, quick, watch, meter=meter))
    told |= meter.verdict()
    if told["quiet"] is False:
        # Samples are facts and stay; what they seem to say does not.
        told |= {"decided": False, "accepted": False, "entry": None, "kind": None,
                 "gain": 0.0, "gains": {}}  # fmt: skip
    return told


def _tuned(shape, dtype, n_threads, run):
    """Measure and decide, whatever else the machine did."""
    n, d, k = shape
    with tuning.ignored():
        # Sizes of scores are tuned.
        base = plan(n, d, k, dtype, n_threads=n_threads, look=False)
    check_room({"rows": n, "features": d, "clusters": k, "dtype": dtype})
    X, centers = blobs(n, d, k, dtype)
    rows = Rows(X)
    plans = candidates(base)
    works = {kind: [_work(rows, centers, p, update) for p in plans]
             for kind, update in KINDS.items()}  # fmt: skip
    cases = [Case(kind, {"number": i}, call)
             for kind, own in works.items() for i, (_, call) in enumerate(own)]  # fmt: skip
    told = {
        "shape": list(shape), "dtype": dtype, "n_threads": base.n_threads, "layout": base.layout,
        "quiet": None, "noise": [], "candidates": [], "rival": None, "duel": {}, "gains": {},
        "kind": None, "gain": 0.0, "accepted": False, "entry": None,
        "interrupted": False, "decided": True,
    }  # fmt: skip
    try:
        run.meter.before(quick=True)
        begin = time.perf_counter()
        measured = run.measure(f"candidates for {n}x{d}x{k}", cases, 0.4)
        _check_equal(plans, works)
    except KeyboardInterrupt:
        told |= {"interrupted": True, "decided": False}
        measured = run.measurements
    first = {kind: [_of(measured, kind, i) for i in range(len(plans))] for kind in KINDS}
    told["candidates"] = [
        {"chunk_rows": p.chunk_rows, "panels_per_block": p.panels_per_block}
        | {name: fit[name] for name in ("median", "samples")}
        | {"predict": {name: labels[name] for name in ("median", "samples")}}
        for p, fit, labels in zip(plans, first["fit"], first["predict"], strict=True)
    ]
    if told["interrupted"]:
        return told
    best = min(range(len(plans)), key=lambda i: _cost(first, i))
    if best == 0 or base.layout not in TUNED_LAYOUTS:
        return told
    chosen = plans[best]
    repeats = {kind: entries[0]["repeats"] for kind, entries in first.items()}
    samples, told["interrupted"] = _duel(
        lambda kind: [_work(rows, centers, p, KINDS[kind])[1] for p in (base, chosen)],
        repeats, run, begin + run.seconds, shape,
    )  # fmt: skip
    told["rival"] = {"chunk_rows": chosen.chunk_rows, "panels_per_block": chosen.panels_per_block}
    told["duel"] = {kind: {"plan": pair[0], "rival": pair[1]} for kind, pair in samples.items()}
    if min(map(len, samples["fit"])) < _fewest(run.quick):
        told["decided"] = False
        return told
    found = {kind: repeatable(*pair) for kind, pair in samples.items()}
    told["gains"] = {kind: gain for kind, (_, gain) in found.items()}
    told["accepted"], told["kind"], told["gain"] = _judged(found)
    if told["accepted"]:
        told["entry"] = tuning.Entry(
            base.dtype, base.layout, base.score_dtype, n, d, k, base.n_threads, chosen.chunk_rows,
            chosen.panels_per_block, base.chunk_rows, base.panels_per_block,
            round(told["gain"], 4), datetime.datetime.now(datetime.UTC).date().isoformat(),
        )  # fmt: skip
    return told


def _of(measured, kind, number):
    """What was measured of one candidate; no samples and no median where Ctrl-C came before."""
    for entry in measured:
        if entry["series"] == kind and entry["case"]["number"] == number:
            return entry
    return {"median": None, "samples": []}


def _fewest(quick):
    return 4 if quick else _FEWEST


def _judged(found):
    """Accept what gains in one kind of pass and loses little in the other.

    Returns
    -------
    accepted : bool
    kind : str
        The kind of pass that gains most; only those that `repeatable` accepts, where any is.
    gain : float
        Its gain.
    """
    kind = max(found, key=lambda name: found[name])
    accepted = found[kind][0] and min(gain for _, gain in found.values()) > -_LOSS
    return accepted, kind, found[kind][1]


def _cost(first, number):
    """Seconds relative to the plan's own, on geometric average over both kinds of pass."""
    return math.prod(entries[number]["median"] / entries[0]["median"] for entries in first.values())


def _work(rows, centers, chosen, update):
    # A first pass of a fit: scores and sums. Later ones skip rows, but read them alike.
    work = Pass(rows, len(centers), chosen, sums=update)

    def call():
        work.restart()
        (work.assign_and_sum if update else work.assign)(centers)

    return work, call


def _check_equal(plans, works):
    reference = works["fit"][0][0]
    for kind, own in works.items():
        for chosen, (work, _) in zip(plans, own, strict=True):
            same = np.array_equal(work.labels, reference.labels)
            if same and KINDS[kind]:
                same = work.sums.values.tobytes() == reference.sums.values.tobytes()
            if not same:
                raise RuntimeError(f"other results with {chosen.chunk_rows} rows per chunk")


def _duel(make, repeats, run, deadline, shape):
    """Sample two plans in turn until the deadline, both kinds of pass in every round.

    Parameters
    ----------
    make : callable
        Takes a kind of pass, returns what runs it with the plan and with its rival.
    repeats : dict of str to int
        Passes per sample of each kind.

    Returns
    -------
    samples : dict of str to tuple of list of float
        By kind, seconds of a pass of each in the order of measuring; as many of each.
    interrupted : bool
        Whether Ctrl-C ended it: whole rounds are kept, as many that begin with the one as with
        the other.
    """
    samples = {kind: ([], []) for kind in KINDS}
    try:
        with run.watched():
            _rounds(samples, make, repeats, run, deadline, shape)
    except KeyboardInterrupt:
        whole = min(len(own) for pair in samples.values() for own in pair) // 2 * 2
        return {kind: (ours[:whole], theirs[:whole])
                for kind, (ours, theirs) in samples.items()}, True  # fmt: skip
    return samples, False


def _rounds(samples, make, repeats, run, deadline, shape):
    fewest, most = _fewest(run.quick), 4 if run.quick else _MOST
    begin = time.perf_counter()
    for turn in range(most):
        now = time.perf_counter()
        # As many rounds begin with the one as with the other.
        if turn >= fewest and turn % 2 == 0 and now > deadline:
            break
        whole = min(most, max(fewest, turn * (deadline - begin) / (now - begin)) if turn else most)
        left = (now - begin) / turn * max(0, whole - turn) if turn else None
        run._tell(f"duel for {'x'.join(map(str, shape))}", turn, round(max(whole, turn)), left)
        if turn % _SITTING == 0:
            calls = {kind: make(kind) for kind in KINDS}
            for pair in calls.values():
                for call in pair:
                    call()
        run.calibrate()
        for kind, pair in calls.items():
            for place in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                for _ in range(repeats[kind]):
                    pair[place]()
                samples[kind][place].append((time.perf_counter() - start) / repeats[kind])


def save(entries: list[tuning.Entry], replaced: list[dict[str, Any]], path: Path) -> None:
    """Put entries into the record of this machine.

    Parameters
    ----------
    entries : list of Entry
    replaced : list of dict
        What `tune` returned and has decided: older entries of the same shape and type go,
        accepted or not.
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


def check_place(path: Path) -> None:
    """Raise OSError where a record cannot be written, naming the file or folder that forbids it.

    Nothing is made or changed.

    Parameters
    ----------
    path : Path
        Where the record is to go.

    Raises
    ------
    OSError
        If there is something else than a file, or the nearest folder that is there is none or
        cannot be written.
    """
    if path.exists() and not path.is_file():
        kind = IsADirectoryError if path.is_dir() else OSError
        raise kind(errno.EISDIR, "not a file that could hold a record", str(path))
    check_folder(path)


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

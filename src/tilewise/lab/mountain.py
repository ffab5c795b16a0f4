"""The memory mountain: bandwidth and latency over working set and stride.

After Bryant and O'Hallaron, "Computer Systems: A Programmer's Perspective", chapter 6, with a
second view: reads that wait for one another, whose steps show where each cache ends.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tilewise._sizes import KIB, kernel_bytes
from tilewise._typing import Vector
from tilewise.kernels import _mountain
from tilewise.plan import machine

from ._run import Case, Run, above_zero
from ._steps import Step, matched, steps
from .figures import Axis, Conclusion, Figure, Mark, Table, measured, shown

__all__ = ["buffer", "compared", "figures", "measure", "table"]

_LINE = 64
_STRIDES = (1, 2, 4, 8, 16, 32)  # words of 8 bytes; from 8 on every read is a line of its own
# One sample of bandwidth reads about so many bytes' worth of time, a walk takes so many steps.
_SAMPLE_SECONDS = 0.004
_STEPS = 1 << 17
_FACTS = {"L1": "l1d_bytes", "L2": "l2_bytes", "L3": "l3_bytes"}
# Sizes that are walked beside the even ones, as parts of each claimed cache.
_AROUND = (0.75, 1, 1.5)


def buffer(size: int) -> Vector[np.float64]:
    """So many bytes of float64 words that begin with a page and are all touched.

    numpy asks for large pages (madvise) for arrays of 4 MiB and more, so the buffer is never
    shorter: small pages would show the reach of the page tables' cache, not of caches.
    """
    words = np.empty(max(size, 1 << 26) // 8 + 512)
    skip = -words.ctypes.data % 4096 // 8
    words = words[skip : skip + size // 8]
    words[...] = 1.0
    return words


def working_sets(smallest: int, largest: int, per_octave: float = 2) -> list[int]:
    """Sizes in bytes, whole lines, evenly spaced on a logarithmic scale."""
    count = round(math.log2(largest / smallest) * per_octave)
    found = (smallest * 2 ** (i / per_octave) for i in range(count + 1))
    return sorted({int(size) // _LINE * _LINE for size in found})


def read_case(
    words: Vector[np.float64],
    size: int,
    stride: int,
    isa: str,
    threads: int = 1,
    series: str = "bandwidth",
) -> Case:
    """Gigabytes per second of the bytes asked for, one word out of `stride`."""
    part = words[: size // 8]
    asked = -(-len(part) // stride) * 8
    passes = 1

    def call():
        """Read until the clock can tell; keep the number of passes for the next time."""
        nonlocal passes
        while True:
            seconds = _mountain.read_seconds(part, stride, passes, isa, threads)
            if seconds >= _SAMPLE_SECONDS / 2 or passes > 1 << 24:
                return asked * passes / max(seconds, 1e-9) / 1e9
            passes = max(2 * passes, int(passes * _SAMPLE_SECONDS / max(seconds, 1e-6)))

    return Case(series, {"bytes": size, "stride": stride, "threads": threads}, call, "GB/s")


def _walked(largest, here, quick):
    """Working sets of the walk: evenly spaced, and denser around what the system claims."""
    found = set(working_sets(4 * KIB, largest, 1 if quick else 2))
    if not quick:
        for name in _FACTS.values():
            size = getattr(here, name).value or 0
            found |= {int(size * part) // _LINE * _LINE for part in _AROUND}
    return sorted(size for size in found if 4 * KIB <= size <= largest)


def _walk_case(words, size, steps):
    places = words.view(np.int64)
    lines = size // _LINE
    state = {}

    def call():
        if "order" not in state:
            state["order"] = np.random.default_rng(lines).permutation(lines)
        # All sizes share one buffer: the ring is laid anew, which also warms it.
        order = state["order"] * (_LINE // 8)
        places[order] = np.roll(order, -1)
        part = places[: lines * (_LINE // 8)]
        first = int(order[0])
        _mountain.walk_seconds(part, first, min(lines, steps))
        return _mountain.walk_seconds(part, first, steps) / steps

    return Case("latency", {"bytes": size}, call)


def measure(run: Run) -> None:
    """Latency first, since the cache sizes come from it; then bandwidth by stride."""
    largest = run.parameters["largest_mib"] << 20
    words = buffer(largest)
    pages = kernel_bytes("/proc/self/smaps_rollup", "AnonHugePages")
    run.facts |= {"buffer_bytes": words.nbytes, "large_page_bytes": pages}
    here = machine()
    isa = here.isa.value
    count = _STEPS // 8 if run.quick else _STEPS
    walks = [_walk_case(words, size, count) for size in _walked(largest, here, run.quick)]
    run.measure("reads that wait for one another", walks, 0.5)
    strides = _STRIDES[::3] if run.quick else _STRIDES
    words[...] = 1.0
    sets = working_sets(4 * KIB, largest, 1 if run.quick else 2)
    reads = [
        read_case(words, size, stride, isa)
        for stride in strides for size in sets if stride * 64 < size
    ]  # fmt: skip
    run.measure("bandwidth", reads, 0.5)


@above_zero
def compared(result: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Step]]:
    """What was read off for each cache that the system claims.

    Returns
    -------
    told : list of dict
        ``level``, ``claimed`` (bytes), ``source``, ``seen`` (a `Step` of latency or None) and
        ``bandwidth`` (the same of the bandwidth of a word per line) for L1, L2, L3.
    left : list of Step
        Climbs of latency that belong to no claim.
    """
    facts = result["machine"]["facts"]
    claims = {level: facts[name]["value"] for level, name in _FACTS.items()}
    walks, reads = _walks(result), _reads(result)
    seen, left = matched(claims, steps(*zip(*walks, strict=True)) if walks else [])
    slower, _ = matched(claims, steps(*zip(*reads, strict=True)) if reads else [])
    told = [
        {"level": level, "claimed": claims[level], "source": facts[name].get("source", ""),
         "seen": seen[level], "bandwidth": slower[level]}
        for level, name in _FACTS.items()
    ]  # fmt: skip
    return told, left


def _reads(result):
    """Seconds per gigabyte of a word per line, the best of each size."""
    return sorted(
        (e["case"]["bytes"], 1 / max(e["samples"])) for e in result["measurements"]
        if e["series"] == "bandwidth" and e["case"]["stride"] == _LINE // 8 and e["min"] > 0
    )  # fmt: skip


def _walks(result):
    return sorted(
        # The least: whatever disturbs a read only ever adds.
        (e["case"]["bytes"], e["min"]) for e in result["measurements"]
        if e["series"] == "latency"
    )  # fmt: skip


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Latency and bandwidth at some working sets; claimed and seen caches."""
    rows = []
    latency = dict(_walks(result))
    reads = {}
    for e in result["measurements"]:
        if e["series"] == "bandwidth":
            reads.setdefault(e["case"]["bytes"], {})[e["case"]["stride"]] = e["median"]
    told, left = compared(result)
    # Every other octave, and all sizes around what is claimed.
    near = [size * part for c in told if (size := c["claimed"]) for part in (0.5, 2)]
    ranges = list(zip(near[::2], near[1::2], strict=True))
    for number, size in enumerate(sorted(reads.keys() & latency.keys()) or sorted(latency)):
        if number % 4 == 0 or any(a < size < b for a, b in ranges):
            own = reads.get(size, {})
            rows.append(
                [shown(size, "bytes"), shown(latency[size], "s"), _rate(own.get(1)),
                 _rate(own.get(8))]
            )  # fmt: skip
    notes = [Conclusion(note) for note in _claim_notes(told, left, max(latency, default=0))]
    return Table(["working set", "a read that waits", "all words", "a word per line"], rows, notes)


def _rate(value):
    return "–" if value is None else f"{shown(value)} GB/s"


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """Latency over working set; bandwidth over working set, a line per stride."""
    made, marks = [], []
    walks = _walks(result)
    claims, left = compared(result)
    largest = walks[-1][0] if walks else 0
    for claim in claims:
        if 0 < claim["claimed"] <= largest:
            marks.append(Mark("x", claim["claimed"], f"{claim['level']} (claimed)"))
        if claim["seen"]:
            marks.append(
                Mark("x", claim["seen"].at, f"{claim['level']} (seen)", True, concluded=True)
            )
    if walks:
        entries = sorted(
            (e for e in result["measurements"] if e["series"] == "latency"),
            key=lambda e: e["case"]["bytes"],
        )
        curve = measured("one read after another, in random order", entries, "bytes", color=0)
        least = [y for _, y in walks]
        made.append(
            Figure(
                "mountain-latency", "Time of a read that waits for the one before",
                Axis("working set", "log2", "bytes"), Axis("time of a read", "log10", "s"),
                [replace(curve, y=least, low=least)], marks,
                _latency_words(result, walks, claims, left),
            )
        )  # fmt: skip
    reads = [e for e in result["measurements"] if e["series"] == "bandwidth"]
    if reads:
        made.append(_bandwidth_figure(result, reads, marks))
    return made


def _bandwidth_figure(result, reads, marks):
    by_stride = {}
    for e in reads:
        by_stride.setdefault(e["case"]["stride"], []).append(e)
    series = []
    for number, (stride, own) in enumerate(sorted(by_stride.items())):
        own.sort(key=lambda e: e["case"]["bytes"])
        name = _words_read(stride)
        series.append(replace(measured(name, own, "bytes", color=number), low=None, high=None))
    best, least = max(reads, key=lambda e: e["median"]), min(reads, key=lambda e: e["median"])
    return Figure(
        "mountain-bandwidth", "Bandwidth over working set and stride",
        Axis("working set", "log2", "bytes"),
        Axis("bandwidth of the bytes asked for (GB/s)", "log10"),
        series, [m for m in marks if "claimed" in m.label],
        [
            Conclusion(
                f"The highest bandwidth is {_reading(best)}. The lowest is {_reading(least)}."
            ),
            "A cache line has 64 bytes, which are eight words. A read of one word fetches the "
            "whole line. From a stride of 8 words on, every read fetches another line. With longer "
            "strides, hardware prefetching and the cache of address translations (TLB) help less. "
            "The first series reads whole vectors and the others read single words, so they differ "
            "even inside L1.",
        ],
    )  # fmt: skip


def _words_read(stride):
    return "every word" if stride == 1 else f"one word of {stride}"


def _reading(entry):
    """A bandwidth, and what was read at it."""
    size, words = shown(entry["case"]["bytes"], "bytes"), _words_read(entry["case"]["stride"])
    return f"{shown(entry['median'])} GB/s, for {words} in {size}"


def _latency_words(result, walks, claims, left):
    first, last = walks[0], walks[-1]
    words = [
        Conclusion(
            f"A read from {shown(first[0], 'bytes')} took {shown(first[1], 's')}. A read from "
            f"{shown(last[0], 'bytes')} took {shown(last[1], 's')}, {last[1] / first[1]:.0f} times "
            "as long. Each read waits for the one before, and the order is random, so the "
            "processor cannot fetch ahead."
        )
    ]
    told = _claim_notes(claims, left, last[0])
    words.append(
        Conclusion(
            "The curve climbs where a cache ends. “Seen” is the middle of a climb; the cache ends "
            "somewhere on that climb. " + ". ".join(told) + ". A virtual machine often reports the "
            "L3 of the whole host, which other guests use too. A step can also come early because "
            "other data share the cache."
        )
    )
    large, whole = (result["facts"].get(k) for k in ("large_page_bytes", "buffer_bytes"))
    if large is not None and whole:
        share = min(100, 100 * large / whole)
        words.append(
            f"{share:.0f} % of the memory that was read lay in large pages."
            + ("" if share > 90 else " With small pages, a read from a large working set also "
               "waits for the page tables. That raises and blurs the right side of the curve.")
        )  # fmt: skip
    return words


def _claim_notes(claims, left, largest):
    told = []
    for claim in claims:
        if not claim["claimed"]:
            continue
        words = f"{claim['level']}: claimed {shown(claim['claimed'], 'bytes')}, "
        if claim["seen"]:
            words += f"seen {_step(claim['seen'])}"
        elif claim["claimed"] > largest:
            words += "larger than all working sets"
        else:
            words += "no step within a factor of two"
        if claim["bandwidth"]:
            words += f"; bandwidth of a word per line: {_step(claim['bandwidth'])}"
        told.append(words)
    for step in left:
        told.append(
            f"A climb at {_step(step)} matches no claimed cache. It may be the part of a shared "
            "cache that this machine gets, or the reach of the cache of address translations (TLB)"
        )
    return told


def _step(step):
    return (
        f"{shown(step.at, 'bytes')} (between {shown(step.low, 'bytes')} and "
        f"{shown(step.high, 'bytes')})"
    )

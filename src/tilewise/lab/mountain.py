"""The memory mountain: bandwidth and latency over working set and stride.

After Bryant and O'Hallaron, "Computer Systems: A Programmer's Perspective", chapter 6, with a
second view: reads that wait for one another, whose steps show where each cache ends.
"""

import math

import numpy as np

from tilewise.kernels import _mountain
from tilewise.plan import machine

from ._run import Case
from .figures import Axis, Figure, Mark, Series, Table, shown

__all__ = ["buffer", "edges", "figures", "measure", "table"]

_KIB = 1024
_LINE = 64
_STRIDES = (1, 2, 4, 8, 16, 32)  # words of 8 bytes; from 8 on every read is a line of its own
# One sample of bandwidth reads about so many bytes' worth of time, a walk takes so many steps.
_SAMPLE_SECONDS = 0.004
_STEPS = 1 << 17
# A climb: latency rises by at least this factor from one size to the next (half an octave), and
# a level is left where it has risen by this much from its floor.
_CLIMB = 1.12
_LEFT = 1.25


def buffer(size):
    """So many bytes of float64 words that begin with a page and are all touched.

    Arrays of 4 MiB and more get large pages from numpy where the system has them, so the buffer
    is never shorter: small ones would show the reach of the page tables' cache, not of caches.
    """
    words = np.empty(max(size, 1 << 26) // 8 + 512)
    skip = -words.ctypes.data % 4096 // 8
    words = words[skip : skip + size // 8]
    words[...] = 1.0
    return words


def working_sets(smallest, largest, per_octave=2):
    """Sizes in bytes, whole lines, evenly spaced on a logarithmic scale."""
    count = round(math.log2(largest / smallest) * per_octave)
    found = (smallest * 2 ** (i / per_octave) for i in range(count + 1))
    return sorted({int(size) // _LINE * _LINE for size in found})


def read_case(words, size, stride, isa, threads=1, series="bandwidth"):
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


def measure(run):
    """Latency first, since the cache sizes come from it; then bandwidth by stride."""
    largest = run.parameters["largest_mib"] << 20
    words = buffer(largest)
    isa = machine().isa.value
    dense = 1 if run.quick else 2
    steps = _STEPS // 8 if run.quick else _STEPS
    walks = [_walk_case(words, size, steps) for size in working_sets(4 * _KIB, largest, dense)]
    run.measure("reads that wait for one another", walks, 0.5)
    strides = _STRIDES[::3] if run.quick else _STRIDES
    words[...] = 1.0
    sets = working_sets(4 * _KIB, largest, 1 if run.quick else 2)
    reads = [
        read_case(words, size, stride, isa)
        for stride in strides for size in sets if stride * 64 < size
    ]  # fmt: skip
    run.measure("bandwidth", reads, 0.5)


def edges(sizes, latencies):
    """Working sets after which the time of a read climbs: where caches end.

    Parameters
    ----------
    sizes : list of int
        Rising.
    latencies : list of float
        Seconds per read at each size.

    Returns
    -------
    list of tuple of (int, float)
        Largest size of each level but the last, and the seconds of a read in it.

    Notes
    -----
    A level is a run of sizes over which latency stays within a quarter of its floor; a climb
    that goes on is one edge, however long. Levels that last for one size only are part of a
    climb.

    Examples
    --------
    >>> from tilewise.lab.mountain import edges
    >>> edges([16, 32, 64, 128, 256, 512, 1024], [1, 1, 4, 4, 4, 20, 20])
    [(32, 1), (256, 4)]
    """
    found, start = [], 0
    while start < len(sizes):
        floor, last = latencies[start], start
        while last + 1 < len(sizes) and latencies[last + 1] < floor * _LEFT:
            last += 1
            floor = min(floor, latencies[last])
        if last + 1 >= len(sizes):
            break
        if last > start:
            found.append((sizes[last], floor))
        start = last + 1
        # Up to the top of the climb.
        while start + 1 < len(sizes) and latencies[start + 1] > latencies[start] * _CLIMB:
            start += 1
    return found


def compared(result):
    """What was read off for each cache that the system claims.

    Returns
    -------
    list of dict
        ``level``, ``claimed`` (bytes), ``source``, ``seen`` (bytes or None) for L1, L2, L3.
    """
    walks = _walks(result)
    seen = edges(*zip(*walks, strict=True)) if walks else []
    facts = result["machine"]["facts"]
    told, left = [], list(seen)
    for level, name in (("L1", "l1d_bytes"), ("L2", "l2_bytes"), ("L3", "l3_bytes")):
        claimed, source = facts[name]["value"], facts[name].get("source", "")
        # An edge belongs to a claim if it lies within a factor of two of it.
        near = [size for size, _ in left if claimed and 0.5 <= size / claimed <= 2]
        nearest = min(near, key=lambda size: abs(math.log(size / claimed))) if near else None
        left = [(size, time) for size, time in left if size != nearest]
        told.append({"level": level, "claimed": claimed, "source": source, "seen": nearest})
    return told


def _walks(result):
    return sorted(
        # The least: whatever disturbs a read only ever adds.
        (e["case"]["bytes"], e["min"]) for e in result["measurements"]
        if e["series"] == "latency"
    )  # fmt: skip


def table(result):
    """Latency and bandwidth at some working sets; claimed and seen caches."""
    rows = []
    latency = dict(_walks(result))
    reads = {}
    for e in result["measurements"]:
        if e["series"] == "bandwidth":
            reads.setdefault(e["case"]["bytes"], {})[e["case"]["stride"]] = e["median"]
    for number, size in enumerate(sorted(latency)):
        if number % 4 == 0:
            own = reads.get(size, {})
            rows.append(
                [shown(size, "bytes"), shown(latency[size], "s"), _rate(own.get(1)),
                 _rate(own.get(8))]
            )  # fmt: skip
    notes = _claim_notes(compared(result), max(latency, default=0))
    return Table(["working set", "a read that waits", "all words", "a word per line"], rows, notes)


def _rate(value):
    return "–" if value is None else f"{shown(value)} GB/s"


def figures(result):
    """Latency over working set; bandwidth over working set, a line per stride."""
    made, marks = [], []
    walks = _walks(result)
    claims = compared(result)
    largest = walks[-1][0] if walks else 0
    for claim in claims:
        if 0 < claim["claimed"] <= largest:
            marks.append(Mark("x", claim["claimed"], f"{claim['level']} (claimed)"))
        if claim["seen"]:
            marks.append(Mark("x", claim["seen"], f"{claim['level']} (seen)", True))
    if walks:
        entries = sorted(
            (e for e in result["measurements"] if e["series"] == "latency"),
            key=lambda e: e["case"]["bytes"],
        )
        made.append(
            Figure(
                "mountain-latency", "Time of a read that waits for the one before",
                Axis("working set", "log2", "bytes"), Axis("time of a read", "log10", "s"),
                [Series("one read after another, in random order", [x for x, _ in walks],
                        [y for _, y in walks], [e["min"] for e in entries],
                        [e["high"] for e in entries], color=0)],
                marks, _latency_words(walks, claims),
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
        series.append(
            Series("every word" if stride == 1 else f"one word of {stride}",
                   [e["case"]["bytes"] for e in own], [e["median"] for e in own], color=number)
        )  # fmt: skip
    best, least = max(reads, key=lambda e: e["median"]), min(reads, key=lambda e: e["median"])
    return Figure(
        "mountain-bandwidth", "Bandwidth over working set and stride",
        Axis("working set", "log2", "bytes"),
        Axis("bandwidth of the bytes asked for (GB/s)", "log10"),
        series, [m for m in marks if "claimed" in m.label],
        [
            f"The summit is {shown(best['median'])} GB/s with "
            f"{shown(best['case']['bytes'], 'bytes')} read word after word; the lowest "
            f"valley {shown(least['median'])} GB/s, with "
            f"{shown(least['case']['bytes'], 'bytes')} and one word of {least['case']['stride']}.",
            "A line of the cache has 64 bytes. Whoever asks for one word of it still pays for all "
            "eight: from a stride of 8 words on nothing more is lost but what the prefetchers "
            "had fetched ahead. Reading every word uses whole vectors; the other lines use single "
            "loads, hence the gap even inside L1.",
        ],
    )  # fmt: skip


def _latency_words(walks, claims):
    first, last = walks[0], walks[-1]
    words = [
        f"A read out of {shown(first[0], 'bytes')} took {shown(first[1], 's')}; out of "
        f"{shown(last[0], 'bytes')}, {shown(last[1], 's')}: {last[1] / first[1]:.0f} times as "
        "long. No two reads overlap here, and the order is random, so nothing is fetched ahead."
    ]
    told = _claim_notes(claims, last[0])
    words.append(
        "The curve climbs where a cache ends. " + "; ".join(told) + ". What a virtual machine "
        "says of L3 is often the whole host's, and its neighbours use it too; a step may also "
        "come early where other data share a cache."
    )
    return words


def _claim_notes(claims, largest):
    told = []
    for claim in claims:
        if not claim["claimed"]:
            continue
        size = shown(claim["claimed"], "bytes")
        if claim["seen"]:
            told.append(f"{claim['level']}: claimed {size}, seen {shown(claim['seen'], 'bytes')}")
        elif claim["claimed"] > largest:
            told.append(f"{claim['level']}: claimed {size}, larger than what was walked")
        else:
            told.append(f"{claim['level']}: claimed {size}, no step within a factor of two of it")
    return told

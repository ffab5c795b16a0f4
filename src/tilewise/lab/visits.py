"""Formulas from the list of stages: what a loop visits, and what passes by before it does so again.

A buffer whose accesses move on with the turns is walked through once, along with the loop; one that
every turn meets at the same place is walked through again and again. Within a loop some places are
looked at: a byte of an access, the access that touched it last, and the stretches of memory that
everything in between touched.
"""

import numpy as np

from tilewise.lab.accesses import PREFETCH, WRITE, Loop
from tilewise.lab.reuse import SAMPLES, Again, Stage, Stretch, Visit
from tilewise.plan.nest import LoopNest

__all__ = ["stage_of"]

# Multiples of irrational numbers fill a range evenly (Kronecker's sequences).
_EVENLY = (0.5 + np.arange(SAMPLES) * 2**0.5) % 1
# Buffers that are another piece of memory for each chunk.
_MOVING = ("X", "labels")
_LINE = 64


def stage_of(loop: Loop, z: LoopNest) -> Stage:
    """What a loop visits, in chunk 0."""
    buffers: dict[tuple[str, bool], list[int]] = {}
    for i, access in enumerate(loop.accesses):
        buffers.setdefault((access.key, access.kind == PREFETCH), []).append(i)
    places = _Places(loop)
    visits = [_visit(places, z, *which, own) for which, own in buffers.items()]
    return Stage((*visits, *loop.visits), loop.weight, loop.between, loop.between_at)


def _visit(places, z, key, prefetch, own):
    loop, name = places.loop, z.attributed(key)
    access = loop.accesses[own[0]]
    writes = any(loop.accesses[i].kind == WRITE for i in own)
    if key in _MOVING:
        size = access.total or loop.turns * access.step
        return Visit((key, int(prefetch), "chunk"), name, size, writes, prefetch=prefetch)
    begin, end, moves = places.extent(own)
    turns = 0 if moves or len(loop.accesses) == 1 else loop.turns
    again = None if moves and len(own) == 1 else places.again(np.array(own), writes)
    return Visit((key, begin), name, float(end - begin), writes, turns, again, at=begin)


class _Places:
    """Where the accesses of a loop lie, in a few of its turns and the two before each."""

    def __init__(self, loop: Loop):
        self.loop, accesses = loop, loop.accesses
        self.at, self.count, self.bytes = np.array(
            [(a.at, a.count, a.size * a.count) for a in accesses], dtype=np.int64
        ).T
        kind = np.array([a.kind for a in accesses])
        self.early, self.writes = kind == PREFETCH, kind == WRITE
        self.anywhere = np.array([a.key in _MOVING for a in accesses])
        self.steps = np.array([0 if np.ndim(a.step) else a.step for a in accesses])
        self.listed = [(i, a.step) for i, a in enumerate(accesses) if np.ndim(a.step)]
        # Spread over the loop, in an order that has nothing to do with that of the accesses.
        turns = np.arange(SAMPLES) * 13 % SAMPLES * loop.turns // SAMPLES
        self.turns = np.maximum(turns, min(2, loop.turns - 1))
        self.seen: dict[tuple[int, int], np.ndarray] = {}

    def extent(self, own):
        """First byte, the one behind the last, and whether the turns move on."""
        first, last, moves = [], [], False
        listed = dict(self.listed)
        for i in own:
            access, begin = self.loop.accesses[i], self.at[i]
            span = access.total or (access.count - 1) * access.stride + access.size
            if i in listed:
                first.append(begin + listed[i].min())
                last.append(begin + listed[i].max() + span)
            else:
                turns = self.loop.turns - 1 + access.until
                first.append(begin + access.since * access.step)
                last.append(begin + (not access.total) * turns * access.step + span)
                moves = moves or access.step > 0
        # Arrays that take turns are walked through again and again.
        moves = moves or (own[0] in listed and len(own) == 1)
        return int(min(first)), int(max(last)), moves

    def now(self, q, back):
        """Addresses in the turn of place `q`, or in one before."""
        if (q, back) not in self.seen:
            turn = self.turns[q] - back
            at = self.at + turn * self.steps
            for i, step in self.listed:
                at[i] += step[turn]
            self.seen[q, back] = at
        return self.seen[q, back]

    def again(self, own, writes):
        """Visits of `own` accesses beyond the first of each byte."""
        ways = self.ways(own)
        # What was last touched in the turn before has no such way in the first turn.
        sizes = self.bytes[own] * (self.loop.turns - (ways > own)) * (ways > 0)
        if not sizes.any():
            return None
        # In the order of their ways, so that short ones and long ones have their shares.
        order = np.argsort(ways, kind="stable")
        ends = np.cumsum(sizes[order])
        found = []
        for q, part in enumerate(_EVENLY):
            i = own[order[np.searchsorted(ends, (q + 0.5) / SAMPLES * ends[-1])]]
            byte = self.now(q, 0)[i] + int(part * self.bytes[i])
            last = self.before(q, own, (0, i), byte)
            if last is not None:
                found.append((q, i, byte, last))
        found = [found[n * len(found) // SAMPLES] for n in range(SAMPLES)]
        lines = (np.array([self.now(q, 0)[i] for q, i, *_ in found]),
                 np.array([self.bytes[i] for _, i, *_ in found]))  # fmt: skip
        between = [self.between(q, last, (0, i)) for q, i, _, last in found]
        earlier, dirty = [], np.zeros(SAMPLES)
        for n, (q, _, byte, (back, j)) in enumerate(found):
            dirty[n] = self.writes[j]
            earlier.append(([], 0, 0))
            if writes and not self.writes[j]:
                last = self.before(q, own, (back, j), byte)
                if last is not None and self.writes[last[1]]:
                    dirty[n] = 1.0
                    earlier[n] = self.between(q, last, (back, j))
        return Again(float(ends[-1]), lines, *_stretches(between), dirty, _stretches(earlier)[0])

    def ways(self, own):
        """How many accesses behind the last touch of its first byte each one comes; -1 if first."""
        known: dict[int, int] = {}
        ways = np.full(len(own), -1)
        place = int(np.argmax(self.turns))
        for back in range(min(1, self.turns[place]), -1, -1):
            at = self.now(place, back)
            for n, i in enumerate(own):
                if not back:
                    last = known.get(at[i])
                    if last is None and (found := self.before(place, own, (0, i), at[i])):
                        last = found[1] - found[0] * len(self.at)
                    ways[n] = -1 if last is None else i - last
                known[at[i]] = i - back * len(self.at)
        return ways

    def before(self, q, own, place, byte):
        """The last access of `own` that touched a byte: turns back, and which; None if none did."""
        back, i = place
        candidates = own[own < i]
        while True:
            at = self.now(q, back)[candidates]
            hits = candidates[(at <= byte) & (byte < at + self.bytes[candidates])]
            if len(hits):
                return back, hits[-1]
            back, candidates = back + 1, own
            if back > min(2, self.turns[q]):
                return None

    def between(self, q, last, place):
        """Stretches that are touched behind one access up to another: known, anywhere, early."""
        (back, j), (end, i) = last, place
        starts, which = [], []
        while back >= end:
            some = np.arange(j + 1, i + 1 if back == end else len(self.at))
            starts.append(self.now(q, back)[some])
            which.append(some)
            back, j = back - 1, -1
        starts, which = np.concatenate(starts), np.concatenate(which)
        moving, early = self.anywhere[which], self.early[which]
        anywhere = self.bytes[which[moving & ~early]].sum()
        fetched = _LINE * self.count[which[early]].sum()
        return _merged(starts[~moving], self.bytes[which[~moving]]), anywhere, fetched


def _merged(starts, sizes):
    """Overlapping and touching stretches as one."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate((starts + sizes)[order])
    new = np.ones(len(starts), dtype=bool)
    new[1:] = starts[1:] > ends[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(starts)) - 1
    return list(zip(starts[first], ends[last] - starts[first], strict=True))


def _stretches(found) -> tuple[list[Stretch], np.ndarray]:
    """Stretches of all places side by side, and what passes by without the first level."""
    most = max(len(known) for known, *_ in found)
    at, size = np.zeros((most, SAMPLES)), np.zeros((most, SAMPLES))
    for n, (known, *_) in enumerate(found):
        if known:
            at[: len(known), n], size[: len(known), n] = zip(*known, strict=True)
    anywhere, fetched = (np.array([entry[i] for entry in found]) for i in (1, 2))
    pieces: list[Stretch] = list(zip(at, size, strict=True))
    if anywhere.any():
        pieces.append((None, anywhere))
    return pieces, fetched

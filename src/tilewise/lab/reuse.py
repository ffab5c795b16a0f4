"""How far apart two visits of the same bytes are, and what a cache of a given size makes of it.

A pass is a cycle of stages (pack, score against a block of panels, certify, ...), each of which
walks through some buffers from end to end. A line at relative position t of a buffer, visited in
stage i and again in stage j, has seen in between

- all of what the stages between i and j touch,
- of what only stage i touches, the part behind t: (1 - t) of it,
- of what only stage j touches, the part before t: t of it,
- all of what both touch, and all of what either walks through again and again.

The sum is its reuse distance, linear in t. With least-recently-used replacement in one set the
visit hits where the distance, the line itself included, is at most the size of the cache
(Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies", IBM Systems
Journal 9, 1970); with several sets, as `survivors` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "SAMPLES", "Again", "Cache", "Stage", "Stretch", "Visit", "evaluate", "survivors",
]  # fmt: skip

#: How many places are looked at.
SAMPLES = 32
# Positions within a buffer at which the linear distance is looked at.
_POSITIONS = (np.arange(SAMPLES) + 0.5) / SAMPLES

# Lines within a stretch, or sets of a cache, that stand for it.
_LINES = (np.arange(16) + 0.5) / 16
_NOUGHT = np.zeros(SAMPLES)

#: Address of the first byte, None where it may be anywhere, and bytes; numbers or arrays of
#: `SAMPLES`.
Stretch = tuple[float | np.ndarray | None, float | np.ndarray]


@dataclass(frozen=True)
class Cache:
    """One level of the caches."""

    size: float  # bytes
    ways: int = 0  # lines of a set; 0 for one set, which keeps every line as long as it can
    line: int = 64


@dataclass(frozen=True)
class Again:
    """Bytes that are visited once more within a stage, at `SAMPLES` places of the loop nest."""

    size: float  # bytes of all such visits
    lines: Stretch  # the bytes in question
    pieces: list[Stretch]  # touched between two visits, their own included
    fetched: np.ndarray  # bytes that pass by without touching the first level
    dirty: np.ndarray  # whether the bytes were written before
    earlier: list[Stretch]  # where they were read since: what passed by before that

    def moved(self, cache: Cache, level: int) -> tuple[float, float]:
        """Bytes that come in again, and those that have left."""
        pieces = self.pieces
        if level and self.fetched.any():
            pieces = [*pieces, (None, self.fetched)]
        miss, left = 1 - survivors(cache, self.lines, pieces), 0.0
        if self.dirty.any():
            before = 1 - survivors(cache, self.lines, self.earlier) if self.earlier else 0.0
            # A line that is lost on either way leaves once.
            left = (self.dirty * np.maximum(0.0, miss - before)).mean()
        return self.size * float(miss.mean()), self.size * float(left)


@dataclass(frozen=True)
class Visit:
    """One buffer in one stage."""

    key: tuple[Any, ...]  # what the bytes are: equal keys, equal bytes
    name: str  # what the traffic is attributed to
    size: float
    write: bool = False
    # How often it is walked through from end to end; 0 for once, along with the stage.
    turns: int = 0
    again: Again | None = None  # more visits of its bytes within the stage
    prefetch: bool = False  # does not pass the first level
    at: int | None = None  # address; None where it is another one in every chunk


@dataclass(frozen=True)
class Stage:
    """Buffers that are walked through together."""

    visits: tuple[Visit, ...]
    weight: float = 1.0  # how many stages of this kind it stands for
    # Bytes of the others of them, which lie behind it for all that look back past it, and where.
    between: float = 0.0
    between_at: int | None = None

    def in_chunk(self, number: int) -> "Stage":
        """The same stage so many chunks later, which has rows of its own."""
        return replace(self, visits=tuple(
            replace(visit, key=(visit.key[0], visit.key[1] + number, "chunk"))
            if visit.key[-1] == "chunk" else visit for visit in self.visits
        ))  # fmt: skip


@dataclass
class _Moved:
    """Bytes of one buffer: in and out per cycle, and what the first cycle brings in besides."""

    inward: float = 0.0
    outward: float = 0.0
    cold_in: float = 0.0
    cold_out: float = 0.0


def evaluate(cycles: Sequence[Sequence[Stage]], caches: Sequence[Cache]) -> list[dict[str, _Moved]]:
    """Bytes that cross the outer border of each cache in the last of some equal cycles.

    Parameters
    ----------
    cycles : sequence of sequence of Stage
        Three successive chunks, alike: the last is looked at, the others do what it does.
    caches : sequence of Cache
        Innermost first.

    Returns
    -------
    list of dict
        Per level, for each name the bytes moved.
    """
    stages = [stage for cycle in cycles for stage in cycle]
    length = len(cycles[-1])
    last = len(stages) - length
    middle = last - length
    # Which share of the visits arrives at a level at all, per position.
    arrives = {
        (j, v): np.full(len(_POSITIONS), float(not visit.prefetch))
        for j, stage in enumerate(stages)
        for v, visit in enumerate(stage.visits)
    }
    found = []
    for level, cache in enumerate(caches):
        if level == 1:
            for j, stage in enumerate(stages):
                for v, visit in enumerate(stage.visits):
                    if visit.prefetch:
                        arrives[j, v][:] = 1.0
        moved: dict[str, _Moved] = {}
        dirty: dict[tuple, np.ndarray] = {}
        missed = {}
        means = {place: share.mean() for place, share in arrives.items()}
        for j, stage in enumerate(stages[last:], last):
            for v, visit in enumerate(stage.visits):
                miss = arrives[j, v] * (1 - _hits(stages, arrives, means, j, visit, cache))
                for back in range(len(cycles)):
                    missed[j - back * length, v] = miss
        for j, stage in enumerate(stages[middle:], middle):
            for v, visit in enumerate(stage.visits):
                miss = missed[j, v]
                before = dirty.get(visit.key, 0.0 * miss)
                entry = moved.setdefault(visit.name, _Moved())
                share = visit.size * stage.weight / len(_POSITIONS)
                if j >= last:
                    entry.inward += share * miss.sum()
                    entry.outward += share * (miss * before).sum()
                    if visit.again is not None:
                        again = visit.again.moved(cache, level)
                        entry.inward += stage.weight * again[0]
                        entry.outward += stage.weight * again[1]
                dirty[visit.key] = np.maximum(before * (1 - miss), float(visit.write))
        _first_cycle(stages[last:], missed, last, dirty, moved)
        found.append(moved)
        arrives = missed
    return found


def _first_cycle(stages, missed, last, dirty, moved):
    """What is brought in once, and what leaves when all is over."""
    seen = set()
    for j, stage in enumerate(stages, last):
        for v, visit in enumerate(stage.visits):
            if visit.key in seen:
                continue
            seen.add(visit.key)
            entry = moved[visit.name]
            share = visit.size * stage.weight / len(_POSITIONS)
            left = dirty[visit.key]
            if visit.key[-1] == "chunk":
                # Bytes of this chunk alone: they leave once, and no later visit shows it.
                entry.outward += share * left.sum()
                continue
            entry.cold_in += share * (1 - missed[j, v]).sum()
            entry.cold_out += share * (left * (1 - missed[j, v])).sum()


def survivors(cache: Cache, own: Stretch, pieces: Sequence[Stretch]) -> np.ndarray:
    """Which share of some lines a cache still has after stretches of memory passed by.

    A line is still there if no more lines than there are ways, its own included, fell into its
    set. A stretch of n lines puts n / sets of them into every set, rounded down or up. Which sets
    have the one more follows from its address. Where that is unknown, stretches begin anywhere,
    independently of each other: a set has one more with the probability n / sets - floor(n /
    sets). With stretches of one line each, anywhere, this is the binomial distribution of Smith,
    "A comparative study of set associative memory mapping algorithms and their use for cache
    and main memory", IEEE Transactions on Software Engineering 4 (1978), which Hill and Smith
    use in "Evaluating associativity in CPU caches", IEEE Transactions on Computers 38 (1989).

    Parameters
    ----------
    cache : Cache
    own : (address, bytes)
        The lines in question.
    pieces : sequence of (address, bytes)
        What passes by, `own` included; if its address is unknown, the first is its buffer.

    Returns
    -------
    ndarray of shape (SAMPLES,)

    Examples
    --------
    Half of a direct-mapped cache passed by, in one piece; then in two.

    >>> from tilewise.lab.reuse import Cache, survivors
    >>> direct = Cache(4096, ways=1)
    >>> float(survivors(direct, (0, 64), [(0, 64), (None, 2048)])[0])
    0.5
    >>> float(survivors(direct, (0, 64), [(0, 64), (None, 1024), (None, 1024)])[0])
    0.5625
    """
    sizes = np.array([size + _NOUGHT for _, size in pieces])
    if not cache.ways:
        return (sizes.sum(axis=0) <= cache.size).astype(float)
    sets = max(1, round(cache.size / cache.ways / cache.line))
    # A line more than the size says, where a stretch begins within one.
    if (np.floor(sizes / (sets * cache.line)).sum(axis=0) > cache.ways).all():
        return np.zeros(SAMPLES)
    if (np.ceil(sizes / (sets * cache.line) + 1 / sets).sum(axis=0) <= cache.ways).all():
        return np.ones(SAMPLES)
    known = np.array([at is not None for at, _ in pieces])
    starts = np.array([at + _NOUGHT for at, _ in pieces if at is not None]).reshape(-1, SAMPLES)
    first, lines = _lines(starts, sizes[known], cache.line)
    filled = sizes[~known] / (sets * cache.line)
    whole = np.floor(filled + 1e-9)
    part = np.clip(filled - whole, 0.0, 1.0)
    if own[0] is None and len(part):
        # Of the stretch that holds the line, a set that has one more has more of the lines.
        chance = part[0] * (whole[0] + 1) / np.maximum(filled[0], 1e-9)
        part[0] = np.where(whole[0] > 0, chance, 1.0)
    # How likely at most 0, 1, 2, ... stretches anywhere have one more line in the set.
    most = np.zeros((SAMPLES, len(part) + 2))
    most[:, 1] = 1.0
    for chance in part[:, :, None]:
        most[:, 2:] = most[:, 2:] * (1 - chance) + most[:, 1:-1] * chance
        most[:, 1:2] *= 1 - chance
    most = most.cumsum(axis=1)
    # Some lines, or sets, of each sample; how many stretches have one more line there.
    if own[0] is None:
        looked = np.floor((_LINES + np.arange(SAMPLES)[:, None] / SAMPLES / len(_LINES)) * sets)
    else:
        mine, count = _lines(own[0] + _NOUGHT, own[1] + _NOUGHT, cache.line)
        looked = mine[:, None] + np.floor(_LINES * count[:, None])
    inside = (looked - first[:, :, None]) % sets < (lines % sets)[:, :, None]
    free = cache.ways - whole.sum(axis=0) - (lines // sets).sum(axis=0)
    there = free[:, None] - inside.sum(axis=0)
    place = np.clip(there + 1, 0, len(part) + 1).astype(np.int64)
    return most[np.arange(SAMPLES)[:, None], place].mean(axis=1)


def _lines(starts, sizes, line):
    """First line, and number of lines, of stretches."""
    first = starts // line
    last = (starts + np.ceil(sizes) - 1) // line
    return first, np.where(sizes > 0, last - first + 1, 0)


def _hits(stages, arrives, means, j, visit, cache):
    """Which share of a visit finds its line in a cache."""
    hit = np.zeros(SAMPLES)
    if not visit.size:
        return hit
    open_ = np.ones(SAMPLES)
    between: dict[tuple, Stretch] = {}
    own = visit.at, visit.size / SAMPLES
    if visit.at is not None:
        own = visit.at + (_POSITIONS - 0.5 / SAMPLES) * visit.size, visit.size / SAMPLES
    for i in range(j - 1, -1, -1):
        earlier = stages[i]
        for v, other in enumerate(earlier.visits):
            if other.key != visit.key:
                continue
            now = open_ * arrives[i, v]
            if now.any():
                pieces = _pieces(j, stages[j], i, earlier, between, visit, arrives)
                # What is met once per block has met all other blocks since.
                if visit.turns and earlier.between:
                    pieces = [*pieces, (earlier.between_at, earlier.between)]
                hit += now * survivors(cache, own, pieces)
                open_ = open_ - now
        if not open_.any():
            break
        for v, other in enumerate(earlier.visits):
            some = means[i, v]
            if some and some * other.size > between.get(other.key, (None, 0.0))[1]:
                between[other.key] = (other.at if some > 0.99 else None), some * other.size
        if earlier.between:
            between["between", i] = earlier.between_at, earlier.between
    if open_.any() and visit.key[-1] != "chunk":
        # Visits that mostly end at a nearer level come seldom: all else has passed by.
        between.pop(visit.key, None)
        hit += open_ * survivors(cache, own, [(visit.at, visit.size), *between.values()])
    return hit


def _pieces(j, later, i, earlier, between, visit, arrives):
    """Distinct bytes between position t of an earlier stage and position t of a later one.

    Stretch by stretch, that of the visit first.
    """
    t = _POSITIONS
    # What is walked through in turns was last met in the last turn and is met first in the first.
    behind, before = (0.0 * t, 0.0 * t) if visit.turns else (1 - t, t)
    seen: dict[tuple, list] = {}
    for at, stage, part in ((i, earlier, behind), (j, later, before)):
        for v, other in enumerate(stage.visits):
            if other.key in between or not other.size or not arrives[at, v].any():
                continue
            some = part if not other.turns else np.minimum(1.0, part * other.turns)
            if other.key == visit.key:
                some = 1.0 + 0.0 * t
            parts = seen.setdefault(other.key, [other, 0.0 * t, 0.0 * t])
            parts[1 + (stage is later)] = some
    found = [(visit.at, visit.size)]
    for key, stretch in between.items():
        if key != visit.key:
            found.append(stretch)
    for key, (other, tail, head) in seen.items():
        if key == visit.key:
            continue
        whole = tail + head >= 1
        tail = np.where(whole, 1.0, tail)
        for begin, share in ((1 - tail, tail), (0.0, np.where(whole, 0.0, head))):
            if share.any():
                at = None if other.at is None else other.at + begin * other.size
                found.append((at, share * other.size))
    return found

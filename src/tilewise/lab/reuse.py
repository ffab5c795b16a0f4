"""How far apart two visits of the same bytes are, and what a cache of a given size makes of it.

A pass is a cycle of stages (pack, score against a block of panels, certify, ...), each of which
walks through some buffers from end to end. A line at relative position t of a buffer, visited in
stage i and again in stage j, has seen in between

- all of what the stages between i and j touch,
- of what only stage i touches, the part behind t: (1 - t) of it,
- of what only stage j touches, the part before t: t of it,
- all of what both touch, and all of what either walks through again and again.

The sum is its reuse distance, linear in t. With least-recently-used replacement the visit hits
where the distance, the line itself included, is at most the size of the cache (Mattson, Gecsei,
Slutz and Traiger, "Evaluation techniques for storage hierarchies", IBM Systems Journal 9, 1970).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Stage", "Visit", "evaluate"]

# Positions within a buffer at which the linear distance is looked at.
_POSITIONS = (np.arange(32) + 0.5) / 32


@dataclass(frozen=True)
class Visit:
    """One buffer in one stage.

    Attributes
    ----------
    key : tuple
        What the bytes are: equal keys, equal bytes.
    name : str
        What the traffic is attributed to.
    size : float
        Bytes.
    write : bool
    turns : int
        How often it is walked through from end to end during the stage; 0 for a buffer that
        is walked through once, along with the stage.
    again : tuple of (float, float, float)
        More bytes visited within the stage, and from where to where their reuse distances lie.
    again_written : float
        How many of them are dirty when they leave.
    prefetch : bool
        Does not pass the first level.
    """

    key: tuple
    name: str
    size: float
    write: bool = False
    turns: int = 0
    again: tuple[float, float, float] = (0.0, 0.0, 0.0)
    again_written: float = 0.0
    prefetch: bool = False


@dataclass(frozen=True)
class Stage:
    """Buffers that are walked through together.

    Attributes
    ----------
    visits : tuple of Visit
    weight : float
        How many stages of this kind it stands for.
    between : float
        Bytes of further stages of this kind, that lie behind it for all that look back past it.
    """

    visits: tuple[Visit, ...]
    weight: float = 1.0
    between: float = 0.0


@dataclass
class _Moved:
    """Bytes of one buffer: in and out per cycle, and what the first cycle brings in besides."""

    inward: float = 0.0
    outward: float = 0.0
    cold_in: float = 0.0
    cold_out: float = 0.0


@dataclass
class _Line:
    """What is known of a buffer while the cycle is walked."""

    dirty: np.ndarray = field(default_factory=lambda: np.zeros(len(_POSITIONS), dtype=bool))


def evaluate(cycles: Sequence[Sequence[Stage]], sizes: Sequence[float]) -> list[dict[str, _Moved]]:
    """Bytes that cross the outer border of each cache in the last of some equal cycles.

    Parameters
    ----------
    cycles : sequence of sequence of Stage
        Three successive chunks: the first two bring the caches into their steady state.
    sizes : sequence of float
        Bytes of each level, innermost first.

    Returns
    -------
    list of dict
        Per level, for each name the bytes moved.
    """
    stages = [stage for cycle in cycles for stage in cycle]
    last = len(stages) - len(cycles[-1])
    middle = last - len(cycles[-2])
    # Which visits arrive at a level at all, per position.
    arrives = {
        (j, v): np.full(len(_POSITIONS), not visit.prefetch)
        for j, stage in enumerate(stages)
        for v, visit in enumerate(stage.visits)
    }
    found = []
    for level, size in enumerate(sizes):
        if level == 1:
            for j, stage in enumerate(stages):
                for v, visit in enumerate(stage.visits):
                    if visit.prefetch:
                        arrives[j, v][:] = True
        moved: dict[str, _Moved] = {}
        lines: dict[tuple, _Line] = {}
        missed = {}
        for j, stage in enumerate(stages):
            for v, visit in enumerate(stage.visits):
                here = arrives[j, v]
                hit = _hits(stages, arrives, j, visit, size) & here
                miss = here & ~hit
                missed[j, v] = miss
                if j < middle:
                    continue
                line = lines.setdefault(visit.key, _Line())
                entry = moved.setdefault(visit.name, _Moved())
                share = visit.size * stage.weight / len(_POSITIONS)
                if j >= last:
                    entry.inward += share * miss.sum()
                    entry.outward += share * (miss & line.dirty).sum()
                    some = stage.weight * _beyond(size, *visit.again[1:])
                    entry.inward += visit.again[0] * some
                    entry.outward += visit.again_written * some
                line.dirty = (line.dirty & ~miss) | visit.write
        _first_cycle(stages[last:], missed, last, lines, moved)
        found.append(moved)
        arrives = missed
    return found


def _first_cycle(stages, missed, last, lines, moved):
    """What is brought in once, and what leaves when all is over."""
    seen = set()
    for j, stage in enumerate(stages, last):
        for v, visit in enumerate(stage.visits):
            if visit.key in seen:
                continue
            seen.add(visit.key)
            entry = moved[visit.name]
            share = visit.size * stage.weight / len(_POSITIONS)
            dirty = lines[visit.key].dirty
            if visit.key[-1] == "chunk":
                # Bytes of this chunk alone: they leave once, and no later visit shows it.
                entry.outward += share * dirty.sum()
                continue
            entry.cold_in += share * (~missed[j, v]).sum()
            entry.cold_out += share * (dirty & ~missed[j, v]).sum()


def _beyond(size, least, most):
    """Which part of the distances between two lies above `size`."""
    if least == most:
        return float(least > size)
    return min(1.0, max(0.0, (most - size) / (most - least)))


def _hits(stages, arrives, j, visit, size):
    """Where a visit finds its line in a cache of `size` bytes."""
    hit = np.zeros(len(_POSITIONS), dtype=bool)
    open_ = ~hit
    between: dict[tuple, float] = {}
    extra = 0.0
    for i in range(j - 1, -1, -1):
        earlier = stages[i]
        for v, other in enumerate(earlier.visits):
            if other.key != visit.key:
                continue
            now = open_ & arrives[i, v]
            if now.any():
                distance = extra + _distance(stages[j], earlier, between, visit)
                # What is met once per block has met all other blocks since.
                distance += earlier.between if visit.turns else 0.0
                hit |= now & (distance <= size)
                open_ &= ~now
        if not open_.any():
            break
        for v, other in enumerate(earlier.visits):
            if arrives[i, v].any():
                between[other.key] = other.size
        extra += earlier.between
    return hit


def _distance(later, earlier, between, visit):
    """Distinct bytes between position t of an earlier stage and position t of a later one."""
    t = _POSITIONS
    # What is walked through in turns was last met in the last turn and is met first in the first.
    behind, before = (0.0 * t, 0.0 * t) if visit.turns else (1 - t, t)
    distance = np.full(len(t), float(sum(between.values())))
    parts: dict[tuple, tuple] = {}
    for stage, part in ((earlier, behind), (later, before)):
        for other in stage.visits:
            if other.key in between:
                continue
            seen = part if not other.turns else np.minimum(1.0, part * other.turns)
            if other.key == visit.key and visit.turns:
                seen = 1.0 + 0.0 * t
            known = parts.get(other.key, (other.size, 0.0 * t))[1]
            parts[other.key] = other.size, known + seen
    for size, seen in parts.values():
        distance += size * np.minimum(1.0, seen)
    return distance

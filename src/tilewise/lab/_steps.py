"""Where a curve over working sets climbs: caches end there."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Step", "matched", "steps"]

# A climb rises by this much per octave of size or faster. Page tables, a fuller queue or
# neighbours in a shared cache make slow ramps; where a cache ends, half an octave multiplies the
# time of a read.
_STEEP = 1.45
# What a climb must gain in all: the second level of a cache answers in 3 times the first's, and
# less than this is noise.
_RISE = 1.35
# Climbs that are no further apart are parts of one, in octaves.
_GAP = 0.6
# How far the half-way point of a climb may be from a claim, and still be its own.
_NEAR = 2.0


@dataclass(frozen=True)
class Step:
    """A climb of the time of a read."""

    low: int  # working sets in bytes between which it lies: the last one before, ...
    high: int  # ... the first one after
    at: float  # where it is half-way up, on logarithmic scales, in bytes
    before: float  # time of a read at `low` and at `high`
    after: float


def steps(sizes, times):
    """Climbs of a curve of times over working sets in bytes, from left to right.

    Whatever disturbs a measurement only ever adds, and a read out of a smaller set is never
    slower: so the least time at a size or any larger one counts. A climb is a run of
    sizes over which time rises by 45 % per octave or faster, and by 35 % in all.

    Where a random walk no longer fits a cache, misses begin at its size at the latest, and
    earlier where pages that are scattered in memory crowd some of its sets; twice its size sees
    few hits. So the end of the cache lies inside of the climb, and its middle is a good guess.

    Examples
    --------
    >>> from tilewise.lab._steps import steps
    >>> found = steps([16, 32, 64, 128, 256, 512, 1024], [1, 1, 4, 4, 4, 20, 20])
    >>> [(step.low, step.high, round(step.at)) for step in found]
    [(32, 64, 45), (256, 512, 362)]
    """
    least = np.minimum.accumulate(np.asarray(times)[::-1])[::-1].tolist()
    runs = []
    for i in range(len(sizes) - 1):
        octaves = math.log2(sizes[i + 1] / sizes[i])
        if least[i + 1] < least[i] * _STEEP**octaves:
            continue
        if runs and math.log2(sizes[i] / sizes[runs[-1][1]]) <= _GAP:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1])
    return [
        Step(sizes[a], sizes[b], _middle(sizes[a : b + 1], least[a : b + 1]), least[a], least[b])
        for a, b in runs
        if least[b] >= _RISE * least[a]
    ]


def _middle(sizes, times):
    half = math.sqrt(times[0] * times[-1])
    return math.exp(np.interp(math.log(half), np.log(times), np.log(sizes)))


def matched(claims, found):
    """The step (or None) of each claimed cache, of 0 bytes where not known, and the steps of none.

    A step belongs to a claim if its middle lies within a factor of two of it; the nearest pair is
    taken first, and a step is given once.
    """
    pairs = sorted(
        (abs(math.log2(step.at / size)), name, i)
        for name, size in claims.items() if size for i, step in enumerate(found)
    )  # fmt: skip
    by_claim, taken = dict.fromkeys(claims), set()
    for distance, name, i in pairs:
        if distance <= math.log2(_NEAR) and by_claim[name] is None and i not in taken:
            by_claim[name] = found[i]
            taken.add(i)
    return by_claim, [step for i, step in enumerate(found) if i not in taken]

"""Repeated, interleaved samples that survive Ctrl-C.

All cases of a phase are sampled in turn, round after round, each round beginning with another
one: a machine that drifts then drifts for all of them alike.
"""

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._load import Meter
from .figures import Table

__all__ = ["Case", "Run", "above_zero", "measurement", "summary"]

# A sample shorter than this is mostly the clock and the call: shorter work is repeated.
_SHORTEST = 0.003
# A first call that takes longer than this is not a short one that was held up: systems hand the
# CPU to others for some milliseconds at a time.
_MAYBE_SHORT = 0.05
# More samples than these narrow a median by little.
_MOST_ROUNDS = 25
# What a coarse clock shows as nothing took less than one of its ticks.
_TICK = time.get_clock_info("perf_counter").resolution


@dataclass
class Case:
    """One thing to measure."""

    series: str  # what it belongs to: a line or a group of bars in a figure
    case: dict[str, Any]  # what tells it from the others of the series; safe for JSON
    # Does the work once. What it returns, if a number, is the sample; else seconds are taken here.
    call: Callable[[], float | None]
    unit: str = "s"
    warm: bool = True  # run once before the first sample; not where each call is a fresh process
    more: Callable[[], dict[str, Any]] | None = None  # further facts once it has run


@dataclass
class Run:
    """What one run of an experiment was asked for, and what it has measured so far."""

    parameters: dict[str, Any]  # of the experiment, checked
    seconds: float  # budget of all phases; samples stop when it is spent, but each case gets one
    quick: bool = False  # smoke size: two rounds
    # Called with the phase, samples done, samples planned and the seconds left.
    watch: Callable[[str, int, int, float | None], None] | None = None
    measurements: list[dict[str, Any]] = field(default_factory=list)
    predicted: list[dict[str, Any]] = field(default_factory=list)
    simulated: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False
    meter: Meter | None = None  # watches what else the machine does

    def watched(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which the load of the machine is watched, if it is at all."""
        return contextlib.nullcontext() if self.meter is None else self.meter.during()

    def calibrate(self) -> None:
        """Between samples: repeat the fixed piece of work that shows a machine that changes."""
        if self.meter is not None:
            self.meter.calibrate()

    def measure(
        self, phase: str, cases: list[Case], share: float = 1.0, pause: float = 0.0,
        warm_each: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Sample the cases in turn, for a share of the budget; return what stands in the result.

        Whatever happens, what comes out is kept; after Ctrl-C `interrupted` is set.

        `pause` is seconds of rest before a sample: workers of an OpenMP runtime go on spinning
        for some milliseconds, and the next case should not pay for that. With `warm_each` a case
        runs once, untimed, right before each of its samples: threads that have slept are woken
        where the system likes, often two of them on one CPU, and spread out a little later.
        """
        entries = [measurement(case.series, case.case, case.unit, []) for case in cases]
        begin = time.perf_counter()
        deadline = begin + self.seconds * share
        try:
            with self.watched():
                for number, (case, entry) in enumerate(zip(cases, entries, strict=True)):
                    self._tell(phase, number, len(cases) * 2, None)
                    _warm_up(case, entry, pause)
                self._rounds(phase, cases, entries, deadline, pause, warm_each)
        except KeyboardInterrupt:
            self.interrupted = True
            raise
        finally:
            kept = self._collected(cases, entries)
            self.measurements += kept
        return kept

    def _collected(self, cases, entries):
        sampled = [(case, entry) for case, entry in zip(cases, entries, strict=True)
                   if entry["samples"]]  # fmt: skip
        try:
            return [_finished(case, entry) for case, entry in sampled]
        except KeyboardInterrupt:
            # Here it ends the phase too, but what was measured is measured; further facts go.
            self.interrupted = True
            self.measurements += [_finished(case, entry, more=False) for case, entry in sampled]
            raise

    def _rounds(self, phase, cases, entries, deadline, pause, warm_each):
        known = all(case.warm for case in cases)
        one_round = sum(entry["_seconds"] for entry in entries) * (1 + warm_each)
        one_round += pause * len(cases)
        rounds = self._affordable(one_round, deadline) if known else 1
        total, done, turn = rounds * len(cases), 0, 0
        while turn < rounds:
            begin = time.perf_counter()
            for place in range(len(cases)):
                at = (place + turn) % len(cases)
                left = one_round * (total - done) / len(cases) if known else None
                self._tell(phase, done, total, left)
                if turn and time.perf_counter() > deadline:
                    return
                time.sleep(pause)
                self.calibrate()
                if warm_each:
                    cases[at].call()
                entries[at]["samples"].append(_sample(cases[at], entries[at]["repeats"]))
                done += 1
            turn += 1
            if not known:
                known, one_round = True, time.perf_counter() - begin
                rounds += 0 if self.quick else self._affordable(one_round, deadline, least=0)
                total = rounds * len(cases)
        self._tell(phase, total, total, 0.0)

    def _affordable(self, one_round, deadline, least=1):
        left = deadline - time.perf_counter()
        return max(least, min(2 if self.quick else _MOST_ROUNDS, int(left / max(one_round, 1e-9))))

    def _tell(self, phase, done, total, left):
        if self.watch is not None:
            self.watch(phase, done, total, left)


def _warm_up(case, entry, pause):
    """Run a case once, so that its pages are there; learn how long it takes."""
    if not case.warm:
        entry["_seconds"] = 0.0
        return
    time.sleep(pause)
    begin = time.perf_counter()
    own = case.call()
    seconds = time.perf_counter() - begin
    if own is None and seconds < _MAYBE_SHORT:
        # The first call meets cold caches, and any call whoever else wants the CPU.
        seconds = _seconds(case.call)
        if seconds < _SHORTEST:
            seconds = min(seconds, _seconds(case.call))
            entry["repeats"] = math.ceil(_SHORTEST / max(seconds, 1e-7))
    entry["_seconds"] = seconds * entry["repeats"]


def _seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _sample(case, repeats):
    begin = time.perf_counter()
    for _ in range(repeats):
        own = case.call()
    seconds = max(time.perf_counter() - begin, _TICK) / repeats
    return seconds if own is None else float(own)


def _finished(case, entry, more=True):
    entry = {name: value for name, value in entry.items() if not name.startswith("_")}
    entry |= summary(entry["samples"])
    if more and case.more is not None:
        entry["more"] = case.more()
    return entry


def measurement(series: str, case: dict[str, Any], unit: str, samples: list[float]):
    """Return a measurement as results have it, summed up where it has samples."""
    entry = {"series": series, "case": case, "unit": unit, "repeats": 1, "samples": samples}
    return entry | summary(samples) if samples else entry


def summary(samples: list[float]) -> dict[str, float]:
    """Median, quartiles and minimum of some samples, at least one.

    ``low`` and ``high`` are the quartiles, or the extremes of fewer than four samples.

    Examples
    --------
    >>> from tilewise.lab._run import summary
    >>> summary([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 3.0, 'min': 1.0}
    """
    if len(samples) < 4:
        low, high = min(samples), max(samples)
    else:
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": statistics.median(samples), "low": low, "high": high, "min": min(samples)}


def above_zero(make):
    """Let a table or figures be made of the samples above zero alone.

    Times and rates are above zero. A sample that is not says that the clock, or the machine at
    that moment, could not tell; ratios and logarithms of it would say less than nothing. Bytes
    may be none.

    Parameters
    ----------
    make : callable
        Takes a result, whole or cut short; returns a `Table` or a list of figures.

    Returns
    -------
    callable
        The same; its table says how many measurements were left out.
    """

    @functools.wraps(make)
    def made(result):
        entries = [_without_zeros(e) for e in result["measurements"]]
        kept = [e for e in entries if e is not None]
        found = make(result | {"measurements": kept})
        lost = len(entries) - len(kept)
        if lost and isinstance(found, Table):
            found.notes.append(
                f"{lost} measurement{'s were' if lost > 1 else ' was'} too short to measure and "
                f"{'are' if lost > 1 else 'is'} left out"
            )
        return found

    return made


def _without_zeros(entry):
    if entry.get("unit") == "bytes":
        return entry
    samples = [sample for sample in entry["samples"] if sample > 0]
    if not samples:
        return None
    if len(samples) == len(entry["samples"]):
        return entry
    return entry | {"samples": samples} | summary(samples)

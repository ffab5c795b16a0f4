"""What else the machine does while something is measured: CPU time of others, and a drifting clock.

A `Meter` reads the system before a measurement and around each phase of it, and repeats a fixed
piece of work in between. What it found is plain numbers; `quiet.judged` says what they mean. What
it reads is a function of no arguments, so tests put recorded readings in its place.
"""

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .quiet import LIMITS, judged

__all__ = ["Meter", "Reading", "calibration", "others_of", "read_system"]

# CPU time comes in ticks of 10 ms: over less than so many seconds of it a share would mostly be
# that rounding.
_LEAST_CPU_SECONDS = 0.15
_ROUNDING = 0.02  # two ticks: one at each end
# The system is watched for so long before anything is measured, again where it was busy, since
# what starts a measurement may still be ending.
_BEFORE_SECONDS, _QUICK_BEFORE_SECONDS, _LOOKS = 1.0, 0.2, 3
# Between two calibrations lies at least so much time, so that they take a thirtieth of it.
_APART_SECONDS = 0.05
_CALIBRATION = range(100_000)
# The load average forgets the past with this time constant (of the first of its three numbers).
_LOAD_SECONDS = 60.0
# Where the load average is all there is: what it says of a shorter time is mostly rounding.
_LEAST_LOAD_SECONDS = 15.0


@dataclass(frozen=True)
class Reading:
    """Counters of the system at one moment; None where it does not say."""

    at: float  # seconds on a clock that only rises
    own: float  # CPU seconds of this process and of all that it started, ended or not
    cpus: int  # that this process may use; the next three are sums over them
    busy: float | None = None  # CPU seconds of all processes and of the system
    stolen: float | None = None  # in which the hypervisor ran something else, though one was wanted
    total: float | None = None  # seconds of all kinds, idle ones as well
    load_average: float | None = None  # processes that run or want to, over the last minute
    runnable: int | None = None  # threads that run or want to at this moment, on all CPUs


def read_system() -> Reading:
    """Read the counters of this system.

    Linux says everything; macOS and other Unixes the load average, Windows nothing of others.
    """
    cpus = _own_cpus()
    busy, stolen, total = _cpu_seconds(cpus) or (None, None, None)
    runnable = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/loadavg").read_text(encoding="ascii")
        runnable = int(text.split()[3].partition("/")[0])
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    return Reading(
        time.perf_counter(), _own_seconds(), len(cpus), busy, stolen, total, load, runnable
    )


def _own_cpus():
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cpu_seconds(cpus):
    """Busy, stolen and all CPU seconds of these CPUs; None where the system does not count."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        tick = 1 / os.sysconf("SC_CLK_TCK")
        wanted = {f"cpu{number}" for number in cpus}
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
        rows = [list(map(int, words[1:9])) for line in lines
                if (words := line.split()) and words[0] in wanted]  # fmt: skip
    except (OSError, ValueError, AttributeError):
        return None
    if not rows or any(len(row) < 8 for row in rows) or not any(map(sum, rows)):
        return None
    stolen = sum(row[7] for row in rows)
    idle = sum(row[3] + row[4] for row in rows)
    total = sum(map(sum, rows))
    return tuple(tick * ticks for ticks in (total - idle - stolen, stolen, total))


def _own_seconds():
    """CPU seconds of this process, of its children and of theirs."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(_seconds_of_descendants().values())


def _seconds_of_descendants():
    """CPU seconds of every living process that this one or its children started, by number.

    Workers of joblib live on after their work; those that ended are counted by their parents.
    """
    try:
        tick = 1 / os.sysconf("SC_CLK_TCK")
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except (OSError, ValueError, AttributeError):
        return {}
    children, seconds = {}, {}
    for number in numbers:
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name stands in brackets and may hold anything; numbers follow the last of them.
            text = Path("/proc", number, "stat").read_bytes().rpartition(b")")[2].split()
            children.setdefault(int(text[1]), []).append(int(number))
            seconds[int(number)] = tick * sum(map(int, text[11:15]))
    found, waiting = {}, list(children.get(os.getpid(), ()))
    while waiting:
        number = waiting.pop()
        found[number] = seconds.get(number, 0.0)
        waiting += children.get(number, ())
    return found


def calibration() -> float:
    """Seconds of a fixed piece of work; they change when the machine does."""
    begin = time.perf_counter()
    sum(_CALIBRATION)
    return time.perf_counter() - begin


def others_of(readings: list[Reading], gaps: list[tuple[int, int]] | None = None) -> dict[str, Any]:
    """What happened between readings, in the stretches of time whose ends `gaps` names.

    ``seconds``; ``own`` and ``others``, shares of the CPU time that there was; ``stolen``, the part
    of the wanted CPU time that the hypervisor took; ``load_average`` and ``runnable``, means. None
    where the system or too short a time says nothing.
    """
    spans = gaps or [(0, len(readings) - 1)]

    def between(name):
        ends = [(getattr(readings[i], name), getattr(readings[j], name)) for i, j in spans]
        return None if any(None in pair for pair in ends) else sum(b - a for a, b in ends)

    seconds, own, busy, stolen, total = map(between, ("at", "own", "busy", "stolen", "total"))
    found = {
        "seconds": seconds, "own": None, "others": None, "stolen": None,
        "load_average": _mean(readings, "load_average"), "runnable": _mean(readings, "runnable"),
    }  # fmt: skip
    if total is not None and total >= _LEAST_CPU_SECONDS:
        # Whatever is within the rounding of the ticks is nobody's.
        others, taken = max(0.0, busy - own - _ROUNDING), stolen if stolen > _ROUNDING else 0.0
        # Where hardly any time was wanted, a few ticks that were taken say nothing.
        wanted = max(busy + stolen, total / 10)
        found |= {"own": own / total, "others": others / total, "stolen": taken / wanted}
    elif total is None and seconds is not None and len(spans) == 1:
        found["others"] = _by_average(readings[0], readings[-1])
    return found


def _mean(readings, name):
    values = [value for r in readings if (value := getattr(r, name)) is not None]
    return statistics.fmean(values) if values else None


def _by_average(first, last):
    """Share of the CPUs that others wanted, out of two load averages; None over a short time.

    The average moves from one to the other as the mean number of processes between them, ours
    included, pulls it, and forgets the first with its time constant.
    """
    seconds = last.at - first.at
    if None in (first.load_average, last.load_average) or seconds < _LEAST_LOAD_SECONDS:
        return None
    kept = math.exp(-seconds / _LOAD_SECONDS)
    wanted = (last.load_average - first.load_average * kept) / (1 - kept)
    return max(0.0, wanted - (last.own - first.own) / seconds) / first.cpus


class Meter:
    """Watches what others do before and while something is measured."""

    def __init__(
        self, read: Callable[[], Reading] | None = None,
        calibrate: Callable[[], float] | None = None, sleep: Callable[[float], None] = time.sleep,
    ):  # fmt: skip
        self._read = read_system if read is None else read
        self._calibrate = calibration if calibrate is None else calibrate
        self._sleep = sleep
        self._before: dict[str, Any] | None = None
        self._readings: list[Reading] = []
        self._spans: list[tuple[int, int]] = []
        self._calibrations: list[float] = []
        self._next = -math.inf
        self._cpus: int | None = None

    def before(self, quick: bool = False) -> None:
        """Watch the system while nothing is measured, at most three times where it is busy."""
        seconds = _QUICK_BEFORE_SECONDS if quick else _BEFORE_SECONDS
        for _ in range(_LOOKS):
            first = self._read()
            self._sleep(seconds)
            found = others_of([first, self._read()])
            self._cpus = first.cpus
            known = self._before is not None and self._before["others"] is not None
            if not known or (found["others"] or 0.0) < self._before["others"]:
                self._before = found
            if (self._before["others"] or 0.0) <= LIMITS["others"]:
                return

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Watch the system while the body measures; may be used again and again."""
        first = len(self._readings)
        self._readings.append(self._read())
        self._cpus = self._readings[-1].cpus
        try:
            yield
        finally:
            self._readings.append(self._read())
            self._spans.append((first, len(self._readings) - 1))

    def calibrate(self) -> None:
        """Repeat the fixed piece of work, unless it was repeated a moment ago."""
        if (now := time.perf_counter()) >= self._next:
            self._calibrations.append(self._calibrate())
            self._next = now + _APART_SECONDS

    def facts(self) -> dict[str, Any]:
        """What was found, safe for JSON; `quiet.judged` judges it."""
        told: dict[str, Any] = {"cpus": self._cpus, "before": self._before, "during": None}
        if self._spans:
            told["during"] = others_of(self._readings, self._spans)
        told["calibration"] = _spread(self._calibrations)
        return told

    def verdict(self) -> dict[str, Any]:
        """Whether the machine was quiet, why not, and what was found, as results hold it."""
        load = self.facts()
        quiet, reasons = judged(load)
        return {"quiet": quiet, "noise": reasons, "load": load}


def _spread(samples):
    if len(samples) < 2:
        return {"count": len(samples), "median": None, "spread": None}
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    # The clock may be too coarse for it.
    spread = (high - low) / median if median > 0 else None
    return {"count": len(samples), "median": median, "spread": spread}

"""Timing that survives a machine that drifts: everybody in turn, medians, and the spread."""

import os
import pathlib
import statistics
import time

# Worker threads of OpenMP runtimes go on spinning for some milliseconds after a parallel
# region (libgomp: 5 ms by default); the next one measured should not pay for that.
PAUSE = 0.02


def clock(call):
    """Return the seconds that a call took, and what it returned."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def rotated(names, turn):
    """Return the names, another one first in each turn."""
    names = list(names)
    turn %= len(names)
    return names[turn:] + names[:turn]


def in_turn(calls, rounds, *, repeats=1):
    """Time every call once a round; return samples and last results, both by name.

    With `repeats`, a sample is the mean of so many calls in a row: for calls that are short
    against the clock.
    """
    samples = {name: [] for name in calls}
    results = {}
    for turn in range(rounds):
        for name in rotated(calls, turn):
            call = calls[name]

            def run(call=call):
                for _ in range(repeats):
                    result = call()
                return result

            seconds, results[name] = clock(run)
            samples[name].append(seconds / repeats)
    return samples, results


def summary(samples):
    """Return median, minimum and maximum beside the samples themselves."""
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "samples": samples,
    }


def calibrate():
    """Return the seconds of a fixed piece of Python: it drifts when the machine drifts."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        sum(range(200_000))
        best = min(best, time.perf_counter() - start)
    return best


def _cpu_times():
    try:
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    return [int(field) for field in fields]


def quietness(seconds=1.0):
    """Return what others do on this machine while we do nothing, as shares of all CPUs.

    `busy` counts the work of other processes, `steal` what the hypervisor took away; both are
    None where /proc is missing.
    """
    before = _cpu_times()
    time.sleep(seconds)
    after = _cpu_times()
    told = {"busy": None, "steal": None, "load": None}
    if hasattr(os, "getloadavg"):
        told["load"] = os.getloadavg()[0]
    if before and after:
        spent = [b - a for a, b in zip(before, after, strict=True)]
        total = max(1, sum(spent[:8]))
        told["busy"] = 1 - (spent[3] + spent[4] + spent[7]) / total
        told["steal"] = spent[7] / total
    return told

"""The load of a machine as tests wish it: readings and calibrations that depend on no real one."""

import contextlib
import itertools
from unittest import mock

from tilewise.lab import _load

__all__ = ["a_machine", "calibrations", "readings"]


def readings(others=0.0, stolen=0.0, cpus=2, own=0.5, seconds=1.0, load_average=0.4):
    """Return a function that reads the counters of such a machine, a second later each time.

    Parameters
    ----------
    others, own : float
        Shares of the CPU time.
    stolen : float
        Share of the wanted CPU time that the hypervisor takes.
    cpus : int
    seconds : float
        From one reading to the next.
    load_average : float
    """
    count = itertools.count()

    def read():
        at = seconds * next(count)
        busy = cpus * at * (own + others)
        return _load.Reading(
            at, cpus * at * own, cpus, busy, busy * stolen / (1 - stolen), cpus * at,
            load_average, 1,
        )  # fmt: skip

    return read


def calibrations(spread=0.0):
    """Return a function that gives the seconds of a calibration, with such a distance of quartiles.

    Parameters
    ----------
    spread : float
    """
    low, high = 1 - spread / 2, 1 + spread / 2
    turns = itertools.cycle((low, high, 1.0, low, high))
    return lambda: 0.001 * next(turns)


@contextlib.contextmanager
def a_machine(spread=0.0, **load):
    """Let every `Meter` made in the body read such a machine, and wait for nothing."""
    with (
        mock.patch.object(_load, "read_system", readings(**load)),
        mock.patch.object(_load, "calibration", calibrations(spread)),
        mock.patch.object(_load, "_BEFORE_SECONDS", 0.0),
        mock.patch.object(_load, "_QUICK_BEFORE_SECONDS", 0.0),
        mock.patch.object(_load, "_APART_SECONDS", 0.0),
    ):
        yield

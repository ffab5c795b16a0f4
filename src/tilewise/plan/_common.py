"""What all planners share: types, checks of sizes, the L2 budget, threads, and recent plans."""

import numbers
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tilewise.plan._facts import Fact
from tilewise.plan.machine import Machine
from tilewise.plan.thresholds import SERIAL_WORK

__all__ = [
    "L2_CHUNK_SHARE", "MOST_CHUNK_ROWS", "PANELS_PER_BLOCK", "Recent", "check_size",
    "compute_type", "counted", "data_type", "item_of", "l2_per_core", "score_type",
    "shared_threads",
]  # fmt: skip

#: Share of L2 that the packed rows of a chunk, and what is kept of each, may take; panels, data
#: and whatever else streams through needs the rest.
L2_CHUNK_SHARE = 0.6
#: Rows of a chunk beyond which a longer one gains nothing, where the others lie in the lanes.
MOST_CHUNK_ROWS = 384
#: Panels that all tiles of a chunk meet before the next ones: few, so that they stay close, but
#: more than one, so that a tile of rows is fetched once for several (measured: 1, 2 and 4 are
#: within 5 %).
PANELS_PER_BLOCK = 2

# Plans that are kept: more shapes than one program alternates between.
_MOST_RECENT = 256


def compute_type(dtype: DTypeLike) -> Literal["float32", "float64"]:
    """The type in which K-Means reads the data: float32 if that holds every value of `dtype`."""
    return "float32" if np.can_cast(np.dtype(dtype), np.float32) else "float64"


def data_type(dtype: DTypeLike) -> Literal["float32", "float64"]:
    """The type in which distances are computed: float32, or float64 for everything else."""
    return "float32" if np.dtype(dtype).newbyteorder("=") == np.float32 else "float64"


def item_of(dtype: str) -> int:
    """Bytes of a number of a type that `data_type` or `score_type` returns."""
    return 8 if dtype == "float64" else 4


def score_type(dtype: DTypeLike | None) -> str:
    """The type of the scores: float32 unless another one is asked for."""
    return "float32" if dtype is None else np.dtype(dtype).name


def check_size(name: str, value: int, least: int = 0) -> int:
    """Return a size as an int; ValueError if it is not a whole number from `least` on."""
    # Asking an abstract class takes longer than all the rest: almost always it is an int.
    whole = type(value) is int or (
        isinstance(value, numbers.Integral) and not isinstance(value, bool)
    )
    if not whole or value < least:
        raise ValueError(
            f"{name}={value!r} is out of range. Pass a whole number, at least {least}."
        )
    return int(value)


def l2_per_core(machine: Machine) -> int:
    """Bytes of L2 that one thread of a core may count on."""
    return machine.l2_bytes.value // max(1, machine.cpus_per_core.value)


def shared_threads(available: Fact, asked: bool, work: float, kind: str) -> tuple[int, str]:
    """Threads for some work, and the sentence that says why.

    Parameters
    ----------
    available : Fact of int
        What `n_threads` found.
    asked : bool
        Whether the caller gave a number, which is then taken.
    work : float
        In the unit of ``SERIAL_WORK[kind]``.
    kind : str
        Row of `SERIAL_WORK`.
    """
    limit = SERIAL_WORK[kind]
    if work < limit.value and available.value > 1 and not asked:
        return 1, (
            f"1: {work:.0f} {limit.unit} are too few to pay for more threads (fewer than "
            f"{limit.value})."
        )
    return available.value, f"{available.value} ({available.source})."


def counted(n: int, what: str) -> str:
    """A number with its noun: "1 block", "2 blocks"."""
    return f"{n} {what}{'' if n == 1 else 's'}"


class Recent:
    """Plans made lately, by what they were made from.

    The same shape is planned again and again, and a fit of 150 rows must not pay for the sentences.
    The same key gives the same plan, so only time depends on this.
    """

    def __init__(self) -> None:
        self._plans: dict[tuple, tuple[Any, tuple]] = {}

    def get(self, key: tuple, objects: tuple, make: Callable[[], Any]) -> Any:
        """The plan of a key, made if need be; `objects` count by identity and are kept alive."""
        key = (*key, *map(id, objects))
        found = self._plans.get(key)
        if found is None:
            found = make(), objects
            if len(self._plans) >= _MOST_RECENT:
                self._plans.clear()
            self._plans[key] = found
        return found[0]

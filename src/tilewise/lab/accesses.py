"""Loops over buffers: what each turn touches, and how far on the next turn lies.

A `Loop` repeats a list of accesses. Every `Access` says which buffer it meets, where, how many
bytes, and how far on it lies in the next turn.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["PREFETCH", "READ", "WRITE", "Access", "Loop"]

READ, WRITE, PREFETCH = 0, 1, 2


class Access(NamedTuple):
    """One access of a loop."""

    key: str  # the buffer, as `LoopNest.buffers` names it
    kind: int  # READ, WRITE or PREFETCH: into the second level
    at: int  # first byte in the first turn
    size: int
    step: Any = 0  # how far on the next turn begins; an array has how far on each turn begins
    total: int = 0  # bytes of all turns, where the last one has fewer
    count: int = 1  # how many such ranges, ...
    stride: int = 0  # ... and how far apart they begin
    since: int = 0  # the first turn that has the access
    until: int = 0  # how many turns behind the loop's last one have it


@dataclass(frozen=True)
class Loop:
    """Accesses that are repeated."""

    accesses: list[Access]
    turns: int = 1
    weight: int = 1  # how many loops of this kind it stands for, one behind the other
    between: float = 0.0  # bytes of the others of them, and their address
    between_at: int | None = None
    visits: tuple[Any, ...] = ()  # for the formulas: what is met at random

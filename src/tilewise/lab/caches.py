"""Caches of one core, to simulate them or to compute with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tilewise.kernels._cachesim import Caches as _Caches
from tilewise.plan import Machine
from tilewise.plan import machine as this_machine
from tilewise.plan.nest import BUFFERS

__all__ = ["CacheConfig", "CacheLevel"]


@dataclass(frozen=True)
class CacheLevel:
    """One level: its name, sets and ways.

    Attributes
    ----------
    name : str
        "L1", "L2" or "L3".
    sets, ways : int
    source : str
        Where the size and the ways come from.
    """

    name: str
    sets: int
    ways: int
    source: str = "given"


@dataclass(frozen=True)
class CacheConfig:
    """Levels of one core's caches, the nearest first.

    Attributes
    ----------
    levels : tuple of CacheLevel
    line_bytes : int
    inclusive : bool
        Whether a line that leaves a level leaves the levels nearer to the core too.

    Examples
    --------
    >>> from tilewise.lab.caches import CacheConfig
    >>> config = CacheConfig.of([(48 * 1024, 12), (2 * 1024 * 1024, 16)])
    >>> [(level.name, level.sets) for level in config.levels], config.bytes(0)
    ([('L1', 64), ('L2', 2048)], 49152)
    """

    levels: tuple[CacheLevel, ...]
    line_bytes: int = 64
    inclusive: bool = False

    @classmethod
    def of(
        cls, sizes: Iterable[tuple[int, int]], *, line_bytes: int = 64, inclusive: bool = False
    ) -> "CacheConfig":
        """Caches of given sizes.

        Parameters
        ----------
        sizes : iterable of (bytes, ways)
        line_bytes : int, default=64
        inclusive : bool, default=False

        Raises
        ------
        ValueError
            If a size is not a whole number of sets.
        """
        levels = []
        for i, (size, ways) in enumerate(sizes, 1):
            sets = size // (ways * line_bytes)
            if sets < 1 or sets * ways * line_bytes != size:
                raise ValueError(
                    f"L{i} of {size} bytes is no whole number of sets of {ways} ways of "
                    f"{line_bytes} bytes: give a multiple of {ways * line_bytes}"
                )
            levels.append(CacheLevel(f"L{i}", sets, ways))
        return cls(tuple(levels), line_bytes, inclusive)

    @classmethod
    def from_machine(cls, machine: Machine | None = None) -> "CacheConfig":
        """Caches as a machine's facts have them; this machine by default.

        Ways are those that the machine tells, or assumed ones (`Machine.l1d_ways` and its
        neighbours say which; the source of a level repeats it). Threads of one core share its L1
        and L2 evenly, as fewer sets of the same ways. The last level is the share of L3 that one
        CPU may count on (`Machine.l3_share_bytes`), if that is larger than L2. What is left of a
        size that is no whole number of sets is not used.
        """
        here = this_machine() if machine is None else machine
        line, sharers = here.line_bytes.value, max(1, here.cpus_per_core.value)
        l1 = here.l1d_bytes.value // sharers
        sizes = [
            ("L1", l1, here.l1d_ways, here.l1d_bytes.source),
            ("L2", here.l2_bytes.value // sharers, here.l2_ways, here.l2_bytes.source),
        ]
        share = here.l3_share_bytes
        if share.value > sizes[1][1]:
            sizes.append(("L3", share.value, here.l3_ways, share.source))
        levels = tuple(
            CacheLevel(
                name, max(1, size // (ways.value * line)), ways.value,
                source if ways.source == source else f"{source}; ways: {ways.source}",
            )
            for name, size, ways, source in sizes
        )  # fmt: skip
        return cls(levels, line)

    def bytes(self, level: int) -> int:
        """Size of a level, counted from 0."""
        return self.levels[level].sets * self.levels[level].ways * self.line_bytes

    def caches(self, n_buffers: int = len(BUFFERS)) -> _Caches:
        """Empty caches of this kind."""
        return _Caches(
            [level.sets for level in self.levels], [level.ways for level in self.levels],
            self.line_bytes, self.inclusive, n_buffers,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-safe values."""
        return {
            "line_bytes": self.line_bytes,
            "inclusive": self.inclusive,
            "levels": [
                {"name": level.name, "bytes": self.bytes(i), "ways": level.ways,
                 "source": level.source}
                for i, level in enumerate(self.levels)
            ],
        }  # fmt: skip

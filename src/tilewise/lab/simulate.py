"""A pass in simulated caches: which level serves what, and which buffer asked for it.

`CacheConfig` describes the caches, `Caches` runs any stream of accesses through them, `simulate`
runs a plan, `simulate_chunks` a sweep of chunk sizes beside what the formulas predict.

Replacement is least recently used within a set; a write that misses fetches its line; a dirty
line is written to the nearest outer level that holds it, or to memory. One thread is simulated,
with its own caches and its share of what it shares. docs/cache-simulation.md says what real
machines do differently.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import Engine
from tilewise.kernels._cachesim import Caches as _Caches
from tilewise.lab.flows import Flow
from tilewise.lab.trace import Trace
from tilewise.plan import Machine, Plan, plan
from tilewise.plan import machine as this_machine
from tilewise.plan.nest import BUFFERS

__all__ = ["CacheConfig", "CacheLevel", "ChunkTraffic", "Simulation", "simulate", "simulate_chunks"]

# Lines that are walked through between two looks for Ctrl-C: about a quarter of a second.
_UNINTERRUPTED = 10_000_000
# Accesses that a simulation is allowed unless told otherwise: a few seconds.
_MOST_ACCESSES = 100_000_000


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
    >>> from tilewise.lab.simulate import CacheConfig
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


@dataclass(frozen=True)
class Simulation:
    """What a pass did in simulated caches; numbers are of the whole pass.

    Attributes
    ----------
    plan : Plan
    config : CacheConfig
    counts : ndarray of shape (levels, buffers, 4), float64
        Accesses, misses, write-backs and lines brought by prefetches, in lines.
    simulated_rows : int
        Rows that were walked through. If fewer than all, the shards after the first stand for
        the rest.
    """

    plan: Plan
    config: CacheConfig
    counts: np.ndarray
    simulated_rows: int

    @property
    def flows(self) -> tuple[Flow, ...]:
        """Bytes between each level and the next one outwards."""
        names = [level.name for level in self.config.levels] + ["memory"]
        line = self.config.line_bytes
        return tuple(
            Flow(
                names[i],
                names[i + 1],
                {
                    buffer: (line * float(misses), line * float(back))
                    for buffer, (_, misses, back, _) in zip(BUFFERS, self.counts[i], strict=True)
                    if misses or back
                },
            )
            for i in range(len(self.config.levels))
        )

    @property
    def levels(self) -> list[dict[str, Any]]:
        """Accesses, misses, write-backs and prefetched lines per level, and misses per buffer."""
        keys = ("accesses", "misses", "write_backs", "prefetched")
        return [
            {
                "name": level.name,
                **dict(zip(keys, map(float, self.counts[i].sum(axis=0)), strict=True)),
                "misses_by_buffer": {
                    name: float(misses)
                    for name, misses in zip(BUFFERS, self.counts[i, :, 1], strict=True)
                    if misses
                },
            }
            for i, level in enumerate(self.config.levels)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-safe values."""
        return {
            "config": self.config.to_dict(),
            "simulated_rows": self.simulated_rows,
            "levels": self.levels,
            "flows": [flow.to_dict() for flow in self.flows],
        }


def simulate(
    plan: Plan, config: CacheConfig | None = None, *, update: bool = False,
    prefetch: bool = True, steps: bool = False, max_rows: int | None = None,
    clusters: np.ndarray | None = None, known: Mapping[str, int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Simulation:  # fmt: skip
    """Run a pass that scores every row through simulated caches.

    Parameters
    ----------
    plan : Plan
        Of dense rows; one of its threads is simulated, as if it had all rows.
    config : CacheConfig, optional
        This machine's caches by default.
    update : bool, default=False
        Whether rows are also added to the sums of their clusters.
    prefetch : bool, default=True
        Whether early fetches of the next chunk's rows into L2 take place.
    steps : bool, default=False
        See `Trace`.
    max_rows : int, optional
        Rows to walk through, in whole shards and at least two: the others are taken to cost
        what those after the first cost. By default as many as take a few seconds.
    clusters, known
        See `Trace`.
    progress : callable, optional
        Called with the share that is done, from 0 to 1.

    Returns
    -------
    Simulation

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.simulate import CacheConfig, simulate
    >>> small = tilewise.plan(2000, 64, 32, n_threads=1)
    >>> result = simulate(small, CacheConfig.of([(32768, 8), (262144, 16)]))
    >>> result.levels[0]["misses"] >= 2000 * 64 * 4 / 64  # every line of X, once
    True
    """
    config = CacheConfig.from_machine() if config is None else config
    trace = Trace(
        plan, update=update, prefetch=prefetch, steps=steps, clusters=clusters, known=known
    )
    z = trace.shape
    n_shards = -(-z.n // z.shard_rows)
    some = n_shards
    if max_rows is not None:
        some = max(2, max_rows // z.shard_rows)
    elif n_shards > 2:
        first = sum(
            _lines(ops) for first, count in z.chunks(0)[:1] for ops in trace.chunk(first, count)
        )
        each = first * (z.shard_rows / z.chunks(0)[0][1])
        some = max(2, int(_MOST_ACCESSES / each))
    some = min(some, n_shards)
    caches = config.caches()
    cold = np.zeros_like(caches.counts())
    for shard in range(some):
        for ops in trace.shard(shard):
            _walk(caches, ops)
        done = shard + 1
        if shard == 0 and some < n_shards:
            # What is dirty leaves some time; counted in both, so that it is scaled like the rest.
            first = caches.copy()
            first.flush()
            cold = first.counts()
        if progress is not None:
            progress(done / some)
    caches.flush()
    counts = caches.counts().astype(np.float64)
    walked = min(z.n, some * z.shard_rows)
    if some < n_shards:
        counts = cold + (counts - cold) * ((z.n - z.shard_rows) / (walked - z.shard_rows))
    return Simulation(plan, config, counts, walked)


@dataclass(frozen=True)
class ChunkTraffic:
    """One chunk size of a sweep: what formulas predict and what simulated caches did.

    Attributes
    ----------
    chunk_rows : int
        Rows per chunk as the plan has them.
    plan : Plan
    predicted : Traffic
    simulated : Simulation
    """

    chunk_rows: int
    plan: Plan
    predicted: Any
    simulated: Simulation

    def to_dict(self) -> dict[str, Any]:
        """Both as JSON-safe values."""
        return {
            "chunk_rows": self.chunk_rows,
            "predicted": self.predicted.to_dict(),
            "simulated": self.simulated.to_dict(),
        }


def simulate_chunks(
    n_samples: int, n_features: int, n_clusters: int, chunk_sizes: Sequence[int | str], *,
    dtype: DTypeLike = "float32", engine: Engine = "auto", machine: Machine | None = None,
    config: CacheConfig | None = None, update: bool = False, max_rows: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[ChunkTraffic]:  # fmt: skip
    """Predict and simulate a pass for several chunk sizes, on one thread.

    Parameters
    ----------
    n_samples, n_features, n_clusters : int
    chunk_sizes : sequence of int or "auto"
        As `tilewise.plan` takes them.
    dtype, engine, machine
        As `tilewise.plan` takes them.
    config : CacheConfig, optional
        The machine's caches by default.
    update, max_rows, progress
        As `simulate` takes them.

    Returns
    -------
    list of ChunkTraffic

    Examples
    --------
    >>> from tilewise.lab.simulate import simulate_chunks
    >>> sweep = simulate_chunks(3000, 32, 16, [48, "auto"])
    >>> [row.chunk_rows for row in sweep][0]
    48
    """
    from tilewise.lab.traffic import traffic

    here = this_machine() if machine is None else machine
    config = CacheConfig.from_machine(here) if config is None else config
    found = []
    for i, chunk_size in enumerate(chunk_sizes):
        sizes = plan(
            n_samples, n_features, n_clusters, dtype, n_threads=1, chunk_size=chunk_size,
            engine=engine, machine=here,
        )  # fmt: skip

        def share(part, i=i):
            progress((i + part) / len(chunk_sizes))

        result = simulate(
            sizes, config, update=update, max_rows=max_rows,
            progress=None if progress is None else share,
        )  # fmt: skip
        predicted = traffic(sizes, here, update=update, config=config)
        found.append(ChunkTraffic(sizes.chunk_rows, sizes, predicted, result))
    return found


def _lines(ops: np.ndarray) -> int:
    return int((((ops[:, 1] + 63) >> 6) * ops[:, 2]).sum())


def _walk(caches: _Caches, ops: np.ndarray) -> None:
    # The interpreter looks for Ctrl-C between two calls.
    if len(ops) <= 1000:
        caches.run(ops)
        return
    lines = np.cumsum(((ops[:, 1] + 63) >> 6) * ops[:, 2])
    start = 0
    while start < len(ops):
        base = lines[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(lines, base + _UNINTERRUPTED, side="right")))
        caches.run(ops[start:stop])
        start = stop

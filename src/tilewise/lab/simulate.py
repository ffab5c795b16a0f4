"""A pass in simulated caches: which level serves what, and which buffer asked for it.

`caches.CacheConfig` describes the caches. `simulate` runs a plan through them, `simulate_chunks` a
sweep of chunk sizes beside what the formulas predict.

Replacement is least recently used within a set; a write that misses fetches its line; a dirty
line is written to the nearest outer level that holds it, or to memory. One thread is simulated,
with its own caches and its share of what it shares. docs/cache-simulation.md says what real
machines do differently.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import Engine
from tilewise.kernels._cachesim import Caches as _Caches
from tilewise.lab.caches import CacheConfig, CacheLevel
from tilewise.lab.flows import Flow
from tilewise.lab.trace import Trace
from tilewise.lab.traffic import traffic
from tilewise.plan import Machine, Plan, plan
from tilewise.plan import machine as this_machine
from tilewise.plan.nest import BUFFERS

__all__ = ["CacheConfig", "CacheLevel", "ChunkTraffic", "Simulation", "simulate", "simulate_chunks"]

# Lines that are walked through between two looks for Ctrl-C: about a quarter of a second.
_UNINTERRUPTED = 10_000_000
# Accesses that a simulation is allowed unless told otherwise: a few seconds.
_MOST_ACCESSES = 100_000_000


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

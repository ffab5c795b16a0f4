"""The addresses that a pass touches, in the order in which the kernels touch them.

`Trace` writes out the loops of `stages`, with the sizes of a `Plan`, for one thread and a pass that
scores every row. It yields arrays in the form that `kernels._cachesim` takes: accesses to whole
ranges of cache lines.

What is left out, because it depends on the values of the data: the second look at rows that
rounding leaves open, bounds, weights. Left out because it is small and stays in L1 or registers:
the stack, code, and one report per shard. The inside of the matrix product of the engine "blas"
belongs to the BLAS library: the trace has its operands read once and its result written once for
each chunk, which is the least that any BLAS moves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tilewise.lab.accesses import PREFETCH, Loop
from tilewise.lab.stages import Chunk, dense_nest
from tilewise.plan import Plan
from tilewise.plan.nest import BUFFERS, LoopNest

__all__ = ["Trace"]

# Accesses that are written out at a time.
_BLOCK = 400_000


@dataclass(frozen=True)
class Trace:
    """Accesses of one thread that runs a plan over all rows.

    Attributes
    ----------
    plan : Plan
        Of dense rows that are read where they stand.
    update : bool, default=False
        Whether every row is also added to the sums of its cluster, as in the first pass of a
        fit.
    prefetch : bool, default=True
        Whether the early fetches of the next chunk's rows into L2 take place. Without, the list
        of those rows is still written and read, as by the kernels.
    steps : bool, default=False
        Write out every step of the depth instead of one segment (a vector's width) at a time.
        Which lines are touched is the same; only their order within a segment differs. Ten
        times as many accesses.
    clusters : ndarray of shape (n_samples,), optional
        Cluster of each row, for the sums. Drawn at random, evenly, by default.
    known : mapping of str to int, optional
        Addresses of a real run, as `LoopNest.addresses` takes them.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.trace import Trace
    >>> trace = Trace(tilewise.plan(1000, 16, 8, n_threads=1))
    >>> ops = next(trace.chunk(0, 100))
    >>> ops.shape[1]
    5
    """

    plan: Plan
    update: bool = False
    prefetch: bool = True
    steps: bool = False
    clusters: np.ndarray | None = None
    known: Mapping[str, int] | None = None
    shape: LoopNest = field(init=False)
    at: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        z = dense_nest(self.plan)
        object.__setattr__(self, "shape", z)
        object.__setattr__(self, "at", z.addresses(update=self.update, known=self.known))

    def shard(self, index: int) -> Iterator[np.ndarray]:
        """Accesses of one shard, chunk after chunk, as int64 arrays (m, 5)."""
        for first, count in self.shape.chunks(index):
            yield from self.chunk(first, count)

    def chunk(self, first: int, count: int) -> Iterator[np.ndarray]:
        """Accesses of the chunk of `count` rows from row `first` on."""
        z = self.shape
        chunk = Chunk(
            z, self.at, first, count, fetch=self.prefetch, update=self.update,
            ahead=z.layout == "centres-in-lanes" and first + count < z.n,
            clusters=self._clusters(first, count) if self.update else None,
            grain="step" if self.steps else "segment",
        )  # fmt: skip
        for loop in chunk.loops():
            yield from self._written_out(loop)

    def _written_out(self, loop: Loop) -> Iterator[np.ndarray]:
        """All turns of a loop, some at a time."""
        code = {name: 4 * i for i, name in enumerate(BUFFERS)}
        ops = np.array(
            [(a.at, a.size, a.count, a.stride, code[self.shape.attributed(a.key)] + a.kind)
             for a in loop.accesses], dtype=np.int64,
        )  # fmt: skip
        fixed = [0 if isinstance(a.step, np.ndarray) else a.step for a in loop.accesses]
        early = [i for i, a in enumerate(loop.accesses) if a.kind == PREFETCH]
        since, until = (np.array([a[i] for a in loop.accesses]) for i in (-2, -1))
        some = since.any() or until.any()
        turns = loop.turns + until.max()
        each = max(1, _BLOCK // len(ops))
        for begin in range(0, turns, each):
            turn = np.arange(begin, min(begin + each, turns))
            block = np.repeat(ops[None], len(turn), axis=0)
            block[:, :, 0] += turn[:, None] * np.array(fixed, dtype=np.int64)
            for i, a in enumerate(loop.accesses):
                if isinstance(a.step, np.ndarray):
                    block[:, i, 0] += a.step[turn]
                elif a.total:
                    block[:, i, 1] = np.clip(a.total - turn * a.step, 1, a.size)
            if early:
                self._stop_at_last_row(block, early)
            if some:
                there = (turn[:, None] >= since) & (turn[:, None] < loop.turns + until)
                yield block[there]
            else:
                yield block.reshape(-1, 5)

    def _stop_at_last_row(self, block, early):
        """Fetches behind the last row of X fetch the last row instead."""
        row = self.shape.row_bytes
        end = self.at["X"] + self.shape.n * row
        address, count = block[:, early, 0], block[:, early, 2]
        inside = (address - self.at["X"]) % row
        left = (end - (address - inside)) // row
        block[:, early, 0] = np.where(left < 1, end - row + inside, address)
        block[:, early, 2] = np.clip(left, 1, count)

    def _clusters(self, first, count):
        """Clusters of some rows, the same whenever they are asked for."""
        if self.clusters is not None:
            return np.asarray(self.clusters[first : first + count], dtype=np.int64)
        return np.random.default_rng(first).integers(self.shape.k, size=count)

"""What a pass keeps where and moves between the levels of the memory hierarchy, by formulas.

`ledger` lists the buffers of a run with the cache level that each is meant for. `traffic` says
how many bytes one pass over all rows moves between neighbouring levels. Nothing is measured or
simulated: sizes of buffers come from the plan, how often each is fetched from its reuse distance
(`reuse`), summed over the stages of a chunk (`stages`). In words, with Z the size of a level:

- X enters every level once. At L2 a second time, if the next chunk's rows, fetched early during
  the first block of panels, are gone before they are packed.
- Packed rows are written once per chunk and read once per block of panels: chunk x depth bytes
  for each block, unless chunk and block fit Z together.
- Centres: a block of panels that fits Z beside one tile of rows enters once per chunk, and only
  once per pass where all centres and a chunk with the next one's rows fit; a block that does not
  fit enters for every tile of rows: bytes of the centres x rows / rows of a tile.
- Running bests go in and out once per block of panels, three vectors for each row.
- Dirty lines leave once for every time that they were fetched and written.

Valid for a pass that scores every row (the first of a fit; any without bounds), for dense rows
that are read where they stand, and for caches that replace the least recently used line. Fitting
is a matter of sets and ways (`reuse.survivors`): a buffer that just fits loses some of its lines.
docs/cache-simulation.md compares the formulas with a simulation.
"""

import functools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from tilewise.lab.caches import CacheConfig
from tilewise.lab.flows import Flow
from tilewise.lab.products import panel_loads
from tilewise.lab.reuse import Cache, Stage, evaluate
from tilewise.lab.stages import Chunk, dense_nest
from tilewise.lab.sums import sums_traffic
from tilewise.lab.visits import stage_of
from tilewise.plan import Machine, Plan
from tilewise.plan.nest import PANELS_PER_BATCH, LoopNest

__all__ = ["Buffer", "Traffic", "ledger", "spread", "traffic"]

# How far from a cache's size a reuse distance must be for the formulas to be sure of it.
_UNSURE = 0.2


@dataclass(frozen=True)
class Buffer:
    """One buffer of a run and the level that it is meant for.

    Attributes
    ----------
    name : str
    bytes : int
    home : str
        "L1", "L2", "L3" or "memory".
    home_bytes : int
        Size of that level for one thread.
    what : str
        What it holds.
    """

    name: str
    bytes: int
    home: str
    home_bytes: int
    what: str

    @property
    def share(self) -> float:
        """The part of its home that the buffer takes."""
        return self.bytes / self.home_bytes if self.home_bytes else math.inf

    def to_dict(self) -> dict[str, Any]:
        """The buffer as JSON-safe values."""
        return asdict(self) | {"share": self.share}


@dataclass(frozen=True)
class Traffic:
    """Predicted work and traffic of one pass over all rows, all threads together.

    Attributes
    ----------
    flows : tuple of Flow
        Bytes between each level and the next one outwards, innermost first.
    registers : Flow
        Bytes that the tile's loop loads from L1 into registers.
    multiply_adds : int
        rows x depth x centres: what the answer asks for.
    executed : int
        The same with tiles and panels filled up, and for each product where scores are made of
        products of parts.
    """

    flows: tuple[Flow, ...]
    registers: Flow
    multiply_adds: int
    executed: int

    def intensity(self, flow: Flow) -> float:
        """Floating-point operations (two for a multiply-add) per byte that a flow moves."""
        return 2 * self.multiply_adds / flow.bytes if flow.bytes else math.inf

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-safe values."""
        return {
            "multiply_adds": self.multiply_adds,
            "executed": self.executed,
            "flows": [
                flow.to_dict() | {"intensity": self.intensity(flow)}
                for flow in (self.registers, *self.flows)
            ],
        }


def ledger(plan: Plan, machine: Machine, *, update: bool = False) -> tuple[Buffer, ...]:
    """Every buffer of a run with the level that it is meant for.

    Parameters
    ----------
    plan : Plan
    machine : Machine
        The machine that the plan is for.
    update : bool, default=False
        Whether the pass also sums the rows of each cluster.

    Returns
    -------
    tuple of Buffer

    Raises
    ------
    ValueError
        For CSR rows.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.traffic import ledger
    >>> here = tilewise.machine()
    >>> [b.name for b in ledger(tilewise.plan(1000, 64, 16, n_threads=1), here)][:2]
    ['tile of rows', 'panel of centres']
    """
    z = dense_nest(plan)
    config = CacheConfig.from_machine(machine)
    sizes = {level.name: config.bytes(i) for i, level in enumerate(config.levels)}
    sizes["memory"] = machine.memory_bytes.value
    found = []
    for name, size, home, what in _buffers(z, plan.row_bytes, update):
        # Some are meant for the nearest level that holds them.
        level = home or next((level for level in sizes if size <= sizes[level]), "memory")
        found.append(Buffer(name, size, level, sizes[level], what))
    return tuple(found)


def _buffers(z, kept, update):
    """Name, bytes, home (None for the nearest that holds it) and what it is."""
    parts = z.buffers(update=update)
    allocated = {name: size for part in parts for name, size in part.items()}
    workspace = next(part for part in parts if "ids" in part)
    blas, long, padded = z.layout == "blas", z.layout == "centres-in-lanes", z.padded(z.chunk_rows)
    if not blas:
        depth = min(z.depth_block, z.depth)
        whole = depth >= z.depth
        segment = f"{'all' if whole else f'{depth} of'} {z.d} features"
        segment += f", {z.parts} parts" if z.products else ""
        row = depth * z.number_bytes
        yield "tile of rows", z.tile_rows * row, "L1", f"{z.tile_rows} rows x {segment}"
        panel = z.width * (row + whole * z.item)
        yield "panel of centres", panel, "L1", f"{z.width} centres x {segment}"
        if z.products:
            panels = min(PANELS_PER_BATCH, z.panels_per_block)
            yield (
                "scores", allocated["finished"], "L1",
                f"tile x {panels} panels, twice: the ones are folded while the others are made",
            )  # fmt: skip
        if z.scratch_bytes and not (z.products and whole):
            what = f"tile x {z.panels_per_block} panels, between blocks of the depth"
            yield "partial scores", allocated["scratch"], "L1", what
    what = f"{z.chunk_rows} rows, moved to the origin"
    yield "packed chunk", padded * z.packed_row_bytes, "L2", what
    if blas:
        yield "scores", allocated["scratch"], "L2", f"{z.chunk_rows} rows x {z.k} centres"
    state = f"best, second best and index, per {'row' if z.layout == 'rows-in-lanes' else 'lane'}"
    yield "running bests", 3 * allocated["best"], "L2", state
    if long:
        what = f"{z.panels_per_block} of {z.n_panels} panels, for all tiles of a chunk"
        yield "block of panels", z.panels_per_block * z.panel_bytes, "L2", what
    others = ("rows", "again", "best", "second", "ordinal", "scratch")
    row_data = sum(size for name, size in workspace.items() if name not in others)
    yield "row data of a chunk", row_data, "L2", "numbers, norms, bands, labels, bounds"
    centres = allocated["split panels" if z.products else "packed"]
    centres += allocated["half norms"] if blas else 0
    what = f"{z.k} centres in panels{', split' if z.products else ''}, shared by all threads"
    yield "all centres", centres, None, what
    if z.products:
        yield "plain centres", allocated["packed"], None, "for rows that are scored a second time"
    if update:
        what = "whole numbers of 64 bits, in any order"
        yield "sums", allocated["sums"], None, what
    yield "chunk of X", z.chunk_rows * z.row_bytes, "L2", "read once when it is packed"
    yield "X", allocated["X"], "memory", "read in place, never copied"
    yield "labels and bounds", z.n * kept, "memory", f"{kept} bytes per row while fitting"


def traffic(
    plan: Plan, machine: Machine | None = None, *, update: bool = False,
    config: CacheConfig | None = None, prefetch: bool = True,
) -> Traffic:  # fmt: skip
    """Predict what one pass that scores every row moves between the levels.

    Parameters
    ----------
    plan : Plan
        Of dense rows. The threads of the plan share the rows; each has caches of its own.
    machine : Machine, optional
        Whose caches; this machine by default.
    update : bool, default=False
        Whether the pass also sums the rows of each cluster, every row to one at random.
    config : CacheConfig, optional
        Caches, instead of the machine's.
    prefetch : bool, default=True
        Whether the next chunk's rows are fetched early into L2.

    Returns
    -------
    Traffic

    Raises
    ------
    ValueError
        For CSR rows, whose accesses follow their stored entries.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.traffic import traffic
    >>> moved = traffic(tilewise.plan(100_000, 64, 256, n_threads=1))
    >>> moved.multiply_adds == 100_000 * 64 * 256
    True
    >>> moved.flows[-1].by_buffer["X"][0] >= 100_000 * 64 * 4  # the data come from memory
    True
    """
    z = dense_nest(plan)
    config = CacheConfig.from_machine(machine) if config is None else config
    flows = _flows(z, _sharers(plan), config, 1.0, update, prefetch)
    padded = sum(times * z.padded(rows) for rows, times in _chunks(z))
    executed = padded * z.depth * z.n_panels * z.width * max(1, z.products)
    if z.layout == "blas":
        # The product's own tiles are the library's: one load of each operand per multiply-add
        # of a vector is what it must avoid; what it does is not known here.
        loads = {"scores": (float(2 * z.n * z.k * z.item), 0.0)}
        executed = z.n * z.d * z.k
    else:
        steps = executed / (z.tile_rows * z.width * max(1, z.products))
        loads = {"packed rows": (steps * z.tile_rows * z.item, 0.0),
                 "centres": (steps * z.width * z.item, 0.0)}  # fmt: skip
        if z.products:
            of_rows, of_centres = panel_loads(z.products)
            loads = {"packed rows": (steps * z.tile_rows * 2 * of_rows, 0.0),
                     "centres": (steps * z.width * 2 * of_centres, 0.0)}  # fmt: skip
    return Traffic(flows, Flow("registers", "L1", loads), z.n * z.d * z.k, executed)


def spread(
    plan: Plan, machine: Machine | None = None, *, update: bool = False,
    config: CacheConfig | None = None, prefetch: bool = True,
) -> list[tuple[float, float]]:  # fmt: skip
    """How far each flow of `traffic` moves if the caches were a fifth smaller or larger.

    Where both ends are close the prediction is safe; where they are not, some buffer just fits
    or just does not fit, and what a real cache does depends on how evenly its sets fill.

    Parameters
    ----------
    plan, machine, update, config, prefetch
        As for `traffic`.

    Returns
    -------
    list of (float, float)
        Least and most bytes of each flow.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.traffic import spread, traffic
    >>> plan = tilewise.plan(100_000, 64, 256, n_threads=1)
    >>> least, most = spread(plan)[-1]
    >>> least <= traffic(plan).flows[-1].bytes <= most
    True
    """
    z = dense_nest(plan)
    config = CacheConfig.from_machine(machine) if config is None else config
    tried = [
        _flows(z, _sharers(plan), config, factor, update, prefetch)
        for factor in (1 - _UNSURE, 1.0, 1 + _UNSURE)
    ]
    moved = [[flow.bytes for flow in flows] for flows in zip(*tried, strict=True)]
    return [(min(bytes_), max(bytes_)) for bytes_ in moved]


def _sharers(plan):
    """Threads that have rows, each with caches of its own."""
    return min(plan.n_threads, plan.n_shards)


@functools.lru_cache(maxsize=4)  # `traffic` and `spread` of one plan share one
def _flows(z, threads, config, factor, update, prefetch):
    sizes = [factor * config.bytes(i) for i in range(len(config.levels))]
    caches = [
        Cache(size, level.ways, config.line_bytes)
        for size, level in zip(sizes, config.levels, strict=True)
    ]
    names = [level.name for level in config.levels] + ["memory"]
    totals: list[dict[str, list[float]]] = [{} for _ in sizes]
    for at, (rows, times, cycles) in enumerate(_cycles(z, update, prefetch)):
        levels = evaluate(cycles, caches)
        for moved in levels:
            moved.pop("sums", None)
        for total, moved in zip(totals, levels, strict=True):
            for name, bytes_ in moved.items():
                entry = total.setdefault(name, [0.0, 0.0])
                # What stays in the caches is brought in once by each thread.
                first = threads if at == 0 else 0
                entry[0] += times * bytes_.inward + first * bytes_.cold_in
                entry[1] += times * bytes_.outward + first * bytes_.cold_out
        if update and at == 0:
            work = {v.key: v.size for stage in cycles[0] for v in stage.visits}
            kept = sum(size for key, size in work.items() if key[0] not in ("X", "sums"))
            of_sums = sums_traffic(z, rows, kept, sizes)
            for total, moved in zip(totals, of_sums, strict=True):
                total["sums"] = list(moved)
    return tuple(
        Flow(names[i], names[i + 1],
             {name: (float(moved[0]), float(moved[1]))
              for name, moved in total.items() if moved[0] or moved[1]})
        for i, total in enumerate(totals)
    )  # fmt: skip


# Blocks of the depth that are told apart.
_MOST_BLOCKS = 4096


@functools.lru_cache(maxsize=2)  # the same for the caches of `spread`
def _cycles(z: LoopNest, update: bool, prefetch: bool) -> list[tuple[int, int, list[list[Stage]]]]:
    """Rows of a chunk, how many such chunks there are, and the stages of three in a row."""
    if z.depth > _MOST_BLOCKS * z.depth_block:
        # Longer blocks move as much of rows and centres, and nobody can hold such rows anyway.
        longer = -(-z.depth // _MOST_BLOCKS // z.depth_block) * z.depth_block
        z = replace(z, depth_block=longer)
    at = z.addresses(update=update)
    # Behind the last chunk there is nothing to fetch early.
    last = (z.n - 1) % z.shard_rows % z.chunk_rows + 1
    runs = [(rows, times - (rows == last), prefetch) for rows, times in _chunks(z)]
    found = []
    for rows, times, ahead in (*runs, (last, 1, False)):
        if times:
            ahead = ahead and z.layout == "centres-in-lanes"
            chunk = Chunk(z, at, 0, rows, ahead, update=update)
            stages = [stage_of(loop, z) for loop in chunk.loops()]
            found.append((rows, times, [[stage.in_chunk(i) for stage in stages] for i in range(3)]))
    return found


def _chunks(z: LoopNest) -> list[tuple[int, int]]:
    """Lengths of chunks, and how many there are of each; the commonest first."""
    counts: dict[int, int] = {}
    full, rest = divmod(z.n, z.shard_rows)
    for rows, times in ((z.shard_rows, full), (rest, 1)):
        if rows and times:
            whole, short = divmod(rows, z.chunk_rows)
            if whole:
                counts[z.chunk_rows] = counts.get(z.chunk_rows, 0) + whole * times
            if short:
                counts[short] = counts.get(short, 0) + times
    return sorted(counts.items(), key=lambda item: -item[0] * item[1])

"""From facts and a shape to every size that a run uses."""

import math
import numbers
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise._typing import ChunkSize, Engine
from tilewise.plan import tuning
from tilewise.plan._common import (
    L2_CHUNK_SHARE,
    MOST_CHUNK_ROWS,
    PANELS_PER_BLOCK,
    Recent,
    check_size,
    compute_type,
    item_of,
    l2_per_core,
    score_type,
    shared_threads,
)
from tilewise.plan._reasons import Reasoned, sourced
from tilewise.plan.few_seeds import at_once_reason, seeds_at_once
from tilewise.plan.groups import GROUPS_AFTER, LATER_AFTER_LOOKS, groups_for
from tilewise.plan.layout import TILES, csr_vectors, layout_for, tile_shape
from tilewise.plan.looks import look_for
from tilewise.plan.machine import Fact, Machine
from tilewise.plan.machine import machine as this_machine
from tilewise.plan.nest import LoopNest, RowShape
from tilewise.plan.seeding import seeding_for
from tilewise.plan.shards import shard_rows as shard_rows_for
from tilewise.plan.split import split_for
from tilewise.plan.threads import n_threads as threads_for
from tilewise.plan.thresholds import OWN_SUMS_BYTES, STORED_SHARE, most_single_rows

__all__ = ["ENGINES", "Plan", "plan"]

ENGINES = ("auto", "fused", "blas")

# Share of L2 for a chunk, the data counted too, where all centres meet a chunk at once: nothing
# is gained by a long chunk, and a short one leaves the data, wanted again for the sums, and the
# next rows, fetched early, in the caches. Measured with 2 MiB: at 784 x 10 a sixteenth is 30 %
# faster than half of it; with products of parts, and with rows in lanes, a quarter is within 3 %
# of the best.
_L2_SHORT_CHUNK_SHARE = 0.0625
_L2_MIDDLE_CHUNK_SHARE = 0.25
# Beyond these, longer chunks gain nothing (measured on shapes from 2 x 100 to 768 x 4096).
_MOST_CHUNK_ROWS = {
    "centres-in-lanes": MOST_CHUNK_ROWS, "rows-in-lanes": 2048, "blas": 1024, "csr": 4096,
}  # fmt: skip
# Features per block where rows are longer: one running score holds the rounding of so many
# additions, and the error bound, with it the share of rows to decide again, stays small.
# Measured on patches: 64 costs 1 % of speed against 256 and leaves a third of the doubts.
_DEPTH_BLOCK = 64
_LONG_ROW = 96
# As the kernels have it: entries per running score.
_ENTRIES_BLOCK = 64
# CSR rows with at most so many stored entries per column meet the centres where they stand:
# packing all numbers of the centres would take longer (measured at 2^20 columns, 8 and 32 centres).
_GATHERED_ENTRIES = 2
# Numbers of centres that are worth a thread of their own, however few rows meet them.
_CENTER_NUMBERS = 2**18
# Bytes kept per row: label and two bounds.
_ROW_BYTES = 12
# What a tuning record can speak of.
TUNED_LAYOUTS = ("centres-in-lanes", "rows-in-lanes")
# Multiply-adds between two looks for Ctrl-C, per thread: about a quarter of a second.
_UNINTERRUPTED = 2**34
# What each reason is about, where it is read as a sentence.
_TITLES = {
    "columns": "Columns",
    "engine": "Engine",
    "scores": "Scores",
    "isa": "Instruction set",
    "products": "Products",
    "tile": "Register tile",
    "depth_block": "Depth",
    "panels_per_block": "Panels",
    "chunk_rows": "Chunk",
    "n_threads": "Threads",
    "shards": "Shards",
    "stored": "Stored entries",
    "few_rows": "Few rows",
    "seeding": "Seeding",
    "groups": "Groups",
    "look": "First look",
    "sums": "Sums",
    "memory": "Memory",
}


@dataclass(frozen=True, repr=False)
class Plan(Reasoned):
    """Every size that a run uses, with the reason for it.

    Made by `plan`; estimators keep theirs as ``chunk_plan_``.

    Attributes
    ----------
    n_samples, n_features, n_clusters : int
        The shape of the work.
    dtype : str
        Type of the data as the kernels read it: "float32" or "float64".
    score_dtype : str
        Type in which candidates are ranked. Labels do not depend on it.
    engine : {"fused", "blas"}
        Scores made and consumed in registers, or one BLAS product per chunk.
    layout : {"centres-in-lanes", "rows-in-lanes", "blas", "csr"}
        What lies side by side in a vector.
    isa : str
        Instruction set of the kernels.
    n_threads : int
        Threads of every parallel loop.
    chunk_rows : int
        Rows that are packed and scored at a time by one thread.
    tile_rows : int
        Rows of one register tile.
    panel_columns : int
        Centres of one register tile. 1 with the layout "csr": centres are not packed.
    panels_per_block : int
        Panels that stay in L2 while all tiles of a chunk meet them.
    depth_block : int
        Features that are multiplied before the running scores rest in L1.
    products : int
        Products of parts of bfloat16 per feature, 3 or 6, that make a score; 0 where scores are
        plain. Labels do not depend on it.
    shard_rows, n_shards : int
        What a thread takes at a time, and how often; they follow from the shape alone.
    shards_per_call : int
        Shards that run before the interpreter looks for Ctrl-C.
    workspace_bytes_per_thread : int
        Buffers of one thread.
    shared_bytes : int
        Packed centres, and sums of the clusters.
    groups : int
        Groups of centres of each of which a fit keeps a distance bound per row, so that a row
        meets only those that may hold a closer centre; 0 where rows meet all centres. Labels do
        not depend on it.
    group_rows : int
        Rows that one thread collects before the groups meet them; 0 without groups.
    look : bool
        Whether whole passes begin with a look at rows and centres in bytes, which settles most
        rows. Labels do not depend on it.
    row_bytes : int
        Bytes kept per row while fitting: label, two bounds, and one bound of each group.
    seeding : {"copy", "lanes", "entries"}
        How k-means++ finds the rows that it measures: from a copy in bytes, in float32, or from
        stored entries. Few rows are all measured: `reasons` says where one call does that. Seeds
        do not depend on it.
    seeding_row_bytes : int
        Bytes kept per row while k-means++ runs; those of `row_bytes` are not there yet.
    seeding_kept_bytes : int
        Those of them that are for gaps of candidates.
    reasons : dict of str to str
        For each size, the fact, formula or override that it comes from.

    Examples
    --------
    >>> import tilewise
    >>> p = tilewise.plan(100_000, 64, 256, n_threads=1)
    >>> p.n_threads
    1
    >>> p.chunk_rows % p.tile_rows
    0
    """

    n_samples: int
    n_features: int
    n_clusters: int
    dtype: Literal["float32", "float64"]
    score_dtype: Literal["float32", "float64"]
    engine: Literal["fused", "blas"]
    layout: Literal["centres-in-lanes", "rows-in-lanes", "blas", "csr"]
    isa: str
    n_threads: int
    chunk_rows: int
    tile_rows: int
    panel_columns: int
    panels_per_block: int
    depth_block: int
    products: int
    shard_rows: int
    n_shards: int
    shards_per_call: int
    workspace_bytes_per_thread: int
    shared_bytes: int
    groups: int
    group_rows: int
    look: bool
    row_bytes: int
    seeding: Literal["copy", "lanes", "entries"]
    seeding_row_bytes: int
    seeding_kept_bytes: int
    reasons: dict[str, str] = field(compare=False)

    _titles = _TITLES
    _heading = "{n_samples} x {n_features}, {n_clusters} clusters, {dtype}"


def plan(
    n_samples: int,
    n_features: int,
    n_clusters: int,
    dtype: DTypeLike = "float32",
    *,
    n_threads: int | None = None,
    chunk_size: ChunkSize = "auto",
    engine: Engine = "auto",
    machine: Machine | None = None,
    direct: bool = True,
    score_dtype: DTypeLike | None = None,
    density: float | None = None,
    products: Literal[0, 3, 6] | None = None,
    groups: bool | None = None,
    look: bool | None = None,
    spare: bool = True,
) -> Plan:
    """Choose every size of a K-Means run.

    Parameters
    ----------
    n_samples, n_features, n_clusters : int
        Shape of the data and number of centres.
    dtype : dtype, default="float32"
        Type of the data. float16, integers of up to 16 bits and bool are computed in float32,
        which holds all their values; every other type but float32 is computed in float64.
    n_threads : int, optional
        Threads; by default what OMP_NUM_THREADS, affinity, control group and the OpenMP
        runtime allow, and one where the work is tiny.
    chunk_size : int or "auto", default="auto"
        Rows per chunk; "auto" fits a chunk into L2.
    engine : {"auto", "fused", "blas"}, default="auto"
        "auto" is the fused engine.
    machine : Machine, optional
        Facts to plan for; this machine by default.
    direct : bool, default=True
        Whether rows can be read where they stand, without a staging buffer; those of types
        other than float32 and float64 never can.
    score_dtype : dtype, optional
        Type of the scores; float32 by default.
    density : float, optional
        Share of the entries that are stored, for CSR rows. Sparse enough, they are scored
        entry by entry (layout "csr"); else, and without it, as dense rows.
    products : {0, 3, 6}, optional
        Products of parts of bfloat16 per feature, 0 for plain scores, where centres lie in the
        lanes and scores are float32; by default what pays on this machine.
    groups : bool, optional
        Whether bounds of groups of centres may be kept while fitting, where centres lie in the
        lanes; by default where that pays.
    look : bool, optional
        Whether whole passes begin with a look at rows and centres in bytes, where centres lie in
        the lanes; by default where that pays.
    spare : bool, default=True
        Whether k-means++ may keep a copy of the rows in bytes, a third of the data at most.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If a shape, the chunk size, the engine or the number of threads is out of range.

    Examples
    --------
    >>> import tilewise
    >>> tilewise.plan(1000, 4, 3, chunk_size=256).chunk_rows
    256
    >>> tilewise.plan(1000, 4, 3, chunk_size=1)
    Traceback (most recent call last):
    ...
    ValueError: chunk_size=1 is out of range. Pass "auto", or at least ... rows (one tile).
    """
    here = this_machine() if machine is None else machine
    tuned = tuning.current(here, machine is None)
    n, d = check_size("n_samples", n_samples), check_size("n_features", n_features)
    k = check_size("n_clusters", n_clusters, 1)
    threads = threads_for(n_threads, machine=here)
    if not isinstance(chunk_size, str | numbers.Integral) or isinstance(chunk_size, bool):
        raise ValueError(f'chunk_size={chunk_size!r} is not valid. Pass "auto" or a whole number.')
    scores = None if score_dtype is None else score_type(score_dtype)
    direct = direct and np.dtype(dtype) in (np.float32, np.float64)
    task = (
        n, d, k, compute_type(dtype), threads, n_threads is not None, chunk_size, engine, direct,
        scores, density, products, groups, look, bool(spare),
    )  # fmt: skip
    return _RECENT.get(task, (here, tuned), lambda: _plan(here, *task, tuned))


_RECENT = Recent()


def _plan(
    here: Machine, n: int, d: int, k: int, dtype: str, available: Fact, asked: bool,
    chunk_size: int | str, engine: str, direct: bool, score_dtype: str | None,
    density: float | None, products: int | None, groups: bool | None,
    look: bool | None, spare: bool,
    tuned: tuning.Tuning | None,
) -> Plan:  # fmt: skip
    scores = score_type(score_dtype)
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} is not one of {', '.join(map(repr, ENGINES))}.")
    why: dict[str, str] = {}
    chosen = "blas" if engine == "blas" else "fused"
    layout, why["engine"] = layout_for(chosen, d, density)
    # What a row is to the kernels: its stored entries, with their columns, or all numbers.
    width = max(1, math.ceil(density * d)) if layout == "csr" else d
    gathered = layout == "csr" and score_dtype is None and n * width <= _GATHERED_ENTRIES * d
    if gathered:
        scores = "float64"
    item, data_item = item_of(scores), item_of(dtype)
    vector_bytes = TILES[here.isa.value][0]
    lanes = vector_bytes // item
    why["scores"] = (
        f"{scores}, {lanes} per vector. A row that rounding could decide is computed again in "
        "float64, so labels are exact."
    )
    why["isa"] = f"{here.isa.value} ({here.isa.source})."

    # Registers
    split = split_for(here.isa.value, d, k, products if scores == "float32" else 0)
    if layout != "centres-in-lanes":
        split = split_for("", d, k)
    asked = 0
    if layout == "csr":
        vectors = csr_vectors(k, d, lanes, item, here.l2_bytes.value)
        asked = 1 if gathered else lanes * vectors
    tile_rows, panel_columns = tile_shape(
        here.isa.value, layout, k, item, products=split.products, asked=asked
    )
    why["tile"] = (
        f"{tile_rows} rows x {panel_columns} centres per step: their scores fill the registers."
    )
    if split.reason:
        why["products"] = split.reason
    if split.products:
        why["engine"] = "fused, centres in the lanes: scores stay in L1 until they are compared."
        why["tile"] = f"{tile_rows} rows x {panel_columns} centres per step: four tiles of scores."
    if gathered:
        why["tile"] = (
            f"one row x one centre per step, stored entries only. Centres are not packed: packing "
            f"{k} x {d} numbers would cost more than {n * width} entries save."
        )
    elif layout == "csr":
        why["tile"] = f"one row x {panel_columns} centres per step, stored entries only."

    # L1
    depth_block = _DEPTH_BLOCK if layout == "centres-in-lanes" and d > _LONG_ROW else d
    if layout == "csr":
        depth_block = min(d, _ENTRIES_BLOCK)
    if split.products:
        depth_block = min(d, split.depth_block)
    in_l1 = depth_block * (tile_rows + panel_columns) * item
    l1 = sourced(here.l1d_bytes)
    which = f"{depth_block} of {d}" if depth_block < d else f"all {d}"
    why["depth_block"] = (
        f"{which} features at a time. A tile of rows and a panel of centres take {sized(in_l1)} of "
        f"the L1 cache ({l1})."
    )

    # L2
    l2 = l2_per_core(here)
    panel_bytes = 0 if gathered else (d + 1) * panel_columns * item
    n_panels = -(-k // panel_columns)
    panels_per_block = n_panels if layout != "centres-in-lanes" else min(n_panels, PANELS_PER_BLOCK)
    if split.products:
        panels_per_block = min(n_panels, split.panels_per_block)
        panel_bytes = panel_columns * (4 + split.row_bytes(d))
    blocks = -(-n_panels // panels_per_block)
    why["panels_per_block"] = (
        f"{panels_per_block} of {n_panels} panels of centres at a time. They take "
        f"{sized(panels_per_block * panel_bytes)} of the L2 cache ({sourced(here.l2_bytes)}); a "
        f"chunk needs {blocks} block{'s' if blocks > 1 else ''}."
    )
    state = 3 * (item if layout == "rows-in-lanes" else vector_bytes)
    row_in_l2 = d * item + state + (k * item if layout == "blas" else 0)
    if split.products:
        row_in_l2 = split.row_bytes(d) + state
    if layout == "csr":
        row_in_l2 = width * (item + 4) + state + n_panels * panel_columns * item
    share, what = L2_CHUNK_SHARE, "packed rows and their best scores"
    if layout in TUNED_LAYOUTS and blocks == 1:
        row_in_l2 += d * data_item
        plain = layout == "centres-in-lanes" and not split.products
        share = _L2_SHORT_CHUNK_SHARE if plain else _L2_MIDDLE_CHUNK_SHARE
        what = "the data, packed rows and their best scores"
    shard_rows = shard_rows_for(n, width, k)
    chunk_rows, why["chunk_rows"] = _chunk(
        chunk_size,
        tile_rows,
        row_in_l2,
        int(l2 * share),
        min(shard_rows, max(n, 1)),
        _MOST_CHUNK_ROWS[layout],
        what,
        here,
    )
    if tuned is not None and chunk_size == "auto" and layout in TUNED_LAYOUTS:
        entry = tuned.find(dtype, layout, scores, d, k)
        if entry is not None:
            chunk_rows, why["chunk_rows"] = tuned.chunk(entry, d, tile_rows, shard_rows)
            panels = min(n_panels, entry.panels_per_block)
            if layout == "centres-in-lanes" and panels != panels_per_block:
                panels_per_block = panels
                why["panels_per_block"] = (
                    f"{panels} of {n_panels} panels of centres at a time, from the tuning record."
                )

    # Threads and shards
    n_shards = max(1, -(-n // shard_rows))
    parts = max(n_shards, k * d // _CENTER_NUMBERS) if layout == "csr" else n_shards
    threads, why["n_threads"] = _threads(available, asked, n, d, k, parts)
    at_once = max(threads, _UNINTERRUPTED * threads // max(1, shard_rows * width * k))
    at_once = min(n_shards, max(threads, at_once // threads * threads))
    why["shards"] = (
        f"threads take {shard_rows} rows at a time, {n_shards} times in all; the interpreter looks "
        f"for Ctrl-C after every {at_once}. Sums have no order: results do not depend on this."
    )

    seeding = seeding_for(n, d, k, data_item, here.isa.value, spare=spare, density=density)
    made = Plan(
        n_samples=n, n_features=d, n_clusters=k, dtype=dtype, score_dtype=scores,
        engine=chosen, layout=layout, isa=here.isa.value, n_threads=threads,
        chunk_rows=chunk_rows, tile_rows=tile_rows, panel_columns=panel_columns,
        panels_per_block=panels_per_block, depth_block=depth_block, products=split.products,
        shard_rows=shard_rows,
        n_shards=n_shards, shards_per_call=at_once, workspace_bytes_per_thread=0,
        shared_bytes=0, groups=0, group_rows=0, look=False, row_bytes=_ROW_BYTES,
        seeding=seeding.way,
        seeding_row_bytes=seeding.row_bytes, seeding_kept_bytes=seeding.kept, reasons=why,
    )  # fmt: skip

    if density is not None:
        why["stored"] = _stored(density)
    else:
        most = most_single_rows(k, d, dtype)
        why["few_rows"] = (
            f"predict, transform and score of up to {most} rows compare each with the centres as "
            "they lie. Packing the centres pays for more rows only."
        )
    why["seeding"] = seeding.reason
    if density is None and seeds_at_once(n, d, k):
        why["seeding"] = at_once_reason(n, d, k)
    if layout == "centres-in-lanes":
        first = look_for(
            here.isa.value, here.byte_products.value, n, d, k, products=split.products, asked=look
        )
        why["look"] = first.reason
        made = replace(made, look=first.look)
    if layout == "centres-in-lanes" and groups is not False:
        found = groups_for(here.isa.value, n, d, k, asked=groups is True)
        collected = found.rows(-(-d // lanes) * lanes * item, made.shard_rows, tile_rows)
        if chunk_size != "auto":
            collected = chunk_rows
        after = GROUPS_AFTER * (LATER_AFTER_LOOKS if made.look else 1)
        times = "once" if after == 1 else f"{after:g} times"
        why["groups"] = found.reason.format(rows=collected, times=times)
        made = replace(
            made, groups=found.groups, group_rows=collected if found.groups else 0,
            row_bytes=_ROW_BYTES + 4 * found.groups,
        )  # fmt: skip
    # Memory: of stored entries, as many as the density lets expect; the longest row may have more.
    rows = RowShape(direct, width, n * width)
    nest, other = LoopNest.of(made, rows), LoopNest.of(made, rows, grouped=True)
    # Passes with groups and without take turns.
    own = max(nest.workspace_bytes, other.workspace_bytes)
    shared = max(nest.shared_bytes, other.shared_bytes)
    if threads > 1:
        why["sums"] = _sums(nest)
    why["memory"] = (
        f"{sized(own)} per thread, {sized(shared)} for centres and sums, and {made.row_bytes} "
        f"bytes per row: {sized(own * threads + shared + made.row_bytes * n)} on top of the data."
    )
    return replace(made, workspace_bytes_per_thread=own, shared_bytes=shared)


def _chunk(
    chunk_size: int | str,
    tile_rows: int,
    row_bytes: int,
    budget: int,
    shard_rows: int,
    most: int,
    what: str,
    here: Machine,
) -> tuple[int, str]:
    if isinstance(chunk_size, str) and chunk_size == "auto":
        rows = max(tile_rows, min(most, budget // row_bytes // tile_rows * tile_rows))
        rows = min(rows, -(-shard_rows // tile_rows) * tile_rows)
        return rows, (
            f"{rows} rows of {row_bytes} bytes ({sized(rows * row_bytes)}), so that {what} stay in "
            f"the L2 cache ({sourced(here.l2_bytes)})."
        )
    if (
        not isinstance(chunk_size, numbers.Integral)
        or isinstance(chunk_size, bool)
        or chunk_size < tile_rows
    ):
        raise ValueError(
            f'chunk_size={chunk_size!r} is out of range. Pass "auto", or at least {tile_rows} rows '
            "(one tile)."
        )
    rows = min(int(chunk_size), shard_rows)
    note = " (a chunk ends where its shard ends)" if rows < chunk_size else ""
    return rows, f"{rows} rows, from chunk_size={chunk_size}{note}."


def _stored(density: float) -> str:
    """What start, mini-batches and inertia make of CSR rows."""
    most = STORED_SHARE["rows one by one"]
    few = density <= most
    return (
        f"the start, mini-batches and inertia {'use them alone' if few else 'make rows dense'}: "
        f"{100 * density:.3g} % are stored ({'at most' if few else 'above'} {100 * most:g} %)."
    )


def _sums(nest: LoopNest) -> str:
    """How threads share the sums of clusters."""
    if nest.own_sums:
        return (
            f"each thread has a table of {sized(nest.table_bytes)} of its own (at most "
            f"{sized(OWN_SUMS_BYTES)}); they are added up after a pass."
        )
    return (
        f"threads share one table of {sized(nest.table_bytes)} (above {sized(OWN_SUMS_BYTES)}) "
        "and lock a cluster while they add a row to it."
    )


def _threads(fact: Fact, asked: bool, n: int, d: int, k: int, n_shards: int) -> tuple[int, str]:
    threads, why = shared_threads(fact, asked, n * d * k, "fit")
    if n_shards < threads:
        return (
            n_shards,
            f"{n_shards}: there are no more shards to share out ({fact.value} from {fact.source}).",
        )
    return threads, why

"""From facts and two sets of rows to every size that a search for neighbours uses."""

import numbers
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise.plan._reasons import Reasoned, sourced
from tilewise.plan.layout import TILES
from tilewise.plan.machine import Machine
from tilewise.plan.machine import machine as this_machine
from tilewise.plan.split import SPLIT_ROWS, split_for
from tilewise.plan.threads import n_threads as threads_for

__all__ = ["NeighborPlan", "plan_neighbors"]

# Fewer rows of X than this are compared directly while Y streams by: packing Y would cost more
# than the canonical distances of so many rows (measured for 64 features: they meet at 4).
_DIRECT_ROWS = 4
# Share of L2 for the packed rows of a chunk, as for K-Means; panels stream through the rest.
_L2_SHARE = 0.6
_MOST_CHUNK_ROWS = 384
# Panels that every tile of a chunk meets before the next ones.
_PANELS_PER_BLOCK = 2
# Features per running score where rows are longer: keeps the error bound small (measured at 768
# features: 128 are 5 % faster than 64).
_DEPTH_BLOCK = 128
_LONG_ROW = 192
# Rows of Y that are packed at a time, together for all threads.
_BLOCK_BYTES = 8 * 2**20
_FEWEST_BLOCK_ROWS = 512
# Candidates that a thread holds.
_CANDIDATE_BYTES = 4 * 2**20
# ... of at least so many rows where Y has several blocks, so that packing them pays.
_FEWEST_GROUP_ROWS = 512
# Multiply-adds between two looks for Ctrl-C, per thread: a few tenths of a second.
_UNINTERRUPTED = 2**33
_UNINTERRUPTED_DIRECT = 2**29
# Below this many multiply-adds, about half a millisecond, threads save less than they cost where
# others use the cores as well (measured: 15 ms instead of 0.5).
_SERIAL_WORK = 5_000_000
# Rows of X from which on products of parts repay splitting the rows of Y.
_SPLIT_ROWS_OF_X = 128
_SPLIT_PANELS_PER_BLOCK = 4
# What looking at the score of a pair costs, in multiply-adds.
_PAIR_WORK = 16

_TITLES = {
    "scores": "Scores",
    "products": "Products",
    "n_threads": "Threads",
    "chunk_rows": "Rows of X per task",
    "block_rows": "Rows of Y packed at a time",
    "splits": "Parts of a block",
    "group_rows": "Rows of X at a time",
    "depth_block": "Block of the depth",
    "memory": "Memory",
}


@dataclass(frozen=True, repr=False)
class NeighborPlan(Reasoned):
    """Every size that a search for neighbours uses, with the reason for it.

    Made by `plan_neighbors`.

    Attributes
    ----------
    n_x, n_y, n_features : int
        Rows of X and of Y, and their columns.
    k : int
        Neighbours that are wanted, 0 for all within a radius.
    dtype, score_dtype : str
        Type of the data as the kernels read it, and of the scores.
    isa : str
        Instruction set.
    direct : bool
        Whether canonical distances are computed of all pairs, without scores.
    n_threads : int
    chunk_rows, group_rows : int
        Rows of X per task, and rows of X whose candidates are held at a time.
    block_rows : int
        Rows of Y that are packed at a time.
    splits : int
        Parts of a block of Y that are searched at a time, where X is short.
    panels_per_block, depth_block : int
        Panels, and features, that one walk over the tiles of a chunk takes.
    products : int
        Products of parts of bfloat16 per feature that make a score, 0 for plain scores.
    workspace_bytes : int
        Memory beside data and result.
    reasons : dict of str to str
        Where each size comes from.
    """

    n_x: int
    n_y: int
    n_features: int
    k: int
    dtype: str
    score_dtype: str
    isa: str
    direct: bool
    n_threads: int
    chunk_rows: int
    group_rows: int
    block_rows: int
    splits: int
    panels_per_block: int
    depth_block: int
    products: int
    workspace_bytes: int
    reasons: dict[str, str] = field(hash=False, compare=False)

    _titles = _TITLES
    _heading = "{n_x} rows against {n_y}, {n_features} features"


def plan_neighbors(
    n_x: int,
    n_y: int,
    n_features: int,
    dtype: DTypeLike = "float32",
    *,
    k: int = 1,
    n_threads: int | None = None,
    chunk_rows: int | None = None,
    block_rows: int | None = None,
    machine: Machine | None = None,
    score_dtype: DTypeLike | None = None,
    direct: bool | None = None,
    products: int | None = None,
) -> NeighborPlan:
    """Choose every size of a search for neighbours.

    Parameters
    ----------
    n_x, n_y, n_features : int
        Rows of X, rows of Y, and their columns.
    dtype : dtype, default="float32"
        float32, or anything else, which the kernels read as float64.
    k : int, default=1
        Neighbours per row; 0 for all within a radius.
    n_threads : int, optional
        Threads; by default what the environment allows, and one where the work is tiny.
    chunk_rows, block_rows : int, optional
        Rows of X per task, and rows of Y packed at a time, instead of the planned ones.
    machine : Machine, optional
        Facts to plan for; this machine by default.
    score_dtype : dtype, optional
        Type of the scores; float32 by default.
    direct : bool, optional
        Compare all pairs by the canonical distance alone; by default where X has few rows.
    products : {0, 3, 6}, optional
        Products of parts of bfloat16 per feature, 0 for plain scores; by default what pays on
        this machine.

    Returns
    -------
    NeighborPlan

    Raises
    ------
    ValueError
        If a size is out of range.

    Examples
    --------
    >>> from tilewise.plan import plan_neighbors
    >>> plan_neighbors(1, 1_000_000, 64, k=10, n_threads=2).direct
    True
    >>> plan_neighbors(10_000, 1000, 64, k=10, n_threads=2).splits
    1
    """
    for name, value in (
        ("n_x", n_x), ("n_y", n_y), ("n_features", n_features), ("k", k),
        ("chunk_rows", 1 if chunk_rows is None else chunk_rows),
        ("block_rows", 1 if block_rows is None else block_rows),
    ):  # fmt: skip
        least = 1 if name in ("chunk_rows", "block_rows") else 0
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"{name}={value!r} is out of range: give a whole number from {least} on."
            )
    here = this_machine() if machine is None else machine
    available = threads_for(n_threads, machine=here)
    n, m, d = int(n_x), int(n_y), int(n_features)
    data = "float32" if np.dtype(dtype).newbyteorder("=") == np.float32 else "float64"
    scores = "float32" if score_dtype is None else np.dtype(score_dtype).name
    item = 8 if scores == "float64" else 4
    data_item = 4 if data == "float32" else 8
    vector_bytes, tile_rows, vectors, _, _ = TILES[here.isa.value]
    lanes = vector_bytes // item
    why: dict[str, str] = {}

    if direct is None:
        direct = n < _DIRECT_ROWS
    why["scores"] = (
        "none: canonical distances alone, while Y streams by."
        if direct
        else f"{scores} in vectors of {lanes} ({here.isa.value}, {here.isa.source}); what they "
        "leave open is decided by canonical distances, so results do not depend on them."
    )
    if direct or scores == "float64" or (products is None and n < _SPLIT_ROWS_OF_X):
        products = 0
    split = split_for(here.isa.value, d, m, products)
    panels_per_block = _PANELS_PER_BLOCK
    row_bytes = d * item
    if split.reason:
        why["products"] = split.reason
    if split.products:
        tile_rows, panels_per_block = SPLIT_ROWS, _SPLIT_PANELS_PER_BLOCK
        row_bytes = split.row_bytes(d)
    threads = available.value
    if n * m * (d + _PAIR_WORK) < _SERIAL_WORK and n_threads is None:
        threads = 1
        why["n_threads"] = f"1: {n * m} pairs of {d} features do not repay starting threads."
    else:
        why["n_threads"] = f"{threads} ({available.source})."

    width = lanes if m <= lanes and not split.products else vectors * lanes
    l2 = here.l2_bytes.value // max(1, here.cpus_per_core.value)
    if chunk_rows is None:
        rows = 16 if direct else min(_MOST_CHUNK_ROWS, int(l2 * _L2_SHARE) // max(1, row_bytes))
        # As many chunks as threads share evenly, unless X is too short for it.
        waves = max(1, -(-n // (rows * threads)))
        rows = max(min(rows, -(-n // (waves * threads))), 1 if direct else 4 * tile_rows)
    else:
        rows = int(chunk_rows)
    rows = max(1, -(-min(rows, max(n, 1)) // tile_rows)) * tile_rows
    chunks = max(1, -(-n // rows))
    why["chunk_rows"] = (
        f"{rows} rows of X ({sized(rows * row_bytes)} of L2, {sourced(here.l2_bytes)}), "
        f"{chunks} chunk{'s' if chunks > 1 else ''}."
    )

    if block_rows is None:
        block = max(_FEWEST_BLOCK_ROWS, _BLOCK_BYTES // (row_bytes + item))
        if direct:
            block = max(2**14, _UNINTERRUPTED_DIRECT * threads // max(1, d * min(n, rows)))
    else:
        block = int(block_rows)
    block = max(1, -(-min(block, max(m, 1)) // width)) * width
    blocks = max(1, -(-m // block))
    why["block_rows"] = f"{block} rows of Y, {blocks} block{'s' if blocks > 1 else ''}" + (
        "." if direct else f": {sized(block * (row_bytes + item))} packed, for all threads."
    )

    splits = 1
    if chunks < threads:
        least = 1024 if direct else 8 * width
        splits = max(1, min(-(-threads // chunks), min(block, m) // least))
    why["splits"] = (
        "1: every task sees the whole block."
        if splits == 1
        else f"{splits}: X is too short for {threads} threads, so they share the rows of Y."
    )

    wide = 16 if direct else 2 * item
    kept = min(2 * k + 64, max(m, 1)) if k else 256
    room = kept + panels_per_block * width + lanes + 15
    per_row = splits * room * wide
    group = max(1, _CANDIDATE_BYTES * threads // per_row)
    if blocks > 1:
        group = max(group, _FEWEST_GROUP_ROWS * threads)
    group = min(group, _UNINTERRUPTED * threads // max(1, d * block))
    each = max(1, min(group // rows, chunks) // threads)
    group_chunks = min(chunks, max(1, each * threads if group >= rows * threads else group // rows))
    # Groups of even length: a short last one would pack Y again for few rows.
    group_chunks = -(-chunks // -(-chunks // group_chunks))
    group_rows = group_chunks * rows
    why["group_rows"] = (
        f"{group_rows} rows of X at a time, with {per_row} bytes of candidates each "
        f"({sized(group_rows * per_row)})."
    )

    depth_block = _DEPTH_BLOCK if d > _LONG_ROW else max(d, 1)
    if split.products:
        depth_block = split.depth_block
    why["depth_block"] = f"{min(depth_block, d)} of {d} features per running score."
    packed = row_bytes + 8 if split.products else -(-d // lanes) * lanes * item
    # The candidates of one row, distances and indices: as they came, sorted, and to merge in.
    thread = rows * (packed + 8) + 3 * 16 * max(splits * room, kept + 128)
    if split.products:
        thread += (d + 1) * width * item
    thread += panels_per_block * tile_rows * width * item + max(64, width) * (8 + d * data_item)
    total = threads * thread + group_rows * per_row + (0 if direct else block * (row_bytes + item))
    why["memory"] = f"{sized(total)} beside data and result, {sized(thread)} of it per thread."
    return NeighborPlan(
        n_x=n, n_y=m, n_features=d, k=int(k), dtype=data, score_dtype=scores, isa=here.isa.value,
        direct=bool(direct), n_threads=threads, chunk_rows=rows, group_rows=group_rows,
        block_rows=block, splits=splits, panels_per_block=panels_per_block,
        depth_block=depth_block, products=split.products, workspace_bytes=total, reasons=why,
    )  # fmt: skip

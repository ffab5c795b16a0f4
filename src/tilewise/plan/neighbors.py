"""From facts and two sets of rows to every size that a search for neighbours uses."""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise.plan._common import (
    L2_CHUNK_SHARE,
    MOST_CHUNK_ROWS,
    PANELS_PER_BLOCK,
    Recent,
    check_size,
    counted,
    data_type,
    item_of,
    l2_per_core,
    score_type,
    shared_threads,
)
from tilewise.plan._facts import Fact
from tilewise.plan._reasons import Reasoned, sourced
from tilewise.plan.layout import TILES, tile_shape
from tilewise.plan.looks import look_for
from tilewise.plan.machine import Machine
from tilewise.plan.machine import machine as this_machine
from tilewise.plan.plan import Plan
from tilewise.plan.plan import plan as plan_pass
from tilewise.plan.split import split_for
from tilewise.plan.threads import n_threads as threads_for
from tilewise.plan.thresholds import (
    ASSIGNMENT_COORDINATES,
    ASSIGNMENT_LOOK_COORDINATES,
    ASSIGNMENT_ROWS,
    ASSIGNMENT_ROWS_PER_COORDINATE,
    BRUTE_FORCE_MOST_ROWS,
    SCAN_ROWS,
    STORED_SHARE,
    brute_force_pays,
)

__all__ = ["METHODS", "NeighborPlan", "block_shape", "plan_neighbors"]

METHODS = ("scores", "scan", "assignment", "brute force", "csr")

_SCAN_CHUNK_ROWS = 16
# Panels of split rows that every tile of a chunk meets before the next ones.
_SPLIT_PANELS_PER_BLOCK = 4
# Features per running score where rows are longer: keeps the error bound small (measured at 768
# features: 128 are 5 % faster than 64).
_DEPTH_BLOCK = 128
_LONG_ROW = 192
# Rows of Y that are packed at a time, together for all threads.
_BLOCK_BYTES = 8 * 2**20
_FEWEST_BLOCK_ROWS = 512
_FEWEST_SCAN_ROWS = 2**14
# Candidates that a thread holds.
_CANDIDATE_BYTES = 4 * 2**20
# ... of at least so many rows where Y has several blocks, so that packing them pays.
_FEWEST_GROUP_ROWS = 512
# Multiply-adds between two checks for Ctrl-C, per thread: a few tenths of a second.
_UNINTERRUPTED = 2**33
_UNINTERRUPTED_SCAN = 2**29
# Rows of X from which on products of bfloat16 parts repay splitting the rows of Y.
_PRODUCTS_ROWS = 128
# What comparing the score of a pair with a limit costs, in multiply-adds.
_PAIR_WORK = 16

# Blocks of distances: half of a common L2 per thread, so that the next step finds them there ...
_DISTANCE_BYTES = 2**20
_DISTANCE_COLUMNS = 2048
# ... or, where a side is CSR, more for all threads: most of the cost of a block is per row.
_CSR_DISTANCE_BYTES = 8 * 2**20
# Rows of a dense side in such a block: packing them costs more than an index of stored entries.
_DENSE_ROWS = 128
# Candidates of all rows of a block.
_HELD_BYTES = 16 * 2**20
# Rows of X that brute force fetches at a time, as the kernel has it.
_BRUTE_FORCE_ROWS = 128

_TITLES = {
    "method": "Method",
    "products": "Products",
    "n_threads": "Threads",
    "chunk_rows": "Rows of X per task",
    "block_rows": "Rows of Y at a time",
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
    method : {"scores", "scan", "assignment", "brute force", "csr"}
        Scores that exclude most pairs; canonical distances of all pairs while Y streams by; a pass
        that assigns rows as K-Means does; all distances to a short Y, ranked; or blocks of
        distances from the stored entries of CSR rows. Neighbours do not depend on it.
    dtype, score_dtype : str
        Type of the data as the kernels read it, and of the scores.
    isa : str
        Instruction set.
    n_threads : int
    chunk_rows, group_rows : int
        Rows of X per task, and rows of X whose candidates are held at a time.
    block_rows : int
        Rows of Y that are packed, or compared, at a time.
    splits : int
        Parts of a block of Y that are searched at a time, where X is short.
    panels_per_block, depth_block : int
        Panels, and features, that one walk over the tiles of a chunk takes.
    products : int
        Products of bfloat16 parts per feature that make a score, 0 for plain scores.
    workspace_bytes : int
        Memory beside data and result.
    reasons : dict of str to str
        Where each size comes from.
    assignment : Plan or None
        With the method "assignment": the sizes of the pass.
    """

    n_x: int
    n_y: int
    n_features: int
    k: int
    method: Literal["scores", "scan", "assignment", "brute force", "csr"]
    dtype: str
    score_dtype: str
    isa: str
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
    assignment: Plan | None = None

    _titles = _TITLES
    _heading = "{n_x} rows against {n_y}, {n_features} features"


_RECENT = Recent()


# Many parameters, since each is a fact or an override of its own: tests and searches that start
# again override one at a time.
def plan_neighbors(
    n_x: int, n_y: int, n_features: int, dtype: DTypeLike = "float32", *, k: int = 1,
    n_threads: int | None = None, density: tuple[float | None, float | None] = (None, None),
    chunk_rows: int | None = None, block_rows: int | None = None, machine: Machine | None = None,
    method: str | None = None, score_dtype: DTypeLike | None = None, products: int | None = None,
) -> NeighborPlan:  # fmt: skip
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
    density : tuple of two floats, optional
        Share of the entries that X and Y store, None for a dense side.
    chunk_rows, block_rows : int, optional
        Rows of X per task, and rows of Y packed at a time, instead of the planned ones.
    machine : Machine, optional
        Facts to plan for; this machine by default.
    method : {"scores", "scan", "assignment", "brute force", "csr"}, optional
        The way to search; by default the fastest one.
    score_dtype : dtype, optional
        Type of the scores; float32 by default.
    products : {0, 3, 6}, optional
        Products of bfloat16 parts per feature, 0 for plain scores; by default what pays on
        this machine.

    Returns
    -------
    NeighborPlan

    Raises
    ------
    ValueError
        If a size is out of range, or there is no such method.

    Examples
    --------
    >>> from tilewise.plan import plan_neighbors
    >>> plan_neighbors(1, 1_000_000, 64, k=10, n_threads=2).method
    'scan'
    >>> plan_neighbors(10_000, 1000, 64, k=10, n_threads=2).splits
    1
    """
    here = this_machine() if machine is None else machine
    if method not in (None, *METHODS):
        raise ValueError(f"method={method!r} is not one of {', '.join(map(repr, METHODS))}.")
    n, m = check_size("n_x", n_x), check_size("n_y", n_y)
    d, k = check_size("n_features", n_features), check_size("k", k)
    fixed = (
        None if chunk_rows is None else check_size("chunk_rows", chunk_rows, 1),
        None if block_rows is None else check_size("block_rows", block_rows, 1),
    )
    threads = threads_for(n_threads, machine=here)
    task = _Task(n, m, d, k, data_type(dtype), density, threads, n_threads is not None)
    scores = score_type(score_dtype)
    key = (*task, *fixed, method, scores, products)

    def _make():
        chosen, why = _method(task, here, method)
        if chosen == "brute force":
            return _plan_brute_force(task, here, why)
        if chosen == "csr":
            return _plan_csr(task, here, why)
        if chosen == "assignment":
            return _plan_assignment(task, here, scores, products, why)
        return _Sizes(task, here, chosen, scores, products, why).plan(*fixed)

    return _RECENT.get(key, (here,), _make)


def block_shape(
    n_x: int, n_y: int, *, n_threads: int = 1, sparse: tuple[bool, bool] = (False, False),
    candidate_bytes: int = 0,
) -> tuple[int, int]:  # fmt: skip
    """Rows of X and of Y of one block of distances.

    Parameters
    ----------
    n_x, n_y : int
    n_threads : int
    sparse : tuple of two bools
        Which sides are CSR.
    candidate_bytes : int
        Bytes that are held for each row of X.
    """
    if any(sparse) and min(n_x, n_y):
        values = _CSR_DISTANCE_BYTES // 8
        height = values // _DENSE_ROWS if sparse[0] else _DENSE_ROWS
        height = max(1, min(math.isqrt(values) if all(sparse) else height, n_x))
        # What a short side leaves, the other one takes.
        columns = min(values // height, n_y)
        height = min(values // columns, n_x)
    else:
        # What a short X leaves, the columns take.
        wide = _DISTANCE_BYTES * n_threads // (8 * max(1, n_x))
        columns = max(1, min(n_y, max(_DISTANCE_COLUMNS, wide)))
        height = max(8 * n_threads, _DISTANCE_BYTES * n_threads // (8 * columns))
    if candidate_bytes:
        height = min(height, _HELD_BYTES // candidate_bytes)
    return max(1, min(height, n_x)), columns


class _Task(NamedTuple):
    """What is searched, and the threads for it."""

    n: int
    m: int
    d: int
    k: int
    dtype: str
    density: tuple[float | None, float | None]
    available: Fact
    asked: bool


def _method(task: _Task, here: Machine, method: str | None) -> tuple[str, dict[str, str]]:
    """The way to search, and the sentence that says why."""
    n, m, d, k = task[:4]
    dense_x = task.density[0] is None
    stored = [share for share in task.density if share is not None]
    share = math.prod(stored)
    most = STORED_SHARE["neighbors, both sides" if len(stored) == 2 else "neighbors, one side"]
    if method is None:
        vector_bytes = TILES[here.isa.value][0]
        if dense_x and brute_force_pays(n, m, d, k, vector_bytes):
            method = "brute force"
        elif stored and min(n, m, d) and share <= most:
            method = "csr"
        elif _assignment_pays(task, here):
            method = "assignment"
        else:
            method = "scan" if n < SCAN_ROWS else "scores"
    if method == "csr" and not stored:
        raise ValueError('method="csr" needs a CSR side: pass its density.')
    if method == "brute force" and not (0 < k and m <= BRUTE_FORCE_MOST_ROWS):
        raise ValueError(
            f'method="brute force" finds the nearest of up to {BRUTE_FORCE_MOST_ROWS} rows; got '
            f"k={k} and {m} rows."
        )
    if method == "assignment" and not (k == 1 and m):
        raise ValueError(f'method="assignment" finds one neighbour; got k={k} and {m} rows.')
    if method == "brute force":
        text = f"all distances, ranked: Y has only {m} rows, so that is faster than a search."
    elif method == "csr":
        text = (
            f"distances from stored entries: {100 * share:.3g} % of the multiplications of dense "
            f"rows remain (at most {100 * most:g} %)."
        )
    elif method == "scan":
        text = (
            f"all float64 distances in one pass over Y: X has fewer than {SCAN_ROWS} rows, so "
            "packing Y does not pay."
        )
    elif method == "assignment":
        text = (
            f"rows are assigned as K-Means assigns them: Y has {m * d} coordinates (at most "
            f"{_most_coordinates(task, here)}), and X a row for "
            f"{1 / ASSIGNMENT_ROWS_PER_COORDINATE:g} of them (at least {ASSIGNMENT_ROWS})."
        )
    else:
        text = "a fast pass finds candidates, and float64 distances decide among them."
    if stored and method in ("scores", "scan", "assignment"):
        text += (
            f" CSR rows are made dense a block at a time, since {100 * share:.3g} % of the "
            f"multiplications remain (above {100 * most:g} %)."
        )
    return method, {"method": text}


def _plan_of(task: _Task, here: Machine, method: str, why: dict[str, str], **sizes) -> NeighborPlan:
    """A plan with the sizes that are given, and ones or zeros for those that the method lacks."""
    return NeighborPlan(
        n_x=task.n, n_y=task.m, n_features=task.d, k=task.k, method=method, dtype=task.dtype,
        isa=here.isa.value, reasons=why,
        **{
            "score_dtype": "float64", "chunk_rows": 1, "splits": 1, "panels_per_block": 1,
            "depth_block": max(task.d, 1), "products": 0, **sizes,
        },
    )  # fmt: skip


def _plan_brute_force(task: _Task, here: Machine, why: dict[str, str]) -> NeighborPlan:
    work = task.n * task.m
    threads, why["n_threads"] = shared_threads(task.available, task.asked, work, "brute force")
    padded = -(-task.d // 8) * 8 * 8
    total = padded * (task.m + threads * _BRUTE_FORCE_ROWS)
    why["memory"] = f"{sized(total)} on top of data and result."
    return _plan_of(
        task, here, "brute force", why, n_threads=threads, group_rows=max(1, task.n),
        block_rows=max(1, task.m), workspace_bytes=total,
    )  # fmt: skip


def _most_coordinates(task: _Task, here: Machine) -> int:
    """Coordinates of Y up to which rows are assigned: more where they have a first look."""
    look = look_for(here.isa.value, here.byte_products.value, task.n, task.d, task.m).look
    return ASSIGNMENT_LOOK_COORDINATES if look else ASSIGNMENT_COORDINATES


def _assignment_pays(task: _Task, here: Machine) -> bool:
    """Whether one neighbour is found faster by a pass of K-Means."""
    coordinates = task.m * task.d
    return (
        task.k == 1 and task.density == (None, None) and task.n >= ASSIGNMENT_ROWS
        and 0 < coordinates <= _most_coordinates(task, here)
        and task.n >= coordinates * ASSIGNMENT_ROWS_PER_COORDINATE
    )  # fmt: skip


def _plan_assignment(task, here, scores, products, why) -> NeighborPlan:
    made = plan_pass(
        task.n, task.d, task.m, task.dtype, machine=here, score_dtype=scores, products=products,
        n_threads=task.available.value if task.asked else None, groups=False,
        density=task.density[0],
    )  # fmt: skip
    for name in ("n_threads", "chunk_rows"):
        why[name] = made.reasons[name]
    # The rows of Y as the pass wants them, twice for distances.
    total = made.n_threads * made.workspace_bytes_per_thread + made.shared_bytes
    total += 16 * task.m * task.d
    why["memory"] = f"{sized(total)} on top of data and result."
    return _plan_of(
        task, here, "assignment", why, score_dtype=scores, n_threads=made.n_threads,
        chunk_rows=made.chunk_rows, block_rows=task.m,
        group_rows=max(1, -(-task.n // made.chunk_rows)) * made.chunk_rows,
        workspace_bytes=total, assignment=made,
    )  # fmt: skip


def _plan_csr(task: _Task, here: Machine, why: dict[str, str]) -> NeighborPlan:
    n, m, d, k = task[:4]
    entries = min(max(1.0, share * d) for share in task.density if share is not None)
    work = n * m * entries
    threads, why["n_threads"] = shared_threads(task.available, task.asked, work, "csr neighbors")
    # Distance and index of each candidate, room for a vector behind them, and three numbers.
    candidates = 16 * (min(2 * k + 64, max(m, k)) + 47) + 16 if k else 0
    sparse = task.density[0] is not None, task.density[1] is not None
    height, columns = block_shape(n, m, sparse=sparse, candidate_bytes=candidates)
    why["group_rows"] = (
        f"{height}, against {columns} rows of Y: {sized(8 * height * columns)} of distances, and "
        f"{sized(height * candidates)} of candidates."
    )
    total = height * (8 * columns + candidates)
    why["memory"] = f"{sized(total)} on top of data and result, and the entries of some rows."
    return _plan_of(
        task, here, "csr", why, n_threads=threads, group_rows=height, block_rows=columns,
        workspace_bytes=total,
    )  # fmt: skip


class _Sizes:
    """The sizes of a search by scores, or of a scan, one after the other."""

    def __init__(self, task, here, method, scores, products, why):
        self.task, self.here, self.why = task, here, why
        self.scan = method == "scan"
        n, m, d = task[:3]
        self.scores, self.item = scores, item_of(scores)
        self.lanes = TILES[here.isa.value][0] // self.item
        if not self.scan:
            why["method"] += (
                f" The fast pass is in {scores}, {self.lanes} numbers per vector "
                f"({here.isa.value}, {here.isa.source})."
            )
        if self.scan or scores == "float64" or (products is None and n < _PRODUCTS_ROWS):
            products = 0
        self.split = split_for(here.isa.value, d, m, products)
        if self.split.reason:
            why["products"] = self.split.reason
        self.panels_per_block, self.row_bytes = PANELS_PER_BLOCK, d * self.item
        self.tile_rows, self.width = tile_shape(
            here.isa.value, "centres-in-lanes", m, self.item, products=self.split.products
        )
        if self.split.products:
            self.panels_per_block = _SPLIT_PANELS_PER_BLOCK
            self.row_bytes = self.split.row_bytes(d)
        work = n * m * (d + _PAIR_WORK)
        self.threads, why["n_threads"] = shared_threads(
            task.available, task.asked, work, "neighbors"
        )

    def plan(self, chunk_rows: int | None, block_rows: int | None) -> NeighborPlan:
        rows = self._chunk(chunk_rows)
        block = self._block(block_rows, rows)
        splits = self._splits(block)
        kept = min(2 * self.task.k + 64, max(self.task.m, 1)) if self.task.k else 256
        room = kept + self.panels_per_block * self.width + self.lanes + 15
        per_row = splits * room * (16 if self.scan else 2 * self.item)
        group = self._group(block, rows, per_row)
        d = self.task.d
        depth_block = _DEPTH_BLOCK if d > _LONG_ROW else max(d, 1)
        if self.split.products:
            depth_block = self.split.depth_block
        self.why["depth_block"] = f"{min(depth_block, d)} of {d} features per partial sum."
        return _plan_of(
            self.task, self.here, "scan" if self.scan else "scores", self.why,
            score_dtype=self.scores, n_threads=self.threads, chunk_rows=rows, group_rows=group,
            block_rows=block, splits=splits, panels_per_block=self.panels_per_block,
            depth_block=depth_block, products=self.split.products,
            workspace_bytes=self._memory(rows, block, group * per_row, splits * room, kept),
        )  # fmt: skip

    def _chunk(self, rows: int | None) -> int:
        n = self.task.n
        if rows is None:
            budget = int(l2_per_core(self.here) * L2_CHUNK_SHARE)
            rows = max(1, min(MOST_CHUNK_ROWS, budget // max(1, self.row_bytes)))
            if self.scan:
                rows = _SCAN_CHUNK_ROWS
            # As many chunks as threads share evenly, unless X is too short for it.
            waves = max(1, -(-n // (rows * self.threads)))
            least = 1 if self.scan else 4 * self.tile_rows
            rows = max(min(rows, -(-n // (waves * self.threads))), least)
        rows = max(1, -(-min(rows, max(n, 1)) // self.tile_rows)) * self.tile_rows
        self.chunks = max(1, -(-n // rows))
        self.why["chunk_rows"] = (
            f"{rows}, which take {sized(rows * self.row_bytes)} of the L2 cache "
            f"({sourced(self.here.l2_bytes)}); {counted(self.chunks, 'task')}."
        )
        return rows

    def _block(self, block: int | None, rows: int) -> int:
        n, m, d = self.task[:3]
        row_bytes = self.row_bytes + self.item
        if block is None:
            block = max(_FEWEST_BLOCK_ROWS, _BLOCK_BYTES // row_bytes)
            if self.scan:
                most = _UNINTERRUPTED_SCAN * self.threads // max(1, d * min(n, rows))
                block = max(_FEWEST_SCAN_ROWS, most)
        block = max(1, -(-min(block, max(m, 1)) // self.width)) * self.width
        self.blocks = max(1, -(-m // block))
        packed = "" if self.scan else f" of {sized(block * row_bytes)}, packed for all threads"
        self.why["block_rows"] = f"{block}, in {counted(self.blocks, 'block')}{packed}."
        return block

    def _splits(self, block: int) -> int:
        splits = 1
        if self.chunks < self.threads:
            least = 1024 if self.scan else 8 * self.width
            splits = max(1, min(-(-self.threads // self.chunks), min(block, self.task.m) // least))
        self.why["splits"] = (
            "1: every task searches whole blocks."
            if splits == 1
            else f"{splits}: X is too short for {self.threads} threads; they share the rows of Y."
        )
        return splits

    def _group(self, block: int, rows: int, per_row: int) -> int:
        threads, chunks = self.threads, self.chunks
        group = max(1, _CANDIDATE_BYTES * threads // per_row)
        if self.blocks > 1:
            group = max(group, _FEWEST_GROUP_ROWS * threads)
        group = min(group, _UNINTERRUPTED * threads // max(1, self.task.d * block))
        each = max(1, min(group // rows, chunks) // threads)
        some = each * threads if group >= rows * threads else group // rows
        some = min(chunks, max(1, some))
        # Groups of even length: a short last one would pack Y again for few rows.
        group_rows = -(-chunks // -(-chunks // some)) * rows
        self.why["group_rows"] = (
            f"{group_rows}, each with {per_row} bytes of candidates "
            f"({sized(group_rows * per_row)} in all)."
        )
        return group_rows

    def _memory(self, rows: int, block: int, candidates: int, room: int, kept: int) -> int:
        d, item, width = self.task.d, self.item, self.width
        data_item = item_of(self.task.dtype)
        packed = -(-d // self.lanes) * self.lanes * item
        if self.split.products:
            packed = self.row_bytes + 8
        # The candidates of one row, distances and indices: as they came, sorted, and to merge in.
        thread = rows * (packed + 8) + 3 * 16 * max(room, kept + 128)
        if self.split.products:
            thread += (d + 1) * width * item
        thread += self.panels_per_block * self.tile_rows * width * item
        thread += max(64, width) * (8 + d * data_item)
        total = self.threads * thread + candidates
        if not self.scan:
            total += block * (self.row_bytes + item)
        self.why["memory"] = (
            f"{sized(total)} on top of data and result, {sized(thread)} of it per thread."
        )
        return total

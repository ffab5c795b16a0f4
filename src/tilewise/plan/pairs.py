"""From facts and a shape to every size of a matrix of distances."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise.plan._common import Recent, check_size, item_of, l2_per_core, shared_threads
from tilewise.plan._facts import Fact
from tilewise.plan._reasons import Reasoned, sourced
from tilewise.plan.layout import TILES, csr_vectors
from tilewise.plan.machine import Machine
from tilewise.plan.machine import machine as this_machine
from tilewise.plan.threads import n_threads as threads_for
from tilewise.plan.thresholds import CSR_INDEXED_ROWS, STORED_SHARE

__all__ = ["PairPlan", "plan_pairs", "walks_y"]

# Rows in the lanes per task: the panels of a block take this share of L2 (measured at 768
# features: half of 2 MiB is 5 % faster than a quarter) ...
_L2_SHARE = 0.5
# ... and a row of results stays in L1 until it is stored, with those of the same group.
_MOST_COLUMNS = {"float32": 1024, "float64": 512}
# Whole vectors of every instruction set, two at a time.
_COLUMNS_MULTIPLE = 32
# ... and as many as the kernel rounds the rows of a block up to.
_LANES_MULTIPLE = 16
# Streamed rows per task: enough to repay packing the others (measured: 2112 instead of 1056 gain
# 4 % at 768 features).
_MOST_ROWS = 2112
_FEWEST_ROWS = 96
# Tasks per thread, so that an uneven end does not matter.
_TASKS = 4
# Rows staged at a time where they cannot be read in place.
_FETCH_ROWS = 96
# Rows between two stores: one register tile where rows are short and results should stay in L1;
# several where rows are long, so that they share each fetch of the others from L2 (measured: 4 %
# at 768 features), or where results are written turned over, so that each column receives whole
# cache lines.
_GROUP = 12
_LONG_GROUP = 48
_LONG_ROW = 48
# Fewer rows of X than this go into the lanes, and rows of Y stream past them in place: packing
# Y would cost more than the distances.
_TURN = 64
# Results larger than this many times what caches hold are not read back from there; storing
# them past the caches saves fetching each line first.
_STREAM_CACHES = 4
# Fresh memory is in the caches when it is written, as the system has just cleared it. Storing past
# them pays there as well for results this wide, not for narrower ones (measured with huge pages:
# 5 to 20 % less time in float64, from 10 % less to 5 % more in float32; with small pages 4 % more).
_STREAM_FRESH_BYTES = 8

_TITLES = {
    "method": "Method",
    "isa": "Instruction set",
    "turned": "Vectors",
    "column_block": "Block in the vectors",
    "row_block": "Rows per task",
    "n_threads": "Threads",
    "streaming": "Stores",
    "memory": "Memory",
}


@dataclass(frozen=True, repr=False)
class PairPlan(Reasoned):
    """Every size of one matrix of distances, with the reason for it.

    Made by `plan_pairs`.

    Attributes
    ----------
    n_x, n_y, n_features : int
        The shape of the work.
    method : {"dense", "csr"}
        From dense rows, or from the stored entries of CSR rows.
    dtype : str
        Type of the arithmetic of dense rows: "float32" or "float64".
    isa : str
        Instruction set of the kernels.
    n_threads : int
        Threads; each takes blocks of the matrix.
    turned : bool
        Whether rows of X lie in the lanes of a vector and rows of Y stream past, instead of
        the other way round.
    row_block, column_block : int
        Streamed rows, and rows in the lanes, of one block.
    fetch_rows : int
        Streamed rows staged at a time where they cannot be read in place.
    group : int
        Streamed rows between two stores.
    streaming : bool
        Whether results are stored past the caches.
    csr_vectors : int
        With "csr": vectors of dense rows side by side.
    workspace_bytes_per_thread : int
        Buffers of one thread.
    reasons : dict of str to str
        For each size, the fact or formula that it comes from.

    Examples
    --------
    >>> from tilewise.plan import plan_pairs
    >>> p = plan_pairs(10_000, 2_000, 64, n_threads=1)
    >>> p.n_threads, p.turned
    (1, False)
    >>> plan_pairs(1, 1_000_000, 64).turned
    True
    """

    n_x: int
    n_y: int
    n_features: int
    method: Literal["dense", "csr"]
    dtype: str
    isa: str
    n_threads: int
    turned: bool
    row_block: int
    column_block: int
    fetch_rows: int
    group: int
    streaming: bool
    csr_vectors: int
    workspace_bytes_per_thread: int
    reasons: dict[str, str] = field(compare=False)

    _titles = _TITLES
    _heading = "{n_x} x {n_y} distances, {n_features} features"


def plan_pairs(
    n_x: int, n_y: int, n_features: int, dtype: DTypeLike = "float32", *,
    out_dtype: DTypeLike | None = None, n_threads: int | None = None,
    machine: Machine | None = None, direct: bool = True, fresh: bool = False,
    density: tuple[float | None, float | None] | None = None,
) -> PairPlan:  # fmt: skip
    """Choose every size of a matrix of distances.

    Parameters
    ----------
    n_x, n_y, n_features : int
        Rows of X and of Y, and their length.
    dtype : dtype, default="float32"
        Type of the arithmetic.
    out_dtype : dtype, optional
        Type of the results, by default the same.
    n_threads : int, optional
        Threads; by default what the environment allows, and one where the work is tiny.
    machine : Machine, optional
        Facts to plan for; this machine by default.
    direct : bool, default=True
        Whether rows can be read where they stand, without staging.
    fresh : bool, default=False
        Whether the memory for the results was never written: the system clears its pages, in
        the caches, as they are first touched.
    density : tuple of two floats, optional
        Where the kernel has a form for CSR rows: share of the entries that X and Y store, None for
        a dense side.

    Returns
    -------
    PairPlan

    Raises
    ------
    ValueError
        If a size is negative or no whole number, or the number of threads out of range.

    Examples
    --------
    >>> from tilewise.plan import plan_pairs
    >>> plan_pairs(100, 100, 8, n_threads=1).streaming
    False
    """
    for name, value in (("n_x", n_x), ("n_y", n_y), ("n_features", n_features)):
        check_size(name, value)
    here = this_machine() if machine is None else machine
    threads = threads_for(n_threads, machine=here)
    kind = np.dtype(dtype)
    out_item = np.dtype(dtype if out_dtype is None else out_dtype).itemsize
    task = _Task(
        n_x, n_y, n_features, kind.name, out_item, direct, fresh, density, threads,
        n_threads is not None,
    )  # fmt: skip
    return _RECENT.get(task, (here,), lambda: _plan(task, here))


_RECENT = Recent()


class _Task(NamedTuple):
    """What is computed, and the threads for it."""

    n_x: int
    n_y: int
    n_features: int
    dtype: str
    out_item: int
    direct: bool
    fresh: bool
    density: tuple[float | None, float | None] | None
    available: Fact
    asked: bool

    @property
    def item(self) -> int:
        return item_of(self.dtype)


def walks_y(n_x: int, n_y: int, *, sparse: tuple[bool, bool]) -> bool:
    """Whether a CSR kernel reads the rows of Y one by one, and indexes or packs those of X."""
    return not sparse[0] or (sparse[1] and n_x < CSR_INDEXED_ROWS and n_x < n_y)


def _plan(task: _Task, here: Machine) -> PairPlan:
    why: dict[str, str] = {}
    method = _method(task, why)
    lanes = TILES[here.isa.value][0] // task.item
    why["isa"] = f"{here.isa.value} ({here.isa.source}), {lanes} {task.dtype} numbers per vector."
    work = task.n_x * task.n_y * max(1, task.n_features)
    threads, why["n_threads"] = shared_threads(task.available, task.asked, work, "matrix")
    turned = task.n_x < _TURN and task.n_x < task.n_y
    column_block = _column_block(task, here, turned, why)
    n_rows, n_columns = (task.n_y, task.n_x) if turned else (task.n_x, task.n_y)
    blocks = max(1, -(-n_columns // column_block))
    parts = max(1, _TASKS * threads // blocks) if threads > 1 else 1
    row_block = max(_FEWEST_ROWS, min(_MOST_ROWS, -(-n_rows // parts)))
    row_block = -(-row_block // _FEWEST_ROWS) * _FEWEST_ROWS
    why["row_block"] = (
        f"{row_block}: enough to repay packing a block, and few enough that the threads finish "
        "together."
    )
    group = _LONG_GROUP if turned or (task.n_features >= _LONG_ROW and task.item == 4) else _GROUP
    columns = -(-min(column_block, n_columns) // _LANES_MULTIPLE) * _LANES_MULTIPLE
    workspace = _workspace(task, row_block, columns, group)
    streaming = _streaming(task, here, turned, threads, why)
    why["memory"] = f"{sized(workspace)} per thread, on top of data and result."
    if method == "csr":
        # The other sizes are of dense rows.
        why = {name: why[name] for name in ("method", "isa", "n_threads")}
    return PairPlan(
        n_x=task.n_x, n_y=task.n_y, n_features=task.n_features, method=method, dtype=task.dtype,
        isa=here.isa.value, n_threads=threads, turned=turned, row_block=row_block,
        column_block=column_block, fetch_rows=_FETCH_ROWS, group=group,
        streaming=streaming,
        csr_vectors=_csr_vectors(task, here), workspace_bytes_per_thread=workspace, reasons=why,
    )  # fmt: skip


def _method(task: _Task, why: dict[str, str]) -> str:
    """From stored entries, or densely: the kernels of CSR rows must be faster, and exist."""
    stored = [share for share in task.density or () if share is not None]
    most = STORED_SHARE["matrix"]
    if stored and min(stored) <= most:
        why["method"] = (
            f"distances from stored entries: {100 * min(stored):.3g} % of the entries are stored "
            f"(at most {100 * most:g} %)."
        )
        return "csr"
    why["method"] = "dense rows; the order of additions is the same for every pair."
    if stored:
        why["method"] += (
            f" CSR rows are made dense a block at a time, since {100 * min(stored):.3g} % of the "
            f"entries are stored (above {100 * most:g} %)."
        )
    return "dense"


def _csr_vectors(task: _Task, here: Machine) -> int:
    """Vectors of dense rows that the stored entries of the other side meet."""
    lanes = TILES[here.isa.value][0] // 8
    return csr_vectors(4 * lanes, task.n_features, lanes, 8, l2_per_core(here))


def _column_block(task: _Task, here: Machine, turned: bool, why: dict[str, str]) -> int:
    n_columns = task.n_x if turned else task.n_y
    row_bytes = task.n_features * task.item
    fitting = int(l2_per_core(here) * _L2_SHARE) // max(1, row_bytes)
    block = max(_COLUMNS_MULTIPLE, min(_MOST_COLUMNS[task.dtype], fitting))
    block = block // _COLUMNS_MULTIPLE * _COLUMNS_MULTIPLE
    # Equal blocks, so that the last one is not a sliver.
    blocks = max(1, -(-n_columns // block))
    block = -(-max(1, -(-n_columns // blocks)) // _COLUMNS_MULTIPLE) * _COLUMNS_MULTIPLE
    why["turned"] = (
        f"rows of X fill the vectors: packing {task.n_y} rows of Y does not pay for {task.n_x}."
        if turned
        else "rows of Y fill the vectors. They are packed once per block; rows of X stream past."
    )
    why["column_block"] = (
        f"{block} rows, {sized(block * row_bytes)} packed: a share of the L2 cache "
        f"({sourced(here.l2_bytes)}). A row of results stays in the L1 cache."
    )
    return block


def _streaming(task: _Task, here: Machine, turned: bool, threads: int, why: dict[str, str]) -> bool:
    """Whether results are stored past the caches."""
    out_bytes = task.n_x * task.n_y * task.out_item
    limit = _STREAM_CACHES * (l2_per_core(here) + here.l3_share_bytes.value) * threads
    streaming = not turned and task.n_y * task.out_item >= 512 and out_bytes > limit
    streaming = streaming and (not task.fresh or task.out_item >= _STREAM_FRESH_BYTES)
    why["streaming"] = (
        f"past the caches: {sized(out_bytes)} of results would not stay in them (more than "
        f"{sized(limit)})."
        if streaming
        else f"through the caches, {sized(out_bytes)} of results"
        f"{' in fresh memory' if task.fresh else ''}."
    )
    return streaming


def _workspace(task: _Task, row_block: int, columns: int, group: int) -> int:
    """Bytes of one thread: packed rows, results of a group, and rows that are staged."""
    d, item = task.n_features, task.item
    step = -(-d // 8) * 8
    workspace = columns * d * item + (group + 1) * columns * item
    if item == 4:
        workspace += group * (step + 8) * 4 + columns * 4
    if not task.direct:
        workspace += (min(row_block, _FETCH_ROWS) + columns) * (step * item + 1)
    return workspace

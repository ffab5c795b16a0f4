"""From facts and a shape to every size of a matrix of distances."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise.plan._reasons import Reasoned, sourced
from tilewise.plan.layout import TILES
from tilewise.plan.machine import Machine
from tilewise.plan.machine import machine as this_machine
from tilewise.plan.threads import n_threads as threads_for

__all__ = ["PairPlan", "plan_pairs"]

# Rows in the lanes per task: the panels of a block take this share of L2 (measured at 768
# features: half of 2 MiB is 5 % faster than a quarter) ...
_L2_SHARE = 0.5
# ... and a row of results stays in L1 until it is stored, with those of the same group.
_MOST_COLUMNS = {"float32": 1024, "float64": 512}
# Whole vectors of every instruction set, two at a time.
_COLUMNS_MULTIPLE = 32
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
# Below this many element operations starting threads costs more than it saves.
_SERIAL_WORK = 400_000

_TITLES = {
    "arithmetic": "Arithmetic",
    "isa": "Instruction set",
    "turned": "Lanes",
    "column_block": "Block in the lanes",
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
    dtype : str
        Type of the arithmetic: "float32" or "float64".
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
    dtype: str
    isa: str
    n_threads: int
    turned: bool
    row_block: int
    column_block: int
    fetch_rows: int
    group: int
    streaming: bool
    workspace_bytes_per_thread: int
    reasons: dict[str, str] = field(compare=False)

    _titles = _TITLES
    _heading = "{n_x} x {n_y} distances, {n_features} features"


def plan_pairs(
    n_x: int,
    n_y: int,
    n_features: int,
    dtype: DTypeLike = "float32",
    *,
    out_dtype: DTypeLike | None = None,
    n_threads: int | None = None,
    machine: Machine | None = None,
    direct: bool = True,
    fresh: bool = False,
) -> PairPlan:
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

    Returns
    -------
    PairPlan

    Raises
    ------
    ValueError
        If a shape is negative or the number of threads out of range.

    Examples
    --------
    >>> from tilewise.plan import plan_pairs
    >>> plan_pairs(100, 100, 8, n_threads=1).streaming
    False
    """
    if min(n_x, n_y, n_features) < 0:
        raise ValueError(f"shapes must not be negative, got {(n_x, n_y, n_features)}")
    here = this_machine() if machine is None else machine
    available = threads_for(n_threads, machine=here)
    kind = np.dtype(dtype).name
    item = np.dtype(dtype).itemsize
    out_item = np.dtype(dtype if out_dtype is None else out_dtype).itemsize
    lanes = TILES[here.isa.value][0] // item
    why: dict[str, str] = {}
    why["arithmetic"] = f"{kind}, {lanes} pairs in a vector, the same additions in every one."
    why["isa"] = f"{here.isa.value} ({here.isa.source})."

    turned = n_x < _TURN and n_x < n_y
    n_rows, n_columns = (n_y, n_x) if turned else (n_x, n_y)
    why["turned"] = (
        f"rows of X: {n_x} of them do not repay packing {n_y} rows of Y."
        if turned
        else "rows of Y, packed once per block; rows of X stream past."
    )

    l2 = here.l2_bytes.value // max(1, here.cpus_per_core.value)
    fitting = int(l2 * _L2_SHARE) // max(1, n_features * item)
    column_block = max(_COLUMNS_MULTIPLE, min(_MOST_COLUMNS[kind], fitting))
    column_block = column_block // _COLUMNS_MULTIPLE * _COLUMNS_MULTIPLE
    # Equal blocks, so that the last one is not a sliver.
    blocks = max(1, -(-n_columns // column_block))
    column_block = -(-max(1, -(-n_columns // blocks)) // _COLUMNS_MULTIPLE) * _COLUMNS_MULTIPLE
    why["column_block"] = (
        f"{column_block} rows, {sized(column_block * n_features * item)} packed: within a share "
        f"of L2, {sourced(here.l2_bytes)}; a row of results stays in L1."
    )

    threads = available.value
    work = n_x * n_y * max(1, n_features)
    if work < _SERIAL_WORK and threads > 1 and n_threads is None:
        threads = 1
        why["n_threads"] = f"1: {work} operations do not repay starting threads."
    else:
        why["n_threads"] = f"{threads} ({available.source})."
    parts = max(1, _TASKS * threads // blocks) if threads > 1 else 1
    row_block = max(_FEWEST_ROWS, min(_MOST_ROWS, -(-n_rows // parts)))
    row_block = -(-row_block // _FEWEST_ROWS) * _FEWEST_ROWS
    why["row_block"] = (
        f"{row_block} rows: enough to repay packing, few enough that {threads} "
        f"thread{'s' if threads > 1 else ''} finish together."
    )

    out_bytes = n_x * n_y * out_item
    limit = _STREAM_CACHES * (l2 + here.l3_share_bytes.value) * threads
    streaming = not turned and n_columns * out_item >= 512 and out_bytes > limit
    streaming = streaming and (not fresh or out_item >= _STREAM_FRESH_BYTES)
    why["streaming"] = (
        f"past the caches: {sized(out_bytes)} of results, more than {sized(limit)}."
        if streaming
        else f"as usual: {sized(out_bytes)} of results{' in fresh memory' if fresh else ''}."
    )
    group = _LONG_GROUP if turned or (n_features >= _LONG_ROW and item == 4) else _GROUP
    step = -(-n_features // 8) * 8
    workspace = column_block * n_features * item + (group + 1) * column_block * item
    if item == 4:
        workspace += group * (step + 8) * 4 + column_block * 4
    if not direct:
        workspace += (min(row_block, _FETCH_ROWS) + column_block) * (step * item + 1)
    why["memory"] = f"{sized(workspace)} per thread beside the data and the result."
    return PairPlan(
        n_x=n_x, n_y=n_y, n_features=n_features, dtype=kind, isa=here.isa.value,
        n_threads=threads, turned=turned, row_block=row_block, column_block=column_block,
        fetch_rows=_FETCH_ROWS, group=group, streaming=streaming,
        workspace_bytes_per_thread=workspace, reasons=why,
    )  # fmt: skip

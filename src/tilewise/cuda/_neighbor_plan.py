"""How the nearest rows are searched for on a device, and why."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from tilewise._sizes import sized
from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._plan import DevicePlan, link_bound, plan_device, rows_at_once
from tilewise.cuda._tiles import depth_of, power_of_two, sizes_for
from tilewise.plan._reasons import Reasoned, sourced

__all__ = ["DeviceNeighborPlan", "Task", "look_depth", "look_pays", "plan_device_neighbors"]

# Rows of Y from which on a look pays, and most neighbours that it finds: estimates.
_LOOK_ROWS, _LOOK_NEIGHBORS = 1024, 256
# ... and how many times as many rows as neighbours.
_LEAST_RATIO = 4
# Coordinates of Y up to which rows are assigned: those of the largest centres that have run on a
# device (docs/gpu.md, figures). Their copies in float64 take 24 MiB.
_ASSIGNED_COORDINATES = 4096 * 384
# Tiles of rows of X for each multiprocessor from which on they are: the first look of a pass has a
# block for every tile.
_ASSIGNED_TILES = 1
# Kernels of a pass number rows in 32 bits.
_ASSIGNED_ROWS = 2**31 - 1
# An index and a distance, as they are returned at most.
_FOUND_BYTES = 16
# Share of the free memory up to which Y comes whole: the rest is for rows of X and what is found.
# Parts of Y take a quarter, and parts of X half of what is free beside a whole Y: estimates.
_WHOLE_SHARE = 3 / 4
# Bytes of a number of packed rows, and of the norm and the rest of a row.
_PACKED_BYTES, _NORM_BYTES = 2, 8


@dataclass(frozen=True)
class Task:
    """What is searched for.

    Attributes
    ----------
    n_x, n_y, n_features : int
        Rows of X, rows of Y, and their columns.
    k : int
    kernel : {"sqeuclidean", "cosine"}
        What ranks the rows of Y.
    dtype : str
        "float32" or "float64": what the kernels of a pass read rows of X as.
    moved_x, moved_y : int
        Bytes of each row that comes from the host; 0 for rows that lie on the device.
    same : bool
        Whether X is Y.
    """

    n_x: int
    n_y: int
    n_features: int
    k: int
    kernel: str = "sqeuclidean"
    dtype: str = "float32"
    moved_x: int = 0
    moved_y: int = 0
    same: bool = False


@dataclass(frozen=True, repr=False)
class DeviceNeighborPlan(Reasoned):
    """Every size of a search for the nearest rows on a device, with the reason for it.

    Attributes
    ----------
    n_x, n_y, n_features, k : int
        As in `Task`.
    method : {"assignment", "look", "all distances"}
    x_rows, y_rows : int
        Rows of X that are searched for at a time, and rows of Y that are on the device at a time.
    facts : DeviceFacts
        The device.
    assignment : DevicePlan or None
        Of the pass that assigns rows of X to those of Y.
    reasons : dict of str to str
        For each size, the fact, formula or measurement that it comes from.
    """

    n_x: int
    n_y: int
    n_features: int
    k: int
    method: str
    x_rows: int
    y_rows: int
    facts: DeviceFacts = field(compare=False)
    assignment: DevicePlan | None
    reasons: dict[str, str] = field(compare=False)

    _titles: ClassVar[dict[str, str]] = {
        "y_rows": "Rows of Y", "x_rows": "Rows of X", "moved": "Moving", "method": "Search",
    }  # fmt: skip
    _heading: ClassVar[str] = "{n_x} rows against {n_y}, {n_features} features, on a device"

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-safe values."""
        return super().to_dict() | {"facts": self.facts.to_dict()}


def plan_device_neighbors(task: Task, facts: DeviceFacts) -> DeviceNeighborPlan:
    """Choose the sizes of a search for the nearest rows on a device."""
    why: dict[str, str] = {}
    y_rows = _rows_of_y(task, facts, why)
    x_rows = _rows_of_x(task, y_rows, facts, why)
    _explain_moves(task, (x_rows, y_rows), facts, why)
    method = _method(task, (x_rows, y_rows), facts, why)
    made = None
    if method == "assignment":
        made = plan_device(x_rows, task.n_features, task.n_y, task.dtype, facts)
    return DeviceNeighborPlan(
        n_x=task.n_x, n_y=task.n_y, n_features=task.n_features, k=task.k, method=method,
        x_rows=x_rows, y_rows=y_rows, facts=facts, assignment=made, reasons=why,
    )  # fmt: skip


def look_pays(n_rows: int, k: int) -> bool:
    """Whether a look comes before the distances to so many rows of Y."""
    return n_rows >= max(_LOOK_ROWS, _LEAST_RATIO * k) and k <= _LOOK_NEIGHBORS


def look_depth(n_features: int) -> int:
    """Columns of rows that are packed for a look."""
    return max(16, power_of_two(n_features)) if n_features <= 64 else -(-n_features // 64) * 64


def _held_bytes(task: Task) -> int:
    """What a row of Y takes on the device, with its copy for a look."""
    return task.moved_y + _PACKED_BYTES * look_depth(task.n_features) + _NORM_BYTES


def _rows_of_y(task: Task, facts: DeviceFacts, why: dict[str, str]) -> int:
    m, row, free = task.n_y, task.moved_y, facts.free_bytes.value
    if not row:
        why["y_rows"] = f"all {m:,} lie on the device."
        return m
    held = m * _held_bytes(task)
    all_of_them = f"all {m:,} take {sized(held)} with a float16 copy"
    if held <= free * _WHOLE_SHARE:
        why["y_rows"] = f"{all_of_them}: they stay in {sourced(facts.free_bytes)}."
        return m
    packed = _held_bytes(task) - row
    # They take half of what they are told.
    rows = min(m, rows_at_once(row, -(-packed // 4), free / 2))
    why["y_rows"] = (
        f"{rows:,} of {m:,} at a time, {sized(rows * row)}: {all_of_them}, more than "
        f"{100 * _WHOLE_SHARE:g} % of {sourced(facts.free_bytes)}. The nearest rows of each part "
        "are merged with those before, by distance and index."
    )
    return rows


def _rows_of_x(task: Task, y_rows: int, facts: DeviceFacts, why: dict[str, str]) -> int:
    n, row, whole = task.n_x, task.moved_x, y_rows == task.n_y
    if task.same and whole:
        why["x_rows"] = f"all {n:,}, which are those of Y."
        return n
    if not row:
        why["x_rows"] = f"all {n:,} lie on the device."
        return n
    held = task.n_y * _held_bytes(task) if whole and task.moved_y else 0
    # What is found in a part of Y, beside what was found before.
    found = _FOUND_BYTES * task.k * (1 if whole else 2)
    rows = max(1, min(n, rows_at_once(row, found, facts.free_bytes.value - held)))
    beside = f" beside {sized(held)} of Y" if held else ""
    why["x_rows"] = (
        f"{rows:,} of {n:,} at a time, {sized(rows * row)}: with what is found they take up to "
        f"half of {sourced(facts.free_bytes)}{beside}."
    )
    return rows


def _explain_moves(
    task: Task, rows: tuple[int, int], facts: DeviceFacts, why: dict[str, str]
) -> None:
    x, y = task.n_x * task.moved_x, task.n_y * task.moved_y
    passes = max(1, -(-task.n_x // max(1, rows[0])))
    if rows[1] == task.n_y:
        total = y if task.same else x + y
        if total:
            why["moved"] = f"{sized(total)} once. {link_bound(total, facts)}."
        return
    total = x + passes * y
    parts = -(-task.n_y // rows[1])
    why["moved"] = (
        f"Y comes in {parts:,} parts, {passes:,} time{'s' * (passes > 1)}: once for each part of "
        f"X. {sized(total)} in all. {link_bound(total, facts)}."
    )


def _method(task: Task, rows: tuple[int, int], facts: DeviceFacts, why: dict[str, str]) -> str:
    """The way to search."""
    m, d, k = task.n_y, task.n_features, task.k
    if task.kernel == "cosine":
        why["method"] = "all distances, ranked: no look knows cosine distances."
        return "all distances"
    count = facts.multiprocessors.value
    tile_rows = sizes_for(depth_of(d), m, task.dtype, facts).tile_rows
    least = _ASSIGNED_TILES * count * tile_rows
    fits = m * d <= _ASSIGNED_COORDINATES and rows[1] == m
    if k == 1 and fits and least <= rows[0] <= _ASSIGNED_ROWS:
        why["method"] = (
            f"one look: rows are assigned as K-Means assigns them. Y has {m * d:,} coordinates "
            f"(at most {_ASSIGNED_COORDINATES:,}), and X a tile of {tile_rows} rows for each of "
            f"{count} multiprocessors ({facts.multiprocessors.source})."
        )
        return "assignment"
    if look_pays(rows[1], k):
        why["method"] = (
            "two looks: one finds how near the nearest rows are at most, the other lists all that "
            "may be as near; float64 distances decide among them."
        )
        return "look"
    why["method"] = (
        f"all distances, ranked: a look needs {max(_LOOK_ROWS, _LEAST_RATIO * k):,} rows of Y at a "
        f"time and up to {_LOOK_NEIGHBORS} neighbours."
    )
    return "all distances"

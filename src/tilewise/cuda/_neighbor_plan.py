"""How the nearest rows are searched for on a device, and why."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from tilewise._sizes import sized
from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._plan import DevicePlan, plan_device, rows_at_once
from tilewise.cuda._tiles import depth_of, sizes_for
from tilewise.plan._reasons import Reasoned, sourced

__all__ = ["DeviceNeighborPlan", "Task", "look_pays", "plan_device_neighbors"]

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
    moved_x : int
        Bytes of each row of X that comes from the host; 0 for rows that lie on the device.
    """

    n_x: int
    n_y: int
    n_features: int
    k: int
    kernel: str = "sqeuclidean"
    dtype: str = "float32"
    moved_x: int = 0


@dataclass(frozen=True, repr=False)
class DeviceNeighborPlan(Reasoned):
    """Every size of a search for the nearest rows on a device, with the reason for it.

    Attributes
    ----------
    n_x, n_y, n_features, k : int
        As in `Task`.
    method : {"assignment", "look", "all distances"}
    x_rows : int
        Rows of X that are searched for at a time.
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
    facts: DeviceFacts = field(compare=False)
    assignment: DevicePlan | None
    reasons: dict[str, str] = field(compare=False)

    _titles: ClassVar[dict[str, str]] = {"method": "Search", "x_rows": "Rows of X"}
    _heading: ClassVar[str] = "{n_x} rows against {n_y}, {n_features} features, on a device"

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-safe values."""
        return super().to_dict() | {"facts": self.facts.to_dict()}


def plan_device_neighbors(task: Task, facts: DeviceFacts) -> DeviceNeighborPlan:
    """Choose the sizes of a search for the nearest rows on a device."""
    why: dict[str, str] = {}
    x_rows = _rows_of_x(task, facts, why)
    method = _method(task, x_rows, facts, why)
    made = None
    if method == "assignment":
        made = plan_device(x_rows, task.n_features, task.n_y, task.dtype, facts)
    return DeviceNeighborPlan(
        n_x=task.n_x, n_y=task.n_y, n_features=task.n_features, k=task.k, method=method,
        x_rows=x_rows, facts=facts, assignment=made, reasons=why,
    )  # fmt: skip


def look_pays(n_rows: int, k: int) -> bool:
    """Whether a look comes before the distances to so many rows of Y."""
    return n_rows >= max(_LOOK_ROWS, _LEAST_RATIO * k) and k <= _LOOK_NEIGHBORS


def _rows_of_x(task: Task, facts: DeviceFacts, why: dict[str, str]) -> int:
    n, row = task.n_x, task.moved_x
    if not row:
        why["x_rows"] = f"all {n:,} lie on the device."
        return n
    rows = max(1, min(n, rows_at_once(row, _FOUND_BYTES * task.k, facts)))
    why["x_rows"] = (
        f"{rows:,} of {n:,} at a time, {sized(rows * row)}: with results they take up to half of "
        f"{sourced(facts.free_bytes)}."
    )
    return rows


def _method(task: Task, x_rows: int, facts: DeviceFacts, why: dict[str, str]) -> str:
    """The way to search."""
    m, d, k = task.n_y, task.n_features, task.k
    if task.kernel == "cosine":
        why["method"] = "all distances, ranked: no look knows cosine distances."
        return "all distances"
    count = facts.multiprocessors.value
    tile_rows = sizes_for(depth_of(d), m, task.dtype, facts).tile_rows
    least = _ASSIGNED_TILES * count * tile_rows
    if k == 1 and m * d <= _ASSIGNED_COORDINATES and least <= x_rows <= _ASSIGNED_ROWS:
        why["method"] = (
            f"one look: rows are assigned as K-Means assigns them. Y has {m * d:,} coordinates "
            f"(at most {_ASSIGNED_COORDINATES:,}), and X a tile of {tile_rows} rows for each of "
            f"{count} multiprocessors ({facts.multiprocessors.source})."
        )
        return "assignment"
    if look_pays(m, k):
        why["method"] = (
            "two looks: one finds how near the nearest rows are at most, the other lists all that "
            "may be as near; float64 distances decide among them."
        )
        return "look"
    why["method"] = (
        f"all distances, ranked: a look needs {max(_LOOK_ROWS, _LEAST_RATIO * k):,} rows of Y and "
        f"up to {_LOOK_NEIGHBORS} neighbours."
    )
    return "all distances"

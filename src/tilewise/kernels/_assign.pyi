import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows
from tilewise.kernels._sums import Sums
from tilewise.plan.nest import LoopNest

LAYOUTS: dict[str, int]

class Assignment:
    look_report: tuple[int, int, int]
    look_pays: bool
    def __init__(self, rows: Rows, nest: LoopNest) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def allocated(self) -> tuple[int, int]: ...
    @property
    def addresses(self) -> dict[str, int]: ...
    @property
    def center_norms(self) -> Vector[np.float64] | None: ...
    def set_groups(self, order: Vector[np.int32], slots: Vector[np.int32]) -> None: ...
    def set_centers(
        self, centers: Matrix[np.float64], stale: Vector[np.uint8] | None = None
    ) -> None: ...
    def run(
        self,
        first: int,
        stop: int,
        labels: Vector[np.int32],
        *,
        upper: Vector[np.float32] | None = None,
        lower: Vector[np.float32] | None = None,
        moves: Vector[np.float32] | None = None,
        tighten: bool = False,
        sums: Sums | None = None,
        weights: Vector[np.float64] | None = None,
        group_bounds: Vector[np.float32] | None = None,
        drift: Matrix[np.float32] | None = None,
        look: bool = False,
    ) -> tuple[int, int, int, int, int, int, int, int]: ...

def settled(
    first: int,
    last: int,
    labels: Vector[np.int32],
    upper: Vector[np.float32],
    lower: Vector[np.float32],
    moves: Vector[np.float32],
    *,
    isa: str,
) -> bool: ...

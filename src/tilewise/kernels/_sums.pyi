import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

class Grid:
    def __init__(
        self,
        largest: Vector[np.float64],
        least: Vector[np.float64],
        dtype: DTypeLike,
        weights: tuple[float, float] | None = None,
    ) -> None: ...
    @property
    def limbs(self) -> Vector[np.int32]: ...
    @property
    def exponents(self) -> Vector[np.int16]: ...

class Sums:
    def __init__(
        self,
        grid: Grid,
        n_clusters: int,
        *,
        isa: str,
        n_threads: int,
        center_threads: int,
        own_bytes: int,
        weights: tuple[float, float] | None = None,
        is_sparse: bool = False,
        n_rows: int | None = None,
    ) -> None: ...
    @property
    def grid(self) -> Grid: ...
    @property
    def members(self) -> Vector[np.int64]: ...
    @property
    def weights(self) -> Vector[np.float64]: ...
    @property
    def values(self) -> Matrix[np.float64]: ...
    @property
    def buffers(self) -> dict[str, int]: ...
    @property
    def addresses(self) -> dict[str, int]: ...
    def move(self, rows: Rows, row: int, old: int, new: int, weight: float = 1.0) -> None: ...
    def clear(self) -> None: ...
    def touch(self) -> None: ...
    def average(
        self, old: Matrix[np.float64], out: Matrix[np.float64], *, fill: bool = False
    ) -> Vector[np.float64] | None: ...

class Bins:
    def __init__(self, isa: str) -> None: ...
    def add(
        self, values: Vector[np.float64], weights: Vector[np.float64] | None = None
    ) -> None: ...
    def merge(self, other: Bins) -> None: ...
    @property
    def value(self) -> float: ...

import numpy as np

from tilewise._typing import Matrix, SparseLike, Vector
from tilewise.kernels._rows import Rows
from tilewise.kernels._sums import Bins

def padded(values: np.ndarray) -> Matrix[np.float64]: ...
def own_distances(
    rows: Rows,
    first: int,
    stop: int,
    centers: Matrix[np.float64],
    labels: Vector[np.int32],
    *,
    weights: Vector[np.float64] | None = None,
    out: Vector[np.float64] | None = None,
    total: Bins | None = None,
    by_entries: bool = False,
    entries: SparseLike | None = None,
    isa: str,
    n_threads: int,
) -> None: ...

class Moments:
    def __init__(self, n_features: int, *, isa: str, n_threads: int) -> None: ...
    def add(self, rows: Rows, first: int, stop: int) -> None: ...
    def state(self) -> tuple[bytes, Matrix[np.float64]]: ...
    def merge(self, sums: bytes, sizes: Matrix[np.float64]) -> None: ...
    def means(self, n_rows: int) -> tuple[Vector[np.float64], Vector[np.float64]]: ...
    @property
    def largest(self) -> Vector[np.float64]: ...
    @property
    def least(self) -> Vector[np.float64]: ...
    @property
    def finite(self) -> bool: ...

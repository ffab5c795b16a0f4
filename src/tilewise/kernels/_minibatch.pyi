import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

ENTRY: np.dtype[np.void]

class Draws:
    def __init__(self, rows: Rows, weights: Vector[np.float64] | None = None) -> None: ...
    def draw(self, uniform: Vector[np.float64], ids: Vector[np.int64]) -> None: ...

class Update:
    def __init__(
        self, rows: Rows, n_clusters: int, *, isa: str, n_threads: int, by_entries: bool = False
    ) -> None: ...
    def run(
        self,
        labels: Vector[np.int32],
        old: Matrix[np.float64],
        new: Matrix[np.float64],
        counts: Vector[np.float64],
        weights: Vector[np.float64] | None = None,
        norms: Vector[np.float64] | None = None,
    ) -> float: ...

def squared_moves(old: Matrix[np.float64], new: Matrix[np.float64]) -> float: ...

import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

class _Pairs: ...

class Nearest(_Pairs):
    def __init__(
        self, x: Rows, y: Rows, k: int, group_rows: int, *, share: float, isa: str, n_threads: int
    ) -> None: ...
    def begin(self, x_first: int, count: int) -> None: ...
    def update(
        self, block: Matrix[np.float64], row: int, y_first: int, *, n_threads: int
    ) -> None: ...
    def result(
        self, row: int, distances: Matrix[np.float64], indices: Matrix[np.int64]
    ) -> None: ...

class Within(_Pairs):
    def __init__(
        self, x: Rows, y: Rows, *, within: float, above: float, below: float, columns: int,
        isa: str, n_threads: int,
    ) -> None: ...  # fmt: skip
    def decide(
        self, x_first: int, starts: Vector[np.int64], counts: Vector[np.int64],
        values: Vector[np.float64], ids: Vector[np.int64], *, n_threads: int,
    ) -> None: ...  # fmt: skip

import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

class FewSeeding:
    def __init__(
        self,
        rows: Rows,
        weights: Vector[np.float64] | None,
        n_trials: int,
        *,
        isa: str,
        shard_rows: int,
    ) -> None: ...
    @property
    def allocated(self) -> int: ...
    def begin(self, row: int) -> float: ...
    def follow(self, draws: Matrix[np.float64], chosen: Vector[np.int64]) -> None: ...

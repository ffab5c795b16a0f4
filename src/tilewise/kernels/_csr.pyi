import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

def column_blocks(rows: Rows, n_blocks: int) -> Vector[np.int64]: ...
def sum_rows(
    rows: Rows,
    first: int,
    stop: int,
    labels: Vector[np.int32],
    sums: Matrix[np.float64],
    weight_sums: Vector[np.float64],
    members: Vector[np.int64],
    blocks: Vector[np.int64],
    *,
    weights: Vector[np.float64] | None = None,
    n_threads: int,
) -> None: ...
def column_moments(
    rows: Rows, *, n_threads: int
) -> tuple[Vector[np.float64], Vector[np.float64], Vector[np.float64]]: ...

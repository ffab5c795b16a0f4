import numpy as np

from tilewise._typing import Matrix, Rank3, Vector
from tilewise.kernels._rows import Rows

SPARSE_DENSITY: float

def padded(values: np.ndarray) -> Matrix[np.float64]: ...
def own_distances(
    rows: Rows,
    centers: Matrix[np.float64],
    labels: Vector[np.int32],
    *,
    weights: Vector[np.float64] | None = None,
    out: Vector[np.float64] | None = None,
    isa: str,
    shard_rows: int,
    n_threads: int,
) -> float: ...
def column_moments(
    rows: Rows, *, isa: str, shard_rows: int, n_threads: int
) -> tuple[Vector[np.float64], Vector[np.float64], Vector[np.float64]]: ...
def merged_moments(
    parts: Rank3[np.float64], n: int, d: int, shard_rows: int
) -> tuple[Vector[np.float64], Vector[np.float64], Vector[np.float64]]: ...

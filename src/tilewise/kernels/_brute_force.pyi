import numpy as np

from tilewise._typing import FloatMatrix, Matrix
from tilewise.kernels._rows import Rows

most_rows: int

def rank_all(
    x: Rows, y: Matrix[np.float64], first: int, distances: FloatMatrix, indices: Matrix[np.int64],
    *, root: bool, isa: str, n_threads: int,
) -> bool: ...  # fmt: skip

import numpy as np

from tilewise._typing import Vector
from tilewise.kernels._rows import Rows

def column_blocks(rows: Rows, n_blocks: int) -> Vector[np.int64]: ...
def column_moments(
    rows: Rows, *, n_threads: int
) -> tuple[Vector[np.float64], Vector[np.float64], Vector[np.float64], Vector[np.float64]]: ...

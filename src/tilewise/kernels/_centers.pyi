import numpy as np

from tilewise._typing import Matrix, Vector

def center_moves(
    old: Matrix[np.float64],
    new: Matrix[np.float64],
    n_threads: int = 1,
    shifts: Vector[np.float64] | None = None,
) -> Vector[np.float32] | None: ...

import numpy as np

from tilewise._typing import Matrix, Vector

def average_centers(
    sums: Matrix[np.float64],
    weight_sums: Vector[np.float64],
    shift: Vector[np.float64],
    old: Matrix[np.float64],
    out: Matrix[np.float64],
    n_threads: int = 1,
) -> Vector[np.float64] | None: ...
def center_moves(
    old: Matrix[np.float64],
    new: Matrix[np.float64],
    n_threads: int = 1,
    shifts: Vector[np.float64] | None = None,
) -> Vector[np.float32] | None: ...

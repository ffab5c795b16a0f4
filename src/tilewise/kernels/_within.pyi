import numpy as np

from tilewise._typing import Matrix, Vector

def count_within(
    block: Matrix[np.float64], limit: float, *, isa: str, n_threads: int
) -> Vector[np.int64]: ...
def take_within(
    block: Matrix[np.float64], limit: float, y_first: int, starts: Vector[np.int64],
    values: Vector[np.float64], columns: Vector[np.int64], *, isa: str, n_threads: int,
) -> None: ...  # fmt: skip
def place_rows(
    starts: Vector[np.int64], counts: Vector[np.int64], values: Vector[np.float64],
    columns: Vector[np.int64], to: Vector[np.int64], out_values: Vector[np.float64],
    out_columns: Vector[np.int64], *, n_threads: int,
) -> None: ...  # fmt: skip
def sort_rows(
    offsets: Vector[np.int64], values: Vector[np.float64], columns: Vector[np.int64], *,
    n_threads: int,
) -> None: ...  # fmt: skip

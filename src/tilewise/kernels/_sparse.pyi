from tilewise._typing import FloatMatrix
from tilewise.kernels._rows import Rows

KERNELS: dict[str, int]

def fill_sparse(
    x: Rows, x_first: int, y: Rows, y_first: int, out: FloatMatrix, *, kernel: str, isa: str,
    n_threads: int, walk_y: bool, panel_vectors: int,
) -> None: ...  # fmt: skip

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import FloatDtype, FloatMatrix, FloatVector, Vector
from tilewise.kernels._rows import Rows

KERNELS: tuple[str, ...]
FLOAT_DEPTH: int
DOUBLE_SHARE: float

def arithmetic(
    x: Rows, y: Rows, out_dtype: DTypeLike, kernel: str, p: float = 2.0,
    weights: Vector[np.float64] | None = None,
) -> FloatDtype: ...  # fmt: skip
def trusted_share(depth: int, root: bool, dtype: DTypeLike = "float32") -> float: ...
def product_error(depth: int) -> float: ...
def cosine_share(depth: int) -> tuple[float, float]: ...
def unit_rows(
    x: Rows, first: int, out: FloatMatrix, is_zero: Vector[np.int8], *, isa: str
) -> None: ...
def fill(
    x: Rows, x_first: int, y: Rows, y_first: int, out: FloatMatrix, *, kernel: str, p: float = 2.0,
    weights: Vector[np.float64] | None = None, isa: str, n_threads: int, row_block: int,
    column_block: int, fetch_rows: int, group: int, turned: bool = False, streaming: bool = False,
    origin: FloatVector | None = None, own_x: Rows | None = None, own_y: Rows | None = None,
) -> None: ...  # fmt: skip

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

class Search:
    def __init__(
        self,
        x: Rows,
        y: Rows,
        *,
        k: int,
        isa: str,
        score_dtype: DTypeLike,
        direct: bool,
        chunk_rows: int,
        group_rows: int,
        block_rows: int,
        splits: int,
        panels_per_block: int,
        depth_block: int,
        n_threads: int,
        products: int = 0,
    ) -> None: ...
    @property
    def widened(self) -> bool: ...
    @property
    def allocated_bytes(self) -> int: ...
    @property
    def decided(self) -> int: ...
    @property
    def overflowed(self) -> bool: ...
    @property
    def shares(self) -> tuple[float, float]: ...
    @property
    def bad_row(self) -> int: ...
    def place(self, origin: Vector[np.float64], *, n_threads: int) -> bool: ...
    def begin(self, first: int, count: int) -> None: ...
    def within(
        self,
        squared: float,
        tally: Matrix[np.int64],
        part: int,
        *,
        distances: Vector[np.float64] | None = None,
        indices: Vector[np.int64] | None = None,
    ) -> None: ...
    def block(self, first: int, count: int, *, most: int = ...) -> bool: ...
    def result(self, distances: Matrix[np.float64], indices: Matrix[np.int64]) -> int: ...

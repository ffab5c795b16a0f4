import numpy as np

from tilewise._typing import Matrix

class TopK:
    def __init__(self, n: int, k: int, *, isa: str) -> None: ...
    def update(
        self, block: Matrix[np.float64], x_first: int, y_first: int, *, n_threads: int
    ) -> None: ...
    def result(
        self, values: Matrix[np.float64], columns: Matrix[np.int64], *, n_threads: int
    ) -> None: ...

from collections.abc import Sequence

import numpy as np

from tilewise._typing import Matrix

class Caches:
    def __init__(
        self,
        sets: Sequence[int],
        ways: Sequence[int],
        line_bytes: int = 64,
        inclusive: bool = False,
        n_buffers: int = 1,
    ) -> None: ...
    def run(self, ops: Matrix[np.int64]) -> None: ...
    def flush(self) -> None: ...
    def copy(self) -> Caches: ...
    def counts(self) -> np.ndarray[tuple[int, int, int], np.dtype[np.int64]]: ...

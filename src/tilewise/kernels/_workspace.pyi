import numpy as np

from tilewise._typing import Vector

GUARD: int
LEAST: int

def aligned_empty(size: int) -> Vector[np.uint8]: ...

class Workspace:
    @property
    def total(self) -> int: ...
    @property
    def buffer(self) -> Vector[np.uint8] | None: ...

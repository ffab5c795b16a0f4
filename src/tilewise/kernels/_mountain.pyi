import numpy as np

from tilewise._typing import Vector

def read_seconds(
    words: Vector[np.float64], stride: int, passes: int, isa: str, threads: int = 1
) -> float: ...
def walk_seconds(successors: Vector[np.int64], first: int, steps: int) -> float: ...

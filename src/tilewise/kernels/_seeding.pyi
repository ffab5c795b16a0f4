import numpy as np

from tilewise._typing import Matrix, Vector
from tilewise.kernels._rows import Rows

most_trials: int

class Seeding:
    def __init__(
        self,
        rows: Rows,
        weights: Vector[np.float64] | None,
        *,
        isa: str,
        shard_rows: int,
        n_threads: int,
        by_entries: bool = False,
        copy: bool = False,
        kept: int = 0,
        vnni: bool = True,
    ) -> None: ...
    @property
    def copied(self) -> bool: ...
    @property
    def by_entries(self) -> bool: ...
    @property
    def closest(self) -> Vector[np.float64]: ...
    def near(self, nearest: Vector[np.float64], begin: int, end: int) -> bool: ...
    def gained(self, trial: int, begin: int, end: int) -> bool: ...
    def gains(
        self,
        trials: Matrix[np.float64] | Vector[np.int64],
        nearest: Vector[np.float64] | None = None,
        begin: int = 0,
        end: int = -1,
        *,
        most: float = -1.0,
    ) -> Matrix[np.int64]: ...
    def worth(self, gains: Matrix[np.int64]) -> Vector[np.float64]: ...
    def take(
        self,
        trials: Matrix[np.float64] | Vector[np.int64],
        trial: int,
        seed: int,
        begin: int = 0,
        end: int = -1,
    ) -> None: ...
    def total(self, top: int = 0) -> tuple[float, bytes]: ...
    def potential(self) -> float: ...
    def locate(self, target: float, before: bytes | None = None) -> int: ...

def worth(gains: Matrix[np.int64], most: float) -> Vector[np.float64]: ...
def seeding_top(most: float, n_rows: int, shard_rows: int) -> int: ...
def locate_among(
    totals: list[bytes], target: float, top: int, *, isa: str
) -> tuple[int, bytes]: ...
def weighted_choice(draw: float, n: int, weights: Vector[np.float64] | None = None) -> int: ...
def nearest_to_seeds(
    seeds: Matrix[np.float64],
    count: int,
    trials: Matrix[np.float64],
    depth: int,
    *,
    isa: str,
    n_threads: int,
) -> Vector[np.float64]: ...

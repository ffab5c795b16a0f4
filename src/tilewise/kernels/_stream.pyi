from typing import Literal

import numpy as np

from tilewise._typing import Matrix, Rank3, Vector
from tilewise.kernels._rows import Rows

class ShardSums:
    def __init__(self, n_clusters: int, n_features: int, *, isa: str, n_threads: int) -> None: ...
    def add(
        self,
        rows: Rows,
        first: int,
        last: int,
        before: Vector[np.int32],
        labels: Vector[np.int32],
        weights: Vector[np.float64] | None,
        shift: Vector[np.float64],
        update: Literal[1, 2],
    ) -> None: ...
    def merge(
        self,
        sums: Matrix[np.float64],
        weight_sums: Vector[np.float64],
        members: Vector[np.int64],
    ) -> None: ...

def settled(
    first: int,
    last: int,
    labels: Vector[np.int32],
    upper: Vector[np.float32],
    lower: Vector[np.float32],
    moves: Vector[np.float32],
    *,
    isa: str,
) -> bool: ...
def own_gaps(
    rows: Rows,
    first: int,
    last: int,
    centers: Matrix[np.float64],
    labels: Vector[np.int32],
    out: Vector[np.float64],
    *,
    isa: str,
    n_threads: int,
) -> None: ...
def add_in_order(
    total: float, gaps: Vector[np.float64], weights: Vector[np.float64] | None = None
) -> float: ...

class PartMoments:
    def __init__(
        self, n_rows: int, n_features: int, *, shard_rows: int, isa: str, n_threads: int
    ) -> None: ...
    @property
    def shards(self) -> Rank3[np.float64]: ...
    def add(self, rows: Rows, first: int, last: int) -> None: ...

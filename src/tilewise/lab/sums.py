"""Traffic of the sums of a pass that updates: every row is added to the row of its cluster.

Clusters are taken as drawn evenly at random, independently for each row: with k clusters, g rows
later a given one has been met again with the probability 1 - q^g, q = 1 - 1 / k, and g rows meet
k (1 - q^g) different ones. Data in the order of their clusters move less.
"""

import math

from tilewise.lab.reuse import Stage
from tilewise.lab.shape import Shape

__all__ = ["sums_traffic"]


def _different(k: int, rows: float) -> float:
    """Clusters that so many rows are expected to meet."""
    return k * -math.expm1(rows * math.log1p(-1 / k)) if k > 1 else float(min(1, rows))


def _met_again(k: int, rows: int, reach: int) -> float:
    """Of so many rows, those whose cluster was met within the last `reach` of them."""
    if reach >= rows - 1:
        return rows - _different(k, rows)
    within = _different(k, reach) / k
    return reach + 1 - _different(k, reach + 1) + (rows - reach - 1) * within


def _reach(z: Shape, size: float) -> int:
    """After how many rows a cluster's sums are just still in a cache of `size` bytes."""
    low, high = 0, z.shard_rows
    while low < high:
        rows = (low + high + 1) // 2
        met = rows * z.d * z.data_item + 8 * z.d + _different(z.k, rows) * _row_bytes(z)
        low, high = (rows, high) if met <= size else (low, rows - 1)
    return low


def _row_bytes(z: Shape) -> float:
    # A sum's row, its weight, its number of rows and a mark, each on a line of its own that
    # neighbours share.
    return z.sums_row_bytes + 17.0


def sums_traffic(
    z: Shape, cycle: list[Stage], rows: int, sizes: list[float]
) -> list[tuple[float, float]]:
    """Bytes of sums that cross the outer border of each level in one pass, in and out.

    Parameters
    ----------
    z : Shape
    cycle : list of Stage
        The stages of a chunk.
    rows : int
        Rows of that chunk.
    sizes : list of float
        Bytes of each level, innermost first.
    """
    shards = -(-z.n // z.shard_rows)
    of_shard = min(z.n, z.shard_rows)
    chunks = max(1, round(of_shard / rows))
    others = {visit.key: visit.size for stage in cycle for visit in stage.visits}
    apart = sum(others.values()) + sum(stage.between for stage in cycle)
    row = _row_bytes(z)
    all_slots = z.slots * z.k * row
    new = _different(z.k, of_shard)
    found = []
    for size in sizes:
        first = _different(z.k, rows)
        missed = chunks * (rows - first - _met_again(z.k, rows, _reach(z, size)))
        if apart + z.k * row > size:
            missed += chunks * first - new
        merged = new * shards + _different(z.k, z.slots * of_shard) * math.ceil(shards / z.slots)
        if apart + all_slots + z.k * row <= size:
            total = (z.slots + 1) * z.k + missed * shards
        else:
            total = (new + missed) * shards + merged
        found.append((total * row, total * row))
    return found

"""Traffic of the sums of a pass that updates: every row is added to the row of its cluster.

Clusters are taken as drawn evenly at random, independently for each row: with k clusters, g rows
later a given one has been met again with the probability 1 - q^g, q = 1 - 1 / k, and g rows meet
k (1 - q^g) different ones. Data in the order of their clusters move less.
"""

import math

import numpy as np

from tilewise.lab.reuse import Visit
from tilewise.plan.nest import LoopNest

__all__ = ["merge_accesses", "sums_accesses", "sums_traffic", "sums_visit"]


def sums_accesses(z: LoopNest, at: dict[str, int], first: int, clusters: np.ndarray | None):
    """Accesses of adding rows to the sums of their clusters, one row a turn.

    (key, address, bytes, offsets) of those before and those after the row itself is read, all
    written; none where clusters are not known.
    """
    if clusters is None:
        return [], []
    return _of_slots(z, at, first // z.shard_rows % z.slots * z.k + clusters, 8 * z.d)


def merge_accesses(z: LoopNest, at: dict[str, int], met: np.ndarray):
    """Accesses of merging sums: clusters in turn, and within each the shards that met it.

    `met` is (n_clusters, shards) and says which did.
    """
    row = z.sums_row_bytes
    j, shard = np.nonzero(met)
    marks, sums = _of_slots(z, at, shard * z.k + j, row)
    return [*marks, ("sums", at["sums"], row, j * row), *sums]


def _of_slots(z, at, to, size):
    lists = (("touched", 1), ("slot weights", 8), ("slot members", 8))
    marks = [(key, at[key], each, each * to) for key, each in lists]
    return marks, [("slot sums", at["slot sums"], size, to * z.sums_row_bytes)]


def _different(k: int, rows: float) -> float:
    """Clusters that so many rows are expected to meet."""
    return k * -math.expm1(rows * math.log1p(-1 / k)) if k > 1 else float(min(1, rows))


def _met_again(k: int, rows: int, reach: int) -> float:
    """Of so many rows, those whose cluster was met within the last `reach` of them."""
    if reach >= rows - 1:
        return rows - _different(k, rows)
    within = _different(k, reach) / k
    return reach + 1 - _different(k, reach + 1) + (rows - reach - 1) * within


def _reach(z: LoopNest, size: float) -> int:
    """After how many rows a cluster's sums are just still in a cache of `size` bytes."""
    low, high = 0, z.shard_rows
    while low < high:
        rows = (low + high + 1) // 2
        met = rows * z.d * z.data_item + 8 * z.d + _different(z.k, rows) * _row_bytes(z)
        low, high = (rows, high) if met <= size else (low, rows - 1)
    return low


def _row_bytes(z: LoopNest) -> float:
    # A sum's row, its weight, its number of rows and a mark, each on a line of its own that
    # neighbours share.
    return z.sums_row_bytes + 17.0


def _bytes(z: LoopNest, met: float) -> float:
    """Bytes of lines that hold the sums, weights, numbers of rows and marks of some clusters."""
    missing = 1 - met / z.k
    lists = 2 * 8 * z.k * (1 - missing**8) + z.k * (1 - missing**64)
    return met * z.sums_row_bytes + lists


def sums_visit(z: LoopNest, rows: int) -> Visit:
    """The clusters that a chunk of `rows` rows meets, each visited for the first time in it."""
    return Visit(("sums",), "sums", _bytes(z, _different(z.k, rows)), True)


def sums_traffic(
    z: LoopNest, rows: int, work: float, sizes: list[float], lost: list[float]
) -> list[tuple[float, float]]:
    """Bytes of sums that cross the outer border of each level in one pass, in and out.

    Every shard has sums of its own. When all slots are taken they are merged; those of the last
    shards are then still near, the others have been pushed out by the rows that came later.

    Parameters
    ----------
    z : LoopNest
    rows : int
        Rows of a chunk.
    work : float
        Bytes that every chunk touches besides its rows and sums.
    sizes : list of float
        Bytes of each level, innermost first.
    lost : list of float
        For each level, of the bytes of `sums_visit` those that left between two chunks.
    """
    shards = -(-z.n // z.shard_rows)
    of_shard = min(z.n, z.shard_rows)
    slots = min(z.slots, shards)
    chunks = max(1, round(of_shard / rows))
    first = _different(z.k, rows)
    each = _bytes(z, _different(z.k, of_shard))
    target = _bytes(z, _different(z.k, slots * of_shard))
    # All rows of the slots and of what they are merged into.
    whole = slots * _bytes(z, _different(z.k, of_shard * -(-shards // slots)))
    whole += _bytes(z, _different(z.k, z.n))
    groups = [min(slots, shards - begin) for begin in range(0, shards, slots)]
    found = []
    for size, apart in zip(sizes, lost, strict=True):
        missed = chunks * (rows - first - _met_again(z.k, rows, _reach(z, size)))
        moved = shards * missed * _row_bytes(z)
        # The first visits of a chunk, beyond those of the shard.
        again = max(0.0, chunks - each / _bytes(z, first))
        moved += shards * again * apart
        of_rows = each + of_shard * z.d * z.data_item
        kept = (size - work) / of_rows
        if kept * of_rows >= max(slots * of_rows + target, (len(groups) > 1) * (whole + of_rows)):
            moved += whole
        else:
            # What merging brings in pushes out what was still near, in the middle half of it.
            brought = target + max(0.0, slots - kept) * each
            kept = max(0.0, kept - brought / 2 / of_rows)
            moved += shards * each + sum(max(0.0, group - kept) for group in groups) * each
            moved += len(groups) * target
        found.append((moved, moved))
    return found

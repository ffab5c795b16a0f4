"""Sums of a pass that updates: every row is added to the row of its cluster, in one table.

Clusters are taken as drawn evenly at random, independently for each row: with k clusters, g rows
later a given one has been met again with the probability 1 - q^g, q = 1 - 1 / k, and g rows meet
k (1 - q^g) different ones. Data in the order of their clusters move less. Rows of a table that
threads share, or add up at the end, are locked or added besides; one thread does neither.
"""

import math

import numpy as np

from tilewise.lab.reuse import Visit
from tilewise.plan.nest import LoopNest

__all__ = ["sums_accesses", "sums_traffic", "sums_visit"]

# Bytes that a cluster has besides: rows since its last carry, its members, and a mark.
_LISTS = {"pending": 4, "members": 8, "changed": 1}


_Accesses = list[tuple[str, int, int, np.ndarray]]


def sums_accesses(
    z: LoopNest, at: dict[str, int], clusters: np.ndarray | None
) -> tuple[_Accesses, _Accesses]:
    """Accesses of adding rows to the sums of their clusters, one row a turn.

    (key, address, bytes, offsets) of those before and those after the row itself is read, all
    written; none where clusters are not known.
    """
    if clusters is None:
        return [], []
    lists = [(key, at[key], each, each * clusters) for key, each in _LISTS.items()]
    return lists[:1], [("sums", at["sums"], z.sums_row_bytes, clusters * z.sums_row_bytes),
                       *lists[1:]]  # fmt: skip


def _different(k: int, rows: float) -> float:
    """Clusters that so many rows are expected to meet."""
    return k * -math.expm1(rows * math.log1p(-1 / k)) if k > 1 else float(min(1, rows))


def _met_again(k: int, rows: int, reach: int) -> float:
    """Of so many rows, those whose cluster was met within the last `reach` of them."""
    if reach >= rows - 1:
        return rows - _different(k, rows)
    within = _different(k, reach) / k
    return reach + 1 - _different(k, reach + 1) + (rows - reach - 1) * within


def _reach(z: LoopNest, size: float, besides: float) -> int:
    """After how many rows, and so many bytes besides, a cluster's sums are still in a cache."""
    low, high = 0, z.n
    while low < high:
        rows = (low + high + 1) // 2
        met = rows * z.row_bytes + besides + _different(z.k, rows) * _row_bytes(z)
        low, high = (rows, high) if met <= size else (low, rows - 1)
    return low


def _row_bytes(z: LoopNest) -> float:
    # A sum's row, and its part of the lines that neighbours share.
    return z.sums_row_bytes + float(sum(_LISTS.values()))


def _bytes(z: LoopNest, met: float) -> float:
    """Bytes of lines that hold what belongs to some clusters."""
    missing = 1 - met / z.k
    lists = sum(each * (1 - missing ** (64 // each)) for each in _LISTS.values())
    return met * z.sums_row_bytes + z.k * lists


def sums_visit(z: LoopNest, rows: int) -> Visit:
    """The clusters that a chunk of `rows` rows meets, each visited for the first time in it."""
    return Visit(("sums",), "sums", _bytes(z, _different(z.k, rows)), True)


def sums_traffic(
    z: LoopNest, rows: int, work: float, sizes: list[float]
) -> list[tuple[float, float]]:
    """Bytes of sums that cross the outer border of each level in one pass, in and out.

    Parameters
    ----------
    z : LoopNest
    rows : int
        Rows of a chunk.
    work : float
        Bytes that every chunk touches besides its rows and sums.
    sizes : list of float
        Bytes of each level, innermost first.
    """
    chunks, first = z.n / rows, _different(z.k, rows)
    each = _bytes(z, _different(z.k, z.n))
    found = []
    for level, size in enumerate(sizes):
        missed = rows - first - _met_again(z.k, rows, _reach(z, size, z.grid_bytes))
        # Between two chunks lie the other stages, the rest of the rows of both, and in outer levels
        # the rows of a third one, if they are fetched early; products of parts fetch them late.
        third = level > 0 and z.layout == "centres-in-lanes" and not z.products
        back = _reach(z, size, work + z.grid_bytes + rows * z.row_bytes * (0.5 + third))
        gone = 1 - _different(z.k, max(0.0, back - rows / 2)) / z.k
        moved = each + chunks * missed * _row_bytes(z)
        moved += max(0.0, chunks * _bytes(z, first) - each) * gone
        found.append((moved, moved))
    return found

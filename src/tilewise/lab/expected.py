"""How long a pass should take: more than its slowest roof, for not everything overlaps.

A roof says what no pass can beat. What a pass takes is nearer to the execution-cache-memory model
of Treibig and Hager, "Introducing a performance model for bandwidth-limited loop kernels" (PPAM
2009), and Stengel, Treibig, Hager and Wellein, "Quantifying performance bottlenecks of stencil
computations using the execution-cache-memory model" (ICS 2015): arithmetic overlaps with
transfers, but transfers between different levels add up, since a line passes one after the other.
Two layouts differ. Where rows lie in the lanes, the rows of the next chunk are not fetched early:
waiting for memory adds to the work, and L2 delivers meanwhile. The steps of the ``blas`` engine
follow each other with all their data in between: all times add up.

To the multiply-adds come the vector operations that choose, pack and certify, counted in the
loops of ``kernels/c`` and rounded. What remains outside: latencies, branches, the rows that are
settled in float64, the start of threads, and what a BLAS loses by packing its operands again.
"""

from collections.abc import Mapping
from typing import Any

from tilewise.plan.layout import TILES

__all__ = ["expected_seconds", "other_operations"]

# Vector operations per vector of scores: the greater, the lesser, comparing, selecting, the lesser
# again. Without a selecting instruction that one takes three.
_FOLD, _FOLD_SSE2, _HALF_NORMS = 5, 7, 1
# Per vector of packed numbers: moving to the origin and squaring; turned over where rows lie in
# the lanes; rounding twice, widening and subtracting where numbers are split.
_PACK = {"centres-in-lanes": 3, "rows-in-lanes": 6, "blas": 3}
_PACK_FLOAT64, _PACK_SPLIT = 3, 12
# Per row: lists, bands, certificates and labels; the lanes of three vectors are reduced where
# centres lie in them.
_ROW_IN_LANE, _ROW_ACROSS = 24, 80
# Per vector of sums, in float64: moving to the origin and adding.
_SUM = 2


def other_operations(chosen: Mapping[str, Any], *, update: bool = False) -> float:
    """Vector operations of a pass beside its multiply-adds.

    Parameters
    ----------
    chosen : mapping
        A plan of dense rows, as `Plan.to_dict` gives it.
    update : bool, default=False
        Whether the pass also sums the rows of each cluster.

    Returns
    -------
    float

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.expected import other_operations
    >>> few, many = (tilewise.plan(10_000, 8, k).to_dict() for k in (16, 64))
    >>> other_operations(few) < other_operations(many) < 4 * other_operations(few)
    True
    """
    layout, lanes = chosen["layout"], _lanes(chosen)
    fold = _FOLD_SSE2 if chosen["isa"] == "sse2" else _FOLD
    if layout == "blas":
        fold += _HALF_NORMS
    pack = _PACK[layout] + (_PACK_FLOAT64 if chosen["dtype"] == "float64" else 0)
    if chosen.get("products"):
        pack += _PACK_SPLIT
    row = _ROW_IN_LANE if layout == "rows-in-lanes" else _ROW_ACROSS
    scores, numbers = chosen["n_clusters"] / lanes, chosen["n_features"] / lanes
    sums = chosen["n_features"] * 8 / TILES[chosen["isa"]][0] if update else 0
    return chosen["n_samples"] * (fold * scores + pack * numbers + row + _SUM * sums)


def expected_seconds(
    times: Mapping[str, float], chosen: Mapping[str, Any], gflops: float, *, update: bool = False
) -> float:
    """Seconds that a pass should take.

    Parameters
    ----------
    times : mapping of str to float
        Seconds of each roof: "arithmetic", and by the level that delivers "L1", "L2", ...
    chosen : mapping
        A plan of dense rows, as `Plan.to_dict` gives it.
    gflops : float
        Multiply-add peak in billions of operations per second, all threads together; other vector
        operations are taken to pass at the rate of its instructions.
    update : bool, default=False
        Whether the pass also sums the rows of each cluster.

    Returns
    -------
    float

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.expected import expected_seconds
    >>> roofs = {"arithmetic": 0.003, "L1": 0.001, "L2": 0.004, "memory": 0.002}
    >>> chosen = tilewise.plan(10_000, 32, 100, engine="fused").to_dict()
    >>> round(expected_seconds(roofs, chosen, 1e6), 4)  # arithmetic passes beside the transfers
    0.006
    """
    # A fused multiply-add is two operations in one instruction.
    instructions = gflops * 1e9 / _lanes(chosen) / (1 if chosen["isa"] == "sse2" else 2)
    others = other_operations(chosen, update=update) / instructions
    work = times["arithmetic"] + others + times.get("L1", 0.0)
    second = times.get("L2", 0.0)
    far = sum(time for level, time in times.items() if level not in ("arithmetic", "L1", "L2"))
    if chosen["layout"] == "blas":
        return work + second + far
    if chosen["layout"] == "rows-in-lanes":
        return max(work, second) + far
    return max(work, second + far)


def _lanes(chosen):
    return TILES[chosen["isa"]][0] // (8 if chosen["score_dtype"] == "float64" else 4)

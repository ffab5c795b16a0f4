"""How k-means++ screens rows before it measures them, and what it keeps of each row meanwhile."""

from typing import Literal, NamedTuple

from tilewise._sizes import sized
from tilewise.plan.thresholds import (
    SEEDING_COPY_FEATURES,
    SEEDING_COPY_SETS,
    SEEDING_COPY_SHARE,
    SEEDING_COPY_WORK,
    STORED_SHARE,
)

__all__ = ["SEED_BYTES", "Seeding", "seeding_for"]

# Bytes per row: the squared distance to the closest seed, an upper bound of its root, which seed
# that is, and which candidates are closer.
SEED_BYTES = 8 + 4 + 4 + 2
# ... for gaps of candidates that one step finds, so that the one that becomes a seed needs no pass:
# 12 bytes each. Between so many bytes, as a third of the data has room. Measured with 0, 4, 12 and
# 24 bytes: times of 1.20, 1.0, 0.95 and 1.0 at 1M x 16 and 16 seeds, of 1.07, 1.0, 0.86 and 0.85 at
# 500k x 3 and 32 seeds.
_KEPT = 4, 12
# ... beside the copy of a row: how far it is from that, and half the squared norm of the copy.
_COPIED = 4 + 4


class Seeding(NamedTuple):
    """The screen of k-means++ for one shape.

    Attributes
    ----------
    way : {"copy", "lanes", "entries"}
        Rows compared as bytes, rounded once; sixteen rows at a time in float32; or stored entries.
    kept : int
        Bytes per row for gaps.
    row_bytes : int
        Bytes per row of all that k-means++ keeps.
    reason : str
    """

    way: Literal["copy", "lanes", "entries"]
    kept: int
    row_bytes: int
    reason: str


def _copy_bytes(d: int) -> int:
    return 4 * -(-d // 4) + _COPIED


def _refusal(n: int, d: int, k: int, item: int, isa: str, spare: bool) -> str:
    """Why there is no copy; empty if there is one."""
    if not spare:
        return "memory is limited, or rows are those of a file"
    if d < SEEDING_COPY_FEATURES:
        return f"rows have fewer than {SEEDING_COPY_FEATURES} features"
    if _copy_bytes(d) > SEEDING_COPY_SHARE * d * item:
        return f"it would take more than {SEEDING_COPY_SHARE:.2g} of the data as float{8 * item}"
    if isa not in SEEDING_COPY_SETS:
        return f"{isa} has no fast products of bytes here"
    if n * d * k < SEEDING_COPY_WORK:
        return f"there are fewer than {SEEDING_COPY_WORK} multiply-adds"
    return ""


def seeding_for(
    n: int, d: int, k: int, item: int, isa: str, *, spare: bool = True,
    density: float | None = None,
) -> Seeding:  # fmt: skip
    """Choose the screen of k-means++ for n rows of d features and k seeds.

    Parameters
    ----------
    n, d, k : int
    item : int
        Bytes of a number of the data.
    isa : str
    spare : bool
        Whether memory may be taken to save time.
    density : float, optional
        Share of the entries that are stored, for CSR rows.

    Returns
    -------
    Seeding
    """
    if density is not None and density <= STORED_SHARE["rows one by one"]:
        return Seeding("entries", 0, SEED_BYTES - 4, "candidates meet the stored entries of rows.")
    why_not = _refusal(n, d, k, item, isa, spare) if density is None else "rows are sparse"
    room = int(SEEDING_COPY_SHARE * d * item) - (0 if why_not else _copy_bytes(d)) - 4
    kept = min(_KEPT[1], max(_KEPT[0], room)) if spare else 0
    if why_not:
        own = SEED_BYTES + kept
        return Seeding(
            "lanes", kept, own,
            "rows are compared with the candidates of a step in float32, sixteen at a time, and "
            f"measured in float64 only where that leaves a doubt. No copy in bytes: {why_not}. "
            f"{own} bytes per row are kept while seeding.",
        )  # fmt: skip
    copied = _copy_bytes(d)
    own = SEED_BYTES + kept + copied
    return Seeding(
        "copy", kept, own,
        f"rows are rounded to bytes once ({copied} bytes per row, {sized(copied * n)} in all, at "
        f"most {SEEDING_COPY_SHARE:.2g} of the data as float{8 * item}). Each step compares these "
        "with its candidates and measures rows in float64 only where that leaves a doubt. "
        f"{own} bytes per row are kept while seeding.",
    )  # fmt: skip

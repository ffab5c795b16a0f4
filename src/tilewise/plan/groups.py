"""When a fit keeps bounds of groups of centres, so that a row meets only some of them."""

from dataclasses import dataclass

__all__ = ["GROUPS_AFTER", "GROUP_CENTRES", "LATER_AFTER_LOOKS", "GroupChoice", "groups_for"]

#: Centres of a group, as the kernels have it.
GROUP_CENTRES = 32
# Features x clusters from which on it pays to skip groups, by instruction set: the faster scores
# are, the more of them must be spared for what the lists cost. Measured with AVX-512, interleaved:
# 192 x 256 x1.9, 768 x 1024 x4.5, 256 x 1024 x1.7, but 64 x 256 x0.9.
_GROUP_WORK = {"amx": 100_000, "avx512": 40_000}
_NARROW_WORK = 20_000
# Fewer rows make lists too short, and passes too short to pay for sorting the centres.
_GROUP_ROWS = 10_000
#: Groups may start once passes after the first scored so many times all rows: about what it costs
#: to start, a longer pass over all rows. Fits that end sooner never start (measured: with 2 fits of
#: 60 passes take 6 to 12 % longer at 192 x 256 and 768 x 1024).
GROUPS_AFTER = 1.0
#: ... and so many times that with a first look, which makes such passes three times as fast
#: (measured, whole fits: 1.13 times as fast as with 1 at 384 x 1024, no difference at 256 x 1024
#: and 768 x 1024).
LATER_AFTER_LOOKS = 3.0
# Bytes of packed rows that are collected before groups meet them, and rows at least: with fewer,
# the lists of the groups get shorter than a few register tiles.
_COLLECTED_BYTES = 2**21
_FEWEST_COLLECTED = 48


@dataclass(frozen=True)
class GroupChoice:
    """Groups of centres for one shape.

    Attributes
    ----------
    groups : int
        How many; 0 for none.
    reason : str
        Has places for the rows that are collected, and for how often passes score all rows before.
    """

    groups: int
    reason: str

    def rows(self, packed_row_bytes: int, shard_rows: int, tile_rows: int) -> int:
        """Rows that are collected before the groups meet them: whole tiles."""
        fitting = max(_FEWEST_COLLECTED, _COLLECTED_BYTES // max(1, packed_row_bytes))
        return min(shard_rows, fitting) // tile_rows * tile_rows


def groups_for(isa: str, n: int, d: int, k: int, *, asked: bool = False) -> GroupChoice:
    """Choose groups for n rows of d features and k clusters.

    Parameters
    ----------
    isa : str
    n, d, k : int
    asked : bool
        Whether there are to be groups even if they do not pay.
    """
    groups, least = -(-k // GROUP_CENTRES), _GROUP_WORK.get(isa, _NARROW_WORK)
    if groups < 2 or d == 0:
        return GroupChoice(0, f"none: {k} clusters are too few to skip any.")
    if not asked and (k * d < least or n < _GROUP_ROWS):
        return GroupChoice(
            0,
            f"none: rows meet all centres. Skipping groups of {GROUP_CENTRES} centres pays from "
            f"{least} features x clusters and {_GROUP_ROWS} rows on.",
        )
    return GroupChoice(
        groups,
        f"{groups} groups of {GROUP_CENTRES} centres that lie close together. A fit keeps a lower "
        f"bound of each row's distance to each group, {4 * groups} bytes per row. {{rows}} rows "
        "are collected, then each group meets those that may have their closest centre in it. "
        "That starts when passes after the first have scored all rows {times}, if a "
        "sample of rows would skip enough groups, and ends if few are skipped.",
    )

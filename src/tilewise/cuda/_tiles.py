"""Sizes that kernels are launched with: what is tuned, is tuned here."""

from dataclasses import dataclass, replace

from tilewise._sizes import KIB
from tilewise.cuda._facts import DeviceFacts

__all__ = ["ITEM", "Sizes", "depth_of", "power_of_two", "read_at_once", "sizes_for"]

# Rows of up to so many blocks of columns stay in shared memory while all centres pass by.
_WHOLE_BLOCKS, _BLOCK = 4, 128
# Columns at a time of longer rows.
_PART = 64
# Rows, centres and stages of the first look, the best first. The first that fits shared memory is
# taken. Two stages come before wide tiles: with one, a block waits for every panel of centres.
_TILES = (
    (128, 128, 3), (128, 128, 2), (128, 64, 2), (64, 64, 2), (64, 32, 2), (32, 32, 2), (32, 16, 1),
)  # fmt: skip
# What a tensor core multiplies at least, rows, centres and columns.
_LEAST_TILE = 16
_HALF, _INT = 2, 4
#: Bytes of a number by the name of its type.
ITEM = {"float32": 4, "float64": 8}


@dataclass(frozen=True, repr=False)
class Sizes:
    """What kernels are launched with; see `DevicePlan` for the meaning."""

    tile_rows: int
    tile_centers: int
    tile_depth: int
    warps: int
    stages: int
    packed_centers: int
    decided_rows: int
    decided_centers: int
    decided_stages: int
    exact_rows: int
    programs: int

    def decision_bytes(self, item: int) -> int:
        """Shared memory of a block that scores open rows: as below, and a list of close centres."""
        rows, centers = self.decided_rows, self.decided_centers
        numbers = (rows + self.decided_stages * centers) * self.tile_depth * _HALF
        ahead = (self.decided_stages - 1) * rows * self.tile_depth * item
        return numbers + ahead + rows * centers * _INT + 2 * KIB

    def look_bytes(self, depth: int, item: int) -> int:
        """Shared memory of a block of the first look, for rows of so many columns and type.

        Rows in float16, centres for every stage, and 1 KiB for what threads tell each other. Rows
        that come in parts are fetched ahead as well, in their own type. That is what Triton 3.9
        takes for compute capability 9.0, at 16 to 768 columns. Older devices take less: there the
        rows stay in registers.
        """
        together, ahead = depth, 0
        if not read_at_once(depth, self.tile_depth):
            together = self.tile_depth
            ahead = (self.stages - 1) * self.tile_rows * together * item
        numbers = (self.tile_rows + self.stages * self.tile_centers) * together
        return numbers * _HALF + ahead + KIB


def sizes_for(depth: int, n_clusters: int, dtype: str, facts: DeviceFacts) -> Sizes:
    """The sizes of kernels: all that is tuned is chosen here.

    Parameters
    ----------
    depth : int
        Columns, padded.
    n_clusters : int
    dtype : str
    facts : DeviceFacts
    """
    columns = min(depth, _BLOCK) if depth <= _WHOLE_BLOCKS * _BLOCK else _PART
    most = max(_LEAST_TILE, power_of_two(n_clusters))
    for rows, centers, stages in _TILES:
        centers = min(centers, most)
        # Scores of two columns at least for each thread, without so many that they do not fit.
        warps = 8 if rows * centers >= 128 * 64 else 4
        made = Sizes(
            tile_rows=rows, tile_centers=centers, tile_depth=columns, warps=warps, stages=stages,
            packed_centers=min(32, centers), decided_rows=64, decided_centers=min(64, centers),
            decided_stages=3, exact_rows=32, programs=4 * facts.multiprocessors.value,
        )  # fmt: skip
        if made.look_bytes(depth, ITEM[dtype]) <= facts.shared_bytes.value:
            break
    while made.decided_stages > 1 and made.decision_bytes(ITEM[dtype]) > facts.shared_bytes.value:
        made = replace(made, decided_stages=made.decided_stages - 1)
    if facts.interpreted.value:
        # A step of the interpreter costs the same for few numbers and for many.
        return replace(made, tile_rows=256, exact_rows=256, programs=1, stages=1, decided_stages=1)
    return made


def depth_of(n_features: int) -> int:
    """Columns of packed centres: padded to what tiles multiply."""
    depth = max(_LEAST_TILE, power_of_two(n_features))
    return depth if depth <= _BLOCK else -(-n_features // _BLOCK) * _BLOCK


def read_at_once(depth: int, tile_depth: int) -> bool:
    """Whether all columns of a tile of rows stay while the centres pass by."""
    return depth <= _WHOLE_BLOCKS * tile_depth


def power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (max(1, number) - 1).bit_length()

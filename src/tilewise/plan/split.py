"""When scores are made of parts of bfloat16, multiplied by Intel AMX, and in which blocks."""

from dataclasses import dataclass

__all__ = ["SPLIT_ROWS", "SPLIT_STEP", "Split", "split_bytes", "split_for"]

# As the kernels have them: rows of a group, features of one instruction.
SPLIT_ROWS = 32
SPLIT_STEP = 32
# Products per feature: x1 c1 + x1 c2 + x2 c1 of two parts each.
_PRODUCTS = 3
# Features of a group, and of a panel, that meet in L1: 32 KiB each of two parts.
_DEPTH_BLOCK = 256
# Panels that a block of features of a group meets before the next one.
_PANELS_PER_BLOCK = 8
# Features and columns from which on products pay; below, the float32 tile is as fast (measured:
# 32 x 64 x1.1, but 33 x 64 x0.95, since features are padded to whole steps; 64 x 64 x1.2, 256 x
# 33 x1.3, 256 x 32 x0.9).
_FROM = ((32, 96), (64, 48), (128, 33))


@dataclass(frozen=True)
class Split:
    """Products of parts for one shape, or 0 for plain scores, and why.

    Attributes
    ----------
    products : int
        Products per feature: 3 of two parts, 6 of three; 0 for plain scores.
    depth_block : int
        Features that are multiplied before the running scores rest in L1.
    panels_per_block : int
        Panels that one block of features of a group of rows meets.
    reason : str
        Empty where there is nothing to say.
    """

    products: int
    depth_block: int
    panels_per_block: int
    reason: str

    def row_bytes(self, d: int) -> int:
        """Bytes of one packed row, or centre, of d features."""
        return -(-d // SPLIT_STEP) * SPLIT_STEP * split_bytes(self.products)


def split_bytes(products: int) -> int:
    """Bytes of one packed number: three parts where six products are made, else two."""
    return 6 if products == 6 else 4


def split_for(isa: str, d: int, columns: int, asked: int | None = None) -> Split:
    """Choose products for rows of d features against so many columns.

    Parameters
    ----------
    isa : str
    d, columns : int
        Features, and centres or rows that every row meets.
    asked : {0, 3, 6}, optional
        Products to use instead; any instruction set emulates them.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If `asked` is not one of the three.
    """
    if asked not in (None, 0, 3, 6):
        raise ValueError(f"products={asked!r} is not one of 0, 3, 6.")
    plain = Split(0, 0, 0, "")
    if asked is None:
        if isa != "amx":
            return plain
        if not any(d >= features and columns >= least for features, least in _FROM):
            known = ", ".join(f"{features} x {least}" for features, least in _FROM)
            return Split(0, 0, 0, f"none. AMX is faster only from {known} features x columns on.")
    elif asked == 0:
        return plain
    products = _PRODUCTS if asked is None else asked
    return Split(
        products, _DEPTH_BLOCK, _PANELS_PER_BLOCK,
        f"{products} products of bfloat16 numbers per feature make a score, "
        f"{'on AMX' if isa == 'amx' else 'without AMX'}. They are less exact than float32, so more "
        "rows are computed again in float64.",
    )  # fmt: skip

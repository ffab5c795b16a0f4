"""When rows have a first look in bytes before their scores are made."""

from dataclasses import dataclass

from tilewise.plan.thresholds import LOOK_DEPTH, LOOK_MOST_CLUSTERS, LOOK_ROWS, LOOK_WORK

__all__ = ["LOOK_CENTRES", "LOOK_TILE", "LookChoice", "look_for"]

#: As the kernels have them: rows of a tile and centres of a panel.
LOOK_TILE, LOOK_CENTRES = 32, 12


@dataclass(frozen=True)
class LookChoice:
    """Whether there is a first look for one shape, and why.

    Attributes
    ----------
    look : bool
    reason : str
    """

    look: bool
    reason: str


def look_for(
    isa: str, byte_products: bool, n: int, d: int, k: int, *, products: int = 0,
    asked: bool | None = None,
) -> LookChoice:  # fmt: skip
    """Choose whether n rows of d features have a first look at k centres.

    Parameters
    ----------
    isa : str
    byte_products : bool
        Whether the machine has an instruction that adds up products of bytes.
    n, d, k : int
    products : int
        Products of parts of bfloat16 that make a score.
    asked : bool, optional
        Whether there is to be a look; by default where it pays.
    """
    if asked is False or d == 0:
        return LookChoice(False, "none.")
    if d > LOOK_DEPTH or k > LOOK_MOST_CLUSTERS:
        return LookChoice(
            False,
            f"none: it takes up to {LOOK_DEPTH} features and {LOOK_MOST_CLUSTERS} clusters.",
        )
    if not asked:
        if isa not in ("avx512", "amx") or not byte_products:
            return LookChoice(
                False, "none: products of bytes are faster than scores only with AVX-512 VNNI."
            )
        if products:
            return LookChoice(False, "none: scores come from products of bfloat16 on AMX.")
        if k * d < LOOK_WORK or n < LOOK_ROWS:
            return LookChoice(
                False,
                f"none: it pays from {LOOK_WORK} features x clusters and {LOOK_ROWS} rows on.",
            )
    return LookChoice(
        True,
        "rows and centres rounded to bytes rule out most centres, canonical distances decide among "
        f"up to 64 that are left, {LOOK_TILE} rows at a time. Other rows have their scores made. "
        "That ends where it leaves too many rows, and passes that meet few rows, or groups of "
        "centres, do without.",
    )

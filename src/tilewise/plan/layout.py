"""What lies side by side in a vector: rows, centres or stored entries, and the register tile."""

from tilewise.plan.split import SPLIT_ROWS
from tilewise.plan.thresholds import STORED_SHARE

__all__ = ["TILES", "csr_vectors", "layout_for", "tile_shape"]

# Shapes of the register tile, as the kernels are compiled: bytes of a vector, rows, vectors
# of centres, vectors of rows and centres per group where rows lie in the lanes.
TILES = {
    "amx": (64, 12, 2, 4, 4),
    "avx512": (64, 12, 2, 4, 4),
    "avx2": (32, 6, 2, 2, 4),
    "sse2": (16, 6, 2, 2, 4),
    "neon": (16, 12, 2, 4, 4),
    "generic": (16, 6, 2, 2, 4),
}

# Rows up to this long are scored with rows in the lanes of a vector (measured: below it the
# reduction across lanes at the end of a row costs more than packing rows as columns).
ROWS_IN_LANES_DEPTH = 24
# Share of L2 for the centres, or dense rows, that the entries of a chunk meet.
_L2_PANEL_SHARE = 0.75


def layout_for(engine: str, d: int, density: float | None = None) -> tuple[str, str]:
    """Choose what lies in the lanes of a vector, and say why.

    Parameters
    ----------
    engine : {"fused", "blas"}
    d : int
        Features.
    density : float, optional
        Share of the entries that are stored, for CSR rows.

    Returns
    -------
    layout : {"centres-in-lanes", "rows-in-lanes", "blas", "csr"}
    reason : str
        One sentence.

    Examples
    --------
    >>> from tilewise.plan.layout import layout_for
    >>> layout_for("fused", 64)[0], layout_for("fused", 8)[0], layout_for("fused", 64, 0.01)[0]
    ('centres-in-lanes', 'rows-in-lanes', 'csr')
    """
    if engine == "blas":
        return "blas", "blas: one matrix product per chunk, then the best two scores of each row."
    # Short rows in the lanes are faster however few entries are stored, unless none is.
    most = STORED_SHARE["scores"] if d > ROWS_IN_LANES_DEPTH else 0.0
    if density is not None and density <= most:
        return "csr", (
            f"fused, from stored entries: {100 * density:.3g} % of the entries are stored, at most "
            f"{100 * STORED_SHARE['scores']:.0f} %; centres lie in the lanes."
        )
    if d <= ROWS_IN_LANES_DEPTH:
        limit = ROWS_IN_LANES_DEPTH
        return "rows-in-lanes", (
            f"fused, rows in the lanes: rows of {d} features are short (up to {limit})."
        )
    return "centres-in-lanes", (
        "fused, centres in the lanes: each score is used in a register and never stored."
    )


def tile_shape(
    isa: str, layout: str, k: int, item: int, *, products: int = 0, asked: int = 0
) -> tuple[int, int]:
    """Rows and columns of one register tile.

    Parameters
    ----------
    isa, layout : str
    k : int
        Centres, or other rows that every row meets.
    item : int
        Bytes of a score.
    products : {0, 3, 6}
        Products of parts of bfloat16 that make a score.
    asked : int
        Columns that a plan asks for, which count where rows are CSR: 1 packs no centres.

    Examples
    --------
    >>> from tilewise.plan.layout import tile_shape
    >>> tile_shape("avx2", "centres-in-lanes", 100, 4), tile_shape("avx2", "blas", 5, 4)
    ((6, 16), (6, 8))
    """
    vector_bytes, rows, vectors, row_vectors, group = TILES[isa]
    lanes = vector_bytes // item
    if layout == "rows-in-lanes":
        return row_vectors * lanes, group
    if layout == "csr":
        wide = 4 if asked > 2 * lanes else 2 if asked > lanes else 1
        return rows, 1 if asked == 1 else wide * lanes
    if products:
        return SPLIT_ROWS, vectors * lanes
    return rows, lanes if k <= lanes else vectors * lanes


def csr_vectors(k: int, d: int, lanes: int, item: int, l2: int) -> int:
    """Vectors of k centres side by side: one, two or four, if all their columns stay in L2."""
    wanted = 1 if k <= lanes else 2 if k <= 2 * lanes else 4
    while wanted > 1 and d * wanted * lanes * item > l2 * _L2_PANEL_SHARE:
        wanted //= 2
    return wanted

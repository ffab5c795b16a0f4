"""What lies side by side in a vector: rows, centres or stored entries, and the register tile."""

__all__ = ["TILES", "csr_vectors", "layout_for"]

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
# CSR rows with up to this share of stored entries are scored entry by entry (measured: from 60
# x 20 to 10,000 x 100 both ways take equally long at a share of 0.3 to 0.5).
SPARSE_DENSITY = 0.3
# Share of L2 for the centres that the entries of a chunk meet.
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
        return "blas", "blas: one matrix product per chunk, then its best and second best."
    # Short rows in the lanes are faster however few entries are stored, unless none is.
    most = SPARSE_DENSITY if d > ROWS_IN_LANES_DEPTH else 0.0
    if density is not None and density <= most:
        return "csr", (
            f"fused, stored entries only: {100 * density:.3g} % of {d} features are stored, at "
            f"most {100 * SPARSE_DENSITY:.0f} %; centres in the lanes."
        )
    if d <= ROWS_IN_LANES_DEPTH:
        limit = ROWS_IN_LANES_DEPTH
        return "rows-in-lanes", (
            f"fused, rows in the lanes: {d} features (up to {limit}) are a short row."
        )
    return "centres-in-lanes", (
        "fused, centres in the lanes: scores are consumed in registers and never stored."
    )


def csr_vectors(k: int, d: int, lanes: int, item: int, l2: int) -> int:
    """Vectors of centres side by side: one, two or four, if all their columns stay in L2."""
    wanted = 1 if k <= lanes else 2 if k <= 2 * lanes else 4
    while wanted > 1 and d * wanted * lanes * item > l2 * _L2_PANEL_SHARE:
        wanted //= 2
    return wanted

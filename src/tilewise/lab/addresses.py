"""Where the buffers of a pass lie: for the walk of `trace`, and for formulas that count by sets."""

from collections.abc import Mapping

from tilewise.lab.products import finished_bytes
from tilewise.lab.shape import Shape

__all__ = ["addresses"]

_PAGE = 4096
# As the kernels have it: rows of a second look.
_LOOK_ROWS = 32


def addresses(z: Shape, *, update: bool, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Addresses: one allocation after another, the workspace as `_assign` divides it.

    Parameters
    ----------
    z : Shape
    update : bool
        Whether the pass sums the rows of each cluster.
    known : mapping of str to int, optional
        First bytes where a real run had them: of buffers by the names that are returned, and of
        the "workspace", which is divided as ever.

    Returns
    -------
    dict of str to int
        First bytes; under "end" the first one behind all of them.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.addresses import addresses
    >>> from tilewise.lab.shape import Shape
    >>> at = addresses(Shape.of(tilewise.plan(1000, 64, 16)), update=False)
    >>> at["X"] % 4096, at["labels"] > at["X"] + 1000 * 64 * 4
    (64, True)
    """
    at, free = {}, _PAGE

    def take(name, size, line=64):
        """Place a buffer behind the last one, at the beginning of a line."""
        nonlocal free
        at[name] = free
        free += -(-size // line) * line

    def page():
        """Go on at the next page, where large blocks start, behind the allocator's own words."""
        nonlocal free
        free = -(-free // _PAGE) * _PAGE + 64

    plain = z.n_panels * z.plain_panel_bytes if z.layout != "blas" else z.k * z.d * z.item
    for name, size in (
        ("X", z.n * z.d * z.data_item),
        ("labels", 4 * z.n),
        ("packed", plain),
        *((("split panels", z.n_panels * z.panel_bytes),) if z.products else ()),
        ("half norms", z.k * z.item),
        ("origin", z.d * z.origin_item),
        ("shift", 8 * z.d),
        ("slot sums", z.slots * z.k * z.sums_row_bytes if update else 0),
        ("slot weights", 8 * z.slots * z.k),
        ("slot members", 8 * z.slots * z.k),
        ("touched", z.slots * z.k),
        ("sums", z.k * z.sums_row_bytes if update else 0),
    ):
        page()
        take(name, size)
    page()
    rows = z.padded(z.chunk_rows)
    long = z.layout == "centres-in-lanes"
    filled = -(-z.d // z.lanes) * z.lanes * z.item
    split = rows * z.item if z.products else 0
    again = (_LOOK_ROWS + z.look_rows) * filled if z.products else 0
    scores = rows * z.k * z.item if z.layout == "blas" else z.panels_per_block * z.scratch_bytes
    for name, size in (
        ("ids", 8 * rows),
        ("pointers", 8 * rows),
        ("ahead", 8 * rows if long else 0),
        ("rows", rows * (z.packed_row_bytes if z.products else filled)),
        ("seconds", split),
        ("rests", split),
        ("drops", split),
        ("again", again),
        ("norms", rows * z.item),
        ("band", rows * z.item),
        ("best", rows * z.state_row_bytes),
        ("second", rows * z.state_row_bytes),
        ("ordinal", rows * z.state_row_bytes),
        ("label", 4 * rows),
        ("lowest", rows * z.item),
        ("following", rows * z.item),
        ("upper", 4 * rows),
        ("lower", 4 * rows),
        ("scratch", scores),
    ):
        take(name, size)
    if z.products:
        # On the stack.
        page()
        take("finished", finished_bytes(z, z.panels_per_block))
    at["end"] = free
    known = dict(known or {})
    moved = known.pop("workspace", at["ids"]) - at["ids"]
    begin = list(at).index("ids")
    at |= {name: at[name] + moved for name in list(at)[begin:]}
    return at | known

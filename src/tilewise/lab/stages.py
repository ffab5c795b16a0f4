"""The stages of one chunk, for `reuse.evaluate`: which buffers each walks through, and how often.

Sizes follow `Shape`; the order is that of `_run_chunk` in `kernels/_assign.pyx`. Names of buffers
are those of `trace.BUFFERS`.
"""

from tilewise.lab.products import score_visits
from tilewise.lab.reuse import Stage, Visit
from tilewise.lab.shape import Shape

__all__ = ["chunk_stages"]


def chunk_stages(z: Shape, rows: int, chunk: int, *, prefetch: bool, update: bool) -> list[Stage]:
    """Stages of chunk number `chunk`, of `rows` rows.

    Parameters
    ----------
    z : Shape
    rows : int
    chunk : int
        Keeps the rows of different chunks apart.
    prefetch : bool
        Whether the rows of the next chunk are fetched early into L2.
    update : bool
        Whether each row is read once more, for the sums.
    """
    padded = z.padded(rows)
    long = z.layout == "centres-in-lanes"
    ahead = prefetch and long
    x = rows * z.d * z.data_item
    packed = padded * z.packed_row_bytes
    state = padded * z.state_row_bytes
    lanes = z.layout == "rows-in-lanes"

    def _lists(name, write=False):
        size = 8 * (padded if name == "ahead" else rows)
        return Visit((name,), "row lists", size, write)

    def _data(which=chunk, **how):
        return Visit(("X", which, "chunk"), "X", x, **how)

    def _kept(name, size, write=False, **how):
        return Visit((name,), "certificate", size, write, **how)

    def _bests(*names, write):
        return [Visit((name,), "running bests", state, write) for name in names]

    origin = Visit(("origin",), "origin", z.d * z.origin_item, turns=rows)
    norms = padded * z.item
    stages = [
        [_lists("ids", True)],
        [_lists("ids"), _lists("pointers", True)],
        [_lists("pointers"), _data(), Visit(("packed",), "packed rows", packed, True),
         _kept("norms", norms, True), origin],
    ]  # fmt: skip
    if z.products:
        left = [_kept(name, norms, True) for name in ("seconds", "rests")]
        stages[-1] += left
        stages.append([_kept("norms", norms), *left, _kept("drops", norms, True)])
    if ahead:
        stages.insert(2 if z.products else 3, [_lists("ahead", True)])
    if z.layout != "blas":
        stages.append(_bests("best", "second", write=True))
        stages.append(_bests("ordinal", write=True))
    stages = [Stage(tuple(visits)) for visits in stages]
    if z.layout == "blas":
        stages += _product(z, padded, packed, state)
    elif lanes:
        stages.append(_all_groups(z, padded, packed, state))
    else:
        stages += _blocks(
            z, padded, packed, state, _lists("ahead"), _data(chunk + 1, prefetch=True), ahead
        )
    certify = [*_bests("best", "second", "ordinal", write=False), _kept("band", norms),
               _kept("label", 4 * rows, True)]  # fmt: skip
    if not lanes:
        certify += [_kept("lowest", norms, True), _kept("following", norms, True)]
    note = [_lists("ids"), _kept("label", 4 * rows),
            Visit(("labels", chunk, "chunk"), "labels", 4 * rows, True)]  # fmt: skip
    if update:
        shift = Visit(("shift",), "origin", 8 * z.d, turns=rows)
        note += [_lists("pointers"), _data(), shift]
    bands = [[_kept("norms", norms), _kept("band", norms, True)]]
    if z.products:
        bands.append([_kept("drops", norms), _kept("band", norms, True)])
    for visits in (
        *bands,
        certify,
        [_kept("label", 4 * rows)],
        note,
    ):
        stages.append(Stage(tuple(visits)))
    return stages


def _blocks(z, padded, packed, state, ahead_list, next_rows, ahead):
    """Tiles against one block of panels after the other."""
    tiles = padded // z.tile_rows
    depth = min(z.depth_block, z.depth)
    tile = z.tile_rows * z.packed_row_bytes
    piece = z.scratch_bytes
    # One panel's share of a block of the depth, with the rows' share that meets it.
    inner = depth * z.number_bytes * (z.tile_rows + z.width) + piece
    depth_blocks = -(-z.depth // z.depth_block)
    n_blocks = -(-z.n_panels // z.panels_per_block)

    def block(b, weight=1.0, between=0.0):
        panels = min(z.panels_per_block, z.n_panels - b * z.panels_per_block)
        centres = panels * z.panel_bytes
        scratch = panels * piece
        fetched = ahead and b == 0
        bests = 3 * z.tile_rows * z.state_row_bytes
        least = centres + tile + bests + scratch
        if fetched:
            least += z.tile_rows * z.d * z.data_item
        # From a place in one tile to the same place in the next: the rest of the one and the
        # beginning of the other, which overlap where several panels or blocks meet a tile.
        overlap = 0 if panels == depth_blocks == 1 else tile / depth_blocks + bests
        visits = [
            Visit(("packed",), "packed rows", packed,
                  again=((panels - 1) * packed, inner, inner)),
            Visit(("centres", b), "centres", centres, turns=tiles,
                  again=((tiles - 1) * centres, least, least + overlap)),
        ]  # fmt: skip
        for name in ("best", "second", "ordinal"):
            more = (panels - 1) * state
            visits.append(
                Visit(
                    (name,),
                    "running bests",
                    state,
                    True,
                    again=(more, inner, inner),
                    again_written=more,
                )
            )
        if z.products:
            visits += score_visits(z, panels, tiles, inner)
        elif piece:
            # Written and read once per block of the depth; a walk through all panels in between.
            times = tiles * depth_blocks - 1
            visits.append(
                Visit(("scratch",), "partial scores", scratch, True, turns=tiles,
                      again=(times * scratch, turn := panels * (inner - piece) + scratch, turn),
                      again_written=max(0, tiles * (depth_blocks - 1) - 1) * scratch)
            )  # fmt: skip
        if fetched:
            visits += [ahead_list, next_rows]
        return Stage(tuple(visits), weight, between)

    if n_blocks <= 4:
        return [block(b) for b in range(n_blocks)]
    # The first differs by the early fetches, the second by what it finds of them.
    middle = n_blocks - 3
    between = (middle - 1) * z.panels_per_block * z.panel_bytes
    return [block(0), block(1), block(2, middle, between), block(n_blocks - 1)]


def _all_groups(z, padded, packed, state):
    """Panels of rows, each against all groups of centres."""
    panels = padded // z.tile_rows
    centres = z.n_panels * z.panel_bytes
    rows = z.tile_rows * z.packed_row_bytes
    turn = centres + rows + 3 * z.tile_rows * z.state_row_bytes
    visits = [
        Visit(("packed",), "packed rows", packed,
              again=((z.n_panels - 1) * packed, inner := z.panel_bytes + rows, inner)),
        Visit(("centres", 0), "centres", centres, turns=panels,
              again=((panels - 1) * centres, turn, turn + rows)),
    ]  # fmt: skip
    visits += [
        Visit((name,), "running bests", state, True) for name in ("best", "second", "ordinal")
    ]
    return Stage(tuple(visits))


def _product(z, padded, packed, state):
    """One matrix product: operands read once, scores written once; then the scan of the scores."""
    scores = padded * z.k * z.item
    row = z.k * z.item
    turn = 2 * row + 3 * z.state_row_bytes
    half = Visit(
        ("half norms",), "centres", row, turns=padded, again=((padded - 1) * row, turn, turn)
    )
    bests = [Visit((name,), "running bests", state, True) for name in ("best", "second", "ordinal")]
    return [
        Stage((Visit(("centres", 0), "centres", z.k * z.d * z.item, turns=1),)),
        Stage((Visit(("packed",), "packed rows", packed),
               Visit(("scores",), "scores", scores, True))),
        Stage((Visit(("scores",), "scores", scores), half, *bests)),
    ]  # fmt: skip

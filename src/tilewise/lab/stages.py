"""The stages of one chunk, for `reuse.evaluate`: which buffers each walks through, and how often.

Sizes follow `Shape`; the order is that of `_run_chunk` in `kernels/_assign.pyx`. Names of buffers
are those of `trace.BUFFERS`.
"""

import math

import numpy as np

from tilewise.lab.products import (
    PANELS_PER_BATCH,
    beside_a_panel,
    between_folds,
    finished_bytes,
    score_visits,
)
from tilewise.lab.reuse import SAMPLES, Again, Stage, Visit
from tilewise.lab.shape import Shape
from tilewise.lab.sums import sums_visit

__all__ = ["chunk_stages"]


def chunk_stages(
    z: Shape, at: dict[str, int], rows: int, chunk: int, *, prefetch: bool, update: bool
) -> list[Stage]:  # fmt: skip
    """Stages of chunk number `chunk`, of `rows` rows.

    Parameters
    ----------
    z : Shape
    at : dict of str to int
        Addresses.
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
        return Visit((name,), "row lists", size, write, at=at[name])

    def _data(which=chunk, **how):
        return Visit(("X", which, "chunk"), "X", x, **how)

    def _kept(name, size, write=False, **how):
        return Visit((name,), "certificate", size, write, at=at[name], **how)

    def _bests(*names, write):
        return [Visit((name,), "running bests", state, write, at=at[name]) for name in names]

    origin = Visit(("origin",), "origin", z.d * z.origin_item, turns=rows, at=at["origin"])
    stored = Visit(("packed",), "packed rows", packed, True, at=at["rows"])
    norms = padded * z.item
    stages = [
        [_lists("ids", True)],
        [_lists("ids"), _lists("pointers", True)],
        [_lists("pointers"), _data(), stored,
         _kept("norms", norms, True), origin],
    ]  # fmt: skip
    if z.products:
        left = [_kept(name, norms, True) for name in ("seconds", "rests")]
        stages[-1] += left
        stages.append([_kept("norms", norms), *left, _kept("drops", norms, True)])
    if ahead:
        stages.insert(2 if z.products else 3, [_lists("ahead", True)])
    if z.layout != "blas" and not z.products:
        stages.append(_bests("best", "second", write=True))
        stages.append(_bests("ordinal", write=True))
    stages = [Stage(tuple(visits)) for visits in stages]
    if z.layout == "blas":
        stages += _product(z, at, padded, packed, state)
    elif lanes:
        stages.append(_all_groups(z, at, padded, packed, state))
    else:
        stages += _blocks(
            z, at, padded, packed, state, _lists("ahead"), _data(chunk + 1, prefetch=True), ahead
        )
    certify = [*_bests("best", "second", "ordinal", write=False), _kept("band", norms),
               _kept("label", 4 * rows, True)]  # fmt: skip
    if not lanes:
        certify += [_kept("lowest", norms, True), _kept("following", norms, True)]
    note = [_lists("ids"), _kept("label", 4 * rows),
            Visit(("labels", chunk, "chunk"), "labels", 4 * rows, True)]  # fmt: skip
    if update:
        shift = Visit(("shift",), "origin", 8 * z.d, turns=rows, at=at["shift"])
        note += [_lists("pointers"), _data(), shift, sums_visit(z, rows)]
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


def _places(tiles, panels, blocks):
    """Tiles, panels and blocks of the depth, and how far within: `SAMPLES` places of the loops.

    Multiples of irrational numbers, which fill the range evenly (Kronecker's sequences).
    """
    i = np.arange(SAMPLES)
    tile = np.minimum((i + 0.5) / SAMPLES * tiles, max(0, tiles - 2)).astype(np.int64)
    panel, block, within = ((0.5 + i * root**0.5) % 1 for root in (2, 3, 5))
    return tile, (panel * panels).astype(np.int64), (block * blocks).astype(np.int64), within


def _blocks(z, at, padded, packed, state, ahead_list, next_rows, ahead):
    """Tiles against one block of panels after the other."""
    tiles = padded // z.tile_rows
    depth = min(z.depth_block, z.depth)
    tile = z.tile_rows * z.packed_row_bytes
    piece = z.scratch_bytes
    depth_blocks = -(-z.depth // z.depth_block)
    # Scores of split rows wait in the workspace only between blocks of the depth.
    waits = not z.products or depth_blocks > 1
    n_blocks = -(-z.n_panels // z.panels_per_block)
    best = z.tile_rows * z.state_row_bytes
    # One panel's share of a block of the depth, and the rows' share that meets it.
    rows_part, panel_part = (depth * z.number_bytes * side for side in (z.tile_rows, z.width))
    names = ("best", "second", "ordinal")

    def block(b, weight=1.0, between=0.0):
        panels = min(z.panels_per_block, z.n_panels - b * z.panels_per_block)
        centres = panels * z.panel_bytes
        scratch = panels * piece
        fetched = ahead and b == 0
        base = at["split panels" if z.products else "packed"]
        base += b * z.panels_per_block * z.panel_bytes
        t, p, e, u = _places(tiles, panels, depth_blocks)
        rows_at = at["rows"] + t * tile + e * rows_part
        panel_at = base + p * z.panel_bytes + z.width * z.item + e * panel_part
        scratch_at = at["scratch"] + p * piece
        bests = [(at[name] + t * best, best) for name in names]
        stored = [(scratch_at, piece)] if piece and waits else []
        beside = bests
        if z.products:
            finished = at["finished"], finished_bytes(z, panels)
            stored += beside_a_panel(z, at, panels, p)
            half = best / min(PANELS_PER_BATCH, panels)
            beside = [(where + p % PANELS_PER_BATCH * half, half) for where, _ in bests]
        # From a panel to the next one.
        inner = [
            (rows_at, rows_part),
            (panel_at + u * panel_part, (1 - u) * panel_part),
            (panel_at + z.panel_bytes, u * panel_part),
            *stored,
            *(beside if depth_blocks == 1 else []),
        ]
        # From a place in one tile to the same place in the next: the rest of the one and the
        # beginning of the other, which overlap where several panels meet the same features.
        behind, before = np.minimum(1.0, panels - p - u), np.minimum(1.0, p + u)
        twice = (p > 0) & (e == depth_blocks - 1)
        turn = [
            (base, centres),
            (rows_at + (1 - behind) * rows_part,
             (depth_blocks - 1 + behind + before) * rows_part),
            *((where, best + best * twice) for where, _ in bests),
            *([(at["scratch"], scratch)] if piece and waits else []),
            *([finished] if z.products else []),
        ]  # fmt: skip
        # A block of the depth of all panels.
        begin = base + z.width * z.item + e * panel_part
        walk = [(begin + q * z.panel_bytes, panel_part) for q in range(panels)]
        visits = [
            Visit(("packed",), "packed rows", packed, at=at["rows"],
                  again=Again((panels - 1) * packed, tuple(inner))),
            Visit(("centres", b), "centres", centres, turns=tiles, at=base,
                  again=Again((tiles - 1) * centres, tuple(turn),
                              fetched=fetched * z.tile_rows * z.d * z.data_item)),
        ]  # fmt: skip

        def walked(count):
            """Rows, centres and bests while so many panels of a block of the depth are met."""
            groups = np.where(p + u + count > panels, min(2, tiles), 1)
            most = min(math.ceil(np.max(count)), panels)
            met = [(begin + (p + q) % panels * z.panel_bytes, panel_part * np.clip(count - q, 0, 1))
                   for q in range(most)]  # fmt: skip
            some = np.minimum(groups, count / PANELS_PER_BATCH)
            return ((rows_at, rows_part * np.minimum(groups, count)), *met,
                    *((where, size * some) for where, size in bests))  # fmt: skip

        for i, name in enumerate(names):
            more = (panels - 1) * state
            pieces = (*bests[i:], *bests[:i], (rows_at, rows_part),
                      (panel_at + u * panel_part, (1 - u) * panel_part),
                      (panel_at + z.panel_bytes, u * panel_part), *stored)  # fmt: skip
            if z.products:
                more = (-(-panels // PANELS_PER_BATCH) - 1) * state
                pieces = (*bests[i:], *bests[:i], *walked(min(panels, PANELS_PER_BATCH))[:-3],
                          *between_folds(z, at, panels))  # fmt: skip
            visits.append(
                Visit((name,), "running bests", state, True, at=at[name],
                      again=Again(more, pieces, more))
            )  # fmt: skip
        if z.products:
            visits += score_visits(z, at, tiles, panels, walked)
        elif piece:
            # Written and read once per block of the depth; a walk through all panels in between.
            times = tiles * depth_blocks - 1
            turn = ((at["scratch"], scratch), (rows_at, rows_part), *walk)
            again = Again(times * scratch, turn, max(0, tiles * (depth_blocks - 1) - 1) * scratch)
            visits.append(
                Visit(("scratch",), "partial scores", scratch, True, turns=tiles, again=again,
                      at=at["scratch"])
            )  # fmt: skip
        if fetched:
            visits += [ahead_list, next_rows]
        return Stage(tuple(visits), weight, between, base + centres)

    if n_blocks <= 4:
        return [block(b) for b in range(n_blocks)]
    # The first differs by the early fetches, the second by what it finds of them.
    middle = n_blocks - 3
    between = (middle - 1) * z.panels_per_block * z.panel_bytes
    return [block(0), block(1), block(2, middle, between), block(n_blocks - 1)]


def _all_groups(z, at, padded, packed, state):
    """Panels of rows, each against all groups of centres."""
    panels = padded // z.tile_rows
    centres = z.n_panels * z.panel_bytes
    rows = z.tile_rows * z.packed_row_bytes
    best = z.tile_rows * z.state_row_bytes
    names = ("best", "second", "ordinal")
    t, p, _, u = _places(panels, z.n_panels, 1)
    rows_at = at["rows"] + t * rows
    behind, before = np.minimum(1.0, z.n_panels - p - u), np.minimum(1.0, p + u)
    turn = (
        (at["packed"], centres),
        (rows_at + (1 - behind) * rows, (behind + before) * rows),
        *((at[name] + t * best, 2 * best) for name in names),
    )
    inner = ((rows_at, rows), (at["packed"] + (p + u) * z.panel_bytes, z.panel_bytes))
    visits = [
        Visit(("packed",), "packed rows", packed, at=at["rows"],
              again=Again((z.n_panels - 1) * packed, inner)),
        Visit(("centres", 0), "centres", centres, turns=panels, at=at["packed"],
              again=Again((panels - 1) * centres, turn)),
    ]  # fmt: skip
    visits += [Visit((name,), "running bests", state, True, at=at[name]) for name in names]
    return Stage(tuple(visits))


def _product(z, at, padded, packed, state):
    """One matrix product: operands read once, scores written once; then the scan of the scores."""
    scores = padded * z.k * z.item
    row = z.k * z.item
    names = ("best", "second", "ordinal")
    r = _places(padded, 1, 1)[0]
    turn = (
        (at["half norms"], row),
        (at["scratch"] + r * row, row),
        *((at[name] + r * z.state_row_bytes, z.state_row_bytes) for name in names),
    )
    half = Visit(
        ("half norms",), "centres", row, turns=padded, at=at["half norms"],
        again=Again((padded - 1) * row, turn),
    )  # fmt: skip
    bests = [Visit((name,), "running bests", state, True, at=at[name]) for name in names]
    return [
        Stage((Visit(("centres", 0), "centres", z.k * z.d * z.item, turns=1, at=at["packed"]),)),
        Stage((Visit(("packed",), "packed rows", packed, at=at["rows"]),
               Visit(("scores",), "scores", scores, True, at=at["scratch"]))),
        Stage((Visit(("scores",), "scores", scores, at=at["scratch"]), half, *bests)),
    ]  # fmt: skip

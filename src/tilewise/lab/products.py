"""Scores from parts of bfloat16 on AMX: what a group of rows touches, and what that moves.

Follows `walk` in `kernels/c/tw_split.c`: a group of 32 rows meets a block of panels, a block of the
depth at a time. Scores of two panels leave the tiles for one of two arrays in L1, and are folded
into the running bests while the next two are multiplied; between blocks of the depth they wait in
the workspace. Other instruction sets emulate the same products for tests; numbers here are those of
AMX.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tilewise.lab.reuse import SAMPLES, Again, Stretch, Visit
from tilewise.lab.shape import Shape
from tilewise.plan.split import SPLIT_STEP

__all__ = [
    "PANELS_PER_BATCH", "PART_ORDER", "SCORES", "Folds", "beside_a_panel", "between_folds",
    "finished_bytes",
    "group_accesses", "panel_loads", "score_visits",
]  # fmt: skip

#: Panels whose scores are folded together.
PANELS_PER_BATCH = 2
#: What the arrays of scores are called.
SCORES = "scores"
#: Parts in the order in which they are loaded: "x" of the rows, "c" of the centres; a "*"
#: multiplies and folds some rows of the batch before.
PART_ORDER = {
    3: ("x1", "c0", "*", "x0", "*", "c1", "*"),
    6: ("x2", "c0", "*", "x1", "*", "c1", "*", "x0", "*", "c0", "*", "c2", "*"),
}


def panel_loads(products: int) -> tuple[int, int]:
    """How often a part of the rows and a part of the centres are loaded in one step."""
    order = PART_ORDER[products]
    return tuple(sum(name[0] == who for name in order) for who in "xc")


def finished_bytes(z: Shape, panels: int) -> int:
    """Bytes of the two arrays in which finished scores take turns."""
    return 2 * min(PANELS_PER_BATCH, panels) * z.scratch_bytes


def _share(z: Shape, steps: int, panels: int) -> int:
    """Rows that are folded after each product of a batch of so many panels and steps."""
    return -(-z.tile_rows // (z.products * steps * panels))


@dataclass
class Folds:
    """Which accesses of a group belong to others, and which change their place.

    Attributes
    ----------
    before : list of int
        Those that fold the last batch of the group *before*, counted from 0: the first group does
        not make them.
    closing : list of int
        Those and the store of the last scores, which the last group leaves to be done.
    arrays : dict of int to int
        Those to finished scores: their batch, counted within the group; less than 0 in the group
        before. Every other batch lies in the second array.
    """

    before: list[int] = field(default_factory=list)
    closing: list[int] = field(default_factory=list)
    arrays: dict[int, int] = field(default_factory=dict)


def group_accesses(
    z: Shape,
    at: dict[str, int],
    start: int,
    panels: int,
    next_row: int | None,
    add: Callable,
) -> Folds:
    """Accesses of the first group of rows to a block of panels.

    Parameters
    ----------
    z : Shape
    at : dict of str to int
        Addresses.
    start, panels : int
        First panel, and how many there are.
    next_row : int or None
        Row whose successors are fetched early, if any.
    add : callable
        Takes the buffer, "read", "write" or "prefetch", address and bytes, and by name the step
        from group to group, count, stride and early (whether the access is an early fetch).
        Finished scores are given as in the first array.

    Returns
    -------
    Folds
    """
    folds = Folds()
    n_added = 0
    group, part = z.tile_rows * z.packed_row_bytes, z.tile_rows * SPLIT_STEP * 2
    panel_part = SPLIT_STEP * z.width * 2
    bests = z.tile_rows * z.state_row_bytes
    row_bytes, ahead_bytes = z.d * z.data_item, SPLIT_STEP * z.data_item
    n_batches = -(-panels // PANELS_PER_BATCH)

    def _put(*access, batch=None, **how):
        nonlocal n_added
        add(*access, **how)
        if batch is not None:
            folds.arrays[n_added] = batch
        n_added += 1

    def _finished(kind, panel, before, begin=0, rows=z.tile_rows):
        batch, place = divmod(panel, PANELS_PER_BATCH)
        where = at["finished"] + place * z.scratch_bytes + begin * z.width * z.item
        _put(SCORES, kind, where, rows * z.width * z.item, batch=batch - before * n_batches)

    def _fold(batch, before, begin, rows):
        first = n_added
        for panel in range(batch * PANELS_PER_BATCH, min(panels, (batch + 1) * PANELS_PER_BATCH)):
            _finished("read", panel, before, begin, rows)
        for name in ("best", "second", "ordinal"):
            to = at[name] - before * bests + begin * z.state_row_bytes
            _put("running bests", "write", to, rows * z.state_row_bytes, step=bests)
        if before:
            folds.before.extend(range(first, n_added))

    # The batch that is folded, and the one that is finished with the next store.
    now: tuple[int, int] | None = (n_batches - 1, 1)
    coming: tuple[int, int] | None = None
    folded = 0
    # Scores that are still in the tiles: their panel, and whether they wait for more features.
    held, waits = panels - 1, False
    for begin in range(0, z.depth, z.depth_block):
        end = min(begin + z.depth_block, z.depth)
        steps = (end - begin) // SPLIT_STEP
        for p in range(panels):
            panel = at["split panels"] + (start + p) * z.panel_bytes
            batch, place = divmod(p, PANELS_PER_BATCH)
            share = _share(z, steps, min(PANELS_PER_BATCH, panels - batch * PANELS_PER_BATCH))
            if coming:
                now, coming, folded = coming, None, 0
            fetched = [q * z.tile_rows // panels for q in (p, p + 1)]
            for s in range(begin // SPLIT_STEP, end // SPLIT_STEP):
                x = at["rows"] + s * z.parts * part
                c = panel + z.width * z.item + s * z.parts * panel_part
                stored = s > begin // SPLIT_STEP
                for what in PART_ORDER[z.products]:
                    if what[0] == "x":
                        _put("packed rows", "read", x + int(what[1]) * part, part, step=group)
                        continue
                    if what[0] == "c":
                        _put("centres", "read", c + int(what[1]) * panel_part, panel_part)
                        continue
                    if not stored:
                        stored, first = True, n_added
                        if waits:
                            scores = at["scratch"] + held * z.scratch_bytes
                            _put(SCORES, "write", scores, z.scratch_bytes)
                        else:
                            before = begin == 0 and p == 0
                            _finished("write", held, int(before))
                            if before:
                                folds.closing.append(first)
                        if begin == 0:
                            _put("centres", "read", panel, z.width * z.item)
                        else:
                            scores = at["scratch"] + p * z.scratch_bytes
                            _put(SCORES, "read", scores, z.scratch_bytes)
                    rows = min(share, z.tile_rows - folded)
                    if now and rows:
                        _fold(*now, folded, rows)
                        folded += rows
                if next_row is not None and fetched[1] > fetched[0]:
                    count = fetched[1] - fetched[0]
                    _put("row lists", "read", at["ahead"] + 8 * fetched[0], 8 * count,
                         step=8 * z.tile_rows)  # fmt: skip
                    for byte in range(s * ahead_bytes, min((s + 1) * ahead_bytes, row_bytes), 64):
                        row = at["X"] + (next_row + fetched[0]) * row_bytes
                        _put("X", "prefetch", row + byte, 1, step=z.tile_rows * row_bytes,
                             count=count, stride=row_bytes, early=True)  # fmt: skip
            held, waits = p, end < z.depth
            if not waits and (place == PANELS_PER_BATCH - 1 or p == panels - 1):
                coming = (batch, 0)
    folds.closing += folds.before
    return folds


def _rows_folded():
    """Where in a batch the fold is: Kronecker's sequence once more, of another root."""
    return (0.5 + np.arange(SAMPLES) * 7**0.5) % 1


def beside_a_panel(z: Shape, at: dict[str, int], panels: int, p: np.ndarray) -> list[Stretch]:
    """Finished scores that are touched while panel number `p` is multiplied.

    The first panel of a batch stores the last one of the batch before and folds half of the rows
    of that; the second one stores the first, in the other array, and folds the other half.
    """
    begin, piece = at["finished"], z.scratch_bytes
    if panels == 1:
        return [(begin, piece)]
    odd = p % 2
    return [(begin + np.where(odd, piece / 2, 0), piece / 2),
            (begin + np.where(odd, 1.5 * piece, piece), np.where(odd, piece / 2, piece)),
            (begin + 2 * piece, odd * piece)]  # fmt: skip


def between_folds(z: Shape, at: dict[str, int], panels: int) -> list[Stretch]:
    """Finished scores that are touched between two folds into the same bests.

    Those of one array from end to end, and of the other what was not folded yet; its first panel
    is stored anew when half of the batch is folded.
    """
    size, panel = finished_bytes(z, panels), z.scratch_bytes
    t, begin = _rows_folded(), at["finished"]
    left = [np.where(t > 0.5, 0.0, t), t][: size // 2 // panel]
    rest = [(begin + (i + to) * panel, (1 - to) * panel) for i, to in enumerate(left)]
    return [(begin + size / 2, size / 2), *rest]


def score_visits(
    z: Shape, at: dict[str, int], tiles: int, panels: int, walked: Callable
) -> list[Visit]:  # fmt: skip
    """Visits of the scores in a stage of `tiles` groups against a block of panels.

    Finished scores of a panel are written once and read once, while the next batch is made; two
    batches later others take their place. Where rows are longer than a block of the depth, scores
    are written after each block but the last and read in the next one, a walk through all panels
    later.

    Parameters
    ----------
    z : Shape
    at : dict of str to int
        Addresses.
    tiles, panels : int
    walked : callable
        Takes a number of panels; returns the stretches of rows, centres and bests that are
        touched while so many are multiplied.
    """
    size, piece = finished_bytes(z, panels), z.scratch_bytes
    visits = [Visit(("finished",), SCORES, size, True, turns=tiles, at=at["finished"])]
    batch = min(PANELS_PER_BATCH, panels)
    for place in range(batch):
        total = tiles * len(range(place, panels, batch)) * piece
        again = max(0, total - size / batch)
        folded, stored, either = _on_the_way(at["finished"], piece, batch, place, walked)
        # A line that is lost on either way leaves once.
        for what, how in {
            "folded": Again(total, folded),
            "stored": Again(again, stored),
            "left": Again(0.0, either, again),
        }.items():
            key = ("finished", what, place)
            visits.append(Visit(key, SCORES, 0.0, at=at["finished"], again=how))
    between = -(-z.depth // z.depth_block) - 1
    if between:
        scratch = panels * piece
        passing = ((at["scratch"], scratch), (at["finished"], size), *walked(panels))
        # Read after a walk through all panels; then written at once, or a walk later in the
        # first block of the next group.
        read = Again(tiles * between * scratch, passing, tiles * between * scratch)
        written = Again((tiles - 1) * scratch, passing)
        visits += [
            Visit(("scratch",), SCORES, scratch, True, turns=tiles, at=at["scratch"], again=read),
            Visit(("scratch", "next"), SCORES, 0.0, at=at["scratch"], again=written),
        ]
    return visits


def _on_the_way(begin, piece, batch, place, walked):
    """What is touched between the store of a row's scores and their fold, from there to the store
    of those that take their place, and on the longer of both ways.

    Counted in panels, the way to the fold has one more for the first panel of a batch, and both
    together have two batches.
    """
    t = _rows_folded()
    fold = batch - 1 - place + batch * t
    late = t > 0.5  # the first panel of the other array has been stored meanwhile
    # Bytes of the row's own array and of the other one.
    if place:
        to_fold = 2 * piece * t, late * piece
        to_store = piece * (2 - t), 2 * piece
    else:
        to_fold = 2 * piece + 0 * t, piece + late * piece / 2
        to_store = 2 * piece * (1 - t), 2 * piece - late * piece / 2

    def passing(count, mine, others):
        if batch == 1:
            return ((begin, piece), (begin + piece, piece), *walked(count))
        return ((begin + place * piece, np.minimum(mine, piece)),
                (begin + (1 - place) * piece, np.maximum(mine - piece, 0)),
                (begin + 2 * piece, others), *walked(count))  # fmt: skip

    longer = (np.maximum(*both) for both in zip(to_fold, to_store, strict=True))
    store = 2 * batch - fold
    return (
        passing(fold, *to_fold),
        passing(store, *to_store),
        passing(np.maximum(fold, store), *longer),
    )

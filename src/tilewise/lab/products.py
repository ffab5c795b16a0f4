"""Scores from parts of bfloat16 on AMX: what a group of rows touches, and what that moves.

Follows `walk` in `kernels/c/tw_split.c`: a group of 32 rows meets a block of panels, a block of the
depth at a time. Scores of a panel leave the tiles for an array in L1 and are folded into the
running bests while later panels are multiplied. Other instruction sets emulate the same products
for tests; numbers here are those of AMX.

Simpler than the kernel in three ways: here every panel of a block has scores of its own (32 KiB of
eight), where those that are finished take turns among four in the kernel (16 KiB); one panel is
folded at a time, not two; and the next chunk is fetched beside the first panel, not beside all.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tilewise.lab.reuse import SAMPLES, Again, Stretch, Visit
from tilewise.lab.shape import Shape
from tilewise.plan.split import SPLIT_STEP

__all__ = ["PART_ORDER", "SCORES", "group_accesses", "panel_loads", "score_visits"]

#: What the scratch array of scores is called.
SCORES = "scores"
#: Parts in the order in which they are loaded: "x" of the rows, "c" of the centres; a "*"
#: multiplies and folds some rows of the panel before.
PART_ORDER = {
    3: ("x1", "c0", "*", "x0", "*", "c1", "*"),
    6: ("x2", "c0", "*", "x1", "*", "c1", "*", "x0", "*", "c0", "*", "c2", "*"),
}


def panel_loads(products: int) -> tuple[int, int]:
    """How often a part of the rows and a part of the centres are loaded in one step."""
    order = PART_ORDER[products]
    return tuple(sum(name[0] == who for name in order) for who in "xc")


def _share(z: Shape, steps: int) -> int:
    """Rows that are folded after each product of a block of so many steps."""
    return -(-z.tile_rows // (z.products * steps))


def group_accesses(
    z: Shape,
    at: dict[str, int],
    start: int,
    panels: int,
    next_row: int | None,
    add: Callable,
) -> tuple[int, int]:
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

    Returns
    -------
    tuple of (int, int)
        Which accesses, counted from 0, fold the last panel of the group *before*: they are not
        made by the first group.
    """
    n_added = 0
    first_fold, last_fold = 0, 0
    group, part = z.tile_rows * z.packed_row_bytes, z.tile_rows * SPLIT_STEP * 2
    panel_part = SPLIT_STEP * z.width * 2
    bests = z.tile_rows * z.state_row_bytes
    row_bytes, ahead_bytes = z.d * z.data_item, SPLIT_STEP * z.data_item

    def _put(*access, **how):
        nonlocal n_added
        add(*access, **how)
        n_added += 1

    def _fold(panel, before, begin, rows):
        scores = at["scratch"] + panel * z.scratch_bytes + begin * z.width * z.item
        _put(SCORES, "read", scores, rows * z.width * z.item)
        for name in ("best", "second", "ordinal"):
            to = at[name] - before * bests + begin * z.state_row_bytes
            _put("running bests", "write", to, rows * z.state_row_bytes, step=bests)

    waiting: tuple[int, int] | None = (panels - 1, 1)
    for begin in range(0, z.depth, z.depth_block):
        end = min(begin + z.depth_block, z.depth)
        steps = (end - begin) // SPLIT_STEP
        share = _share(z, steps)
        for p in range(panels):
            panel = at["split panels"] + (start + p) * z.panel_bytes
            scores = at["scratch"] + p * z.scratch_bytes
            if begin == 0:
                _put("centres", "read", panel, z.width * z.item)
            else:
                _put(SCORES, "read", scores, z.scratch_bytes)
            folded = 0
            for s in range(begin // SPLIT_STEP, end // SPLIT_STEP):
                x = at["rows"] + s * z.parts * part
                c = panel + z.width * z.item + s * z.parts * panel_part
                for what in PART_ORDER[z.products]:
                    if what == "*":
                        rows = min(share, z.tile_rows - folded)
                        if waiting and rows:
                            if waiting[1] and not folded:
                                first_fold = n_added
                            _fold(*waiting, folded, rows)
                            folded += rows
                            if waiting[1]:
                                last_fold = n_added
                    elif what[0] == "x":
                        _put("packed rows", "read", x + int(what[1]) * part, part, step=group)
                    else:
                        _put("centres", "read", c + int(what[1]) * panel_part, panel_part)
                if next_row is not None and p == 0:
                    _put("row lists", "read", at["ahead"], 8 * z.tile_rows, step=8 * z.tile_rows)
                    for byte in range(s * ahead_bytes, min((s + 1) * ahead_bytes, row_bytes), 64):
                        _put("X", "prefetch", at["X"] + next_row * row_bytes + byte, 1,
                            step=z.tile_rows * row_bytes, count=z.tile_rows, stride=row_bytes,
                            early=True)  # fmt: skip
            _put(SCORES, "write", scores, z.scratch_bytes)
            waiting = (p, 0) if end == z.depth else None
    return first_fold, last_fold


def score_visits(
    z: Shape, at: int, tiles: int, inner: Sequence[Stretch], walk: Sequence[Stretch]
) -> list[Visit]:  # fmt: skip
    """Visits of the scratch array in a stage of `tiles` groups against a block of panels.

    A panel's scores are written once per block of the depth and read before the next one, a
    walk through all panels later; written again once they are multiplied; read a last time while
    the next panel is multiplied.

    Parameters
    ----------
    z : Shape
    at : int
        Address of the scratch array.
    tiles : int
    inner : sequence of (address, bytes)
        What is touched from one panel to the next: rows, two parts of panels, scores; where
        rows are one block of the depth, scores of the panel before, and bests.
    walk : sequence of (address, bytes)
        One block of the depth of every panel.
    """
    panels = len(walk)
    scratch = panels * z.scratch_bytes
    depth = min(z.depth_block, z.depth)
    depth_blocks = -(-z.depth // z.depth_block)
    rows, first, second, scores, *others = inner
    bests = others[1:]
    # Of two groups, unless there is nothing in between.
    turn = ((at, scratch), (rows[0], rows[1] * min(2, panels)),
            *((where, size * min(2, panels)) for where, size in bests),
            *walk)  # fmt: skip
    times = tiles * depth_blocks - 1
    steps = depth // SPLIT_STEP
    calls = -(-z.tile_rows // _share(z, steps))
    # Rows of a panel are folded one after the other, from its scores to the last such call.
    part = (np.arange(SAMPLES) + 0.5) / SAMPLES * min(1.0, calls / (z.products * steps))
    near = (scores, *((where, size * part) for where, size in (rows, walk[0], *bests)))
    far = (scores, rows, first, second)
    return [
        Visit(("scratch",), SCORES, scratch, True, turns=tiles, at=at,
              again=Again(times * scratch, turn, times * scratch)),
        Visit(("scratch", "again"), SCORES, 0.0, at=at,
              again=Again(tiles * (depth_blocks - 1) * scratch, far)),
        Visit(("scratch", "folded"), SCORES, 0.0, at=at,
              again=Again(tiles * scratch, near)),
    ]  # fmt: skip

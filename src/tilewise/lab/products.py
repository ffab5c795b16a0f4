"""Scores from parts of bfloat16 on AMX: what a group of rows touches.

Follows `walk` in `kernels/c/tw_split.c`: a group of 32 rows meets a block of panels, a block of the
depth at a time. Scores of two panels leave the tiles for one of two arrays in L1, and are folded
into the running bests while the next two are multiplied; between blocks of the depth they wait in
the workspace. Other instruction sets emulate the same products for tests; numbers here are those of
AMX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewise.lab.accesses import READ, WRITE, Access
from tilewise.plan.nest import PANELS_PER_BATCH
from tilewise.plan.split import SPLIT_STEP

if TYPE_CHECKING:
    from tilewise.lab.stages import Chunk

__all__ = ["PART_ORDER", "group_accesses", "panel_loads"]

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


class _Scores:
    """Accesses to the scores of a group: stored in one of two arrays, folded from there."""

    def __init__(self, chunk, panels, groups):
        self.z, self.at, self.panels = chunk.z, chunk.at, panels
        self.n_batches = -(-panels // PANELS_PER_BATCH)
        # One group more than there are, and an even number of them.
        self.group = np.arange(groups + 2 + groups % 2)

    def finished(self, kind, panel, before, begin=0, rows=None, **how):
        """Of the group itself or, with `before`, of the one before it."""
        z, row = self.z, self.z.width * self.z.item
        batch, place = divmod(panel, PANELS_PER_BATCH)
        second = (self.group * self.n_batches + batch - before * self.n_batches) % 2
        return Access(
            "finished", kind, self.at["finished"] + place * z.scratch_bytes + begin * row,
            (rows or z.tile_rows) * row, second * (PANELS_PER_BATCH * z.scratch_bytes), **how,
        )  # fmt: skip

    def fold(self, batch, before, begin, rows):
        """Some rows of a batch go into the running bests."""
        z, how = self.z, {"since": before, "until": before}
        state = z.state_row_bytes
        first = batch * PANELS_PER_BATCH
        for panel in range(first, min(self.panels, first + PANELS_PER_BATCH)):
            yield self.finished(READ, panel, before, begin, rows, **how)
        for name in ("best", "second", "ordinal"):
            to = self.at[name] + (begin - before * z.tile_rows) * state
            yield Access(name, WRITE, to, rows * state, z.tile_rows * state, **how)

    def waiting(self, kind, panel):
        """Between two blocks of the depth."""
        size = self.z.scratch_bytes
        return Access("scratch", kind, self.at["scratch"] + panel * size, size)


def group_accesses(chunk: Chunk, start: int, panels: int, groups: int) -> list[Access]:
    """Accesses of a group of rows to a block of panels.

    What was stored last is folded by the next group; behind the last one those accesses follow.
    """
    z, at, scores = chunk.z, chunk.at, _Scores(chunk, panels, groups)
    found: list[Access] = []
    group, part = z.tile_rows * z.packed_row_bytes, z.tile_rows * z.piece_bytes
    panel_part, half_norms = z.piece_bytes * z.width, z.width * z.item
    ahead_bytes = SPLIT_STEP * z.data_item
    # The batch that is folded, and the one that is finished with the next store.
    now: tuple[int, int] | None = (scores.n_batches - 1, 1)
    coming: tuple[int, int] | None = None
    folded = 0
    # Scores that are still in the tiles: their panel, and whether they wait for more features.
    held, waits = panels - 1, False
    for begin in range(0, z.depth, z.depth_block):
        end = min(begin + z.depth_block, z.depth)
        first_step, steps = begin // SPLIT_STEP, (end - begin) // SPLIT_STEP
        for p in range(panels):
            panel = at["split panels"] + (start + p) * z.panel_bytes
            batch, place = divmod(p, PANELS_PER_BATCH)
            together = min(PANELS_PER_BATCH, panels - batch * PANELS_PER_BATCH)
            # Rows that are folded after each product.
            share = -(-z.tile_rows // (z.products * steps * together))
            if coming:
                now, coming, folded = coming, None, 0
            fetched = [q * z.tile_rows // panels for q in (p, p + 1)]
            for s in range(first_step, first_step + steps):
                x = at["rows"] + s * z.parts * part
                c = panel + half_norms + s * z.parts * panel_part
                stored = s > first_step
                for what in PART_ORDER[z.products]:
                    if what[0] == "x":
                        found.append(Access("rows", READ, x + int(what[1]) * part, part, group))
                        continue
                    if what[0] == "c":
                        place_of = c + int(what[1]) * panel_part
                        found.append(Access("split panels", READ, place_of, panel_part))
                        continue
                    if not stored:
                        stored, before = True, int(begin == 0 and p == 0)
                        norms = Access("split panels", READ, panel, half_norms)
                        done = scores.finished(WRITE, held, before, until=before)
                        found.append(scores.waiting(WRITE, held) if waits else done)
                        found.append(scores.waiting(READ, p) if begin else norms)
                    rows = min(share, z.tile_rows - folded)
                    if now and rows:
                        found += scores.fold(*now, folded, rows)
                        folded += rows
                if chunk.ahead and start == 0 and fetched[1] > fetched[0]:
                    ends = s * ahead_bytes, min((s + 1) * ahead_bytes, z.row_bytes)
                    found += chunk.early(fetched[0], fetched[1] - fetched[0], *ends)
            held, waits = p, end < z.depth
            if not waits and (place == PANELS_PER_BATCH - 1 or p == panels - 1):
                coming = (batch, 0)
    return found

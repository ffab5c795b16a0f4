"""What a pass touches: one list of stages, from which both the trace and the formulas come.

A chunk is a sequence of loops (`accesses`). `trace` writes their turns out one after the other;
`visits` reads off how far apart two touches of the same bytes are.

The order is that of `_run_chunk` in `kernels/_assign.pyx`, `c/tw_pack.h` and `c/tw_tile.h`;
`products` has the scoring of rows that are split into parts, and `sums` the sums of clusters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tilewise.lab.accesses import PREFETCH, READ, WRITE, Access, Loop
from tilewise.lab.products import group_accesses
from tilewise.lab.sums import sums_accesses, sums_visit
from tilewise.plan import Plan
from tilewise.plan.nest import LoopNest

__all__ = ["Chunk", "dense_nest"]

_BESTS = ("best", "second", "ordinal")


def dense_nest(plan: Plan) -> LoopNest:
    """The loop nest of a plan of dense rows; ValueError for CSR rows."""
    if plan.layout == "csr":
        raise ValueError(
            "the accesses of CSR rows follow their stored entries, which a plan does not know: "
            "give a plan of dense rows"
        )
    return LoopNest.of(plan)


@dataclass(frozen=True)
class Chunk:
    """The loops of one chunk."""

    z: LoopNest
    at: dict[str, int]
    first: int
    count: int
    ahead: bool  # whether the rows of the next chunk are listed, to be fetched early
    fetch: bool = True  # whether those fetches take place
    update: bool = False  # whether each row is read once more, for the sums
    # Of the rows; without, sums are told as a visit at random.
    clusters: np.ndarray | None = None
    # Features of an access to packed rows and centres: a "block" of the depth, a "segment" of a
    # vector's width, or one "step".
    grain: str = "block"

    def loops(self) -> Iterator[Loop]:
        """All loops, in order."""
        z, count = self.z, self.count
        ids, norms, ahead = 8 * count, z.item * count, 8 * z.padded(z.chunk_rows)
        listed = [self._walk(("ahead", WRITE, ahead, ahead))] if self.ahead else []
        yield self._walk(("ids", WRITE, ids, ids))
        yield self._walk(("ids", READ, ids, 64), ("pointers", WRITE, ids, 64))
        if z.products:
            yield from listed
            yield self._pack_rows()
            squares = [(name, READ, norms, 64) for name in ("norms", "second_norms", "rest_norms")]
            yield self._walk(*squares, ("split_errors", WRITE, norms, 64))
        else:
            yield self._pack_groups() if z.packs_groups else self._pack_rows()
            yield from listed
        yield from self._score()
        yield self._walk(("norms", READ, norms, 64), ("band", WRITE, norms, 64))
        if z.products:
            yield self._walk(("split_errors", READ, norms, 64), ("band", WRITE, norms, 64))
        yield self._certify()
        yield self._walk(("label", READ, 4 * count, 4 * count))
        yield self._note()

    def _walk(self, *walks):
        """Buffers (key, kind, bytes in all, bytes at a time) that are walked through in turns."""
        turns = max(-(-total // each) for *_, total, each in walks)
        return Loop([Access(key, kind, self._of_rows(key), each, each, total)
                     for key, kind, total, each in walks], turns)  # fmt: skip

    def _of_rows(self, key):
        row = {"X": self.z.row_bytes, "labels": 4}.get(key, 0)
        return self.at[key] + self.first * row

    def _pack_groups(self):
        """A vector's width of rows at a time, turned over."""
        z, at = self.z, self.at
        groups = -(-self.count // z.lanes)
        row = np.arange(groups) * z.lanes
        to = row // z.tile_rows * z.tile_rows * z.packed_row_bytes + row % z.tile_rows * z.item
        group, rows = 8 * z.lanes, z.lanes * z.row_bytes
        return Loop([
            Access("pointers", READ, at["pointers"], group, group, 8 * self.count),
            Access("X", READ, self._of_rows("X"), rows, rows, self.count * z.row_bytes),
            Access("origin", READ, at["origin"], z.d * z.origin_item),
            Access("rows", WRITE, at["rows"], z.vector_bytes, to, count=z.d,
                   stride=z.tile_rows * z.item),
            Access("norms", WRITE, at["norms"], z.vector_bytes, z.vector_bytes),
        ], groups)  # fmt: skip

    def _pack_rows(self):
        z, at = self.z, self.at
        row = np.arange(self.count)
        size = z.packed_row_bytes if z.layout == "blas" else z.piece_bytes
        to = row * size
        if z.layout != "blas":
            to = row // z.tile_rows * (z.tile_rows * z.packed_row_bytes) + row % z.tile_rows * size
        squares = ("norms", "second_norms", "rest_norms") if z.products else ("norms",)
        return Loop([
            Access("pointers", READ, at["pointers"], 8, 8),
            Access("X", READ, self._of_rows("X"), z.row_bytes, z.row_bytes),
            Access("origin", READ, at["origin"], z.d * z.origin_item),
            Access("rows", WRITE, at["rows"], size, to, count=z.packed_row_bytes // size,
                   stride=(z.layout != "blas") * z.tile_rows * size),
            *(Access(name, WRITE, at[name], z.item, z.item) for name in squares),
        ], self.count)  # fmt: skip

    def _score(self):
        z = self.z
        state = z.padded(self.count) * z.state_row_bytes
        # The first panel of a split chunk is folded into nothing, and a product is scanned.
        if z.layout != "blas" and not z.products:
            yield self._walk(("best", WRITE, state, 64), ("second", WRITE, state, 64))
            yield self._walk(("ordinal", WRITE, state, state))
        if z.layout == "blas":
            yield from self._product()
        elif z.layout == "rows-in-lanes":
            yield self._all_groups()
        else:
            yield from self._blocks()

    def _product(self):
        """One matrix product: operands read once, scores written once; then the scores' scan."""
        z, at = self.z, self.at
        row, packed, state = z.k * z.item, z.packed_row_bytes, z.state_row_bytes
        yield self._walk(("packed", READ, z.d * row, z.d * row))
        yield Loop([Access("rows", READ, at["rows"], packed, packed),
                    Access("scratch", WRITE, at["scratch"], row, row)], self.count)  # fmt: skip
        yield Loop([
            Access("scratch", READ, at["scratch"], row, row),
            Access("half norms", READ, at["half norms"], row),
            *(Access(name, WRITE, at[name], state, state) for name in _BESTS),
        ], self.count)  # fmt: skip

    def _all_groups(self):
        """Panels of rows, each against all groups of centres."""
        z, at = self.z, self.at
        row_panel, group_row = z.tile_rows * z.item, z.width * z.item
        panel = row_panel * z.d

        def bests(kind):
            return [Access(name, kind, at[name], row_panel, row_panel) for name in _BESTS]

        accesses = bests(READ)
        for group in range(at["packed"], at["packed"] + z.n_panels * z.panel_bytes, z.panel_bytes):
            if self.grain != "step":
                accesses.append(Access("packed", READ, group, z.panel_bytes))
                accesses.append(Access("rows", READ, at["rows"], panel, panel))
                continue
            accesses.append(Access("packed", READ, group, group_row))
            for depth in range(z.d):
                x, c = at["rows"] + depth * row_panel, group + (1 + depth) * group_row
                accesses.append(Access("rows", READ, x, row_panel, panel))
                accesses.append(Access("packed", READ, c, group_row))
        return Loop(accesses + bests(WRITE), z.padded(self.count) // z.tile_rows)

    def _blocks(self):
        """Tiles of rows against one block of panels after the other."""
        z = self.z
        n_blocks = -(-z.n_panels // z.panels_per_block)
        tiles, block_bytes = z.padded(self.count) // z.tile_rows, z.panels_per_block * z.panel_bytes
        made = group_accesses if z.products else _tile_accesses
        blocks = range(n_blocks)
        if self.grain == "block" and n_blocks > 4:
            # The first differs by the early fetches, the second by what it finds of them.
            blocks = (0, 1, 2, n_blocks - 1)
        for block in blocks:
            start = block * z.panels_per_block
            weight = n_blocks - 3 if block == 2 and len(blocks) < n_blocks else 1
            panels = min(z.panels_per_block, z.n_panels - start)
            behind = self.at["split panels" if z.products else "packed"]
            behind += (start + panels) * z.panel_bytes
            yield Loop(made(self, start, panels, tiles), tiles, weight,
                       (weight - 1) * block_bytes, behind)  # fmt: skip

    def early(self, place: int, rows: int, begin: int, end: int) -> Iterator[Access]:
        """Fetches of bytes `begin` to `end` of some of the next chunk's rows, for every tile.

        The rows begin at number `place` of a tile's share. Each line is an access.
        """
        z, at = self.z, self.at
        yield Access("ahead", READ, at["ahead"] + 8 * place, 8 * rows, 8 * z.tile_rows)
        row = at["X"] + (self.first + self.count + place) * z.row_bytes
        for byte in range(begin, end, 64):
            yield Access("X", PREFETCH, row + byte, 1, z.tile_rows * z.row_bytes,
                         count=rows * self.fetch, stride=z.row_bytes)  # fmt: skip

    def _certify(self):
        z = self.z
        norms, state = self.count * z.item, self.count * z.state_row_bytes
        # Rows whose accesses are written together: those of one line of labels, or one.
        rows = 16 if z.layout == "rows-in-lanes" else 1
        more = () if z.layout == "rows-in-lanes" else ("lowest", "second_lowest")
        return self._walk(
            *((name, READ, state, rows * z.state_row_bytes) for name in _BESTS),
            ("band", READ, norms, rows * z.item),
            ("label", WRITE, 4 * self.count, 4 * rows),
            *((name, WRITE, norms, z.item) for name in more),
        )

    def _note(self):
        """Labels are noted; where sums are wanted, each row is added to those of its cluster."""
        z, at, count = self.z, self.at, self.count
        if not self.update:
            return self._walk(("ids", READ, 8 * count, 128), ("label", READ, 4 * count, 64),
                              ("labels", WRITE, 4 * count, 64))  # fmt: skip
        marks, sums = sums_accesses(z, at, self.clusters)
        return Loop([
            Access("ids", READ, at["ids"], 8, 8),
            Access("label", READ, at["label"], 4, 4),
            Access("labels", WRITE, self._of_rows("labels"), 4, 4),
            Access("pointers", READ, at["pointers"], 8, 8),
            *(Access(key, WRITE, *where) for key, *where in marks),
            Access("X", READ, self._of_rows("X"), z.row_bytes, z.row_bytes),
            Access("grid", READ, at["grid"], z.grid_bytes),
            *(Access(key, WRITE, *where) for key, *where in sums),
        ], count, visits=(sums_visit(z, count),))  # fmt: skip


def _tile_accesses(chunk, start, panels, tiles):
    """A tile of rows against a block of panels, a block of the depth at a time: `tw_tile.h`."""
    z, at, found = chunk.z, chunk.at, []
    tile, segment = z.tile_rows * z.packed_row_bytes, z.tile_rows * z.vector_bytes
    width, rows_apart = z.width * z.item, (z.tile_rows - 1) * z.vector_bytes
    features = z.depth_block if chunk.grain == "block" else z.lanes
    for begin in range(0, z.d, z.depth_block):
        end = min(begin + z.depth_block, z.d)
        for p in range(panels):
            panel = at["packed"] + (start + p) * z.panel_bytes
            if begin == 0:
                found.append(Access("packed", READ, panel, width))
            for depth in range(begin, end, features):
                n = min(features, end - depth)
                whole = n // z.lanes * z.lanes
                if chunk.ahead and start == p == 0 and whole:
                    ends = depth * z.data_item, (depth + whole) * z.data_item
                    found += chunk.early(0, z.tile_rows, *ends)
                x, c = at["rows"] + depth // z.lanes * segment, panel + (1 + depth) * width
                if chunk.grain == "step":
                    for i in range(n):
                        found.append(Access("packed", READ, c + i * width, width))
                        at_x = x + i * z.item
                        found.append(Access("rows", READ, at_x, rows_apart + z.item, tile))
                    continue
                others = (n - 1) // z.lanes
                size = others * segment + rows_apart + (n - others * z.lanes) * z.item
                found.append(Access("rows", READ, x, size, tile))
                found.append(Access("packed", READ, c, n * width))
            partial = at["scratch"] + p * z.tile_rows * width
            if begin:
                found.append(Access("scratch", READ, partial, z.tile_rows * width))
            if end < z.d:
                found.append(Access("scratch", WRITE, partial, z.tile_rows * width))
            else:
                found += [Access(name, WRITE, at[name], segment, segment) for name in _BESTS]
    return found

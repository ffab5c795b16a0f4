"""The addresses that a pass touches, in the order in which the kernels touch them.

`Trace` follows `kernels/_assign.pyx`, `_score.pyx`, `c/tw_pack.h` and `c/tw_tile.h`, or
`c/tw_split_pack.h` and `c/tw_split.c` where scores are products of parts (as they run on AMX),
loop by loop, with the sizes of a `Plan`, for one thread and a pass that scores every row. It
yields arrays in the form that `kernels._cachesim` takes: accesses to whole ranges of cache lines.

What is left out, because it depends on the values of the data: the second look at rows that
rounding leaves open, bounds, weights. Left out because it is small and stays in L1 or registers:
the stack, code, and one report per shard. The inside of the matrix product of the engine "blas"
belongs to the BLAS library: the trace has its operands read once and its result written once for
each chunk, which is the least that any BLAS moves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tilewise.lab._accesses import (
    BUFFERS,
    CODE,
    KIND,
    PREFETCH,
    READ,
    WRITE,
    one,
    pieces,
    rows_in_turns,
    stack,
)
from tilewise.lab.addresses import addresses
from tilewise.lab.products import PANELS_PER_BATCH, Folds, group_accesses
from tilewise.lab.shape import Shape
from tilewise.plan import Plan

__all__ = ["BUFFERS", "Trace"]

# Rows whose row-by-row accesses are written out at a time.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Trace:
    """Accesses of one thread that runs a plan over all rows.

    Attributes
    ----------
    plan : Plan
        Of dense rows that are read where they stand.
    update : bool, default=False
        Whether every row is also added to the sums of its cluster, as in the first pass of a
        fit.
    prefetch : bool, default=True
        Whether the early fetches of the next chunk's rows into L2 take place. Without, the list
        of those rows is still written and read, as by the kernels.
    steps : bool, default=False
        Write out every step of the depth instead of one segment (a vector's width) at a time.
        Which lines are touched is the same; only their order within a segment differs. Ten
        times as many accesses.
    clusters : ndarray of shape (n_samples,), optional
        Cluster of each row, for the sums. Drawn at random, evenly, by default.
    known : mapping of str to int, optional
        Addresses of a real run, as `addresses` takes them.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.trace import Trace
    >>> trace = Trace(tilewise.plan(1000, 16, 8, n_threads=1))
    >>> ops = next(trace.chunk(0, 100))
    >>> ops.shape[1]
    5
    """

    plan: Plan
    update: bool = False
    prefetch: bool = True
    steps: bool = False
    clusters: np.ndarray | None = None
    known: Mapping[str, int] | None = None
    shape: Shape = field(init=False)
    at: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Shape.of(self.plan))
        object.__setattr__(self, "at", addresses(self.shape, update=self.update,
                                                 known=self.known))  # fmt: skip

    # ------------------------------------------------------------ the walk

    def shard(self, index: int) -> Iterator[np.ndarray]:
        """Accesses of one shard, chunk after chunk, as int64 arrays (m, 5)."""
        for first, count in self.shape.chunks(index):
            yield from self.chunk(first, count)

    def chunk(self, first: int, count: int) -> Iterator[np.ndarray]:
        """Accesses of the chunk of `count` rows from row `first` on."""
        z, at = self.shape, self.at
        yield one("row lists", WRITE, at["ids"], 8 * count)
        yield rows_in_turns(
            ("row lists", READ, at["ids"], 8 * count, 64),
            ("row lists", WRITE, at["pointers"], 8 * count, 64),
        )
        ahead = z.layout == "centres-in-lanes" and self._fetches_ahead(first, count)
        list_ahead = one("row lists", WRITE, at["ahead"], 8 * z.padded(z.chunk_rows))
        if ahead and z.products:
            yield list_ahead
        yield from self._pack(first, count)
        if ahead and not z.products:
            yield list_ahead
        if z.layout == "blas":
            yield from self._product(count)
        elif z.layout == "rows-in-lanes":
            yield from self._clear_state(count)
            yield from self._score_lanes(count)
        else:
            # The first panel of a split chunk is folded into nothing.
            if not z.products:
                yield from self._clear_state(count)
            yield from self._score_panels(first, count)
        yield from self._certify(count)
        yield one("certificate", READ, at["label"], 4 * count)
        yield from self._note_labels(first, count)

    def _fetches_ahead(self, first, count):
        return first + count < self.shape.n

    def _pack(self, first, count):
        z, at = self.shape, self.at
        row_bytes, origin_bytes = z.d * z.data_item, z.d * z.origin_item
        if z.layout == "rows-in-lanes" and 2 * z.d >= z.lanes:
            group = z.lanes * z.d
            for start, groups in pieces(-(-count // z.lanes), _BLOCK_ROWS):
                g = np.arange(start, start + groups)
                panel, inside = g * z.lanes // z.tile_rows, g * z.lanes % z.tile_rows
                rows = np.minimum(z.lanes, count - g * z.lanes)
                to = at["rows"] + panel * (z.tile_rows * z.d * z.item) + inside * z.item
                yield stack(
                    ("row lists", READ, at["pointers"] + 8 * z.lanes * g, 8 * rows),
                    ("X", READ, at["X"] + first * row_bytes + g * group * z.data_item,
                     rows * row_bytes),
                    ("origin", READ, at["origin"], origin_bytes),
                    ("packed rows", WRITE, to, z.vector_bytes, z.d, z.tile_rows * z.item),
                    ("certificate", WRITE, at["norms"] + g * z.vector_bytes, z.vector_bytes),
                )  # fmt: skip
            return
        if z.products:
            size, apart = 64, z.tile_rows * 64
            n_pieces = z.packed_row_bytes // 64
        elif z.layout == "rows-in-lanes":
            size, n_pieces, apart = z.item, z.d, z.tile_rows * z.item
        elif z.layout == "blas":
            size, n_pieces, apart = z.packed_row_bytes, 1, 0
        else:
            size = z.vector_bytes
            n_pieces, apart = -(-z.d // z.lanes), z.tile_rows * z.vector_bytes
        squares = ("norms", "seconds", "rests") if z.products else ("norms",)
        for start, rows in pieces(count, _BLOCK_ROWS):
            r = np.arange(start, start + rows)
            tile, inside = r // z.tile_rows, r % z.tile_rows
            if z.layout == "blas":
                to = at["rows"] + r * z.packed_row_bytes
            else:
                to = at["rows"] + tile * (z.tile_rows * z.packed_row_bytes)
                to = to + inside * (
                    z.item if z.layout == "rows-in-lanes" else 64 if z.products else z.vector_bytes
                )
            yield stack(
                ("row lists", READ, at["pointers"] + 8 * r, 8),
                ("X", READ, at["X"] + (first + r) * row_bytes, row_bytes),
                ("origin", READ, at["origin"], origin_bytes),
                ("packed rows", WRITE, to, size, n_pieces, apart),
                *(("certificate", WRITE, at[name] + z.item * r, z.item) for name in squares),
            )
        if z.products:
            kinds = (*((name, READ) for name in squares), ("drops", WRITE))
            yield rows_in_turns(
                *(("certificate", kind, at[name], count * z.item, 64) for name, kind in kinds)
            )

    def _clear_state(self, count):
        z, at = self.shape, self.at
        size = z.padded(count) * z.state_row_bytes
        yield rows_in_turns(
            ("running bests", WRITE, at["best"], size, 64),
            ("running bests", WRITE, at["second"], size, 64),
        )
        yield one("running bests", WRITE, at["ordinal"], size)

    def _score_panels(self, first, count):
        """Blocks of panels, tiles of rows, blocks of the depth, panels: as in `tw_tile.h`."""
        z = self.shape
        n_tiles = z.padded(count) // z.tile_rows
        for start in range(0, z.n_panels, z.panels_per_block):
            panels = min(z.panels_per_block, z.n_panels - start)
            ahead = start == 0 and self._fetches_ahead(first, count)
            pattern = self._group_pattern if z.products else self._tile_pattern
            ops, steps, is_ahead, folds = pattern(start, panels, first + count, ahead)
            if not self.prefetch:
                ops[is_ahead, 2] = 0
            flips = np.fromiter(folds.arrays, dtype=np.int64)
            batch = np.fromiter(folds.arrays.values(), dtype=np.int64)
            n_batches = -(-panels // PANELS_PER_BATCH)
            each = max(1, 2_000_000 // (5 * len(ops)))
            for t, tiles in pieces(n_tiles, each):
                block = np.repeat(ops[None], tiles, axis=0)
                block[:, :, 0] += np.arange(t, t + tiles)[:, None] * steps
                if z.products:
                    second = (np.arange(t, t + tiles)[:, None] * n_batches + batch) % 2
                    block[:, flips, 0] += second * PANELS_PER_BATCH * z.scratch_bytes
                if ahead:
                    self._stop_at_last_row(block, is_ahead)
                block = block.reshape(-1, 5)
                yield np.delete(block, folds.before, axis=0) if t == 0 else block
            if z.products:
                # What the group after the last one would have stored and folded.
                last = ops.copy()
                last[:, 0] += n_tiles * steps
                second = (n_tiles * n_batches + batch) % 2
                last[flips, 0] += second * PANELS_PER_BATCH * z.scratch_bytes
                yield last[folds.closing]

    def _stop_at_last_row(self, block, is_ahead):
        """Fetches behind the last row of X fetch the last row instead."""
        z = self.shape
        row = z.d * z.data_item
        end = self.at["X"] + z.n * row
        address, count = block[:, is_ahead, 0], block[:, is_ahead, 2]
        inside = (address - self.at["X"]) % row
        left = (end - (address - inside)) // row
        block[:, is_ahead, 0] = np.where(left < 1, end - row + inside, address)
        block[:, is_ahead, 2] = np.clip(left, 1, count)

    def _tile_pattern(self, start, panels, next_row, ahead):
        """Accesses of tile 0, what each address grows by per tile, and which are early fetches."""
        z, at = self.shape, self.at
        ops, steps, is_ahead = [], [], []
        tile_bytes = z.tile_rows * z.packed_row_bytes
        segment = z.lanes * z.tile_rows * z.item
        width_bytes = z.width * z.item
        row_bytes = z.d * z.data_item

        def add(name, kind, address, size, step=0, count=1, stride=0, early=False):
            ops.append((address, size, count, stride, CODE[name] + kind))
            steps.append(step)
            is_ahead.append(early)

        for begin in range(0, z.d, z.depth_block):
            end = min(begin + z.depth_block, z.d)
            for p in range(panels):
                panel = at["packed"] + (start + p) * z.panel_bytes
                if begin == 0:
                    add("centres", READ, panel, width_bytes)
                for depth in range(begin, end, z.lanes):
                    n = min(z.lanes, end - depth)
                    if ahead and p == 0 and n == z.lanes:
                        add("row lists", READ, at["ahead"], 8 * z.tile_rows, 8 * z.tile_rows)
                        for byte in range(depth * z.data_item, (depth + n) * z.data_item, 64):
                            x = at["X"] + next_row * row_bytes + byte
                            step = z.tile_rows * row_bytes
                            add("X", PREFETCH, x, 1, step, z.tile_rows, row_bytes, early=True)
                    x = at["rows"] + depth // z.lanes * segment
                    c = panel + (1 + depth) * width_bytes
                    rows_apart = (z.tile_rows - 1) * z.vector_bytes
                    if self.steps:
                        for i in range(n):
                            add("centres", READ, c + i * width_bytes, width_bytes)
                            add(
                                "packed rows",
                                READ,
                                x + i * z.item,
                                rows_apart + z.item,
                                tile_bytes,
                            )
                    else:
                        add("packed rows", READ, x, rows_apart + n * z.item, tile_bytes)
                        add("centres", READ, c, n * width_bytes)
                partial = at["scratch"] + p * z.tile_rows * width_bytes
                if begin:
                    add("partial scores", READ, partial, z.tile_rows * width_bytes)
                if end < z.d:
                    add("partial scores", WRITE, partial, z.tile_rows * width_bytes)
                    continue
                for name in ("best", "second", "ordinal"):
                    size = z.tile_rows * z.vector_bytes
                    add("running bests", WRITE, at[name], size, size)
        return (
            np.array(ops, dtype=np.int64),
            np.array(steps, dtype=np.int64),
            np.flatnonzero(is_ahead),
            Folds(),
        )

    def _group_pattern(self, start, panels, next_row, ahead):
        """The same for a group of rows that are split, and what folds the group before it."""
        ops, steps, is_ahead = [], [], []

        def add(name, kind, address, size, step=0, count=1, stride=0, early=False):
            ops.append((address, size, count, stride, CODE[name] + KIND[kind]))
            steps.append(step)
            is_ahead.append(early)

        z, at = self.shape, self.at
        folds = group_accesses(z, at, start, panels, next_row if ahead else None, add)
        ops, steps = np.array(ops, dtype=np.int64), np.array(steps, dtype=np.int64)
        return ops, steps, np.flatnonzero(is_ahead), folds

    def _score_lanes(self, count):
        z, at = self.shape, self.at
        row_panel = z.tile_rows * z.item
        group_row = z.width * z.item
        ops, steps = [], []

        def add(name, kind, address, size, step=0):
            ops.append((address, size, 1, 0, CODE[name] + kind))
            steps.append(step)

        for name in ("best", "second", "ordinal"):
            add("running bests", READ, at[name], row_panel, row_panel)
        for g in range(z.n_panels):
            group = at["packed"] + g * z.panel_bytes
            if self.steps:
                add("centres", READ, group, group_row)
                for depth in range(z.d):
                    x = at["rows"] + depth * row_panel
                    add("packed rows", READ, x, row_panel, row_panel * z.d)
                    add("centres", READ, group + (1 + depth) * group_row, group_row)
            else:
                add("centres", READ, group, z.panel_bytes)
                add("packed rows", READ, at["rows"], row_panel * z.d, row_panel * z.d)
        for name in ("best", "second", "ordinal"):
            add("running bests", WRITE, at[name], row_panel, row_panel)
        ops, steps = np.array(ops, dtype=np.int64), np.array(steps, dtype=np.int64)
        for t, tiles in pieces(z.padded(count) // z.tile_rows, max(1, 400_000 // len(ops))):
            block = np.repeat(ops[None], tiles, axis=0)
            block[:, :, 0] += np.arange(t, t + tiles)[:, None] * steps
            yield block.reshape(-1, 5)

    def _product(self, count):
        z, at = self.shape, self.at
        yield one("centres", READ, at["packed"], z.k * z.d * z.item)
        row = z.k * z.item
        for start, rows in pieces(count, _BLOCK_ROWS):
            r = np.arange(start, start + rows)
            yield stack(
                ("packed rows", READ, at["rows"] + r * z.packed_row_bytes, z.packed_row_bytes),
                ("scores", WRITE, at["scratch"] + r * row, row),
            )
        for start, rows in pieces(count, _BLOCK_ROWS):
            r = np.arange(start, start + rows)
            state = r * z.state_row_bytes
            yield stack(
                ("scores", READ, at["scratch"] + r * row, row),
                ("centres", READ, at["half norms"], row),
                ("running bests", WRITE, at["best"] + state, z.state_row_bytes),
                ("running bests", WRITE, at["second"] + state, z.state_row_bytes),
                ("running bests", WRITE, at["ordinal"] + state, z.state_row_bytes),
            )

    def _certify(self, count):
        z, at = self.shape, self.at
        item, state = count * z.item, count * z.state_row_bytes
        yield rows_in_turns(
            ("certificate", READ, at["norms"], item, 64),
            ("certificate", WRITE, at["band"], item, 64),
        )
        if z.products:
            yield rows_in_turns(
                ("certificate", READ, at["drops"], item, 64),
                ("certificate", WRITE, at["band"], item, 64),
            )
        # Rows whose accesses are written together: those of one line of labels, or one.
        rows = 16 if z.layout == "rows-in-lanes" else 1
        each = rows * z.state_row_bytes
        accesses = [
            *(("running bests", READ, at[name], state, each)
              for name in ("best", "second", "ordinal")),
            ("certificate", READ, at["band"], item, rows * z.item),
            ("certificate", WRITE, at["label"], 4 * count, 4 * rows),
        ]  # fmt: skip
        if z.layout != "rows-in-lanes":
            for name in ("lowest", "following"):
                accesses.append(("certificate", WRITE, at[name], item, z.item))
        yield rows_in_turns(*accesses)

    def _note_labels(self, first, count):
        z, at = self.shape, self.at
        if not self.update:
            yield rows_in_turns(
                ("row lists", READ, at["ids"], 8 * count, 128),
                ("certificate", READ, at["label"], 4 * count, 64),
                ("labels", WRITE, at["labels"] + 4 * first, 4 * count, 64),
            )
            return
        slot = first // z.shard_rows % z.slots
        labels = self._clusters(first, count)
        row_bytes = z.d * z.data_item
        for start, rows in pieces(count, _BLOCK_ROWS):
            r = np.arange(start, start + rows)
            to = slot * z.k + labels[start : start + rows]
            yield stack(
                ("row lists", READ, at["ids"] + 8 * r, 8),
                ("certificate", READ, at["label"] + 4 * r, 4),
                ("labels", WRITE, at["labels"] + 4 * (first + r), 4),
                ("row lists", READ, at["pointers"] + 8 * r, 8),
                ("sums", WRITE, at["touched"] + to, 1),
                ("sums", WRITE, at["slot weights"] + 8 * to, 8),
                ("sums", WRITE, at["slot members"] + 8 * to, 8),
                ("X", READ, at["X"] + (first + r) * row_bytes, row_bytes),
                ("origin", READ, at["shift"], 8 * z.d),
                ("sums", WRITE, at["slot sums"] + to * z.sums_row_bytes, 8 * z.d),
            )

    def _clusters(self, first, count):
        """Clusters of some rows, the same whenever they are asked for."""
        if self.clusters is not None:
            return np.asarray(self.clusters[first : first + count], dtype=np.int64)
        return np.random.default_rng(first).integers(self.shape.k, size=count)

    def merge(self, first: int, shards: int) -> Iterator[np.ndarray]:
        """Accesses of merging the sums of `shards` shards, from shard `first` on."""
        z, at = self.shape, self.at
        row = z.sums_row_bytes
        met = np.zeros((z.k, shards), dtype=bool)
        for s in range(shards):
            for start, count in z.chunks(first + s):
                met[self._clusters(start, count), s] = True
        # Cluster by cluster, and shard by shard within each.
        j, s = np.nonzero(met)
        to = s * z.k + j
        yield stack(
            ("sums", WRITE, at["touched"] + to, 1),
            ("sums", WRITE, at["slot weights"] + 8 * to, 8),
            ("sums", WRITE, at["slot members"] + 8 * to, 8),
            ("sums", WRITE, at["sums"] + j * row, row),
            ("sums", WRITE, at["slot sums"] + to * row, row),
        )

"""Mini-batches of rows that are read, each row once an epoch."""

import math
import time
from dataclasses import replace

import numpy as np

from tilewise.kernels._rows import Rows
from tilewise.plan import Plan

from .minibatch import BatchPass
from .stream import StreamRows, short_source

__all__ = ["ReadBatches", "batch_bytes"]

# Rows that lie side by side in the source and are read together: a read that a disk does not
# notice. Part of what decides which rows share a batch, so it is fixed.
_BLOCK_BYTES = 2**20
# Bytes for each row of the pool: its number. For each row of a group: its places in the order, in
# the one before and in the one that is made of it. And for each row of a batch: place, number,
# weight, label, norms and scores.
_ID_BYTES = 8
_ORDER_BYTES = 8 + 8 + 8
_PLACE_BYTES = 64
# Blocks whose rows are mixed; fixed for the same reason.
_GROUP_BLOCKS = 16
# Blocks that are read ahead: a group, so that reading goes on while its batches are worked on.
_AHEAD_BLOCKS = 16


class ReadBatches:
    """Batches of a source's rows: shuffled by blocks, or in the order in which they come.

    In an epoch every row is read once. The blocks of a source with random access are read in an
    order drawn anew, others as they come; the rows of sixteen blocks at a time are permuted. What
    is left over from them is mixed with the next ones; what is left at the end of an epoch makes
    a smaller batch.

    Blocks are read into a pool, of which the reader fills one half while batches are made of the
    other: a row is copied only if it is left over, to the end of the pool.

    Parameters
    ----------
    rows : StreamRows
        Where nobody knows how many there are, they come once, in order.
    n_clusters : int
    plan : Plan
        Of a pass over one batch.
    weights : ndarray of shape (n_rows,), float64, or None
        How much each row counts.
    batch_size : int
    random_state : RandomState
        What draws the order of rows that do not come once.
    ahead : int
        Rows that can be looked at before the first batch.

    Attributes
    ----------
    n_rows : int
        Rows there are; rows so far where nobody knew.
    at_rest : bool
        Whether the last batch was the last of an epoch.
    rows_read : int
    """

    def __init__(
        self, rows: StreamRows, n_clusters: int, plan: Plan, weights, batch_size: int,
        random_state, *, ahead: int = 0,
    ):  # fmt: skip
        source, n_rows = rows.source, rows.n_rows
        self._of, self._source, self._weights, self._plan = rows, source, weights, plan
        self._k, self._batch_size = n_clusters, batch_size
        self._random_state = None if n_rows is None else random_state
        self._total = n_rows
        self.block_rows = block_rows(source)
        self._group_rows = _group_rows(self.block_rows, batch_size, ahead)
        blocks = _pool_blocks(self.block_rows, self._group_rows, n_rows)
        self._left_at = blocks * self.block_rows
        room = self._left_at + _left_rows(self._group_rows, batch_size, n_rows)
        from tilewise.sources import aligned_empty

        self._pool = aligned_empty((room, source.n_features), source.dtype)
        self._rows = Rows(self._pool)
        self._ids = np.empty(room, dtype=np.int64)
        # The blocks that are held, as numbers and rows; rows that are left over from those before.
        self._blocks, self._n_left = [], 0
        self._order = np.empty(0, dtype=np.int64)
        self._next = 0
        self._batches = {}
        self._prefetch = None
        self._ended = False
        self.n_rows = n_rows or 0
        self.rows_read = 0
        self.at_rest = False
        self.seconds_reading = self.seconds_waiting = self.seconds_open = 0.0
        self.bytes_read = self.passes = 0

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self._close()
        self._book()

    def first_rows(self, count: int) -> Rows:
        """Copies of the first rows, which remain to be batched; fewer if there are fewer."""
        if self._prefetch is None:
            self._open()
        while self._held < count and self._read_block():
            pass
        return Rows(self._pool[self._places()[:count]])

    def next_batch(self) -> BatchPass | None:
        """The next batch; None after the one epoch of rows that stay in order."""
        if self.at_rest and self._random_state is None:
            return None
        self.at_rest = False
        if self._prefetch is None:
            self._open()
        if len(self._order) - self._next < self._batch_size and not self._ended:
            self._fill()
        size = min(self._batch_size, len(self._order) - self._next)
        if size == 0:
            self._finish_epoch()
            return None
        chosen = self._order[self._next : self._next + size]
        self._next += size
        batch = self._batch(size)
        batch.places[:] = chosen
        if self._weights is not None:
            np.take(self._weights, batch.ids, out=batch.weights)
        if self._ended and self._next == len(self._order):
            self._finish_epoch()
        return batch

    def most_steps(self, epochs: int) -> int | None:
        """Steps of so many epochs; None where nobody knows."""
        return None if self._total is None else epochs * self._per_epoch

    def epochs(self, steps: int) -> int:
        """Epochs that so many steps amount to, rounded up."""
        return 1 if self._total is None else math.ceil(steps / self._per_epoch)

    @property
    def _per_epoch(self):
        return math.ceil(self._total / self._batch_size)

    def whole_weight(self) -> float:
        """What the mean inertia of a row is multiplied by for an estimate of that of all."""
        return self.n_rows

    def _book(self):
        """Add what these epochs took to the report of the rows."""
        before = self._of.report
        self._of.report = replace(
            before,
            passes=before.passes + self.passes,
            rows=before.rows + self.rows_read,
            bytes_read=before.bytes_read + self.bytes_read,
            seconds_reading=before.seconds_reading + self.seconds_reading,
            seconds_waiting=before.seconds_waiting + self.seconds_waiting,
            seconds_computing=before.seconds_computing + self.seconds_open - self.seconds_waiting,
        )
        self.rows_read = self.bytes_read = self.passes = 0
        self.seconds_reading = self.seconds_waiting = self.seconds_open = 0.0

    def _batch(self, size):
        if size not in self._batches:
            self._batches = {
                size: _ReadBatch(
                    self._of, self._rows, self._ids, size, self._k, self._weights, self._plan
                )
            }
        return self._batches[size]

    def _open(self):
        """Begin an epoch: draw the order of the blocks."""
        from tilewise.sources import Prefetch

        parts = None
        if self._total is not None:
            firsts = np.arange(0, self._total, self.block_rows)
            if self._random_state is not None and self._source.random_access:
                firsts = firsts[self._random_state.permutation(len(firsts))]
            parts = [(int(at), min(self.block_rows, self._total - int(at))) for at in firsts]
        starts = range(0, self._left_at, self.block_rows)
        self._prefetch = Prefetch(
            self._source,
            parts,
            rows=self.block_rows,
            buffers=[self._pool[at : at + self.block_rows] for at in starts],
        )
        self._begin = time.perf_counter()
        self._prefetch.__enter__()
        self._ended = False
        self._in_epoch = 0

    @property
    def _held(self):
        """Rows that lie in the pool, to be batched."""
        return self._n_left + sum(count for _, count in self._blocks)

    def _places(self):
        """Where they lie, in the order in which they came."""
        runs = [(self._left_at, self._n_left)]
        runs += [(index * self.block_rows, count) for index, count in self._blocks]
        return np.concatenate([np.arange(at, at + count) for at, count in runs])

    def _read_block(self):
        got = self._prefetch.take()
        if got is None:
            self._ended = True
            return False
        first, values, index = got
        count, at = len(values), index * self.block_rows
        self._blocks.append((index, count))
        self._ids[at : at + count] = np.arange(first, first + count)
        self.rows_read += count
        self._in_epoch += count
        if self._total is None:
            self.n_rows = self.rows_read
        return True

    def _fill(self):
        """Keep what is left over, read more, and mix."""
        if len(self._order):
            left = self._order[self._next :]
            kept = slice(self._left_at, self._left_at + len(left))
            self._pool[kept], self._ids[kept] = self._pool[left], self._ids[left]
            self._n_left = len(left)
            for index, _ in self._blocks:
                self._prefetch.give_back(index)
            self._blocks = []
        while self._held < self._group_rows and self._read_block():
            pass
        self._order = self._places()
        if self._random_state is not None:
            self._order = self._order[self._random_state.permutation(len(self._order))]
        self._next = 0

    def _finish_epoch(self):
        if self._total is not None and self._in_epoch != self._total:
            raise short_source(self._source, self._in_epoch, self._total)
        self._close()
        self._blocks, self._n_left, self._next = [], 0, 0
        self._order = self._order[:0]
        self.at_rest = True
        self.passes += 1

    def _close(self):
        if self._prefetch is not None:
            self._prefetch.__exit__(None, None, None)
            self.seconds_open += time.perf_counter() - self._begin
            self.seconds_reading += self._prefetch.seconds_reading
            self.seconds_waiting += self._prefetch.seconds_waiting
            self.bytes_read += int(self._prefetch.bytes_read)
        self._prefetch = None


class _ReadBatch(BatchPass):
    """A batch of rows of the buffer, which are gathered while they are packed."""

    def __init__(self, of, rows, ids, size, n_clusters, weights, plan):
        self._of, self._ids = of, ids
        self.places = np.zeros(size, dtype=np.int64)
        self.weights = None if weights is None else np.empty(size)
        super().__init__(rows, n_clusters, plan, ids=self.places, weights=self.weights)

    @property
    def ids(self):
        """Numbers of the rows in the source, (b,) int64."""
        return self._ids[self.places]

    @property
    def values(self):
        """A copy of the rows, (b, d)."""
        return self.rows.source[self.places]

    def step(self, centers, moved, counts, stale=None):
        try:
            return super().step(centers, moved, counts, stale)
        except ValueError:
            ids, values = self.ids, self.values
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if bad.size:
                at = bad[np.argmin(ids[bad])]
                self._of.raise_located(int(ids[at]), values[at : at + 1])
            raise


def _group_rows(block, batch_size, ahead):
    """Rows that are mixed together."""
    return max(_GROUP_BLOCKS * block, -(-batch_size // block) * block, ahead)


def _pool_blocks(block, group_rows, n_rows):
    """Blocks of the pool: a group, and what is read meanwhile."""
    room = -(-group_rows // block) + _AHEAD_BLOCKS
    return room if n_rows is None else max(2, min(room, -(-n_rows // block)))


def _left_rows(group_rows, batch_size, n_rows):
    """Rows at the end of the pool, for what may be left of a group: less than a batch."""
    return 0 if n_rows is not None and n_rows < group_rows else batch_size


def block_rows(source) -> int:
    """Rows that are read together."""
    return max(1, _BLOCK_BYTES // (source.n_features * source.dtype.itemsize))


def batch_bytes(source, n_rows, batch_size: int, ahead: int = 0) -> int:
    """Bytes that `ReadBatches` holds, the memory that rows are read into included."""
    block = block_rows(source)
    group = _group_rows(block, batch_size, ahead)
    left = _left_rows(group, batch_size, n_rows)
    row = source.n_features * source.dtype.itemsize
    room = _pool_blocks(block, group, n_rows) * block + left
    mixed = group + left if n_rows is None else min(group + left, n_rows)
    # What is left of a group is copied twice on its way to the end of the pool.
    return room * (row + _ID_BYTES) + mixed * _ORDER_BYTES + batch_size * _PLACE_BYTES + left * row

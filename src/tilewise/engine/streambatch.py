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
# Bytes for each row of the buffer: its number, its places in the order and in the next one. And for
# each row of a batch: place, number, weight, label, norms and scores.
_ID_BYTES = 8 + 8 + 8
_PLACE_BYTES = 64
# Blocks whose rows are mixed; fixed for the same reason.
_GROUP_BLOCKS = 16
# Blocks that are read ahead: a group, so that reading goes on while its batches are worked on.
_AHEAD_BLOCKS = 16


class ReadBatches:
    """Batches of a source's rows: shuffled by blocks, or in the order in which they come.

    In an epoch every row is read once. The blocks of a source with random access are read in an
    order drawn anew, others as they come; sixteen blocks at a time lie in a buffer, whose rows
    are permuted. What is left over from a buffer is mixed with the next one; what is left at the
    end of an epoch makes a smaller batch.

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
        room = _buffer_rows(self.block_rows, batch_size, ahead, n_rows)
        self._buffer = np.empty((room, source.n_features), dtype=source.dtype)
        self._rows = Rows(self._buffer)
        self._ids = np.empty(room, dtype=np.int64)
        self._held = 0
        self._order = np.empty(0, dtype=np.int64)
        self._next = 0
        self._batches = {}
        self._parts = self._prefetch = None
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
        if self._parts is None:
            self._open()
        while self._held < count and self._read_block():
            pass
        return Rows(self._buffer[: min(count, self._held)].copy())

    def next_batch(self) -> BatchPass | None:
        """The next batch; None after the one epoch of rows that stay in order."""
        if self.at_rest and self._random_state is None:
            return None
        self.at_rest = False
        if self._parts is None:
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
        self._prefetch = Prefetch(
            self._source,
            parts,
            rows=self.block_rows,
            n_buffers=_blocks_ahead(self._total, self.block_rows),
        )
        self._begin = time.perf_counter()
        self._prefetch.__enter__()
        self._parts = iter(self._prefetch)
        self._ended = False
        self._in_epoch = 0

    def _read_block(self):
        got = next(self._parts, None)
        if got is None:
            self._ended = True
            return False
        first, values = got
        at, self._held = self._held, self._held + len(values)
        self._buffer[at : self._held] = values
        self._ids[at : self._held] = np.arange(first, first + len(values))
        self.rows_read += len(values)
        self._in_epoch += len(values)
        if self._total is None:
            self.n_rows = self.rows_read
        return True

    def _fill(self):
        """Move what is left to the front, read behind it, and mix."""
        rest = self._order[self._next :]
        if len(self._order):
            self._buffer[: len(rest)] = self._buffer[rest]
            self._ids[: len(rest)] = self._ids[rest]
            self._held = len(rest)
        while self._held < self._group_rows and self._read_block():
            pass
        self._order = (
            np.arange(self._held)
            if self._random_state is None
            else self._random_state.permutation(self._held)
        )
        self._next = 0

    def _finish_epoch(self):
        if self._total is not None and self._in_epoch != self._total:
            raise short_source(self._source, self._in_epoch, self._total)
        self._close()
        self._held = self._next = 0
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
        self._prefetch = self._parts = None


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


def _blocks_ahead(n_rows, block):
    return _AHEAD_BLOCKS if n_rows is None else max(2, min(_AHEAD_BLOCKS, -(-n_rows // block)))


def _group_rows(block, batch_size, ahead):
    """Rows that are mixed together."""
    return max(_GROUP_BLOCKS * block, -(-batch_size // block) * block, ahead)


def _buffer_rows(block, batch_size, ahead, n_rows):
    """Rows of the buffer: a group, and what may be left of the one before."""
    room = _group_rows(block, batch_size, ahead) + batch_size + block
    return room if n_rows is None else min(room, n_rows)


def block_rows(source) -> int:
    """Rows that are read together."""
    return max(1, _BLOCK_BYTES // (source.n_features * source.dtype.itemsize))


def batch_bytes(source, n_rows, batch_size: int, ahead: int = 0) -> int:
    """Bytes that `ReadBatches` holds, the reader's buffers included."""
    block = block_rows(source)
    group = _group_rows(block, batch_size, ahead)
    room = _buffer_rows(block, batch_size, ahead, n_rows)
    row = source.n_features * source.dtype.itemsize
    # What is left of a group is copied to the front, and the order drawn beside the one before.
    left = batch_size if room > group else 0
    return (
        room * (row + (_ID_BYTES if left else 16)) + batch_size * _PLACE_BYTES + left * row
        + _blocks_ahead(n_rows, block) * block * row
    )  # fmt: skip

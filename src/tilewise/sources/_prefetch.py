"""A thread that reads rows ahead of those who compute with them."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from tilewise._typing import FloatMatrix
from tilewise.sources._buffers import aligned_empty
from tilewise.sources._protocol import RowSource

if TYPE_CHECKING:
    from typing import Self

# How long one wait for the reader lasts: what Ctrl-C may have to wait for on systems whose waits
# it does not interrupt.
_WAIT_SECONDS = 0.25

# The most that one call of a source is asked for, so that who leaves early waits no longer than
# a disk takes for it: a third of a second at 100 MB/s.
_STEP_BYTES = 1 << 25

# What a process that ends grants a reader that is in the middle of a read.
_EXIT_SECONDS = 2.0

_END = object()


class _Shared:
    """What the reader and the consumer both hold. The reader must not hold the Prefetch, or one
    that is forgotten would never be collected."""

    def __init__(self, source, parts, buffers):
        self.source = source
        self.parts = parts
        self.buffers = buffers
        self.free = queue.SimpleQueue()  # indices of buffers to fill; None: stop
        self.ready = queue.SimpleQueue()  # (first, count, index), _END or an exception
        self.stopped = False
        self.process = os.getpid()
        self.seconds_reading = 0.0
        self.rows_read = 0


class Prefetch:
    """Read parts of a source ahead, in a thread of its own.

    A context manager. Iterating yields ``(first, rows)``: `rows` is a view of a buffer and holds
    until the next one is asked for. While the consumer works on one buffer the reader fills the
    others. An error of the reader is raised where the rows that it could not read were due;
    leaving the context, for whatever reason, stops the reader and waits for it.

    Parameters
    ----------
    source : RowSource
        What to read. Nobody else may read from it meanwhile.
    parts : iterable of (int, int), optional
        (first row, number of rows) of each part, in the order in which they are wanted; the
        reader's thread iterates over it. By default the rows from 0 to the end, `rows` at a time.
        A part that reaches beyond the last row comes out shorter; one of which there is nothing
        ends the iteration.
    rows : int, optional
        Rows of a buffer: no part may be larger. By default the largest of `parts`, which must
        then be a list or tuple.
    n_buffers : int, default=2
        Buffers, each of `rows` × the bytes of a delivered row; at least two.
    buffers : list of ndarray of shape (rows, n_features), optional
        Memory of the caller to read into, instead of `n_buffers` buffers of its own.

    Attributes
    ----------
    seconds_reading : float
        Time that the reader spent in ``source.read``.
    seconds_waiting : float
        Time that the consumer waited for the reader.
    rows_read, bytes_read : int
        What the reader has delivered; bytes as stored.
    buffer_bytes : int
        Memory of all buffers.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.sources import Prefetch, as_source
    >>> source = as_source(lambda: (np.full((4, 2), float(i)) for i in range(3)))
    >>> with Prefetch(source, rows=5) as parts:
    ...     for first, rows in parts:
    ...         print(first, rows[:, 0])
    0 [0. 0. 0. 0. 1.]
    5 [1. 1. 1. 2. 2.]
    10 [2. 2.]
    """

    source: RowSource
    rows: int
    n_buffers: int
    seconds_waiting: float
    buffer_bytes: int

    def __init__(
        self,
        source: RowSource,
        parts: Iterable[tuple[int, int]] | None = None,
        *,
        rows: int | None = None,
        n_buffers: int = 2,
        buffers: list[FloatMatrix] | None = None,
    ) -> None:
        if rows is None:
            if not isinstance(parts, (list, tuple)):
                raise ValueError("rows must be given unless parts is a list")
            rows = max((part[1] for part in parts), default=1)
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        if buffers is not None:
            n_buffers = len(buffers)
        if n_buffers < 2:
            raise ValueError(f"n_buffers must be at least 2, got {n_buffers}")
        if parts is None:
            parts = ((first, rows) for first in count(0, rows))
        self.source = source
        self.rows = rows
        self.n_buffers = n_buffers
        self.seconds_waiting = 0.0
        self.buffer_bytes = n_buffers * rows * source.n_features * source.dtype.itemsize
        self._parts = parts
        self._buffers = buffers
        self._shared = None
        self._totals = (0.0, 0)

    @property
    def seconds_reading(self) -> float:
        """Time that the reader spent reading."""
        return self._now()[0]

    @property
    def rows_read(self) -> int:
        """Rows that the reader has read."""
        return self._now()[1]

    @property
    def bytes_read(self) -> int:
        """Bytes that the reader has read, as stored."""
        return self.rows_read * self.source.row_bytes

    def _now(self):
        shared = self._shared
        return self._totals if shared is None else (shared.seconds_reading, shared.rows_read)

    def __enter__(self) -> Self:
        if self._parts is None:
            raise RuntimeError("a Prefetch is used once; make another one")
        buffers, self._buffers = self._buffers, None
        if buffers is None:
            shape = (self.rows, self.source.n_features)
            buffers = [aligned_empty(shape, self.source.dtype) for _ in range(self.n_buffers)]
        self._shared = shared = _Shared(self.source, iter(self._parts), buffers)
        self._parts = None
        for index in range(self.n_buffers):
            shared.free.put(index)
        # A daemon, so that a process can end while a read hangs. In all other cases the finalizer
        # ends it before the interpreter goes away; `finalize` runs at exit as well.
        self._thread = threading.Thread(
            target=_run, args=(shared,), name="tilewise-prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, _stop, shared, self._thread, _EXIT_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        shared = self._shared
        if shared is None:
            return
        self._finalizer.detach()
        _stop(shared, self._thread, None)
        self._totals = (shared.seconds_reading, shared.rows_read)
        self._shared = None

    def __iter__(self) -> Iterator[tuple[int, FloatMatrix]]:
        while (part := self.take()) is not None:
            first, rows, index = part
            try:
                yield first, rows
            finally:
                self.give_back(index)

    def take(self) -> tuple[int, FloatMatrix, int] | None:
        """Return the next part and its buffer, which stays as it is until it is given back.

        Returns
        -------
        tuple of (int, ndarray, int) or None
            First row, the rows (a view of the buffer) and the number of the buffer; None after
            the last part. Who holds all buffers waits for ever.
        """
        shared = self._shared
        if shared is None:
            raise RuntimeError("a Prefetch is iterated over inside its with statement")
        item = self._wait(shared)
        if item is _END:
            return None
        if isinstance(item, BaseException):
            raise item
        first, n_rows, index = item
        return first, shared.buffers[index][:n_rows], index

    def give_back(self, index: int) -> None:
        """Let the reader fill a buffer again.

        Parameters
        ----------
        index : int
            Its number, as `take` told it.
        """
        if self._shared is not None:
            self._shared.free.put(index)

    def _wait(self, shared):
        if shared.process != os.getpid():
            raise RuntimeError(
                "this Prefetch was opened before the process was forked, and its reader stayed "
                "behind; open one in the child"
            )
        started = time.perf_counter()
        try:
            while True:
                if shared.stopped:
                    return _END
                try:
                    item = shared.ready.get(timeout=_WAIT_SECONDS)
                except queue.Empty:
                    if self._thread.is_alive() or not shared.ready.empty():
                        continue
                    raise RuntimeError("the reader's thread has died") from None
                if item is _END or isinstance(item, BaseException):
                    shared.ready.put(item)  # whoever asks again learns the same
                return item
        finally:
            self.seconds_waiting += time.perf_counter() - started


def _run(shared):
    """Fill free buffers until the parts or the rows end."""
    try:
        for first, n_rows in shared.parts:
            index = shared.free.get()
            if index is None or shared.stopped:
                return
            buffer = shared.buffers[index]
            if n_rows > buffer.shape[0]:
                raise ValueError(
                    f"a part of {n_rows} rows does not fit a buffer of {buffer.shape[0]}"
                )
            got = _fill(shared, first, buffer[:n_rows])
            if got == 0 and n_rows > 0:
                break
            shared.ready.put((first, got, index))
        shared.ready.put(_END)
    except BaseException as error:
        shared.ready.put(error)


def _fill(shared, first, buffer):
    """Read one part, in steps between which the reader can be stopped."""
    step = max(1, _STEP_BYTES // (buffer.strides[0] or 1))
    done = 0
    while done < buffer.shape[0] and not shared.stopped:
        target = buffer[done : done + step]
        started = time.perf_counter()
        try:
            got = shared.source.read(first + done, target)
        finally:
            shared.seconds_reading += time.perf_counter() - started
        shared.rows_read += got
        done += got
        if got < target.shape[0]:
            break
    return done


def _stop(shared, thread, seconds):
    """Tell the reader to stop and wait for the read that it is in, at most `seconds`."""
    if shared.process != os.getpid():
        return  # the thread lives in the parent, and so do the locks that it may hold
    shared.stopped = True
    shared.free.put(None)
    if thread is threading.current_thread() or thread.ident is None:
        return
    ends = None if seconds is None else time.monotonic() + seconds
    while thread.is_alive() and (ends is None or time.monotonic() < ends):
        thread.join(_WAIT_SECONDS)

"""Rows on their way from the host to a device.

Rows are copied to a buffer in pinned memory, and from there to the device, on a stream of its own:
while kernels compute with the rows of one buffer, those of the other are under way. Events order
the two streams and the host: a buffer is filled again when its copy is done, and written to on the
device when the kernels that were started before have read it.
"""

from collections import deque

import numpy as np
import torch

from ._arrays import plain_tensor
from ._plan import STAGED

__all__ = ["Mover"]


class _Slot:
    """A buffer: pinned memory, its place on the device, and what has happened to them."""

    def __init__(self, on_stream):
        self.pinned = self.window = None
        self.copied = torch.cuda.Event() if on_stream else None
        self.used = torch.cuda.Event() if on_stream else None


class Mover:
    """Brings rows to a device in parts; one for each fit or call.

    Parameters
    ----------
    device : torch.device
    kind : torch.dtype
    n_rows, n_features : int
        Of a buffer.
    """

    def __init__(self, device, kind, n_rows, n_features):
        self._device, self._kind, self._shape = device, kind, (n_rows, n_features)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots = [_Slot(self._stream is not None) for _ in range(STAGED)]

    def moved(self, chunks, place=None):
        """Yield (first, rows on the device) while the rows behind them are under way.

        Rows hold until the next ones are asked for: kernels that are started before then may read
        them, on the current stream.

        Parameters
        ----------
        chunks : iterator of (int, ndarray or tensor)
            Number of the first row, and rows, no more than fit a buffer.
        place : callable, optional
            ``place(first, count)`` is a tensor where these rows are to stay, or None for others.
        """
        if self._stream is not None:
            # What was allocated here may still be read by kernels of others.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        under_way, at = deque(), 0
        try:
            while True:
                while len(under_way) < STAGED:
                    chunk = next(chunks, None)
                    if chunk is None:
                        break
                    slot = self._slots[at % STAGED]
                    under_way.append((slot, chunk[0], self._sent(slot, *chunk, place)))
                    at += 1
                if not under_way:
                    return
                slot, first, rows = under_way.popleft()
                if self._stream is not None:
                    torch.cuda.current_stream(self._device).wait_event(slot.copied)
                yield first, rows
                if self._stream is not None:
                    slot.used.record(torch.cuda.current_stream(self._device))
        finally:
            if hasattr(chunks, "close"):
                chunks.close()

    def _sent(self, slot, first, values, place):
        """Start the copy of some rows; returns where they will be."""
        count = len(values)
        if slot.pinned is None:
            slot.pinned = torch.empty(
                self._shape, dtype=self._kind, pin_memory=self._stream is not None
            )
        staying = None if place is None else place(first, count)
        if staying is None and slot.window is None:
            slot.window = torch.empty(self._shape, dtype=self._kind, device=self._device)
            if self._stream is not None:
                # What the current stream had here is over before the copy.
                self._stream.wait_stream(torch.cuda.current_stream(self._device))
                slot.window.record_stream(self._stream)
        target = slot.window[:count] if staying is None else staying
        source = slot.pinned[:count]
        if isinstance(values, np.ndarray):
            values = plain_tensor(values)
        if self._stream is None:
            source.copy_(values)
            target.copy_(source)
            return target
        slot.copied.synchronize()
        source.copy_(values)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.used)
            target.copy_(source, non_blocking=True)
            slot.copied.record(self._stream)
        if staying is not None:
            staying.record_stream(self._stream)
        return target

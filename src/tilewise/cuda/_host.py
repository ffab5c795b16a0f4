"""Rows that lie in memory or in a file, computed with on a device.

As many as fit stay on the device from the first pass on; the others come and go, a part at a time.
Passes ask for `parts`. Few rows, and what is the same wherever the rows are, come from the host.
"""

import numpy as np
import torch

from ._arrays import Home, plain_tensor, read, uploaded
from ._moves import Mover
from ._plan import Moved
from ._rows import DeviceRows

__all__ = ["HostRows"]


class _Numbers:
    """Numbers of the rows of a part among all."""

    def __init__(self, first):
        self._first = first

    def __getitem__(self, at):
        return self._first + at


class _Store:
    """Where rows are: shared by those that differ by a power of two.

    Attributes
    ----------
    resident_rows, staged_rows : int or None
        As in `DevicePlan`; None until the first plan settles them.
    """

    def __init__(self, device, kind, shape):
        self.device, self.kind, self._shape = device, kind, shape
        self.resident_rows = self.staged_rows = None
        self._resident = self._mover = None
        self._loaded = False

    @property
    def whole(self):
        """All rows, if they are on the device."""
        return self._resident if self._loaded and self.resident_rows == self._shape[0] else None

    def parts(self, read):
        """Yield (first, rows), in order; ``read(first)`` yields those of the host from there on."""
        (n, d), stay = self._shape, self.resident_rows
        if self._loaded and stay == n:
            yield 0, self._resident
            return
        if self._mover is None:
            self._mover = Mover(self.device, self.kind, self.staged_rows, d)
        if stay and self._resident is None:
            self._resident = torch.empty((stay, d), dtype=self.kind, device=self.device)
        if self._loaded and stay:
            # While kernels compute with these, the first of the others are under way.
            yield 0, self._resident
        begin = stay if self._loaded else 0
        yield from self._mover.moved(self._cut(read(begin), begin), self._place)
        # Not before all are there: after an error, or Ctrl-C, they come again.
        self._loaded = True
        if stay == n:
            self._mover = None

    def _place(self, first, count):
        stays = first < self.resident_rows
        return self._resident[first : first + count] if stays else None

    def _cut(self, chunks, begin):
        """The chunks from one row on, none of which has both rows that stay and others."""
        try:
            for first, values in chunks:
                if first + len(values) <= begin:
                    continue  # of a source that has to be read from its first row on
                start = max(first, begin)
                ends = (self.resident_rows, first + len(values))
                for end in ends if start < ends[0] < ends[1] else ends[1:]:
                    yield start, values[start - first : end - first]
                    start = end
        finally:
            chunks.close()


class HostRows:
    """Rows of the host that are computed with on a device; see `RowSet`.

    Parameters
    ----------
    raw : Rows or StreamRows
        As the CPU has them.
    device : torch.device
    backend : str
    exponent : int
        Of the power of two that the rows are multiplied by, in float64.
    store : _Store, optional
        Of the same rows times another power of two.
    """

    is_sparse = False
    is_direct = True

    def __init__(self, raw, device, backend, exponent=0, store=None):
        self.raw, self.device, self.backend, self.exponent = raw, device, backend, exponent
        self.is_read, self.home = not raw.in_memory, Home("numpy")
        self._host = raw.scaled(exponent) if exponent else raw
        self.n_rows, self.n_features = raw.n_rows, raw.n_features
        kind = raw.compute_dtype if self.is_read else raw.source.dtype
        none = plain_tensor(np.empty((0, self.n_features), dtype=kind))
        like = DeviceRows(none, exponent, self.home)
        self.compute_dtype, self.result_dtype = like.compute_dtype, like.result_dtype
        moved = read(none)
        self._row_bytes = moved.element_size() * self.n_features
        self._kind, shape = none.dtype, (self.n_rows, self.n_features)
        self._store = store or _Store(device, moved.dtype, shape)

    @property
    def name(self):
        """What a source is called."""
        return self.raw.name

    # ------------------------------------------------------------ parts

    @property
    def moved(self):
        """What a plan has to know of how the rows come."""
        return Moved(self._row_bytes, self._store.resident_rows, self._store.staged_rows)

    def part_rows(self, plan):
        """Most rows of a part."""
        self._settle(plan)
        return max(self._store.resident_rows, self._store.staged_rows)

    def _settle(self, plan):
        """Take the sizes of the first plan; what stays on the device stays there."""
        store = self._store
        if store.resident_rows is None:
            rows = plan.staged_rows
            if self.is_read:
                rows = max(1, min(rows, self.raw.buffer_rows))
            store.resident_rows, store.staged_rows = plan.resident_rows, rows

    @property
    def whole(self):
        """All rows, if they are on the device for good."""
        tensor = self._store.whole
        return None if tensor is None else self._part(0, tensor)

    def parts(self, plan, seen=None):
        """Yield (first, rows on the device), in order.

        Parameters
        ----------
        plan : DevicePlan
        seen : callable, optional
            Called as ``seen(first, values)`` with rows when they are read on the host.
        """
        self._settle(plan)
        if self.n_rows:
            for first, tensor in self._store.parts(lambda start: self._read(start, seen)):
                yield first, self._part(first, tensor)

    def once(self, size):
        """Yield (first, rows on the device), so many at a time: nothing stays there."""
        chunks = self.raw.arrivals(size) if self.is_read else self._slices(0, size)
        mover = Mover(self.device, self._store.kind, size, self.n_features)
        for first, tensor in mover.moved(chunks):
            yield first, self._part(first, tensor)

    def _part(self, first, tensor):
        return self.holding(tensor, _Numbers(first) if first else None)

    def _read(self, start, seen):
        step = self._store.staged_rows
        chunks = self._shown(start, step) if self.is_read else self._slices(start, step)
        try:
            for first, values in chunks:
                if seen is not None:
                    seen(first, values)
                yield first, values
        finally:
            chunks.close()

    def _slices(self, start, step):
        for first in range(start, self.n_rows, step):
            yield first, self.raw.source[first : first + step]

    def _shown(self, start, step):
        self.raw.buffer_rows = step
        parts = self.raw.parts([(start, self.n_rows)])
        try:
            for first, _ in parts:
                yield first, self.raw.window.source
        finally:
            parts.close()

    # ------------------------------------------------------------ few rows, and other sets

    def take(self, ids):
        """Rows by index, (m, d), in `compute_dtype`, as an ndarray."""
        return self._host.take(ids)

    def values_of(self, ids):
        """Rows by index, (m, d), in float64, on the device."""
        return torch.from_numpy(self.take(ids).astype(np.float64)).to(self.device)

    def values(self, size):
        """All values, some at a time."""
        return self._host.values(size)

    def magnitudes(self):
        """The largest magnitude in each row, (n,)."""
        return self._host.magnitudes()

    def picked(self, ids):
        """Rows by index, copied to the device."""
        own = np.array(ids, dtype=np.int64)
        given = self.raw.take(own) if self.is_read else self.raw.source[own]
        return DeviceRows(uploaded(given, self.device), self.exponent, self.home, own)

    copied = picked

    def fill(self, ids, out):
        """Copy rows by index to a tensor on the device."""
        out.copy_(plain_tensor(self.raw.source[ids]))

    def blank(self, n_rows):
        """Room for so many rows on the device."""
        shape = n_rows, self.n_features
        return torch.empty(shape, dtype=self._store.kind, device=self.device)

    def holding(self, given, ids=None):
        """Rows on the device with these values: some of these rows, whose numbers are `ids`."""
        return DeviceRows(given, self.exponent, self.home, ids, self._kind)

    def scaled(self, exponent):
        """These rows times a power of two, in float64."""
        return HostRows(self.raw, self.device, self.backend, exponent, self._store)

    # ------------------------------------------------------------ what users get

    @property
    def report(self):
        """What reading them took, if they are read."""
        return self.raw.report

    def array(self):
        """The rows in `result_dtype`, as functions of the user get them."""
        return self._host.array()

    def originals(self, ids):
        """Rows by index in the type in which they were given, (m, d)."""
        return self.raw.originals(ids)

    def fingerprint(self):
        """A digest of all values, or what a source tells: that of the CPU."""
        return self.raw.fingerprint()

    def raise_nonfinite(self):
        """Raise the ValueError that names the first value that is not finite, if there is one."""
        for _ in self.raw.parts():
            self.raw.raise_nonfinite()

"""A device as a backend of rows that are read in parts: files and other sources."""

from dataclasses import replace

import numpy as np
import torch

from tilewise import engine

from ._arrays import Home, uploaded
from ._backend import STREAMED, Device
from ._moments import column_stats
from ._passes import DevicePass
from ._rows import DeviceRows

__all__ = ["DeviceStreams"]


class DeviceStreams(Device):
    """Rows of a source on a device: starts and batches are those of `CpuStreams`."""

    name = STREAMED
    _host = engine.CpuStreams()

    def plan_memory(self, rows, plan, memory_limit, **needs):
        """Plan the buffers of the host within the limit and set them."""
        raw, batch_plan = rows.raw, needs.pop("batch_plan", None)
        found = self._host.plan_memory(
            raw, plan.host, memory_limit,
            batch_plan=None if batch_plan is None else batch_plan.host, **needs,
        )  # fmt: skip
        # Rows go through pinned buffers as well: all together take what is planned.
        raw.buffer_rows = max(1, found.buffer_rows // 2)
        reason = (
            f"{found.n_buffers} of {raw.buffer_rows} rows for reading and as many in pinned memory "
            f"for a copy to the device, {found.buffer_bytes:,} bytes together."
        )
        return replace(found, reasons=found.reasons | {"buffers": reason})

    def sample_size(self, rows, init_size, n_clusters, *, shown):
        """As for rows that the CPU reads."""
        return self._host.sample_size(rows.raw, init_size, n_clusters, shown=shown)

    def sample(self, rows, plan, size, weights, random_state):
        """Draw rows without replacement; moments and sample come from one reading."""
        if size is None:
            return engine.Sample(rows, weights, column_stats(rows, plan))
        ids = engine.sampled(rows, size, random_state)
        X = np.empty((size, rows.n_features), dtype=rows.compute_dtype)

        def gather(first, values):
            """Keep those of the rows drawn that are here now."""
            low, high = np.searchsorted(ids, [first, first + len(values)])
            X[low:high] = values[ids[low:high] - first]

        stats = column_stats(rows, plan, seen=gather)
        own = engine.weights_of(ids, None if weights is None else weights.cpu().numpy())
        return engine.Sample(*self._there(rows, X, own), stats)

    def sample_twice(self, rows, size, weights, random_state, *, given, judged):
        """Draw both without replacement and read them together."""
        found = self._host.sample_twice(
            rows.raw, size, None if weights is None else weights.cpu().numpy(), random_state,
            given=given, judged=judged,
        )  # fmt: skip
        return tuple(
            engine.Sample(*self._there(rows, own.rows.source, own.weights)) for own in found
        )

    @staticmethod
    def _there(rows, X, weights):
        own = None if weights is None else torch.from_numpy(weights).to(rows.device)
        return DeviceRows(uploaded(X, rows.device), home=Home("numpy")), own

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state, *, ahead=0):
        """Batches of rows, each of which is read once an epoch."""
        return _Batches(
            rows, n_clusters, plan, None if weights is None else weights.cpu().numpy(), batch_size,
            random_state, ahead=ahead,
        )  # fmt: skip

    def check_batch_memory(self, rows, n_clusters, batch_size, ahead, memory_limit):
        """Raise `LimitTooSmall` where batches of rows that come once do not fit in memory."""
        self._host.check_batch_memory(rows.raw, n_clusters, batch_size, ahead, memory_limit)

    def mapped(self, rows, function, **needs):
        """Read the rows once; results that stay in memory are kept within the limit too."""
        passing = _Passing(rows, self.part_rows(rows, needs["result_bytes"]))
        yield from self._host.mapped(passing, lambda _: function(passing.part), **needs)


class _Passing:
    """What `CpuStreams.mapped` asks of rows, while these are on the device."""

    def __init__(self, rows, most):
        self._rows, self._most, self.part = rows, most, None
        self.source, self.n_rows = rows.raw.source, rows.n_rows

    def arrivals(self, size):
        """Yield number of the first row and blanks, as many as `part` has rows."""
        # Buffers for reading and pinned ones share what is planned.
        for first, part in self._rows.once(max(1, min(size // 2, self._most))):
            self.part = part
            yield first, np.broadcast_to(np.float32(0.0), part.given.shape)

    def raise_located(self, first, values):
        """Raise the ValueError of the first value of the part that is not finite."""
        self._rows.raw.raise_located(first, self.part.given.cpu().numpy())


class _Batches(engine.ReadBatches):
    """Batches that are read and mixed in memory, and assigned on the device."""

    def __init__(self, rows, n_clusters, plan, weights, batch_size, random_state, *, ahead=0):
        super().__init__(
            rows.raw, n_clusters, plan.host, weights, batch_size, random_state, ahead=ahead
        )
        self._device, self._own_plan = rows.device, plan

    def _batch(self, size):
        new = size not in self._batches
        batch = super()._batch(size)
        if new:
            batch._pass = _Assignment(batch, self._device, self._k, self._own_plan)
        return batch


class _Assignment:
    """What a batch asks of a pass: its rows are copied to the device when they are assigned."""

    center_norms = None

    def __init__(self, batch, device, n_clusters, plan):
        self._batch, none = batch, batch.rows.source[:0]
        shape = batch.rows.n_rows, batch.rows.n_features
        self._values = torch.empty(shape, dtype=uploaded(none, "cpu").dtype, device=device)
        self._run = DevicePass(DeviceRows(self._values), n_clusters, plan)
        self.labels = np.full(shape[0], -1, dtype=np.int32)

    def assign(self, centers, stale=None):
        """Label the rows of the batch."""
        self._values.copy_(torch.from_numpy(self._batch.values))
        self._run.assign(centers)
        self.labels = self._run.labels.cpu().numpy()

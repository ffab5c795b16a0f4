"""Mini-batches of rows on a device.

A batch is assigned on the device. Its rows, which are few, then come to the CPU, which moves the
centres. Buffers are made once for all steps.
"""

import numpy as np
import torch

from tilewise import engine

from ._passes import DevicePass

__all__ = ["DeviceBatch", "DeviceBatches"]


class DeviceBatch:
    """A batch of rows that centres are moved by; see `BatchPass`.

    Attributes
    ----------
    labels : ndarray of shape (b,), int32
        Labels of the last batch for the centres before they moved.
    """

    def __init__(self, rows, n_clusters, plan, weights=None):
        self.rows = rows
        self.labels = np.full(rows.n_rows, -1, dtype=np.int32)
        self._run = DevicePass(rows, n_clusters, plan)
        shape = rows.n_rows, rows.n_features
        kind = getattr(torch, rows.compute_dtype.name)
        self._values = torch.empty(shape, dtype=kind, pin_memory=rows.device.type == "cuda")
        self._update = engine.BatchPass(
            engine.as_rows(self._values.numpy()), n_clusters, plan.host,
            weights=None if weights is None else weights.cpu().numpy(),
        )  # fmt: skip

    def step(self, centers, moved, counts, stale=None):
        """Assign the batch, write where the centres move; returns the inertia before."""
        self._run.assign(centers)
        self.labels = self._run.labels.cpu().numpy()
        self._values.copy_(self.rows.computed(self.rows.tensor))
        return self._update.move(self.labels, centers, moved, counts)


class DeviceBatches(engine.DrawnBatches):
    """Batches of rows drawn with replacement, as scikit-learn draws them."""

    def __init__(self, rows, n_clusters, plan, weights, batch_size, random_state):
        self._all, self._random_state = rows, random_state
        self._weights = None if weights is None else weights.cpu().numpy()
        self._ids = np.zeros(batch_size, dtype=np.int64)
        self._draws = engine.Draws(
            engine.Rows.open_window(rows.n_rows, 1, rows.result_dtype), self._weights
        )
        self._drawn = rows.blank(batch_size)
        self._batch = DeviceBatch(rows.holding(self._drawn, self._ids), n_clusters, plan)
        self.n_rows, self._seen, self.at_rest = rows.n_rows, 0, False

    def next_batch(self):
        """The batch of the next step; it holds until the one after is asked for."""
        self._draw()
        self._all.fill(self._ids, self._drawn)
        return self._batch

"""A device as a backend."""

import numpy as np
import torch

from tilewise import engine

from ._arrays import Home, kind_of, tensor_of, uploaded
from ._batches import DeviceBatch, DeviceBatches
from ._device import check_device, computing, default_device
from ._facts import device_facts
from ._host import HostRows
from ._matrix import fill_device_matrix
from ._moments import column_stats
from ._pairs import DevicePair, HostPair
from ._passes import DevicePass
from ._plan import plan_device, rows_at_once
from ._rows import DeviceRows
from ._seeding import DeviceOversampling, DeviceSeeding

__all__ = ["STREAMED", "Device"]

#: The backend of rows that are read in parts.
STREAMED = "cuda, streamed"

# Kernels number rows in 32 bits.
_MOST_ROWS = 2**31 - 1


class Device(engine.Cpu):
    """Rows on a device; see `Backend` for the methods."""

    name = "cuda"
    few_rows = None

    # ------------------------------------------------------------ what enters

    def open_rows(self, X, request):
        """Take arrays on a device, or move arrays in memory there."""
        kind = kind_of(X)
        if kind is None:
            return self._moved(X, request)
        tensor = tensor_of(X)
        check_device(tensor.device)
        _check_shape(tensor, request)
        return DeviceRows(tensor, home=Home(kind))

    def _moved(self, X, request):
        device = default_device()
        check_device(device)
        read = engine.CpuStreams().open_rows(X, request)
        if read is not None:
            if read.n_rows is not None:
                _check_rows(read.n_rows)
            return HostRows(read, device, STREAMED)
        array = request.check(X)
        if not isinstance(array, np.ndarray):
            raise ValueError(
                f"{request.name}: sparse rows have no place on a device: pass device='auto', or "
                "X.toarray()"
            )
        _check_rows(len(array))
        return HostRows(engine.Rows(array), device, self.name)

    def open_weights(self, rows, weights, check):
        """One number for each row, on the device."""
        if kind_of(weights) is None:
            own = check(weights, rows.n_rows)
            return None if own is None else torch.from_numpy(np.array(own)).to(rows.device)
        tensor = tensor_of(weights, "sample_weight")
        if tensor.device != rows.device:
            raise ValueError(
                f"sample_weight lies on {tensor.device} and X on {rows.device}: move one of them"
            )
        own = tensor.to(torch.float64).contiguous()
        if (
            own.shape != (rows.n_rows,)
            or not bool(torch.isfinite(own).all())
            or not bool((own != 0.0).any())
        ):
            check(weights, rows.n_rows)  # which says what is wrong
        return own

    def computing(self, X, device):
        """The device of the rows is the current one."""
        return computing(X, device)

    def open_pair(self, X, Y, device="auto"):
        """Two sets of rows that lie on one device, or that are to be moved there."""
        given = (X,) if Y is None else (X, Y)
        if device == "cuda" and any(kind_of(rows) is None for rows in given):
            return HostPair(X, Y)
        return DevicePair(X, Y)

    def plan(self, rows, n_clusters, *, batch_size=None, **wishes):
        """Sizes of passes over the rows, or over so many of them at a time."""
        # Of rows that come once, nobody knows how many there are: parts have plans of their own.
        n = batch_size or rows.n_rows or 1
        return plan_device(
            n, rows.n_features, n_clusters, rows.compute_dtype.name, device_facts(rows.device),
            moved=rows.moved if batch_size is None and rows.n_rows else None, **wishes,
        )  # fmt: skip

    # ------------------------------------------------------------ before a fit

    def column_stats(self, rows, plan, *, origin=None):
        """Exact moments and magnitudes of the columns."""
        return column_stats(rows, plan, origin=origin)

    def largest_finite(self, rows, plan, *, origin=None):
        """Magnitudes up to the largest of all."""
        return column_stats(rows, plan, origin=origin).largest

    def sample(self, rows, plan, size, weights, random_state):
        """Start from any of the rows."""
        return engine.Sample(rows, weights, column_stats(rows, plan))

    def sample_twice(self, rows, size, weights, random_state, *, given, judged):
        """Start from any of the rows; judge by rows drawn with replacement, like scikit-learn."""
        valid = random_state.randint(0, rows.n_rows, size).astype(np.int64, copy=False)
        own = None
        if weights is not None:
            own = weights[torch.from_numpy(valid).to(rows.device)]
        return engine.Sample(rows, weights), engine.Sample(rows.picked(valid), own)

    def centred(self, rows, mean, scale):
        """The rows less their mean: in memory, if they came from there."""
        if isinstance(rows, HostRows):
            return engine.Cpu().centred(rows.raw, mean, scale)
        return rows.centred(mean, scale)

    # ------------------------------------------------------------ passes

    def open_assignment(self, rows, n_clusters, plan, **how):
        """Rows against one set of centres after another."""
        return DevicePass(rows, n_clusters, plan, **how)

    def open_seeding(self, rows, n_seeds, weights, plan):
        """Closest seed of every row."""
        return DeviceSeeding(rows, weights, plan)

    def open_oversampling(self, rows, weights, plan):
        """Closest candidate of every row."""
        return DeviceOversampling(rows, weights, plan)

    def open_batch(self, rows, n_clusters, plan, weights=None):
        """All rows as one batch."""
        if isinstance(rows, HostRows):
            rows = rows.picked(np.arange(rows.n_rows))
        return DeviceBatch(rows, n_clusters, plan, weights)

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state, *, ahead=0):
        """Batches drawn with replacement."""
        return DeviceBatches(rows, n_clusters, plan, weights, batch_size, random_state)

    def mapped(self, rows, function, **needs):
        """All rows are one part, unless they come from the host."""
        if not isinstance(rows, HostRows):
            yield function(rows)
            return
        for _, part in rows.once(self.part_rows(rows, needs["result_bytes"])):
            yield function(part)

    def part_rows(self, rows, result_bytes):
        """Rows that come at a time where nothing is kept of them but results."""
        free = device_facts(rows.device).free_bytes.value
        size = rows_at_once(rows.moved.row_bytes, result_bytes, free)
        return size if rows.n_rows is None else max(1, min(size, rows.n_rows))

    # ------------------------------------------------------------ what leaves

    def same_partition(self, labels, others, n_clusters):
        """Whether labels of two passes differ by the names of the clusters at most."""
        renamed = torch.full((n_clusters,), -1, dtype=others.dtype, device=others.device)
        # Where labels stand for several others, the last line finds out, whichever is kept.
        renamed[labels] = others
        used = renamed[renamed >= 0]
        return len(torch.unique(used)) == len(used) and torch.equal(renamed[labels], others)

    def count_clusters(self, labels, n_clusters):
        """How many clusters have rows."""
        met = torch.zeros(n_clusters, dtype=torch.bool, device=labels.device)
        met[labels] = True
        return int(met.sum())

    def kept_labels(self, rows, labels):
        """The labels where the rows came from."""
        return rows.home.array(labels) if torch.is_tensor(labels) else self.kept(rows, labels)

    def kept(self, rows, values):
        """An array in memory where the rows came from."""
        if rows.home.kind == "numpy":
            return values
        return rows.home.array(uploaded(values, rows.device))

    def distances(self, rows, centers, plan):
        """Euclidean distances to all centres."""
        shape = rows.n_rows, len(centers)
        found = torch.empty(shape, dtype=torch.float64, device=rows.device)
        if rows.exponent:
            raise ValueError("distances are those of rows as they are")
        fill_device_matrix(
            rows.tensor, uploaded(centers, rows.device), found, "euclidean", canonical=True
        )
        if not bool(torch.isfinite(found[:, 0]).all()):
            rows.raise_nonfinite()
        return rows.home.array(found.to(getattr(torch, rows.result_dtype.name)))


def _check_shape(tensor, request):
    """Raise what scikit-learn raises for an array of this shape; set or compare its columns."""
    if tensor.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {tensor.ndim}D array of shape {tuple(tensor.shape)} instead. "
            "Reshape your data either using array.reshape(-1, 1) if your data has a single feature "
            "or array.reshape(1, -1) if it contains a single sample."
        )
    _check_rows(len(tensor))
    request.check(np.broadcast_to(np.float32(0.0), tuple(tensor.shape)))


def _check_rows(n_rows):
    if n_rows > _MOST_ROWS:
        raise ValueError(
            f"X has {n_rows:,} rows, and a device takes up to {_MOST_ROWS:,}: pass device='cpu', "
            "or fit a part of them"
        )

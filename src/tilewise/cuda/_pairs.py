"""Two sets of rows on a device whose distances are wanted; see `engine.backend.RowPair`."""

import numpy as np
import torch

from tilewise import engine

from ._arrays import Home, kind_of, plain_tensor, read, tensor_of
from ._device import check_device, default_device
from ._facts import device_facts
from ._matrix import fill_device_matrix
from ._moves import Mover
from ._neighbor_plan import Task, plan_device_neighbors
from ._rows import DeviceRows
from ._search import Others, mend, nearest_rows, out_of_range

__all__ = ["DevicePair", "HostPair"]

# Types whose distances are float32, if both sides are of one of them. NumPy has no bfloat16: its
# values are float32 there.
_SINGLE = {torch.float32, torch.bfloat16}
# Values that are looked at together.
_LOOK = 2**24


class DevicePair:
    """Rows X and Y that lie on one device.

    Parameters
    ----------
    X : array on a device
    Y : array on a device, or None
        None, or X itself, for distances of rows among themselves.

    Raises
    ------
    ValueError
        If they lie in different places or hold complex numbers.
    TypeError
        If one is sparse or quantized.
    """

    def __init__(self, X, Y):
        same = Y is None or Y is X
        tensors = [_tensor(X, "X")] if same else [_tensor(X, "X"), _tensor(Y, "Y")]
        places = ["the CPU" if tensor is None else str(tensor.device) for tensor in tensors]
        if len(set(places)) > 1:
            raise ValueError(f"X lies on {places[0]} and Y on {places[1]}: move one of them.")
        self.home = Home(kind_of(X))
        self.X, self.Y = tensors[0], tensors[-1]
        check_device(self.X.device)
        self.shapes = tuple(self.X.shape), tuple(self.Y.shape)
        self.single = self.X.dtype in _SINGLE and self.Y.dtype in _SINGLE

    def check_finite(self):
        """Raise the ValueError that names the first NaN or infinity, if there is one."""
        _check_finite(self.X, "X")
        if self.Y is not self.X:
            _check_finite(self.Y, "Y")

    def swapped(self):
        """Rows of Y and X."""
        self.X, self.Y = self.Y, self.X
        return self

    def matrix(self, kernel):
        """Distances of all rows of X to all rows of Y."""
        dtype = torch.float32 if self.single else torch.float64
        shape = len(self.X), len(self.Y)
        out = torch.empty(shape, dtype=dtype, device=self.X.device)
        fill_device_matrix(self.X, self.Y, out, kernel)
        return self.home.array(out)

    def argkmin(self, k, kernel, *, root):
        """Distances and indices of the k nearest rows of Y."""
        device = self.Y.device
        plan = _plan(self.X, self.Y, k, kernel, device, same=self.X is self.Y)
        others = Others(self.Y, plan, kernel, device)
        distances, indices = nearest_rows(self.X, others, root=root, single=self.single)
        return self.home.array(distances), self.home.array(indices)


class HostPair:
    """Rows X and Y, one or both of which are in memory, whose neighbours a device finds.

    What lies in memory comes in parts if it does not fit; for each part of X, Y comes again.
    Results are where X is.

    Parameters
    ----------
    X : ndarray, or array on a device
    Y : ndarray, or array on a device, or None for `X`
    """

    def __init__(self, X, Y):
        self._sides = [_Side(X, "X")]
        self._sides.append(self._sides[0] if Y is None or Y is X else _Side(Y, "Y"))
        places = [side.tensor.device for side in self._sides if side.there]
        self._device = places[0] if places else default_device()
        check_device(self._device)
        self.single = all(side.tensor.dtype in _SINGLE for side in self._sides)

    @property
    def shapes(self):
        """Of X and Y."""
        return tuple(tuple(side.tensor.shape) for side in self._sides)

    def swapped(self):
        """Rows of Y and X."""
        self._sides.reverse()
        return self

    def check_finite(self):
        """Raise the ValueError that names the first NaN or infinity of what is read now.

        Rows of X that come in parts are looked at when they are on the device.
        """
        x, y = self._sides
        if x.there:
            x.check_finite()
        try:
            y.check_finite()
        except ValueError:
            x.check_finite()
            raise

    def argkmin(self, k, kernel, *, root):
        """Distances and indices of the k nearest rows of Y."""
        x, y = self._sides
        how, same = {"root": root, "single": self.single}, x is y
        plan = _plan(
            x.tensor, y.tensor, k, kernel, self._device, moved_x=x.moved_bytes,
            moved_y=y.moved_bytes, same=same,
        )  # fmt: skip
        others = Others(y.tensor, plan, kernel, self._device, same)
        if x.there or (same and others.whole is not None):
            found = nearest_rows(others.whole if same else x.tensor, others, **how)
            return tuple(x.home.array(tensor) for tensor in found)
        n, d = x.tensor.shape
        distances = np.empty((n, k), dtype=np.float32 if self.single else np.float64)
        indices = np.empty((n, k), dtype=np.int64)
        size = plan.x_rows
        chunks = ((first, x.tensor[first : first + size]) for first in range(0, n, size))
        for first, part in Mover(self._device, x.tensor.dtype, size, d).moved(chunks):
            _check_finite(part, x.name, first)
            found = nearest_rows(part, others, first=first, mended=False, **how)
            here = slice(first, first + len(part))
            distances[here], indices[here] = (tensor.cpu().numpy() for tensor in found)
        if kernel == "sqeuclidean" and not self.single:
            self._mend(others, distances, indices, root)
        return distances, indices

    def _mend(self, others, distances, indices, root):
        """As for rows on a device: what is out of range is looked for again, all together."""
        X = self._sides[0].tensor
        infinite, small = out_of_range(distances[:, -1], root)
        ids = np.flatnonzero(infinite | small)
        if not len(ids):
            return
        some = X[torch.from_numpy(ids)].to(self._device)
        found = [torch.from_numpy(array[ids]).to(self._device) for array in (distances, indices)]
        mend(some, others, *found, root, lambda: engine.extent(engine.Rows(X.numpy()))[1])
        distances[ids], indices[ids] = (tensor.cpu().numpy() for tensor in found)


class _Side:
    """Rows as a tensor: on a device, or in memory and the same numbers as an array's."""

    def __init__(self, X, name):
        self.name, tensor = name, _tensor(X, name)
        self.there = tensor is not None
        self.home = Home(kind_of(X) or "numpy")
        self.tensor = read(plain_tensor(np.asarray(X)), name) if tensor is None else tensor

    @property
    def moved_bytes(self):
        """Bytes of each row that comes from the host; 0 of those that are there."""
        return 0 if self.there else self.tensor.shape[1] * self.tensor.element_size()

    def check_finite(self):
        """Raise the ValueError that names the first NaN or infinity, if there is one."""
        _check_finite(self.tensor, self.name)


def _plan(X, Y, k, kernel, device, **how):
    """The plan of a search."""
    dtype = DeviceRows(X).compute_dtype.name
    task = Task(len(X), len(Y), X.shape[1], k, kernel, dtype, **how)
    return plan_device_neighbors(task, device_facts(device))


def _tensor(X, name):
    return None if kind_of(X) is None else read(tensor_of(X, name), name)


def _check_finite(tensor, name, number=0):
    if not tensor.dtype.is_floating_point:
        return
    low, high = torch.aminmax(tensor)
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        return
    step = max(1, _LOOK // max(1, tensor.shape[1]))
    for first in range(0, len(tensor), step):
        block = tensor[first : first + step]
        bad = ~torch.isfinite(block)
        if bool(bad.any()):
            row, column = (int(i) for i in bad.nonzero()[0])
            kind = str(tensor.dtype).removeprefix("torch.")
            kind = "float32" if kind == "bfloat16" else kind
            what = "NaN" if bool(torch.isnan(block[row, column])) else (
                f"infinity or a value too large for dtype('{kind}')"
            )  # fmt: skip
            row += number + first
            raise ValueError(
                f"Input contains {what}: the first is at row {row}, column {column} of {name}."
            )

"""Two sets of rows on a device whose distances are wanted; see `engine.backend.RowPair`."""

import torch

from ._arrays import Home, kind_of, read, tensor_of
from ._device import check_device
from ._matrix import fill_device_matrix
from ._nearest import nearest_rows

__all__ = ["DevicePair"]

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
        distances, indices = nearest_rows(
            self.X, self.Y, k, kernel=kernel, root=root, single=self.single
        )
        return self.home.array(distances), self.home.array(indices)


def _tensor(X, name):
    return None if kind_of(X) is None else read(tensor_of(X, name), name)


def _check_finite(tensor, name):
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
            raise ValueError(
                f"Input contains {what}: the first is at row {first + row}, column {column} of "
                f"{name}."
            )

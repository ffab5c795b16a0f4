"""Rows on a device."""

import hashlib
import math

import numpy as np
import torch

from ._arrays import Home, read

__all__ = ["DeviceRows", "cut", "times_power"]

# Values that are looked at together.
_LOOK = 2**24
# Types whose every value is a number of float32.
_NARROW = {
    torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.bool,
    torch.uint16,
}  # fmt: skip
_TYPES = {"float32": torch.float32, "float64": torch.float64}


def times_power(values, exponent):
    """Float64 values times a power of two."""
    # The largest powers are no numbers of float64; those of large ones round nothing.
    while exponent > 1000:
        values, exponent = values * math.ldexp(1.0, 1000), exponent - 1000
    return values * math.ldexp(1.0, exponent) if exponent else values


def cut(tensor, first, rows):
    """What belongs to these rows, which begin at `first`; None of None."""
    return None if tensor is None else tensor[first : first + rows.n_rows]


class DeviceRows:
    """The rows of a tensor, of any real type and strides; see `RowSet`.

    Parameters
    ----------
    given : torch.Tensor of shape (n, d)
        As it came.
    exponent : int, default=0
        Of the power of two that the rows are multiplied by, in float64.
    home : Home, optional
        Hands results back in the kind of array that the tensor was made from.
    ids : ndarray of shape (n,), int64, optional
        Numbers of these rows among those of the user, for error messages.
    kind : torch.dtype, optional
        Type of the user's values, where `given` holds the same in another one.

    Attributes
    ----------
    tensor : torch.Tensor of shape (n, d)
        What kernels read: the same memory, unless they cannot read its type.
    """

    backend = "cuda"
    is_sparse = False
    is_direct = True
    report = moved = None

    def __init__(self, given, exponent=0, home=None, ids=None, kind=None):
        self.given, self.tensor = given, read(given)
        self.exponent, self.home, self.ids = exponent, home or Home("torch"), ids
        self.n_rows, self.n_features = given.shape
        self.kind = kind = kind or given.dtype
        narrow = kind in _NARROW
        small = kind == torch.bfloat16 or "float8" in str(kind)
        single = (narrow or small or kind == torch.float32) and not exponent
        self.compute_dtype = np.dtype(np.float32 if single else np.float64)
        # NumPy has float16 and knows it as no type of results; bfloat16 it gets as float32.
        double = narrow and not small
        self.result_dtype = np.dtype(np.float64) if double else self.compute_dtype

    def holding(self, given, ids=None):
        """Rows with these values: some of these rows, whose numbers are `ids`."""
        return DeviceRows(given, self.exponent, self.home, ids, self.kind)

    @property
    def device(self):
        """Where the rows are."""
        return self.tensor.device

    @property
    def scale(self):
        """What the rows are multiplied by."""
        return math.ldexp(1.0, self.exponent)

    @property
    def strided(self):
        """The tensor and its strides, as kernels take them."""
        return self.tensor, *self.tensor.stride()

    # ------------------------------------------------------------ parts

    @property
    def whole(self):
        """All rows, on the device for good."""
        return self

    def part_rows(self, plan):
        """Most rows of a part."""
        return self.n_rows

    def parts(self, plan, seen=None):
        """Yield (first, rows on the device), in order: all at once."""
        if self.n_rows:
            yield 0, self

    # ------------------------------------------------------------ values

    def computed(self, tensor):
        """Values of the tensor in `compute_dtype`, on the device."""
        return times_power(tensor.to(_TYPES[self.compute_dtype.name]), self.exponent)

    def _chosen(self, ids):
        return torch.as_tensor(np.asarray(ids, dtype=np.int64), device=self.device)

    def _blocks(self):
        step = max(1, _LOOK // max(1, self.n_features))
        for first in range(0, self.n_rows, step):
            yield first, self.tensor[first : first + step]

    def take(self, ids):
        """Rows by index, (m, d), in `compute_dtype`, as an ndarray."""
        return self.computed(self.tensor.index_select(0, self._chosen(ids))).cpu().numpy()

    def values_of(self, ids):
        """Rows by index, (m, d), in float64, on the device."""
        return self.computed(self.tensor.index_select(0, self._chosen(ids))).to(torch.float64)

    def values(self, size):
        """All values, some at a time."""
        for _, block in self._blocks():
            yield self.computed(block).cpu().numpy()

    def magnitudes(self):
        """The largest magnitude in each row, (n,)."""
        if not (self.n_rows and self.n_features):
            return np.zeros(self.n_rows)
        found = [self.computed(block).abs().amax(1) for _, block in self._blocks()]
        return torch.cat(found).cpu().numpy()

    # ------------------------------------------------------------ other sets of rows

    def picked(self, ids):
        """Rows by index, copied: a device reads rows that lie together several times as fast."""
        own = np.array(ids, dtype=np.int64)
        return self.holding(
            self.tensor.index_select(0, self._chosen(own)),
            own if self.ids is None else self.ids[own],
        )

    copied = picked

    def fill(self, ids, out):
        """Copy rows by index to another tensor."""
        torch.index_select(self.tensor, 0, self._chosen(ids), out=out)

    def blank(self, n_rows):
        """Room for so many rows."""
        shape = n_rows, self.n_features
        return torch.empty(shape, dtype=self.tensor.dtype, device=self.device)

    def scaled(self, exponent):
        """These rows times a power of two, in float64."""
        return DeviceRows(self.given, exponent, self.home, self.ids, self.kind)

    def centred(self, mean, scale):
        """These rows, which have no scale, less their mean, which has one."""
        kind = _TYPES[self.result_dtype.name]
        out = torch.empty((self.n_rows, self.n_features), dtype=kind, device=self.device)
        mean = torch.from_numpy(np.array(mean, dtype=np.float64)).to(self.device)
        for first, block in self._blocks():
            values = times_power(block.to(torch.float64), scale.exponent) - mean
            values = times_power(values.to(kind), -scale.exponent)
            out[first : first + len(block)] = values
        return DeviceRows(out, home=self.home)

    # ------------------------------------------------------------ what users get

    def array(self):
        """The rows in `result_dtype`, as functions of the user get them."""
        return self.home.array(self.given.to(_TYPES[self.result_dtype.name]))

    def originals(self, ids):
        """Rows by index in the type in which they were given, (m, d)."""
        given, kind = self.given, self.given.dtype
        if self.tensor.dtype != kind:
            # Not every function of torch knows every type; those of the same size have one size.
            given = given.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[kind.itemsize]
                               if kind.itemsize < 8 else torch.int64)  # fmt: skip
        return self.home.array(given.index_select(0, self._chosen(ids)).view(kind))

    def fingerprint(self):
        """A digest of all values: that of the same rows in memory."""
        digest = hashlib.blake2b(digest_size=16)
        kind = _TYPES[self.result_dtype.name]
        for _, block in self._blocks():
            digest.update(np.ascontiguousarray(block.to(kind).cpu().numpy()).data)
        return {"values": digest.hexdigest()}

    def raise_nonfinite(self):
        """Raise the ValueError that names the first value that is not finite, if there is one."""
        if not self.tensor.dtype.is_floating_point:
            return
        for first, block in self._blocks():
            bad = ~torch.isfinite(block)
            if bool(bad.any()):
                row, column = (int(i) for i in bad.nonzero()[0])
                what = "NaN" if bool(torch.isnan(block[row, column])) else (
                    f"infinity or a value too large for {self.result_dtype!r}"
                )  # fmt: skip
                row += first
                row = row if self.ids is None else int(self.ids[row])
                raise ValueError(
                    f"Input X contains {what}: the first is at row {row}, column {column}."
                )

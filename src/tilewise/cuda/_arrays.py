"""Arrays of other packages that lie on a device: recognised, made into tensors, and handed back.

A type can only be torch's or CuPy's if its package has been imported, so nothing is imported to
recognise one. CuPy arrays become tensors, and tensors CuPy arrays, by DLPack: the memory is the
same, and the streams of the two packages wait for each other.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["DEVICE_TYPES", "Home", "host_copy", "kind_of", "plain_tensor", "tensor_of", "uploaded"]

#: Types of torch's devices whose tensors are taken. Tests that have Triton's interpreter in place
#: of a device add "cpu".
DEVICE_TYPES = {"cuda"}

# Types that kernels read as they are.
_READ = {
    "bool", "int8", "uint8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
}  # fmt: skip
# Others become the type beside them once, on the device.
_CONVERTED = {"uint16": "int32", "uint32": "int64", "uint64": "float64"}


def _is(X, package, name):
    kind = getattr(sys.modules.get(package), name, None)
    return isinstance(kind, type) and isinstance(X, kind)


def kind_of(X) -> str | None:
    """Whose array on a device it is, "torch" or "cupy"; None if it lies elsewhere."""
    if type(X) is np.ndarray:
        return None
    if _is(X, "torch", "Tensor"):
        return "torch" if X.device.type in DEVICE_TYPES else None
    if _is(X, "cupy", "ndarray") or type(X).__module__.startswith("cupyx.scipy.sparse"):
        return "cupy"
    return None


class Home:
    """Where an array came from: results go back there.

    Parameters
    ----------
    kind : {"torch", "cupy", "numpy"}
    """

    def __init__(self, kind: str):
        self.kind = kind

    def array(self, tensor) -> Any:
        """A tensor as an array of that kind: in the same memory, unless it leaves the device."""
        if self.kind == "torch":
            return tensor
        if self.kind == "numpy":
            return tensor.cpu().numpy()
        import torch

        cupy = sys.modules["cupy"]
        if tensor.dtype == torch.bool:
            return cupy.from_dlpack(tensor.view(torch.uint8)).view(np.bool_)
        return cupy.from_dlpack(tensor)

    def __repr__(self):
        return f"Home({self.kind!r})"


def host_copy(X) -> np.ndarray:
    """An array on a device as an ndarray; bfloat16, which NumPy does not have, as float32."""
    import torch

    tensor = tensor_of(X)
    if tensor.dtype == torch.bfloat16 or "float8" in str(tensor.dtype):
        tensor = tensor.float()
    return tensor.cpu().numpy()


def tensor_of(X, name: str = "X"):
    """An array on a device as a tensor, which shares its memory.

    Parameters
    ----------
    X : torch.Tensor or cupy.ndarray
    name : str, default="X"
        What errors call it.

    Returns
    -------
    torch.Tensor
        Without a gradient.

    Raises
    ------
    TypeError
        If it is sparse or quantized.
    ValueError
        If it holds complex numbers.
    """
    import torch

    if isinstance(X, torch.Tensor):
        if X.layout is not torch.strided:
            raise _refused(X, name, "is sparse", "to_dense()")
        if X.is_quantized:
            raise _refused(X, name, "is quantized", "dequantize()")
        tensor = X.detach()
    else:
        if not _is(X, "cupy", "ndarray"):
            raise _refused(X, name, "is sparse", "toarray()")
        tensor = _from_cupy(X, torch)
    if tensor.is_complex():
        raise ValueError("Complex data not supported")
    # Bits that a view has not yet applied to its values.
    return tensor.resolve_neg()


def _from_cupy(X, torch):
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported")
    if any(step < 0 or step % X.itemsize for step in X.strides):
        X = X.copy()  # torch has no such strides
    if X.dtype.kind == "b":
        return torch.from_dlpack(X.view(np.uint8)).view(torch.bool)
    return torch.from_dlpack(X)


def _refused(X, name, why, what):
    kind = f"{type(X).__module__}.{type(X).__qualname__}"
    return TypeError(f"{name}, a {kind}, {why}: pass {name}.{what} instead.")


def read(tensor, name: str = "X"):
    """A tensor of a type that kernels read; itself, if it is of such a type."""
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    if kind == "bool":
        return tensor.view(torch.uint8)
    if kind in _READ:
        return tensor
    wanted = _CONVERTED.get(kind, "float32" if kind.startswith("float8") else None)
    if wanted is None:
        raise TypeError(f"{name} is of type {tensor.dtype}, which tilewise does not read.")
    return tensor.to(getattr(torch, wanted))


class _Writeable:
    """An array's memory without the mark that it is read-only: torch has tensors without one."""

    def __init__(self, array):
        first = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (first, False)}
        self._array = array


def plain_tensor(array: np.ndarray):
    """A tensor in memory with the values of an array of any real type, order and strides."""
    import torch

    plain = array.dtype.isnative and array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
    if not plain:
        wide = array.dtype.kind not in "biuf" or array.dtype.itemsize > 8
        array = array.astype(np.float64 if wide else array.dtype.newbyteorder("="))
    if any(step < 0 or step % array.itemsize for step in array.strides):
        array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        kept = _Writeable(array)
        array = np.asarray(kept)
    return torch.from_numpy(array)


def uploaded(array: np.ndarray, device):
    """A tensor on the device with the values of an array of any real type, order and strides."""
    return plain_tensor(array).to(device)

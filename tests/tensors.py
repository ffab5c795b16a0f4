"""What torch's tensors are like to NumPy, without torch."""

import numpy as np


class Device:
    def __init__(self, kind):
        self.type = kind

    def __str__(self):
        return "cpu" if self.type == "cpu" else f"{self.type}:0"


class Tensor:
    """An array behind torch's manners: it refuses to be converted, and says what to call."""

    def __init__(self, values, *, requires_grad=False, dtype=None, device="cpu", layout="strided"):
        self.values = np.asarray(values)
        self.requires_grad = requires_grad
        self.dtype = f"torch.{dtype or self.values.dtype}"
        self.device = Device(device)
        self.layout = f"torch.{layout}"
        self.is_sparse = layout != "strided"

    @property
    def shape(self):
        return self.values.shape

    @property
    def ndim(self):
        return self.values.ndim

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy()."
            )
        if self.device.type != "cpu":
            raise TypeError(f"can't convert {self.device} device type tensor to numpy.")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values if dtype is None else self.values.astype(dtype)

    def detach(self):
        return Tensor(self.values, dtype=self.dtype.removeprefix("torch."), device=self.device.type)

    def float(self):
        return Tensor(self.values.astype(np.float32))


def bfloat16(values, **how):
    """A tensor of bfloat16: the values keep eight bits."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return Tensor(bits.view(np.float32), dtype="bfloat16", **how)

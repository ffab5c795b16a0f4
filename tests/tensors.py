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


class Halves(Tensor):
    """A tensor of bfloat16, whose memory can be found as torch's can."""

    def __init__(self, memory, **how):
        super().__init__(widened(memory), dtype="bfloat16", **how)
        self.memory = memory

    def data_ptr(self):
        return self.memory.ctypes.data if self.memory.size else 0

    def stride(self):
        return tuple(step // 2 for step in self.memory.strides)

    def detach(self):
        return Halves(self.memory, device=self.device.type)


def widened(memory):
    """The values of bfloat16 whose bits are in an array of uint16, in float32."""
    return (memory.astype(np.uint32) << 16).view(np.float32)


def narrowed(values):
    """The bits of the closest bfloat16 towards zero, in an array of uint16."""
    return (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def bfloat16(values, **how):
    """A tensor of bfloat16: the values keep eight bits."""
    return Halves(narrowed(values), **how)

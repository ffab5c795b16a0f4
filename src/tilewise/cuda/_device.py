"""The device that rows lie on: whether it will do, its memory, and its errors."""

from __future__ import annotations

import re
import traceback
from contextlib import contextmanager, nullcontext

import torch

from tilewise._text import first_line

from ._arrays import DEVICE_TYPES, kind_of
from ._facts import LEAST_CAPABILITY, overridden_bytes

__all__ = ["check_device", "computing", "default_device", "memory_of"]

# DLPack's number for memory that is no device's.
_CPU = 1

_checked = set()


def default_device() -> torch.device:
    """The device that arrays in memory are moved to.

    Raises
    ------
    RuntimeError
        If there is none; the message says why.
    """
    others = DEVICE_TYPES - {"cuda"}
    if others:
        return torch.device(min(others))
    if torch.version.cuda is None and torch.version.hip is None:
        raise RuntimeError(
            f"device='cuda' needs torch with CUDA, and torch {torch.__version__} was built "
            "without it: see https://pytorch.org/get-started/locally"
        )
    try:
        torch.cuda.init()
        return torch.device("cuda", torch.cuda.current_device())
    except (AssertionError, RuntimeError) as error:
        raise RuntimeError(
            f"device='cuda' needs a GPU and its driver: {first_line(error)}"
        ) from None


def check_device(device: torch.device) -> None:
    """Raise RuntimeError if kernels cannot run on a device."""
    if device.type != "cuda" or device in _checked:
        return
    found = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and found < LEAST_CAPABILITY:
        raise RuntimeError(
            f"{device}, {torch.cuda.get_device_name(device)}, has compute capability "
            f"{'.'.join(map(str, found))}; {'.'.join(map(str, LEAST_CAPABILITY))} or more is "
            "needed: pass device='cpu'"
        )
    _checked.add(device)


def memory_of(device: torch.device) -> tuple[int, int] | None:
    """Bytes that are free on a device, and all there are; None if nobody knows."""
    told = overridden_bytes()
    if told is not None:
        return told.value, told.value
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    # What torch holds for later, it would use first.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total


def _place_of(X, device):
    kind = kind_of(X)
    if kind == "torch":
        return X.device
    if kind == "cupy":
        # Sparse ones, which are refused, have no device.
        if not hasattr(X, "__dlpack_device__"):
            return None
        code, index = X.__dlpack_device__()
        return torch.device("cpu") if code == _CPU else torch.device("cuda", index)
    return default_device()


@contextmanager
def computing(X, device):
    """Make the device of `X` the current one; out of memory, give back all and raise MemoryError.

    Errors of torch hold on to what a pass had allocated.
    """
    place = _place_of(X, device)
    message = None
    on_device = place is not None and place.type == "cuda"
    with torch.cuda.device(place) if on_device else nullcontext():
        try:
            yield
        except torch.OutOfMemoryError as error:
            message = _out_of_memory(error, place)
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
        if message is not None and on_device:
            torch.cuda.empty_cache()
    if message is not None:
        raise MemoryError(message)


def _out_of_memory(error, place):
    wanted = re.search(r"allocate ([\d.]+ \w+)", str(error))
    memory = None if place is None else memory_of(place)
    asked = f"{wanted[1]} more were needed" if wanted else first_line(error)
    left = f", and {memory[0]:,} of {memory[1]:,} bytes are free" if memory else ""
    return f"out of memory on {place}: {asked}{left}; pass fewer rows, or device='cpu'"

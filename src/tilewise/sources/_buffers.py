"""Memory that rows are read into."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import Matrix

# A cache line, and the widest vector of the kernels.
ALIGNMENT = 64

# What is converted at once on its way from the file: a fraction of a second-level cache, so that
# the numbers are still there when they are widened.
STAGE_BYTES = 1 << 18


_Scalar = TypeVar("_Scalar", bound=np.generic)


@overload
def aligned_empty(
    shape: tuple[int, int], dtype: np.dtype[_Scalar] | type[_Scalar]
) -> Matrix[_Scalar]: ...
@overload
def aligned_empty(
    shape: tuple[int, ...], dtype: np.dtype[_Scalar] | type[_Scalar]
) -> np.ndarray[tuple[int, ...], np.dtype[_Scalar]]: ...
@overload
def aligned_empty(
    shape: tuple[int, ...], dtype: DTypeLike
) -> np.ndarray[tuple[int, ...], np.dtype[Any]]: ...
def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an uninitialised C-contiguous array that begins at a multiple of 64 bytes.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype-like
        Its type.

    Returns
    -------
    numpy.ndarray
        With the memory of its own.

    Examples
    --------
    >>> from tilewise.sources import aligned_empty
    >>> aligned_empty((5, 3), "f4").ctypes.data % 64
    0
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def bytes_of(array):
    """Return the memory of a C-contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8)

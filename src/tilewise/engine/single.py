"""Few rows of plain arrays, answered one by one: no plan, and no centre is packed or copied."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from tilewise.kernels import _single
from tilewise.kernels._workspace import aligned_empty
from tilewise.plan.thresholds import most_single_rows

__all__ = ["Wanted", "aligned", "few_rows"]

# Larger squares may not have a sum.
_MOST_GAP = 2.0**900
# Bytes of a cache line.
_LINE = 64

#: What rows can be asked for: their labels (n,), the sum of squared distances to the closest
#: centres, or the distances to all centres (n, k).
Wanted = Literal["labels", "inertia", "distances"]


def aligned(values: np.ndarray) -> np.ndarray:
    """Values in C order on a cache-line boundary; a copy unless they lie there.

    A load across two lines counts twice: single rows of a large model take up to twice as long.
    """
    if values.flags.c_contiguous and values.ctypes.data % _LINE == 0:
        return values
    room = aligned_empty(values.nbytes)[: values.nbytes].view(values.dtype).reshape(values.shape)
    room[...] = values
    return room


def few_rows(X: Any, centers: np.ndarray, wanted: Wanted) -> np.ndarray | float | None:
    """The answers for few rows, the bits of which are those of a pass over them.

    Parameters
    ----------
    X : ndarray of shape (n, d) or Rows
    centers : ndarray of shape (k, d)
        Read as they lie.
    wanted : {"labels", "inertia", "distances"}

    Returns
    -------
    ndarray, float or None
        None leaves the rows to a pass: there are too many of them, or none; they cannot be read as
        they are, or the centres cannot; a value is not finite; or squares leave the range of
        float64.
    """
    if len(centers.shape) != 2:
        return None
    item = X.itemsize if type(X) is np.ndarray else X.result_dtype.itemsize
    narrow = item == centers.itemsize == 4  # types that cannot be read are declined below
    most = most_single_rows(*centers.shape, "float32" if narrow else "float64")
    if type(X) is not np.ndarray:
        if X.is_sparse or X.n_rows > most:
            return None
        X = X.array()
    if len(X.shape) != 2 or not 0 < len(X) <= most:
        return None
    if wanted == "labels":
        return _single.labels_of(X, centers)
    if wanted == "inertia":
        gaps = _single.gaps_of(X, centers)
        if gaps is None or not gaps.max() < _MOST_GAP:
            return None
        return math.fsum(gaps)
    squares = _single.distances_of(X, centers)
    return None if squares is None else np.sqrt(squares, out=squares).astype(X.dtype, copy=False)

"""Arrays on a device: what takes them, what does not, and which errors say so.

Nothing is read on the CPU. The backend that the arrays belong to computes, and its results lie
where the arrays lie.
"""

import numpy as np
import scipy.sparse as sp
from sklearn import get_config

from tilewise import engine

from ._call import MetricCall, check_norms
from ._table import find
from ._validation import check_arrays, check_k, check_rows

__all__ = ["device_matrix", "device_neighbors", "euclidean_on_device", "on_device", "refuse_device"]

# Metrics that are computed on a device.
_THERE = ("euclidean", "sqeuclidean", "cosine")


def on_device(X, Y, compute, device="auto"):
    """``compute(pair)`` for rows on a device, a `tilewise.engine.RowPair`; None for all others.

    With the device "cuda" all rows are computed with there, whether they lie there or not.
    """
    wanted = device == "cuda"
    if _in_memory(X) and _in_memory(Y) and not wanted:
        return None
    with engine.computing(X, device):
        if wanted:
            X, Y = _movable(X, "X"), None if Y is None or Y is X else _movable(Y, "Y")
        pair = engine.open_pair(X, Y, device)
        if pair is None:
            return None
        _check_shapes(pair, Y)
        return compute(pair)


def _movable(X, name):
    """An array on a device as it is; other rows as an array that can be moved there."""
    if not _in_memory(X) and engine.open_pair(X, None) is not None:
        return X
    rows = check_rows(X, name)
    if sp.issparse(rows):
        raise ValueError(f"{name}: sparse rows have no place on a device: pass {name}.toarray()")
    return rows


def _in_memory(X):
    # These are worth no question.
    return X is None or type(X) is np.ndarray or isinstance(X, list | tuple) or sp.issparse(X)


def _blanks(pair):
    return tuple(np.broadcast_to(np.float32(0.0), shape) for shape in pair.shapes)


def _check_shapes(pair, Y):
    for shape in pair.shapes:
        if len(shape) != 2:
            raise ValueError(
                f"Expected 2D array, got {len(shape)}D array of shape {shape} instead. Reshape "
                "your data either using array.reshape(-1, 1) if your data has a single feature "
                "or array.reshape(1, -1) if it contains a single sample."
            )
    X, other = _blanks(pair)
    check_arrays(X, None if Y is None else other)


def refuse_device(X, Y, name):
    """Raise TypeError if there are arrays on a device, which the function does not take."""
    if _in_memory(X) and _in_memory(Y):
        return
    if engine.open_pair(X, Y) is not None:
        raise TypeError(f"{name} takes no arrays on a device: {_COPY}.")


_COPY = "pass copies in memory, by X.cpu() of torch or cupy.asnumpy(X)"


def _call(pair, metric, parameters, *, neighbors=False, lenient=False):
    row = find(metric, neighbors=neighbors)
    if row is None or row.name not in _THERE:
        raise TypeError(
            f"the metric {metric!r} takes no arrays on a device, as {', '.join(_THERE[:-1])} and "
            f"{_THERE[-1]} do: {_COPY}."
        )
    call = MetricCall.of(row, parameters, *_blanks(pair), lenient=lenient)
    if call.weights is not None:
        raise TypeError(f"weights of features take no arrays on a device: {_COPY}.")
    return call


def _refuse_out(out):
    if out is not None:
        raise TypeError("out takes no results from a device: leave it out.")


def device_matrix(pair, metric, parameters, out):
    """All distances of a pair of sets of rows, as `pairwise_distances` returns them."""
    _refuse_out(out)
    call = _call(pair, metric, parameters)
    if not get_config()["assume_finite"]:
        pair.check_finite()
    return pair.matrix(call.kernel)


def euclidean_on_device(X, Y, norms_x, norms_y, squared, out):
    """What `euclidean_distances` returns for rows on a device; None for all others."""

    def compute(pair):
        blanks = _blanks(pair)
        check_norms(blanks[0], engine.on_host(norms_x), "X")
        check_norms(blanks[1], engine.on_host(norms_y), "Y")
        return device_matrix(pair, "euclidean", {"squared": squared}, out)

    return on_device(X, Y, compute)


def device_neighbors(pair, k, metric, parameters, out=None, *, axis=1):
    """Distances and indices (n, k) of the nearest rows of Y, or of X for axis 0."""
    _refuse_out(out)
    call = _call(pair, metric, dict(parameters or {}), neighbors=True, lenient=True)
    pair = pair.swapped() if axis == 0 else pair
    k = check_k(k, pair.shapes[1 - (axis == 0)][0])
    pair.check_finite()
    return pair.argkmin(k, call.surrogate, root=call.finish == "sqrt")

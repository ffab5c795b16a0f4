"""Matrices of distances on a device: every value has the bits that the CPU gives it.

docs/matrices.md says which formula a value comes from. `fill` computes most values and writes -1
where the formula loses digits. `mend` and `mend_cosines` then compute those pairs one by one.
"""

import numpy as np
import torch

from tilewise import engine

from ._distances import LOWEST_F4, fill, mend, mend_cosines, norms, unit_rows_kernel
from ._triton import EXACT, triton

__all__ = ["fill_device_matrix", "pairs_of", "squares_between", "unit_rows"]

# What becomes of a sum of squares.
_PLAIN, _ROOT, _HALF = 0, 1, 2
_FINISH = {"sqeuclidean": _PLAIN, "euclidean": _ROOT, "cosine": _HALF}

# Longer rows of float32 are summed in float64, as the CPU does it (kernels/_pairs.pyx).
_FLOAT_DEPTH = 2**13
# Values between two looks for those that have to be computed again: their list takes 16 bytes for
# each of them, at most 64 MiB.
_LOOKED_AT = 2**22
# Bytes of rows of length one that are made at a time, of X and of Y.
_UNIT_BYTES = 16 * 2**20


def unit_rows(tensor, dtype):
    """Rows divided by their lengths in float64, and which of them are zero."""
    n, d = tensor.shape
    out = torch.empty((n, d), dtype=dtype, device=tensor.device)
    zero = torch.empty(n, dtype=torch.int8, device=tensor.device)
    unit_rows_kernel[(triton.cdiv(n, 32),)](
        tensor, *tensor.stride(), out, zero, n, d, BM=32, num_warps=4, **EXACT
    )
    return out, zero.bool()


def squares_between(X, Y, out):
    """Write canonical squared distances, (n, m) float64."""
    _launch_fill(X, Y, out, _PLAIN, wide=True)
    return out


def _launch_fill(X, Y, out, finish, *, wide, terms=None, cosine=False):
    """Fill a matrix; returns how many values have to be computed again, on the device."""
    (n, d), m, device = X.shape, len(Y), X.device
    missing = torch.zeros(1, dtype=torch.int64, device=device)
    origin = norm_x = norm_y = None
    trusted = lowest = 0.0
    if terms is not None:
        origin = torch.as_tensor(terms.origin, device=device)
        norm_x = _norms(X, origin, wide)
        norm_y = norm_x if Y is X else _norms(Y, origin, wide)
        trusted = float(np.float32(terms.trusted))
        lowest = float(np.float32(terms.lowest)) if cosine else LOWEST_F4
    rows, columns, warps = _tiles(device, wide)
    fill[(triton.cdiv(n, rows) * triton.cdiv(m, columns),)](
        X, *X.stride(), Y, *Y.stride(), origin, norm_x, norm_y, out, out.stride(0), missing,
        n, m, d, trusted, lowest, SAME=Y is X, WIDE=wide, PRODUCTS=terms is not None, FINISH=finish,
        BM=rows, BN=columns, num_warps=warps, **EXACT,
    )  # fmt: skip
    return missing


def _tiles(device, wide):
    """Rows and columns of a tile, and warps.

    Eight sums of float64 for each value of a tile of 32 x 32 take 128 registers of a thread; two of
    float32 for 64 x 64 take 32. A step of the interpreter, which runs where there is no GPU, costs
    the same for few numbers and for many.
    """
    if device.type != "cuda":
        return 128, 256, 1
    return (32, 32, 4) if wide else (64, 64, 8)


def pairs_of(device):
    """Pairs of rows that a program computes one by one."""
    return 64 if device.type == "cuda" else 1024


def _norms(tensor, origin, wide):
    n, d = tensor.shape
    out = torch.empty(n, dtype=torch.float64 if wide else torch.float32, device=tensor.device)
    norms[(triton.cdiv(n, 32),)](
        tensor, *tensor.stride(), origin, out, n, d, WIDE=wide, BM=32, num_warps=4, **EXACT
    )
    return out


def _mend_all(X, Y, out, finish, *, own=None):
    """Compute the values again that are negative; `own` are rows before they had length one."""
    step = max(1, _LOOKED_AT // max(1, len(Y)))
    for first in range(0, len(X), step):
        part = out[first : first + step]
        pairs = (part < 0).nonzero().contiguous()
        if not len(pairs):
            continue
        x, y = (X, Y) if own is None else own
        x = x[first : first + step]
        args = (
            x, *x.stride(), y, *y.stride(), pairs, part, part.stride(0), len(pairs), x.shape[1],
        )  # fmt: skip
        block = pairs_of(x.device)
        grid = (triton.cdiv(len(pairs), block),)
        if own is None:
            mend[grid](*args, FINISH=finish, BP=block, num_warps=4, **EXACT)
        else:
            mend_cosines[grid](*args, BP=block, num_warps=4, **EXACT)


def _sample(tensor, double):
    """Rows spread over all of them, as the CPU looks at them."""
    ids = torch.as_tensor(engine.looked_at(len(tensor)), device=tensor.device)
    some = tensor.index_select(0, ids)
    return some.to(torch.float64 if double else torch.float32).cpu().numpy()


def _terms(X, Y, out, kernel):
    """What products need, or None where differences do; see `tilewise.engine.product_terms`."""
    if min(len(X), len(Y)) < engine.LOOKED_AT:
        return None
    double = out.dtype == torch.float64
    dtype = np.float64 if double else np.float32
    return engine.product_terms(_sample(X, double), _sample(Y, double), dtype, kernel)


def fill_device_matrix(X, Y, out, kernel, *, canonical=False):
    """Write the distances of all rows of X to all rows of Y, as `fill_matrix` of the CPU does.

    Parameters
    ----------
    X : torch.Tensor of shape (n, d)
    Y : torch.Tensor of shape (m, d)
        `X` itself for the distances of rows among themselves.
    out : torch.Tensor of shape (n, m), float32 or float64
        float32 where all values are numbers of float32 that are given as such.
    kernel : {"euclidean", "sqeuclidean", "cosine"}
    canonical : bool, default=False
        Whether float64 "euclidean" and "sqeuclidean" come from differences, whatever the rows.
    """
    if kernel == "cosine":
        _fill_cosines(X, Y, out)
    else:
        wide = out.dtype == torch.float64 or X.shape[1] > _FLOAT_DEPTH
        finish = _FINISH[kernel]
        terms = None if canonical and wide else _terms(X, Y, out, kernel)
        if int(_launch_fill(X, Y, out, finish, wide=wide, terms=terms)):
            _mend_all(X, Y, out, finish)
    if Y is X:
        out.diagonal().zero_()


def _fill_cosines(X, Y, out):
    d = X.shape[1]
    terms = _terms(X, Y, out, "cosine")
    wide = terms is None or out.dtype == torch.float64 or d > _FLOAT_DEPTH
    dtype = torch.float64 if wide else torch.float32
    step = max(1024, _UNIT_BYTES // (d * dtype.itemsize))
    for j in range(0, len(Y), step):
        own_y = Y[j : j + step]
        y, zero_y = unit_rows(own_y, dtype)
        for i in range(0, len(X), step):
            own_x, part = X[i : i + step], out[i : i + step, j : j + step]
            x, zero_x = (y, zero_y) if Y is X and i == j else unit_rows(own_x, dtype)
            if int(_launch_fill(x, y, part, _HALF, wide=wide, terms=terms, cosine=True)):
                _mend_all(x, y, part, _HALF, own=None if wide else (own_x, own_y))
            part[zero_x] = 1.0
            part[:, zero_y] = 1.0

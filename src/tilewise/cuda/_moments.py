"""Exact moments of columns on a device."""

import math

import numpy as np
import torch

from tilewise import engine

from ._passes import top_of
from ._sums import column_digits, extremes
from ._triton import EXACT, triton

__all__ = ["column_stats"]

# Magnitudes between which squares, and what rounding takes from them, are ordinary numbers.
_LEAST, _MOST = 2.0**-400, 2.0**400
_INFINITE = int(np.array(math.inf).view(np.int64))

_BINS = np.dtype(
    [("tops", "i8", 8), ("special", "f8", 8), ("low", "i8", (3, 8)), ("high", "i8", (3, 8))]
)


def column_stats(rows, plan, *, origin=None, seen=None):
    """Mean, variance and magnitudes of each column; raises for values that are not finite.

    ``seen`` is passed to `parts` of the rows. Moments of parts are put together exactly.
    """
    n, d = rows.n_rows, rows.n_features
    total = engine.Moments(d, isa=plan.host.isa, n_threads=1)
    in_range = True
    for _, part in rows.parts(plan, seen) if n and d else ():
        bits, bad = _extremes(part)
        if bad:
            (rows if origin is None else origin).raise_nonfinite()
        sizes = bits.cpu().numpy().view(np.float64)
        used = sizes[0] > 0.0
        if (sizes[0][used] > _MOST).any() or (sizes[1][used] < _LEAST).any():
            in_range = False
        elif in_range:
            total.merge(_state(sizes[0], _digits(part, bits[0])), np.array(_padded(sizes)))
    if not in_range:
        return _on_cpu(rows, plan, origin)
    return engine.Stats(*total.means(n), total.largest, total.least)


def _on_cpu(rows, plan, origin):
    total = engine.Moments(rows.n_features, isa=plan.host.isa, n_threads=plan.host.n_threads)
    done = 0
    for values in rows.values(0):
        part = engine.as_rows(np.ascontiguousarray(values.astype(rows.compute_dtype)))
        total.add(part, 0, len(values))
        done += len(values)
    return engine.Stats(*total.means(done), total.largest, total.least)


def _layout(rows):
    columns = min(64, triton.next_power_of_2(rows.n_features))
    height, steps = max(1, 1024 // columns), 8
    if height * steps > 4096:
        steps = max(1, 4096 // height)
    grid = triton.cdiv(rows.n_rows, height * steps), triton.cdiv(rows.n_features, columns)
    return grid, {"STEPS": steps, "BM": height, "BD": columns, "num_warps": 4}


def _extremes(rows):
    n, d = rows.n_rows, rows.n_features
    bits = torch.zeros((2, d), dtype=torch.int64, device=rows.device)
    bits[1] = _INFINITE
    bad = torch.zeros(1, dtype=torch.int32, device=rows.device)
    grid, sizes = _layout(rows)
    extremes[grid](*rows.strided, rows.scale, bits[0], bits[1], bad, n, d, **sizes, **EXACT)
    return bits, bool(bad.item())


def _digits(rows, largest):
    n, d = rows.n_rows, rows.n_features
    found = torch.zeros((2, 3, d, 2), dtype=torch.int64, device=rows.device)
    grid, sizes = _layout(rows)
    column_digits[grid](
        *rows.strided, rows.scale, largest, found, n, d, **sizes,
        DOUBLE=rows.compute_dtype == np.float64, **EXACT,
    )  # fmt: skip
    return found.cpu().numpy()


def _padded(sizes):
    extra = -sizes.shape[1] % 8
    return np.pad(sizes[0], (0, extra)), np.pad(sizes[1], (0, extra), constant_values=np.inf)


def _state(largest, digits):
    """The state of `Moments` with these digits of sums and squares, (2, 3, d, 2)."""
    d = len(largest)
    blocks = -(-d // 8)
    state = np.zeros((2, blocks), dtype=_BINS)
    high = digits[..., 0] + (digits[..., 1] >> 25)
    low = ((high & (2**25 - 1)) << 25) | (digits[..., 1] & (2**25 - 1))
    high = high >> 25
    for i, sizes in enumerate((largest, largest * largest)):
        state["tops"][i] = 3
        for j in range(d):
            state["tops"][i, j // 8, j % 8] = top_of(sizes[j])
            state["low"][i, j // 8, :, j % 8] = low[i, :, j]
            state["high"][i, j // 8, :, j % 8] = high[i, :, j]
    return np.frombuffer(state.tobytes(), dtype=np.uint8)

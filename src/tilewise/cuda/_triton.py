"""Triton, and what all kernels share."""

import triton
import triton.language as tl

__all__ = [
    "EXACT", "HUGE", "canonical", "digits", "folded", "power_of_two", "tl", "triton", "two_product",
    "two_sum",
]  # fmt: skip

#: How kernels are launched whose float64 results are to be the same everywhere.
EXACT = {"enable_fp_fusion": False}

#: Score of what fills up a panel: finite, so that no bit pattern becomes NaN.
HUGE = 3.0e38


@triton.jit
def folded(sums):
    """The eight running sums (m, 8) as one, in the canonical order."""
    rows: tl.constexpr = sums.shape[0]
    four = tl.sum(tl.reshape(sums, (rows, 2, 4)), 1)
    two = tl.sum(tl.reshape(four, (rows, 2, 2)), 1)
    return tl.sum(two, 1)


@triton.jit
def canonical(
    X, rows, row_stride, column_stride, C, centers, center_stride, ok, d, scale, M: tl.constexpr
):
    """Canonical squared distances (m,) of pairs of a row and a centre, in float64."""
    lanes = tl.arange(0, 8)
    sums = tl.zeros([M, 8], tl.float64)
    for start in range(0, d, 8):
        columns = start + lanes
        mask = ok[:, None] & (columns < d)[None, :]
        x = tl.load(
            X + rows[:, None] * row_stride + columns[None, :] * column_stride, mask=mask, other=0
        )
        c = tl.load(C + centers[:, None] * center_stride + columns[None, :], mask=mask, other=0)
        gap = x.to(tl.float64) * scale - c.to(tl.float64)
        sums += gap * gap
    return folded(sums)


@triton.jit
def two_sum(a, b):
    """a + b, and what rounding took from it."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


@triton.jit
def two_product(a, b):
    """a * b, and what rounding took from it (Dekker, Numerische Mathematik 18, 1971)."""
    p = a * b
    t = a * 134217729.0
    high = t - (t - a)
    low = a - high
    t = b * 134217729.0
    top = t - (t - b)
    rest = b - top
    return p, ((high * top - p) + high * rest + low * top) + low * rest


@triton.jit
def digits(value, big):
    """The multiple of its unit that `big` cuts a number to, int64, and what is left."""
    t = value + big
    return t.to(tl.int64, bitcast=True) - big.to(tl.int64, bitcast=True), value - (t - big)


@triton.jit
def power_of_two(exponent):
    """2.0**exponent in float32, from -126 to 127."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)

"""Distances of two sets of rows, as kernels; `_matrix` says what they are for."""

from ._triton import folded, tl, triton

__all__ = [
    "LOWEST_F4", "as_double", "eight_of", "fill", "mend", "mend_cosines", "norms",
    "unit_rows_kernel",
]  # fmt: skip

#: Sums of float32 squares from here on have lost nothing to underflow.
LOWEST_F4 = 2.0**-80

# Ranges in which results are kept; see tw_pair_f4.h, tw_pair_products_f8.h, tw_pair_careful_f8.h.
_LOWEST_F4, _HIGHEST_F4 = tl.constexpr(LOWEST_F4), tl.constexpr(2.0**126)
_LOWEST_F8, _HIGHEST_F8 = tl.constexpr(2.0**-500), tl.constexpr(2.0**900)
_LOWEST_ROOT, _HIGHEST_ROOT = tl.constexpr(2.0**-480), tl.constexpr(1.7976931348623157e308)
_SMALLEST = tl.constexpr(2.0**-330)
_SURE_LENGTH, _SHORT_LENGTH = tl.constexpr(2.0**400), tl.constexpr(2.0**-400)
_SECOND_STEP = tl.constexpr(2.0**-40)


# ---------------------------------------------------------------- parts of kernels


@triton.jit
def as_double(x):
    """Any real number in float64."""
    if x.dtype == tl.bfloat16:
        x = x.to(tl.float32)
    return x.to(tl.float64)


@triton.jit
def doubles(value, SIZE: tl.constexpr):
    """A number of float64, so many times; alone it might be taken for one of float32."""
    return tl.zeros([SIZE], tl.float64) + value


@triton.jit
def one_square(x_at, x_column, ok, y_at, y_column, known, column, d):
    """Squared differences (BM, BN) in one column, zero behind the last."""
    inside = tl.zeros([1], tl.int32) + column < d
    x = as_double(tl.load(x_at + column * x_column, mask=ok & inside, other=0))
    y = as_double(tl.load(y_at + column * y_column, mask=known & inside, other=0))
    gap = x[:, None] - y[None, :]
    return gap * gap


@triton.jit
def wide_squares(x_at, x_column, ok, y_at, y_column, known, d, BM: tl.constexpr, BN: tl.constexpr):
    """Canonical squared distances (BM, BN): eight running sums that meet in the canonical order."""
    s0 = tl.zeros([BM, BN], tl.float64)
    s1, s2, s3, s4, s5, s6, s7 = s0, s0, s0, s0, s0, s0, s0
    for start in range(0, d, 8):
        s0 += one_square(x_at, x_column, ok, y_at, y_column, known, start, d)
        s1 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 1, d)
        s2 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 2, d)
        s3 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 3, d)
        s4 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 4, d)
        s5 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 5, d)
        s6 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 6, d)
        s7 += one_square(x_at, x_column, ok, y_at, y_column, known, start + 7, d)
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))


@triton.jit
def centred(at, step, column, ok, ORIGIN, WIDE: tl.constexpr):
    """A column less the origin, in the type of the arithmetic."""
    value = tl.load(at + column * step, mask=ok, other=0)
    if WIDE:
        value = as_double(value) - tl.load(ORIGIN + column)
        return tl.where(tl.abs(value) < _SMALLEST, 0.0, value)
    return value.to(tl.float32) - tl.load(ORIGIN + column)


@triton.jit
def chained(
    x_at, x_column, ok, y_at, y_column, known, ORIGIN, d, WIDE: tl.constexpr,
    PRODUCTS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Sums (BM, BN) by fused multiply-adds, one for each 64 columns, or 32 in float64."""
    CHAIN: tl.constexpr = 32 if WIDE else 64
    TYPE: tl.constexpr = tl.float64 if WIDE else tl.float32
    total = tl.zeros([BM, BN], TYPE)
    for first in range(0, d, CHAIN):
        part = tl.zeros([BM, BN], TYPE)
        for column in range(first, tl.minimum(first + CHAIN, d)):
            if PRODUCTS:
                x = centred(x_at, x_column, column, ok, ORIGIN, WIDE)[:, None]
                y = centred(y_at, y_column, column, known, ORIGIN, WIDE)[None, :]
                zeros = tl.zeros([BM, BN], TYPE)
                part = tl.fma(x + zeros, y + zeros, part)
            else:
                x = tl.load(x_at + column * x_column, mask=ok, other=0).to(tl.float32)
                y = tl.load(y_at + column * y_column, mask=known, other=0).to(tl.float32)
                gap = x[:, None] - y[None, :]
                part = tl.fma(gap, gap, part)
        total += part
    return total


@triton.jit
def exponent_below(largest):
    """The exponent of frexp, from -1000 to 1000, of numbers above zero."""
    bits = largest.to(tl.int64, bitcast=True)
    exponent = ((bits >> 52) & 0x7FF) - 1022
    return tl.minimum(tl.maximum(exponent, -1000), 1000)


@triton.jit
def two_to(exponent):
    """A power of two, from 2.0**-1000 to 2.0**1000."""
    return ((exponent + 1023) << 52).to(tl.float64, bitcast=True)


# ---------------------------------------------------------------- whole tiles


@triton.jit
def fill(
    X, x_row, x_column, Y, y_row, y_column, ORIGIN, NORM_X, NORM_Y, OUT, out_row, OPEN,
    n, m, d, trusted, lowest, SAME: tl.constexpr, WIDE: tl.constexpr, PRODUCTS: tl.constexpr,
    FINISH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """OUT (n, m) = distances, or -1 where they have to be computed again; OPEN += how many.

    Shapes: X (n, d), Y (m, d), NORM_X (n,), NORM_Y (m,). `trusted` and `lowest` are for products
    in float32. With SAME, X is Y, and nobody wants the distances of rows to themselves.
    """
    across = tl.cdiv(m, BN)
    rows = (tl.program_id(0) // across).to(tl.int64) * BM + tl.arange(0, BM)
    others = (tl.program_id(0) % across).to(tl.int64) * BN + tl.arange(0, BN)
    ok, known = rows < n, others < m
    x_at, y_at = X + rows * x_row, Y + others * y_row
    if PRODUCTS:
        product = chained(x_at, x_column, ok, y_at, y_column, known, ORIGIN, d, WIDE, True, BM, BN)
        norm_x = tl.load(NORM_X + rows, mask=ok, other=1.0)
        both = norm_x[:, None] + tl.load(NORM_Y + others, mask=known, other=1.0)[None, :]
        value = tl.fma(tl.zeros_like(product) - 2.0, product, both)
        if WIDE:
            low, high = doubles(_LOWEST_F8, BN)[None, :], doubles(_HIGHEST_F8, BN)[None, :]
            within = (tl.maximum(both * 0.5, low) <= value) & (both <= high)
        else:
            within = (tl.maximum(trusted * both, lowest) <= value) & (both <= _HIGHEST_F4)
    elif WIDE:
        value = wide_squares(x_at, x_column, ok, y_at, y_column, known, d, BM, BN)
        within = value == value
    else:
        value = chained(x_at, x_column, ok, y_at, y_column, known, ORIGIN, d, False, False, BM, BN)
        within = (value >= _LOWEST_F4) & (value <= _HIGHEST_F4)
    if FINISH == 1:
        if WIDE:
            value = tl.sqrt(tl.maximum(value, 0.0))
            if not PRODUCTS:
                low, high = doubles(_LOWEST_ROOT, BN), doubles(_HIGHEST_ROOT, BN)
                within = (value >= low[None, :]) & (value <= high[None, :])
        else:
            value = tl.sqrt_rn(tl.maximum(value, 0.0))
    elif FINISH == 2:
        value = tl.minimum(value * 0.5, 2.0)
    ours = ok[:, None] & known[None, :]
    if SAME:
        within = within | (rows[:, None] == others[None, :])
    value = tl.where(within, value.to(OUT.dtype.element_ty), -1.0)
    tl.store(OUT + rows[:, None] * out_row + others[None, :], value, mask=ours)
    missing = tl.sum(tl.sum((ours & ~within).to(tl.int32), 1), 0)
    if missing > 0:
        tl.atomic_add(OPEN, missing.to(tl.int64))


# ---------------------------------------------------------------- pairs one by one


@triton.jit
def eight_of(at, step, start, d, ok):
    """Eight columns of some rows (BP, 8) in float64, zeros behind the last."""
    columns = start + tl.arange(0, 8)
    mask = ok[:, None] & (columns < d)[None, :]
    return as_double(tl.load(at[:, None] + columns[None, :] * step, mask=mask, other=0))


@triton.jit
def mend(
    X, x_row, x_column, Y, y_row, y_column, PAIRS, OUT, out_row, count, d,
    FINISH: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """OUT[i, j] = distances from canonical squares, of pairs PAIRS (count, 2) of rows.

    Roots of squares that float64 has no room for come from differences times a power of two.
    """
    at = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    ok = at < count
    i, j = tl.load(PAIRS + 2 * at, mask=ok, other=0), tl.load(PAIRS + 2 * at + 1, mask=ok, other=0)
    x_at, y_at = X + i * x_row, Y + j * y_row
    sums = tl.zeros([BP, 8], tl.float64)
    for start in range(0, d, 8):
        gap = eight_of(x_at, x_column, start, d, ok) - eight_of(y_at, y_column, start, d, ok)
        sums += gap * gap
    value = folded(sums)
    if FINISH == 1:
        value = tl.sqrt(value)
        low, high = doubles(_LOWEST_ROOT, BP), doubles(_HIGHEST_ROOT, BP)
        lost = ok & ~((value >= low) & (value <= high))
        if tl.sum(lost.to(tl.int32), 0) > 0:
            largest = tl.zeros([BP], tl.float64)
            for start in range(0, d, 8):
                x = eight_of(x_at, x_column, start, d, ok)
                gap = x - eight_of(y_at, y_column, start, d, ok)
                largest = tl.maximum(largest, tl.max(tl.abs(gap), 1))
            exponent = exponent_below(largest)
            scale = two_to(-exponent)[:, None]
            sums = tl.zeros([BP, 8], tl.float64)
            for start in range(0, d, 8):
                x = eight_of(x_at, x_column, start, d, ok)
                gap = x - eight_of(y_at, y_column, start, d, ok)
                sums += (gap * scale) * (gap * scale)
            again = tl.sqrt(folded(sums)) * two_to(exponent)
            # A difference of zero, or one that overflows, is the distance itself.
            plain = (largest == 0.0) | ~(largest <= high)
            value = tl.where(lost, tl.where(plain, largest, again), value)
    elif FINISH == 2:
        value = tl.minimum(value * 0.5, 2.0)
    tl.store(OUT + i * out_row + j, value.to(OUT.dtype.element_ty), mask=ok)


@triton.jit
def mend_cosines(
    X, x_row, x_column, Y, y_row, y_column, PAIRS, OUT, out_row, count, d, BP: tl.constexpr
):  # fmt: skip
    """OUT[i, j] = cosine distances of pairs of float32 rows, as in tw_pair_cosine.h."""
    at = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    ok = at < count
    i, j = tl.load(PAIRS + 2 * at, mask=ok, other=0), tl.load(PAIRS + 2 * at + 1, mask=ok, other=0)
    x_at, y_at = X + i * x_row, Y + j * y_row
    lanes = tl.arange(0, 8)[None, :]
    sum_xx = tl.zeros([BP, 8], tl.float64)
    sum_yy, sum_xy = sum_xx, sum_xx
    # 1 where the first number that differs is larger in x, 0 where it is smaller.
    order = tl.full([BP], -1, tl.int32)
    for start in range(0, d, 8):
        a = eight_of(x_at, x_column, start, d, ok)
        b = eight_of(y_at, y_column, start, d, ok)
        sum_xx += a * a
        sum_yy += b * b
        sum_xy += a * b
        first = tl.min(tl.where(a != b, lanes, 8), 1)
        larger = tl.max(((a > b) & (lanes == first[:, None])).to(tl.int32), 1)
        order = tl.where((order < 0) & (first < 8), larger, order)
    xx, yy, xy = folded(sum_xx), folded(sum_yy), folded(sum_xy)
    swap = (xx > yy) | ((xx == yy) & (order == 1))
    other = tl.where(swap, xx, yy)
    xx = tl.where(swap, yy, xx)
    yy = other
    zero = (xx == 0.0) | (yy == 0.0)
    t = xy / tl.where(zero, 1.0, xx)
    sum_rr = tl.zeros([BP, 8], tl.float64)
    sum_rx = sum_rr
    for start in range(0, d, 8):
        x = eight_of(x_at, x_column, start, d, ok)
        y = eight_of(y_at, y_column, start, d, ok)
        a, b = tl.where(swap[:, None], y, x), tl.where(swap[:, None], x, y)
        r = tl.fma(tl.zeros_like(a) - t[:, None], a, b)
        sum_rr += r * r
        sum_rx += r * a
    rr = folded(sum_rr)
    c = folded(sum_rx) / tl.where(zero, 1.0, xx)
    rough = ok & (c * c * xx > _SECOND_STEP * rr)
    if tl.sum(rough.to(tl.int32), 0) > 0:
        sum_rr = tl.zeros([BP, 8], tl.float64)
        for start in range(0, d, 8):
            x = eight_of(x_at, x_column, start, d, ok)
            y = eight_of(y_at, y_column, start, d, ok)
            a, b = tl.where(swap[:, None], y, x), tl.where(swap[:, None], x, y)
            r = tl.fma(tl.zeros_like(a) - t[:, None], a, b)
            r = tl.fma(tl.zeros_like(a) - c[:, None], a, r)
            sum_rr += r * r
        rr = tl.where(rough, folded(sum_rr), rr)
    s = rr / tl.where(zero, 1.0, yy)
    narrow = s / (1.0 + tl.sqrt(tl.maximum(1.0 - s, 0.0)))
    lengths = tl.where(zero, 1.0, tl.sqrt(xx) * tl.sqrt(yy))
    wide = tl.minimum(1.0 - xy / lengths, 2.0)
    value = tl.where((s < 0.5) & (xy > 0.0), narrow, wide)
    value = tl.where(zero, 1.0, value)
    tl.store(OUT + i * out_row + j, value.to(OUT.dtype.element_ty), mask=ok)


# ---------------------------------------------------------------- norms, rows of length one


@triton.jit
def norms(
    X, x_row, x_column, ORIGIN, OUT, n, d, WIDE: tl.constexpr, BM: tl.constexpr
):  # fmt: skip
    """OUT (n,) = squared norms around the origin, in the order of norm_f4 and norm_f8."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    at = X + rows * x_row
    lanes = tl.arange(0, 8)
    whole = d // 32 * 32
    sums = tl.zeros([BM, 8], tl.float64)
    s0 = tl.zeros([BM, 8], tl.float64)
    s1, s2, s3 = s0, s0, s0
    for start in range(0, whole, 32):
        s0 += squares_of(at, x_column, start + lanes, ok, ORIGIN, d, WIDE)
        s1 += squares_of(at, x_column, start + 8 + lanes, ok, ORIGIN, d, WIDE)
        s2 += squares_of(at, x_column, start + 16 + lanes, ok, ORIGIN, d, WIDE)
        s3 += squares_of(at, x_column, start + 24 + lanes, ok, ORIGIN, d, WIDE)
        if WIDE:
            # Running sums begin anew every 128 columns.
            if (start + 32) % 128 == 0 or start + 32 == whole:
                sums += (s0 + s1) + (s2 + s3)
                s0 = tl.zeros([BM, 8], tl.float64)
                s1, s2, s3 = s0, s0, s0
    if WIDE:
        rest = tl.zeros([BM, 8], tl.float64)
        for start in range(whole, d, 8):
            rest += squares_of(at, x_column, start + lanes, ok, ORIGIN, d, WIDE)
        tl.store(OUT + rows, folded(sums + rest), mask=ok)
    else:
        single = tl.zeros([BM], tl.float64)
        for column in range(whole, d):
            value = centred(at, x_column, column, ok, ORIGIN, False).to(tl.float64)
            single += value * value
        total = single + folded((s0 + s1) + (s2 + s3))
        tl.store(OUT + rows, total.to(tl.float32), mask=ok)


@triton.jit
def squares_of(at, step, columns, ok, ORIGIN, d, WIDE: tl.constexpr):
    """Squares in float64 of eight columns less the origin."""
    inside = columns < d
    mask = ok[:, None] & inside[None, :]
    value = tl.load(at[:, None] + columns[None, :] * step, mask=mask, other=0)
    origin = tl.load(ORIGIN + columns, mask=inside, other=0.0)[None, :]
    if WIDE:
        value = as_double(value) - origin
        value = tl.where(tl.abs(value) < _SMALLEST, 0.0, value)
    else:
        value = (value.to(tl.float32) - origin).to(tl.float64)
    value = tl.where(mask, value, 0.0)
    return value * value


@triton.jit
def unit_rows_kernel(X, x_row, x_column, OUT, ZERO, n, d, BM: tl.constexpr):
    """OUT (n, d) = rows divided by their lengths; ZERO (n,) = whether a row has only zeros."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    at = X + rows * x_row
    sums = tl.zeros([BM, 8], tl.float64)
    largest = tl.zeros([BM], tl.float64)
    for start in range(0, d, 8):
        x = eight_of(at, x_column, start, d, ok)
        sums += x * x
        largest = tl.maximum(largest, tl.max(tl.abs(x), 1))
    length = tl.sqrt(folded(sums))
    low, high = doubles(_SHORT_LENGTH, BM), doubles(_SURE_LENGTH, BM)
    # Squares may leave the range: a power of two brings the largest value near one.
    out_of_range = ok & ~((length > low) & (length < high)) & (largest > 0.0)
    scale = tl.where(out_of_range, two_to(-exponent_below(largest)), 1.0)
    if tl.sum(out_of_range.to(tl.int32), 0) > 0:
        sums = tl.zeros([BM, 8], tl.float64)
        for start in range(0, d, 8):
            x = eight_of(at, x_column, start, d, ok) * scale[:, None]
            sums += x * x
        length = tl.where(out_of_range, tl.sqrt(folded(sums)), length)
    zero = length == 0.0
    tl.store(ZERO + rows, zero.to(tl.int8), mask=ok)
    length = tl.where(zero, 1.0, length)
    for start in range(0, d, 8):
        columns = start + tl.arange(0, 8)
        x = eight_of(at, x_column, start, d, ok) * scale[:, None] / length[:, None]
        tl.store(
            OUT + rows[:, None] * d + columns[None, :], x.to(OUT.dtype.element_ty),
            mask=ok[:, None] & (columns < d)[None, :],
        )  # fmt: skip

"""Exact sums of the rows of each cluster, and of single numbers, as whole numbers on fixed grids.

The grids are the CPU's: see c/tw_sums.h. A digit of 50 bits goes to two int64, 25 bits each, so
that 2**34 rows can be added by atomics before anything has to be carried.
"""

from ._triton import digits, folded, tl, triton, two_product, two_sum

__all__ = [
    "add_digits", "add_moved", "average", "column_digits", "extremes", "join_copies", "limb",
    "list_moved", "total_digits",
]  # fmt: skip

_HALF = tl.constexpr((1 << 25) - 1)


@triton.jit
def list_moved(LABELS, BEFORE, ROWS, OLD, COUNT, n, BLOCK: tl.constexpr):
    """List the rows whose label is another than before, with the old one; BEFORE follows."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < n
    new = tl.load(LABELS + at, mask=ok, other=0)
    old = tl.load(BEFORE + at, mask=ok, other=0)
    moved = (ok & (new != old)).to(tl.int32)
    count = tl.sum(moved, 0)
    if count > 0:
        to = tl.atomic_add(COUNT + 3, count) + tl.cumsum(moved, 0) - moved
        tl.store(ROWS + to, at.to(tl.int32), mask=moved > 0)
        tl.store(OLD + to, old, mask=moved > 0)
        tl.store(BEFORE + at, new, mask=moved > 0)


@triton.jit
def _add(S, cluster, ok, position, high, low, length):
    at = S + (cluster[:, None] * length + position[None, :]) * 2
    tl.atomic_add(at, high, mask=ok, sem="relaxed")
    tl.atomic_add(at + 1, low, mask=ok, sem="relaxed")


@triton.jit
def add_moved(
    X, row_stride, column_stride, scale: tl.float64, W, LABELS, ROWS, OLD, COUNT, S, MEMBERS,
    POSITIONS, LIMBS, BIGS, length, n_columns, d, n_clusters, n_copies,
    WEIGHTED: tl.constexpr, MOST: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Take moved rows from the sums of their old clusters and add them to those of the new."""
    n_moved = tl.load(COUNT + 3)
    copy = (tl.program_id(0) % n_copies).to(tl.int64)
    S += copy * n_clusters * length * 2
    MEMBERS += copy * n_clusters
    columns = tl.program_id(1) * BD + tl.arange(0, BD)
    inside = columns < d
    start = tl.load(POSITIONS + columns, mask=columns < n_columns, other=0)
    limbs = tl.load(LIMBS + columns, mask=columns < n_columns, other=0)
    for block in range(tl.program_id(0) * BM, n_moved, tl.num_programs(0) * BM):
        at = block + tl.arange(0, BM)
        ok = at < n_moved
        rows = tl.load(ROWS + at, mask=ok, other=0).to(tl.int64)
        new = tl.load(LABELS + rows, mask=ok, other=0).to(tl.int64)
        old = tl.load(OLD + at, mask=ok, other=-1).to(tl.int64)
        mask = ok[:, None] & inside[None, :]
        x = tl.load(
            X + rows[:, None] * row_stride + columns[None, :] * column_stride, mask=mask, other=0
        )
        value = x.to(tl.float64) * scale
        heavy = ok
        if WEIGHTED:
            weight = tl.load(W + rows, mask=ok, other=0.0)
            value = value * weight[:, None]
            heavy = ok & (weight != 0.0)
        for i in tl.static_range(MOST):
            used = mask & (i < limbs)[None, :]
            position = start + 8 * i
            big = tl.load(BIGS + position, mask=inside & (i < limbs), other=0.0)
            digit, rest = digits(value, big[None, :])
            value = tl.where(used, rest, value)
            digit = tl.where(used, digit, 0)
            high, low = digit >> 25, digit & _HALF
            _add(S, new, used, position, high, low, length)
            _add(S, old, used & (old >= 0)[:, None], position, -high, -low, length)
        if tl.program_id(1) == 0:
            one = heavy.to(tl.int64)
            tl.atomic_add(MEMBERS + new, one, mask=heavy, sem="relaxed")
            tl.atomic_add(MEMBERS + old, -one, mask=heavy & (old >= 0), sem="relaxed")


@triton.jit
def join_copies(COPIES, TOTAL, size, N: tl.constexpr, BLOCK: tl.constexpr):
    """TOTAL = the sum of N copies of a table."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < size
    total = tl.zeros([BLOCK], tl.int64)
    for copy in range(N):
        total += tl.load(COPIES + copy * size + at, mask=ok, other=0)
    tl.store(TOTAL + at, total, mask=ok)


@triton.jit
def limb(high, low, carry):
    """A limb from its halves and what came from below: 0 to 2**50 - 1, and what is above it."""
    high += carry >> 25
    low += carry & _HALF
    high += low >> 25
    return ((high & _HALF) << 25) | (low & _HALF), high >> 25


@triton.jit
def _limb(at, mask, carry):
    """The same for halves that lie side by side."""
    high = tl.load(at, mask=mask, other=0)
    return limb(high, tl.load(at + 1, mask=mask, other=0), carry)


@triton.jit
def _first_limb(at, mask, carry):
    """The first limb, a whole number of up to 88 bits, as the nearest double and what it lacks."""
    high = tl.load(at, mask=mask, other=0) + (carry >> 25)
    low = tl.load(at + 1, mask=mask, other=0) + (carry & _HALF)
    high += low >> 25
    low = low & _HALF
    top = (high >> 30).to(tl.float64) * 36028797018963968.0
    middle = (high & ((1 << 30) - 1)).to(tl.float64) * 33554432.0
    middle, left = two_sum(middle, low.to(tl.float64))
    top, middle = two_sum(top, middle)
    return two_sum(top, middle + left)


@triton.jit
def _to_odd(value, rest):
    """value + rest rounded to odd: see tw_to_odd in c/tw_sums.h."""
    value, rest = two_sum(value, rest)
    bits = value.to(tl.int64, bitcast=True)
    apart = (bits ^ rest.to(tl.int64, bitcast=True)) < 0
    odd = tl.where(apart, bits - 1, bits + 1)
    keep = (rest == 0.0) | ((bits & 1) != 0)
    return tl.where(keep, bits, odd).to(tl.float64, bitcast=True)


@triton.jit
def average(
    S, MEMBERS, POSITIONS, LIMBS, UNITS, OLD, NEW, SHIFTS, COUNT, length, k, d,
    MOST: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """Means of sums over numbers of rows, and how far they moved, squared.

    Columns have up to three limbs. COUNT[4] counts clusters without rows; what they get has no
    meaning.
    """
    clusters = (tl.program_id(0) * BJ + tl.arange(0, BJ)).to(tl.int64)
    ok = clusters < k
    members = tl.load(MEMBERS + clusters, mask=ok, other=1)
    empty = tl.sum((ok & (members <= 0)).to(tl.int32), 0)
    if empty > 0:
        tl.atomic_add(COUNT + 4, empty)
    weight = tl.where(members > 0, members, 1).to(tl.float64)[:, None]
    inverse = 1.0 / weight
    lanes = tl.arange(0, 8)
    sums = tl.zeros([BJ, 8], tl.float64)
    for start in range(0, d, 8):
        columns = start + lanes
        inside = columns < d
        mask = ok[:, None] & inside[None, :]
        unit = tl.load(UNITS + columns, mask=inside, other=0.0)[None, :]
        position = tl.load(POSITIONS + columns, mask=inside, other=0)
        at = S + (clusters[:, None] * length + position[None, :]) * 2
        carry = tl.zeros([BJ, 8], tl.int64)
        second = tl.zeros([BJ, 8], tl.int64)
        third = tl.zeros([BJ, 8], tl.int64)
        if MOST > 1:
            limbs = tl.load(LIMBS + columns, mask=inside, other=0)[None, :]
            if MOST > 2:
                third, carry = _limb(at + 32, mask & (limbs > 2), carry)
            second, carry = _limb(at + 16, mask & (limbs > 1), carry)
        high, low = _first_limb(at, mask, carry)
        high, low = high * unit, low * unit
        if MOST > 1:
            rest = tl.zeros([BJ, 8], tl.float64)
            unit = unit * 8.881784197001252e-16
            high, more = two_sum(high, second.to(tl.float64) * unit)
            low, left = two_sum(low, more)
            rest += left
            if MOST > 2:
                unit = unit * 8.881784197001252e-16
                high, more = two_sum(high, third.to(tl.float64) * unit)
                low, left = two_sum(low, more)
                rest += left
            high, low = two_sum(high, _to_odd(low, rest))
        quotient = high / weight
        product, error = two_product(quotient, weight)
        mean = quotient + (((high - product) - error) + low) * inverse
        old = tl.load(OLD + clusters[:, None] * d + columns[None, :], mask=mask, other=0.0)
        gap = tl.where(mask, mean - old, 0.0)
        sums += gap * gap
        tl.store(NEW + clusters[:, None] * d + columns[None, :], mean, mask=mask)
    tl.store(SHIFTS + clusters, folded(sums), mask=ok)


# ---------------------------------------------------------------- single numbers


@triton.jit
def big_of(top, limb: tl.constexpr):
    """The constant that cuts numbers at a limb of a sum whose highest bin is `top`."""
    exponent = (-1124 + 52 + 1023 + 50 * (top - limb)).to(tl.int64)
    bits = (exponent << 52) | (1 << 51)
    return bits.to(tl.float64, bitcast=True)


@triton.jit
def bin_of(bits):
    """The highest bin of numbers of up to the magnitude with these bits."""
    exponent = (bits >> 52) - 1022
    return tl.maximum((exponent + 1174) // 50 - 1, 3)


@triton.jit
def add_digits(
    VALUES, W, top, SUMS, TOTAL, n, WEIGHTED: tl.constexpr, KEPT: tl.constexpr, BLOCK: tl.constexpr
):
    """TOTAL (3, 2) int64 += digits of a block of up to 4096 numbers; SUMS (blocks, 3), if kept."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < n
    value = tl.load(VALUES + at, mask=ok, other=0.0)
    if WEIGHTED:
        value = value * tl.load(W + at, mask=ok, other=0.0)
    for i in tl.static_range(3):
        digit, value = digits(value, big_of(top, i))
        digit = tl.sum(digit, 0)
        if KEPT:
            tl.store(SUMS + tl.program_id(0) * 3 + i, digit)
        tl.atomic_add(TOTAL + 2 * i, digit >> 25, sem="relaxed")
        tl.atomic_add(TOTAL + 2 * i + 1, digit & _HALF, sem="relaxed")


@triton.jit
def total_digits(VALUES, W, MOST, TOTAL, n, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr):
    """TOTAL (3, 2) int64 += digits of the numbers, whose largest magnitude has the bits MOST."""
    add_digits(VALUES, W, bin_of(tl.load(MOST)), TOTAL, TOTAL, n, WEIGHTED, False, BLOCK)


# ---------------------------------------------------------------- columns


@triton.jit
def extremes(
    X, row_stride, column_stride, scale: tl.float64, LARGEST, LEAST, BAD, n, d,
    STEPS: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """The largest magnitude of each column, the least but zero, as bits; BAD if not finite."""
    columns = tl.program_id(1) * BD + tl.arange(0, BD)
    inside = columns < d
    most = tl.zeros([BM, BD], tl.float64)
    least = tl.full([BM, BD], float("inf"), tl.float64)
    bad = tl.zeros([BM, BD], tl.int32)
    for step in range(STEPS):
        rows = (tl.program_id(0).to(tl.int64) * STEPS + step) * BM + tl.arange(0, BM)
        mask = (rows < n)[:, None] & inside[None, :]
        x = tl.load(
            X + rows[:, None] * row_stride + columns[None, :] * column_stride, mask=mask, other=0
        )
        size = tl.abs(x.to(tl.float64) * scale)
        bad |= (~(size < float("inf"))).to(tl.int32)
        most = tl.where(size > most, size, most)
        least = tl.where((size > 0.0) & (size < least), size, least)
    tl.atomic_max(LARGEST + columns, tl.max(most, 0).to(tl.int64, bitcast=True), mask=inside)
    tl.atomic_min(LEAST + columns, tl.min(least, 0).to(tl.int64, bitcast=True), mask=inside)
    if tl.max(tl.max(bad, 1), 0) > 0:
        tl.atomic_max(BAD, 1)


@triton.jit
def _put(DIGITS, columns, inside, digit):
    tl.atomic_add(DIGITS + 2 * columns, digit >> 25, mask=inside, sem="relaxed")
    tl.atomic_add(DIGITS + 2 * columns + 1, digit & _HALF, mask=inside, sem="relaxed")


@triton.jit
def column_digits(
    X, row_stride, column_stride, scale: tl.float64, LARGEST, DIGITS, n, d,
    STEPS: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """DIGITS (2, 3, d, 2) int64 += those of the numbers of each column, and of their squares."""
    columns = tl.program_id(1) * BD + tl.arange(0, BD)
    inside = columns < d
    largest = tl.load(LARGEST + columns, mask=inside, other=0)
    top = bin_of(largest)
    size = largest.to(tl.float64, bitcast=True)
    top_of_squares = bin_of((size * size).to(tl.int64, bitcast=True))
    sums_0 = tl.zeros([BD], tl.int64)
    sums_1 = tl.zeros([BD], tl.int64)
    sums_2 = tl.zeros([BD], tl.int64)
    squares_0 = tl.zeros([BD], tl.int64)
    squares_1 = tl.zeros([BD], tl.int64)
    squares_2 = tl.zeros([BD], tl.int64)
    for step in range(STEPS):
        rows = (tl.program_id(0).to(tl.int64) * STEPS + step) * BM + tl.arange(0, BM)
        mask = (rows < n)[:, None] & inside[None, :]
        x = tl.load(
            X + rows[:, None] * row_stride + columns[None, :] * column_stride, mask=mask, other=0
        )
        value = x.to(tl.float64) * scale
        if DOUBLE:
            square, rest = two_product(value, value)
        else:
            square = value * value
            rest = tl.zeros([BM, BD], tl.float64)
        digit, value = digits(value, big_of(top, 0)[None, :])
        sums_0 += tl.sum(digit, 0)
        digit, value = digits(value, big_of(top, 1)[None, :])
        sums_1 += tl.sum(digit, 0)
        digit, value = digits(value, big_of(top, 2)[None, :])
        sums_2 += tl.sum(digit, 0)
        digit, square = digits(square, big_of(top_of_squares, 0)[None, :])
        squares_0 += tl.sum(digit, 0)
        digit, square = digits(square, big_of(top_of_squares, 1)[None, :])
        squares_1 += tl.sum(digit, 0)
        digit, square = digits(square, big_of(top_of_squares, 2)[None, :])
        squares_2 += tl.sum(digit, 0)
        if DOUBLE:
            digit, rest = digits(rest, big_of(top_of_squares, 1)[None, :])
            squares_1 += tl.sum(digit, 0)
            digit, rest = digits(rest, big_of(top_of_squares, 2)[None, :])
            squares_2 += tl.sum(digit, 0)
    _put(DIGITS, columns, inside, sums_0)
    _put(DIGITS + 2 * d, columns, inside, sums_1)
    _put(DIGITS + 4 * d, columns, inside, sums_2)
    _put(DIGITS + 6 * d, columns, inside, squares_0)
    _put(DIGITS + 8 * d, columns, inside, squares_1)
    _put(DIGITS + 10 * d, columns, inside, squares_2)

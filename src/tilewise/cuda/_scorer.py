"""The first look: one float16 product of every row with every centre, and how wrong it may be.

Rows and centres are centred, scaled and rounded to float16: y = h + r and c = g + q, where r and q
are what rounding took. What the exact score ``|c|**2 / 2 - y.c`` and the computed one may differ by
is at most

    E = |r| |c| + |h| |q| + 2**-23 |y| |c| + steps * 2**-23 |h| |g| + 2**-22 s + 2**-(23 - bits) s,

with s = |c|**2 / 2 + |y| |c| (Cauchy and Schwarz): the rests, the rounding of y itself, the
products on tensor cores, the float32 arithmetic of the score, and the number of the centre in its
last bits. A tensor core adds 16 products and what was there: we let each of the 17 lose a unit in
the last place of the largest (Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA
tensor cores", PeerJ Computer Science 7, 2021, found less). Norms are measured while rows are
packed, those of centres are the largest of all. A label is certain where the second best score is
more than 2 E above the best.
"""

from ._triton import HUGE, power_of_two, tl, triton

__all__ = ["FACTS", "look", "measure_centers", "pack_centers", "row_tile", "scores"]

#: Facts about packed centres: largest magnitude, squared norm and squared rest, as float32.
FACTS = 4

_HUGE = tl.constexpr(HUGE)
# The largest magnitude of a scaled centre lies from 2**4 to 2**5: rows may be 2,000 times as far
# out before float16 overflows, and what is subnormal there is a 2**-18 of it.
_TOP = tl.constexpr(5)


@triton.jit
def measure_centers(C, ORIGIN, FACTS, size, d, BLOCK: tl.constexpr):
    """FACTS[0] = the largest |c - origin|, as the bits of a float32 rounded up."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < size
    gap = tl.abs(tl.load(C + at, mask=ok, other=0.0) - tl.load(ORIGIN + at % d, mask=ok, other=0.0))
    most = tl.max((gap * 1.0001).to(tl.float32), 0)
    tl.atomic_max(FACTS, most.to(tl.int32, bitcast=True))


@triton.jit
def exponent_of(FACTS):
    """The power of two that centres and rows are multiplied by."""
    bits = tl.load(FACTS)
    exponent = _TOP - ((bits >> 23) - 126)
    # Where centres are so small or so large that float32 has no room, rows stay open anyway.
    return tl.where(bits == 0, 0, tl.minimum(tl.maximum(exponent, -120), 120))


@triton.jit
def pack_centers(
    C, ORIGIN, FACTS, G, HALF, k, d, D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr
):
    """G (padded k, D) float16 = scaled centres, HALF = half their squared norms; norms to FACTS."""
    centers = tl.program_id(0) * BN + tl.arange(0, BN)
    sigma = power_of_two(exponent_of(FACTS)).to(tl.float64)
    norm = tl.zeros([BN], tl.float64)
    rest = tl.zeros([BN], tl.float64)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        ok = (centers < k)[:, None] & (columns < d)[None, :]
        c = tl.load(C + centers[:, None].to(tl.int64) * d + columns[None, :], mask=ok, other=0.0)
        c = (c - tl.load(ORIGIN + columns, mask=columns < d, other=0.0)[None, :]) * sigma
        c = tl.where(ok, c, 0.0)
        g = c.to(tl.float32).to(tl.float16)
        q = c - g.to(tl.float64)
        norm += tl.sum(c * c, 1)
        rest += tl.sum(q * q, 1)
        tl.store(G + centers[:, None].to(tl.int64) * D + columns[None, :], g)
    half = tl.where(centers < k, (0.5 * norm).to(tl.float32), _HUGE)
    tl.store(HALF + centers, half)
    most = tl.max((norm * 1.0001).to(tl.float32), 0)
    tl.atomic_max(FACTS + 1, most.to(tl.int32, bitcast=True))
    most = tl.max((rest * 1.0001).to(tl.float32), 0)
    tl.atomic_max(FACTS + 2, most.to(tl.int32, bitcast=True))


@triton.jit
def row_tile(X, rows, ok, row_stride, column_stride, ORIGIN, columns, d, scale, sigma):
    """Some columns of some rows: h in float16, and y and r in float32."""
    mask = ok[:, None] & (columns < d)[None, :]
    x = tl.load(
        X + rows[:, None] * row_stride + columns[None, :] * column_stride, mask=mask, other=0
    )
    origin = tl.load(ORIGIN + columns, mask=columns < d, other=0.0)
    # The origin has the type in which rows are read: that of wide and of scaled rows is float64.
    if origin.dtype == tl.float64:
        y = ((x.to(tl.float64) * scale - origin[None, :]) * sigma.to(tl.float64)).to(tl.float32)
    else:
        y = (x.to(tl.float32) - origin[None, :]) * sigma
    y = tl.where(mask, y, 0.0)
    h = y.to(tl.float16)
    return h, y, y - h.to(tl.float32)


@triton.jit
def packed_rows(tile, rows, ok, columns, d, sigma, norm, rest):
    """One block of columns in float16, and squared norms with those of the block added."""
    X, row_stride, column_stride, ORIGIN, scale = tile
    h, y, r = row_tile(X, rows, ok, row_stride, column_stride, ORIGIN, columns, d, scale, sigma)
    return h, norm + tl.sum(y * y, 1), rest + tl.sum(r * r, 1)


@triton.jit
def scores(half, product, columns, MASK: tl.constexpr):
    """Scores with the number of the centre in their last bits, which makes them unequal."""
    bits = (half - product).to(tl.int32, bitcast=True)
    return ((bits & ~MASK) | columns).to(tl.float32, bitcast=True)


@triton.jit
def halves(values):
    """The first half of the columns, and the second."""
    rows: tl.constexpr = values.shape[0]
    half: tl.constexpr = values.shape[1] // 2
    return tl.split(tl.permute(tl.reshape(values, (rows, 2, half)), (0, 2, 1)))


@triton.jit
def merged(best, second, other_best, other_second):
    """Best and second best of two sets of scores."""
    second = tl.minimum(tl.maximum(best, other_best), tl.minimum(second, other_second))
    return tl.minimum(best, other_best), second


@triton.jit
def fold(keys, start, best, second, panel):
    """Fold the scores of one panel into the best and second best of each row and column group."""
    width: tl.constexpr = best.shape[1]
    a, b = halves(keys)
    low, high = tl.minimum(a, b), tl.maximum(a, b)
    # A loop over widths, as Triton takes it.
    if low.shape[1] > width:
        a, b = halves(low)
        c, d = halves(high)
        low, high = merged(a, c, b, d)
    if low.shape[1] > width:
        a, b = halves(low)
        c, d = halves(high)
        low, high = merged(a, c, b, d)
    if low.shape[1] > width:
        a, b = halves(low)
        c, d = halves(high)
        low, high = merged(a, c, b, d)
    panel = tl.where(low < best, start, panel)
    best, second = merged(best, second, low, high)
    return best, second, panel


@triton.jit
def conclude(best, second, panel, MASK: tl.constexpr):
    """Best and second best of each row, and where the best is."""
    least = tl.min(best, 1)
    found = best == least[:, None]
    second = tl.min(tl.where(found, second, best), 1)
    label = panel + (best.to(tl.int32, bitcast=True) & MASK)
    return least, second, tl.max(tl.where(found, label, 0), 1)


@triton.jit
def bound(norm, rest, FACTS, STEPS: tl.constexpr, MASK: tl.constexpr):
    """2 E for rows of these squared norms."""
    c2 = tl.load(FACTS + 1).to(tl.float32, bitcast=True)
    q2 = tl.load(FACTS + 2).to(tl.float32, bitcast=True)
    y, r, c, q = tl.sqrt(norm), tl.sqrt(rest), tl.sqrt(c2), tl.sqrt(q2)
    h, s = y + r, 0.5 * c2 + y * c
    unit: tl.constexpr = 2.0**-23
    e = r * c + h * q + unit * y * c + STEPS * unit * h * (c + q) + (2.0 + MASK) * unit * s
    # ... and what canonical distances are rounded by, far below.
    return 2.1 * (e + STEPS * norm * 2.0**-53) + 1e-30


@triton.jit
def look(
    X, row_stride, column_stride, scale: tl.float64, ORIGIN, G, HALF, FACTS, LABELS, OPEN,
    LIMITS, COUNT,
    n, d, k, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Labels of all rows; those that are not certain are listed, with the score to stay below."""
    MASK: tl.constexpr = BN - 1
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    sigma = power_of_two(exponent_of(FACTS))
    best = tl.full([BM, W], _HUGE, tl.float32)
    second = tl.full([BM, W], _HUGE, tl.float32)
    panel = tl.zeros([BM, W], tl.int32)
    norm = tl.zeros([BM], tl.float32)
    rest = tl.zeros([BM], tl.float32)
    depth = tl.arange(0, BD)
    within = tl.arange(0, BN)
    blocks: tl.constexpr = D // BD
    if blocks <= 4:
        # A tile of rows stays where it is while all centres pass by.
        tile = X, row_stride, column_stride, ORIGIN, scale
        h0, norm, rest = packed_rows(tile, rows, ok, depth, d, sigma, norm, rest)
        if blocks >= 2:
            h1, norm, rest = packed_rows(tile, rows, ok, BD + depth, d, sigma, norm, rest)
        if blocks >= 3:
            h2, norm, rest = packed_rows(tile, rows, ok, 2 * BD + depth, d, sigma, norm, rest)
        if blocks >= 4:
            h3, norm, rest = packed_rows(tile, rows, ok, 3 * BD + depth, d, sigma, norm, rest)
        for start in tl.range(0, k, BN, num_stages=STAGES):
            centers = start + within
            at = G + centers[None, :].to(tl.int64) * D + depth[:, None]
            product = tl.dot(h0, tl.load(at))
            if blocks >= 2:
                product = tl.dot(h1, tl.load(at + BD), product)
            if blocks >= 3:
                product = tl.dot(h2, tl.load(at + 2 * BD), product)
            if blocks >= 4:
                product = tl.dot(h3, tl.load(at + 3 * BD), product)
            keys = scores(tl.load(HALF + centers)[None, :], product, within[None, :], MASK)
            best, second, panel = fold(keys, start, best, second, panel)
    else:
        for start in range(0, k, BN):
            centers = start + within
            product = tl.zeros([BM, BN], tl.float32)
            for first in range(0, D, BD):
                h, y, r = row_tile(
                    X, rows, ok, row_stride, column_stride, ORIGIN, first + depth, d, scale, sigma
                )
                if start == 0:
                    norm += tl.sum(y * y, 1)
                    rest += tl.sum(r * r, 1)
                g = tl.load(G + centers[None, :].to(tl.int64) * D + (first + depth)[:, None])
                product = tl.dot(h, g, product)
            keys = scores(tl.load(HALF + centers)[None, :], product, within[None, :], MASK)
            best, second, panel = fold(keys, start, best, second, panel)
    best, second, label = conclude(best, second, panel, MASK)
    tl.store(LABELS + rows, label, mask=ok)
    limit = best + bound(norm, rest, FACTS, 17 * (D // 16), MASK)
    # Written so that NaN, from infinite and missing values, is open as well.
    is_open = ok & ~(second > limit)
    found = is_open.to(tl.int32)
    count = tl.sum(found, 0)
    if count > 0:
        at = tl.atomic_add(COUNT, count) + tl.cumsum(found, 0) - found
        tl.store(OPEN + at, rows.to(tl.int32), mask=is_open)
        tl.store(LIMITS + at, limit, mask=is_open)

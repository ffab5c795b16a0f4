"""Canonical distances: to the own centre and to candidates of a start."""

from ._sums import add_digits, big_of, limb
from ._triton import canonical, digits, folded, tl, triton

__all__ = ["block_digits", "candidate_gains", "locate_rows", "own_gaps", "take_seed"]

_HALF = tl.constexpr((1 << 25) - 1)


@triton.jit
def own_gaps(
    X, row_stride, column_stride, scale: tl.float64, C, LABELS, W, GAPS, MOST, n, d,
    WEIGHTED: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Squared distance of each row to its own centre; MOST = bits of the largest, times weights."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    # Rows without a label are an error, which is raised later.
    label = tl.maximum(tl.load(LABELS + rows, mask=ok, other=0), 0).to(tl.int64)
    gap = canonical(X, rows, row_stride, column_stride, C, label, d, ok, d, scale, BM)
    tl.store(GAPS + rows, gap, mask=ok)
    if WEIGHTED:
        gap = gap * tl.load(W + rows, mask=ok, other=0.0)
    size = tl.where(ok, tl.abs(gap), 0.0)
    tl.atomic_max(MOST, tl.max(size.to(tl.int64, bitcast=True), 0))


@triton.jit
def take_seed(
    X, row_stride, column_stride, scale: tl.float64, SEED, W, CLOSEST, MOST, n, d,
    WEIGHTED: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """CLOSEST becomes the distance to the seed where that is less."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    none = tl.zeros([BM], tl.int64)
    gap = canonical(X, rows, row_stride, column_stride, SEED, none, 0, ok, d, scale, BM)
    closest = tl.load(CLOSEST + rows, mask=ok, other=0.0)
    closest = tl.where(gap < closest, gap, closest)
    tl.store(CLOSEST + rows, closest, mask=ok)
    if WEIGHTED:
        closest = closest * tl.load(W + rows, mask=ok, other=0.0)
    size = tl.where(ok, closest, 0.0)
    tl.atomic_max(MOST, tl.max(size.to(tl.int64, bitcast=True), 0))


@triton.jit
def block_digits(VALUES, W, top, SUMS, TOTAL, n, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr):
    """SUMS (blocks, 3) int64 = digits of each block of numbers; TOTAL (3, 2) += their sums."""
    add_digits(VALUES, W, top, SUMS, TOTAL, n, WEIGHTED, True, BLOCK)


@triton.jit
def _running(digit, high, low):
    """Running sums of digits, in halves, from what came before."""
    return high + tl.cumsum(digit >> 25, 0), low + tl.cumsum(digit & _HALF, 0)


@triton.jit
def _below(h0, l0, h1, l1, h2, l2, w0, w1, w2):
    """Whether sums of three limbs, in halves, are less than a number of three limbs."""
    none = h2 - h2
    d2, carry = limb(h2, l2, none)
    d1, carry = limb(h1, l1, carry)
    l0 += carry & _HALF
    d0 = ((h0 + (carry >> 25) + (l0 >> 25)) << 25) | (l0 & _HALF)
    return (d0 < w0) | ((d0 == w0) & ((d1 < w1) | ((d1 == w1) & (d2 < w2))))


@triton.jit
def locate_rows(
    VALUES, W, top, SUMS, TARGETS, FOUND, n, n_blocks,
    WEIGHTED: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """FOUND = the first row at which the running sum is not less than the target."""
    target = tl.load(TARGETS + tl.program_id(0))
    w0, target = digits(target, big_of(top, 0))
    w1, target = digits(target, big_of(top, 1))
    w2, target = digits(target, big_of(top, 2))
    # Digits may be below zero; limbs are not.
    w1 += w2 >> 50
    w2 = w2 & ((1 << 50) - 1)
    w0 += w1 >> 50
    w1 = w1 & ((1 << 50) - 1)
    zero = tl.zeros([1], tl.int64)
    h0 = tl.sum(zero, 0)
    l0, h1, l1, h2, l2 = h0, h0, h0, h0, h0
    block = tl.full((), 0, tl.int32)
    searching = tl.full((), 1, tl.int32)
    for start in range(0, n_blocks, CHUNK):
        if searching > 0:
            at = start + tl.arange(0, CHUNK)
            ok = at < n_blocks
            digit = tl.load(SUMS + 3 * at, mask=ok, other=0)
            H0, L0 = _running(digit, h0, l0)
            digit = tl.load(SUMS + 3 * at + 1, mask=ok, other=0)
            H1, L1 = _running(digit, h1, l1)
            digit = tl.load(SUMS + 3 * at + 2, mask=ok, other=0)
            H2, L2 = _running(digit, h2, l2)
            below = ok & _below(H0, L0, H1, L1, H2, L2, w0, w1, w2)
            count = tl.sum(below.to(tl.int32), 0)
            # Running sums of the last block that is below the target.
            last = tl.arange(0, CHUNK) == count - 1
            if count > 0:
                h0 = tl.sum(tl.where(last, H0, 0), 0)
                l0 = tl.sum(tl.where(last, L0, 0), 0)
                h1 = tl.sum(tl.where(last, H1, 0), 0)
                l1 = tl.sum(tl.where(last, L1, 0), 0)
                h2 = tl.sum(tl.where(last, H2, 0), 0)
                l2 = tl.sum(tl.where(last, L2, 0), 0)
            block += count
            if count < CHUNK:
                searching = tl.full((), 0, tl.int32)
    at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < n
    value = tl.load(VALUES + at, mask=ok, other=0.0)
    if WEIGHTED:
        value = value * tl.load(W + at, mask=ok, other=0.0)
    digit, value = digits(value, big_of(top, 0))
    H0, L0 = _running(digit, h0, l0)
    digit, value = digits(value, big_of(top, 1))
    H1, L1 = _running(digit, h1, l1)
    digit, value = digits(value, big_of(top, 2))
    H2, L2 = _running(digit, h2, l2)
    below = ok & _below(H0, L0, H1, L1, H2, L2, w0, w1, w2)
    row = block.to(tl.int64) * BLOCK + tl.sum(below.to(tl.int64), 0)
    tl.store(FOUND + tl.program_id(0), tl.minimum(row, n - 1))


@triton.jit
def candidate_gains(
    X, row_stride, column_stride, scale: tl.float64, CANDIDATES, W, CLOSEST, GAINS, top,
    n, d, n_trials,
    WEIGHTED: tl.constexpr, BM: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """GAINS (T, 2, 2) int64 += digits of how much each candidate lowers the potential."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    lanes, trials = tl.arange(0, 8), tl.arange(0, T)
    sums = tl.zeros([BM, T, 8], tl.float64)
    for start in range(0, d, 8):
        columns = start + lanes
        inside = columns < d
        x = tl.load(
            X + rows[:, None] * row_stride + columns[None, :] * column_stride,
            mask=ok[:, None] & inside[None, :], other=0,
        )  # fmt: skip
        c = tl.load(
            CANDIDATES + trials[:, None] * d + columns[None, :],
            mask=(trials < n_trials)[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        gap = (x.to(tl.float64) * scale)[:, None, :] - c[None, :, :]
        sums += gap * gap
    gaps = tl.reshape(folded(tl.reshape(sums, (BM * T, 8))), (BM, T))
    closest = tl.load(CLOSEST + rows, mask=ok, other=0.0)[:, None]
    gain = tl.where(ok[:, None] & (gaps < closest), closest - gaps, 0.0)
    if WEIGHTED:
        weight = tl.load(W + rows, mask=ok, other=0.0)[:, None]
        gain = tl.where(gain > 0.0, weight * gain, 0.0)
    for i in tl.static_range(2):
        digit, gain = digits(gain, big_of(top, i))
        digit = tl.sum(digit, 0)
        at = GAINS + trials * 4 + 2 * i
        tl.atomic_add(at, digit >> 25, mask=trials < n_trials, sem="relaxed")
        tl.atomic_add(at + 1, digit & _HALF, mask=trials < n_trials, sem="relaxed")

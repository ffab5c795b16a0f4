"""The last look: canonical distances of the rows that a first look left open."""

from ._scorer import exponent_of, row_tile, scores
from ._triton import canonical, folded, power_of_two, tl, triton

__all__ = ["decide", "decide_among_all"]


@triton.jit
def decide(
    X, row_stride, column_stride, scale: tl.float64, ORIGIN, G, HALF, FACTS, C, LABELS,
    OPEN, LIMITS, COUNT, SCRATCH, LEFT, d, k,
    CAP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    D: tl.constexpr,
):  # fmt: skip
    """Score open rows again, and compare the centres that are still possible.

    Rows with more than CAP of them go to the list LEFT, whose length is COUNT[1]; the first of
    those whose distances are not finite goes to COUNT[2].
    """
    MASK: tl.constexpr = BN - 1
    n_open = tl.load(COUNT)
    sigma = power_of_two(exponent_of(FACTS))
    depth = tl.arange(0, BD)
    within = tl.arange(0, BN)
    mine = SCRATCH + tl.program_id(0).to(tl.int64) * BM * CAP + tl.arange(0, BM) * CAP
    for block in range(tl.program_id(0) * BM, n_open, tl.num_programs(0) * BM):
        at = block + tl.arange(0, BM)
        ok = at < n_open
        rows = tl.load(OPEN + at, mask=ok, other=0).to(tl.int64)
        limit = tl.load(LIMITS + at, mask=ok, other=0.0)
        found = tl.zeros([BM], tl.int32)
        for start in range(0, k, BN):
            centers = start + within
            product = tl.zeros([BM, BN], tl.float32)
            for first in range(0, D, BD):
                h, _y, _r = row_tile(
                    X, rows, ok, row_stride, column_stride, ORIGIN, first + depth, d, scale, sigma
                )
                g = tl.load(G + centers[None, :].to(tl.int64) * D + (first + depth)[:, None])
                product = tl.dot(h, g, product)
            keys = scores(tl.load(HALF + centers)[None, :], product, within[None, :], MASK)
            close = ok[:, None] & (centers < k)[None, :] & ~(keys > limit[:, None])
            close = close.to(tl.int32)
            if tl.sum(tl.sum(close, 1), 0) > 0:
                place = found[:, None] + tl.cumsum(close, 1) - close
                tl.store(
                    mine[:, None] + place, centers[None, :] + tl.zeros([BM, BN], tl.int32),
                    mask=(close > 0) & (place < CAP),
                )  # fmt: skip
                found += tl.sum(close, 1)
        tl.debug_barrier()
        least = tl.full([BM], float("inf"), tl.float64)
        label = tl.full([BM], -1, tl.int32)
        few = ok & (found <= CAP)
        for c in range(0, tl.max(tl.where(few, found, 0), 0)):
            use = few & (c < found)
            center = tl.load(mine + c, mask=use, other=0)
            gap = canonical(
                X, rows, row_stride, column_stride, C, center.to(tl.int64), d, use, d, scale, BM
            )
            closer = use & (gap < least)
            least = tl.where(closer, gap, least)
            label = tl.where(closer, center, label)
        tl.debug_barrier()
        done = few & (label >= 0)
        tl.store(LABELS + rows, label, mask=done)
        left = (ok & ~done).to(tl.int32)
        count = tl.sum(left, 0)
        if count > 0:
            to = tl.atomic_add(COUNT + 1, count) + tl.cumsum(left, 0) - left
            tl.store(LEFT + to, rows.to(tl.int32), mask=left > 0)


@triton.jit
def decide_among_all(
    X, row_stride, column_stride, scale: tl.float64, C, LABELS, LEFT, COUNT, first_row, d, k,
    BK: tl.constexpr,
):  # fmt: skip
    """Compare rows with every centre; COUNT[2] becomes the first row, of all, where none will do.

    The rows are those from `first_row` on.
    """
    n_left = tl.load(COUNT + 1)
    lanes = tl.arange(0, 8)
    within = tl.arange(0, BK)
    for at in range(tl.program_id(0), n_left, tl.num_programs(0)):
        row = tl.load(LEFT + at).to(tl.int64)
        least = tl.full((), float("inf"), tl.float64)
        label = tl.full((), -1, tl.int32)
        for start in range(0, k, BK):
            centers = start + within
            known = centers < k
            sums = tl.zeros([BK, 8], tl.float64)
            for first in range(0, d, 8):
                columns = first + lanes
                inside = columns < d
                x = tl.load(X + row * row_stride + columns * column_stride, mask=inside, other=0)
                c = tl.load(
                    C + centers[:, None].to(tl.int64) * d + columns[None, :],
                    mask=known[:, None] & inside[None, :], other=0.0,
                )  # fmt: skip
                gap = (x.to(tl.float64) * scale)[None, :] - c
                sums += gap * gap
            gaps = tl.where(known, folded(sums), float("inf"))
            # NaN is closer than nothing.
            gaps = tl.where(gaps == gaps, gaps, float("inf"))
            closest = tl.min(gaps, 0)
            if closest < least:
                label = tl.min(tl.where(gaps == closest, centers, 0x7FFFFFFF), 0)
                least = closest
        tl.store(LABELS + row, label)
        if label < 0:
            tl.atomic_min(COUNT + 2, first_row + row.to(tl.int32))

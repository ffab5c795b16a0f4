"""The nearest rows on a device: the same neighbours, in the same order, as on the CPU.

A first look multiplies float16 copies of the rows on tensor cores. y = h + r is a row of X less
the origin, times a power of two, and c = g + q one of Y; r and q are what rounding to float16 took.
What the exact score ``|c|**2 / 2 - y.c`` and the computed one differ by is at most

    E = |r| |c| + |h| |q| + steps * 2**-23 |h| |g| + 2**-21 (|c|**2 / 2 + |y| |c|):

the rests, the products on tensor cores as in `_scorer`, and the float32 arithmetic of the score.
y and c are made in float64, so that what rounds before is far below.

`group_minima` splits Y into groups and finds the lowest score in each of them. The k-th lowest of
those, t, belongs to one of k different rows of Y, so none of the k nearest rows has a score above
t + 2 E (docs/exact-neighbors.md has the proof). `list_candidates` lists all rows of Y up to
there. Their canonical distances decide. A row of X with more candidates than its list has room for
is compared with all rows of Y.
"""

import math

import torch

from ._distances import as_double, eight_of
from ._facts import device_facts
from ._matrix import pairs_of, squares_between, unit_rows
from ._neighbor_plan import look_depth
from ._triton import EXACT, HUGE, folded, tl, triton

__all__ = ["Cosines", "Look", "Squares", "among_all", "take_roots"]

_HUGE = tl.constexpr(HUGE)
_NONE = 2**31 - 1

# The largest magnitude of a scaled row of Y lies below 2**5, as in `_scorer`.
_TOP = 5
# Rows whose mean is the origin: any will do.
_ORIGIN_ROWS = 512
# Rows of X that are searched for together, and numbers that are kept for them: 8 MiB.
_BLOCK_ROWS, _KEPT = 16384, 2**21
# Distances that are compared with each other at a time where there was no look, and the rows of Y
# among them.
_SORTED, _SORTED_ROWS = 2**21, 4096
_TILE = 128


# ---------------------------------------------------------------- the look


@triton.jit
def pack(
    T, row_stride, column_stride, ORIGIN, SIGMA, PACKED, NORM, REST, n, d,
    D: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """PACKED (padded n, D) float16 = rows less the origin, scaled; NORM and REST are squares."""
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    sigma = tl.load(SIGMA)
    norm = tl.zeros([BM], tl.float64)
    rest = tl.zeros([BM], tl.float64)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        mask = ok[:, None] & (columns < d)[None, :]
        at = T + rows[:, None] * row_stride + columns[None, :] * column_stride
        x = tl.load(at, mask=mask, other=0)
        origin = tl.load(ORIGIN + columns, mask=columns < d, other=0.0)
        y = tl.where(mask, (as_double(x) - origin[None, :]) * sigma, 0.0)
        h = y.to(tl.float32).to(tl.float16)
        r = y - h.to(tl.float64)
        norm += tl.sum(y * y, 1)
        rest += tl.sum(r * r, 1)
        tl.store(PACKED + rows[:, None] * D + columns[None, :], h)
    tl.store(NORM + rows, (norm * 1.0001).to(tl.float32))
    tl.store(REST + rows, (rest * 1.0001).to(tl.float32))


@triton.jit
def packed_rows(H, rows, D: tl.constexpr, BD: tl.constexpr):
    """The first BD columns of packed rows: all of them, unless rows are long."""
    return tl.load(H + rows[:, None] * D + tl.arange(0, BD)[None, :])


@triton.jit
def tile_scores(
    h, H, rows, G, others, NORM_Y, m, D: tl.constexpr, BD: tl.constexpr
):  # fmt: skip
    """Scores of packed rows of X, the first columns of which are h, and Y; HUGE behind the last."""
    depth = tl.arange(0, BD)
    product = tl.dot(h, tl.load(G + others[None, :] * D + depth[:, None]))
    for first in range(BD, D, BD):
        more = tl.load(H + rows[:, None] * D + (first + depth)[None, :])
        g = tl.load(G + others[None, :] * D + (first + depth)[:, None])
        product = tl.dot(more, g, product)
    half = tl.where(others < m, 0.5 * tl.load(NORM_Y + others), _HUGE)
    return half[None, :] - product


@triton.jit
def group_minima(
    H, G, NORM_Y, MINIMA, m, tiles, D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr,
):  # fmt: skip
    """MINIMA (padded n, splits * BN) = the lowest score in each group of rows of Y.

    Program (i, s) has the s-th `tiles` tiles of Y; every BN-th row of them is one group.
    """
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    within = tl.arange(0, BN)
    lowest = tl.full([BM, BN], _HUGE, tl.float32)
    h = packed_rows(H, rows, D, BD)
    start = tl.program_id(1) * tiles * BN
    for at in range(start, tl.minimum(start + tiles * BN, m), BN):
        others = (at + within).to(tl.int64)
        lowest = tl.minimum(lowest, tile_scores(h, H, rows, G, others, NORM_Y, m, D, BD))
    width = tl.num_programs(1) * BN
    place = rows[:, None] * width + (tl.program_id(1) * BN + within)[None, :]
    tl.store(MINIMA + place, lowest)


@triton.jit
def band(norm, rest, c2, q2, D: tl.constexpr):
    """2 E for rows of these squared norms, rounded up."""
    y, r, c, q = tl.sqrt(norm), tl.sqrt(rest), tl.sqrt(c2), tl.sqrt(q2)
    h, g, s = y + r, c + q, 0.5 * c2 + y * c
    unit: tl.constexpr = 2.0**-23
    steps: tl.constexpr = 17 * (D // 16)
    e = r * c + h * q + steps * unit * h * g + 4.0 * unit * s
    # ... and what canonical distances are rounded by.
    return 2.1 * (e + norm * (2.0**-45 + D * 2.0**-54)) + 1e-30


@triton.jit
def list_candidates(
    H, G, NORM_X, REST_X, NORM_Y, FACTS, KTH, LISTS, COUNTS, n, m, tiles, CAP: tl.constexpr,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """LISTS (n, CAP) = rows of Y that may be among the nearest, COUNTS (n,) how many.

    COUNTS may be above CAP: then some are missing.
    """
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    ok = rows < n
    within = tl.arange(0, BN)
    norm, rest = tl.load(NORM_X + rows), tl.load(REST_X + rows)
    width = band(norm, rest, tl.load(FACTS), tl.load(FACTS + 1), D)
    limit = tl.load(KTH + rows, mask=ok, other=0.0) + width
    h = packed_rows(H, rows, D, BD)
    start = tl.program_id(1) * tiles * BN
    for at in range(start, tl.minimum(start + tiles * BN, m), BN):
        others = (at + within).to(tl.int64)
        score = tile_scores(h, H, rows, G, others, NORM_Y, m, D, BD)
        # Written so that NaN is close.
        close = ok[:, None] & (others < m)[None, :] & ~(score > limit[:, None])
        count = tl.sum(close.to(tl.int32), 1)
        most = tl.max(count, 0)
        if most > 0:
            # A row that has too many gets no more: its count need not grow beyond 32 bits.
            some = (count > 0) & (tl.load(COUNTS + rows, mask=ok, other=0) <= CAP)
            before = tl.atomic_add(COUNTS + rows, count, mask=some)
            # The first of each row, then the second, and so on: most tiles have none or one.
            for place in range(0, tl.minimum(most, CAP)):
                first = tl.min(tl.where(close, within[None, :], BN), 1)
                room = some & (first < BN) & (before + place < CAP)
                tl.store(LISTS + rows * CAP + before + place, at + first, mask=room)
                close = close & (within[None, :] != first[:, None])


@triton.jit
def candidate_squares(
    X, x_row, x_column, Y, y_row, y_column, LISTS, OUT, n, m, d, CAP: tl.constexpr,
    BP: tl.constexpr,
):  # fmt: skip
    """OUT (n, CAP) float64 = canonical squares of a row and its candidates; infinity for others."""
    at = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    row = at // CAP
    other = tl.load(LISTS + at, mask=row < n, other=m).to(tl.int64)
    ok = other < m
    sums = tl.zeros([BP, 8], tl.float64)
    for start in range(0, d, 8):
        x = eight_of(X + row * x_row, x_column, start, d, ok)
        gap = x - eight_of(Y + other * y_row, y_column, start, d, ok)
        sums += gap * gap
    tl.store(OUT + at, tl.where(ok, folded(sums), float("inf")), mask=row < n)


@triton.jit
def roots(VALUES, size, BLOCK: tl.constexpr):
    """Square roots in place, correctly rounded: those of torch need not be."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = at < size
    tl.store(VALUES + at, tl.sqrt(tl.load(VALUES + at, mask=ok, other=0.0)), mask=ok)


def take_roots(squares):
    """Square roots of a tensor, in place."""
    size = squares.numel()
    roots[(triton.cdiv(size, 1024),)](squares, size, BLOCK=1024, **EXACT)


def _stages(device, depth):
    """How many tiles of Y are under way, as the shared memory of a block allows: two or three."""
    facts = device_facts(device)
    if facts.interpreted.value:
        return 1
    tile = 2 * _TILE * depth
    # ... beside the tile of X, and what exchanging values between threads takes.
    return max(1, min(3, (facts.shared_bytes.value - tile - 1024) // tile))


class Look:
    """Packed rows of Y, and searches of blocks of rows of X among them."""

    def __init__(self, Y, k):
        self.Y, self.k, self.m = Y, k, len(Y)
        d = Y.shape[1]
        self.depth = look_depth(d)
        # The width of a tile is a power of two: 192 columns are three tiles of 64.
        self.block = self.depth if self.depth <= 128 else 64
        sample = torch.linspace(0, self.m - 1, min(self.m, _ORIGIN_ROWS), device=Y.device)
        some = Y.index_select(0, sample.long().clamp_(0, self.m - 1)).to(torch.float64)
        # In shares, so that the mean of huge values does not overflow.
        self.origin = (some / len(some)).sum(0)
        low, high = (side.to(torch.float64) for side in torch.aminmax(Y, dim=0))
        gap = torch.maximum((low - self.origin).abs(), (high - self.origin).abs()).max()
        exponent = min(max(_TOP - math.frexp(float(gap))[1], -1000), 1000) if gap > 0 else 0
        sigma = [math.ldexp(1.0, exponent)]
        self.sigma = torch.tensor(sigma, dtype=torch.float64, device=Y.device)
        self.packed, self.norms, rests = self._pack(Y)
        self.facts = torch.stack([self.norms.max(), rests.max()])
        self.cap = triton.next_power_of_2(2 * k + 30)
        self.stages = _stages(Y.device, self.block)

    def _pack(self, tensor):
        n, d = tensor.shape
        padded, device = -(-n // _TILE) * _TILE, tensor.device
        packed = torch.empty((padded, self.depth), dtype=torch.float16, device=device)
        norm, rest = torch.empty((2, padded), dtype=torch.float32, device=device)
        block = 32 if device.type == "cuda" else _TILE
        pack[(padded // block,)](
            tensor, *tensor.stride(), self.origin, self.sigma, packed, norm, rest, n, d,
            D=self.depth, BM=block, BD=min(64, self.block), num_warps=4, **EXACT,
        )  # fmt: skip
        return packed, norm, rest

    @property
    def block_rows(self):
        """Rows of X that fit what is kept for them."""
        groups = -(-2 * self.k // _TILE) * _TILE
        rows = min(_BLOCK_ROWS, _KEPT // max(groups, self.cap))
        return max(_TILE, rows // _TILE * _TILE)

    def candidates(self, X):
        """Rows of Y that may be among the nearest, (n, CAP) in rising order, and how many."""
        n, m, k = len(X), self.m, self.k
        packed, norm, rest = self._pack(X)
        tiles_x, tiles_y = len(packed) // _TILE, len(self.packed) // _TILE
        # As many groups as there is room for: more programs, and a closer estimate.
        splits = min(tiles_y, max(-(-2 * k // _TILE), _KEPT // (len(packed) * _TILE)))
        tiles = -(-tiles_y // splits)
        grid = (tiles_x, -(-tiles_y // tiles))
        minima = torch.empty((len(packed), grid[1] * _TILE), dtype=torch.float32, device=X.device)
        sizes = {
            "D": self.depth, "BD": self.block, "BM": _TILE, "BN": _TILE, "num_warps": 8,
            "num_stages": self.stages,
        }  # fmt: skip
        group_minima[grid](packed, self.packed, self.norms, minima, m, tiles, **sizes)
        kth = minima[:n].kthvalue(min(k, minima.shape[1]), dim=1).values
        lists = torch.full((n, self.cap), _NONE, dtype=torch.int32, device=X.device)
        counts = torch.zeros(n, dtype=torch.int32, device=X.device)
        list_candidates[grid](
            packed, self.packed, norm, rest, self.norms, self.facts, kth, lists, counts, n, m,
            tiles, CAP=self.cap, **sizes,
        )  # fmt: skip
        return lists.sort(dim=1).values, counts

    def nearest(self, X, squares, indices):
        """Write squares and indices (n, k) of the nearest rows."""
        lists, counts = self.candidates(X)
        found = torch.empty(lists.shape, dtype=torch.float64, device=X.device)
        block = pairs_of(X.device)
        candidate_squares[(triton.cdiv(len(X) * self.cap, block),)](
            X, *X.stride(), self.Y, *self.Y.stride(), lists, found, len(X), self.m, X.shape[1],
            CAP=self.cap, BP=block, num_warps=2, **EXACT,
        )  # fmt: skip
        # Candidates are in the order of their indices, so equal squares stay in it.
        found, order = found.sort(dim=1, stable=True)
        squares[...] = found[:, : self.k]
        indices[...] = lists.gather(1, order[:, : self.k])
        crowded = (counts > self.cap).nonzero().flatten()
        if len(crowded):
            own = X.index_select(0, crowded)
            squares[crowded], indices[crowded] = among_all(Squares(own, self.Y), self.k)


# ---------------------------------------------------------------- all distances


class Squares:
    """Canonical squared distances, a block at a time."""

    def __init__(self, X, Y):
        self.X, self.Y = X, Y
        self.shape = len(X), len(Y)

    def __call__(self, x, y, out):
        """Write those of some rows, which are slices."""
        squares_between(self.X[x], self.Y[y], out)


class Cosines:
    """Cosine distances in float64, a block at a time, as the CPU ranks neighbours by them."""

    def __init__(self, X, Y, ahead=None):
        # By how many rows X begins behind Y, if both are parts of the same rows.
        self.X, self.Y, self.ahead = X, Y, 0 if Y is X else ahead
        self.shape = len(X), len(Y)

    def __call__(self, x, y, out):
        """Write those of some rows, which are slices."""
        of_x, zero_x = unit_rows(self.X[x], torch.float64)
        of_y, zero_y = unit_rows(self.Y[y], torch.float64)
        squares_between(of_x, of_y, out)
        out.mul_(0.5).clamp_(max=2.0)
        out[zero_x] = 1.0
        out[:, zero_y] = 1.0
        if self.ahead is not None:
            out.diagonal(self.ahead + x.start - y.start).zero_()


def among_all(source, k):
    """The k lowest of all distances, and their columns, by (distance, column)."""
    (n, m), device = source.shape, source.X.device
    distances = torch.empty((n, k), dtype=torch.float64, device=device)
    indices = torch.empty((n, k), dtype=torch.int64, device=device)
    columns = min(m, max(_SORTED_ROWS, k))
    rows = max(1, _SORTED // columns)
    for first in range(0, n, rows):
        here = slice(first, min(n, first + rows))
        count = here.stop - first
        best = torch.empty((count, 0), dtype=torch.float64, device=device)
        places = torch.empty((count, 0), dtype=torch.int64, device=device)
        for start in range(0, m, columns):
            stop = min(m, start + columns)
            block = torch.empty((count, stop - start), dtype=torch.float64, device=device)
            source(here, slice(start, stop), block)
            own = torch.arange(start, stop, device=device).expand(count, -1)
            # What was found before has lower indices and stands first: equal ones stay in order.
            merged, order = torch.cat([best, block], 1).sort(dim=1, stable=True)
            best = merged[:, :k].contiguous()
            places = torch.cat([places, own], 1).gather(1, order[:, :k])
        distances[here], indices[here] = best, places
    return distances, indices

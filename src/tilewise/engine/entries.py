"""Nearest rows, and rows within a radius, where a side is CSR: from the stored entries."""

import math

import numpy as np

from tilewise.kernels import _near_csr, _within
from tilewise.kernels._rows import Rows
from tilewise.plan import machine
from tilewise.plan import n_threads as threads_for

from .found import Found, pairs_within
from .matrix import fill_matrix, plan_matrix
from .stats import raise_nonfinite

__all__ = [
    "argkmin_entries", "block_shape_of", "by_entries", "radius_count_entries", "radius_entries",
]  # fmt: skip

# Values of one block, for all threads: much of what a block costs is done once per row.
_BLOCK_BYTES = 8 * 2**20
# Rows of a dense side in a block: packing them costs more than an index of entries.
_DENSE_ROWS = 128
# Candidates that are held at the same time.
_CANDIDATE_BYTES = 16 * 2**20
# Stored entries that canonical distances read between two looks for Ctrl-C, per thread.
_UNINTERRUPTED = 2**27
# Multiplications below which starting threads costs more than it saves.
_SERIAL_WORK = 200_000
# Values looked at together for one that is not finite.
_LOOK = 2**18
# Multiplications per pair and column, as if both rows were dense, up to which stored entries are
# the faster way: scores of dense rows take many at once.
_MOST_PRODUCTS = {"both": 0.003, "one": 0.05}


def by_entries(rows_x: Rows, rows_y: Rows) -> bool:
    """Whether a side is CSR, and stores so little that its entries are the faster way."""
    shares = [rows.density for rows in (rows_x, rows_y) if rows.is_sparse]
    if not shares or min(rows_x.n_rows, rows_y.n_rows, rows_x.n_features) == 0:
        return False
    return math.prod(shares) <= _MOST_PRODUCTS["both" if len(shares) == 2 else "one"]


def share_of_error(rows_x: Rows, rows_y: Rows) -> float:
    """What a value of a block errs by at most, as a share of itself: docs/exact-neighbors.md."""
    longest = max(r.longest if r.is_sparse else r.n_features for r in (rows_x, rows_y))
    return 2.0**-53 * (20 * longest + 64)


def argkmin_entries(
    rows_x: Rows, rows_y: Rows, k: int, *, n_threads=None, isa=None, block_shape=None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of Y closest to every row of X: see `tilewise.engine.argkmin`.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
        At least one of them CSR.
    k : int
        From 1 to m.
    n_threads : int, optional
    isa : str, optional
        Instruction set.
    block_shape : tuple of int, optional
        Rows of X and of Y per block; planned by default.

    Returns
    -------
    distances : ndarray of shape (n, k), float64
        Canonical squared distances.
    indices : ndarray of shape (n, k), int64
    """
    n = rows_x.n_rows
    blocks = _Blocks(rows_x, rows_y, n_threads, isa, block_shape, k)
    # Rounded upwards, and enlarged by more than that rounds.
    share = 2.1 * share_of_error(rows_x, rows_y) + 2.0**-50
    search = _near_csr.Nearest(
        rows_x, rows_y, k, blocks.height, share=share, isa=blocks.isa, n_threads=blocks.threads
    )
    distances, indices = np.empty((n, k)), np.empty((n, k), dtype=np.int64)
    step = blocks.rows_per_call(3 * k + 64)
    for first in range(0, n, blocks.height):
        count = min(blocks.height, n - first)
        search.begin(first, count)
        for block, y_first in blocks.of(first, count):
            for row, part in blocks.parts(block):
                search.update(part, row, y_first)
        for row in range(0, count, step):
            here = slice(first + row, first + min(row + step, count))
            search.result(row, distances[here], indices[here])
    return distances, indices


def radius_entries(
    rows_x: Rows, rows_y: Rows, within: float, *, sort=False, n_threads=None, isa=None,
    block_shape=None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The rows of Y within a radius of every row of X: see `tilewise.engine.radius`.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
        At least one of them CSR.
    within : float
        The largest canonical squared distance that counts.
    sort : bool, default=False
    n_threads, isa, block_shape
        As `argkmin_entries` has them.

    Returns
    -------
    offsets : ndarray of shape (n + 1,), int64
    distances : ndarray, float64
        Squared: the value of a block where that is below the radius for certain, else canonical.
    indices : ndarray, int64
    """
    n = rows_x.n_rows
    blocks = _Blocks(rows_x, rows_y, n_threads, isa, block_shape)
    search, above, below = blocks.within(within)
    found = Found(n, blocks.threads)
    for first in range(0, n, blocks.height):
        count = min(blocks.height, n - first)
        for block, y_first in blocks.of(first, count):
            pairs = pairs_within(block, above, y_first, blocks.isa, blocks.threads)
            blocks.decide(search, first, pairs, below)
            found.add(first, *pairs)
    return found.result(sort=sort)


def radius_count_entries(
    rows_x: Rows, rows_y: Rows, within: float, *, n_threads=None, isa=None, block_shape=None
) -> np.ndarray:
    """How many rows of Y are within a radius, (n,), int64: parameters as `radius_entries`."""
    n = rows_x.n_rows
    blocks = _Blocks(rows_x, rows_y, n_threads, isa, block_shape)
    search, above, below = blocks.within(within)
    counts = np.zeros(n, dtype=np.int64)
    for first in range(0, n, blocks.height):
        for block, y_first in blocks.of(first, min(blocks.height, n - first)):
            for row, part in blocks.parts(block, blocks.open_pairs(block, above, below)):
                own = np.empty(len(part), dtype=np.int64)
                search.count(part, first + row, y_first, own)
                counts[first + row : first + row + len(part)] += own
    return counts


class _Blocks:
    """Blocks of approximate squared distances, one after another in the same memory."""

    def __init__(self, rows_x, rows_y, n_threads, isa, block_shape, k=0):
        _check_finite(rows_y)
        if rows_y is not rows_x:
            _check_finite(rows_x)
        here = machine()
        self.rows_x, self.rows_y = rows_x, rows_y
        self.isa = here.isa.value if isa is None else isa
        n, m = rows_x.n_rows, rows_y.n_rows
        entries = [max(1.0, r.density * r.n_features) for r in (rows_x, rows_y) if r.is_sparse]
        small = n_threads is None and n * m * min(entries) < _SERIAL_WORK
        self.threads = 1 if small else threads_for(n_threads, machine=here).value
        if block_shape is None:
            self.height, self.columns = block_shape_of(rows_x, rows_y)
            if k:
                most = _CANDIDATE_BYTES // _near_csr.Nearest.row_bytes(k, m)
                self.height = max(1, min(self.height, most))
        else:
            self.height, self.columns = block_shape
        self.height, self.columns = max(1, min(self.height, n)), max(1, min(self.columns, m))
        self._buffer = np.empty((self.height, self.columns))
        self._plan = plan_matrix(
            rows_x, rows_y, np.float64, kernel="sqeuclidean", shape=self._buffer.shape,
            n_threads=self.threads,
        )  # fmt: skip

    def rows_per_call(self, pairs):
        """Rows, each with so many canonical distances, between two looks for Ctrl-C."""
        sides = (self.rows_x, self.rows_y)
        longest = sum(r.longest if all(s.is_sparse for s in sides) else r.n_features for r in sides)
        return max(1, int(_UNINTERRUPTED * self.threads / (1 + pairs * longest)))

    def of(self, first, count):
        """Yield the blocks of some rows of X, each with its first column."""
        m = self.rows_y.n_rows
        for y_first in range(0, m, self.columns):
            out = self._buffer[:count, : min(self.columns, m - y_first)]
            fill_matrix(
                self.rows_x, self.rows_y, out, kernel="sqeuclidean", plan=self._plan,
                x_first=first, y_first=y_first,
            )  # fmt: skip
            yield out, y_first

    def parts(self, block, pairs=None):
        """Yield the rows of a block a few at a time, each with its first.

        So few that so many canonical distances per row, those of all columns by default, take no
        longer than the time between two looks for Ctrl-C.
        """
        step = self.rows_per_call(block.shape[1] if pairs is None else pairs)
        for row in range(0, len(block), step):
            yield row, block[row : row + step]

    def open_pairs(self, block, above, below):
        """How many values of a row lie between two limits, in the mean."""
        within = _within.count_within(block, above, isa=self.isa, n_threads=self.threads)
        within -= _within.count_within(block, below, isa=self.isa, n_threads=self.threads)
        return within.mean()

    def decide(self, search, first, pairs, below):
        """Keep those pairs of a block that are within; its rows are those of X from `first` on."""
        starts, counts, values, columns = pairs
        sure = _within.count_within(values[None], below, isa=self.isa, n_threads=1)[0]
        if sure == len(values):
            return
        # Rarely many; but equal distances may all lie at the radius.
        step = self.rows_per_call((len(values) - sure) / len(starts))
        for row in range(0, len(starts), step):
            here = slice(row, row + step)
            search.decide(first + row, starts[here], counts[here], values, columns)

    def within(self, within):
        """A search within a radius, and what values are above or below it for certain."""
        share = 1.1 * share_of_error(self.rows_x, self.rows_y) + 2.0**-50
        above, below = within * (1 + share), within * (1 - share)
        search = _near_csr.Within(
            self.rows_x, self.rows_y, within=within, above=above, below=below,
            columns=self.columns, isa=self.isa, n_threads=self.threads,
        )  # fmt: skip
        return search, above, below


def block_shape_of(rows_x: Rows, rows_y: Rows) -> tuple[int, int]:
    """Rows of X and of Y of a block of distances of which a side is CSR."""
    values = _BLOCK_BYTES // 8
    if rows_x.is_sparse and rows_y.is_sparse:
        height = math.isqrt(values)
    elif rows_x.is_sparse:
        height = values // _DENSE_ROWS
    else:
        height = _DENSE_ROWS
    # What a short side leaves, the other one takes.
    height = max(1, min(height, rows_x.n_rows))
    columns = min(values // height, rows_y.n_rows)
    return min(values // columns, rows_x.n_rows), columns


def _check_finite(rows):
    for values in rows.values(_LOOK):
        if not np.isfinite(values).all():
            raise_nonfinite(rows)

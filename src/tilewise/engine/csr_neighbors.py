"""Nearest rows, and rows within a radius, where a side is CSR: from the stored entries."""

import numpy as np

from tilewise.kernels import _near_csr, _within
from tilewise.kernels._rows import Rows
from tilewise.plan.neighbors import NeighborPlan
from tilewise.plan.thresholds import worth_threads

from .blocks import DistanceBlocks, each_group
from .radius_results import RadiusResults, pairs_within

__all__ = ["argkmin_csr", "radius_csr", "relative_error"]

# Stored entries that canonical distances read between two checks for Ctrl-C, per thread.
_UNINTERRUPTED = 2**27
# Values that are searched together for one that is not finite.
_CHECKED_VALUES = 2**18


def relative_error(rows_x: Rows, rows_y: Rows) -> float:
    """What a value of a block errs by at most, as a share of itself: docs/exact-neighbors.md."""
    longest = max(r.longest if r.is_sparse else r.n_features for r in (rows_x, rows_y))
    return 2.0**-53 * (20 * longest + 64)


def argkmin_csr(
    rows_x: Rows, rows_y: Rows, k: int, plan: NeighborPlan, distances: np.ndarray,
    indices: np.ndarray,
) -> None:  # fmt: skip
    """Write the k rows of Y closest to every row of X: see `tilewise.engine.argkmin`.

    `plan` has the method "csr": its `group_rows` and `block_rows` are the rows of X and of Y per
    block. `distances`, canonical squares, and `indices` are OUT: (n, k), float64 and int64.
    """
    search = _Search(rows_x, rows_y, plan)
    # Rounded upwards, and enlarged by more than that rounds.
    share = 2.1 * relative_error(rows_x, rows_y) + 2.0**-50
    nearest = _near_csr.Nearest(
        rows_x, rows_y, k, plan.group_rows, share=share, isa=plan.isa, n_threads=plan.n_threads
    )
    step = search.rows_per_call(3 * k + 64)
    for first, count, blocks in search.groups():
        nearest.begin(first, count)
        for y_first, block in blocks:
            threads = worth_threads(plan.n_threads, block.size, "block")
            rows = search.rows_per_call(block.shape[1])
            for row in range(0, count, rows):
                nearest.update(block[row : row + rows], row, y_first, n_threads=threads)
        for row in range(0, count, step):
            here = slice(first + row, first + min(row + step, count))
            nearest.result(row, distances[here], indices[here])


def radius_csr(
    rows_x: Rows, rows_y: Rows, within: float, plan: NeighborPlan, *, sort=False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of Y within a radius of every row of X: see `tilewise.engine.radius`.

    `within` is the largest canonical squared distance that counts; `plan` as in `argkmin_csr`. The
    distance of a pair is the value of its block, if that is below the radius for certain, and the
    canonical one otherwise.
    """
    search = _Search(rows_x, rows_y, plan)
    kernel, above, below = search.within(within)
    results = RadiusResults(rows_x.n_rows, plan.n_threads)
    for first, _, blocks in search.groups():
        for y_first, block in blocks:
            pairs = pairs_within(block, above, y_first, plan.isa, plan.n_threads)
            search.decide(kernel, first, pairs, below)
            results.add(first, *pairs)
    return results.result(sort=sort)


class _Search:
    """Blocks of approximate squared distances, and what decides the pairs that they leave open."""

    def __init__(self, rows_x, rows_y, plan):
        _check_finite(rows_y)
        if rows_y is not rows_x:
            _check_finite(rows_x)
        self.rows_x, self.rows_y, self.plan = rows_x, rows_y, plan

    def groups(self):
        """Groups of rows of X, each with its blocks."""
        source = DistanceBlocks(
            self.rows_x, self.rows_y, kernel="sqeuclidean", n_threads=self.plan.n_threads
        )
        return each_group(source, self.plan.group_rows, self.plan.block_rows)

    def rows_per_call(self, pairs):
        """Rows, each with so many canonical distances, between two checks for Ctrl-C."""
        sides = (self.rows_x, self.rows_y)
        longest = sum(r.longest if all(s.is_sparse for s in sides) else r.n_features for r in sides)
        return max(1, int(_UNINTERRUPTED * self.plan.n_threads / (1 + pairs * longest)))

    def decide(self, kernel, first, pairs, below):
        """Keep those pairs of a block that are within; its rows are those of X from `first` on."""
        starts, counts, values, columns = pairs
        sure = _within.count_within(values[None], below, isa=self.plan.isa, n_threads=1)
        undecided = len(values) - sure[0]
        if undecided == 0:
            return
        # Rarely many; but equal distances may all lie at the radius.
        step = self.rows_per_call(undecided / len(starts))
        threads = worth_threads(self.plan.n_threads, len(values), "pairs")
        for row in range(0, len(starts), step):
            here = slice(row, row + step)
            kernel.decide(
                first + row, starts[here], counts[here], values, columns, n_threads=threads
            )

    def within(self, within):
        """A search within a radius, and what values are above or below it for certain."""
        share = 1.1 * relative_error(self.rows_x, self.rows_y) + 2.0**-50
        above, below = within * (1 + share), within * (1 - share)
        kernel = _near_csr.Within(
            self.rows_x, self.rows_y, within=within, above=above, below=below,
            columns=self.plan.block_rows, isa=self.plan.isa, n_threads=self.plan.n_threads,
        )  # fmt: skip
        return kernel, above, below


def _check_finite(rows):
    for values in rows.values(_CHECKED_VALUES):
        if not np.isfinite(values).all():
            rows.raise_nonfinite()

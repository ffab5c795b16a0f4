"""Nearest rows and rows within a radius, decided by the canonical distance."""

import dataclasses
import math

import numpy as np

from tilewise.kernels import _near
from tilewise.kernels._rows import Rows
from tilewise.plan.neighbors import NeighborPlan, plan_neighbors
from tilewise.plan.thresholds import worth_threads

from .brute_force import argkmin_brute_force
from .csr_neighbors import argkmin_csr, radius_csr
from .passes import Pass
from .radius_results import sort_results
from .ranges import OutOfRange

__all__ = ["argkmin", "largest_within", "radius"]

# Rows of Y whose mean is the origin: any will do, a good one keeps the error bound small.
_ORIGIN_ROWS = 512
# Rows whose distances are measured together once they are assigned.
_SHOWN_ROWS = 2**14
# Share of pairs that take a canonical distance above which scores of float64 are cheaper.
_DECIDED_LIMIT = 0.02
# Once so many pairs take one, blocks are this much smaller: Ctrl-C is checked for in between.
_SLOWER = 8


def argkmin(
    rows_x: Rows, rows_y: Rows, k: int, *, root=False, dtype=np.float64, n_threads=None,
    plan: NeighborPlan | None = None, out=(None, None),
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The k rows of Y closest to every row of X.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
        Of one type: ``Rows(X, np.float64)`` widens float32.
    k : int
        From 1 to m.
    root : bool, default=False
        Return distances instead of their squares.
    dtype : dtype, default=float64
        Of the distances that are returned, which are computed in float64: or float32.
    n_threads : int, optional
    plan : NeighborPlan, optional
        The sizes to use; planned from the shapes by default.
    out : tuple of two ndarrays of shape (n, k), optional
        Where distances, of `dtype`, and indices, int64, are written: C-contiguous arrays, or
        None for a new one.

    Returns
    -------
    distances : ndarray of shape (n, k), float64
        Canonical squared distances, unless other ones are asked for.
    indices : ndarray of shape (n, k), int64
        Rows of Y, by (distance, index).

    Raises
    ------
    ValueError
        If k is out of range, the rows do not match, or a value is not finite.
    """
    n, m = rows_x.n_rows, rows_y.n_rows
    if not 1 <= k <= m:
        raise ValueError(f"k={k} neighbours are wanted of {m} rows.")
    plan = _plan(rows_x, rows_y, k, n_threads) if plan is None else plan
    if plan.method == "brute force":
        return argkmin_brute_force(rows_x, rows_y, k, plan, root=root, dtype=dtype, out=out)
    reused = out[0] is not None and out[0].dtype == np.float64
    distances = out[0] if reused else np.empty((n, k))
    indices = np.empty((n, k), dtype=np.int64) if out[1] is None else out[1]
    if plan.method == "csr":
        argkmin_csr(rows_x, rows_y, k, plan, distances, indices)
    elif plan.method != "assignment" or not _assigned(rows_x, rows_y, plan, distances, indices):
        _argkmin_scores(rows_x, rows_y, k, plan, distances, indices)
    return _converted(distances, root, dtype, out[0]), indices


def _assigned(rows_x, rows_y, plan, distances, indices):
    """Assign the rows to those of Y; whether all distances are in range."""
    centers = rows_y.take(np.arange(rows_y.n_rows)).astype(np.float64)
    if not np.isfinite(centers).all():
        rows_y.raise_nonfinite()
    # In the memory of the result, which has room for twice as much.
    labels = indices.reshape(-1).view(np.int32)[: len(indices)]
    run = Pass(rows_x, len(centers), plan.assignment, labels=labels)

    def keep(first, gaps):
        """The distances of some rows."""
        distances[first : first + len(gaps), 0] = gaps

    try:
        run.assign_and_visit(centers, keep, _SHOWN_ROWS)
    except OutOfRange:
        return False
    # From the end, so that nothing is written over a label that is still to be read.
    for last in range(len(indices), 0, -_SHOWN_ROWS):
        here = slice(max(0, last - _SHOWN_ROWS), last)
        indices[here, 0] = labels[here].copy()
    return True


def _argkmin_scores(rows_x, rows_y, k, plan, distances, indices):
    search = _Search(rows_x, rows_y, k, plan)
    first = 0
    while first < len(distances):
        count = min(search.plan.group_rows, len(distances) - first)
        search.group(first, count)
        here = slice(first, first + count)
        bad = search.kernel.result(distances[here], indices[here])
        if bad >= 0:
            rows_x.raise_nonfinite(bad)
        first += count
    search.check()


def _converted(squared, root, dtype, out):
    """Squared distances as they are returned: their roots if wanted, of a type, in `out`."""
    if root:
        np.sqrt(squared, out=squared)
    with np.errstate(over="ignore"):
        if out is None:
            return squared.astype(dtype, copy=False)
        if out is not squared:
            out[...] = squared
        return out


def radius(
    rows_x: Rows, rows_y: Rows, radius: float, *, sort=False, n_threads=None,
    plan: NeighborPlan | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The rows of Y within a radius of every row of X.

    A pair is within the radius if the float64 square root of its canonical squared distance is
    at most `radius`, so a radius equal to one includes it. Pairs are counted first and stored
    then, into arrays of their exact size.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
        Of one type: ``Rows(X, np.float64)`` widens float32.
    radius : float
        Not negative; infinity is every row.
    sort : bool, default=False
        By (distance, index) within each row of X instead of by index.
    n_threads : int, optional
    plan : NeighborPlan, optional
        The sizes to use, with k=0; planned from the shapes by default.

    Returns
    -------
    offsets : ndarray of shape (n + 1,), int64
        What belongs to row i of X stands from offsets[i] on, to offsets[i + 1].
    distances : ndarray, float64
        Canonical squared distances; of rows that are searched by their stored entries the squared
        distances that `fill_matrix` gives, where those are below the radius for certain.
    indices : ndarray, int64
        Rows of Y.

    Raises
    ------
    ValueError
        If the radius is negative or NaN, the rows do not match, or a value is not finite.
    """
    within = largest_within(_checked(radius))
    plan = _plan(rows_x, rows_y, 0, n_threads) if plan is None else plan
    if plan.method == "csr":
        return radius_csr(rows_x, rows_y, within, plan, sort=sort)
    search, tally = _count(rows_x, rows_y, within, plan)
    n, parts = tally.shape
    ends = np.cumsum(tally.reshape(-1))
    offsets = np.zeros(n + 1, dtype=np.int64)
    offsets[1:] = ends[parts - 1 :: parts]
    total = int(offsets[n])
    distances, indices = np.empty(total), np.empty(total, dtype=np.int64)
    if total:
        # From how many there are to where the first of them goes.
        np.subtract(ends.reshape(tally.shape), tally, out=tally)
        for first in range(0, n, search.plan.group_rows):
            count = min(search.plan.group_rows, n - first)
            search.group(first, count, tally[first : first + count], distances, indices)
        if sort:
            sort_results(offsets, distances, indices, search.plan.n_threads)
    return offsets, distances, indices


def largest_within(radius: float) -> float:
    """The largest float64 whose square root, rounded, is at most `radius`."""
    if math.isinf(radius):
        return math.inf
    squared = radius * radius
    while math.sqrt(squared) > radius:
        squared = math.nextafter(squared, 0.0)
    while math.sqrt(math.nextafter(squared, math.inf)) <= radius:
        squared = math.nextafter(squared, math.inf)
    return squared


def _checked(radius):
    radius = float(radius)
    if not radius >= 0.0:
        raise ValueError(f"radius={radius} is negative or not a number.")
    return radius


def _count(rows_x, rows_y, within, plan):
    n, m = rows_x.n_rows, rows_y.n_rows
    search = _Search(rows_x, rows_y, 0, plan, within)
    # Where a block is searched in parts, each has a place of its own, so that rows stay in order.
    parts = plan.splits * -(-m // plan.block_rows) if plan.splits > 1 else 1
    tally = np.zeros((n, max(1, parts)), dtype=np.int64)
    first = 0
    while first < n and m:
        count = min(search.plan.group_rows, n - first)
        search.group(first, count, tally[first : first + count])
        first += count
    search.check()
    return search, tally


def _plan(rows_x, rows_y, k, n_threads):
    if rows_x.n_features != rows_y.n_features or rows_x.compute_dtype != rows_y.compute_dtype:
        raise ValueError("rows of X and Y must have the same type and number of columns")
    density = tuple(rows.density if rows.is_sparse else None for rows in (rows_x, rows_y))
    return plan_neighbors(
        rows_x.n_rows, rows_y.n_rows, rows_x.n_features, rows_x.compute_dtype, k=k,
        n_threads=n_threads, density=density,
    )  # fmt: skip


class _Search:
    """A search by scores, or by a scan, that starts again where the data call for better scores.

    Scores of products come first, then those of float32, those of float64, and last a scan.
    """

    def __init__(self, rows_x, rows_y, k, plan, within=0.0):
        self.within = within
        self.rows_x, self.rows_y, self.k, self.plan = rows_x, rows_y, k, plan
        sample = np.linspace(0, max(rows_y.n_rows - 1, 0), min(rows_y.n_rows, _ORIGIN_ROWS))
        with np.errstate(all="ignore"):
            # In shares, so that the mean of huge values does not overflow.
            shares = rows_y.take(sample.astype(np.int64)).astype(np.float64) / max(1, len(sample))
            self._origin = shares.sum(axis=0)
        self._make()

    def _make(self):
        p = self.plan
        self.kernel = _near.Search(
            self.rows_x, self.rows_y, k=self.k, isa=p.isa, score_dtype=p.score_dtype,
            direct=p.method == "scan", chunk_rows=p.chunk_rows, group_rows=p.group_rows,
            block_rows=p.block_rows, splits=p.splits, panels_per_block=p.panels_per_block,
            depth_block=p.depth_block, n_threads=p.n_threads, products=p.products,
        )  # fmt: skip
        threads = worth_threads(p.n_threads, p.n_y * p.n_features, "extent")
        if not self.kernel.place(self._origin, n_threads=threads):
            self.rows_y.raise_nonfinite()
            self._restart(method="scan")

    def _restart(self, **changes):
        p = self.plan
        plan = plan_neighbors(
            p.n_x, p.n_y, p.n_features, p.dtype, k=p.k, n_threads=p.n_threads,
            **{"method": p.method, "score_dtype": p.score_dtype, "products": 0, **changes},
        )  # fmt: skip
        # The group that is under way must fit.
        rows = p.block_rows if p.splits > 1 else -(-p.block_rows // _SLOWER)
        self.plan = dataclasses.replace(
            plan, isa=p.isa, group_rows=p.group_rows, block_rows=rows, splits=p.splits
        )
        self._make()

    def group(self, first, count, tally=None, distances=None, indices=None):
        """Search for the neighbours of rows first .. first + count of X.

        Within a radius, tally (count, parts) counts them; with distances and indices it is
        where they are stored.
        """
        self.kernel.begin(first, count)
        start, m, block = 0, self.rows_y.n_rows, 0
        # The interpreter checks for Ctrl-C between two calls.
        while start < m:
            plan = self.plan
            rows = min(plan.block_rows, m - start)
            if tally is not None:
                part = block * plan.splits if plan.splits > 1 else 0
                self.kernel.within(self.within, tally, part, distances=distances, indices=indices)
            most = 2**62
            if plan.score_dtype == "float32" and plan.method == "scores" and distances is None:
                most = max(int(_DECIDED_LIMIT * rows * count), 10_000)
            valid = self.kernel.block(start, rows, most=most)
            if tally is not None and self.kernel.bad_row >= 0:
                self.rows_x.raise_nonfinite(self.kernel.bad_row)
            start += rows
            block += 1
            if not valid:
                if not self.kernel.widened:
                    # Plain scores first, then those of float64.
                    self._restart(score_dtype="float32" if plan.products else "float64")
                self.kernel.begin(first, count)
                if tally is not None:
                    tally[...] = 0
                start = block = 0

    def check(self):
        """Raise if a canonical distance was not finite because a value is not."""
        if self.kernel.overflowed:
            self.rows_y.raise_nonfinite()
            self.rows_x.raise_nonfinite()

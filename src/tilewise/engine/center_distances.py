"""Distances of rows to centres, where no pass is wanted."""

from dataclasses import replace

import numpy as np

from tilewise.kernels import _exact
from tilewise.kernels._rows import Rows
from tilewise.kernels._sums import Bins
from tilewise.plan import Plan
from tilewise.plan.thresholds import few_stored

from .matrix import fill_matrix, plan_matrix

__all__ = ["as_centers", "distances", "farthest_first", "inertia", "own_distances"]


def as_centers(centers) -> np.ndarray:
    """Centres where kernels want them: (k, d) float64, C-contiguous."""
    return np.ascontiguousarray(centers, dtype=np.float64)


def inertia(rows: Rows, centers, labels, weights, plan: Plan) -> float:
    """Weighted sum of canonical squared distances to the labelled centre."""
    return own_distances(rows, centers, labels, weights, plan)


def own_distances(rows: Rows, centers, labels, weights, plan: Plan, *, out=None) -> float:
    """The same; out (n,), float64, receives each row's squared distance."""
    total = Bins(plan.isa)
    _exact.own_distances(
        rows, 0, rows.n_rows, as_centers(centers), labels, weights=weights, out=out, total=total,
        isa=plan.isa, n_threads=plan.n_threads, by_entries=few_stored(rows, "rows one by one"),
    )  # fmt: skip
    return total.value


def distances(rows: Rows, centers, plan: Plan, *, squared=False, out=None) -> np.ndarray:
    """Euclidean distances of every row to every centre, by direct differences.

    With the layout "csr" they come from the stored entries, in float64, and from direct
    differences where those would cancel.

    Returns
    -------
    ndarray of shape (n, k), of the rows' result_dtype

    Raises
    ------
    ValueError
        If a row holds a value that is not finite, or `out` has the wrong shape.
    """
    centers = np.asarray(centers, dtype=np.float64)
    if out is None:
        out = np.empty((rows.n_rows, centers.shape[0]), dtype=rows.result_dtype)
    if out.shape != (rows.n_rows, centers.shape[0]):
        raise ValueError(f"out has shape {out.shape}, ({rows.n_rows}, {centers.shape[0]}) expected")
    if not out.size:
        return out
    others, kernel = Rows(centers), "sqeuclidean" if squared else "euclidean"
    sizes = plan_matrix(rows, others, out.dtype, kernel=kernel, n_threads=plan.n_threads)
    fill_matrix(rows, others, out, kernel=kernel, plan=replace(sizes, isa=plan.isa))
    if not np.isfinite(out[:, 0]).all():
        rows.raise_nonfinite()
    return out


def farthest_first(gaps: np.ndarray, ids, count: int) -> np.ndarray:
    """Positions of the `count` largest gaps, the largest first, of equal ones the lowest row."""
    if len(gaps) <= count:
        found = np.arange(len(gaps))
    else:
        found = np.flatnonzero(gaps >= np.partition(gaps, -count)[-count])
    return found[np.lexsort((ids[found], -gaps[found]))[:count]]

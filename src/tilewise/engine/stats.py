"""Column moments, and the search for values that are not finite."""

from dataclasses import dataclass

import numpy as np

from tilewise.kernels import _csr
from tilewise.kernels._exact import Moments
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan

__all__ = ["Moments", "Stats", "column_stats", "largest_finite", "moments_of"]

# Stored values that are looked at together.
_LOOK = 2**20


@dataclass(frozen=True)
class Stats:
    """Moments of the columns of a data set, each of shape (d,) in float64.

    They do not depend on the order of the rows.

    Attributes
    ----------
    mean : ndarray
    variance : ndarray
        Population variance.
    largest : ndarray
        Largest absolute value.
    least : ndarray
        Least absolute value other than zero; infinity where there is none.
    """

    mean: np.ndarray
    variance: np.ndarray
    largest: np.ndarray
    least: np.ndarray


def column_stats(rows, plan: Plan, *, origin: Rows | None = None, gather=None) -> Stats:
    """Mean, variance and magnitudes of each column, in one reading of the data.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
    plan : Plan
    origin : Rows, optional
        Where the rows were copied from, picked: errors name its rows.
    gather : callable, optional
        Called as ``gather(first, last)`` while these rows are in memory.

    Raises
    ------
    ValueError
        If a value is not finite; the message names the first such row and column.
    """
    if rows.is_sparse:
        moments = _csr.column_moments(rows, n_threads=plan.n_threads)
        if not np.isfinite(moments[0]).all():
            # Values near the end of the range have no moments either; only the search tells.
            (rows if origin is None else origin).raise_nonfinite()
        return Stats(*moments)
    moments = moments_of(rows, plan, origin=origin, gather=gather)
    return Stats(*moments.means(rows.n_rows), moments.largest, moments.least)


def moments_of(rows, plan: Plan, *, origin: Rows | None = None, gather=None) -> Moments:
    """What `column_stats` makes of dense rows, before it is divided by their number."""
    moments = Moments(rows.n_features, isa=plan.isa, n_threads=plan.n_threads)
    for first, last in rows.parts():
        moments.add(rows.window, first, last)
        if not moments.finite:
            (rows if origin is None else origin).raise_nonfinite()
        if gather is not None:
            gather(first, last)
    return moments


def largest_finite(rows, plan: Plan, *, origin: Rows | None = None) -> np.ndarray:
    """Largest magnitudes: of each column or, of CSR rows, of some stored values together.

    Raises what `column_stats` raises if a value is not finite.
    """
    if not rows.is_sparse:
        return column_stats(rows, plan, origin=origin).largest
    largest = np.array([np.abs(values).max(initial=0.0) for values in rows.values(_LOOK)])
    if not np.isfinite(largest).all():
        (rows if origin is None else origin).raise_nonfinite()
    return largest

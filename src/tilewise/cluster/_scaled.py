"""Rows whose squared distances float64 has no room for, where a model is fitted or used."""

import math
import warnings

import numpy as np

from tilewise import engine


def fit_scale(rows, largest):
    """The scale of a fit of these rows, of which `largest` (d,) are the columns' magnitudes.

    Warns where rows that differ may become equal beside the largest values. Called by what the
    public method calls, below two decorators: the warning points to the line that called that.
    """
    scale = engine.Scale.of(np.max(largest, initial=0.0))
    if scale.exponent < 0:
        smallest, most = engine.extent(rows)
        if scale.loses(smallest):
            warnings.warn(
                f"X holds values of up to {most:.3g}. Beside these, differences below "
                f"{math.ldexp(1.0, -480 - scale.exponent):.2g} count as zero. Are they codes for "
                "missing values?",
                RuntimeWarning,
                stacklevel=6,
            )
    return scale


def warn_of_inertia(stacklevel=3):
    """Say that the inertia of a fit, or a score, is larger than any number of float64."""
    warnings.warn(
        "The inertia, a sum of squares, is larger than float64 has room for: it is infinite.",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def labels_of(rows, centers, plan_of):
    """Exact labels of rows for fitted centres, whatever their magnitude.

    Parameters
    ----------
    rows : RowSet of shape (n, d)
    centers : ndarray of shape (k, d), float64
    plan_of : callable
        The plan of a pass over some rows.

    Returns
    -------
    ndarray of shape (n,), int32
    """

    def assign(part, centers):
        run = _open(part, centers, plan_of)
        run.assign(centers)
        return run.labels

    labels = _in_range(assign, rows, centers)
    if labels is None:
        labels = np.empty(rows.n_rows, dtype=np.int32)
        for ids, part, scale in _groups(rows, centers):
            labels[ids] = engine.on_host(assign(part, scale.values(centers)))
    return labels


def inertia_of(rows, centers, weights, plan_of, mapped):
    """The inertia of such rows: infinity where float64 has no room for it.

    ``mapped(function)`` yields its values for parts of the rows that are in memory, in order.
    """

    def measure(part, centers, weights=weights):
        return _open(part, centers, plan_of, weights).assign_and_measure(centers)

    inertia = _in_range(measure, rows, centers)
    if inertia is not None and math.isfinite(inertia):
        return inertia
    done = 0

    def measure_groups(view):
        nonlocal done
        own = None if weights is None else weights[done : done + view.n_rows]
        done += view.n_rows
        total = 0.0
        for ids, part, scale in _groups(view, centers):
            some = None if own is None else own[ids]
            total += float(scale.undone(measure(part, scale.values(centers), some), 2))
        return total

    return sum(mapped(measure_groups))


def _open(rows, centers, plan_of, weights=None):
    backend = engine.backend_of(rows)
    return backend.open_assignment(rows, len(centers), plan_of(rows), weights=weights)


def _in_range(compute, rows, centers):
    """``compute(rows, centers)``, or None where float64 has no room for the squares."""
    # Centres tell in most cases.
    if engine.Scale.of(np.max(np.abs(centers), initial=0.0)):
        return None
    try:
        return compute(rows, centers)
    except engine.OutOfRange:
        return None


def _groups(rows, centers):
    """Yield indices, rows and scale of rows of like magnitude: what each needs beside the centres.

    One row that is huge must not make the others vanish.
    """
    sizes = rows.magnitudes().astype(np.float64, copy=False)  # float32 has none of the limits
    own = np.abs(centers).max(axis=1, initial=0.0)
    low, high = engine.Scale.range
    # A row overflows only if all centres are far away from it.
    large = (sizes > high) | (own.min() > high)
    small = (sizes < low) & (own.max() < low)
    for group in (large, small, ~large & ~small):
        ids = np.flatnonzero(group)
        if not ids.size:
            continue
        part = rows if ids.size == rows.n_rows else rows.copied(ids)
        scale = engine.Scale()
        if group is large or group is small:
            scale = engine.Scale.of(max(sizes[ids].max(), own.max()))
        yield ids, scale.rows(part), scale

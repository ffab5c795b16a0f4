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


def assigned(rows, centers, plan_of):
    """Exact labels of rows in memory for fitted centres, whatever their magnitude.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    centers : ndarray of shape (k, d), float64
    plan_of : callable
        The plan of a pass over some rows.

    Returns
    -------
    ndarray of shape (n,), int32
    """
    # Centres tell in most cases.
    if not engine.Scale.of(np.max(np.abs(centers), initial=0.0)):
        try:
            return engine.assign(rows, centers, plan_of(rows))
        except engine.OutOfRange:
            pass
    labels = np.empty(rows.n_rows, dtype=np.int32)
    for ids, part, scale in _groups(rows, centers):
        labels[ids] = engine.assign(part, scale.values(centers), plan_of(part))
    return labels


def assigned_inertia(rows, centers, weights, plan_of):
    """The inertia of such rows: infinity where float64 has no room for it."""
    if not engine.Scale.of(np.max(np.abs(centers), initial=0.0)):
        try:
            inertia = engine.assign_inertia(rows, centers, weights, plan_of(rows))[1]
        except engine.OutOfRange:
            inertia = math.inf
        if math.isfinite(inertia):
            return inertia
    total = 0.0
    for ids, part, scale in _groups(rows, centers):
        own = None if weights is None else weights[ids]
        inertia = engine.assign_inertia(part, scale.values(centers), own, plan_of(part))[1]
        total += float(scale.undone(inertia, 2))
    return total


def _groups(rows, centers):
    """Yield indices, rows and scale of rows of like magnitude: what each needs beside the centres.

    One row that is huge must not make the others vanish.
    """
    sizes = engine.row_magnitudes(rows)
    own = np.abs(centers).max(axis=1, initial=0.0)
    low, high = engine.Scale.range
    # A row overflows only if all centres are far away from it.
    large = (sizes > high) | (own.min() > high)
    small = (sizes < low) & (own.max() < low)
    for group in (large, small, ~large & ~small):
        ids = np.flatnonzero(group)
        if not ids.size:
            continue
        part = rows
        if ids.size < rows.n_rows:
            part = engine.Rows(rows.source[ids] if rows.is_sparse else rows.take(ids))
        scale = engine.Scale()
        if group is large or group is small:
            scale = engine.Scale.of(max(sizes[ids].max(), own.max()))
        yield ids, scale.rows(part), scale

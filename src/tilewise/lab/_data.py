"""The rows that experiments run on: the same for the same sizes, on every machine."""

import numpy as np

from tilewise.engine import Pass

__all__ = ["blobs", "repeated"]


def blobs(rows: int, features: int, clusters: int, dtype="float32", offset: float = 0.0):
    """Overlapping groups of rows, and centres that fit them roughly.

    Parameters
    ----------
    rows, features, clusters : int
    dtype : dtype, default="float32"
    offset : float, default=0.0
        Added to everything: data far from the origin.

    Returns
    -------
    X : ndarray of shape (rows, features), dtype
    centers : ndarray of shape (clusters, features), float64
    """
    rng = np.random.default_rng((rows, features, clusters))
    middles = rng.normal(size=(clusters, features))
    X = np.empty((rows, features), dtype=dtype)
    for start in range(0, rows, 1 << 14):
        part = X[start : start + (1 << 14)]
        noise = rng.normal(size=part.shape)
        part[...] = middles[rng.integers(clusters, size=len(part))] + noise + offset
    centers = middles + 0.1 * rng.normal(size=middles.shape) + offset
    return X, centers


def repeated(rows, centers, chosen):
    """A pass, and what runs it once more; every run does the same work.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    centers : ndarray of shape (k, d), float64
    chosen : Plan

    Returns
    -------
    work : Pass
    call : callable
    """
    work = Pass(rows, len(centers), chosen)

    def call():
        work.run(centers)

    return work, call

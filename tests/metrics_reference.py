"""Distances by their definitions: one pair at a time, sums rounded once; meant to be read.

Every sum is `math.fsum`, which rounds correctly, so that each value is within a few units in the
last place of the true one for rows of float64.
"""

import math

import numpy as np


def _euclidean(x, y):
    # Right also where the squares are out of range.
    return math.dist(x, y)


def _sqeuclidean(x, y):
    return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def _manhattan(x, y):
    return math.fsum(abs(a - b) for a, b in zip(x, y, strict=True))


def _chebyshev(x, y):
    return max(abs(a - b) for a, b in zip(x, y, strict=True))


def _minkowski(x, y, p=2.0):
    if p == math.inf:
        return _chebyshev(x, y)
    return math.fsum(abs(a - b) ** p for a, b in zip(x, y, strict=True)) ** (1 / p)


def _canberra(x, y):
    parts = [(abs(a - b), abs(a) + abs(b)) for a, b in zip(x, y, strict=True)]
    return math.fsum(above / below for above, below in parts if below)


def _braycurtis(x, y):
    above = math.fsum(abs(a - b) for a, b in zip(x, y, strict=True))
    below = math.fsum(abs(a + b) for a, b in zip(x, y, strict=True))
    return above / below if below else (math.inf if above else math.nan)


def _hamming(x, y):
    return sum(a != b for a, b in zip(x, y, strict=True)) / len(x)


def _inner_product(x, y):
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def _cosine(x, y):
    long_x, long_y = math.sqrt(_inner_product(x, x)), math.sqrt(_inner_product(y, y))
    if not long_x or not long_y:
        return 1.0
    # Half the squared difference of the unit vectors: no cancellation where they are close.
    return 0.5 * math.fsum((a / long_x - b / long_y) ** 2 for a, b in zip(x, y, strict=True))


def _nan_euclidean(x, y):
    known = [(a, b) for a, b in zip(x, y, strict=True) if a == a and b == b]
    if not known:
        return math.nan
    return math.dist(*zip(*known, strict=True)) * math.sqrt(len(x) / len(known))


METRICS = {
    name[1:]: function
    for name, function in globals().items()
    if name.startswith("_") and callable(function)
}


def matrix(metric, X, Y, **parameters):
    """Distances (n, m), float64."""
    X = np.asarray(X, dtype=np.float64).tolist()
    Y = np.asarray(Y, dtype=np.float64).tolist()
    function = METRICS[metric]
    return np.array([[function(x, y, **parameters) for y in Y] for x in X]).reshape(len(X), len(Y))


def ranked(D):
    """Columns of each row by value, the lower index first of equals."""
    return np.argsort(D, axis=1, kind="stable")

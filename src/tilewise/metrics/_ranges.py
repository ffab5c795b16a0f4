"""Neighbours where float64 has no room for squares of distances, or for the distances.

Squares decide which rows are nearest. Where they overflow, or are so small that digits are lost,
the search is repeated among the rows times a power of two, which rounds nothing. The distances that
were found tell whether that is needed, so ordinary data pay for nothing.
"""

import numpy as np

from tilewise.engine import Scale, extent
from tilewise.engine.radius_results import sort_results

__all__ = ["float32_below", "largest_rank", "mend_nearest", "mend_within", "only_within"]

# Distances below this come from squares that have lost digits.
_LOWEST = 2.0**-480
_HIGHEST = 2.0**480


def mend_nearest(search, k, distances, indices):
    """Find the neighbours of those rows again, in place, whose distances are out of range."""
    if not distances.size:
        return
    infinite = np.isinf(distances).any(axis=1)
    if infinite.any():
        _again(search, k, distances, indices, np.flatnonzero(infinite), small=False)
    if search.row.largest_first or search.call.surrogate != "sqeuclidean":
        return  # nothing is lost below
    # In rising order: what is below in the last place is so in all.
    small = np.flatnonzero(distances[:, -1] < _LOWEST ** _degree(search))
    # Often they are but equal.
    if small.size and _largest(search) < _LOWEST:
        _again(search, k, distances, indices, small, small=True)


def _again(search, k, distances, indices, rows, *, small):
    x, y = search.blocks.rows_x, search.blocks.rows_y
    some = x.source[rows].data if x.is_sparse else x.take(rows)
    scale = Scale.of(extent(some, y)[1])
    if not scale:
        return
    found, places = search.scaled(scale, rows).nearest_in_range(k)
    # What has an ordinary distance stays as it is: beside large values it may vanish. It comes
    # first in both searches.
    kept = np.zeros(found.shape, dtype=bool) if small else ~np.isinf(distances[rows])
    indices[rows] = np.where(kept, indices[rows], places)
    distances[rows] = np.where(kept, distances[rows], scale.undone(found, _degree(search)))


def mend_within(search, radius, sort):
    """Offsets, distances and indices of the rows within a radius of the canonical distance."""
    degree = _degree(search)
    root = radius if degree == 1 else np.sqrt(radius)
    if 0.0 < root < _LOWEST:
        return _within(search, Scale.of(root), radius, sort)
    if root > _HIGHEST:
        largest = _largest(search)
        if largest > _HIGHEST:
            return _within_large(search, largest, radius, sort)
    offsets, distances, indices = search.within_in_range(radius, sort)
    if distances.size and distances.max() < _LOWEST**degree:
        largest = _largest(search)
        if 0.0 < largest < _LOWEST:
            return _within(search, Scale.of(largest), radius, sort)
    return offsets, distances, indices


def _within(search, scale, radius, sort):
    degree = _degree(search)
    # Distances below 2**-1022 are rounded when the scale is undone: the radius decides after that.
    within = np.nextafter(radius, np.inf) if scale.exponent > 0 else radius
    for _ in range(degree):
        within = float(scale.values(within))
    offsets, distances, indices = search.scaled(scale).within_in_range(within, sort)
    return only_within(radius, offsets, scale.undone(distances, degree), indices)


def only_within(radius, offsets, distances, indices):
    """Those pairs whose distance, or rank, is not above the radius."""
    keep = distances <= radius
    if keep.all():
        return offsets, distances, indices
    kept = np.concatenate([[0], np.cumsum(keep)])
    return kept[offsets], distances[keep], indices[keep]


def _within_large(search, largest, radius, sort):
    """Pairs of all distances that are ordinary, and others beside them."""
    scale = Scale.of(largest)
    offsets, distances, indices = _within(search, scale, radius, False)
    near = search.within_in_range(_HIGHEST ** _degree(search), False)
    # Both come in the order of rows and columns; whatever is near is in both.
    place = np.searchsorted(_keys(search, offsets, indices), _keys(search, near[0], near[2]))
    distances[place] = near[1]
    if sort:
        sort_results(offsets, distances, indices, 1)
    return offsets, distances, indices


def _keys(search, offsets, indices):
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return rows * search.shape[1] + indices


def _degree(search):
    # "squared" makes squares of euclidean distances.
    squared = search.row.name == "euclidean" and search.call.finish is None
    return 2 if squared else search.row.degree


def _largest(search):
    x, y = search.blocks.rows_x, search.blocks.rows_y
    return extent(*((x,) if x is y else (x, y)))[1]


def largest_rank(radius, finish):
    """The largest rank whose distance is not above the radius: found, not only rounded."""
    if finish is None or radius == np.inf:
        return radius
    function, inverse = {"sqrt": (np.sqrt, np.square), "square": (np.square, np.sqrt)}[finish]
    with np.errstate(over="ignore", under="ignore"):
        rank = inverse(np.float64(radius))
        while function(rank) > radius:
            rank = np.nextafter(rank, 0.0)
        while function(above := np.nextafter(rank, np.inf)) <= radius:
            rank = above
    return float(rank)


def float32_below(radius):
    """The largest float32 that is not above the radius."""
    with np.errstate(over="ignore"):
        near = np.float32(radius)
    return near if float(near) <= radius else np.nextafter(near, np.float32(-np.inf))

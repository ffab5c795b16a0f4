"""Distances between rows: scikit-learn's functions, and neighbours without the matrix.

What enters: whatever users pass. What leaves: arrays. Parameters and data are checked here; the
table in `_table` says what tilewise computes itself; `_fallback` lets scikit-learn and scipy
compute all other metrics.
"""

from tilewise.metrics._chunked import pairwise_distances_chunked
from tilewise.metrics._neighbors import (
    argkmin,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    radius_neighbors,
)
from tilewise.metrics._pairwise import (
    cosine_distances,
    euclidean_distances,
    manhattan_distances,
    nan_euclidean_distances,
    pairwise_distances,
)
from tilewise.metrics._table import METRICS, Metric

__all__ = [
    "METRICS", "Metric", "argkmin", "cosine_distances", "euclidean_distances",
    "manhattan_distances", "nan_euclidean_distances", "pairwise_distances",
    "pairwise_distances_argmin", "pairwise_distances_argmin_min", "pairwise_distances_chunked",
    "radius_neighbors",
]  # fmt: skip

"""tilewise: chunked, exact and reproducible K-Means and pairwise distances.

A map of the house; each room may use those below it:

    tilewise.cli          the command line
    tilewise.lab          predicts, simulates and measures what memory and caches cost
    tilewise.dask         the same for rows that lie on a cluster of machines; needs dask
    tilewise.export       a fitted model as ONNX, C or PMML
    tilewise.cluster      KMeans, MiniBatchKMeans, k_means, kmeans_plusplus: scikit-learn's contract
    tilewise.metrics      distances, nearest rows, rows within a radius: scikit-learn's contract
    tilewise.algorithms   the loops: Lloyd, mini-batches, seeding
    tilewise.cuda         the passes on a GPU: a place to run; needs torch and triton
    tilewise.engine       one pass over the rows
    tilewise.sources      rows that lie somewhere else than in memory
    tilewise.plan         facts about the machine, and every size that a run uses
    tilewise.kernels      compiled loops

Everything that most people need stands here, at the top.
"""

import tilewise.cuda  # noqa: F401 - adds a place to run
from tilewise._version import __version__
from tilewise._versions import show_versions
from tilewise.cluster import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus
from tilewise.metrics import (
    argkmin,
    cosine_distances,
    euclidean_distances,
    manhattan_distances,
    nan_euclidean_distances,
    pairwise_distances,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    pairwise_distances_chunked,
    radius_neighbors,
)
from tilewise.plan import Machine, Plan, machine, plan

__all__ = [
    "KMeans", "Machine", "MiniBatchKMeans", "Plan", "__version__", "argkmin", "cosine_distances",
    "euclidean_distances", "k_means", "kmeans_plusplus", "machine", "manhattan_distances",
    "nan_euclidean_distances", "pairwise_distances", "pairwise_distances_argmin",
    "pairwise_distances_argmin_min", "pairwise_distances_chunked", "plan", "radius_neighbors",
    "show_versions",
]  # fmt: skip

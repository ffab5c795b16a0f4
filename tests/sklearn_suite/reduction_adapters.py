"""argkmin and radius_neighbors in the clothes of scikit-learn's ArgKmin and RadiusNeighbors.

How the work is split is the plan's affair, so `chunk_size` and `strategy` are taken and dropped.
"""

from tilewise import argkmin, radius_neighbors


class ArgKmin:
    @classmethod
    def compute(
        cls, X, Y, k, metric="euclidean", chunk_size=None, metric_kwargs=None, strategy=None,
        return_distance=False,
    ):  # fmt: skip
        return argkmin(
            X, Y, k, metric=metric, metric_kwargs=metric_kwargs, return_distance=return_distance
        )


class RadiusNeighbors:
    @classmethod
    def compute(
        cls, X, Y, radius, metric="euclidean", chunk_size=None, metric_kwargs=None,
        strategy=None, return_distance=False, sort_results=False,
    ):  # fmt: skip
        return radius_neighbors(
            X, Y, radius, metric=metric, metric_kwargs=metric_kwargs,
            return_distance=return_distance, sort_results=sort_results,
        )  # fmt: skip

"""The test modules of scikit-learn that run against tilewise, and what is rebound for each.

Everything that sets one suite apart from another stands here; the plugin is the same for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sklearn.cluster
import sklearn.metrics
from sklearn.metrics import _pairwise_distances_reduction as reductions
from sklearn.metrics import pairwise
from sklearn_suite import reduction_adapters

import tilewise.cluster
import tilewise.metrics
from tilewise.cluster import _base, _validation
from tilewise.metrics import _chunked, _pairwise, _search

METRIC_NAMES = tuple(
    name for name in tilewise.metrics.__all__ if hasattr(pairwise, name)
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """One test module of scikit-learn.

    Attributes
    ----------
    module : str
        What pytest collects.
    rebind : callable
        Puts tilewise's names in scikit-learn's place; returns those that it rebound.
    rebound : tuple of str
        Names that must be among those.
    entrances : tuple of (module or class, str)
        Every function through which data reach code of tilewise.
    private : tuple of str
        Where helpers of scikit-learn live that tilewise does not take the place of: a case
        that refers to a name there with an underscore says nothing about tilewise.
    unreachable : frozenset of str
        Test functions that never touch what is rebound though they refer to public names only.
    seeds : tuple of int
        Seeds to run it with; one where hardly a case draws by them.
    hooks : frozenset of str
        Attributes that tilewise keeps for these tests.
    listed : str
        Ending of the file of known failures; by default that of the module.
    on_device : bool
        Whether it runs with the tests of tilewise.cuda, and not with all others.
    passed, unreachable_cases, least_in_tilewise : int
        What scikit-learn 1.9 gives, and how many of the passing cases must run tilewise.
    """

    module: str
    rebind: Callable[[], list[str]]
    rebound: tuple[str, ...]
    entrances: tuple
    private: tuple[str, ...]
    unreachable: frozenset[str] = frozenset()
    seeds: tuple[int, ...] = (42, 0, 7)
    hooks: frozenset[str] = frozenset()
    listed: str = ""
    on_device: bool = False
    passed: int = 0
    unreachable_cases: int = 0
    least_in_tilewise: int = 0

    @property
    def expected_failures(self):
        """The file that names the cases that are known to fail."""
        listed = self.listed or self.module.rpartition("test_")[2]
        return Path(__file__).with_name(f"expected_failures_{listed}.txt")


def _rebind_cluster():
    names = [
        name
        for name in ("KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus")
        if hasattr(tilewise.cluster, name)
    ]
    for name in names:
        setattr(sklearn.cluster, name, getattr(tilewise.cluster, name))
    return names


def _rebind_partitioned():
    from sklearn_suite import partitioned

    sklearn.cluster.KMeans = partitioned.KMeans
    return ["KMeans"]


def _rebind_on_device():
    from sklearn_suite import on_device

    names = ["KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"]
    for name in names:
        setattr(sklearn.cluster, name, getattr(on_device, name))
    return names


def _rebind_metrics():
    # In the module itself: its kernels (rbf, laplacian) and tables then call tilewise as well.
    for key, function in list(pairwise.PAIRWISE_DISTANCE_FUNCTIONS.items()):
        name = getattr(function, "__name__", None)
        if name in METRIC_NAMES:
            pairwise.PAIRWISE_DISTANCE_FUNCTIONS[key] = getattr(tilewise.metrics, name)
    for name in METRIC_NAMES:
        for module in (pairwise, sklearn.metrics):
            if hasattr(module, name):
                setattr(module, name, getattr(tilewise.metrics, name))
    return list(METRIC_NAMES)


def _rebind_reductions():
    # pairwise_distances and euclidean_distances stay scikit-learn's: they are the reference.
    reductions.ArgKmin = reduction_adapters.ArgKmin
    reductions.RadiusNeighbors = reduction_adapters.RadiusNeighbors
    return ["ArgKmin", "RadiusNeighbors"]


SUITES = {
    "k_means": Suite(
        "sklearn.cluster.tests.test_k_means",
        _rebind_cluster,
        ("KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"),
        ((_validation, "check_data"), (_base.BaseKMeans, "_init_centroids")),
        private=("sklearn.cluster._",),
        hooks=frozenset({"_n_init", "_init_size", "_init_centroids"}),
        passed=267,
        unreachable_cases=15,
        least_in_tilewise=267,
    ),
    "k_means on a cluster": Suite(
        "sklearn.cluster.tests.test_k_means",
        _rebind_partitioned,
        ("KMeans",),
        ((_validation, "check_data"), (_base.BaseKMeans, "_init_centroids")),
        private=("sklearn.cluster._",),
        seeds=(42,),
        hooks=frozenset({"_n_init", "_init_size", "_init_centroids"}),
        listed="partitioned",
        passed=263,
        unreachable_cases=15,
        least_in_tilewise=164,
    ),
    "k_means on a device": Suite(
        "sklearn.cluster.tests.test_k_means",
        _rebind_on_device,
        ("KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"),
        ((_validation, "check_data"), (_base.BaseKMeans, "_init_centroids")),
        private=("sklearn.cluster._",),
        seeds=(42,),
        hooks=frozenset({"_n_init", "_init_size", "_init_centroids"}),
        listed="on_device",
        on_device=True,
        passed=267,
        unreachable_cases=15,
        least_in_tilewise=267,
    ),
    "pairwise": Suite(
        "sklearn.metrics.tests.test_pairwise",
        _rebind_metrics,
        METRIC_NAMES,
        (
            (_pairwise, "check_pair"),
            (_pairwise, "check_arrays"),
            (_chunked, "check_arrays"),
            (_search, "check_pair"),
        ),
        private=("sklearn.metrics.pairwise",),
        unreachable=frozenset(
            {
                # Arrays of other libraries: tilewise refuses them and says so.
                "test_pairwise_distances_array_api",
                "test_pairwise_distances_array_api_no_warnings",
                "test_pairwise_kernels_array_api",
                "test_pairwise_parallel_array_api",
            }
        ),
        seeds=(42,),
        passed=286,
        unreachable_cases=274,
        least_in_tilewise=199,
    ),
    "reductions": Suite(
        "sklearn.metrics.tests.test_pairwise_distances_reduction",
        _rebind_reductions,
        ("ArgKmin", "RadiusNeighbors"),
        ((_search, "check_pair"),),
        private=(),
        unreachable=frozenset(
            {
                "test_argkmin_classmode_factory_method_wrong_usages",
                "test_argkmin_classmode_strategy_consistent",
                "test_assert_compatible_argkmin_results",
                "test_assert_compatible_radius_results",
                "test_pairwise_distances_reduction_is_usable_for",
                "test_radius_neighbors_classmode_factory_method_wrong_usages",
                "test_radius_neighbors_classmode_strategy_consistent",
                "test_sqeuclidean_row_norms",
            }
        ),
        passed=112,
        unreachable_cases=17,
        least_in_tilewise=112,
    ),
}

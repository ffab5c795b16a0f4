"""scikit-learn's checks of the estimator contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tilewise import KMeans, MiniBatchKMeans

# Weights and repeated rows draw different starts from the same random_state; scikit-learn
# expects the same of its own KMeans.
RANDOM_STARTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "other draws for other numbers of rows"
    for kind in ("dense", "sparse")
}

ESTIMATORS = [
    KMeans(n_clusters=2, n_init=2, max_iter=5),
    KMeans(n_clusters=2, init="random", n_init=2, max_iter=5, algorithm="elkan"),
    KMeans(n_clusters=2, max_iter=5, n_threads=1, engine="blas"),
    KMeans(n_clusters=2, max_iter=5, engine="fused", chunk_size=64),
    MiniBatchKMeans(n_clusters=2, max_iter=5, batch_size=10),
    MiniBatchKMeans(n_clusters=2, init="random", tol=1e-3, n_threads=1, engine="blas"),
]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters", "ignore:algorithm='elkan'")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: RANDOM_STARTS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)

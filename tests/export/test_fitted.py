"""What forms are told of a fitted model."""

import numpy as np
import pytest
from sklearn import cluster
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans
from tilewise.export import fitted

ROWS = np.random.default_rng(0).normal(size=(30, 3))


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, cluster.KMeans, cluster.MiniBatchKMeans])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centres_keep_their_type(kind, dtype):
    model = kind(2, random_state=0, n_init=1).fit(ROWS.astype(dtype))
    found = fitted(model)
    assert found.centers.dtype == dtype
    assert np.array_equal(found.centers, model.cluster_centers_)
    assert (found.name, found.n_clusters, found.n_features) == (kind.__name__, 2, 3)
    assert found.feature_names is None


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    assert fitted(KMeans(2, random_state=0).fit(frame)).feature_names == ("a", "b", "c")


@pytest.mark.parametrize(
    "centers", [np.asfortranarray(ROWS), ROWS.astype(">f8"), ROWS.tolist(), ROWS.astype(np.float16)]
)
def test_centres_that_people_put_in_their_place(centers):
    model = KMeans(2, random_state=0).fit(ROWS)
    model.cluster_centers_ = centers
    found = fitted(model).centers
    assert found.flags.c_contiguous
    assert found.dtype.isnative
    assert np.array_equal(found, np.asarray(centers))


def test_what_is_no_fitted_model():
    with pytest.raises(TypeError, match="got BisectingKMeans"):
        fitted(cluster.BisectingKMeans(2).fit(ROWS))
    with pytest.raises(NotFittedError):
        fitted(KMeans(2))
    model = KMeans(2, random_state=0).fit(ROWS)
    model.cluster_centers_ = model.cluster_centers_.copy()
    model.cluster_centers_[1, 2] = np.nan
    with pytest.raises(ValueError, match="not finite, first in row 1"):
        fitted(model)
    model.cluster_centers_ = model.cluster_centers_[0]
    with pytest.raises(ValueError, match="shape"):
        fitted(model)

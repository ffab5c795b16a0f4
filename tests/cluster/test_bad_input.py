"""Bad input is refused with the type of error that scikit-learn raises, and says where it is."""

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from sklearn.cluster import KMeans as PeerKMeans
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from tilewise import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus

X = blobs(60, 3, 3)
METHODS = ("fit", "predict", "transform", "score", "fit_predict", "fit_transform")


def with_value(value, row, column, dtype=np.float64):
    bad = X.astype(dtype)
    bad[row, column] = value
    return bad


def fitted(n_clusters=3):
    return KMeans(n_clusters, random_state=0).fit(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_named(value, method, dtype):
    kind = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"{kind}.*row 41, column 2\b"):
        getattr(fitted(), method)(with_value(value, 41, 2, dtype))


@pytest.mark.parametrize("method", METHODS)
def test_the_first_bad_value_is_named(method):
    bad = with_value(np.nan, 50, 0)
    bad[7, 1] = np.inf
    with pytest.raises(ValueError, match=r"infinity.*row 7, column 1\b"):
        getattr(fitted(), method)(bad)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_are_named_in_sparse_input(method):
    with pytest.raises(ValueError, match=r"NaN.*row 41, column 2\b"):
        getattr(fitted(), method)(sp.csr_array(with_value(np.nan, 41, 2)))


def test_kmeans_plusplus_names_values_that_are_not_finite():
    with pytest.raises(ValueError, match=r"NaN.*row 59, column 0\b"):
        kmeans_plusplus(with_value(np.nan, 59, 0), 2)


def test_a_failed_fit_leaves_no_results():
    model = KMeans(3)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(with_value(np.nan, 0, 0))
    with pytest.raises(NotFittedError):
        model.predict(X)


REFUSED = {
    "one_dimension": X[:, 0],
    "three_dimensions": X[:, :, None],
    "no_rows": X[:0],
    "no_columns": X[:, :0],
    "scalar": 3.0,
    "complex": X + 1j,
    "sparse_complex": sp.csr_array(X + 1j),
    "words": np.array([["a", "b"], ["c", "d"]]),
    "objects_that_are_words": np.array([["a", 1], ["c", 2]], dtype=object),
    "objects": np.array([[object(), 1.0], [2.0, 3.0]], dtype=object),
    "ragged": [[1.0, 2.0], [3.0]],
    "too_few_rows": X[:2],
    "matrix": np.asmatrix(X),
    "records": np.zeros((4, 2), dtype=[("a", "f8"), ("b", "f8")]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_scikit_learn_refuses_is_refused_alike(name):
    with pytest.raises((ValueError, TypeError)) as theirs:
        PeerKMeans(3).fit(REFUSED[name])
    with pytest.raises(theirs.type) as ours:
        KMeans(3).fit(REFUSED[name])
    assert str(ours.value)


def test_objects_and_strings_that_spell_numbers_are_taken():
    expected = fitted().labels_
    for same in (X.astype(object), X.astype("U32")):
        assert np.array_equal(KMeans(3, random_state=0).fit(same).labels_, expected)


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_wrong_number_of_columns(method):
    with pytest.raises(ValueError, match="X has 4 features, but KMeans is expecting 3"):
        getattr(fitted(), method)(np.ones((5, 4)))


@pytest.mark.parametrize("method", ["predict", "transform", "score", "get_feature_names_out"])
def test_unfitted(method):
    arguments = () if method == "get_feature_names_out" else (X,)
    with pytest.raises(NotFittedError, match="KMeans"):
        getattr(KMeans(), method)(*arguments)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_clusters": 0},
        {"n_clusters": 2.0},
        {"init": "best"},
        {"n_init": 0},
        {"n_init": "warn"},
        {"max_iter": 0},
        {"tol": -1e-3},
        {"verbose": "yes"},
        {"random_state": "seed"},
        {"copy_x": "no"},
        {"algorithm": "full"},
        {"chunk_size": 0},
        {"chunk_size": -64},
        {"chunk_size": 64.0},
        {"chunk_size": "big"},
        {"chunk_size": None},
        {"n_threads": 0},
        {"n_threads": -1},
        {"n_threads": "auto"},
        {"engine": "gpu"},
        {"engine": None},
        {"device": "gpu"},
        {"device": None},
    ],
    ids=str,
)
def test_wrong_parameters(parameters):
    (name,) = parameters
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of KMeans"):
        KMeans(**parameters).fit(X)
    if name != "n_clusters":
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
            k_means(X, 3, **parameters)


@pytest.mark.parametrize("parameters", [{"chunk_size": -1}, {"n_threads": 0}], ids=str)
def test_wrong_parameters_of_kmeans_plusplus(parameters):
    with pytest.raises(InvalidParameterError, match="parameter of kmeans_plusplus"):
        kmeans_plusplus(X, 3, **parameters)


def test_more_clusters_than_rows():
    with pytest.raises(ValueError, match="n_samples=60 should be >= n_clusters=61"):
        KMeans(61).fit(X)
    with pytest.raises(ValueError, match="n_samples=60 should be >= n_clusters=61"):
        kmeans_plusplus(X, 61)


@pytest.mark.parametrize("given", [lambda c: c, lambda c: lambda X, k, random_state: c])
@pytest.mark.parametrize(
    ("centers", "message"),
    [
        (X[:2], r"initial centers \(2, 3\) does not match the number of clusters 3"),
        (X[:3, :2], r"initial centers \(3, 2\) does not match the number of features"),
        (with_value(np.nan, 1, 1)[:3], "Input init contains NaN"),
        (X[0], "Expected 2D array"),
    ],
)
def test_wrong_initial_centers(given, centers, message):
    with pytest.raises(ValueError, match=message):
        KMeans(3, init=given(centers), n_init=1).fit(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"sample_weight.shape == \(59,\), expected \(60,\)"),
        (np.ones((60, 1)), "must be 1D array or scalar, got 2D"),
        (np.zeros(60), "at least one non-zero"),
        (0, "at least one non-zero"),
        (np.r_[np.ones(17), np.nan, np.ones(42)], "sample_weight contains NaN at position 17"),
        (np.r_[np.ones(59), np.inf], "sample_weight contains infinity at position 59"),
        (float("nan"), "sample_weight contains NaN"),
        (["heavy"] * 60, "could not convert"),
    ],
)
def test_wrong_weights(weights, message):
    model = fitted()
    for method in (KMeans(3).fit, KMeans(3).fit_predict, KMeans(3).fit_transform, model.score):
        with pytest.raises(ValueError, match=message):
            method(X, sample_weight=weights)
    with pytest.raises(ValueError, match=message):
        kmeans_plusplus(X, 3, sample_weight=weights)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_weights_that_are_no_probabilities(init):
    weights = np.ones(60)
    weights[5] = -0.5
    with pytest.raises(ValueError, match=r"(?i)probabilities"):
        KMeans(3, init=init).fit(X, sample_weight=weights)


def test_fewer_rows_with_weight_than_random_centers():
    weights = np.zeros(60)
    weights[:2] = 1
    with pytest.raises(ValueError, match=r"(?i)fewer non-zero"):
        KMeans(3, init="random").fit(X, sample_weight=weights)


def test_length_of_norms():
    with pytest.raises(ValueError, match="length of x_squared_norms 2 should be equal"):
        kmeans_plusplus(X, 3, x_squared_norms=[1.0, 2.0])


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("limit", ["abc", "1 XB", "", "0"])
def test_a_memory_limit_that_is_no_size(Estimator, limit):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match=r"memory_limit=.* is not a size"):
        Estimator(n_clusters=2, memory_limit=limit).fit(X)


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
def test_a_callable_that_returns_the_rows_themselves(Estimator):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match=r"returned one ndarray of shape \(6, 2\), not"):
        Estimator(n_clusters=2).fit(lambda: X)
    assert Estimator(n_clusters=2, n_init=1).fit(lambda: [X]).cluster_centers_.shape == (2, 2)

"""What goes in: kinds of input, what is refused and how, and the fallback."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.metrics
from scipy.spatial import distance as scipy_distance
from sklearn.exceptions import DataConversionWarning
from sklearn.utils._param_validation import InvalidParameterError

import tilewise
from tilewise.metrics import METRICS, _fallback

X = np.random.RandomState(0).standard_normal((30, 4))
Y = np.random.RandomState(1).standard_normal((20, 4))

CALLS = {
    "matrix": lambda X, Y, **more: tilewise.pairwise_distances(X, Y, **more),
    "chunks": lambda X, Y, **more: list(tilewise.pairwise_distances_chunked(X, Y, **more)),
    "argmin": lambda X, Y, **more: tilewise.pairwise_distances_argmin(X, Y, **more),
    "argmin_min": lambda X, Y, **more: tilewise.pairwise_distances_argmin_min(X, Y, **more),
    "argkmin": lambda X, Y, **more: tilewise.argkmin(X, Y, 1, **more),
    "radius": lambda X, Y, **more: tilewise.radius_neighbors(X, Y, 0.5, **more),
}
FINITE = [name for name in sorted(METRICS) if name != "nan_euclidean"]


def with_value(X, value, row, column, dtype=np.float64):
    bad = X.astype(dtype)
    bad[row, column] = value
    return bad


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_named(value, call, dtype):
    kind = "NaN" if np.isnan(value) else "infinity"
    for metric in FINITE if call != "radius" else FINITE[:3]:
        more = {"metric": metric}
        with pytest.raises(ValueError, match=rf"contains {kind}.* row 17, column 2 of X"):
            CALLS[call](with_value(X, value, 17, 2, dtype), Y.astype(dtype), **more)
        with pytest.raises(ValueError, match=rf"contains {kind}.* row 11, column 3 of Y"):
            CALLS[call](X.astype(dtype), with_value(Y, value, 11, 3, dtype), **more)


@pytest.mark.parametrize("call", CALLS)
def test_they_are_named_in_sparse_rows(call):
    for metric in ("euclidean", "manhattan", "cosine"):
        bad = sp.csr_array(with_value(np.where(X > 0, X, 0), np.nan, 29, 1))
        with pytest.raises(ValueError, match=r"NaN.* row 29, column 1 of X"):
            CALLS[call](bad, Y, metric=metric)


@pytest.mark.parametrize("call", CALLS)
def test_infinity_among_missing_values_is_named(call):
    bad = with_value(X, np.nan, 2, 2)
    CALLS[call](bad, Y, metric="nan_euclidean")
    with pytest.raises(ValueError, match=r"infinity.* row 9, column 0 of X"):
        CALLS[call](with_value(bad, np.inf, 9, 0), Y, metric="nan_euclidean")


def test_checks_can_be_switched_off():
    bad = with_value(X, np.nan, 3, 0)
    with sklearn.config_context(assume_finite=True):
        D = tilewise.pairwise_distances(bad, Y)
    assert np.isnan(D[3]).all()
    assert np.isfinite(np.delete(D, 3, axis=0)).all()


@pytest.mark.parametrize("metric", sorted(set(METRICS) & _fallback.NAMES))
@pytest.mark.parametrize("allowed", [False, "allow-nan"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_scikit_learn_lets_pass(metric, allowed, value):
    """The same values, or the same refusal."""
    bad = with_value(X, value, 3, 1)
    results = []
    for module in (tilewise, sklearn.metrics):
        try:
            with np.errstate(all="ignore"):
                results.append(
                    module.pairwise_distances(bad, Y, metric=metric, ensure_all_finite=allowed)
                )
        except ValueError as error:
            results.append(str(error)[:18])
    if isinstance(results[1], str):
        assert results[0] == results[1]
    else:
        np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_large_values_are_no_infinities():
    for dtype, large in ((np.float32, 3e38), (np.float64, 1.7e308)):
        big = np.full((2, 3), large, dtype)
        big[1] *= -1
        with np.errstate(over="ignore"):
            D = tilewise.pairwise_distances(
                big, metric="chebyshev" if dtype == np.float32 else "hamming"
            )
            tilewise.euclidean_distances(big)
            tilewise.argkmin(big, big, 2)
        assert D[0, 0] == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros(4), "Expected 2D array, got 1D"),
        (np.zeros((2, 2, 4)), "dim 3|<= 2"),
        (np.zeros((0, 4)), r"0 sample\(s\)"),
        (np.zeros((3, 0)), r"0 feature\(s\)|Incompatible"),
        (np.zeros((3, 5)), "Incompatible dimension for X and Y matrices"),
        (np.zeros((3, 4), complex), "Complex data not supported"),
        ([["a", "b", "c", "d"]], "could not convert"),
        ([[1, 2, 3, 4], [1, 2, 3]], "inhomogeneous|sequence"),
    ],
)
def test_shapes_and_types_that_are_refused(call, bad, words):
    with pytest.raises(ValueError, match=words):
        CALLS[call](bad, Y)
    with pytest.raises(ValueError, match=words):
        CALLS[call](X, bad)


@pytest.mark.parametrize(
    ("name", "parameters", "error", "words"),
    [
        ("matrix", {"metric": "no such"}, InvalidParameterError, "metric"),
        ("argmin", {"metric": "no such"}, InvalidParameterError, "metric"),
        ("argkmin", {"metric": "no such"}, ValueError, "Unrecognized metric 'no such'"),
        ("radius", {"metric": "precomputed"}, ValueError, "Unrecognized metric"),
        ("argmin", {"metric": "precomputed"}, InvalidParameterError, "metric"),
        ("matrix", {"n_threads": 0}, InvalidParameterError, "n_threads"),
        ("chunks", {"n_threads": 1.5}, InvalidParameterError, "n_threads"),
        ("matrix", {"n_jobs": 0}, ValueError, "n_jobs == 0"),
        ("matrix", {"n_jobs": 1.5}, InvalidParameterError, "n_jobs"),
        ("chunks", {"working_memory": -1}, InvalidParameterError, "working_memory"),
        ("argmin", {"axis": 2}, InvalidParameterError, "axis"),
        ("argkmin", {"metric_kwargs": [1]}, InvalidParameterError, "metric_kwargs"),
        ("matrix", {"metric": "minkowski", "p": 0}, ValueError, "p must be greater than 0"),
        ("matrix", {"metric": "minkowski", "p": np.nan}, ValueError, "p must be greater than 0"),
        ("matrix", {"metric": "minkowski", "p": "2"}, TypeError, "p must be a real number"),
        ("matrix", {"metric": "minkowski", "w": [1, 2]}, ValueError, "one weight per feature"),
        ("matrix", {"metric": "hamming", "w": [1, -1, 1, 1]}, ValueError, "non-negative"),
        ("matrix", {"metric": "manhattan", "w": [1] * 4}, TypeError, "takes no parameter 'w'"),
        ("matrix", {"metric": "cosine", "nonsense": 1}, TypeError, "no parameter 'nonsense'"),
        ("matrix", {"X_norm_squared": [1, 2]}, ValueError, "Incompatible dimensions for X"),
        ("matrix", {"ensure_all_finite": "yes"}, InvalidParameterError, "ensure_all_finite"),
    ],
)
def test_parameters_that_are_refused(name, parameters, error, words):
    with pytest.raises(error, match=words):
        CALLS[name](X, Y, **parameters)


@pytest.mark.parametrize(
    ("k", "error"),
    [(0, ValueError), (-1, ValueError), (21, ValueError), (2.0, TypeError), (True, TypeError)],
)
def test_numbers_of_neighbours_that_are_refused(k, error):
    with pytest.raises(error, match="k "):
        tilewise.argkmin(X, Y, k)


@pytest.mark.parametrize(
    ("radius", "error"),
    [(-1, ValueError), (np.nan, ValueError), ("1", TypeError), (None, TypeError)],
)
def test_radii_that_are_refused(radius, error):
    with pytest.raises(error, match="radius"):
        tilewise.radius_neighbors(X, Y, radius)


@pytest.mark.parametrize("call", CALLS)
def test_frames_lists_and_objects(call):
    wanted = CALLS[call](X, Y)
    for convert in (
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X, columns=list("abcd")),
        lambda X: X.astype(object),
        lambda X: X.astype(str).astype(object),
    ):
        found = CALLS[call](convert(X), convert(Y))
        assert str(found) == str(wanted)


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1, -2, -100])
def test_n_jobs(n_jobs):
    wanted = tilewise.pairwise_distances(X, Y)
    assert np.array_equal(tilewise.pairwise_distances(X, Y, n_jobs=n_jobs), wanted)
    for metric in ("correlation", "precomputed"):
        A, B = (wanted, None) if metric == "precomputed" else (X, Y)
        A = A[:20] if metric == "precomputed" else A
        found = tilewise.pairwise_distances(A, B, metric=metric, n_jobs=n_jobs)
        peer = sklearn.metrics.pairwise_distances(A, B, metric=metric, n_jobs=n_jobs)
        assert np.array_equal(found, peer)


def test_other_array_libraries_are_refused_where_scikit_learn_would_use_them(monkeypatch):
    class Foreign:
        shape, dtype, ndim = (30, 4), np.dtype("f8"), 2

        def __array_namespace__(self):
            raise AssertionError("not asked")

        def __len__(self):
            return 30

        def __array__(self, *args, **kwargs):
            return X

    monkeypatch.setattr(
        "tilewise.metrics._validation.get_config",
        lambda: {**sklearn.get_config(), "array_api_dispatch": True},
    )
    for call in CALLS.values():
        with pytest.raises(TypeError, match="NumPy arrays in the memory of the CPU"):
            call(Foreign(), Y)


# ---------------------------------------------------------------- the fallback

BY_FALLBACK = [
    ("correlation", {}), ("seuclidean", {"V": np.arange(1.0, 5.0)}),
    ("mahalanobis", {"VI": np.eye(4)}),
    ("dice", {}), ("jaccard", {}), ("rogerstanimoto", {}), ("russellrao", {}),
    ("sokalsneath", {}), ("yule", {}), (scipy_distance.euclidean, {}),
    (scipy_distance.minkowski, {"p": 1}), (lambda x, y: 5, {}),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "parameters"), BY_FALLBACK)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.int64])
@pytest.mark.filterwarnings("ignore")
def test_results_of_the_fallback_are_unchanged(metric, parameters, dtype):
    A, B = (X * 2).astype(dtype), (Y * 2).astype(dtype)
    if dtype == np.bool_ and metric in (scipy_distance.euclidean, scipy_distance.minkowski):
        return  # scipy's functions subtract, which truth values do not allow
    for other in (B, None):
        found = tilewise.pairwise_distances(A, other, metric=metric, **parameters)
        wanted = sklearn.metrics.pairwise_distances(A, other, metric=metric, **parameters)
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted, equal_nan=True)


def test_haversine_is_computed_by_the_fallback():
    found = tilewise.pairwise_distances(X[:, :2], Y[:, :2], metric="haversine")
    assert np.array_equal(found, sklearn.metrics.pairwise.haversine_distances(X[:, :2], Y[:, :2]))
    nearest = tilewise.pairwise_distances_argmin(X[:, :2], Y[:, :2], metric="haversine")
    assert np.array_equal(nearest, found.argmin(axis=1))


@pytest.mark.parametrize("name", ["kulsinski", "sokalmichener", "matching", "wminkowski"])
@pytest.mark.filterwarnings("ignore")
def test_names_that_come_and_go_with_scipy(name):
    results = []
    for module in (tilewise, sklearn.metrics):
        try:
            results.append(module.pairwise_distances(X, metric=name))
        except (ValueError, TypeError) as error:
            results.append(str(type(error)))
    assert np.array_equal(*results)


def test_conversion_to_truth_values_is_said():
    for call in (tilewise.pairwise_distances, tilewise.pairwise_distances_argmin):
        with pytest.warns(DataConversionWarning, match="converted to boolean for metric dice"):
            call(X, Y, metric="dice")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tilewise.pairwise_distances_argmin(X > 0, Y > 0, metric="dice")


def test_sparse_rows_in_the_fallback():
    for metric in ("correlation", "chebyshev", "minkowski", "nan_euclidean"):
        with pytest.raises(TypeError):
            tilewise.pairwise_distances(sp.csr_array(X), metric=metric)
    seen = []

    def first_of_each(x, y):
        seen.append(sp.issparse(x))
        return abs(x - y).sum()

    found = tilewise.pairwise_distances(
        sp.csr_array(X[:4]), sp.csr_array(Y[:3]), metric=first_of_each
    )
    np.testing.assert_allclose(found, tilewise.manhattan_distances(X[:4], Y[:3]))
    nearest = tilewise.pairwise_distances_argmin(
        sp.csr_array(X[:4]), sp.csr_array(Y[:3]), metric=first_of_each
    )
    assert np.array_equal(nearest, found.argmin(axis=1))
    assert all(seen)


def test_precomputed():
    D = np.abs(X)
    assert tilewise.pairwise_distances(D, np.zeros((4, 4)), metric="precomputed") is D
    with pytest.raises(ValueError, match=r"shape .*\(30, 4\)"):
        tilewise.pairwise_distances(D, metric="precomputed")
    with pytest.raises(ValueError, match="non-negative"):
        tilewise.pairwise_distances(-np.ones((3, 3)), metric="precomputed")


def test_parameters_that_searches_pass_over():
    """As the neighbour searches of scikit-learn: a warning for the euclidean metrics."""
    with pytest.warns(UserWarning, match=r"Some metric_kwargs have been passed \(\{'p': 3\}\) but"):
        found = tilewise.argkmin(X, Y, 2, metric_kwargs={"p": 3})
    assert np.array_equal(found[1], tilewise.argkmin(X, Y, 2)[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in ("euclidean", "sqeuclidean"):
            norms = {"X_norm_squared": (X**2).sum(1), "Y_norm_squared": (Y**2).sum(1)}
            tilewise.argkmin(X, Y, 2, metric=metric, metric_kwargs=norms)
    with pytest.raises(TypeError, match="takes no parameter 'p'"):
        tilewise.argkmin(X, Y, 2, metric="manhattan", metric_kwargs={"p": 3})


def test_the_table_names_what_scikit_learn_names():
    named = {name for row in METRICS.values() for name in (row.name, *row.aliases)}
    assert named - {"inner_product"} <= _fallback.NAMES

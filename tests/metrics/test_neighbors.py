"""Nearest rows and rows within a radius: exact decisions, ties, forms of the result."""

import hostile
import metrics_reference
import numpy as np
import pytest
import reference
import scipy.sparse as sp
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import distance as scipy_distance

import tilewise
from tilewise.metrics import METRICS

# What ranks neighbours is the same for the rows of a matrix and for one row at a time.
SAFE = [name for name in sorted(METRICS) if name not in ("nan_euclidean", "inner_product")]


def wide(X):
    return np.asarray(X, dtype=np.float64)


def canonical(X, Y):
    with np.errstate(all="ignore"):
        return reference.canonical(wide(X), wide(Y))


def ranked_in_range(X, Y):
    """Columns by canonical distance, and distances: of data in another unit where squares overflow.

    So large values come last in their true order, and tiny data are as those of ordinary size.
    """
    D = canonical(X, Y)
    largest = max(np.abs(wide(X)).max(initial=0.0), np.abs(wide(Y)).max(initial=0.0))
    tiny = 0.0 < largest < 2.0**-480
    exponent = min(1000, (0 if tiny else 380) - int(np.frexp(largest)[1]))
    again = canonical(np.ldexp(wide(X), exponent), np.ldexp(wide(Y), exponent))
    beyond = np.full(D.shape, True) if tiny else np.isinf(D)
    columns = np.broadcast_to(np.arange(D.shape[1]), D.shape)
    order = np.lexsort((columns, np.where(beyond, again, D), beyond), axis=1)
    with np.errstate(all="ignore"):
        return order, np.where(beyond, np.ldexp(np.sqrt(again), -exponent), np.sqrt(D))


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of the reference
def test_hostile_data(name, dtype):
    """Order and radius follow the canonical distance, whatever ranked the candidates."""
    seed = hostile.CASES.index((name, dtype))
    rng = np.random.RandomState(seed)
    for n, d, m in hostile.shapes(seed, most=300_000):
        if n == 0:
            continue
        X, Y = hostile.make(name, rng, n, d, m, dtype)
        X, Y = X.astype(dtype), Y.astype(dtype)
        order, R = ranked_in_range(X, Y)
        for k in {1, min(3, m), m}:
            distances, indices = tilewise.argkmin(X, Y, k)
            assert np.array_equal(indices, order[:, :k]), (n, d, m, k)
            wanted = np.take_along_axis(R, order[:, :k], axis=1).astype(dtype)
            assert np.array_equal(distances, wanted)
        nearest, least = tilewise.pairwise_distances_argmin_min(X, Y)
        assert np.array_equal(nearest, order[:, 0])
        assert np.array_equal(least, R.min(axis=1).astype(dtype))
        # A radius that is a distance of the data: rows stand on the very edge.
        radius = float(np.partition(R, m // 2, axis=1)[0, m // 2])
        if not np.isfinite(radius):
            continue
        found, where = tilewise.radius_neighbors(X, Y, radius)
        for i in range(n):
            inside = np.flatnonzero(R[i] <= radius)
            assert np.array_equal(where[i], inside), (n, d, m, i)
            assert (found[i].astype(np.float64) <= radius).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(SAFE), dtype=st.sampled_from(["f4", "f8"]))
def test_neighbours_are_those_of_the_matrix(data, metric, dtype):
    """The same values as the matrix in float64; few distinct ones, so that many tie."""
    d = data.draw(st.integers(1, 9))
    elements = st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5])
    X, Y = (
        data.draw(hnp.arrays(np.dtype(dtype), (data.draw(st.integers(1, 9)), d), elements=elements))
        for _ in range(2)
    )
    D = tilewise.pairwise_distances(wide(X), wide(Y), metric=metric)
    D = np.where(np.isnan(D), np.inf, D)  # no quotient of zeros is near
    k = data.draw(st.integers(1, len(Y)))
    order = metrics_reference.ranked(D)[:, :k]
    distances, indices = tilewise.argkmin(X, Y, k, metric=metric)
    assert distances.dtype == dtype
    assert indices.dtype == np.intp
    wanted = np.take_along_axis(D, order, axis=1)
    found = np.where(np.isnan(distances), np.inf, distances)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-15)
    if metric in ("manhattan", "chebyshev", "hamming", "sqeuclidean", "euclidean"):
        assert np.array_equal(indices, order)  # exact numbers: equal ones tie for certain
    radius = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, float(D.flat[0])]))
    if not np.isfinite(radius):
        return
    found, where = tilewise.radius_neighbors(X, Y, radius, metric=metric)
    for i in range(len(X)):
        assert np.array_equal(where[i], np.flatnonzero(D[i] <= radius))


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "correlation"])
@pytest.mark.parametrize("shape", [(1, 9000), (3, 5000), (700, 900), (4000, 1)])
def test_every_blocking_gives_the_same(metric, shape):
    rng = np.random.RandomState(0)
    X, Y = rng.standard_normal((shape[0], 4)), rng.standard_normal((shape[1], 4))
    D = tilewise.pairwise_distances(X, Y, metric=metric)
    k = min(5, shape[1])
    wanted = metrics_reference.ranked(D)[:, :k]
    results = [tilewise.argkmin(X, Y, k, metric=metric, n_threads=threads) for threads in (1, 2, 3)]
    for distances, indices in results:
        assert np.array_equal(indices, wanted)
        assert np.array_equal(distances, results[0][0])
    np.testing.assert_allclose(
        results[0][0], np.take_along_axis(D, wanted, axis=1), rtol=1e-13, atol=1e-14
    )
    assert np.array_equal(tilewise.pairwise_distances_argmin(X, Y, metric=metric), wanted[:, 0])
    radius = float(np.median(D[0]))
    for threads in (1, 2):
        graph = tilewise.radius_neighbors(
            X, Y, radius, metric=metric, return_as="csr", n_threads=threads
        )
        near = np.abs(D - radius) < 1e-12
        assert np.array_equal((graph.toarray() != 0)[~near], (D <= radius)[~near] & (D != 0)[~near])


def test_duplicates_and_all_neighbours():
    rng = np.random.RandomState(1)
    Y = np.repeat(rng.standard_normal((7, 3)), 6, axis=0)[rng.permutation(42)]
    distances, indices = tilewise.argkmin(Y, None, 42)
    assert np.array_equal(np.sort(indices, axis=1), np.tile(np.arange(42), (42, 1)))
    assert (distances[:, :6] == 0).all()
    assert (np.diff(indices[:, :6], axis=1) > 0).all()
    assert np.array_equal(tilewise.argkmin(Y, Y, 42)[1], indices)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_is_ranked_in_float64(dtype):
    """Distances that are equal in float32 still come in their true order."""
    X = np.zeros((1, 2), dtype)
    Y = np.array([[1.0, 2.0**-14], [1.0, 2.0**-15], [1.0, 0.0]], dtype)
    distances, indices = tilewise.argkmin(X, Y, 3)
    assert indices.tolist() == [[2, 1, 0]]
    assert distances.dtype == dtype
    assert (np.unique(distances).size == 1) == (dtype == np.float32)


def test_a_float32_distance_is_never_above_the_radius():
    rng = np.random.RandomState(2)
    X = rng.standard_normal((40, 5)).astype(np.float32)
    D = np.sqrt(canonical(X, X))
    lifted = 0
    for radius in D[0, 1:]:
        graph = tilewise.radius_neighbors(X, X, float(radius), return_as="csr")
        assert graph.dtype == np.float32
        assert (graph.data.astype(np.float64) <= radius).all()
        assert np.array_equal(np.diff(graph.indptr), (radius >= D).sum(axis=1))
        lifted += float(np.float32(radius)) > radius
    assert lifted  # the case occurs


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "seuclidean"])
@pytest.mark.parametrize("sort", [False, True])
def test_forms_of_a_radius_search(metric, sort):
    rng = np.random.RandomState(3)
    X, Y = rng.standard_normal((30, 4)).round(1), rng.standard_normal((50, 4)).round(1)
    X[3] = Y[9]
    more = {"metric_kwargs": {"V": np.ones(4)}} if metric == "seuclidean" else {}
    D = tilewise.pairwise_distances(X, Y, metric=metric, **more.get("metric_kwargs", {}))
    distances, indices = tilewise.radius_neighbors(
        X, Y, 2.5, metric=metric, sort_results=sort, **more
    )
    only = tilewise.radius_neighbors(
        X, Y, 2.5, metric=metric, sort_results=sort, return_distance=False, **more
    )
    graph = tilewise.radius_neighbors(
        X, Y, 2.5, metric=metric, sort_results=sort, return_as="csr", **more
    )
    ones = tilewise.radius_neighbors(
        X, Y, 2.5, metric=metric, return_as="csr", return_distance=False, **more
    )
    ranks = canonical(X, Y) if metric == "euclidean" else D
    assert distances.dtype == indices.dtype == object
    assert distances.shape == indices.shape == (30,)
    assert sp.issparse(graph)
    assert graph.shape == (30, 50)
    assert (ones.data == 1).all()
    assert np.array_equal(ones.indptr, graph.indptr)
    for i in range(30):
        inside = np.flatnonzero(D[i] <= 2.5)
        if sort:
            inside = inside[np.argsort(ranks[i][inside], kind="stable")]
        assert np.array_equal(indices[i], inside)
        assert np.array_equal(only[i], inside)
        part = slice(graph.indptr[i], graph.indptr[i + 1])
        assert np.array_equal(graph.indices[part], inside)
        assert np.array_equal(graph.data[part], distances[i])
        np.testing.assert_allclose(distances[i], D[i][inside], rtol=1e-14)
    assert 9 in indices[3]  # at distance zero, and stored all the same


def test_rows_without_neighbours_and_equal_counts():
    distances, indices = tilewise.radius_neighbors([[0.0], [50.0]], [[1.0], [2.0]], 0.5)
    assert [len(row) for row in indices] == [0, 0]
    distances, indices = tilewise.radius_neighbors([[0.0], [0.0]], [[1.0], [2.0]], np.inf)
    assert [row.tolist() for row in indices] == [[0, 1], [0, 1]]
    assert [row.tolist() for row in distances] == [[1.0, 2.0], [1.0, 2.0]]


@pytest.mark.parametrize("squared", [False, True])
def test_a_squared_radius(squared):
    """A radius is compared with what is returned."""
    more = {"metric_kwargs": {"squared": squared}}
    for metric in ("euclidean", "nan_euclidean"):
        found, _ = tilewise.radius_neighbors(
            [[0.0]], [[1.0], [2.0], [3.0]], 4.0, metric=metric, **more
        )
        assert found[0].tolist() == ([1.0, 4.0] if squared else [1.0, 2.0, 3.0])


def test_axis_of_argmin():
    rng = np.random.RandomState(4)
    X, Y = rng.standard_normal((20, 3)), rng.standard_normal((8, 3))
    for metric in ("euclidean", "chebyshev", "dice"):
        A, B = (X > 0, Y > 0) if metric == "dice" else (X, Y)
        turned = tilewise.pairwise_distances_argmin(A, B, axis=0, metric=metric)
        assert np.array_equal(turned, tilewise.pairwise_distances_argmin(B, A, metric=metric))
        indices, values = tilewise.pairwise_distances_argmin_min(A, B, axis=0, metric=metric)
        assert np.array_equal(indices, turned)
        assert values.shape == (8,)


def test_the_largest_inner_products():
    rng = np.random.RandomState(5)
    X, Y = rng.randint(-3, 4, (9, 5)), rng.randint(-3, 4, (20, 5))
    P = X @ Y.T
    values, indices = tilewise.argkmin(X, Y, 4, metric="inner_product")
    wanted = np.argsort(-P, axis=1, kind="stable")[:, :4]
    assert np.array_equal(indices, wanted)
    assert np.array_equal(values, np.take_along_axis(P, wanted, axis=1))
    with pytest.raises(ValueError, match="a similarity, not a distance"):
        tilewise.radius_neighbors(X, Y, 1.0, metric="inner_product")


DOOR = [
    ("correlation", {}), ("seuclidean", {"V": np.arange(1.0, 7.0)}), ("dice", {}), ("yule", {}),
    ("mahalanobis", {"VI": np.eye(6)}), ("jaccard", {}), (scipy_distance.cosine, {}),
    (scipy_distance.minkowski, {"p": 3}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize(("metric", "parameters"), DOOR)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_neighbours_by_metrics_of_the_fallback(metric, parameters, form):
    rng = np.random.RandomState(6)
    X, Y = rng.standard_normal((20, 6)).round(1), rng.standard_normal((30, 6)).round(1)
    X[rng.rand(20, 6) < 0.3] = 0
    if metric in ("dice", "yule", "jaccard"):
        X, Y = X > 0, Y > 0
    D = sklearn.metrics.pairwise_distances(X, Y, metric=metric, **parameters)
    if form == "sparse":
        if callable(metric):
            pytest.skip("scipy's functions of two rows know dense ones only")
        X = sp.csr_array(X)
    order = metrics_reference.ranked(D)[:, :4]
    distances, indices = tilewise.argkmin(X, Y, 4, metric=metric, metric_kwargs=parameters)
    assert np.array_equal(indices, order)
    assert np.array_equal(distances, np.take_along_axis(D, order, axis=1))
    nearest = tilewise.pairwise_distances_argmin(X, Y, metric=metric, metric_kwargs=parameters)
    assert np.array_equal(nearest, D.argmin(axis=1))  # where NaN counts as the smallest


def test_parameters_that_follow_from_the_data():
    X = np.random.RandomState(7).standard_normal((20, 3))
    for metric in ("seuclidean", "mahalanobis"):
        D = sklearn.metrics.pairwise_distances(X, metric=metric)
        distances, indices = tilewise.argkmin(X, None, 3, metric=metric)
        assert np.array_equal(indices[:, 0], np.arange(20))
        np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :3], rtol=1e-12, atol=1e-12)
        with pytest.raises(ValueError, match=r"The '(V|VI)' parameter is required"):
            tilewise.argkmin(X, X.copy(), 3, metric=metric)


@pytest.mark.parametrize("metric", [name for name in sorted(METRICS) if name != "inner_product"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_neighbours(metric, dtype):
    """Metrics without sparse kernels take sparse rows here too, as in scikit-learn."""
    rng = np.random.RandomState(8)
    X, Y = (rng.standard_normal((n, 30)).astype(dtype) for n in (20, 40))
    X[rng.rand(*X.shape) < 0.7], Y[rng.rand(*Y.shape) < 0.7] = 0, 0
    wanted, order = tilewise.argkmin(X, Y, 5, metric=metric)
    for a, b in ((sp.csr_array(X), Y), (sp.csc_matrix(X), sp.coo_array(Y)), (X, sp.csr_matrix(Y))):
        distances, indices = tilewise.argkmin(a, b, 5, metric=metric)
        assert distances.dtype == dtype
        np.testing.assert_allclose(distances, wanted, rtol=1e-6, atol=1e-7)
        if metric in ("euclidean", "sqeuclidean"):
            assert np.array_equal(indices, order)
        nearest = tilewise.pairwise_distances_argmin(a, b, metric=metric)
        assert (nearest == order[:, 0]).mean() > 0.9


def test_missing_values():
    nan = np.nan
    X = np.array([[0.0, nan], [1.0, 1.0]])
    Y = np.array([[nan, 5.0], [0.5, nan], [0.0, 1.0]])
    distances, indices = tilewise.argkmin(X, Y, 3, metric="nan_euclidean")
    assert indices.tolist() == [[2, 1, 0], [1, 2, 0]]
    assert np.isnan(distances[0, 2])
    wanted = sklearn.metrics.pairwise_distances_argmin(X, Y, metric="nan_euclidean")
    assert np.array_equal(tilewise.pairwise_distances_argmin(X, Y, metric="nan_euclidean"), wanted)
    marked = tilewise.argkmin(
        np.nan_to_num(X, nan=-9), np.nan_to_num(Y, nan=-9), 3, metric="nan_euclidean",
        metric_kwargs={"missing_values": -9},
    )  # fmt: skip
    assert np.array_equal(marked[1], indices)

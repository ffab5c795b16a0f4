"""Distances are right wherever they are numbers of float64, however large their squares are."""

import numpy as np
import pytest
import scipy.sparse as sp

import tilewise
from tilewise import pairwise_distances
from tilewise.metrics import METRICS

EXPONENTS = [900, 560, 500, -500, -560, -900]
DISTANCES = sorted(set(METRICS) - {"inner_product"})
DEPTHS = [1, 3, 8, 9, 40, 300]


def rows(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def with_parameters(metric):
    return {"p": 3} if metric == "minkowski" else {}


def undone(values, exponent, degree):
    for _ in range(degree):
        values = np.ldexp(values, exponent)
    return values


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("d", DEPTHS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_distances_do_not_depend_on_the_unit(metric, d, exponent):
    X, Y = rows(70, d), rows(67, d, 1)
    Y[5] = X[4]
    X[7] = 0.0
    parameters = with_parameters(metric)
    degree = METRICS[metric].degree
    expected = pairwise_distances(X, Y, metric=metric, **parameters)
    found = pairwise_distances(
        np.ldexp(X, exponent), np.ldexp(Y, exponent), metric=metric, **parameters
    )
    with np.errstate(over="ignore", under="ignore"):
        expected = undone(expected, exponent, degree)
    assert np.allclose(found, expected, rtol=1e-12, atol=0.0)
    if degree == 1:
        assert np.isfinite(found).all()
        assert found[4, 5] == 0.0
        assert np.count_nonzero(found) == found.size - 1


@pytest.mark.parametrize("metric", ["sqeuclidean", "minkowski", "canberra", "braycurtis"])
@pytest.mark.parametrize("exponent", [560, -560])
def test_weighted_distances(metric, exponent):
    X, Y, w = rows(20, 11), rows(13, 11, 1), np.random.default_rng(2).random(11)
    w[3] = 0.0
    degree = METRICS[metric].degree
    for p in (2.0, 3.0, 2.5) if metric == "minkowski" else (None,):
        parameters = {"w": w} | ({} if p is None else {"p": p})
        expected = pairwise_distances(X, Y, metric=metric, **parameters)
        found = pairwise_distances(
            np.ldexp(X, exponent), np.ldexp(Y, exponent), metric=metric, **parameters
        )
        with np.errstate(over="ignore", under="ignore"):
            expected = undone(expected, exponent, degree)
        assert np.allclose(found, expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("both", [True, False])
def test_sparse_rows(metric, exponent, both):
    X = sp.random_array((60, 200), density=0.05, rng=np.random.default_rng(0), format="csr")
    Y = sp.random_array((50, 200), density=0.05, rng=np.random.default_rng(1), format="csr")
    expected = pairwise_distances(X.toarray(), Y.toarray(), metric=metric)
    y = np.ldexp(1.0, exponent) * Y
    found = pairwise_distances(
        np.ldexp(1.0, exponent) * X, y if both else y.toarray(), metric=metric
    )
    with np.errstate(over="ignore", under="ignore"):
        expected = undone(expected, exponent, METRICS[metric].degree)
    assert np.allclose(found, expected, rtol=1e-9, atol=0.0)


def test_rows_of_every_size_side_by_side():
    X = rows(40, 6)
    sizes = np.ldexp(1.0, np.linspace(-1000, 1000, 40).astype(int))
    mixed = X * sizes[:, None]
    found = tilewise.euclidean_distances(mixed, mixed[::-1].copy())
    for i in range(40):
        for j in range(40):
            gap = mixed[i] - mixed[39 - j]
            most = np.abs(gap).max()
            expected = most and most * np.sqrt(np.square(gap / most).sum())
            assert found[i, j] == pytest.approx(expected, rel=1e-12, abs=0.0)


def test_norms_and_products_leave_such_pairs_alone():
    X = rows(200, 64)
    X[3], X[4] = X[5] * 2.0**700, X[6] * 2.0**600
    X[7, 0] += 2.0**-40
    found = tilewise.euclidean_distances(X)
    assert np.isfinite(found).all()
    assert found[3, 9] == pytest.approx(np.ldexp(np.sqrt(np.square(X[5]).sum()), 700), rel=1e-12)
    assert np.array_equal(found, found.T)


# ---------------------------------------------------------------- minkowski


@pytest.mark.parametrize("p", [0.5, 0.01, 1.5, 3, 7, 16, 17, 120, 999.5, 1000, 1e6])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3, 1e200, 1e-200])
def test_minkowski_of_any_order(p, size):
    X, Y = rows(9, 5), rows(8, 5, 1)
    gaps = np.abs(X[:, None] - Y)
    most = gaps.max(axis=2)
    expected = most * ((gaps / most[..., None]) ** p).sum(axis=2) ** (1 / p)
    found = pairwise_distances(X * size, Y * size, metric="minkowski", p=p)
    assert np.allclose(found / size, expected, rtol=1e-9, atol=0.0)


def test_minkowski_of_ordinary_sums_is_as_it_was():
    X, Y = rows(30, 7), rows(20, 7, 1)
    for p in (3.0, 2.5, 16.0):
        gaps = np.abs(X[:, None] - Y)
        expected = (gaps**p).sum(axis=2) ** (1 / p)
        assert np.allclose(pairwise_distances(X, Y, metric="minkowski", p=p), expected, rtol=1e-14)


@pytest.mark.parametrize("p", [120, 1000])
def test_neighbors_of_a_large_order(p):
    X, Y = rows(50, 4), rows(40, 4, 1)
    for size in (1.0, 1e-3, 1e3):
        distances, indices = tilewise.argkmin(
            X * size, Y * size, 3, metric="minkowski", metric_kwargs={"p": p}
        )
        whole = pairwise_distances(X * size, Y * size, metric="minkowski", p=p)
        assert np.array_equal(indices, np.argsort(whole, axis=1, kind="stable")[:, :3])
        assert np.array_equal(distances, np.take_along_axis(whole, indices, axis=1))


def test_weights_of_a_large_order():
    X, Y, w = rows(6, 4), rows(5, 4, 1), np.array([1.0, 0.0, 2.0, 0.5])
    found = pairwise_distances(X, Y, metric="minkowski", p=1000, w=w)
    gaps = np.abs(X[:, None] - Y)[:, :, w > 0]
    most = gaps.max(axis=2)
    kept = w[w > 0]
    expected = most * (kept * (gaps / most[..., None]) ** 1000).sum(axis=2) ** (1 / 1000)
    assert np.allclose(found, expected, rtol=1e-12)


# ---------------------------------------------------------------- at the end of the range


def test_ratios_of_sums_that_overflow():
    X = np.array([[1e308, 1.7e308, -1e308]])
    Y = np.array([[1.7e308, 1.6e308, 1e308]])
    assert pairwise_distances(X, Y, metric="canberra")[0, 0] == pytest.approx(
        pairwise_distances(X / 1e10, Y / 1e10, metric="canberra")[0, 0], rel=1e-12
    )
    X, Y = np.abs(X), np.abs(Y) * 0.9
    assert pairwise_distances(X, Y, metric="braycurtis")[0, 0] == pytest.approx(
        pairwise_distances(X / 1e10, Y / 1e10, metric="braycurtis")[0, 0], rel=1e-12
    )


def test_products_that_overflow_on_the_way():
    X, Y = np.array([[1e200, 1e200, 1.0]]), np.array([[1e200, -1e200, 3.0]])
    assert np.isfinite(pairwise_distances(X, Y, metric="inner_product")[0, 0])
    assert pairwise_distances(X, np.abs(Y), metric="inner_product")[0, 0] == np.inf
    assert pairwise_distances(-X, np.abs(Y), metric="inner_product")[0, 0] == -np.inf


def test_squares_beyond_the_range_are_infinite():
    X = np.array([[0.0], [1e200]])
    assert pairwise_distances(X, metric="sqeuclidean").tolist() == [[0, np.inf], [np.inf, 0]]
    assert tilewise.euclidean_distances(X).tolist() == [[0, 1e200], [1e200, 0]]
    # As float32: the distance is a number, its square is none.
    single = np.array([[0.0], [1e30]], dtype=np.float32)
    assert tilewise.euclidean_distances(single)[0, 1] == np.float32(1e30)
    assert pairwise_distances(single, metric="sqeuclidean")[0, 1] == np.inf


@pytest.mark.parametrize("metric", ["euclidean", "nan_euclidean", "minkowski"])
def test_values_that_are_not_finite_stay_visible(metric):
    X = rows(10, 4) * 1e200
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad[4, 1] = value
        if metric == "nan_euclidean" and np.isnan(value):
            continue
        with pytest.raises(ValueError, match=r"row 4, column 1\b"):
            pairwise_distances(bad, X, metric=metric)


def test_missing_values_beside_large_ones():
    X = rows(12, 5)
    X[2, 1] = X[3, 0] = np.nan
    X[5] = np.nan
    expected = tilewise.nan_euclidean_distances(X)
    found = tilewise.nan_euclidean_distances(np.ldexp(X, 700))
    assert np.allclose(found, np.ldexp(expected, 700), rtol=1e-12, atol=0.0, equal_nan=True)


# ---------------------------------------------------------------- neighbours


SEARCHES = ["euclidean", "sqeuclidean", "manhattan", "cosine", "chebyshev", "inner_product"]


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("metric", SEARCHES)
@pytest.mark.parametrize("shape", [(300, 250, 5), (200, 10, 3), (100, 90, 70)])
def test_neighbors_do_not_depend_on_the_unit(metric, exponent, shape):
    n, m, d = shape
    X, Y = rows(n, d), rows(m, d, 1)
    Y[3] = X[2]
    expected = tilewise.argkmin(X, Y, 4, metric=metric)
    found = tilewise.argkmin(np.ldexp(X, exponent), np.ldexp(Y, exponent), 4, metric=metric)
    if metric != "inner_product" or exponent > 0:
        assert np.array_equal(found[1], expected[1])
    with np.errstate(over="ignore", under="ignore"):
        wanted = undone(expected[0], exponent, METRICS[metric].degree)
    assert np.allclose(found[0], wanted, rtol=1e-9, atol=0.0)
    nearest = tilewise.pairwise_distances_argmin(
        np.ldexp(X, exponent), np.ldexp(Y, exponent), metric=metric
    )
    if metric != "inner_product" or exponent > 0:
        assert np.array_equal(nearest, expected[1][:, 0])


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("both", [True, False])
def test_neighbors_of_sparse_rows(exponent, both):
    X = sp.random_array((80, 300), density=0.05, rng=np.random.default_rng(0), format="csr")
    Y = sp.random_array((70, 300), density=0.05, rng=np.random.default_rng(1), format="csr")
    factor = np.ldexp(1.0, exponent)
    expected = tilewise.argkmin(X, Y, 3)
    y = factor * Y if both else (factor * Y).toarray()
    found = tilewise.argkmin(factor * X, y, 3)
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], factor * expected[0], rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan"])
@pytest.mark.parametrize("sort", [True, False])
def test_radius_does_not_depend_on_the_unit(metric, exponent, sort):
    if metric == "sqeuclidean" and abs(exponent) > 500:
        pytest.skip("the radius itself is no number")
    X, Y, degree = rows(150, 3), rows(140, 3, 1), METRICS[metric].degree
    expected = tilewise.radius_neighbors(X, Y, 1.25, metric=metric, sort_results=sort)
    radius = float(undone(1.25, exponent, degree))
    found = tilewise.radius_neighbors(
        np.ldexp(X, exponent), np.ldexp(Y, exponent), radius, metric=metric, sort_results=sort
    )
    for theirs, ours in zip(expected[1], found[1], strict=True):
        assert np.array_equal(theirs, ours)
    for theirs, ours in zip(expected[0], found[0], strict=True):
        assert np.allclose(ours, undone(theirs, exponent, degree), rtol=1e-9, atol=0.0)


def test_one_row_far_away_disturbs_nobody():
    X = rows(400, 3)
    expected = tilewise.argkmin(X, None, 3)
    for sentinel in (1e200, np.finfo(float).max):
        far = np.vstack([X, np.full((1, 3), sentinel)])
        distances, indices = tilewise.argkmin(far, None, 3)
        assert np.array_equal(indices[:-1], expected[1])
        assert np.array_equal(distances[:-1], expected[0])
        assert indices[-1, 0] == 400
        assert distances[-1, 0] == 0.0
    assert tilewise.radius_neighbors(far, None, 0.5, return_as="csr").nnz == (
        tilewise.radius_neighbors(X, None, 0.5, return_as="csr").nnz + 1
    )


@pytest.mark.parametrize("sentinel", [1e200, np.finfo(float).max])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_all_neighbors_beside_one_row_far_away(sentinel, metric):
    X = rows(30, 3)
    far = np.vstack([X, np.full((1, 3), sentinel)])
    distances, indices = tilewise.argkmin(far, None, 31, metric=metric)
    plain = tilewise.argkmin(X, None, 30, metric=metric)
    assert np.array_equal(indices[:-1, :-1], plain[1])
    assert np.array_equal(distances[:-1, :-1], plain[0])
    assert (indices[:-1, -1] == 30).all()
    assert indices[-1].tolist() == [30, *range(30)]
    radius = np.inf if metric == "sqeuclidean" else 1e307
    for sort in (False, True):
        near = tilewise.radius_neighbors(
            far, None, radius, metric=metric, sort_results=sort, return_as="csr"
        )
        few = tilewise.radius_neighbors(X, None, radius, metric=metric, return_as="csr")
        whole = sentinel == 1e200 or radius == np.inf
        assert near.nnz == (31 * 31 if whole else 30 * 30 + 1)
        assert np.allclose(near.toarray()[:30, :30], few.toarray(), rtol=1e-14)
        if sort:
            assert (np.diff(near.data[: near.indptr[1]]) >= 0).all()


def test_sparse_rows_beside_one_far_away():
    X = sp.random_array((40, 100), density=0.1, rng=np.random.default_rng(0), format="csr")
    far = X.tolil()
    far[7, 3], far[8, 4] = 1e300, 1e-300
    far[9] = 0.0
    far[9, 5] = 1e-200
    far = far.tocsr()
    dense = far.toarray()
    for metric in ("euclidean", "manhattan", "cosine"):
        found = pairwise_distances(far, metric=metric)
        expected = pairwise_distances(dense, metric=metric)
        assert np.allclose(found, expected, rtol=1e-9, atol=1e-15)
        assert np.isfinite(found).all()
    products = pairwise_distances(far, metric="inner_product")
    assert products[7, 7] == np.inf
    products[7, 7] = 0.0
    assert np.isfinite(products).all()


def test_sparse_products_that_overflow_on_the_way():
    X = sp.csr_array(np.array([[1e200, 1e200, 0.0] + 20 * [0.0]]))
    Y = sp.csr_array(np.array([[1e200, -1e200, 3.0] + 20 * [0.0]]))
    assert np.isfinite(pairwise_distances(X, Y, metric="inner_product")).all()


def test_an_infinite_radius():
    X = rows(20, 2) * 1e200
    distances, indices = tilewise.radius_neighbors(X, None, np.inf)
    whole = tilewise.euclidean_distances(X)
    for i in range(20):
        assert np.array_equal(indices[i], np.arange(20))
        assert np.allclose(distances[i], whole[i], rtol=1e-9, atol=0.0)


def test_weighted_squares_that_overflow_keep_their_order():
    X, Y, w = rows(30, 4), rows(25, 4, 1), np.array([1.0, 2.0, 0.5, 3.0])
    expected = tilewise.argkmin(X, Y, 3, metric="sqeuclidean", metric_kwargs={"w": w})[1]
    for exponent in (600, -600):
        found = tilewise.argkmin(
            np.ldexp(X, exponent), np.ldexp(Y, exponent), 3, metric="sqeuclidean",
            metric_kwargs={"w": w},
        )  # fmt: skip
        assert np.array_equal(found[1], expected)


def test_results_go_where_they_were_asked_for():
    X = rows(60, 3) * 1e200
    out = np.empty((60, 2)), np.empty((60, 2), dtype=np.intp)
    distances, indices = tilewise.argkmin(X, None, 2, out=out)
    assert distances is out[0]
    assert indices is out[1]
    assert np.isfinite(distances).all()
    assert np.array_equal(indices, tilewise.argkmin(X / 1e200, None, 2)[1])

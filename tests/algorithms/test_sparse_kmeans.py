"""K-Means on CSR rows: the promises hold whichever way the rows are stored."""

import dataclasses

import exact_sums
import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp

from tilewise import KMeans, engine, kmeans_plusplus
from tilewise.algorithms import lloyd
from tilewise.engine import Pass, Rows, column_stats
from tilewise.kernels import _csr


def whole_numbers(n, d, density, dtype, seed=0, index=np.int32):
    """Small whole numbers, whose sums are exact in any order, with empty rows and columns."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-9, 10, (n, d)) * (rng.random((n, d)) < density)
    X[:: max(2, n // 5)] = 0
    X[:, :: max(2, d // 3)] = 0
    X = sp.csr_array(X.astype(dtype))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


def nearest(dense, centers):
    """The exact labels, the slow way."""
    with np.errstate(all="ignore"):
        return reference.nearest(reference.Rows(dense), centers)[0]


def results(model):
    return model.labels_, model.cluster_centers_ + 0.0, model.inertia_, model.n_iter_


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(3000, 200, 20), (700, 1000, 7), (60, 30, 60), (60, 9, 50), (50, 1, 3)]
)
def test_same_fit_as_of_the_dense_rows(n, d, k, init, dtype):
    X = whole_numbers(n, d, 0.05, dtype)
    found = np.unique(X.toarray(), axis=0).shape[0]
    sparse, dense = (
        KMeans(min(k, found), init=init, n_init=1, max_iter=8, random_state=0).fit(rows)
        for rows in (X, X.toarray())
    )
    assert (sparse.chunk_plan_.layout == "csr") == (d > 24 or X.nnz == 0)
    assert_same(results(sparse), results(dense))
    assert np.array_equal(sparse.predict(X), dense.predict(X.toarray()))
    assert sparse.score(X) == dense.score(X.toarray())
    np.testing.assert_allclose(
        sparse.transform(X),
        dense.transform(X.toarray()),
        rtol=1e-6 if dtype == np.float32 else 1e-14,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_how_it_is_computed(dtype):
    rng = np.random.default_rng(1)
    X = sp.random_array((2500, 300), density=0.04, rng=rng, format="csr", dtype=np.float64)
    X = X.astype(dtype)
    weights = rng.uniform(0, 2, X.shape[0])
    centers = X[:25].toarray().astype(np.float64)
    wanted = None
    for way, rows, plan in hostile.plans(X, 25):
        for threads, chunk in ((1, "auto"), (3, 128)):
            plan = hostile.plan_for(
                rows, 25, plan.isa, plan.engine, plan.score_dtype, threads, chunk,
                0.0 if plan.layout == "csr" else None,
            )  # fmt: skip
            if way.endswith("gathered"):
                plan = dataclasses.replace(plan, panel_columns=1)
            run = lloyd(rows, centers, weights=weights, max_iter=7, plan=plan)
            got = run.labels, run.centers, run.inertia, run.n_iter
            wanted = wanted or got
            for a, b in zip(got, wanted, strict=True):
                assert np.array_equal(a, b), way


def test_bounds_change_nothing():
    X = sp.random_array((4000, 500), density=0.02, rng=np.random.default_rng(2), format="csr")
    rows = Rows(X)
    plan = hostile.plan_for(rows, 30, density=rows.density)
    assert plan.layout == "csr"
    bounded, plain = (Pass(rows, 30, plan, sums=True, bounds=b) for b in (True, False))
    centers = X[:30].toarray()
    scored = []
    for _ in range(12):
        assert bounded.assign_and_sum(centers) == plain.assign_and_sum(centers)
        assert np.array_equal(bounded.labels, plain.labels)
        assert np.array_equal(bounded.sums.values, plain.sums.values)
        assert np.array_equal(bounded.labels, nearest(X.toarray(), centers))
        scored.append(bounded.scored)
        averaged = np.empty_like(centers)
        if bounded.average(averaged) is not None:
            centers = averaged
    assert scored[-1] < X.shape[0]


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_labels_of_hostile_rows(name, dtype):
    rng = np.random.RandomState(5)
    for n, d, k in ((130, 40, 33), (65, 1, 5), (40, 97, 40)):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        X = X * (rng.uniform(size=X.shape) < 0.4)
        with np.errstate(all="ignore"):
            wanted, least = reference.nearest(reference.Rows(X), centers)
        kept = X[np.isfinite(least)]
        for way, rows, plan in hostile.plans(sp.csr_array(X), k):
            if plan.layout != "csr":
                continue
            if len(kept) < len(X):
                with pytest.raises(engine.OutOfRange):
                    engine.assign(rows, centers, plan)
                rows = Rows(sp.csr_array(kept))
            labels = engine.assign(rows, centers, plan)
            assert np.array_equal(labels, wanted[np.isfinite(least)]), way


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_value_that_is_not_finite_is_named(bad, dtype):
    X = whole_numbers(900, 70, 0.1, dtype).tolil()
    X[613, 8] = X[613, 60] = X[700, 1] = bad
    X = sp.csr_array(X)
    for way, rows, plan in hostile.plans(X, 4):
        for act in (
            lambda rows=rows, plan=plan: engine.assign(rows, np.eye(4, 70), plan),
            lambda rows=rows, plan=plan: engine.distances(rows, np.eye(4, 70), plan),
            lambda rows=rows, plan=plan: column_stats(rows, plan),
        ):
            with pytest.raises(ValueError, match="row 613, column 8"):
                act()
        assert way


def test_a_row_longer_than_the_workspace():
    d = 70_000
    rng = np.random.default_rng(3)
    X = sp.random_array((60, d), density=0.001, rng=rng, format="lil")
    X[17] = X[40] = rng.standard_normal(d)
    X = sp.csr_array(X)
    centers = X[[3, 17, 50]].toarray()
    for way, rows, plan in hostile.plans(X, 3):
        labels = engine.assign(rows, centers, plan)
        assert np.array_equal(labels, nearest(X.toarray(), centers)), way


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_moments_and_sums_are_exact_whatever_the_blocks(dtype, index, monkeypatch):
    rng = np.random.default_rng(4)
    X = sp.random_array((500, 60), density=0.1, rng=rng, format="csr").astype(dtype)
    X.data[::7] *= dtype(1e-9)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    dense, rows = X.toarray(), Rows(X)
    wanted = exact_sums.moments(dense)
    labels = rng.integers(0, 7, 500).astype(np.int32)
    weights = rng.uniform(0, 2, 500)
    weights[::9] = 0
    numbers, heavy = exact_sums.cluster_sums(dense, labels, 7, weights)
    plan = hostile.plan_for(rows, 7, n_threads=2)
    for blocks in ([0, 60], [0, 1, 60], [0, 7, 31, 59, 60]):
        cut = np.array(blocks, dtype=np.int64)
        monkeypatch.setattr(_csr, "column_blocks", lambda rows, n_blocks, cut=cut: cut)
        for n_threads in (1, 2):
            mean, variance, largest, least = _csr.column_moments(rows, n_threads=n_threads)
            np.testing.assert_array_max_ulp(mean, wanted[0], 1)
            np.testing.assert_array_max_ulp(variance, wanted[1], 1)
            assert np.array_equal(largest, np.abs(dense).max(0))
            sizes = np.where(dense == 0, np.inf, np.abs(dense))
            assert np.array_equal(least, sizes.min(0))
    sums = Pass(rows, 7, plan, sums=True, weights=weights).sums
    for i in range(500):
        if weights[i]:
            sums.move(rows, i, -1, int(labels[i]), float(weights[i]))
    assert np.array_equal(sums.values, exact_sums.floats(numbers))
    assert np.array_equal(sums.members, np.bincount(labels[weights > 0], minlength=7))
    assert np.array_equal(sums.weights, exact_sums.floats(heavy))


def test_fits_of_values_whose_sums_round_are_those_of_the_dense_rows():
    rng = np.random.default_rng(8)
    X = sp.random_array((3000, 120), density=0.05, rng=rng, format="csr")
    X.data = rng.standard_normal(X.nnz) * 10.0 ** rng.uniform(-3, 3, X.nnz)
    weights, start = rng.uniform(0, 2, 3000), X[:20].toarray()
    one, other = (
        KMeans(20, init=start, n_init=1, max_iter=8).fit(rows, sample_weight=weights)
        for rows in (X, X.toarray())
    )
    assert_same((*results(one)[:2], one.n_iter_), (*results(other)[:2], other.n_iter_))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trials", [None, 1, 20])
def test_same_seeds_as_of_the_dense_rows(dtype, trials):
    for seed in range(6):
        rng = np.random.RandomState(seed)
        n, d = rng.randint(5, 800), rng.randint(1, 300)
        k = min(n, rng.randint(1, 40))
        X = sp.random(n, d, rng.choice([0.02, 0.2, 0.9]), format="csr", random_state=seed)
        X = X.astype(dtype)
        if seed % 2:
            X.data = np.round(X.data * 2)  # explicit zeros, and many equal rows
        weights = rng.uniform(0, 2, n) if seed % 3 else None
        one, other = (
            kmeans_plusplus(
                rows, k, sample_weight=weights, random_state=seed, n_local_trials=trials
            )
            for rows in (X, X.toarray())
        )
        assert np.array_equal(one[1], other[1])
        assert np.array_equal(one[0], other[0])


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e150, 1e-160])
def test_seeds_of_extreme_rows(size):
    X = sp.random_array((80, 30), density=0.3, rng=np.random.default_rng(6), format="csr") * size
    with np.errstate(all="ignore"):
        one, other = (kmeans_plusplus(rows, 6, random_state=0)[1] for rows in (X, X.toarray()))
    assert np.array_equal(one, other)

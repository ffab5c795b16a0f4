"""Lloyd's algorithm against its plain twin."""

import exact_sums
import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp

from tilewise import KMeans
from tilewise.algorithms import lloyd
from tilewise.engine import Rows, column_stats


def both(X, centers, *, plan=None, max_iter=30, tol=0.0, weights=None):
    rows = Rows(X)
    plan = hostile.plan_for(rows, len(centers), n_threads=2) if plan is None else plan
    stats = column_stats(rows, plan)
    common = {"weights": weights, "max_iter": max_iter, "tol": tol}
    ours = lloyd(rows, np.array(centers, float), plan=plan, stats=stats, **common)
    twin = reference.lloyd(reference.Rows(X), np.array(centers, float), **common)
    return ours, twin


def assert_same(ours, twin, X, weights=None):
    """All digits of the centres but the last one or two; labels and inertia are exact for them."""
    assert ours.n_iter == twin.n_iter
    assert ours.centers.dtype == (np.float32 if X.dtype == np.float32 else np.float64)
    rtol = 2.0**-23 if X.dtype == np.float32 else 2.0**-51
    reach = np.abs(X).max(axis=0) * 2.0**-50
    assert (np.abs(ours.centers - twin.centers) <= rtol * np.abs(twin.centers) + reach).all()
    expected, least = reference.nearest(reference.Rows(X), ours.centers)
    assert np.array_equal(ours.labels, expected)
    assert ours.inertia == exact_sums.total(least, weights)


def data(seed, dtype=np.float64, n=1500, d=6, k=9):
    rng = np.random.RandomState(seed)
    X = (rng.standard_normal((n, d)) + 4 * rng.randint(0, 3, (n, 1))).astype(dtype)
    return X, X[rng.permutation(n)[:k]].astype(np.float64)


@pytest.mark.parametrize("max_iter", [1, 2, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_as_the_plain_twin(dtype, weighted, max_iter):
    for seed, d in enumerate((1, 2, 9, 24, 30, 100)):
        X, centers = data(seed, dtype, d=d)
        weights = None
        if weighted:
            rng = np.random.RandomState(seed)
            weights = rng.uniform(size=len(X)) * (rng.uniform(size=len(X)) < 0.8)
        assert_same(*both(X, centers, weights=weights, max_iter=max_iter), X, weights)


@pytest.mark.parametrize("tol", [1e-8, 1e-3, 0.1, 10.0])
def test_tolerance_is_absolute(tol):
    for seed in range(4):
        X, centers = data(seed)
        assert_same(*both(X, centers, tol=tol, max_iter=100), X)


def test_converged_runs_stay_where_they_are():
    X, centers = data(1)
    first, _ = both(X, centers, max_iter=300)
    again, _ = both(X, first.centers, max_iter=300)
    assert first.n_iter > 2
    assert again.n_iter <= 2
    assert np.array_equal(again.labels, first.labels)
    np.testing.assert_allclose(again.centers, first.centers, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_empty_clusters_get_the_farthest_rows(count, weighted):
    for seed in range(6):
        X, centers = data(seed)
        centers[np.random.RandomState(seed).permutation(9)[:count]] += 1e3
        weights = np.random.RandomState(seed).uniform(0.5, 2, len(X)) if weighted else None
        for max_iter in (1, 30):
            ours, twin = both(X, centers, weights=weights, max_iter=max_iter)
            assert_same(ours, twin, X, weights)
            assert len(np.unique(ours.labels)) == 9


def test_farthest_rows_may_have_no_weight():
    X, centers = data(3)
    centers[4] += 1e3
    weights = np.ones(len(X))
    gaps = reference.nearest(reference.Rows(X), centers)[1]
    weights[np.argsort(gaps)[-5:]] = 0.0
    assert_same(*both(X, centers, weights=weights, max_iter=1), X, weights)


def test_duplicates_leave_clusters_empty():
    X = np.repeat([[0.0, 1.0], [5.0, 2.0]], 700, axis=0)
    centers = np.array([[0.0, 1.0], [5.0, 2.0], [9.0, 9.0], [8.0, 8.0]])
    ours, twin = both(X, centers)
    assert_same(ours, twin, X)
    assert ours.inertia == 0.0


def test_negative_weights():
    for seed in range(4):
        X, centers = data(seed)
        rng = np.random.RandomState(seed)
        weights = rng.uniform(0.5, 2, len(X)) * np.where(rng.uniform(size=len(X)) < 0.1, -1, 1)
        assert_same(*both(X, centers, weights=weights, max_iter=6), X, weights)


@pytest.mark.parametrize("ratio", [1e3, 1e9, 1e15])
def test_weights_of_very_different_size(ratio):
    """A heavy row that is taken out of a sum leaves nothing to the light ones."""
    for seed in range(4):
        X, centers = data(seed)
        weights = ratio ** np.random.RandomState(seed).uniform(size=len(X))
        weights[:5] = ratio
        assert_same(*both(X, centers, weights=weights), X, weights)


@pytest.mark.parametrize("outlier", [1e5, 1e8, 1e12, 1e20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_outlier_does_not_blur_the_others(outlier, dtype):
    """The sums that the outlier leaves must be as good as if it had never been there."""
    X, centers = data(5, dtype)
    X[77] = outlier
    centers[0] = X[77]  # its cluster changes owner as the centres move
    centers[3] = outlier / 3
    ours, twin = both(X, centers)
    assert ours.n_iter == twin.n_iter
    assert np.array_equal(ours.labels, twin.labels)
    ordinary = np.delete(np.arange(9), ours.labels[77])
    room = {"rtol": 2.0**-51, "atol": 2.0**-53 * 9} if dtype == np.float64 else {"rtol": 2.0**-23}
    np.testing.assert_allclose(ours.centers[ordinary], twin.centers[ordinary], **room)


def test_far_from_the_origin():
    for offset in (1e4, 1e6, 1e8):
        X, centers = data(2)
        ours, twin = both(X + offset, centers + offset)
        near, _ = both(X, centers)
        assert ours.n_iter == twin.n_iter
        assert np.array_equal(ours.labels, twin.labels)
        np.testing.assert_allclose(ours.centers - offset, near.centers, atol=1e-15 * offset)


def test_sparse_columns_of_zeros_stay_zero():
    X = sp.random_array((2000, 40), density=0.1, rng=np.random.default_rng(0), format="csr")
    X = X.multiply(np.arange(40) % 3 > 0).tocsr()
    start = X[:12].toarray()
    ours, twin = both(X, start)
    assert (ours.centers[:, ::3] == 0).all()
    assert ours.n_iter == twin.n_iter
    np.testing.assert_allclose(ours.centers, twin.centers, rtol=1e-12, atol=1e-14)


def test_callbacks_see_every_iteration_and_can_stop():
    X, centers = data(0)
    seen, begun = [], []
    rows = Rows(X)

    def after(i, now, labels):
        seen.append((i, now.copy(), labels.copy()))
        return i == 3

    found = lloyd(
        rows,
        centers,
        plan=hostile.plan_for(rows, 9),
        on_iteration=after,
        on_iteration_begin=begun.append,
    )
    assert begun == [i for i, _, _ in seen] == [0, 1, 2, 3]
    assert found.n_iter == 4
    assert np.array_equal(found.centers, seen[-1][1])
    # Labels of an iteration are those of the centres that it began with.
    assert np.array_equal(seen[1][2], reference.assign(reference.Rows(X), seen[0][1]))


def test_start_is_not_written():
    X, centers = data(0)
    before = X.copy(), centers.copy()
    both(X, centers)
    assert np.array_equal(X, before[0])
    assert np.array_equal(centers, before[1])


def test_predict_repeats_the_labels():
    for dtype in (np.float32, np.float64):
        for seed in range(5):
            X = np.random.RandomState(seed).randint(0, 5, (2000, 3)).astype(dtype)
            model = KMeans(30, random_state=seed, max_iter=1 + seed).fit(X)
            assert np.array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centres_of_equal_rows_are_these_rows(dtype):
    """Also where all numbers of a column have the same power of two."""
    X = np.random.RandomState(0).uniform(1, 2, (6, 9)).astype(dtype)
    for repeats in (1, 3, 700):
        model = KMeans(6, init=X, n_init=1).fit(np.repeat(X, repeats, axis=0))
        assert np.array_equal(model.cluster_centers_, X)
        assert model.inertia_ == 0.0


@pytest.mark.parametrize("weights", [[1e-312] * 60, [1e300, 1e-312] * 30, [1.0, 5e-324] * 30])
def test_weights_at_the_ends_of_the_range(weights):
    X = np.random.RandomState(0).standard_normal((60, 2))
    weights = np.array(weights)
    found = KMeans(3, init=X[:3], n_init=1, tol=0).fit(X, sample_weight=weights)
    sums, heavy = exact_sums.cluster_sums(X, found.labels_, 3, weights)
    np.testing.assert_allclose(found.cluster_centers_, exact_sums.means(sums, heavy), rtol=1e-9)

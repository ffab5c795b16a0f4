"""k-means||: the same rows whatever the threads and parts, and starts as good as k-means++'s."""

import itertools

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from exact_sums import rounded, whole
from reference import folded, kmeans_parallel
from stream_data import ArraySource, clouds, streamed

from tilewise import KMeans, MiniBatchKMeans, algorithms, k_means
from tilewise.engine import (
    OversamplingPass,
    Rows,
    Scale,
    SeedingPass,
    assign_inertia,
    draws,
    hashed,
)
from tilewise.engine.oversampling import weight_digits, weights_of
from tilewise.kernels._sums import Bins
from tilewise.plan.oversampling import most_candidates


def start(X, k, weights=None, seed=0, **plan):
    """Rows to start from."""
    rows = X if hasattr(X, "backend") else Rows(X)
    return algorithms.kmeans_parallel(
        rows, k, weights=weights, random_state=np.random.RandomState(seed),
        plan=hostile.plan_for(rows, k, **plan),
    )  # fmt: skip


def places(X, points):
    """The first row that each point is."""
    return [int(np.flatnonzero((X == point).all(axis=1))[0]) for point in points]


# ---------------------------------------------------------------- draws


def test_hashes_are_those_of_splitmix64():
    # The first numbers of the reference implementation from the state 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert hashed(1234567, 0, 3).tolist() == expected


def test_draws_depend_on_key_and_number_alone():
    whole_range = draws(99, 0, 5000)
    parts = [draws(99, at, min(777, 5000 - at)) for at in range(0, 5000, 777)]
    assert np.array_equal(np.concatenate(parts), whole_range)
    assert not np.intersect1d(whole_range, draws(100, 0, 5000)).size
    assert draws(2**64 - 1, 2**40, 3).shape == (3,)


def test_draws_are_uniform():
    keys = [int(hashed(5, number, 1)[0]) for number in range(4)]
    found = np.array([draws(key, 10**9, 100_000) for key in keys])
    assert found.min() >= 0.0
    assert found.max() < 1.0
    # Five standard deviations, of numbers that are always the same.
    for row in found:
        counts = np.bincount((row * 100).astype(int), minlength=100)
        assert abs(((counts - 1000.0) ** 2 / 1000.0).sum() - 99) < 5 * np.sqrt(2 * 99)
    between = np.corrcoef(np.vstack([found, np.roll(found[0], 1)]))
    assert np.abs(between - np.eye(5)).max() < 5 / np.sqrt(100_000)


# ---------------------------------------------------------------- weights


def test_weights_of_candidates_are_exact():
    rng = np.random.RandomState(0)
    owner = rng.randint(0, 7, 70_000).astype(np.int32)
    weights = rng.uniform(size=70_000) * 2.0 ** -rng.randint(0, 90, 70_000)
    sums = weights_of(weight_digits(owner, weights, 8))
    for j in range(8):
        assert sums[j] == rounded(sum(whole(weight) for weight in weights[owner == j].tolist()))
    assert (
        weights_of(weight_digits(owner, None, 8)).tolist()
        == np.bincount(owner, minlength=8).tolist()
    )


# ---------------------------------------------------------------- the pass


def test_the_earliest_of_equal_candidates_is_the_closest():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    state = OversamplingPass(Rows(X), None, hostile.plan_for(Rows(X), 2))
    assert state.spread(X[[2]]) == 4 + 1 + 0 + 1
    # The second row lies between both, the last but one is given again.
    assert state.spread(X[[0, 2]]) == 0 + 1 + 0 + 1
    assert state.counts(3).tolist() == [3.0, 1.0, 0.0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_formula(dtype, weighted):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((900, 7)).astype(dtype)
    weights = rng.randint(0, 4, 900) * 0.3 if weighted else None
    w = np.ones(900) if weights is None else weights
    state = OversamplingPass(Rows(X), weights, hostile.plan_for(Rows(X), 5))
    potential = state.spread(X[:6])
    potential = state.spread(X[6:11])
    gaps = np.array([folded(X.astype(float) - point) for point in X[:11].astype(float)])
    assert potential == pytest.approx(w @ gaps.min(axis=0), rel=1e-14)
    assert state.counts(11).tolist() == pytest.approx(
        [w[gaps.argmin(axis=0) == j].sum() for j in range(11)]
    )
    found = state.draw(17, 20 / potential)
    assert 5 < len(found) < 40
    chances = 20 / potential * (w * gaps.min(axis=0))
    assert found.tolist() == np.flatnonzero(draws(17, 0, 900) < chances).tolist()


def test_parts_are_put_together_to_the_same_bits():
    X = clouds(5000, 6)
    weights = np.random.RandomState(1).uniform(0, 1e-30, len(X))
    rows = Rows(X)
    plan = hostile.plan_for(rows, 10)
    one = OversamplingPass(rows, weights, plan)
    exponent = -int(np.frexp(weights.max())[1])
    cuts = [0, 1, 1, 1700, 1703, 5000]
    parts = [
        OversamplingPass(Rows(X[a:b]), weights[a:b], plan, first=a, exponent=exponent)
        for a, b in itertools.pairwise(cuts)
    ]
    for points in (X[:3], X[50:100]):
        potential, total = one.spread(points), Bins(plan.isa)
        for part in parts[::-1]:
            total.merge(part.add(points))
        assert total.value == potential
        found = [part.draw(3, 20 / potential) for part in parts]
        assert np.concatenate(found).tolist() == one.draw(3, 20 / potential).tolist()
    digits = sum(part.digits(53) for part in parts)
    assert weights_of(digits).tolist() == one.counts(53).tolist()


def test_the_first_row_is_that_of_k_means_plusplus():
    X = blobs()
    for weights in (None, np.arange(len(X)) % 3 + 0.5):
        rows = Rows(X)
        plan = hostile.plan_for(rows, 4)
        first = [
            state.first(np.random.RandomState(7))
            for state in (
                OversamplingPass(rows, weights, plan),
                SeedingPass(rows, 4, weights, plan),
            )
        ]
        assert first[0] == first[1]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plain_twin_chooses_the_same(dtype, weighted):
    for seed in range(6):
        rng = np.random.RandomState(seed)
        X = blobs(400, 5, 10, seed=seed).astype(dtype)
        weights = rng.uniform(0.01, 3, len(X)) if weighted else None
        expected = kmeans_parallel(X, 12, weights, np.random.RandomState(seed))
        assert np.array_equal(start(X, 12, weights, seed=seed), expected)


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_how_it_is_computed(dtype, weighted, tmp_path):
    X = clouds(9000, 11, dtype)
    weights = np.random.RandomState(1).randint(0, 3, len(X)) * 0.7 if weighted else None
    expected = start(X, 40, weights).tobytes()
    for n_threads in (1, 2, 5):
        for chunk_size in ("auto", 96, 1024):
            ways = {"n_threads": n_threads, "chunk_size": chunk_size}
            assert start(X, 40, weights, **ways).tobytes() == expected
    assert start(X, 40, weights, engine="blas").tobytes() == expected
    assert start(np.asfortranarray(X), 40, weights).tobytes() == expected
    assert start(X[::-1].copy()[::-1], 40, weights).tobytes() == expected
    for kind in ({}, {"random_access": False}, {"buffer_rows": 384}, {"buffer_rows": 10**5}):
        assert start(streamed(X, **kind), 40, weights).tobytes() == expected
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fits = [
        KMeans(40, init="k-means||", init_size="all", max_iter=2, random_state=0, **how).fit(
            data, sample_weight=weights
        )
        for data, how in ((X, {}), (mapped, {"memory_limit": "9MB"}), (mapped, {}))
    ]
    assert len({model.cluster_centers_.tobytes() for model in fits}) == 1


@pytest.mark.parametrize("density", [0.01, 0.2, 0.7])
def test_sparse_rows_give_the_rows_of_dense_ones(density):
    rng = np.random.default_rng(1)
    X = sp.random_array((3000, 60), density=density, rng=rng, format="csr")
    assert np.array_equal(start(X, 20), start(X.toarray(), 20))
    found = []
    for rows in (Rows(X), Rows(X.toarray())):
        state = OversamplingPass(rows, None, hostile.plan_for(rows, 20))
        potentials = [state.spread(X[first::97].toarray()) for first in (0, 5)]
        drawn = state.draw(1, 40 / potentials[-1])
        found.append((potentials, drawn.tolist(), state.counts(62).tolist()))
    assert found[0] == found[1]


def test_blocks_of_rows_leave_no_seam(monkeypatch):
    X = clouds(3000, 4)
    expected = start(X, 10)
    monkeypatch.setattr("tilewise.engine.oversampling._BLOCK", 100)
    assert np.array_equal(start(X, 10), expected)


def test_other_seeds_give_other_rows():
    X = clouds(3000, 4)
    assert len({start(X, 10, seed=seed).tobytes() for seed in range(5)}) == 5
    models = [KMeans(10, init="k-means||", n_init=2, random_state=1).fit(X) for _ in range(2)]
    assert models[0].inertia_ == models[1].inertia_


# ---------------------------------------------------------------- the rows chosen


@pytest.mark.parametrize("kind", ["blobs", "one cloud", "outliers"])
@pytest.mark.parametrize("k", [10, 60])
def test_starts_are_about_as_good_as_those_of_k_means_plusplus(kind, k):
    rng = np.random.RandomState(0)
    X = blobs(20_000, 8, 60)
    if kind == "one cloud":
        X = rng.standard_normal((20_000, 8))
    if kind == "outliers":
        X[:20] += 1e3 * rng.standard_normal((20, 8))
    rows = Rows(X)
    plan = hostile.plan_for(rows, k)
    other = [
        X[algorithms.kmeans_plusplus(rows, k, random_state=np.random.RandomState(s), plan=plan)]
        for s in range(5)
    ]
    own = [start(X, k, seed=s) for s in range(5)]
    ours, theirs = (
        np.mean([assign_inertia(rows, points, None, plan)[1] for points in some])
        for some in (own, other)
    )
    assert ours < 1.1 * theirs


def test_rows_without_weight_are_never_chosen():
    X = np.random.RandomState(0).standard_normal((500, 3))
    X[:50] *= 100
    weights = np.r_[np.zeros(50), np.ones(450)]
    for seed in range(5):
        assert min(places(X, start(X, 30, weights, seed=seed))) >= 50


def test_a_power_of_two_of_the_weights_does_not_count():
    X = clouds(2000, 4)
    weights = np.random.RandomState(0).uniform(0.1, 1, len(X))
    expected = start(X, 12, weights)
    for exponent in (-100, -70, 20, 100):
        assert np.array_equal(start(X, 12, np.ldexp(weights, exponent)), expected)
    assert np.array_equal(start(X, 12, np.full(len(X), 0.25)), start(X, 12, np.ones(len(X))))


def test_a_heavy_row_is_chosen_like_many():
    """A weight counts like repeated rows, though these are drawn by numbers of their own."""
    X = np.random.RandomState(0).standard_normal((400, 2))
    weights = np.ones(400)
    weights[7] = 1e6
    for seed in range(5):
        assert 7 in places(X, start(X, 20, weights, seed=seed))


# ---------------------------------------------------------------- hostile data


def distinct(X, k, **how):
    """How many of the rows chosen differ."""
    return len(np.unique(start(np.asarray(X, dtype=float), k, **how), axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_as_many_rows_differ_as_can(seed):
    rng = np.random.RandomState(seed)
    assert distinct(rng.standard_normal((60, 3)), 60, seed=seed) == 60
    assert distinct(rng.permutation(np.repeat(np.arange(9.0), 300))[:, None], 9, seed=seed) == 9
    assert distinct(rng.permutation(np.repeat(np.arange(5.0), 300))[:, None], 9, seed=seed) == 5
    # Two rows of many.
    assert distinct(np.r_[np.zeros((999, 2)), [[1, 2]]], 2, seed=seed) == 2
    assert distinct(np.zeros((30, 2)), 4, seed=seed) == 1
    assert distinct([[3.0, 4.0]], 1, seed=seed) == 1
    # Each round finds the largest few of those that are left.
    assert distinct(4.0 ** np.arange(24)[:, None], 24, seed=seed) == 24
    assert distinct(np.c_[rng.standard_normal(300), np.zeros(300)], 300, seed=seed) == 300


def test_weights_of_a_few_rows():
    X = np.arange(40.0)[:, None]
    weights = np.zeros(40)
    weights[[3, 20, 31]] = 0.5
    assert sorted(start(X, 3, weights)[:, 0]) == [3, 20, 31]
    # All that can be drawn lies on a candidate: like k-means++, it gives rows again.
    assert set(start(X, 5, weights)[:, 0]) == {3, 20, 31}


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e150, 1e300])
def test_huge_and_tiny_values(size):
    X = blobs(300)
    plain = KMeans(6, init="k-means||", random_state=0).fit(X)
    with np.errstate(over="ignore"):
        exponent = int(np.frexp(size)[1])
    far = np.ldexp(X, exponent)
    with pytest.warns(RuntimeWarning) if size == 1e300 else np.errstate():
        found = KMeans(6, init="k-means||", random_state=0).fit(far)
    assert np.array_equal(found.labels_, plain.labels_)
    assert bool(Scale.of(np.abs(far).max())) == (size != 1.0 and not 1e-120 < size < 1e144)


def test_potentials_too_small_to_draw_by():
    # The rows that are left differ by less than a quotient of the potential can tell.
    X = np.array([[1.0], [1e-160], [2e-160], [3e-160]])
    found = start(X, 4)
    assert found.shape == (4, 1)
    assert 1.0 in found


def test_values_that_are_not_finite_are_named():
    X = blobs()
    X[17, 2] = np.nan
    for Estimator in (KMeans, MiniBatchKMeans):
        with pytest.raises(ValueError, match="NaN: the first is at row 17, column 2"):
            Estimator(2, init="k-means||", random_state=0, init_size=len(X)).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2, init="k-means||", init_size="all").fit(ArraySource(X))
    with pytest.raises(ValueError, match="NaN: the first is at row 17, column 2"):
        start(X, 3)


def test_squares_that_overflow_are_refused_where_nothing_scales_them():
    with pytest.raises(ValueError, match=r"Multiply all data by 2\.0\*\*"):
        start(blobs() * 1e200, 3)


# ---------------------------------------------------------------- the estimators


def test_every_estimator_takes_it():
    X = blobs(2000, 5, 8)
    least = KMeans(8, random_state=0, n_init=5).fit(X).inertia_
    assert KMeans(8, init="k-means||", random_state=0).fit(X).inertia_ < 1.5 * least
    assert k_means(X, 8, init="k-means||", random_state=0)[2] < 1.5 * least
    assert MiniBatchKMeans(8, init="k-means||", random_state=0).fit(X).inertia_ < 1.6 * least
    sampled = KMeans(8, init="k-means||", random_state=0, init_size=500).fit(ArraySource(X))
    assert sampled.inertia_ < 1.5 * least
    with pytest.raises(ValueError, match=r"'k-means\+\+', 'k-means\|\|'|'k-means\|\|'"):
        KMeans(8, init="k-means|").fit(X)


def test_memory_is_planned_for_more_candidates_than_are_drawn():
    X = Rows(clouds(4000, 3))
    drawn = []

    class Counting(OversamplingPass):
        def spread(self, points):
            drawn[-1] += len(points)
            return super().spread(points)

    from tilewise.engine import Cpu

    original, Cpu.open_oversampling = Cpu.open_oversampling, lambda self, *how: Counting(*how)
    try:
        for seed in range(30):
            drawn.append(0)
            start(X, 10, seed=seed)
    finally:
        Cpu.open_oversampling = original
    assert 60 < np.mean(drawn) < 102
    assert max(drawn) < most_candidates(10)

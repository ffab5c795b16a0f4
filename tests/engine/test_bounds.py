"""Passes that skip rows, sums that rows come to and leave exactly, and numbers that never vary."""

import exact_sums
import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from stream_data import streamed

from tilewise import engine
from tilewise.engine import Pass, Rows

SIZES = {np.float32: (1.0, 1e-30, 1e15, 1e-37), np.float64: (1.0, 1e-150, 1e150, 1e-300, 1e35)}
CASES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "size"), CASES)
def test_rows_that_are_skipped_keep_the_right_label(dtype, size, weighted):
    scored = total = 0
    ways = [(*way, None, False) for way in hostile.WAYS]
    ways += [(isa, "fused", "float32", products, False) for isa, products in hostile.SPLITS]
    ways += [(isa, "fused", "float32", None, True) for isa in hostile.ISAS]
    for seed, (isa, name, score, products, look) in enumerate(ways):
        rng = np.random.RandomState(seed)
        n, d = int(rng.randint(1, 5000)), int(rng.choice([1, 2, 3, 8, 24, 25, 40, 97, 130]))
        k = int(rng.choice([1, 2, 3, 16, 33, 64, 100]))
        X = rng.standard_normal((n, d))
        X[: n // 2] += 8 * rng.standard_normal(d)
        X = (X * size).astype(dtype)
        rows = Rows(X)
        weights = rng.uniform(0, 3, n) * (rng.uniform(size=n) < 0.9) if weighted else None
        sizes = {"n_threads": 1 + seed % 3, "products": products, "look": look}
        plan = hostile.plan_for(rows, k, isa, name, score, **sizes)
        skipping = Pass(rows, k, plan, bounds=True, sums=True, weights=weights)
        start = X[rng.randint(n, size=k)].astype(np.float64)
        for i, centers in enumerate(hostile.moving(rng, X, start, 8, mover=4)):
            # Another object, without a memory of the passes before.
            fresh = Pass(rows, k, plan, sums=True, weights=weights)
            before = skipping.labels.copy()
            fresh.assign_and_sum(centers)
            assert skipping.assign_and_sum(centers) == np.count_nonzero(before != fresh.labels)
            assert np.array_equal(skipping.labels, fresh.labels)
            if i in (0, 7) and n * d * k < 3e6:
                with np.errstate(all="ignore"):
                    expected = reference.assign(reference.Rows(X), centers)
                assert np.array_equal(skipping.labels, expected)
            scored, total = scored + skipping.scored, total + n
            exact_sums.assert_same(skipping.sums, fresh.sums)
    # Where float32 bounds can hold the distances they must also save work.
    if 1e-30 <= size <= 1e15:
        assert scored < 0.9 * total


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("look", [False, True])
def test_bounds_hold(dtype, offset, size, look):
    """The kept bounds lie on the right side of distances in more digits, and near them."""
    for seed, isa in enumerate(hostile.ISAS):
        rng = np.random.RandomState(seed)
        n, d, k = 500, int(rng.choice([25, 40, 97, 130])), int(rng.choice([48, 64, 100]))
        X = ((rng.standard_normal((n, d)) + offset) * size).astype(dtype)
        rows = Rows(X)
        plan = hostile.plan_for(rows, k, isa, n_threads=2, look=look, groups=look)
        run = Pass(rows, k, plan, bounds=True, sums=True)
        # Centres that float32 does not hold.
        centers = X[rng.randint(n, size=k)] * (1 + 1e-9 * rng.standard_normal((k, d)))
        measured = 0
        for _ in range(6):
            run.assign_and_sum(np.ascontiguousarray(centers, dtype=np.float64))
            upper, lower = run._bounds
            gaps = X[:, None, :].astype(np.longdouble) - centers[None]
            true = np.sqrt((gaps * gaps).sum(axis=2))
            own = true[np.arange(n), run.labels].copy()
            true[np.arange(n), run.labels] = np.inf
            assert (upper >= own * (1 + 5e-7)).all()
            assert (lower <= true.min(axis=1) * (1 - 5e-7)).all()
            measured += np.count_nonzero(upper < own * (1 + 1e-4) + offset * size * 1e-5)
            centers = centers + rng.standard_normal((k, d)) * 1e-3 * size
        assert measured > n


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_and_averages_are_exact(weighted):
    """Those of whole numbers, rounded once, for every way to run a pass."""
    rng = np.random.RandomState(0)
    for d in (1, 7, 24, 40):
        X = (rng.standard_normal((600, d)) * 10.0 ** rng.uniform(-3, 3, d)).astype(np.float32)
        X[:, 0] += 1000
        weights = rng.uniform(0, 3, 600) * (rng.uniform(size=600) < 0.9) if weighted else None
        if weighted:
            weights[::50] *= -1e-3
        centers = X[:9].astype(np.float64)
        found = set()
        for _, rows, plan in hostile.plans(X, 9, n_threads=2):
            run = Pass(rows, 9, plan, sums=True, weights=weights)
            run.assign_and_sum(centers)
            means = np.empty_like(centers)
            moved = run.average(means)
            sums = run.sums.values.tobytes(), run.sums.weights.tobytes()
            found.add((*sums, means.tobytes(), moved))
        assert len(found) == 1
        grid = run.sums.grid
        numbers, heavy = exact_sums.cluster_sums(X, run.labels, 9, weights, grid)
        assert np.array_equal(run.sums.values, exact_sums.floats(numbers))
        assert np.array_equal(run.sums.weights, exact_sums.floats(heavy))
        np.testing.assert_array_max_ulp(means, exact_sums.means(numbers, heavy), 1)
        np.testing.assert_allclose(moved, np.square(means - centers).sum(), rtol=1e-13)
        # What the grid rounds is less than a unit of the last place of the largest value.
        exact, _ = exact_sums.cluster_sums(X, run.labels, 9, weights)
        heaviest = np.abs(weights).max() if weighted else 1.0
        room = 600 * 2.0**-51 * np.abs(X.astype(np.float64)).max(axis=0) * heaviest
        assert (np.abs(exact_sums.floats(numbers - exact)) <= room).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_have_no_order(dtype, weighted):
    """Shuffled rows, any partition, threads, instruction sets and layouts: one set of bits."""
    rng = np.random.RandomState(1)
    n, d, k = 4000, 29, 11
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-6, 6, d) + rng.uniform(-9, 9, d)
    X = (X * (rng.uniform(size=(n, d)) < 0.6)).astype(dtype)
    X[77, 5] = 1e15
    weights = rng.uniform(0, 2, n) if weighted else None
    centers, found = X[:k].astype(np.float64), set()
    own = set()
    for isa in hostile.ISAS:
        for n_threads in (1, 2, 3, 8):
            order = rng.permutation(n)
            some, heavy = X[order], None if weights is None else weights[order]
            parts = {"buffer_rows": 384 * rng.randint(1, 5), "piece_rows": 384}
            for rows in (
                Rows(some), Rows(np.asfortranarray(some)), Rows(sp.csr_array(some)),
                streamed(some, **parts), streamed(some, **parts, random_access=False),
            ):  # fmt: skip
                plan = hostile.plan_for(rows.window, k, isa, n_threads=n_threads)
                run = Pass(rows, k, plan, sums=True, weights=heavy, bounds=True)
                means, after = np.empty_like(centers), np.empty_like(centers)
                run.assign_and_sum(centers)
                first = run.average(means)
                run.assign_and_sum(means)
                second = run.average(after)
                labels = np.empty(n, np.int32)
                labels[order] = run.labels
                found.add((labels.tobytes(), means.tobytes(), first, after.tobytes(), second))
                own.add(run.inertia(means))
    assert len(found) == len(own) == 1
    gaps = np.empty(n)
    rows = Rows(X)
    plan = hostile.plan_for(rows, k)
    labels = engine.assign(rows, means, plan)
    engine.own_distances(rows, means, labels, None, plan, out=gaps)
    assert own == {exact_sums.total(gaps, weights)}


def test_a_bad_row_is_found_in_any_pass_and_leaves_the_next_run_right():
    X = np.random.RandomState(0).standard_normal((1000, 5))
    centers = X[:8].copy()
    rows = Rows(X)
    plan = hostile.plan_for(rows, 8)
    run = Pass(rows, 8, plan, bounds=True, sums=True)
    X[900, 2] = np.nan
    with pytest.raises(ValueError, match="row 900, column 2"):
        run.assign_and_sum(centers)
    X[900, 2] = 0.5
    assert np.array_equal(
        engine.assign(rows, centers, plan), reference.assign(reference.Rows(X), centers)
    )


def test_passes_that_only_assign_leave_the_sums():
    X = np.random.RandomState(0).standard_normal((1000, 5))
    rows = Rows(X)
    run = Pass(rows, 8, hostile.plan_for(rows, 8), bounds=True, sums=True)
    run.assign_and_sum(X[:8].copy())
    before = run.sums.values.tobytes(), run.sums.weights.tobytes()
    total = run.assign_and_measure(X[8:16].copy())
    assert (run.sums.values.tobytes(), run.sums.weights.tobytes()) == before
    labels, least = reference.nearest(reference.Rows(X), X[8:16])
    assert np.array_equal(run.labels, labels)
    assert total == exact_sums.total(least)


@pytest.mark.parametrize("where", ["memory", "parts"])
def test_relocated_rows_count_elsewhere_for_once(where):
    rng = np.random.RandomState(3)
    X = rng.standard_normal((2000, 6))
    weights = rng.uniform(0.5, 2, 2000)
    rows = Rows(X) if where == "memory" else streamed(X)
    centers = X[:7].copy()
    centers[[2, 5]] = 1e3
    run = Pass(rows, 7, hostile.plan_for(rows.window, 7), sums=True, weights=weights)
    run.assign_and_sum(centers)
    before = run.sums.values.tobytes(), run.sums.weights.tobytes(), run.sums.members.tobytes()
    out = np.full((7, 6), 9.0)
    assert run.average(out) is None
    assert (out == 9.0).all()
    run.average(out, [(40, 2), (50, 5)])
    labels = run.labels.copy()
    labels[[40, 50]] = 2, 5
    expected = exact_sums.means(*exact_sums.cluster_sums(X, labels, 7, weights))
    np.testing.assert_array_max_ulp(out, expected, 1)
    after = run.sums.values.tobytes(), run.sums.weights.tobytes(), run.sums.members.tobytes()
    assert after == before
    # One is still empty: it takes the mean of the heaviest cluster.
    run.average(out, [(40, 2)])
    assert np.array_equal(out[5], out[np.argmax(np.bincount(run.labels, weights, 7))])


def test_labels_are_written_where_asked():
    X = np.random.RandomState(0).standard_normal((1000, 5))
    rows = Rows(X)
    labels = np.full(1000, 77, dtype=np.int32)
    assert engine.assign(rows, X[:8], hostile.plan_for(rows, 8), labels=labels) is labels
    assert np.array_equal(labels, reference.assign(reference.Rows(X), X[:8]))


# ---------------------------------------------------------------- bits


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_distances_have_the_bits_of_the_plain_twin(name, dtype):
    rng = np.random.RandomState(7)
    for n, d, k in hostile.shapes(7, most=200_000):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        with np.errstate(all="ignore"):
            plain = reference.Rows(X)
            labels, least = reference.nearest(plain, centers)
            wanted = [reference.distances(plain, centers, squared=s) for s in (False, True)]
        for isa in hostile.ISAS:
            rows = Rows(X)
            plan = hostile.plan_for(rows, k, isa, n_threads=2)
            with np.errstate(all="ignore"):
                for squared, expected in enumerate(wanted):
                    found = engine.distances(rows, centers, plan, squared=bool(squared))
                    assert found.dtype == dtype
                    assert found.tobytes() == expected.tobytes()
            own = np.empty(n)
            engine.own_distances(rows, centers, labels, None, plan, out=own)
            assert own.tobytes() == least.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_and_inertia_never_vary(dtype):
    rng = np.random.RandomState(0)
    for d in (1, 3, 8, 33, 130):
        X = (rng.standard_normal((5000, d)) + 1000).astype(dtype)
        centers, weights = X[:7].astype(np.float64), rng.uniform(size=len(X))
        results = set()
        for isa in hostile.ISAS:
            for n_threads in (1, 2, 3, 8):
                order = rng.permutation(len(X))
                for kind in (np.array, np.asfortranarray):
                    rows = Rows(kind(X[order]))
                    plan = hostile.plan_for(rows, 7, isa, n_threads=n_threads)
                    stats = engine.column_stats(rows, plan)
                    found, inertia = engine.assign_inertia(rows, centers, weights[order], plan)
                    labels = np.empty(len(X), np.int32)
                    labels[order] = found
                    results.add(
                        (
                            stats.mean.tobytes(), stats.variance.tobytes(), stats.least.tobytes(),
                            stats.largest.tobytes(), labels.tobytes(), inertia,
                        )
                    )  # fmt: skip
        assert len(results) == 1
        mean, variance = exact_sums.moments(X)
        np.testing.assert_array_max_ulp(stats.mean, mean, 1)
        np.testing.assert_array_max_ulp(stats.variance, variance, 2)
        assert np.array_equal(stats.largest, np.abs(X).max(axis=0))
        assert np.array_equal(stats.least, np.abs(X).min(axis=0))
        least = reference.nearest(reference.Rows(X), centers)[1]
        assert inertia == exact_sums.total(least, weights)


def test_no_rows():
    for dtype in (np.float32, np.float64):
        for _, rows, plan in hostile.plans(np.empty((0, 4), dtype), 3):
            assert engine.assign(rows, np.zeros((3, 4)), plan).shape == (0,)
            assert engine.distances(rows, np.zeros((3, 4)), plan).shape == (0, 3)
            assert engine.assign_inertia(rows, np.zeros((3, 4)), None, plan)[1] == 0.0

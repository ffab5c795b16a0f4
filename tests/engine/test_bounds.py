"""Passes that skip rows, sums that keep what did not change, and numbers that never vary."""

import hostile
import numpy as np
import pytest
import reference

from tilewise import engine
from tilewise.engine import Pass, Rows


def moving(rng, X, centers, passes, mover=None):
    """Yield centres that jump, creep, stand still and, with `mover`, fly away one by one."""
    reach = np.abs(X).max() + np.finfo(np.float64).tiny
    for i in range(passes):
        yield centers
        step = rng.standard_normal(centers.shape) * reach * 10.0 ** -rng.randint(1, 9)
        step *= rng.uniform(size=(len(centers), 1)) < rng.choice([0.0, 0.2, 1.0])
        centers = centers + step
        if mover is not None and i == mover:
            # Where all centres are that far away, large rows have no closest one.
            centers[rng.randint(len(centers))] *= 1e3 if len(centers) > 1 else 1.0


SIZES = {np.float32: (1.0, 1e-30, 1e15, 1e-37), np.float64: (1.0, 1e-150, 1e150, 1e-300, 1e35)}
CASES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "size"), CASES)
def test_rows_that_are_skipped_keep_the_right_label(dtype, size, weighted):
    scored = total = 0
    ways = [(*way, None) for way in hostile.WAYS]
    ways += [(isa, "fused", "float32", products) for isa, products in hostile.SPLITS]
    for seed, (isa, name, score, products) in enumerate(ways):
        rng = np.random.RandomState(seed)
        n, d = int(rng.randint(1, 5000)), int(rng.choice([1, 2, 3, 8, 24, 25, 40, 97, 130]))
        k = int(rng.choice([1, 2, 3, 16, 33, 64, 100]))
        X = rng.standard_normal((n, d))
        X[: n // 2] += 8 * rng.standard_normal(d)
        X = (X * size).astype(dtype)
        rows = Rows(X)
        weights = rng.uniform(0, 3, n) * (rng.uniform(size=n) < 0.9) if weighted else None
        sizes = {"n_threads": 1 + seed % 3, "products": products}
        plan = hostile.plan_for(rows, k, isa, name, score, **sizes)
        shift = X.mean(axis=0, dtype=np.float64)
        common = {"update": True, "weights": weights, "shift": shift}
        skipping = Pass(rows, k, plan, bounds=True, **common)
        fresh = Pass(rows, k, plan, bounds=False, incremental=False, **common)
        start = X[rng.randint(n, size=k)].astype(np.float64)
        for i, centers in enumerate(moving(rng, X, start, 8, mover=4)):
            assert skipping.run(centers) == fresh.run(centers)
            assert np.array_equal(skipping.labels, fresh.labels)
            if i in (0, 7) and n * d * k < 3e6:
                with np.errstate(all="ignore"):
                    expected = reference.assign(reference.Rows(X), centers)
                assert np.array_equal(skipping.labels, expected)
            scored, total = scored + skipping.scored, total + n
            assert np.array_equal(skipping.members, fresh.members)
            np.testing.assert_allclose(
                skipping.weight_sums, fresh.weight_sums, rtol=1e-13, atol=1e-12 * n
            )
            largest = np.abs(X - shift).max(axis=0) * n
            assert (np.abs(skipping.sums - fresh.sums) <= 1e-13 * largest).all()
    # Where float32 bounds can hold the distances they must also save work.
    if 1e-30 <= size <= 1e15:
        assert scored < 0.9 * total


def test_sums_are_those_of_the_plain_twin():
    rng = np.random.RandomState(0)
    for d in (1, 7, 24, 40, 130):
        X = rng.standard_normal((3000, d)).astype(np.float32) + 1000
        weights = rng.uniform(-1, 3, 3000)
        shift = X.mean(axis=0, dtype=np.float64)
        centers = X[:9].astype(np.float64)
        for _, rows, plan in hostile.plans(X, 9, n_threads=2):
            run = Pass(rows, 9, plan, update=True, weights=weights, shift=shift)
            run.assign_and_sum(centers)
            for j in range(9):
                own = run.labels == j
                np.testing.assert_allclose(
                    run.sums[j], weights[own] @ (X[own] - shift), rtol=1e-9, atol=1e-9
                )
                assert run.members[j] == own.sum()
                np.testing.assert_allclose(run.weight_sums[j], weights[own].sum(), rtol=1e-10)


def test_a_bad_row_is_found_in_any_pass_and_leaves_the_next_run_right():
    X = np.random.RandomState(0).standard_normal((1000, 5))
    centers = X[:8].copy()
    rows = Rows(X)
    plan = hostile.plan_for(rows, 8)
    X[900, 2] = np.nan
    run = Pass(rows, 8, plan, bounds=True, update=True)
    with pytest.raises(ValueError, match="row 900, column 2"):
        run.assign_and_sum(centers)
    X[900, 2] = 0.5
    assert np.array_equal(
        engine.assign(rows, centers, plan), reference.assign(reference.Rows(X), centers)
    )


def test_finish_leaves_the_sums():
    X = np.random.RandomState(0).standard_normal((1000, 5))
    rows = Rows(X)
    run = Pass(rows, 8, hostile.plan_for(rows, 8), bounds=True, update=True)
    run.assign_and_sum(X[:8].copy())
    before = run.sums.copy(), run.weight_sums.copy()
    run.finish(X[8:16].copy())
    assert np.array_equal(run.sums, before[0])
    assert np.array_equal(run.weight_sums, before[1])
    assert np.array_equal(run.labels, reference.assign(reference.Rows(X), X[8:16]))


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
        X = (rng.standard_normal((11_000, d)) + 1000).astype(dtype)
        centers, weights = X[:7].astype(np.float64), rng.uniform(size=len(X))
        results = set()
        for isa in hostile.ISAS:
            for n_threads in (1, 2, 3, 8):
                for variant in (X, np.asfortranarray(X)):
                    rows = Rows(variant)
                    plan = hostile.plan_for(rows, 7, isa, n_threads=n_threads)
                    stats = engine.column_stats(rows, plan)
                    labels, inertia = engine.assign_inertia(rows, centers, weights, plan)
                    results.add(
                        (
                            stats.mean.tobytes(), stats.variance.tobytes(),
                            stats.largest.tobytes(), labels.tobytes(), inertia,
                        )
                    )  # fmt: skip
        assert len(results) == 1
        wide = X.astype(np.longdouble)
        np.testing.assert_allclose(stats.mean, wide.mean(axis=0), rtol=1e-15 * 8)
        np.testing.assert_allclose(stats.variance, wide.var(axis=0), rtol=1e-11)
        assert np.array_equal(stats.largest, np.abs(X).max(axis=0))
        expected = (reference.nearest(reference.Rows(X), centers)[1] * weights).sum()
        np.testing.assert_allclose(inertia, expected, rtol=1e-12)


def test_no_rows():
    for dtype in (np.float32, np.float64):
        for _, rows, plan in hostile.plans(np.empty((0, 4), dtype), 3):
            assert engine.assign(rows, np.zeros((3, 4)), plan).shape == (0,)
            assert engine.distances(rows, np.zeros((3, 4)), plan).shape == (0, 3)
            assert engine.assign_inertia(rows, np.zeros((3, 4)), None, plan)[1] == 0.0

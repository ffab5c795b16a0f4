"""Draws of mini-batches, and steps against a plain twin."""

from fractions import Fraction

import exact_sums
import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.algorithms import (
    MiniBatchState,
    kmeans_plusplus,
    minibatch,
    minibatch_step,
)
from tilewise.engine import (
    BatchPass,
    DrawnBatches,
    Draws,
    Rows,
    argkmin,
    assign,
    column_stats,
    distances,
    own_distances,
)
from tilewise.kernels._minibatch import Update
from tilewise.plan import plan as make_plan

# Draws ------------------------------------------------------------------------------------------


def drawn(n, size, weights, dtype, seed):
    """What tilewise and NumPy draw from equal generators, and whether these stay equal."""
    rows = Rows(np.zeros((n, 1), dtype))
    ours, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
    ids = np.empty(size, np.int64)
    Draws(rows, weights).draw(ours.random_sample(size), ids)
    w = np.ones(n, dtype) if weights is None else weights.astype(dtype)
    expected = theirs.choice(n, size, p=w / w.sum(), replace=True)
    assert ours.random_sample() == theirs.random_sample()
    return ids, expected


@settings(max_examples=150, deadline=None)
@given(
    n=st.one_of(st.integers(1, 40), st.integers(1000, 200_000)),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["none", "uniform", "few", "wide", "equal", "last zero"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_draws_are_those_of_choice(n, seed, kind, dtype):
    rng = np.random.RandomState(seed)
    weights = {
        "none": lambda: None,
        "uniform": lambda: rng.uniform(0, 1, n) + 1e-9,
        "few": lambda: np.where(rng.uniform(size=n) < 3 / n, 1.0, 0.0),
        "wide": lambda: 10.0 ** rng.uniform(-30, 3, n),
        "equal": lambda: np.full(n, 0.3),
        "last zero": lambda: np.r_[np.ones(max(1, n // 2)), np.zeros(n - max(1, n // 2))],
    }[kind]()
    if weights is not None and not weights.any():
        weights[rng.randint(n)] = 2.0
    ids, expected = drawn(n, 3000, weights, dtype, seed)
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65536, 65537, 100_003])
def test_draws_at_the_limits_between_rows(n, weighted):
    """Uniform numbers beside every kind of limit, where rounding decides."""
    rows = Rows(np.zeros((n, 1)))
    weights = np.ones(n) if weighted else None
    sums = np.full(n, 1.0 / n).cumsum()
    sums /= sums[-1]
    near = np.r_[sums, np.arange(n) / n]
    uniform = np.r_[0.0, near, np.nextafter(near, 0), np.nextafter(near, 1)]
    uniform = uniform[uniform < 1]
    ids = np.empty(len(uniform), np.int64)
    Draws(rows, weights).draw(uniform, ids)
    np.testing.assert_array_equal(ids, sums.searchsorted(uniform, side="right"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0, -1.0, 3.0], "non-negative"), ([1.0, -1.0, 0.0], "NaN"), ([1e308] * 3, "sum to 1")],
)
def test_weights_that_are_no_probabilities(weights, message):
    with pytest.raises(ValueError, match=message):
        Draws(Rows(np.zeros((3, 1))), np.array(weights))


def test_weights_of_one_sign_are_probabilities():
    weights = -np.arange(1.0, 100.0)
    ids, expected = drawn(99, 500, weights, np.float64, 0)
    np.testing.assert_array_equal(ids, expected)


# Picked rows ------------------------------------------------------------------------------------


def layouts(X):
    yield "plain", X
    yield "fortran", np.asfortranarray(X)
    yield "strided", np.repeat(X, 2, axis=1)[::-1, ::2]
    yield "swapped", X.astype(X.dtype.newbyteorder("S"))
    yield "half", X.astype(np.float16)
    yield "csr", sp.csr_array(np.where(np.abs(X) < 1, 0, X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [3, 41])
def test_picked_rows_are_the_rows_taken(d, dtype):
    X = np.random.RandomState(0).standard_normal((3000, d)).astype(dtype)
    ids = np.random.RandomState(1).randint(0, 3000, 1700).astype(np.int64)
    centers = X[:30].astype(np.float64)
    for name, values in layouts(X):
        rows = Rows(values)
        picked, taken = rows.picked(ids), Rows(rows.take(ids))
        assert (picked.n_rows, picked.n_features) == (1700, d), name
        order = np.array([5, 0, 5, 1699])
        np.testing.assert_array_equal(picked.take(order), taken.take(order))
        found = []
        for some in (picked, taken):
            plan = hostile.plan_for(some, 30, n_threads=2, chunk_size=100)
            labels = assign(some, centers, plan)
            gaps = np.empty(1700)
            total = own_distances(some, centers, labels, None, plan, out=gaps)
            found.append([labels, gaps, total])
            if not some.is_sparse and name != "csr":
                stats = column_stats(some, plan)
                found[-1] += [stats.mean, stats.variance]
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_picks_may_change_and_are_not_copied():
    X = np.arange(20.0).reshape(10, 2)
    ids = np.array([3, 3, 1])
    picked = Rows(X).picked(ids)
    np.testing.assert_array_equal(picked.take([0, 1, 2]), X[[3, 3, 1]])
    ids[:] = [9, 0, 2]
    np.testing.assert_array_equal(picked.take([0, 1, 2]), X[[9, 0, 2]])
    X[4, 1] = np.nan
    ids[:] = [1, 4, 4]
    assert picked.locate_nonfinite() == (4, 1, "NaN")


def test_what_cannot_be_picked():
    rows = Rows(np.zeros((5, 2)))
    for bad in ([-1], [5]):
        with pytest.raises(IndexError, match=r"\[0, 5\)"):
            rows.picked(np.array(bad))
    picked = rows.picked(np.array([1]))
    with pytest.raises(ValueError, match="once"):
        picked.picked(np.array([0]))
    with pytest.raises(ValueError, match="another type"):
        Rows(picked, dtype=np.float64)
    assert rows.picked(np.zeros(0, np.int64)).n_rows == 0


def test_what_picked_rows_are_not_for():
    dense, thin = Rows(np.ones((5, 2))), Rows(sp.csr_array(np.eye(5)))
    for rows in (dense, thin):
        picked = rows.picked(np.array([1, 4]))
        plan = hostile.plan_for(rows, 2)
        with pytest.raises(ValueError, match="picked rows"):
            distances(picked, np.ones((2, rows.n_features)), plan)
        with pytest.raises(ValueError, match="picked rows"):
            kmeans_plusplus(picked, 2, random_state=np.random.RandomState(0), plan=plan)
        with pytest.raises(ValueError, match="picked rows"):
            argkmin(picked, rows, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.02, 0.2])
def test_steps_of_thin_rows_are_those_of_dense_ones(density, dtype):
    """CSR rows are scored by their stored entries then, chunks of unequal length."""
    X = sp.random(2000, 300, density, format="lil", random_state=0, dtype=dtype)
    X[7] = 1
    rows, dense = Rows(sp.csr_array(X)), Rows(X.toarray())
    rng = np.random.RandomState(1)
    for n_threads, chunk_size in [(1, "auto"), (2, 100)]:
        ids = rng.randint(0, 2000, 900).astype(np.int64)
        ids[::5] = 7
        centers = X[:50].toarray().astype(np.float64)
        found = []
        for some in (rows, dense):
            thin = some.density if some is rows else None
            p = make_plan(
                900, 300, 50, dtype, n_threads=n_threads, chunk_size=chunk_size, density=thin
            )
            assert (p.layout == "csr") == (some is rows)
            batch = BatchPass(some, 50, p, ids=ids)
            moved, counts = np.empty_like(centers), np.ones(50)
            found.append((batch.step(centers, moved, counts), moved, batch.labels, counts))
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


# Steps ------------------------------------------------------------------------------------------


def plain_step(X, centers, counts, weights):
    """Centres, counts and inertia after one batch: sums of fractions, rounded once."""
    new, counts = centers.copy(), counts.copy()
    distances = reference.canonical(X, centers)
    labels = distances.argmin(axis=1)
    sums, heavy = exact_sums.cluster_sums(X, labels, len(centers), weights)
    for j in range(len(centers)):
        total = exact_sums.rounded(heavy[j])
        if total > 0:
            before, counts[j] = exact_sums.whole(counts[j]), counts[j] + total
            for column in range(X.shape[1]):
                stood = Fraction(centers[j, column]) * before
                new[j, column] = float((stood + sums[j, column]) / (before + heavy[j]))
    return new, counts, labels, exact_sums.total(distances.min(axis=1), weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_steps_are_those_of_the_plain_twin(dtype, sparse):
    for n, d, k in [(700, 1, 3), (900, 16, 16), (500, 41, 30), (300, 130, 7), (50, 5, 40)]:
        rng = np.random.RandomState(n)
        X = (rng.standard_normal((n, d)) + 4 * rng.randint(0, 3, (n, 1))).astype(dtype)
        X[rng.uniform(size=X.shape) < 0.3] = 0
        rows = Rows(sp.csr_array(X) if sparse else X)
        centers = X[:k].astype(np.float64)
        counts = np.where(np.arange(k) % 2, 0.0, rng.uniform(1, 90, k))
        ids = rng.randint(0, n, n // 2).astype(np.int64)
        weights = rng.uniform(-0.2, 2, len(ids))
        plan = hostile.plan_for(rows, k)
        batch = BatchPass(rows, k, plan, ids=ids, weights=weights)
        for _ in range(2):
            moved, after = np.empty_like(centers), counts.copy()
            inertia = batch.step(centers, moved, after)
            expected = plain_step(X[ids].astype(np.float64), centers, counts, weights)
            np.testing.assert_array_equal(batch.labels, expected[2])
            reach = 2.0**-51 * np.abs(centers).max()
            np.testing.assert_allclose(moved, expected[0], rtol=2.0**-51, atol=reach)
            np.testing.assert_array_equal(after, expected[1])
            assert inertia == expected[3]
            centers, counts = moved, after
            ids[:] = rng.randint(0, n, len(ids))  # the buffers serve the next batch


@pytest.mark.parametrize("density", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_order_of_a_batch_does_not_count(density, dtype, weighted):
    """Nor whether its rows are dense or CSR, threads, or the instruction set."""
    rng = np.random.RandomState(5)
    n, d, k = 3000, 90, 12
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-5, 5, (n, 1))
    X = (X * (rng.uniform(size=(n, d)) < density)).astype(dtype)
    weights = rng.uniform(-0.1, 2, n) if weighted else None
    labels = rng.randint(k - 1, size=n).astype(np.int32)  # one cluster is empty
    centers, before = rng.standard_normal((k, d)), rng.uniform(0, 50, k) * (np.arange(k) % 2)
    found = set()
    for isa in hostile.ISAS:
        for n_threads in (1, 2, 8):
            order = rng.permutation(n)
            heavy = None if weights is None else weights[order]
            for some in (X[order], np.asfortranarray(X[order]), sp.csr_array(X[order])):
                update = Update(Rows(some), k, isa=isa, n_threads=n_threads)
                moved, counts = np.empty_like(centers), before.copy()
                inertia = update.run(labels[order], centers, moved, counts, heavy)
                found.add((moved.tobytes(), counts.tobytes(), inertia))
    assert len(found) == 1
    assert np.array_equal(moved[-1], centers[-1])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("heavy", [1e-312, 1e-290, 1e200, 1e296, 1e300])
def test_the_unit_of_weights_does_not_count(heavy, sparse):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((60, 40)) * (rng.uniform(size=(60, 40)) < 0.02)
    rows = Rows(sp.csr_array(X) if sparse else X)
    labels = rng.randint(3, size=60).astype(np.int32)
    moved = []
    for weight in (1.0, heavy):
        update = Update(rows, 3, isa=hostile.ISAS[-1], n_threads=1, by_entries=sparse)
        centers, counts = np.ones((3, 40)), np.array([0.0, 7.0, 7.0]) * weight
        update.run(labels, centers.copy(), centers, counts, np.full(60, weight))
        moved.append(centers)
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-9, atol=1e-9)


def test_centers_far_from_their_rows_lose_no_digits():
    """A centre without count is the mean of its rows, wherever it stood."""
    X = np.random.RandomState(0).standard_normal((400, 3))
    state = MiniBatchState(np.array([[1e12, 0, 0], [-1e14, 1, 1]]), np.zeros(2))
    rows = Rows(X)
    plan = hostile.plan_for(rows, 2)
    minibatch_step(rows, state, batch_size=400, random_state=None, reassignment_ratio=0, plan=plan)
    np.testing.assert_array_max_ulp(state.centers[0], exact_sums.moments(X)[0], 1)
    assert state.counts.tolist() == [400, 0]


def test_a_step_that_fails_changes_nothing():
    X = np.random.RandomState(0).standard_normal((40, 3))
    X[17, 1] = np.nan
    rows = Rows(X)
    state = MiniBatchState(X[:4].copy(), np.ones(4))
    before = state.centers
    with pytest.raises(ValueError, match=r"NaN.*row 17, column 1\b"):
        minibatch_step(
            rows, state, batch_size=40, random_state=None, plan=hostile.plan_for(rows, 4)
        )
    assert state.centers is before
    assert state.since_reassigned == 0
    np.testing.assert_array_equal(state.counts, np.ones(4))


@pytest.mark.parametrize(("d", "k"), [(3, 13), (41, 60), (17, 6)])
def test_instruction_sets_score_types_threads_and_chunks(d, k):
    for dtype in (np.float32, np.float64):
        rng = np.random.RandomState(d)
        X = (rng.standard_normal((9000, d)) + 3 * rng.randint(0, 3, (9000, 1))).astype(dtype)
        rows = Rows(X)
        weights = rng.uniform(0, 2, 9000)
        centers = X[:k].astype(np.float64)
        centers[:2] += 1e3  # reassigned after the first step
        ways = [{"isa": i, "engine": e, "score_dtype": s} for i, e, s in hostile.WAYS]
        ways += [{"n_threads": t} for t in (1, 2, 3, 8)]
        ways += [{"n_threads": 3, "chunk_size": c} for c in (64, 129)]
        results = set()
        for way in ways:
            batch = rows.picked(np.zeros(4000, np.int64))
            random_state = np.random.RandomState(1)
            plan = hostile.plan_for(batch, k, **way)
            batches = DrawnBatches(rows, k, plan, weights, 4000, random_state)
            run = minibatch(batches, centers, n_steps=8, tol=1e-9, random_state=random_state)
            assert run.n_steps > 1
            results.add(
                (run.state.centers.tobytes(), run.state.counts.tobytes(), run.smoothed_inertia)
            )
        assert len(results) == 1

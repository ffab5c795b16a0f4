"""Rows that repeat: lists of candidates are as full as they can be.

Among random rows hardly one is a candidate, so lists stay short. Tables with repeated rows, one-hot
columns or padding are everyday data: all rows of a group are candidates at once. The sanitizers run
these tests for every instruction set (``make sanitize-crowded``).
"""

import dataclasses

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from neighbor_cases import (
    check_nearest,
    check_within,
    compare_nearest,
    nearest_of,
    plan_for,
    squared_of,
)

from tilewise import KMeans, MiniBatchKMeans, argkmin, engine, pairwise_distances_argmin
from tilewise.engine import Pass, Rows, assign, neighbors


def groups(rng, d, count=30, fewest=100, most=400):
    """Distinct rows, each repeated many times in order."""
    distinct = rng.standard_normal((count, d)).astype(np.float32)
    return np.repeat(distinct, rng.randint(fewest, most, count), axis=0)


def one_hot(rng, n, d):
    return np.eye(d, dtype=np.float32)[rng.randint(d, size=n)]


def padded(rng, n, d):
    """Batches of which most rows are padding."""
    rows = np.zeros((n, d), np.float32)
    rows[::9] = rng.standard_normal((len(rows[::9]), d))
    return rows


def nearly_equal(rng, n, d):
    """All rows within the error of float32 scores, far from the origin."""
    return hostile._nudged(np.full((n, d), 1000.0, np.float32), rng, 3)


def in_order(rng, n, d):
    """Falling distances to the origin, four rows at each."""
    return np.repeat(np.linspace(50, 1, -(-n // 4), dtype=np.float32), 4)[:n, None] * np.ones(
        (1, d), np.float32
    )


KINDS = {
    "groups": lambda rng, n, d: groups(rng, d)[:n],
    "one-hot": one_hot,
    "padded": padded,
    "nearly equal": nearly_equal,
    "in order": in_order,
    "equal": lambda rng, n, d: np.ones((n, d), np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5, 40])
def test_nearest(kind, k):
    rng = np.random.RandomState(k)
    Y = KINDS[kind](rng, 1500, 64)
    X = Y[rng.randint(len(Y), size=40)]
    check_nearest(X, Y, k)
    check_nearest(X, Y, k, chunk_rows=32, block_rows=700, n_threads=2)


@pytest.mark.parametrize("k", [1, 2, 5, 31, 60])
def test_lists_that_stop_just_short_of_full(k):
    """A list that is not full is not cut, and takes in all that comes until it is looked at."""
    room = 2 * k + 64
    for far in (room - 40, room - 5, room - 4, room - 1, room):
        Y = np.ones((far + 3 * 256 + 2, 64), np.float32)
        Y[:far] = 9
        X = np.zeros((33, 64), np.float32)
        check_nearest(X, Y, k)


def test_ties_at_the_last_place():
    """k falls among rows at one distance, in every block; the lowest indices win."""
    rng = np.random.RandomState(0)
    Y = np.repeat(np.arange(1, 8, dtype=np.float32), 200)[:, None] * np.ones((1, 40), np.float32)
    Y = Y[rng.permutation(len(Y))]
    X = np.zeros((35, 40), np.float32)
    for k in (150, 199, 200, 201, 399):
        check_nearest(X, Y, k, block_rows=512)


@pytest.mark.parametrize("kind", KINDS)
def test_within_a_radius(kind):
    rng = np.random.RandomState(3)
    Y = KINDS[kind](rng, 900, 48)
    X = Y[rng.randint(len(Y), size=34)]
    squared = squared_of(X, Y)
    for limit in {0.0, float(np.sqrt(np.median(squared))), float(np.sqrt(squared.max()))}:
        check_within(X, Y, limit, squared)
        check_within(X, Y, limit, squared, block_rows=300, n_threads=2)


def test_the_plans_that_users_get():
    """Whatever this processor is: thousands of queries among groups of equal rows."""
    rng = np.random.RandomState(1)
    Y = groups(rng, 64)
    X = Y[rng.randint(len(Y), size=2000)]
    expected = nearest_of(squared_of(X[:50], Y), 5)
    for _ in range(3):
        distances, indices = argkmin(X, Y, 5)
        assert np.array_equal(indices[:50], expected[1])
        assert np.array_equal(distances[:50], np.sqrt(expected[0]).astype(np.float32))
    ones = np.ones((320, 64), np.float32)
    ones[:62] = 9
    for _ in range(50):
        assert (pairwise_distances_argmin(np.zeros((128, 64), np.float32), ones) == 62).all()


@pytest.mark.parametrize("kind", ["groups", "one-hot", "padded", "equal"])
@pytest.mark.parametrize("k", [1, 30])
def test_nearest_of_sparse_rows(kind, k):
    rng = np.random.RandomState(k)
    Y = KINDS[kind](rng, 700, 50)
    Y[:, ::3] = 0
    X = Y[rng.randint(len(Y), size=30)]
    expected = nearest_of(squared_of(X, Y), k)
    for rows_x, rows_y in ((sp.csr_array(X), sp.csr_array(Y)), (X, sp.csr_array(Y))):
        found = argkmin(rows_x, rows_y, k)
        assert np.array_equal(found[1], expected[1])
        assert np.array_equal(found[0], np.sqrt(expected[0]).astype(found[0].dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [33, 150, 300])
def test_labels_where_many_centres_are_equal(kind, k):
    """Every equal centre is a candidate of every row; the lowest index wins."""
    rng = np.random.RandomState(k)
    X = KINDS[kind](rng, 500, 64)
    centers = X[np.sort(rng.randint(len(X), size=k))].astype(np.float64)
    expected = np.argmin(squared_of(X, centers), axis=1)
    for name, rows, plan in hostile.plans(X, k):
        assert np.array_equal(assign(rows, centers, plan), expected), name
        run = Pass(rows, k, plan, bounds=True)
        for _ in range(3):
            run.assign(centers)
            assert np.array_equal(run.labels, expected), name


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
def test_fits_of_repeated_rows(estimator):
    """Fewer distinct rows than candidates, and more clusters than some of them have."""
    rng = np.random.RandomState(0)
    X = groups(rng, 40, count=12, fewest=20, most=80)
    model = estimator(12, random_state=0, n_init=2).fit(X)
    assert np.array_equal(
        model.predict(X), np.argmin(squared_of(X, model.cluster_centers_), axis=1)
    )
    assert model.inertia_ >= 0


def test_workspaces_are_as_large_as_the_plan_says():
    """What a search allocates, whatever its plan, is what the plan announced."""
    rng = np.random.RandomState(0)
    Y = rng.standard_normal((3000, 64)).astype(np.float32)
    X = Y[:700]
    for k in (0, 1, 10, 200):
        for isa, products in [(None, 0), *hostile.SPLITS]:
            plan = plan_for(Rows(X), Rows(Y), k, isa, products=products, n_threads=2)
            held = neighbors._Search(Rows(X), Rows(Y), k, plan).kernel.allocated_bytes
            assert held <= 1.1 * plan.workspace_bytes + 2**14, (k, isa, products)


def test_a_list_has_room_for_what_is_kept_and_what_comes():
    """The room of a plan does not decide whether memory is overrun: any plan will do."""
    rng = np.random.RandomState(2)
    Y = groups(rng, 33, count=5)
    X = Y[rng.randint(len(Y), size=40)]
    expected = nearest_of(squared_of(X, Y), 3)
    for isa, products in hostile.SPLITS:
        plan = plan_for(Rows(X), Rows(Y), 3, isa, products=products)
        for panels in (1, 3, 16, 50):
            wide = dataclasses.replace(plan, panels_per_block=panels)
            found = engine.argkmin(Rows(X), Rows(Y), 3, plan=wide)
            compare_nearest(found, expected, f"{isa} {products} panels_per_block={panels}")

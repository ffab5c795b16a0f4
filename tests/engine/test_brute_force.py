"""Brute force finds the same neighbours as a search by scores, and as a plain sort."""

import hostile
import numpy as np
import pytest
from neighbor_cases import nearest_of, pair, plan_for, squared_of

from tilewise.engine import Rows, argkmin
from tilewise.engine.brute_force import argkmin_brute_force
from tilewise.kernels import _brute_force
from tilewise.plan import plan_neighbors
from tilewise.plan.thresholds import BRUTE_FORCE_MOST_ROWS


def forced(rows_x, rows_y, k, isa=None, n_threads=1, **options):
    plan = plan_for(rows_x, rows_y, k, isa, method="brute force", n_threads=n_threads)
    return argkmin_brute_force(rows_x, rows_y, k, plan, **options)


def planned(rows_x, rows_y, k):
    """The method that is planned for some dense rows."""
    sizes = rows_x.n_rows, rows_y.n_rows, rows_x.n_features
    return plan_neighbors(*sizes, rows_x.compute_dtype, k=k).method


def check(X, Y, k, **options):
    squared, order = nearest_of(squared_of(X, Y), k)
    with np.errstate(over="ignore"):
        for root, values in ((False, squared), (True, np.sqrt(squared))):
            for dtype in (np.float32, np.float64):
                distances, indices = forced(Rows(X), Rows(Y), k, root=root, dtype=dtype, **options)
                assert distances.dtype == dtype
                assert indices.dtype == np.int64
                np.testing.assert_array_equal(indices, order)
                np.testing.assert_array_equal(distances, values.astype(dtype))


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype, isa):
    rng = np.random.RandomState(hostile.CASES.index((name, dtype)))
    shapes = (
        (1, 1, 1),
        (7, 3, 2),
        (9, 24, 10),
        (130, 25, 32),
        (300, 16, 10),
        (19, 5, 67),
        (9, 30, 128),
    )
    for n, d, m in shapes:
        X, Y = pair(name, rng, n, d, m, dtype)
        for k in {1, m, min(m, 3)}:
            check(X, Y, k, isa=isa, n_threads=1 + n % 3)


def test_ties_go_to_the_lowest_index():
    rng = np.random.RandomState(0)
    X, Y = rng.randint(0, 2, (500, 3)).astype(float), rng.randint(0, 2, (128, 3)).astype(float)
    for m in (32, 45, 128):
        for k in (1, 2, m - 1, m):
            check(X, Y[:m], k)


def test_any_kind_of_rows():
    rng = np.random.RandomState(0)
    X, Y = rng.standard_normal((1000, 5)), rng.standard_normal((9, 5))
    for other in (np.asfortranarray(X), X[::-1].copy()[::-1], X.astype(">f8")):
        distances, indices = forced(Rows(other), Rows(Y), 4)
        squared, order = nearest_of(squared_of(X, Y), 4)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_array_equal(distances, squared)


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_called_agrees_with_plans(dtype, root):
    rng = np.random.RandomState(1)
    X, Y = (rng.standard_normal((n, 6)).astype(dtype) for n in (400, 7))
    x, y = Rows(X), Rows(Y)
    for k in (1, 3, 7):
        assert planned(x, y, k) == "brute force"
        plan = plan_for(x, y, k)
        for found, other in zip(
            argkmin(x, y, k, root=root, dtype=dtype),
            argkmin(x, y, k, root=root, dtype=dtype, plan=plan),
            strict=True,
        ):
            assert found.dtype == other.dtype
            np.testing.assert_array_equal(found, other)
    assert planned(y, x, 1) != "brute force"


def test_the_more_neighbors_the_longer_y_may_be():
    X = np.zeros((2000, 16), dtype=np.float32)
    assert planned(Rows(X), Rows(X[:128]), 1) != "brute force"
    assert planned(Rows(X), Rows(X[:128]), 2) != "brute force"
    assert planned(Rows(X), Rows(X[:128]), 100) == "brute force"
    assert planned(Rows(X), Rows(X[:129]), 129) != "brute force"
    assert planned(Rows(X[:1000]), Rows(X[:128]), 100) != "brute force"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows_of_y", [9, 300])
def test_results_are_written_where_they_are_wanted(rows_of_y, dtype):
    rng = np.random.RandomState(2)
    x, y = (Rows(rng.standard_normal((n, 6)).astype(np.float32)) for n in (4000, rows_of_y))
    wanted = argkmin(x, y, 4, root=True, dtype=dtype)
    for given in ((True, True), (True, False), (False, True)):
        out = tuple(
            np.full((4000, 4), 7, dtype=kind) if there else None
            for there, kind in zip(given, (dtype, np.int64), strict=True)
        )
        found = argkmin(x, y, 4, root=True, dtype=dtype, out=out)
        for part, array, right in zip(found, out, wanted, strict=True):
            assert array is None or part is array
            np.testing.assert_array_equal(part, right)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite(value, side):
    pair = [np.ones((2000, 4)), np.ones((6, 4))]
    pair[side][5, 2] = value
    x, y = (Rows(values) for values in pair)
    assert planned(x, y, 2) == "brute force"
    with pytest.raises(ValueError, match="row 5, column 2"):
        argkmin(x, y, 2)


def test_distances_that_overflow_are_infinite():
    X, Y = np.array([[1e200], [-1e200]] * 20), np.array([[1e200], [-1e200]])
    distances, indices = forced(Rows(X), Rows(Y), 2)
    assert distances[:2].tolist() == [[0.0, np.inf]] * 2
    assert indices[:2].tolist() == [[0, 1], [1, 0]]


def test_the_plan_knows_the_most_rows_of_the_kernel():
    assert _brute_force.most_rows == BRUTE_FORCE_MOST_ROWS


def test_what_does_not_fit_is_refused():
    X, y = Rows(np.ones((5, 3))), np.ones((4, 8))
    indices = np.empty((5, 2), np.int64)
    for changed in ({"y": np.ones((4, 3))}, {"first": 1}, {"distances": np.empty((5, 3))}):
        ways = {"y": y, "first": 0, "distances": np.empty((5, 2)), **changed}
        with pytest.raises(ValueError, match=r"rows|distances"):
            _brute_force.rank_all(
                X, ways["y"], ways["first"], ways["distances"], indices,
                root=False, isa=hostile.ISAS[-1], n_threads=1,
            )  # fmt: skip

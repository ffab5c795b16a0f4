"""Neighbours of CSR rows: by stored entries, the same as by dense rows, bit by bit."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse as sp
from hostile import ISAS
from neighbor_cases import nearest_of, plan_for, squared_of

from tilewise.engine import Rows, argkmin, radius
from tilewise.engine.csr_neighbors import argkmin_csr, radius_csr, relative_error
from tilewise.engine.matrix import fill_matrix
from tilewise.engine.neighbors import largest_within
from tilewise.plan import plan_neighbors

SIDES = ["csr, csr", "csr, dense", "dense, csr"]


def random_rows(rng, n, d, density, dtype):
    values = rng.standard_normal((n, d)) * (rng.random_sample((n, d)) < density)
    return values.astype(dtype)


def few_values(rng, n, d, dtype):
    """Rows of zeros and ones with few ones: equal distances everywhere."""
    return (rng.random_sample((n, d)) < 0.1).astype(dtype)


def duplicates(rng, n, d, dtype):
    return random_rows(rng, max(1, n // 10), d, 0.1, dtype)[rng.randint(0, max(1, n // 10), n)]


def near_duplicates(rng, n, d, dtype):
    """Rows that differ in the last bit of some entries."""
    values = duplicates(np.random.RandomState(3), n, d, dtype)
    up = (rng.random_sample(values.shape) < 0.3) & (values != 0)
    values[up] = np.nextafter(values[up], dtype(np.inf))
    return values


def with_empty_rows(rng, n, d, dtype):
    values = random_rows(rng, n, d, 0.05, dtype)
    values[rng.random_sample(n) < 0.6] = 0
    return values


def of_size(exponent):
    def make(rng, n, d, dtype):
        scale = 10.0 ** (exponent if dtype == np.float64 else np.sign(exponent) * 18)
        return (random_rows(rng, n, d, 0.1, np.float64) * scale).astype(dtype)

    return make


def mixed_sizes(rng, n, d, dtype):
    """Rows of very unequal length, some of whose squares overflow or vanish."""
    most = 170 if dtype == np.float64 else 30
    sizes = 10.0 ** rng.uniform(-most, most, (n, 1))
    return (random_rows(rng, n, d, 0.1, np.float64) * sizes).astype(dtype)


CASES = {
    "random": lambda rng, n, d, dtype: random_rows(rng, n, d, 0.08, dtype),
    "dense": lambda rng, n, d, dtype: random_rows(rng, n, d, 1.0, dtype),
    "few_values": few_values,
    "duplicates": duplicates,
    "near_duplicates": near_duplicates,
    "empty_rows": with_empty_rows,
    "zero": lambda rng, n, d, dtype: np.zeros((n, d), dtype),
    "large": of_size(150),
    "small": of_size(-150),
    "tiny": of_size(-161),
    "mixed_sizes": mixed_sizes,
}
# rows of X, rows of Y, columns
SHAPES = [(30, 120, 60), (1, 70, 1), (130, 3, 9), (11, 300, 130)]


def as_rows(X, Y, sides):
    left, right = sides.split(", ")
    return (
        Rows(sp.csr_array(X) if left == "csr" else X),
        Rows(sp.csr_array(Y) if right == "csr" else Y),
    )


def forced(rows_x, rows_y, k=0, n_threads=1, isa=None, blocks=None):
    """A plan that takes stored entries, perhaps with blocks of a given shape."""
    density = tuple(rows.density if rows.is_sparse else None for rows in (rows_x, rows_y))
    plan = plan_for(rows_x, rows_y, k, isa, method="csr", n_threads=n_threads, density=density)
    if blocks is None:
        return plan
    return dataclasses.replace(plan, group_rows=blocks[0], block_rows=blocks[1])


def nearest(rows_x, rows_y, k, **options):
    shape = rows_x.n_rows, k
    found = np.empty(shape), np.empty(shape, dtype=np.int64)
    argkmin_csr(rows_x, rows_y, k, forced(rows_x, rows_y, k, **options), *found)
    return found


def within_radius(rows_x, rows_y, within, sort=False, **options):
    return radius_csr(rows_x, rows_y, within, forced(rows_x, rows_y, **options), sort=sort)


def planned(rows_x, rows_y):
    """The method that is planned for these rows."""
    density = tuple(rows.density if rows.is_sparse else None for rows in (rows_x, rows_y))
    sizes = rows_x.n_rows, rows_y.n_rows, rows_x.n_features
    return plan_neighbors(*sizes, rows_x.compute_dtype, k=0, density=density).method


def check_nearest(found, distances, k):
    for values, right in zip(found, nearest_of(distances, k), strict=True):
        np.testing.assert_array_equal(values, right)


def values_within(rows_x, rows_y, distances, within):
    """What is returned for each pair: the matrix of the engine, where that decides."""
    values = fill_matrix(rows_x, rows_y, np.empty(distances.shape), kernel="sqeuclidean")
    share = 1.1 * relative_error(rows_x, rows_y) + 2.0**-50
    return np.where(values <= within * (1 - share), values, distances)


def check_within(found, rows_x, rows_y, distances, within, sort=False):
    offsets, far, indices = found
    inside = distances <= within
    values = values_within(rows_x, rows_y, distances, within)
    np.testing.assert_array_equal(offsets, np.concatenate([[0], np.cumsum(inside.sum(1))]))
    for i, row in enumerate(inside):
        (right,) = np.nonzero(row)
        if sort:
            right = right[np.lexsort((right, values[i, right]))]
        here = slice(offsets[i], offsets[i + 1])
        np.testing.assert_array_equal(indices[here], right)
        np.testing.assert_array_equal(far[here], values[i, right])
    assert not (far > within).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("name", CASES)
def test_nearest(name, sides, dtype):
    rng = np.random.RandomState(1)
    for number, (n, m, d) in enumerate(SHAPES):
        X, Y = CASES[name](rng, n, d, dtype), CASES[name](rng, m, d, dtype)
        rows_x, rows_y = as_rows(X, Y, sides)
        distances = squared_of(X, Y)
        for k in sorted({1, min(m, 7), m}):
            for blocks in (None, (7, 13), (1000, 33)):
                ways = {"n_threads": 1 + number % 3, "isa": ISAS[number % len(ISAS)]}
                found = nearest(rows_x, rows_y, k, blocks=blocks, **ways)
                check_nearest(found, distances, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("name", CASES)
def test_within(name, sides, dtype):
    rng = np.random.RandomState(2)
    for number, (n, m, d) in enumerate(SHAPES):
        X, Y = CASES[name](rng, n, d, dtype), CASES[name](rng, m, d, dtype)
        rows_x, rows_y = as_rows(X, Y, sides)
        distances = squared_of(X, Y)
        ordered = np.sort(distances, axis=None)
        # Distances that occur, to the last bit, and the numbers beside them.
        for value in {0.0, ordered[0], ordered[len(ordered) // 5], ordered[-1], math.inf}:
            for within in (value, math.nextafter(value, -1.0), math.nextafter(value, math.inf)):
                if within < 0:
                    continue
                ways = {"n_threads": 1 + number % 3, "blocks": (None, (7, 13))[number % 2]}
                found = within_radius(rows_x, rows_y, within, sort=number % 2 == 0, **ways)
                check_within(found, rows_x, rows_y, distances, within, sort=number % 2 == 0)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("isa", ISAS)
def test_same_for_all_threads_blocks_and_instruction_sets(sides, threads, isa):
    rng = np.random.RandomState(5)
    X, Y = few_values(rng, 211, 90, np.float32), near_duplicates(rng, 509, 90, np.float32)
    Y[::2] = few_values(rng, 255, 90, np.float32)
    rows_x, rows_y = as_rows(X, Y, sides)
    distances = squared_of(X, Y)
    within = float(np.median(distances))
    for blocks in (None, (1, 509), (64, 40), (211, 17)):
        ways = {"n_threads": threads, "isa": isa, "blocks": blocks}
        for k in (1, 10, 300):
            check_nearest(nearest(rows_x, rows_y, k, **ways), distances, k)
        found = within_radius(rows_x, rows_y, within, **ways)
        check_within(found, rows_x, rows_y, distances, within)


def test_full_rows_are_cut():
    """More columns at one distance than a row has room for, with closer ones last."""
    rng = np.random.RandomState(0)
    Y = np.zeros((3000, 40))
    Y[np.arange(3000), rng.randint(1, 40, 3000)] = 0.1
    Y[-5:] = 0
    X = np.zeros((6, 40))
    X[:, 0] = [0.1, 0.3, 0.7, 1e-3, 1e8, 0.0]
    for sides in SIDES:
        rows_x, rows_y = as_rows(X, Y, sides)
        for k in (1, 4, 9, 60):
            check_nearest(nearest(rows_x, rows_y, k), squared_of(X, Y), k)


@pytest.mark.parametrize("sides", SIDES)
def test_error_is_below_its_bound(sides):
    """Values of blocks against the canonical distances, and the bound is not idle."""
    rng = np.random.RandomState(0)
    worst = 0.0
    for scale in (1.0, 1e-120, 1e140):
        X, Y = (random_rows(rng, 300, 500, 0.2, np.float64) * scale for _ in "xy")
        rows_x, rows_y = as_rows(X, Y, sides)
        found = fill_matrix(rows_x, rows_y, np.empty((300, 300)), kernel="sqeuclidean")
        right = squared_of(X, Y)
        worst = max(worst, float((np.abs(found - right) / found).max()))
    assert 0 < worst <= relative_error(rows_x, rows_y)


@pytest.mark.parametrize("sides", SIDES)
def test_what_is_called(sides):
    """The functions of the engine take the entries where few are stored, and agree with plans."""
    rng = np.random.RandomState(7)
    X, Y = random_rows(rng, 90, 400, 0.01, np.float32), random_rows(rng, 120, 400, 0.01, np.float32)
    rows_x, rows_y = as_rows(X, Y, sides)
    assert planned(rows_x, rows_y) == "csr"
    staged = {k: plan_neighbors(90, 120, 400, np.float32, k=k, n_threads=1) for k in (0, 1, 5)}
    for found, other in (
        (argkmin(rows_x, rows_y, 1), argkmin(rows_x, rows_y, 1, plan=staged[1])),
        (argkmin(rows_x, rows_y, 5), argkmin(rows_x, rows_y, 5, plan=staged[5])),
        (radius(rows_x, rows_y, 2.0)[::2], radius(rows_x, rows_y, 2.0, plan=staged[0])[::2]),
    ):
        for one, two in zip(found, other, strict=True):
            np.testing.assert_array_equal(one, two)
    distances, within = squared_of(X, Y), largest_within(2.0)
    for sort in (False, True):
        found = radius(rows_x, rows_y, 2.0, sort=sort)
        check_within(found, rows_x, rows_y, distances, within, sort)
    assert planned(Rows(X + 1), Rows(sp.csr_array(Y + 1))) != "csr"


def test_only_pairs_near_the_radius_are_measured():
    """A pair at the radius gets the canonical distance; one far inside the value of the matrix."""
    rng = np.random.RandomState(3)
    X = random_rows(rng, 40, 900, 0.05, np.float64)
    rows = Rows(sp.csr_array(X))
    distances = squared_of(X, X)
    values = fill_matrix(rows, rows, np.empty((40, 40)), kernel="sqeuclidean")
    assert (values != distances).any()
    within = float(np.sort(distances[values != distances])[-5])
    found = within_radius(rows, rows, within)
    check_within(found, rows, rows, distances, within)
    assert within in found[1]


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_unsorted_and_repeated_entries(index):
    rng = np.random.RandomState(0)
    offsets = np.concatenate([[0], np.cumsum(rng.randint(0, 12, 50))]).astype(index)
    stored = int(offsets[-1])
    columns = rng.randint(0, 30, stored).astype(index)
    X = sp.csr_array((rng.standard_normal(stored), columns, offsets), shape=(50, 30))
    assert X.indices.dtype == index
    distances = squared_of(X.toarray(), X.toarray())
    rows = Rows(X)
    check_nearest(nearest(rows, rows, 9), distances, 9)
    within = largest_within(2.0)
    check_within(within_radius(rows, rows, within), rows, rows, distances, within)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(sides, which, bad):
    rng = np.random.RandomState(0)
    pair = [random_rows(rng, 60, 200, 0.02, np.float64) for _ in range(2)]
    pair[which][41, 7] = bad
    rows_x, rows_y = as_rows(*pair, sides)
    assert planned(rows_x, rows_y) == "csr"
    for search in (lambda: argkmin(rows_x, rows_y, 3), lambda: radius(rows_x, rows_y, 1.0)):
        with pytest.raises(ValueError, match="row 41, column 7"):
            search()


def test_no_rows():
    Y = Rows(sp.random_array((20, 300), density=0.01, rng=0, format="csr"))
    none = Rows(sp.csr_array((0, 300)))
    for X in (none, Rows(np.empty((0, 300)))):
        distances, indices = argkmin(X, Y, 3)
        assert distances.shape == indices.shape == (0, 3)
        offsets, distances, indices = radius(X, Y, 1.0)
        assert offsets.tolist() == [0]
        assert len(distances) == len(indices) == 0
    assert radius(Y, none, 1.0)[0].tolist() == [0] * 21
    with pytest.raises(ValueError, match="k=1"):
        argkmin(Y, none, 1)


def test_unequal_sides_are_refused():
    A = sp.random_array((20, 300), density=0.01, rng=0, format="csr")
    for other in (A[:, :299].tocsr(), A.astype(np.float32)):
        for search in (argkmin, radius):
            with pytest.raises(ValueError, match="same type and number of columns"):
                search(Rows(A), Rows(other), 1)

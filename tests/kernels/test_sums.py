"""Sums of rows and of numbers: those of whole numbers, rounded once, in any order."""

import itertools
from fractions import Fraction

import exact_sums
import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.engine import Pass, Rows, column_stats
from tilewise.kernels._exact import Moments
from tilewise.kernels._minibatch import Update
from tilewise.kernels._sums import Bins, Grid, Sums
from tilewise.plan.thresholds import OWN_SUMS_BYTES

LAST = hostile.ISAS[-1]


def magnitudes(X):
    """The largest magnitude of each column, and the least other than zero."""
    sizes = np.abs(X.astype(np.float64))
    least = np.where(sizes == 0.0, np.inf, sizes).min(axis=0, initial=np.inf)
    return sizes.max(axis=0, initial=0.0), least


def extremes(weights):
    used = np.abs(weights[weights != 0.0])
    return float(used.max(initial=0.0)), float(used.min(initial=np.inf))


def make_grid(X, weights=None):
    sizes = (1.0, 1.0) if weights is None else extremes(weights)
    return Grid(*magnitudes(X), X.dtype, weights=sizes)


def open_sums(X, k, weights=None, isa=LAST, n_threads=1, is_sparse=False):
    return Sums(
        make_grid(X, weights), k, isa=isa, n_threads=n_threads, center_threads=n_threads,
        own_bytes=OWN_SUMS_BYTES, is_sparse=is_sparse,
        weights=None if weights is None else extremes(weights),
    )  # fmt: skip


def add(sums, rows, labels, weights=None, order=None, old=None):
    """Count rows for their clusters, one after another."""
    for i in range(len(labels)) if order is None else order:
        weight = 1.0 if weights is None else float(weights[i])
        if weight != 0.0:
            sums.move(rows, i, -1 if old is None else old[i], labels[i], weight)


def averages(sums, fill=False):
    k, d = sums.values.shape
    out = np.full((k, d), 77.0)
    sums.touch()
    shifts = sums.average(np.zeros((k, d)), out, fill=fill)
    return None if shifts is None else out


def bits(sums):
    found = averages(sums, fill=True)
    return sums.values.tobytes(), sums.weights.tobytes(), sums.members.tobytes(), found.tobytes()


def check(sums, X, labels, weights=None):
    """Sums, weights and means are those of whole numbers on the grid."""
    k = len(sums.members)
    expected, heavy = exact_sums.cluster_sums(X, labels, k, weights, sums.grid)
    np.testing.assert_array_equal(sums.values, exact_sums.floats(expected))
    np.testing.assert_array_equal(sums.weights, exact_sums.floats(heavy))
    used = np.ones(len(X), bool) if weights is None else weights != 0.0
    np.testing.assert_array_equal(sums.members, np.bincount(labels[used], minlength=k))
    if (sums.weights > 0.0).all():
        np.testing.assert_array_max_ulp(averages(sums), exact_sums.means(expected, heavy), 1)


# ---------------------------------------------------------------- the grid


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_digit_lies_on_the_grid(data):
    """But of float columns that are not wide: they keep 18 bits of their least numbers."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    most = float(np.finfo(dtype).max) if dtype == np.float32 else 2.0**970
    width = 32 if dtype == np.float32 else 64
    numbers = st.floats(-most, most, width=width)
    X = np.array(data.draw(st.lists(numbers, min_size=1, max_size=8)), dtype=dtype)[:, None]
    grid = make_grid(X)
    unit = exact_sums.last_unit(grid, 0)
    assert unit >= -1074
    assert np.abs(X).max() <= 2.0 ** float(grid.exponents[0])
    for value in X[:, 0]:
        number = exact_sums.whole(value)
        off = abs(exact_sums.cut(number, unit) - number)
        if grid.limbs[0] > 1 or dtype == np.float64:
            assert off == 0
        else:
            assert off <= abs(number) * Fraction(1, 2**18)


def test_columns_have_as_many_limbs_as_they_need():
    X = np.ones((3, 25))
    X[1, 9] = 1e30
    X[2, 17] = 1e-300
    X = np.c_[X, np.zeros(3)]
    grid = make_grid(X)
    # Seven numbers fill up the last eight.
    assert grid.limbs[1] > 2
    assert grid.limbs[2] > grid.limbs[1]
    assert grid.limbs[0] == grid.limbs[3] <= 2
    assert make_grid(X.astype(np.float32)[:, :8]).limbs.tolist() == [1]


def test_numbers_without_room_are_refused():
    for largest, weights in ((2.0**1022, (1.0, 1.0)), (2.0**500, (2.0**523, 1.0))):
        with pytest.raises(ValueError, match="column 1 times the weights"):
            Grid(np.array([1.0, largest]), np.ones(2), np.float64, weights=weights)


# ---------------------------------------------------------------- rows of clusters

WEIGHTS = {
    "none": lambda rng, n: None,
    "plain": lambda rng, n: rng.uniform(0, 2, n),
    "some zero": lambda rng, n: rng.uniform(0, 2, n) * (rng.uniform(size=n) < 0.6),
    "negative": lambda rng, n: rng.uniform(-1, 3, n),
    "tiny": lambda rng, n: rng.uniform(0, 1, n) * 1e-290,
    "wide": lambda rng, n: 10.0 ** rng.uniform(-300, 200, n),
}


def mixed(rng, n, d):
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-9, 9, (n, d))


COLUMNS = {
    "plain": lambda rng, n, d: rng.standard_normal((n, d)),
    "mixed": mixed,
    "one binade": lambda rng, n, d: rng.uniform(1, 2, (n, d)),
    "far away": lambda rng, n, d: rng.standard_normal((n, d)) + 1e9,
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "subnormal": lambda rng, n, d: rng.randint(-9, 9, (n, d)) * 1e-44,
    "large": lambda rng, n, d: rng.standard_normal((n, d)) * 1e37,
}


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_add_up_to_the_exact_sums(kind, weighting, dtype):
    rng = np.random.RandomState(0)
    for n, d, k in ((40, 1, 1), (60, 8, 3), (50, 11, 4)):
        X = COLUMNS[kind](rng, n, d).astype(dtype)
        weights = WEIGHTS[weighting](rng, n)
        labels = np.sort(rng.randint(k, size=n)).astype(np.int32)
        labels[:k] = range(k)
        sums = open_sums(X, k, weights)
        add(sums, Rows(X), labels, weights)
        check(sums, X, labels, weights)


@pytest.mark.parametrize("weighting", WEIGHTS)
def test_neither_order_nor_layout_nor_instruction_set_counts(weighting):
    rng = np.random.RandomState(1)
    n, d, k = 200, 19, 5
    X = mixed(rng, n, d) * (rng.uniform(size=(n, d)) < 0.7)
    weights = WEIGHTS[weighting](rng, n)
    labels = rng.randint(k, size=n)
    found = set()
    for isa in hostile.ISAS:
        for some in (X, np.asfortranarray(X), X.astype(">f8"), sp.csr_array(X)):
            sums = open_sums(X, k, weights, isa, is_sparse=sp.issparse(some))
            add(sums, Rows(some), labels, weights, rng.permutation(n))
            found.add(bits(sums))
    assert len(found) == 1


def test_rows_that_are_taken_out_leave_nothing():
    rng = np.random.RandomState(2)
    n, d, k = 300, 21, 4
    X = mixed(rng, n, d)
    X[7, 3], X[8, 20] = 1e90, -1e-300
    rows = Rows(X)
    for weighting in WEIGHTS:
        weights = WEIGHTS[weighting](rng, n)
        sums = open_sums(X, k, weights)
        first, second = rng.randint(k, size=(2, n))
        add(sums, rows, first, weights)
        add(sums, rows, second, weights, rng.permutation(n), old=first)
        fresh = open_sums(X, k, weights)
        add(fresh, rows, second, weights)
        assert bits(sums) == bits(fresh)
        add(sums, rows, np.full(n, -1), weights, rng.permutation(n), old=second)
        assert not sums.values.any()
        assert not sums.weights.any()
        assert not sums.members.any()
        sums.clear()
        add(sums, rows, second, weights)
        assert bits(sums) == bits(fresh)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_more_rows_of_a_cluster_than_limbs_have_room_for(dtype, weighted):
    """Digits are carried after 4096 rows; all as large as they may be, and of one sign."""
    n = 9000
    X = np.full((n, 10), np.nextafter(dtype(2), dtype(0)), dtype=dtype)
    X[:, 1] *= -1
    X[::2, 2] *= -1
    X[:, 3], X[5, 3] = 1, 2**20
    X[7, 9] = 1e-30
    labels = np.zeros(n, dtype=np.int32)
    weights = np.full(n, np.nextafter(4.0, 0.0)) if weighted else None
    sums = open_sums(X, 1, weights)
    add(sums, Rows(X), labels, weights)
    check(sums, X, labels, weights)
    add(sums, Rows(X), np.full(n, -1), weights, old=labels)
    assert not sums.values.any()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize(("n", "d", "k"), [(9000, 5, 2), (600, 520, 70), (300, 5000, 20)])
def test_threads_and_tables_they_share(n, d, k, n_threads):
    """Small tables are kept for each thread; threads share the others, whose rows are locked."""
    rng = np.random.RandomState(3)
    X = (rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3, 3, d)).astype(np.float32)
    X[0, d - 1] = 1e20
    weights = rng.uniform(-0.1, 2, n)
    for heavy in (None, weights):
        for some in (X, sp.csr_array(X)):
            rows = Rows(some)
            plan = hostile.plan_for(rows, k, n_threads=n_threads)
            run = Pass(rows, k, plan, sums=True, weights=heavy)
            for centers in (X[:k], X[k : 2 * k], X[:k]):
                run.assign_and_sum(centers.astype(np.float64))
            fresh = open_sums(X, k, heavy)
            add(fresh, Rows(X), run.labels, heavy)
            assert bits(run.sums) == bits(fresh)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("column", [0, 7, 8, 12])
def test_one_huge_value_costs_the_other_clusters_nothing(dtype, column):
    X = np.ones((400, 13), dtype=dtype)
    X[:, 5] = np.random.RandomState(4).standard_normal(400)
    X[17, column] = 1e30
    labels = np.arange(400, dtype=np.int32) % 3
    sums = open_sums(X, 3)
    rows = Rows(X)
    add(sums, rows, labels)
    check(sums, X, labels)
    means = averages(sums)
    assert (means[[0, 1], column] == 1.0).all()
    # Its own cluster is as it was, once it has gone.
    sums.move(rows, 17, 2, 0)
    assert averages(sums)[2, column] == 1.0
    check(sums, X, np.where(np.arange(400) == 17, 0, labels))


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-300, 1e-100, 1.0, 1e100, 1e300])
def test_sizes_of_doubles(size):
    rng = np.random.RandomState(5)
    X = rng.randint(-9, 10, (300, 9)) * size
    labels = rng.randint(3, size=300).astype(np.int32)
    sums = open_sums(X, 3)
    add(sums, Rows(X), labels)
    check(sums, X, labels)


def test_the_whole_range_in_one_column():
    X = np.array([[1e300, 1.0], [5e-324, 2.0], [3.0, 3.0], [-1e300, 4.0], [1e-200, 5.0]])
    rows = Rows(X)
    sums = open_sums(X, 1)
    add(sums, rows, np.zeros(5, dtype=int))
    sums.move(rows, 0, 0, -1)
    sums.move(rows, 3, 0, -1)
    sums.move(rows, 2, 0, -1)
    assert sums.values[0, 1] == 7.0
    # Within 2**2000 of the largest number.
    assert sums.values[0, 0] == pytest.approx(1e-200)
    for weights in (np.array([1e300, 1e-300, 1.0, 1e300, 5e-324]), np.full(5, 1e-310)):
        Y = np.array([[1.0, 1e-3], [1.0, 3.0], [2.0, 4.0], [-3.0, 1.0], [1.0, 1.0]])
        sums = open_sums(Y, 1, weights)
        add(sums, Rows(Y), np.zeros(5, dtype=int), weights)
        assert np.isfinite(sums.values).all()
        assert sums.weights[0] == exact_sums.total(weights)
        expected, heavy = exact_sums.cluster_sums(Y, np.zeros(5, dtype=int), 1, weights)
        np.testing.assert_allclose(averages(sums), exact_sums.means(expected, heavy), rtol=1e-13)


@pytest.mark.parametrize("value", [0.1, 1.7, 1 / 3, 1e-300, 123456.789, 2.0**-1074, -1e200])
@pytest.mark.parametrize("n", [1, 3, 7, 5000])
def test_the_mean_of_a_constant_column_is_the_constant(value, n):
    X = np.full((n, 3), value)
    X[:, 1] = np.arange(n)
    sums = open_sums(X, 1)
    add(sums, Rows(X), np.zeros(n, dtype=int))
    assert (averages(sums)[0, [0, 2]] == value).all()
    moments = Moments(3, isa=LAST, n_threads=1)
    moments.add(Rows(X), 0, n)
    if 1e-100 < abs(value) < 1e100:
        mean, spread = moments.means(n)
        assert (mean[[0, 2]] == value).all()
        assert (spread[[0, 2]] == 0.0).all()


# ---------------------------------------------------------------- averages


def opened_with(rng, k, d, weights=None):
    X = rng.standard_normal((60, d))
    labels = np.r_[np.arange(k), rng.randint(k, size=60 - k)]
    sums = open_sums(X, k, weights)
    add(sums, Rows(X), labels, weights)
    return X, labels, sums


@pytest.mark.parametrize("d", [1, 3, 8, 9, 40])
def test_averages_and_how_far_they_moved(d):
    rng = np.random.RandomState(6)
    X, labels, sums = opened_with(rng, 5, d)
    old = rng.standard_normal((5, d))
    apart, there = np.empty((5, d)), old.copy()
    squares = sums.average(old, apart)
    np.testing.assert_allclose(squares, np.square(apart - old).sum(axis=1), rtol=1e-12)
    sums.touch()
    # In place.
    assert np.array_equal(sums.average(there, there), squares)
    assert np.array_equal(there, apart)
    # Clusters that stayed as they were stay where they are.
    before = there.copy()
    sums.move(Rows(X), 9, labels[9], (labels[9] + 1) % 5)
    moved = sums.average(there, there)
    changed = np.isin(np.arange(5), [labels[9], (labels[9] + 1) % 5])
    assert (moved[~changed] == 0.0).all()
    assert (moved[changed] > 0.0).all()
    assert np.array_equal(there[~changed], before[~changed])


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_do_not_depend_on_the_columns_beside(dtype, isa):
    """Columns without a value, of subnormals, and of many limbs, next to plain ones."""
    rng = np.random.RandomState(8)
    n, k = 60, 4
    labels = np.r_[np.arange(k), rng.randint(k, size=n - k)]
    kinds = [
        np.zeros(n), rng.standard_normal(n), rng.randint(0, 9, n), rng.standard_normal(n) * 1e30,
        rng.standard_normal(n) * 10.0 ** rng.uniform(-30, 30, n), -np.zeros(n),
        rng.randint(-9, 9, n) * np.finfo(dtype).smallest_subnormal.astype(float),
        rng.standard_normal(n) * (1e-37 if dtype == np.float32 else 1e-305),
    ]  # fmt: skip
    columns = [column.astype(dtype) for column in kinds]
    alone = []
    for column in columns:
        sums = open_sums(np.repeat(column[:, None], 8, axis=1), k, isa=isa)
        add(sums, Rows(np.repeat(column[:, None], 8, axis=1)), labels)
        alone.append(averages(sums)[:, 0])
    for d in (1, 5, 8, 13, 40):
        chosen = rng.randint(len(columns), size=d)
        X = np.stack([columns[i] for i in chosen], axis=1)
        for rows in (Rows(X), Rows(sp.csr_array(X))):
            sums = open_sums(X, k, isa=isa, is_sparse=rows.is_sparse)
            add(sums, rows, labels)
            found = averages(sums)
            expected = np.stack([alone[i] for i in chosen], axis=1)
            assert found.tobytes() == expected.tobytes()
    assert not np.signbit(alone[0]).any()
    assert not np.signbit(alone[5]).any()


def test_clusters_without_rows_take_the_mean_of_the_heaviest():
    rng = np.random.RandomState(7)
    X, labels, sums = opened_with(rng, 4, 11)
    rows = Rows(X)
    for i in np.flatnonzero(labels == 1):
        sums.move(rows, i, 1, -1)
    old, out = rng.standard_normal((4, 11)), np.full((4, 11), 5.0)
    assert sums.average(old, out) is None
    assert (out == 5.0).all()
    squares = sums.average(old, out, fill=True)
    heaviest = int(np.argmax(sums.weights))
    assert np.array_equal(out[1], out[heaviest])
    np.testing.assert_allclose(squares, np.square(out - old).sum(axis=1), rtol=1e-12)
    sums.move(rows, int(np.flatnonzero(labels == 1)[0]), -1, 1)
    again = out.copy()
    sums.average(out, again)
    assert np.array_equal(again[1], X[np.flatnonzero(labels == 1)[0]])
    # Of equally heavy ones the first; zeros where there is none.
    sums.clear()
    assert sums.average(old, out, fill=True) is not None
    assert not out.any()
    for i, j in ((3, 2), (4, 3)):
        sums.move(rows, i, -1, j)
    sums.average(old, out, fill=True)
    assert np.array_equal(out, X[[3, 3, 3, 4]])


def test_weights_of_nothing_or_less():
    X = np.arange(12.0).reshape(6, 2)
    weights = np.array([1.0, -1.0, 2.0, -3.0, 5.0, 0.5])
    sums = open_sums(X, 3, weights)
    add(sums, Rows(X), np.array([0, 0, 1, 1, 2, 2]), weights)
    assert sums.weights.tolist() == [0.0, -1.0, 5.5]
    assert averages(sums) is None
    out = averages(sums, fill=True)
    assert np.array_equal(out, np.tile(out[2], (3, 1)))


def test_what_does_not_fit_is_refused():
    X = np.ones((5, 3))
    rows, sums = Rows(X), open_sums(X, 2)
    for row, old, new in ((5, -1, 0), (-1, -1, 0), (0, -2, 0), (0, 0, 2)):
        with pytest.raises(IndexError):
            sums.move(rows, row, old, new)
    for old, out in (((2, 3), (2, 4)), ((3, 3), (2, 3))):
        with pytest.raises(ValueError, match="shape"):
            sums.average(np.zeros(old), np.zeros(out))
    assert not sums.members.any()


# ---------------------------------------------------------------- single numbers


def bin_unit(largest):
    """Exponent of the last unit of numbers of up to this magnitude in bins: see c/tw_sums.h."""
    exponent = int(np.frexp(largest)[1]) if largest else -1074
    top = max(3, (exponent + 1 + 1124 + 49) // 50 - 1)
    return 50 * (top - 2) - 1124


def binned(values, weights=None):
    """The sum of numbers that keep what lies above the last unit, rounded once."""
    numbers = exact_sums.products(values, weights)
    unit = bin_unit(exact_sums.rounded(max(map(abs, numbers), default=0)))
    return exact_sums.rounded(sum(exact_sums.cut(number, unit) for number in numbers))


FINITE = st.floats(min_value=-(2.0**1000), max_value=2.0**1000)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(FINITE, max_size=40), data=st.data())
def test_bins_hold_the_exact_sum_in_any_order(values, data):
    values = np.array(values)
    expected = binned(values)
    shuffled = values[data.draw(st.permutations(range(len(values))))]
    at = data.draw(st.integers(0, len(values)))
    for isa in hostile.ISAS:
        whole, parts = Bins(isa), [Bins(isa), Bins(isa)]
        whole.add(values)
        parts[0].add(shuffled[:at])
        parts[1].add(shuffled[at:])
        parts[0].merge(parts[1])
        one_by_one = Bins(isa)
        for value in shuffled:
            one_by_one.add(np.array([value]))
        assert whole.value == parts[0].value == one_by_one.value == expected


TIES = [
    [-2.0338308022529212e16, -3.6028797018963976e16, -7.709110551834467e-22],
    [2.0**60, 2.0**7, 2.0**-40],
    [2.0**60, 2.0**7, -(2.0**-40)],
    [-(2.0**60), -(2.0**7), 2.0**-30],
    [2.0**60 + 2.0**8, 2.0**7, -(2.0**-40)],
]


@pytest.mark.parametrize("values", TIES)
@pytest.mark.parametrize("up", [-300, 0, 300])
def test_what_decides_a_tie_is_not_lost(values, up):
    """The sum lies in the middle of two floats, but for a number that is far smaller."""
    values = np.ldexp(values, up)
    X = np.repeat(values[:, None], 9, axis=1)
    centers, labels = np.zeros((1, 9)), np.zeros(len(values), np.int32)
    expected = exact_sums.total(values)
    for isa in hostile.ISAS:
        total = Bins(isa)
        total.add(values)
        assert total.value == expected
        sums = open_sums(X, 1, isa=isa)
        add(sums, Rows(X), labels)
        assert set(sums.values[0]) == {expected}
        for some in (X, sp.csr_array(X)):
            moved, counts = np.empty_like(centers), np.zeros(1)
            update = Update(Rows(some), 1, isa=isa, n_threads=1, by_entries=some is not X)
            update.run(labels, centers, moved, counts)
            assert set(moved[0]) == {exact_sums.rounded(sum(exact_sums.products(values)), 3)}


@pytest.mark.parametrize("n", [0, 1, 7, 8, 4095, 4096, 4097, 30_000])
@pytest.mark.parametrize("weighting", ["none", "plain", "some zero", "negative", "wide"])
def test_many_numbers(n, weighting):
    rng = np.random.RandomState(n)
    values = mixed(rng, 1, n)[0]
    weights = WEIGHTS[weighting](rng, n)
    found = set()
    for isa in hostile.ISAS:
        total = Bins(isa)
        total.add(values, weights)
        found.add(total.value)
    assert found == {binned(values, weights)}
    order = rng.permutation(n)
    total = Bins(LAST)
    total.add(values[order], None if weights is None else weights[order])
    assert found == {total.value}


def test_equal_numbers_of_one_sign_are_carried():
    value = np.nextafter(2.0**26, 0)
    total = Bins(LAST)
    for _ in range(30):
        total.add(np.full(10_000, value))
    assert total.value == exact_sums.rounded(300_000 * exact_sums.whole(value))
    total.add(np.full(300_000, -value))
    assert total.value == 0.0


@pytest.mark.parametrize("values", [[-1e306], [-1e306, 3e305], [-1.5e308, 1e-300], [-1e300] * 9])
def test_sums_below_zero_that_are_almost_too_large(values):
    total = Bins(LAST)
    total.add(np.array(values))
    assert total.value == exact_sums.total(values)


def test_numbers_that_are_not_finite():
    for values, expected in (
        ([np.inf, 1.0], np.inf), ([-np.inf, 1.0], -np.inf), ([1e308, 1e308], np.inf),
        ([-1e308] * 9, -np.inf), ([1e308, 1e308, -1e308], 1e308), ([np.inf, -np.inf], np.nan),
        ([np.nan], np.nan), ([np.nan, np.inf], np.nan),
    ):  # fmt: skip
        for order in itertools.islice(itertools.permutations(values), 6):
            total = Bins(LAST)
            for value in order:
                total.add(np.array([value]))
            np.testing.assert_equal(total.value, expected)
    with pytest.raises(ValueError, match="one weight per value"):
        Bins(LAST).add(np.ones(3), np.ones(2))


# ---------------------------------------------------------------- moments


def all_moments(rows, isa=LAST, n_threads=1, runs=None):
    found = Moments(rows.n_features, isa=isa, n_threads=n_threads)
    for first, stop in [(0, rows.n_rows)] if runs is None else runs:
        found.add(rows, first, stop)
    assert found.finite
    return (*found.means(rows.n_rows), found.largest, found.least)


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_are_exact(kind, dtype):
    rng = np.random.RandomState(8)
    for n, d in ((1, 3), (2, 8), (300, 9), (5000, 2)):
        X = COLUMNS[kind](rng, n, d).astype(dtype)
        mean, variance, largest, least = all_moments(Rows(X))
        expected = exact_sums.moments(X)
        np.testing.assert_array_max_ulp(mean, expected[0], 1)
        # The squares keep 100 bits from their largest on.
        np.testing.assert_allclose(
            variance, expected[1], rtol=4e-16, atol=2.0**-94 * np.square(largest).max()
        )
        assert np.array_equal(largest, magnitudes(X)[0])
        assert np.array_equal(least, magnitudes(X)[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_have_no_order(dtype):
    rng = np.random.RandomState(9)
    n, d = 7000, 21
    X = (mixed(rng, n, d) * (rng.uniform(size=(n, d)) < 0.5)).astype(dtype)
    X[4, 4] = 1e30
    found = set()
    for isa in hostile.ISAS:
        for n_threads in (1, 2, 3, 8):
            shuffled = X[rng.permutation(n)]
            cuts = [0, *np.sort(rng.randint(n, size=4)).tolist(), n]
            runs = list(itertools.pairwise(cuts))
            rng.shuffle(runs)
            for some in (X, shuffled, np.asfortranarray(shuffled)):
                for parts in (None, runs):
                    moments = all_moments(Rows(some), isa, n_threads, parts)
                    found.add(b"".join(values.tobytes() for values in moments))
            plan = hostile.plan_for(Rows(sp.csr_array(X)), 3, isa, n_threads=n_threads)
            stats = column_stats(Rows(sp.csr_array(shuffled)), plan)
            names = ("mean", "variance", "largest", "least")
            found.add(b"".join(getattr(stats, name).tobytes() for name in names))
    assert len(found) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_of_what_is_not_finite(bad, dtype):
    X = np.ones((1000, 11), dtype=dtype)
    X[700, 9] = bad
    moments = Moments(11, isa=LAST, n_threads=2)
    rows = Rows(X)
    moments.add(rows, 0, 700)
    assert moments.finite
    moments.add(rows, 700, 1000)
    assert not moments.finite
    mean, variance = moments.means(1000)
    assert np.flatnonzero(np.isnan(mean)).tolist() == [9]
    assert np.flatnonzero(np.isnan(variance)).tolist() == [9]
    with pytest.raises(IndexError):
        moments.add(rows, 0, 1001)
    with pytest.raises(ValueError, match="another length"):
        moments.add(Rows(np.ones((3, 10))), 0, 3)

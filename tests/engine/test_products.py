"""Distances of long rows from norms and products: within their bound, equal everywhere."""

import dataclasses
import itertools
from decimal import Decimal, localcontext
from fractions import Fraction

import hostile
import numpy as np
import pytest
import reference

from tilewise import euclidean_distances, pairwise_distances, pairwise_distances_chunked
from tilewise.engine import Rows, fill_matrix, matrix, plan_matrix
from tilewise.engine.matrix import _origin as looked_for
from tilewise.kernels import _pairs
from tilewise.plan import thresholds

ISAS = hostile.ISAS


def canonical(X, Y):
    with np.errstate(over="ignore", invalid="ignore"):
        return reference.canonical(X, Y)


def filled(X, Y, origin, kernel="sqeuclidean", isa=None, **changes):
    rows_x, rows_y = Rows(X), Rows(Y)
    plan = plan_matrix(rows_x, rows_y, np.float64, kernel=kernel, n_threads=1)
    sizes = {
        name: getattr(plan, name)
        for name in ("isa", "n_threads", "row_block", "column_block", "fetch_rows", "group")
    }
    sizes.update(changes, isa=isa or plan.isa)
    turned = sizes.get("turned", False)
    out = np.full((len(X), len(Y)), -7.0)
    _pairs.fill(
        rows_x, 0, rows_y, 0, out, kernel=kernel, origin=origin, turned=turned,
        **{name: value for name, value in sizes.items() if name != "turned"},
    )  # fmt: skip
    return out


def errors(found, X, Y, count, rng):
    """Errors of some roots in units in the last place, against rational numbers."""
    worst = []
    for i, j in zip(
        rng.integers(len(X), size=count), rng.integers(len(Y), size=count), strict=True
    ):
        exact = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(X[i], Y[j], strict=True))
        root = Fraction(found[i, j])
        if not root:
            assert not exact
            continue
        # (root^2 - exact) / (root + sqrt(exact)), and both are nearly the same.
        worst.append(abs(root**2 - exact) / (2 * root * Fraction(np.spacing(found[i, j]))))
    return np.array([float(error) for error in worst] or [0.0])


def kinds(rng, n, d):
    """Yield (name, rows) of many sorts."""
    yield "normal", rng.standard_normal((n, d))
    yield "positive", rng.random((n, d))
    yield "offset", rng.standard_normal((n, d)) + 1e6
    yield "low rank", rng.standard_normal((n, 3)) @ rng.standard_normal((3, d))
    yield "grid", rng.integers(0, 4, (n, d)) / 3
    yield (
        "clusters",
        100 * rng.standard_normal((5, d))[rng.integers(5, size=n)] + rng.random((n, d)),
    )
    yield "columns", rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-18, 18, d)
    yield "rows", rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-30, 30, (n, 1))
    yield "large", rng.standard_normal((n, d)) * 1e130
    yield "small", rng.standard_normal((n, d)) * 1e-70


@pytest.mark.parametrize("d", [32, 65, 200, 777])
def test_within_a_few_units_of_the_true_distance(d):
    rng = np.random.default_rng(d)
    for name, Z in kinds(rng, 60, d):
        X, Y = Z[:30].copy(), Z[30:].copy()
        Y[::5] = X[: len(Y[::5])] * (1 + 1e-9)
        Y[1::5] = X[: len(Y[1::5])]
        origin = (X.mean(axis=0) + Y.mean(axis=0)) / 2
        found = filled(X, Y, origin, "euclidean")
        own = errors(np.sqrt(canonical(X, Y)), X, Y, 60, np.random.default_rng(1))
        mine = errors(found, X, Y, 60, np.random.default_rng(1))
        assert mine.max() <= 4 + own.max(), name
        assert (found[canonical(X, Y) == 0] == 0).all()
        # Few of them would differ from canonical ones if all were measured directly.
        if name in ("normal", "offset", "large"):
            assert (found != np.sqrt(canonical(X, Y))).mean() > 0.02, name


@pytest.mark.parametrize("d", [32, 100, 1000])
def test_error_is_below_its_bound(d):
    """Also where all roundings go the same way."""
    rng = np.random.default_rng(d)
    X, Y = (np.repeat(rng.standard_normal((60, 1)), d, axis=1) for _ in "xy")
    exact = (X[:, :1] - Y[:, 0]).astype(np.longdouble) ** 2 * d
    found = filled(X, Y, np.zeros(d))
    error = np.abs(found - exact) / exact
    # The difference of the reference is a rounded one.
    assert 0 < error.max() <= _pairs.product_error(d) + 2.0**-52
    assert _pairs.product_error(d) < (d / 16 + d / 64 + 120) * 2.0**-53


@pytest.mark.parametrize(
    "name", ["1e150", "1e-150", "1e300", "1e-300", "subnormal", "limits", "zeros", "all_equal"]
)
def test_what_products_cannot_hold_is_canonical(name):
    rng = np.random.RandomState(0)
    X, Y = hostile.make(name, rng, 70, 40, 66, np.float64)
    for origin in (np.zeros(40), X.mean(axis=0) if name not in ("1e300", "limits") else X[0]):
        for isa in ISAS:
            found = filled(X, Y, origin, isa=isa)
            np.testing.assert_array_equal(found, canonical(X, Y))


@pytest.mark.parametrize("d", [32, 33, 64, 130, 300])
def test_same_bits_everywhere(d):
    rng = np.random.default_rng(d)
    for name, Z in kinds(rng, 150, d):
        X, Y = Z[:80], Z[80:]
        origin = Z.mean(axis=0)
        expected = filled(X, Y, origin)
        for isa in ISAS:
            np.testing.assert_array_equal(filled(X, Y, origin, isa=isa), expected, err_msg=name)
        for changes in (
            {"n_threads": 3, "row_block": 12}, {"column_block": 32, "group": 5},
            {"group": 48}, {"turned": True}, {"row_block": 7, "column_block": 64},
        ):  # fmt: skip
            np.testing.assert_array_equal(filled(X, Y, origin, **changes), expected)
        for other in (np.asfortranarray(X), X[::-1].copy()[::-1]):
            np.testing.assert_array_equal(filled(other, Y, origin), expected)
        np.testing.assert_array_equal(filled(Y, X, origin).T, expected)
        own = filled(Z, Z, origin)
        np.testing.assert_array_equal(own, own.T)
        assert (own.diagonal() == 0).all()


def test_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 50))
    whole = pairwise_distances(X)
    np.testing.assert_array_equal(whole, whole.T)
    assert (whole.diagonal() == 0).all()
    np.testing.assert_array_equal(np.concatenate(list(
        pairwise_distances_chunked(X, working_memory=0.05))), whole)  # fmt: skip
    np.testing.assert_array_equal(pairwise_distances(X, n_threads=3), whole)
    np.testing.assert_array_equal(euclidean_distances(X, np.asfortranarray(X)), whole)


def test_which_matrices_are_canonical():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 40)) + 100
    rows = Rows(X)
    out = np.empty((200, 200))
    origin = looked_for(rows, rows, out, "euclidean", 2.0, None, False)
    assert origin.dtype == np.float64
    assert np.abs(origin - 100).max() < 1
    exact = np.sqrt(canonical(X, X))
    assert (pairwise_distances(X) != exact).any()
    np.testing.assert_allclose(pairwise_distances(X), exact, rtol=1e-14)
    # The engine's own callers, short rows, few rows, and rows most of which are close together.
    np.testing.assert_array_equal(fill_matrix(rows, rows, out, kernel="euclidean"), exact)
    for A, B in (
        (X[:, :31], X[:, :31]), (X[:63], X), (X, X[:63]),
        (np.repeat(X[:2] * 1000, 100, axis=0) + X, X[:64] * 1000),
        (np.repeat(X[:2], 100, axis=0), np.repeat(X[:2], 100, axis=0)),
    ):  # fmt: skip
        if len(B) == 64:
            A = B = np.repeat(rng.standard_normal((2, 40)) * 1e4, 60, axis=0) + X[:120]
        np.testing.assert_array_equal(pairwise_distances(A, B), np.sqrt(canonical(A, B)))


def test_plans_change_nothing():
    rng = np.random.default_rng(4)
    rows_x, rows_y = Rows(rng.standard_normal((130, 70))), Rows(rng.standard_normal((90, 70)))
    plan = plan_matrix(rows_x, rows_y, np.float64, kernel="euclidean", n_threads=1)
    results = [
        fill_matrix(
            rows_x, rows_y, np.empty((130, 90)), kernel="euclidean", canonical=False,
            plan=dataclasses.replace(plan, isa=isa, streaming=streaming, group=group),
        )
        for isa in ISAS for streaming in (False, True) for group in (3, 12, 50)
    ]  # fmt: skip
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cosine(dtype):
    """Near-parallel rows as accurate as others, and the same bits everywhere."""
    rng = np.random.default_rng(2)
    X = (rng.standard_normal((150, 70)) + 0.3).astype(dtype)
    X[::9] = X[1::9] * dtype(2)
    X[2::9] = X[1::9] * (1 + 1e-3 * rng.standard_normal(70)).astype(dtype)
    X[5] = 0
    rows = Rows(X)
    plan = plan_matrix(rows, rows, dtype, kernel="cosine", n_threads=1)
    direct = fill_matrix(rows, rows, np.empty((150, 150)), kernel="cosine")
    found = pairwise_distances(X, metric="cosine")
    assert found.dtype == dtype
    tolerance = 1e-14 if dtype == np.float64 else 1e-6 * 70**0.5
    np.testing.assert_allclose(found, direct, rtol=tolerance, atol=0)
    assert (found != direct.astype(dtype)).any()
    assert (found.diagonal() == 0).all()
    assert (np.delete(found[5], 5) == 1).all()
    np.testing.assert_array_equal(found, found.T)
    for changes in ({"isa": isa} for isa in ISAS):
        other = fill_matrix(
            rows, rows, np.empty((150, 150), dtype), kernel="cosine", canonical=False,
            plan=dataclasses.replace(plan, **changes, group=5),
        )  # fmt: skip
        np.testing.assert_array_equal(other, found)


def exact_cosine(x, y):
    """1 - cos of two rows to 60 digits."""
    x, y = [Fraction(float(value)) for value in x], [Fraction(float(value)) for value in y]
    xx, yy, xy = (
        sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, x), (y, y), (x, y))
    )
    sine = 1 - xy**2 / (xx * yy)
    with localcontext(prec=80):
        sine = Decimal(sine.numerator) / Decimal(sine.denominator)
        cosine = (1 - sine).sqrt()
        return sine / (1 + cosine) if xy > 0 else 1 + cosine


def hostile_cosines(d):
    """Float32 rows, most of them ordinary, and those of them that are not."""
    rng = np.random.default_rng(d)
    X = rng.standard_normal((128, d)).astype(np.float32)
    X[1] = np.rint(50 * X[1])  # three times which is exact
    X[0], X[2], X[3] = X[1] * np.float32(3), X[1] * -1, X[1]
    X[3, d // 2] = np.nextafter(X[3, d // 2], np.float32(9))
    X[4:8] = 0
    X[4, :2], X[5, :2] = (1 + 2.0**-23, 1), (1, 1 - 2.0**-23)
    X[6, :2], X[7, :2] = (1, 1e-15), (1, 2e-15)
    X[9], X[11] = X[8] * np.float32(1e-37), X[10] * np.float32(1e37)
    for i, size in enumerate(np.geomspace(1e-7, 1, 12)):
        X[12 + i] = X[24] + size * rng.standard_normal(d)
    X[25] = 1e-45
    return X, 26


@pytest.mark.parametrize("d", [48, 65, 300])
def test_float32_cosines_of_all_angles(d):
    X, special = hostile_cosines(d)
    rows = Rows(X)
    out = np.empty((len(X), len(X)), np.float32)
    assert looked_for(rows, rows, out, "unit_cosine", 2.0, None, False) is not None
    found = pairwise_distances(X, metric="cosine")
    for i, j in itertools.product(range(special + 4), repeat=2):
        exact = exact_cosine(X[i], X[j])
        error = abs(Decimal(float(found[i, j])) - exact)
        assert error <= Decimal("1e-6") * Decimal(d).sqrt() * exact, (i, j)
    assert found[4, 5] > 0
    assert found[0, 1] == 0
    np.testing.assert_array_equal(found, found.T)
    assert found.min() >= 0
    assert found.max() <= 2


def test_float32_cosines_are_the_same_everywhere():
    X, _ = hostile_cosines(100)
    X[40] = 0
    X, Y = X, X[::-1][:90].copy()
    expected = pairwise_distances(X, Y, metric="cosine")
    assert (expected[40] == 1).all()
    for other in (np.asfortranarray(X), X[::-1].copy()[::-1], np.repeat(X, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(pairwise_distances(other, Y, metric="cosine"), expected)
    np.testing.assert_array_equal(pairwise_distances(Y, X, metric="cosine").T, expected)
    for n_threads in (2, 3):
        found = pairwise_distances(X, Y, metric="cosine", n_threads=n_threads)
        np.testing.assert_array_equal(found, expected)
    whole = pairwise_distances(X, metric="cosine")
    np.testing.assert_array_equal(
        np.concatenate(list(pairwise_distances_chunked(X, metric="cosine", working_memory=0.01))),
        whole,
    )
    plan = plan_matrix(Rows(X), Rows(Y), np.float32, kernel="cosine", n_threads=1)
    for isa in ISAS:
        found = fill_matrix(
            Rows(X), Rows(Y), np.empty_like(expected), kernel="cosine", canonical=False,
            plan=dataclasses.replace(plan, isa=isa),
        )  # fmt: skip
        np.testing.assert_array_equal(found, expected)


def test_float32_cosines_in_any_blocks():
    X, _ = hostile_cosines(130)
    units, is_zero = np.empty_like(X), np.empty(len(X), np.int8)
    plan = plan_matrix(Rows(X), Rows(X), np.float32, kernel="cosine", n_threads=1)
    _pairs.unit_rows(Rows(X), 0, units, is_zero, isa=plan.isa)
    np.testing.assert_allclose((units.astype(float) ** 2).sum(axis=1), 1, rtol=1e-6)
    results = [
        _pairs.fill(
            Rows(units), first, Rows(units), 0, out, kernel="unit_cosine", isa=isa, n_threads=1,
            row_block=rows, column_block=columns, fetch_rows=9, group=group, turned=turned,
            origin=np.zeros(130, np.float32), own_x=Rows(X), own_y=Rows(X),
        ) or out
        for isa in ISAS
        for rows, columns, group, turned in ((99, 99, 12, False), (7, 32, 5, True), (5, 16, 48, 0))
        for first in (0, 3) for out in [np.empty((len(X) - first, len(X)), np.float32)]
    ]  # fmt: skip
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0][len(X) - len(other) :])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mirrored_half_is_the_other_one(monkeypatch, metric, dtype):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 60)).astype(dtype)
    X[7], X[150], X[30] = X[8] * 2, X[20] + dtype(1e-4), 0
    monkeypatch.setattr(thresholds, "MIRRORED_ROWS", 10**6)
    whole = pairwise_distances(X, metric=metric)
    monkeypatch.setattr(thresholds, "MIRRORED_FEATURES", 48)
    widths, fill_part = set(), matrix._fill_part

    def watched(*arguments):
        widths.add(arguments[1].shape[1])
        fill_part(*arguments)

    monkeypatch.setattr(matrix, "_fill_part", watched)
    for rows in (64, 50, 33):
        monkeypatch.setattr(thresholds, "MIRRORED_ROWS", rows)
        found = pairwise_distances(X, metric=metric, n_threads=2)
        assert 200 - rows in widths
        np.testing.assert_array_equal(found, whole)


def test_float64_cosines_of_rows_made_once(monkeypatch):
    """The same bits as from rows that the blocks divide by their lengths."""
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((90, 50)), rng.standard_normal((70, 50))
    X[3], Y[5], X[6], Y[7], Y[8] = 0, 0, X[6] * 1e-200, X[7] * 1e200, X[8]
    found = [pairwise_distances(*rows, metric="cosine") for rows in ((X,), (X, Y))]
    assert (found[1][3] == 1).all()
    assert (found[1][:, 5] == 1).all()
    monkeypatch.setattr(matrix, "_fill_cosines", lambda *_: False)
    for mine, rows in zip(found, ((X,), (X, Y)), strict=True):
        np.testing.assert_array_equal(mine, pairwise_distances(*rows, metric="cosine"))

"""Matrices of distances against plain references, and the same bits however they are made."""

import dataclasses
import itertools

import hostile
import numpy as np
import pytest
import reference
from scipy.spatial.distance import cdist

from tilewise.engine import KERNELS, Rows, fill_matrix, plan_matrix
from tilewise.engine.matrix import _origin as looked_for
from tilewise.kernels import _dispatch, _pairs

ISAS = _dispatch.available_isas()
SIZES = (1, 2, 4, 5, 11, 12, 13, 31, 33, 48, 65, 130)
DEPTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 130, 200)


def matrix(X, Y, dtype, kernel, p=2.0, weights=None, **changes):
    rows_x = Rows(X)
    rows_y = rows_x if Y is X else Rows(Y)
    out = np.full((rows_x.n_rows, rows_y.n_rows), -7, dtype)
    plan = plan_matrix(rows_x, rows_y, dtype, kernel=kernel, p=p, weights=weights, n_threads=1)
    plan = dataclasses.replace(plan, **changes)
    return fill_matrix(rows_x, rows_y, out, kernel=kernel, p=p, weights=weights, plan=plan)


def wanted(X, Y, kernel, p=2.0, weights=None):
    """The definition, in float64."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    if kernel == "dot":
        return X @ Y.T
    if kernel == "nan_euclidean":
        gap = X[:, None] - Y[None]
        known = ~np.isnan(gap)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(np.nansum(gap**2, axis=2) / known.sum(axis=2) * X.shape[1])
    more = {} if weights is None else {"w": weights}
    if kernel == "minkowski":
        more["p"] = p
    return cdist(X, Y, {"manhattan": "cityblock"}.get(kernel, kernel), **more)


def variants():
    """Yield (kernel, p, weighted) of everything there is."""
    for kernel in KERNELS:
        if kernel == "minkowski":
            for p, weighted in itertools.product((0.5, 1, 1.5, 2, 3, 4, 17, np.inf), (False, True)):
                yield kernel, p, weighted
        else:
            yield kernel, 2.0, False
            if kernel not in ("dot", "cosine", "nan_euclidean"):
                yield kernel, 2.0, True


VARIANTS = list(variants())


def made(rng, n, m, d, dtype, weighted, kernel):
    X = rng.standard_normal((n, d)).astype(dtype)
    Y = rng.standard_normal((m, d)).astype(dtype)
    if kernel in ("hamming", "canberra", "braycurtis"):
        X, Y = (np.round(2 * a) for a in (X, Y))
        X[0], Y[0] = np.abs(X[0]) + 1, np.abs(Y[0])
    if kernel == "nan_euclidean":
        X[rng.random(X.shape) < 0.3] = np.nan
        Y[0] = np.nan
    return X, Y, rng.random(d) + 0.1 if weighted else None


@pytest.mark.parametrize(("kernel", "p", "weighted"), VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_definition(kernel, p, weighted, dtype):
    rng = np.random.default_rng(5)
    for n, m, d in zip(
        rng.permutation(SIZES), rng.permutation(SIZES), (1, 2, 3, 4, 5, 8, 9, 16, 17, 65, 100, 130),
        strict=True,
    ):  # fmt: skip
        X, Y, weights = made(rng, n, m, d, dtype, weighted, kernel)
        expected = wanted(X, Y, kernel, p, weights)
        for out_type in {dtype, np.float64}:
            found = matrix(X, Y, out_type, kernel, p, weights)
            tolerance = 1e-6 * np.sqrt(d) if out_type == np.float32 else 1e-13
            size = np.abs(X.astype(float)) @ np.abs(Y.T.astype(float)) if kernel == "dot" else 0
            plain = np.isfinite(expected)
            np.testing.assert_array_equal(found[~plain], expected[~plain])
            size = (tolerance * (np.abs(expected) + size) + 4e-16)[plain]
            assert (np.abs(found[plain] - expected[plain]) <= size).all()


@pytest.mark.parametrize("isa", ISAS)
def test_float64_is_canonical(isa):
    rng = np.random.default_rng(1)
    for (n, d), m in zip(
        zip(np.resize(SIZES, len(DEPTHS)), DEPTHS, strict=True),
        np.resize(SIZES[::-1], len(DEPTHS)),
        strict=True,
    ):
        for dtypes in itertools.product((np.float32, np.float64), repeat=2):
            X = rng.standard_normal((n, d)).astype(dtypes[0])
            Y = rng.standard_normal((m, d)).astype(dtypes[1])
            expected = reference.canonical(X.astype(np.float64), Y.astype(np.float64))
            for turned in (False, True):
                found = matrix(X, Y, np.float64, "sqeuclidean", isa=isa, turned=turned)
                np.testing.assert_array_equal(found, expected)
                found = matrix(X, Y, np.float64, "euclidean", isa=isa, turned=turned)
                np.testing.assert_array_equal(found, np.sqrt(expected))
                # A float32 matrix of unequal types is the rounded one.
                if dtypes[0] != dtypes[1]:
                    found = matrix(X, Y, np.float32, "euclidean", isa=isa, turned=turned)
                    np.testing.assert_array_equal(found, np.sqrt(expected).astype(np.float32))


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_euclidean(name, dtype):
    """Every single pair is accurate, whatever float32 does to its squares."""
    rng = np.random.RandomState(3)
    for n, d, k in ((40, 1, 33), (30, 7, 40), (50, 64, 35), (70, 48, 64), (65, 130, 70)):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        Y = centers.astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            wide = X.astype(np.float64), Y.astype(np.float64)
            squares, roots = reference.canonical(*wide), reference.roots(*wide)
            for kernel, exact in (("sqeuclidean", squares), ("euclidean", roots)):
                found = matrix(X, Y, dtype, kernel)
                if dtype == np.float64:
                    np.testing.assert_array_equal(found, exact)
                    continue
                close_to(found, exact, d)
                assert (found[exact == 0] == 0).all()
    if dtype == np.float32:
        symmetric = matrix(X, X, dtype, "euclidean")
        np.testing.assert_array_equal(symmetric, symmetric.T)
        assert (symmetric.diagonal() == 0).all()


def close_to(found, exact, d):
    """Relative error of float32 results: 1e-6 sqrt(d), or a few of the smallest numbers."""
    rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    gap = np.abs(found[finite].astype(np.float64) - exact[finite])
    assert (gap <= 1e-6 * np.sqrt(d) * exact[finite] + 1.5e-45).all()
    assert (found[~finite] >= np.finfo(np.float32).max * (1 - 1e-6 * np.sqrt(d))).all()


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_manhattan(name, dtype):
    rng = np.random.RandomState(4)
    for n, d, k in ((40, 1, 33), (30, 7, 40), (50, 64, 35), (20, 130, 70)):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        Y = centers.astype(dtype)
        with np.errstate(over="ignore"):
            exact = np.abs(X.astype(np.longdouble)[:, None] - Y.astype(np.longdouble)).sum(axis=2)
            found = matrix(X, Y, dtype, "manhattan")
            if dtype == np.float32:
                close_to(found, exact.astype(np.float64), d)
            else:
                np.testing.assert_allclose(found, exact.astype(np.float64), rtol=1e-13)


@pytest.mark.parametrize(("kernel", "p", "weighted"), VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits(kernel, p, weighted, dtype):
    """For every instruction set, number of threads, block, and place in the matrix."""
    rng = np.random.default_rng(8)
    for n, m, d in ((150, 67, 33), (3, 260, 130), (66, 70, 150)):
        X, Y, weights = made(rng, n, m, d, dtype, weighted, kernel)
        first = matrix(X, Y, dtype, kernel, p, weights)
        ways = [{"isa": isa} for isa in ISAS] + [
            {"n_threads": t, "row_block": 16} for t in (2, 3, 8)
        ]
        ways += [
            {"turned": True, "group": 5}, {"turned": False, "streaming": True},
            {"row_block": 1, "column_block": 1, "group": 1}, {"column_block": 32, "group": 7},
            {"fetch_rows": 3, "row_block": 20, "streaming": True, "column_block": 48},
        ]  # fmt: skip
        for way in ways:
            np.testing.assert_array_equal(matrix(X, Y, dtype, kernel, p, weights, **way), first)
        part = np.empty((n - 2, m - 5), dtype)
        fill_matrix(
            Rows(X), Rows(Y), part, kernel=kernel, p=p, weights=weights, x_first=1, y_first=3
        )
        np.testing.assert_array_equal(part, first[1:-1, 3:-2])
        if weights is None:
            np.testing.assert_array_equal(matrix(Y, X, dtype, kernel, p).T, first)


def layouts(X):
    """Yield the same rows in every order that memory offers."""
    big = np.zeros((2 * X.shape[0], X.shape[1] + 3), X.dtype)
    big[::2, 1:-2] = X
    yield big[::2, 1:-2]
    yield np.asfortranarray(X)
    yield X[::-1].copy()[::-1]
    yield np.ascontiguousarray(X[:, ::-1])[:, ::-1]
    yield X.astype(X.dtype.newbyteorder())
    frozen = X.copy()
    frozen.flags.writeable = False
    yield frozen
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    yield unaligned


@pytest.mark.parametrize("kernel", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts(kernel, dtype):
    rng = np.random.default_rng(2)
    X, Y = (rng.standard_normal((n, 19)).astype(dtype) for n in (130, 45))
    first = matrix(X, Y, dtype, kernel)
    for other in layouts(X):
        np.testing.assert_array_equal(matrix(other, Y, dtype, kernel), first)
        np.testing.assert_array_equal(matrix(Y, other, dtype, kernel).T, first)
    whole = np.rint(4 * X).astype(np.int16)
    np.testing.assert_array_equal(
        matrix(whole, Y, np.float64, kernel), matrix(whole.astype(float), Y, np.float64, kernel)
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_places(kernel):
    """Nothing outside the given rows of out is touched, wherever they start."""
    rng = np.random.default_rng(6)
    X, Y = np.abs(rng.standard_normal((2, 40, 3))) + 0.1
    first = matrix(X, Y, np.float64, kernel)
    for dtype, offset, streaming in itertools.product((np.float32, np.float64), range(5), (0, 1)):
        around = np.full((40, 60), -7, dtype)
        plan = plan_matrix(Rows(X), Rows(Y), dtype, kernel=kernel)
        plan = dataclasses.replace(plan, streaming=bool(streaming), turned=False)
        fill_matrix(Rows(X), Rows(Y), around[:, offset : offset + 40], kernel=kernel, plan=plan)
        np.testing.assert_array_equal(around[:, offset : offset + 40], first.astype(dtype))
        assert (around[:, :offset] == -7).all()
        assert (around[:, offset + 40 :] == -7).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_rows_or_columns(kernel, dtype):
    for n, m, d in ((0, 4, 3), (4, 0, 3), (0, 0, 0)):
        assert matrix(np.ones((n, d), dtype), np.ones((m, d), dtype), dtype, kernel).shape == (n, m)
    nothing = matrix(np.ones((3, 0), dtype), np.ones((2, 0), dtype), dtype, kernel)
    if kernel in ("hamming", "braycurtis", "nan_euclidean"):
        assert np.isnan(nothing).all()
    else:
        assert (nothing == (1 if kernel == "cosine" else 0)).all()


def test_cosine_of_zeros_and_of_equal_rows():
    X = np.random.default_rng(0).standard_normal((40, 11))
    X[[3, 17]] = 0
    X[20] = 3 * X[21]
    for dtype in (np.float32, np.float64):
        found = matrix(X.astype(dtype), Rows(X.astype(dtype)).source, dtype, "cosine")
        np.testing.assert_array_equal(found[[3, 17]][:, [3, 17]], 1)
        assert (np.delete(found[3], 3) == 1).all()
        rows = Rows(X.astype(dtype))
        own = fill_matrix(rows, rows, np.empty((40, 40), dtype), kernel="cosine")
        assert (own.diagonal() == 0).all()
        assert (np.delete(own[3], 3) == 1).all()
        np.testing.assert_array_equal(own, own.T)
        assert 0 <= own[20, 21] < 1e-13
        assert (own >= 0).all()
        assert (own <= 2).all()
        part = fill_matrix(rows, rows, np.empty((5, 30), dtype), kernel="cosine", x_first=2)
        np.testing.assert_array_equal(part, own[2:7, :30])


def test_cosine_near_duplicates_and_magnitudes():
    """Relative accuracy where one minus a product has none."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 30))
    Y = X * (1 + 1e-5 * rng.standard_normal(X.shape))
    wide_x, wide_y = X.astype(np.longdouble), Y.astype(np.longdouble)
    wide_x /= np.sqrt((wide_x**2).sum(axis=1))[:, None]
    wide_y /= np.sqrt((wide_y**2).sum(axis=1))[:, None]
    exact = (((wide_x[:, None] - wide_y) ** 2).sum(axis=2) / 2).astype(float)
    for scale in (1, 1e-300, 1e300, 5e307):
        size = scale / np.abs(X).max() if scale > 1 else scale
        np.testing.assert_allclose(matrix(X * size, Y, np.float64, "cosine"), exact, rtol=1e-8)


def test_mass_duplicates_are_zero():
    row = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    X = np.tile(row, (70, 1))
    for kernel in ("euclidean", "sqeuclidean", "manhattan", "chebyshev", "cosine"):
        assert not matrix(X, X, np.float32, kernel).any()


def test_refusals():
    rows = Rows(np.ones((3, 2)))
    out = np.empty((3, 3))
    for bad, message in (
        ({"kernel": "unknown"}, "no kernel"),
        ({"kernel": "minkowski", "p": 0.0}, "p must be"),
        ({"kernel": "minkowski", "p": np.nan}, "p must be"),
        ({"kernel": "dot", "weights": np.ones(2)}, "no weights"),
        ({"kernel": "euclidean", "weights": np.ones(3)}, "one entry"),
        ({"kernel": "euclidean", "x_first": 1}, "more rows"),
        ({"kernel": "euclidean", "y_first": -1}, "more rows"),
    ):
        with pytest.raises(ValueError, match=message):
            fill_matrix(rows, rows, out, **bad)
    for wrong in (np.empty((3, 6))[:, ::2], np.empty((3, 3), np.int64), np.empty((3, 3), ">f8")):
        with pytest.raises(ValueError, match="out"):
            fill_matrix(rows, rows, wrong, kernel="euclidean")
    with pytest.raises(ValueError, match="features"):
        fill_matrix(rows, Rows(np.ones((3, 4))), out, kernel="euclidean")


def test_memory_map(tmp_path):
    X = np.random.default_rng(0).standard_normal((50, 6))
    out = np.memmap(tmp_path / "out", np.float64, "w+", shape=(50, 50))
    fill_matrix(Rows(X), Rows(X), out, kernel="euclidean")
    out.flush()
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "out").reshape(50, 50), matrix(X, X, np.float64, "euclidean")
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_no_numbers_end(kernel, dtype):
    """Whoever calls has checked the values; if not, the loops still end."""
    X = np.full((30, 20), np.nan, dtype)
    X[::2] = np.inf
    X[::3] = 1
    with np.errstate(all="ignore"):
        found = matrix(X, X, dtype, kernel)
    assert found[0, 3] == (20 if kernel == "dot" else 0)


def clustered(rng, n, d, spread):
    """Two distant groups of rows."""
    X = rng.standard_normal((n, d)) + 1e4
    X[::2] += 1e3 * rng.standard_normal(d)
    X[: n // 2] += spread * rng.standard_normal((n // 2, d))
    return X.astype(np.float32)


@pytest.mark.parametrize("d", [48, 64, 65, 200, 1000])
def test_norms_and_products_are_used_only_where_they_are_accurate(d):
    """From far off the origin, between rows that are close, far and equal."""
    rng = np.random.default_rng(d)
    for spread in (0, 1e-3, 1, 1e3):
        X, Y = clustered(rng, 150, d, spread), clustered(rng, 100, d, spread)
        Y[::7] = X[: len(Y[::7])]
        Y[1::7] = np.nextafter(X[: len(Y[1::7])], np.float32(np.inf))
        exact = reference.canonical(X.astype(np.float64), Y.astype(np.float64))
        rows_x, rows_y = Rows(X), Rows(Y)
        for origin in (None, X.mean(axis=0), np.zeros(d, np.float32), X[0] + 100):
            for isa in ISAS:
                plan = plan_matrix(rows_x, rows_y, np.float32, kernel="euclidean", n_threads=1)
                for kernel, wanted in (("sqeuclidean", exact), ("euclidean", np.sqrt(exact))):
                    found = np.empty(exact.shape, np.float32)
                    _pairs.fill(
                        rows_x, 0, rows_y, 0, found, kernel=kernel, isa=isa, n_threads=1,
                        row_block=plan.row_block, column_block=plan.column_block,
                        fetch_rows=plan.fetch_rows, group=plan.group, origin=origin,
                    )  # fmt: skip
                    close_to(found, wanted, d)
                    assert (found[exact == 0] == 0).all()


def test_origin_is_looked_for_where_it_helps():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 100)).astype(np.float32) + 1000
    rows = Rows(X)
    out = np.empty((200, 200), np.float32)
    origin = looked_for(rows, rows, out, "euclidean", 2.0, None)
    assert np.abs(origin - 1000).max() < 1
    # Most distances would cancel; differences are made at once.
    twins = Rows(np.repeat(X[:10] * 1000, 20, axis=0) + X)
    assert looked_for(twins, twins, out, "euclidean", 2.0, None) is None
    same = Rows(np.tile(X[:1], (200, 1)))
    assert looked_for(same, same, out, "euclidean", 2.0, None) is None
    for kernel, p, weights in (("manhattan", 2.0, None), ("euclidean", 2.0, np.ones(100))):
        assert looked_for(rows, rows, out, kernel, p, weights) is None
    assert looked_for(Rows(X, np.float64), rows, out, "euclidean", 2.0, None) is None
    assert looked_for(rows, Rows(X[:3]), out, "euclidean", 2.0, None) is None


def test_very_long_rows():
    """Sums of many equal terms, where every rounding of float32 goes the same way."""
    for d in (8191, 8193, 300_000):
        X = np.ones((2, d), np.float32)
        Y = X[:1] + np.float32(1e-4)
        for kernel in ("euclidean", "sqeuclidean", "manhattan"):
            exact = wanted(X, Y, kernel)
            assert (np.abs(matrix(X, Y, np.float32, kernel) - exact) <= 1.2e-5 * exact).all()

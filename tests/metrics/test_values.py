"""Values of whole matrices: accuracy, symmetry, diagonals, dtypes, threads."""

import metrics_reference as reference
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

import tilewise
from tilewise.engine import KERNELS
from tilewise.metrics import METRICS

NAMES = sorted(METRICS)
DENSE = [name for name in NAMES if METRICS[name].sparse]
WEIGHTED = [name for name in NAMES if "w" in METRICS[name].parameters]
ORDERS = [0.5, 1.0, 1.5, 2.0, 3.0, np.inf]


def close(found, wanted, d, dtype):
    """Check every pair by itself: the promise is relative, also for the closest rows."""
    finfo = np.finfo(dtype)
    share = 1e-6 * np.sqrt(d) if dtype == np.float32 else (8 + d / 4) * finfo.eps
    with np.errstate(over="ignore"):
        wanted = wanted.astype(dtype).astype(np.float64)
    found = found.astype(np.float64)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    wrong = ~same & ~(np.abs(found - wanted) <= share * np.abs(wanted) + finfo.smallest_subnormal)
    assert not wrong.any(), (found[wrong][:3], wanted[wrong][:3])


def hostile_pairs(dtype):
    """Yield (name, X, Y) where cancellation, overflow or underflow would show."""
    rng = np.random.RandomState(0)
    for d in (1, 3, 8, 17, 64, 100):
        X = rng.standard_normal((7, d)).astype(dtype)
        Y = rng.standard_normal((9, d)).astype(dtype)
        yield f"plain, {d}", X, Y
        yield f"offset, {d}", X + dtype(1e6), Y + dtype(1e6)
        near = X[rng.randint(7, size=9)]
        near = np.nextafter(near, dtype(np.inf) * rng.choice([-1, 1], near.shape).astype(dtype))
        yield f"near duplicates, {d}", X, near
        yield f"near duplicates far away, {d}", X + dtype(1e6), near + dtype(1e6)
        yield f"zeros, {d}", np.zeros_like(X), np.where(rng.rand(9, d) < 0.5, Y, dtype(0))
        yield f"large, {d}", X * dtype(1e30), Y * dtype(1e30)
        yield f"small, {d}", X * dtype(1e-30), Y * dtype(1e-30)
        yield f"whole numbers, {d}", np.round(X * 2), np.round(Y * 2)
    tiny = np.finfo(dtype).smallest_subnormal
    steps = rng.randint(0, 50, (5, 6)).astype(dtype)
    yield "subnormal", steps * tiny, steps[::-1] * tiny


PAIRS = {
    (dtype.__name__, name): (X, Y)
    for dtype in (np.float32, np.float64)
    for name, X, Y in hostile_pairs(dtype)
}


@pytest.mark.parametrize("metric", [name for name in NAMES if name not in ("cosine", "hamming")])
def test_hostile_values(metric):
    for (dtype, name), (X, Y) in PAIRS.items():
        if metric == "inner_product" and not name.startswith(("whole", "zeros")):
            continue  # sums of products that cancel have no relative accuracy to promise
        if metric == "minkowski" and name.startswith(("large", "small", "subnormal")):
            continue  # powers of the differences leave the range in the definition as well
        with np.errstate(all="ignore"):
            try:
                wanted = reference.matrix(metric, X, Y)
            except OverflowError:
                continue
            found = tilewise.pairwise_distances(X, Y, metric=metric)
        assert found.dtype == X.dtype, name
        close(found, wanted, X.shape[1], np.dtype(dtype).type)


def test_cosine_and_hamming():
    for (dtype, name), (X, Y) in PAIRS.items():
        found = tilewise.pairwise_distances(X, Y, metric="hamming")
        np.testing.assert_allclose(found, reference.matrix("hamming", X, Y), rtol=2e-7)
        if name.startswith(("large", "small", "subnormal")) and dtype == "float64":
            continue
        found = tilewise.cosine_distances(X, Y)
        assert found.dtype == X.dtype
        absolute = 1e-15 * X.shape[1] if dtype == "float64" else 2e-7
        wanted = reference.matrix("cosine", X, Y)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=absolute, err_msg=name)
        assert (found >= 0).all()
        assert (found <= 2).all()


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_orders_of_minkowski(p, dtype):
    rng = np.random.RandomState(3)
    X, Y = (rng.standard_normal((n, 13)).astype(dtype) for n in (8, 11))
    found = tilewise.pairwise_distances(X, Y, metric="minkowski", p=p)
    wanted = reference.matrix("minkowski", X, Y, p=p)
    np.testing.assert_allclose(found, wanted, rtol=2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("metric", WEIGHTED)
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_are_those_of_scipy(metric, zeros):
    rng = np.random.RandomState(4)
    X, Y = rng.standard_normal((8, 10)), rng.standard_normal((9, 10))
    X[:, 3], Y[::2, 3] = 1.0, 1.0
    w = rng.uniform(0.1, 3, 10)
    if zeros:
        w[::3] = 0.0
    for p in ORDERS if metric == "minkowski" else [None]:
        order = {} if p is None else {"p": p}
        found = tilewise.pairwise_distances(X, Y, metric=metric, w=w, **order)
        np.testing.assert_allclose(found, cdist(X, Y, metric, w=w, **order), rtol=1e-13)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(NAMES), dtype=st.sampled_from(["f4", "f8"]))
def test_a_matrix_of_distances_is_one(data, metric, dtype):
    """Symmetric bit by bit, zero on the diagonal, never negative, never NaN by cancellation."""
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 19)))
    elements = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, 1e6])
    X = data.draw(hnp.arrays(np.dtype(dtype), shape, elements=elements))
    D = tilewise.pairwise_distances(X, metric=metric)
    assert D.dtype == X.dtype
    defined = np.ones_like(D, dtype=bool)
    if metric == "braycurtis":  # the quotient of two zeros where x = -y, as in scipy
        defined = np.abs(X[:, None] + X[None]).sum(axis=2, dtype=np.float64) > 0
        np.fill_diagonal(defined, True)
    assert np.array_equal(D[defined], D.T[defined])
    assert np.isfinite(D[defined]).all()
    if metric == "inner_product":
        return
    assert (D[defined] >= 0).all()
    assert (np.diag(D) == 0).all()
    twice = tilewise.pairwise_distances(X, X.copy(), metric=metric)
    off = ~np.eye(len(X), dtype=bool) & defined
    assert np.array_equal(D[off], twice[off])


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_and_parts_change_nothing(metric, n_threads):
    rng = np.random.RandomState(5)
    for n, m, d in ((150, 70, 20), (1, 900, 6), (400, 1, 33)):
        for dtype in (np.float32, np.float64):
            X, Y = (rng.standard_normal((rows, d)).astype(dtype) for rows in (n, m))
            one = tilewise.pairwise_distances(X, Y, metric=metric, n_threads=1)
            some = tilewise.pairwise_distances(X, Y, metric=metric, n_threads=n_threads)
            assert np.array_equal(one, some)
            jobs = tilewise.pairwise_distances(X, Y, metric=metric, n_jobs=n_threads)
            assert np.array_equal(one, jobs)
            part = tilewise.pairwise_distances(X[n // 2 :], Y[m // 2 :], metric=metric)
            assert np.array_equal(one[n // 2 :, m // 2 :], part)
            turned = tilewise.pairwise_distances(Y, X, metric=metric)
            assert np.array_equal(one, turned.T)


TYPES = [np.float32, np.float64, np.float16, np.int8, np.int64, np.uint16, np.bool_, ">f4", ">f8"]


@pytest.mark.parametrize("metric", NAMES)
def test_dtypes(metric):
    """float32 where both are float32, float64 for everything else, values of the same numbers."""
    values = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1]])
    wanted = tilewise.pairwise_distances(values[:2] * 1.0, values * 1.0, metric=metric)
    for a in TYPES:
        for b in TYPES:
            X, Y = values[:2].astype(a), values.astype(b)
            D = tilewise.pairwise_distances(X, Y, metric=metric)
            both = all(Z.dtype.kind == "f" and Z.dtype.itemsize == 4 for Z in (X, Y))
            assert D.dtype == (np.float32 if both else np.float64), (a, b)
            assert D.dtype.isnative
            np.testing.assert_allclose(D, wanted, rtol=2e-7, atol=2e-7 if both else 1e-15)


@pytest.mark.parametrize("dtype", ["f2", "i1", "u1", "i2", "u2", "?"])
@pytest.mark.parametrize("metric", NAMES)
def test_narrow_types_give_the_numbers_of_float64(metric, dtype):
    rng = np.random.RandomState(8)
    for d in (3, 40):
        values = rng.randint(0, 256, (70, d)) * (rng.rand(70, d) < 0.3)
        rows = (values * 0.37 if dtype == "f2" else values).astype(dtype)
        forms = [np.asarray] if dtype == "f2" else [np.asarray, sp.csr_array]
        for form in forms if METRICS[metric].sparse else [np.asarray]:
            X, Y = form(rows[:40]), form(rows[40:])
            for narrow in ((X, Y), (X, Y.astype(np.float32)), (X.astype(np.float32), Y)):
                wide = [Z.astype(np.float64) for Z in narrow]
                found, wanted = (
                    [tilewise.pairwise_distances(X, Y, metric=metric)]
                    + [*tilewise.argkmin(X, Y, 5, metric=metric)]
                    for X, Y in (narrow, wide)
                )
                if not METRICS[metric].largest_first:
                    found += tilewise.radius_neighbors(*narrow, 2.0, metric=metric)
                    wanted += tilewise.radius_neighbors(*wide, 2.0, metric=metric)
                for one, other in zip(found, wanted, strict=True):
                    assert one.dtype == other.dtype
                    for row, expected in zip(one, other, strict=True):
                        np.testing.assert_array_equal(row, expected, strict=True)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts(metric, dtype):
    rng = np.random.RandomState(6)
    X, Y = (rng.standard_normal((n, 11)).astype(dtype) for n in (30, 20))
    wanted = tilewise.pairwise_distances(X, Y, metric=metric)
    wide = np.zeros((60, 33), dtype)
    wide[::2, 1::3] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    for name, other in {
        "fortran": np.asfortranarray(X), "strided": wide[::2, 1::3], "read-only": frozen,
        "turned": X[::-1, ::-1].copy()[::-1, ::-1], "swapped": X.astype(X.dtype.newbyteorder()),
    }.items():  # fmt: skip
        found = tilewise.pairwise_distances(other, Y, metric=metric)
        assert found.dtype == dtype
        assert np.array_equal(found, wanted), name
        assert np.array_equal(tilewise.pairwise_distances(Y, other, metric=metric), wanted.T), name


@pytest.mark.parametrize("metric", DENSE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows(metric, dtype):
    rng = np.random.RandomState(7)
    X, Y = (rng.standard_normal((n, 40)).astype(dtype) for n in (25, 31))
    X[rng.rand(*X.shape) < 0.8] = 0
    Y[rng.rand(*Y.shape) < 0.8] = 0
    X[3], Y[5] = 0, X[4]
    wanted = tilewise.pairwise_distances(X, Y, metric=metric)
    wide = sp.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    forms = [form(X) for form in (sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_matrix)]
    for sparse in [*forms, wide, messy(X)]:
        for a, b in ((sparse, Y), (sparse, sp.csr_array(Y)), (X, sp.csr_array(Y))):
            found = tilewise.pairwise_distances(a, b, metric=metric)
            assert type(found) is np.ndarray
            assert found.dtype == dtype
            tolerance = 3e-6 if dtype == np.float32 else 1e-13
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance / 10)
    own = tilewise.pairwise_distances(forms[0], metric=metric)
    assert np.array_equal(own, own.T)
    if METRICS[metric].zero_diagonal:
        assert (np.diag(own) == 0).all()


def messy(X):
    """The same rows with explicit zeros, duplicate entries and indices in no order."""
    X = sp.csr_array(X)
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    row = np.concatenate([rows, rows, np.arange(X.shape[0])])
    column = np.concatenate([X.indices, X.indices, np.zeros(X.shape[0], int)])
    half = X.data / 2
    data = np.concatenate([half, half, np.zeros(X.shape[0], X.dtype)])
    order = np.argsort(row * 7919 + (column * 31) % 17, kind="stable")
    order = order[np.argsort(row[order], kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=X.shape[0]))])
    return sp.csr_array((data[order], column[order], offsets), shape=X.shape)


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        ("euclidean_distances", "euclidean"), ("manhattan_distances", "manhattan"),
        ("cosine_distances", "cosine"), ("nan_euclidean_distances", "nan_euclidean"),
    ],
)  # fmt: skip
def test_the_functions_of_one_metric(function, metric):
    rng = np.random.RandomState(8)
    X, Y = rng.standard_normal((12, 5)), rng.standard_normal((9, 5))
    call = getattr(tilewise, function)
    wanted = getattr(sklearn.metrics.pairwise, function)(X, Y)
    np.testing.assert_allclose(call(X, Y), wanted, rtol=1e-12)
    assert np.array_equal(call(X, Y), tilewise.pairwise_distances(X, Y, metric))
    assert np.array_equal(call(X), tilewise.pairwise_distances(X, None, metric))
    if metric in ("euclidean", "nan_euclidean"):
        np.testing.assert_allclose(call(X, Y, squared=True), wanted**2, rtol=1e-12)


def test_aliases():
    X = np.random.RandomState(9).standard_normal((6, 4))
    for row in METRICS.values():
        for alias in row.aliases:
            wanted = tilewise.pairwise_distances(X, metric=row.name)
            assert np.array_equal(tilewise.pairwise_distances(X, metric=alias), wanted)
        for alias in (*row.aliases, *row.neighbor_aliases):
            wanted, _ = tilewise.argkmin(X, X, 3, metric=row.name)
            assert np.array_equal(tilewise.argkmin(X, X, 3, metric=alias)[0], wanted)


def test_each_row_names_kernels():
    for row in METRICS.values():
        assert {row.kernel, row.surrogate} <= set(KERNELS), row.name

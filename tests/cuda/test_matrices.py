"""Matrices of distances on a device have the bits of the CPU's."""

import device_cases as cases
import numpy as np
import pytest

import tilewise

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

METRICS = ["euclidean", "sqeuclidean", "cosine"]
TYPES = [np.float32, np.float64]


def assert_same(found, wanted):
    found = cases.in_memory(found)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    # Zeros of both signs are told apart as well.
    wrong = np.argwhere(found.view(f"u{found.itemsize}") != wanted.view(f"u{wanted.itemsize}"))
    assert not len(wrong), (
        f"{len(wrong)} of {wanted.size} differ, first {wrong[0]}: "
        f"{found[tuple(wrong[0])]!r}, not {wanted[tuple(wrong[0])]!r}"
    )


def compare(X, Y, metric, kind="torch", **parameters):
    wanted = tilewise.pairwise_distances(X, Y, metric=metric, **parameters)
    found = tilewise.pairwise_distances(
        cases.on_device(X, kind), cases.on_device(Y, kind), metric=metric, **parameters
    )
    assert cases.kind_of(found) == kind
    assert_same(found, wanted)


def scaled(X, exponent):
    with np.errstate(all="ignore"):
        return np.ldexp(X, exponent).astype(X.dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n", "m", "d"), [(1, 1, 1), (3, 5, 1), (33, 9, 7), (20, 33, 8), (5, 3, 129)]
)
def test_differences(n, m, d, metric, dtype):
    rng = np.random.default_rng(n * d)
    compare(rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype), metric)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [50, 131])
def test_products(d, metric, dtype):
    rng = np.random.default_rng(d)
    X, Y = (rng.normal(size=(n, d)).astype(dtype) for n in (64, 67))
    Y[3], Y[7] = X[9], X[9] * dtype(1.0001)
    compare(X, Y, metric)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 60])
def test_rows_among_themselves(d, metric, dtype):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(70, d)).astype(dtype)
    X[5], X[8], X[9] = X[6], X[7] * dtype(1.0001), -X[10]
    X[3] = X[4] = 0
    wanted = tilewise.pairwise_distances(X, metric=metric)
    tensor = cases.on_device(X)
    assert_same(tilewise.pairwise_distances(tensor, metric=metric), wanted)
    assert_same(tilewise.pairwise_distances(tensor, tensor, metric=metric), wanted)
    assert not wanted.diagonal().any()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["huge", "tiny", "subnormal", "mixed", "far"])
@pytest.mark.parametrize("d", [5, 50])
def test_magnitudes(d, kind, metric, dtype):
    rng = np.random.default_rng(d)
    n = 64 if d == 50 else 7
    X, Y = (rng.normal(size=(n, d)).astype(dtype) for _ in range(2))
    wide = dtype == np.float64
    exponent = {"huge": (80, 680), "tiny": (-100, -560), "subnormal": (-140, -1050)}.get(kind)
    if exponent:
        X, Y = scaled(X, exponent[wide]), scaled(Y, exponent[wide])
    elif kind == "mixed":
        Y[::3] = scaled(Y[::3], 700 if wide else 90)
        X[1::2] = scaled(X[1::2], -800 if wide else -90)
    else:
        X, Y = X + dtype(1e6), Y + dtype(1e6)
        Y[:5] = X[:5]
    compare(X, Y, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_types(metric):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 200, size=(7, 9))
    Y = rng.integers(0, 200, size=(5, 9))
    for kind in (np.float16, np.uint8, np.int32, np.int64, np.int8, np.uint16):
        compare(X.astype(kind), Y.astype(kind), metric)
    compare(X > 100, Y > 100, metric)
    compare(X.astype(np.float32), Y.astype(np.float64), metric)
    compare(X.astype(np.int64) << 50, Y.astype(np.float32), metric)


def test_bfloat16_is_float32():
    rng = np.random.default_rng(0)
    X = cases.torch.from_numpy(rng.normal(size=(7, 9))).bfloat16()
    for metric in METRICS:
        found = tilewise.pairwise_distances(X.to(cases.PLACE), metric=metric)
        assert_same(found, tilewise.pairwise_distances(X.float().numpy(), metric=metric))


def test_strides():
    rng = np.random.default_rng(0)
    X = cases.on_device(rng.normal(size=(9, 40)))
    for rows in (X.T, X[::2, 1::3], X[3:4].expand(5, 40)):
        wanted = tilewise.pairwise_distances(rows.cpu().numpy())
        wanted_others = tilewise.pairwise_distances(rows.cpu().numpy(), rows[:3].cpu().numpy())
        assert_same(tilewise.pairwise_distances(rows), wanted)
        assert_same(tilewise.pairwise_distances(rows, rows[:3]), wanted_others)


@pytest.mark.parametrize("kind", cases.KINDS)
def test_functions(kind):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 4)), rng.normal(size=(5, 4))
    x, y = cases.on_device(X, kind), cases.on_device(Y, kind)
    found = tilewise.euclidean_distances(x, y)
    assert cases.kind_of(found) == kind
    assert_same(found, tilewise.euclidean_distances(X, Y))
    norms = (Y * Y).sum(1)
    for own in (norms, cases.on_device(norms, kind)):
        found = tilewise.euclidean_distances(x, y, squared=True, Y_norm_squared=own)
        assert_same(found, tilewise.euclidean_distances(X, Y, squared=True))
    assert_same(tilewise.cosine_distances(x), tilewise.cosine_distances(X))
    compare(X, Y, "l2", kind)
    compare(X, Y, "euclidean", kind, squared=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["X", "Y"])
def test_values_that_are_not_finite(value, place):
    X, Y = np.ones((5, 3), dtype=np.float32), np.ones((4, 3), dtype=np.float32)
    {"X": X, "Y": Y}[place][2, 1] = value
    for metric in METRICS:
        with pytest.raises(ValueError, match="row 2, column 1 of " + place) as wanted:
            tilewise.pairwise_distances(X, Y, metric=metric)
        with pytest.raises(ValueError, match="row 2, column 1 of " + place) as found:
            tilewise.pairwise_distances(cases.on_device(X), cases.on_device(Y), metric=metric)
        assert str(found.value) == str(wanted.value)


def test_errors():
    x = cases.on_device(np.ones((4, 3)))
    host = np.ones((4, 3))
    for pair in ((x, host), (host, x), (x, host.tolist())):
        with pytest.raises(ValueError, match=r"X lies on .* and Y on .*: move one of them"):
            tilewise.pairwise_distances(*pair)
    with pytest.raises(TypeError, match="the metric 'manhattan' takes no arrays on a device"):
        tilewise.pairwise_distances(x, metric="manhattan")
    with pytest.raises(TypeError, match="the metric 'jaccard' takes no arrays on a device"):
        tilewise.pairwise_distances(x, metric="jaccard")
    with pytest.raises(TypeError, match="weights of features take no arrays on a device"):
        tilewise.pairwise_distances(x, metric="sqeuclidean", w=np.ones(3))
    with pytest.raises(TypeError, match="out takes no results from a device"):
        tilewise.pairwise_distances(x, out=np.empty((4, 4)))
    with pytest.raises(TypeError, match="takes no parameter 'p'"):
        tilewise.pairwise_distances(x, p=3)
    with pytest.raises(TypeError, match=r"is sparse: pass X.to_dense\(\) instead"):
        tilewise.pairwise_distances(x.to_sparse())
    with pytest.raises(ValueError, match=r"X.shape\[1\] == 3 while Y.shape\[1\] == 2"):
        tilewise.pairwise_distances(x, x[:, :2])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        tilewise.pairwise_distances(x[0])
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        tilewise.pairwise_distances(x[:0])
    with pytest.raises(ValueError, match=r"Found array with 0 feature\(s\)"):
        tilewise.pairwise_distances(x[:, :0])
    with pytest.raises(ValueError, match="Complex data not supported"):
        tilewise.pairwise_distances(x + 1j)
    for function in (tilewise.manhattan_distances, tilewise.nan_euclidean_distances):
        with pytest.raises(TypeError, match=function.__name__ + " takes no arrays on a device"):
            function(x)
    with pytest.raises(TypeError, match="pairwise_distances_chunked takes no arrays on a device"):
        list(tilewise.pairwise_distances_chunked(x))

"""Nearest rows on a device: the CPU's neighbours in the CPU's order, and its distances."""

import device_cases as cases
import numpy as np
import pytest

import tilewise
from tilewise.cuda import _nearest, _neighbor_plan, _search

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

TYPES = [np.float32, np.float64]


def assert_same(found, wanted):
    for values, right in zip(found, wanted, strict=True):
        values = cases.in_memory(values)
        assert values.dtype == right.dtype
        assert values.shape == right.shape
        wrong = np.argwhere(values.view(f"u{values.itemsize}") != right.view(f"u{right.itemsize}"))
        assert not len(wrong), (
            f"{len(wrong)} of {right.size} differ, first {wrong[0]}: "
            f"{values[tuple(wrong[0])]!r}, not {right[tuple(wrong[0])]!r}"
        )


def compare(X, Y, k, kind="torch", **how):
    wanted = tilewise.argkmin(X, Y, k, **how)
    found = tilewise.argkmin(cases.on_device(X, kind), cases.on_device(Y, kind), k, **how)
    assert [cases.kind_of(values) for values in found] == [kind] * 2
    assert_same(found, wanted)


@pytest.fixture(params=["look", "all"])
def way(request, monkeypatch):
    """Both ways to search, whatever the number of rows."""
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 0 if request.param == "look" else 2**60)
    monkeypatch.setattr(_neighbor_plan, "_LEAST_RATIO", 0)
    return request.param


@pytest.fixture
def assigned(monkeypatch):
    """Few rows are assigned too; a list of whether that did."""
    monkeypatch.setattr(_neighbor_plan, "_ASSIGNED_TILES", 0)
    done = []
    real = _search._assigned

    def told(*how):
        found = real(*how)
        done.append(found is not None)
        return found

    monkeypatch.setattr(_search, "_assigned", told)
    return done


@pytest.fixture
def crowded(monkeypatch):
    """How many rows had more candidates than room."""
    counts = []
    among_all = _nearest.among_all

    def counted(source, k):
        counts.append(source.shape[0])
        return among_all(source, k)

    monkeypatch.setattr(_nearest, "among_all", counted)
    return counts


def scaled(X, exponent):
    with np.errstate(all="ignore"):
        return np.ldexp(X, exponent).astype(X.dtype)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("n", "m", "d", "k"),
    [(1, 1, 1, 1), (5, 3, 2, 3), (9, 150, 1, 5), (9, 130, 7, 1), (130, 40, 5, 2), (3, 129, 70, 4),
     (3, 130, 140, 2), (4, 20, 3, 20), (2, 300, 17, 130)],
)  # fmt: skip
def test_normal_rows(n, m, d, k, dtype):
    rng = np.random.default_rng(n * m)
    compare(rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype), k)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TYPES)
def test_equal_distances(dtype):
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 3, size=(200, 4)).astype(dtype)
    compare(grid[:9], grid, 7)
    repeated = np.repeat(rng.normal(size=(30, 5)), 5, axis=0).astype(dtype)
    compare(repeated[:9], repeated, 7)
    compare(repeated[:20], None, 2)
    compare(np.zeros((3, 4), dtype=dtype), np.zeros((140, 4), dtype=dtype), 5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_far_from_zero(offset, dtype):
    rng = np.random.default_rng(1)
    X, Y = (rng.normal(size=(n, 6)) + offset / 3 for n in (9, 150))
    compare(X.astype(dtype), Y.astype(dtype), 4)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("kind", ["huge", "tiny", "subnormal", "some"])
def test_magnitudes(kind, squared, dtype):
    rng = np.random.default_rng(2)
    X, Y = (rng.normal(size=(n, 5)).astype(dtype) for n in (6, 140))
    wide = dtype == np.float64
    exponent = {"huge": (80, 680), "tiny": (-100, -560), "subnormal": (-140, -1050)}.get(kind)
    if exponent:
        X, Y = scaled(X, exponent[wide]), scaled(Y, exponent[wide])
    else:
        Y[3:], X[::2] = scaled(Y[3:], 700 if wide else 90), scaled(X[::2], -700 if wide else -90)
    compare(X, Y, 5, metric_kwargs={"squared": squared})


def test_the_look_lists_few(crowded, monkeypatch):
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 0)
    rng = np.random.default_rng(3)
    X, Y = (rng.normal(size=(n, 16)) for n in (40, 300))
    compare(X, Y, 3)
    assert not crowded
    # Two clusters far apart: float16 cannot tell the rows of one from each other.
    near = np.where(rng.random((300, 1)) < 0.5, -1e4, 1e4) + rng.normal(size=(300, 16))
    compare(near[:7], near, 3)
    assert crowded == [7]


def test_a_band_that_is_too_narrow_is_seen(monkeypatch):
    """The rows that follow need the band: without it, neighbours are missing."""
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 0)
    rng = np.random.default_rng(4)
    X, Y = (100.0 + rng.normal(size=(n, 16)) * 0.01 + rng.integers(0, 2, (n, 1)) for n in (60, 300))
    compare(X, Y, 4)
    lists = _nearest.Look.candidates

    def narrow(self, X):
        self.facts.zero_()
        return lists(self, X)

    monkeypatch.setattr(_nearest.Look, "candidates", narrow)
    pack = _nearest.Look._pack

    def without_rests(self, tensor):
        packed, norm, rest = pack(self, tensor)
        return packed, norm, rest.zero_()

    monkeypatch.setattr(_nearest.Look, "_pack", without_rests)
    with pytest.raises(AssertionError, match="differ"):
        compare(X, Y, 4)


@pytest.mark.usefixtures("way")
def test_types():
    rng = np.random.default_rng(5)
    X, Y = (rng.integers(0, 200, size=(n, 6)) for n in (5, 140))
    for kind in (np.float16, np.uint8, np.int32, np.int64):
        compare(X.astype(kind), Y.astype(kind), 3)
    compare(X > 100, Y > 100, 3)
    compare((X + 2**30).astype(np.int32), (Y + 2**30).astype(np.int32), 3)
    compare(X.astype(np.float32), Y.astype(np.float64), 3)


@pytest.mark.usefixtures("way")
def test_bfloat16_is_float32():
    rng = np.random.default_rng(6)
    X, Y = (cases.torch.from_numpy(rng.normal(size=(n, 6))).bfloat16() for n in (5, 140))
    wanted = tilewise.argkmin(X.float().numpy(), Y.float().numpy(), 3)
    assert_same(tilewise.argkmin(X.to(cases.PLACE), Y.to(cases.PLACE), 3), wanted)


@pytest.mark.usefixtures("way")
def test_strides():
    rng = np.random.default_rng(7)
    X = cases.on_device(rng.normal(size=(150, 12)))
    for x, y in ((X.T, X.T[::2]), (X[::9, ::2], X[:, 1::2]), (X[:1].expand(3, 12), X)):
        wanted = tilewise.argkmin(x.cpu().numpy(), y.cpu().numpy(), 2)
        assert_same(tilewise.argkmin(x, y, 2), wanted)


def test_many_blocks(monkeypatch):
    """Blocks of rows, tiles of Y and merged lists: all of them more than one."""
    rng = np.random.default_rng(8)
    X, Y = (rng.integers(0, 4, size=(n, 4)).astype(np.float32) for n in (300, 500))
    monkeypatch.setattr(_nearest, "_BLOCK_ROWS", 128)
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 0)
    compare(X, Y, 2)
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 2**60)
    monkeypatch.setattr(_nearest, "_SORTED_ROWS", 200)
    monkeypatch.setattr(_nearest, "_SORTED", 200 * 120)
    compare(X, Y, 3)


# ---------------------------------------------------------------- one neighbour, assigned

RNG = np.random.default_rng(11)
GRID = RNG.integers(0, 3, size=(60, 4)).astype(float)
NORMAL = RNG.normal(size=(70, 6)), RNG.normal(size=(33, 6))
# X, Y, and whether squares of distances overflow, so that rows are searched for in another way.
ASSIGNED = {
    "normal": (*NORMAL, False),
    "one row": (NORMAL[0][:1], NORMAL[1][:1], False),
    "wide": (RNG.normal(size=(20, 150)), RNG.normal(size=(40, 150)), False),
    "ties": (GRID + 0.5, np.concatenate([GRID, GRID]), False),
    "among themselves": (np.concatenate([GRID, GRID]), None, False),
    "zeros": (np.zeros((5, 3)), np.zeros((40, 3)), False),
    "far": (*(side + 1e6 / 3 for side in NORMAL), False),
    "tiny": (*(side * 2.0**-560 for side in NORMAL), False),
    "huge": (*(side * 2.0**680 for side in NORMAL), True),
    "some huge": (np.concatenate([NORMAL[0], NORMAL[0] * 2.0**680]), NORMAL[1], True),
}


@pytest.mark.parametrize("name", ASSIGNED)
@pytest.mark.parametrize("squared", [False, True])
def test_one_neighbour_is_assigned(assigned, name, squared):
    X, Y, overflows = ASSIGNED[name]
    compare(X, Y, 1, metric_kwargs={"squared": squared})
    assert assigned == [not overflows]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint8, bool])
def test_types_that_are_assigned(assigned, kind):
    X, Y = (RNG.integers(0, 200, size=(n, 6)) for n in (9, 40))
    for pair in ((X, Y), (X.astype(float), Y), (X, Y.astype(np.float32))):
        compare(pair[0].astype(kind), pair[1] if pair[1] is not Y else Y.astype(kind), 1)
    x = cases.on_device(X.astype(kind))
    wanted = tilewise.argkmin(x.T.cpu().numpy(), x.T[::2].cpu().numpy(), 1)
    assert_same(tilewise.argkmin(x.T, x.T[::2], 1), wanted)
    assert assigned == [True] * 4


def test_the_nearest_row_is_assigned(assigned):
    X, Y = (RNG.integers(0, 3, size=(n, 4)) + 1.0 for n in (30, 14))
    for axis in (0, 1):
        wanted = tilewise.pairwise_distances_argmin_min(X, Y, axis=axis)
        found = tilewise.pairwise_distances_argmin_min(
            cases.on_device(X), cases.on_device(Y), axis=axis
        )
        assert_same(found, wanted)
    assert assigned == [True] * 2
    compare(X, Y, 1, metric="cosine")
    compare(X, Y, 2)
    assert len(assigned) == 2


def test_a_value_that_is_not_finite_is_not_assigned(assigned):
    X, Y = NORMAL[0].copy(), NORMAL[1].copy()
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4, column 1 of X"):
        tilewise.argkmin(cases.on_device(X), cases.on_device(Y), 1)
    assert not assigned


@pytest.mark.parametrize("dtype", TYPES)
def test_cosine(dtype, monkeypatch):
    rng = np.random.default_rng(9)
    X, Y = (rng.normal(size=(n, 6)).astype(dtype) for n in (9, 40))
    X[3] = Y[7] = 0
    Y[9:12], Y[5] = X[2] * dtype(3), -X[2]
    compare(X, Y, 5, metric="cosine")
    monkeypatch.setattr(_nearest, "_SORTED_ROWS", 16)
    monkeypatch.setattr(_nearest, "_SORTED", 16 * 16)
    Y[8] = 0
    compare(Y, None, 3, metric="cosine")
    compare(scaled(X, 100), Y, 3, metric="cosine")


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "l2", "cosine"])
def test_argmin(metric, kind):
    rng = np.random.default_rng(10)
    X, Y = (rng.integers(0, 3, size=(n, 4)) + 1.0 for n in (9, 14))
    x, y = cases.on_device(X, kind), cases.on_device(Y, kind)
    for axis in (0, 1):
        wanted = tilewise.pairwise_distances_argmin_min(X, Y, axis=axis, metric=metric)
        found = tilewise.pairwise_distances_argmin_min(x, y, axis=axis, metric=metric)
        assert [cases.kind_of(values) for values in found] == [kind] * 2
        assert_same(found, wanted)
        found = tilewise.pairwise_distances_argmin(x, y, axis=axis, metric=metric)
        assert_same([found], [wanted[0]])
    compare(X, Y, 3, kind, metric=metric)
    assert_same(
        [tilewise.argkmin(x, y, 2, metric=metric, return_distance=False)],
        [tilewise.argkmin(X, Y, 2, metric=metric, return_distance=False)],
    )


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["X", "Y"])
def test_values_that_are_not_finite(value, place):
    X, Y = np.ones((5, 3)), np.ones((140, 3))
    {"X": X, "Y": Y}[place][2, 1] = value
    for metric in ("euclidean", "cosine"):
        with pytest.raises(ValueError, match="row 2, column 1 of " + place) as wanted:
            tilewise.argkmin(X, Y, 2, metric=metric)
        with pytest.raises(ValueError, match="row 2, column 1 of " + place) as found:
            tilewise.argkmin(cases.on_device(X), cases.on_device(Y), 2, metric=metric)
        assert str(found.value) == str(wanted.value)


def test_errors():
    x = cases.on_device(np.ones((4, 3)))
    host = np.ones((4, 3))
    for pair in ((x, host), (host, x)):
        with pytest.raises(ValueError, match=r"X lies on .* and Y on .*: move one of them"):
            tilewise.argkmin(*pair, 1)
        with pytest.raises(ValueError, match=r"X lies on .* and Y on .*: move one of them"):
            tilewise.pairwise_distances_argmin(*pair)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k == {k}"):
            tilewise.argkmin(x, x, k)
    with pytest.raises(TypeError, match="the metric 'chebyshev' takes no arrays on a device"):
        tilewise.argkmin(x, x, 1, metric="chebyshev")
    with pytest.raises(TypeError, match="the metric 'infinity' takes no arrays on a device"):
        tilewise.argkmin(x, x, 1, metric="infinity")
    with pytest.raises(TypeError, match="takes no arrays on a device"):
        tilewise.pairwise_distances_argmin(x, x, metric=lambda a, b: 0.0)
    with pytest.raises(TypeError, match="out takes no results from a device"):
        tilewise.argkmin(x, x, 1, out=(np.empty((4, 1)), np.empty((4, 1), dtype=np.intp)))
    with pytest.raises(TypeError, match="radius_neighbors takes no arrays on a device"):
        tilewise.radius_neighbors(x, x, 1.0)
    with pytest.warns(UserWarning, match="aren't usable for the metric euclidean"):
        tilewise.argkmin(x, x, 1, metric_kwargs={"p": 3})

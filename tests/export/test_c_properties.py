"""Exported C whose centres are set from here: any centres and rows, and the bound of scores."""

import ctypes
import functools

import numpy as np
import pytest
import reference
from c_models import Case as CaseOf
from c_models import header_of, library, need, pointer, with_centers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

SHAPES = ((1, 2), (5, 3), (8, 4), (21, 2))
UNIT = 2.0**-24

REACH = """
kmeans_real *centers(void) { return &kmeans_centers[0][0]; }
"""
REACH_FLOAT = (
    REACH
    + """
void scores(const float *x, int n, float *out) {
    int j;
    for (; n > 0; n--, x += KMEANS_FEATURES)
        for (j = 0; j < KMEANS_CLUSTERS; j++) *out++ = kmeans_score(x, kmeans_centers[j], FLT_MAX);
}
"""
)
REACH_BYTES = (
    REACH
    + """
int *fixed(void) { return &kmeans_fixed[0][0]; }
"""
)


class Settable:
    """A header of d columns and k centres that change."""

    def __init__(self, folder, d, k, rows=None, dtype=np.float32, level="-O3 -march=native"):
        need("gcc")
        case = CaseOf(with_centers(np.zeros((k, d), dtype=dtype)), None, rows)
        text, _, _ = header_of(case, "kmeans")
        reach = REACH_BYTES if rows else REACH_FLOAT
        headers = {"kmeans": ("#define KMEANS_UPDATE\n" + text + reach, d, k)}
        self.built = library(folder, "gcc gnu", level, headers)
        self.k = k
        real = ctypes.c_float if dtype == np.float32 else ctypes.c_double
        self.centers = self._view("centers", real, k, d)
        self.fixed = self._view("fixed", ctypes.c_int, k, d) if rows else None

    def _view(self, name, kind, k, d):
        function = getattr(self.built, name)
        function.restype = ctypes.POINTER(kind * (k * d))
        return np.frombuffer(function().contents, dtype=kind).reshape(k, d)

    def set(self, centers):
        self.centers[:] = centers
        if self.fixed is not None:
            self.fixed[:] = np.rint(np.float64(centers) * 65536)

    def predict(self, X):
        X = np.ascontiguousarray(X)
        labels = np.empty(len(X), dtype=np.intc)
        self.built.kmeans_predict_all(pointer(X), len(X), pointer(labels))
        return labels

    def scores(self, X):
        out = np.empty((len(X), self.k), dtype=np.float32)
        self.built.scores(pointer(X), len(X), pointer(out))
        return out


@pytest.fixture(scope="module")
def settable(tmp_path_factory):
    @functools.cache
    def make(*how, **more):
        return Settable(tmp_path_factory.mktemp("header"), *how, **more)

    return make


def expected(X, centers):
    return reference.canonical(X.astype(np.float64), centers.astype(np.float64)).argmin(axis=1)


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Few different values, so that distances tie.
GRIDS = st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, 1 + 2.0**-23, 1e-45, 1e-22, 3e38, -3e38, 1e-20])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("elements", [FLOATS, GRIDS], ids=["any", "few"])
def test_any_rows_and_centres(settable, shape, elements):
    d, k = shape
    header = settable(d, k)

    @settings(max_examples=120, deadline=None)
    @given(
        arrays.arrays(np.float32, (k, d), elements=elements.map(np.float32)),
        arrays.arrays(np.float32, (6, d), elements=elements.map(np.float32)),
    )
    def check(centers, X):
        header.set(centers)
        assert np.array_equal(header.predict(X), expected(X, centers))

    check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_bytes(settable, shape, dtype):
    d, k = shape
    header = settable(d, k, "uint8", dtype)
    width = np.finfo(dtype).bits

    @settings(max_examples=200, deadline=None)
    @given(
        arrays.arrays(dtype, (k, d), elements=st.floats(0, 255, width=width)),
        arrays.arrays(np.uint8, (6, d)),
    )
    def check(centers, X):
        header.set(centers)
        assert np.array_equal(header.predict(X), expected(X, centers))

    check()


def near_ties(rng, k, d, n=4000):
    """Centres, and rows halfway between two of them, in part a unit in the last place aside."""
    centers = (rng.standard_normal((k, d)) + rng.choice([0, 1, 30])).astype(np.float32)
    a, b = rng.integers(k, size=(2, n))
    X = ((centers[a].astype(np.float64) + centers[b]) / 2).astype(np.float32)
    aside = np.nextafter(X, rng.choice([-99, 99], X.shape).astype(np.float32))
    return centers, np.where(rng.uniform(size=X.shape) < rng.uniform(), aside, X)


@pytest.mark.parametrize("shape", SHAPES)
def test_near_ties(settable, shape):
    d, k = shape
    header = settable(d, k)
    rng = np.random.default_rng(d)
    for _ in range(30):
        centers, X = near_ties(rng, k, d)
        scale = np.float32(10.0 ** rng.integers(-21, 18))
        centers, X = centers * scale, X * scale
        header.set(centers)
        assert np.array_equal(header.predict(X), expected(X, centers))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_ties_of_bytes(settable, shape, dtype):
    d, k = shape
    header = settable(d, k, "uint8", dtype)
    rng = np.random.default_rng(d)
    for _ in range(40):
        X = rng.integers(60, 190, (50, d), dtype=np.uint8)
        away = 10.0 ** rng.uniform(-6, 1.7) * rng.standard_normal((k, d)).clip(-1, 1)
        away[1::2] = -away[: k - 1 : 2]
        # Pairs on either side of a row, one of them closer by little.
        away *= 1 + rng.choice([0, 1e-4, 1e-6, 1e-8], (k, 1))
        centers = (X[0] + away).astype(dtype)
        header.set(centers)
        assert np.array_equal(header.predict(X), expected(X, centers))


@pytest.mark.parametrize("shape", [*SHAPES, (7, 2), (400, 2), (3000, 2)])
def test_scores_keep_their_bound(settable, shape):
    d, k = shape
    header = settable(d, k)
    rng = np.random.default_rng(d)
    worst = 0.0
    for offset in (0.0, 1.0, 1e4):
        centers = (rng.standard_normal((k, d)) + offset).astype(np.float32)
        X = (rng.standard_normal((2000, d)) + offset).astype(np.float32)
        header.set(centers)
        D = reference.canonical(X.astype(np.float64), centers.astype(np.float64))
        found = header.scores(X).astype(np.float64)
        error = np.abs(found - D)[D > 1e-22] / D[D > 1e-22]
        worst = max(worst, error.max() / UNIT)
    assert 0.5 < worst < 12

"""Mini-batch steps of exported C: against NumPy bit for bit, and against MiniBatchKMeans."""

import ctypes

import numpy as np
import pytest
from c_models import Case, call, header_of, library, need, pointer, with_centers

from tilewise import MiniBatchKMeans
from tilewise.export import to_c

# What a test must see and change.
REACH = """
#ifdef __cplusplus
extern "C" {
#endif
int update(const kmeans_value *rows, int n, int *labels) { return kmeans_update(rows, n, labels); }
kmeans_real *centers(void) { return &kmeans_centers[0][0]; }
kmeans_real *counts(void) { return kmeans_counts; }
#ifdef __cplusplus
}
#endif
"""
KINDS = {
    "float32": (np.float32, None),
    "float64": (np.float64, None),
    "bytes32": (np.float32, "uint8"),
    "bytes64": (np.float64, "uint8"),
}
BUILDS = [("gcc", "-O0"), ("gcc gnu", "-O3 -march=native"), ("g++", "-Os"), ("clang", "-O2")]


def fitted(kind, d=13, k=6):
    """A model after one batch, and rows to come."""
    dtype, rows = KINDS[kind]
    rng = np.random.default_rng(5)
    middles = rng.uniform(40, 200, (k, d))
    X = middles[rng.integers(k, size=400)] + 12 * rng.standard_normal((400, d))
    X = np.rint(X).clip(0, 255) if rows else X
    model = MiniBatchKMeans(k, n_init=1, random_state=0, reassignment_ratio=0.0)
    model.partial_fit(X[:100].astype(dtype))
    return model, X[100:].astype(rows or dtype)


class Device:
    """A header with its centres in memory."""

    def __init__(self, folder, compiler, level, model, rows):
        text = to_c(model, rows=rows)
        k, d = model.cluster_centers_.shape
        headers = {"kmeans": ("#define KMEANS_UPDATE\n" + text + REACH, d, k)}
        self.built = library(folder, compiler, level, headers)
        real = ctypes.c_float if model.cluster_centers_.dtype == np.float32 else ctypes.c_double
        for name, size, shape in (("centers", k * d, (k, d)), ("counts", k, (k,))):
            function = getattr(self.built, name)
            function.restype = ctypes.POINTER(real * size)
            # Views of the memory of the library.
            setattr(self, name, np.frombuffer(function().contents, dtype=real).reshape(shape))

    def update(self, X):
        """Status and labels of a step."""
        labels = np.full(len(X), -7, dtype=np.intc)
        return self.built.update(pointer(X), len(X), pointer(labels)), labels

    def predict(self, X):
        return call(self.built, "kmeans", "predict", X)


def step(centers, counts, X, labels):
    """The same in NumPy: additions in the order of the rows, in the type of the centres."""
    real = centers.dtype.type
    for j in np.unique(labels):
        own = X[labels == j].astype(real)
        counts[j] += real(len(own))
        total = np.zeros(centers.shape[1], dtype=real)
        for row in own:
            total += row - centers[j]
        centers[j] += total / counts[j]


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 300])
def test_steps_have_the_bits_of_numpy(build, kind, size, tmp_path):
    model, X = fitted(kind)
    device = Device(tmp_path, *build, model, KINDS[kind][1])
    centers, counts = model.cluster_centers_.copy(), model._counts.astype(X[:0].astype(
        model.cluster_centers_.dtype).dtype)  # fmt: skip
    for first in range(0, min(len(X), 40 * size), size):
        batch = np.ascontiguousarray(X[first : first + size])
        expected = with_centers(centers).predict(batch)
        status, labels = device.update(batch)
        assert status == 0
        assert np.array_equal(labels, expected)
        step(centers, counts, batch, labels)
        assert np.array_equal(device.centers, centers)
        assert np.array_equal(device.counts, counts)
    # What is predicted afterwards follows the centres.
    assert not np.array_equal(centers, model.cluster_centers_)
    assert np.array_equal(device.predict(X), with_centers(centers).predict(X))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_estimator(kind, tmp_path):
    need("gcc")
    model, X = fitted(kind)
    device = Device(tmp_path, "gcc", "-O2", model, KINDS[kind][1])
    for first in range(0, len(X), 20):
        batch = np.ascontiguousarray(X[first : first + 20])
        assert device.update(batch)[0] == 0
        model.partial_fit(batch.astype(device.centers.dtype))
    real = device.centers.dtype
    np.testing.assert_array_equal(device.counts, model._counts)
    tolerance = 1e-5 if real == np.float32 else 1e-12
    np.testing.assert_allclose(device.centers, model.cluster_centers_, rtol=tolerance)


def test_a_row_that_is_not_finite_moves_nothing(tmp_path):
    model, X = fitted("float32")
    device = Device(tmp_path, "gcc", "-O2", model, None)
    before = device.centers.copy(), device.counts.copy()
    X = X[:9].copy()
    X[6, 3] = np.nan
    status, labels = device.update(X)
    assert status == -1
    assert labels[6] == -1
    assert np.array_equal(device.centers, before[0])
    assert np.array_equal(device.counts, before[1])
    assert device.update(X[:0])[0] == 0
    assert np.array_equal(device.centers, before[0])


def test_centres_far_from_the_origin_move_as_well(tmp_path):
    """Differences are added up, not values: at 1e6 a float has four digits after the point."""
    rng = np.random.default_rng(0)
    centers = np.float32([[1e6, -1e6]])
    X = (rng.standard_normal((256, 2)) + [1e6 + 3, -1e6 - 3]).astype(np.float32)
    device = Device(tmp_path, "gcc", "-O2", with_centers(centers), None)
    assert device.update(X)[0] == 0
    np.testing.assert_allclose(
        device.centers[0], X.mean(axis=0, dtype=np.float64), rtol=0, atol=0.0625
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 40_001])
def test_rows_of_bytes_at_both_ends(dtype, d, tmp_path):
    """Sums of the largest squares have room, also for long rows."""
    need("gcc")
    centers = np.zeros((3, d), dtype=dtype)
    centers[1:] = 255
    centers[2, 0] = 254.5
    case = Case(with_centers(centers), np.zeros((4, d), dtype=np.uint8), "uint8")
    case.X[1:] = 255
    case.X[2, 0] = 254
    case.X[3] = 127
    built = library(tmp_path, "gcc", "-O2", {"kmeans": header_of(case, "kmeans")})
    labels, far = call(built, "kmeans", "transform", case.X, dtype, (3,))
    assert not labels.any()
    found = call(built, "kmeans", "predict", case.X)
    assert np.array_equal(found, case.model.predict(case.X))
    assert list(found) == [0, 1, 2, 0]
    rtol = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(far, case.model.transform(case.X), rtol=rtol)

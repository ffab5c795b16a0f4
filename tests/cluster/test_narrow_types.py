"""Rows of narrow types are computed in float32, which holds all their values: nothing changes."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import DENSE, check_refused_alike

from tilewise import KMeans, MiniBatchKMeans, kmeans_plusplus, plan
from tilewise.cluster import _checkpoint
from tilewise.engine import Rows

pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")

NARROW = ["f2", "i1", "u1", "i2", "u2", "?"]


def values_of(dtype, n=300, d=5, seed=0):
    """Rows in a few clusters, with both ends of the type's range among the values."""
    kind, rng = np.dtype(dtype), np.random.RandomState(seed)
    X = rng.normal(size=(6, d))[rng.randint(6, size=n)] * 4 + rng.normal(size=(n, d))
    if kind.kind == "b":
        return X > 0
    if kind.kind == "f":
        X = (X * 10.0 ** rng.randint(-7, 3, size=(n, d))).astype(kind)
        # The largest numbers, the least normal one, and some below it.
        X[::37, 0] = [65504, -65504, 2.0**-14, 2.0**-24, -3 * 2.0**-24, -0.0][seed % 6]
        X[1::41, -1] = rng.randint(1, 1024, len(X[1::41])) * 2.0**-24
        return X
    ends = np.iinfo(kind)
    X = np.clip(np.rint(X * (ends.max / 16) + (ends.max / 2 if kind.kind == "u" else 0)),
                ends.min, ends.max).astype(kind)  # fmt: skip
    X[::37, 0], X[1::37, 0] = ends.min, ends.max
    return X


def _csr(X, index):
    X = np.where(np.random.RandomState(1).uniform(size=X.shape) < 0.3, X, 0).astype(X.dtype)
    X = sp.csr_array(X)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


MEMORY = {
    "plain": lambda X, folder: X,
    **DENSE,
    "csr": lambda X, folder: _csr(X, np.int32),
    "csr_64_bit_indices": lambda X, folder: _csr(X, np.int64),
}


def exists(case):
    """Whether there are such rows: scipy has no sparse matrices of float16."""
    memory, dtype = case
    return dtype != "f2" or not memory.startswith("csr")


def seen_by(init):
    """Start from rows that `init` got, which it keeps."""

    def start(X, n_clusters, random_state):
        init.append(X.toarray() if sp.issparse(X) else np.array(X))
        return init[-1][random_state.permutation(X.shape[0])[:n_clusters]]

    return start


ESTIMATORS = {
    "kmeans": lambda: KMeans(7, random_state=1),
    "random": lambda: KMeans(7, init="random", n_init=2, random_state=1),
    "mini_batch": lambda: MiniBatchKMeans(7, batch_size=64, n_init=2, max_iter=4, random_state=1),
    "reassigning": lambda: MiniBatchKMeans(
        9, batch_size=40, init="random", reassignment_ratio=0.3, max_iter=4, random_state=1
    ),
}


def bits(X):
    X = np.asarray(X)
    return X.dtype, X.shape, X.tobytes()


def assert_same_model(one, other, X, Y):
    for name in ("cluster_centers_", "labels_", "inertia_", "n_iter_"):
        assert hasattr(one, name) == hasattr(other, name)
        assert bits(getattr(one, name, 0)) == bits(getattr(other, name, 0)), name
    assert bits(one.predict(X)) == bits(other.predict(Y))
    assert bits(one.transform(X)) == bits(other.transform(Y))
    assert one.score(X) == other.score(Y)


@pytest.mark.parametrize(("memory", "dtype"), [*filter(exists, product(MEMORY, NARROW))])
def test_results_are_those_of_float64(dtype, memory, tmp_path):
    X = MEMORY[memory](values_of(dtype), tmp_path)
    same = X.astype(np.float64) if sp.issparse(X) else np.array(X, dtype=np.float64)
    weights = np.random.RandomState(2).uniform(0, 3, X.shape[0])
    assert Rows(X.to_numpy() if memory == "data_frame" else X).compute_dtype == np.float32
    for name, make in ESTIMATORS.items():
        given = weights if name in ("random", "mini_batch") else None
        one, other = (make().fit(rows, sample_weight=given) for rows in (X, same))
        assert one.cluster_centers_.dtype == np.float64
        assert one.chunk_plan_.dtype == "float32"
        assert_same_model(one, other, X, same)
    for given in (None, weights):
        found, expected = (
            kmeans_plusplus(rows, 7, sample_weight=given, random_state=5) for rows in (X, same)
        )
        assert np.array_equal(found[1], expected[1])
        assert np.array_equal(found[0], expected[0])


@pytest.mark.parametrize(("memory", "dtype"), [*filter(exists, product(["plain", "csr"], NARROW))])
@pytest.mark.parametrize(("n", "d", "k"), [(150, 1, 3), (400, 41, 30), (200, 130, 70)])
def test_other_shapes_give_the_results_of_float64(memory, dtype, n, d, k, tmp_path):
    for seed in range(6 if dtype == "f2" else 1):
        X = MEMORY[memory](values_of(dtype, n, d, seed), tmp_path)
        same = X.astype(np.float64)
        for kind, steps in ((KMeans, 300), (MiniBatchKMeans, 3)):
            models = (
                kind(k, n_init=1, max_iter=steps, random_state=seed).fit(rows) for rows in (X, same)
            )
            assert_same_model(*models, X, same)


@pytest.mark.parametrize(
    ("memory", "dtype"), [*filter(exists, product(["plain", "fortran", "csr"], NARROW))]
)
def test_batches_and_callables_see_the_same_numbers(dtype, memory, tmp_path):
    X = MEMORY[memory](values_of(dtype), tmp_path)
    same = X.astype(np.float64)
    seen, models = ([], []), []
    for rows, init in zip((X, same), seen, strict=True):
        models.append(KMeans(4, init=seen_by(init), n_init=2, random_state=0).fit(rows))
    assert list(map(bits, seen[0])) == list(map(bits, seen[1]))
    assert_same_model(*models, X, same)
    models = [MiniBatchKMeans(4, n_init=1, random_state=0) for _ in range(2)]
    for first in range(0, 300, 75):
        for model, rows in zip(models, (X, same), strict=True):
            model.partial_fit(rows[first : first + 75])
    assert_same_model(*models, X, same)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_few_rows_at_the_ends_of_the_range(dtype):
    kind = np.dtype(dtype)
    if kind.kind == "f":
        ends = [65504, -65504, 65472, 2.0**-24, -(2.0**-24), 2.0**-14, 0, -0.0, 1 + 2.0**-10]
    elif kind.kind == "b":
        ends = [False, True]
    else:
        ends = [np.iinfo(kind).min, np.iinfo(kind).min + 1, 0, 1, np.iinfo(kind).max]
    column = np.array(ends, dtype=kind)
    X = np.repeat(np.stack([column, column[::-1]], axis=1), 50, axis=0)
    same = X.astype(np.float64)
    models = [KMeans(2, init=same[[0, -1]], n_init=1).fit(rows) for rows in (X, same)]
    assert_same_model(*models, X, same)
    assert np.array_equal(Rows(X).take(np.arange(len(X))), same)
    assert models[0].transform(X, out=np.empty((len(X), 2))).tobytes() == bits(
        models[1].transform(same)
    )[2]  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("memory", ["plain", "fortran", "other_byte_order", "memory_map"])
def test_errors_are_those_of_float64(value, memory, tmp_path):
    X = values_of("f2")
    X[123, 3] = value
    X = MEMORY[memory](X, tmp_path)
    same = X.astype(np.float64)
    model = KMeans(3, random_state=0).fit(values_of("f2"))
    calls = (
        KMeans(3).fit, MiniBatchKMeans(3).fit, MiniBatchKMeans(3).partial_fit, model.predict,
        model.transform, lambda rows: kmeans_plusplus(rows, 3),
    )  # fmt: skip
    check_refused_alike(calls, X, same)


@pytest.mark.parametrize("dtype", NARROW)
def test_plans_say_float32(dtype):
    X = values_of(dtype)
    planned = plan(*X.shape, 3, dtype)
    assert planned.dtype == "float32"
    assert planned == KMeans(3, n_init=1).fit(X).chunk_plan_
    assert plan(*X.shape, 3, np.dtype(dtype).newbyteorder("S")) == planned
    for wide in ("i4", "u4", "i8", "u8", "f8", "longdouble"):
        assert plan(*X.shape, 3, wide).dtype == "float64"


@pytest.mark.parametrize("dtype", NARROW)
def test_checkpoints_hold_for_the_same_numbers_of_another_type(dtype):
    X = values_of(dtype)
    identities = [
        _checkpoint.identity_of(KMeans(3), Rows(rows), None)
        for rows in (X, np.asfortranarray(X), X.astype(np.float64))
    ]
    assert identities[0] == identities[1] == identities[2]
    for form in _checkpoint.forms_of(KMeans(3), Rows(X)).items():
        assert form in _checkpoint.forms_of(KMeans(3), Rows(X.astype(np.float64))).items()

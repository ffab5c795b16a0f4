"""Rows of the host that are larger than the device's memory: the bits of the CPU."""

import math

import numpy as np
import pytest
from backend_data import DATA
from device_cases import ON_GPU, bits, shortened
from stream_data import ArraySource

from tilewise import KMeans, MiniBatchKMeans, kmeans_plusplus
from tilewise.cuda import _plan
from tilewise.cuda._facts import VARIABLE, device_facts
from tilewise.cuda._plan import Moved, kept_bytes, plan_device

ROWS, ROUNDS = (20_000, 20) if ON_GPU else (24, 2)


def plan_of(X, k):
    """A plan of rows of the host."""
    dtype = "float32" if X.dtype in (np.float32, np.float16) else "float64"
    row = X.shape[1] * X.itemsize
    return plan_device(*X.shape, k, dtype, device_facts(), moved=Moved(row))


@pytest.fixture
def small(monkeypatch):
    """``small(X, k)`` makes a device that has room for a part of the rows."""

    def make(X, k, sizes=None):
        monkeypatch.delenv(VARIABLE, raising=False)
        plan = plan_of(X, k)
        # Rows that stay, and rows of a part: four parts, of three sizes.
        resident, staged = sizes = sizes or (len(X) // 6, len(X) // 3)
        rows = resident + 2 * staged
        monkeypatch.setattr(_plan, "_STAGED_SHARE", (2 * staged + 0.5) / rows)
        room = kept_bytes(plan) + rows * (plan.moved_bytes + 12)
        monkeypatch.setenv(VARIABLE, str(math.ceil(room * 16 / 15)))
        plan = plan_of(X, k)
        assert (plan.resident_rows, plan.staged_rows) == sizes
        return plan

    return make


def data(name):
    X, k = DATA[name]
    X = shortened(X, ROWS)
    return X, k if ON_GPU or len(X) == k else min(k, 4)


def weights_for(X, k):
    weights = np.random.RandomState(1).randint(0, 4, len(X)) * 0.3
    weights[:k] += 0.1
    return weights


INITS = ["k-means++", "k-means||", "random", "array", "callable"]
CASES = [
    (name, init, weighted)
    for i, name in enumerate(DATA)
    for j, init in enumerate(INITS)
    for weighted in (False, True)
    if ON_GPU or (i + j + 3 * weighted) % (2 * len(INITS)) == 1
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "init", "weighted"), CASES)
def test_fits_have_the_same_bits(small, name, init, weighted):
    X, k = data(name)
    small(X, k)
    weights = weights_for(X, k) if weighted else None
    start = {"array": X[:k], "callable": lambda X, k, random_state: X[-k:]}.get(init, init)

    def work(device):
        model = KMeans(
            k, init=start, n_init=1, max_iter=ROUNDS, random_state=0, device=device
        )  # fmt: skip
        return model.fit(X, sample_weight=weights)

    wanted, found = work("cpu"), work("cuda")
    assert bits(found) == bits(wanted)
    assert found.predict(X).tobytes() == wanted.predict(X).tobytes()
    assert found.transform(X).tobytes() == wanted.transform(X).tobytes()
    score = wanted.score(X, sample_weight=weights)
    assert found.score(X, sample_weight=weights) == score


@pytest.mark.parametrize("sizes", [(0, ROWS // 3), (ROWS // 2, ROWS // 6)])
def test_any_number_of_rows_may_stay(small, sizes):
    X, k = data("blobs")
    small(X, k, sizes)
    how = {"n_init": 1, "max_iter": 2, "random_state": 0}
    found = KMeans(k, device="cuda", **how).fit(X)
    assert bits(found) == bits(KMeans(k, **how).fit(X))


SOURCES = {
    "file": lambda X, folder: saved(X, folder),
    "random access": lambda X, folder: ArraySource(X),
    "in order": lambda X, folder: ArraySource(X, random_access=False),
    "uncounted": lambda X, folder: ArraySource(X, random_access=False, known=False),
}


def saved(X, folder):
    np.save(folder / "rows.npy", X)
    return folder / "rows.npy"


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("fits", [False, True])
def test_rows_that_are_read(small, tmp_path, kind, fits):
    X, k = data("blobs")
    if not fits:
        small(X, k)
    weights = weights_for(X, k)

    def work(device):
        source = SOURCES[kind](X, tmp_path)
        model = KMeans(k, n_init=2, max_iter=2, random_state=0, init_size=20, device=device)
        model.fit(source, sample_weight=weights)
        found = {"score": model.score(source), "predict": model.predict(source).tobytes()}
        return bits(model), found, model

    wanted, found = work("auto"), work("cuda")
    assert found[2].stream_report_.rows >= len(X)
    assert found[:2] == wanted[:2]


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_a_start_from_all_rows_of_a_source(small, tmp_path, init):
    X, k = data("blobs")
    small(X, k)
    how = {"init": init, "n_init": 1, "max_iter": 1, "random_state": 3, "init_size": "all"}
    path = saved(X, tmp_path)
    found = KMeans(k, device="cuda", **how).fit(path)
    assert bits(found) == bits(KMeans(k, **how).fit(path))


def test_memory_maps(small, tmp_path):
    X, k = data("blobs")
    small(X, k)
    mapped = np.load(saved(X, tmp_path), mmap_mode="r")
    how = {"n_init": 1, "max_iter": 2, "random_state": 0}
    wanted = KMeans(k, **how).fit(X)
    assert bits(KMeans(k, device="cuda", **how).fit(mapped)) == bits(wanted)
    limited = KMeans(k, device="cuda", memory_limit="32MB", **how).fit(mapped)
    assert bits(limited) == bits(KMeans(k, memory_limit="32MB", **how).fit(mapped))
    assert "pinned" in limited.stream_plan_.reasons["buffers"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["array", "file", "in order"])
@pytest.mark.parametrize("weighted", [False, True])
def test_minibatches(small, tmp_path, kind, weighted):
    X, k = data("blobs")
    small(X, k)
    weights = weights_for(X, k) if weighted else None

    def work(device):
        rows = X if kind == "array" else SOURCES[kind](X, tmp_path)
        model = MiniBatchKMeans(
            k, batch_size=10, random_state=0, n_init=2, max_iter=2, tol=1e-3, device=device
        )  # fmt: skip
        model.fit(rows, sample_weight=weights)
        found = bits(model)
        model.partial_fit(X[:15], None if weights is None else weights[:15])
        return found, bits(model)

    assert work("cuda") == work("auto")


def test_batches_that_come_once():
    X, k = data("blobs")

    def work(device):
        model = MiniBatchKMeans(k, batch_size=10, random_state=0, n_init=1, device=device)
        model.fit(iter([X[:15], X[15:]]))
        labels = model.predict(iter([X[:15], X[15:]]))
        return bits(model), labels.tobytes()

    assert work("cuda") == work("auto")


def test_seeds(small):
    X, k = data("blobs")
    small(X, k)
    for trials in (None, 20):
        how = {"random_state": 4, "n_local_trials": trials}
        found, rows = kmeans_plusplus(X, k, device="cuda", **how)
        wanted, wanted_rows = kmeans_plusplus(X, k, **how)
        assert (found.tobytes(), rows.tolist()) == (wanted.tobytes(), wanted_rows.tolist())


def test_clusters_without_rows(small):
    """Rows far from their centres are looked for in all parts."""
    X = np.zeros((ROWS, 2))
    X[: ROWS // 2] = 1.0
    X[-1] = [40.0, 3.0]
    X[3] = [-70.0, 3.0]
    small(X, 4)
    how = {"init": np.array([[0.0, 0], [1, 1], [90, 90], [91, 91]]), "n_init": 1, "max_iter": 5}
    found = KMeans(4, device="cuda", **how).fit(X)
    assert bits(found) == bits(KMeans(4, **how).fit(X))


TYPES = ["float16", "uint8", "bool", "uint16", "int32", "uint64", ">f4", ">f8", "longdouble"]


# What they become before they are moved.
MOVED = {"uint16": "int32", "uint64": "float64", "longdouble": "float64"}


@pytest.mark.parametrize("dtype", TYPES)
def test_types(small, dtype):
    X = (np.random.RandomState(3).standard_normal((ROWS, 3)) * 40 + 60).clip(0, 120).astype(dtype)
    narrow = X.dtype.newbyteorder("=")
    small(X.astype(MOVED.get(dtype, narrow)), 3)
    how = {"init": X[:3].astype(float), "n_init": 1, "max_iter": 2}
    found = KMeans(3, device="cuda", **how).fit(X)
    assert bits(found) == bits(KMeans(3, **how).fit(X))
    assert found.transform(X).dtype == found.cluster_centers_.dtype


@pytest.mark.parametrize("order", ["F", "reversed", "read-only", "strided"])
def test_layouts(small, order):
    X, k = data("blobs")
    small(X, k)
    how = {"n_init": 1, "max_iter": 1, "random_state": 0}
    wanted = KMeans(k, **how).fit(X)
    given = X.copy(order="F") if order == "F" else X.copy()
    if order == "reversed":
        given = X[::-1, ::-1].copy()[::-1, ::-1]
    if order == "strided":
        given = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    given.flags.writeable = order != "read-only"
    assert bits(KMeans(k, device="cuda", **how).fit(given)) == bits(wanted)

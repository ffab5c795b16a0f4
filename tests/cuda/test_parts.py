"""Rows of the host that are larger than the device's memory: the bits of the CPU."""

import copy
import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from backend_data import DATA
from device_cases import (
    INITS,
    ON_GPU,
    bits,
    in_memory,
    kind_of,
    on_device,
    shortened,
    start_cases,
    torch,
)
from stream_data import ArraySource

from tilewise import (
    KMeans,
    MiniBatchKMeans,
    argkmin,
    kmeans_plusplus,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
)
from tilewise.cuda import _moves, _nearest, _neighbor_plan, _plan, _search
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


# With a limit, few rows of an array do not take the short way, which is the CPU's.
NOT_FEW = {"memory_limit": "1GB"}


def data(name):
    X, k = DATA[name]
    X = shortened(X, ROWS)
    return X, k if ON_GPU or len(X) == k else min(k, 4)


def weights_for(X, k):
    weights = np.random.RandomState(1).randint(0, 4, len(X)) * 0.3
    weights[:k] += 0.1
    return weights


CASES = start_cases(every=2 * len(INITS), rest=1)


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
    found.set_params(**NOT_FEW)
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


@pytest.mark.parametrize("kind", ["array", "file", "once"])
def test_rows_that_are_asked_for_once(monkeypatch, tmp_path, kind):
    """Labels and distances keep nothing of the rows: a part need not be large."""
    X, k = data("blobs")
    model = KMeans(k, init=X[:k], n_init=1, max_iter=1).fit(X)
    given = {"array": X, "file": saved(X, tmp_path), "once": None}[kind]
    monkeypatch.setenv(VARIABLE, "2KiB")
    moved, real = [], _moves.Mover._sent
    monkeypatch.setattr(
        _moves.Mover, "_sent",
        lambda self, slot, first, *how: moved.append(first) or real(self, slot, first, *how),
    )  # fmt: skip
    there = copy.copy(model).set_params(device="cuda", **NOT_FEW)
    for name in ("predict", "transform"):
        rows = [iter([X]) if given is None else given for _ in range(2)]
        found, wanted = getattr(there, name)(rows[0]), getattr(model, name)(rows[1])
        assert (found.dtype, found.tobytes()) == (wanted.dtype, wanted.tobytes())
    assert len(moved) >= 6


# ---------------------------------------------------------------- neighbours


def pair(n=90, m=50, d=5, dtype="float64", seed=0):
    rng = np.random.RandomState(seed)
    X, Y = (rng.standard_normal((rows, d)).astype(dtype) for rows in (n, m))
    return X, Y


@pytest.fixture
def short(monkeypatch):
    """A device that has room for about half of 90 rows and what is found of them."""
    monkeypatch.setenv(VARIABLE, "16KiB")


def same(found, wanted):
    found, wanted = (value if type(value) is tuple else (value,) for value in (found, wanted))
    for one, other in zip(found, wanted, strict=True):
        assert type(one) is np.ndarray
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbours(short, metric, dtype):
    X, Y = pair(dtype=dtype)
    same(argkmin(X, Y, 3, metric=metric, device="cuda"), argkmin(X, Y, 3, metric=metric))


def test_nearest_rows(short):
    X, Y = pair()
    for axis in (0, 1):
        for function in (pairwise_distances_argmin, pairwise_distances_argmin_min):
            same(function(X, Y, axis=axis, device="cuda"), function(X, Y, axis=axis))
    same(argkmin(X, None, 2, device="cuda"), argkmin(X, None, 2))
    same(argkmin(X, Y, 2, device="cuda", return_distance=False), argkmin(X, Y, 2)[1])


def test_neighbours_after_a_look(short, monkeypatch):
    """Rows of Y are packed once for all parts."""
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 16)
    made = []
    real = _nearest.Look.__init__
    monkeypatch.setattr(
        _nearest.Look, "__init__", lambda self, *how: made.append(1) or real(self, *how)
    )
    monkeypatch.setenv(VARIABLE, "12KiB")
    X, Y = pair(dtype="float32")
    same(argkmin(X, Y, 2, device="cuda"), argkmin(X, Y, 2))
    assert len(made) == 1


@pytest.mark.parametrize("scale", [1.0, 2.0**600, 2.0**-700])
def test_one_neighbour_is_assigned_part_by_part(short, monkeypatch, scale):
    monkeypatch.setattr(_neighbor_plan, "_ASSIGNED_TILES", 0)
    parts, real = [], _search._assigned
    monkeypatch.setattr(_search, "_assigned", lambda X, *how: parts.append(len(X)) or real(X, *how))
    X, Y = pair()
    X[7], Y[20] = X[3], X[3]
    X, Y = X * scale, np.concatenate([Y, Y]) * scale
    same(argkmin(X, Y, 1, device="cuda"), argkmin(X, Y, 1))
    assert sum(parts) == len(X)
    assert len(parts) > 1


@pytest.mark.parametrize("scale", [2.0**600, 2.0**-700])
def test_neighbours_out_of_range(short, scale):
    X, Y = pair()
    X, Y = X * scale, Y * scale
    same(argkmin(X, Y, 3, device="cuda"), argkmin(X, Y, 3))
    X[:5] = 1.0
    same(argkmin(X, Y, 3, device="cuda"), argkmin(X, Y, 3))


@pytest.fixture
def seen(monkeypatch):
    """How many rows of X and of Y were compared with each other, each time; few fit at a time."""
    monkeypatch.setenv(VARIABLE, "8KiB")
    counts, real = [], _search.Others._among

    def among(self, X, Y, ahead):
        counts.append((len(X), len(Y)))
        return real(self, X, Y, ahead)

    monkeypatch.setattr(_search.Others, "_among", among)
    return counts


def in_parts(seen, X, Y):
    """Whether each of several parts of X met each of several parts of Y."""
    counts, (n, m) = seen[:], (len(X), len(Y))
    seen.clear()
    per_part = next(i for i in range(1, 999) if sum(y for _, y in counts[:i]) >= m)
    firsts = counts[::per_part]
    assert [y for _, y in counts] == [y for _, y in counts[:per_part]] * len(firsts)
    assert sum(y for _, y in counts[:per_part]) == m
    assert sum(x for x, _ in firsts) == n
    return per_part > 1 and len(firsts) > 1


@pytest.mark.parametrize(
    ("metric", "look"),
    [("euclidean", False), ("euclidean", True), ("sqeuclidean", True), ("cosine", False)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_sides_come_in_parts(seen, monkeypatch, metric, dtype, look):
    monkeypatch.setattr(_neighbor_plan, "_LOOK_ROWS", 16 if look else 2**60)
    X, Y = pair(n=24, m=170, dtype=dtype)
    # Equal distances in different parts: the lowest indices have to win.
    Y[90:100] = Y[130:140] = Y[30:40]
    X[10:20] = Y[30:40]
    for k in (1, 3):
        same(argkmin(X, Y, k, metric=metric, device="cuda"), argkmin(X, Y, k, metric=metric))
        assert in_parts(seen, X, Y)


def test_more_neighbours_than_a_part_has(seen):
    X, Y = pair(n=5, m=90)
    same(argkmin(X, Y, 20, device="cuda"), argkmin(X, Y, 20))
    assert max(y for _, y in seen) < 20
    assert in_parts(seen, X, Y)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_parts_of_the_same_rows(seen, metric):
    X, _ = pair(n=80)
    X[50:60] = X[:10]
    # A row of zeros has a cosine distance of 0 from itself, and of 1 from all others.
    X[[12, 44, 70]] = 0.0
    same(argkmin(X, None, 2, metric=metric, device="cuda"), argkmin(X, None, 2, metric=metric))
    assert in_parts(seen, X, X)


def test_nearest_rows_among_parts(seen):
    X, Y = pair(n=85, m=80)
    for axis, function in enumerate((pairwise_distances_argmin, pairwise_distances_argmin_min)):
        same(function(X, Y, axis=axis, device="cuda"), function(X, Y, axis=axis))
        assert in_parts(seen, *((X, Y) if axis else (Y, X)))


@pytest.mark.parametrize("scale", [2.0**600, 2.0**-700])
@pytest.mark.parametrize("squared", [False, True])
def test_parts_out_of_range(seen, scale, squared):
    X, Y = pair(n=20, m=90)
    X, Y = X * scale, Y * scale
    Y[60:70] = Y[:10]
    for _ in range(2):
        how = {"metric_kwargs": {"squared": squared}}
        same(argkmin(X, Y, 3, device="cuda", **how), argkmin(X, Y, 3, **how))
        assert in_parts(seen, X, Y)
        X[:5] = Y[80:] = 1.0


def test_rows_there_and_parts_of_others(seen, tmp_path):
    X, Y = pair(n=20, m=90)
    wanted = argkmin(X, Y, 2)
    there = argkmin(on_device(X), Y, 2, device="cuda")
    assert {x for x, _ in seen} == {len(X)}
    assert len(seen) > 1
    same(tuple(in_memory(array) for array in there), wanted)
    assert all(kind_of(array) == "torch" for array in there)
    huge = argkmin(on_device(X * 2.0**600), Y * 2.0**600, 2, device="cuda")
    same(tuple(in_memory(array) for array in huge), argkmin(X * 2.0**600, Y * 2.0**600, 2))
    mapped = np.load(saved(Y, tmp_path), mmap_mode="r")
    same(argkmin(X, mapped, 2, device="cuda"), wanted)
    Y = (Y * 10).astype(np.int64)
    same(argkmin(X, Y, 2, device="cuda"), argkmin(X, Y, 2))


def test_a_value_of_a_later_part_that_is_not_finite(short):
    X, Y = pair(m=300)
    Y[290, 2] = np.inf
    with pytest.raises(ValueError, match="row 290, column 2 of Y"):
        argkmin(X, Y, 2, device="cuda")


def test_arrays_of_both_places(short, tmp_path):
    X, Y = pair()
    wanted = argkmin(X, Y, 2)
    same(argkmin(X, on_device(Y), 2, device="cuda"), wanted)
    there = argkmin(on_device(X), Y, 2, device="cuda")
    same(tuple(in_memory(array) for array in there), wanted)
    assert all(kind_of(array) == "torch" for array in there)
    same(argkmin(on_device(X), on_device(Y), 2, device="cpu"), wanted)
    same(argkmin(X.tolist(), Y.tolist(), 2, device="cuda"), wanted)
    mapped = np.load(saved(X, tmp_path), mmap_mode="r")
    same(argkmin(mapped, Y.astype(">f8"), 2, device="cuda"), wanted)


def test_errors_of_neighbours(short):
    X, Y = pair()
    with pytest.raises(ValueError, match=r"X: sparse rows .* pass X.toarray\(\)"):
        argkmin(sp.csr_array(X), Y, 2, device="cuda")
    with pytest.raises(TypeError, match="out takes no results from a device"):
        argkmin(X, Y, 2, device="cuda", out=argkmin(X, Y, 2))
    X[77, 3] = Y[2, 1] = np.nan
    for rows, name in (((X, Y[3:]), "row 77, column 3 of X"), ((X, Y), "row 77, column 3 of X"),
                       ((X[:9], Y), "row 2, column 1 of Y")):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            argkmin(*rows, 2, device="cuda")


# ---------------------------------------------------------------- what goes wrong


class Failing(ArraySource):
    """A source that raises when so many rows have been read."""

    def __init__(self, X, error, after):
        super().__init__(X)
        self.error, self.after = error, after

    def read(self, first, out):
        if self.read_rows >= self.after:
            raise self.error
        return super().read(first, out)


def unchanged(model, work, error):
    """An error of a fit leaves the model as it was, and another fit succeeds."""
    before = dict(vars(model))
    with pytest.raises(type(error), match=str(error) or None):
        work()
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no disk")])
def test_an_error_between_two_parts(small, error):
    X, k = data("blobs")
    small(X, k)
    how = {"init": X[:k], "n_init": 1, "max_iter": 2, "device": "cuda"}
    wanted = bits(KMeans(k, **how | {"device": "cpu"}).fit(ArraySource(X)))
    model = KMeans(k, **how).fit(X)
    for after in (1, len(X) + 1, 2 * len(X)):
        source = Failing(X, error, after)
        unchanged(model, lambda source=source: model.fit(source), error)
        source.after = math.inf
        assert bits(KMeans(k, **how).fit(source)) == wanted


def test_ctrl_c_between_two_parts_of_an_array(small, monkeypatch):
    """Also before all rows that are to stay have arrived."""
    X, k = data("blobs")
    small(X, k)
    how = {"init": X[:k], "n_init": 1, "max_iter": 2}
    model = KMeans(k, device="cuda", **how).fit(X)
    real, left = _moves.Mover._sent, []

    def sent(self, *how):
        left.append(left.pop() - 1)
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(self, *how)

    monkeypatch.setattr(_moves.Mover, "_sent", sent)
    for stop in (2, 7):
        left[:] = [stop]
        unchanged(model, lambda: model.fit(X[::-1]), KeyboardInterrupt())
    assert bits(model.fit(X)) == bits(KMeans(k, **how).fit(X))


def test_memory_ends_between_two_parts(small, monkeypatch):
    X, k = data("blobs")
    small(X, k)
    model = KMeans(k, init=X[:k], n_init=1, max_iter=2, device="cuda").fit(X)
    kept, real = [], _moves.Mover._sent

    def full(self, slot, first, values, place):
        if first + len(values) == len(X):
            kept.append(weakref.ref(self))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU")
        return real(self, slot, first, values, place)

    monkeypatch.setattr(_moves.Mover, "_sent", full)
    model.set_params(**NOT_FEW)
    for work in (model.fit, model.predict, model.transform, model.score):
        unchanged(model, lambda work=work: work(X), MemoryError("2.00 GiB more were needed"))
        gc.collect()
        assert kept.pop()() is None


def test_no_room_for_what_is_kept_of_rows(monkeypatch):
    X, k = data("blobs")
    model = KMeans(k, init=X[:k], n_init=1, device="cuda").fit(X)
    monkeypatch.setenv(VARIABLE, "1KiB")
    told = f"{len(X):,} rows in {k} clusters need more than 1,024 bytes on the device"
    unchanged(model, lambda: model.fit(X), MemoryError(told))
    monkeypatch.setenv(VARIABLE, "much")
    unchanged(model, lambda: model.fit(X), ValueError(f"{VARIABLE}='much' is not a size"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(small, tmp_path, value):
    X, k = data("blobs")
    small(X, k)
    X[-2, 1] = value
    model = KMeans(k, init=X[:k], n_init=1, max_iter=1, device="cuda").fit(X[: -len(X) // 2])
    alone = KMeans(k, init=X[:k], n_init=1, max_iter=1).fit(X[: -len(X) // 2])
    for one in (model, alone):
        one.set_params(**NOT_FEW)
    for rows in (X, saved(X, tmp_path), lambda: iter([X])):
        for name in ("fit", "predict", "transform", "score"):
            messages = []
            for one in (model, alone):
                with pytest.raises(ValueError, match=f"row {len(X) - 2}") as caught:
                    getattr(one, name)(rows)
                messages.append(str(caught.value))
            assert messages[0] == messages[1]


# ---------------------------------------------------------------- plans


def test_the_plan_says_what_stays_and_what_moves(small):
    X, k = data("blobs")
    plan = small(X, k)
    model = KMeans(k, init=X[:k], n_init=1, max_iter=1, device="cuda").fit(X)
    assert model.chunk_plan_ == plan
    said = "\n".join(model.chunk_plan_.sentences())
    left = len(X) - plan.resident_rows
    assert f"{plan.resident_rows} of {len(X)} rows" in said
    assert f"2 buffers of {plan.staged_rows} rows" in said
    assert f"each pass moves {left} rows" in said
    assert VARIABLE in said
    assert "nobody tells" in said or "PCI Express" in said
    resident = plan.resident_rows * plan.moved_bytes
    assert resident + plan.bytes_of("fit", weighted=True) <= device_facts().free_bytes.value
    assert plan.resized(k + 1).resident_rows == plan.resident_rows


def test_rows_that_fit_are_moved_once(monkeypatch):
    X, k = data("blobs")
    moved, real = [], _moves.Mover._sent
    monkeypatch.setattr(
        _moves.Mover, "_sent",
        lambda self, slot, first, *how: moved.append(first) or real(self, slot, first, *how),
    )  # fmt: skip
    monkeypatch.setattr(_plan, "_STAGED_BYTES", len(X) // 3 * X.itemsize * X.shape[1])
    model = KMeans(k, n_init=1, max_iter=2, random_state=0, device="cuda").fit(X)
    assert moved == [0, len(X) // 3, len(X) // 3 * 2]
    assert bits(model) == bits(KMeans(k, n_init=1, max_iter=2, random_state=0).fit(X))
    assert "once, in the first pass" in model.chunk_plan_.reasons["moved"]


@pytest.mark.skipif(not ON_GPU, reason="Triton's interpreter runs in one thread")
def test_two_threads_and_streams(small):
    """Each fit has buffers, events and a stream for copies of its own."""
    X, k = data("blobs")
    small(X, k)
    how = {"n_init": 1, "max_iter": 5}

    def fit(seed):
        with torch.cuda.stream(torch.cuda.Stream()):
            return bits(KMeans(k, random_state=seed, device="cuda", **how).fit(X))

    wanted = [bits(KMeans(k, random_state=seed, **how).fit(X)) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fit, range(4))) == wanted


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU: its allocator is asked")
def test_memory_is_given_back(small):
    X, k = data("blobs")
    plan = small(X, k)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    KMeans(k, init=X[:k], n_init=1, max_iter=3, device="cuda").fit(X)
    assert torch.cuda.memory_allocated() == before
    peak = torch.cuda.max_memory_allocated() - before
    # Each tensor takes whole blocks of 512 bytes, large ones of 2 MiB.
    assert peak <= plan.resident_rows * plan.moved_bytes + plan.bytes_of("fit") + 2**22

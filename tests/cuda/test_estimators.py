"""Estimators of arrays on a device: what they take, and where what comes back is."""

import copy
import pickle

import numpy as np
import pytest
from device_cases import HAS_CUPY, KINDS, ON_GPU, PLACE, bits, in_memory, kind_of, on_device, torch
from recorder import Recorder, needs_callbacks
from sklearn.base import clone

from tilewise import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus
from tilewise.cuda import _passes

X = (np.random.RandomState(0).standard_normal((30, 3)) * 5).round(1)
START = X[:3]
WEIGHTS = np.random.RandomState(1).uniform(0.5, 2.0, len(X))
HOW = {"init": START, "n_init": 1, "max_iter": 2}
ESTIMATORS = [KMeans(3, **HOW), MiniBatchKMeans(3, **HOW, batch_size=15, random_state=0)]
named = {"ids": lambda value: type(value).__name__ if hasattr(value, "fit") else None}


MADE = {}


def both(kind):
    """A model of rows on the device, and one of the same rows in memory."""
    if kind not in MADE:
        MADE[kind] = KMeans(3, **HOW).fit(on_device(X, kind)), KMeans(3, **HOW).fit(X)
    return tuple(copy.copy(model) for model in MADE[kind])


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ESTIMATORS, **named)
def test_results_are_where_the_rows_are(model, kind):
    given = on_device(X, kind)
    wanted = clone(model).fit(X, sample_weight=WEIGHTS)
    found = clone(model)
    assert found.fit(given, sample_weight=on_device(WEIGHTS, kind)) is found
    assert bits(found) == bits(wanted)
    assert kind_of(found.labels_) == kind_of(found.cluster_centers_) == kind
    assert type(found.inertia_) is float
    assert type(found.n_iter_) is int
    assert found.n_features_in_ == 3
    for rows, place in ((given, kind), (X, "numpy")):
        for trained in (found, wanted):
            assert kind_of(trained.predict(rows)) == place
            assert kind_of(trained.transform(rows)) == place
            assert in_memory(trained.predict(rows)).tolist() == wanted.labels_.tolist()
            distances = in_memory(trained.transform(rows))
            assert distances.tobytes() == wanted.transform(X).tobytes()
            assert trained.score(rows) == wanted.score(X)
    assert kind_of(clone(model).fit_predict(given)) == kind
    assert kind_of(clone(model).fit_transform(given)) == kind


def test_batches_may_come_from_both_places():
    wanted = MiniBatchKMeans(3, random_state=0, init=START)
    found = clone(wanted)
    for i, weights in enumerate((None, WEIGHTS[:15], None)):
        part = X[:15] if i % 2 else X[15:]
        wanted.partial_fit(part, sample_weight=weights)
        on = i == 1
        found.partial_fit(
            on_device(part) if on else part, sample_weight=on_device(weights) if on else weights
        )
        assert bits(found) == bits(wanted)
        assert kind_of(found.labels_) == kind_of(found.cluster_centers_)
        assert kind_of(found.labels_) == ("torch" if on else "numpy")
    assert found.n_steps_ == 3


@pytest.mark.parametrize("weights", [None, WEIGHTS.tolist(), 2.0, "device"])
def test_weights_may_be_anywhere(weights):
    own = on_device(WEIGHTS) if isinstance(weights, str) else weights
    wanted = KMeans(3, **HOW).fit(X, sample_weight=WEIGHTS if own is not weights else weights)
    assert bits(KMeans(3, **HOW).fit(on_device(X), sample_weight=own)) == bits(wanted)
    if isinstance(weights, str):  # also those of rows in memory
        assert bits(KMeans(3, **HOW).fit(X, sample_weight=own)) == bits(wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_types_of_weights(dtype):
    weights = (np.arange(len(X)) % 3).astype(dtype)
    wanted = KMeans(3, **HOW).fit(X, sample_weight=weights)
    found = KMeans(3, **HOW).fit(on_device(X), sample_weight=on_device(weights))
    assert bits(found) == bits(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_may_be_anywhere(kind):
    wanted = bits(KMeans(3, **HOW).fit(X))
    start = on_device(START, kind)
    for rows in (X, on_device(X, kind)):
        assert bits(KMeans(3, init=start, n_init=1, max_iter=2).fit(rows)) == wanted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_callable_gets_and_gives_arrays_on_the_device(kind, dtype):
    """The rows less their mean, as in memory."""
    rows, seen = X.astype(dtype), {}

    def choose(given, n_clusters, random_state):
        seen[kind_of(given)] = in_memory(given).copy()
        return given[:n_clusters]

    how = {"init": choose, "n_init": 1, "max_iter": 2, "random_state": 0}
    wanted = bits(KMeans(3, **how).fit(rows))
    assert bits(KMeans(3, **how).fit(on_device(rows, kind))) == wanted
    assert seen[kind].dtype == seen["numpy"].dtype == rows.dtype
    assert seen[kind].tobytes() == seen["numpy"].tobytes()
    how |= {"batch_size": 15}
    wanted = bits(MiniBatchKMeans(3, **how).fit(rows))
    assert bits(MiniBatchKMeans(3, **how).fit(on_device(rows, kind))) == wanted
    assert seen[kind].tobytes() == seen["numpy"].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_functions(kind):
    wanted = k_means(X, 3, **HOW, return_n_iter=True)
    found = k_means(on_device(X, kind), 3, **HOW, return_n_iter=True)
    assert [kind_of(value) for value in found[:2]] == [kind, kind]
    assert in_memory(found[0]).tobytes() == wanted[0].tobytes()
    assert in_memory(found[1]).tolist() == wanted[1].tolist()
    assert found[2:] == wanted[2:]
    norms = on_device((X**2).sum(axis=1), kind)
    centers, rows = kmeans_plusplus(on_device(X, kind), 3, random_state=0, x_squared_norms=norms)
    assert kind_of(centers) == kind_of(rows) == kind
    assert in_memory(centers).tobytes() == X[in_memory(rows)].tobytes()
    with pytest.raises(ValueError, match="length of x_squared_norms"):
        kmeans_plusplus(on_device(X, kind), 3, x_squared_norms=norms[:5])


def test_no_array_is_copied():
    """The rows of a fit are the memory that was handed in; only what comes back is new."""
    from tilewise import engine

    request = engine.Request("test", lambda X: X, lambda n, names: None)
    for kind in KINDS:
        given = on_device(X, kind)
        tensor = engine.open_rows(given, request).tensor
        again = given if kind == "torch" else torch.from_dlpack(given)
        assert tensor.data_ptr() == again.data_ptr()


# ---------------------------------------------------------------- device=


@pytest.mark.parametrize("model", ESTIMATORS, **named)
def test_where_to_compute(model, monkeypatch):
    wanted = bits(clone(model).fit(X))
    asked = []
    run = _passes.DevicePass.assign
    monkeypatch.setattr(
        _passes.DevicePass, "assign", lambda *args: (asked.append("device"), run(*args))[1]
    )
    summed = _passes.DevicePass.assign_and_sum
    monkeypatch.setattr(
        _passes.DevicePass, "assign_and_sum",
        lambda *args: (asked.append("device"), summed(*args))[1],
    )  # fmt: skip
    moved = clone(model).set_params(device="cuda").fit(X)
    assert bits(moved) == wanted
    assert kind_of(moved.labels_) == kind_of(moved.cluster_centers_) == "numpy"
    assert asked
    del asked[:]
    brought = clone(model).set_params(device="cpu").fit(on_device(X), sample_weight=None)
    assert bits(brought) == wanted
    assert kind_of(brought.labels_) == kind_of(brought.predict(on_device(X))) == "numpy"
    assert kind_of(brought.transform(on_device(X))) == "numpy"
    assert brought.score(on_device(X)) == moved.score(X)
    clone(model).fit(X)
    assert not asked
    assert kind_of(clone(model).set_params(device="cuda").fit_predict(on_device(X))) == "torch"
    assert kind_of(k_means(X, 3, **HOW, device="cuda")[1]) == "numpy"
    assert kind_of(kmeans_plusplus(on_device(X), 3, device="cpu")[0]) == "numpy"


@pytest.mark.parametrize("device", ["gpu", "cuda:0", None, 0])
def test_other_places_are_refused(device):
    for model in (KMeans(2, device=device), MiniBatchKMeans(2, device=device)):
        with pytest.raises(ValueError, match="'device' parameter of"):
            model.fit(X)
    with pytest.raises(ValueError, match="'device' parameter of"):
        kmeans_plusplus(X, 2, device=device)


def host_arrays():
    rng = np.random.RandomState(2)
    base = rng.randint(0, 50, (40, 3))
    yield "order", np.asfortranarray(base.astype(np.float32))
    yield "bytes", base.astype(">f8")
    yield "strides", np.repeat(base.astype(float), 2, axis=0)[::-2]
    yield "float16", base.astype(np.float16)
    yield "bool", base > 25
    yield "uint16", base.astype(np.uint16)
    yield "int64", base
    yield "long", base.astype(np.longdouble)
    locked = base.astype(float)
    locked.setflags(write=False)
    yield "locked", locked
    yield "list", base.tolist()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    ("name", "rows"), list(host_arrays()), ids=lambda v: v if type(v) is str else ""
)
def test_arrays_in_memory_are_moved(name, rows):
    how = {"init": np.asarray(rows)[:3], "n_init": 1, "max_iter": 1}
    found, wanted = KMeans(3, **how, device="cuda").fit(rows), KMeans(3, **how).fit(rows)
    assert bits(found) == bits(wanted)
    assert found.transform(rows).tobytes() == wanted.transform(rows).tobytes()


def test_a_frame_is_moved():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    found = KMeans(3, **HOW, device="cuda").fit(frame)
    assert found.feature_names_in_.tolist() == ["a", "b", "c"]
    assert found.labels_.tolist() == KMeans(3, **HOW).fit(X).labels_.tolist()
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        found.predict(on_device(X))


# ---------------------------------------------------------------- a fitted model


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_hold_arrays_that_everybody_can_read(kind):
    model, wanted = both(kind)
    again = pickle.loads(pickle.dumps(model))
    assert bits(again) == bits(wanted)
    assert kind_of(again.labels_) == kind_of(again.cluster_centers_) == "numpy"
    assert kind_of(again.predict(on_device(X, kind))) == kind
    assert kind_of(model.labels_) == kind  # the model itself did not change
    assert again.chunk_plan_.n_clusters == 3


def test_copies_stay_on_the_device():
    model, _ = both("torch")
    for twin in (copy.copy(model), copy.deepcopy(model)):
        assert bits(twin) == bits(model)
        assert kind_of(twin.labels_) == "torch"
    assert copy.copy(model).labels_ is model.labels_
    assert copy.deepcopy(model).labels_ is not model.labels_
    fresh = clone(KMeans(2, init=on_device(START[:2]), n_init=1, device="cuda"))
    assert fresh.device == "cuda"
    assert kind_of(fresh.fit(on_device(X)).labels_) == "torch"


@pytest.mark.parametrize("kind", KINDS)
def test_a_predictor(kind):
    model, wanted = both(kind)
    assert [model.predictor()(row) for row in X] == wanted.labels_.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_exports(kind):
    from tilewise.export import to_c, to_pmml

    model, wanted = both(kind)
    assert to_c(model) == to_c(wanted)
    assert to_pmml(model) == to_pmml(wanted)


def test_an_onnx_graph():
    pytest.importorskip("onnx")
    from tilewise.export import to_onnx

    model, wanted = both("torch")
    assert to_onnx(model).SerializeToString() == to_onnx(wanted).SerializeToString()


def test_own_centres_on_the_device():
    model, wanted = both("torch")
    for trained in (model, wanted):
        trained.cluster_centers_ = on_device(START + 1.0)
    assert model.predict(X).tolist() == in_memory(wanted.predict(on_device(X))).tolist()


def test_containers_of_set_output():
    pandas = pytest.importorskip("pandas")
    model, wanted = both("torch")
    frame = model.set_output(transform="pandas").transform(on_device(X))
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns.tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert frame.to_numpy().tobytes() == wanted.transform(X).tobytes()
    fitted = clone(model).set_output(transform="pandas").fit_transform(on_device(X))
    assert fitted.equals(frame)
    assert kind_of(model.set_output(transform="default").transform(on_device(X))) == "torch"


def test_results_go_where_the_user_says(tmp_path):
    model, wanted = both("torch")
    labels = np.empty(len(X), dtype=np.int32)
    assert model.predict(on_device(X), out=labels) is labels
    assert labels.tolist() == wanted.labels_.tolist()
    saved = model.transform(on_device(X), out=tmp_path / "distances.npy")
    assert saved.tobytes() == wanted.transform(X).tobytes()
    with pytest.raises(ValueError, match="out must be an array or the path"):
        model.predict(on_device(X), out=on_device(labels))


def test_refits_change_the_place():
    model, wanted = both("torch")
    assert kind_of(model.fit(X).cluster_centers_) == "numpy"
    assert bits(model) == bits(wanted)
    assert kind_of(model.fit(on_device(X)).cluster_centers_) == "torch"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [1e200, 1e-170, 1.0])
def test_rows_of_like_magnitude_are_assigned_together(size):
    """Some rows are far larger than the rest."""
    model, wanted = both("torch")
    rows = np.r_[X, X[:5] * size]
    assert in_memory(model.predict(on_device(rows))).tolist() == wanted.predict(rows).tolist()
    weights = np.arange(len(rows)) % 4.0
    for own in (None, weights):
        score = model.score(on_device(rows), sample_weight=on_device(own))
        assert score == wanted.score(rows, sample_weight=own)
    found = in_memory(model.transform(on_device(rows)))
    assert found.tobytes() == wanted.transform(rows).tobytes()


# ---------------------------------------------------------------- while a fit runs


@pytest.mark.parametrize("model", ESTIMATORS, **named)
def test_a_checkpoint_goes_on_in_the_other_place(model, tmp_path):
    wanted = bits(clone(model).fit(X, sample_weight=WEIGHTS))
    for first, then in ((on_device, np.asarray), (np.asarray, on_device)):
        path = tmp_path / "state.npz"
        trained = clone(model).set_params(checkpoint=path)
        from tilewise.cluster import _checkpoint

        write, count = _checkpoint.Checkpoint.write, []

        def interrupt(self, write=write, count=count, **arrays):
            write(self, **arrays)
            count.append(1)
            raise KeyboardInterrupt

        _checkpoint.Checkpoint.write = interrupt
        try:
            with pytest.raises(KeyboardInterrupt):
                trained.fit(first(X), sample_weight=first(WEIGHTS))
        finally:
            _checkpoint.Checkpoint.write = write
        assert path.exists()
        assert bits(trained.fit(then(X), sample_weight=then(WEIGHTS))) == wanted
        assert not path.exists()


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    model = KMeans(3, init=on_device(START), n_init=1, max_iter=2, checkpoint=path)
    from tilewise.cluster import _checkpoint

    rows = KMeans(3, init=START, n_init=1, max_iter=2, checkpoint=path)
    kept = {}
    write = _checkpoint.Checkpoint.write

    def spy(self, **arrays):
        write(self, **arrays)
        kept.setdefault("bytes", path.read_bytes())

    _checkpoint.Checkpoint.write = spy
    try:
        rows.fit(X)
    finally:
        _checkpoint.Checkpoint.write = write
    path.write_bytes(kept["bytes"])
    with pytest.raises(ValueError, match="written by another fit: data"):
        model.fit(on_device(X + 1.0))
    # The same start and rows, on the device, are the same fit.
    assert bits(model.fit(on_device(X))) == bits(KMeans(3, **HOW).fit(X))


@needs_callbacks
@pytest.mark.parametrize("model", ESTIMATORS, **named)
def test_callbacks_see_fitted_models(model):
    recorder = Recorder()
    watched = clone(model).set_callbacks(recorder).fit(on_device(X))
    models = [seen for name, seen in recorder.models if name == "iteration"]
    assert models
    assert {kind_of(seen.cluster_centers_) for seen in models} == {"torch"}
    assert kind_of(models[0].predict(on_device(X))) == "torch"
    assert bits(watched) == bits(clone(model).fit(X))


@pytest.mark.parametrize("model", ESTIMATORS, **named)
def test_an_interrupted_fit_changes_nothing(model, monkeypatch):
    trained = clone(model).set_params(random_state=np.random.RandomState(3)).fit(on_device(X))
    before, state = dict(vars(trained)), trained.random_state.get_state()[1].tolist()
    calls = []
    for name in ("assign", "assign_and_sum"):
        real = getattr(_passes.DevicePass, name)

        def interrupted(self, centers, real=real):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(self, centers)

        monkeypatch.setattr(_passes.DevicePass, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained.fit(on_device(X[::-1].copy()))
    assert all(vars(trained)[name] is value for name, value in before.items())
    assert vars(trained).keys() == before.keys()
    assert trained.random_state.get_state()[1].tolist() == state


@pytest.mark.skipif(not ON_GPU, reason="Triton's interpreter runs in one thread")
def test_two_threads_fit_at_once():
    from concurrent.futures import ThreadPoolExecutor

    rows = np.random.RandomState(0).standard_normal((2000, 8)).astype(np.float32)

    def fit(seed):
        with torch.cuda.stream(torch.cuda.Stream()):
            given = on_device(rows)
            return bits(KMeans(5, random_state=seed, n_init=2).fit(given))

    wanted = [bits(KMeans(5, random_state=seed, n_init=2).fit(rows)) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fit, range(4))) == wanted


@pytest.mark.skipif(not HAS_CUPY, reason="needs CuPy on a GPU")
def test_streams_of_cupy_wait():
    """Rows are still being written on CuPy's stream when the fit begins."""
    import cupy

    rows = np.random.RandomState(0).standard_normal((200_000, 16)).astype(np.float32)
    wanted = bits(KMeans(4, init=rows[:4], n_init=1, max_iter=2).fit(rows))
    with cupy.cuda.Stream(non_blocking=True):
        given = cupy.zeros_like(rows)
        for _ in range(50):
            given += 1.0
        given[...] = cupy.asarray(rows)
        found = KMeans(4, init=rows[:4], n_init=1, max_iter=2).fit(given)
        assert bits(found) == wanted


def test_the_place_of_the_tests():
    """What runs here is what the tests say runs here."""
    from tilewise.cuda import _arrays

    assert _arrays.kind_of(on_device(X)) == "torch"
    assert PLACE in _arrays.DEVICE_TYPES
    assert ON_GPU or _arrays.kind_of(X) is None

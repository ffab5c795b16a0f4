"""The seam: another backend runs through the same estimators, to the same bits."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from backend_data import DATA, bits
from cluster_data import blobs
from numpy_backend import NumpyBackend
from stream_data import ArraySource

import tilewise
from tilewise import KMeans, MiniBatchKMeans, engine, kmeans_plusplus
from tilewise.engine import BACKENDS, Request, backend_of, open_rows, register


@pytest.fixture
def plain():
    """The plain backend is asked first."""
    register(NumpyBackend())
    yield
    del BACKENDS[0]


def anything(X):
    return np.asarray(X)


def test_backends_accept_or_decline(plain):
    def name(X, **how):
        return open_rows(X, Request("test", anything, lambda n, names: None, **how)).backend

    assert name(np.ones((3, 2))) == "numpy"
    assert name(np.ones((3, 300))) == "cpu"
    assert name(ArraySource(np.ones((3, 2))), again="") == "cpu, streamed"
    rows = open_rows(sp.csr_array(np.eye(3)), Request("test", lambda X: X, lambda n, names: None))
    assert backend_of(rows).name == "cpu"


def test_the_table_of_backends(plain):
    with pytest.raises(ValueError, match="there is a backend named 'numpy' already"):
        register(NumpyBackend())
    other = NumpyBackend()
    other.name = "other"
    with pytest.raises(ValueError, match="nowhere"):
        register(other, before="nowhere")
    register(other, before="cpu")
    names = [backend.name for backend in BACKENDS]
    BACKENDS.remove(other)
    # Somebody may have imported tilewise.dask.
    own = [name for name in names if name != "dask"]
    assert own == ["numpy", "cuda", "cuda, streamed", "cpu, streamed", "other", "cpu"]


def test_data_that_nobody_takes(monkeypatch):
    monkeypatch.setattr(engine.backend, "BACKENDS", [])
    with pytest.raises(ValueError, match="no backend takes data of type list"):
        KMeans(1).fit([[1.0]])


# ---------------------------------------------------------------- the same bits


def on_both(work):
    register(NumpyBackend())
    try:
        other = work()
    finally:
        del BACKENDS[0]
    return work(), other


def same(work):
    ours, other = on_both(work)
    assert ours == other


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "array", "callable"])
@pytest.mark.parametrize("name", DATA)
def test_fits_have_the_same_bits(name, init, weighted):
    X, k = DATA[name]
    weights = None
    if weighted:
        weights = np.random.RandomState(1).randint(0, 4, len(X)) * 0.3
        weights[:k] += 0.1
    start = {"array": X[:k], "callable": lambda X, k, random_state: X[-k:]}.get(init, init)

    def work():
        model = KMeans(k, init=start, n_init=1 if init == "array" else 2, random_state=0)
        model.fit(X, sample_weight=weights)
        near = X[::3] if X.dtype != np.uint8 else X[::3].astype(float)
        return bits(model), model.predict(near).tobytes(), model.score(X, sample_weight=weights)

    same(work)


@pytest.mark.parametrize(
    "name", ["blobs", "iris", "duplicates", "whole numbers", "many magnitudes"]
)
@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
@pytest.mark.parametrize("weighted", [False, True])
def test_minibatches_have_the_same_bits(name, weighted, init):
    X, k = DATA[name]
    weights = np.random.RandomState(1).uniform(0.1, 2, len(X)) if weighted else None

    def work():
        model = MiniBatchKMeans(
            k, init=init, batch_size=50, random_state=0, n_init=2, max_iter=8, tol=1e-3
        )
        found = bits(model.fit(X, sample_weight=weights))
        return found, bits(model.partial_fit(X[:60], None if weights is None else weights[:60]))

    same(work)


@pytest.mark.parametrize("trials", [None, 1, 20])
@pytest.mark.parametrize("name", ["blobs", "iris", "digits", "duplicates", "huge"])
def test_seeds_are_the_same(name, trials):
    X, k = DATA[name]
    weights = np.random.RandomState(2).uniform(0, 5e3, len(X))
    for own in (None, weights):
        same(lambda own=own: kmeans_plusplus(
            X, 2 * k, sample_weight=own, random_state=4, n_local_trials=trials
        )[1].tolist())  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_oversampling_gives_the_same_numbers(name):
    """Step by step: potentials, rows drawn, weights of candidates."""
    X, k = DATA[name]
    weights = np.random.RandomState(2).uniform(0, 3, len(X)) * (np.arange(len(X)) % 5 > 0)

    def work(own):
        rows = open_rows(X, Request("test", anything, lambda n, names: None))
        backend = backend_of(rows)
        if X.dtype == float:
            rows = engine.Scale.of(np.abs(X).max()).rows(rows)
        state = backend.open_oversampling(rows, own, backend.plan(rows, k))
        drawn = [np.array([state.first(np.random.RandomState(1))])]
        potentials = [state.spread(rows.take(drawn[0]))]
        for key in (0, 7, 2**64 - 1):
            if potentials[-1] > 0.0:
                drawn.append(state.draw(key, 2 * k / potentials[-1]))
                if len(drawn[-1]):
                    potentials.append(state.spread(rows.take(drawn[-1])))
        ids = np.concatenate(drawn)
        assert own is None or (own[ids] > 0).all()
        return potentials, ids.tolist(), state.counts(len(ids)).tolist()

    for own in (None, weights, weights * 1e30, weights * 1e-30):
        same(lambda own=own: work(own))


def test_threads_chunks_and_orders_do_not_count():
    X, k = DATA["digits"]
    plain = on_both(lambda: bits(KMeans(k, random_state=0).fit(X)))[1]
    for way in ({"n_threads": 3}, {"chunk_size": 64}, {"engine": "blas"}):
        assert bits(KMeans(k, random_state=0, **way).fit(np.asfortranarray(X))) == plain


def test_bad_values_are_named_alike():
    X = blobs()
    X[17, 2] = np.nan

    def work():
        found = []
        for model in (KMeans(2, random_state=0), MiniBatchKMeans(2, random_state=0, tol=0.1)):
            with pytest.raises(ValueError, match="NaN") as caught:
                model.fit(X)
            found.append(str(caught.value))
        return found

    same(work)


# ---------------------------------------------------------------- tests of the estimators


def load_tests(file):
    """The tests of another file: here they run on the plain backend."""
    path = Path(__file__).parent.parent / file
    spec = importlib.util.spec_from_file_location(f"again_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


SEMANTICS = load_tests("cluster/test_semantics.py")


@pytest.mark.usefixtures("plain")
class TestSemantics:
    """What K-Means does in scikit-learn."""


for _name, _test in SEMANTICS.items():
    setattr(TestSemantics, _name, staticmethod(_test))


# ---------------------------------------------------------------- what lies above the seam

#: Names of `tilewise.engine` that estimators and loops may use: protocols, the table, and helpers
#: that compute nothing from rows of one backend.
SEAM = {
    "AssignmentPass", "Batches", "BatchPass", "Columns", "OutOfRange", "Request", "RowSet", "Scale",
    "SingleRows", "Stats", "StreamReport", "aligned", "as_rows", "backend_of", "computing",
    "extent", "few_rows", "hashed", "labels_of", "on_host", "open_rows", "refuse_out_of_range",
    "squared_moves",
}  # fmt: skip


def names_used(path):
    """Names of the engine, and other modules of tilewise, that a file uses."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and "tilewise" in node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "engine":
                yield f"tilewise.engine.{node.attr}"


@pytest.mark.parametrize("folder", ["algorithms", "cluster"])
def test_nothing_above_the_seam_knows_what_is_below(folder):
    used = set()
    for path in (Path(tilewise.__file__).parent / folder).glob("*.py"):
        used |= set(names_used(path))
    assert not [name for name in used if name.startswith("tilewise.kernels")]
    engine_names = {n.removeprefix("tilewise.engine.") for n in used if "tilewise.engine." in n}
    assert engine_names <= SEAM
    assert engine_names

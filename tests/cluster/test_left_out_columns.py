"""Fits leave out columns in which CSR rows store nothing, and every bit stays."""

import numpy as np
import pytest
import scipy.sparse as sp
from recorder import Recorder, needs_callbacks

from tilewise import KMeans, MiniBatchKMeans
from tilewise.cluster import _checkpoint
from tilewise.engine import Columns, Rows

WIDE = 9001  # no multiple of eight


def hashed(n=400, d=WIDE, stored=6, columns=700, dtype=np.float64, seed=0):
    """Rows that store a few numbers each, in some of many columns, more in three of the lanes."""
    rng = np.random.default_rng(seed)
    some = rng.choice(d, columns, replace=False)
    some = np.concatenate([some[some % 8 < 3], some[some % 8 >= 3][: columns // 9]])
    at = np.sort(rng.choice(some, (n, stored)), axis=1)
    offsets = np.arange(0, n * stored + 1, stored)
    X = sp.csr_array((rng.normal(size=n * stored), at.ravel(), offsets), shape=(n, d))
    X.sum_duplicates()
    return X.astype(dtype)


@pytest.fixture
def everything(monkeypatch):
    """A context in which no column is left out."""

    def fitted(model, X, **how):
        with monkeypatch.context() as patch:
            patch.setattr(Columns, "of", classmethod(lambda cls, *_args: cls()))
            return model.fit(X, **how)

    return fitted


def results(model):
    return model.cluster_centers_, model.labels_, np.array([model.inertia_, model.n_iter_])


def assert_same(one, other):
    for a, b in zip(results(one), results(other), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def starts(X, k):
    """Rows to start from, one of which has a number in a column that no row has."""
    found = X[:k].toarray().astype(np.float64)
    unused = np.flatnonzero(np.bincount(X.indices, minlength=X.shape[1]) == 0)
    found[1, unused[17]] = 0.25
    return found


CASES = {
    "k-means++": {},
    "k-means||": {"init": "k-means||"},
    "random": {"init": "random", "n_init": 3},
    "tol": {"tol": 0.03},
    "no tol": {"tol": 0},
    "one thread": {"n_threads": 1},
    "one iteration": {"max_iter": 1},
    "array": {"init": None},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_kmeans_is_the_same(everything, case, dtype, weighted):
    X = hashed(dtype=dtype)
    parameters = {"random_state": 3, **CASES[case]}
    if case == "array":
        parameters |= {"init": starts(X, 9), "n_init": 1}
    weights = np.random.default_rng(1).uniform(0, 3, X.shape[0]) if weighted else None
    model = KMeans(9, **parameters).fit(X, sample_weight=weights)
    assert "columns" in model.chunk_plan_.reasons
    assert model.chunk_plan_.n_features < X.shape[1] / 8
    assert model.cluster_centers_.shape == (9, X.shape[1])
    assert model.n_features_in_ == X.shape[1]
    other = everything(KMeans(9, **parameters), X, sample_weight=weights)
    assert other.chunk_plan_.n_features == X.shape[1]
    assert_same(model, other)
    assert np.array_equal(model.predict(X), model.labels_)
    dense = KMeans(9, **parameters).fit(X.toarray(), sample_weight=weights)
    assert np.array_equal(model.cluster_centers_, dense.cluster_centers_)
    assert np.array_equal(model.labels_, dense.labels_)
    assert model.n_iter_ == dense.n_iter_
    # That of CSR rows comes from the few entries that they store.
    assert model.inertia_ == pytest.approx(dense.inertia_, rel=1e-15)
    assert model.inertia_ == (model.score(X, sample_weight=weights) * -1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"tol": 0.05},
        {"n_init": 1, "compute_labels": False},
        {"init": "array"},
        {"init": "k-means||", "reassignment_ratio": 0.5},
    ],
    ids=str,
)
def test_mini_batches_are_the_same(everything, parameters, weighted):
    X = hashed(900, dtype=np.float32)
    if parameters.get("init") == "array":
        parameters = {"init": starts(X, 12), "n_init": 1}
    parameters = {"batch_size": 100, "random_state": 0, **parameters}
    weights = np.random.default_rng(1).uniform(0.1, 3, X.shape[0]) if weighted else None
    model = MiniBatchKMeans(12, **parameters).fit(X, sample_weight=weights)
    other = everything(MiniBatchKMeans(12, **parameters), X, sample_weight=weights)
    assert "columns" in model.chunk_plan_.reasons
    assert "columns" not in other.chunk_plan_.reasons
    assert np.array_equal(model.cluster_centers_, other.cluster_centers_)
    assert (model.inertia_, model.n_steps_) == (other.inertia_, other.n_steps_)
    assert hasattr(model, "labels_") == parameters.get("compute_labels", True)
    dense = MiniBatchKMeans(12, **parameters).fit(X.toarray(), sample_weight=weights)
    assert np.array_equal(model.cluster_centers_, dense.cluster_centers_)
    assert model.n_steps_ == dense.n_steps_
    if hasattr(model, "labels_"):
        assert np.array_equal(model.labels_, other.labels_)
        assert np.array_equal(model.labels_, dense.labels_)
    else:
        # That of batches: the row decides how it is measured, not how it is stored.
        assert model.inertia_ == dense.inertia_
    # It goes on with all columns.
    for each in (model, other):
        each.partial_fit(X[:50])
    assert np.array_equal(model.cluster_centers_, other.cluster_centers_)


@pytest.mark.filterwarnings("ignore:The inertia, a sum of squares")
@pytest.mark.parametrize("factor", [1e-250, 1e200, 1e300])
def test_values_that_are_scaled(everything, factor):
    X = hashed()
    X.data *= factor
    model = KMeans(5, random_state=0, max_iter=5).fit(X)
    assert "columns" in model.chunk_plan_.reasons
    assert_same(model, everything(KMeans(5, random_state=0, max_iter=5), X))


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_that_stay_empty(everything):
    """Their centres move to the mean of the heaviest cluster: by the canonical distance too."""
    X = hashed(4)[[0, 1, 2, 3] * 20]
    for tol in (0, 0.05, 0.2):
        model = KMeans(7, random_state=0, tol=tol).fit(X)
        assert_same(model, everything(KMeans(7, random_state=0, tol=tol), X))


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32, np.int64, ">f8"])
def test_kinds_of_rows(everything, dtype, index):
    X = hashed()
    X.data = np.round(20 * X.data)
    if np.dtype(dtype).name == "float16":
        X = sp.csr_array((X.data.astype(np.float32), X.indices, X.indptr), shape=X.shape)
    else:
        X = sp.csr_array((X.data.astype(dtype), X.indices, X.indptr), shape=X.shape)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    X.data[::5] = 0  # stored zeros
    model = KMeans(6, random_state=0).fit(X)
    assert "columns" in model.chunk_plan_.reasons
    assert_same(model, everything(KMeans(6, random_state=0), X))


def test_rows_in_any_order_with_duplicates(everything):
    rng = np.random.default_rng(0)
    at = rng.choice(rng.choice(WIDE, 200), 3000)
    X = sp.coo_array((rng.normal(size=3000), (rng.integers(0, 300, 3000), at)), shape=(300, WIDE))
    X = sp.csr_array((X.data, X.col, np.arange(0, 3001, 10)), shape=(300, WIDE))
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    model = KMeans(6, random_state=0).fit(X)
    for array, kept in zip((X.data, X.indices, X.indptr), before, strict=True):
        assert np.array_equal(array, kept)
    assert_same(model, everything(KMeans(6, random_state=0), X))


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_bad_values_are_named_where_they_are(estimator, bad):
    X = hashed()
    # The last one of a row: elsewhere it would stand before others.
    at = X.indptr[212] - 1
    X.data[at] = bad
    kind = "NaN" if np.isnan(bad) else "infinity"
    with pytest.raises(ValueError, match=rf"{kind}.*row 211, column {X.indices[at]}\."):
        estimator(4, random_state=0, tol=0.1).fit(X)


def test_a_callable_is_shown_all_columns():
    X, shown = hashed(), []

    def first_rows(rows, k, random_state):
        shown.append(rows.shape)
        return rows[:k].toarray()

    model = KMeans(4, init=first_rows, n_init=2).fit(X)
    assert shown == [X.shape] * 2
    assert "columns" not in model.chunk_plan_.reasons


def test_all_columns_are_kept_where_nothing_is_gained():
    few, many = hashed(d=4000), hashed(4000)
    assert not Columns.of(Rows(few), 8)
    assert not Columns.of(Rows(hashed(30_000, 5000, 4, 4000)), 1)
    assert Columns.of(Rows(many), 1)
    assert not Columns.of(Rows(sp.csr_array(np.ones((3, 5000)))), 100)
    assert not Columns.of(Rows(np.ones((3, 5000))), 100)


def test_columns_keep_their_remainder_and_its_order():
    X = hashed()
    rows = Rows(X)
    columns = Columns.of(rows, 8)
    assert np.array_equal(columns.used, np.unique(X.indices))
    places = columns.places[columns.used]
    assert np.array_equal(places % 8, columns.used % 8)
    for lane in range(8):
        assert (np.diff(places[places % 8 == lane]) > 0).all()
    assert columns.width % 8 == 0
    assert places.max() < columns.width
    folded = columns.rows(rows)
    dense = X.toarray()
    assert np.array_equal(folded.take(np.arange(400)), columns.values(dense))
    assert np.array_equal(columns.undone(columns.values(dense)), dense)
    assert columns.undone(columns.values(dense)[0]).shape == (WIDE,)


def test_rows_without_entries():
    X = sp.csr_array((20, WIDE))
    with pytest.warns(match="distinct clusters"):
        model = KMeans(3, random_state=0).fit(X)
    assert model.chunk_plan_.n_features == 8
    assert not model.cluster_centers_.any()
    assert model.inertia_ == 0


class Stopped(Exception):
    """Raised in the middle of a fit."""


@pytest.mark.parametrize(
    "model",
    [
        KMeans(9, random_state=1, n_init=2, init="random", max_iter=9, tol=0),
        MiniBatchKMeans(9, random_state=1, batch_size=100, max_iter=6, max_no_improvement=None),
    ],
    ids=["KMeans", "MiniBatchKMeans"],
)
@pytest.mark.parametrize("all_before", [False, True])
def test_a_fit_that_is_taken_up_again(tmp_path, monkeypatch, everything, model, all_before):
    """Its file holds all columns: who left none out before may do so now."""
    X, path = hashed(), tmp_path / "state.npz"
    whole = model.fit(X)
    expected = [array.copy() for array in results(whole)]
    write, written = _checkpoint.Checkpoint.write, []

    def watched(self, **arrays):
        write(self, **arrays)
        written.append(1)
        if len(written) == 5:
            raise Stopped

    model.set_params(checkpoint=path)
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "write", watched)
        with pytest.raises(Stopped):
            everything(model, X) if all_before else model.fit(X)
    with np.load(path) as state:
        assert state["centers"].shape == (9, WIDE)
    again = model.fit(X)
    model.set_params(checkpoint=None)
    for a, b in zip(results(again), expected, strict=True):
        assert np.array_equal(a, b)


@needs_callbacks
@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
def test_callbacks_see_all_columns(estimator):
    X, recorder = hashed(), Recorder()
    model = estimator(4, random_state=0, max_iter=4).set_callbacks(recorder).fit(X)
    plain = estimator(4, random_state=0, max_iter=4).fit(X)
    assert np.array_equal(model.cluster_centers_, plain.cluster_centers_)
    assert recorder.models
    for _task, seen in recorder.models:
        assert seen.cluster_centers_.shape == (4, WIDE)

"""Calls on few rows: the bits, types, errors and warnings of calls on many."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans
from tilewise.engine import single

METHODS = ("predict", "transform", "score")


def long_way(monkeypatch):
    monkeypatch.setattr(single, "most_single_rows", lambda *shape: 0)


def models(dtype, **changes):
    X = blobs(300, 7, 20, dtype=dtype)
    yield KMeans(20, random_state=0, **changes).fit(X), X
    yield MiniBatchKMeans(20, random_state=0, **changes).fit(X), X


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fitted", [np.float32, np.float64])
@pytest.mark.parametrize("seen", ["f4", "f8", ">f4", "f2", "i1", "u2", "i8", "?", object])
def test_the_bits_of_the_long_way(method, fitted, seen, monkeypatch):
    for model, X in models(fitted):
        X = (X * (1 if np.dtype(seen).kind in "fO" else 10)).astype(seen)
        found = [np.asarray(getattr(model, method)(X[:n])) for n in (1, 2, 33)]
        with monkeypatch.context() as patch:
            long_way(patch)
            expected = [np.asarray(getattr(model, method)(X[:n])) for n in (1, 2, 33)]
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)


@pytest.mark.parametrize("scale", [1e30, 1e-25, 1e150, 1e300, 1e-200, 1e-310])
@pytest.mark.parametrize("method", METHODS)
def test_huge_and_tiny(method, scale, monkeypatch):
    X = blobs(60, 3, 4) * scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = KMeans(4, random_state=0).fit(X)
        rows = np.concatenate([X[:4], model.cluster_centers_, np.zeros((1, 3))])
        found = [np.asarray(getattr(model, method)(rows[i : i + 1])) for i in range(len(rows))]
        found.append(np.asarray(getattr(model, method)(rows)))
        long_way(monkeypatch)
        expected = [np.asarray(getattr(model, method)(rows[i : i + 1])) for i in range(len(rows))]
        expected.append(np.asarray(getattr(model, method)(rows)))
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_other_containers(method, monkeypatch):
    pandas = pytest.importorskip("pandas")
    model, X = next(models(np.float64))
    plain = np.asarray(getattr(model, method)(X[:5]))
    frame = pandas.DataFrame(X[:5])
    for other in (X[:5].tolist(), frame, sp.csr_matrix(X[:5]), np.asfortranarray(X[:5])):
        found = np.asarray(getattr(model, method)(other))
        assert np.allclose(found, plain, rtol=1e-13)
        assert found.dtype == plain.dtype


@pytest.mark.parametrize("method", METHODS)
def test_errors_and_warnings_stay(method):
    pandas = pytest.importorskip("pandas")
    model, X = next(models(np.float64))
    call = getattr(model, method)
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity")):
        bad = X[:3].copy()
        bad[1, 2] = value
        with pytest.raises(ValueError, match=rf"{word}\b.* at row 1, column 2"):
            call(bad)
    with pytest.raises(ValueError, match="7 features"):
        call(X[:3, :4])
    with pytest.raises(ValueError, match="2D array"):
        call(X[0])
    with pytest.raises(ValueError, match="Complex"):
        call(X[:2] * 1j)
    with pytest.raises(NotFittedError):
        getattr(KMeans(2), method)(X[:2])
    named = KMeans(3, random_state=0).fit(pandas.DataFrame(X, columns=list("abcdefg")))
    with pytest.warns(UserWarning, match="feature names"):
        getattr(named, method)(X[:2])
    for wrong in ({"n_threads": 0}, {"chunk_size": 1}, {"engine": "none"}):
        model, X = next(models(np.float64))
        model.set_params(**wrong)
        with pytest.raises(ValueError, match=next(iter(wrong))):
            getattr(model, method)(np.zeros((9000, 7)))


def test_centres_that_people_put_in_their_place():
    model, X = next(models(np.float64))
    expected = model.predict(X[:9])
    for centers in (
        model.cluster_centers_.tolist(),
        np.asfortranarray(model.cluster_centers_),
        model.cluster_centers_.astype(">f8"),
    ):
        model.cluster_centers_ = centers
        assert np.array_equal(model.predict(X[:9]), expected)


def test_weights_and_out_count():
    model, X = next(models(np.float32))
    weights = np.arange(1, 10)
    gaps = model.transform(X[:9].astype(np.float64)).min(axis=1) ** 2
    assert model.score(X[:9], sample_weight=weights) == pytest.approx(-(gaps * weights).sum())
    out = np.full(9, -1, np.int32)
    assert model.predict(X[:9], out=out) is out
    assert np.array_equal(out, model.predict(X[:9]))


def test_set_output_still_wraps():
    pandas = pytest.importorskip("pandas")
    model, X = next(models(np.float64))
    assert isinstance(model.set_output(transform="pandas").transform(X[:2]), pandas.DataFrame)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_centres_start_a_cache_line(dtype):
    for model, X in models(dtype):
        assert model.cluster_centers_.ctypes.data % 64 == 0
        assert (
            pickle.loads(pickle.dumps(model)).predict(X[:3]).tolist() == model.labels_[:3].tolist()
        )
    model = MiniBatchKMeans(3, random_state=0).partial_fit(X).partial_fit(X)
    assert model.cluster_centers_.ctypes.data % 64 == 0


def test_a_score_without_a_number(monkeypatch):
    """Float32 centres, and rows of float64 that are far away: no sum of their squares."""
    model = KMeans(2, random_state=0).fit(np.array([[0], [1]], np.float32))
    for rows in ([[1e154], [1e154]], [[1e154], [0.5]], [[3e153]] * 3):
        with pytest.warns(RuntimeWarning, match="inertia"):
            assert model.score(np.array(rows * 12)) == -np.inf
    with monkeypatch.context() as patch:
        long_way(patch)
        expected = model.score(np.array([[1e130], [1e140]]))
    assert model.score(np.array([[1e130], [1e140]])) == expected


def test_centres_that_a_subclass_computes():
    class Shifted(KMeans):
        @property
        def cluster_centers_(self):
            return vars(self)["cluster_centers_"] + 1

        @cluster_centers_.setter
        def cluster_centers_(self, centers):
            vars(self)["cluster_centers_"] = centers

    _, X = next(models(np.float64))
    shifted = Shifted(20, random_state=0).fit(X)
    expected = np.argmin(((X[:, None] - shifted.cluster_centers_) ** 2).sum(axis=2), axis=1)
    assert np.array_equal(shifted.predict(X[:9]), expected[:9])
    assert np.array_equal(shifted.predict(np.tile(X, (40, 1)))[:9], expected[:9])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("method", METHODS)
def test_float32_rows_and_centres_out_of_range(method, scale, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = KMeans(2, random_state=0).fit(np.array([[1.0], [3.0], [4.0]]) * scale)
    rows = np.array([[0], [1e30], [-1e-30]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="The inertia")
        found = np.asarray(getattr(model, method)(rows))
        long_way(monkeypatch)
        assert np.array_equal(found, np.asarray(getattr(model, method)(rows)))

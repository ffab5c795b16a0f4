"""A prepared predictor: the answers of the model, one row at a time."""

import array
import ctypes
import pickle
import threading
import warnings

import numpy as np
import pytest
from cluster_data import blobs
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans
from tilewise.cluster import Predictor


def fitted(dtype=np.float64, n=200, d=5, k=9, **changes):
    X = blobs(n, d, k, dtype=dtype)
    return KMeans(k, random_state=0, **changes).fit(X), X


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("model_type", [np.float32, np.float64])
@pytest.mark.parametrize("row_type", [np.float32, np.float64])
def test_the_answers_of_the_model(kind, model_type, row_type):
    X = blobs(300, 6, 12, dtype=model_type)
    model = kind(12, random_state=0).fit(X)
    rows = np.concatenate([X, (X[:99] + X[1:100]) / 2, model.cluster_centers_]).astype(row_type)
    predictor, labels, distances = model.predictor(), model.predict(rows), model.transform(rows)
    wide = model.transform(rows.astype(np.float64))
    for i, row in enumerate(rows):
        assert predictor(row) == labels[i]
        label, distance = predictor.nearest(row)
        assert (label, distance) == (labels[i], wide[i, label])
        found = predictor.distances(row)
        assert found.dtype == distances.dtype
        assert np.array_equal(found, distances[i])
    assert type(predictor(rows[0])) is int
    assert np.array_equal(predictor.predict(rows), labels)


def test_what_a_row_can_be():
    model, X = fitted()
    predictor, row = model.predictor(), X[7]
    label = model.predict(X[7:8])[0]
    numbers = (ctypes.c_double * 5)(*row)
    table = np.asfortranarray(X)
    for one in (
        row, row.tolist(), tuple(row), array.array("d", row), memoryview(row), numbers, table[7],
        row.astype(">f8"), np.ma.array(row), row.astype(object), np.float64(row), row[::-1][::-1],
    ):  # fmt: skip
        assert predictor(one) == label
        assert predictor.nearest(one) == predictor.nearest(row)
    whole = np.rint(row).astype(np.int16)
    assert predictor(whole) == model.predict(whole[None])[0] == predictor(whole.tolist())
    row = row.copy()
    row.flags.writeable = False
    assert predictor(row) == label


def test_a_later_fit_does_not_change_it():
    model, X = fitted()
    predictor, expected = model.predictor(), model.predict(X)
    model.cluster_centers_ += 100
    assert np.array_equal(predictor.predict(X), expected)
    assert [predictor(row) for row in X] == expected.tolist()


def test_nobody_can_change_it():
    predictor = fitted()[0].predictor()
    with pytest.raises(ValueError, match="read-only"):
        predictor.centers[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        predictor.centers.flags.writeable = True
    predictor.centers.shape = (5, 9)
    assert predictor.centers.shape == (9, 5)
    for name in ("centers", "dtype", "n_clusters", "other"):
        with pytest.raises(AttributeError):
            setattr(predictor, name, 1)
    assert (predictor.n_clusters, predictor.n_features) == (9, 5)
    assert repr(predictor) == "Predictor(9 clusters of 5 features, float64)"


@pytest.mark.parametrize("dtype", [None, "float32", np.float64])
def test_pickles(dtype):
    model, X = fitted(np.float32)
    predictor = model.predictor(dtype=dtype)
    again = pickle.loads(pickle.dumps(predictor))
    assert isinstance(again, Predictor)
    assert again.dtype == predictor.dtype == (dtype and np.dtype(dtype))
    assert np.array_equal(again.centers, model.cluster_centers_)
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("model_type", [np.float32, np.float64])
def test_dtype_is_what_rows_become(model_type):
    model, X = fitted(model_type)
    rows = X.astype(np.float64) + 1e-9
    plain, narrow, wide = (model.predictor(dtype=kind) for kind in (None, "float32", "float64"))
    rounded = rows.astype(np.float32)
    for row, less in zip(rows, rounded, strict=True):
        for form in (row, row.tolist(), row[::-1].copy()[::-1]):
            assert np.array_equal(plain.distances(form), model.transform(row[None])[0])
            assert np.array_equal(wide.distances(form), model.transform(row[None])[0])
            assert np.array_equal(narrow.distances(form), model.transform(less[None])[0])
            assert narrow.nearest(form) == plain.nearest(less)
        assert np.array_equal(wide.distances(less), model.transform(less[None].astype(float))[0])
    middle = (X[:50] + X[50:100]).astype(np.float64) / 2 + 1e-9
    expected = model.predict(middle.astype(np.float32))
    assert [narrow(row) for row in middle] == expected.tolist()
    assert np.array_equal(narrow.predict(middle), expected)
    for other in ("int8", "junk"):
        with pytest.raises(ValueError, match="float32, float64 or None"):
            model.predictor(dtype=other)


def test_nearest_measures_in_float64():
    model, X = fitted(np.float32)
    unaligned = np.frombuffer(b"x" + X[3].tobytes(), np.float32, offset=1)
    for predictor in (model.predictor(), model.predictor(dtype="float32")):
        assert predictor.nearest(unaligned) == predictor.nearest(X[3])
    model = KMeans(2, init=[[1e-100], [1.0]]).fit([[1e-100], [1.0]])
    for dtype in (None, "float32"):
        assert model.predictor(dtype=dtype).nearest(np.zeros(1)) == (0, 1e-100)


def test_bad_rows():
    predictor = fitted()[0].predictor()
    for call in (predictor, predictor.nearest, predictor.distances):
        for value in (np.nan, np.inf):
            for row in (np.array([0, 1, value, 3, 4]), [0, 1, value, 3, 4]):
                with pytest.raises(ValueError, match="column 2"):
                    call(row)
        with pytest.raises(ValueError, match=r"shape \(4,\); expected \(5,\)"):
            call(np.zeros(4))
        with pytest.raises(ValueError, match="predict takes several rows"):
            call(np.zeros((1, 5)))
        with pytest.raises(ValueError, match=r"shape \(\)"):
            call(1.0)
        with pytest.raises(TypeError, match="complex"):
            call(np.zeros(5, complex))
        with pytest.raises((TypeError, ValueError)):
            call(["a"] * 5)
        for what in ("abc", b"abc", {"a": 1}, None, object()):
            with pytest.raises(TypeError, match="a row of numbers is expected"):
                call(what)
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="row 1, column 2"):
        predictor.predict([[0] * 5, [0, 0, np.nan, 0, 0]])
    with pytest.raises(ValueError, match=r"expected \(n, 5\)"):
        predictor.predict(np.zeros((2, 4)))
    with pytest.raises(NotFittedError):
        KMeans(2).predictor()


def test_out():
    model, X = fitted(np.float32)
    predictor = model.predictor()
    out = np.empty(9, np.float32)
    assert predictor.distances(X[0], out=out) is out
    assert np.array_equal(out, model.transform(X[:1])[0])
    labels = np.empty(len(X), np.int32)
    assert predictor.predict(X, out=labels) is labels
    for wrong in (np.empty(9), np.empty(8, np.float32), [0.0] * 9):
        with pytest.raises(ValueError, match="out must be"):
            predictor.distances(X[0], out=wrong)
    with pytest.raises(ValueError, match="out must be"):
        predictor.predict(X, out=np.empty(len(X)))


@pytest.mark.parametrize("scale", [1e30, 1e-25, 1e200, 1e-200, 1e300, 1e-310])
def test_huge_and_tiny(scale):
    X = np.array([[1.0, 2], [3, 4], [9, 9], [-5, 2.5]]) * scale
    model = KMeans(3, init=X[:3], max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    predictor = model.predictor()
    rows = np.concatenate([X, X / 3, model.cluster_centers_, X[:1] * 0])
    for row, label, distances in zip(rows, model.predict(rows), model.transform(rows), strict=True):
        assert predictor(row) == label
        assert predictor.nearest(row) == (label, distances[label])
        assert np.array_equal(predictor.distances(row), distances)


def test_more_features_than_fit_on_the_stack():
    X = blobs(40, 1500, 5, dtype=np.float32)
    model = KMeans(5, random_state=0).fit(X)
    predictor, expected = model.predictor(), model.predict(X)
    wide, strided = X.astype(np.float64), np.repeat(X, 2, axis=1)[:, ::2]
    for kind in (X, wide, strided):
        assert [predictor(row) for row in kind] == expected.tolist()


def test_threads_share_it():
    """A model large enough for other threads to run meanwhile."""
    X = blobs(400, 100, 800, dtype=np.float32)
    model = KMeans(800, init=np.concatenate([X, X + 1e-3]), max_iter=1)
    model.fit(np.concatenate([X, X + 1e-3]))
    predictor, expected = model.predictor(), model.predict(X)
    found = [None] * 6

    def work(i):
        found[i] = [predictor(row) for row in X]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(labels == expected.tolist() for labels in found)


def test_centres_that_people_put_in_their_place():
    model, X = fitted()
    expected = model.predict(X)
    model.cluster_centers_ = np.asfortranarray(model.cluster_centers_).astype(">f8")
    assert np.array_equal(model.predictor().predict(X), expected)
    unaligned = np.frombuffer(b"x" + model.cluster_centers_.tobytes(), ">f8", offset=1)
    model.cluster_centers_ = unaligned.reshape(9, 5)
    assert np.array_equal(model.predictor().predict(X), expected)
    model.cluster_centers_ = np.ma.masked_less(model.cluster_centers_.astype(float), 0)
    with pytest.raises(ValueError, match="finite"):
        model.predictor()
    model.cluster_centers_ = np.full((2, 5), np.nan)
    with pytest.raises(ValueError, match="finite"):
        model.predictor()

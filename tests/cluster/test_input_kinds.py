"""The same values give the same results in any memory, and near or far from the origin."""

import pickle

import joblib
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cluster_data import DENSE, SPARSE, blobs

from tilewise import KMeans, kmeans_plusplus
from tilewise.cluster import _validation

DTYPES = [np.float32, np.float64]


def results(model, X):
    return {
        "labels": model.labels_,
        "centers": model.cluster_centers_,
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "predict": model.predict(X),
        "transform": model.transform(X),
        "score": model.score(X),
    }


def assert_identical(one, other):
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name
        assert np.asarray(value).dtype == np.asarray(other[name]).dtype, name


@pytest.mark.parametrize("layout", DENSE)
@pytest.mark.parametrize("dtype", [*DTYPES, np.int32])
def test_layout_of_dense_rows(layout, dtype, tmp_path):
    X = (blobs() * 7).astype(dtype)
    variant = DENSE[layout](X, tmp_path)
    fit = KMeans(5, random_state=0).fit
    assert_identical(results(fit(X), X), results(fit(variant), variant))
    assert np.array_equal(
        kmeans_plusplus(X, 5, random_state=0)[1], kmeans_plusplus(variant, 5, random_state=0)[1]
    )


@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_of_sparse_rows(layout, dtype):
    X = blobs(dtype=dtype)
    X[X < 0] = 0
    variant = SPARSE[layout](X)
    dense, sparse = KMeans(5, random_state=0).fit(X), KMeans(5, random_state=0).fit(variant)
    assert np.array_equal(dense.labels_, sparse.labels_)
    assert dense.n_iter_ == sparse.n_iter_
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(
        dense.cluster_centers_, sparse.cluster_centers_, rtol=tolerance, atol=tolerance
    )
    # The same model sees the same distances, whichever way the rows are stored.
    assert np.array_equal(dense.predict(X), dense.predict(variant))
    assert np.array_equal(dense.transform(X), dense.transform(variant))
    assert dense.score(X) == dense.score(variant)


def test_sparse_rows_are_left_alone():
    X = SPARSE["csr_repeated_entries"](blobs())
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    KMeans(3, random_state=0).fit(X).predict(X)
    assert all(
        np.array_equal(a, b) for a, b in zip(before, (X.data, X.indices, X.indptr), strict=True)
    )


@pytest.mark.parametrize("layout", [name for name in DENSE if name != "data_frame"])
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16, np.int64, np.uint8, np.bool_])
def test_rows_are_not_copied(layout, dtype, tmp_path):
    X = DENSE[layout](np.abs(blobs()).astype(dtype), tmp_path)
    checked = _validation.check_data(X, KMeans())
    assert np.shares_memory(checked, X)
    assert checked.dtype == X.dtype


def test_sparse_rows_are_not_copied():
    X = sp.csr_array(blobs())
    assert np.shares_memory(_validation.check_data(X, KMeans()).data, X.data)


@pytest.mark.parametrize("copy_x", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_not_changed(copy_x, dtype):
    X = blobs(dtype=dtype) + 100
    before = X.tobytes()
    KMeans(5, copy_x=copy_x, random_state=0).fit(X)
    KMeans(5, copy_x=copy_x, init=lambda X, k, random_state: X[:k]).fit(X)
    assert X.tobytes() == before


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (np.float32, np.float32),
        (np.dtype(np.float32).newbyteorder("S"), np.float32),
        (np.float64, np.float64),
        (np.dtype(np.float64).newbyteorder("S"), np.float64),
        (np.float16, np.float64),
        (np.longdouble, np.float64),
        (np.int8, np.float64),
        (np.uint64, np.float64),
        (np.bool_, np.float64),
    ],
    ids=str,
)
def test_dtype_of_the_results(dtype, result):
    X = np.maximum(blobs() * 3, 0).astype(dtype)
    model = KMeans(2, random_state=0).fit(X)
    assert model.cluster_centers_.dtype == result
    assert model.cluster_centers_.dtype.isnative
    assert model.transform(X).dtype == result
    assert np.array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize("fitted", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize(
    "new", [np.float16, np.float32, np.float64, np.int16, np.uint8, ">f4", ">f8"]
)
def test_new_data_of_any_dtype(fitted, new):
    X = np.abs(blobs() * 9)
    model = KMeans(4, random_state=0).fit(X.astype(fitted))
    rows = reference.Rows(X.astype(new))
    expected, least = reference.nearest(rows, model.cluster_centers_)
    assert np.array_equal(model.predict(X.astype(new)), expected)
    np.testing.assert_allclose(model.score(X.astype(new)), -least.sum(), rtol=1e-12)
    distances = model.transform(X.astype(new))
    assert distances.dtype == (np.float32 if np.dtype(new).str[1:] == "f4" else np.float64)
    np.testing.assert_allclose(distances.min(axis=1), np.sqrt(least), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1e3, 1e6, -1e6])
@pytest.mark.parametrize("parameters", [{}, {"max_iter": 2}, {"tol": 0.1}], ids=str)
def test_far_from_the_origin(dtype, offset, parameters):
    X = (blobs(300, 8, 5) + offset).astype(dtype)
    model = KMeans(6, random_state=0, **parameters).fit(X)
    expected, least = reference.nearest(reference.Rows(X), model.cluster_centers_)
    assert np.array_equal(model.labels_, expected)
    assert np.array_equal(model.predict(X), expected)
    np.testing.assert_allclose(model.inertia_, least.sum(), rtol=1e-12)
    np.testing.assert_allclose(model.score(X), -model.inertia_, rtol=1e-12)
    np.testing.assert_allclose(
        model.transform(X)[np.arange(300), expected], np.sqrt(least), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_offsets_do_not_change_the_clustering(dtype):
    # Integers over 64 are exact in float32 at this offset, so nothing but the place changes.
    X = np.round(blobs(300, 6, 5) * 64) / 64
    near = KMeans(5, random_state=3).fit(X.astype(dtype))
    far = KMeans(5, random_state=3).fit((X + 2.0**16).astype(dtype))
    assert np.array_equal(near.labels_, far.labels_)
    np.testing.assert_allclose(near.cluster_centers_, far.cluster_centers_ - 2.0**16, atol=1e-2)


def test_a_model_that_is_a_memory_map_predicts(tmp_path):
    X = blobs()
    model = KMeans(4, random_state=0).fit(X)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert isinstance(mapped.cluster_centers_, np.memmap)
    assert not mapped.cluster_centers_.flags.writeable
    assert_identical(results(model, X), results(mapped, X))


def test_predicting_changes_nothing_in_the_model():
    X = blobs()
    model = KMeans(4, random_state=0).fit(X)
    before = pickle.dumps(model)
    model.predict(X)
    model.transform(X)
    model.score(X)
    assert pickle.dumps(model) == before

"""What is missing is refused wherever numbers enter, and what can be read is read."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from tensors import Tensor, bfloat16

import tilewise
from tilewise import KMeans, MiniBatchKMeans
from tilewise._numbers import as_real, readable

X = blobs(60, 3, 3)
INIT = X[:3].copy()


def masked(values, *places):
    mask = np.zeros(np.shape(values), dtype=bool)
    for place in places:
        mask[place] = True
    hidden = np.where(mask, -9999, values)
    return np.ma.masked_array(hidden, mask=mask)


def dates(n_rows=12, missing=None):
    days = np.arange(2 * n_rows).reshape(-1, 2).astype("datetime64[D]")
    if missing is not None:
        days[missing] = "NaT"
    return days


# Every way of saying that the value in row 4, column 1 is missing.
MISSING = {
    "masked": masked(X, (4, 1)),
    "masked, float32": masked(X.astype(np.float32), (4, 1)),
    "masked integers": masked(np.rint(X).astype(int), (4, 1)),
    "masked objects": masked(X.astype(object), (4, 1)),
    "a list of masked rows": list(masked(X, (4, 1))),
    "a masked constant in a list": [
        [np.ma.masked if (i, j) == (4, 1) else X[i, j] for j in range(3)] for i in range(60)
    ],
    "NaT": dates(missing=(4, 1)),
    "a time span": dates(missing=(4, 1)) - np.datetime64("1970-01-01"),
    "numpy's NaT among objects": np.array(
        [[np.datetime64("NaT") if (i, j) == (4, 1) else 1.0 for j in range(2)] for i in range(8)],
        dtype=object,
    ),
    "pandas' NaT": np.array(
        [[pd.NaT if (i, j) == (4, 1) else float(i) for j in range(2)] for i in range(8)],
        dtype=object,
    ),
    "pandas' NA": np.array(
        [[pd.NA if (i, j) == (4, 1) else float(i) for j in range(2)] for i in range(8)],
        dtype=object,
    ),
    "a frame of dates": pd.DataFrame(dates(missing=(4, 1))),
    "nullable integers": pd.DataFrame(masked(np.rint(X), (4, 1)).filled(np.nan)).astype("Int64"),
    "a sparse frame": pd.DataFrame(masked(X, (4, 1)).filled(np.nan)).astype(
        pd.SparseDtype(float, np.nan)
    ),
}

FIT_LIKE = {
    "KMeans.fit": lambda bad: KMeans(2).fit(bad),
    "MiniBatchKMeans.fit": lambda bad: MiniBatchKMeans(2, n_init=1).fit(bad),
    "MiniBatchKMeans.partial_fit": lambda bad: MiniBatchKMeans(2, n_init=1).partial_fit(bad),
    "k_means": lambda bad: tilewise.k_means(bad, 2),
    "kmeans_plusplus": lambda bad: tilewise.kmeans_plusplus(bad, 2),
    "euclidean_distances": tilewise.euclidean_distances,
    "manhattan_distances": tilewise.manhattan_distances,
    "cosine_distances": tilewise.cosine_distances,
    "pairwise_distances_chunked": lambda bad: list(tilewise.pairwise_distances_chunked(bad)),
    "argkmin": lambda bad: tilewise.argkmin(bad, None, 2),
    "argkmin, cosine": lambda bad: tilewise.argkmin(bad, None, 2, metric="cosine"),
    "radius_neighbors": lambda bad: tilewise.radius_neighbors(bad, None, 1.0),
    "a metric of scipy": lambda bad: tilewise.pairwise_distances(bad, metric="correlation"),
}


@pytest.mark.parametrize("function", FIT_LIKE)
@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.filterwarnings("ignore:.*converting a masked element to nan")
def test_what_is_missing_is_refused_as_nan_is(kind, function):
    if (kind, function) == ("a sparse frame", "a metric of scipy"):
        pytest.skip("scipy's metrics take no sparse rows at all")
    with pytest.raises(ValueError, match="NaN"):
        FIT_LIKE[function](MISSING[kind])


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("method", ["predict", "transform", "score"])
@pytest.mark.filterwarnings("ignore:.*converting a masked element to nan")
def test_new_data_name_the_place(kind, method):
    bad = MISSING[kind]
    model = KMeans(2, init=np.ones((2, np.shape(bad)[1])), n_init=1, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(np.ones((5, np.shape(bad)[1])))
    with pytest.raises(ValueError, match=r"NaN.*row 4, column 1\b"):
        getattr(model, method)(bad)


@pytest.mark.parametrize("kind", ["masked", "NaT", "pandas' NA", "nullable integers"])
def test_distances_that_allow_missing_values_leave_them_out(kind):
    bad = MISSING[kind]
    values = as_real(np.asarray(readable(bad)))
    expected = tilewise.nan_euclidean_distances(values)
    assert np.allclose(tilewise.nan_euclidean_distances(bad), expected)
    assert np.isnan(values).sum() == 1
    assert np.isfinite(expected).all()


@pytest.mark.parametrize("allowed", [False, "allow-nan"])
def test_a_mask_is_nan_where_nan_is_allowed(allowed):
    bad = masked(X, (4, 1))
    for metric in ("chebyshev", "correlation"):
        found = tilewise.pairwise_distances(bad, metric=metric, ensure_all_finite=allowed)
        expected = tilewise.pairwise_distances(
            bad.filled(np.nan), metric=metric, ensure_all_finite=allowed
        )
        assert np.array_equal(found, expected, equal_nan=True)


def test_a_mask_that_hides_nothing():
    whole = np.ma.masked_array(X, mask=np.zeros(X.shape, dtype=bool))
    without = np.ma.masked_array(X)
    expected = KMeans(3, random_state=0).fit(X).labels_
    for same in (whole, without, list(whole)):
        assert np.array_equal(KMeans(3, random_state=0).fit(same).labels_, expected)
        assert np.array_equal(
            tilewise.euclidean_distances(same, same), tilewise.euclidean_distances(X, X)
        )
    assert np.shares_memory(readable(whole), X)


def test_everything_beside_the_rows():
    ok = KMeans(3, init=INIT, n_init=1).fit(X)
    weights = masked(np.ones(60), 7)
    for call in (
        lambda: KMeans(3).fit(X, sample_weight=weights),
        lambda: MiniBatchKMeans(3).partial_fit(X, sample_weight=weights),
        lambda: ok.score(X, sample_weight=weights),
        lambda: KMeans(3).fit(X, sample_weight=pd.Series([1, None] * 30, dtype="Int64")),
        lambda: KMeans(3).fit(X, sample_weight=np.timedelta64("NaT")),
        lambda: KMeans(3).fit(X, sample_weight=np.full(60, np.timedelta64("NaT"))),
        lambda: KMeans(3).fit(X, sample_weight=[1.0] * 59 + [np.ma.masked]),
        lambda: KMeans(3, init=masked(INIT, (1, 1)), n_init=1).fit(X),
        lambda: KMeans(3, init=lambda X, k, random_state: masked(X[:k], (0, 0))).fit(X),
        lambda: MiniBatchKMeans(3, init=masked(INIT, (1, 1)), n_init=1).fit(X),
        lambda: tilewise.kmeans_plusplus(X, 3, x_squared_norms=masked(np.ones(60), 3)),
        lambda: tilewise.euclidean_distances(X, X, Y_norm_squared=masked(np.ones(60), 3)),
        lambda: tilewise.euclidean_distances(X, X, X_norm_squared=masked(np.ones(60), 3)),
        lambda: tilewise.euclidean_distances(X, masked(X, (4, 1))),
        lambda: tilewise.argkmin(X, masked(X, (4, 1)), 2),
        lambda: tilewise.pairwise_distances_argmin(X, masked(X, (4, 1))),
        lambda: tilewise.radius_neighbors(X, masked(X, (4, 1)), 1.0),
        lambda: KMeans(3).fit(lambda: iter([masked(X, (4, 1))])),
        lambda: MiniBatchKMeans(3).fit(iter([masked(X, (4, 1))])),
    ):
        with pytest.raises(ValueError, match="NaN"):
            call()
    with pytest.raises(ValueError, match="non-negative"):
        tilewise.pairwise_distances(X, metric="chebyshev", w=masked(np.ones(3), 0))
    ok.cluster_centers_ = masked(INIT, (1, 1))
    for method in (ok.predict, ok.transform, ok.score):
        with pytest.raises(ValueError, match="NaN"):
            method(X)


def test_results_do_not_go_under_a_mask():
    out = masked(np.zeros((60, 60)), (0, 0))
    with pytest.raises(TypeError, match="mask"):
        tilewise.euclidean_distances(X, out=out)
    with pytest.raises(ValueError, match="out must be an array"):
        KMeans(3, random_state=0).fit(X).transform(X, out=masked(np.zeros((60, 3)), (0, 0)))


def test_a_masked_block_of_dask():
    array = pytest.importorskip("dask.array")
    blocks = array.from_array(masked(X, (41, 2)), chunks=(20, 3))
    with pytest.raises(ValueError, match=r"NaN.*row 41, column 2\b"):
        KMeans(3).fit(blocks)


def test_dates_count_in_their_own_unit():
    days = dates(40)
    expected = KMeans(2, random_state=0).fit(days.astype(np.int64))
    found = KMeans(2, random_state=0).fit(days)
    assert np.array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert np.array_equal(
        tilewise.manhattan_distances(days), tilewise.manhattan_distances(days.astype(float))
    )


@pytest.mark.parametrize(
    "bad",
    [X + 1j, sp.csr_array(X + 1j), (X + 1j).tolist(), pd.DataFrame(X + 1j), masked(X + 1j, (0, 0))],
    ids=["array", "sparse", "list", "frame", "masked"],
)
def test_complex_numbers_are_refused(bad):
    for call in (KMeans(3).fit, tilewise.euclidean_distances):
        with pytest.raises((ValueError, TypeError), match="omplex"):
            call(bad)
    with pytest.raises(ValueError, match="Complex"):
        KMeans(3).fit(X, sample_weight=1j)


def test_records_are_told_how_to_become_rows():
    records = np.zeros(5, dtype=[("a", "f8"), ("b", "f8")])
    for bad in (records, np.ma.masked_array(records), np.zeros((5, 2), records.dtype)):
        for call in (KMeans(2).fit, tilewise.euclidean_distances):
            with pytest.raises((ValueError, TypeError), match="structured_to_unstructured"):
                call(bad)


def test_the_first_value_that_is_no_number_is_named():
    objects = X.astype(object)
    objects[9, 2] = "much"
    with pytest.raises(ValueError, match=r"'much'.*row 9, column 2 of X"):
        KMeans(3).fit(objects)
    with pytest.raises(ValueError, match=r"'much'.*row 9, column 2 of Y"):
        tilewise.euclidean_distances(X, objects)
    with pytest.raises(ValueError, match=r"position 3 of sample_weight"):
        KMeans(3).fit(X, sample_weight=["1", "1", "1", "heavy"] * 15)


# ---------------------------------------------------------------- sparse frames


SPARSE_FRAMES = {
    "nan": lambda: pd.DataFrame({c: pd.arrays.SparseArray(SPARSE[c]) for c in "abc"}),
    "nan and zero": lambda: pd.DataFrame(
        {
            "a": pd.arrays.SparseArray(SPARSE["a"]),
            "b": pd.arrays.SparseArray(SPARSE["b"], fill_value=0.0),
            "c": pd.arrays.SparseArray(SPARSE["c"]),
        }
    ),
    "another value": lambda: pd.DataFrame(
        {c: pd.arrays.SparseArray(SPARSE[c], fill_value=2.0) for c in "abc"}
    ),
    "integers": lambda: pd.DataFrame(
        {c: pd.arrays.SparseArray(np.array(SPARSE[c], dtype=int)) for c in "abc"}
    ),
    "integers filled with two": lambda: pd.DataFrame(
        {c: pd.arrays.SparseArray(np.array(SPARSE[c], dtype=int), fill_value=2) for c in "abc"}
    ),
    "several types": lambda: pd.DataFrame(
        {
            "a": pd.arrays.SparseArray(np.array(SPARSE["a"], dtype=int)),
            "b": pd.arrays.SparseArray(np.array(SPARSE["b"], dtype=np.float32)),
            "c": pd.arrays.SparseArray(np.array(SPARSE["c"]) == 1.0),
        }
    ),
    "beside dense columns": lambda: pd.DataFrame(
        {"a": SPARSE["a"], "b": pd.arrays.SparseArray(SPARSE["b"]), "c": SPARSE["c"]}
    ),
    "an index of its own": lambda: SPARSE_FRAMES["nan"]().set_index(pd.Index([5, 5, 7, 1])),
}
SPARSE = {"a": [0.0, 0.0, 1.0, 0.0], "b": [0.0, 2.0, 0.0, 3.0], "c": [1.0, 0.0, 0.0, 0.0]}
DENSE = np.array(list(SPARSE.values())).T


@pytest.mark.parametrize("kind", SPARSE_FRAMES)
@pytest.mark.filterwarnings("ignore:pandas.DataFrame with sparse columns")
def test_sparse_frames_are_what_they_are_dense(kind):
    frame = SPARSE_FRAMES[kind]()
    expected = np.sqrt(np.square(DENSE[:, None] - DENSE).sum(axis=2))
    assert np.allclose(tilewise.euclidean_distances(frame), expected)
    assert np.allclose(tilewise.euclidean_distances(DENSE, frame), expected)
    assert np.array_equal(tilewise.argkmin(frame, None, 2)[1], tilewise.argkmin(DENSE, None, 2)[1])
    model = KMeans(2, init=DENSE[[0, 1]], n_init=1).fit(frame)
    same = KMeans(2, init=DENSE[[0, 1]], n_init=1).fit(DENSE)
    assert np.array_equal(model.labels_, same.labels_)
    assert np.allclose(model.cluster_centers_, same.cluster_centers_)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert np.array_equal(model.predict(frame), model.labels_)


def test_a_sparse_series_of_weights():
    weights = pd.Series(pd.arrays.SparseArray([1.0, 0.0, 2.0, 1.0]))
    model = KMeans(2, init=DENSE[:2], n_init=1).fit(DENSE, sample_weight=weights)
    same = KMeans(2, init=DENSE[:2], n_init=1).fit(DENSE, sample_weight=[1, 0, 2, 1])
    assert np.array_equal(model.cluster_centers_, same.cluster_centers_)


# ---------------------------------------------------------------- tensors


def test_tensors_are_read_without_their_gradient():
    tensor = Tensor(X, requires_grad=True)
    expected = KMeans(3, init=INIT, n_init=1).fit(X)
    for rows in (tensor, list(map(lambda row: Tensor(row, requires_grad=True), X))):
        model = KMeans(3, init=Tensor(INIT, requires_grad=True), n_init=1)
        model.fit(rows, sample_weight=Tensor(np.ones(60), requires_grad=True))
        assert np.array_equal(model.labels_, expected.labels_)
        assert np.array_equal(model.predict(rows), expected.labels_)
        assert np.array_equal(
            tilewise.euclidean_distances(rows, tensor), tilewise.euclidean_distances(X, X)
        )
    source = KMeans(3, init=INIT, n_init=1).fit(lambda: iter([tensor]))
    assert np.array_equal(source.labels_, expected.labels_)


def test_narrow_tensors_become_float32():
    tensor = bfloat16(X, requires_grad=True)
    found = tilewise.euclidean_distances(tensor)
    assert found.dtype == np.float32
    assert np.array_equal(found, tilewise.euclidean_distances(tensor.values))
    assert KMeans(3, random_state=0).fit(tensor).cluster_centers_.dtype == np.float32


@pytest.mark.parametrize(
    ("tensor", "what"),
    [
        (Tensor(X, device="cuda"), r"cuda:0.*X\.cpu\(\)"),
        (Tensor(X, layout="sparse_coo"), r"sparse.*X\.to_dense\(\)"),
        (Tensor(X, layout="sparse_csr"), r"sparse.*X\.to_dense\(\)"),
    ],
    ids=["device", "coo", "csr"],
)
def test_tensors_that_cannot_be_read_say_what_to_pass(tensor, what):
    for call in (KMeans(3).fit, tilewise.euclidean_distances):
        with pytest.raises(TypeError, match=what):
            call(tensor)


def test_a_tensor_that_refuses_everything():
    class Stubborn(Tensor):
        def float(self):
            raise NotImplementedError("no")

        def detach(self):
            return Stubborn(self.values, dtype="bfloat16")

    with pytest.raises(TypeError, match=r"BFloat16\. Pass X\.detach\(\)\.float\(\) instead"):
        KMeans(3).fit(Stubborn(X))

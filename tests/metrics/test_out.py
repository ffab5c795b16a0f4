"""Results written where the caller wants them."""

import numpy as np
import pytest
import scipy.sparse as sp

import tilewise
from tilewise.metrics import METRICS

X = np.random.RandomState(0).standard_normal((30, 6))
Y = np.random.RandomState(1).standard_normal((20, 6))


@pytest.mark.parametrize("metric", [*sorted(METRICS), "correlation"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kind_of_array_is_filled(metric, dtype, tmp_path):
    A, B = X.astype(dtype), Y.astype(dtype)
    wanted = tilewise.pairwise_distances(A, B, metric=metric)
    mapped = np.lib.format.open_memmap(
        tmp_path / "D.npy", mode="w+", dtype=wanted.dtype, shape=wanted.shape
    )
    wide = np.full((64, 50), -7, wanted.dtype)
    for out in (np.empty_like(wanted), mapped, wide[2:62:2, 5:25], wide[::-1][2:62:2, 5:25]):
        found = tilewise.pairwise_distances(A, B, metric=metric, out=out)
        assert found is out
        assert np.array_equal(found, wanted)
        if out.base is wide:
            out[...] = -7
            assert (wide == -7).all()  # nothing beside it was written
    mapped.flush()
    assert np.array_equal(np.load(tmp_path / "D.npy"), wanted)


def test_a_single_column_may_stand_anywhere():
    wide = np.zeros((30, 9))
    out = wide[:, 4:5]
    tilewise.euclidean_distances(X, Y[:1], out=out)
    assert np.array_equal(out, tilewise.euclidean_distances(X, Y[:1]))
    assert (np.delete(wide, 4, axis=1) == 0).all()


SHARED = np.zeros((30, 30))
BAD = {
    "shape": (np.empty((20, 30)), "shape"),
    "dimensions": (np.empty(600), "shape"),
    "dtype": (np.empty((30, 20), np.float32), "dtype"),
    "order of bytes": (np.empty((30, 20), ">f8"), "dtype"),
    "whole numbers": (np.empty((30, 20), np.int64), "dtype"),
    "columns apart": (np.empty((20, 30)).T, "contiguous and aligned"),
    "columns backwards": (np.empty((30, 20))[:, ::-1], "contiguous and aligned"),
    "not aligned": (np.empty(30 * 20 * 8 + 1, np.int8)[1:].view("f8").reshape(30, 20), "aligned"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("metric", ["euclidean", "canberra", "correlation"])
def test_other_arrays_are_refused(name, metric):
    out, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        tilewise.pairwise_distances(X, Y, metric=metric, out=out)


def test_read_only_arrays_are_refused():
    out = np.empty((30, 20))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        tilewise.pairwise_distances(X, Y, out=out)


def test_the_data_themselves_are_refused():
    both = np.random.RandomState(2).standard_normal((30, 60))
    with pytest.raises(ValueError, match="shares memory"):
        tilewise.euclidean_distances(both[:, :30], out=both[:, :30])
    with pytest.raises(ValueError, match="shares memory"):
        tilewise.euclidean_distances(X, both[:30, 10:16], out=both[:, :30])
    # Side by side in one array is no overlap.
    wanted = tilewise.euclidean_distances(both[:, :30].copy())
    assert np.array_equal(tilewise.euclidean_distances(both[:, :30], out=both[:, 30:]), wanted)


def test_a_list_is_no_array():
    with pytest.raises((TypeError, ValueError), match="out"):
        tilewise.pairwise_distances(X, Y, out=[[0.0] * 20] * 30)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "correlation"])
def test_nearest_rows(metric):
    distances, indices = tilewise.argkmin(X, Y, 4, metric=metric)
    wide = np.zeros((60, 9)), np.zeros((60, 9), np.intp)
    out = wide[0][::2, 1:5], wide[1][::2, 2:6]
    found = tilewise.argkmin(X, Y, 4, metric=metric, out=out)
    assert found[0] is out[0]
    assert found[1] is out[1]
    assert np.array_equal(found[0], distances)
    assert np.array_equal(found[1], indices)
    only = np.empty((30, 4), np.intp)
    assert tilewise.argkmin(X, Y, 4, metric=metric, return_distance=False, out=only) is only
    assert np.array_equal(only, indices)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((30, 4)), "tuple of two"),
        ((np.empty((30, 4)),), "tuple of two"),
        ((np.empty((30, 5)), np.empty((30, 4), np.intp)), r"out\[0\] has shape"),
        ((np.empty((30, 4)), np.empty((30, 4), np.int32)), r"out\[1\] has dtype"),
        ((np.empty((30, 4), "f4"), np.empty((30, 4), np.intp)), r"out\[0\] has dtype"),
        ((SHARED[:, :4], SHARED[:, :4].view(np.intp)), "shares memory"),
    ],
)
def test_other_arrays_are_refused_for_nearest_rows(out, words):
    with pytest.raises((TypeError, ValueError), match=words):
        tilewise.argkmin(X, Y, 4, out=out)


def test_sparse_rows():
    A = sp.csr_array(np.where(X > 0, X, 0))
    out = np.empty((30, 20))
    assert tilewise.pairwise_distances(A, Y, out=out) is out
    assert np.array_equal(out, tilewise.pairwise_distances(A, Y))

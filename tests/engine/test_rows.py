"""What `Rows` hands out."""

import numpy as np
import pytest
import scipy.sparse as sp

from tilewise.engine import Rows

VALUES = np.where(
    np.random.RandomState(0).uniform(size=(9, 7)) < 0.4,
    0,
    np.random.RandomState(1).normal(size=(9, 7)),
).astype(np.float32)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda x: x, id="plain"),
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
        pytest.param(lambda x: x[::-2, ::3], id="strided"),
        pytest.param(sp.csr_matrix, id="csr"),
    ],
)
def test_float32_is_widened_on_request(view):
    X = view(VALUES)
    dense = X.toarray() if sp.issparse(X) else np.asarray(X)
    assert Rows(X).compute_dtype == np.float32
    wide = Rows(X, dtype=np.float64)
    assert wide.compute_dtype == np.float64
    assert not wide.is_direct
    taken = wide.take(np.arange(X.shape[0]))
    assert taken.dtype == np.float64
    np.testing.assert_array_equal(taken, dense.astype(np.float64))


def test_float64_stays_where_it_stands():
    assert Rows(VALUES.astype(np.float64), dtype=np.float64).is_direct


@pytest.mark.parametrize("order", ["=", "S"])
@pytest.mark.parametrize("dtype", ["f2", "i1", "u1", "i2", "u2", "?", "f4", "f8", "i4", "u8"])
def test_the_two_types_of_rows(dtype, order):
    X = np.abs(np.rint(9 * VALUES)).astype(np.dtype(dtype).newbyteorder(order))
    compute = np.float64 if dtype in ("f8", "i4", "u8") else np.float32
    result = np.float32 if dtype == "f4" else np.float64
    ids = np.arange(2, dtype=np.int64)
    for rows in (Rows(X), Rows(np.asfortranarray(X)), Rows(X).picked(ids)):
        assert (rows.compute_dtype, rows.result_dtype) == (compute, result)
        taken = rows.take(ids)
        assert taken.dtype == compute
        assert np.array_equal(taken, X[:2])
    wide = Rows(X, dtype=np.float64)
    assert (wide.compute_dtype, wide.result_dtype) == (np.float64, np.float64)
    assert np.array_equal(wide.take(ids), X[:2])


@pytest.mark.parametrize("dtype", ["f2", "i1", "u1", "i2", "u2", "i4"])
def test_entries_that_occur_often_add_up_in_float64(dtype):
    largest = np.finfo(dtype).max if dtype[0] == "f" else np.iinfo(dtype).max
    # Their sum, of 2**20 + 1 entries, has more digits than float32.
    values = np.full(2**20 + 1, largest, dtype=dtype)
    values[-1] = 1
    columns, starts = np.zeros(len(values), dtype=np.int32), np.array([0, len(values)])
    rows = Rows(sp.csr_array((values, columns, starts), shape=(1, 3)))
    assert (rows.compute_dtype, rows.result_dtype) == (np.float64, np.float64)
    assert np.array_equal(rows.take([0]), [[2.0**20 * float(largest) + 1, 0, 0]])


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "?", "f4"])
def test_unsorted_entries_stay_float32(dtype):
    values = np.array([1, 0, 1, 1], dtype=dtype)
    X = sp.csr_array((values, np.array([2, 0, 1, 0]), np.array([0, 2, 4])), shape=(2, 3))
    rows = Rows(X)
    assert rows.compute_dtype == np.float32
    assert np.array_equal(rows.take([0, 1]), [[0, 0, 1], [1, 1, 0]])

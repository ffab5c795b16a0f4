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

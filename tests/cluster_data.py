"""Small data sets and the many shapes in which the same values may arrive."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_blobs


def blobs(n_rows=240, n_features=5, n_clusters=4, seed=0, dtype=np.float64):
    X, _ = make_blobs(n_rows, n_features, centers=n_clusters, cluster_std=2.0, random_state=seed)
    return X.astype(dtype)


def _read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def _mapped(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def _wide_csr(X):
    X = sp.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def _repeated_csr(X):
    """CSR with every entry in two halves, which is exact in binary."""
    row, column = np.nonzero(X)
    half = X[row, column] / 2
    order = np.argsort(np.r_[row, row], kind="stable")
    counts = np.bincount(np.r_[row, row], minlength=len(X))
    return sp.csr_array(
        (np.r_[half, half][order], np.r_[column, column][order], np.r_[0, np.cumsum(counts)]),
        shape=X.shape,
    )


#: The same values in other memory; each entry maps (C-ordered array, folder) to the variant.
DENSE = {
    "fortran": lambda X, folder: np.asfortranarray(X),
    "every_second_row": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "every_second_column": lambda X, folder: np.repeat(X, 2, axis=1)[:, ::2],
    "negative_strides": lambda X, folder: X[::-1, ::-1].copy()[::-1, ::-1],
    "other_byte_order": lambda X, folder: X.astype(X.dtype.newbyteorder("S")),
    "read_only": lambda X, folder: _read_only(X),
    "memory_map": _mapped,
    "data_frame": lambda X, folder: pd.DataFrame(X),
}

SPARSE = {
    "csr_array": lambda X: sp.csr_array(X),
    "csr_matrix": lambda X: sp.csr_matrix(X),
    "csc": lambda X: sp.csc_array(X),
    "coo": lambda X: sp.coo_array(X),
    "csr_64_bit_indices": _wide_csr,
    "csr_repeated_entries": _repeated_csr,
}


def check_refused_alike(calls, X, same):
    """NaN or infinity in X is an error, the one that the same values in another type give."""
    for call in calls:
        said = []
        for rows in (X, same):
            with pytest.raises(ValueError, match=r"NaN|infinity") as raised:
                call(rows)
            said.append(str(raised.value))
        assert said[0] == said[1]

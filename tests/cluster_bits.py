"""Data in partitions, and the comparison of a fit on a cluster with one in memory."""

import dask
import dask.array as da
import numpy as np


def clouds(n, d, k=6, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d)) * 4
    return (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)


def in_chunks(X, sizes):
    """A dask array whose chunks have these sizes, empty ones too."""
    return da.from_array(X, chunks=(tuple(sizes), X.shape[1]))


def unknown(X, sizes):
    """The same where the sizes are not known before they are computed."""
    cuts = np.split(X, np.cumsum(sizes)[:-1])
    blocks = [da.from_delayed(dask.delayed(cut), (np.nan, X.shape[1]), X.dtype) for cut in cuts]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def same_bits(found, wanted):
    assert np.array_equal(found.labels_.compute(), wanted.labels_)
    assert found.cluster_centers_.dtype == wanted.cluster_centers_.dtype
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.inertia_ == wanted.inertia_
    assert found.n_iter_ == wanted.n_iter_

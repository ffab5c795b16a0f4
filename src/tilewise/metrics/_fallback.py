"""The fallback: scikit-learn and scipy compute every metric that is not a row of METRICS.

What enters: checked arrays, or whatever the user passed where a callable may know what to do
with it. What leaves: scikit-learn's own results, unchanged, dtypes and warnings included. The
functions are bound when this module is imported. Nothing else in `metrics` calls them.
"""

import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import pairwise_distances, pairwise_distances_chunked
from sklearn.metrics.pairwise import _VALID_METRICS, PAIRWISE_BOOLEAN_FUNCTIONS

from tilewise._numbers import widened

__all__ = ["NAMES", "FallbackBlocks", "chunks", "matrix", "put_nan_last"]

#: Metrics that scikit-learn knows by name with this version of scipy.
NAMES = frozenset(_VALID_METRICS)

_BOOLEAN = frozenset(PAIRWISE_BOOLEAN_FUNCTIONS)


def matrix(X, Y, metric, *, n_jobs, ensure_all_finite, **parameters):
    """The whole matrix, as scikit-learn's ``pairwise_distances`` makes it."""
    return pairwise_distances(
        X, Y, metric=metric, n_jobs=n_jobs, ensure_all_finite=ensure_all_finite, **parameters
    )


def chunks(X, Y, metric, *, reduce_func, n_jobs, working_memory, **parameters):
    """Chunks of it, as scikit-learn's ``pairwise_distances_chunked`` makes them."""
    return pairwise_distances_chunked(
        X, Y, reduce_func=reduce_func, metric=metric, n_jobs=n_jobs,
        working_memory=working_memory, **parameters,
    )  # fmt: skip


class FallbackBlocks:
    """Float64 distances by scikit-learn, a block at a time: see `tilewise.engine.blocks`."""

    #: Blocks of CSR rows are shaped like those of dense rows.
    sparse = (False, False)

    def __init__(self, X, Y, metric, parameters):
        self._parameters = _derived_parameters(X, Y, metric, parameters)
        self._X, self._Y = _as_booleans(X, Y, metric)
        self._metric = metric
        self.shape = X.shape[0], Y.shape[0]

    def __call__(self, x_first, y_first, out):
        x = self._take(self._X, x_first, out.shape[0])
        y = self._take(self._Y, y_first, out.shape[1])
        out[...] = pairwise_distances(
            x, y, metric=self._metric, ensure_all_finite=False, **self._parameters
        )

    def _take(self, X, first, count):
        rows = widened(X[first : first + count])
        # A callable gets sparse rows, as with scikit-learn; scipy's metrics know dense ones.
        return rows.toarray() if sp.issparse(rows) and isinstance(self._metric, str) else rows


def put_nan_last(blocks, values, indices):
    """Correct nearest values (n, k) and their columns in place: infinity comes before NaN."""
    (rows,) = np.nonzero(np.isinf(values[:, -1]))
    k = values.shape[1]
    for i in rows:
        whole = np.empty((1, blocks.shape[1]))
        blocks(i, 0, whole)
        indices[i] = np.argsort(whole[0], kind="stable")[:k]
        values[i] = whole[0, indices[i]]


def _as_booleans(X, Y, metric):
    """Truth values for metrics between those, with scikit-learn's warning; else unchanged."""
    if metric not in _BOOLEAN or (X.dtype == bool and Y.dtype == bool):
        return X, Y
    warnings.warn(
        f"Data was converted to boolean for metric {metric}", DataConversionWarning, stacklevel=3
    )
    same = Y is X
    X = widened(X).astype(bool)
    return X, X if same else widened(Y).astype(bool)


def _derived_parameters(X, Y, metric, parameters):
    """The parameters, with those that follow from the data: V and VI where Y is X."""
    wanted = {"seuclidean": "V", "mahalanobis": "VI"}.get(metric)
    if wanted is None or wanted in parameters:
        return parameters
    if Y is not X:
        raise ValueError(
            f"The '{wanted}' parameter is required for the {metric} metric when Y is passed."
        )
    data = X.toarray() if sp.issparse(X) else widened(X)
    if metric == "seuclidean":
        return {**parameters, "V": np.var(data, axis=0, ddof=1)}
    return {**parameters, "VI": np.linalg.inv(np.cov(data.T)).T}

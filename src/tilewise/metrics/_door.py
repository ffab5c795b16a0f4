"""The door: everything that is not a row of METRICS goes to scikit-learn and scipy, here alone.

What enters: checked arrays, or whatever the user passed where a callable may know what to do
with it. What leaves: scikit-learn's own results, unchanged, dtypes and warnings included. The
functions are bound when this module is imported.
"""

import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import pairwise_distances, pairwise_distances_chunked
from sklearn.metrics.pairwise import _VALID_METRICS, PAIRWISE_BOOLEAN_FUNCTIONS

__all__ = ["NAMES", "as_metric_wants", "block", "chunks", "derived_parameters", "matrix"]

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


def as_metric_wants(X, Y, metric):
    """Truth values for metrics between those, with scikit-learn's warning; else as they are."""
    if metric not in _BOOLEAN or (X.dtype == bool and Y.dtype == bool):
        return X, Y
    warnings.warn(
        f"Data was converted to boolean for metric {metric}", DataConversionWarning, stacklevel=3
    )
    same = Y is X
    X = X.astype(bool)
    return X, X if same else Y.astype(bool)


def derived_parameters(X, Y, metric, parameters):
    """The parameters, with those that follow from the data: V and VI where Y is X."""
    wanted = {"seuclidean": "V", "mahalanobis": "VI"}.get(metric)
    if wanted is None or wanted in parameters:
        return parameters
    if Y is not X:
        raise ValueError(
            f"The '{wanted}' parameter is required for the {metric} metric when Y is passed."
        )
    data = X.toarray() if sp.issparse(X) else X
    if metric == "seuclidean":
        return {**parameters, "V": np.var(data, axis=0, ddof=1)}
    return {**parameters, "VI": np.linalg.inv(np.cov(data.T)).T}


def block(x, y, metric, parameters):
    """Distances of a few dense rows to a few others, float64; the rows are finite."""
    values = pairwise_distances(x, y, metric=metric, ensure_all_finite=False, **parameters)
    return np.ascontiguousarray(values, dtype=np.float64)

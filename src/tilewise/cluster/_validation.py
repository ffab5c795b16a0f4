"""Checks of what users pass in; none of them copies ``X`` or reads all of it."""

import os
from dataclasses import dataclass
from numbers import Integral, Number
from operator import attrgetter
from types import FunctionType

import numpy as np
from sklearn.utils import check_array, validation
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from tilewise._numbers import UNCHANGED, as_real, canonical, readable
from tilewise._tables import table_rows
from tilewise.engine import on_host

#: Constraints of the parameters that tilewise adds to scikit-learn's.
PLAN_CONSTRAINTS = {
    "chunk_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    "engine": [StrOptions({"auto", "fused", "blas"})],
}

#: Where to compute.
DEVICE_CONSTRAINTS = {"device": [StrOptions({"auto", "cpu", "cuda"})]}

#: Constraints of the parameters that only matter for rows that are read.
SOURCE_CONSTRAINTS = {
    "memory_limit": [Interval(Integral, 1, None, closed="left"), str, None],
    "checkpoint": [str, os.PathLike, None],
}

_UNREAD = {"ensure_all_finite": False, "ensure_min_samples": 0, "ensure_min_features": 0}


@dataclass(frozen=True)
class _Head:
    """What scikit-learn's checks of columns want to know of data."""

    shape: tuple
    names: object


# scikit-learn's own rules and messages, for names that come from elsewhere than a data frame: its
# function with another way to ask for them.
_check_names = FunctionType(
    validation._check_feature_names.__code__,
    {**vars(validation), "_get_feature_names": attrgetter("names")},
    "_check_names",
)
_check_names.__kwdefaults__ = validation._check_feature_names.__kwdefaults__


def check_columns(n_features, names, estimator, *, reset):
    """Do what ``validate_data`` does with columns, for rows that are no array.

    Parameters
    ----------
    n_features : int
        Columns of the rows.
    names : sequence of str or None
        Their names.
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set (``reset=True``) or compared.
    reset : bool
        Whether the rows are those of a fit.

    Raises
    ------
    ValueError
        If names or number are not those of the fit.

    Warns
    -----
    UserWarning
        If either these rows or those of the fit have no names.
    """
    if names is not None:
        names = np.asarray(names, dtype=object)
    head = _Head((0, int(n_features)), names)
    _check_names(estimator, head, reset=reset)
    validation._check_n_features(estimator, head, reset=reset)


def check_data(X, estimator=None, *, reset=True):
    """Return ``X`` as a 2-D ndarray or canonical CSR matrix of a real dtype.

    With an estimator, its ``n_features_in_`` and ``feature_names_in_`` are set (``reset=True``)
    or compared.
    """
    X, names = table_rows(X)
    X = readable(X, rows=True)
    if estimator is None:
        X = check_array(X, input_name="X", **UNCHANGED)
    elif names is not None:
        check_columns(X.shape[1], names, estimator, reset=reset)
        X = check_array(X, input_name="X", estimator=estimator, **UNCHANGED)
    else:
        X = validate_data(estimator, X, reset=reset, **UNCHANGED)
    return canonical(as_real(X, rows=True))  # objects and strings may still spell numbers


def check_weights(sample_weight, n_rows):
    """Return the weights as float64 (n_rows,), or None where every row counts once.

    Negative weights pass; it is for the algorithms to say where they make no sense.
    """
    if sample_weight is None:
        return None
    name = "sample_weight"
    if isinstance(sample_weight, Number) and not isinstance(sample_weight, complex):
        weights = np.full(n_rows, as_real(np.asarray(sample_weight), name), dtype=np.float64)
    else:
        weights = check_array(
            readable(on_host(sample_weight), name),
            ensure_2d=False,
            ensure_min_samples=0,
            dtype=None,
            ensure_all_finite=False,
            input_name=name,
        )
        weights = np.asarray(as_real(weights, name), dtype=np.float64, order="C")
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array; "
            f"expected one number or an array of length {n_rows}."
        )
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n_rows,)}!")
    bad = np.flatnonzero(~np.isfinite(weights))
    if len(bad):
        kind = "NaN" if np.isnan(weights[bad[0]]) else "infinity"
        raise ValueError(f"Input sample_weight contains {kind} at position {bad[0]}.")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def check_enough_rows(n_rows, n_clusters):
    """Raise where there are more clusters to find than rows."""
    if n_rows < n_clusters:
        raise ValueError(f"n_samples={n_rows} should be >= n_clusters={n_clusters}.")


def check_centers(centers, rows, n_clusters):
    """Return initial centres as a fresh float64 array (n_clusters, n_features).

    They pass through the rows' result_dtype first, as scikit-learn's do: centres that come from
    float32 data are float32 values.
    """
    centers = readable(on_host(centers), "init")
    centers = as_real(check_array(centers, dtype=None, **_UNREAD), "init")
    centers = check_array(centers, dtype=rows.result_dtype, order="C", input_name="init")
    for length, wanted, what in zip(
        centers.shape,
        (n_clusters, rows.n_features),
        ("clusters", "features of the data"),
        strict=True,
    ):
        if length != wanted:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match "
                f"the number of {what} {wanted}."
            )
    return np.array(centers, dtype=np.float64)


def check_own_centers(centers):
    """Return the centres of a fitted model as float64 (k, d); None of them may be missing."""
    if type(centers) is not np.ndarray:
        centers = readable(on_host(centers), "cluster_centers_")
        centers = check_array(centers, input_name="cluster_centers_")
    return np.ascontiguousarray(centers, dtype=np.float64)


def check_final_centers(centers):
    """Return the centres of a finished model, float32 if they are, else float64.

    In C order. People also put their own in the place of fitted ones.
    """
    centers = np.asarray(readable(on_host(centers), "cluster_centers_"))
    single = centers.dtype.kind == "f" and centers.dtype.itemsize <= 4
    centers = np.require(centers, np.float32 if single else np.float64, ["C", "A"])
    if centers.ndim != 2 or not centers.size:
        raise ValueError(f"cluster_centers_ has shape {centers.shape}, (k, d) expected")
    if not np.isfinite(centers).all():
        row = int(np.flatnonzero(~np.isfinite(centers).all(axis=1))[0])
        raise ValueError(f"cluster_centers_ is not finite, first in row {row}")
    return centers

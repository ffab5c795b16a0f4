"""Whole matrices of distances."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils._param_validation import MissingValues, StrOptions

from tilewise._sklearn import validate_params
from tilewise._typing import (
    FloatMatrix,
    MatrixLike,
    MetricFunction,
    MetricName,
    VectorLike,
)
from tilewise.engine import fill_matrix, plan_matrix

from . import _fallback
from ._call import MetricCall, check_norms
from ._device import device_matrix, euclidean_on_device, on_device, refuse_device
from ._table import METRICS, find
from ._validation import (
    THREADS,
    check_arrays,
    check_both_finite,
    check_out,
    check_pair,
    has_only_finite,
    read_pair,
    readable_pair,
    result_dtype,
    thread_count,
)

__all__ = [
    "Matrix", "cosine_distances", "euclidean_distances", "manhattan_distances",
    "nan_euclidean_distances", "pairwise_distances",
]  # fmt: skip

_TWO = {"X": ["array-like", "sparse matrix"], "Y": ["array-like", "sparse matrix", None]}


class Matrix:
    """Distances between the rows of two checked arrays, by a metric of the table.

    `fill` writes any block of rows. If the metric is `telling`, one row and one column of the
    result show whether all values are finite; otherwise the values are checked beforehand.
    """

    def __init__(self, X, Y, call, *, n_threads=None, finite=True):
        self.X, self.Y, self.call, self.same = X, Y, call, Y is X
        self.dtype = result_dtype(X, Y)
        self.shape = X.shape[0], Y.shape[0]
        finite = finite and not get_config()["assume_finite"]
        self._check_late = finite and call.row.telling and call.weights is None
        if finite and not self._check_late:
            check_both_finite(X, Y, allow_nan=call.takes_nan)
        self._rows_x, self._rows_y = call.rows(X, Y)
        self._n_threads = n_threads
        self._plans = {}

    def fill(self, out, first=0, *, fresh=False):
        """Write the distances of the rows from `first` on, perhaps to memory never written."""
        call = self.call
        metric = {"kernel": call.kernel, "p": call.p, "weights": call.weights}
        key = (out.shape, fresh)
        plan = self._plans.get(key)  # at most two: the last chunk is shorter
        if plan is None:
            plan = self._plans[key] = plan_matrix(
                self._rows_x, self._rows_y, out.dtype, shape=out.shape,
                n_threads=self._n_threads, fresh=fresh, **metric,
            )  # fmt: skip
        fill_matrix(
            self._rows_x, self._rows_y, out, plan=plan, x_first=first, canonical=False, **metric
        )
        if self._check_late and not (np.isfinite(out[:, 0]).all() and np.isfinite(out[0, :]).all()):
            check_both_finite(self.X, self.Y)
        if call.finish == "square":
            np.multiply(out, out, out=out)
        if self.same and call.row.zero_diagonal:
            at = np.arange(len(out))
            out[at, at + first] = 0.0
        return out


@validate_params(
    {
        **_TWO,
        "metric": [StrOptions(set(_fallback.NAMES) | set(METRICS) | {"precomputed"}), callable],
        "n_jobs": [Integral, None],
        "ensure_all_finite": ["boolean", StrOptions({"allow-nan"})],
        "out": [np.ndarray, None],
        **THREADS,
    },
    prefer_skip_nested_validation=True,
)
def pairwise_distances(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    metric: MetricName | Literal["precomputed"] | MetricFunction = "euclidean",
    *,
    n_jobs: int | None = None,
    ensure_all_finite: bool | Literal["allow-nan"] = True,
    out: FloatMatrix | None = None,
    n_threads: int | None = None,
    **kwds: Any,
) -> FloatMatrix:
    """Compute the distance of every row of ``X`` to every row of ``Y``.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows; distances of shape (n_samples_X, n_samples_Y) if ``metric="precomputed"``. A CuPy
        array or CUDA tensor of torch, with "euclidean", "sqeuclidean" or "cosine", gives a
        result of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``. Columns are matched by position. Frames whose columns
        have the same names in another order are refused.
    metric : str or callable, default="euclidean"
        A metric of tilewise: "euclidean" ("l2"), "sqeuclidean", "manhattan" ("l1",
        "cityblock"), "cosine", "inner_product", "chebyshev", "minkowski", "canberra",
        "braycurtis", "hamming", "nan_euclidean". scikit-learn and scipy compute everything else
        that scikit-learn's ``pairwise_distances`` takes: other names, "precomputed", and functions
        of two rows.
    n_jobs : int, default=None
        Number of threads as scikit-learn counts them. With None and -1 the plan decides.
    ensure_all_finite : bool or "allow-nan", default=True
        Whether to refuse NaN and infinities. As in scikit-learn it has no effect on euclidean,
        manhattan and cosine, which refuse both, and on nan_euclidean, which takes NaN only.
    out : ndarray of shape (n_samples_X, n_samples_Y), default=None
        Array to write to, of the dtype of the result. Its rows must be contiguous; the step from
        row to row is free, and a memory map will do. Its content is undefined after an error.
    n_threads : int, default=None
        Number of threads; wins over ``n_jobs``. It never changes the result.
    **kwds : dict
        Parameters of the metric: ``p`` and ``w`` of minkowski; ``w`` of sqeuclidean,
        chebyshev, canberra, braycurtis and hamming; ``squared`` of euclidean and
        nan_euclidean.

    Returns
    -------
    D : ndarray of shape (n_samples_X, n_samples_Y)
        float32 where both arrays are float32, else float64, for the metrics of tilewise; the
        others as scikit-learn returns them. Symmetric, with zeros on the diagonal, where
        ``Y`` is ``X``.

    Raises
    ------
    ValueError
        If a value is not finite (the message names row and column), shapes do not match, or
        precomputed distances are negative.
    TypeError
        If rows are sparse and the metric has no sparse form, or takes no such parameter.

    See Also
    --------
    pairwise_distances_chunked : The same, a few rows at a time.
    argkmin : The nearest rows, without the matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise import pairwise_distances
    >>> X = np.array([[0, 0, 0], [1, 1, 1]], dtype=np.float32)
    >>> Y = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> pairwise_distances(X, Y, metric="sqeuclidean")
    array([[1., 2.],
           [2., 1.]], dtype=float32)
    """
    row = find(metric)
    threads = thread_count(n_threads, n_jobs)
    found = on_device(X, Y, lambda pair: device_matrix(pair, metric, kwds, out))
    if found is not None:
        return found
    X, Y = read_pair(X, Y)
    if row is None:
        return _by_fallback(X, Y, metric, n_jobs, ensure_all_finite, out, kwds)
    given = X, Y
    X, Y = check_arrays(X, Y)
    if not row.sparse and (sp.issparse(X) or sp.issparse(Y)):
        if row.name == "nan_euclidean":
            raise TypeError("nan_euclidean takes dense rows only")
        raise TypeError("scipy distance metrics do not support sparse matrices.")
    check = ensure_all_finite is True or row.always_finite
    # scipy decides what a metric makes of NaN and infinities.
    if (
        not check
        and row.name in _fallback.NAMES
        and not (has_only_finite(X) and has_only_finite(Y))
    ):
        return _by_fallback(*given, metric, n_jobs, ensure_all_finite, out, kwds)
    call = MetricCall.of(row, kwds, X, Y)
    return _fill(X, Y, call, out, threads, finite=check)


def _by_fallback(X, Y, metric, n_jobs, ensure_all_finite, out, parameters):
    X, Y = readable_pair(X, Y, metric)
    D = _fallback.matrix(
        X, Y, metric, n_jobs=n_jobs, ensure_all_finite=ensure_all_finite, **parameters
    )
    if out is None:
        return D
    out = check_out(out, D.shape, D.dtype)
    out[...] = D
    return out


def _fill(X, Y, call, out, n_threads, *, finite=True):
    fresh = out is None
    out = check_out(out, (X.shape[0], Y.shape[0]), result_dtype(X, Y), X, Y)
    return Matrix(X, Y, call, n_threads=n_threads, finite=finite).fill(out, fresh=fresh)


@validate_params(
    {
        **_TWO,
        "Y_norm_squared": ["array-like", None],
        "squared": ["boolean"],
        "X_norm_squared": ["array-like", None],
        "out": [np.ndarray, None],
        **THREADS,
    },
    prefer_skip_nested_validation=True,
)
def euclidean_distances(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    *,
    Y_norm_squared: MatrixLike | VectorLike | None = None,
    squared: bool = False,
    X_norm_squared: MatrixLike | VectorLike | None = None,
    out: FloatMatrix | None = None,
    n_threads: int | None = None,
) -> FloatMatrix:
    """Compute the euclidean distance of every row of ``X`` to every row of ``Y``.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows. A CuPy array or CUDA tensor of torch gives a result of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``.
    Y_norm_squared : array-like of shape (n_samples_Y,), (n_samples_Y, 1) or (1, n_samples_Y), \
            default=None
        Its shape is checked and its values are not used: see Notes.
    squared : bool, default=False
        Whether to return squared distances.
    X_norm_squared : array-like of shape (n_samples_X,), (n_samples_X, 1) or (1, n_samples_X), \
            default=None
        As ``Y_norm_squared``.
    out : ndarray of shape (n_samples_X, n_samples_Y), default=None
        Where to write, as in :func:`pairwise_distances`.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X, n_samples_Y)
        float32 where both arrays are float32, else float64.

    Notes
    -----
    scikit-learn expands the square, ``x·x - 2 x·y + y·y``, which loses all digits of a short
    distance between long rows. tilewise squares and sums differences. It expands the square only
    for long rows where nothing cancels, and around a point between the rows. So it cannot use
    norms of the rows themselves. It accepts them because callers written for scikit-learn pass
    them.

    Examples
    --------
    >>> from tilewise import euclidean_distances
    >>> euclidean_distances([[0, 0], [3, 4]])
    array([[0., 5.],
           [5., 0.]])
    """
    found = euclidean_on_device(X, Y, X_norm_squared, Y_norm_squared, squared, out)
    if found is not None:
        return found
    X, Y = check_pair(X, Y)
    check_norms(X, X_norm_squared, "X")
    check_norms(Y, Y_norm_squared, "Y")
    call = MetricCall.of(METRICS["euclidean"], {"squared": squared}, X, Y)
    return _fill(X, Y, call, out, n_threads)


@validate_params({**_TWO, "out": [np.ndarray, None], **THREADS}, prefer_skip_nested_validation=True)
def manhattan_distances(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    *,
    out: FloatMatrix | None = None,
    n_threads: int | None = None,
) -> FloatMatrix:
    """Compute the sum of absolute differences of every row of ``X`` and every row of ``Y``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``.
    out : ndarray of shape (n_samples_X, n_samples_Y), default=None
        Where to write, as in :func:`pairwise_distances`.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X, n_samples_Y)
        float32 where both arrays are float32, else float64 (scikit-learn: always float64).

    Examples
    --------
    >>> from tilewise import manhattan_distances
    >>> manhattan_distances([[1, 2], [3, 4]], [[1, 2], [0, 3]])
    array([[0., 2.],
           [4., 4.]])
    """
    refuse_device(X, Y, "manhattan_distances")
    X, Y = check_pair(X, Y)
    return _fill(X, Y, MetricCall.of(METRICS["manhattan"], {}, X, Y), out, n_threads)


@validate_params({**_TWO, "out": [np.ndarray, None], **THREADS}, prefer_skip_nested_validation=True)
def cosine_distances(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    *,
    out: FloatMatrix | None = None,
    n_threads: int | None = None,
) -> FloatMatrix:
    """Compute one minus the cosine of the angle of every row of ``X`` and every row of ``Y``.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows. A CuPy array or CUDA tensor of torch gives a result of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``.
    out : ndarray of shape (n_samples_X, n_samples_Y), default=None
        Where to write, as in :func:`pairwise_distances`.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X, n_samples_Y)
        From 0 to 2; 1 where a row is zero, except for a row and itself. float32 where both
        arrays are float32, else float64.

    Examples
    --------
    >>> from tilewise import cosine_distances
    >>> cosine_distances([[1, 0]], [[0, 2], [-3, 0], [5, 0]])
    array([[1., 2., 0.]])
    """
    found = on_device(X, Y, lambda pair: device_matrix(pair, "cosine", {}, out))
    if found is not None:
        return found
    X, Y = check_pair(X, Y)
    return _fill(X, Y, MetricCall.of(METRICS["cosine"], {}, X, Y), out, n_threads)


@validate_params(
    {
        "X": ["array-like"],
        "Y": ["array-like", None],
        "squared": ["boolean"],
        "missing_values": [MissingValues(numeric_only=True)],
        "copy": ["boolean"],
        "out": [np.ndarray, None],
        **THREADS,
    },
    prefer_skip_nested_validation=True,
)
def nan_euclidean_distances(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    *,
    squared: bool = False,
    missing_values: float = np.nan,
    copy: bool = True,
    out: FloatMatrix | None = None,
    n_threads: int | None = None,
) -> FloatMatrix:
    """Compute euclidean distances over the coordinates that both rows have.

    The sum of squares is scaled up by the number of coordinates over the number present in
    both rows, as in J. K. Dixon, "Pattern recognition with partly missing data", IEEE
    Transactions on Systems, Man, and Cybernetics 9(10), 1979.

    Parameters
    ----------
    X : array-like of shape (n_samples_X, n_features)
        Rows.
    Y : array-like of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``.
    squared : bool, default=False
        Whether to return squared distances.
    missing_values : float, default=nan
        What stands for a missing value.
    copy : bool, default=True
        Accepted for scikit-learn's sake: the rows are never written to.
    out : ndarray of shape (n_samples_X, n_samples_Y), default=None
        Where to write, as in :func:`pairwise_distances`.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X, n_samples_Y)
        NaN where two rows have no coordinate in common. float32 where both arrays are
        float32, else float64.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.metrics import nan_euclidean_distances
    >>> nan_euclidean_distances([[3, np.nan, np.nan, 6]], [[1, np.nan, 4, 5]], squared=True)
    array([[10.]])
    """
    refuse_device(X, Y, "nan_euclidean_distances")
    X, Y = check_pair(X, Y)
    parameters = {"squared": squared, "missing_values": missing_values}
    call = MetricCall.of(METRICS["nan_euclidean"], parameters, X, Y)
    return _fill(X, Y, call, out, n_threads)

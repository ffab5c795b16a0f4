"""The nearest rows, and the rows within a radius."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import scipy.sparse as sp
from sklearn.utils._param_validation import Options, StrOptions

from tilewise import engine
from tilewise._sklearn import validate_params
from tilewise._typing import (
    CsrMatrix,
    FloatMatrix,
    FloatVector,
    Matrix,
    MatrixLike,
    MetricFunction,
    MetricName,
    NeighborName,
    Vector,
)

from . import _door
from ._blocks import (
    DoorBlocks,
    KernelBlocks,
    argmin_blocks,
    nearest_blocks,
    radius_blocks,
)
from ._ranges import float32_below, largest_rank, mend_nearest, mend_within, only_within
from ._table import METRICS, find
from ._terms import Terms, without_missing
from ._validation import (
    THREADS,
    check_finite,
    check_k,
    check_out,
    check_pair,
    check_radius,
    result_dtype,
)

__all__ = [
    "argkmin", "pairwise_distances_argmin", "pairwise_distances_argmin_min", "radius_neighbors",
]  # fmt: skip

_Metric: TypeAlias = MetricName | NeighborName | MetricFunction
_Parameters: TypeAlias = Mapping[str, Any] | None

_EXTRA_NAMES = {alias for row in METRICS.values() for alias in row.neighbor_aliases}
_METRICS = _door.NAMES | set(METRICS) | _EXTRA_NAMES

_CONSTRAINTS = {
    "X": ["array-like", "sparse matrix"],
    "Y": ["array-like", "sparse matrix", None],
    "metric_kwargs": [dict, None],
    **THREADS,
}


class Search:
    """Two sets of rows and a metric, checked, and how its ranks become distances."""

    def __init__(self, X, Y, metric, metric_kwargs, n_threads):
        if not callable(metric) and metric not in _METRICS:
            raise ValueError(
                f"Unrecognized metric {metric!r}. Known are a function of two rows and "
                f"{', '.join(sorted(_METRICS))}."
            )
        self.row = find(metric, neighbors=True)
        self.X, self.Y = check_pair(X, Y)
        self.dtype = result_dtype(self.X, self.Y)
        self.shape = self.X.shape[0], self.Y.shape[0]
        self.n_threads = n_threads
        parameters = {} if metric_kwargs is None else dict(metric_kwargs)
        if self.row is not None:
            self.terms = Terms.of(self.row, parameters, self.X, self.Y, lenient=True)
            nan = self.row.name == "nan_euclidean" and self.terms.missing is None
        else:
            self.terms, nan = None, False
        # The canonical distance has an engine of its own, which finds bad values by itself.
        self._canonical = (
            self.row is not None
            and self.row.surrogate == "sqeuclidean"
            and self.terms.weights is None
        )
        if not self._canonical:
            self._check(nan)
        self._blocks = self._make_blocks(metric, parameters)
        if self.row is not None:
            t = self.terms
            self._what = {"kernel": t.surrogate, "p": t.p, "weights": t.weights}
            self._form = {"root": t.finish == "sqrt", "dtype": self.dtype}

    def _check(self, allow_nan=False):
        check_finite(self.X, "X", allow_nan=allow_nan)
        if self.Y is not self.X:
            check_finite(self.Y, "Y", allow_nan=allow_nan)

    def _run(self, search, *args, **more):
        x, y = self._blocks.rows_x, self._blocks.rows_y
        try:
            return search(x, y, *args, n_threads=self.n_threads, **more)
        except ValueError:
            self._check()  # says which of the two holds the value
            raise

    def _make_blocks(self, metric, parameters):
        X, Y = self.X, self.Y
        if self.row is None:
            self.dtype = np.dtype(np.float64)
            return DoorBlocks(X, Y, metric, parameters)
        if self.terms.missing is not None:
            same = Y is X
            X = without_missing(X, self.terms.missing)
            Y = X if same else without_missing(Y, self.terms.missing)
        return KernelBlocks(X, Y, self.terms, self.n_threads)

    def finish(self, values):
        """What ranked the neighbours, as the distances that are returned."""
        if self.row is not None:
            if self.row.largest_first:
                np.negative(values, out=values)
            elif self.terms.finish == "sqrt":
                np.sqrt(values, out=values)
            elif self.terms.finish == "square":
                np.square(values, out=values)
        with np.errstate(over="ignore"):
            return values.astype(self.dtype, copy=False)

    def nearest(self, k, out=(None, None)):
        """Distances and indices (n, k) of the k nearest rows, in `out` where that is possible."""
        distances, indices = self._nearest_finished(k, out)
        if self._squares():
            mend_nearest(self, k, distances, indices)
        return distances, indices

    def _nearest_finished(self, k, out=(None, None)):
        ranks, indices = self._nearest(k, out)
        return (ranks if self._canonical else self.finish(ranks)), indices

    def _squares(self):
        """Whether float64 may have no room for what ranks the neighbours."""
        return self.row is not None and self.row.degree > 0 and self.dtype == np.float64

    def scaled(self, scale, rows=None):
        """The same search among the rows times a power of two, of all rows of X or some.

        Its distances are those of these rows: of the degree of the metric in the scale.
        """
        other = copy(self)
        other._blocks = self._blocks.scaled(scale, rows)
        other.shape = other._blocks.shape
        return other

    def _nearest(self, k, out):
        if self._canonical:
            # Finished by the engine, in its threads.
            out = tuple(a if a is not None and a.flags.c_contiguous else None for a in out)
            return self._run(engine.argkmin, k, out=out, **self._form)
        if self.row is None or self.row.largest_first:
            return nearest_blocks(self._blocks, k, self.n_threads)
        ranks, indices = self._run(engine.argkmin_blocks, k, **self._what)
        if self.row.name == "nan_euclidean":
            # Rows without a common coordinate come last; infinity stands for their distance.
            ranks[np.isinf(ranks)] = np.nan
        return ranks, indices

    def argmin(self):
        """Distances and indices (n,) of the nearest rows."""
        if self.row is None or self.row.undefined:
            ranks, indices = argmin_blocks(self._blocks)
            return self.finish(ranks), indices
        distances, indices = self.nearest(1)
        return distances[:, 0], indices[:, 0]

    def within(self, radius, sort):
        """Offsets, distances, indices of the rows within a radius; by index, or nearest first."""
        if self._canonical and self._squares():
            return mend_within(self, radius, sort)
        return self.within_finished(radius, sort)

    def within_finished(self, radius, sort):
        """The same as long as squares of distances are in range."""
        offsets, ranks, indices = self._within(radius, sort)
        return offsets, self.finish(ranks), indices

    def _within(self, radius, sort):
        if self.row is None:
            return radius_blocks(self._blocks, radius, sort=sort, n_threads=self.n_threads)
        finish = self.terms.finish
        if not self._canonical:
            rank = largest_rank(radius, finish)
            return self._run(engine.radius_blocks, rank, sort=sort, **self._what)
        if finish == "sqrt":
            return self._run(engine.radius, radius, sort=sort)
        # The engine compares roots. The root of the radius lets all through that are within,
        # and what rounding lets through beside them goes here.
        offsets, ranks, indices = self._run(engine.radius, float(np.sqrt(radius)), sort=sort)
        return only_within(radius, offsets, ranks, indices)


def _argmin(X, Y, axis, metric, metric_kwargs, n_threads):
    if axis == 0:
        X, Y = (Y, X) if Y is not None else (X, Y)
    search = Search(X, Y, metric, metric_kwargs, n_threads)
    return search.argmin()


@validate_params(
    {
        **_CONSTRAINTS,
        "axis": [Options(Integral, {0, 1})],
        "metric": [StrOptions(_METRICS), callable],
    },
    prefer_skip_nested_validation=False,
)
def pairwise_distances_argmin_min(
    X: MatrixLike,
    Y: MatrixLike | None,
    *,
    axis: Literal[0, 1] = 1,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
) -> tuple[Vector[np.intp], FloatVector]:
    """Find the nearest row of ``Y`` for every row of ``X``, and its distance.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among; None stands for ``X``.
    axis : int, default=1
        0 finds the nearest row of ``X`` for every row of ``Y`` instead.
    metric : str or callable, default="euclidean"
        As in :func:`argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    argmin : ndarray of shape (n_samples_X,), intp
        Index of the nearest row; the lowest of equally near ones.
    distances : ndarray of shape (n_samples_X,)
        Its distance: float32 where both arrays are float32, else float64.

    See Also
    --------
    argkmin : The k nearest rows.

    Notes
    -----
    Where distances are not numbers (nan_euclidean, and no coordinate in common), the first of
    those counts as the nearest, as with :func:`numpy.argmin` and scikit-learn.

    Examples
    --------
    >>> from tilewise import pairwise_distances_argmin_min
    >>> argmin, distances = pairwise_distances_argmin_min(
    ...     [[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]]
    ... )
    >>> argmin
    array([0, 1])
    >>> distances
    array([1., 1.])
    """
    distances, indices = _argmin(X, Y, axis, metric, metric_kwargs, n_threads)
    return indices, distances


@validate_params(
    {
        **_CONSTRAINTS,
        "axis": [Options(Integral, {0, 1})],
        "metric": [StrOptions(_METRICS), callable],
    },
    prefer_skip_nested_validation=False,
)
def pairwise_distances_argmin(
    X: MatrixLike,
    Y: MatrixLike | None,
    *,
    axis: Literal[0, 1] = 1,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
) -> Vector[np.intp]:
    """Find the nearest row of ``Y`` for every row of ``X``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among; None stands for ``X``.
    axis : int, default=1
        0 finds the nearest row of ``X`` for every row of ``Y`` instead.
    metric : str or callable, default="euclidean"
        As in :func:`argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    argmin : ndarray of shape (n_samples_X,), intp
        Index of the nearest row; the lowest of equally near ones.

    Examples
    --------
    >>> from tilewise import pairwise_distances_argmin
    >>> pairwise_distances_argmin([[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]])
    array([0, 1])
    """
    return _argmin(X, Y, axis, metric, metric_kwargs, n_threads)[1]


# Distances and indices.
_Nearest: TypeAlias = tuple[FloatMatrix, Matrix[np.intp]]


@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[True] = ...,
    out: _Nearest | None = ..., n_threads: int | None = ...,
) -> _Nearest: ...  # fmt: skip
@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[False],
    out: Matrix[np.intp] | None = ..., n_threads: int | None = ...,
) -> Matrix[np.intp]: ...  # fmt: skip
@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: bool,
    out: _Nearest | Matrix[np.intp] | None = ..., n_threads: int | None = ...,
) -> _Nearest | Matrix[np.intp]: ...  # fmt: skip
@validate_params(
    {**_CONSTRAINTS, "return_distance": ["boolean"]}, prefer_skip_nested_validation=False
)
def argkmin(
    X: MatrixLike,
    Y: MatrixLike | None,
    k: int,
    *,
    metric: _Metric = "euclidean",
    metric_kwargs: _Parameters = None,
    return_distance: bool = True,
    out: tuple[FloatMatrix, Matrix[np.intp]] | Matrix[np.intp] | None = None,
    n_threads: int | None = None,
) -> _Nearest | Matrix[np.intp]:
    """Find the k nearest rows of ``Y`` for every row of ``X``, nearest first.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among; None stands for ``X``, where every row is its own
        first neighbour unless an equal one stands before it.
    k : int
        Number of neighbours, at most n_samples_Y.
    metric : str or callable, default="euclidean"
        Any metric of :func:`pairwise_distances` but "precomputed". "inner_product" finds the
        rows of the largest products.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    return_distance : bool, default=True
        Whether to return the distances as well.
    out : ndarray or tuple of two ndarrays, default=None
        Where to write: (distances, indices), each (n_samples_X, k), of the dtypes below; only
        the indices if not ``return_distance``.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X, k)
        In ascending order. float32 where both arrays are float32, else float64.
    indices : ndarray of shape (n_samples_X, k), intp
        Rows of ``Y``; of two at the same distance the lower index comes first.

    Raises
    ------
    ValueError
        If ``k`` is out of range, a value is not finite, shapes do not match or the metric is
        not known.

    Notes
    -----
    Which rows are neighbours, and in which order, is decided by distances in float64 whatever
    the type of the rows: two that are equal in float32 still come in their true order.
    Distances that are not numbers come last: as NaN for nan_euclidean (no coordinate in common)
    and metrics of scikit-learn and scipy, as infinity for braycurtis (two rows of zeros).

    Examples
    --------
    >>> from tilewise import argkmin
    >>> distances, indices = argkmin([[0.0], [4.0]], [[1.0], [-1.0], [3.0]], 2)
    >>> distances
    array([[1., 1.],
           [1., 3.]])
    >>> indices
    array([[0, 1],
           [2, 0]])
    """
    search = Search(X, Y, metric, metric_kwargs, n_threads)
    k = check_k(k, search.shape[1])
    shape = search.shape[0], k
    out_distances, out_indices = _two_outs(out, shape, search, return_distance)
    distances, indices = search.nearest(k, (out_distances, out_indices))
    if out_indices is not None and out_indices is not indices:
        out_indices[...] = indices
        indices = out_indices
    if not return_distance:
        return indices
    if out_distances is not None and out_distances is not distances:
        out_distances[...] = distances
        distances = out_distances
    return distances, indices


def _two_outs(out, shape, search, return_distance):
    if out is None:
        return None, None
    data = search.X, search.Y
    if not return_distance:
        return None, check_out(out, shape, np.dtype(np.intp), *data)
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError("out must be a tuple of two arrays: distances and indices")
    distances = check_out(out[0], shape, search.dtype, *data, name="out[0]")
    indices = check_out(out[1], shape, np.dtype(np.intp), *data, distances, name="out[1]")
    return distances, indices


# Distances and indices: arrays of one array per row.
_Within: TypeAlias = tuple[Vector[np.object_], Vector[np.object_]]


@overload
def radius_neighbors(
    X: MatrixLike, Y: MatrixLike | None, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[True] = ...,
    sort_results: bool = ..., return_as: Literal["arrays"] = ..., n_threads: int | None = ...,
) -> _Within: ...  # fmt: skip
@overload
def radius_neighbors(
    X: MatrixLike, Y: MatrixLike | None, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[False], sort_results: bool = ...,
    return_as: Literal["arrays"] = ..., n_threads: int | None = ...,
) -> Vector[np.object_]: ...  # fmt: skip
@overload
def radius_neighbors(
    X: MatrixLike, Y: MatrixLike | None, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: bool = ..., sort_results: bool = ...,
    return_as: Literal["csr"], n_threads: int | None = ...,
) -> CsrMatrix: ...  # fmt: skip
@overload
def radius_neighbors(
    X: MatrixLike, Y: MatrixLike | None, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: bool = ..., sort_results: bool = ...,
    return_as: Literal["arrays", "csr"] = ..., n_threads: int | None = ...,
) -> _Within | Vector[np.object_] | CsrMatrix: ...  # fmt: skip
@validate_params(
    {
        **_CONSTRAINTS,
        "return_distance": ["boolean"],
        "sort_results": ["boolean"],
        "return_as": [StrOptions({"arrays", "csr"})],
    },
    prefer_skip_nested_validation=False,
)
def radius_neighbors(
    X: MatrixLike,
    Y: MatrixLike | None,
    radius: float,
    *,
    metric: _Metric = "euclidean",
    metric_kwargs: _Parameters = None,
    return_distance: bool = True,
    sort_results: bool = False,
    return_as: Literal["arrays", "csr"] = "arrays",
    n_threads: int | None = None,
) -> _Within | Vector[np.object_] | CsrMatrix:
    """Find the rows of ``Y`` at a distance of at most ``radius`` from every row of ``X``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to look among; None stands for ``X``, where every row is a neighbour of its own.
    radius : float
        The largest distance that counts, itself included.
    metric : str or callable, default="euclidean"
        Any metric of :func:`pairwise_distances` but "precomputed" and "inner_product".
    metric_kwargs : dict, default=None
        Parameters of the metric.
    return_distance : bool, default=True
        Whether to return the distances as well.
    sort_results : bool, default=False
        Whether neighbours come nearest first, the lower index first of two at the same
        distance; else in the order of their indices.
    return_as : {"arrays", "csr"}, default="arrays"
        One array per row, or a sparse matrix.
    n_threads : int, default=None
        Number of threads; it never changes the result.

    Returns
    -------
    distances : ndarray of shape (n_samples_X,) of ndarrays
        float32 where both arrays are float32, else float64; none is above ``radius``. Not
        with ``return_as="csr"``.
    indices : ndarray of shape (n_samples_X,) of ndarrays of intp
        Rows of ``Y``. Not with ``return_as="csr"``.
    graph : csr_matrix of shape (n_samples_X, n_samples_Y)
        With ``return_as="csr"`` alone: a distance for each neighbour, also where it is zero;
        ones if not ``return_distance``. What ``metric="precomputed"`` of scikit-learn's
        DBSCAN and neighbour estimators takes; they want it sorted.

    Raises
    ------
    ValueError
        If ``radius`` is negative or NaN, a value is not finite, shapes do not match or the
        metric is not known.

    Notes
    -----
    Which rows are neighbours is decided in float64. A float32 distance that rounding would
    lift above ``radius`` is returned as the largest float32 that is not.

    Examples
    --------
    >>> from tilewise import radius_neighbors
    >>> distances, indices = radius_neighbors([[0.0], [4.0]], [[1.0], [0.5], [9.0]], 1.5)
    >>> [list(row) for row in indices]
    [[np.int64(0), np.int64(1)], []]
    >>> radius_neighbors([[0.0]], [[1.0], [0.5]], 1.5, return_as="csr").toarray()
    array([[1. , 0.5]])
    """
    radius = check_radius(radius)
    search = Search(X, Y, metric, metric_kwargs, n_threads)
    if search.row is not None and search.row.largest_first:
        raise ValueError(f"{metric!r} is no distance: there is no radius to be within.")
    offsets, distances, indices = search.within(radius, sort_results)
    if not return_distance:
        distances = np.ones(len(indices)) if return_as == "csr" else None
    elif distances.dtype == np.float32:
        np.minimum(distances, float32_below(radius), out=distances)
    if return_as == "csr":
        return sp.csr_matrix((distances, indices, offsets), shape=search.shape)
    indices = _rows_of(offsets, indices)
    return (_rows_of(offsets, distances), indices) if return_distance else indices


def _rows_of(offsets, values):
    """One view per row, in an array of objects."""
    out = np.empty(len(offsets) - 1, dtype=object)
    for i, (start, stop) in enumerate(pairwise(offsets.tolist())):
        out[i] = values[start:stop]
    return out

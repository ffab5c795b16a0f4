"""The nearest rows, and the rows within a radius."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import scipy.sparse as sp
from sklearn.utils._param_validation import Options, StrOptions

from tilewise._sklearn import validate_params
from tilewise._typing import (
    CsrMatrix,
    Device,
    FloatMatrix,
    FloatVector,
    Matrix,
    MatrixLike,
    MetricFunction,
    MetricName,
    NeighborName,
    Vector,
)
from tilewise.engine import on_host

from ._device import device_neighbors, on_device, refuse_device
from ._ranges import float32_below
from ._search import METRIC_NAMES, Search
from ._validation import THREADS, check_k, check_out, check_radius

__all__ = [
    "argkmin", "pairwise_distances_argmin", "pairwise_distances_argmin_min", "radius_neighbors",
]  # fmt: skip

_Metric: TypeAlias = MetricName | NeighborName | MetricFunction
_Parameters: TypeAlias = Mapping[str, Any] | None

_CONSTRAINTS = {
    "X": ["array-like", "sparse matrix"],
    "Y": ["array-like", "sparse matrix", None],
    "metric_kwargs": [dict, None],
    **THREADS,
}
_DEVICE = {"device": [StrOptions({"auto", "cpu", "cuda"})]}
_ARGMIN_CONSTRAINTS = {
    **_CONSTRAINTS,
    **_DEVICE,
    "axis": [Options(Integral, {0, 1})],
    "metric": [StrOptions(METRIC_NAMES), callable],
}


def _placed(X, Y, device):
    """The rows, copied to memory if they are to be computed with there."""
    return (on_host(X), on_host(Y)) if device == "cpu" else (X, Y)


def _argmin(X, Y, axis, metric, metric_kwargs, n_threads, device):
    X, Y = _placed(X, Y, device)
    found = on_device(
        X, Y, lambda pair: device_neighbors(pair, 1, metric, metric_kwargs, axis=axis), device
    )
    if found is not None:
        return found[0][:, 0], found[1][:, 0]
    if axis == 0:
        X, Y = (Y, X) if Y is not None else (X, Y)
    return Search(X, Y, metric, metric_kwargs, n_threads).argmin()


@validate_params(_ARGMIN_CONSTRAINTS, prefer_skip_nested_validation=False)
def pairwise_distances_argmin_min(
    X: MatrixLike,
    Y: MatrixLike | None,
    *,
    axis: Literal[0, 1] = 1,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
    device: Device = "auto",
) -> tuple[Vector[np.intp], FloatVector]:
    """Find the nearest row of ``Y`` for every row of ``X``, and its distance.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows. A CuPy array or CUDA tensor of torch gives results of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features)
        Rows to find the nearest among; None stands for ``X``.
    axis : int, default=1
        0 finds the nearest row of ``X`` for every row of ``Y`` instead.
    metric : str or callable, default="euclidean"
        As in :func:`argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads; it never changes the result.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        Where to compute: where the arrays lie, on the CPU, or on a GPU. With "cuda", arrays in
        memory come to the GPU, in parts if they do not fit; results are where ``X`` is.

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
    If distances are not numbers (nan_euclidean, and no coordinate in common), the first of those
    counts as the nearest, as in :func:`numpy.argmin` and scikit-learn.

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
    distances, indices = _argmin(X, Y, axis, metric, metric_kwargs, n_threads, device)
    return indices, distances


@validate_params(_ARGMIN_CONSTRAINTS, prefer_skip_nested_validation=False)
def pairwise_distances_argmin(
    X: MatrixLike,
    Y: MatrixLike | None,
    *,
    axis: Literal[0, 1] = 1,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
    device: Device = "auto",
) -> Vector[np.intp]:
    """Find the nearest row of ``Y`` for every row of ``X``.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows. A CuPy array or CUDA tensor of torch gives results of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features)
        Rows to find the nearest among; None stands for ``X``.
    axis : int, default=1
        0 finds the nearest row of ``X`` for every row of ``Y`` instead.
    metric : str or callable, default="euclidean"
        As in :func:`argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads; it never changes the result.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        Where to compute: where the arrays lie, on the CPU, or on a GPU. With "cuda", arrays in
        memory come to the GPU, in parts if they do not fit; results are where ``X`` is.

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
    return _argmin(X, Y, axis, metric, metric_kwargs, n_threads, device)[1]


# Distances and indices.
_Nearest: TypeAlias = tuple[FloatMatrix, Matrix[np.intp]]


@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[True] = ...,
    out: _Nearest | None = ..., n_threads: int | None = ..., device: Device = ...,
) -> _Nearest: ...  # fmt: skip
@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[False],
    out: Matrix[np.intp] | None = ..., n_threads: int | None = ..., device: Device = ...,
) -> Matrix[np.intp]: ...  # fmt: skip
@overload
def argkmin(
    X: MatrixLike, Y: MatrixLike | None, k: int, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: bool,
    out: _Nearest | Matrix[np.intp] | None = ..., n_threads: int | None = ..., device: Device = ...,
) -> _Nearest | Matrix[np.intp]: ...  # fmt: skip
@validate_params(
    {**_CONSTRAINTS, **_DEVICE, "return_distance": ["boolean"]}, prefer_skip_nested_validation=False
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
    device: Device = "auto",
) -> _Nearest | Matrix[np.intp]:
    """Find the k nearest rows of ``Y`` for every row of ``X``, nearest first.

    Parameters
    ----------
    X : {array-like, sparse matrix, array on a GPU} of shape (n_samples_X, n_features)
        Rows. A CuPy array or CUDA tensor of torch gives results of its kind, on its device.
    Y : {array-like, sparse matrix, array on a GPU} of shape (n_samples_Y, n_features)
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
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        Where to compute: where the arrays lie, on the CPU, or on a GPU. With "cuda", arrays in
        memory come to the GPU, in parts if they do not fit; results are where ``X`` is.

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
    Float64 distances decide which rows are neighbours, and in which order, whatever the type of
    the rows. Two distances that are equal in float32 still come in their true order.
    Distances that are not numbers come last. They are NaN for nan_euclidean (no coordinate in
    common) and for metrics of scikit-learn and scipy, and infinity for braycurtis (two rows of
    zeros).

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
    X, Y = _placed(X, Y, device)
    found = on_device(
        X, Y, lambda pair: device_neighbors(pair, k, metric, metric_kwargs, out), device
    )
    if found is not None:
        return found if return_distance else found[1]
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
        ones if not ``return_distance``. scikit-learn's DBSCAN and neighbour estimators take it
        with ``metric="precomputed"``; pass ``sort_results=True`` for them.

    Raises
    ------
    ValueError
        If ``radius`` is negative or NaN, a value is not finite, shapes do not match or the
        metric is not known.

    Notes
    -----
    Float64 distances decide which rows are neighbours. If rounding to float32 would lift a
    distance above ``radius``, the largest float32 that is not above it is returned.

    Examples
    --------
    >>> from tilewise import radius_neighbors
    >>> distances, indices = radius_neighbors([[0.0], [4.0]], [[1.0], [0.5], [9.0]], 1.5)
    >>> [list(row) for row in indices]
    [[np.int64(0), np.int64(1)], []]
    >>> radius_neighbors([[0.0]], [[1.0], [0.5]], 1.5, return_as="csr").toarray()
    array([[1. , 0.5]])
    """
    refuse_device(X, Y, "radius_neighbors")
    radius = check_radius(radius)
    search = Search(X, Y, metric, metric_kwargs, n_threads)
    if search.row is not None and search.row.largest_first:
        raise ValueError(
            f"{metric!r} is a similarity, not a distance: there is no radius to search within."
        )
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

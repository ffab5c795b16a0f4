"""The nearest rows of a small Y, and those within a radius, for every row of a dask collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from tilewise import metrics
from tilewise._typing import MatrixLike, MetricFunction, MetricName, NeighborName

from ._lazy import lazily

if TYPE_CHECKING:
    from dask.array import Array

__all__ = [
    "argkmin", "pairwise_distances_argmin", "pairwise_distances_argmin_min", "radius_neighbors",
]  # fmt: skip

_Metric: TypeAlias = MetricName | NeighborName | MetricFunction
_Parameters: TypeAlias = Mapping[str, Any] | None


def pairwise_distances_argmin_min(
    X: Any,
    Y: MatrixLike,
    *,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
) -> tuple[Array, Array]:
    """Find the nearest row of ``Y`` for every row of a dask collection, and its distance.

    Parameters
    ----------
    X : dask array, dask data frame, or list of Delayed or Future
        Rows; see :func:`argkmin`.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among, in memory.
    metric : str or callable, default="euclidean"
        As in :func:`tilewise.argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads of each task; it never changes the result.

    Returns
    -------
    argmin : dask array of shape (n_samples_X,), intp
        Index of the nearest row; the lowest of equally near ones.
    distances : dask array of shape (n_samples_X,)
        Its distance.

    See Also
    --------
    argkmin : The k nearest rows. It says more about the input, the types and the errors.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from tilewise.dask import pairwise_distances_argmin_min
    >>> X = da.from_array(np.array([[0.0], [4.0], [7.0]]), chunks=(2, 1))
    >>> argmin, distances = pairwise_distances_argmin_min(X, [[1.0], [5.0]])
    >>> argmin.compute()
    array([0, 1, 1])
    >>> distances.compute()
    array([1., 1., 2.])
    """
    return lazily(
        metrics.pairwise_distances_argmin_min, X, Y, metric=metric, metric_kwargs=metric_kwargs,
        n_threads=n_threads,
    )  # fmt: skip


def pairwise_distances_argmin(
    X: Any,
    Y: MatrixLike,
    *,
    metric: MetricName | MetricFunction = "euclidean",
    metric_kwargs: _Parameters = None,
    n_threads: int | None = None,
) -> Array:
    """Find the nearest row of ``Y`` for every row of a dask collection.

    Parameters
    ----------
    X : dask array, dask data frame, or list of Delayed or Future
        Rows; see :func:`argkmin`.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among, in memory.
    metric : str or callable, default="euclidean"
        As in :func:`tilewise.argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    n_threads : int, default=None
        Number of threads of each task; it never changes the result.

    Returns
    -------
    argmin : dask array of shape (n_samples_X,), intp
        Index of the nearest row; the lowest of equally near ones.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from tilewise.dask import pairwise_distances_argmin
    >>> X = da.from_array(np.array([[0.0], [4.0], [7.0]]), chunks=(2, 1))
    >>> pairwise_distances_argmin(X, [[1.0], [5.0]]).compute()
    array([0, 1, 1])
    """
    return lazily(
        metrics.pairwise_distances_argmin, X, Y, metric=metric, metric_kwargs=metric_kwargs,
        n_threads=n_threads,
    )  # fmt: skip


@overload
def argkmin(
    X: Any, Y: MatrixLike, k: int, *, metric: _Metric = ..., metric_kwargs: _Parameters = ...,
    return_distance: Literal[True] = ..., n_threads: int | None = ...,
) -> tuple[Array, Array]: ...  # fmt: skip
@overload
def argkmin(
    X: Any, Y: MatrixLike, k: int, *, metric: _Metric = ..., metric_kwargs: _Parameters = ...,
    return_distance: Literal[False], n_threads: int | None = ...,
) -> Array: ...  # fmt: skip
def argkmin(
    X: Any,
    Y: MatrixLike,
    k: int,
    *,
    metric: _Metric = "euclidean",
    metric_kwargs: _Parameters = None,
    return_distance: bool = True,
    n_threads: int | None = None,
) -> tuple[Array, Array] | Array:
    """Find the k nearest rows of ``Y`` for every row of a dask collection, nearest first.

    Nothing is computed at the call. Each partition of ``X`` is one task, which calls
    :func:`tilewise.argkmin`. So the results have the same bits as in memory.

    Parameters
    ----------
    X : dask array, dask data frame, or list of Delayed or Future
        Rows. A dask array has one chunk of columns and any chunks of rows, also of unknown sizes.
        Columns of a data frame are taken by name, in the order of the frame. Each delayed object
        or future is an array or a data frame; columns with names have the order of the first.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to find the nearest among, in memory. A copy of them is sent to each worker once.
    k : int
        Number of neighbours, at most n_samples_Y.
    metric : str or callable, default="euclidean"
        As in :func:`tilewise.argkmin`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    return_distance : bool, default=True
        Whether to return the distances as well.
    n_threads : int, default=None
        Number of threads of each task; it never changes the result. None is the task's share of
        the threads of its worker.

    Returns
    -------
    distances : dask array of shape (n_samples_X, k)
        In ascending order. float32 where both arrays are float32, else float64.
    indices : dask array of shape (n_samples_X, k), intp
        Rows of ``Y``; of two at the same distance the lower index comes first.

    Raises
    ------
    ValueError
        At the call, if ``k`` is out of range, a value of ``Y`` is not finite, the columns of ``X``
        do not match those of ``Y``, are not numbers or are in several chunks, or the metric is not
        known. In a task, if a value of ``X`` is not finite: the message says in which partition,
        row and column.

    Notes
    -----
    Compute both results together, ``dask.compute(distances, indices)``. Computed one by one, they
    search twice.

    The chunks of rows are those of ``X``, and unknown where those of ``X`` are. A partition
    without rows has an empty result.

    What type delayed objects have is known only when they are computed. They must be float32 if
    ``Y`` is float32. If ``Y`` is float64, each may have a type of its own.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numpy as np
    >>> from tilewise.dask import argkmin
    >>> X = da.from_array(np.array([[0.0], [4.0], [7.0]]), chunks=(2, 1))
    >>> distances, indices = dask.compute(*argkmin(X, [[1.0], [-1.0], [3.0]], 2))
    >>> distances
    array([[1., 1.],
           [1., 3.],
           [4., 6.]])
    >>> indices
    array([[0, 1],
           [2, 0],
           [2, 0]])
    """
    return lazily(
        metrics.argkmin, X, Y, k=k, metric=metric, metric_kwargs=metric_kwargs,
        return_distance=return_distance, n_threads=n_threads,
    )  # fmt: skip


@overload
def radius_neighbors(
    X: Any, Y: MatrixLike, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[True] = ...,
    sort_results: bool = ..., return_as: Literal["arrays"] = ..., n_threads: int | None = ...,
) -> tuple[Array, Array]: ...  # fmt: skip
@overload
def radius_neighbors(
    X: Any, Y: MatrixLike, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: Literal[False], sort_results: bool = ...,
    return_as: Literal["arrays"] = ..., n_threads: int | None = ...,
) -> Array: ...  # fmt: skip
@overload
def radius_neighbors(
    X: Any, Y: MatrixLike, radius: float, *, metric: _Metric = ...,
    metric_kwargs: _Parameters = ..., return_distance: bool = ..., sort_results: bool = ...,
    return_as: Literal["csr"], n_threads: int | None = ...,
) -> Array: ...  # fmt: skip
def radius_neighbors(
    X: Any,
    Y: MatrixLike,
    radius: float,
    *,
    metric: _Metric = "euclidean",
    metric_kwargs: _Parameters = None,
    return_distance: bool = True,
    sort_results: bool = False,
    return_as: Literal["arrays", "csr"] = "arrays",
    n_threads: int | None = None,
) -> tuple[Array, Array] | Array:
    """Find the rows of ``Y`` within ``radius`` of every row of a dask collection.

    Parameters
    ----------
    X : dask array, dask data frame, or list of Delayed or Future
        Rows; see :func:`argkmin`.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features)
        Rows to look among, in memory.
    radius : float
        The largest distance that counts, itself included.
    metric : str or callable, default="euclidean"
        As in :func:`tilewise.radius_neighbors`.
    metric_kwargs : dict, default=None
        Parameters of the metric.
    return_distance : bool, default=True
        Whether to return the distances as well.
    sort_results : bool, default=False
        Whether neighbours come nearest first; else in the order of their indices.
    return_as : {"arrays", "csr"}, default="arrays"
        One array per row, or a sparse matrix for each partition.
    n_threads : int, default=None
        Number of threads of each task; it never changes the result.

    Returns
    -------
    distances : dask array of shape (n_samples_X,) of ndarrays
        float32 where both arrays are float32, else float64. Not with ``return_as="csr"``.
    indices : dask array of shape (n_samples_X,) of ndarrays of intp
        Rows of ``Y``. Not with ``return_as="csr"``.
    graph : dask array of shape (n_samples_X, n_samples_Y)
        With ``return_as="csr"`` alone. Each block is a csr_matrix, and so is what ``compute()``
        returns.

    See Also
    --------
    argkmin : The k nearest rows. It says more about the input, the types and the errors.

    Notes
    -----
    Rows have different numbers of neighbours. Arrays of objects keep the form that
    :func:`tilewise.radius_neighbors` returns, and one chunk per partition of ``X``. Prefer
    ``return_as="csr"`` for large results: each block is three arrays instead of one per row.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from tilewise.dask import radius_neighbors
    >>> X = da.from_array(np.array([[0.0], [4.0], [7.0]]), chunks=(2, 1))
    >>> radius_neighbors(X, [[1.0], [0.5], [9.0]], 2.0, return_as="csr").compute().toarray()
    array([[1. , 0.5, 0. ],
           [0. , 0. , 0. ],
           [0. , 0. , 2. ]])
    """
    return lazily(
        metrics.radius_neighbors, X, Y, radius=radius, metric=metric, metric_kwargs=metric_kwargs,
        return_distance=return_distance, sort_results=sort_results, return_as=return_as,
        n_threads=n_threads,
    )  # fmt: skip

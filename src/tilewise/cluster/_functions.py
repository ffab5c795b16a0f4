"""The functions beside the estimator."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval

from tilewise import algorithms, engine
from tilewise._numbers import readable
from tilewise._sklearn import validate_params
from tilewise._typing import (
    ChunkSize,
    Device,
    Engine,
    FloatMatrix,
    InitLike,
    Matrix,
    MatrixLike,
    RandomState,
    Vector,
    VectorLike,
    WeightsLike,
)
from tilewise.cluster import _scaled, _validation
from tilewise.cluster._kmeans import KMeans

# Centres, labels, inertia; iterations.
_Found: TypeAlias = tuple[FloatMatrix, Vector[np.int32], float]
_FoundAndIterations: TypeAlias = tuple[FloatMatrix, Vector[np.int32], float, int]


@overload
def k_means(
    X: MatrixLike, n_clusters: int, *, sample_weight: WeightsLike | None = ...,
    init: InitLike = ..., n_init: int | Literal["auto"] = ..., max_iter: int = ...,
    verbose: int = ..., tol: float = ..., random_state: RandomState = ..., copy_x: bool = ...,
    algorithm: Literal["lloyd", "elkan"] = ..., return_n_iter: Literal[False] = ...,
    chunk_size: ChunkSize = ..., n_threads: int | None = ..., engine: Engine = ...,
    device: Device = ...,
) -> _Found: ...  # fmt: skip
@overload
def k_means(
    X: MatrixLike, n_clusters: int, *, sample_weight: WeightsLike | None = ...,
    init: InitLike = ..., n_init: int | Literal["auto"] = ..., max_iter: int = ...,
    verbose: int = ..., tol: float = ..., random_state: RandomState = ..., copy_x: bool = ...,
    algorithm: Literal["lloyd", "elkan"] = ..., return_n_iter: Literal[True],
    chunk_size: ChunkSize = ..., n_threads: int | None = ..., engine: Engine = ...,
    device: Device = ...,
) -> _FoundAndIterations: ...  # fmt: skip
@overload
def k_means(
    X: MatrixLike, n_clusters: int, *, sample_weight: WeightsLike | None = ...,
    init: InitLike = ..., n_init: int | Literal["auto"] = ..., max_iter: int = ...,
    verbose: int = ..., tol: float = ..., random_state: RandomState = ..., copy_x: bool = ...,
    algorithm: Literal["lloyd", "elkan"] = ..., return_n_iter: bool, chunk_size: ChunkSize = ...,
    n_threads: int | None = ..., engine: Engine = ..., device: Device = ...,
) -> _Found | _FoundAndIterations: ...  # fmt: skip
@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "sample_weight": ["array-like", Real, None],
        "return_n_iter": [bool],
    },
    prefer_skip_nested_validation=False,
)
def k_means(
    X: MatrixLike,
    n_clusters: int,
    *,
    sample_weight: WeightsLike | None = None,
    init: InitLike = "k-means++",
    n_init: int | Literal["auto"] = "auto",
    max_iter: int = 300,
    verbose: int = False,
    tol: float = 1e-4,
    random_state: RandomState = None,
    copy_x: bool = True,
    algorithm: Literal["lloyd", "elkan"] = "lloyd",
    return_n_iter: bool = False,
    chunk_size: ChunkSize = "auto",
    n_threads: int | None = None,
    engine: Engine = "auto",
    device: Device = "auto",
) -> _Found | _FoundAndIterations:
    """Cluster the rows of ``X``: :class:`KMeans` as a function.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to cluster.
    n_clusters : int
        Number of clusters to form.
    sample_weight : array-like of shape (n_samples,) or float, default=None
        Weight of each row; None counts every row once.
    init, n_init, max_iter, verbose, tol, random_state, copy_x, algorithm
        As in :class:`KMeans`.
    return_n_iter : bool, default=False
        Whether to return the number of iterations as well.
    chunk_size, n_threads, engine
        As in :class:`KMeans`; they change speed and memory, never results.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        As in :class:`KMeans`.

    Returns
    -------
    centroid : ndarray of shape (n_clusters, n_features)
        Centres.
    label : ndarray of shape (n_samples,), int32
        Cluster of each row.
    inertia : float
        Weighted sum of the rows' squared distances to their centres.
    best_n_iter : int
        Iterations of the best run, if ``return_n_iter``.

    Raises
    ------
    ValueError
        As :meth:`KMeans.fit`.

    Examples
    --------
    >>> from tilewise import k_means
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
    >>> centers, labels, inertia = k_means(X, 2, random_state=0)
    >>> labels
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> inertia
    16.0
    """
    model = KMeans(
        n_clusters=n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        verbose=verbose,
        tol=tol,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
        chunk_size=chunk_size,
        n_threads=n_threads,
        engine=engine,
        device=device,
    ).fit(X, sample_weight=sample_weight)
    found = (model.cluster_centers_, model.labels_, model.inertia_)
    return (*found, model.n_iter_) if return_n_iter else found


# The rows that are drawn have the type of the data.
_Number = TypeVar("_Number", bound=np.generic)


@overload
def kmeans_plusplus(
    X: np.ndarray[Any, np.dtype[_Number]], n_clusters: int, *,
    sample_weight: WeightsLike | None = ..., x_squared_norms: VectorLike | None = ...,
    random_state: RandomState = ..., n_local_trials: int | None = ..., chunk_size: ChunkSize = ...,
    n_threads: int | None = ..., device: Device = ...,
) -> tuple[Matrix[_Number], Vector[np.intp]]: ...  # fmt: skip
@overload
def kmeans_plusplus(
    X: MatrixLike, n_clusters: int, *, sample_weight: WeightsLike | None = ...,
    x_squared_norms: VectorLike | None = ..., random_state: RandomState = ...,
    n_local_trials: int | None = ..., chunk_size: ChunkSize = ..., n_threads: int | None = ...,
    device: Device = ...,
) -> tuple[Matrix[Any], Vector[np.intp]]: ...  # fmt: skip
@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", Real, None],
        "x_squared_norms": ["array-like", None],
        "random_state": ["random_state"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
        "chunk_size": _validation.PLAN_CONSTRAINTS["chunk_size"],
        "n_threads": _validation.PLAN_CONSTRAINTS["n_threads"],
        **_validation.DEVICE_CONSTRAINTS,
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X: MatrixLike,
    n_clusters: int,
    *,
    sample_weight: WeightsLike | None = None,
    x_squared_norms: VectorLike | None = None,
    random_state: RandomState = None,
    n_local_trials: int | None = None,
    chunk_size: ChunkSize = "auto",
    n_threads: int | None = None,
    device: Device = "auto",
) -> tuple[Matrix[Any], Vector[np.intp]]:
    """Draw rows to start K-Means from, by greedy k-means++.

    Each row is drawn with a probability proportional to its weighted squared distance from the
    rows that stand already; of several trials the one that lowers the sum of those distances
    most is kept. Distances are direct differences in float64, so the draws depend on nothing
    but the data and ``random_state``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to draw from.
    n_clusters : int
        Number of rows to draw.
    sample_weight : array-like of shape (n_samples,) or float, default=None
        Weight of each row; None counts every row once.
    x_squared_norms : array-like of shape (n_samples,), default=None
        Accepted for compatibility: its length is checked, its values are not needed.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.
    n_local_trials : int, default=None
        Trials per row after the first; None takes ``2 + int(log(n_clusters))``.
    chunk_size : 'auto' or int, default='auto'
        Rows per chunk; changes speed, never the draws.
    n_threads : int or None, default=None
        Number of threads, as in :class:`KMeans`; changes speed, never the draws.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        As in :class:`KMeans`; changes speed, never the draws.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        The rows drawn, in the dtype of ``X``.
    indices : ndarray of shape (n_clusters,)
        Their positions: ``X[indices]`` are the centers.

    Raises
    ------
    ValueError
        If there are fewer rows than clusters, if weights cannot serve as probabilities, or if
        a value is NaN or infinite.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> from tilewise import kmeans_plusplus
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
    >>> centers, indices = kmeans_plusplus(X, 2, random_state=0)
    >>> centers
    array([[10,  2],
           [ 1,  0]])
    >>> indices
    array([3, 2])
    """
    request = engine.Request(
        "kmeans_plusplus", _validation.check_data, _no_columns, in_memory=True, device=device
    )
    with engine.computing(X, device):
        rows = engine.open_rows(X, request)
        backend = engine.backend_of(rows)
        weights = backend.open_weights(rows, sample_weight, _validation.check_weights)
        _validation.check_enough_rows(rows.n_rows, n_clusters)
        _check_norms(x_squared_norms, rows)
        plan = backend.plan(rows, n_clusters, chunk_size=chunk_size, n_threads=n_threads)
        stats = backend.column_stats(rows, plan)  # finds values that are not finite
        indices = algorithms.kmeans_plusplus(
            _scaled.fit_scale(rows, stats.largest).rows(rows),
            n_clusters,
            weights=weights,
            random_state=check_random_state(random_state),
            n_local_trials=n_local_trials,
            plan=plan,
        )
        return rows.originals(indices), backend.kept(rows, indices)


def _check_norms(norms, rows):
    """Norms that nobody needs still have a length."""
    if norms is None:
        return
    norms = readable(engine.on_host(norms), "x_squared_norms")
    norms = check_array(norms, dtype=rows.result_dtype, ensure_2d=False)
    if len(norms) != rows.n_rows:
        raise ValueError(
            f"The length of x_squared_norms {len(norms)} should be equal to the length of "
            f"n_samples {rows.n_rows}."
        )


def _no_columns(n_features, names):
    """Columns may be of any number and have any names."""

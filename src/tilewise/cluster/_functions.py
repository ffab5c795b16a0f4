"""The functions beside the estimator."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from tilewise import algorithms, engine
from tilewise._numbers import readable
from tilewise.cluster import _scaled, _validation
from tilewise.cluster._kmeans import KMeans


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "sample_weight": ["array-like", Real, None],
        "return_n_iter": [bool],
    },
    prefer_skip_nested_validation=False,
)
def k_means(
    X,
    n_clusters,
    *,
    sample_weight=None,
    init="k-means++",
    n_init="auto",
    max_iter=300,
    verbose=False,
    tol=1e-4,
    random_state=None,
    copy_x=True,
    algorithm="lloyd",
    return_n_iter=False,
    chunk_size="auto",
    n_threads=None,
    engine="auto",
):
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
    ).fit(X, sample_weight=sample_weight)
    found = (model.cluster_centers_, model.labels_, model.inertia_)
    return (*found, model.n_iter_) if return_n_iter else found


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
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X,
    n_clusters,
    *,
    sample_weight=None,
    x_squared_norms=None,
    random_state=None,
    n_local_trials=None,
    chunk_size="auto",
    n_threads=None,
):
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
    X = _validation.check_data(X)
    rows = engine.Rows(X)
    weights = _validation.check_weights(sample_weight, rows.n_rows)
    _validation.check_enough_rows(rows.n_rows, n_clusters)
    if x_squared_norms is not None:
        norms = readable(x_squared_norms, "x_squared_norms")
        norms = check_array(norms, dtype=rows.dtype, ensure_2d=False)
        if len(norms) != rows.n_rows:
            raise ValueError(
                f"The length of x_squared_norms {len(norms)} should be equal to the length of "
                f"n_samples {rows.n_rows}."
            )
    plan = _validation.plan_for(rows, n_clusters, chunk_size=chunk_size, n_threads=n_threads)
    stats = engine.column_stats(rows, plan)  # finds values that are not finite
    indices = algorithms.kmeans_plusplus(
        _scaled.fit_scale(rows, stats.largest).rows(rows),
        n_clusters,
        weights=weights,
        random_state=check_random_state(random_state),
        n_local_trials=n_local_trials,
        plan=plan,
    )
    centers = X[indices]
    return centers.toarray() if rows.is_sparse else np.asarray(centers), indices

"""KMeans and MiniBatchKMeans of rows that lie on a cluster."""

from __future__ import annotations

import contextlib
import copy
import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import distributed
import numpy as np

from tilewise import cluster
from tilewise._typing import ChunkSize, Engine, InitLike, PathLike, RandomState
from tilewise.cluster import _validation

from . import _part
from ._backend import OnCluster
from ._collect import collect, is_collection, joined

if TYPE_CHECKING:
    from dask.array import Array

__all__ = ["KMeans", "MiniBatchKMeans"]

# Attributes that belong to the cluster, not to the model.
_LEFT_BEHIND = ("labels_", "stream_report_", "client", "_opened")


def client_of(client):
    """The client that was given, or the one that is there."""
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError:
            raise ValueError(
                "there is no dask client: pass client=, or make one before, "
                "client = distributed.Client(...)"
            ) from None
    if not isinstance(client, distributed.Client):
        raise TypeError(
            f"client must be a distributed.Client, got {type(client).__name__}: pass "
            "Client(address) or Client(cluster)"
        )
    if client.asynchronous:
        raise ValueError("this dask client is asynchronous: pass one that is not")
    if client.status != "running":
        raise ValueError(f"this dask client is {client.status}: pass one that is connected")
    return client


def give_thread_back():
    """Within a task: let the worker run the tasks that this one waits for."""
    try:
        distributed.get_worker()
    except ValueError:
        return
    with contextlib.suppress(Exception):  # it has been given back before
        distributed.secede()


class _OnCluster:
    """What the two estimators share: rows are opened on the cluster, results stay there."""

    def _open(self, X, *, reset=False, again=None, once=False, in_memory=False):
        if in_memory:
            return super()._open(X, reset=reset, in_memory=True)
        given = OnCluster(X, client_of(self.client), self._wishes)
        give_thread_back()
        rows = super()._open(given, reset=reset, again=again)
        vars(self).setdefault("_opened", []).append(rows)
        return rows

    def __getstate__(self) -> dict[str, Any]:
        # A client belongs to its process.
        return super().__getstate__() | {"client": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = object.__new__(type(self))
        for name, value in vars(self).items():
            vars(twin)[name] = value if name == "client" else copy.deepcopy(value, memo)
        return twin

    def __sklearn_clone__(self) -> Any:
        twin = copy.copy(self)
        twin.client = None
        made = super(_OnCluster, twin).__sklearn_clone__()
        made.client = self.client
        return made

    def to_local(self) -> Any:
        """The same model for data in memory: no labels, which stay on the cluster.

        Returns
        -------
        tilewise.KMeans or tilewise.MiniBatchKMeans
            With the parameters and, if fitted, the attributes of this one.
        """
        model = self._local(
            **{name: value for name, value in self.get_params(deep=False).items()
               if name != "client"}
        )  # fmt: skip
        vars(model).update(
            {name: value for name, value in vars(self).items() if name not in _LEFT_BEHIND}
        )
        return model

    def predict(self, X: Any) -> Any:
        """The nearest centre of each row, not yet computed.

        Parameters
        ----------
        X : dask array, dask data frame, list of Delayed, paths, or array-like
            Data in memory are assigned at once, in this process.

        Returns
        -------
        dask.array.Array of shape (n_samples,), int32
            With the partitions of X. The bits are those of `tilewise.KMeans.predict`.
        """
        return self._lazy("predict", X, (), np.int32)

    def transform(self, X: Any) -> Any:
        """The distance of every row to every centre, not yet computed.

        Parameters
        ----------
        X : dask array, dask data frame, list of Delayed, paths, or array-like
            Data in memory are measured at once, in this process.

        Returns
        -------
        dask.array.Array of shape (n_samples, n_clusters)
            float32 for float32 rows and float64 otherwise.
        """
        self._check_fitted()
        return self._lazy("transform", X, (len(self.cluster_centers_),), None)

    def fit_transform(self, X: Any, y: object = None, sample_weight: Any = None) -> Any:
        """Fit, then return the distances of the same rows, not yet computed.

        Parameters
        ----------
        X : dask array, dask data frame, list of Delayed, or paths
        y : Ignored
        sample_weight : dask array or series, list of Delayed, array-like or float, default=None

        Returns
        -------
        dask.array.Array of shape (n_samples, n_clusters)
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: Any, y: object = None, sample_weight: Any = None) -> float:
        """Minus the weighted sum of squared distances to the nearest centres, computed at once.

        Parameters
        ----------
        X : dask array, dask data frame, list of Delayed, or paths
        y : Ignored
        sample_weight : dask array or series, list of Delayed, array-like or float, default=None

        Returns
        -------
        float
            The bits of `tilewise.KMeans.score`.
        """
        self._check_fitted()
        if not is_collection(X):
            return self.to_local().score(X, sample_weight=sample_weight)
        # The rows are closed with this call, whatever else the estimator does meanwhile.
        twin = copy.copy(self)
        opened = vars(twin)["_opened"] = []
        try:
            return super(_OnCluster, twin).score(X, sample_weight=sample_weight)
        finally:
            for rows in opened:
                rows.close()

    def _lazy(self, method, X, shape, dtype):
        from dask import delayed

        self._check_fitted()
        names = getattr(self, "feature_names_in_", None)
        if not is_collection(X):
            return getattr(self.to_local(), method)(X)
        found = collect(X, None if names is None else tuple(names))
        if found.columns is not None:
            _validation.check_columns(found.columns, found.names, self, reset=False)
        sent = delayed(self._prepared())
        kind = found.dtype if dtype is None else np.dtype(dtype)
        rows = found.rows or [np.nan] * len(found.tasks)
        apply = delayed(_part.apply, pure=False)
        blocks = [
            apply(sent, method, *piece)
            for piece in zip(found.tasks, itertools.count(), strict=False)
        ]
        return joined(blocks, rows, shape, kind)

    def _prepared(self):
        """What tasks need of the model: centres, and what plans are to heed."""
        model = self._local(len(self.cluster_centers_), **self._wishes)
        model.cluster_centers_ = self.cluster_centers_
        model.n_features_in_ = self.cluster_centers_.shape[1]
        model._n_features_out = len(self.cluster_centers_)
        return model.set_output(transform="default")


class KMeans(_OnCluster, cluster.KMeans):
    """K-Means of rows that lie in the memories of dask workers.

    From the same start, labels, centres, inertia and number of iterations have the bits of
    `tilewise.KMeans` in memory. They do not depend on partitions, workers, or their deaths.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {'k-means++', 'k-means||', 'random'}, callable or array-like of shape \
(n_clusters, n_features), default='k-means++'
    n_init : 'auto' or int, default='auto'
    max_iter : int, default=300
    tol : float, default=1e-4
    verbose : int, default=0
    random_state : int, RandomState instance or None, default=None
    copy_x : bool, default=True
    algorithm : {'lloyd', 'elkan'}, default='lloyd'
    chunk_size : int or 'auto', default='auto'
    n_threads : int, default=None
        Threads of each worker that a part is computed with. None takes the worker's own.
    engine : {'auto', 'fused', 'blas'}, default='auto'
    memory_limit : int, str or None, default=None
        Not used: the limits of the workers hold.
    init_size : int or 'all', default=None
        Rows that the start is drawn from, as `tilewise.KMeans` draws them from a stream. 'all'
        draws from all rows, on the cluster: k-means++ in three rounds of tasks for each cluster to
        find, k-means|| in some fifteen rounds.
    checkpoint : path-like, default=None
    client : distributed.Client, default=None
        None takes the current one.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
    labels_ : dask.array.Array of shape (n_samples,), int32
        On the workers, in the partitions of X. Compute them with the client of the fit, where
        that is not the current one: ``client.compute(model.labels_)``.
    inertia_ : float
    n_iter_ : int
    stream_plan_ : ClusterPlan
        What the fit asked of the cluster, known before its first pass.
    stream_report_ : ClusterReport
        Seconds and bytes of the passes.

    See Also
    --------
    tilewise.KMeans : The parameters in full.

    Notes
    -----
    A part, the rows of one worker, is the result of a task; so are the centres of each pass. If a
    worker is lost, dask makes the part again, and its labels follow from the centres before.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from tilewise.dask import KMeans
    >>> X = da.from_array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], chunks=(2, 2))
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     model = KMeans(n_clusters=2, random_state=0).fit(X)
    ...     model.labels_.compute()
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> model.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _local = cluster.KMeans

    client: Any
    labels_: Array

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: InitLike = "k-means++",
        n_init: int | Literal["auto"] = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: RandomState = None,
        copy_x: bool = True,
        algorithm: Literal["lloyd", "elkan"] = "lloyd",
        chunk_size: ChunkSize = "auto",
        n_threads: int | None = None,
        engine: Engine = "auto",
        memory_limit: int | str | None = None,
        init_size: int | Literal["all"] | None = None,
        checkpoint: PathLike | None = None,
        client: Any = None,
    ) -> None:
        super().__init__(
            n_clusters, init=init, n_init=n_init, max_iter=max_iter, tol=tol, verbose=verbose,
            random_state=random_state, copy_x=copy_x, algorithm=algorithm, chunk_size=chunk_size,
            n_threads=n_threads, engine=engine, memory_limit=memory_limit, init_size=init_size,
            checkpoint=checkpoint,
        )  # fmt: skip
        self.client = client

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **cluster.KMeans._parameter_constraints,
        "client": "no_validation",
    }


class MiniBatchKMeans(_OnCluster, cluster.MiniBatchKMeans):
    """Mini-batch K-Means of rows that lie in the memories of dask workers.

    Each step needs the one before, so batches come to this process, in the order of a stream: the
    same bits as `tilewise.MiniBatchKMeans` of the same rows read from a file. Labels and inertia
    are found on the workers.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {'k-means++', 'k-means||', 'random'}, callable or array-like of shape \
(n_clusters, n_features), default='k-means++'
    max_iter : int, default=100
    batch_size : int, default=1024
    verbose : int, default=0
    compute_labels : bool, default=True
    random_state : int, RandomState instance or None, default=None
    tol : float, default=0.0
    max_no_improvement : int or None, default=10
    init_size : int, default=None
    n_init : 'auto' or int, default='auto'
    reassignment_ratio : float, default=0.01
    chunk_size : int or 'auto', default='auto'
    n_threads : int, default=None
    engine : {'auto', 'fused', 'blas'}, default='auto'
    memory_limit : int, str or None, default=None
        Not used: the limits of the workers hold.
    checkpoint : path-like, default=None
    client : distributed.Client, default=None
        None takes the current one.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
    labels_ : dask.array.Array of shape (n_samples,), int32
    inertia_ : float
    n_iter_, n_steps_ : int

    See Also
    --------
    tilewise.MiniBatchKMeans : The parameters in full.

    Notes
    -----
    `partial_fit` takes a batch in memory and computes in this process.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from tilewise.dask import MiniBatchKMeans
    >>> X = da.from_array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], chunks=(2, 2))
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     model = MiniBatchKMeans(n_clusters=2, batch_size=6, random_state=0).fit(X)
    ...     model.predict(X).compute()
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    """

    _local = cluster.MiniBatchKMeans

    client: Any
    labels_: Array

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: InitLike = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: RandomState = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | Literal["auto"] = "auto",
        reassignment_ratio: float = 0.01,
        chunk_size: ChunkSize = "auto",
        n_threads: int | None = None,
        engine: Engine = "auto",
        memory_limit: int | str | None = None,
        checkpoint: PathLike | None = None,
        client: Any = None,
    ) -> None:
        super().__init__(
            n_clusters, init=init, max_iter=max_iter, batch_size=batch_size, verbose=verbose,
            compute_labels=compute_labels, random_state=random_state, tol=tol,
            max_no_improvement=max_no_improvement, init_size=init_size, n_init=n_init,
            reassignment_ratio=reassignment_ratio, chunk_size=chunk_size, n_threads=n_threads,
            engine=engine, memory_limit=memory_limit, checkpoint=checkpoint,
        )  # fmt: skip
        self.client = client

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **cluster.MiniBatchKMeans._parameter_constraints,
        "client": "no_validation",
    }

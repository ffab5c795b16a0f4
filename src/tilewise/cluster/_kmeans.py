"""KMeans: Lloyd's iterations behind scikit-learn's interface."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from tilewise import algorithms, engine
from tilewise._sklearn import _fit_context
from tilewise._typing import (
    ChunkSize,
    DataLike,
    Device,
    Engine,
    FloatMatrix,
    InitLike,
    PathLike,
    RandomState,
    Vector,
    WeightsLike,
)
from tilewise.cluster import _checkpoint, _scaled, _validation
from tilewise.cluster._base import BaseKMeans, is_array_init, is_oversampled
from tilewise.cluster._callbacks import fit_tasks, with_callbacks
from tilewise.cluster._draft import drafted

if TYPE_CHECKING:
    from typing import Self


@dataclass
class Start:
    """Where the runs of one fit start from."""

    init: object  # the name of a method, a callable, or centres (k, d) in float64
    X: object  # what ``init`` is to see: centred for a callable, else rows
    offset: np.ndarray | float  # what to add to the centres that come back, scaled
    weights: np.ndarray | None = None  # of the rows of X
    scale: engine.Scale = field(default_factory=engine.Scale)  # of the fit, where X has none
    plan: object = None  # of passes over X, where there is one already


class KMeans(BaseKMeans):
    """K-Means clustering, exact and reproducible, in chunks that fit the caches.

    A drop-in for scikit-learn's class of the same name: the same parameters, attributes and
    results for the same ``random_state``. Labels are exact - each is the lowest index among the
    centres at the least distance - and all numbers are the same for any number of threads,
    chunk size, instruction set and memory order. ``X`` is never copied.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters to form.
    init : {'k-means++', 'k-means||', 'random'}, callable or array-like of shape \
(n_clusters, n_features), default='k-means++'
        Where to start. 'k-means++' draws rows one after another, with a probability
        proportional to their squared distance from the rows drawn before, and keeps the best
        of several trials each time. 'k-means||' draws about ten rows per cluster in five rounds
        and chooses among them by k-means++: starts are about as good, and it passes over the
        rows six times instead of once per cluster. 'random' draws rows. An array is taken as
        the centres. A callable is called as ``init(X, n_clusters, random_state=...)`` and
        returns centres; it gets a dense ``X`` less its mean (the only case in which a copy is
        made) and is to return centres of those centred rows, as in scikit-learn. Sparse rows
        are not centred.
    n_init : 'auto' or int, default='auto'
        Number of runs from different starts, of which the best by inertia is kept. 'auto' is 10
        for 'random' and callables, else 1.
    max_iter : int, default=300
        Limit of iterations of one run.
    tol : float, default=1e-4
        A run ends when the centres' squared movements sum to at most ``tol`` times the mean
        variance of the columns. With 0 it ends when no label changes.
    verbose : int, default=0
        Print a line per iteration if not 0.
    random_state : int, RandomState instance or None, default=None
        Source of the draws for ``init``.
    copy_x : bool, default=True
        Accepted for compatibility and without effect: ``X`` is neither modified nor copied.
    algorithm : {'lloyd', 'elkan'}, default='lloyd'
        Both give the same results, by the same computation.
    chunk_size : 'auto' or int, default='auto'
        Rows per chunk. 'auto' takes what the plan derives from the caches of this machine.
        Changes speed and memory, never results.
    n_threads : int or None, default=None
        Number of threads. None follows OMP_NUM_THREADS, CPU affinity, container quotas and the
        limits of threadpoolctl and joblib.
    engine : {'auto', 'fused', 'blas'}, default='auto'
        'fused' keeps distances in registers, 'blas' multiplies matrices chunk by chunk.
        Changes speed and memory, never results.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        Where to compute. 'auto' is where the rows are: CuPy arrays and torch's CUDA tensors on
        their GPU, everything else in memory. Results come back as the kind of array that the rows
        are, on the same device. 'cuda' moves other rows to the current GPU, in parts if they do
        not fit there; results are NumPy arrays. 'cpu' copies rows from a GPU to memory; results
        are NumPy arrays. A GPU needs ``pip install "tilewise[cuda]"``, takes dense rows only, and
        gives the bits of the CPU.
    memory_limit : int, str or None, default=None
        For data that are streamed: bytes that a fit may allocate beyond what the process holds
        before it, as a number or a text such as "1GB" or "512MiB". Buffers, labels, bounds, sums
        and workspace are planned within it before anything is read; bounds are left out first.
        None takes 64 MiB for buffers and whatever the rest needs. Given, it makes a
        ``numpy.memmap`` a source too; other data in memory stay as they are. Never changes
        results.
    init_size : int, 'all' or None, default=None
        For data that are streamed: rows from which the start is chosen unless ``init`` is an
        array, drawn without replacement. None is 32 MiB of rows, at most 131,072 and at least 16
        per cluster, whatever the memory limit; of data with fewer rows all are taken, and the
        start is that of data in memory. 'all' seeds from all rows, as in memory: 'k-means++' in
        up to two passes over the data per cluster (three where single rows cannot be read),
        'k-means||' in up to twelve in all. Data in memory are always used whole.
    checkpoint : str, path-like or None, default=None
        File that holds the state of the fit after every iteration. A later fit with the same
        parameters and data goes on from there, to the same bits as one that was never
        interrupted; with others it raises. A fit that ends removes the file.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centres, float32 for float32 data and float64 otherwise.
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each row, always equal to ``predict`` of the same rows.
    inertia_ : float
        Weighted sum of the rows' squared distances to their centres; infinity, with a warning, if
        float64 has no room for it.
    n_iter_ : int
        Iterations of the run that was kept.
    chunk_plan_ : Plan
        The sizes that the fit used and the reason for each.
    stream_plan_ : StreamPlan
        After a fit of streamed data: what was kept in memory.
    stream_report_ : StreamReport
        After a fit of streamed data: passes, rows, bytes and seconds, and whether reading or
        computing took longer.
    n_features_in_ : int
        Number of columns of the data.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if the data had names that are all strings.

    See Also
    --------
    k_means : The same as a function.
    kmeans_plusplus : Only the seeding.

    Notes
    -----
    Lloyd's iterations [1]_ with greedy k-means++ [2]_ or k-means|| [3]_ seeding. A cluster that
    loses all its weight takes the row that lies farthest from its own centre. If a run ends by
    ``tol`` or ``max_iter``, the rows are assigned once more, so that ``labels_`` belong to the
    final centres, which need not be the means of their rows.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
       Theory 28 (1982).
    .. [2] D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding",
       SODA 2007.
    .. [3] B. Bahmani, B. Moseley, A. Vattani, R. Kumar and S. Vassilvitskii, "Scalable K-Means++",
       PVLDB 5 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> model.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> model.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> model.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    """

    # Parameters and what a fit leaves, besides those of all estimators.
    init: InitLike
    n_init: int | Literal["auto"]
    chunk_size: ChunkSize
    engine: Engine
    device: Device
    copy_x: bool
    algorithm: Literal["lloyd", "elkan"]
    init_size: int | Literal["all"] | None
    cluster_centers_: FloatMatrix
    labels_: Vector[np.int32]
    inertia_: float
    n_iter_: int

    _auto_runs = 10  # scikit-learn's number

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseKMeans._parameter_constraints,
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "init_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"all"}), None],
    }

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
        device: Device = "auto",
        memory_limit: int | str | None = None,
        init_size: int | Literal["all"] | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.chunk_size = chunk_size
        self.n_threads = n_threads
        self.engine = engine
        self.device = device
        self.memory_limit = memory_limit
        self.init_size = init_size
        self.checkpoint = checkpoint

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None) -> Self:
        """Find the centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or a source
            Rows to cluster. Arrays of any real dtype and order, read-only and memory-mapped
            ones included, are used where they are; sparse formats other than CSR are converted.
            CuPy arrays and torch's CUDA tensors stay on their device.
            What `tilewise.sources.as_source` knows - paths, lists of paths, data of pyarrow,
            Zarr, HDF5 and dask, callables that return batches - is read in parts, several times.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row; None counts every row once. Not used to start from an array or
            a callable.

        Returns
        -------
        self : KMeans
            The fitted estimator.

        Raises
        ------
        ValueError
            If parameters or shapes do not fit, if all weights are 0, or if a value is NaN or
            infinite; the message names its row and column. Of sources also if ``memory_limit``
            cannot be kept, if rows come once only, or as `SourceError` if reading fails.
        ImportError, RuntimeError, MemoryError
            If rows are to be computed with on a device and torch or triton is not installed, there
            is no device that will do, or its memory is not enough.

        Warns
        -----
        ConvergenceWarning
            If fewer than ``n_clusters`` clusters have rows.
        RuntimeWarning
            If the inertia is larger than float64 has room for, or if values differ so much in size
            that small differences count as zero beside the largest.

        Notes
        -----
        The estimator keeps its old attributes until the fit has succeeded, and after a fit that
        failed.
        """
        with engine.computing(X, self.device), drafted(self) as draft:
            draft._fit(X, y, sample_weight)
        return self

    @with_callbacks
    def _fit(self, X, y, sample_weight):
        rows = self._open(X, reset=True, again="KMeans reads them in every iteration.")
        backend = engine.backend_of(rows)
        _validation.check_enough_rows(rows.n_rows, self.n_clusters)
        self._choose_runs()
        random_state = check_random_state(self.random_state)
        weights = backend.open_weights(rows, sample_weight, _validation.check_weights)
        init = self.init
        if is_array_init(init):
            init = _validation.check_centers(init, rows, self.n_clusters)
        columns = engine.Columns.of(rows, self.n_clusters, init)
        given, rows, init = rows, columns.rows(rows), columns.values(init)
        plan = columns.planned(self._plan(rows, self.n_clusters))
        size = self._sample_size(rows, init)
        memory = backend.plan_memory(
            rows, plan, self.memory_limit, init_rows=size, seeded_from_all=size is None,
            n_runs=self._n_init, weighted=weights is not None, max_iter=self.max_iter,
            bounds=self.max_iter > 1, oversampled=is_oversampled(init),
        )  # fmt: skip
        if self.verbose and memory is not None:
            print("\n".join(memory.sentences()))
        kept = _checkpoint.open_checkpoint(self.checkpoint, self, given, weights, columns)
        random_state = _checkpoint.begin(kept, random_state)
        sample = backend.sample(rows, plan, size, weights, random_state)
        stats = sample.stats
        scale = _scaled.fit_scale(rows, stats.largest)
        whole = rows
        if scale:
            rows = scale.rows(rows)
            plan = columns.planned(self._plan(rows, self.n_clusters))
            stats = backend.column_stats(rows, plan)
            if self.verbose:
                print(f"X is fitted times 2.0**{scale.exponent}, for its squares; so is inertia.")
        seen = rows if sample.rows is whole else scale.rows(sample.rows)
        start = self._start(sample, seen, init, stats.mean, scale)
        start.plan = plan if seen is rows else None
        self._tol = float(self.tol * np.mean(columns.undone(stats.variance))) if self.tol else 0

        def attributes(centers, n_iter):
            found = np.array(scale.undone(np.asarray(centers)), dtype=rows.result_dtype)
            return {
                "cluster_centers_": backend.kept(rows, columns.undone(found)),
                "_n_features_out": self.n_clusters,
                "n_iter_": n_iter,
                "chunk_plan_": plan,
                **({} if memory is None else {"stream_plan_": memory}),
            }

        tasks = fit_tasks(
            self,
            X,
            y,
            sample_weight,
            self._n_init,
            self.max_iter,
            lambda i, centers: attributes(centers, i + 1),
        )
        first_run, best, resume, spare = 0, None, None, None
        if kept is not None and kept.saved is not None:
            first_run, best, resume = self._resumed(kept, rows, plan, random_state)
        for number in range(first_run, self._n_init):
            hooks = tasks.begin_run()
            centers = None
            if resume is None:
                centers = self._first_centers(start, random_state)
            run = algorithms.lloyd(
                rows,
                centers,
                weights=weights,
                max_iter=self.max_iter,
                tol=self._tol,
                plan=plan,
                verbose=bool(self.verbose),
                stats=stats,
                bounds=memory is None or memory.bounds,
                resume=resume,
                keep=_checkpoint.keeper(kept, number, best, random_state),
                copy=False,
                spare=spare,
                **hooks,
            )
            resume, spare = None, run.spare
            # A lower inertia of the same partition is rounding, and not worth other labels.
            if best is None or (
                run.inertia < best.inertia
                and not backend.same_partition(run.labels, best.labels, self.n_clusters)
            ):
                best = run
            if tasks.end_run(lambda best=best: attributes(best.centers, best.n_iter)):
                break

        n_found = backend.count_clusters(best.labels, self.n_clusters)
        if n_found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({n_found}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=5,
            )
        self._keep_reports(memory, rows.report)
        labels, inertia = best.labels, best.inertia
        centers = scale.undone(best.centers)
        if scale and not np.array_equal(scale.values(centers), best.centers):
            # Centres below 2**-1022 were rounded: labels belong to these.
            final = backend.open_assignment(rows, self.n_clusters, plan, weights=weights)
            inertia = final.assign_and_measure(scale.values(centers))
            labels = final.labels
        self.cluster_centers_ = backend.kept(rows, engine.aligned(columns.undone(centers)))
        self._n_features_out = self.n_clusters
        self.labels_ = backend.kept_labels(rows, labels)
        self.inertia_ = float(scale.undone(inertia, 2))
        if not np.isfinite(self.inertia_):
            _scaled.warn_of_inertia(stacklevel=6)
        self.n_iter_ = int(best.n_iter)
        self.chunk_plan_ = plan
        if kept is not None:
            kept.remove()
        tasks.finish()

    def _sample_size(self, rows, init):
        """Rows that a start is chosen from; 0 where none is needed, None for all."""
        if is_array_init(init):
            return 0
        return engine.backend_of(rows).sample_size(
            rows, self.init_size, self.n_clusters, shown=callable(init)
        )

    @staticmethod
    def _resumed(kept, rows, plan, random_state):
        """Number of the run to go on with, the best one before, and where it stands."""
        number, centers, found = _checkpoint.restored(kept, random_state)
        best = None
        if centers is not None:
            labels = engine.backend_of(rows).open_assignment(rows, len(centers), plan)
            labels.assign(centers.astype(np.float64))
            best = algorithms.LloydResult(labels.labels, *found[:1], centers, *found[1:])
        return number, best, algorithms.LloydState.of(kept.saved)

    def _choose_runs(self):
        super()._choose_runs()
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=6,
            )

    @staticmethod
    def _start(sample, seen, init, mean, scale):
        """Where runs start; `seen` are the rows of the sample, scaled."""
        rows, weights = sample.rows, sample.weights
        if is_array_init(init):
            return Start(scale.values(init), rows, 0.0, weights)
        if not callable(init):
            return Start(init, seen, 0.0, weights)
        # What users see, and return, has no scale.
        if rows.is_sparse:
            return Start(init, rows, 0.0, weights, scale)
        X = engine.backend_of(rows).centred(rows, mean, scale)
        return Start(init, X, mean, weights, scale)

    def _first_centers(self, start, random_state):
        """Initial centres of one run, in float64 and in the coordinates of the data."""
        centers = self._init_centroids(
            start.X,
            x_squared_norms=None,
            init=start.init,
            random_state=random_state,
            sample_weight=start.weights,
            plan=start.plan,
        )
        if self.verbose:
            print("Initialization complete")
        centers = start.scale.values(np.asarray(centers, dtype=np.float64))
        return centers + start.offset if callable(start.init) else centers

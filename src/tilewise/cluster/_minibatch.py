"""MiniBatchKMeans: centres moved by random batches, behind scikit-learn's interface."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from tilewise import algorithms, engine
from tilewise._sklearn import _fit_context
from tilewise._typing import (
    ChunkSize,
    DataLike,
    Device,
    Engine,
    InitLike,
    MatrixLike,
    PathLike,
    RandomState,
    WeightsLike,
)
from tilewise.cluster import _checkpoint, _validation
from tilewise.cluster._base import BaseKMeans, is_array_init, is_oversampled
from tilewise.cluster._callbacks import fit_tasks, with_callbacks
from tilewise.cluster._draft import drafted

if TYPE_CHECKING:
    from typing import Self


class MiniBatchKMeans(BaseKMeans):
    """K-Means clustering on random batches of rows: a good answer after a look at few of them.

    A drop-in for scikit-learn's class of the same name: the same parameters and attributes, and
    for the same ``random_state`` the same batches and the same result up to rounding. Labels
    are exact, and all numbers are the same for any number of threads, chunk size, instruction
    set and memory order. Neither ``X`` nor a batch is copied: rows are gathered where they are
    packed for the kernels.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters to form.
    init : {'k-means++', 'k-means||', 'random'}, callable or array-like of shape \
(n_clusters, n_features), default='k-means++'
        Where to start, as in `KMeans`, but from ``init_size`` rows drawn at random. A callable
        gets those rows as they are, not less their mean.
    max_iter : int, default=100
        Limit of the rows seen, in multiples of the rows that there are.
    batch_size : int, default=1024
        Rows of one batch, drawn with replacement.
    verbose : int, default=0
        Print a line per start, step and reassignment if not 0.
    compute_labels : bool, default=True
        Whether to assign all rows once the centres have settled.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.
    tol : float, default=0.0
        The fit ends when the squared moves of the centres in one step sum to at most ``tol``
        times the mean variance of the columns. With 0 it does not end so, and the variance,
        for which all rows have to be read, is not needed.
    max_no_improvement : int or None, default=10
        The fit ends after so many batches without a new least smoothed inertia; None never
        ends it so.
    init_size : int or None, default=None
        Rows to choose the start from. None is three batches, or ``3 * n_clusters`` rows where
        three batches are fewer than ``n_clusters``.
    n_init : 'auto' or int, default='auto'
        Number of starts, of which the one with the least inertia on ``init_size`` other rows is
        taken. 'auto' is 3 for 'random' and callables, else 1.
    reassignment_ratio : float, default=0.01
        Centres whose count is below this share of the largest count are put onto random rows
        of the batch from time to time. 0 never does.
    chunk_size : 'auto' or int, default='auto'
        Rows per chunk. Changes speed and memory, never results.
    n_threads : int or None, default=None
        Number of threads, as in `KMeans`. Never changes results.
    engine : {'auto', 'fused', 'blas'}, default='auto'
        As in `KMeans`. Changes speed and memory, never results.
    device : {'auto', 'cpu', 'cuda'}, default='auto'
        As in `KMeans`. Batches are assigned on the device; their rows then come to memory, where
        the centres are moved.
    memory_limit : int, str or None, default=None
        As in `KMeans`, for data that are streamed. Never changes results.
    checkpoint : str, path-like or None, default=None
        As in `KMeans`; the state is written after every epoch of streamed data, and of data in
        memory after as many batches as hold that many rows. Rows that come once cannot be taken
        up again.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centres, float32 for float32 data and float64 otherwise. What `partial_fit` starts with
        decides.
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each row (after `partial_fit`: of its rows), if ``compute_labels``; always
        equal to ``predict`` of the same rows.
    inertia_ : float
        Weighted sum of the squared distances of those rows to their centres. Without
        ``compute_labels``, an estimate: the smoothed inertia of the batches per row, times the
        weight of all rows.
    n_iter_ : int
        Rows seen by `fit` in multiples of the rows that there are, rounded up.
    n_steps_ : int
        Batches seen.
    chunk_plan_ : Plan
        The sizes that a step used and the reason for each.
    stream_plan_ : StreamPlan
        After a fit of streamed data that can be read again: what was kept in memory.
    stream_report_ : StreamReport
        After a fit of streamed data, as in `KMeans`.
    n_features_in_ : int
        Number of columns of the data.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if the data had names that are all strings.

    See Also
    --------
    KMeans : All rows in every iteration.

    Notes
    -----
    Sculley's algorithm [1]_: every row of a batch pulls its centre by one over the weight that
    the centre has met so far, so that a centre is the mean of the rows it was given. `fit`
    draws rows in proportion to ``sample_weight`` and then counts each once; `partial_fit` takes
    the rows as they come and counts each by its weight.

    Data that are streamed are not drawn from: that would be one seek per row. In each of up to
    ``max_iter`` epochs every row is read once. The source is cut into blocks of 1 MiB, which are
    read in an order drawn by ``random_state`` (in their own order where the source cannot be read
    at any place); sixteen blocks at a time are in memory, and batches are drawn from their rows
    without replacement. A row counts by its weight. The order depends on the data's shape and the
    seed alone. Rows that come once, from a generator, make batches in the order in which they
    come, for one epoch, which neither ``tol`` nor ``max_no_improvement`` ends; the start is chosen
    from the first ``init_size`` of them, and there are no ``labels_``.

    A step costs O(batch_size · log n) for drawing, whatever n is. Values that are not finite
    are found in the rows that are read: all of them with ``compute_labels`` or ``tol``, else
    those that are drawn.

    References
    ----------
    .. [1] D. Sculley, "Web-scale k-means clustering", WWW 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise import MiniBatchKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = MiniBatchKMeans(n_clusters=2, random_state=0, batch_size=6).fit(X)
    >>> model.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)

    Batches may also come from outside:

    >>> model = MiniBatchKMeans(n_clusters=2, random_state=0, batch_size=3)
    >>> model = model.partial_fit(X[::2]).partial_fit(X[1::2])
    >>> model.cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> model.n_steps_
    2
    """

    # Parameters and what a fit leaves, besides those of all estimators.
    init: InitLike
    n_init: int | Literal["auto"]
    chunk_size: ChunkSize
    engine: Engine
    device: Device
    batch_size: int
    compute_labels: bool
    max_no_improvement: int | None
    init_size: int | None
    reassignment_ratio: float
    n_steps_: int

    if TYPE_CHECKING:

        def set_partial_fit_request(
            self, *, sample_weight: bool | str | None = "$UNCHANGED$"
        ) -> Self: ...

    _auto_runs = 3  # scikit-learn's number

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseKMeans._parameter_constraints,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }

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
        device: Device = "auto",
        memory_limit: int | str | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.chunk_size = chunk_size
        self.n_threads = n_threads
        self.engine = engine
        self.device = device
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None) -> Self:
        """Find the centres from random batches of the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or a source
            Rows to cluster. Arrays of any real dtype and order, read-only and memory-mapped
            ones included, are used where they are; sparse formats other than CSR are converted.
            What `tilewise.sources.as_source` knows is read in parts; see the notes. A generator
            of batches, which comes once, will do.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Rows are drawn in proportion to their weights; None draws all alike. Not used to
            start from an array or a callable.

        Returns
        -------
        self : MiniBatchKMeans
            The fitted estimator.

        Raises
        ------
        ValueError
            If parameters or shapes do not fit, if weights differ in sign or are all 0, or if a
            value that is read is NaN or infinite; the message names its row and column. Also if
            the squares of differences overflow or vanish in float64; the message names a power of
            two to multiply the data by. Of sources also if ``memory_limit`` cannot be kept, or as
            `SourceError` if reading fails.

        Warns
        -----
        RuntimeWarning
            If ``init_size`` is less than ``n_clusters``, or an array is given to start from
            together with another ``n_init`` than 1.
        """
        with engine.computing(X, self.device), drafted(self) as draft:
            draft._fit(X, y, sample_weight)
        return self

    @with_callbacks
    def _fit(self, X, y, sample_weight):
        rows = self._open(X, reset=True, again="", once=True)
        fit = self._fit_once
        if rows.n_rows is not None:
            self._check_sizes(rows)  # here, as deep as in `_partial_fit`: warnings count frames
            fit = self._fit_epochs
        found, kept, tasks = fit(rows, sample_weight, partial(fit_tasks, self, X, y, sample_weight))
        engine.refuse_out_of_range(found["cluster_centers_"])
        kept_centers = engine.backend_of(rows).kept(rows, found.pop("cluster_centers_"))
        found["cluster_centers_"] = kept_centers
        vars(self).pop("labels_", None)
        self._keep_reports(found.pop("stream_plan_", None), rows.report)
        vars(self).update(found)
        if kept is not None:
            kept.remove()
        tasks.finish()

    def _fit_epochs(self, rows, sample_weight, tasks):
        """Fit rows that can be had again and again."""
        backend = engine.backend_of(rows)
        random_state = check_random_state(self.random_state)
        weights = backend.open_weights(rows, sample_weight, _validation.check_weights)
        init = self._checked_init(rows)
        columns = engine.Columns.of(rows, self.n_clusters, init)
        given, rows, init = rows, columns.rows(rows), columns.values(init)
        plan = columns.planned(self._plan(rows, self.n_clusters, self._batch_size))
        memory = self._plan_memory(rows, plan, init, weights)
        kept = _checkpoint.open_checkpoint(self.checkpoint, self, given, weights, columns)
        self._tol = self._tolerance(rows, columns)
        if kept is not None and kept.saved is not None:
            centers, random_state, resume = _checkpoint.taken_up(kept, random_state)
        else:
            centers, resume = self._best_start(rows, init, random_state, weights), None
        batches = backend.open_batches(
            rows, self.n_clusters, plan, weights, self._batch_size, random_state
        )
        keep = _checkpoint.step_keeper(kept, random_state)
        found, tasks = self._run(
            rows, batches, centers, random_state, tasks, plan, columns, memory, resume=resume,
            keep=keep,
        )  # fmt: skip
        del batches  # and what they hold
        if self.compute_labels:
            # Rounded where they stand: of many columns one more array of them is large.
            np.copyto(centers, found["cluster_centers_"])
            found |= self._labelled(rows, weights, centers)
        del centers
        found["cluster_centers_"] = engine.aligned(columns.undone(found["cluster_centers_"]))
        return found, kept, tasks

    def _plan_memory(self, rows, batch_plan, init, weights):
        """What streamed rows keep in memory; prints it."""
        samples = 0 if is_array_init(init) else self._init_size
        epochs = f"up to {self.max_iter} epochs"
        memory = engine.backend_of(rows).plan_memory(
            rows,
            self._plan(rows, self.n_clusters),
            self.memory_limit,
            init_rows=samples * (2 if self._n_init > 1 or self.verbose else 1),
            weighted=weights is not None,
            max_iter=self.max_iter,
            bounds=False,
            row_bytes=4 if self.compute_labels else 0,
            passes="rows for the start, "
            + ("one to measure the columns, " if self.tol else "")
            + epochs
            + (", one for labels and inertia." if self.compute_labels else "."),
            batch_plan=batch_plan,
            oversampled=is_oversampled(init),
        )
        if self.verbose and memory is not None:
            print("\n".join(memory.sentences()))
        return memory

    def _fit_once(self, rows, sample_weight, tasks):
        """Fit rows that come once: the start is chosen from the first ones."""
        name = rows.name
        if self.checkpoint is not None:
            raise ValueError(
                f"{name}: rows that come once cannot be taken up again: give no checkpoint, or "
                "a callable that returns the batches anew."
            )
        if sample_weight is not None:
            raise ValueError(
                f"{name}: rows that come once have no number to give weights for: use "
                "partial_fit with the weights of each batch."
            )
        backend, k, size = engine.backend_of(rows), self.n_clusters, self.batch_size
        wanted = self.init_size or max(3 * size, 3 * k)
        backend.check_batch_memory(rows, k, size, max(wanted, size), self.memory_limit)
        random_state = check_random_state(self.random_state)
        plan = self._plan(rows, k, size)
        self._tol = 0
        batches = backend.open_batches(rows, k, plan, None, size, random_state, ahead=wanted)
        with batches:
            first = batches.first_rows(max(wanted, k))
            engine.backend_of(first).column_stats(first, self._plan(first, k))
            self._check_sizes(first)
            centers = self._best_start(first, self._checked_init(first), random_state, None)
            del first
            found, tasks = self._run(
                rows, batches, centers, random_state, tasks, plan, engine.Columns(),
                max_no_improvement=None,
            )  # fmt: skip
        return found, None, tasks

    def _run(self, rows, batches, centers, random_state, tasks, plan, columns, memory=None, **how):
        """Move the centres by the batches; returns what there is to keep but for labels."""

        def attributes(centers, steps):
            return {
                "cluster_centers_": engine.aligned(np.array(centers, dtype=rows.result_dtype)),
                "_n_features_out": self.n_clusters,
                "n_steps_": steps,
                "n_iter_": batches.epochs(steps),
                "chunk_plan_": plan,
                **({} if memory is None else {"stream_plan_": memory}),
            }

        n_steps = batches.most_steps(self.max_iter)
        kept = engine.backend_of(rows).kept

        def shown(i, centers):
            found = attributes(centers, i + 1)
            centers = columns.undone(found["cluster_centers_"])
            return found | {"cluster_centers_": kept(rows, centers)}

        tasks = tasks(1, n_steps, shown)
        rules = {"tol": self._tol, "max_no_improvement": self.max_no_improvement}
        with batches:
            run = algorithms.minibatch(
                batches,
                centers,
                n_steps=n_steps,
                random_state=random_state,
                reassignment_ratio=float(self.reassignment_ratio),
                verbose=bool(self.verbose),
                copy=False,
                **rules | how,
                **tasks.begin_run(),
            )
        # After a single step nothing has been smoothed yet.
        mean = run.batch_inertia if run.smoothed_inertia is None else run.smoothed_inertia
        found = attributes(run.state.centers, run.n_steps) | self._state_of(run.state)
        found |= {
            "inertia_": float(mean * batches.whole_weight()),
            "_ewa_inertia": run.smoothed_inertia,
            "_ewa_inertia_min": run.least_inertia,
            "_no_improvement": run.no_improvement,
        }
        return found, tasks

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: object = None, sample_weight: WeightsLike | None = None
    ) -> Self:
        """Move the centres by one batch; the first one also gives the start.

        Goes on from `fit` and from other calls, also after pickling: counts and generator are
        part of the estimator. Batches of another dtype than the first will do; the centres keep
        theirs. Labels and centres are where the last batch was.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The batch. Arrow tables and dask frames are read whole.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            How much each row counts; None counts every row once.

        Returns
        -------
        self : MiniBatchKMeans
            The estimator, which has seen one batch more.

        Raises
        ------
        ValueError
            As in `fit`. Centres, counts and draws are what they were then.
        """
        with engine.computing(X, self.device), drafted(self) as draft:
            draft._partial_fit(X, sample_weight)
        return self

    @with_callbacks
    def _partial_fit(self, X, sample_weight):
        started = hasattr(self, "cluster_centers_")
        rows = self._open(X, reset=not started, in_memory=True)
        backend = engine.backend_of(rows)
        weights = backend.open_weights(rows, sample_weight, _validation.check_weights)
        if not hasattr(self, "_random_state"):
            self._random_state = check_random_state(self.random_state)
        plan = self._plan(rows, self.n_clusters)
        if started:
            before = np.asarray(engine.on_host(self.cluster_centers_))
            dtype = before.dtype
            # Copies: what was loaded from a memory map cannot be written to.
            state = algorithms.MiniBatchState(
                np.array(before, dtype=np.float64, order="C"),
                np.array(self._counts, dtype=np.float64),
                self._n_since_last_reassign,
            )
        else:
            dtype = rows.result_dtype
            self._check_sizes(rows)
            self._tol = self._tolerance(rows, engine.Columns())
            centers = self._first_centers(
                rows, self._checked_init(rows), self._random_state, weights
            )
            state = algorithms.MiniBatchState(centers, np.zeros(self.n_clusters))
        algorithms.minibatch_step(
            rows,
            state,
            weights=weights,
            batch_size=self._batch_size,
            random_state=self._random_state,
            reassignment_ratio=float(self.reassignment_ratio),
            plan=plan,
            verbose=bool(self.verbose),
        )
        found = self._state_of(state) | {
            "cluster_centers_": engine.aligned(state.centers.astype(dtype)),
            "_n_features_out": self.n_clusters,
            "n_steps_": getattr(self, "n_steps_", 0) + 1,
            "chunk_plan_": plan,
        }
        engine.refuse_out_of_range(found["cluster_centers_"])
        if self.compute_labels:
            np.copyto(state.centers, found["cluster_centers_"])
            found |= self._labelled(rows, weights, state.centers)
        found["cluster_centers_"] = backend.kept(rows, found["cluster_centers_"])
        vars(self).update(found)

    def _check_sizes(self, rows):
        """Set the sizes that follow from parameters and data; warn where one has to give way."""
        _validation.check_enough_rows(rows.n_rows, self.n_clusters)
        self._choose_runs()
        self._batch_size = min(self.batch_size, rows.n_rows)
        init_size = self.init_size
        if init_size is None:
            init_size = 3 * self._batch_size
            if init_size < self.n_clusters:
                init_size = 3 * self.n_clusters
        elif init_size < self.n_clusters:
            warnings.warn(
                f"init_size={init_size} should be larger than n_clusters={self.n_clusters}. "
                "Setting it to min(3*n_clusters, n_samples)",
                RuntimeWarning,
                stacklevel=6,
            )
            init_size = 3 * self.n_clusters
        self._init_size = min(init_size, rows.n_rows)

    def _checked_init(self, rows):
        if is_array_init(self.init):
            return _validation.check_centers(self.init, rows, self.n_clusters)
        return self.init

    def _tolerance(self, rows, columns):
        if self.tol == 0:
            return 0
        plan = self._plan(rows, self.n_clusters)
        stats = engine.backend_of(rows).column_stats(rows, plan)
        return float(self.tol * np.mean(columns.undone(stats.variance)))

    def _best_start(self, rows, init, random_state, weights):
        """The best of ``n_init`` starts, in float64, by the inertia of rows drawn beforehand.

        These are not looked at where there is a single start and nothing to print.
        """
        judging = self._n_init > 1 or bool(self.verbose)
        start, judged = engine.backend_of(rows).sample_twice(
            rows, self._init_size, weights, random_state, given=is_array_init(init), judged=judging
        )
        best = least = None
        for i in range(self._n_init):
            if self.verbose:
                print(f"Init {i + 1}/{self._n_init} with method {init}")
            centers = self._first_centers(start.rows, init, random_state, start.weights)
            if not judging:
                return centers
            inertia = self._labelled(judged.rows, judged.weights, centers)["inertia_"]
            if self.verbose:
                print(f"Inertia for init {i + 1}/{self._n_init}: {inertia}")
            if best is None or inertia < least:
                best, least = centers, inertia
        return best

    def _first_centers(self, X, init, random_state, weights):
        centers = self._init_centroids(
            X,
            x_squared_norms=None,
            init=init,
            random_state=random_state,
            sample_weight=weights,
            init_size=self._init_size,
        )
        # Nobody else holds these: even an array to start from was copied when it was checked.
        return np.ascontiguousarray(centers, dtype=np.float64)

    @staticmethod
    def _state_of(state):
        return {"_counts": state.counts, "_n_since_last_reassign": state.since_reassigned}

    def _labelled(self, rows, weights, centers):
        backend, plan = engine.backend_of(rows), self._plan(rows, self.n_clusters)
        run = backend.open_assignment(rows, self.n_clusters, plan, weights=weights)
        inertia = run.assign_and_measure(centers)
        return {"labels_": backend.kept_labels(rows, run.labels), "inertia_": float(inertia)}

"""What the K-Means estimators share: assigning new data, initial centres, scikit-learn's hooks."""

from __future__ import annotations

import math
import warnings
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike
from sklearn import get_config
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from tilewise import algorithms, engine
from tilewise._sklearn import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
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
    VectorLike,
    WeightsLike,
)
from tilewise.cluster import _scaled, _validation
from tilewise.cluster._callbacks import CallbackSupportMixin
from tilewise.cluster._draft import drafted
from tilewise.cluster._files import Output
from tilewise.cluster._onnx import OnnxConvertible
from tilewise.cluster._pickling import VersionedPickles
from tilewise.cluster._predictor import Predictor
from tilewise.engine import StreamReport
from tilewise.plan import Plan, StreamPlan

if TYPE_CHECKING:
    from typing import Self


def is_oversampled(init):
    """Whether the start is chosen by k-means||."""
    return isinstance(init, str) and init == "k-means||"


def is_array_init(init):
    """Whether ``init`` holds the initial centres themselves."""
    return not isinstance(init, str) and not callable(init)


class BaseKMeans(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    VersionedPickles,
    OnnxConvertible,
    BaseEstimator,
):
    """Everything that follows from cluster centres; how they are found is the subclass's part."""

    # Parameters.
    n_clusters: int
    init: InitLike
    n_init: int | Literal["auto"]
    max_iter: int
    tol: float
    verbose: int
    random_state: RandomState
    chunk_size: ChunkSize
    n_threads: int | None
    engine: Engine
    device: Device
    memory_limit: int | str | None
    checkpoint: PathLike | None

    # What a fit leaves.
    cluster_centers_: FloatMatrix
    labels_: Vector[np.int32]
    inertia_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: Vector[np.object_]
    chunk_plan_: Plan
    stream_plan_: StreamPlan
    stream_report_: StreamReport

    if TYPE_CHECKING:
        # What scikit-learn's bases bring.
        def fit(
            self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None
        ) -> Self: ...

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

        def set_output(
            self, *, transform: Literal["default", "pandas", "polars"] | None = None
        ) -> Self: ...

        def get_feature_names_out(
            self, input_features: VectorLike | None = None
        ) -> Vector[np.object_]: ...

        def get_metadata_routing(self) -> Any: ...

        def set_fit_request(self, *, sample_weight: bool | str | None = "$UNCHANGED$") -> Self: ...

        def set_score_request(
            self, *, sample_weight: bool | str | None = "$UNCHANGED$"
        ) -> Self: ...

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "k-means||", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        **_validation.PLAN_CONSTRAINTS,
        **_validation.DEVICE_CONSTRAINTS,
        **_validation.SOURCE_CONSTRAINTS,
    }

    # Runs that "auto" stands for where every run starts elsewhere.
    _auto_runs: ClassVar[int]

    _doc_link_module = "tilewise"
    _doc_link_template = (
        "https://tilewise.readthedocs.io/en/stable/api/{estimator_module}.{estimator_name}.html"
    )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cluster_centers_")

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator: all of them, or none if one is not known.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : estimator instance
            The estimator.

        Raises
        ------
        ValueError
            If there is no parameter of such a name.
        """
        with drafted(self) as draft:
            super(BaseKMeans, draft).set_params(**params)
        return self

    def _open(self, X, *, reset=False, again=None, once=False, in_memory=False):
        """The rows of data that were passed in, from whatever backend takes them."""
        request = engine.Request(
            type(self).__name__,
            partial(_validation.check_data, estimator=self, reset=reset),
            partial(_validation.check_columns, estimator=self, reset=reset),
            memory_limit=self.memory_limit,
            again=again,
            once=once,
            in_memory=in_memory,
            device=self.device,
        )
        return engine.open_rows(X, request)

    @property
    def _wishes(self):
        """What a plan is to heed."""
        return {name: getattr(self, name) for name in _validation.PLAN_CONSTRAINTS}

    def _plan(self, rows, n_clusters, batch_size=None):
        backend = engine.backend_of(rows)
        # Who limits memory does not want it to be spent on speed.
        wishes = self._wishes if self.memory_limit is None else self._wishes | {"spare": False}
        return backend.plan(rows, n_clusters, batch_size=batch_size, **wishes)

    def _choose_runs(self):
        """Set how many starts there are; warn where the parameter has to give way.

        Called by what ``fit`` calls: the warning points to the line that called ``fit``.
        """
        given = is_array_init(self.init)
        if self.n_init != "auto":
            self._n_init = self.n_init
        else:
            drawn_once = given or (isinstance(self.init, str) and self.init != "random")
            self._n_init = 1 if drawn_once else self._auto_runs
        if given and self._n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self._n_init}.",
                RuntimeWarning,
                stacklevel=7,
            )
            self._n_init = 1

    def _init_centroids(
        self,
        X,
        x_squared_norms,
        init,
        random_state,
        sample_weight,
        init_size=None,
        n_centroids=None,
        plan=None,
    ):
        """Initial centres (n_centroids, n_features) for rows, an ndarray or a CSR matrix ``X``.

        ``x_squared_norms`` is part of the signature only: seeding uses direct differences.
        With ``init_size`` the centres come from that many rows, drawn with replacement. ``plan``
        is that of passes over ``X``, if there is one already.
        """
        n_clusters = self.n_clusters if n_centroids is None else n_centroids
        # Rows have been looked at, unless a size is given, and stay where they are.
        rows, origin = engine.as_rows(X), None
        drawn = None
        if init_size is not None and init_size < rows.n_rows:
            drawn = random_state.randint(0, rows.n_rows, init_size).astype(np.int64, copy=False)
        if is_array_init(init):
            return init
        if drawn is not None:
            origin, rows = rows.picked(drawn), rows.copied(drawn)
            sample_weight = None if sample_weight is None else sample_weight[drawn]
        if plan is None or drawn is not None:
            plan = self._plan(rows, n_clusters)
        if init_size is not None:
            largest = engine.backend_of(rows).largest_finite(rows, plan, origin=origin)
            engine.refuse_out_of_range(largest)
        if callable(init):
            centers = init(rows.array(), n_clusters, random_state=random_state)
            return _validation.check_centers(centers, rows, n_clusters)
        if is_oversampled(init):
            return algorithms.kmeans_parallel(
                rows, n_clusters, weights=sample_weight, random_state=random_state, plan=plan
            )
        if init == "k-means++":
            ids = algorithms.kmeans_plusplus(
                rows, n_clusters, weights=sample_weight, random_state=random_state, plan=plan
            )
        else:
            weights = np.ones(rows.n_rows)
            if sample_weight is not None:
                weights = np.asarray(engine.on_host(sample_weight))
            # Not a plain choice without weights: that would draw other rows than scikit-learn does.
            shares = weights / weights.sum()
            ids = random_state.choice(rows.n_rows, size=n_clusters, replace=False, p=shares)
        return rows.take(ids)

    def _keep_reports(self, memory, report):
        """Keep what was planned and read of streamed rows, in place of what was before."""
        for name, value in (("stream_plan_", memory), ("stream_report_", report)):
            vars(self).pop(name, None)
            if value is not None:
                setattr(self, name, value)
        if self.verbose and report is not None:
            print(report)

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():  # a fitted model need not pay for finding its tags
            check_is_fitted(self)

    def _centers(self):
        """The fitted centres in float64; people also put their own in their place."""
        return _validation.check_own_centers(self.cluster_centers_)

    def _new_rows(self, X, **how):
        """Rows of new data and the fitted centres."""
        self._check_fitted()
        return self._open(X, **how), self._centers()

    def _few_rows(self, X, wanted):
        """What a call on few rows of an array returns, or None where it has to take the long way.

        Only where nothing about the call can be wrong: the long way has the errors and warnings.
        """
        own = vars(self)
        if (
            type(X) is np.ndarray
            and type(centers := getattr(self, "cluster_centers_", None)) is np.ndarray
            and "feature_names_in_" not in own
            and X.shape[1:] == (own.get("n_features_in_"),)
            and self.memory_limit is None
            and self._has_plain_wishes()
        ):
            return engine.few_rows(X, centers, wanted)
        return None

    def _few_of(self, rows, wanted):
        """The same for rows that have been checked."""
        answer, centers = engine.backend_of(rows).few_rows, self.cluster_centers_
        if answer is None or type(centers) is not np.ndarray or not self._has_plain_wishes():
            return None
        return answer(rows, centers, wanted)

    def _has_plain_wishes(self):
        """Whether a call on few rows has nothing to heed or to refuse."""
        threads = self.n_threads
        return (threads is None or (type(threads) is int and threads > 0)) and (
            (self.chunk_size, self.engine) in (("auto", "auto"), ("auto", "fused"))
        )

    def _mapped(self, rows, centers, function, result_bytes=0, held=False):
        """``function`` of the rows, a part at a time."""
        return engine.backend_of(rows).mapped(
            rows,
            function,
            n_clusters=len(centers),
            result_bytes=result_bytes,
            held=held,
            memory_limit=self.memory_limit,
            **self._wishes,
        )

    def fit_predict(
        self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None
    ) -> Vector[np.int32]:
        """Fit, then return the cluster of each row: ``fit(X).labels_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to cluster.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row; None counts every row once.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Index of the cluster of each row.
        """
        return self.fit(X, sample_weight=sample_weight).labels_

    def predict(
        self, X: DataLike, *, out: Vector[np.int32] | PathLike | None = None
    ) -> Vector[np.int32]:
        """Return the nearest centre of each row.

        Any real dtype will do, whatever ``fit`` saw, and the answer is exact: the lowest index
        among the centres at the least distance, also far from the origin.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or a source
            Rows to assign; of sources whatever `tilewise.sources.as_source` knows, generators
            that come once included.
        out : ndarray of shape (n_samples,), int32, str or path-like, default=None
            Where the labels go: an array, a memory map too, or the path of a .npy file to be
            written. The content of an array is undefined after an error. A file takes its place
            when it is complete; one that was there before stays until then.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Index of the nearest centre of each row: ``out``, or a read-only memory map of the
            file.

        Raises
        ------
        ValueError
            If a value is NaN or infinite, or ``out`` does not fit.
        OSError
            If the file cannot be written; the message says how far it got.
        """
        few = self._few_rows(X, "labels") if out is None else None
        if few is not None:
            return few
        with engine.computing(X, self.device):
            rows, centers = self._new_rows(X)
            plan_of = partial(self._plan, n_clusters=len(centers))

            def labels(part):
                few = self._few_of(part, "labels")
                if few is not None:
                    return few
                found = _scaled.labels_of(part, centers, plan_of)
                return engine.backend_of(part).kept_labels(part, found)

            output = Output(out, rows.n_rows, (), np.int32)
            return output.put(self._mapped(rows, centers, labels, 4, out is None))

    def predictor(self, *, dtype: DTypeLike | None = None) -> Predictor:
        """Return the model prepared for rows that arrive one by one.

        Parameters
        ----------
        dtype : {None, "float32", "float64"}, default=None
            What rows become first. None is what `predict` makes of them. With "float32" a row of
            float64 is rounded: a float32 model answers such rows faster.

        Returns
        -------
        predictor : Predictor
            ``predictor(row)`` is the label of a row. It keeps a copy of the centres: a later fit
            does not change it.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model has not been fitted.
        ValueError
            If `dtype` is another one, or the centres are no finite numbers.
        """
        self._check_fitted()
        return Predictor.of(self.cluster_centers_, dtype)

    def fit_transform(
        self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None
    ) -> FloatMatrix:
        """Fit, then return the distances of the same rows to the centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to cluster.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row; None counts every row once.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
            Euclidean distance of every row to every centre.
        """
        return self.fit(X, sample_weight=sample_weight)._transform(X, None)

    def transform(self, X: DataLike, *, out: FloatMatrix | PathLike | None = None) -> FloatMatrix:
        """Return the distance of every row to every centre.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or a source
            Rows to measure.
        out : ndarray of shape (n_samples, n_clusters), str or path-like, default=None
            Where the distances go, as in `predict`, in their dtype.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
            Euclidean distances, float32 for float32 rows and float64 otherwise. Dense, also
            for sparse ``X``. ``out``, or a read-only memory map of the file.

        Raises
        ------
        ValueError
            If a value is NaN or infinite, or ``out`` does not fit; without ``out`` also where the
            distances are larger than ``memory_limit``.
        OSError
            If the file cannot be written; the message says how far it got.
        """
        return self._transform(X, out)

    def _transform(self, X, out):
        few = self._few_rows(X, "distances") if out is None else None
        if few is not None:
            return few
        with engine.computing(X, self.device):
            rows, centers = self._new_rows(X)
            k = len(centers)

            def distances(part):
                few = self._few_of(part, "distances")
                if few is not None:
                    return few
                return engine.backend_of(part).distances(part, centers, self._plan(part, k))

            output = Output(out, rows.n_rows, (k,), rows.result_dtype)
            row_bytes = k * rows.result_dtype.itemsize
            found = output.put(self._mapped(rows, centers, distances, row_bytes, out is None))
        return found if self._container == "default" else engine.on_host(found)

    @property
    def _container(self):
        """What `set_output` has `transform` return: data frames are made of arrays in memory."""
        own = getattr(self, "_sklearn_output_config", {})
        return own.get("transform") or get_config()["transform_output"]

    def score(
        self, X: DataLike, y: object = None, sample_weight: WeightsLike | None = None
    ) -> float:
        """Return minus the weighted sum of squared distances to the nearest centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to measure.
        y : Ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row; None counts every row once.

        Returns
        -------
        score : float
            The higher, the better; zero at best.
        """
        few = self._few_rows(X, "inertia") if sample_weight is None else None
        if few is not None:
            return -few
        with engine.computing(X, self.device):
            rows, centers = self._new_rows(
                X, again="score adds up rows in an order that needs their number."
            )
            weights = engine.backend_of(rows).open_weights(
                rows, sample_weight, _validation.check_weights
            )
            plan_of = partial(self._plan, n_clusters=len(centers))
            engine.backend_of(rows).plan_memory(
                rows, plan_of(rows), self.memory_limit, init_rows=0, bounds=False,
                weighted=weights is not None,
            )  # fmt: skip
            mapped = partial(self._mapped, rows, centers)
            inertia = _scaled.inertia_of(rows, centers, weights, plan_of, mapped)
        if not math.isfinite(inertia):
            _scaled.warn_of_inertia()
        return -float(inertia)

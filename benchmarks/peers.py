"""One adapter for each library that is measured.

An adapter turns a library into calls without arguments, ready to be timed. For K-Means:

``lloyd(X, rows, n_iter)``
    Lloyd's iterations from the centres ``X[rows]``, exactly `n_iter` of them if the library can
    be made to. The call returns the number of iterations that were done.
``fit(X, n_clusters)``
    What a user gets by default, seeding included. The call returns the centres.
``predict(X, centers)``
    Labels of given centres.
``minibatch(X, n_clusters, batch_size, rows)``
    A fit on random batches from the centres ``X[rows]``, or from the library's own seeding. The
    call returns the fitted estimator.

For pairs of a row of X and a row of Y:

``euclidean(X, Y)``, ``manhattan(X, Y)``
    The whole matrix of distances; of their squares where the adapter says `squared`.
``euclidean_into(X, Y, out)``
    The same, written into an array that is there already.
``argmin_min(X, Y)``
    For each row of X the distance to the nearest row of Y, and that row's number.
``argkmin(X, Y, k)``
    The same for the k nearest, nearest first.

Nobody subsamples, nobody stops early, everybody uses all CPUs. What a library cannot do, its
adapter leaves as None; `note` and `pairs_note` say so below the tables.
"""

import contextlib
import importlib
import logging
import os
import unittest.mock
import warnings

import numpy as np

# More rows for each centroid than any data here has: "use all rows" for those that subsample.
ALL_ROWS = 2**31 - 1


def cpu_count():
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Peer:
    """What all adapters share. `name` is that of the tables, `package` that of the registry."""

    name = package = ""
    dtypes = ("float32", "float64")
    note = pairs_note = ""
    sparse = squared = False
    lloyd = fit = predict = kmeans_plusplus = minibatch = None
    euclidean = euclidean_into = manhattan = argmin_min = argkmin = None

    def load(self):
        """Import the library; raises ImportError where it is missing."""

    def supports(self, task, dtype, sparse=False):
        """Whether this library can do one of the tasks in a dtype, on CSR matrices if asked."""
        able = getattr(self, task) is not None and np.dtype(dtype).name in self.dtypes
        return able and (self.sparse or not sparse)

    def takes_minutes(self, n_samples, n_features, n_clusters):
        """Whether one default fit takes so long that it is left out."""
        return False


class _Estimator(Peer):
    """A library that offers KMeans as scikit-learn has it."""

    module = ""

    def load(self):
        self.library = importlib.import_module(self.module)

    def lloyd(self, X, rows, n_iter):
        model = self.library.KMeans(
            len(rows), init=X[rows], n_init=1, max_iter=n_iter, tol=0, algorithm="lloyd"
        )
        return lambda: model.fit(X).n_iter_

    def fit(self, X, n_clusters):
        model = self.library.KMeans(n_clusters, random_state=0)
        return lambda: model.fit(X).cluster_centers_

    def predict(self, X, centers):
        # Each centre twice: the means are the centres, and there are more rows than clusters,
        # without which scikit-learn-intelex hands over to scikit-learn.
        twice = np.concatenate([centers, centers])
        model = self.library.KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(twice)
        return lambda: model.predict(X)

    def minibatch(self, X, n_clusters, batch_size, rows=None):
        model = self.library.MiniBatchKMeans(
            n_clusters,
            batch_size=batch_size,
            init="k-means++" if rows is None else X[rows],
            n_init=1,
            random_state=0,
        )
        return lambda: model.fit(X)


class _Functions(_Estimator):
    """A library that offers the functions of scikit-learn besides."""

    sparse = True
    pairs_module = ""

    def load(self):
        super().load()
        self.pairs = importlib.import_module(self.pairs_module)

    def kmeans_plusplus(self, X, n_clusters):
        """Seeding alone; the call returns the rows that were picked."""
        return lambda: self.library.kmeans_plusplus(X, n_clusters, random_state=0)[1]

    def euclidean(self, X, Y):
        return lambda: self.pairs.euclidean_distances(X, Y)

    def manhattan(self, X, Y):
        return lambda: self.pairs.manhattan_distances(X, Y)

    def argmin_min(self, X, Y):
        return lambda: self.pairs.pairwise_distances_argmin_min(X, Y)[::-1]


def _brute_force(neighbors, X, Y, k):
    """Return a call of scikit-learn's estimator; taking in Y costs next to nothing, and is over."""
    model = neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute").fit(Y)
    return lambda: model.kneighbors(X)


class Tilewise(_Functions):
    """tilewise itself."""

    name = package = module = pairs_module = "tilewise"

    def euclidean_into(self, X, Y, out):
        return lambda: self.pairs.euclidean_distances(X, Y, out=out)

    def argkmin(self, X, Y, k):
        return lambda: self.pairs.argkmin(X, Y, k)


class ScikitLearn(_Functions):
    """scikit-learn."""

    name = package = "scikit-learn"
    module, pairs_module = "sklearn.cluster", "sklearn.metrics.pairwise"

    def argkmin(self, X, Y, k):
        return _brute_force(importlib.import_module("sklearn.neighbors"), X, Y, k)


class ScikitLearnIntelex(_Estimator):
    """scikit-learn-intelex, by its own module: the other libraries are not patched."""

    name = package = "scikit-learn-intelex"
    module = "sklearnex.cluster"
    note = "does not offer its seeding alone"
    minibatch = None  # it has no such estimator of its own
    pairs_note = "has nearest rows only; its matrices are scikit-learn's"

    def lloyd(self, X, rows, n_iter):
        # It replaces the parameter `init` by a checked copy, hence a model for each call. It
        # is also asked once whether it does the work itself.
        call = super().lloyd
        _refuse_fallback(call(X[: 4 * len(rows)], np.arange(len(rows)), 1))
        return lambda: call(X, rows, n_iter)()

    def argkmin(self, X, Y, k):
        call = _brute_force(importlib.import_module("sklearnex.neighbors"), X, Y, k)
        _refuse_fallback(call)
        return call

    def argmin_min(self, X, Y):
        # Its pairwise distances are scikit-learn's, but for cosine and correlation.
        return _one_neighbour(self.argkmin(X, Y, 1))


def _one_neighbour(call):
    """Return a call that gives the only neighbour as `argmin_min` does."""
    return lambda: tuple(column[:, 0] for column in call())


class _Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.INFO)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def _refuse_fallback(call):
    """Run a call of scikit-learn-intelex; raise if it was left to scikit-learn."""
    logger, messages = logging.getLogger("sklearnex"), _Messages()
    before = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [messages]
    try:
        call()
    finally:
        logger.setLevel(before[0])
        logger.propagate, logger.handlers = before[1:]
    if any("fallback" in text for text in messages.texts):
        raise RuntimeError(f"fell back to scikit-learn: {messages.texts}")


class Faiss(Peer):
    """faiss, all rows in every iteration."""

    name, package = "faiss", "faiss-cpu"
    dtypes = ("float32",)
    note = "float32 only; its default fit starts from random rows and does 25 iterations"
    pairs_note = "float32 only; its euclidean distances are squares, it takes no root"
    squared = True

    def load(self):
        self.library = importlib.import_module("faiss")
        self.library.omp_set_num_threads(cpu_count())

    def _kmeans(self, X, n_clusters, **options):
        return self.library.Kmeans(
            X.shape[1],
            n_clusters,
            max_points_per_centroid=ALL_ROWS,
            min_points_per_centroid=1,
            **options,
        )

    def lloyd(self, X, rows, n_iter):
        centers = X[rows]

        def call():
            model = self._kmeans(X, len(rows), niter=n_iter)
            model.train(X, init_centroids=centers)
            return len(model.iteration_stats)

        return call

    def fit(self, X, n_clusters):
        def call():
            model = self._kmeans(X, n_clusters, seed=1)
            model.train(X)
            return model.centroids

        return call

    def predict(self, X, centers):
        index = self.library.IndexFlatL2(X.shape[1])
        index.add(centers)
        return lambda: index.search(X, 1)[1].ravel()

    def euclidean(self, X, Y):
        return lambda: self.library.pairwise_distances(X, Y)

    def euclidean_into(self, X, Y, out):
        x, y, to = map(self.library.swig_ptr, (X, Y, out))
        return lambda: self.library.pairwise_L2sqr(X.shape[1], len(X), x, len(Y), y, to)

    def manhattan(self, X, Y):
        return lambda: self.library.pairwise_distances(X, Y, self.library.METRIC_L1)

    def argkmin(self, X, Y, k):
        return lambda: self.library.knn(X, Y, k)

    def argmin_min(self, X, Y):
        return _one_neighbour(self.argkmin(X, Y, 1))


class FastKMeans(Peer):
    """fastkmeans on torch's CPU backend."""

    name = package = "fastkmeans"
    dtypes = ("float32",)
    note = (
        "float32 only; it takes no centres, so its draw of random rows is answered with the "
        "rows that everybody starts from; its default fit does 25 iterations from random rows"
    )

    def load(self):
        self.library = importlib.import_module("fastkmeans")
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(cpu_count())

    def _model(self, X, n_clusters, **options):
        return self.library.FastKMeans(
            X.shape[1],
            n_clusters,
            gpu=False,
            max_points_per_centroid=None,
            use_triton=False,
            **options,
        )

    def _starting_from(self, rows):
        drawn = self.torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        return unittest.mock.patch.object(self.torch, "randperm", return_value=drawn)

    def lloyd(self, X, rows, n_iter):
        def call():
            model = self._model(X, len(rows), niter=n_iter, tol=-1.0)
            with self._starting_from(rows):
                model.train(X)
            return n_iter

        return call

    def fit(self, X, n_clusters):
        return lambda: self._model(X, n_clusters).fit(X).centroids

    def predict(self, X, centers):
        model = self._model(X, len(centers))
        model.centroids = centers
        return lambda: model.predict(X)


class Scipy(Peer):
    """scipy.cluster.vq."""

    name, package = "scipy kmeans2", "scipy"
    note = (
        "threads only inside BLAS; its default fit does 10 iterations; its k-means++ compares all "
        "rows with all seeds in every step, on one thread, so fits are left out that take minutes "
        "(n × d × k² above 10^11)"
    )

    def takes_minutes(self, n_samples, n_features, n_clusters):
        return n_samples * n_features * n_clusters**2 > 1e11

    def load(self):
        self.library = importlib.import_module("scipy.cluster.vq")

    def lloyd(self, X, rows, n_iter):
        centers = X[rows]

        def call():
            with _empty_clusters_are_fine():
                self.library.kmeans2(X, centers, iter=n_iter, minit="matrix")
            return n_iter

        return call

    def fit(self, X, n_clusters):
        def call():
            with _empty_clusters_are_fine():
                return self.library.kmeans2(X, n_clusters, minit="++", rng=0)[0]

        return call

    def predict(self, X, centers):
        return lambda: self.library.vq(X, centers)[0]


class ScipyDistances(Peer):
    """scipy's cdist: one thread, float64 inside and out."""

    name, package = "scipy cdist", "scipy"
    pairs_note = "one thread, and float64 whatever comes in"

    def load(self):
        self.cdist = importlib.import_module("scipy.spatial.distance").cdist

    def euclidean(self, X, Y):
        return lambda: self.cdist(X, Y)

    def supports(self, task, dtype, sparse=False):
        if task == "euclidean_into" and np.dtype(dtype) != np.float64:
            return False
        return super().supports(task, dtype, sparse)

    def euclidean_into(self, X, Y, out):
        return lambda: self.cdist(X, Y, out=out)

    def manhattan(self, X, Y):
        return lambda: self.cdist(X, Y, "cityblock")


class TorchDistances(Peer):
    """torch's cdist on the CPU."""

    name, package = "torch cdist", "torch"

    def load(self):
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(cpu_count())

    def _cdist(self, X, Y, p):
        x, y = map(self.torch.from_numpy, (X, Y))
        return lambda: self.torch.cdist(x, y, p=p).numpy()

    def euclidean(self, X, Y):
        return self._cdist(X, Y, 2.0)

    def manhattan(self, X, Y):
        return self._cdist(X, Y, 1.0)


@contextlib.contextmanager
def _empty_clusters_are_fine():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        yield


# The order of the tables.
PEERS = (
    Tilewise(),
    ScikitLearn(),
    ScikitLearnIntelex(),
    Faiss(),
    FastKMeans(),
    Scipy(),
    TorchDistances(),
    ScipyDistances(),
)


def available(names=None):
    """Load the peers that are installed; return those, and what kept the others away."""
    loaded, missing = [], {}
    for peer in PEERS:
        if names is not None and peer.name not in names:
            continue
        try:
            peer.load()
        except (ImportError, OSError, AttributeError) as problem:
            missing[peer.name] = f"{type(problem).__name__}: {problem}"
        else:
            loaded.append(peer)
    return loaded, missing

"""One adapter for each library that is measured.

An adapter turns a library into three kinds of calls without arguments, ready to be timed:

``lloyd(X, rows, n_iter)``
    Lloyd's iterations from the centres ``X[rows]``, exactly `n_iter` of them if the library can
    be made to. The call returns the number of iterations that were done.
``fit(X, n_clusters)``
    What a user gets by default, seeding included. The call returns the centres.
``predict(X, centers)``
    Labels of given centres.

Nobody subsamples, nobody stops early, everybody uses all CPUs. What a library cannot do, its
adapter leaves as None; `note` says so in the table.
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
    note = ""
    lloyd = fit = predict = kmeans_plusplus = None

    def load(self):
        """Import the library; raises ImportError where it is missing."""

    def supports(self, task, dtype):
        """Whether this library can do one of the tasks in a dtype."""
        return getattr(self, task) is not None and np.dtype(dtype).name in self.dtypes


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


class Tilewise(_Estimator):
    """tilewise itself."""

    name = package = module = "tilewise"

    def kmeans_plusplus(self, X, n_clusters):
        """Seeding alone; the call returns the rows that were picked."""
        return lambda: self.library.kmeans_plusplus(X, n_clusters, random_state=0)[1]


class ScikitLearn(_Estimator):
    """scikit-learn."""

    name = package = "scikit-learn"
    module = "sklearn.cluster"

    def kmeans_plusplus(self, X, n_clusters):
        """Seeding alone; the call returns the rows that were picked."""
        return lambda: self.library.kmeans_plusplus(X, n_clusters, random_state=0)[1]


class ScikitLearnIntelex(_Estimator):
    """scikit-learn-intelex, by its own module: the other libraries are not patched."""

    name = package = "scikit-learn-intelex"
    module = "sklearnex.cluster"
    note = "does not offer its seeding alone"

    def lloyd(self, X, rows, n_iter):
        # It replaces the parameter `init` by a checked copy, hence a model for each call. It
        # is also asked once whether it does the work itself.
        call = super().lloyd
        _refuse_fallback(call(X[: 4 * len(rows)], np.arange(len(rows)), 1))
        return lambda: call(X, rows, n_iter)()


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
    note = "threads only inside BLAS; its default fit does 10 iterations"

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


@contextlib.contextmanager
def _empty_clusters_are_fine():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        yield


# The order of the tables.
PEERS = (Tilewise(), ScikitLearn(), ScikitLearnIntelex(), Faiss(), FastKMeans(), Scipy())


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

"""One adapter for each library that clusters on a GPU, over torch tensors that live there.

``iterations(X, C)``
    A function of a number: exactly so many of Lloyd's iterations from the centres C. It returns
    the number that was done, or None where a library does not say.
``labels(X, C)``
    Labels of the rows for given centres, as a tensor.
``assign(X, C)``
    A call that does the same, ready to be timed.
``fit(X, k)``
    What a user gets by default, seeding included: a call that returns centres and iterations.
``argkmin(X, Y, k)``
    A call that returns the numbers of the k nearest rows of Y.

What a library cannot do, its adapter leaves as None. Nobody subsamples, nobody stops early.
"""

import importlib
import unittest.mock

import torch

__all__ = ["ALL", "available"]


class Peer:
    """What all adapters share. `name` is that of the tables, `package` that of the registry."""

    name = package = note = ""
    #: Whether the library runs without a GPU.
    anywhere = False
    #: Type to which rows are converted beforehand, outside of what is timed.
    dtype = torch.float32
    iterations = labels = assign = fit = argkmin = None

    def load(self):
        """Import the library; raises ImportError where it is missing."""

    def rows(self, X):
        """The rows as the library gets them."""
        return X.to(self.dtype)


class Tilewise(Peer):
    """tilewise itself, by its public names."""

    name = package = "tilewise"
    anywhere = True

    def load(self):
        self.library = importlib.import_module("tilewise")

    def iterations(self, X, C):
        start = C.cpu().numpy()

        def run(n_iter):
            model = self.library.KMeans(len(C), init=start, n_init=1, max_iter=n_iter, tol=0)
            return model.fit(X).n_iter_

        return run

    def _fitted(self, C):
        # Each centre twice: the means are the centres.
        model = self.library.KMeans(len(C), init=C.cpu().numpy(), n_init=1, max_iter=1)
        model.fit(torch.cat([C, C]))
        if not torch.equal(torch.as_tensor(model.cluster_centers_, device=C.device), C):
            raise RuntimeError("the fit moved the centres")
        return model

    def labels(self, X, C):
        return torch.as_tensor(self._fitted(C).predict(X), device=X.device)

    def assign(self, X, C):
        model = self._fitted(C)
        return lambda: model.predict(X)

    def fit(self, X, k):
        def run():
            model = self.library.KMeans(k, random_state=0).fit(X)
            return model.cluster_centers_, model.n_iter_

        return run

    def argkmin(self, X, Y, k):
        return lambda: self.library.argkmin(X, Y, k)[1]


class Torch(Peer):
    """Scores of a chunk of rows by one product, and what a few lines of torch make of them."""

    name, package, anywhere = "torch float32", "torch", True
    tf32, chunk = False, 65536
    note = "scores of 65,536 rows at a time by addmm, index_add_ for the sums"

    def _with_precision(self, call):
        def run(*arguments):
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = self.tf32
            try:
                return call(*arguments)
            finally:
                torch.backends.cuda.matmul.allow_tf32 = before

        return run

    def _scores(self, X, C, half):
        return torch.addmm(half, X, C.t(), alpha=-1)

    def _labels(self, X, C):
        half = (C * C).sum(1) / 2
        out = torch.empty(len(X), dtype=torch.int64, device=X.device)
        for at in range(0, len(X), self.chunk):
            out[at : at + self.chunk] = self._scores(X[at : at + self.chunk], C, half).argmin(1)
        return out

    def labels(self, X, C):
        return self._with_precision(self._labels)(X, C)

    def assign(self, X, C):
        return lambda: self.labels(X, C)

    def iterations(self, X, C):
        def run(n_iter):
            centers = C
            for _ in range(n_iter):
                labels = self._labels(X, centers)
                sums = torch.zeros_like(C).index_add_(0, labels, X)
                counts = torch.bincount(labels, minlength=len(C))[:, None]
                centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
            return n_iter

        return self._with_precision(run)

    def argkmin(self, X, Y, k):
        def run():
            half = (Y * Y).sum(1) / 2
            step = max(1, 2**28 // len(Y))
            found = [
                self._scores(X[at : at + step], Y, half).topk(k, largest=False).indices
                for at in range(0, len(X), step)
            ]
            return torch.cat(found)

        return self._with_precision(run)


class TorchTF32(Torch):
    """The same with products of TF32 on the tensor cores."""

    name, tf32, anywhere = "torch tf32", True, False


class FlashKMeans(Peer):
    """flash-kmeans, by the function below its class: it takes centres."""

    name, package = "flash-kmeans", "flash-kmeans"
    note = "its default fit starts from random rows and does up to 100 iterations"

    def load(self):
        self.library = importlib.import_module("flash_kmeans")
        if not self.library.interface._HAS_TRITON_IMPL:
            raise ImportError("its Triton kernels cannot be imported")

    def _run(self, X, k, n_iter, C=None, tol=-1.0):
        # It may write to the centres that it is given.
        start = None if C is None else C[None].clone()
        labels, centers, done = self.library.batch_kmeans_Euclid(
            X[None], k, max_iters=n_iter, tol=tol, init_centroids=start
        )
        return labels[0], centers[0], done

    def iterations(self, X, C):
        return lambda n_iter: self._run(X, len(C), n_iter, C)[2]

    def labels(self, X, C):
        return self._run(X, len(C), 1, C)[0].long()

    def assign(self, X, C):
        assign = self.library.interface.euclid_assign_triton
        norms = (X * X).sum(1)[None]
        return lambda: assign(X[None], C[None], norms)

    def fit(self, X, k):
        def run():
            torch.manual_seed(0)
            _, centers, done = self._run(X, k, 100, tol=0.0)
            return centers, done

        return run


class FlashKMeansHalf(FlashKMeans):
    """The same on rows of float16."""

    name, dtype, fit = "flash-kmeans, float16 rows", torch.float16, None


class Flashlib(Peer):
    """flashlib; without its extra `cutedsl` all of it is Triton."""

    name, package = "flashlib", "flashlib"
    note = "its default fit starts from random rows and does 100 iterations"

    def load(self):
        self.library = importlib.import_module("flashlib")
        self.library.flash_kmeans  # noqa: B018 - loads the part that needs Triton

    def _run(self, X, k, n_iter, C=None):
        # It writes to the centres that it is given.
        start = None if C is None else C[None].clone()
        return self.library.flash_kmeans(X, k, max_iters=n_iter, init_centroids=start)

    def iterations(self, X, C):
        return lambda n_iter: self._run(X, len(C), n_iter, C)[2]

    def labels(self, X, C):
        return self._run(X, len(C), 1, C)[0].long()

    def assign(self, X, C):
        kernels = importlib.import_module("flashlib.primitives.kmeans")
        return lambda: kernels.euclid_assign_triton(X[None], C[None])

    def fit(self, X, k):
        def run():
            torch.manual_seed(0)
            return self._run(X, k, 100)[1:]

        return run

    def argkmin(self, X, Y, k):
        return lambda: self.library.flash_knn(X, Y, k)[1]


class FlashlibHalf(Flashlib):
    """The same on rows of bfloat16."""

    name, dtype, fit, argkmin = "flashlib, bfloat16 rows", torch.bfloat16, None, None


class FastKMeans(Peer):
    """fastkmeans with Triton, by the function below its class: it takes rows on the device."""

    name, package = "fastkmeans", "fastkmeans"
    note = (
        "scores in float16, its default, from float32 rows; labels go to the CPU in every "
        "iteration; its default fit starts from random rows and does 25 iterations"
    )

    def load(self):
        self.library = importlib.import_module("fastkmeans.kmeans")
        if not self.library.HAS_TRITON:
            raise ImportError("its Triton kernels cannot be imported")

    def _run(self, X, k, n_iter, C=None, tol=-1.0):
        torch.manual_seed(0)
        run = self.library._kmeans_torch_double_chunked
        how = {
            "k": k, "device": X.device, "max_iters": n_iter, "tol": tol, "use_triton": True,
            "max_points_per_centroid": None, "chunk_size_data": 51_200,
            "chunk_size_centroids": 10_240,
        }  # fmt: skip
        if C is None:
            return run(X, (X * X).sum(1), **how)
        # It draws rows to start from: they are put before the others, and the draw is answered.
        rows = torch.cat([C, X])
        with unittest.mock.patch.object(torch, "randperm", return_value=torch.arange(len(rows))):
            return run(rows, (rows * rows).sum(1), **how)

    def iterations(self, X, C):
        def run(n_iter):
            self._run(X, len(C), n_iter, C)
            return n_iter

        return run

    def labels(self, X, C):
        return self._run(X, len(C), 1, C)[1][len(C) :].to(X.device)

    def fit(self, X, k):
        return lambda: (self._run(X, k, 25, tol=1e-8)[0].to(X.device), None)


class CuML(Peer):
    """RAPIDS cuML, which takes CuPy arrays."""

    name, package = "cuML", "cuml-cu13"
    note = "its default fit is scalable k-means++ and up to 300 iterations"

    def load(self):
        self.cluster = importlib.import_module("cuml.cluster")
        self.neighbors = importlib.import_module("cuml.neighbors")
        self.cupy = importlib.import_module("cupy")

    def iterations(self, X, C):
        rows, start = self.cupy.from_dlpack(X), self.cupy.from_dlpack(C)

        def run(n_iter):
            model = self.cluster.KMeans(len(C), init=start, n_init=1, max_iter=n_iter, tol=0)
            return int(model.fit(rows).n_iter_)

        return run

    def _fitted(self, C):
        start = self.cupy.from_dlpack(C)
        twice = self.cupy.concatenate([start, start])
        return self.cluster.KMeans(len(C), init=start, n_init=1, max_iter=1).fit(twice)

    def labels(self, X, C):
        found = self._fitted(C).predict(self.cupy.from_dlpack(X))
        return torch.from_dlpack(self.cupy.asarray(found)).long()

    def assign(self, X, C):
        model, rows = self._fitted(C), self.cupy.from_dlpack(X)
        return lambda: model.predict(rows)

    def fit(self, X, k):
        rows = self.cupy.from_dlpack(X)

        def run():
            model = self.cluster.KMeans(k, random_state=0).fit(rows)
            centers = torch.from_dlpack(self.cupy.asarray(model.cluster_centers_))
            return centers, int(model.n_iter_)

        return run

    def argkmin(self, X, Y, k):
        rows, others = self.cupy.from_dlpack(X), self.cupy.from_dlpack(Y)
        model = self.neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute").fit(others)
        return lambda: torch.from_dlpack(self.cupy.asarray(model.kneighbors(rows)[1]))


ALL = (
    Tilewise, FlashKMeans, Flashlib, FastKMeans, CuML, Torch, TorchTF32, FlashKMeansHalf,
    FlashlibHalf,
)  # fmt: skip


def available(device, names=None):
    """Adapters that work on a device, ours first, and why the others do not, by name."""
    found, missing = [], {}
    for kind in ALL:
        if names and kind.package not in names and kind.name not in names:
            continue
        if device.type == "cpu" and not kind.anywhere:
            missing[kind.name] = "needs a GPU"
            continue
        peer = kind()
        try:
            peer.load()
        except Exception as problem:  # compiled parts fail to load in ways of their own
            missing[kind.name] = f"{type(problem).__name__}: {problem}"
            continue
        found.append(peer)
    return found, missing

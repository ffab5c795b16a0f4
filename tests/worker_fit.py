"""Fits that worker processes can import by name."""

import numpy as np

from tilewise import KMeans, MiniBatchKMeans

X = np.random.RandomState(0).standard_normal((6_000, 12)).astype(np.float32)


def fit(seed, **parameters):
    """Return inertia, labels as bytes, and the number of threads that the plan took."""
    model = KMeans(20, random_state=seed, max_iter=5, **parameters).fit(X)
    return model.inertia_, model.labels_.tobytes(), model.chunk_plan_.n_threads


def fit_batches(seed):
    """Return inertia and the number of steps."""
    model = MiniBatchKMeans(20, batch_size=5000, random_state=seed, max_iter=5).fit(X)
    return model.inertia_, model.n_steps_

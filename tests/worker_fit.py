"""A fit that worker processes can import by name."""

import numpy as np

from tilewise import KMeans

X = np.random.RandomState(0).standard_normal((6_000, 12)).astype(np.float32)


def fit(seed, **parameters):
    """Return inertia, labels as bytes, and the number of threads that the plan took."""
    model = KMeans(20, random_state=seed, max_iter=5, **parameters).fit(X)
    return model.inertia_, model.labels_.tobytes(), model.chunk_plan_.n_threads

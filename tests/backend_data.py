"""Data on which a backend can go wrong, and the bits of what was fitted to them."""

import numpy as np
from cluster_data import blobs
from sklearn.datasets import load_digits, load_iris


def datasets():
    rng = np.random.RandomState(0)
    yield "blobs", blobs(seed=3), 4
    yield "iris", load_iris().data.astype(np.float32), 3
    yield "digits", load_digits().data[:400].astype(np.float32), 10
    yield "far away", blobs(seed=1) + 1e6, 4
    yield "far away in float32", (blobs(seed=1) + 1e3).astype(np.float32), 4
    yield "duplicates", rng.randint(0, 2, (200, 3)).astype(float), 8
    yield (
        "many magnitudes",
        rng.standard_normal((150, 9)) * 10.0 ** rng.uniform(-12, 12, (150, 1)),
        5,
    )
    yield "one column", rng.standard_normal((100, 1)), 6
    yield "as many clusters as rows", rng.standard_normal((12, 2)), 12
    yield "whole numbers", rng.randint(0, 256, (200, 12), dtype=np.uint8), 5
    yield "huge", rng.standard_normal((120, 4)) * 1e200, 3
    yield "tiny", rng.standard_normal((120, 4)) * 1e-170, 3
    yield "a huge value", np.r_[blobs(100), [[1e30, 0, 0, 0, 0]]], 4


DATA = {name: (X, k) for name, X, k in datasets()}


def bits(model):
    names = [name for name in vars(model) if name.endswith("_") and "plan" not in name]
    values = {name: np.asarray(getattr(model, name)) for name in sorted(names)}
    return {name: (value.dtype, value.shape, value.tobytes()) for name, value in values.items()}

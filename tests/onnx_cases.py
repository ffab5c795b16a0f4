"""Rows and centres that are hard for a graph to label, and sessions that run graphs."""

import numpy as np
import reference
from sklearn.datasets import load_digits, load_sample_image, make_blobs
from sklearn.feature_extraction.image import extract_patches_2d

from tilewise import KMeans


def model_of(centers, kind=KMeans):
    """A fitted model with these centres."""
    centers = np.ascontiguousarray(centers)
    rows = np.random.default_rng(0).normal(size=(2 * len(centers), centers.shape[1]))
    model = kind(len(centers), n_init=1, random_state=0, max_iter=1).fit(rows.astype(centers.dtype))
    model.cluster_centers_ = centers
    return model


def squared_distances(X, centers):
    """Canonical squared distances (n, k), a few rows at a time."""
    X, centers = np.asarray(X, dtype=np.float64), np.asarray(centers, dtype=np.float64)
    step = max(1, 2**21 // centers.size)
    with np.errstate(over="ignore"):
        parts = [reference.canonical(X[i : i + step], centers) for i in range(0, len(X), step)]
    return np.concatenate(parts) if parts else np.empty((0, len(centers)))


def fitted_centers(X, k):
    return KMeans(k, random_state=0, n_init=1, max_iter=5).fit(X).cluster_centers_


def blobs():
    X, _ = make_blobs(2000, n_features=32, centers=24, random_state=0, cluster_std=3.0)
    X = X.astype(np.float32)
    return X, fitted_centers(X, 24)


def digits():
    X = load_digits(return_X_y=True)[0].astype(np.float32)
    return X, fitted_centers(X, 20)


def patches():
    image = load_sample_image("china.jpg")
    X = extract_patches_2d(image, (4, 4), max_patches=3000, random_state=0).reshape(3000, -1)
    X = X.astype(np.float32)
    return X, fitted_centers(X, 64)


def moved(offset, scale, dtype):
    rng = np.random.default_rng(1)
    centers = (rng.normal(size=(30, 12)) * scale + offset).astype(dtype)
    X = (rng.normal(size=(1500, 12)) * scale + offset).astype(dtype)
    between = centers[rng.integers(0, 30, 500)] / 2 + centers[rng.integers(0, 30, 500)] / 2
    return np.vstack([X, between.astype(dtype), centers]), centers


def bisectors(dtype, d=19, k=40):
    """Rows exactly midway between two centres, which use all digits of their type."""
    rng = np.random.default_rng(2)
    grid = 2.0 ** (np.finfo(dtype).nmant - 3)
    rows, gaps = (np.rint(rng.normal(size=(k // 2, d)) * grid) / grid for _ in range(2))
    X, centers = rows.astype(dtype), np.vstack([rows + gaps, rows - gaps]).astype(dtype)
    centers = centers[rng.permutation(k)]
    return np.vstack([X, centers]), centers


def ties():
    rng = np.random.default_rng(3)
    X = np.rint(rng.normal(size=(2000, 6)) * 2).astype(np.float32)
    return X, (np.rint(rng.normal(size=(40, 6)) * 4) / 2).astype(np.float32)


def duplicates():
    X, centers = ties()
    return X, centers[np.r_[3, 7, 3, 0, 1, 7, 7, 12, 0, 5]]


def narrow(d):
    rng = np.random.default_rng(d)
    return rng.normal(size=(400, d)).astype(np.float32), rng.normal(size=(9, d)).astype(np.float32)


def magnitudes():
    """Rows of every magnitude that float64 has, and centres of an ordinary one."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(1200, 10)) * 10.0 ** rng.integers(-320, 307, size=(1200, 1))
    return X, rng.normal(size=(25, 10))


def one_cluster():
    X, centers = narrow(5)
    return X, centers[:1]


#: Names and functions that give rows and centres.
CASES = {
    "blobs": blobs,
    "digits": digits,
    "patches": patches,
    "bisectors float32": lambda: bisectors(np.float32),
    "bisectors float64": lambda: bisectors(np.float64),
    "bisectors of many columns": lambda: bisectors(np.float64, d=300, k=20),
    "ties": ties,
    "duplicates": duplicates,
    "one cluster": one_cluster,
    "offset 1e4": lambda: moved(1e4, 1, np.float32),
    "offset 1e4 float64": lambda: moved(1e4, 1, np.float64),
    "offset 1e6": lambda: moved(1e6, 1, np.float32),
    "offset 1e6 float64": lambda: moved(1e6, 1, np.float64),
    "x 1e30": lambda: moved(0, 1e30, np.float32),
    "x 1e-25": lambda: moved(0, 1e-25, np.float32),
    "subnormal": lambda: moved(0, 1e-41, np.float32),
    "largest of float32": lambda: moved(3e38, 1e36, np.float32),
    "x 1e200": lambda: moved(0, 1e200, np.float64),
    "x 1e-200": lambda: moved(0, 1e-200, np.float64),
    "all magnitudes": magnitudes,
    "1 column": lambda: narrow(1),
    "7 columns": lambda: narrow(7),
    "8 columns": lambda: narrow(8),
    "1001 columns": lambda: narrow(1001),
}


def session_of(graph):
    """onnxruntime on one thread: a function of rows that gives the outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return _by_name(graph, session.run)


def reference_session_of(graph):
    """The same with the evaluator of the package onnx."""
    from onnx.reference import ReferenceEvaluator

    return _by_name(graph, ReferenceEvaluator(graph).run)


def _by_name(graph, run):
    names = [output.name for output in graph.graph.output]
    inputs = [given.name for given in graph.graph.input]

    def evaluate(*columns):
        with np.errstate(all="ignore"):
            return dict(zip(names, run(None, dict(zip(inputs, columns, strict=True))), strict=True))

    return evaluate

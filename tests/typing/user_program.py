"""What a program that uses tilewise looks like to type checkers: no expression is unknown.

Checkers read this file, strictly, and the tests run it: what is said of the types must hold.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, assert_type

import numpy as np

import tilewise
from tilewise import sources
from tilewise.cluster import KMeans, MiniBatchKMeans, Predictor, k_means, kmeans_plusplus
from tilewise.engine import StreamReport
from tilewise.export import FORMS, fitted, to_pmml
from tilewise.lab.explain import Explanation, explain
from tilewise.lab.simulate import CacheConfig, Simulation, simulate
from tilewise.plan import StreamPlan, parse_bytes

Floats = np.ndarray[tuple[int, int], np.dtype[np.float32 | np.float64]]
FloatRow = np.ndarray[tuple[int], np.dtype[np.float32 | np.float64]]
Labels = np.ndarray[tuple[int], np.dtype[np.int32]]
Indices = np.ndarray[tuple[int, int], np.dtype[np.intp]]
IndexRow = np.ndarray[tuple[int], np.dtype[np.intp]]
Objects = np.ndarray[tuple[int], np.dtype[np.object_]]


class Frame:
    """Something with an array inside, as data frames and tensors have."""

    def __init__(self, values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
        self.values = values

    def __array__(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return self.values


X = np.arange(24.0).reshape(12, 2) % 7.0


def own_start(
    X: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    n_clusters: int,
    *,
    random_state: np.random.RandomState,
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return X[:n_clusters]


def batches() -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    yield X[:6]
    yield X[6:]


def estimators() -> None:
    model = KMeans(n_clusters=3, init="random", n_init=2, tol=1e-3, random_state=0)
    assert_type(model.n_clusters, int)
    assert_type(KMeans(2, device="cpu").device, Literal["auto", "cpu", "cuda"])
    assert_type(kmeans_plusplus(X, 2, device="cpu")[1], IndexRow)
    assert_type(model.n_init, int | Literal["auto"])
    assert_type(model.chunk_size, int | Literal["auto"])
    assert_type(model.engine, Literal["auto", "fused", "blas"])
    fitted = model.fit(X, sample_weight=np.ones(12))
    assert_type(fitted, KMeans)
    assert_type(fitted.labels_, Labels)
    assert_type(fitted.cluster_centers_, Floats)
    assert_type(fitted.inertia_, float)
    assert_type(fitted.n_iter_, int)
    assert_type(fitted.n_features_in_, int)
    assert_type(fitted.chunk_plan_, tilewise.Plan)
    assert_type(fitted.predict([[0.0, 1.0], [2, 3]]), Labels)
    predictor = fitted.predictor(dtype="float64")
    assert_type(predictor, Predictor)
    assert_type(predictor([0.0, 1.0]), int)
    assert_type(predictor.nearest(X[0]), tuple[int, float])
    assert_type(predictor.predict(X), Labels)
    assert_type(predictor.n_features, int)
    assert_type(fitted.predict(X, out=np.zeros(12, dtype=np.int32)), Labels)
    assert_type(fitted.transform(Frame(X)), Floats)
    assert_type(fitted.score(X), float)
    assert_type(model.fit_predict(X), Labels)
    assert_type(model.fit_transform(X), Floats)
    assert_type(model.set_params(n_clusters=2), KMeans)
    assert_type(model.set_output(transform="default"), KMeans)
    assert_type(fitted.get_feature_names_out(), Objects)
    KMeans(2, init=own_start, n_init=1).fit(X)
    KMeans(2, init=X[:2], n_threads=1, chunk_size=256, engine="blas").fit(X.astype(np.float32))
    KMeans(2, init=[[0.0, 1.0], [2.0, 3.0]], memory_limit="1GB").fit(batches)

    small = MiniBatchKMeans(2, batch_size=6, random_state=0)
    assert_type(small.partial_fit(X), MiniBatchKMeans)
    assert_type(small.fit(batches()), MiniBatchKMeans)
    assert_type(small.n_steps_, int)
    assert_type(small.reassignment_ratio, float)


def streamed(folder: Path) -> None:
    path = folder / "rows.npy"
    np.save(path, X)
    model = KMeans(2, random_state=0).fit(path)
    assert_type(model.stream_plan_, StreamPlan)
    assert_type(model.stream_report_, StreamReport)
    assert_type(model.stream_report_.seconds, float)
    assert_type(model.predict([path, str(path)], out=folder / "labels.npy"), Labels)
    source = sources.as_source(path, dtype=np.float64)
    assert_type(source, sources.RowSource | None)
    assert source is not None
    assert_type(source.n_features, int)
    assert_type(source.locate(3), str)
    with sources.Prefetch(source, rows=4) as parts:
        for first, rows in parts:
            assert_type(first, int)
            assert_type(rows, Floats)
    assert_type(sources.Shards([source]).n_rows, int)
    assert_type(sources.SourceError("no rows", row=3).row, int | None)
    assert_type(
        sources.aligned_empty((5, 3), np.float32),
        np.ndarray[tuple[int, int], np.dtype[np.float32]],
    )


def functions() -> None:
    centers, labels, inertia = k_means(X, 2, random_state=0)
    assert_type(centers, Floats)
    assert_type(labels, Labels)
    assert_type(inertia, float)
    assert_type(
        k_means(X, 2, random_state=0, return_n_iter=True), tuple[Floats, Labels, float, int]
    )
    seeds, indices = kmeans_plusplus(X.astype(np.float32), 2, random_state=0)
    assert_type(seeds, np.ndarray[tuple[int, int], np.dtype[np.float32]])
    assert_type(indices, IndexRow)


def distances() -> None:
    assert_type(tilewise.pairwise_distances(X, metric="manhattan"), Floats)
    assert_type(tilewise.pairwise_distances(X, X[:3], "minkowski", p=3.0), Floats)
    assert_type(tilewise.euclidean_distances(X, squared=True), Floats)
    assert_type(tilewise.manhattan_distances(X, out=np.empty((12, 12))), Floats)
    assert_type(tilewise.cosine_distances(X + 1.0), Floats)
    assert_type(tilewise.nan_euclidean_distances(X, missing_values=-1.0), Floats)
    for block in tilewise.pairwise_distances_chunked(X, working_memory=1):
        assert_type(block, Floats)
    for total in tilewise.pairwise_distances_chunked(X, reduce_func=row_sums):
        assert_type(total, list[float])
    assert_type(tilewise.pairwise_distances_argmin(X, X[:3]), IndexRow)
    assert_type(tilewise.pairwise_distances_argmin_min(X, X[:3]), tuple[IndexRow, FloatRow])


def row_sums(block: Floats, start: int) -> list[float]:
    return [float(row.sum()) for row in block]


def neighbors(with_distance: bool) -> None:
    assert_type(tilewise.argkmin(X, X, 2), tuple[Floats, Indices])
    assert_type(tilewise.argkmin(X, X, 2, return_distance=False), Indices)
    assert_type(
        tilewise.argkmin(X, X, 2, return_distance=with_distance),
        tuple[Floats, Indices] | Indices,
    )
    assert_type(tilewise.radius_neighbors(X, X, 1.5), tuple[Objects, Objects])
    assert_type(tilewise.radius_neighbors(X, X, 1.5, return_distance=False), Objects)
    graph = tilewise.radius_neighbors(X, X, 1.5, return_as="csr", sort_results=True)
    assert_type(graph.toarray(), Floats)
    assert_type(graph.nnz, int)
    assert_type(graph.data, FloatRow)


def plans() -> None:
    here = tilewise.machine()
    assert_type(here, tilewise.Machine)
    plan = tilewise.plan(60_000, 64, 256, np.float32, machine=here, engine="fused")
    assert_type(plan.chunk_rows, int)
    assert_type(plan.dtype, Literal["float32", "float64"])
    assert_type(plan.layout, Literal["centres-in-lanes", "rows-in-lanes", "blas", "csr"])
    assert_type(plan.sentences(), list[str])
    assert_type(plan.reasons, dict[str, str])
    assert_type(parse_bytes("1GB"), int | None)
    told = explain(1000, 8, 4)
    assert_type(told, Explanation)
    assert_type(told.sentences(), list[str])
    assert_type(simulate(told.plan, CacheConfig.of([(32768, 8)]), max_rows=64), Simulation)


def exported(folder: Path) -> None:
    model = KMeans(2, random_state=0).fit(X)
    assert_type(to_pmml(model, path=folder / "model.pmml"), str)
    assert_type(fitted(model).feature_names, tuple[str, ...] | None)
    assert_type(FORMS[".pmml"].to_bytes(model), bytes)


def results(folder: Path) -> list[Any]:
    """Everything once; returns what the tests look at."""
    estimators()
    streamed(folder)
    functions()
    distances()
    neighbors(True)
    plans()
    exported(folder)
    return [
        KMeans(2, random_state=0).fit(X).labels_,
        tilewise.argkmin(X, X, 2),
        tilewise.radius_neighbors(X, X, 1.5),
        tilewise.pairwise_distances(X),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        results(Path(name))

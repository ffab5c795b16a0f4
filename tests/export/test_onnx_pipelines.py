"""A K-Means in every place of a pipeline, through tilewise's door and through skl2onnx's."""

import numpy as np
import pytest
from sklearn import cluster
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from tilewise import KMeans, MiniBatchKMeans
from tilewise.export import to_onnx

skl2onnx = pytest.importorskip("skl2onnx", reason="the package skl2onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

from onnx_cases import (  # noqa: E402
    model_of,
    reference_session_of,
    session_of,
    squared_distances,
    ties,
)

KINDS = [KMeans, MiniBatchKMeans, cluster.KMeans, cluster.MiniBatchKMeans]
DTYPES = [np.float32, np.float64, np.int64]
DIGITS, TARGETS = load_digits(return_X_y=True)
DIGITS, TARGETS = DIGITS[:300], TARGETS[:300]


def classifier():
    return LogisticRegression(max_iter=50, C=1e-3)


PLACES = {
    "alone": lambda model: model,
    "last": lambda model: make_pipeline(StandardScaler(), model),
    "middle": lambda model: make_pipeline(model, classifier()),
    "union": lambda model: make_pipeline(make_union(model, StandardScaler()), classifier()),
    "columns": lambda model: make_pipeline(
        ColumnTransformer(
            [("k", model, list(range(32))), ("s", StandardScaler(), list(range(32, 64)))]
        ),
        classifier(),
    ),
}


def check(graph, fitted, X, tolerance, runtime=session_of):
    """A graph against a fitted pipeline; labels may differ where other steps round."""
    first, second = runtime(graph)(X).values()
    assert first.dtype == np.int64
    if hasattr(fitted, "predict_proba"):
        right = fitted.predict_proba(X)
    else:
        # scikit-learn's own distances lose digits near a centre.
        rows = fitted[:-1].transform(X) if isinstance(fitted, Pipeline) else X
        last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
        right = np.sqrt(squared_distances(rows, last.cluster_centers_))
    assert np.abs(second - right).max() <= tolerance * np.abs(right).max()
    # The best two are further apart than both may err, for the rows that are compared.
    ordered = np.sort(right, axis=1)
    best = ordered[:, -2:] if hasattr(fitted, "predict_proba") else ordered[:, :2]
    clear = best[:, 1] - best[:, 0] > 2 * tolerance * np.abs(right).max()
    assert clear.mean() > 0.9
    assert np.array_equal(first[clear], fitted.predict(X)[clear])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_place(kind, dtype, place):
    X = DIGITS.astype(dtype)
    fitted = PLACES[place](kind(10, random_state=0, n_init=1)).fit(X, TARGETS)
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    graph = to_onnx(fitted, X[:1])
    check(graph, fitted, X, tolerance)
    if place == "alone":
        assert np.array_equal(session_of(graph)(X)["label"], fitted.predict(X))
    if place in ("alone", "last"):
        assert [output.name for output in graph.graph.output] == ["label", "distances"]
    if kind in (KMeans, MiniBatchKMeans):
        plain = place in ("alone", "last")
        theirs = skl2onnx.to_onnx(fitted, X[:1], options=None if plain else {"zipmap": False})
        check(theirs, fitted, X, tolerance)
        if plain:
            assert [output.name for output in theirs.graph.output] == ["label", "scores"]


@pytest.mark.parametrize("precision", ["double", "float32"])
def test_a_last_step_gives_the_outputs_that_are_asked_for(precision):
    X = DIGITS.astype(np.float32)
    fitted = make_pipeline(KMeans(12, random_state=0), KMeans(5, random_state=0)).fit(X)
    outputs = ("score", "label")
    graph = to_onnx(fitted, X, outputs=outputs, precision=precision)
    found = session_of(graph)(X)
    assert list(found) == ["score", "label"]
    assert np.array_equal(found["label"], fitted.predict(X))
    squared = (fitted.transform(X).min(axis=1).astype(np.float64)) ** 2
    assert np.allclose(found["score"], -squared, rtol=1e-4)
    models = {entry.key: entry.value for entry in graph.metadata_props}["tilewise.models"]
    assert models.count("KMeans") == 2
    alone = session_of(to_onnx(fitted, X, outputs=["label"], precision=precision))(X)
    assert list(alone) == ["label"]
    assert np.array_equal(alone["label"], fitted.predict(X))


def test_ties_in_a_pipeline_go_to_the_lowest_index():
    X, centers = ties()
    scaler = StandardScaler(with_mean=False, with_std=False).fit(X)
    model = make_pipeline(scaler, model_of(centers))
    for graph in (to_onnx(model, X), skl2onnx.to_onnx(model, X[:1])):
        for runtime in (session_of, reference_session_of):
            assert np.array_equal(runtime(graph)(X)["label"], model.predict(X))


@pytest.mark.parametrize("weights", [None, {"a": 3.0}])
def test_a_union_at_the_end(weights):
    X = DIGITS.astype(np.float64)
    union = FeatureUnion(
        [("a", KMeans(4, random_state=0)), ("b", cluster.KMeans(3, n_init=1, random_state=0))],
        transformer_weights=weights,
    ).fit(X)
    (found,) = session_of(to_onnx(union, X))(X).values()
    assert np.allclose(found, union.transform(X), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_columns_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(DIGITS.astype(np.float32), columns=[f"p{i}" for i in range(64)])
    names = list(X.columns)
    fitted = make_pipeline(
        ColumnTransformer([("k", KMeans(6, random_state=0), names[::2]),
                           ("s", StandardScaler(), names[1::2])]),
        KMeans(9, random_state=0),
    ).fit(X)  # fmt: skip
    graph = to_onnx(fitted, X, outputs=("label", "distances"))
    columns = [X[[name]].to_numpy() for name in names]
    found = session_of(graph)(*columns)
    assert np.allclose(found["distances"], fitted.transform(X), rtol=1e-4)
    assert (found["label"] == fitted.predict(X)).mean() > 0.99


def test_columns_that_come_one_by_one_to_a_model_alone():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": np.arange(9.0), "b": np.arange(9), "c": np.arange(9)[::-1]})
    model = KMeans(3, random_state=0).fit(X)
    graph = skl2onnx.to_onnx(model, X)
    found = session_of(graph)(*(X[[name]].to_numpy() for name in X.columns))
    assert np.array_equal(found["label"], model.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_over_pipelines():
    X = DIGITS.astype(np.float32)
    search = GridSearchCV(
        make_pipeline(KMeans(4, random_state=0), classifier()), {"kmeans__n_clusters": [4, 6]}, cv=2
    ).fit(X, TARGETS)
    check(to_onnx(search, X), search, X, 1e-5)


def test_a_regression_behind_it():
    X = DIGITS.astype(np.float32)
    fitted = make_pipeline(KMeans(7, random_state=0), Ridge()).fit(X, TARGETS)
    (found,) = session_of(to_onnx(fitted, X))(X).values()
    assert np.allclose(found.ravel(), fitted.predict(X), atol=1e-3)


@pytest.mark.parametrize("opset", [13, 18, 22])
def test_opsets(opset):
    X = DIGITS.astype(np.float32)
    fitted = make_pipeline(KMeans(7, random_state=0), KMeans(3, random_state=0)).fit(X)
    graph = to_onnx(fitted, X, opset=opset)
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [opset]
    assert np.array_equal(session_of(graph)(X)["label"], fitted.predict(X))


def test_what_cannot_be_converted():
    X = DIGITS.astype(np.float32)
    with pytest.raises(ValueError, match="needs X"):
        to_onnx(make_pipeline(KMeans(2, random_state=0).fit(X)))
    with pytest.raises(TypeError, match="no fitted K-Means"):
        to_onnx(StandardScaler().fit(X), X)
    with pytest.raises(ValueError, match="between 13 and"):
        to_onnx(make_pipeline(KMeans(2, random_state=0).fit(X)), X, opset=1000)
    with pytest.raises(NotFittedError):
        to_onnx(make_pipeline(KMeans(2)), X)
    with pytest.raises(NotFittedError):
        skl2onnx.to_onnx(KMeans(2), X[:1])


@pytest.mark.parametrize("inner", [KMeans(3, random_state=0), cluster.KMeans(3, random_state=0)])
@pytest.mark.parametrize("remainder", ["drop", "passthrough"])
def test_columns_at_the_end_give_what_transform_gives(inner, remainder):
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    columns = ColumnTransformer([("k", inner, [0, 1])], remainder=remainder)
    for model in (columns, make_pipeline(columns)):
        model.fit(X)
        (found,) = session_of(to_onnx(model, X))(X).values()
        np.testing.assert_allclose(found, model.transform(X), rtol=1e-5)

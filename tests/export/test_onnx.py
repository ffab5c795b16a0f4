"""Graphs of ONNX against `predict` and a plain reference, in onnxruntime and onnx's evaluator."""

import builtins
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import cluster
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans, __version__
from tilewise.export import to_onnx

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

from onnx_cases import (
    CASES,
    model_of,
    narrow,
    reference_session_of,
    session_of,
    squared_distances,
    ties,
)

PRECISIONS = ["double", "float32"]
RUNTIMES = {"onnxruntime": session_of, "reference": reference_session_of}


def close(distances, right):
    """Whether distances are right; subnormal numbers have fewer digits."""
    allowed = 1e-6 * right + np.finfo(distances.dtype).smallest_subnormal
    return bool((np.abs(distances - right) <= allowed).all())


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Rows, a model, the labels that a plain reference finds, and distances that are right."""
    X, centers = CASES[request.param]()
    model = model_of(centers)
    labels, distances = model.predict(X), model.transform(X)
    squared = squared_distances(X, centers)
    if 0 < squared.min(axis=1).max() < np.inf:
        # The reference has no scale for squares that are out of range.
        assert np.array_equal(labels, squared.argmin(axis=1))
        ordinary = (squared > 1e-300) & np.isfinite(squared)
        assert close(distances[ordinary], np.sqrt(squared[ordinary]))
    return X, model, labels, distances.astype(np.float64)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_labels_are_those_of_predict(case, precision, runtime):
    X, model, labels, _ = case
    graph = to_onnx(model, X, outputs=("label",), precision=precision)
    found = RUNTIMES[runtime](graph)(X)["label"]
    assert found.dtype == np.int64
    assert np.array_equal(found, labels)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_one_by_one_get_the_same_labels(case, precision):
    X, model, labels, _ = case
    run = session_of(to_onnx(model, X, outputs=("label",), precision=precision))
    some = range(0, len(X), max(1, len(X) // 60))
    assert [run(X[i : i + 1])["label"][0] for i in some] == [labels[i] for i in some]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "outputs", [("label", "distances"), ("score", "distances"), ("distances",)]
)
def test_distances(case, outputs, runtime):
    X, model, labels, distances = case
    found = RUNTIMES[runtime](to_onnx(model, X, outputs=outputs))(X)
    assert list(found) == list(outputs)
    assert found["distances"].dtype == X.dtype
    assert not found["distances"][distances == 0].any()
    # The squares of larger ones overflow.
    apart = (distances > 0) & (distances < 1e150)
    assert close(found["distances"][apart], distances[apart])
    if "label" in outputs:
        assert np.array_equal(found["label"], labels)
    if "score" in outputs:
        squared = squared_distances(X, model.cluster_centers_).min(axis=1)
        ordinary = (squared > 1e-300) & np.isfinite(squared)
        assert found["score"].dtype == np.float64
        assert np.allclose(found["score"][ordinary], -squared[ordinary], rtol=1e-12, atol=0)


def test_distances_near_a_centre():
    """Where |x|² - 2 x·c + |c|² has no digit left."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(20, 30)) * 100
    for step in (1e-4, 1e-9, 1e-13):
        X = centers * (1 + step * rng.normal(size=centers.shape))
        found = session_of(to_onnx(model_of(centers), X))(X)["distances"]
        right = np.sqrt(squared_distances(X, centers))
        assert np.abs(found / right - 1).max() < 1e-6


@pytest.mark.parametrize("outputs", [("label",), ("label", "distances", "score")])
def test_exact_ties_are_found_where_scores_are_rounded(outputs):
    """Plain float64 scores get these wrong: the test would be idle otherwise."""
    X, centers = CASES["bisectors of many columns"]()
    origin = centers.mean(axis=0)
    x, c = X - origin, centers - origin
    labels = squared_distances(X, centers).argmin(axis=1)
    assert not np.array_equal(((c**2).sum(axis=1) - 2 * x @ c.T).argmin(axis=1), labels)
    found = session_of(to_onnx(model_of(centers), X, outputs=outputs))(X)
    assert np.array_equal(found["label"], labels)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.integers(1, 40),
    k=st.integers(1, 20),
    digits=st.integers(1, 52),
    exponent=st.integers(-90, 90),
    offset=st.sampled_from([0.0, 1.0, 1e4, -1e6]),
    dtype=st.sampled_from([np.float32, np.float64]),
    outputs=st.sampled_from([("label",), ("label", "distances")]),
    precision=st.sampled_from(PRECISIONS),
)
def test_any_rows_and_centres(
    seed, d, k, digits, exponent, offset, dtype, outputs, precision
):  # fmt: skip
    """Numbers of few digits make ties, more digits near ties, whatever the unit and the offset."""
    rng = np.random.default_rng(seed)
    step = 2.0**-digits

    def some(n):
        values = np.rint(rng.normal(size=(n, d)) / step) * step + offset
        return np.ldexp(values, exponent).astype(dtype)

    centers = some(k)
    pairs = centers[rng.integers(0, k, (2, 40))]
    X = np.vstack([some(40), (pairs[0] / 2 + pairs[1] / 2).astype(dtype), centers])
    labels = squared_distances(X, centers).argmin(axis=1)
    graph = to_onnx(model_of(centers), X, outputs=outputs, precision=precision)
    assert np.array_equal(session_of(graph)(X)["label"], labels)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("k", [1, 2, 9])
def test_what_is_no_number(k, precision, runtime):
    X, centers = narrow(5)
    X, centers = X[:8].copy(), centers[:k]
    labels = model_of(centers).predict(X)
    X[1, 2], X[2, 0], X[4, 4], X[5], X[6, :2] = np.nan, np.inf, -np.inf, np.nan, (np.inf, -np.inf)
    bad = ~np.isfinite(X).all(axis=1)
    run = RUNTIMES[runtime](to_onnx(model_of(centers), X, outputs=("label",), precision=precision))
    assert np.array_equal(run(X)["label"], np.where(bad, -1, labels))
    assert [run(X[i : i + 1])["label"][0] for i in range(8)] == list(np.where(bad, -1, labels))
    found = RUNTIMES[runtime](to_onnx(model_of(centers), X, outputs=("label", "distances")))(X)
    assert np.array_equal(found["label"], np.where(bad, -1, labels))
    assert not np.isfinite(found["distances"][bad]).any()
    assert np.isfinite(found["distances"][~bad]).all()
    assert np.isnan(found["distances"][[1, 5]]).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows(precision, runtime):
    X, centers = narrow(9)
    outputs = ("label", "distances", "score")
    found = RUNTIMES[runtime](to_onnx(model_of(centers), X, outputs=outputs))(X[:0])
    assert [found[name].shape for name in outputs] == [(0,), (0, 9), (0,)]
    alone = to_onnx(model_of(centers), X, outputs=("label",), precision=precision)
    assert RUNTIMES[runtime](alone)(X[:0])["label"].shape == (0,)


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", ">f4", ">i2"]
)
def test_types_of_rows(dtype):
    X, centers = ties()
    model = model_of(centers)
    X = np.abs(X).astype(dtype)
    graph = to_onnx(model, X[:1])
    found = session_of(graph)(X.astype(X.dtype.newbyteorder("=")))
    assert np.array_equal(found["label"], model.predict(X))
    assert found["distances"].dtype == model.transform(X).dtype
    assert np.array_equal(found["distances"], model.transform(X))


def test_type_of_rows_from_the_centres():
    for dtype in (np.float32, np.float64):
        X, centers = (values.astype(dtype) for values in narrow(3))
        assert session_of(to_onnx(model_of(centers)))(X)["distances"].dtype == dtype


@pytest.mark.parametrize("X", [np.zeros((2, 3)).tolist(), np.asfortranarray(np.zeros((2, 3)))])
def test_other_rows(X):
    assert session_of(to_onnx(model_of(narrow(3)[1]), X))(np.zeros((1, 3)))["label"].shape == (1,)


def test_frames_and_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(narrow(3)[0], columns=["a", "b", "c"])
    graph = to_onnx(KMeans(3, random_state=0).fit(X), X)
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(properties["tilewise.feature_names"]) == ["a", "b", "c"]
    assert properties["tilewise.version"] == graph.producer_version == __version__
    assert graph.producer_name == "tilewise"
    assert json.loads(properties["tilewise.models"]) == [
        {"name": "KMeans", "n_clusters": 3, "n_features": 3}
    ]
    assert "lowest index" in properties["tilewise.exact"]
    assert properties["tilewise.precision"] == "double"


@pytest.mark.parametrize("kind", [cluster.KMeans, cluster.MiniBatchKMeans, MiniBatchKMeans])
def test_models_of_other_kinds(kind):
    X, _ = narrow(6)
    model = kind(8, n_init=1, random_state=0).fit(X)
    labels = squared_distances(X, model.cluster_centers_).argmin(axis=1)
    assert np.array_equal(session_of(to_onnx(model, X))(X)["label"], labels)


def test_far_from_the_origin_where_the_converter_of_scikit_learns_model_is_wrong():
    skl2onnx = pytest.importorskip("skl2onnx", reason="the package skl2onnx is not installed")
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 16)) + 1e4).astype(np.float32)
    model = cluster.KMeans(32, n_init=1, random_state=0).fit(X)
    labels = squared_distances(X, model.cluster_centers_).argmin(axis=1)
    assert np.array_equal(session_of(to_onnx(model, X))(X)["label"], labels)
    theirs = session_of(skl2onnx.to_onnx(model, X[:1]))(X)["label"]
    assert (theirs != labels).mean() > 0.1


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 20, 21, 22])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_opsets(opset, precision):
    X, centers = ties()
    model = model_of(centers)
    for outputs in (("label",), ("label", "distances", "score")):
        graph = to_onnx(model, X, outputs=outputs, precision=precision, opset=opset)
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", opset)]
        for runtime in RUNTIMES.values():
            assert np.array_equal(runtime(graph)(X)["label"], model.predict(X))


@pytest.mark.parametrize("opset", [12, 1000, "18", 18.0])
def test_opsets_that_do_not_exist(opset):
    with pytest.raises(ValueError, match="between 13 and"):
        to_onnx(model_of(narrow(3)[1]), opset=opset)


@pytest.mark.parametrize(
    "outputs", [(), ("labels",), ("label", "label"), ("label", "distances", "inertia"), "no"]
)
def test_outputs_that_do_not_exist(outputs):
    with pytest.raises(ValueError, match="outputs must be some of"):
        to_onnx(model_of(narrow(3)[1]), outputs=outputs)


def test_other_arguments_that_do_not_fit():
    model = model_of(narrow(3)[1])
    with pytest.raises(ValueError, match="precision must be"):
        to_onnx(model, precision="float16")
    with pytest.raises(ValueError, match="3 features"):
        to_onnx(model, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="3 features"):
        to_onnx(model, np.zeros(3))
    for X in (np.zeros((2, 3), dtype=complex), np.array([["a", "b", "c"]])):
        with pytest.raises(TypeError, match="no numbers"):
            to_onnx(model, X)
    with pytest.raises(TypeError, match="got str"):
        to_onnx("KMeans")
    with pytest.raises(NotFittedError):
        to_onnx(KMeans(2))


@pytest.mark.parametrize("missing", ["onnx", "skl2onnx"])
def test_packages_that_are_missing(monkeypatch, missing):
    from sklearn.pipeline import make_pipeline

    known = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.partition(".")[0] == missing:
            raise ImportError(f"No module named {name!r}")
        return known(name, *arguments, **options)

    import importlib

    X, centers = narrow(3)
    model = model_of(centers) if missing == "onnx" else make_pipeline(model_of(centers))
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(importlib, "import_module", lambda name: refuse(name))
    with pytest.raises(ImportError, match=rf"{missing} is missing.*tilewise\[onnx\]"):
        to_onnx(model, X)


def test_a_graph_is_a_file_that_can_be_read_again(tmp_path):
    import onnx

    X, centers = ties()
    model = model_of(centers)
    onnx.save(to_onnx(model, X), tmp_path / "model.onnx")
    read = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(read, full_check=True)
    assert np.array_equal(session_of(read)(X)["label"], model.predict(X))

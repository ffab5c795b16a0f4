"""``tilewise predict``, and the model file between it and ``tilewise fit``."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tilewise import KMeans
from tilewise.cli._errors import BadData, ExitCode
from tilewise.cli._model import Model, read_model

from .support import NAMES, write_csv


@pytest.fixture
def estimator(X):
    return KMeans(4, random_state=0).fit(X)


@pytest.fixture
def model(estimator):
    """A model of columns without names."""
    return stored(Model(estimator.cluster_centers_, "0"))


@pytest.fixture
def named(estimator):
    return stored(Model(estimator.cluster_centers_, "0", feature_names=NAMES), "named.npz")


def stored(model, name="model.npz"):
    with open(name, "wb") as stream:
        model.write(stream)
    return Path(name)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
def test_labels_are_those_of_the_fit(X, invoke, dtype):
    X = (X + 1000).astype(dtype)
    np.save("data.npy", X)
    assert invoke("fit", "data.npy", "-k", 7, "--seed", 2).exit_code == 0
    result = invoke("predict", "data.model.npz", "data.npy")
    assert result.exit_code == 0, result.stderr
    labels = np.load("data.predicted.npy")
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.load("data.labels.npy"))
    assert "rows per cluster" in result.stdout


def test_other_data_other_dtype(X, estimator, model, invoke):
    other = np.rint(X[::-1] + 0.3).astype(np.int16)
    np.save("other.npy", other)
    result = invoke("predict", model, "other.npy", "--threads", 1, "--engine", "blas", "--json")
    expected = estimator.predict(other)
    np.testing.assert_array_equal(np.load("other.predicted.npy"), expected)
    summary = json.loads(result.stdout)
    assert summary["counts"] == np.bincount(expected, minlength=4).tolist()
    assert (summary["n_samples"], summary["n_features"], summary["n_clusters"]) == (90, 3, 4)
    assert summary["outputs"] == {"labels": "other.predicted.npy"}
    assert "rows per cluster" in result.stderr


def test_distances(X, estimator, model, invoke):
    np.save("data.npy", X)
    assert invoke("predict", model, "data.npy", "--distances", "-q").exit_code == 0
    expected = estimator.transform(X).min(axis=1)
    np.testing.assert_allclose(np.load("data.distances.npy"), expected, rtol=1e-12)
    assert (
        invoke("predict", model, "data.npy", "--distances", "--labels", "to/l.npy").exit_code == 0
    )
    assert sorted(os.listdir("to")) == ["l.distances.npy", "l.npy"]


@pytest.mark.parametrize("distances", [False, True])
def test_csv(X, estimator, model, invoke, distances):
    np.save("data.npy", X)
    options = ["--distances"] if distances else []
    assert invoke("predict", model, "data.npy", "--csv", *options).exit_code == 0
    assert sorted(os.listdir()) == ["data.npy", "data.predicted.csv", "model.npz"]
    header, *lines = Path("data.predicted.csv").read_text().splitlines()
    assert header == ("label,distance" if distances else "label")
    columns = list(zip(*(line.split(",") for line in lines), strict=True))
    np.testing.assert_array_equal(np.array(columns[0], int), estimator.labels_)
    if distances:
        expected = estimator.transform(X).min(axis=1)
        np.testing.assert_allclose(np.array(columns[1], float), expected, rtol=1e-12)


def test_columns_are_found_by_name(X, estimator, named, invoke, folder):
    shuffled = np.column_stack([X[:, 2], np.full(len(X), 99), X[:, 0], X[:, 1]])
    write_csv(folder / "data.csv", shuffled, ("depth", "other", "height", "width"))
    result = invoke("predict", named, "data.csv")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.load("data.predicted.npy"), estimator.labels_)


def test_names_that_do_not_fit(X, estimator, named, fails, invoke, folder):
    write_csv(folder / "data.csv", X, ("height", "breadth", "depth"))
    message = fails(ExitCode.BAD_DATA, "predict", named, "data.csv")
    assert message == "data.csv has no column called 'width'"
    message = fails(ExitCode.BAD_DATA, "predict", named, "data.csv", "--columns", "0-2")
    assert "column 'breadth' is where named.npz was fitted on 'width'" in message
    assert invoke("predict", named, "data.csv", "--ignore-names").exit_code == 0
    np.testing.assert_array_equal(np.load("data.predicted.npy"), estimator.labels_)


def test_data_without_names_goes_by_position(X, estimator, named, invoke):
    np.save("data.npy", X)
    assert invoke("predict", named, "data.npy").exit_code == 0
    np.testing.assert_array_equal(np.load("data.predicted.npy"), estimator.labels_)


def test_the_wrong_number_of_columns(X, estimator, model, fails):
    np.save("data.npy", X[:, :2])
    message = fails(ExitCode.BAD_DATA, "predict", model, "data.npy")
    assert message == "data.npy: 2 columns, but model.npz was fitted on 3"
    stored(Model(estimator.cluster_centers_, "0", columns="4-6"))
    message = fails(ExitCode.BAD_DATA, "predict", model, "data.npy")
    assert message.endswith("it was fitted with --columns 4-6")


def test_values_that_are_not_finite(X, model, fails):
    X[5, 2] = np.nan
    np.save("data.npy", X)
    message = fails(ExitCode.BAD_DATA, "predict", model, "data.npy")
    assert message == "data.npy: row index 5, column index 2: NaN is not allowed"


def test_nothing_is_replaced_unless_forced(X, model, fails, invoke):
    np.save("data.npy", X)
    Path("data.predicted.npy").write_text("precious")
    assert "--force" in fails(ExitCode.CANNOT_WRITE, "predict", model, "data.npy")
    fails(ExitCode.CANNOT_WRITE, "predict", model, "data.npy", "--force", "--labels", model)
    assert invoke("predict", model, "data.npy", "--force").exit_code == 0


def test_missing_and_wrong_arguments(X, model, fails):
    np.save("data.npy", X)
    assert "no.npz" in fails(ExitCode.NO_INPUT, "predict", "no.npz", "data.npy")
    assert "no.npy" in fails(ExitCode.NO_INPUT, "predict", model, "no.npy")
    assert "not a .npz file" in fails(ExitCode.BAD_DATA, "predict", "data.npy", "data.npy")
    fails(ExitCode.USAGE, "predict", model)
    fails(ExitCode.USAGE, "predict", model, "data.npy", "--threads", "0")
    fails(ExitCode.USAGE, "predict", model, "data.npy", "--threads", "100000")


def test_what_a_model_keeps(estimator):
    before = Model(
        estimator.cluster_centers_.astype(np.float32),
        "1.2.3",
        params={"n_clusters": 4, "tol": 1e-4},
        n_samples=90,
        feature_names=("höhe", "a,b", ""),
        columns="1-3",
        inertia=0.1 + 0.2,
        n_iter=5,
        counts=(3, 4.5, 80, 0),
    )
    after = read_model(stored(before))
    np.testing.assert_array_equal(after.centers, before.centers)
    assert after.centers.dtype == np.float32
    assert after.metadata() == before.metadata()
    assert after.estimator()._counts.tolist() == [3, 4.5, 80, 0]
    with np.load("model.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["centers", "metadata"]
        assert json.loads(str(archive["metadata"]))["format_version"] == 1


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("member", ["centers", "metadata"])
def test_reading_a_model_runs_nothing(model, member):
    with np.load(model) as archive:
        members = dict(archive)
    bomb = np.empty((), object)
    bomb[()] = Bomb()
    np.savez(model, **members | {member: bomb})
    with pytest.raises(BadData, match=r"model\.npz \[\w+\]: holds Python objects"):
        read_model(model)
    model.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadData, match=r"not a \.npz file"):
        read_model(model)
    assert not os.path.exists("exploded")


@pytest.mark.parametrize(
    ("centers", "metadata", "message"),
    [
        (None, {"format": "other"}, "the format is not"),
        (None, {"format_version": 2}, "format version 2; this release reads version 1"),
        (None, [], "the format is not"),
        (None, "{", "not a model"),
        (None, "[" * 100_000, "not a model"),
        (None, {"feature_names": ["a"]}, "1 feature names for 3 features"),
        (None, {"feature_names": "abc"}, "not a list of texts"),
        (np.zeros(3), {}, "shape"),
        (np.zeros((0, 3)), {}, "empty"),
        (np.full((4, 3), np.nan), {}, "not finite"),
        (np.zeros((4, 3), int), {}, "dtype int64"),
    ],
)
def test_models_that_are_refused(estimator, centers, metadata, message):
    good = Model(estimator.cluster_centers_, "0")
    if isinstance(metadata, dict):
        metadata = good.metadata() | metadata
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    np.savez("model.npz", centers=good.centers if centers is None else centers, metadata=text)
    with pytest.raises(BadData, match=rf"model\.npz: .*{message}"):
        read_model(Path("model.npz"))


def test_an_archive_of_something_else_is_refused(X):
    np.savez("model.npz", X=X)
    with pytest.raises(BadData, match="not a model that `tilewise fit` wrote"):
        read_model(Path("model.npz"))

"""``tilewise fit``: what it computes, writes, says and refuses."""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from tilewise import KMeans, MiniBatchKMeans
from tilewise.cli._errors import ExitCode
from tilewise.cli._model import read_model

from .support import write_csv

OUTPUTS = ("data.labels.npy", "data.centers.npy", "data.model.npz")


@pytest.fixture
def data(X):
    np.save("data.npy", X)
    return Path("data.npy")


def loaded():
    return [np.load(name) for name in OUTPUTS[:2]]


def test_it_is_the_estimator_on_a_file(data, X, invoke):
    result = invoke(
        "fit", data, "-k", 5, "--init", "random", "--n-init", 3, "--max-iter", 7, "--tol", 0,
        "--seed", 4, "--algorithm", "elkan", "--threads", 1, "--engine", "blas",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    expected = KMeans(5, init="random", n_init=3, max_iter=7, tol=0, random_state=4).fit(X)
    labels, centers = loaded()
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected.labels_)
    np.testing.assert_array_equal(centers, expected.cluster_centers_)
    model = read_model(Path(OUTPUTS[2]))
    np.testing.assert_array_equal(model.centers, expected.cluster_centers_)
    assert model.inertia == expected.inertia_
    assert model.n_iter == expected.n_iter_
    assert model.n_samples == len(X)
    assert model.params == {
        "n_clusters": 5, "init": "random", "n_init": 3, "max_iter": 7, "tol": 0.0,
        "random_state": 4, "algorithm": "elkan",
    }  # fmt: skip
    assert "90 rows x 3 columns, float64" in result.stdout
    assert "5 clusters" in result.stdout
    assert all(name in result.stdout for name in OUTPUTS)
    assert result.stderr == ""


def test_oversampled_starts(data, X, invoke):
    result = invoke("fit", data, "-k", 5, "--init", "k-means||", "--seed", 4, "--quiet")
    assert result.exit_code == 0, result.stderr
    expected = KMeans(5, init="k-means||", random_state=4).fit(X)
    np.testing.assert_array_equal(loaded()[1], expected.cluster_centers_)


def test_mini_batches(data, X, invoke):
    result = invoke("fit", data, "-k", 4, "--mini-batch", 20, "--seed", 3, "--json")
    assert result.exit_code == 0, result.stderr
    # As the command has it: of a mapped file, seeding keeps less.
    expected = MiniBatchKMeans(4, batch_size=20, random_state=3).fit(np.load(data, mmap_mode="r"))
    labels, centers = loaded()
    np.testing.assert_array_equal(labels, expected.labels_)
    np.testing.assert_array_equal(centers, expected.cluster_centers_)
    summary = json.loads(result.stdout)
    assert (summary["n_steps"], summary["n_iter"]) == (expected.n_steps_, expected.n_iter_)
    assert summary["plan"] == json.loads(json.dumps(expected.chunk_plan_.to_dict()))
    assert f"after {expected.n_steps_} batches" in result.stderr
    params = read_model(Path(OUTPUTS[2])).params
    assert (params["batch_size"], params["max_iter"], params["tol"]) == (20, 100, 0)
    options = ["--max-iter", 3, "--tol", 0.5, "--max-no-improvement", 2, "--init", "random"]
    result = invoke("fit", data, "-k", 4, "--mini-batch", 20, "--seed", 3, "--force", *options)
    assert result.exit_code == 0, result.stderr
    expected = MiniBatchKMeans(
        4, batch_size=20, random_state=3, max_iter=3, tol=0.5, max_no_improvement=2, init="random"
    ).fit(X)
    np.testing.assert_array_equal(np.load(OUTPUTS[1]), expected.cluster_centers_)
    result = invoke("predict", OUTPUTS[2], data)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    "options",
    [["--max-no-improvement", 3], ["--mini-batch", 0], ["--mini-batch", 9, "--algorithm", "elkan"]],
)
def test_options_that_do_not_go_together(data, invoke, options):
    assert invoke("fit", data, "-k", 3, *options).exit_code == ExitCode.USAGE
    assert not Path(OUTPUTS[0]).exists()


def test_json_alone_on_stdout(data, X, invoke):
    result = invoke("fit", data, "-k", 3, "--seed", 0, "--json")
    summary = json.loads(result.stdout)
    expected = KMeans(3, random_state=0).fit(np.load(data, mmap_mode="r"))
    assert summary["inertia"] == expected.inertia_
    assert summary["n_iter"] == expected.n_iter_
    assert summary["counts"] == np.bincount(expected.labels_).tolist()
    assert (summary["n_samples"], summary["n_features"]) == X.shape
    assert (summary["dtype"], summary["n_clusters"]) == ("float64", 3)
    assert list(summary["outputs"].values()) == list(OUTPUTS)
    assert summary["plan"] == json.loads(json.dumps(expected.chunk_plan_.to_dict()))
    assert summary["warnings"] == []
    assert set(summary["seconds"]) == {"read", "fit", "write"}
    assert "3 clusters" in result.stderr


def test_quiet(data, invoke):
    result = invoke("fit", data, "-k", 3, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    result = invoke("fit", data, "-k", 3, "-q", "--json", "--force")
    assert json.loads(result.stdout)["n_clusters"] == 3
    assert result.stderr == ""


def test_a_drawn_seed_is_told_and_repeats_the_run(data, invoke):
    first = invoke("fit", data, "-k", 20, "--init", "random", "--n-init", 1, "--json", "-q")
    labels = np.load(OUTPUTS[0])
    seed = json.loads(first.stdout)["params"]["random_state"]
    invoke("fit", data, "-k", 20, "--init", "random", "--n-init", 1, "--seed", seed, "--force")
    np.testing.assert_array_equal(np.load(OUTPUTS[0]), labels)


def test_files_are_the_same_bytes_however_the_fit_ran(data, invoke):
    contents = []
    for options in ([], ["--threads", 2], ["--engine", "blas"], ["--chunk-size", 64]):
        assert invoke("fit", data, "-k", 4, "--seed", 1, "--force", *options).exit_code == 0
        contents.append([Path(name).read_bytes() for name in OUTPUTS])
    assert all(content == contents[0] for content in contents)


def test_verbose_tells_the_plan_first(data, X, invoke):
    result = invoke("fit", data, "-k", 3, "--verbose", "--json", "--quiet")
    assert result.stderr == f"{KMeans(3).fit(X).chunk_plan_!r}\n"
    assert json.loads(result.stdout)["n_clusters"] == 3


def test_weights(data, X, invoke):
    weights = np.where(np.arange(len(X)) % 2, 1.0, 0.25)
    np.save("weights.npy", weights)
    result = invoke("fit", data, "-k", 3, "--seed", 0, "--sample-weight", "weights.npy")
    assert result.exit_code == 0, result.stderr
    expected = KMeans(3, random_state=0).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(np.load(OUTPUTS[1]), expected.cluster_centers_)


def test_names_of_text_columns_reach_the_model(X, invoke, folder):
    write_csv(folder / "data.csv", X)
    result = invoke("fit", "data.csv", "-k", 3, "--columns", "depth,0", "--dtype", "float32")
    assert result.exit_code == 0, result.stderr
    model = read_model(Path(OUTPUTS[2]))
    assert model.feature_names == ("depth", "height")
    assert model.columns == "depth,0"
    assert model.centers.dtype == np.float32


def test_where_outputs_go(data, invoke):
    result = invoke("fit", data, "-k", 3, "--output-dir", "a/b", "--centers", "c/middles.bin")
    assert result.exit_code == 0, result.stderr
    assert np.load("c/middles.bin").shape == (3, 3)
    assert sorted(os.listdir("a/b")) == ["data.labels.npy", "data.model.npz"]
    assert sorted(os.listdir()) == ["a", "c", "data.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are told by the umask")
def test_outputs_follow_the_umask(data, invoke):
    before = os.umask(0o027)
    try:
        assert invoke("fit", data, "-k", 3).exit_code == 0
    finally:
        os.umask(before)
    assert {stat.S_IMODE(os.stat(name).st_mode) for name in OUTPUTS} == {0o640}


def test_nothing_is_replaced_unless_forced(data, fails, invoke):
    Path(OUTPUTS[1]).write_text("precious")
    assert OUTPUTS[1] in fails(ExitCode.CANNOT_WRITE, "fit", data, "-k", 3)
    assert Path(OUTPUTS[1]).read_text() == "precious"
    assert invoke("fit", data, "-k", 3, "--force").exit_code == 0
    assert np.load(OUTPUTS[1]).shape == (3, 3)


def test_inputs_are_never_replaced(data, fails, X):
    message = fails(ExitCode.CANNOT_WRITE, "fit", data, "-k", 3, "--labels", data, "--force")
    assert "is an input" in message
    np.testing.assert_array_equal(np.load(data), X)


def test_outputs_that_cannot_be(data, fails, folder):
    cannot = ExitCode.CANNOT_WRITE
    same = fails(cannot, "fit", data, "-k", 3, "--labels", "x.npy", "--model", "x.npy")
    assert same == "x.npy: cannot hold the model, it is the file for the labels"
    (folder / "file").write_text("")
    assert "not a folder" in fails(cannot, "fit", data, "-k", 3, "--output-dir", "file/x")
    (folder / "taken").mkdir()
    message = fails(cannot, "fit", data, "-k", 3, "--labels", "taken", "--force")
    assert message == "taken: exists and is not a regular file"


def test_a_full_disk_leaves_nothing(data, invoke, monkeypatch):
    def full(stream, array):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    result = invoke("fit", data, "-k", 3)
    assert result.exit_code == ExitCode.CANNOT_WRITE
    assert result.stderr == "tilewise: error: data.labels.npy: No space left on device\n"
    assert os.listdir() == ["data.npy"]


def test_no_output_is_in_place_before_all_are_written(data, invoke, monkeypatch):
    def full(stream, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)  # the model is the last of the three
    assert invoke("fit", data, "-k", 3).exit_code == ExitCode.CANNOT_WRITE
    assert os.listdir() == ["data.npy"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(fails, X, value, folder):
    what = "NaN" if np.isnan(value) else "infinity"
    X[11, 1] = value
    np.save("data.npy", X)
    message = fails(ExitCode.BAD_DATA, "fit", "data.npy", "-k", 3)
    assert message == f"data.npy: row index 11, column index 1: {what} is not allowed"
    write_csv(folder / "data.csv", X)
    message = fails(ExitCode.BAD_DATA, "fit", "data.csv", "-k", 3, "--columns", "0,1")
    assert message == f"data.csv: row 13, column 'width': {what} is not allowed"
    write_csv(folder / "data.csv", X, names=None)
    message = fails(ExitCode.BAD_DATA, "fit", "data.csv", "-k", 3)
    assert message == f"data.csv: row 12, column index 1: {what} is not allowed"


def test_bad_cells(fails):
    Path("data.csv").write_text("width,depth\n" + "1,2\n" * 10 + "abc,2\n")
    message = fails(ExitCode.BAD_DATA, "fit", "data.csv", "-k", 3)
    assert message == "data.csv: row 12, column 'width': 'abc' is not a number"


def test_more_clusters_than_rows(data, fails):
    message = fails(ExitCode.BAD_DATA, "fit", data, "-k", 91)
    assert message == "data.npy: 90 rows are too few for 91 clusters"


def test_missing_input(data, fails):
    assert fails(ExitCode.NO_INPUT, "fit", "no.npy", "-k", 3).startswith("no.npy: ")
    message = fails(ExitCode.NO_INPUT, "fit", data, "-k", 3, "--sample-weight", "no.npy")
    assert message.startswith("no.npy: ")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-k", "0"],
        ["-k", "x"],
        ["-k", "3", "--n-init", "0"],
        ["-k", "3", "--n-init", "some"],
        ["-k", "3", "--max-iter", "0"],
        ["-k", "3", "--tol", "-1"],
        ["-k", "3", "--tol", "nan"],
        ["-k", "3", "--seed", "-1"],
        ["-k", "3", "--seed", str(2**32)],
        ["-k", "3", "--threads", "0"],
        ["-k", "3", "--threads", "100000"],
        ["-k", "3", "--chunk-size", "0"],
        ["-k", "3", "--engine", "gpu"],
        ["-k", "3", "--init", "best"],
        ["-k", "3", "--columns", "9"],
        ["-k", "3", "--columns", "width"],
        ["-k", "3", "--delimiter", "ab"],
        ["-k", "3", "--key", "a"],
        ["-k", "3", "--frobnicate"],
    ],
)
def test_wrong_usage(data, fails, options):
    fails(ExitCode.USAGE, "fit", data, *options)


def test_warnings_are_lines(invoke):
    np.save("data.npy", np.zeros((10, 2)))
    result = invoke("fit", "data.npy", "-k", 3, "--json", "--quiet")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("tilewise: warning: Number of distinct clusters (1)")
    assert json.loads(result.stdout)["warnings"] == [lines[0].removeprefix("tilewise: warning: ")]

"""DATA that is read in parts."""

import json
from pathlib import Path

import numpy as np
import pytest

from tilewise.cli import _stream
from tilewise.cli._errors import ExitCode
from tilewise.cli._progress import ReadingRate


@pytest.fixture
def data():
    X = np.random.RandomState(0).standard_normal((3000, 6)).astype(np.float32)
    np.save("X.npy", X)
    Path("shards").mkdir()
    np.save("shards/a.npy", X[:1000])
    np.save("shards/b.npy", X[1000:])
    return X


def outputs(stem):
    return [np.load(f"{stem}.{name}.npy") for name in ("labels", "centers")]


@pytest.mark.parametrize("way", ["limit", "folder", "large", "hdf5"])
def test_the_same_model_as_in_memory(data, invoke, monkeypatch, way):
    common = ("-k", 5, "--seed", 3, "--max-iter", 6)
    assert invoke("fit", "X.npy", *common, "--output-dir", "memory").exit_code == 0
    more = {"limit": ["X.npy", "--memory-limit", "3MB"], "folder": ["shards"], "large": ["X.npy"],
            "hdf5": ["X.h5"]}[way]  # fmt: skip
    if way == "large":
        monkeypatch.setattr(_stream, "kernel_bytes", lambda path, name: 100_000)
    if way == "hdf5":
        with pytest.importorskip("h5py").File("X.h5", "w") as file:
            file["X"] = data
    result = invoke("fit", *more, *common, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["stream"]["passes"] >= 3
    assert ("read in parts" in result.stderr) == (way == "large")
    stem = {"folder": "shards", "hdf5": "X.h5"}.get(way, "X")
    for found, expected in zip(outputs(stem), outputs("memory/X"), strict=True):
        np.testing.assert_array_equal(found, expected)
    limit = ["--memory-limit", "3MB"] if way == "limit" else []
    source = {"folder": "shards", "hdf5": "X.h5"}.get(way, "X.npy")
    again = invoke("predict", f"{stem}.model.npz", source, *limit, "--distances")
    assert again.exit_code == 0, again.stderr
    np.testing.assert_array_equal(np.load(f"{stem}.predicted.npy"), outputs("memory/X")[0])
    assert np.load(f"{stem}.distances.npy").shape == (3000,)


def test_mini_batches_and_starts(data, invoke):
    result = invoke("fit", "shards", "-k", 4, "--mini-batch", 200, "--init-size", 900, "--seed", 1)
    assert result.exit_code == 0, result.stderr
    assert "passes read" in result.stdout
    result = invoke("fit", "shards", "-k", 4, "--init-size", "all", "--seed", 1, "--force")
    assert result.exit_code == 0, result.stderr


def test_what_does_not_fit(data, fails):
    usage = ExitCode.USAGE
    said = fails(usage, "fit", "X.npy", "-k", 3, "--memory-limit", "10kB")
    assert said.startswith("X.npy: --memory-limit 9.77 KiB is too small")
    assert "for buffers" in said
    assert "--columns" in fails(
        usage, "fit", "X.npy", "-k", 3, "--memory-limit", "1MB", "--columns", "0-2"
    )
    Path("x.csv").write_text("1,2\n3,4\n")
    assert "--memory-limit is for" in fails(usage, "fit", "x.csv", "-k", 1, "--memory-limit", "1MB")
    assert "no such file" in fails(
        ExitCode.NO_INPUT, "fit", "no.npy", "-k", 1, "--memory-limit", "1MB"
    )
    assert "--mini-batch" in fails(
        usage, "fit", "X.npy", "-k", 3, "--mini-batch", 10, "--init-size", "all"
    )


@pytest.mark.parametrize("option", [("--memory-limit", "much"), ("--init-size", "some")])
def test_options_are_checked(data, invoke, option):
    result = invoke("fit", "X.npy", "-k", 3, *option)
    assert result.exit_code == ExitCode.USAGE
    assert option[1] in result.stderr


def test_a_nan_is_named(data, fails):
    data[1500, 2] = np.nan
    np.save("shards/b.npy", data[1000:])
    said = fails(ExitCode.BAD_DATA, "fit", "shards", "-k", 3)
    assert "b.npy, row 500, column 2" in said


def test_a_checkpoint_goes_when_the_fit_ends(data, invoke, monkeypatch):
    from tilewise.cluster import _checkpoint

    write = _checkpoint.Checkpoint.write

    def interrupted(self, **arrays):
        write(self, **arrays)
        raise KeyboardInterrupt

    command = ("fit", "X.npy", "-k", 5, "--seed", 3, "--max-iter", 6, "--checkpoint", "state")
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "write", interrupted)
        assert invoke(*command).exit_code != 0
    assert Path("state").exists()
    assert invoke(*command, "--memory-limit", "3MB").exit_code != 0  # another kind of data
    assert invoke(*command).exit_code == 0
    assert not Path("state").exists()


def test_the_rate_of_reading(monkeypatch):
    told = []

    class Display:
        def update(self, task, rate):
            told.append(rate)

    now = iter([0.0, 0.0, 1.0, 2.0])
    monkeypatch.setattr("tilewise.cli._progress.time.monotonic", lambda: next(now))
    rate = ReadingRate(Display(), 0, 8_000_000)
    rate(0, 1_000_000)
    rate(1_000_000, 2_000_000)
    rate(3_000_000, 2_000_000)
    assert told == ["2.00 M rows/s, pass done in 2 s", "2.00 M rows/s, pass done in 2 s"]

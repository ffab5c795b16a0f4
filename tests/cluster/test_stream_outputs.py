"""Results that are written in parts, and disks that are full."""

import os
import subprocess
import sys

import numpy as np
import pytest
from stream_data import ArraySource, clouds

from tilewise import KMeans
from tilewise.cluster._files import Output


@pytest.fixture(scope="module")
def fitted():
    X = clouds(6000, 5)
    return X, KMeans(4, random_state=0, max_iter=5).fit(X)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("what", ["predict", "transform"])
def test_arrays_maps_and_paths(tmp_path, fitted, streamed, what):
    X, model = fitted
    rows = ArraySource(X) if streamed else X
    expected = getattr(model, what)(X)
    out = np.empty_like(expected)
    assert getattr(model, what)(rows, out=out) is out
    np.testing.assert_array_equal(out, expected)
    mapped = np.lib.format.open_memmap(
        tmp_path / "map.npy", mode="w+", dtype=expected.dtype, shape=expected.shape
    )
    assert getattr(model, what)(rows, out=mapped) is mapped
    path = tmp_path / "out.npy"
    path.write_bytes(b"an older file")
    found = getattr(model, what)(rows, out=path)
    assert isinstance(found, np.memmap)
    for array in (mapped, found, np.load(path)):
        np.testing.assert_array_equal(array, expected)
    assert sorted(os.listdir(tmp_path)) == ["map.npy", "out.npy"]


def test_rows_of_unknown_number(tmp_path, fitted):
    X, model = fitted
    found = model.predict((X[i : i + 700] for i in range(0, 6000, 700)), out=tmp_path / "L.npy")
    np.testing.assert_array_equal(found, model.predict(X))
    with pytest.raises(ValueError, match="out has 10 rows"):
        model.predict(iter([X]), out=np.empty(10, np.int32))
    with pytest.raises(ValueError, match="out has 7000 rows, there are 6000"):
        model.predict(iter([X]), out=np.empty(7000, np.int32))


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.empty(6000, np.int64), "dtype int32"),
        (np.empty(10, np.int32), r"shape \(6000,\)"),
        ("labels.txt", r"must end in \.npy"),
        (3, "an array or the path"),
    ],
    ids=["type", "shape", "ending", "number"],
)
def test_wrong_outputs(fitted, out, said):
    X, model = fitted
    for rows in (X, ArraySource(X)):
        with pytest.raises(ValueError, match=said):
            model.predict(rows, out=out)


def test_results_larger_than_the_limit(fitted, tmp_path):
    X, _model = fitted
    wide = KMeans(40, random_state=0, max_iter=1, memory_limit=700_000, n_threads=1).fit(X)
    with pytest.raises(ValueError, match="give out="):
        wide.transform(ArraySource(X))
    found = wide.transform(ArraySource(X), out=tmp_path / "D.npy")
    np.testing.assert_array_equal(found, wide.transform(X))


def test_a_failure_leaves_the_older_file(tmp_path, fitted):
    X, model = fitted
    path = tmp_path / "L.npy"
    np.save(path, np.arange(3))
    bad = X.copy()
    bad[5000, 2] = np.inf
    with pytest.raises(ValueError, match="shard 5, row 0, column 2"):
        model.predict(ArraySource(bad), out=path)
    assert np.load(path).tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["L.npy"]
    with pytest.raises(OSError, match="could not be written") as caught:
        model.predict(ArraySource(X), out=tmp_path / "nowhere" / "L.npy")
    assert caught.value.filename.endswith("L.npy")


def test_empty_results(tmp_path):
    output = Output(tmp_path / "E.npy", 0, (3,), np.float32)
    assert output.put([]).shape == (0, 3)
    assert np.load(tmp_path / "E.npy").shape == (0, 3)


FULL = """
import os, resource, signal, sys
import numpy as np
from tilewise import KMeans

what, folder = sys.argv[1:]
os.chdir(folder)
X = np.random.RandomState(0).standard_normal((60_000, 4)).astype(np.float32)
model = KMeans(200, random_state=0, max_iter=2, init=X[:200], n_init=1, n_threads=1).fit(X)
np.save("X.npy", X)
np.save("out.npy", np.arange(3))
# A file may have 100 kB: what a full disk looks like.
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    if what == "checkpoint":
        wide = np.random.RandomState(0).standard_normal((400, 64))
        KMeans(100, checkpoint="state", random_state=0).fit(wide)
    else:
        getattr(model, what)("X.npy", out="out.npy")
except OSError as error:
    print(error)
else:
    sys.exit("no error")
assert np.load("out.npy").tolist() == [0, 1, 2]
print(sorted(os.listdir()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of file sizes")
@pytest.mark.parametrize("what", ["predict", "transform", "checkpoint"])
def test_a_full_disk(tmp_path, what):
    done = subprocess.run(
        [sys.executable, "-c", FULL, what, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    message, files = done.stdout.splitlines()
    assert "File too large" in message
    assert ("'state'" if what == "checkpoint" else "'out.npy'") in message
    if what != "checkpoint":
        assert "row " in message
        assert "unchanged" in message
    assert files == "['X.npy', 'out.npy']"


def test_limits_for_rows_whose_number_nobody_knows(fitted):
    X, model = fitted
    limited = KMeans(4, random_state=0, max_iter=5, n_threads=1).fit(X)
    limited.set_params(memory_limit="1MiB")
    parts = np.array_split(X, 7)
    np.testing.assert_array_equal(limited.predict(lambda: iter(parts)), model.predict(X))
    with pytest.raises(ValueError, match=r"the result has .* give out="):
        limited.predict(part for _ in range(60) for part in parts)

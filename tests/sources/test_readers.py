"""The table: what is a source, what is not, and what is imported for it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from source_data import rows_of

from tilewise.sources import (
    READERS,
    BatchSource,
    MissingLibrary,
    Reader,
    RowSource,
    SourceError,
    as_source,
    register,
)


class HasArray:
    def __array__(self, dtype=None, copy=None):
        return np.ones((2, 2))

    def __call__(self):
        return [np.ones((2, 2))]


@pytest.mark.parametrize(
    "X",
    [
        np.ones((3, 2)), [[1.0, 2.0]], [], (), [["a", "b"]], [1.0, "a"], sp.csr_array((3, 3)), 5,
        None, {"a": 1}, {1, 2}, range(3), HasArray(), HasArray, b"x.npy", object(),
    ],
    # The same in every process: no addresses.
    ids=lambda X: X.__name__ if isinstance(X, type) else type(X).__name__,
)  # fmt: skip
def test_what_is_in_memory_is_left_alone(X):
    assert as_source(X) is None


def test_data_frames_are_left_alone():
    pandas = pytest.importorskip("pandas")
    assert as_source(pandas.DataFrame(np.ones((3, 2)))) is None
    assert as_source(pandas.Series([1.0])) is None


@pytest.mark.parametrize("path", ["data.csv", "data", "data.npz", "", "a::b", "x.npy::inside"])
def test_paths_that_say_nothing(path):
    with pytest.raises(SourceError, match=r"one of .npy, .parquet, .h5, .hdf5, .zarr, or be a"):
        as_source(path)


def test_what_was_asked_for_is_checked(tmp_path):
    np.save(tmp_path / "x.npy", rows_of(5, 3))
    assert as_source(tmp_path / "x.npy", n_features=3, dtype="f4").n_features == 3
    with pytest.raises(SourceError, match="3 columns, but 4 are expected"):
        as_source(tmp_path / "x.npy", n_features=4)
    source = as_source(tmp_path / "x.npy")
    assert as_source(source) is source
    with pytest.raises(SourceError, match="delivers float32, but float64 is expected"):
        as_source(source, dtype="f8")


def test_ours_offer_the_protocol(tmp_path):
    np.save(tmp_path / "x.npy", rows_of(5, 3))
    with as_source(tmp_path / "x.npy") as source:
        assert isinstance(source, RowSource)
        assert "5 × 3, float32" in repr(source)
    assert isinstance(as_source(lambda: [rows_of(5, 3)]), RowSource)


def test_register():
    class Sensor:
        def __call__(self):  # the rows above "callable" are asked first
            raise AssertionError

    reader = Reader(
        "sensor",
        lambda X, options: isinstance(X, Sensor),
        lambda X, options: BatchSource(lambda: [rows_of(5, 3)], dtype=options.dtype),
    )
    before = list(READERS)
    try:
        register(reader)
        assert as_source(Sensor(), dtype="f8").dtype == np.float64
        with pytest.raises(ValueError, match="already"):
            register(reader)
        with pytest.raises(ValueError, match="nobody"):
            register(Reader("other", None, None), before="nobody")
    finally:
        READERS[:] = before


LIBRARIES = ("pyarrow", "zarr", "h5py", "dask")


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_recognising_imports_nothing(tmp_path):
    """Neither the room nor looking through the whole table imports a library."""
    np.save(tmp_path / "x.npy", rows_of(5, 3))
    program = f"""
import sys
import numpy as np
import sklearn.cluster  # may import what it likes
before = [name for name in {LIBRARIES} if name in sys.modules]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {LIBRARIES}:
            raise AssertionError("imported " + name)
sys.meta_path.insert(0, Refuse())
from tilewise.sources import READERS, Options, as_source
def named(module, name):
    return type(name, (), {{"__module__": module}})()
cases = {{
    "pyarrow dataset": named("pyarrow._dataset", "Dataset"),
    "pyarrow table": named("pyarrow.lib", "Table"),
    "pyarrow reader": named("pyarrow.lib", "RecordBatchReader"),
    "zarr": named("zarr.core.array", "Array"),
    "hdf5": named("h5py._hl.dataset", "Dataset"),
    "dask": named("dask.array.core", "Array"),
    "path": "x.parquet", "paths": ["a.zarr", "b.h5"], "callable": print,
    "iterator": iter([]), None: np.ones((2, 2)),
}}
for kind, X in cases.items():
    found = [reader.name for reader in READERS if reader.recognises(X, Options())]
    assert (found[0] if found else None) == kind, (kind, found)
assert as_source([[1.0]]) is None
as_source({str(tmp_path / "x.npy")!r})
as_source(lambda: [np.ones((2, 2))])
print([name for name in {LIBRARIES} if name in sys.modules and name not in before])
"""
    assert run(program) == "[]\n"


@pytest.mark.parametrize("ending", ["parquet", "h5", "zarr"])
def test_a_library_that_is_missing(tmp_path, monkeypatch, ending):
    path = tmp_path / f"x.{ending}"
    path.touch()
    library = {"parquet": "pyarrow", "h5": "h5py", "zarr": "zarr"}[ending]
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingLibrary, match=rf'needs {library}, .*pip install "tilewise\[io\]"'):
        as_source(path)
    with pytest.raises(ImportError):
        as_source(path)


def test_the_room_imports_no_room_beside_it():
    program = """
import sys
from tilewise import sources
print(sources.__name__)
"""
    assert run(program) == "tilewise.sources\n"
    folder = os.path.dirname(sys.modules["tilewise.sources"].__file__)
    for name in os.listdir(folder):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                for line in file:
                    if "import" in line and "tilewise." in line:
                        # Types, printable text and readable numbers are no rooms: files
                        # below all of them, which import none.
                        files = ("sources", "_typing import", "_text import", "_numbers import")
                        assert any(f"from tilewise.{file}" in line for file in files), (name, line)


def test_lists_of_paths_and_other_things():
    with pytest.raises(SourceError, match="item 1 is ndarray"):
        as_source(["x.npy", np.ones((2, 2))])

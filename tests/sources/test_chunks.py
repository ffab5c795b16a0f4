"""Zarr, HDF5 and dask arrays."""

import json
import os
import shutil

import damage
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of

from tilewise.sources import Prefetch, SourceError, _chunks, as_source

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
da = pytest.importorskip("dask.array")

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 8))
CHUNKS = st.tuples(st.integers(1, 45), st.integers(1, 9))
PARTS = st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)), max_size=5)
TYPES = st.sampled_from(["f4", "f8", ">f4", "i2", "f2"])


def check(source, X, parts):
    wanted = X.astype("f4" if X.dtype.kind == "f" and X.itemsize == 4 else "f8")
    assert (source.n_rows, source.n_features) == X.shape
    assert source.dtype == wanted.dtype
    for first, count in parts:
        out = np.full((count, X.shape[1]), -1, source.dtype)
        got = source.read(first, out)
        assert out[:got].tolist() == wanted[first : first + count].tolist()
    for rows in (7, 100):
        assert read_in_parts(source, rows).tobytes() == wanted.tobytes()
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()


@pytest.fixture(autouse=True, params=["grouped", "single", "not kept"], scope="module")
def _bands(request):
    """Chunks taken together, chunk by chunk, and too large to be kept."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "grouped":
            patch.setattr(_chunks, "_LEAST_BYTES", 1)
        if request.param == "not kept":
            patch.setattr(_chunks, "_MOST_KEPT_BYTES", 0)
        yield


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, chunks=CHUNKS, dtype=TYPES, parts=PARTS, form=st.sampled_from([2, 3]))
def test_any_part_of_zarr(shape, chunks, dtype, parts, form):
    X = rows_of(*shape, dtype)
    array = zarr.create_array({}, shape=shape, chunks=chunks, dtype=X.dtype, zarr_format=form)
    array[...] = X
    check(as_source(array), X, parts)


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES, chunks=CHUNKS, dtype=TYPES, parts=PARTS, how=st.sampled_from(["gzip", "", None])
)
def test_any_part_of_hdf5(tmp_path_factory, shape, chunks, dtype, parts, how):
    X = rows_of(*shape, dtype)
    layout = {} if how is None else {"chunks": tuple(map(min, chunks, shape))}
    with h5py.File(tmp_path_factory.mktemp("h") / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=X, compression=how or None, **layout)
        check(as_source(dataset), X, parts)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(any),
    columns=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=TYPES,
    parts=PARTS,
)
def test_any_part_of_dask(rows, columns, dtype, parts):
    X = rows_of(sum(rows), sum(columns), dtype)
    array = da.from_array(X, chunks=(sum(rows), sum(columns))).rechunk(
        (tuple(rows), tuple(columns))
    )
    check(as_source(array), X, parts)


def test_files_and_what_is_inside(tmp_path):
    X = rows_of(3000, 5)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["only"] = X
        file.create_group("empty")
    source = as_source(tmp_path / "x.h5")
    assert source.name == f"{tmp_path / 'x.h5'}::/only"
    assert source.locate(12) == f"{source.name}, row 12"
    assert read_in_parts(source, 700).tobytes() == X.tobytes()
    source.close()
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["empty/other"] = X[::-1]
    with pytest.raises(SourceError, match=r"holds 2 arrays: empty/other, only; name one as .*::N"):
        as_source(tmp_path / "x.h5")
    with as_source(f"{tmp_path / 'x.h5'}::empty/other") as source:
        assert read_in_parts(source, 700).tobytes() == X[::-1].tobytes()
    for name in ("nothing", "empty"):
        with pytest.raises(SourceError, match=f"holds no array '{name}', only empty/other, only"):
            as_source(f"{tmp_path / 'x.h5'}::{name}")
    (tmp_path / "bad.hdf5").write_bytes(b"not hdf5")
    with pytest.raises(SourceError, match=r"bad.hdf5: cannot be read as an HDF5 file"):
        as_source(tmp_path / "bad.hdf5")
    with pytest.raises(SourceError, match=r"none.h5: cannot be read: no such file"):
        as_source(tmp_path / "none.h5")


@pytest.mark.parametrize("form", [2, 3])
def test_zarr_directories(tmp_path, form):
    X = rows_of(3000, 5)
    path = str(tmp_path / "x.zarr")
    array = zarr.create_array(path, shape=X.shape, chunks=(400, 3), dtype="f4", zarr_format=form)
    array[...] = X
    os.rename(path, tmp_path / "plain")
    for place in (tmp_path / "plain", f"{tmp_path / 'plain'}"):
        assert read_in_parts(as_source(place), 700).tobytes() == X.tobytes()
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w", zarr_format=form)
    for name in ("a", "b"):
        group.create_array(name, shape=X.shape, chunks=(400, 5), dtype="f4")[...] = X
    with pytest.raises(SourceError, match="holds 2 arrays"):
        as_source(tmp_path / "g.zarr")
    source = as_source(f"{tmp_path / 'g.zarr'}::b")
    assert read_in_parts(source, 700).tobytes() == X.tobytes()
    with pytest.raises(SourceError, match="holds no array 'c'"):
        as_source(f"{tmp_path / 'g.zarr'}::c")
    (tmp_path / "bad.zarr").mkdir()
    with pytest.raises(SourceError, match=r"bad.zarr: cannot be read as Zarr"):
        as_source(tmp_path / "bad.zarr")
    with pytest.raises(SourceError, match=r"none.zarr: cannot be read: no such file"):
        as_source(tmp_path / "none.zarr")


def test_zarr_shards(tmp_path):
    X = rows_of(3000, 5)
    path = str(tmp_path / "x.zarr")
    array = zarr.create_array(path, shape=X.shape, chunks=(100, 5), shards=(1000, 5), dtype="f4")
    array[...] = X
    assert read_in_parts(as_source(path), 700).tobytes() == X.tobytes()


def test_zarr_that_changes(tmp_path):
    X = rows_of(3000, 5)
    path = str(tmp_path / "x.zarr")
    array = zarr.create_array(path, shape=X.shape, chunks=(400, 5), dtype="f4")
    array[...] = X
    source = as_source(path)
    before = source.fingerprint()
    with Prefetch(source, rows=500) as parts:
        assert sum(len(rows) for _, rows in parts) == 3000
    array[5] = 3
    with pytest.raises(SourceError, match=r"x.zarr: changed while it was being read"):
        source.read(0, np.empty((3, 5), "f4"))
    assert as_source(path).fingerprint() != before


def test_a_damaged_chunk(tmp_path):
    path = str(tmp_path / "x.zarr")
    array = zarr.create_array(path, shape=(3000, 5), chunks=(400, 5), dtype="f4")
    array[...] = np.random.default_rng(0).normal(size=(3000, 5))
    with open(os.path.join(path, "c", "3", "0"), "r+b") as file:
        file.truncate(50)
    source = as_source(path)
    with pytest.raises(SourceError, match=r"x.zarr: rows \d+ to \d+ could not be read") as caught:
        read_in_parts(source, 400)
    assert caught.value.row <= 1200
    assert caught.value.__cause__ is not None


def test_hdf5_that_changes(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = rows_of(300, 5)
    source = as_source(path)
    read_in_parts(source, 100)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"x.h5: changed while it was being read"):
        source.read(0, np.empty((3, 5), "f4"))


def test_a_damaged_hdf5_chunk(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        X = np.random.default_rng(0).normal(size=(3000, 5))
        dataset = file.create_dataset("x", data=X, chunks=(500, 5), compression="gzip")
        place = dataset.id.get_chunk_info(2)
    with open(path, "r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * 1000)
    source = as_source(path)
    with pytest.raises(SourceError, match=r"x.h5::/x: rows \d+ to \d+ could not be read"):
        read_in_parts(source, 500)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2), (5, 0)])
def test_shapes_that_are_no_rows(tmp_path, shape):
    message = "no columns" if shape == (5, 0) else "expected rows and columns"
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones(shape)
        with pytest.raises(SourceError, match=message):
            as_source(file["x"])
    with pytest.raises(SourceError, match=message):
        as_source(zarr.create_array({}, shape=shape, dtype="f4"))
    with pytest.raises(SourceError, match=message):
        as_source(da.ones(shape))


def test_types_that_are_no_numbers(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones((3, 2), "c8")
        with pytest.raises(SourceError, match="real numbers, got dtype complex64"):
            as_source(file["x"])
        file["s"] = np.array([[b"a", b"b"]], "S1")
        with pytest.raises(SourceError, match="real numbers"):
            as_source(file["s"])
    with pytest.raises(SourceError, match="real numbers, got dtype complex64"):
        as_source(zarr.create_array({}, shape=(3, 2), dtype="c8"))
    with pytest.raises(SourceError, match="real numbers, got Python objects"):
        as_source(da.from_array(np.ones((3, 2), object), chunks=(3, 2)))


def test_no_rows(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones((0, 3), "f4")
        assert read_in_parts(as_source(file["x"]), 5).shape == (0, 3)
    assert read_in_parts(as_source(da.ones((0, 3))), 5).shape == (0, 3)
    assert read_in_parts(as_source(zarr.create_array({}, shape=(0, 3), dtype="f4")), 5).size == 0


def test_dask_blocks_are_computed_once_in_a_pass():
    X, computed = rows_of(1000, 4), []

    def block(values, block_info=None):
        computed.append(block_info[None]["chunk-location"])
        return values + 0

    array = da.from_array(X, chunks=(300, 2)).map_blocks(block, dtype="f4", meta=np.empty((0, 0)))
    source = as_source(array)
    computed.clear()
    assert read_in_parts(source, 70).tobytes() == X.tobytes()
    assert sorted(computed) == [(i, j) for i in range(4) for j in range(2)]


def test_dask_with_unknown_sizes():
    X = rows_of(1000, 4)
    array = da.from_array(X, chunks=(300, 4))
    array = array[array[:, 0] > 40]
    wanted = X[X[:, 0] > 40]
    source = as_source(array)
    assert source.n_rows is None
    for _ in range(2):
        assert read_in_parts(source, 70).tobytes() == wanted.tobytes()
    assert source.n_rows == len(wanted)
    several = da.from_array(X, chunks=(300, 2))
    with pytest.raises(SourceError, match=r"compute_chunk_sizes\(\) first"):
        as_source(several[several[:, 0] > 40])


def test_dask_blocks_that_are_not_what_was_promised():
    array = da.from_array(rows_of(1000, 4), chunks=(300, 4))
    lying = array.map_blocks(lambda values: values[:-1], dtype="f4", meta=np.empty((0, 0), "f4"))
    with pytest.raises(SourceError, match=r"rows 0 to 299 came as shape \(299, 4\)"):
        read_in_parts(as_source(lying), 70)

    def fails(values):
        raise RuntimeError("no luck")

    failing = array.map_blocks(fails, dtype="f4", meta=np.empty((0, 0), "f4"))
    with pytest.raises(SourceError, match="rows 0 to 299 could not be read: RuntimeError: no luck"):
        read_in_parts(as_source(failing), 70)


@pytest.mark.parametrize("chunks", [None, (64, 3)])
def test_damage_anywhere_in_an_hdf5_file(tmp_path, chunks):
    path, good = tmp_path / "x.h5", tmp_path / "good.h5"
    with h5py.File(good, "w") as file:
        file.create_dataset("rows", data=np.arange(900.0).reshape(300, 3), chunks=chunks)
    content, refused = good.read_bytes(), 0
    for seed in range(60):
        path.write_bytes(damage.damaged(content, seed))
        refused += not named_or_read(path)
    assert refused > 5


def test_damage_anywhere_in_a_zarr_array(tmp_path):
    good = tmp_path / "good.zarr"
    zarr.open(str(good), mode="w", shape=(300, 3), chunks=(64, 3), dtype="f8")[:] = 1.5
    names = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
    refused = 0
    for seed in range(60):
        path = tmp_path / f"x{seed}.zarr"
        shutil.copytree(good, path)
        target = path / (names[seed % len(names)] if seed % 2 else names[-1])
        target.write_bytes(damage.damaged(target.read_bytes(), seed))
        refused += not named_or_read(path)
    assert refused > 5


def test_an_array_that_claims_more_chunks_than_memory_can_list(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("rows", shape=(2**58, 2), chunks=(64, 2), dtype="f8")
    with pytest.raises(SourceError, match=r"x\.h5::/rows: claims \d+ rows or columns in chunks"):
        as_source(str(path))


def named_or_read(path):
    """Whether all rows can be read; where not, the error must name the file."""
    said = None
    try:
        with as_source(str(path)) as source:
            out = np.empty((100, source.n_features), source.dtype)
            first = 0
            while first < 1000 and (count := source.read(first, out)):
                first += count
    except SourceError as error:
        said = str(error)
    assert said is None or (str(path) in said and said.isprintable())
    return said is None

"""Tables, Parquet files and data sets of pyarrow."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of

from tilewise import KMeans, argkmin
from tilewise.sources import Prefetch, SourceError, as_source, read_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ds = pytest.importorskip("pyarrow.dataset")


def table_of(X, kind="columns"):
    if kind == "columns":
        return pa.table({f"c{index}": np.ascontiguousarray(x) for index, x in enumerate(X.T)})
    values = pa.array(np.ascontiguousarray(X).ravel())
    if kind == "fixed":
        return pa.table({"e": pa.FixedSizeListArray.from_arrays(values, X.shape[1])})
    if kind == "tensor":
        fixed = pa.FixedSizeListArray.from_arrays(values, X.shape[1])
        tensor = pa.fixed_shape_tensor(values.type, (X.shape[1],))
        return pa.table({"e": pa.ExtensionArray.from_storage(tensor, fixed)})
    offsets = pa.array(np.arange(len(X) + 1) * X.shape[1], pa.int32())
    return pa.table({"e": pa.ListArray.from_arrays(offsets, values)})


def parquet(path, X, kind="columns", **options):
    table = X if isinstance(X, pa.Table) else table_of(X, kind)
    pq.write_table(table, path, **options)
    return str(path)


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(0, 60),
    group=st.integers(1, 25),
    kind=st.sampled_from(["columns", "fixed", "tensor", "list"]),
    dtype=st.sampled_from(["f4", "f8", "i4", "f2"]),
    parts=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 40)), max_size=5),
)
def test_any_part_of_a_file(tmp_path_factory, n_rows, group, kind, dtype, parts):
    X = rows_of(n_rows, 3, dtype)
    wanted = X.astype("f4" if dtype == "f4" else "f8")
    path = parquet(tmp_path_factory.mktemp("p") / "x.parquet", X, kind, row_group_size=group)
    source = as_source(path, n_features=3)
    assert (source.n_rows, source.n_features, source.dtype) == (n_rows, 3, wanted.dtype)
    for first, count in parts:
        out = np.empty((count, 3), source.dtype)
        got = source.read(first, out)
        assert out[:got].tolist() == wanted[first : first + count].tolist()
    assert read_in_parts(source, 17).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("kind", ["columns", "fixed", "tensor", "list"])
def test_tables_batches_and_readers(kind):
    X = rows_of(1000, 5)
    table = table_of(X, kind)
    chunked = pa.concat_tables([table.slice(0, 333), table.slice(333, 1), table.slice(334)])
    for given_ in (table, chunked, table.slice(7, 500), table.to_batches()[0].slice(5, 90)):
        wanted = X[7:507] if given_.num_rows == 500 else X[5:95] if given_.num_rows == 90 else X
        source = as_source(given_)
        assert (source.random_access, source.one_shot, source.n_rows) == (True, False, len(wanted))
        for rows in (2000, 77):
            assert read_in_parts(source, rows).tobytes() == wanted.tobytes()
    reader = as_source(chunked.to_reader(max_chunksize=100))
    assert reader.one_shot
    assert reader.n_rows is None
    assert read_in_parts(reader, 77).tobytes() == X.tobytes()
    assert reader.n_rows == 1000
    with pytest.raises(SourceError, match="once only"):
        reader.read(0, np.empty((3, 5), "f4"))


def test_lists_of_fixed_size_are_not_copied():
    X = rows_of(1000, 5)
    table = table_of(X, "fixed")
    source = as_source(table)
    (batch,) = table.to_batches()
    (values,) = source._features.block(batch, 0)
    address = table.column("e").chunk(0).values.buffers()[1].address
    assert values.ctypes.data == address


def test_several_batches_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewise.sources._arrow._BATCH_BYTES", 1 << 12)
    X = rows_of(5000, 6)
    path = parquet(tmp_path / "x.parquet", X, row_group_size=1700)
    source = as_source(path)
    assert read_in_parts(source, 999).tobytes() == X.tobytes()
    out = np.empty((10, 6), "f4")
    for first in (4990, 0, 1699, 1700, 3401, 3400, 2):
        assert source.read(first, out) == 10
        assert out.tobytes() == X[first : first + 10].tobytes()


def test_a_part_begins_at_its_row_group(tmp_path, monkeypatch):
    X = rows_of(1000, 2)
    source = as_source(parquet(tmp_path / "x.parquet", X, row_group_size=100))
    started = []
    inner = source._batches
    monkeypatch.setattr(source, "_batches", lambda start: started.append(start) or inner(start))
    parts = [(950, 20), (970, 30), (310, 20), (555, 5), (560, 10), (0, 10)]
    with Prefetch(source, parts) as reader:
        for first, rows in reader:
            assert rows.tobytes() == X[first : first + len(rows)].tobytes()
    assert started == [900, 300, 500, 0]


def test_types_and_the_columns_that_are_asked_for(tmp_path):
    columns = {
        "a": pa.array([1, 2, 3], pa.int8()),
        "b": pa.array([1.5, 2.5, 3.5], pa.float32()),
        "c": pa.array([True, False, True]),
        "d": pa.array([1, 2, 3], pa.decimal128(5, 2)),
        "a.b": pa.array([7.0, 8.0, 9.0], pa.float32()),
        "name": pa.array(["x", "y", "z"]),
    }
    path = parquet(tmp_path / "x.parquet", pa.table(columns))
    with pytest.raises(SourceError, match="column 'name' is of type string, not numbers; choose"):
        as_source(path)
    source = as_source(path, columns=["d", "c", "b", "a"])
    assert source.dtype == np.float64
    assert read_in_parts(source, 2).tolist() == [[1, 1, 1.5, 1], [2, 0, 2.5, 2], [3, 1, 3.5, 3]]
    source = as_source(path, columns=["a.b", "b"])
    assert source.dtype == np.float32
    assert read_in_parts(source, 2).tolist() == [[7, 1.5], [8, 2.5], [9, 3.5]]
    with pytest.raises(SourceError, match="there is no column named 'z'; it has 'a', 'b'"):
        as_source(path, columns=["z"])
    with pytest.raises(SourceError, match="there are no columns"):
        as_source(path, columns=[])


def test_columns_that_cannot_be_features():
    lists = pa.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(SourceError, match="column 'e' holds lists and there are 1 columns beside"):
        as_source(pa.table({"e": lists, "x": [1.0, 2.0]}))
    assert as_source(pa.table({"e": lists, "x": [1.0, 2.0]}), columns=["e"]).n_features == 2
    with pytest.raises(SourceError, match="column 'e' holds lists of string, not"):
        as_source(pa.table({"e": pa.array([["a"], ["b"]])}))
    with pytest.raises(SourceError, match="dictionary"):
        as_source(pa.table({"e": pa.array(["a", "b"]).dictionary_encode()}))
    with pytest.raises(SourceError, match="more than one is named 'e'"):
        as_source(pa.Table.from_arrays([lists, lists], ["e", "e"]))
    with pytest.raises(SourceError, match="is not known; pass n_features"):
        as_source(pa.table({"e": pa.array([], pa.list_(pa.float32()))}))
    with pytest.raises(SourceError, match="no columns"):
        as_source(pa.table({}))
    with pytest.raises(SourceError, match="lists of column 'e' are empty"):
        as_source(pa.table({"e": pa.array([], pa.list_(pa.float32(), 0))}))


@pytest.mark.parametrize("where", ["file", "table", "reader", "dataset"])
def test_nulls_are_named(tmp_path, where):
    columns = [rows_of(500, 1, "f8")[:, 0].tolist() for _ in range(3)]
    columns[1][444] = None
    columns[2][333] = None
    table = pa.table({"a": columns[0], "b": columns[1], "c": columns[2]})
    path = parquet(tmp_path / "x.parquet", table, row_group_size=100)
    given_ = {
        "file": path,
        "table": table,
        "reader": table.to_reader(),
        "dataset": ds.dataset(path),
    }
    source = as_source(given_[where])
    with pytest.raises(SourceError, match=r"row 333, column 'c': is null; fill it") as caught:
        read_in_parts(source, 50)
    assert caught.value.row == 333
    if where == "file":
        assert path in str(caught.value)


def test_nulls_in_lists():
    holes = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    with pytest.raises(SourceError, match="row 1, column 'e': is null"):
        read_in_parts(as_source(pa.table({"e": holes})), 5)
    inside = pa.array([[1.0, 2.0], [3.0, 4.0], [3.0, None]], pa.list_(pa.float32(), 2))
    with pytest.raises(SourceError, match="row 2, column 'e', place 1: is null"):
        read_in_parts(as_source(pa.table({"e": inside})), 5)
    ragged = pa.table({"e": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0]])})
    with pytest.raises(
        SourceError, match="row 2: column 'e' holds a list of length 1, but 2"
    ) as bad:
        as_source(ragged)
    assert bad.value.row == 2


def test_a_directory_of_parquet_files(tmp_path):
    X = rows_of(900, 4)
    for index in range(3):
        parquet(tmp_path / f"{index}.parquet", X[index * 300 :][:300], row_group_size=70)
    source = as_source(tmp_path)
    assert source.n_rows == 900
    assert read_in_parts(source, 111).tobytes() == X.tobytes()
    assert source.locate(601) == f"{tmp_path / '2.parquet'}, row 1"
    assert not source.random_access
    parquet(tmp_path / "3.parquet", table_of(rows_of(5, 3)))
    with pytest.raises(SourceError, match=r"3.parquet: columns 3, but .*0.parquet has 4"):
        as_source(tmp_path)


def test_a_null_in_the_third_file(tmp_path):
    for index in range(3):
        values = [1.0] * 50
        values[20] = None if index == 2 else 0.0
        parquet(tmp_path / f"{index}.parquet", pa.table({"x": values}))
    source = as_source(tmp_path)
    with pytest.raises(SourceError, match=r"2.parquet, row 20, column 'x': is null") as caught:
        read_in_parts(source, 30)
    assert (caught.value.row, caught.value.shard) == (120, str(tmp_path / "2.parquet"))


def test_data_sets(tmp_path):
    X = rows_of(900, 3)
    for index in range(3):
        parquet(tmp_path / f"{index}.parquet", X[index * 300 :][:300], row_group_size=70)
    dataset = ds.dataset(tmp_path)
    source = as_source(dataset)
    assert source.n_rows == 900
    assert read_in_parts(source, 111).tobytes() == X.tobytes()
    assert source.locate(601) == f"{tmp_path / '2.parquet'}, row 1"
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
    chosen = as_source(dataset, columns=["c2", "c0"], dtype="f8")
    assert read_in_parts(chosen, 500).tobytes() == X[:, [2, 0]].astype("f8").tobytes()

    filtered = as_source(dataset.filter(ds.field("c0") >= 50))
    wanted = X[X[:, 0] >= 50]
    assert filtered.n_rows is None
    for _ in range(2):
        assert read_in_parts(filtered, 111).tobytes() == wanted.tobytes()
    assert filtered.n_rows == len(wanted)
    out = np.empty((5, 3), "f4")
    assert filtered.read(100, out) == 5
    assert out.tobytes() == wanted[100:105].tobytes()
    assert json.loads(json.dumps(filtered.fingerprint())) == filtered.fingerprint()

    in_memory = as_source(ds.dataset(table_of(X)))
    assert in_memory.n_rows == 900
    assert read_in_parts(in_memory, 111).tobytes() == X.tobytes()


def test_columns_that_stand_in_the_names_of_folders(tmp_path):
    X = rows_of(600, 3, "f8")
    for index in range(2):
        (tmp_path / f"year={index}").mkdir()
        parquet(tmp_path / f"year={index}" / "x.parquet", X[index * 300 :][:300])
    source = as_source(ds.dataset(tmp_path, partitioning="hive"))
    wanted = np.column_stack([X, np.repeat([0.0, 1.0], 300)])
    assert source.n_rows == 600
    assert read_in_parts(source, 111).tobytes() == wanted.tobytes()
    assert source.locate(301) == f"{tmp_path / 'year=1' / 'x.parquet'}, row 1"


def test_other_formats_of_data_sets(tmp_path):
    csv = pytest.importorskip("pyarrow.csv")
    X = rows_of(300, 3, "f8")
    csv.write_csv(table_of(X), tmp_path / "x.csv")
    source = as_source(ds.dataset(tmp_path / "x.csv", format="csv"))
    assert source.n_rows is None
    assert read_in_parts(source, 111).tobytes() == X.tobytes()


def test_damaged_parquet(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(20_000, 3), row_group_size=5000)
    with open(path, "rb") as file:
        content = file.read()
    for bad in (b"", b"PAR1", b"nonsense" * 9, content[:-50], content[100:]):
        (tmp_path / "bad.parquet").write_bytes(bad)
        with pytest.raises(SourceError, match=r"bad.parquet: (cannot be read as|record batch 0)"):
            read_in_parts(as_source(tmp_path / "bad.parquet"), 999)
    with pytest.raises(SourceError, match=r"none.parquet: cannot be read: no such file"):
        as_source(tmp_path / "none.parquet")
    damaged = bytearray(content)
    middle = len(damaged) // 2
    damaged[middle : middle + 4000] = b"\xff" * 4000
    (tmp_path / "bad.parquet").write_bytes(damaged)
    with pytest.raises(SourceError, match=r"bad.parquet: record batch \d+ \(from row \d+ on\)"):
        read_in_parts(as_source(tmp_path / "bad.parquet"), 999)


def test_a_file_that_changes(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(5000, 3), row_group_size=1000)
    source = as_source(path)
    before = source.fingerprint()
    read_in_parts(source, 999)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"x.parquet: changed while it was being read: it was"):
        source.read(0, np.empty((3, 3), "f4"))
    assert as_source(path).fingerprint() != before
    filtered = as_source(ds.dataset(path).filter(ds.field("c0") >= 0))
    read_in_parts(filtered, 999)
    os.utime(path, ns=(2, 2))
    with pytest.raises(SourceError, match=r"x.parquet: changed while it was being read"):
        read_in_parts(filtered, 999)


@pytest.mark.parametrize("kind", ["columns", "fixed"])
def test_memory_stays_bounded(tmp_path, kind):
    """One row group of 64 MB is decoded a few pages at a time."""
    X = rows_of(1_000_000, 16)
    path = parquet(tmp_path / "x.parquet", X, kind, row_group_size=len(X), use_dictionary=False)
    pool = pa.default_memory_pool()
    source = as_source(path)
    out = np.empty((50_000, 16), "f4")
    before, most = pool.bytes_allocated(), 0
    for first in range(0, len(X), len(out)):
        assert source.read(first, out) == len(out)
        assert out[0].tobytes() == X[first].tobytes()
        most = max(most, pool.bytes_allocated() - before)
    assert 0 < most <= source.held_bytes < X.nbytes


@pytest.mark.parametrize("dtype", ["f2", "i1", "u1", "i2", "f4", "f8"])
def test_tables_in_memory_keep_their_type(dtype):
    X = np.arange(-20, 30).reshape(10, 5).clip(0 if dtype == "u1" else -20, 30).astype(dtype)
    for kind in ("columns", "fixed", "list"):
        table = table_of(X, kind)
        for given_ in (table, pa.concat_tables([table.slice(0, 3), table.slice(3)])):
            rows, names = read_table(given_)
            assert rows.dtype == X.dtype
            assert np.array_equal(rows, X)
            assert (names is None) == (kind != "columns")
            if kind == "fixed" and given_ is table:
                assert rows.ctypes.data == table.column("e").chunk(0).values.buffers()[1].address
        found = [KMeans(3, random_state=0, n_init=1).fit(rows) for rows in (table, X)]
        assert found[0].cluster_centers_.tobytes() == found[1].cluster_centers_.tobytes()
        assert np.array_equal(argkmin(table, table, 2)[1], argkmin(X, X, 2)[1])


def test_columns_of_several_narrow_types_are_as_wide_as_they_must_be():
    columns = {"a": ("i1", -128), "b": ("u1", 255), "c": ("f2", 0.5), "d": ("i2", 2049)}
    for names, dtype in (("ab", "i2"), ("ac", "f2"), ("abc", "f2"), ("cd", "f8")):
        table = pa.table({n: np.full(4, columns[n][1], columns[n][0]) for n in names})
        rows = read_table(table)[0]
        assert rows.dtype == dtype
        assert rows.tolist() == [[columns[n][1] for n in names]] * 4
    assert as_source(table).dtype == np.float64

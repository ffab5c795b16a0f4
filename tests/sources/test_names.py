"""Columns with names: which are an index, and how parts are joined."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of
from stream_data import ArraySource

from tilewise.sources import Prefetch, Shards, SourceError, as_source, names_of, with_columns


def named(X, names, **kind):
    source = ArraySource(X, **kind)
    source.name = f"rows named {''.join(names)}"
    source.feature_names = names
    return source


# ---------------------------------------------------------------- any source


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(4)).flatmap(
        lambda order: st.integers(1, 4).map(lambda count: order[:count])
    ),
    parts=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 40)), max_size=5),
    stage=st.integers(1, 50),
)
def test_chosen_columns_of_any_part(order, parts, stage):
    X = rows_of(60, 4)
    source = with_columns(named(X, list("abcd")), ["abcd"[index] for index in order])
    source._rows = stage
    assert (source.n_rows, source.n_features, source.random_access) == (60, len(order), True)
    assert names_of(source) == tuple("abcd"[index] for index in order)
    for first, count in parts:
        out = np.full((count, len(order)), 7, "f4")
        got = source.read(first, out)
        assert out[:got].tolist() == X[first : first + count, order].tolist()
        assert (out[got:] == 7).all()
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
    if order != [0, 1, 2, 3]:
        assert source.fingerprint() != with_columns(named(X, list("abcd")), "abcd").fingerprint()
        assert source.held_bytes == stage * 4 * 4


def test_columns_that_cannot_be_chosen():
    X = rows_of(5, 3)
    source = named(X, ("a", "b", "b"))
    assert with_columns(source, ("a", "b", "b")) is source
    with pytest.raises(SourceError, match=r"no column named 'c'; it has 'a', 'b', 'b'"):
        with_columns(source, ["c"])
    with pytest.raises(SourceError, match="more than one column is named 'b'"):
        with_columns(source, ["b", "a"])
    with pytest.raises(SourceError, match="have no names"):
        as_source(ArraySource(X), columns=["a"])
    assert as_source(source, columns=["a"]).n_features == 1
    source.feature_names = ("a", "b")
    with pytest.raises(SourceError, match="2 names for 3 columns"):
        names_of(source)


def test_shards_are_joined_by_name():
    X = rows_of(30, 3)
    members = [
        named(X[:10], "abc"), named(X[10:20, [2, 0, 1]], "cab"), named(X[20:, ::-1], "cba")
    ]  # fmt: skip
    source = Shards(members)
    assert names_of(source) == ("a", "b", "c")
    assert read_in_parts(source, 7).tobytes() == X.tobytes()
    with Prefetch(source, rows=7) as parts:
        assert np.concatenate([rows.copy() for _, rows in parts]).tobytes() == X.tobytes()
    assert source.locate(12) == "shard 0, row 2"


@pytest.mark.parametrize("names", ["abd", "aab", None])
def test_shards_with_other_names(names):
    X = rows_of(10, 3)
    other = ArraySource(X) if names is None else named(X, names)
    with pytest.raises(SourceError, match="'a', 'b', 'c'") as caught:
        Shards([named(X, "abc"), other])
    assert caught.value.shard == other.name
    if names is None:
        assert "have no names" in str(caught.value)
        with pytest.raises(SourceError, match="have no names"):
            Shards([other, named(X, "abc")])
    else:
        assert ", ".join(map(repr, names)) in str(caught.value)


def test_a_source_that_knows_of_no_names():
    source = ArraySource(rows_of(5, 2))
    assert not hasattr(source, "feature_names")
    assert names_of(source) is None
    assert as_source(source) is source


# ---------------------------------------------------------------- batches


def batches_of(pieces, kind):
    if kind == "arrays":
        return [values for values, _ in pieces]
    if kind == "pandas":
        pd = pytest.importorskip("pandas")
        return [pd.DataFrame(values, columns=names) for values, names in pieces]
    pa = pytest.importorskip("pyarrow")
    tables = [
        pa.table([np.ascontiguousarray(x) for x in values.T], names) for values, names in pieces
    ]
    return tables if kind == "tables" else [table.to_batches()[0] for table in tables]


@pytest.mark.parametrize("kind", ["pandas", "tables", "record batches"])
def test_batches_are_joined_by_name(kind):
    X = rows_of(30, 3)
    pieces = [(X[:10], list("abc")), (X[10:20, ::-1], list("cba")), (X[20:], list("abc"))]
    batches = batches_of(pieces, kind)
    for given_ in (lambda: iter(batches), iter(batches)):
        source = as_source(given_)
        assert names_of(source) == ("a", "b", "c")
        assert read_in_parts(source, 7).tobytes() == X.tobytes()
    # The order of the first pass holds for the others.
    source = as_source(lambda: iter(batches))
    for _ in range(2):
        assert read_in_parts(source, 30).tobytes() == X.tobytes()
    assert source.fingerprint()["columns"] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["pandas", "tables", "record batches"])
def test_batches_with_other_names(kind):
    X = rows_of(20, 2)
    pieces = [(X[:10], ["age", "income"]), (X[10:], ["x", "y"])]
    source = as_source(lambda: iter(batches_of(pieces, kind)))
    with pytest.raises(SourceError, match=r"batch 1: the columns are 'x', 'y', but .* 'income'"):
        read_in_parts(source, 7)
    mixed = [batches_of(pieces, kind)[0], X[10:]]
    with pytest.raises(SourceError, match="batch 1: its columns have no names"):
        read_in_parts(as_source(lambda: iter(mixed)), 7)


def test_frames_whose_names_are_numbers_go_by_position():
    pd = pytest.importorskip("pandas")
    X = rows_of(20, 2)
    source = as_source(lambda: [pd.DataFrame(X[:10]), pd.DataFrame(X[10:], columns=[5, 6])])
    assert names_of(source) is None
    assert read_in_parts(source, 7).tobytes() == X.tobytes()
    with pytest.raises(SourceError, match="some column names are texts and some are not"):
        as_source(lambda: [pd.DataFrame(X, columns=["a", 1])])


def test_frames_with_types_of_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([0.5, 2], "Float64")})
    source = as_source(lambda: [frame])
    np.testing.assert_array_equal(read_in_parts(source, 5), [[1, 0.5], [np.nan, 2]])
    with pytest.raises(SourceError, match="expected real numbers"):
        as_source(lambda: [pd.DataFrame({"a": ["x", "y"]})])


def test_a_list_of_tables():
    pa = pytest.importorskip("pyarrow")
    X = rows_of(30, 3)
    pieces = [(X[:10], list("abc")), (X[10:, ::-1], list("cba"))]
    for kind in ("tables", "record batches"):
        source = as_source(batches_of(pieces, kind))
        assert (source.n_rows, source.random_access, names_of(source)) == (30, True, tuple("abc"))
        assert read_in_parts(source, 7).tobytes() == X.tobytes()
    pieces[1] = X[10:], list("cbx")
    with pytest.raises(SourceError, match=r"Table 1: the columns are 'c', 'b', 'x', but"):
        as_source(batches_of(pieces, "tables"))
    with pytest.raises(SourceError, match="item 1 is ndarray"):
        as_source([pa.table({"a": [1.0]}), X])


# ---------------------------------------------------------------- the index of pandas


def frames():
    pd = pytest.importorskip("pandas")
    X = np.random.default_rng(0).normal(size=(20, 2))
    frame = pd.DataFrame(X, columns=["a", "b"])
    two = pd.MultiIndex.from_product([range(4), range(5)], names=["g", None])
    return X, {
        "range": frame,
        "shuffled": frame.set_axis(np.random.default_rng(0).permutation(20)),
        "named": frame.set_axis(pd.Index(np.arange(120, 100, -1), name="id")),
        "texts": frame.set_axis([f"row {i}" for i in range(20)]),
        "several": frame.set_axis(two),
        "dates": frame.set_axis(pd.date_range("2020-01-01", periods=20)),
    }


@pytest.mark.parametrize("index", ["range", "shuffled", "named", "texts", "several", "dates"])
def test_an_index_is_no_feature(tmp_path, index):
    pa = pytest.importorskip("pyarrow")
    ds = pytest.importorskip("pyarrow.dataset")
    X, kinds = frames()
    frame = kinds[index]
    path = str(tmp_path / "x.parquet")
    frame.to_parquet(path)
    table = pa.Table.from_pandas(frame)
    assert len(table.schema.names) == {"range": 2, "several": 4}.get(index, 3)
    for given_ in (
        path, str(tmp_path), [path], table, table.to_batches()[0], table.to_reader(),
        ds.dataset(path), lambda: iter(table.to_batches(7)), table.to_batches(7),
    ):  # fmt: skip
        source = as_source(given_)
        assert names_of(source) == ("a", "b")
        assert read_in_parts(source, 9).tobytes() == X.tobytes()


def test_an_index_that_is_asked_for(tmp_path):
    X, kinds = frames()
    path = str(tmp_path / "x.parquet")
    kinds["named"].to_parquet(path)
    source = as_source(path, columns=["id", "b"])
    wanted = np.column_stack([np.arange(120.0, 100, -1), X[:, 1]])
    assert read_in_parts(source, 9).tobytes() == wanted.tobytes()


def test_parts_of_which_one_has_an_index(tmp_path):
    X, kinds = frames()
    kinds["range"][:10].to_parquet(tmp_path / "0.parquet")
    kinds["shuffled"][10:][["b", "a"]].to_parquet(tmp_path / "1.parquet")
    source = as_source(tmp_path)
    assert read_in_parts(source, 9).tobytes() == X.tobytes()


def test_an_index_without_metadata():
    pa = pytest.importorskip("pyarrow")
    _, kinds = frames()
    bare = pa.Table.from_pandas(kinds["shuffled"]).replace_schema_metadata(None)
    assert names_of(as_source(bare)) == ("a", "b")
    assert names_of(as_source(bare.rename_columns(["a", "b", "c"]))) == ("a", "b", "c")


@pytest.mark.parametrize(
    "metadata",
    [
        b"no JSON", b"[]", b"{}", b'{"index_columns": 3}', b'{"index_columns": [[], {}, 1]}',
        b"\xff", b"[" * 100_000, b'{"index_columns": ["gone"]}',
    ],
)  # fmt: skip
def test_metadata_that_nobody_meant_well(metadata):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1.0], "b": [2.0]}).replace_schema_metadata({b"pandas": metadata})
    assert names_of(as_source(table)) == ("a", "b")


def test_nothing_but_an_index():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"__index_level_0__": [1.0]})
    with pytest.raises(SourceError, match="no columns beside the index '__index_level_0__'"):
        as_source(table)


def test_lists_beside_an_index():
    pa = pytest.importorskip("pyarrow")
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0)), 3)
    source = as_source(pa.table({"e": values, "__index_level_0__": [5, 6]}))
    assert names_of(source) is None
    assert read_in_parts(source, 5).tolist() == [[0, 1, 2], [3, 4, 5]]


# ---------------------------------------------------------------- files


def parquet(path, X, names):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table([np.ascontiguousarray(x) for x in X.T], list(names))
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize("way", ["folder", "list", "dataset"])
def test_parquet_parts_in_another_order(tmp_path, way):
    X = rows_of(30, 3)
    paths = [
        parquet(tmp_path / "0.parquet", X[:10], "abc"),
        parquet(tmp_path / "1.parquet", X[10:, ::-1], "cba"),
    ]
    ds = pytest.importorskip("pyarrow.dataset")
    given_ = {"folder": tmp_path, "list": paths, "dataset": ds.dataset(paths)}[way]
    source = as_source(given_)
    assert names_of(source) == ("a", "b", "c")
    assert read_in_parts(source, 7).tobytes() == X.tobytes()
    source = as_source(given_, columns=["c", "a"])
    assert read_in_parts(source, 7).tobytes() == X[:, [2, 0]].tobytes()
    parquet(tmp_path / "1.parquet", X[10:], "xyz")
    given_ = ds.dataset(paths) if way == "dataset" else given_
    with pytest.raises(SourceError, match=r"1.parquet: .*'x', 'y', 'z', but .*'a', 'b', 'c'"):
        as_source(given_)


@pytest.mark.parametrize("way", ["scale", "pandas", "zarr 2", "zarr 3"])
def test_names_beside_an_array(tmp_path, way):
    X = rows_of(20, 2)
    paths = []
    for index, (rows, names) in enumerate([(X[:9], ["a", "b"]), (X[9:, ::-1], ["b", "a"])]):
        paths.append(beside(tmp_path / str(index), rows, names, way))
        assert names_of(as_source(paths[-1])) == tuple(names)
    assert read_in_parts(as_source(paths), 7).tobytes() == X.tobytes()
    paths.append(beside(tmp_path / "2", X, ["x", "y"], way))
    with pytest.raises(SourceError, match=r"'x', 'y', but .*'a', 'b'"):
        as_source(paths)
    other = beside(tmp_path / "3", X, ["one", "two", "three"], way)
    assert names_of(as_source(other)) is None
    assert names_of(as_source(beside(tmp_path / "4", X, [1, 2], way))) is None


def beside(stem, X, names, way):
    """Write rows, and names of columns where others look for them."""
    texts = isinstance(names[0], str)
    if way.startswith("zarr"):
        zarr = pytest.importorskip("zarr")
        version = int(way[-1])
        group = zarr.open_group(f"{stem}.zarr", mode="w", zarr_format=version)
        axes = {"dimension_names": ("row", "column")} if version == 3 else {}
        array = group.create_array("X", shape=X.shape, dtype=X.dtype, **axes)
        array[...] = X
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = ["row", "column"]
        labels = np.array(names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how format 3 keeps texts is not settled
            label = group.create_array("column", shape=labels.shape, dtype=labels.dtype)
        label[...] = labels
        return f"{stem}.zarr::X"
    h5py = pytest.importorskip("h5py")
    with h5py.File(f"{stem}.h5", "w") as file:
        if way == "pandas":
            file["df/block0_values"] = X
            file["df/block0_items"] = [name.encode() for name in names] if texts else names
            return f"{stem}.h5::df/block0_values"
        file["X"] = X
        file["column"] = np.array(names, h5py.string_dtype() if texts else None)
        file["column"].make_scale("column")
        file["X"].dims[1].attach_scale(file["column"])
    return f"{stem}.h5::X"

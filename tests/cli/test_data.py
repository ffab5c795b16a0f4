"""Readers of DATA: what they accept, what they refuse, and where they say the fault is."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilewise.cli._data import Request, read_table, read_weights
from tilewise.cli._errors import BadData, MissingExtra, NoInput, WrongUsage

from .support import NAMES, write_csv


def read(name, **request):
    return read_table(Path(name), Request(**request))


def text(content, name="data.csv", encoding="utf-8"):
    Path(name).write_bytes(content.encode(encoding))
    return name


@pytest.fixture
def parquet():
    pyarrow = pytest.importorskip("pyarrow")
    writer = pytest.importorskip("pyarrow.parquet")

    def write(columns, name="data.parquet", **options):
        writer.write_table(pyarrow.table(columns), name, **options)
        return name

    return write


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i2", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_mapped_not_read(dtype, order):
    X = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype, order=order)
    np.save("data.npy", X)
    table = read("data.npy", columns="1-2")
    assert isinstance(table.values, np.memmap)
    assert table.values.dtype == X.dtype
    np.testing.assert_array_equal(table.values, X[:, 1:])
    assert table.names is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros((3, 0)), "empty"),
        (np.zeros((2, 2), complex), "complex128"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([[None]]), "Python objects"),
    ],
)
def test_npy_that_holds_no_table(array, message):
    np.save("data.npy", array, allow_pickle=True)
    with pytest.raises(BadData, match=rf"data\.npy.*{message}"):
        read("data.npy")


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "is empty"), (5, "does not begin as"), (100, "header .* is cut off"), (-8, "is cut off")],
)
def test_damaged_npy(size, said):
    np.save("data.npy", np.ones((10, 10)))
    content = Path("data.npy").read_bytes()
    Path("data.npy").write_bytes(content[:size])
    with pytest.raises(BadData, match=rf"data\.npy: .*{said}"):
        read("data.npy")


def test_npz(X):
    np.savez("one.npz", X)
    np.testing.assert_array_equal(read("one.npz").values, X)
    np.savez_compressed("two.npz", a=X, b=X[:5])
    np.testing.assert_array_equal(read("two.npz", key="b").values, X[:5])
    with pytest.raises(WrongUsage, match=r"2 arrays \(a, b\); choose with --key"):
        read("two.npz")
    with pytest.raises(WrongUsage, match="no array 'c'"):
        read("two.npz", key="c")


def test_npz_that_cannot_be_read(X):
    text("hello", "data.npz")
    with pytest.raises(BadData, match=r"not a \.npz file"):
        read("data.npz")
    np.savez("data.npz", np.array([[None]], dtype=object))
    with pytest.raises(
        BadData, match=r"data\.npz \[arr_0\]: expected real numbers, got dtype object"
    ):
        read("data.npz")
    np.savez("data.npz", X)
    content = bytearray(Path("data.npz").read_bytes())
    content[300] ^= 255
    Path("data.npz").write_bytes(content)
    with pytest.raises(BadData, match="damaged"):
        read("data.npz")


def test_a_sparse_matrix_is_refused_by_name():
    import scipy.sparse

    scipy.sparse.save_npz("data.npz", scipy.sparse.eye_array(3, format="csr"))
    with pytest.raises(BadData, match="sparse"):
        read("data.npz")


@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
@pytest.mark.parametrize("names", [NAMES, None])
def test_text_reads_back_exactly(X, name, names):
    write_csv(Path(name), X, names, delimiter="," if name == "data.csv" else "\t")
    table = read(name)
    np.testing.assert_array_equal(table.values, X)
    assert table.values.flags.c_contiguous
    assert table.names == names
    table = read(name, columns="2,0", dtype="float32")
    np.testing.assert_array_equal(table.values, X[:, [2, 0]].astype(np.float32))
    assert table.names == (None if names is None else ("depth", "height"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=40), st.booleans())
def test_any_float_survives_text(folder, rows, header):
    X = np.array(rows)
    path = write_csv(folder / "any.csv", X, ("a", "b") if header else None)
    values = read_table(path, Request(header=header)).values
    np.testing.assert_array_equal(values, X)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_blank_lines_quotes_and_spaces(ending, bom):
    lines = ['"a, b",c', "", ' 1 ,"2"', "", "3,4", "", ""]
    text(bom + ending.join(lines))
    table = read("data.csv")
    assert table.names == ("a, b", "c")
    assert table.values.tolist() == [[1, 2], [3, 4]]
    assert table.place(1, 0) == "row 5, column 'a, b'"


def test_rows_after_a_cell_of_several_lines_are_numbered_like_lines():
    text('note,x\n"one\ntwo",1\nthree,oops\n')
    with pytest.raises(BadData, match=r"row 4, column 'x': 'oops' is not a number"):
        read("data.csv", columns="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,x\n", r"row 3, column 'b': 'x' is not a number"),
        ("1,2\n3,x\n", r"row 2, column index 1: 'x' is not a number"),
        ("a,b\n1,2\n3,\n", r"row 3, column 'b': the cell is empty"),
        ("a,b\n1,2\n3\n", r"row 3: 1 cells, but the first row has 2"),
        ("a,b\n1,2\n3,4,5\n", r"row 3: 3 cells, but the first row has 2"),
        ("a,b\n1,1_000\n", r"row 2, column 'b': '1_000' is not a number"),
        ("a,b\n", r"there is a header but no row below"),
        ("", r"the file is empty"),
        ("\n\n", r"the file is empty"),
        ("a\n1\n\n2\n", r"row 3 is empty"),
        ("a,b\n1," + "9" * 60 + "x\n", r"row 2, column 'b': '9{37}\.\.\.' is not a number"),
    ],
)
def test_bad_text(content, message):
    text(content)
    with pytest.raises(BadData, match=rf"data\.csv: {message}"):
        read("data.csv")


def test_a_bad_cell_far_into_the_file_is_found():
    lines = ["a,b"] + ["1,2"] * 5000 + ["1,2.5.3"] + ["1,2"] * 5000
    text("\n".join(lines))
    with pytest.raises(BadData, match=r"row 5002, column 'b': '2\.5\.3' is not a number"):
        read("data.csv")
    assert read("data.csv", columns="a").values.shape == (10001, 1)


def test_cells_of_other_columns_may_hold_anything_but_rows_are_whole():
    text("name,x,y\nfoo_1,1,2\n,3,4\n")
    assert read("data.csv", columns="1-2").values.tolist() == [[1, 2], [3, 4]]
    text("name,x,y\nfoo,1,2\nbar,3,4,5\n")
    with pytest.raises(BadData, match="row 3: 4 cells"):
        read("data.csv", columns="x")


def test_the_header_is_told_or_asked_for():
    text("id,2019\n1,2\n")
    with pytest.raises(WrongUsage, match="--header or --no-header"):
        read("data.csv")
    assert read("data.csv", header=True).names == ("id", "2019")
    with pytest.raises(BadData, match="row 1, column index 0: 'id' is not a number"):
        read("data.csv", header=False)
    text("1,2\n3,4\n")
    assert read("data.csv", header=True).values.tolist() == [[3, 4]]
    text("5.1,setosa\n4.9,setosa\n")  # text below text is a column of text, not a name
    assert read("data.csv", columns="0").values.tolist() == [[5.1], [4.9]]


def test_the_wrong_delimiter_is_noticed():
    text("a;b\n1;2\n")
    with pytest.raises(WrongUsage, match="pass --delimiter"):
        read("data.csv")
    assert read("data.csv", delimiter=";").values.tolist() == [[1, 2]]


def test_text_that_is_not_utf8():
    text("a,b\n1,2\nä,4\n", encoding="latin-1")
    with pytest.raises(BadData, match=r"row \d or later is not UTF-8"):
        read("data.csv")


def test_conversion_refuses_what_does_not_fit():
    np.save("data.npy", np.array([[1.0, 2.0], [3.0, -1e39]]))
    with pytest.raises(BadData, match=r"row index 1, column index 1: -1e\+39 is too large"):
        read("data.npy", dtype="float32")
    text("a,b\n1,2\n3,-1e39\n")
    with pytest.raises(BadData, match=r"row 3, column 'b': '-1e39' is too large for float32"):
        read("data.csv", dtype="float32")


def test_conversion_keeps_values_and_columns(X):
    np.save("data.npy", X)
    table = read("data.npy", columns="2,1", dtype="float32")
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.values, X[:, [2, 1]].astype(np.float32))
    assert table.place(4, 0) == "row index 4, column index 2"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite(bad):
    X = np.zeros((200_000, 4), np.float32)
    X[150_001, 2] = X[150_002, 0] = bad
    np.save("data.npy", X)
    what = "NaN" if np.isnan(bad) else "infinity"
    expected = f"data.npy: row index 150001, column index 2: {what} is not allowed"
    assert read("data.npy").first_not_finite() == expected
    assert read("data.npy", columns="1,3").first_not_finite() is None


def test_parquet(X, parquet):
    columns = {name: X[:, index] for index, name in enumerate(NAMES)}
    parquet({"label": ["x"] * len(X), **columns}, row_group_size=17)
    table = read("data.parquet", columns="depth,height")
    np.testing.assert_array_equal(table.values, X[:, [2, 0]])
    assert table.names == ("depth", "height")
    np.testing.assert_array_equal(read("data.parquet", columns="1-3").values, X)
    with pytest.raises(BadData, match="column 'label' is of type string"):
        read("data.parquet")


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("f4", "f4"), "f4"), (("f4", "f8"), "f8"), (("i4", "f4"), "f8"), (("?", "u1"), "u1"),
        (("f2", "f2"), "f2"), (("f2", "f4"), "f8"),
    ],
)  # fmt: skip
def test_parquet_keeps_float32_and_narrow_types_only_where_all_are(parquet, dtypes, expected):
    parquet(
        {name: np.array([0, 1]).astype(dtype) for name, dtype in zip("ab", dtypes, strict=True)}
    )
    table = read("data.parquet")
    assert table.values.dtype == expected
    assert table.values.tolist() == [[0, 0], [1, 1]]


def test_parquet_that_cannot_be_read(parquet):
    parquet({"a": [1.0] * 20, "b": [1.0] * 13 + [None] + [1.0] * 6}, row_group_size=10)
    with pytest.raises(BadData, match=r"row 13, column 'b': is null"):
        read("data.parquet")
    assert read("data.parquet", columns="a").values.shape == (20, 1)
    parquet({"a": np.empty(0)})
    with pytest.raises(BadData, match="empty"):
        read("data.parquet")
    text("hello", "data.parquet")
    with pytest.raises(BadData, match="cannot be read as a Parquet file"):
        read("data.parquet")


def test_parquet_without_pyarrow(monkeypatch):
    text("", "data.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'pip install "tilewise\[io\]"'):
        read("data.parquet")


def test_files_that_are_not_there():
    with pytest.raises(NoInput, match=r"no\.npy: No such file"):
        read("no.npy")
    Path("folder.npy").mkdir()
    with pytest.raises(NoInput, match="is a directory"):
        read("folder.npy")
    with pytest.raises(WrongUsage, match=r"data\.dat: unknown format"):
        read("data.dat")


@pytest.mark.parametrize(
    ("name", "request_"),
    [("a.npy", {"key": "x"}), ("a.parquet", {"delimiter": ";"}), ("a.npz", {"header": True})],
)
def test_options_of_another_format_are_refused(name, request_):
    with pytest.raises(WrongUsage, match="does not apply to a"):
        read(name, **request_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(4), "expected 3 weights"),
        (np.ones((3, 1)), "expected 3 weights"),
        (np.array([1, np.nan, 1]), "row index 1"),
        (np.zeros(3), "all weights are zero"),
        (np.array(["1", "2", "3"]), "expected real numbers"),
    ],
)
def test_bad_weights(weights, message):
    np.save("w.npy", weights)
    with pytest.raises(BadData, match=rf"w\.npy: {message}"):
        read_weights(Path("w.npy"), 3)

"""What counts as a number in delimited text, and what is said of everything else."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.cli import _csv
from tilewise.cli._data import Request, read_table
from tilewise.cli._errors import BadData

NUMBERS = {
    "1": 1.0, "-1": -1.0, "+1": 1.0, "007": 7.0, "1.": 1.0, ".5": 0.5, "-.5": -0.5, "1.25": 1.25,
    "1e3": 1000.0, "1E+3": 1000.0, "1.5e-3": 0.0015, "1.e2": 100.0, "+.5E0": 0.5, "-0": 0.0,
    " 1": 1.0, "1\t": 1.0, "\t 1.5 \t": 1.5, "1e-999": 0.0, "0" * 5000 + "1": 1.0,
    '"1.5"': 1.5, '" 2 "': 2.0, '"-1e2"': -100.0,
}  # fmt: skip

NONE = [
    "١٢", "１２", "१", "²", "½", "Ⅳ", "一",  # digits of other scripts
    "\xa01", "1\u2003", "\u30001", "1\x0b", "1\x0c", "\x1c1", "1\x85", "\u20281", "1\u2029",
    "\ufeff1", "1\u200b", '"1\n"', '"\r1"', "1\x00", "\x001",
    "1_000", "1 000", "1'000", "0x10", "0b1", "0o7", "1e", "e5", ".", "+", "-", "--1", "+-1", "1-",
    "1e5.0", "1.2.3", "1f", "1d0", "1j", "1%", "$1", "(1)", "1/2", "True", "None", "NA", "N/A",
    "null", "nan(1)", "infinite", "1inf", "in", "na", "−1",
]  # fmt: skip


def read(content, name="data.csv", **request):
    Path(name).write_text(content, encoding="utf-8", newline="")
    return read_table(Path(name), Request(**request))


@pytest.mark.parametrize("cell", NUMBERS)
def test_numbers(cell):
    for content in (f"a,b\n{cell},2\n", f"a,b\r\n2,{cell}\r\n", f"a,b\r2,{cell}"):
        values = read(content).values
        assert sorted(values[0].tolist()) == sorted([NUMBERS[cell], 2.0])


@pytest.mark.parametrize("cell", NONE)
def test_everything_else(cell):
    with pytest.raises(BadData) as caught:
        read(f"a,b\n1,2\n3,{cell}\n")
    said = str(caught.value)
    shown = cell.strip('" \t') if cell.startswith('"') else cell
    assert said.startswith(f"data.csv: row 3, column 'b': {shown!r} is not a number")
    assert said.isprintable()


@pytest.mark.parametrize("cell", ["", " ", "\t", '""', '" "'])
def test_empty_cells(cell):
    with pytest.raises(BadData, match=r"data\.csv: row 3, column 'b': the cell is empty"):
        read(f"a,b\n1,2\n3,{cell}\n")


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan", "inf", "+INF", "-Infinity", " infinity "])
def test_what_is_not_finite_is_read_and_then_refused(word):
    table = read(f"a,b\n1,2\n3,{word}\n")
    assert not np.isfinite(table.values[1, 1])
    what = "NaN" if "nan" in word.lower() else "infinity"
    said = f"data.csv: row 3, column 'b': {what} is not allowed"
    assert table.first_not_finite() == said


@pytest.mark.parametrize(
    ("cell", "dtype"), [("1e999", None), ("-2e308", None), ("9" * 400, None), ("1e39", "float32")]
)
def test_numbers_that_do_not_fit(cell, dtype):
    with pytest.raises(BadData, match=rf"row 3, column 'b': '.*' is too large for {dtype or ''}"):
        read(f"a,b\n1,2\n3,{cell}\n", dtype=dtype)
    assert np.isinf(read("a,b\n1,2\n3,inf\n", dtype=dtype).values[1, 1])


def test_a_decimal_comma():
    with pytest.raises(BadData, match=r"'1,5' is not a number; write a decimal point"):
        read("a;b\n1,5;2\n", delimiter=";")


def test_marks_of_encodings():
    assert read("\ufeffa,b\n1,2\n").names == ("a", "b")
    assert read("\ufeff1,2\n").values.tolist() == [[1.0, 2.0]]
    Path("data.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(BadData, match="not UTF-8"):
        read_table(Path("data.csv"), Request())


def test_the_header_is_told_by_the_same_rule():
    assert read("1_000,2_000\n1,2\n").names == ("1_000", "2_000")
    assert read("１,２\n1,2\n").names == ("１", "２")
    assert read("+1,.5\n1,2\n").names is None


def test_tabs_separate_or_surround():
    assert read("1\t2\n", "data.tsv").values.tolist() == [[1.0, 2.0]]
    assert read("1\t,\t2\n").values.tolist() == [[1.0, 2.0]]


@given(st.text(st.characters() | st.sampled_from("0123456789+-.eE_ \tnaif,"), max_size=8))
def test_the_quick_look_and_the_rule_agree(cell):
    """Text is converted by `float` after a look at its characters alone: that must be the rule."""
    try:
        float(cell)
        converted = _csv._is_plain(cell)
    except ValueError:
        converted = False
    assert converted == _csv._is_number(cell)
    if converted:
        assert re.fullmatch(r"[ \t]*[+-]?[0-9a-zA-Z.+-]+[ \t]*", cell)


def test_every_character_beside_a_digit():
    """Whatever `float` takes beside ASCII digits is found by the quick look."""
    taken = []
    for number in range(0x110000):
        try:
            float(cell := f"{chr(number)}1")
        except ValueError:
            continue
        taken.append(cell)
    assert len(taken) > 500
    for cell in taken:
        assert _csv._is_plain(cell) == _csv._is_number(cell) == (cell[0] in "0123456789+-. \t")

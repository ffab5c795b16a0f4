"""What --columns selects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.cli._columns import select
from tilewise.cli._data import take_columns
from tilewise.cli._errors import WrongUsage

FILE_NAMES = ["id", "a", "b", "2019", "x,y", "0-1"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("b,a", [2, 1]),
        ("0,2-4", [0, 2, 3, 4]),
        (" a , 5 ", [1, 5]),
        ("2019", [3]),  # a name wins over a position
        ("0-1", [5]),  # and over a range
        ('"x,y",id', [4, 0]),
        ("1-1", [1]),
    ],
)
def test_selection(spec, expected):
    assert select(spec, FILE_NAMES, 6, "f.csv") == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "empty"),
        ("a,,b", "empty"),
        ("c", "no column 'c'"),
        ("ids", "did you mean 'id'"),
        ("6", "6 columns"),
        ("2-6", "beyond the last"),
        ("4-2", "backwards"),
        ("a,1", "selected twice"),
        ("-1", "no column '-1'"),
    ],
)
def test_refused(spec, message):
    with pytest.raises(WrongUsage, match=message):
        select(spec, FILE_NAMES, 6, "f.csv")


def test_a_name_that_two_columns_have_is_refused():
    with pytest.raises(WrongUsage, match="2 columns called 'a'"):
        select("a", ["a", "b", "a"], 3, "f.csv")
    assert select("0,2", ["a", "b", "a"], 3, "f.csv") == [0, 2]


def test_names_need_a_file_that_has_some():
    with pytest.raises(WrongUsage, match="no column names"):
        select("a", None, 3, "f.npy")


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True))
def test_taken_columns_are_the_chosen_ones(columns):
    X = np.arange(24).reshape(3, 8)
    np.testing.assert_array_equal(take_columns(X, columns), X[:, columns])


@pytest.mark.parametrize("columns", [[3], [0, 1, 2], [1, 4, 7], list(range(8))])
def test_evenly_spaced_columns_are_not_copied(columns):
    X = np.zeros((3, 8))
    assert np.shares_memory(take_columns(X, columns), X)

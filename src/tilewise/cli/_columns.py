"""What ``--columns`` selects: names, positions counted from 0, and ranges of positions."""

import csv
import difflib
import re

import numpy as np

from .._text import shorten
from ..plan._facts import whole_number
from ._errors import BadData, WrongUsage

_RANGE = re.compile(r"([0-9]+)-([0-9]+)", re.ASCII)


def column_label(index, names):
    """Return the name of a column in messages: its own, or its position from 0."""
    return f"column {shorten(names[index])!r}" if names is not None else f"column index {index}"


def select(spec, names, width, source):
    """Resolve a selection to positions in the file.

    Parameters
    ----------
    spec : str or None
        Items separated by commas: a name, a position, or a range ``a-b`` with both ends. A
        name wins over a position that is written the same way. An item with a comma in its
        name is quoted as in CSV. None selects every column.
    names : sequence of str or None
        The column names of the file, where it has any.
    width : int
        Number of columns in the file.
    source : str
        What messages call the file.

    Returns
    -------
    list of int
        Distinct positions, in the order that was asked for.

    Raises
    ------
    WrongUsage
        If an item matches no column, several columns, or a column that is already selected.

    Examples
    --------
    >>> from tilewise.cli._columns import select
    >>> select("width,0,3-4", ["id", "height", "width", "a", "b"], 5, "data.csv")
    [2, 0, 3, 4]
    """
    if spec is None:
        return list(range(width))
    items = [item.strip() for item in next(csv.reader([spec], skipinitialspace=True), [])]
    if not items or not all(items):
        raise WrongUsage(f"--columns {spec!r}: an item of the list is empty")
    chosen = []
    for item in items:
        for index in _resolve(item, names, width, source):
            if index in chosen:
                label = column_label(index, names)
                raise WrongUsage(f"--columns {spec!r}: {label} is selected twice")
            chosen.append(index)
    return chosen


def _resolve(item, names, width, source):
    if names is not None and item in names:
        return [position(item, names, source, WrongUsage)]
    span = _RANGE.fullmatch(item)
    if not span and whole_number(item) is None:
        if names is None:
            raise WrongUsage(f"--columns: {source} has no column names, so there is no {item!r}")
        close = difflib.get_close_matches(item, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise WrongUsage(f"--columns: {source} has no column {item!r}{hint}")
    first, last = map(whole_number, span.groups() if span else (item, item))
    if first is None or last is None:
        raise WrongUsage(f"--columns: a number in {item!r} is too large for a column")
    if first > last:
        raise WrongUsage(f"--columns: the range {item!r} runs backwards")
    if last >= width:
        raise WrongUsage(
            f"--columns: {source} has {width} columns, counted from 0; {item!r} is beyond the last"
        )
    return list(range(first, last + 1))


def position(name, names, source, error=BadData):
    """Return the position of the column of that name; raise `error` unless there is just one."""
    count = list(names).count(name)
    if count != 1:
        many = f"{count} columns" if count else "no column"
        raise error(f"{source} has {many} called {name!r}")
    return list(names).index(name)


def unnamed_index(names):
    """Return the positions of the leading columns without a name, unless no column has one.

    pandas and R write the index of the rows, or their names, like that.

    Examples
    --------
    >>> from tilewise.cli._columns import unnamed_index
    >>> unnamed_index(["", "a", "b"]), unnamed_index(["a", ""]), unnamed_index(None)
    ([0], [], [])
    """
    if names is None:
        return []
    first = next((index for index, name in enumerate(names) if name), 0)
    return list(range(first))


def index_notes(names, index, values):
    """Return notes about a possible index, which nothing in a text file marks as one.

    Parameters
    ----------
    names : sequence of str or None
        Names of all columns of the file.
    index : list of int
        The columns that were left out as an index.
    values : numpy.ndarray of shape (n_rows, n_columns)
        The others.

    Returns
    -------
    list of str
    """
    if index:
        last = index[-1] + values.shape[1]
        what, they = (
            ("the first column has no name", "it is")
            if len(index) == 1
            else (f"the first {len(index)} columns have no names", "they are")
        )
        return [f"{what}, so {they} left out as an index; pass --columns 0-{last} to keep all"]
    if values.shape[0] < 2 or values.shape[1] < 2:
        return []
    for start in (0, 1):
        if (values[:, 0] == np.arange(start, start + values.shape[0])).all():
            label = column_label(0, names)
            rest = f"1-{values.shape[1] - 1}" if values.shape[1] > 2 else "1"
            return [
                f"{label} counts the rows from {start} and is used as a feature; "
                f"pass --columns {rest} to leave it out"
            ]
    return []

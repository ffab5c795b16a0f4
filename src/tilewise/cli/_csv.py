"""The reader of delimited text. It is strict, and its errors name the row and the column.

The text is read once, a block of records at a time. Only the numbers are kept: eight bytes per
cell, in an array that grows in place. Rows are counted from 1, the header too, as in an editor.

A number is ASCII: an optional sign, digits with at most one decimal point, an optional exponent; or
``nan``, ``inf`` or ``infinity`` in any case, with an optional sign. Spaces and tabs around it do
not count. Python's `float` does the conversion, but accepts more: digits of other scripts,
underscores and other white space. Those are refused here.
"""

import csv
import itertools
import re
from array import array
from dataclasses import dataclass

import numpy as np

from ._columns import column_label
from ._errors import BadData, NoInput, WrongUsage, reason

# Records parsed between two conversions. Measured flat from 512 to 16,384.
_BLOCK = 2048

_NUMBER = re.compile(
    r"[ \t]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf|infinity)[ \t]*",
    re.ASCII | re.IGNORECASE,
)
_CHARACTERS = b" \t0123456789+-.eEnNaAiIfFtTyY"
_COMMA = re.compile(r"[ \t]*[+-]?[0-9]+,[0-9]+(?:e[+-]?[0-9]+)?[ \t]*", re.ASCII | re.IGNORECASE)

# The most characters of a cell that a message shows.
_SHOWN = 40


@dataclass(frozen=True)
class Layout:
    """What the first records of a file tell about the rest."""

    path: object
    delimiter: str
    names: tuple | None
    width: int


def _is_number(cell):
    return _NUMBER.fullmatch(cell) is not None


def _is_plain(text):
    """Whether a text has only characters of numbers. Then `float` accepts exactly our numbers."""
    return text.isascii() and not text.encode("ascii").translate(None, _CHARACTERS)


def _records(path, delimiter):
    """Yield (row, cells): blank lines skipped, the row being the line on which it starts."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            row = 1
            try:
                for cells in reader:
                    if cells:
                        yield row, cells
                    row = reader.line_num + 1
            except UnicodeDecodeError as error:
                raise BadData(f"{path}: row {row} or later is not UTF-8 text") from error
            except csv.Error as error:
                raise BadData(f"{path}: row {row}: {error}") from error
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error


def sniff(path, delimiter=",", header=None):
    """Read the first two records and decide whether the first one holds names.

    It does if none of its cells is a number. If only some are numbers, text above a number could
    be a name or a mistake, so the user must pass `header`.
    """
    head = [cells for _, cells in itertools.islice(_records(path, delimiter), 2)]
    if not head:
        raise BadData(f"{path}: the file is empty")
    first, below = head[0], head[-1]
    if len(first) == 1 and not _is_number(below[0]):
        for other in ";\t|,":
            if other != delimiter and other in below[0]:
                raise WrongUsage(
                    f"{path}: with the delimiter {delimiter!r} the file has one column, but its "
                    f"cells look separated by {other!r}; pass --delimiter"
                )
    if header is None:
        over = [_is_number(cell) for cell in first]
        under = [_is_number(cell) for cell in below]
        if not any(over):
            header = True
        elif any(low and not high for high, low in zip(over, under, strict=False)):
            raise WrongUsage(
                f"{path}: the first row mixes names and numbers; pass --header or --no-header"
            )
        else:
            header = False
    names = tuple(cell.strip() for cell in first) if header else None
    return Layout(path, delimiter, names, len(first))


def read(layout, columns, dtype=None):
    """Read the chosen columns into one C-contiguous array.

    Parameters
    ----------
    layout : Layout
        What `sniff` found.
    columns : list of int
        Positions of the columns to keep. The cells of the others may hold anything.
    dtype : numpy.dtype or None
        float32 or float64, the default.

    Returns
    -------
    numpy.ndarray of shape (n_rows, len(columns))

    Raises
    ------
    BadData
        For the first record of the wrong length or the first cell that is not a number, with
        its row and column.
    """
    dtype = np.dtype(dtype or np.float64)
    buffer = array("f" if dtype == np.float32 else "d")
    records = _data_records(layout)
    everything = columns == list(range(layout.width))
    while block := list(itertools.islice(records, _BLOCK)):
        rows = [cells for _, cells in block]
        if not everything:
            try:
                rows = [[cells[index] for index in columns] for cells in rows]
            except IndexError:
                _explain(layout, columns, block)
        flat = list(itertools.chain.from_iterable(rows))
        lengths = {len(cells) for _, cells in block}
        if lengths != {layout.width} or not _is_plain("".join(flat)):
            _explain(layout, columns, block)
        try:
            values = np.fromiter(map(float, flat), np.float64, count=len(flat))
        except ValueError:
            _explain(layout, columns, block)
        _refuse_overflow(layout, columns, block, values, dtype)
        buffer.frombytes(values.astype(dtype, copy=False).tobytes())
    if not buffer:
        raise BadData(f"{layout.path}: there is a header but no row below it")
    return np.frombuffer(buffer, dtype=dtype).reshape(-1, len(columns))


def row_of(layout, index):
    """Return the file's row number of the data record with that index, counted from 0."""
    row, _ = next(itertools.islice(_data_records(layout), index, None))
    return row


def _data_records(layout):
    records = _records(layout.path, layout.delimiter)
    if layout.names is not None:
        next(records, None)
    if layout.width > 1:
        return records
    return _no_gaps(layout, records)


def _no_gaps(layout, records):
    """With one column, a blank line between rows is an empty cell."""
    expected = None
    for row, cells in records:
        if expected is not None and row > expected:
            raise BadData(f"{layout.path}: row {expected} is empty")
        yield row, cells
        expected = row + 1


def _explain(layout, columns, block):
    """Raise an error about the first fault in a block of records."""
    for row, cells in block:
        where = f"{layout.path}: row {row}"
        if len(cells) != layout.width:
            raise BadData(f"{where}: {len(cells)} cells, but the first row has {layout.width}")
        for index in columns:
            if not _is_number(cells[index]):
                label = column_label(index, layout.names)
                raise BadData(f"{where}, {label}: {_fault(cells[index])}")
    raise AssertionError("a block was refused without a fault")


def _fault(text):
    text = text.strip(" \t")
    if not text:
        return "the cell is empty"
    hint = "; write a decimal point, not a comma" if _COMMA.fullmatch(text) else ""
    return f"{_shown(text)} is not a number{hint}"


def _refuse_overflow(layout, columns, block, values, dtype):
    """Raise for the first number that `dtype` has no room for; written infinities may pass."""
    limit = float(np.finfo(dtype).max)
    for beyond in np.flatnonzero(np.abs(values) > limit):
        record, column = divmod(int(beyond), len(columns))
        row, cells = block[record]
        text = cells[columns[column]]
        if "inf" not in text.lower():
            label = column_label(columns[column], layout.names)
            raise BadData(
                f"{layout.path}: row {row}, {label}: {_shown(text)} is too large for {dtype}"
            )


def _shown(text):
    # repr escapes everything that a terminal could take for a command.
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")

"""DATA: the rows and columns of a file, and where each cell stands in it.

``READERS`` has one row per format. A reader gets a path and a `Request` and returns a `Table`.
Arrays of ``.npy`` stay in the file, mapped into memory. Other formats are read whole.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._text import first_line
from ..plan import LimitTooSmall
from ..sources import Archive, MissingLibrary, SourceError, as_source, map_npy
from ..sources._errors import need
from . import _csv
from ._columns import column_label, index_notes, position, select, unnamed_index
from ._errors import (
    BadData,
    CommandError,
    MissingExtra,
    NoInput,
    WrongUsage,
    reason,
)

# Bytes of a block when a whole array is read: large against the cost of a Python statement, small
# against memory.
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Request:
    """How to read DATA, as the command line says.

    `wanted` are the column names that a model was fitted on. They select the columns of a file
    that has names, unless `columns` is given.
    """

    columns: str | None = None
    dtype: str | None = None
    key: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    wanted: tuple | None = None

    def positions(self, names, width, source, index=()):
        """Return the positions of the columns to read. Those of an `index` only if asked for."""
        if self.columns is None and self.wanted is not None and names is not None:
            return [position(name, names, source) for name in self.wanted]
        if self.columns is None:
            return [column for column in range(width) if column not in index]
        return select(self.columns, names, width, source)

    def by_default(self, names):
        """Whether the user did not choose columns of a file with these names."""
        return self.columns is None and (self.wanted is None or names is None)


@dataclass(frozen=True)
class Table:
    """Numbers in rows and columns.

    Attributes
    ----------
    path : Path
    values : numpy.ndarray of shape (n_rows, n_columns)
    columns : list of int
        Where each column stands in the file, from 0.
    file_names : tuple of str or None
        Names of all columns of the file.
    row_label : callable
        Turns the index of a row into its name in messages.
    notes : tuple of str
        What was assumed about the file.
    """

    path: Path
    values: np.ndarray
    columns: list
    file_names: tuple | None = None
    row_label: Callable = "row index {}".format
    notes: tuple = ()

    @property
    def names(self):
        """Names of the columns in `values`, where the file has any."""
        if self.file_names is None:
            return None
        return tuple(self.file_names[index] for index in self.columns)

    def place(self, row, column):
        """Return how messages call one cell of `values`."""
        return f"{self.row_label(row)}, {column_label(self.columns[column], self.file_names)}"

    def first_not_finite(self):
        """Return a message about the first NaN or infinity, or None if every cell is finite.

        None too for rows that are read in parts: there the estimator names the place itself.
        """
        if hasattr(self.values, "blocks"):
            return None
        for start, block in blocks(self.values):
            finite = np.isfinite(block)
            if not finite.all():
                row, column = (int(index) for index in np.argwhere(~finite)[0])
                what = "NaN" if np.isnan(block[row, column]) else "infinity"
                return f"{self.path}: {self.place(start + row, column)}: {what} is not allowed"
        return None


def blocks(values):
    """Yield (first row, rows) through an array, a few MiB at a time."""
    if hasattr(values, "blocks"):  # rows that are read in parts
        yield from values.blocks()
        return
    step = max(1, _BLOCK_BYTES // max(1, values.shape[1] * 8))
    for start in range(0, values.shape[0], step):
        yield start, np.asarray(values[start : start + step])


def read_table(path, request):
    """Read DATA.

    Parameters
    ----------
    path : Path
    request : Request

    Returns
    -------
    Table
        With at least one row and one column.

    Raises
    ------
    CommandError
        `NoInput` if the file cannot be read, `BadData` if it does not hold a table of real
        numbers, `WrongUsage` if the request does not fit the file, `MissingExtra` if the
        format needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise WrongUsage(f"{path}: unknown format; the name must end in one of {known}")
    _refuse_useless(request, suffix)
    check_readable(path)
    try:
        return READERS[suffix](path, request)
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error


def _refuse_useless(request, suffix):
    text = suffix in (".csv", ".tsv")
    for option, given, fits in (
        ("--key", request.key is not None, suffix == ".npz"),
        ("--delimiter", request.delimiter is not None, text),
        ("--header/--no-header", request.header is not None, text),
    ):
        if given and not fits:
            raise WrongUsage(f"{option} does not apply to a {suffix} file")


def check_readable(path):
    """Raise `NoInput` unless `path` is a file that this process may read."""
    try:
        if path.is_dir():
            raise NoInput(f"{path}: is a directory")
        with open(path, "rb"):
            pass
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error


def read_npy(path, request):
    """Map a ``.npy`` file into memory and return a view of the chosen columns."""
    return _table_of_array(path, open_npy(path), request, str(path))


def open_npy(path):
    """Map a ``.npy`` file into memory, read-only; refuse pickled objects."""
    with file_errors():
        return map_npy(str(path))


def read_npz(path, request):
    """Read one array of a ``.npz`` archive."""
    with file_errors(), Archive(path) as archive:
        keys = list(archive.names)
        if request.key is None and {"format", "shape", "data"} <= set(keys):
            raise BadData(f"{path}: holds a sparse matrix; save it as a dense array")
        if request.key is None and len(keys) != 1:
            raise WrongUsage(f"{path} holds {len(keys)} arrays ({_some(keys)}); choose with --key")
        key = keys[0] if request.key is None else request.key
        if key not in keys:
            raise WrongUsage(f"{path} holds no array {key!r}, only {_some(keys)}")
        source = f"{path} [{key}]"
        _check_table(archive.header(key), source)
        return _table_of_array(path, archive.read(key), request, source)


@contextmanager
def file_errors():
    """Turn an error of `tilewise.sources`, whose message names the file, into one of ours."""
    try:
        yield
    except MissingLibrary as error:
        raise MissingExtra(first_line(error)) from error
    except SourceError as error:
        raise BadData(first_line(error).replace("columns=[...]", "--columns")) from error


def _table_of_array(path, array, request, source):
    _check_table(array, source)
    columns = request.positions(None, array.shape[1], source)
    table = Table(path, take_columns(array, columns), columns)
    return _converted(table, request.dtype)


def _check_table(array, source):
    """Raise unless an array, or the header of one, is of numbers in rows and columns."""
    shape = tuple(array.shape)
    if array.dtype.kind not in "fiub":
        raise BadData(f"{source}: expected real numbers, got dtype {array.dtype}")
    if len(shape) != 2:
        raise BadData(f"{source}: expected rows and columns, got an array of shape {shape}")
    if 0 in shape:
        raise BadData(f"{source}: the array is empty, its shape is {shape}")


def take_columns(array, columns):
    """Return the chosen columns: a view where they are evenly spaced, else a copy of them.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.cli._data import take_columns
    >>> X = np.arange(12).reshape(2, 6)
    >>> np.shares_memory(take_columns(X, [1, 3, 5]), X), take_columns(X, [5, 0, 1])[0].tolist()
    (True, [5, 0, 1])
    """
    first, last = columns[0], columns[-1]
    step = columns[1] - columns[0] if len(columns) > 1 else 1
    if step > 0 and columns == list(range(first, last + 1, step)):
        return array[:, first : last + 1 : step]
    return array[:, columns]


def _converted(table, dtype):
    """Convert to float32 or float64, block by block, refusing numbers that do not fit."""
    if dtype is None or table.values.dtype == np.dtype(dtype):
        return table
    result = np.empty(table.values.shape, dtype)
    for start, block in blocks(table.values):
        with np.errstate(over="ignore"):
            part = block.astype(dtype)
        lost = np.isinf(part) & np.isfinite(block)
        if lost.any():
            row, column = (int(index) for index in np.argwhere(lost)[0])
            cell = f"{block[row, column]} is too large for {dtype}"
            raise BadData(f"{table.path}: {table.place(start + row, column)}: {cell}")
        result[start : start + len(part)] = part
    return replace(table, values=result)


def read_csv(path, request):
    """Read delimited text, streaming."""
    delimiter = request.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    layout = _csv.sniff(path, delimiter, request.header)
    index, notes = (), ()
    if request.by_default(layout.names):
        index = unnamed_index(layout.names)
    columns = request.positions(layout.names, layout.width, str(path), index)
    values = _csv.read(layout, columns, request.dtype)
    if request.by_default(layout.names):
        notes = index_notes(layout.names, index, values)
    return Table(
        path,
        values,
        columns,
        layout.names,
        lambda index: f"row {_csv.row_of(layout, index)}",
        tuple(f"{path}: {note}" for note in notes),
    )


def read_parquet(path, request):
    """Read columns of a Parquet file."""
    try:
        with file_errors():
            names = _parquet_columns(path, request)
            with as_source(str(path), dtype=request.dtype, columns=names) as source:
                values = source.all_rows()
    except CommandError:
        raise
    except MemoryError as error:
        raise BadData(
            f"{path}: the table does not fit into memory; pass --memory-limit to read it in parts "
            f"({first_line(error)})"
        ) from error
    except Exception as error:  # pyarrow fails in many ways on what is damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadData(f"{path}: not a readable Parquet file: {first_line(error)}") from error
    if not len(values):
        raise BadData(f"{path}: the table is empty")
    return Table(path, values, list(range(values.shape[1])), source.feature_names)


def _parquet_columns(path, request):
    """Return the names of the columns to read, or None for all but an index."""
    if request.columns is None and request.wanted is None:
        return None
    names = need("pyarrow.parquet", str(path)).read_schema(path).names
    return [names[at] for at in request.positions(names, len(names), str(path))]


@contextmanager
def data_errors(table):
    """Turn an error of the estimator about DATA into one of ours."""
    try:
        yield
    except LimitTooSmall as error:
        message = first_line(error).replace("memory_limit=", "--memory-limit ")
        raise WrongUsage(f"{table.path}: {message}") from error
    except ValueError as error:
        if any(kind.__name__ == "InvalidParameterError" for kind in type(error).__mro__):
            raise WrongUsage(first_line(error)) from error
        message = table.first_not_finite() or f"{table.path}: {first_line(error)}"
        raise BadData(message) from error


def read_weights(path, n_rows):
    """Read sample weights: a ``.npy`` file with one real number per row of DATA."""
    check_readable(path)
    weights = open_npy(path)
    if weights.dtype.kind not in "fiub":
        raise BadData(f"{path}: expected real numbers, got dtype {weights.dtype}")
    if weights.shape != (n_rows,):
        raise BadData(f"{path}: expected {n_rows} weights, got an array of shape {weights.shape}")
    for start, block in blocks(weights.reshape(-1, 1)):
        bad = np.flatnonzero(~np.isfinite(block[:, 0]))
        if bad.size:
            raise BadData(f"{path}: row index {start + int(bad[0])}: the weight is not finite")
    if not np.any(weights):
        raise BadData(f"{path}: all weights are zero")
    return weights


def _some(keys):
    return ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")


READERS = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}

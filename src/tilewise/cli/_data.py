"""DATA: what a file holds, as a two-dimensional array that knows where its cells come from.

``READERS`` has one row per format. A reader gets a path and a `Request` and returns a `Table`.
Arrays of ``.npy`` stay in the file, mapped into memory; the other formats are read whole.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..plan import LimitTooSmall
from ..sources import Archive, SourceError, index_columns, map_npy
from . import _csv
from ._columns import column_label, index_notes, position, select, unnamed_index
from ._errors import (
    BadData,
    CommandError,
    MissingExtra,
    NoInput,
    WrongUsage,
    first_line,
    reason,
)

# Bytes of a block when a whole array is walked through: large against the cost of a Python
# statement, small against memory.
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Request:
    """What the command line says about how DATA is to be read.

    `wanted` are the column names that a model was fitted on. They select the columns of a file
    that has names, unless `columns` says otherwise.
    """

    columns: str | None = None
    dtype: str | None = None
    key: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    wanted: tuple | None = None

    def positions(self, names, width, source, index=()):
        """Where the columns to read stand; those of an `index` are read only if asked for."""
        if self.columns is None and self.wanted is not None and names is not None:
            return [position(name, names, source) for name in self.wanted]
        if self.columns is None:
            return [column for column in range(width) if column not in index]
        return select(self.columns, names, width, source)

    def by_default(self, names):
        """Whether nothing says which columns to read of a file with these names."""
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
        From the index of a row to what messages call it.
    notes : tuple of str
        What was decided about the file that nothing in it says.
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
        """Return a message about the first NaN or infinity, or None if every cell is finite."""
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
        raise WrongUsage(f"{path}: the format is told by the name's ending, one of {known}")
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
            raise WrongUsage(f"{option} means nothing for a {suffix} file")


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
            raise BadData(f"{path}: sparse matrices are not read here; save a dense array")
        if request.key is None and len(keys) != 1:
            raise WrongUsage(f"{path} holds {len(keys)} arrays ({_some(keys)}); say --key")
        key = keys[0] if request.key is None else request.key
        if key not in keys:
            raise WrongUsage(f"{path} holds no array {key!r}, only {_some(keys)}")
        source = f"{path} [{key}]"
        _check_table(archive.header(key), source)
        return _table_of_array(path, archive.read(key), request, source)


@contextmanager
def file_errors():
    """Tell as a fault of the file what the reader of arrays says of one; it names the file."""
    try:
        yield
    except SourceError as error:
        raise BadData(first_line(error)) from error


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
    """Read columns of a Parquet file, a batch of rows at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{path}: Parquet needs pyarrow, which is not installed; "
            'run: pip install "tilewise[io]"'
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return _converted(_parquet_table(pyarrow, path, file, request), request.dtype)
    except CommandError:
        raise
    except MemoryError as error:
        raise BadData(
            f"{path}: the table that it promises is larger than memory; --memory-limit reads it "
            f"in parts ({first_line(error)})"
        ) from error
    except Exception as error:  # pyarrow fails in many ways on what is damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadData(f"{path}: not a readable Parquet file: {first_line(error)}") from error


def _parquet_table(pyarrow, path, file, request):
    schema = file.schema_arrow
    names = tuple(schema.names)
    index = index_columns(schema)
    columns = request.positions(
        names, len(names), str(path), [at for at, name in enumerate(names) if name in index]
    )
    if not columns or file.metadata.num_rows == 0:
        raise BadData(f"{path}: the table is empty")
    types = pyarrow.types
    for index in columns:
        kind = schema.field(index).type
        if not any(
            test(kind)
            for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        ):
            label = column_label(index, names)
            raise BadData(f"{path}: {label} is of type {kind}, not numbers; see --columns")
    chosen = [names[index] for index in columns]
    for name in chosen:
        position(name, names, str(path))
    narrow = all(
        schema.field(index).type in (pyarrow.float16(), pyarrow.float32()) for index in columns
    )
    values = np.empty((file.metadata.num_rows, len(columns)), np.float32 if narrow else np.float64)
    table = Table(path, values, columns, names)
    start = 0
    for batch in file.iter_batches(columns=chosen):
        stop = start + batch.num_rows
        if stop > len(values):
            raise BadData(f"{path}: is damaged: it has more rows than the {len(values)} promised")
        for column, name in enumerate(chosen):
            cells = batch.column(name)
            if cells.null_count:
                row = start + cells.is_null().to_pylist().index(True)
                raise BadData(f"{path}: {table.place(row, column)}: the cell is empty (null)")
            if types.is_decimal(cells.type):
                cells = cells.cast(pyarrow.float64())
            values[start:stop, column] = cells.to_numpy(zero_copy_only=False)
        start = stop
    if start != len(values):
        raise BadData(f"{path}: is damaged: it promises {len(values)} rows and has {start}")
    return table


@contextmanager
def data_errors(table):
    """Tell what is wrong with DATA when the estimator refuses it."""
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

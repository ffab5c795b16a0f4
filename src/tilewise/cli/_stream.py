"""DATA that is read in parts, because it is large or a limit of memory is given."""

from pathlib import Path

import click

from tilewise import sources
from tilewise._sizes import kernel_bytes, sized
from tilewise.plan import parse_bytes

from .._text import first_line
from ._data import Table, file_errors
from ._errors import BadData, NoInput, WrongUsage
from ._options import human_line, option

# Files above this share of the memory that is free are read in parts.
_SHARE = 0.5
# Bytes of a part where the command itself walks through the rows.
_PART_BYTES = 2**24
# Kinds of DATA that are only ever read in parts.
_ONLY = (".h5", ".hdf5", ".zarr")
_ENDINGS = (".npy", ".parquet", *_ONLY)


class Size(click.ParamType):
    """Bytes: a number, or a text such as 1GB or 512MiB; it stays a text."""

    name = "size"

    def convert(self, value, param, ctx):
        try:
            parse_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is not a size; write it like 1GB or 512MiB", param, ctx)
        return value


memory_option = option(
    "--memory-limit",
    Size(),
    "Read DATA in parts and allocate at most this much, such as 1GB or 512MiB.",
    metavar="SIZE",
)


class Rows:
    """A source that has the shape of an array and calls `on_read` when rows are read.

    Parameters
    ----------
    source : RowSource
    """

    def __init__(self, source):
        self._source = source
        self.n_rows = source.n_rows
        if self.n_rows is None:
            from tilewise.engine import count_rows

            self.n_rows = count_rows(source)
        self.shape = (self.n_rows, source.n_features)
        self.feature_names = sources.names_of(source)
        self.on_read = None

    def __getattr__(self, name):
        return getattr(self._source, name)

    def __len__(self):
        return self.n_rows

    def read(self, first, out):
        """Read rows; call `on_read`."""
        count = self._source.read(first, out)
        if self.on_read is not None:
            self.on_read(first, count)
        return count

    def blocks(self):
        """Yield (first row, rows) through the source."""
        rows = max(1, _PART_BYTES // (self.shape[1] * self.dtype.itemsize))
        with sources.Prefetch(self, rows=rows) as parts:
            yield from parts


def ending_of(path):
    """The ending that tells the format; of ``x.h5::name`` that of ``x.h5``."""
    return _outer(path).suffix.lower()


def _outer(path):
    return Path(str(path).partition("::")[0])


def streams(path, request, memory_limit):
    """Whether DATA is read in parts. Says so if the user did not ask for it."""
    outer = _outer(path)
    if memory_limit is None and not outer.is_dir() and ending_of(path) not in _ONLY:
        if ending_of(path) not in _ENDINGS or request.columns is not None:
            return False
        size = outer.stat().st_size if outer.is_file() else 0
        free = kernel_bytes("/proc/meminfo", "MemAvailable")
        if free is None or size <= _SHARE * free:
            return False
        human_line(
            f"tilewise: {path} has {sized(size)}, more than half of the {sized(free)} of free "
            "memory, so it is read in parts (see --memory-limit)",
            True,
        )
    elif ending_of(path) not in _ENDINGS and not outer.is_dir():
        raise WrongUsage(
            f"{path}: --memory-limit is for {', '.join(_ENDINGS)} files and folders of them"
        )
    return True


def read_stream(path, request):
    """Open DATA; nothing but its head is read."""
    if request.columns is not None:
        raise WrongUsage(f"{path}: --columns does not work with data that are read in parts")
    outer = _outer(path)
    if not outer.exists():
        raise NoInput(f"{path}: no such file or directory")
    wanted = request.wanted
    try:
        with file_errors():
            columns = wanted if _is_parquet(outer) else None
            source = sources.as_source(str(path), dtype=request.dtype, columns=columns)
            if wanted is not None and columns is None and sources.names_of(source) is not None:
                source = sources.with_columns(source, wanted)
    except OSError as error:
        raise BadData(first_line(error)) from error
    rows = Rows(source)
    return Table(path, rows, list(range(source.n_features)), rows.feature_names)


def _is_parquet(path):
    """Whether a path is a Parquet file, or a folder of such."""
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return any(ending_of(name) == ".parquet" for name in path.iterdir())
    return ending_of(path) == ".parquet"

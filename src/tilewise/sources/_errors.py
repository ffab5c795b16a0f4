"""What went wrong with a source of rows, and where."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

from tilewise._text import printable


class SourceError(ValueError):
    """Rows could not be read.

    The message names the file or object, the row that is at fault if there is one, and what to do.

    Parameters
    ----------
    message : str
        The whole message. Characters that could command a terminal are escaped.
    source : str, optional
        Name of the source that was being read.
    shard : str, optional
        Name of the part of it, where the source has several.
    row : int, optional
        The row, counted from 0 over the whole source.

    Attributes
    ----------
    source, shard : str or None
        Where the rows came from.
    row : int or None
        The row at fault, or the first one that is missing.

    Examples
    --------
    >>> from tilewise.sources import SourceError, as_source
    >>> try:
    ...     as_source("nowhere.npy")
    ... except SourceError as error:
    ...     print(error.source)
    nowhere.npy
    """

    source: str | None
    shard: str | None
    row: int | None

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        shard: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(printable(message))
        self.source = source
        self.shard = shard
        self.row = row

    def within(self, source: str, shard: str, start: int) -> Self:
        """Name the larger source that the failed one is a part of; return the error."""
        self.source = source
        self.shard = shard if self.shard is None else self.shard
        self.row = None if self.row is None else start + self.row
        return self


def fault(source, what, row=None):
    """Return the error that names a source and says what is wrong with it, perhaps at a row."""
    return SourceError(f"{source}: {what}", source=source, row=row)


class MissingLibrary(SourceError, ImportError):
    """A package that reads this kind of source is not installed."""


def need(library, what):
    """Import `library`, or raise an error that says how to install it for reading `what`."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        package = library.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise  # the package is there, and something that it needs is not
        raise MissingLibrary(
            f"{what}: reading it needs {package}, which is not installed; "
            'run: pip install "tilewise[io]"',
            source=what,
        ) from error


def reason(error):
    """Return what the operating system says, without the number and the name."""
    return (error.strerror or str(error)).lower()


def stat_of(path):
    """Return what tells a changed file: (bytes, time of change in ns), or raise SourceError."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise fault(
            str(path), f"cannot be read: {reason(error)}; check the path and its permissions"
        ) from error
    return found.st_size, found.st_mtime_ns


def check_unchanged(path, before, row=None):
    """Raise SourceError if a file is not the one that was opened."""
    now = stat_of(path)
    if now == before:
        return
    what = (
        f"it had {before[0]} bytes and has {now[0]}" if now[0] != before[0] else "it was written to"
    )
    raise fault(
        str(path),
        f"changed while it was being read: {what}; start again with a file that does not change",
        row=row,
    )

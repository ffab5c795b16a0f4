"""Write files whole or not at all: first beside their place, then moved into it."""

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def beside(path):
    """Open a new hidden file in the folder of `path`, to be moved into its place later.

    When the block ends, the whole file is on the disk. If the block raises, the file is removed.

    Parameters
    ----------
    path : Path
        Where the file is to go.

    Yields
    ------
    binary file
        Its ``name`` is what to move.
    """
    # tempfile would not do: only the owner can read its files.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            # Close it first: some systems do not remove open files.
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                part.unlink()
            raise


@contextmanager
def replacing(path, what="the file"):
    """Open a temporary file beside `path`, and move it into place when all is written.

    An older file of that name stays until then. If anything fails, it stays unchanged and the
    temporary file is removed. Of a link, the file that it leads to is replaced.

    Parameters
    ----------
    path : str or path-like
        Where the file is to go.
    what : str
        What is written, for the message of an error.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If the file cannot be written, or a folder or device has its place; the message names
        `path` and `what` was being written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tilewise._files import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "told.txt") as file:
    ...         written = file.write(b"all of it")
    ...     [path.name for path in Path(folder).iterdir()]
    ['told.txt']
    """
    given, path = Path(path), Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, f"{what} cannot replace what is no file", str(given))
    try:
        with beside(path) as file:
            yield file
        try:
            os.replace(file.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(file.name)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        reason = error.strerror or str(error)
        kept = "; the file that was there before is unchanged" if path.exists() else ""
        raise type(error)(
            error.errno, f"{what} could not be written: {reason}{kept}", str(given)
        ) from error


def check_folder(path):
    """Check that a file could be put at `path`; nothing is made or changed.

    Parameters
    ----------
    path : Path
        Folders above it need not exist.

    Raises
    ------
    OSError
        If the nearest folder that exists is no folder or cannot be written; the error names it.
    """
    folder = next(place for place in path.absolute().parents if place.exists())
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write here", str(folder))


def _sync_folder(folder):
    # So that the new name survives a power cut. Some systems do not let folders be opened.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

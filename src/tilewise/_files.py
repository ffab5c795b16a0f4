"""Files that are there whole or not at all: written beside their place, then moved into it."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def beside(path):
    """Open a new hidden file in the folder of `path`, to be moved into its place later.

    All of it is on the disk when the block ends; it is gone if the block raises.

    Parameters
    ----------
    path : Path
        Where the file is to go.

    Yields
    ------
    binary file
        Its ``name`` is what to move.
    """
    # Not tempfile: its files are readable by their owner only, and would stay so.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            # Closed first, where the system does not remove files that are open.
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                part.unlink()
            raise


@contextmanager
def replacing(path, what="the file"):
    """Open a temporary file beside `path`, and put it in its place when all is written.

    A file of that name that was there before stays until then, and stays if anything fails; the
    temporary file does not.

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
        If the file cannot be written; the message names `path` and `what` was being written.

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
    path = Path(path)
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
        said = error.strerror or str(error)
        kept = "; the file that was there before is unchanged" if path.exists() else ""
        raise type(error)(
            error.errno, f"{what} could not be written: {said}{kept}", str(path)
        ) from error


def _sync_folder(folder):
    # So that the new name survives a power cut; not every system lets folders be opened.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""Output files: their names, writing them all or none, and JSON."""

import contextlib
import json
import math
import os
import signal
import threading
from pathlib import Path

import click

from .._files import beside, check_folder
from ._errors import CannotWrite, reason


def to_json(value):
    """Return JSON text in which numbers that JSON does not know are null.

    Examples
    --------
    >>> from tilewise.cli._output import to_json
    >>> to_json({"inertia": float("inf"), "n_iter": 3})
    '{"inertia": null, "n_iter": 3}'
    """
    return json.dumps(_plain(value), allow_nan=False)


def print_json(value):
    """Print JSON on standard output."""
    click.echo(to_json(value))


def _plain(value):
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Outputs:
    """The files that a command is going to write, checked before the work begins.

    Parameters
    ----------
    paths : dict of str to Path
        What each file is for, and where it goes.
    inputs : sequence of Path
        Files that must not be overwritten whatever is asked.
    force : bool
        Whether files that exist may be replaced.

    Raises
    ------
    CannotWrite
        If a file exists, is no regular file, is also an input, is named twice, or if its
        folder cannot be written.
    """

    def __init__(self, paths, inputs, force):
        self.paths = paths
        seen = {os.path.realpath(path): "an input" for path in inputs}
        for purpose, path in paths.items():
            real = os.path.realpath(path)
            if real in seen:
                raise CannotWrite(f"{path}: cannot hold the {purpose}, it is {seen[real]}")
            seen[real] = f"the file for the {purpose}"
            try:
                self._check(path, force)
            except OSError as error:  # a name that is too long, for one
                raise CannotWrite(f"{error.filename or path}: {reason(error)}") from error

    @staticmethod
    def _check(path, force):
        if path.exists() or path.is_symlink():
            if not path.is_file():
                raise CannotWrite(f"{path}: exists and is not a regular file")
            if not force:
                raise CannotWrite(f"{path}: exists already; pass --force to replace it")
        # Missing folders are made when there is something to put in them, not before.
        check_folder(path)

    def write(self, writers):
        """Write every file beside its place, then move all of them in.

        Parameters
        ----------
        writers : dict of str to callable
            For each purpose, a function that writes to the binary stream it is given.
        """
        moves = []
        try:
            for purpose, write in writers.items():
                path = Path(os.path.realpath(self.paths[purpose]))
                path.parent.mkdir(parents=True, exist_ok=True)
                moves.append((purpose, _write_beside(path, write), path))
            with _no_interrupt():
                for purpose, temporary, path in moves:  # noqa: B007 - the handler tells it
                    os.replace(temporary, path)
        except OSError as error:
            raise CannotWrite(f"{self.paths[purpose]}: {reason(error)}") from error
        finally:
            for _, temporary, _ in moves:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)


def _write_beside(path, write):
    with beside(path) as stream:
        write(stream)
    return stream.name


@contextlib.contextmanager
def _no_interrupt():
    """Hold back Ctrl-C while the files move into place, so that all of them do or none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)

"""Standard output and standard error. An error of one of them says which it was."""

import os
import sys
from contextlib import contextmanager

from ._errors import CannotWrite, ReaderGone, reason


class Stream:
    """A text stream that raises `CannotWrite` where it fails, then and ever after.

    Parameters
    ----------
    stream : text stream or None
        None where the process was started with it closed.
    name : str
    """

    def __init__(self, stream, name):
        self._stream, self._name, self._error = stream, name, None

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        """Write, or raise `CannotWrite`."""
        with self._checked():
            return self._stream.write(text)

    def flush(self):
        """Flush, or raise `CannotWrite`."""
        with self._checked():
            self._stream.flush()

    @contextmanager
    def _checked(self):
        if self._error is not None:  # the first caller may have swallowed it
            raise self._error
        try:
            yield
        except OSError as error:
            kind = ReaderGone if isinstance(error, BrokenPipeError) else CannotWrite
            self._error = kind(f"{self._name}: {reason(error)}")
            raise self._error from error

    def leave(self):
        """Keep the interpreter from trying again to write when it ends."""
        if self._error is not None and self._stream in (sys.__stdout__, sys.__stderr__):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class Closed:
    """What stands for standard output where the process was started without one."""

    encoding, errors, closed = "utf-8", "strict", False

    def write(self, text):
        """Raise `CannotWrite`, unless there is nothing to write."""
        if text:
            raise CannotWrite("standard output: it is closed")
        return 0

    def flush(self):
        """Do nothing."""

    def isatty(self):
        """No."""
        return False


@contextmanager
def checked_streams():
    """In the body, a failed write to standard output or error raises `CannotWrite`."""
    before = sys.stdout, sys.stderr
    out = sys.stdout = Closed() if before[0] is None else Stream(before[0], "standard output")
    error = None if before[1] is None else Stream(before[1], "standard error")
    sys.stderr = error
    try:
        yield
        out.flush()
    finally:
        sys.stdout, sys.stderr = before
        for stream in (out, error):
            if isinstance(stream, Stream):
                stream.leave()

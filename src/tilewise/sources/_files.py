"""Reading a file by position: no page faults, no shared file pointer, no GIL meanwhile."""

from __future__ import annotations

import os
from typing import Any

from tilewise._typing import PathLike
from tilewise.sources._errors import check_unchanged, fault, reason, stat_of

# The most bytes that one system call is asked for. Linux delivers at most 0x7ffff000 anyway.
_CALL_BYTES = 1 << 30


class PositionalFile:
    """A file that is opened when it is needed and knows what it looked like at first.

    Parameters
    ----------
    path : str
        Its path; also its name in messages.
    """

    path: str
    identity: tuple[int, int]

    def __init__(self, path: PathLike) -> None:
        self.path = path
        self.identity = stat_of(path)
        self._file = None

    @property
    def size(self) -> int:
        """Bytes of the file when it was first seen."""
        return self.identity[0]

    def check_unchanged(self, row: int | None = None) -> None:
        """Raise SourceError if the file is not what it was."""
        check_unchanged(self.path, self.identity, row)

    def read_at(self, offset: int, target: Any) -> int:
        """Read bytes into a writeable buffer until it is full or the file ends.

        The system may deliver less than asked; a call that a signal interrupted is repeated.

        Returns
        -------
        int
            Bytes that were read.
        """
        file = self._opened()
        done, wanted = 0, len(target)
        while done < wanted:
            part = target[done : done + _CALL_BYTES]
            try:
                got = _read_some(file, part, offset + done)
            except OSError as error:
                raise fault(
                    self.path,
                    f"cannot be read at byte {offset + done}: {reason(error)}; check the file and "
                    "the device that it is on",
                ) from error
            if not got:
                break
            done += got
        return done

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self):
        if self._file is None:
            self.check_unchanged()
            try:
                self._file = open(self.path, "rb", buffering=0)
            except OSError as error:
                raise fault(
                    self.path,
                    f"cannot be read: {reason(error)}; check the path and its permissions",
                ) from error
            if hasattr(os, "posix_fadvise"):
                try:
                    os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                except OSError:
                    pass  # advice only, and pipes take none
        return self._file


def _read_some(file, target, offset):
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [target], offset)
    file.seek(offset)
    return file.readinto(target)

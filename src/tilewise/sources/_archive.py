"""The arrays of a ``.npz`` file, read one by one. Everything in the file is checked."""

from __future__ import annotations

import os
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilewise._text import first_line
from tilewise._typing import PathLike
from tilewise.sources._buffers import bytes_of
from tilewise.sources._errors import SourceError, fault, reason
from tilewise.sources._headers import Header, read_header

if TYPE_CHECKING:
    from typing import Self

_ENDING = ".npy"

# Bytes that are unpacked at a time.
_PIECE_BYTES = 1 << 20

# Deflate makes at most 1032 bytes of one (zlib's own documentation). A directory that claims more
# is wrong, so no memory of that size is allocated.
_MOST_DEFLATED = 1100


class Archive:
    """A ``.npz`` file that is open for reading.

    Parameters
    ----------
    path : str or path-like
        A zip archive, stored or compressed, whose members are ``.npy`` files.

    Attributes
    ----------
    name : str
        The path, as messages show it.
    names : tuple of str
        Names of the arrays.

    Raises
    ------
    OSError
        If the file cannot be opened.
    SourceError
        If it is no such archive, or has two arrays of one name.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from tilewise.sources import Archive
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "x.npz")
    ...     np.savez_compressed(path, weights=np.ones(3))
    ...     with Archive(path) as archive:
    ...         print(archive.names, archive.header("weights").shape, archive.read("weights"))
    ('weights',) (3,) [1. 1. 1.]
    """

    name: str
    names: tuple[str, ...]

    def __init__(self, path: PathLike) -> None:
        self.name = os.fsdecode(path)
        self._file = open(path, "rb")
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            if self._size == 0 or not zipfile.is_zipfile(self._file):
                raise fault(self.name, "not a .npz file")
            with self._errors_of(self.name):
                self._zip = zipfile.ZipFile(self._file)
                members = self._zip.infolist()
            self._members = {}
            for member in members:
                if member.filename in self._members:
                    raise fault(
                        self.name,
                        f"the archive is damaged: it has two members {member.filename!r}; write "
                        "it again",
                    )
                self._members[member.filename] = member
        except BaseException:
            self._file.close()
            raise
        self.names = tuple(
            name.removesuffix(_ENDING) for name in self._members if name.endswith(_ENDING)
        )

    def header(self, name: str) -> Header:
        """Return the `Header` of an array; nothing else of it is unpacked."""
        with self._opened(name) as (member, _):
            return self._header(member, name)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        numpy.ndarray

        Raises
        ------
        SourceError
            If there is no such array, it holds Python objects, it is damaged, or memory cannot
            hold it.
        """
        place = self._place(name)
        with self._opened(name) as (member, info):
            header = self._header(member, name)
            header.check_plain(place)
            header.check_size(info.file_size, place)
            array = self._room(header, info, place)
            self._fill(array, member, place)
        return array.T if header.fortran and len(header.shape) > 1 else array

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _place(self, name):
        return f"{self.name} [{name}]"

    @contextmanager
    def _opened(self, name):
        info = self._members.get(name + _ENDING)
        place = self._place(name)
        if info is None:
            raise fault(self.name, f"holds no array {name!r}")
        with self._errors_of(place), self._zip.open(info) as member:
            yield member, info

    def _header(self, member, name):
        return read_header(member.read, self._place(name))

    def _room(self, header, info, place):
        deflated = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if info.compress_size > self._size or (
            deflated and info.file_size > _MOST_DEFLATED * (info.compress_size + 1)
        ):
            raise self._damaged(place, "it claims more bytes than it can hold")
        shape = header.shape[::-1] if header.fortran else header.shape
        try:
            return np.empty(shape, header.dtype)
        except (MemoryError, ValueError, OverflowError) as error:
            raise fault(
                place,
                f"its header promises {header.promised_bytes} bytes, more than memory can hold",
            ) from error

    def _fill(self, array, member, place):
        target = bytes_of(array) if array.nbytes else np.empty(0, np.uint8)
        done = 0
        while done < len(target):
            piece = member.read(min(_PIECE_BYTES, len(target) - done))
            if not piece:
                raise self._damaged(place, "it ends in the middle of its numbers")
            target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
        # zipfile compares the checksum only when the end is read.
        if member.read(1):
            raise self._damaged(place, "it goes on after its numbers")

    @contextmanager
    def _errors_of(self, place):
        """Turn every error of zip, its decompressors and the system into one that names `place`."""
        try:
            yield
        except SourceError:
            raise
        except OSError as error:
            if error.errno is None:  # how bzip2 says that its data are damaged
                raise self._damaged(place, first_line(error)) from error
            raise fault(place, f"cannot be read: {reason(error)}") from error
        except Exception as error:
            raise self._damaged(place, first_line(error)) from error

    @staticmethod
    def _damaged(place, what):
        return fault(place, f"the archive is damaged: {what}; write it again")

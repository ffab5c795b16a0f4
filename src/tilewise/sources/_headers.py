"""Headers of arrays in files: one reader for ``.npy`` files and for the members of ``.npz``.

Files may come from strangers. Every fault is a `SourceError` that names the file. Nothing is
unpickled, and no memory of the size that a header claims is allocated.
"""

from __future__ import annotations

import ast
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewise._typing import PathLike
from tilewise.sources._errors import fault
from tilewise.sources._files import PositionalFile

_MAGIC = b"\x93NUMPY"

# Bytes of the number that says how long the header is, and the header's encoding, by version.
_VERSIONS = {1: (2, "latin1"), 2: (4, "latin1"), 3: (4, "utf8")}

# A header of two dimensions takes about a hundred bytes. Parsing very long text is slow and can
# exhaust the stack, so NumPy draws the same line.
_MOST_HEADER_BYTES = 10_000

_KEYS = {"descr", "fortran_order", "shape"}

# NumPy counts the bytes of an array in a signed number of 64 bits, zeros in the shape left out.
_MOST_BYTES = 2**63 - 1
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Header:
    """What the header of an array says.

    Attributes
    ----------
    dtype : numpy.dtype
    shape : tuple of int
    fortran : bool
        The columns, not the rows, lie together.
    offset : int
        Bytes before the first number.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def promised_bytes(self) -> int:
        """Bytes of header and numbers together; a Python number of any size."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def check_plain(self, name: str) -> None:
        """Raise SourceError where the numbers are Python objects, which only pickle can read."""
        if self.dtype.hasobject:
            raise fault(
                name,
                "holds Python objects, which are not read because they could run code; save plain "
                "numbers",
            )

    def check_size(self, size: int, name: str) -> None:
        """Raise SourceError unless header and numbers take `size` bytes."""
        promised = self.promised_bytes
        if promised == size:
            return
        if promised > _MOST_BYTES:
            raise fault(
                name,
                f"is cut off: its header promises shape {shape_text(self.shape)} of {self.dtype}, "
                "more bytes than any file has; write it again",
            )
        how = "is cut off" if size < promised else "has data after its numbers"
        row = None
        if len(self.shape) == 2 and self.shape[1]:
            row = max(0, size - self.offset) // (self.shape[1] * max(1, self.dtype.itemsize))
        raise fault(
            name,
            f"{how}: its header promises shape {shape_text(self.shape)} of {self.dtype}, "
            f"{promised} bytes in all, and the file has {size}; write it again",
            row=row,
        )


def shape_text(shape):
    """Return a shape for a message: a header may hold numbers of thousands of digits."""
    extents = [str(n) if n < 2**100 else "more than 10**30" for n in shape[:8]]
    more = ", ..." if len(shape) > 8 else "," if len(shape) == 1 else ""
    return f"({', '.join(extents)}{more})"


def read_header(read, name):
    """Read a header.

    Parameters
    ----------
    read : callable
        ``read(count)`` returns the next bytes, fewer than asked only at the end.
    name : str
        What messages call the file.

    Returns
    -------
    Header

    Raises
    ------
    SourceError
        If there is no header, or it cannot be that of an array.
    """
    start = read(8)
    if start[:6] != _MAGIC:
        what = "is empty" if not start else "does not begin as a .npy file does"
        raise fault(name, f"{what}; write it with numpy.save, or give it the ending of its format")
    version = start[6] if len(start) > 6 else 0
    if version not in _VERSIONS or start[7:] != b"\0":
        minor = f".{start[7]}" if len(start) > 7 and start[7] else ""
        raise fault(
            name, f".npy format version {version}{minor} is not known; write it with numpy.save"
        )
    size, encoding = _VERSIONS[version]
    stated = read(size)
    length = int.from_bytes(stated, "little")
    if len(stated) != size or length > _MOST_HEADER_BYTES:
        raise bad_header(name, f"it says that it is {length} bytes long")
    text = read(length)
    if len(text) != length:
        raise bad_header(name, "it is cut off")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = ast.literal_eval(text.decode(encoding).strip())
            if set(header) != _KEYS:
                raise ValueError("other keys than those of a header")
            stored = np.lib.format.descr_to_dtype(header["descr"])
    except Exception as error:  # parser and NumPy fail in a dozen ways on what strangers write
        raise bad_header(name, "it cannot be understood") from error
    shape, fortran = header["shape"], header["fortran_order"]
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(extent) is int and extent >= 0 for extent in shape)
        or type(fortran) is not bool
    ):
        raise bad_header(name, f"shape {shape!r:.60}, fortran_order {fortran!r:.60}")
    if 0 in shape and math.prod(n for n in shape if n) * max(1, stored.itemsize) > _MOST_BYTES:
        raise bad_header(name, f"shape {shape_text(shape)} is larger than any array")
    return Header(stored, shape, fortran, 8 + size + length)


def bad_header(name, what):
    """Return the error for a header that says `what` is wrong."""
    return fault(name, f"the header of this .npy file is damaged: {what}; write it again")


def header_of(file):
    """Read the header of a `PositionalFile`."""
    position = 0

    def read(count):
        nonlocal position
        target = np.empty(count, np.uint8)
        got = file.read_at(position, target)
        position += got
        return target[:got].tobytes()

    return read_header(read, file.path)


def map_npy(path: PathLike) -> npt.NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only.

    Parameters
    ----------
    path : str
        Any number of dimensions, any type but Python objects.

    Returns
    -------
    numpy.ndarray
        A memory map; an array of its own where there are no numbers.

    Raises
    ------
    SourceError
        If the file is missing, is no ``.npy`` file, holds Python objects, or has another length
        than its header says.
    """
    file = PositionalFile(path)
    try:
        header = header_of(file)
    finally:
        file.close()
    header.check_plain(path)
    header.check_size(file.size, path)
    order = "F" if header.fortran else "C"
    if header.promised_bytes == header.offset:
        return np.empty(header.shape, header.dtype, order=order)
    try:
        return np.memmap(
            path, header.dtype, mode="r", offset=header.offset, shape=header.shape, order=order
        )
    except (OSError, ValueError, OverflowError) as error:
        raise fault(path, f"cannot be mapped into memory: {error}; check the file") from error

"""Arrays in ``.npy`` files and behind memory maps, read by position."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import FloatDtype
from tilewise.sources._buffers import STAGE_BYTES, aligned_empty, bytes_of
from tilewise.sources._errors import SourceError, fault
from tilewise.sources._files import PositionalFile
from tilewise.sources._headers import header_of
from tilewise.sources._protocol import Source, check_shape, convert, delivered, wanted_dtype

# What one column of a Fortran-ordered file is read by: large against the cost of a call, and
# small enough that the columns of one cache line together stay in a few MiB.
_COLUMN_BYTES = 1 << 18


class NpySource(Source):
    """Rows of a file of plain numbers.

    Parameters
    ----------
    file : PositionalFile
        Where they are.
    shape : tuple of int
        (rows, columns).
    stored : numpy.dtype
        Type of the numbers in the file.
    offset : int
        Byte of the first number.
    fortran : bool
        The columns, not the rows, lie together.
    stride : int, optional
        Bytes from row to row, or from column to column where `fortran`. By default there is
        nothing between them.
    dtype : dtype-like, optional
        What to deliver.
    """

    name: str
    n_rows: int
    n_features: int
    dtype: FloatDtype
    row_bytes: int
    held_bytes: int

    def __init__(
        self,
        file: PositionalFile,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        offset: int,
        fortran: bool,
        *,
        stride: int | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.name = file.path
        self.n_rows, self.n_features = check_shape(shape, self.name)
        self.dtype = delivered(stored, dtype, self.name)
        self.row_bytes = self.n_features * stored.itemsize
        self._file = file
        self._stored = stored
        self._offset = offset
        self._fortran = fortran
        length = self.n_rows if fortran else self.n_features
        self._stride = length * stored.itemsize if stride is None else stride
        self._stage = None
        if fortran:
            self.held_bytes = _lane(stored) * _COLUMN_BYTES
        elif stored != self.dtype:
            self.held_bytes = max(STAGE_BYTES, self.row_bytes)

    def fingerprint(self) -> dict[str, Any]:
        """Return the file's name, size, time of change, shape and type."""
        size, changed = self._file.identity
        return self._identified(
            "npy", path=os.path.abspath(self.name), bytes=size, mtime_ns=changed,
            stored=self._stored.str, offset=self._offset, order="F" if self._fortran else "C",
        )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._stage = None

    def _begin(self):
        self._file.check_unchanged(row=0)

    def _fill(self, first, out):
        if self._fortran:
            self._fill_by_columns(first, out)
        elif self._stored == self.dtype:
            self._get(first, bytes_of(out), self._offset + first * self._stride)
        else:
            self._fill_converted(first, out)

    def _fill_converted(self, first, out):
        step = max(1, STAGE_BYTES // self.row_bytes)
        stage = self._staged((step, self.n_features))
        for start in range(0, out.shape[0], step):
            part = out[start : start + step]
            values = stage[: part.shape[0]]
            row = first + start
            self._get(row, bytes_of(values), self._offset + row * self._stride)
            convert(part, values, self, row)

    def _fill_by_columns(self, first, out):
        """Read runs of a few columns each, and turn them in memory that stays in the cache."""
        itemsize = self._stored.itemsize
        width = _lane(self._stored)
        step = _COLUMN_BYTES // itemsize
        stage = self._staged((width, step))
        for start in range(0, out.shape[0], step):
            part = out[start : start + step]
            row = first + start
            for column in range(0, self.n_features, width):
                columns = min(width, self.n_features - column)
                runs = stage[:columns, : part.shape[0]]
                for index in range(columns):
                    where = self._offset + (column + index) * self._stride + row * itemsize
                    self._get(row, bytes_of(runs[index]), where)
                convert(part[:, column : column + columns], runs.T, self, row)

    def _staged(self, shape):
        if self._stage is None:
            self._stage = aligned_empty(shape, self._stored)
        return self._stage

    def _get(self, row, target, offset):
        try:
            got = self._file.read_at(offset, target)
        except SourceError as error:
            error.row = row
            raise
        if got == len(target):
            return
        if not self._fortran:
            row += got // self.row_bytes
        else:
            row += got // self._stored.itemsize
        self._file.check_unchanged(row=row)
        raise self._error(
            f"ends at row {row} of {self.n_rows}, in the middle of its numbers; "
            "the file was cut off, write it again",
            row=row,
        )


def _lane(stored):
    """Return how many numbers a cache line has room for."""
    return max(1, 64 // stored.itemsize)


def open_npy(path, dtype=None):
    """Open a ``.npy`` file.

    Parameters
    ----------
    path : str or path-like
        Format versions 1 to 3, C or Fortran order, any byte order, real numbers.
    dtype : dtype-like, optional
        What to deliver; by default float32 where the file is of float32, float64 otherwise.

    Returns
    -------
    NpySource
        Nothing but the header has been read.

    Raises
    ------
    SourceError
        If the file is missing, is no ``.npy`` file, holds something else than rows of real
        numbers, or has another length than its header says.
    """
    file = PositionalFile(os.fspath(path))
    try:
        header = header_of(file)
        name, shape = file.path, header.shape
        check_shape(shape, name)
        delivered(header.dtype, wanted_dtype(dtype), name, "convert it and save it again")
        header.check_size(file.size, name)
        return NpySource(file, shape, header.dtype, header.offset, header.fortran, dtype=dtype)
    finally:
        file.close()


def open_memmap(array, dtype=None):
    """Read the file behind a memory map by position instead of by page faults.

    Parameters
    ----------
    array : numpy.memmap of shape (rows, columns)
        The whole map or a slice of it, as long as its rows (or, in Fortran order, each of its
        columns) lie together in the file.
    dtype : dtype-like, optional
        What to deliver.

    Returns
    -------
    NpySource
        Over the same file.
    """
    name = str(getattr(array, "filename", None) or "a memory map")
    mapped = getattr(array, "_mmap", None)
    if mapped is None or array.filename is None:
        raise fault(name, "its file is not known; pass the path instead")
    if array.mode == "c":
        raise fault(name, "a copy-on-write map may differ from its file; map it with mode='r'")
    n_rows, n_columns = check_shape(array.shape, name)
    delivered(array.dtype, wanted_dtype(dtype), name)
    if array.flags.writeable:
        array.flush()
    itemsize = array.dtype.itemsize
    by_row, by_column = array.strides
    # The stride along an axis of one says nothing.
    one_row, one_column = n_rows <= 1, n_columns == 1
    by_rows = (one_column or by_column == itemsize) and (one_row or by_row == n_columns * itemsize)
    by_columns = (one_row or by_row == itemsize) and by_column >= n_rows * itemsize
    if not by_rows and not by_columns:
        raise fault(
            name,
            "this view of the memory map leaves gaps between its numbers; pass the whole map, or "
            "a slice of its rows",
        )
    base = np.frombuffer(mapped, np.uint8).ctypes.data
    mapped_from = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    offset = mapped_from + (array.ctypes.data - base)
    file = PositionalFile(os.fspath(array.filename))
    stride = None if by_rows else by_column
    return NpySource(
        file, (n_rows, n_columns), array.dtype, offset, not by_rows, stride=stride, dtype=dtype
    )

"""Where results of streamed rows go: an array, or a file that is there whole or not at all."""

import os
from pathlib import Path

import numpy as np

from tilewise._files import replacing
from tilewise.engine import on_host


class Output:
    """Where rows of a result go, part after part.

    Parameters
    ----------
    out : ndarray, str or path-like, or None
        An array to fill (a memory map will do), the path of a .npy file to be written, or None
        for a new array.
    n_rows : int or None
        How many there will be; None if nobody knows.
    columns : tuple of int
        Shape of one row of the result: () for labels.
    dtype : dtype
    """

    def __init__(self, out, n_rows, columns, dtype):
        self._columns, self._dtype = columns, np.dtype(dtype)
        self._path = self._array = None
        self.rows = 0
        self._parts = []
        self._n_rows = n_rows
        if isinstance(out, str | os.PathLike):
            self._path = Path(out)
            if self._path.suffix != ".npy":
                raise ValueError(f"out={str(out)!r}: the name of a file to write must end in .npy")
        elif out is not None:
            check_out(out, n_rows, columns, self._dtype)
            self._array = out

    def put(self, parts):
        """Take all parts, in order; return the result, a file's as a memory map.

        Raises
        ------
        OSError
            If the file cannot be written; the message says which and how far it got.
        """
        if self._path is None:
            for part in parts:
                self._place(part)
            return self._collected()
        try:
            with replacing(self._path, "the result") as file:
                self._header(file, 0)
                for part in parts:
                    file.write(np.ascontiguousarray(on_host(part), self._dtype).data)
                    self.rows += len(part)
                size = file.tell()
                file.seek(0)
                self._header(file, self.rows)
                file.seek(size)
        except OSError as error:
            raise type(error)(
                error.errno, f"{error.strerror} (row {self.rows} was reached)", str(self._path)
            ) from error
        return np.load(self._path, mmap_mode="r" if self.rows else None)

    def _place(self, part):
        last = self.rows + len(part)
        if self._array is None and self._n_rows == len(part):
            # All of it: nothing needs to be copied.
            self._array = part
        elif self._array is None and self._n_rows is not None:
            self._array = np.empty((self._n_rows, *self._columns), self._dtype)
            self._array[:last] = part
        elif self._array is None:
            self._parts.append(part)
        elif last > len(self._array):
            raise ValueError(f"out has {len(self._array)} rows, and there are more")
        else:
            self._array[self.rows : last] = on_host(part)
        self.rows = last

    def _collected(self):
        if self._array is None:
            empty = np.empty((0, *self._columns), self._dtype)
            return np.concatenate([empty, *self._parts])
        if self.rows != len(self._array):
            raise ValueError(f"out has {len(self._array)} rows, there are {self.rows}")
        return self._array

    def _header(self, file, rows):
        # NumPy leaves room for the first number of the shape to grow.
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (rows, *self._columns),
            },
        )


def check_out(out, n_rows, columns, dtype):
    """Raise unless `out` is an array that can hold the result, where a path would do as well."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ValueError(
            f"out must be an array or the path of a .npy file, got {type(out).__name__}"
        )
    check_array_out(out, n_rows, columns, dtype)


def check_array_out(out, n_rows, columns, dtype):
    """Raise unless `out` is an array that can hold the result."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ValueError(f"out must be an array, got {type(out).__name__}")
    wanted = (len(out) if n_rows is None and out.ndim else n_rows, *columns)
    if out.shape != wanted or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(
            f"out must be a writeable array of shape {wanted} and dtype {np.dtype(dtype)}, got "
            f"shape {out.shape} and dtype {out.dtype}"
        )

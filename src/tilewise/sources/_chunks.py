"""Arrays that are stored in chunks: Zarr and HDF5."""

import hashlib
import os
from bisect import bisect_right
from itertools import pairwise

import numpy as np

from tilewise._text import first_line
from tilewise.sources._buffers import aligned_empty
from tilewise.sources._errors import SourceError, check_unchanged, fault, stat_of
from tilewise.sources._labels import hdf5_names, zarr_names
from tilewise.sources._protocol import Source, check_shape, convert, delivered

# Chunks smaller than this are read several at a time: large against the cost of a call.
_LEAST_BYTES = 1 << 20

# A band of several chunks side by side is kept decoded while it is used up, unless it is larger
# than this. Then its chunks are decoded again for each part of the band that is asked for.
_MOST_KEPT_BYTES = 1 << 26

# Sixteen million bands of a MiB. A damaged file may claim any shape.
_MOST_BANDS = 1 << 24


class ChunkedSource(Source):
    """Rows of an array whose chunks are read whole, one at a time.

    The chunks that share their rows are a band. If a read covers a band, its chunks go into the
    buffer one by one. If a read needs only a part, the band is kept until another one is needed.

    A subclass has ``_load(rows, columns)``, which returns the numbers of two slices. They cover
    whole chunks unless the band is too large to be kept.
    """

    def __init__(self, name, shape, stored, row_edges, column_edges, dtype, keep=None):
        self.name = name
        self.n_rows, self.n_features = check_shape(shape, name)
        self.dtype = delivered(stored, dtype, name)
        self.row_bytes = self.n_features * np.dtype(stored).itemsize
        self._edges = row_edges
        self._columns = [slice(*pair) for pair in pairwise(column_edges)]
        tallest = max((stop - start for start, stop in pairwise(row_edges)), default=0)
        widest = max(part.stop - part.start for part in self._columns)
        chunk = tallest * widest * np.dtype(stored).itemsize
        band = tallest * self.n_features * self.dtype.itemsize
        several = len(self._columns) > 1
        self._keep = keep if keep is not None else not several or band <= _MOST_KEPT_BYTES
        self._kept = None
        # The library decodes a chunk and copies it into the array that it returns.
        self.held_bytes = 2 * chunk + (band if several and self._keep else 0)

    def close(self):
        """Drop the decoded chunk."""
        self._kept = None

    def _fill(self, first, out):
        done, wanted = 0, out.shape[0]
        index = bisect_right(self._edges, first) - 1
        while done < wanted:
            start, stop = self._edges[index], self._edges[index + 1]
            row = first + done
            part = out[done : done + min(stop - row, wanted - done)]
            index += 1
            if not part.shape[0]:
                continue
            if self._kept is not None and self._kept[0] == start:
                values = self._kept[1][row - start : row - start + part.shape[0]]
                convert(part, values, self, row)
            elif part.shape[0] == stop - start or not self._keep:
                self._read(row, part)
            else:
                values = self._band(start, stop)[row - start : row - start + part.shape[0]]
                convert(part, values, self, row)
            done += part.shape[0]

    def _band(self, start, stop):
        self._kept = None  # before the next one comes
        if len(self._columns) == 1:
            values = self._loaded(slice(start, stop), self._columns[0])
        else:
            values = aligned_empty((stop - start, self.n_features), self.dtype)
            self._read(start, values)
        self._kept = start, values
        return values

    def _read(self, row, out):
        for columns in self._columns:
            values = self._loaded(slice(row, row + out.shape[0]), columns)
            convert(out[:, columns], values, self, row)

    def _loaded(self, rows, columns):
        try:
            values = self._load(rows, columns)
        except Exception as error:
            if isinstance(error, SourceError):
                raise
            self._check_files(rows.start)
            raise self._error(
                f"rows {rows.start} to {rows.stop - 1} could not be read: "
                f"{type(error).__name__}: {first_line(error)}",
                row=rows.start,
            ) from error
        expected = (rows.stop - rows.start, columns.stop - columns.start)
        if not isinstance(values, np.ndarray) or values.shape != expected:
            what = f"shape {values.shape}" if hasattr(values, "shape") else f"a {type(values)}"
            raise self._error(
                f"rows {rows.start} to {rows.stop - 1} came as {what} where "
                f"an array of shape {expected} was promised; make the chunks that they say",
                row=rows.start,
            )
        return values

    def _begin(self):
        self._kept = None
        self._check_files(0)

    def _check_files(self, row):
        pass


def _edges(length, step, name):
    if length // step > _MOST_BANDS:
        raise fault(
            name,
            f"claims {length} rows or columns in chunks of {step}, which are too many chunks; "
            "check the file, or make larger chunks",
        )
    return [*range(0, length, step), length]


def _even_edges(shape, chunks, stored, dtype, name):
    """Return where bands, and chunks of columns, begin and end, for chunks of equal shape or none.

    A band has as many chunks as it takes to be worth a call.
    """
    n_rows, n_columns = check_shape(shape, name)
    delivered(stored, dtype, name)
    chunk_rows, chunk_columns = (max(1, extent) for extent in chunks or (1, n_columns))
    worth = min(n_rows, _LEAST_BYTES // (n_columns * stored.itemsize))
    band = chunk_rows * max(1, worth // chunk_rows)
    return _edges(n_rows, band, name), _edges(n_columns, min(chunk_columns, n_columns), name)


class ZarrSource(ChunkedSource):
    """Rows of a ``zarr.Array``. Chunks that the store lacks have the fill value, as in Zarr."""

    def __init__(self, array, options, name=None):
        self._array = array
        self._place = _zarr_place(array)
        name = name or self._place or f"zarr array {getattr(array, 'name', '') or ''}".rstrip()
        stored = np.dtype(array.dtype)
        edges = _even_edges(array.shape, array.chunks, stored, options.dtype, name)
        super().__init__(name, array.shape, stored, *edges, options.dtype)
        self._identity = _tree_identity(self._place)
        self.feature_names = zarr_names(array)

    def _load(self, rows, columns):
        return np.asarray(self._array[rows, columns])

    def _check_files(self, row):
        if self._identity is not None and _tree_identity(self._place) != self._identity:
            raise self._error(
                "changed while it was being read; start again with an array that does not change",
                row=row,
            )

    def fingerprint(self):
        """Return where it is, its shape, and a digest of its files' sizes and times."""
        path = None if self._place is None else os.path.abspath(self._place)
        stored = np.dtype(self._array.dtype).str
        return self._identified("zarr", path=path, files=self._identity, stored=stored)


def _zarr_place(array):
    """Return the path of an array on a local disk, or None."""
    store = getattr(array, "store", None)
    root = getattr(store, "root", None)
    if root is None:
        return None
    place = os.path.join(os.fspath(root), getattr(array, "path", "") or "")
    place = place.rstrip("/\\")
    return place if os.path.isdir(place) else None


def _tree_identity(place):
    """Return a digest of the names, sizes and times of all files under a directory."""
    if place is None:
        return None
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            size, changed = stat_of(path)
            digest.update(f"{os.path.relpath(path, place)}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()


class Hdf5Source(ChunkedSource):
    """Rows of an ``h5py.Dataset``, in chunks or in one piece; `close` closes the file `opened`."""

    def __init__(self, dataset, options, opened=None):
        self._dataset = dataset
        self._opened = opened
        self._path = dataset.file.filename
        name = f"{self._path}::{dataset.name}"
        edges = _even_edges(dataset.shape, dataset.chunks, dataset.dtype, options.dtype, name)
        if dataset.file.mode != "r":
            dataset.file.flush()
        # Nothing is decoded of what lies in one piece.
        keep = False if dataset.chunks is None else None
        super().__init__(name, dataset.shape, dataset.dtype, *edges, options.dtype, keep)
        self._identity = stat_of(self._path) if os.path.exists(self._path) else None
        self.feature_names = hdf5_names(dataset)

    def _read(self, row, out):
        if self._dataset.dtype == out.dtype and len(self._columns) == 1:
            try:
                self._dataset.read_direct(out, np.s_[row : row + out.shape[0]])
                return
            except Exception:
                pass  # the general way below raises the error
        super()._read(row, out)

    def _load(self, rows, columns):
        return self._dataset[rows, columns]

    def _check_files(self, row):
        if self._identity is not None:
            check_unchanged(self._path, self._identity, row)

    def close(self):
        """Close the file if this source opened it."""
        super().close()
        if self._opened is not None:
            self._opened.close()

    def fingerprint(self):
        """Return the file's name, size and time of change, the dataset, its shape and type."""
        size, changed = self._identity or (None, None)
        return self._identified(
            "hdf5", path=os.path.abspath(self._path), dataset=self.name.rpartition("::")[2],
            bytes=size, mtime_ns=changed,
        )  # fmt: skip

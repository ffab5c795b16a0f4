"""Rows of a dense array of any real type and layout, or of a CSR matrix, without a copy."""

import hashlib
import mmap

import numpy as np
import scipy.sparse as sp

from libc.math cimport ldexp
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch import available_isas, isa

cdef extern from *:
    """
    #include "c/tw_sets.h"
    #include "c/tw_widen.h"
    #define TW_DECLARE(NAME, BASE, ...) extern const tw_widen_kernels TW_JOIN(tw_widen, BASE);
    #define TW_WIDENER(NAME, BASE, ...) &TW_JOIN(tw_widen, BASE),
    TW_SETS(TW_DECLARE)
    static const tw_widen_kernels *const tw_wideners[] = {TW_SETS(TW_WIDENER)};
    """
    ctypedef struct tw_widen_kernels:
        tw_widener of[12][2]
    const tw_widen_kernels* const* tw_wideners

_KINDS = {"f2": 0, "f4": 1, "f8": 2, "i1": 3, "i2": 4, "i4": 5, "i8": 6,
          "u1": 7, "u2": 8, "u4": 9, "u8": 10, "b1": 7, "bf2": 11}

# Rows of bfloat16, which NumPy does not have, as two bytes each that it converts to nothing else.
BFLOAT16 = np.dtype([("bfloat16", "V2")])


cdef enum:
    # Values that are looked at, or digested, together.
    LOOK = 1 << 18
    DIGESTED = 1 << 24
    # Stored entries whose columns are looked at, or sorted, together.
    MARKED = 1 << 22


ctypedef fused column_t:
    int32_t
    int64_t


def _is_canonical(const int64_t[::1] offsets, const column_t[::1] columns):
    """Whether the columns of every row rise strictly."""
    cdef Py_ssize_t i
    cdef int64_t e, wrong = 0
    with nogil:
        for i in range(offsets.shape[0] - 1):
            for e in range(offsets[i] + 1, offsets[i + 1]):
                wrong += columns[e] <= columns[e - 1]
            if wrong:
                break
    return wrong == 0


def _canonical(offsets, columns, values, dtype):
    """The same matrix with sorted columns and duplicates added up in stored order."""
    n = offsets.size - 1
    stored = int(offsets[n])
    owner = np.repeat(np.arange(n), np.diff(offsets))
    order = np.lexsort((columns[:stored], owner))  # stable
    owner, columns, values = owner[order], columns[:stored][order], values[:stored][order]
    new = np.ones(stored, dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(columns) != 0)
    if not new.all():
        merged = np.zeros(np.count_nonzero(new), dtype=dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(merged, np.cumsum(new) - 1, values)
        columns, values = columns[new], merged
        counts = np.bincount(owner[new], minlength=n)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(offsets.dtype)
    return offsets, np.ascontiguousarray(columns), np.ascontiguousarray(values)


cdef const tw_widener* _wideners(int kind, native) except? NULL:
    """How values that lie side by side become float and double, if there is a quick way."""
    if not native:
        return NULL
    return tw_wideners[available_isas().index(isa())].of[kind]


cdef class Rows:
    """A view of n rows of d numbers that the kernels can read.

    Parameters
    ----------
    X : ndarray of shape (n, d) or CSR matrix of shape (n, d)
        Any real dtype, byte order, strides; read-only and memory-mapped arrays too.
        Types whose every value is a number of float32 (float16, bfloat16, integers of up to 16
        bits, bool) give rows of float32, every other type gives rows of float64. What is neither
        float32 nor float64 is converted a chunk at a time while a pass runs. bfloat16 is an array
        of `BFLOAT16`, or of ml_dtypes' type.
    dtype : dtype, optional
        float64 hands out rows of float64 whatever X holds: for two sets of rows of
        unequal types, and where distances are to be as exact as float64 gives them.

    Notes
    -----
    The kernels see a CSR matrix whose columns rise within each row and occur once: where X has
    them otherwise, indices and values are copied once. Duplicate entries add up in the order
    in which they are stored, as they do in ``X.toarray()``; those of types other than float32 in
    float64, which then is the type of the rows.

    Types without a kernel of their own (long double, Python objects) are converted once,
    whole. Stored values of a CSR matrix that are neither float32 nor float64 are as well.
    """

    def __init__(self, X, dtype=None):
        if isinstance(X, Rows):
            if (<Rows>X).c.picks != NULL or (<Rows>X).c.scale != 0.0:
                raise ValueError("picked or scaled rows cannot be made into rows of another type")
            X = (<Rows>X).source
        self.is_sparse = sp.issparse(X)
        if self.is_sparse:
            X = X if X.format == "csr" else X.tocsr()
        else:
            X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"rows must be two-dimensional, got {X.ndim} dimension(s)")
        if X.shape[1] > 2**30:
            raise ValueError(f"at most 2**30 features are supported, got {X.shape[1]}")
        values = X.data if self.is_sparse else X
        if values.dtype.name == "bfloat16" and not self.is_sparse:
            X = values = values.view(BFLOAT16)
        kind = values.dtype.kind + str(values.dtype.itemsize)
        if values.dtype == BFLOAT16:
            kind = "bf2"
        native = values.dtype.isnative
        single = kind == "bf2" or np.can_cast(values.dtype, np.float32)
        if kind not in _KINDS or (self.is_sparse and (kind not in ("f4", "f8") or not native)):
            if values.dtype.kind == "c":
                raise ValueError("Complex data not supported")
            kind = "f4" if single else "f8"
            values = np.ascontiguousarray(values, dtype=kind)
            native = True
            X = X if self.is_sparse else values
        self.source = X
        self.c.n_rows, self.c.depth = X.shape
        self.c.given_depth = self.c.depth
        self.c.kind = _KINDS[kind]
        self.c.swapped = not native
        self.c.is_double = not single or (dtype is not None and np.dtype(dtype) == np.float64)
        if self.is_sparse:
            values = np.ascontiguousarray(values)
            offsets = self._index_array(X.indptr)
            columns = self._index_array(X.indices)
            self._check_structure(X, offsets, columns, values)
            if not _is_canonical(np.asarray(offsets, dtype=np.int64), columns):
                offsets, columns, values = _canonical(offsets, columns, values, self.result_dtype)
                self.c.kind = _KINDS["f8" if values.dtype == np.float64 else "f4"]
                self.c.is_double |= values.dtype == np.float64
            self.longest = int(np.diff(offsets).max(initial=0))
            self._keep = (values, offsets, columns)
            self.c.offsets, self.c.offset_bytes = address(offsets), offsets.itemsize
            self.c.columns, self.c.column_bytes = address(columns), columns.itemsize
            self.c.direct = False
        else:
            self._keep = values
            self.c.offsets = self.c.columns = NULL
            self.c.row_stride, self.c.column_stride = values.strides
            plain = native and kind == ("f8" if self.c.is_double else "f4") and values.flags.aligned
            self.c.direct = plain and (X.shape[1] == 1 or values.strides[1] == values.itemsize)
            # A row stride that is no multiple of the item size would misalign every other row.
            if values.strides[0] % values.itemsize:
                self.c.direct = False
            self.c.item_bytes = values.itemsize
            self.c.widen = _wideners(self.c.kind, native)
        self.c.data = <const char*>address(values)

    @staticmethod
    def _index_array(array):
        wide = array.dtype.itemsize > 4
        return np.ascontiguousarray(array, dtype=np.int64 if wide else np.int32)

    @staticmethod
    def _check_structure(X, offsets, columns, values):
        # A broken index array would read outside memory; scipy checks only on request.
        if offsets.size != X.shape[0] + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise ValueError("the row offsets (indptr) of the CSR matrix are not valid")
        stored = int(offsets[X.shape[0]])
        if stored > min(columns.size, values.size):
            raise ValueError("the CSR matrix names more stored values than it has")
        if stored:
            used = columns[:stored]
            if used.min() < 0 or used.max() >= X.shape[1]:
                raise ValueError("the CSR matrix holds a column index outside its shape")

    def picked(self, ids):
        """Rows ids[0], ids[1], ... of these, counted from 0 on, without a copy.

        Parameters
        ----------
        ids : ndarray of shape (m,), int64, C-contiguous
            Rows may repeat. The array is kept, not copied: what its owner writes into it later
            are the rows from then on, and the owner sees to it that they exist.

        Returns
        -------
        Rows of shape (m, d)
        """
        cdef const int64_t[::1] chosen = ids
        cdef Rows out = Rows.__new__(Rows)
        if self.c.picks != NULL:
            raise ValueError("rows can be picked once only")
        if ids.size and (ids.min() < 0 or ids.max() >= self.c.n_rows):
            raise IndexError(f"row indices must lie in [0, {self.c.n_rows})")
        out.c = self.c
        out.c.n_rows = chosen.shape[0]
        # Not NULL, which would mean all rows, though nothing be picked.
        out.c.picks = &chosen[0] if chosen.shape[0] else <const int64_t*>&out.c
        out._keep, out._picks, out._unfolded, out._result = self._keep, ids, self._unfolded, self._result
        out.source, out.is_sparse, out.longest = self.source, self.is_sparse, self.longest
        return out

    def scaled(self, int exponent):
        """These rows times a power of two, in float64: for values whose squares have no room there.

        Dense rows are scaled as they are read; of a CSR matrix the stored values are copied.

        Parameters
        ----------
        exponent : int
            Of 2, from -1074 to 1023.

        Returns
        -------
        Rows of shape (n, d)
        """
        cdef Rows out
        if self.c.picks != NULL or self.is_window or self.c.scale != 0.0:
            raise ValueError("picked, shown or scaled rows cannot be scaled")
        if self.is_sparse:
            values = np.ldexp(self._keep[0].astype(np.float64), exponent)
            return self._like(sp.csr_array((values, self._keep[2], self._keep[1]), shape=self.source.shape))
        out = Rows.__new__(Rows)
        out.c = self.c
        out.c.scale = ldexp(1.0, exponent)
        out.c.is_double = True
        out.c.direct = False
        out._keep, out.source, out.longest = self._keep, self.source, self.longest
        return out

    def used_columns(self):
        """Which columns a CSR matrix has a stored entry of, (d,) bool."""
        used = np.zeros(self.n_features, dtype=bool)
        for first in range(0, self.stored, MARKED):
            used[self._keep[2][first : min(first + MARKED, self.stored)]] = True
        return used

    def folded(self, places, int width):
        """The rows of a CSR matrix with its columns elsewhere, copied.

        Parameters
        ----------
        places : ndarray of shape (d,), int32
            Where each column goes that has a stored entry, to places of their own.
        width : int
            Columns there are then.

        Returns
        -------
        Rows of shape (n, width)
            Errors of theirs name the columns as they were.
        """
        cdef Rows out
        all_rows(self)
        values, offsets, columns = self._keep
        n, stored = self.n_rows, self.stored
        moved, values = np.empty(stored, dtype=np.int32), values[:stored].copy()
        first = 0
        # The interpreter looks for Ctrl-C between two parts.
        while first < n:
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + MARKED, "right")) - 1)
            at, stop = int(offsets[first]), int(offsets[last])
            part = sp.csr_array((values[at:stop], places[columns[at:stop]], offsets[first : last + 1] - at),
                                shape=(last - first, width))
            part.sort_indices()
            values[at:stop], moved[at:stop] = part.data, part.indices
            first = last
        out = self._like(sp.csr_array((values, moved, offsets), shape=(n, width)))
        out.c.is_double = self.c.is_double
        out._unfolded, out._result = self, self.result_dtype
        return out

    cdef Rows _like(self, X):
        """Rows of a CSR matrix that is made of this one."""
        cdef Rows out = Rows(X)
        out.c.given_depth = self.c.given_depth
        return out

    @staticmethod
    def open_window(int64_t n_rows, int depth, dtype):
        """Rows of which only a part is in memory at a time; `show` says which.

        The kernels count rows from the first of all, as labels and weights do. Only those that
        are told first and last row may be given a window.
        """
        cdef Rows out = Rows.__new__(Rows)
        out.c.n_rows, out.c.depth, out.c.given_depth = n_rows, depth, depth
        out.c.is_double = np.dtype(dtype) == np.float64
        out.c.kind = _KINDS["f8" if out.c.is_double else "f4"]
        out.c.column_stride = 8 if out.c.is_double else 4
        out.c.row_stride = depth * out.c.column_stride
        out.c.item_bytes = out.c.column_stride
        out.c.widen = _wideners(out.c.kind, True)
        out.c.direct = True
        out.is_sparse = False
        out.is_window = True
        return out

    @property
    def shown(self):
        """First and last row that a window shows."""
        return self.shown_first, self.shown_last

    def show(self, int64_t first, values):
        """Let the window show rows first, first + 1, ...: the rows of an array that it keeps."""
        if values.ndim != 2 or values.shape[1] != self.c.depth or values.dtype != self.compute_dtype or (
                not values.flags.c_contiguous or first < 0 or first + len(values) > self.c.n_rows):
            raise ValueError("this array cannot be shown by the window")
        self._keep = self.source = values
        self.shown_first, self.shown_last = first, first + len(values)
        # As if all rows before stood before it; none of them is ever touched.
        self.c.data = <const char*>(<size_t>address(values) - <size_t>(first * self.c.row_stride))

    @property
    def n_rows(self):
        """Number of rows."""
        return self.c.n_rows

    @property
    def n_features(self):
        """Number of columns."""
        return self.c.depth

    @property
    def density(self):
        """Share of the entries that are stored; 1 for a dense array."""
        if not self.is_sparse:
            return 1.0
        return self._share(self.c.depth)

    @property
    def given_density(self):
        """The same of the rows as they were given: columns that nobody uses may have been left out since."""
        return self._share(self.c.given_depth) if self.is_sparse else 1.0

    cdef double _share(self, int64_t depth):
        cdef int64_t size = (self._keep[1].size - 1) * depth  # of picked rows: of all
        return self.stored / <double>size if size else 1.0

    @property
    def stored(self):
        """Stored entries of a CSR matrix; of picked rows those of all."""
        return tw_row_start(&self.c, self._keep[1].size - 1) if self.is_sparse else 0

    @property
    def compute_dtype(self):
        """Type of the rows that kernels read and `take` hands out."""
        return np.dtype(np.float64 if self.c.is_double else np.float32)

    @property
    def result_dtype(self):
        """Type of what users get, centres and distances: float32 for float32 rows, else float64."""
        if self._result is not None:
            return self._result
        narrow = self.source is not None and self.source.dtype.itemsize < 4 and self.c.kind != _KINDS["bf2"]
        return np.dtype(np.float64) if narrow else self.compute_dtype

    @property
    def is_direct(self):
        """Whether the kernels read the rows where they stand, without staging."""
        return bool(self.c.direct)

    @property
    def is_mapped(self):
        """Whether the values are those of a mapped file, as far as NumPy knows."""
        at = self.source
        while at is not None and not isinstance(at, (np.memmap, mmap.mmap)):
            at = at.obj if isinstance(at, memoryview) else getattr(at, "base", None)
        return at is not None

    # What a pass asks of any rows: those in memory are one part that is there all the time.

    backend = "cpu"
    in_memory = True
    can_skip = False
    report = None

    @property
    def window(self):
        """The rows that kernels read: these."""
        return self

    @property
    def visible(self):
        """Those of the rows that are in memory now: all."""
        return self

    def parts(self, wanted=None):
        """Yield first and last row of the one part."""
        if self.n_rows:
            yield 0, self.n_rows

    def raise_nonfinite(self, first=0):
        """Raise the ValueError that names the first value that is not finite, if there is one."""
        found = self.locate_nonfinite(first)
        if found is not None:
            row, column, kind = found
            wide = self.result_dtype
            what = "NaN" if kind == "NaN" else f"infinity or a value too large for {wide!r}"
            raise ValueError(f"Input X contains {what}: the first is at row {row}, column {column}.")

    def values(self, size):
        """Yield all values, or those that are stored, of picked rows those of all, about `size` at a time."""
        if self.is_sparse:
            for first in range(0, self.stored, size):
                yield self._keep[0][first : min(first + size, self.stored)]
            return
        step = max(1, size // max(1, self.n_features))
        for first in range(0, self.n_rows, step):
            if self.is_direct and self._picks is None:
                yield self._keep[first : first + step]
            else:
                yield self.take(np.arange(first, min(first + step, self.n_rows)))

    def copied(self, ids):
        """Rows by index, copied."""
        cdef Rows out
        if not self.is_sparse:
            return Rows(self.take(ids).astype(self.result_dtype, copy=False))
        out = self._like(self.source[ids])
        out._result = self._result
        return out

    def originals(self, ids):
        """Rows by index in the type in which they were given, dense; bfloat16 as float32."""
        if self.source.dtype == BFLOAT16:
            return self.take(ids)
        found = self.source[ids]
        return found.toarray() if self.is_sparse else np.asarray(found)

    def array(self):
        """All rows as an array or CSR matrix of `result_dtype`."""
        if self.source.dtype == BFLOAT16:
            return self.take(np.arange(self.n_rows)).astype(self.result_dtype, copy=False)
        return self.source.astype(self.result_dtype, copy=False)

    def magnitudes(self):
        """The largest magnitude in each row, (n,) float64."""
        if self.is_sparse:
            return np.asarray(abs(self.source).max(axis=1).todense(), dtype=np.float64).reshape(-1)
        parts = [np.abs(values).max(axis=1, initial=0.0) for values in self.values(LOOK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def fingerprint(self):
        """A digest of all values."""
        digest = hashlib.blake2b(digest_size=16)
        for values in self.values(DIGESTED):
            digest.update(np.ascontiguousarray(values, dtype=self.result_dtype).data)
        return {"values": digest.hexdigest()}

    def take(self, indices):
        """Rows by index, as a C-contiguous array of `compute_dtype`."""
        indices = np.ascontiguousarray(np.asarray(indices, dtype=np.int64).reshape(-1))
        n = self.c.n_rows
        if indices.size and (indices.min() < 0 or indices.max() >= n):
            raise IndexError(f"row indices must lie in [0, {n})")
        out = np.empty((indices.size, self.c.depth), dtype=self.compute_dtype)
        cdef const int64_t[::1] ids = indices
        cdef char[::1] to
        cdef const void* pointer
        cdef tw_rows copying = self.c
        cdef ptrdiff_t i, step = self.c.depth * out.itemsize
        if not out.size:
            return out
        to = out.reshape(-1).view(np.int8)
        copying.direct = False
        for i in range(ids.shape[0]):
            tw_fetch_rows(&copying, &ids[i], 0, 1, &pointer, &to[i * step], copying.depth)
        return out

    def locate_nonfinite(self, first=0):
        """Row, column and kind ("NaN" or "infinity") of the first value that is not finite.

        Returns None if there is none from row `first` on. Of picked rows it names the row of
        the data that was picked.
        """
        if self.is_sparse:
            return self._locate_stored(first)
        step = max(1, 2**20 // max(1, self.n_features))
        for start in range(first, self.n_rows, step):
            block = self.take(np.arange(start, min(start + step, self.n_rows)))
            bad = ~np.isfinite(block)
            if bad.any():
                row, column = np.unravel_index(np.argmax(bad), bad.shape)
                what = "NaN" if np.isnan(block[row, column]) else "infinity"
                row += start
                return int(row if self._picks is None else self._picks[row]), int(column), what
        return None

    def _locate_stored(self, first):
        """The same of CSR rows: only what is stored can be at fault."""
        if self._unfolded is not None:
            whole = self._unfolded
            return (whole if self._picks is None else whole.picked(self._picks)).locate_nonfinite(first)
        values, offsets, columns = self._keep
        bad = np.flatnonzero(~np.isfinite(values[: self.stored]))
        if not bad.size:
            return None
        places = np.arange(first, self.n_rows) if self._picks is None else self._picks[first:]
        # The first bad entry from each row's beginning on, if it still is the row's.
        at = np.searchsorted(bad, offsets[places])
        found = at < bad.size
        found[found] = bad[at[found]] < offsets[places[found] + 1]
        if not found.any():
            return None
        row = int(np.argmax(found))
        entry = bad[at[row]]
        what = "NaN" if np.isnan(values[entry]) else "infinity"
        return int(places[row]), int(columns[entry]), what

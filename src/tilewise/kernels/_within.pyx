"""Values of ready blocks that do not exceed a limit: counted, taken, brought together, sorted.

Threads share the rows; every row has a place of its own in what is written. Each loop over them
is a line, with arguments of its own: a `prange` is shorter than a struct for `run_blocks`.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from tilewise.kernels._workspace import aligned_empty

from tilewise.kernels._candidates cimport sort_pairs
from tilewise.kernels._dispatch cimport enter_loop, exact_kernels, leave_loop, tw_exact_kernels
from tilewise.kernels._rows cimport address


cdef int _check(const double[:, :] block, Py_ssize_t rows) except -1:
    if rows != block.shape[0] or (block.shape[1] > 1 and block.strides[1] != sizeof(double)):
        raise ValueError("there must be one entry per row of a block, whose numbers are contiguous")
    return 0


def count_within(const double[:, :] block, double limit, *, str isa, int n_threads):
    """How many values of each row do not exceed the limit, int64 (rows)."""
    found = np.zeros(block.shape[0], dtype=np.int64)
    cdef int64_t[::1] counts = found
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef int64_t r, rows = block.shape[0]
    cdef int count = <int>block.shape[1], threads
    cdef ptrdiff_t step = block.strides[0]
    cdef const char* start
    _check(block, counts.shape[0])
    if rows == 0 or count == 0:
        return found
    start = <const char*>&block[0, 0]
    threads = enter_loop(n_threads)
    try:
        for r in prange(rows, nogil=True, schedule="static", num_threads=threads):
            counts[r] = exact.not_above(<const double*>(start + r * step), count, limit)
    finally:
        leave_loop()
    return found


def take_within(const double[:, :] block, double limit, int64_t y_first, const int64_t[::1] starts,
                double[::1] values, int64_t[::1] columns, *, str isa, int n_threads):
    """Write those values from starts[r] on, and their columns, the first one being y_first."""
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef int64_t r, rows = block.shape[0]
    cdef int count = <int>block.shape[1], threads
    cdef ptrdiff_t step = block.strides[0]
    cdef const char* start
    cdef double* to
    cdef int64_t* places
    _check(block, starts.shape[0])
    if rows == 0 or count == 0 or values.shape[0] == 0:
        return
    start = <const char*>&block[0, 0]
    to, places = &values[0], &columns[0]
    threads = enter_loop(n_threads)
    try:
        for r in prange(rows, nogil=True, schedule="static", num_threads=threads):
            exact.collect_within(<const double*>(start + r * step), count, limit, y_first, to + starts[r],
                                 places + starts[r])
    finally:
        leave_loop()


def place_rows(const int64_t[::1] starts, const int64_t[::1] counts, const double[::1] values,
               const int64_t[::1] columns, int64_t[::1] to, double[::1] out_values, int64_t[::1] out_columns, *,
               int n_threads):
    """Copy counts[r] pairs from starts[r] on to to[r], which moves on by as many."""
    cdef int64_t r, rows = counts.shape[0]
    cdef int threads
    if starts.shape[0] != rows or to.shape[0] != rows:
        raise ValueError("starts, counts and to must have one entry per row")
    if rows == 0 or out_values.shape[0] == 0 or values.shape[0] == 0:
        return
    threads = enter_loop(n_threads)
    try:
        for r in prange(rows, nogil=True, schedule="static", num_threads=threads):
            memcpy(&out_values[0] + to[r], &values[0] + starts[r], counts[r] * sizeof(double))
            memcpy(&out_columns[0] + to[r], &columns[0] + starts[r], counts[r] * sizeof(int64_t))
            to[r] += counts[r]
    finally:
        leave_loop()


cdef void _sort_row(double* values, int64_t* columns, int64_t count, double* spare) noexcept nogil:
    """spare has room for four times count."""
    cdef int64_t* places = <int64_t*>(spare + 2 * count)
    if count < 2:
        return
    memcpy(spare, values, count * sizeof(double))
    memcpy(places, columns, count * sizeof(int64_t))
    sort_pairs(spare, places, count)
    memcpy(values, spare, count * sizeof(double))
    memcpy(columns, places, count * sizeof(int64_t))


def sort_rows(const int64_t[::1] offsets, double[::1] values, int64_t[::1] columns, *, int n_threads):
    """Sort each row, offsets[r] .. offsets[r + 1], by (value, column)."""
    cdef int64_t r, rows = offsets.shape[0] - 1, most = 0, first
    cdef int threads
    cdef double* spare
    for r in range(rows):
        most = max(most, offsets[r + 1] - offsets[r])
    if most < 2:
        return
    threads = enter_loop(n_threads)
    try:
        buffer = aligned_empty(32 * most * threads)
        spare = <double*>address(buffer)
        for r in prange(rows, nogil=True, schedule="dynamic", chunksize=16, num_threads=threads):
            first = offsets[r]
            _sort_row(&values[0] + first, &columns[0] + first, offsets[r + 1] - first, spare + 4 * most * threadid())
    finally:
        leave_loop()

"""Sums and moments over the stored entries of CSR rows.

Threads share the columns, not the rows: whatever their number, each sum of a column meets
its entries in row order, so the numbers are the same.
"""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport fabs
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport enter_loop, leave_loop
from tilewise.kernels._rows cimport Rows, all_rows, tw_row_start, tw_rows

ctypedef fused value_t:
    float
    double

ctypedef fused column_t:
    int32_t
    int64_t

cdef enum:
    # Entries per column block below which another thread is not worth its searches.
    BLOCK_ENTRIES = 65536


cdef struct columns_pass:
    const tw_rows* rows
    int64_t first
    int64_t stop
    const int32_t* labels
    const double* weights
    double* sums            # (k, ld)
    ptrdiff_t ld
    double* weight_sums     # (k)
    int64_t* members        # (k)
    double* mean
    double* squares
    double* largest
    int64_t* counts


def column_blocks(Rows rows, int n_blocks):
    """Bounds (blocks + 1) of at most n_blocks ranges of columns with about as many entries each."""
    all_rows(rows)
    columns = rows._keep[2][: tw_row_start(&rows.c, rows.c.n_rows)]
    n_blocks = max(1, min(n_blocks, columns.size // BLOCK_ENTRIES))
    sample = np.sort(columns[:: max(1, columns.size // BLOCK_ENTRIES)])
    inner = [int(sample[sample.size * b // n_blocks]) for b in range(1, n_blocks)]
    return np.array([0, *inner, max(rows.c.depth, 1)], dtype=np.int64)


cdef inline int64_t _seek(const column_t* columns, int64_t low, int64_t high, int64_t wanted) noexcept nogil:
    """First of the entries low .. high whose column is at least `wanted`."""
    cdef int64_t middle
    while low < high:
        middle = low + (high - low) // 2
        if columns[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


cdef void _sum_block(const columns_pass* p, int64_t begin, int64_t end, bint alone, const value_t* values,
                     const column_t* columns) noexcept nogil:
    cdef int64_t i, e, stop
    cdef int32_t j
    cdef double weight = 1.0
    cdef double* to
    for i in range(p.first, p.stop):
        j = p.labels[i]
        if p.weights != NULL:
            weight = p.weights[i]
            if weight == 0.0:
                continue
        if begin == 0:
            p.weight_sums[j] += weight
            p.members[j] += 1
        to = p.sums + j * p.ld
        e = tw_row_start(p.rows, i)
        stop = tw_row_start(p.rows, i + 1)
        if not alone:
            e = _seek(columns, e, stop, begin)
            stop = _seek(columns, e, stop, end)
        while e < stop:
            to[columns[e]] += weight * values[e]
            e += 1


cdef void _sum_types(const columns_pass* p, int64_t begin, int64_t end, bint alone) noexcept nogil:
    if p.rows.kind == 2:
        if p.rows.column_bytes == 4:
            _sum_block(p, begin, end, alone, <const double*>p.rows.data, <const int32_t*>p.rows.columns)
        else:
            _sum_block(p, begin, end, alone, <const double*>p.rows.data, <const int64_t*>p.rows.columns)
    elif p.rows.column_bytes == 4:
        _sum_block(p, begin, end, alone, <const float*>p.rows.data, <const int32_t*>p.rows.columns)
    else:
        _sum_block(p, begin, end, alone, <const float*>p.rows.data, <const int64_t*>p.rows.columns)


def sum_rows(Rows rows, int64_t first, int64_t stop, const int32_t[::1] labels, double[:, ::1] sums,
             double[::1] weight_sums, int64_t[::1] members, const int64_t[::1] blocks, *,
             const double[::1] weights=None, int n_threads):
    """Add the rows first .. stop, times their weights, to the sums (k, ld) of their labels."""
    all_rows(rows)
    cdef columns_pass p
    cdef int b, n = <int>blocks.shape[0] - 1, threads
    if not rows.is_sparse or first < 0 or stop > rows.c.n_rows or labels.shape[0] != rows.c.n_rows or (
            sums.shape[1] < rows.c.depth or weight_sums.shape[0] != sums.shape[0]) or (
            members.shape[0] != sums.shape[0]) or (weights is not None and weights.shape[0] != labels.shape[0]):
        raise ValueError("rows, labels, weights and sums do not have matching shapes")
    if first >= stop:
        return
    p.rows = &rows.c
    p.first, p.stop = first, stop
    p.labels = &labels[0]
    p.weights = &weights[0] if weights is not None else NULL
    p.sums = &sums[0, 0] if sums.shape[1] else NULL
    p.ld = sums.shape[1]
    p.weight_sums = &weight_sums[0]
    p.members = &members[0]
    threads = enter_loop(min(n_threads, n))
    try:
        for b in prange(n, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            _sum_types(&p, blocks[b], blocks[b + 1], n == 1)
    finally:
        leave_loop()


cdef void _moments_block(const columns_pass* p, int64_t begin, int64_t end, bint second, const value_t* values,
                         const column_t* columns) noexcept nogil:
    cdef int64_t i, e, stop, l
    cdef double value, gap
    for i in range(p.first, p.stop):
        e = _seek(columns, tw_row_start(p.rows, i), tw_row_start(p.rows, i + 1), begin)
        stop = tw_row_start(p.rows, i + 1)
        while e < stop and columns[e] < end:
            l = columns[e]
            value = values[e]
            e += 1
            if second:
                gap = value - p.mean[l]
                p.squares[l] += gap * gap
            else:
                p.mean[l] += value
                p.counts[l] += 1
                if fabs(value) > p.largest[l]:
                    p.largest[l] = fabs(value)


cdef void _moments_types(const columns_pass* p, int64_t begin, int64_t end, bint second) noexcept nogil:
    if p.rows.kind == 2:
        if p.rows.column_bytes == 4:
            _moments_block(p, begin, end, second, <const double*>p.rows.data, <const int32_t*>p.rows.columns)
        else:
            _moments_block(p, begin, end, second, <const double*>p.rows.data, <const int64_t*>p.rows.columns)
    elif p.rows.column_bytes == 4:
        _moments_block(p, begin, end, second, <const float*>p.rows.data, <const int32_t*>p.rows.columns)
    else:
        _moments_block(p, begin, end, second, <const float*>p.rows.data, <const int64_t*>p.rows.columns)


def column_moments(Rows rows, *, int n_threads):
    """Mean, sum of squared deviations and largest magnitude of each column, in two readings.

    What is not stored deviates by the mean, so many times as it is not stored.
    """
    all_rows(rows)
    cdef columns_pass p
    cdef int64_t d = rows.c.depth, n = rows.c.n_rows, step
    cdef int b, n_blocks, threads
    mean, squares, largest = np.zeros(d), np.zeros(d), np.zeros(d)
    counts = np.zeros(d, dtype=np.int64)
    if n == 0 or d == 0:
        return mean, squares, largest
    cdef const int64_t[::1] blocks = column_blocks(rows, n_threads)
    cdef double[::1] mean_view = mean, squares_view = squares, largest_view = largest
    cdef int64_t[::1] counts_view = counts
    n_blocks = <int>blocks.shape[0] - 1
    p.rows = &rows.c
    p.mean, p.squares, p.largest = &mean_view[0], &squares_view[0], &largest_view[0]
    p.counts = &counts_view[0]
    # The interpreter looks for Ctrl-C between two blocks of rows.
    step = max(1, _UNINTERRUPTED // max(1, tw_row_start(&rows.c, n) // n + 1))
    for second in (False, True):
        for first in range(0, n, step):
            p.first, p.stop = first, min(n, first + step)
            threads = enter_loop(min(n_threads, n_blocks))
            try:
                for b in prange(n_blocks, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
                    _moments_types(&p, blocks[b], blocks[b + 1], second)
            finally:
                leave_loop()
        if not second:
            with np.errstate(over="ignore", invalid="ignore"):
                mean /= n
    with np.errstate(over="ignore", invalid="ignore"):
        squares += (n - counts) * (mean * mean)
    return mean, squares, largest


# Entries between two looks for Ctrl-C: a few nanoseconds each.
_UNINTERRUPTED = 2**26

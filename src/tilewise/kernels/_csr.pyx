"""Moments of the columns of CSR rows, from the stored entries. Threads share the columns, not the rows."""

import numpy as np

from libc.math cimport NAN, fabs, fma
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport run_blocks, tw_bins
from tilewise.kernels._exact cimport mean_and_variance
from tilewise.kernels._rows cimport Rows, address, all_rows, tw_prefetch, tw_row_start, tw_rows
from tilewise.kernels._sums cimport tw_bins_add, tw_bins_clear, tw_bins_fold, tw_bins_value

from tilewise.kernels._workspace import aligned_empty

ctypedef fused value_t:
    float
    double

ctypedef fused column_t:
    int32_t
    int64_t

cdef enum:
    # Entries per column block below which another thread is not worth its searches.
    BLOCK_ENTRIES = 65536
    # Entries between the prefetch of a column's sums and their use.
    AHEAD = 3
    # Columns at a time, whose sums take 8 MiB.
    MOST_COLUMNS = 65536


# The squares of larger numbers have no room in bins.
cdef double LARGE = 2.0**480


cdef struct columns_pass:
    const tw_rows* rows
    int64_t first           # rows
    int64_t stop
    int64_t begin           # columns
    int64_t end
    tw_bins* sums           # (end - begin, 2) of values and of their squares
    double* largest         # (d)
    double* least


def column_blocks(Rows rows, int n_blocks):
    """Bounds (blocks + 1) of about n_blocks ranges of columns with about as many entries each."""
    all_rows(rows)
    columns = rows._keep[2][: tw_row_start(&rows.c, rows.c.n_rows)]
    n_blocks = max(1, min(n_blocks, columns.size // BLOCK_ENTRIES))
    sample = np.sort(columns[:: max(1, columns.size // BLOCK_ENTRIES)])
    inner = [int(sample[sample.size * b // n_blocks]) for b in range(1, n_blocks)]
    last = max(rows.c.depth, 1)
    bounds = set(inner) | set(range(0, last, MOST_COLUMNS)) | {last}
    return np.array(sorted(bounds), dtype=np.int64)


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


cdef void _moments_block(const columns_pass* p, const value_t* values, const column_t* columns) noexcept nogil:
    cdef int64_t i, e, stop, l
    cdef double value, size, square
    cdef tw_bins* to
    for i in range(p.first, p.stop):
        e = _seek(columns, tw_row_start(p.rows, i), tw_row_start(p.rows, i + 1), p.begin)
        stop = tw_row_start(p.rows, i + 1)
        while e < stop and columns[e] < p.end:
            l = columns[e]
            value = values[e]
            e += 1
            if e + AHEAD < stop and columns[e + AHEAD] < p.end:
                to = p.sums + 2 * (columns[e + AHEAD] - p.begin)
                tw_prefetch(to)
                tw_prefetch(<char*>to + 64)
            if value == 0.0:
                continue
            size = fabs(value)
            to = p.sums + 2 * (l - p.begin)
            if not size <= LARGE:
                # Or not a number.
                to[0].special = to[1].special = NAN
            else:
                tw_bins_add(to, value)
                square = value * value
                tw_bins_add(to + 1, square)
                if value_t is double:
                    tw_bins_add(to + 1, fma(value, value, -square))
            if not size <= p.largest[l]:
                p.largest[l] = size
            if size < p.least[l]:
                p.least[l] = size


cdef void _moments_types(void* work, int64_t block, int _count, int _thread) noexcept nogil:
    cdef const columns_pass* p = <const columns_pass*>work + block
    if p.rows.kind == 2:
        if p.rows.column_bytes == 4:
            _moments_block(p, <const double*>p.rows.data, <const int32_t*>p.rows.columns)
        else:
            _moments_block(p, <const double*>p.rows.data, <const int64_t*>p.rows.columns)
    elif p.rows.column_bytes == 4:
        _moments_block(p, <const float*>p.rows.data, <const int32_t*>p.rows.columns)
    else:
        _moments_block(p, <const float*>p.rows.data, <const int64_t*>p.rows.columns)


def column_moments(Rows rows, *, int n_threads):
    """Mean, mean squared deviation, largest and least magnitude other than zero of each column.

    Mean and deviation are NaN where a value is not finite, or too large to be squared.
    """
    all_rows(rows)
    cdef int64_t d = rows.c.depth, n = rows.c.n_rows, step, first, l
    cdef int b, n_blocks
    mean, variance, largest, least = np.zeros(d), np.zeros(d), np.zeros(d), np.full(d, np.inf)
    if n == 0 or d == 0:
        return mean, variance, largest, least
    cdef const int64_t[::1] blocks = column_blocks(rows, n_threads)
    cdef double[::1] to = mean, spread = variance, most = largest, fewest = least
    cdef columns_pass p[64]
    cdef int together = min(64, n_threads), at, some
    n_blocks = <int>blocks.shape[0] - 1
    wide = min(MOST_COLUMNS, d)
    sums = aligned_empty(together * 2 * wide * sizeof(tw_bins))
    # The interpreter looks for Ctrl-C between two calls.
    step = max(1, _UNINTERRUPTED // max(1, tw_row_start(&rows.c, n) // n + 1))
    for at in range(0, n_blocks, together):
        some = min(together, n_blocks - at)
        for b in range(some):
            p[b].rows = &rows.c
            p[b].begin, p[b].end = blocks[at + b], blocks[at + b + 1]
            p[b].sums = <tw_bins*>address(sums) + b * 2 * <int64_t>wide
            p[b].largest, p[b].least = &most[0], &fewest[0]
            for l in range(2 * (p[b].end - p[b].begin)):
                tw_bins_clear(p[b].sums + l)
        for first in range(0, n, step):
            for b in range(some):
                p[b].first, p[b].stop = first, min(n, first + step)
            run_blocks(_moments_types, p, 0, some, 1, 1, some)
        for b in range(some):
            for l in range(p[b].begin, p[b].end):
                if l < d:
                    _finish(p[b].sums + 2 * (l - p[b].begin), n, &to[l], &spread[l])
    return mean, variance, largest, least


cdef void _finish(tw_bins* sums, double n, double* mean, double* variance) noexcept nogil:
    cdef double high[2]
    cdef double low[2]
    cdef int i
    for i in range(2):
        tw_bins_fold(sums + i)
        tw_bins_value(sums + i, high + i, low + i)
    mean_and_variance(high, low, n, mean, variance)


# Entries between two looks for Ctrl-C: some ten nanoseconds each.
_UNINTERRUPTED = 2**24

"""Canonical distances to the own centre, their sum, and moments of columns."""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport fma
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport (
    exact_kernels,
    run_blocks,
    tw_bins,
    tw_bins8,
    tw_exact_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport (
    Rows,
    address,
    check_window,
    tw_clear_row,
    tw_fetch_rows,
    tw_pack_entries_f8,
    tw_row_start,
    tw_rows,
    tw_scatter_row,
)
from tilewise.kernels._sums cimport (
    Bins,
    tw_bins8_clear,
    tw_bins8_column,
    tw_bins8_merge,
    tw_bins_clear,
    tw_bins_merge,
    tw_bins_value,
)

from tilewise.kernels._workspace import aligned_empty

cdef enum:
    # Rows that are fetched at a time: 128 rows of 784 doubles fit an L2 of 1 MiB.
    BLOCK = 128
    # Blocks that a thread takes at a time.
    BLOCKS = 8
    # CSR rows at a time; between two uses their buffers hold zeros.
    SPARSE_BLOCK = 4
    # Stored entries that are unpacked at a time, unless one row has more.
    ENTRIES = 16384
    SQEUCLIDEAN = 1  # of enum tw_sparse_kernel


cdef struct exact_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    int64_t first           # of the rows that are measured
    int64_t stop
    ptrdiff_t step
    const double* centers
    ptrdiff_t ldc
    const int32_t* labels
    const double* weights
    double* out             # (stop - first), or NULL
    tw_bins* totals         # one per thread
    char* staging
    ptrdiff_t staging_bytes
    # CSR rows by their entries: where the parts behind the staging of one thread start
    int64_t entries
    ptrdiff_t ids
    ptrdiff_t starts
    ptrdiff_t norms
    ptrdiff_t columns
    ptrdiff_t values
    const double* center_norms
    # the stored entries of the centres, or NULL
    const int64_t* center_starts
    const int32_t* center_columns
    const double* center_values
    # moments: one row of each per thread
    tw_bins8* sums
    tw_bins8* squares
    int64_t n_sums
    double* sizes           # (threads, 2, n_sums, 8) largest and least magnitudes


cdef object _staging(exact_pass* p, int threads):
    p.step = (p.rows.depth + 7) // 8 * 8
    p.staging_bytes = 0 if p.rows.direct else (SPARSE_BLOCK if p.rows.offsets != NULL else BLOCK) * p.step * 8
    if p.entries:
        # Nothing is spread out.
        p.ids = 0
        p.norms = p.ids + 8 * BLOCK
        p.values = p.norms + 8 * BLOCK
        p.columns = p.values + 8 * p.entries
        p.starts = p.columns + 4 * p.entries
        p.staging_bytes = (p.starts + 4 * (BLOCK + 1) + 63) // 64 * 64
    buffer = np.zeros(max(1, p.staging_bytes * threads), dtype=np.uint8)
    p.staging = <char*>address(buffer)
    return buffer


def padded(values):
    """float64 rows with zeros behind, so that every row is a multiple of eight long; not always a copy."""
    values = np.asarray(values)
    if values.dtype == np.float64 and values.flags.c_contiguous and values.size and values.shape[1] % 8 == 0:
        return values
    out = np.zeros((values.shape[0], (max(values.shape[1], 1) + 7) // 8 * 8))
    out[:, : values.shape[1]] = values
    return out


# ---------------------------------------------------------------- distance to the own centre


cdef void _book(const exact_pass* p, int64_t first, int count, const double* gaps, int thread) noexcept nogil:
    cdef int r
    if p.out != NULL:
        for r in range(count):
            p.out[first - p.first + r] = gaps[r]
    p.exact.bin_values(p.totals + thread, count, gaps, p.weights + first if p.weights != NULL else NULL)


cdef void _own_rows(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const exact_pass* p = <const exact_pass*>work
    cdef const void* pointers[BLOCK]
    cdef double gaps[BLOCK]
    tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
    if p.rows.is_double:
        p.exact.distances_own_f8(<const double* const*>pointers, p.labels + first, p.centers, p.ldc, count,
                                 p.rows.depth, gaps)
    else:
        p.exact.distances_own_f4(<const float* const*>pointers, p.labels + first, p.centers, p.ldc, count,
                                 p.rows.depth, gaps)
    _book(p, first, count, gaps, thread)


cdef void _own_rows_sparse(void* work, int64_t first, int count, int thread) noexcept nogil:
    """The same, without writing the zeros of every row."""
    cdef const exact_pass* p = <const exact_pass*>work
    cdef const void* pointers[SPARSE_BLOCK]
    cdef const double* own[SPARSE_BLOCK]
    cdef double gaps[SPARSE_BLOCK]
    cdef int r
    for r in range(count):
        pointers[r] = p.staging + thread * p.staging_bytes + r * p.step * 8
        own[r] = p.centers + p.labels[first + r] * p.ldc
        tw_scatter_row(p.rows, first + r, <void*>pointers[r])
    if p.rows.is_double:
        p.exact.distances_pairs_f8(<const double* const*>pointers, own, count, p.rows.depth, gaps)
    else:
        p.exact.distances_pairs_f4(<const float* const*>pointers, own, count, p.rows.depth, gaps)
    for r in range(count):
        tw_clear_row(p.rows, first + r, <void*>pointers[r])
    _book(p, first, count, gaps, thread)


cdef int _unpack(const exact_pass* p, int64_t first, int64_t stop, char* ws) noexcept nogil:
    """Entries and squared norms of as many rows from `first` on as fit; returns how many."""
    cdef int64_t* ids = <int64_t*>(ws + p.ids)
    cdef int64_t room = p.entries, row
    cdef int n = 0
    while n < BLOCK and first + n < stop:
        row = first + n if p.rows.picks == NULL else p.rows.picks[first + n]
        room -= tw_row_start(p.rows, row + 1) - tw_row_start(p.rows, row)
        if room < 0:
            break
        ids[n] = first + n
        n += 1
    tw_pack_entries_f8(p.rows, ids, n, 1.0, <int32_t*>(ws + p.starts), <int32_t*>(ws + p.columns),
                       <double*>(ws + p.values), <double*>(ws + p.norms))
    return n


cdef void _own_rows_entries(void* work, int64_t first, int count, int thread) noexcept nogil:
    """The same from the stored entries, as many rows at a time as fit.

    From those of both sides it is the canonical distance. Else it is where sums of squares would cancel.
    """
    cdef const exact_pass* p = <const exact_pass*>work
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef const int32_t* starts = <const int32_t*>(ws + p.starts)
    cdef const int32_t* columns
    cdef const double* x
    cdef double gaps[BLOCK]
    cdef int64_t j, at, stop = first + count
    cdef int r, n, stored
    while first < stop:
        n = _unpack(p, first, stop, ws)
        for r in range(n):
            j = p.labels[first + r]
            stored = starts[r + 1] - starts[r]
            columns = <const int32_t*>(ws + p.columns) + starts[r]
            x = <const double*>(ws + p.values) + starts[r]
            if p.center_starts != NULL:
                at = p.center_starts[j]
                gaps[r] = p.exact.merged(SQEUCLIDEAN, stored, columns, x, <int>(p.center_starts[j + 1] - at),
                                         p.center_columns + at, p.center_values + at)
                continue
            gaps[r] = p.exact.own_entries(stored, columns, x, p.centers + j * p.ldc, p.center_norms[j])
            if gaps[r] < 0.0:
                gaps[r] = p.exact.spread_distance(stored, columns, x, p.centers + j * p.ldc, p.rows.depth)
        _book(p, first, n, gaps, thread)
        first += n


def own_distances(Rows rows, int64_t first, int64_t stop, centers, const int32_t[::1] labels, *,
                  const double[::1] weights=None, double[::1] out=None, Bins total=None, bint by_entries=False,
                  entries=None, str isa, int n_threads):
    """Canonical squared distances of the rows first to stop to their own centres.

    Parameters
    ----------
    centers : float64 (k, d)
    labels : int32 (n,)
    weights : float64 (n,), optional
        Of all rows, in `total`.
    out : float64 (stop - first,), OUT, optional
    total : Bins, INOUT, optional
        The weighted distances are added to it.
    by_entries : bool, default=False
        Whether those of CSR rows come from their stored entries, right to 60 units in the last place.
    entries : csr_array of float64 (k, d), optional
        The centres again, if these distances are to be canonical.
    """
    # Entries meet the centres where they stand.
    cdef const double[:, ::1] held = centers if by_entries else padded(centers)
    cdef exact_pass p
    cdef int64_t n = rows.c.n_rows, size = BLOCK * BLOCKS
    cdef int threads = usable_threads(n_threads), t
    if labels.shape[0] != n or (weights is not None and weights.shape[0] != n) or (
            out is not None and out.shape[0] < stop - first) or not 0 <= first <= stop <= n:
        raise ValueError("labels, weights and out must have one entry per row")
    if first == stop:
        return
    if by_entries > rows.is_sparse:
        raise ValueError("dense rows have no stored entries")
    if centers.shape[1] < rows.c.depth:
        raise ValueError(f"centres of {centers.shape[1]} features given, {rows.c.depth} expected")
    if rows.is_window:
        check_window(rows, first, stop)
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.first, p.stop = first, stop
    p.centers = &held[0, 0] if held.shape[1] else NULL
    p.ldc = held.shape[1]
    p.labels = &labels[0]
    p.weights = &weights[0] if weights is not None else NULL
    p.out = &out[0] if out is not None else NULL
    cdef Py_ssize_t j, k = held.shape[0]
    cdef double[::1] norms = np.zeros(k)
    p.center_starts = NULL
    p.entries = max(1, rows.longest, min(ENTRIES, rows.stored)) if by_entries else 0
    if by_entries and entries is not None:
        lists = entries.indptr.astype(np.int64), entries.indices.astype(np.int32), entries.data
        p.center_starts = <const int64_t*>address(lists[0])
        p.center_columns = <const int32_t*>address(lists[1])
        p.center_values = <const double*>address(lists[2])
    elif by_entries:
        p.center_norms = &norms[0]
        for j in prange(k, nogil=True, schedule="static", num_threads=threads):
            norms[j] = p.exact.squared_norm(p.centers + j * p.ldc, p.rows.depth)
    _kept = _staging(&p, n_threads)
    totals = aligned_empty(n_threads * sizeof(tw_bins))
    p.totals = <tw_bins*>address(totals)
    for t in range(n_threads):
        tw_bins_clear(p.totals + t)
    if by_entries:
        run_blocks(_own_rows_entries, &p, first, stop, size, size, threads)
    elif rows.is_sparse:
        run_blocks(_own_rows_sparse, &p, first, stop, size, SPARSE_BLOCK, threads)
    else:
        run_blocks(_own_rows, &p, first, stop, size, BLOCK, threads)
    if total is not None:
        for t in range(n_threads):
            tw_bins_merge(&total.c, p.totals + t)


# ---------------------------------------------------------------- column moments


cdef void _add_moments(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const exact_pass* p = <const exact_pass*>work
    cdef const void* pointers[BLOCK]
    cdef tw_bins8* sums = p.sums + thread * p.n_sums
    cdef tw_bins8* squares = p.squares + thread * p.n_sums
    cdef double* largest = p.sizes + thread * 16 * p.n_sums
    cdef double* least = largest + 8 * p.n_sums
    tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
    if p.rows.is_double:
        p.exact.moments_f8(<const double* const*>pointers, count, p.rows.depth, sums, squares, largest, least)
    else:
        p.exact.moments_f4(<const float* const*>pointers, count, p.rows.depth, sums, squares, largest, least)


cdef class Moments:
    """Sums of the columns and of their squares, and magnitudes, while rows come in any order.

    Parameters
    ----------
    n_features : int
    isa : str
    n_threads : int

    Attributes
    ----------
    largest, least : ndarray of shape (d,), float64
        Magnitudes: the largest, and the least other than zero, or infinity.
    """

    cdef const tw_exact_kernels* exact
    cdef tw_bins8* sums         # (threads, blocks of eight columns), then as many for squares
    cdef int64_t blocks
    cdef int depth, threads
    cdef object _keep

    def __init__(self, int n_features, *, str isa, int n_threads):
        cdef int64_t i
        self.exact = exact_kernels(isa)
        self.depth, self.threads = n_features, n_threads
        self.blocks = (n_features + 7) // 8
        sums = aligned_empty(2 * n_threads * max(1, self.blocks) * sizeof(tw_bins8))
        sizes = np.zeros((n_threads, 2, 8 * max(1, self.blocks)))
        sizes[:, 1] = np.inf
        self._keep = (sums, sizes)
        self.sums = <tw_bins8*>address(sums)
        for i in range(2 * n_threads * self.blocks):
            tw_bins8_clear(self.sums + i)

    def add(self, Rows rows, int64_t first, int64_t stop):
        """Take in the rows first to stop."""
        cdef exact_pass p
        if rows.is_sparse or rows.c.depth != self.depth:
            raise ValueError("these are the moments of dense rows of another length")
        if not 0 <= first <= stop <= rows.c.n_rows:
            raise IndexError(f"rows {first} to {stop} of {rows.c.n_rows}")
        if rows.is_window:
            check_window(rows, first, stop)
        if first == stop or self.depth == 0:
            return
        p.rows = &rows.c
        p.exact = self.exact
        p.entries = 0
        p.sums, p.squares = self.sums, self.sums + self.threads * self.blocks
        p.n_sums = self.blocks
        p.sizes = <double*>address(self._keep[1])
        _kept = _staging(&p, self.threads)
        run_blocks(_add_moments, &p, first, stop, BLOCK * BLOCKS, BLOCK, self.threads)

    def state(self):
        """Sums and magnitudes so far, as bytes and as float64 (2, columns); `merge` takes them."""
        self._gather()
        sums, sizes = self._keep
        own = sums.view(np.uint8).reshape(2, self.threads, -1)[:, 0, : self.blocks * sizeof(tw_bins8)]
        return own.tobytes(), np.stack([sizes[:, 0].max(axis=0), sizes[:, 1].min(axis=0)])

    def merge(self, const unsigned char[::1] sums, sizes):
        """Take in the `state` of other moments of as many columns."""
        cdef int64_t b, half = self.blocks * <int64_t>sizeof(tw_bins8)
        if sums.shape[0] != 2 * half:
            raise ValueError("these are the moments of rows of another length")
        for b in range(self.blocks):
            tw_bins8_merge(self.sums + b, <const tw_bins8*>&sums[b * sizeof(tw_bins8)])
            tw_bins8_merge(self.sums + self.threads * self.blocks + b,
                           <const tw_bins8*>&sums[half + b * sizeof(tw_bins8)])
        own = self._keep[1]
        np.maximum(own[0, 0], sizes[0], out=own[0, 0])
        np.minimum(own[0, 1], sizes[1], out=own[0, 1])

    cdef void _gather(self):
        """Move what every thread has to the first one's sums."""
        cdef int64_t b, t, half = self.threads * self.blocks
        for b in range(self.blocks):
            for t in range(1, self.threads):
                tw_bins8_merge(self.sums + b, self.sums + t * self.blocks + b)
                tw_bins8_clear(self.sums + t * self.blocks + b)
                tw_bins8_merge(self.sums + half + b, self.sums + half + t * self.blocks + b)
                tw_bins8_clear(self.sums + half + t * self.blocks + b)

    def means(self, int64_t n_rows):
        """Mean and mean squared deviation from it of each column of n rows, each (d,) float64.

        NaN where a value is not finite, or too large to be squared.
        """
        cdef int64_t b, l
        cdef tw_bins one
        cdef double high[2]
        cdef double low[2]
        self._gather()
        mean, variance = np.zeros(self.depth), np.zeros(self.depth)
        cdef double[::1] to = mean, spread = variance
        for b in range(self.blocks if n_rows else 0):
            for l in range(min(8, self.depth - 8 * b)):
                one = tw_bins8_column(self.sums + b, l)
                tw_bins_value(&one, high, low)
                one = tw_bins8_column(self.sums + self.threads * self.blocks + b, l)
                tw_bins_value(&one, high + 1, low + 1)
                mean_and_variance(high, low, n_rows, &to[8 * b + l], &spread[8 * b + l])
        return mean, variance

    @property
    def largest(self):
        return self._keep[1][:, 0, : self.depth].max(axis=0)

    @property
    def least(self):
        return self._keep[1][:, 1, : self.depth].min(axis=0)

    @property
    def finite(self):
        """Whether all values so far were finite, and small enough to be squared."""
        cdef int64_t i
        cdef int l
        for i in range(2 * self.threads * self.blocks):
            for l in range(8):
                if self.sums[i].special[l] != 0.0:
                    return False
        return True


cdef void mean_and_variance(const double* high, const double* low, double n, double* mean,
                            double* variance) noexcept nogil:
    """Of n numbers whose sum is high[0] + low[0] and whose squares add up to high[1] + low[1]."""
    cdef double m, rest, product, product_rest, difference, more
    m = high[0] / n
    rest = (fma(-m, n, high[0]) + low[0]) / n
    mean[0] = m + rest
    # What the squares exceed the sum times the mean by, in twice the digits of a double.
    product = high[0] * m
    product_rest = fma(high[0], m, -product) + (high[0] * rest + low[0] * m)
    difference = high[1] - product
    more = difference - high[1]
    more = (high[1] - (difference - more)) + (-product - more)
    difference += more + (low[1] - product_rest)
    # Less than that is rounding.
    variance[0] = 0.0 if difference <= high[1] * 2.0**-96 else difference / n

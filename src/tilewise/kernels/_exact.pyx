"""Canonical distances, inertia and column moments, over fixed shards of rows."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport exact_kernels, tw_exact_kernels, usable_threads
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows, tw_rows

cdef enum:
    # Rows fetched, and for moments merged, at a time. Part of the order of additions of the
    # moments, hence fixed: 128 rows of 784 doubles fit an L2 of 1 MiB.
    BLOCK = 128


cdef struct exact_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    int64_t shard_rows
    int64_t first           # the matrix: rows first .. first + n_rows
    int64_t n_rows
    ptrdiff_t step
    const double* centers
    ptrdiff_t ldc
    int n_clusters
    const int32_t* labels
    const double* weights
    double* out
    double* sums
    char* staging
    ptrdiff_t staging_bytes


cdef object _staging(exact_pass* p, int threads):
    p.step = (p.rows.depth + 7) // 8 * 8
    p.staging_bytes = 0 if p.rows.direct else BLOCK * p.step * 8
    buffer = np.zeros(max(1, p.staging_bytes * threads), dtype=np.uint8)
    p.staging = <char*>address(buffer)
    return buffer


def padded(values):
    """float64 rows with zeros behind, so that every row is a multiple of eight long."""
    values = np.asarray(values)
    out = np.zeros((values.shape[0], (max(values.shape[1], 1) + 7) // 8 * 8))
    out[:, : values.shape[1]] = values
    return out


# ---------------------------------------------------------------- distance to the own centre


cdef void _own_shard(const exact_pass* p, int64_t shard, int thread) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows
    cdef int r, count
    cdef double gap, total = 0.0
    cdef const double* c
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    while first < stop:
        count = BLOCK if stop - first > BLOCK else <int>(stop - first)
        tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
        for r in range(count):
            c = p.centers + p.labels[first + r] * p.ldc
            if p.rows.is_double:
                gap = p.exact.distance_f8(<const double*>pointers[r], c, p.rows.depth)
            else:
                gap = p.exact.distance_f4(<const float*>pointers[r], c, p.rows.depth)
            if p.out != NULL:
                p.out[first + r] = gap
            total += gap * p.weights[first + r] if p.weights != NULL else gap
        first += count
    p.sums[shard] = total


def own_distances(Rows rows, const double[:, ::1] centers, const int32_t[::1] labels, *,
                  const double[::1] weights=None, double[::1] out=None, str isa,
                  int64_t shard_rows, int n_threads):
    """Weighted sum of canonical squared distances to the own centre, shard by shard.

    centers is (k, ldc), padded; out, if given, receives the distance of each row.
    """
    cdef exact_pass p
    cdef int64_t n = rows.c.n_rows, s, n_shards = (n + shard_rows - 1) // shard_rows
    cdef int threads = usable_threads(n_threads)
    cdef double total = 0.0
    if labels.shape[0] != n or (weights is not None and weights.shape[0] != n) or (
            out is not None and out.shape[0] != n):
        raise ValueError("labels, weights and out must have one entry per row")
    if n == 0:
        return 0.0
    if centers.shape[1] < (rows.c.depth + 7) // 8 * 8:
        raise ValueError("centres must be padded to a multiple of eight")
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.shard_rows = shard_rows
    p.centers = &centers[0, 0]
    p.ldc = centers.shape[1]
    p.labels = &labels[0]
    p.weights = &weights[0] if weights is not None else NULL
    p.out = &out[0] if out is not None else NULL
    cdef double[::1] sums = np.zeros(n_shards)
    p.sums = &sums[0]
    _kept = _staging(&p, n_threads)
    for s in prange(n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
        _own_shard(&p, s, threadid())
    for s in range(n_shards):
        total += sums[s]
    return total


# ---------------------------------------------------------------- the whole matrix


ctypedef fused out_t:
    float
    double


cdef void _matrix_rows(const exact_pass* p, int64_t shard, int thread, out_t* out, ptrdiff_t ldo,
                       bint squared) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef double gaps[64]
    cdef int64_t first = p.first + shard * p.shard_rows, stop = first + p.shard_rows
    cdef int r, count, j, start, width
    if stop > p.first + p.n_rows:
        stop = p.first + p.n_rows
    while first < stop:
        count = BLOCK if stop - first > BLOCK else <int>(stop - first)
        tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
        start = 0
        while start < p.n_clusters:
            width = p.n_clusters - start
            if width > 64:
                width = 64
            for r in range(count):
                if p.rows.is_double:
                    p.exact.distances_f8(<const double*>pointers[r], p.centers + start * p.ldc, p.ldc,
                                         width, p.rows.depth, gaps)
                else:
                    p.exact.distances_f4(<const float*>pointers[r], p.centers + start * p.ldc, p.ldc,
                                         width, p.rows.depth, gaps)
                for j in range(width):
                    out[(first - p.first + r) * ldo + start + j] = <out_t>(gaps[j] if squared else sqrt(gaps[j]))
            start += width
        first += count


def distance_matrix(Rows rows, int64_t first, const double[:, ::1] centers, out_t[:, ::1] out, *, bint squared,
                    str isa, int64_t shard_rows, int n_threads):
    """out (m, k) = canonical distances of the m rows from `first` on to padded centres (k, ldc)."""
    cdef exact_pass p
    cdef int64_t n = out.shape[0], s, n_shards = (n + shard_rows - 1) // shard_rows
    cdef int threads = usable_threads(n_threads)
    if first < 0 or first + n > rows.c.n_rows or out.shape[1] != centers.shape[0]:
        raise ValueError("out does not have one row per row and one column per centre")
    if out.shape[0] == 0 or out.shape[1] == 0:
        return
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.shard_rows = shard_rows
    p.first = first
    p.n_rows = n
    p.centers = &centers[0, 0]
    p.ldc = centers.shape[1]
    p.n_clusters = <int>centers.shape[0]
    _kept = _staging(&p, n_threads)
    for s in prange(n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
        _matrix_rows[out_t](&p, s, threadid(), &out[0, 0], out.shape[1], squared)


# ---------------------------------------------------------------- column moments


cdef void _moments_shard(const exact_pass* p, int64_t shard, int thread, double* mean, double* squares,
                         double* largest, double* block) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, seen = 0
    cdef int count, l, d = p.rows.depth
    cdef double gap, whole, share
    cdef double* block_mean = block + <ptrdiff_t>thread * 3 * p.step
    cdef double* block_squares = block_mean + p.step
    cdef double* block_largest = block_squares + p.step
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    while first < stop:
        count = BLOCK if stop - first > BLOCK else <int>(stop - first)
        tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
        if p.rows.is_double:
            p.exact.moments_f8(<const double* const*>pointers, count, d, block_mean, block_squares, block_largest)
        else:
            p.exact.moments_f4(<const float* const*>pointers, count, d, block_mean, block_squares, block_largest)
        whole = <double>(seen + count)
        share = count / whole
        for l in range(d):
            gap = block_mean[l] - mean[l]
            mean[l] += gap * share
            squares[l] += block_squares[l] + gap * gap * (seen * share)
            if block_largest[l] > largest[l]:
                largest[l] = block_largest[l]
        seen += count
        first += count


def column_moments(Rows rows, *, str isa, int64_t shard_rows, int n_threads):
    """Mean, sum of squared deviations and largest magnitude of each column.

    Blocks and shards are merged by the update of Chan, Golub and LeVeque (1979), so the
    variance does not suffer when the mean is large.
    """
    cdef exact_pass p
    cdef int64_t n = rows.c.n_rows, s, n_shards = (n + shard_rows - 1) // shard_rows
    cdef int threads = usable_threads(n_threads), d = rows.c.depth
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.shard_rows = shard_rows
    _kept = _staging(&p, n_threads)
    parts = np.zeros((3, max(n_shards, 1), max(d, 1)))
    cdef double[:, :, ::1] view = parts
    cdef double[::1] block = np.zeros(3 * max(p.step, 1) * n_threads)
    if n and d:
        for s in prange(n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            _moments_shard(&p, s, threadid(), &view[0, s, 0], &view[1, s, 0], &view[2, s, 0], &block[0])
    mean, squares = parts[0, 0, :d].copy(), parts[1, 0, :d].copy()
    seen = min(n, shard_rows)
    for s in range(1, n_shards):
        count = min(n, (s + 1) * shard_rows) - s * shard_rows
        gap = parts[0, s, :d] - mean
        share = count / (seen + count)
        mean += gap * share
        squares += parts[1, s, :d] + gap * gap * (seen * share)
        seen += count
    return mean, squares, parts[2, :, :d].max(axis=0)

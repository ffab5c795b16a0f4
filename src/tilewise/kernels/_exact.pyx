"""Canonical distances, inertia and column moments, over fixed shards of rows."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport exact_kernels, tw_exact_kernels, usable_threads
from tilewise.kernels._moments cimport BLOCK, merge_moments
from tilewise.kernels._rows cimport (
    Rows,
    address,
    tw_clear_row,
    tw_fetch_rows,
    tw_pack_entries_f8,
    tw_row_start,
    tw_rows,
    tw_scatter_row,
)

cdef enum:
    # CSR rows at a time; between two uses their buffers hold zeros.
    SPARSE_BLOCK = 4
    # Stored entries that are unpacked at a time, unless one row has more.
    ENTRIES = 16384

# CSR rows with up to this share of stored entries are measured by them alone: each costs about
# as much as thirty numbers of a row that is spread out.
SPARSE_DENSITY = 0.03


cdef struct exact_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    int64_t shard_rows
    ptrdiff_t step
    const double* centers
    ptrdiff_t ldc
    const int32_t* labels
    const double* weights
    double* out
    double* sums
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


cdef void _own_shard_sparse(const exact_pass* p, int64_t shard, int thread) noexcept nogil:
    """The same, without writing the zeros of every row."""
    cdef const void* pointers[SPARSE_BLOCK]
    cdef const double* own[SPARSE_BLOCK]
    cdef double gaps[SPARSE_BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows
    cdef int r, count
    cdef double total = 0.0
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    for r in range(SPARSE_BLOCK):
        pointers[r] = p.staging + thread * p.staging_bytes + r * p.step * 8
    while first < stop:
        count = SPARSE_BLOCK if stop - first > SPARSE_BLOCK else <int>(stop - first)
        for r in range(count):
            own[r] = p.centers + p.labels[first + r] * p.ldc
            tw_scatter_row(p.rows, first + r, <void*>pointers[r])
        if p.rows.is_double:
            p.exact.distances_pairs_f8(<const double* const*>pointers, own, count, p.rows.depth, gaps)
        else:
            p.exact.distances_pairs_f4(<const float* const*>pointers, own, count, p.rows.depth, gaps)
        for r in range(count):
            tw_clear_row(p.rows, first + r, <void*>pointers[r])
            if p.out != NULL:
                p.out[first + r] = gaps[r]
            total += gaps[r] * p.weights[first + r] if p.weights != NULL else gaps[r]
        first += count
    p.sums[shard] = total


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


cdef void _own_shard_entries(const exact_pass* p, int64_t shard, int thread) noexcept nogil:
    """The same from the stored entries, where that does not cancel."""
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef const int32_t* starts = <const int32_t*>(ws + p.starts)
    cdef const double* norms = <const double*>(ws + p.norms)
    cdef const int32_t* columns
    cdef const double* x
    cdef double gaps[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, j
    cdef int r, n, stored
    cdef double total = 0.0
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    while first < stop:
        n = _unpack(p, first, stop, ws)
        for r in range(n):
            j = p.labels[first + r]
            stored = starts[r + 1] - starts[r]
            columns = <const int32_t*>(ws + p.columns) + starts[r]
            x = <const double*>(ws + p.values) + starts[r]
            gaps[r] = p.exact.own_entries(stored, columns, x, norms[r], p.centers + j * p.ldc, p.center_norms[j])
            if gaps[r] < 0.0:
                gaps[r] = p.exact.spread_distance(stored, columns, x, p.centers + j * p.ldc, p.rows.depth)
        for r in range(n):
            if p.out != NULL:
                p.out[first + r] = gaps[r]
            total += gaps[r] * p.weights[first + r] if p.weights != NULL else gaps[r]
        first += n
    p.sums[shard] = total


def own_distances(Rows rows, centers, const int32_t[::1] labels, *,
                  const double[::1] weights=None, double[::1] out=None, str isa,
                  int64_t shard_rows, int n_threads):
    """Weighted sum of canonical squared distances to the own centre, shard by shard.

    centers is (k, d), float64; out, if given, receives the distance of each row. Those of rows
    with few stored entries come from them, right to 60 units in the last place.
    """
    cdef bint by_entries = rows.is_sparse and rows.density <= SPARSE_DENSITY
    # Entries meet the centres where they stand.
    cdef const double[:, ::1] held = centers if by_entries else padded(centers)
    cdef exact_pass p
    cdef int64_t n = rows.c.n_rows, s, n_shards = (n + shard_rows - 1) // shard_rows
    cdef int threads = usable_threads(n_threads)
    cdef double total = 0.0
    if labels.shape[0] != n or (weights is not None and weights.shape[0] != n) or (
            out is not None and out.shape[0] != n):
        raise ValueError("labels, weights and out must have one entry per row")
    if n == 0:
        return 0.0
    if centers.shape[1] < rows.c.depth:
        raise ValueError(f"centres of {centers.shape[1]} features given, {rows.c.depth} expected")
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.shard_rows = shard_rows
    p.centers = &held[0, 0] if held.shape[1] else NULL
    p.ldc = held.shape[1]
    p.labels = &labels[0]
    p.weights = &weights[0] if weights is not None else NULL
    p.out = &out[0] if out is not None else NULL
    cdef double[::1] sums = np.zeros(n_shards)
    p.sums = &sums[0]
    cdef Py_ssize_t j, k = held.shape[0]
    cdef double[::1] norms = np.zeros(k)
    p.entries = max(1, rows.longest, min(ENTRIES, rows.stored)) if by_entries else 0
    if by_entries:
        p.center_norms = &norms[0]
        for j in prange(k, nogil=True, schedule="static", num_threads=threads):
            norms[j] = p.exact.squared_norm(p.centers + j * p.ldc, p.rows.depth)
    _kept = _staging(&p, n_threads)
    for s in prange(n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
        if p.entries:
            _own_shard_entries(&p, s, threadid())
        elif p.rows.offsets != NULL:
            _own_shard_sparse(&p, s, threadid())
        else:
            _own_shard(&p, s, threadid())
    for s in range(n_shards):
        total += sums[s]
    return total


# ---------------------------------------------------------------- column moments


cdef void _moments_shard(const exact_pass* p, int64_t shard, int thread, double* mean, double* squares,
                         double* largest, double* block) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, seen = 0
    cdef int count, d = p.rows.depth
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
        merge_moments(seen, count, d, block_mean, block_squares, block_largest, mean, squares, largest)
        seen += count
        first += count


def column_moments(Rows rows, *, str isa, int64_t shard_rows, int n_threads):
    """Mean, sum of squared deviations and largest magnitude of each column.

    Blocks and shards are merged by the update of Chan, Golub and LeVeque (1979), so the
    variance does not suffer when the mean is large. CSR rows have `_csr.column_moments`.
    """
    cdef exact_pass p
    cdef int64_t n = rows.c.n_rows, s, n_shards = (n + shard_rows - 1) // shard_rows
    cdef int threads = usable_threads(n_threads), d = rows.c.depth
    if rows.is_sparse:
        raise ValueError("these are the moments of dense rows")
    p.rows = &rows.c
    p.exact = exact_kernels(isa)
    p.shard_rows = shard_rows
    p.entries = 0
    _kept = _staging(&p, n_threads)
    parts = np.zeros((3, max(n_shards, 1), max(d, 1)))
    cdef double[:, :, ::1] view = parts
    cdef double[::1] block = np.zeros(3 * max(p.step, 1) * n_threads)
    if n and d:
        for s in prange(n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            _moments_shard(&p, s, threadid(), &view[0, s, 0], &view[1, s, 0], &view[2, s, 0], &block[0])
    return merged_moments(parts, n, d, shard_rows)


def merged_moments(parts, n, d, shard_rows):
    """Moments of n rows of d columns from those of their shards, parts (3, shards, d)."""
    mean, squares = parts[0, 0, :d].copy(), parts[1, 0, :d].copy()
    seen = min(n, shard_rows)
    for s in range(1, parts.shape[1] if n else 1):
        count = min(n, (s + 1) * shard_rows) - s * shard_rows
        gap = parts[0, s, :d] - mean
        share = count / (seen + count)
        mean += gap * share
        squares += parts[1, s, :d] + gap * gap * (seen * share)
        seen += count
    return mean, squares, parts[2, :, :d].max(axis=0)

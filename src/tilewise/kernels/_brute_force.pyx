"""The k closest rows of a short Y: all canonical distances are computed and ranked."""

import numpy as np

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from tilewise.kernels._workspace import aligned_empty

from tilewise.kernels._dispatch cimport (
    TW_BRUTE_FORCE_ROWS,
    TW_AS_FLOAT,
    TW_AS_ROOT,
    TW_LANES_DEPTH,
    exact_kernels,
    run_blocks,
    tw_exact_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows, tw_rows

cdef enum:
    # Rows of X that are fetched at a time.
    BLOCK = 128
    ALIGNMENT = 64

#: Rows of Y at most.
most_rows = TW_BRUTE_FORCE_ROWS


cdef struct brute_force_pass:
    const tw_rows* x
    const tw_exact_kernels* exact
    const double* y         # (m, ldc)
    ptrdiff_t ldc
    int m
    int64_t k
    int form
    int64_t first
    char* distances
    int64_t* indices        # (rows, k)
    char* staging           # per thread: whether some distance is not finite, staged rows
    ptrdiff_t step
    ptrdiff_t staging_bytes


cdef void _distances(const brute_force_pass* p, const void* const* pointers, int n, double* gaps) noexcept nogil:
    """gaps (m, 8) of up to eight rows; the last one fills up."""
    cdef double out[TW_BRUTE_FORCE_ROWS]
    cdef const void* eight[8]
    cdef int r, j
    if p.x.depth > TW_LANES_DEPTH:
        for r in range(8):
            if r < n:
                if p.x.is_double:
                    p.exact.distances_f8(<const double*>pointers[r], p.y, p.ldc, p.m, p.x.depth, out)
                else:
                    p.exact.distances_f4(<const float*>pointers[r], p.y, p.ldc, p.m, p.x.depth, out)
            for j in range(p.m):
                gaps[8 * j + r] = out[j]
        return
    for r in range(8):
        eight[r] = pointers[r if r < n else n - 1]
    if p.x.is_double:
        p.exact.distances_lanes_f8(<const double* const*>eight, p.y, p.ldc, p.m, p.x.depth, gaps)
    else:
        p.exact.distances_lanes_f4(<const float* const*>eight, p.y, p.ldc, p.m, p.x.depth, gaps)


cdef void _rank_block(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const brute_force_pass* p = <const brute_force_pass*>work
    cdef const void* pointers[BLOCK]
    # Aligned by hand: rows of eight lie in the lanes of a vector.
    cdef double room[8 * TW_BRUTE_FORCE_ROWS + 8]
    cdef double* gaps = <double*>((<size_t>room + 63) // 64 * 64)
    cdef char* staging = p.staging + thread * p.staging_bytes
    cdef int64_t at
    cdef int item = 4 if p.form & TW_AS_FLOAT else 8, r, n
    tw_fetch_rows(p.x, NULL, first, count, pointers, staging + ALIGNMENT, p.step)
    for r in range(0, count, 8):
        n = 8 if count - r > 8 else count - r
        _distances(p, pointers + r, n, gaps)
        at = (first - p.first + r) * p.k
        if not p.exact.brute_force(gaps, p.m, <int>p.k, n, p.form, p.distances + at * item, p.indices + at):
            staging[0] = 1


def rank_all(Rows x, const double[:, ::1] y, int64_t first, distances, int64_t[:, ::1] indices, *, bint root, str isa,
             int n_threads):
    """The k closest rows of y to some rows of x, by (canonical distance, index).

    Parameters
    ----------
    x : Rows
    y : float64 (m, ldc)
        Up to `most_rows`, padded to a multiple of eight columns.
    first : int
        The first of the rows of x.
    distances : float32 or float64 (rows, k), OUT
        Squared, or their roots, computed in float64.
    indices : int64 (rows, k), OUT

    Returns
    -------
    bool
        Whether all distances are finite: otherwise a value is not, or one overflowed.
    """
    cdef brute_force_pass p
    cdef int64_t rows = indices.shape[0], t
    cdef int threads = usable_threads(n_threads)
    cdef int64_t m = y.shape[0], k = indices.shape[1]
    if not 1 <= k <= m <= TW_BRUTE_FORCE_ROWS or y.shape[1] < (x.c.depth + 7) // 8 * 8:
        raise ValueError(f"{k} closest of {m} rows with {y.shape[1]} numbers each")
    if first < 0 or first + rows > x.c.n_rows:
        raise ValueError("there are no such rows of X")
    if distances.shape != (rows, k) or not distances.flags.c_contiguous or (
            distances.dtype not in (np.float32, np.float64)):
        raise ValueError("distances must be like indices, float32 or float64")
    if rows == 0:
        return True
    p.x, p.exact = &x.c, exact_kernels(isa)
    p.m, p.k, p.ldc = <int>m, k, y.shape[1]
    p.y = &y[0, 0] if y.shape[1] else NULL
    p.form = (TW_AS_ROOT if root else 0) | (TW_AS_FLOAT if distances.dtype == np.float32 else 0)
    p.first = first
    p.distances, p.indices = <char*>address(distances), &indices[0, 0]
    p.step = (x.c.depth + 7) // 8 * 8
    p.staging_bytes = ALIGNMENT + (0 if x.c.direct else BLOCK * p.step * 8)
    staging = aligned_empty(p.staging_bytes * threads)
    p.staging = <char*>address(staging)
    run_blocks(_rank_block, &p, first, first + rows, BLOCK, BLOCK, threads)
    for t in range(threads):
        if p.staging[t * p.staging_bytes]:
            return False
    return True

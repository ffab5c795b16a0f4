"""Passes over rows that are in memory a part at a time, in the order of additions of whole passes.

A part is any run of rows; a shard, over which sums run, may be longer. What is expensive is
computed for many rows of the part at once; what has an order, the additions, goes on from part to
part where it stopped. Parts start at multiples of BLOCK rows.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from tilewise.kernels._dispatch cimport (
    enter_loop,
    exact_kernels,
    leave_loop,
    tile_kernels,
    tw_exact_kernels,
    tw_tile_kernels,
    usable_threads,
)
from tilewise.kernels._moments cimport BLOCK, merge_moments
from tilewise.kernels._rows cimport Rows, check_window, tw_fetch_rows, tw_rows

cdef enum:
    # Rows whose bounds are tried at a time.
    TRIED = 4096


# ---------------------------------------------------------------- sums


cdef class ShardSums:
    """Sums of the shard that is being read.

    Parameters
    ----------
    n_clusters, n_features : int
    isa : str
    n_threads : int
    """

    cdef const tw_exact_kernels* exact
    cdef int64_t k
    cdef ptrdiff_t ldc
    cdef int depth
    cdef int threads
    cdef double[:, ::1] sums
    cdef double[::1] weight_sums
    cdef int64_t[::1] members
    cdef char[::1] touched

    def __init__(self, int64_t n_clusters, int n_features, *, str isa, int n_threads):
        self.exact = exact_kernels(isa)
        self.k = n_clusters
        self.depth = n_features
        self.ldc = (n_features + 7) // 8 * 8
        self.threads = n_threads
        self.sums = np.zeros((n_clusters, max(8, self.ldc)))
        self.weight_sums = np.zeros(n_clusters)
        self.members = np.zeros(n_clusters, dtype=np.int64)
        self.touched = np.zeros(n_clusters, dtype=np.int8)

    def add(self, Rows rows, int64_t first, int64_t last, const int32_t[::1] before,
            const int32_t[::1] labels, const double[::1] weights, const double[::1] shift, int update):
        """Add the rows first to last of the shard, in row order within each cluster.

        Parameters
        ----------
        rows : Rows
            A window that shows these rows.
        before : int32 (last - first,)
            Their labels before this pass.
        labels : int32 (n,)
        weights : float64 (n,) or None
        shift : float64 (d,)
        update : {1, 2}
            Add what changed, or every row.
        """
        cdef int t, threads
        cdef int64_t n = rows.c.n_rows
        cdef const double* w = NULL
        check_window(rows, first, last)
        if first >= last:
            return
        if before.shape[0] < last - first or labels.shape[0] != n or shift.shape[0] != self.depth or (
                rows.c.depth != self.depth or (weights is not None and weights.shape[0] != n)):
            raise ValueError("labels, weights or shift do not have the shape of these sums")
        if weights is not None:
            w = &weights[0]
        threads = enter_loop(self.threads)
        try:
            if threads <= 1:
                with nogil:
                    self._add(&rows.c, first, last, &before[0], &labels[0], w, &shift[0], update, 0, 1)
            else:
                for t in prange(threads, nogil=True, schedule="static", num_threads=threads):
                    self._add(&rows.c, first, last, &before[0], &labels[0], w, &shift[0], update, t, threads)
        finally:
            leave_loop()

    cdef void _add(self, const tw_rows* rows, int64_t first, int64_t last, const int32_t* before,
                   const int32_t* labels, const double* weights, const double* shift, int update,
                   int mine, int shares) noexcept nogil:
        """The clusters j with j % shares == mine."""
        cdef const char* x = rows.data + first * rows.row_stride
        cdef int64_t i
        cdef int32_t old, new
        cdef double weight = 1.0
        for i in range(first, last):
            old = before[i - first]
            new = labels[i]
            if old != new or update == 2:
                if weights != NULL:
                    weight = weights[i]
                if weight != 0.0:
                    if update == 1 and old >= 0 and old % shares == mine:
                        self._one(rows, x, shift, -weight, -1, old)
                    if new % shares == mine:
                        self._one(rows, x, shift, weight, 1, new)
            x += rows.row_stride

    cdef void _one(self, const tw_rows* rows, const char* x, const double* shift, double weight, int sign,
                   int32_t at) noexcept nogil:
        self.touched[at] = 1
        self.weight_sums[at] += weight
        self.members[at] += sign
        if rows.is_double:
            self.exact.accumulate_f8(<const double*>x, shift, weight, self.depth, &self.sums[at, 0])
        else:
            self.exact.accumulate_f4(<const float*>x, shift, weight, self.depth, &self.sums[at, 0])

    def merge(self, double[:, ::1] sums, double[::1] weight_sums, int64_t[::1] members):
        """Add the shard, which is complete, to the sums of the shards before; clear it."""
        cdef int64_t j
        cdef ptrdiff_t l
        if sums.shape[0] != self.k or (sums.shape[1] != self.ldc) or members.shape[0] != self.k:
            raise ValueError("sums do not have the shape of this assignment")
        with nogil:
            for j in range(self.k):
                if not self.touched[j]:
                    continue
                self.touched[j] = 0
                weight_sums[j] += self.weight_sums[j]
                self.weight_sums[j] = 0.0
                members[j] += self.members[j]
                self.members[j] = 0
                for l in range(self.ldc):
                    sums[j, l] += self.sums[j, l]
                    self.sums[j, l] = 0.0


# ---------------------------------------------------------------- bounds


def settled(int64_t first, int64_t last, const int32_t[::1] labels, float[::1] upper, float[::1] lower,
            const float[::1] moves, *, str isa):
    """Whether bounds alone settle the rows first to last; if so, the bounds are moved on.

    upper, lower and moves as `Assignment.run` has them.
    """
    cdef const tw_tile_kernels* tile = tile_kernels(isa)
    cdef float above[TRIED]
    cdef float below[TRIED]
    cdef int64_t ids[TRIED]
    cdef int64_t at
    cdef Py_ssize_t j
    cdef int count
    cdef float largest = 0.0, second = 0.0
    cdef int32_t mover = -1
    for j in range(moves.shape[0]):
        if moves[j] > largest:
            second = largest
            largest = moves[j]
            mover = <int32_t>j
        elif moves[j] > second:
            second = moves[j]
    if not 0 <= first <= last <= labels.shape[0] or upper.shape[0] != labels.shape[0] or (
            lower.shape[0] != labels.shape[0]):
        raise ValueError("labels and bounds must have one entry per row")
    with nogil:
        at = first
        while at < last:
            count = TRIED if last - at > TRIED else <int>(last - at)
            memcpy(above, &upper[at], count * sizeof(float))
            memcpy(below, &lower[at], count * sizeof(float))
            if tile.open_rows(count, 0, &labels[at], above, below, &moves[0], largest, second, mover, ids):
                with gil:
                    return False
            at += count
        at = first
        while at < last:
            count = TRIED if last - at > TRIED else <int>(last - at)
            tile.open_rows(count, 0, &labels[at], &upper[at], &lower[at], &moves[0], largest, second, mover, ids)
            at += count
    return True


# ---------------------------------------------------------------- distances to the own centre


def own_gaps(Rows rows, int64_t first, int64_t last, const double[:, ::1] centers, const int32_t[::1] labels,
             double[::1] out, *, str isa, int n_threads):
    """Squared canonical distances of the rows first to last to their centres, into out[0], ...

    centers is (k, ldc), padded; rows is a window that shows these rows.
    """
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef int64_t b, n_blocks = (last - first + BLOCK - 1) // BLOCK
    cdef int threads
    check_window(rows, first, last)
    if labels.shape[0] != rows.c.n_rows or out.shape[0] < last - first or centers.shape[1] < rows.c.depth:
        raise ValueError("labels, centres or out do not have the shape of these rows")
    threads = usable_threads(n_threads)
    for b in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
        _gaps(&rows.c, exact, first + b * BLOCK, min(last, first + (b + 1) * BLOCK), &centers[0, 0],
              centers.shape[1], &labels[0], &out[b * BLOCK])


cdef void _gaps(const tw_rows* rows, const tw_exact_kernels* exact, int64_t first, int64_t last,
                const double* centers, ptrdiff_t ldc, const int32_t* labels, double* out) noexcept nogil:
    cdef const char* x
    cdef int64_t i
    for i in range(first, last):
        x = rows.data + i * rows.row_stride
        if rows.is_double:
            out[i - first] = exact.distance_f8(<const double*>x, centers + labels[i] * ldc, rows.depth)
        else:
            out[i - first] = exact.distance_f4(<const float*>x, centers + labels[i] * ldc, rows.depth)


def add_in_order(double total, const double[::1] gaps, const double[::1] weights=None):
    """total + gaps[0] * weights[0] + ..., from left to right."""
    cdef Py_ssize_t i
    if weights is not None and weights.shape[0] != gaps.shape[0]:
        raise ValueError("one weight per row expected")
    with nogil:
        for i in range(gaps.shape[0]):
            total += gaps[i] * weights[i] if weights is not None else gaps[i]
    return total


# ---------------------------------------------------------------- column moments


cdef class PartMoments:
    """Moments of the columns, shard by shard, while parts come in.

    Parameters
    ----------
    n_rows, n_features : int
    shard_rows : int
    isa : str
    n_threads : int

    Attributes
    ----------
    shards : ndarray of shape (3, n_shards, d), float64
        Mean, sum of squared deviations and largest magnitude, as `_exact.merged_moments` takes it.
    """

    cdef const tw_exact_kernels* exact
    cdef readonly object shards
    cdef object blocks
    cdef int64_t shard_rows
    cdef int threads, together

    def __init__(self, int64_t n_rows, int n_features, *, int64_t shard_rows, str isa, int n_threads):
        self.exact = exact_kernels(isa)
        self.shard_rows = shard_rows
        self.threads = n_threads
        self.together = 16 * n_threads
        self.shards = np.zeros((3, max(1, (n_rows + shard_rows - 1) // shard_rows), max(n_features, 1)))
        # Padded, as the kernel writes whole vectors.
        self.blocks = np.zeros((self.together, 3, (max(n_features, 1) + 7) // 8 * 8))

    def add(self, Rows rows, int64_t first, int64_t last):
        """Take in the rows first to last, which follow those before; rows is a window."""
        cdef double[:, :, ::1] view = self.shards, block = self.blocks
        cdef int64_t at = first, b, n_blocks, shard, start
        cdef int threads
        check_window(rows, first, last)
        if first % BLOCK:
            raise ValueError("parts start at whole blocks")
        while at < last:
            n_blocks = min(<int64_t>self.together, (last - at + BLOCK - 1) // BLOCK)
            threads = enter_loop(self.threads)
            try:
                if threads <= 1:
                    with nogil:
                        for b in range(n_blocks):
                            self._block(&rows.c, at + b * BLOCK, last, &block[b, 0, 0], &block[b, 1, 0],
                                        &block[b, 2, 0])
                else:
                    for b in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
                        self._block(&rows.c, at + b * BLOCK, last, &block[b, 0, 0], &block[b, 1, 0], &block[b, 2, 0])
            finally:
                leave_loop()
            for b in range(n_blocks):
                start = at + b * BLOCK
                shard = start // self.shard_rows
                merge_moments(start - shard * self.shard_rows, min(<int64_t>BLOCK, last - start), rows.c.depth,
                              &block[b, 0, 0], &block[b, 1, 0], &block[b, 2, 0],
                              &view[0, shard, 0], &view[1, shard, 0], &view[2, shard, 0])
            at += n_blocks * BLOCK

    cdef void _block(self, const tw_rows* rows, int64_t first, int64_t last, double* mean, double* squares,
                     double* largest) noexcept nogil:
        cdef const void* pointers[BLOCK]
        cdef int count = BLOCK if last - first > BLOCK else <int>(last - first)
        tw_fetch_rows(rows, NULL, first, count, pointers, NULL, 0)
        if rows.is_double:
            self.exact.moments_f8(<const double* const*>pointers, count, rows.depth, mean, squares, largest)
        else:
            self.exact.moments_f4(<const float* const*>pointers, count, rows.depth, mean, squares, largest)

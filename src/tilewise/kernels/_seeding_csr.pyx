"""k-means++ on CSR rows: products of stored entries rule out most candidates.

The numbers are those of `_seeding`, bit for bit: what is not ruled out is measured canonically.
"""

import numpy as np

from tilewise.kernels._workspace import aligned_empty

from libc.stdint cimport int32_t, int64_t, uint16_t

from tilewise.kernels._rows cimport Rows, address, tw_pack_entries_f8, tw_row_start
from tilewise.kernels._seeding cimport ALIGNMENT, BLOCK, MOST_TRIALS, seeding_pass

cdef enum:
    # Stored values that are unpacked at a time.
    ENTRIES = 16384
    SQEUCLIDEAN = 1  # of enum tw_sparse_kernel

# Below this the rounding of a distance is no longer relative.
cdef double SMALLEST = 1e-280


cdef int _unpack_sparse(const seeding_pass* p, int64_t* first, int64_t stop, uint16_t wanted, int64_t* ids,
                        char* ws) noexcept nogil:
    """Entries and squared norms of as many rows from `first` on as fit; returns how many.

    Only of those that one of the wanted candidates gained, if any is named.
    """
    cdef int64_t room = p.entries, stored
    cdef int n = 0
    while n < BLOCK and first[0] < stop:
        if not wanted or p.gained[first[0]] & wanted:
            stored = tw_row_start(p.rows, first[0] + 1) - tw_row_start(p.rows, first[0])
            if stored > room:
                break
            room -= stored
            ids[n] = first[0]
            n += 1
        first[0] += 1
    tw_pack_entries_f8(p.rows, ids, n, 1.0, <int32_t*>ws, <int32_t*>(ws + p.columns), <double*>(ws + p.values),
                       <double*>(ws + p.norms))
    return n


cdef inline double _merged(const seeding_pass* p, int r, int t, const char* ws) noexcept nogil:
    """Canonical distance of unpacked row r to candidate t, from what is not zero in both."""
    cdef const int32_t* starts = <const int32_t*>ws
    cdef int at = starts[r], from_ = p.trial_starts[t]
    return p.exact.merged(SQEUCLIDEAN, starts[r + 1] - at, <const int32_t*>(ws + p.columns) + at,
                          <const double*>(ws + p.values) + at, p.trial_starts[t + 1] - from_,
                          p.trial_columns + from_, p.trial_values + from_)


cdef void gain_shard_sparse(const seeding_pass* p, int64_t shard, int thread) noexcept nogil:
    """The gains of CSR rows: products rule out most candidates, the rest is measured."""
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef const double* norms = <const double*>(ws + p.norms)
    cdef const double* products
    cdef double gain[MOST_TRIALS]
    cdef int64_t ids[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, i
    cdef int r, t, n
    cdef uint16_t mask
    cdef double m, both, gap, weight = 1.0
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    for t in range(p.n_trials):
        gain[t] = 0.0
    while first < stop:
        n = _unpack_sparse(p, &first, stop, 0, ids, ws)
        p.exact.csr_panels(0, n, <const int32_t*>ws, <const int32_t*>(ws + p.columns),
                           <const double*>(ws + p.values), p.rows.depth, p.panels, p.n_panels,
                           p.panel_vectors, <double*>(ws + p.products), p.n_panels * p.width)
        for r in range(n):
            i = ids[r]
            m = p.closest[i]
            if p.weights != NULL:
                weight = p.weights[i]
            products = <const double*>(ws + p.products) + r * p.n_panels * p.width
            mask = 0
            for t in range(p.n_trials):
                both = norms[r] + p.trial_norms[t]
                # What is not a number, or out of range, is measured.
                if both - 2.0 * products[t] - p.product_error * both - SMALLEST >= m:
                    continue
                gap = _merged(p, r, t, ws)
                if gap < m:
                    mask |= <uint16_t>(1 << t)
                    gain[t] += weight * (m - gap)
            p.gained[i] = mask
    for t in range(p.n_trials):
        p.out[shard * p.n_trials + t] = gain[t]


cdef void take_shard_sparse(const seeding_pass* p, int64_t shard, int thread, int trial, int32_t seed) noexcept nogil:
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef int64_t ids[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, i
    cdef int r, n
    cdef double total = 0.0
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    while first < stop:
        n = _unpack_sparse(p, &first, stop, <uint16_t>(1 << trial), ids, ws)
        for r in range(n):
            p.owner[ids[r]] = seed
            p.closest[ids[r]] = _merged(p, r, trial, ws)
    for i in range(shard * p.shard_rows, stop):
        total += p.closest[i] * p.weights[i] if p.weights != NULL else p.closest[i]
    p.out[shard] = total


cdef int lay_out(seeding_pass* p, Rows rows) except -1:
    cdef int lanes = p.tile.vector_bytes // 8
    p.entries = max(1, rows.longest, min(ENTRIES, tw_row_start(p.rows, p.rows.n_rows)))
    # Additions of a product and of both norms, and of a canonical distance, eight times over.
    p.product_error = (rows.longest + 64.0) * 2.0**-50
    p.panel_vectors = 1 if lanes >= 8 else 4
    p.width = p.panel_vectors * lanes
    p.columns = (4 * (BLOCK + 1) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    p.values = p.columns + (4 * p.entries + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    p.norms = p.values + (8 * p.entries + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    p.products = p.norms + 8 * BLOCK
    p.staging_bytes = p.products + 8 * BLOCK * ((MOST_TRIALS + p.width - 1) // p.width * p.width)
    return 0


cdef class Candidates:
    """The numbers of the candidates that are not zero, listed and, on request, side by side."""

    cdef int hold(self, seeding_pass* p, const double[:, ::1] trials, bint table) except -1:
        cdef int64_t n = trials.shape[0]
        dense = np.asarray(trials)[:, : p.rows.depth]
        rows, columns = np.nonzero(dense)
        values = dense[rows, columns]
        starts = np.searchsorted(rows, np.arange(n + 1)).astype(np.int32)
        norms = np.bincount(rows, weights=values * values, minlength=n)
        columns = columns.astype(np.int32)
        self._listed = (starts, columns, np.append(values, 0.0), norms)
        p.trial_starts = <const int32_t*>address(starts)
        p.trial_columns = <const int32_t*>address(columns)
        p.trial_values = <const double*>address(self._listed[2])
        p.trial_norms = <const double*>address(norms)
        if not table:
            return 0
        p.n_panels = <int>((n + p.width - 1) // p.width)
        if self._table is None:
            most = (MOST_TRIALS + p.width - 1) // p.width * p.width
            self._table = aligned_empty(8 * most * max(1, p.rows.depth)).view(np.float64)
        p.panels = <const double*>address(self._table)
        self._places = (rows // p.width * p.rows.depth + columns) * p.width + rows % p.width
        self._table[self._places] = values
        return 0

    cdef int clear(self) except -1:
        """Leave a table of zeros."""
        self._table[self._places] = 0.0
        return 0

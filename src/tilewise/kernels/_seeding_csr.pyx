"""k-means++ on CSR rows: products of stored entries rule out most candidates.

The numbers are those of `_seeding`, bit for bit: what is not ruled out is measured canonically.
"""

import numpy as np

from tilewise.kernels._workspace import aligned_empty

from libc.stdint cimport int32_t, int64_t, uint16_t

from tilewise.kernels._rows cimport Rows, address, tw_pack_entries_f8, tw_row_start
from tilewise.kernels._seeding_pass cimport ALIGNMENT, BLOCK, FOLDED, MOST_TRIALS, add_gain, fold_gains, seeding_pass

cdef enum:
    # Stored values that are unpacked at a time.
    ENTRIES = 16384
    SQEUCLIDEAN = 1  # of enum tw_sparse_kernel
    F8 = 2  # of the kinds of values

# Below this the rounding of a distance is no longer relative.
cdef double SMALLEST = 1e-280


ctypedef fused value_t:
    float
    double


ctypedef fused column_t:
    int32_t
    int64_t


cdef int _unpack_gained(const seeding_pass* p, int64_t* first, int64_t stop, uint16_t wanted, int64_t* ids,
                        char* ws) noexcept nogil:
    """Entries and squared norms of as many rows from `first` on as fit, of those that a wanted candidate gained.

    Returns how many.
    """
    cdef int64_t room = p.entries, stored
    cdef int n = 0
    while n < BLOCK and first[0] < stop:
        if p.gained[first[0]] & wanted:
            stored = tw_row_start(p.rows, first[0] + 1) - tw_row_start(p.rows, first[0])
            if stored > room:
                break
            room -= stored
            ids[n] = first[0]
            n += 1
        first[0] += 1
    _unpack(p, ids, n, ws)
    return n


cdef inline void _unpack(const seeding_pass* p, const int64_t* ids, int n, char* ws) noexcept nogil:
    tw_pack_entries_f8(p.rows, ids, n, 1.0, <int32_t*>ws, <int32_t*>(ws + p.columns), <double*>(ws + p.values),
                       <double*>(ws + p.norms))


cdef int _find_met(const seeding_pass* p, int64_t first, int64_t stop, const value_t* values, const column_t* columns,
                   char* ws) noexcept nogil:
    """The entries in whose columns some candidate has one, of as many rows from `first` on as fit.

    Returns how many rows.
    """
    cdef int32_t* met_starts = <int32_t*>(ws + p.met_starts)
    cdef int32_t* met_slots = <int32_t*>(ws + p.met_slots)
    cdef double* met_values = <double*>(ws + p.met_values)
    cdef int64_t e = tw_row_start(p.rows, first), limit = e + p.entries, end
    cdef int n = 0, m = 0
    met_starts[0] = 0
    while n < BLOCK and first + n < stop:
        end = tw_row_start(p.rows, first + n + 1)
        if end > limit:
            break
        while e < end:
            met_slots[m] = p.slots[columns[e]]
            met_values[m] = values[e]
            m += met_slots[m] != 0
            e += 1
        n += 1
        met_starts[n] = m
    return n


cdef int _find(const seeding_pass* p, int64_t first, int64_t stop, char* ws) noexcept nogil:
    cdef const void* values = p.rows.data
    cdef const void* columns = p.rows.columns
    if p.rows.kind == F8:
        if p.rows.column_bytes == 4:
            return _find_met(p, first, stop, <const double*>values, <const int32_t*>columns, ws)
        return _find_met(p, first, stop, <const double*>values, <const int64_t*>columns, ws)
    if p.rows.column_bytes == 4:
        return _find_met(p, first, stop, <const float*>values, <const int32_t*>columns, ws)
    return _find_met(p, first, stop, <const float*>values, <const int64_t*>columns, ws)


cdef inline double _merged(const seeding_pass* p, int r, int t, const char* ws) noexcept nogil:
    """Canonical distance of unpacked row r to candidate t, from what is not zero in both."""
    cdef const int32_t* starts = <const int32_t*>ws
    cdef int at = starts[r], from_ = p.trial_starts[t]
    return p.exact.merged(SQEUCLIDEAN, starts[r + 1] - at, <const int32_t*>(ws + p.columns) + at,
                          <const double*>(ws + p.values) + at, p.trial_starts[t + 1] - from_,
                          p.trial_columns + from_, p.trial_values + from_)


cdef void gain_shard_sparse(void* work, int64_t first, int count, int thread) noexcept nogil:
    """The gains of CSR rows, as many at a time as fit: products rule out most candidates, the rest is measured."""
    cdef const seeding_pass* p = <const seeding_pass*>work
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef const double* products
    cdef int64_t* gain = p.gains + thread * MOST_TRIALS * 16
    cdef int64_t stop = first + count, i
    cdef int r, t, n, since = 0
    cdef uint16_t mask
    cdef double m, both, gap, weight = 1.0
    cdef bint unpacked
    while first < stop:
        n = _find(p, first, stop, ws)
        p.exact.csr_panels(0, n, <const int32_t*>(ws + p.met_starts), <const int32_t*>(ws + p.met_slots),
                           <const double*>(ws + p.met_values), p.n_slots, p.panels, p.n_panels,
                           p.panel_vectors, <double*>(ws + p.products), p.n_panels * p.width)
        for r in range(n):
            i = first + r
            m = p.closest[i]
            if p.weights != NULL:
                weight = p.weights[i]
            products = <const double*>(ws + p.products) + r * p.n_panels * p.width
            mask = 0
            unpacked = False
            for t in range(p.n_trials):
                both = p.row_norms[i] + p.trial_norms[t]
                # What is not a number, or out of range, is measured.
                if both - 2.0 * products[t] - p.product_error * both - SMALLEST >= m:
                    continue
                if not unpacked:
                    _unpack(p, &i, 1, ws)
                    unpacked = True
                gap = _merged(p, 0, t, ws)
                if gap < m:
                    mask |= <uint16_t>(1 << t)
                    add_gain(p, weight * (m - gap), gain + 16 * t)
            p.gained[i] = mask
        first += n
        since += n
        if since > FOLDED - BLOCK:
            fold_gains(p, thread)
            since = 0
    fold_gains(p, thread)


cdef void take_shard_sparse(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const seeding_pass* p = <const seeding_pass*>work
    cdef char* ws = p.staging + thread * p.staging_bytes
    cdef const double* norms = <const double*>(ws + p.norms)
    cdef int64_t ids[BLOCK]
    cdef int64_t stop = first + count
    cdef int r, n
    while first < stop:
        n = _unpack_gained(p, &first, stop, <uint16_t>(1 << p.trial), ids, ws)
        for r in range(n):
            p.stale[ids[r] // p.shard_rows] = 1
            p.owner[ids[r]] = p.seed
            p.row_norms[ids[r]] = norms[r]
            p.closest[ids[r]] = _merged(p, r, p.trial, ws)


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
    p.met_starts = p.products + 8 * BLOCK * ((MOST_TRIALS + p.width - 1) // p.width * p.width)
    p.met_slots = p.met_starts + p.columns
    # One more than there are entries: the last one found is followed by what is written over.
    p.met_values = p.met_slots + (4 * p.entries + 4 + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    p.staging_bytes = p.met_values + (8 * p.entries + 8 + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return 0


cdef class Candidates:
    """The stored entries of the candidates, listed and, on request, side by side.

    Side by side stand only the columns that some candidate stores: however many columns there
    are, the panels stay small.
    """

    def __init__(self, Rows rows):
        self.rows = rows
        self._slots = np.zeros(max(1, rows.c.depth), dtype=np.int32)
        # Of every row, from the first seed on: all rows are unpacked for it.
        self._row_norms = np.full(rows.c.n_rows, np.nan)

    cdef int hold(self, seeding_pass* p, numbers, bint table) except -1:
        cdef int64_t n = numbers.size
        values, offsets, stored = self.rows._keep
        first = offsets[numbers].astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(offsets[numbers + 1] - first)])
        entries = np.arange(starts[n]) + np.repeat(first - starts[:n], np.diff(starts))
        columns = stored[entries].astype(np.int32)
        values = values[entries].astype(np.float64)
        rows = np.repeat(np.arange(n), np.diff(starts))
        norms = np.bincount(rows, weights=values * values, minlength=n)
        starts = starts.astype(np.int32)
        self._listed = (starts, np.append(columns, 0).astype(np.int32), np.append(values, 0.0), norms)
        p.trial_starts = <const int32_t*>address(starts)
        p.trial_columns = <const int32_t*>address(self._listed[1])
        p.trial_values = <const double*>address(self._listed[2])
        p.trial_norms = <const double*>address(norms)
        p.row_norms = <double*>address(self._row_norms)
        if not table:
            return 0
        p.n_panels = <int>((n + p.width - 1) // p.width)
        self._held, where = np.unique(columns, return_inverse=True)
        # Slot 0 is for the columns of none.
        p.n_slots = <int>(self._held.size + 1)
        self._slots[self._held] = np.arange(1, p.n_slots, dtype=np.int32)
        self._table = aligned_empty(8 * p.n_panels * p.n_slots * p.width).view(np.float64)
        self._table[(rows // p.width * p.n_slots + where.reshape(-1) + 1) * p.width + rows % p.width] = values
        p.slots = <const int32_t*>address(self._slots)
        p.panels = <const double*>address(self._table)
        return 0

    cdef int clear(self) except -1:
        """Leave columns without slots."""
        self._slots[self._held] = 0
        return 0

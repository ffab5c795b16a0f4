"""Mini-batches: drawing their rows, and moving the centres towards them."""

import numpy as np

from libc.math cimport INFINITY, fabs
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._centers cimport squared_gap
from tilewise.kernels._dispatch cimport exact_kernels, run_blocks, tw_bins, tw_bins8, tw_exact_kernels
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows, tw_place, tw_prefetch, tw_row_start, tw_rows
from tilewise.kernels._sums cimport (
    TW_FOLD,
    tw_bins8_clear,
    tw_bins_add,
    tw_bins_clear,
    tw_bins_fold,
    tw_bins_value,
)
from tilewise.kernels._thin cimport (
    is_thin,
    measure_thin,
    most_thin,
    move_thin,
    thin_batch,
    thin_entry,
)

# A thin_entry, as NumPy has it.
ENTRY = np.dtype([("column", np.int32), ("row", np.int32), ("value", np.float64)])

cdef enum:
    # Rows fetched at a time, and how many numbers they may stage; neither changes a result.
    BLOCK = 64
    STAGED = 1 << 16
    # Draws that are searched side by side, so that their cache misses overlap.
    TOGETHER = 64
    # Rows between the prefetch of a row and its use.
    AHEAD = 6
    # Bytes of rows worth fetching when they are drawn: they stay in an L2 until they are packed.
    FETCHED = 1 << 19
    # Weights of up to two to this power, or its reciprocal, are taken as they are.
    MODERATE = 64

# Buckets of the guide: a power of two, so that a draw's bucket is found without rounding; few
# enough for the guide to stay in L2.
cdef int64_t MOST_BUCKETS = 1 << 16


# ---------------------------------------------------------------- draws


cdef inline int64_t _even_row(double draw, double n, double doubt) noexcept nogil:
    """The row of a draw where all weights are equal; -1 if rounding might decide."""
    cdef double at = draw * n
    cdef int64_t row = <int64_t>at
    at -= <double>row
    return row if doubt < at < 1.0 - doubt else -1


cdef class Draws:
    """Row numbers as ``RandomState.choice(n, p=weights / weights.sum())`` draws them.

    ``choice`` sums the probabilities anew for each batch, O(n), and looks every uniform number
    up among the sums. Here the sums, the same to the last bit, are made once; a table over
    equal parts of [0, 1) (the guide table of Chen and Asau, "On generating random variates from
    an empirical distribution", AIIE Transactions 6, 1974) leaves few of them to search.

    With equal weights row i is drawn by a number between i / n and (i + 1) / n, and the sums
    are needed only for numbers that lie within their rounding of such a limit.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    weights : ndarray of shape (n,), float64, optional
        Rounded to ``rows.result_dtype`` before they are used, as scikit-learn has it.
    """

    cdef const tw_rows* c
    cdef Rows rows
    cdef object weights
    cdef object _keep
    cdef const double* sums
    cdef const int64_t* guide
    cdef int64_t n, buckets
    cdef double doubt

    def __init__(self, Rows rows, weights=None):
        self.rows = rows
        self.c = &rows.c
        self.n = rows.c.n_rows
        self.weights = weights
        if self.n == 0 or (weights is not None and len(weights) != self.n):
            raise ValueError("draws need at least one row, and one weight per row")
        # The i-th sum of n equal numbers, divided by the last one, is within 2 n 2^-53 of i / n.
        self.doubt = 4.0 * <double>self.n * <double>self.n * 2.0**-53
        if weights is not None or self.doubt > 0.25:
            self._sum()

    def _sum(self):
        cdef double[::1] sums
        cdef int64_t[::1] guide
        cdef int64_t i, g = 0
        cdef double total = 0.0, last
        if self.weights is None:
            one = np.ones(1, self.rows.result_dtype)
            shares = np.broadcast_to(one / np.broadcast_to(one, self.n).sum(), self.n)
        else:
            shares = np.asarray(self.weights).astype(self.rows.result_dtype, copy=False)
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                shares = shares / shares.sum()
            if not np.isfinite(shares).all():
                raise ValueError("probabilities contain NaN: the weights cannot be scaled to sum to 1")
            if shares.min() < 0.0:
                raise ValueError("probabilities are not non-negative: all weights must have one sign")
            if abs(shares.sum(dtype=np.float64) - 1.0) > np.sqrt(np.finfo(shares.dtype).eps):
                raise ValueError("probabilities do not sum to 1: the sum of the weights is out of range")
        buckets = 1
        while buckets < self.n and buckets < MOST_BUCKETS:
            buckets *= 2
        kept = np.empty(self.n)
        kept[...] = shares
        places = np.empty(buckets + 1, dtype=np.int64)
        sums, guide = kept, places
        self.buckets = buckets
        with nogil:
            for i in range(self.n):
                total += sums[i]
                sums[i] = total
            last = sums[self.n - 1]
            for i in range(self.n):
                sums[i] /= last
            # guide[g] is the first row whose sum exceeds g / buckets.
            for i in range(self.n):
                while g <= self.buckets and <double>g < sums[i] * <double>self.buckets:
                    guide[g] = i
                    g += 1
            while g <= self.buckets:
                guide[g] = self.n - 1
                g += 1
        self._keep = (kept, places)
        self.sums = &sums[0]
        self.guide = &guide[0]

    def draw(self, const double[::1] uniform, int64_t[::1] ids):
        """Write the row of each uniform number into ids, and begin to fetch those rows."""
        cdef int64_t r, n = uniform.shape[0], start, stop
        cdef bint undecided = False
        cdef ptrdiff_t bytes = self.c.depth * (8 if self.c.is_double else 4), at
        cdef const char* row
        if ids.shape[0] != n:
            raise ValueError("one place per draw expected")
        if self.sums == NULL:
            for r in range(n):
                ids[r] = _even_row(uniform[r], <double>self.n, self.doubt)
                undecided |= ids[r] < 0
            if undecided:
                self._sum()
        with nogil:
            if self.sums != NULL:
                start = 0
                while start < n:
                    stop = start + TOGETHER if n - start > TOGETHER else n
                    _search(self.sums, self.guide, self.buckets, <int>(stop - start), &uniform[start], &ids[start])
                    start = stop
            if self.c.direct and n * bytes <= FETCHED:
                for r in range(n):
                    row = self.c.data + ids[r] * self.c.row_stride
                    for at in range(0, bytes, 64):
                        tw_prefetch(row + at)
                    # Rows seldom begin where a cache line does.
                    tw_prefetch(row + bytes - 1)


cdef void _search(const double* sums, const int64_t* guide, int64_t buckets, int count, const double* uniform,
                  int64_t* ids) noexcept nogil:
    """First row whose sum exceeds each number."""
    cdef int64_t low[TOGETHER]
    cdef int64_t width[TOGETHER]
    cdef int64_t half
    cdef int r
    for r in range(count):
        tw_prefetch(guide + <int64_t>(uniform[r] * <double>buckets))
    for r in range(count):
        half = <int64_t>(uniform[r] * <double>buckets)
        low[r] = guide[half]
        width[r] = guide[half + 1] - low[r]
        tw_prefetch(sums + low[r] + width[r] // 2)
    for r in range(count):
        while width[r] > 0:
            half = width[r] // 2
            if sums[low[r] + half] <= uniform[r]:
                low[r] += half + 1
                width[r] -= half + 1
            else:
                width[r] = half
        ids[r] = low[r]


# ---------------------------------------------------------------- update


cdef struct update_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    int n_clusters
    int depth
    int block
    ptrdiff_t row_bytes     # as far as a row is worth fetching early
    ptrdiff_t ldc
    const int64_t* order    # (n_rows) rows sorted by label
    const int64_t* starts   # (k + 1) where the rows of each cluster begin in it
    const double* weights   # (n_rows) or NULL
    double* centers         # (k, depth)
    const double* norms     # (k) squared norms of the centres, or NULL
    double* counts          # (k)
    double* gaps            # (n_rows) squared distance to the own old centre
    thin_batch thin         # CSR rows by their entries
    bint by_entries
    char* workspace         # per thread: the centre (ldc), its sums and staged rows
    ptrdiff_t sums          # where these start, and what follows them
    ptrdiff_t staging
    ptrdiff_t values
    ptrdiff_t columns
    ptrdiff_t workspace_bytes


cdef inline void _fetch_early(const update_pass* p, int64_t at) noexcept nogil:
    """Begin to fetch a row that comes soon: sorted by label, they stand anywhere."""
    cdef const char* row
    cdef ptrdiff_t byte = 0
    if not p.rows.direct or at >= p.rows.n_rows:
        return
    at = p.order[at]
    row = p.rows.data + (at if p.rows.picks == NULL else p.rows.picks[at]) * p.rows.row_stride
    while byte < p.row_bytes:
        tw_prefetch(row + byte)
        byte += 64


cdef double _gap(const update_pass* p, const void* x, const double* center, double* norm,
                 char* workspace) noexcept nogil:
    """Squared distance of a row to its centre, from its numbers other than zero if they are few.

    norm is the squared norm of the centre, or negative until somebody wants it.
    """
    cdef double* values = <double*>(workspace + p.values)
    cdef int32_t* columns = <int32_t*>(workspace + p.columns)
    cdef int64_t most = most_thin(p.depth)
    cdef double gap
    cdef int l = 0, m = 0
    if is_thin(1, p.depth):
        while l < p.depth and m <= most:
            values[m] = (<const double*>x)[l] if p.rows.is_double else (<const float*>x)[l]
            columns[m] = l
            m += values[m] != 0.0
            l += 1
        if m <= most:
            if norm[0] < 0.0:
                norm[0] = p.exact.squared_norm(center, p.depth)
            gap = p.exact.own_entries(m, columns, values, center, norm[0])
            if gap >= 0.0:
                return gap
    if p.rows.is_double:
        return p.exact.distance_f8(<const double*>x, center, p.depth)
    return p.exact.distance_f4(<const float*>x, center, p.depth)


cdef double _total(const double* weights, const int64_t* order, int64_t n) noexcept nogil:
    """The weight of n rows, in any order."""
    cdef tw_bins total
    cdef double high, low
    cdef int64_t r
    if weights == NULL:
        return <double>n
    tw_bins_clear(&total)
    for r in range(n):
        if not fabs(weights[order[r]]) <= 1e290:
            return INFINITY
        tw_bins_add(&total, weights[order[r]])
    tw_bins_fold(&total)
    tw_bins_value(&total, &high, &low)
    return high


cdef void _update_center(void* work, int64_t j, int _count, int thread) noexcept nogil:
    """centre = (centre * count + sum of the rows) / (count + their weight), without its cancellation."""
    cdef const update_pass* p = <const update_pass*>work
    cdef char* workspace = p.workspace + thread * p.workspace_bytes
    cdef const void* pointers[BLOCK]
    cdef double weights[BLOCK]
    cdef double* center = <double*>workspace
    cdef tw_bins8* sums = <tw_bins8*>(workspace + p.sums)
    cdef double* to = p.centers + j * p.depth
    cdef int64_t at = p.starts[j], stop = p.starts[j + 1]
    cdef int64_t i
    cdef int r, n, l, moved
    cdef double total = _total(p.weights, p.order + at, stop - at)
    cdef double norm = -1.0 if p.norms == NULL else p.norms[j]
    if at == stop:
        return
    for l in range(p.depth):
        center[l] = to[l]
    if p.weights == NULL and stop - at <= p.block:
        n = <int>(stop - at)
        tw_fetch_rows(p.rows, p.order + at, 0, n, pointers, workspace + p.staging, p.ldc)
        for r in range(n):
            _fetch_early(p, at + r + AHEAD)
            p.gaps[p.order[at + r]] = _gap(p, pointers[r], center, &norm, workspace)
        if p.rows.is_double:
            moved = p.exact.move_by_rows_f8(<const double* const*>pointers, n, p.depth, p.counts[j] + total, to)
        else:
            moved = p.exact.move_by_rows_f4(<const float* const*>pointers, n, p.depth, p.counts[j] + total, to)
        if moved:
            p.counts[j] += total
            return
        for l in range(p.depth):
            to[l] = center[l]
    for l in range(p.ldc // 8):
        tw_bins8_clear(sums + l)
    while at < stop:
        n = p.block if stop - at > p.block else <int>(stop - at)
        tw_fetch_rows(p.rows, p.order + at, 0, n, pointers, workspace + p.staging, p.ldc)
        for r in range(n):
            _fetch_early(p, at + r + AHEAD)
            i = p.order[at + r]
            weights[r] = p.weights[i] if p.weights != NULL else 1.0
            p.gaps[i] = _gap(p, pointers[r], center, &norm, workspace)
        if p.rows.is_double:
            p.exact.bin_rows_f8(<const double* const*>pointers, weights if p.weights != NULL else NULL, n, p.depth,
                                sums)
        else:
            p.exact.bin_rows_f4(<const float* const*>pointers, weights if p.weights != NULL else NULL, n, p.depth, sums)
        at += n
    if total > 0.0:
        p.counts[j] += total
        p.exact.move_center(sums, p.depth, total, p.counts[j], to)


cdef void _update_thin(void* work, int64_t j, int _count, int _thread) noexcept nogil:
    """The same of CSR rows, from their entries."""
    cdef const update_pass* p = <const update_pass*>work
    cdef double norm = p.norms[j] if p.norms != NULL else -1.0
    cdef double* center = p.centers + j * p.depth
    cdef int64_t at = p.starts[j], n = p.starts[j + 1] - at
    if n == 0:
        return
    if norm < 0.0:
        norm = p.exact.squared_norm(center, p.depth)
    measure_thin(&p.thin, p.rows, p.exact, p.order, at, n, center, norm, p.gaps)
    move_thin(&p.thin, p.exact, p.order, at, n, p.weights, _total(p.weights, p.order + at, n), p.rows.is_double,
              p.depth, center, p.counts + j)


cdef class Update:
    """Moves centres towards the rows of a batch that have their label.

    Parameters
    ----------
    rows : Rows of shape (n, d)
        The batch.
    n_clusters : int
    isa : str
    n_threads : int
    by_entries : bool, default=False
        Whether CSR rows move centres by their stored entries alone.
    """

    cdef update_pass p
    cdef Rows rows
    cdef int threads
    cdef object _keep
    cdef object _entries
    cdef int64_t[::1] order
    cdef int64_t[::1] starts
    cdef int64_t[::1] next

    def __init__(self, Rows rows, int n_clusters, *, str isa, int n_threads, bint by_entries=False):
        cdef update_pass* p = &self.p
        if by_entries > rows.is_sparse:
            raise ValueError("dense rows have no stored entries")
        self.rows = rows
        p.rows = &rows.c
        p.exact = exact_kernels(isa)
        p.n_clusters = n_clusters
        p.depth = rows.c.depth
        p.ldc = max(8, (p.depth + 7) // 8 * 8)
        p.row_bytes = min(2048, p.depth * (8 if rows.c.is_double else 4))
        p.block = max(1, min(BLOCK, STAGED // p.ldc))
        p.by_entries = by_entries
        self.threads = n_threads
        gaps = np.zeros(max(1, rows.c.n_rows))
        workspace = None
        if p.by_entries:
            p.thin.longest = rows.longest
        else:
            p.sums = (8 * p.ldc + 63) // 64 * 64
            p.staging = p.sums + p.ldc // 8 * <ptrdiff_t>sizeof(tw_bins8)
            p.values = p.staging + 8 * p.ldc * (0 if rows.c.direct else p.block)
            p.columns = p.values + 8 * (most_thin(p.depth) + 1)
            p.workspace_bytes = (p.columns + 4 * (most_thin(p.depth) + 1) + 63) // 64 * 64
            workspace = np.zeros(p.workspace_bytes * self.threads, dtype=np.uint8)
            p.workspace = <char*>address(workspace)
        self._keep = (workspace, gaps)
        p.gaps = <double*>address(gaps)
        self.order = np.zeros(max(1, rows.c.n_rows), dtype=np.int64)
        self.starts = np.zeros(n_clusters + 1, dtype=np.int64)
        self.next = np.zeros(n_clusters, dtype=np.int64)
        p.order = &self.order[0]
        p.starts = &self.starts[0]

    cdef int _sort(self, const int32_t[::1] labels) except -1:
        """Order the rows by label, those of one label as they stand."""
        cdef int64_t n = self.p.rows.n_rows, r, j, k = self.p.n_clusters
        cdef int64_t* starts = &self.starts[0]
        cdef int64_t* place = &self.next[0]
        cdef int64_t* order = &self.order[0]
        with nogil:
            for j in range(k + 1):
                starts[j] = 0
            for r in range(n):
                starts[labels[r] + 1] += 1
            for j in range(k):
                starts[j + 1] += starts[j]
                place[j] = starts[j]
            for r in range(n):
                order[place[labels[r]]] = r
                place[labels[r]] += 1
        return 0

    cdef int _hold(self) except -1:
        """Room for the entries of the batch, and for those of one row per cluster."""
        cdef thin_batch* thin = &self.p.thin
        cdef int64_t n = self.p.rows.n_rows, r, row, total = 0
        begins = np.empty(n + 1, dtype=np.int64)
        cdef int64_t[::1] at = begins
        for r in range(n):
            row = tw_place(self.p.rows, self.order[r])
            at[r] = total
            total += tw_row_start(self.p.rows, row + 1) - tw_row_start(self.p.rows, row)
        at[n] = total
        entries = np.empty((2, total + 1), dtype=ENTRY)
        self._entries = (begins, entries)
        thin.begins = &at[0]
        thin.entries = <thin_entry*>address(entries)
        thin.spare = thin.entries + total + 1
        return 0

    def run(self, const int32_t[::1] labels, const double[:, ::1] old, double[:, ::1] new,
            double[::1] counts, const double[::1] weights=None, const double[::1] norms=None):
        """Move the centres; returns the batch's inertia before the move.

        Parameters
        ----------
        labels : int32 (n,)
        old, new : float64 (k, d), IN and OUT
            One array, if the centres may move where they stand.
        counts : float64 (k,), INOUT
            Weight that each centre stands for.
        weights : float64 (n,), optional
        norms : float64 (k,), optional
            Squared norms of `old`, as `Assignment.center_norms` has them.
        """
        cdef update_pass p = self.p
        cdef int64_t n = p.rows.n_rows, r, k = p.n_clusters
        cdef tw_bins total
        cdef double inertia, low
        if labels.shape[0] != n or old.shape[0] != k or new.shape[0] != k or counts.shape[0] != k or (
                old.shape[1] != p.depth or new.shape[1] != p.depth or (weights is not None and weights.shape[0] != n)
                or (norms is not None and norms.shape[0] != k)):
            raise ValueError("labels, centres, counts or weights do not have the shape of this update")
        if n == 0 or p.depth == 0:
            new[:, :] = old
            return 0.0
        if weights is not None:
            # Sums have room for products of weights and values if both are moderate.
            most = max(np.abs(weights).max(), np.max(counts, initial=0.0))
            exponent = -int(np.frexp(most)[1]) if np.isfinite(most) else 0
            if abs(exponent) > MODERATE:
                scaled = np.ldexp(counts, exponent)
                inertia = self.run(labels, old, new, scaled, np.ldexp(weights, exponent), norms)
                np.ldexp(scaled, -exponent, out=np.asarray(counts))
                return float(np.ldexp(inertia, -exponent))
        self._sort(labels)
        if p.by_entries:
            self._hold()
            p.thin = self.p.thin
        if &old[0, 0] != &new[0, 0]:
            new[:, :] = old
        p.centers = &new[0, 0]
        p.counts = &counts[0]
        p.norms = &norms[0] if norms is not None else NULL
        p.weights = &weights[0] if weights is not None else NULL
        if p.by_entries:
            run_blocks(_update_thin, &p, 0, k, 1, 1, self.threads)
        else:
            run_blocks(_update_center, &p, 0, k, 4, 1, self.threads)
        self._entries = None
        tw_bins_clear(&total)
        for r in range(0, n, TW_FOLD):
            p.exact.bin_values(&total, <int>min(<int64_t>TW_FOLD, n - r), p.gaps + r,
                               p.weights + r if p.weights != NULL else NULL)
        tw_bins_value(&total, &inertia, &low)
        return inertia


def squared_moves(const double[:, ::1] old, const double[:, ::1] new):
    """Sum over all centres of the squared distance that each moved."""
    cdef Py_ssize_t j, d = old.shape[1]
    cdef double total = 0.0
    if d:
        with nogil:
            for j in range(old.shape[0]):
                total += squared_gap(&old[j, 0], &new[j, 0], d)
    return total

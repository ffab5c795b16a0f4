"""Mini-batches: drawing their rows, and moving the centres towards them."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from tilewise.kernels._dispatch cimport enter_loop, exact_kernels, leave_loop, tw_exact_kernels
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows, tw_rows

cdef enum:
    # Rows fetched at a time, and how many numbers they may stage; neither changes a result.
    BLOCK = 64
    STAGED = 1 << 16
    # Draws that are searched side by side, so that their cache misses overlap.
    TOGETHER = 64
    # Rows between the prefetch of a row and its use.
    AHEAD = 6
    # Running sums of the inertia: part of its order of additions.
    SUMS = 8
    # Bytes of rows worth fetching when they are drawn: they stay in an L2 until they are packed.
    FETCHED = 1 << 19
    # Below this many numbers starting threads costs more than it saves.
    SERIAL = 1 << 17

cdef extern from *:
    """
    #define tw_prefetch(address) __builtin_prefetch(address)
    """
    void tw_prefetch(const void*) nogil

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
        Rounded to the type of the rows before they are used, as scikit-learn has it.
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
            one = np.ones(1, self.rows.dtype)
            shares = np.broadcast_to(one / np.broadcast_to(one, self.n).sum(), self.n)
        else:
            shares = np.asarray(self.weights).astype(self.rows.dtype, copy=False)
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
    const double* old       # (k, depth)
    double* new             # (k, depth)
    double* counts          # (k)
    double* gaps            # (n_rows) squared distance to the own old centre
    char* workspace         # per thread: centre, base and sums (3, ldc), then staged rows
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


cdef void _update_center(const update_pass* p, int64_t j, char* workspace) noexcept nogil:
    """new = (old * count + sum of the rows) / (count + their weight), without its cancellation."""
    cdef const void* pointers[BLOCK]
    cdef double* center = <double*>workspace
    cdef double* base = center + p.ldc
    cdef double* sums = base + p.ldc
    cdef void* staging = sums + p.ldc
    cdef const double* old = p.old + j * p.depth
    cdef double* new = p.new + j * p.depth
    cdef int64_t at = p.starts[j], stop = p.starts[j + 1]
    cdef int64_t i
    cdef int r, n, l
    cdef bint empty = p.counts[j] == 0.0
    cdef double weight = 1.0, total = 0.0
    if at == stop:
        for l in range(p.depth):
            new[l] = old[l]
        return
    for l in range(p.depth):
        center[l] = base[l] = old[l]
    memset(sums, 0, p.ldc * sizeof(double))
    while at < stop:
        n = p.block if stop - at > p.block else <int>(stop - at)
        tw_fetch_rows(p.rows, p.order + at, 0, n, pointers, staging, p.ldc)
        if empty and at == p.starts[j]:
            # A centre that stands for no row yet may lie anywhere; one of its rows is close.
            for l in range(p.depth):
                base[l] = (<const double*>pointers[0])[l] if p.rows.is_double else (<const float*>pointers[0])[l]
        for r in range(n):
            _fetch_early(p, at + r + AHEAD)
            i = p.order[at + r]
            if p.weights != NULL:
                weight = p.weights[i]
            total += weight
            if p.rows.is_double:
                p.gaps[i] = p.exact.distance_f8(<const double*>pointers[r], center, p.depth)
                p.exact.accumulate_f8(<const double*>pointers[r], base, weight, p.depth, sums)
            else:
                p.gaps[i] = p.exact.distance_f4(<const float*>pointers[r], center, p.depth)
                p.exact.accumulate_f4(<const float*>pointers[r], base, weight, p.depth, sums)
        at += n
    if not total > 0.0:
        for l in range(p.depth):
            new[l] = old[l]
        return
    p.counts[j] += total
    for l in range(p.depth):
        new[l] = base[l] + sums[l] / p.counts[j]


cdef class Update:
    """Moves centres towards the rows of a batch that have their label.

    Parameters
    ----------
    rows : Rows of shape (n, d)
        The batch.
    n_clusters : int
    isa : str
    n_threads : int
    """

    cdef update_pass p
    cdef Rows rows
    cdef int threads
    cdef object _keep
    cdef int64_t[::1] order
    cdef int64_t[::1] starts
    cdef int64_t[::1] next

    def __init__(self, Rows rows, int n_clusters, *, str isa, int n_threads):
        cdef update_pass* p = &self.p
        self.rows = rows
        p.rows = &rows.c
        p.exact = exact_kernels(isa)
        p.n_clusters = n_clusters
        p.depth = rows.c.depth
        p.ldc = max(8, (p.depth + 7) // 8 * 8)
        p.row_bytes = min(2048, p.depth * (8 if rows.c.is_double else 4))
        p.block = max(1, min(BLOCK, STAGED // p.ldc))
        self.threads = n_threads if rows.c.n_rows * <int64_t>p.depth > SERIAL else 1
        p.workspace_bytes = 8 * p.ldc * (3 + (0 if rows.c.direct else p.block))
        workspace = np.zeros(p.workspace_bytes * self.threads, dtype=np.uint8)
        gaps = np.zeros(max(1, rows.c.n_rows))
        self._keep = (workspace, gaps)
        p.workspace = <char*>address(workspace)
        p.gaps = <double*>address(gaps)
        self.order = np.zeros(max(1, rows.c.n_rows), dtype=np.int64)
        self.starts = np.zeros(n_clusters + 1, dtype=np.int64)
        self.next = np.zeros(n_clusters, dtype=np.int64)
        p.order = &self.order[0]
        p.starts = &self.starts[0]

    def run(self, const int32_t[::1] labels, const double[:, ::1] old, double[:, ::1] new,
            double[::1] counts, const double[::1] weights=None):
        """Move the centres; returns the batch's inertia before the move.

        Parameters
        ----------
        labels : int32 (n,)
        old, new : float64 (k, d), IN and OUT
        counts : float64 (k,), INOUT
            Weight that each centre stands for.
        weights : float64 (n,), optional
        """
        cdef update_pass p = self.p
        cdef int64_t n = p.rows.n_rows, r, j, k = p.n_clusters
        cdef int64_t* starts = &self.starts[0]
        cdef int64_t* place = &self.next[0]
        cdef int64_t* order = &self.order[0]
        cdef double inertia[SUMS]
        cdef int threads
        cdef char* workspace = p.workspace
        if labels.shape[0] != n or old.shape[0] != k or new.shape[0] != k or counts.shape[0] != k or (
                old.shape[1] != p.depth or new.shape[1] != p.depth or (weights is not None and weights.shape[0] != n)):
            raise ValueError("labels, centres, counts or weights do not have the shape of this update")
        if n == 0 or p.depth == 0:
            new[:, :] = old
            return 0.0
        p.old = &old[0, 0]
        p.new = &new[0, 0]
        p.counts = &counts[0]
        p.weights = &weights[0] if weights is not None else NULL
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
        threads = enter_loop(self.threads)
        if threads <= 1:
            with nogil:
                for j in range(k):
                    _update_center(&p, j, workspace)
        else:
            for j in prange(k, nogil=True, schedule="dynamic", chunksize=4, num_threads=threads):
                _update_center(&p, j, workspace + threadid() * p.workspace_bytes)
        leave_loop()
        for j in range(SUMS):
            inertia[j] = 0.0
        for r in range(n):
            inertia[r % SUMS] += p.gaps[r] * p.weights[r] if p.weights != NULL else p.gaps[r]
        return ((inertia[0] + inertia[4]) + (inertia[2] + inertia[6])) + (
            (inertia[1] + inertia[5]) + (inertia[3] + inertia[7]))


def squared_moves(const double[:, ::1] old, const double[:, ::1] new):
    """Sum over all centres of the squared distance that each moved."""
    cdef Py_ssize_t j, l
    cdef double total = 0.0, gap
    with nogil:
        for j in range(old.shape[0]):
            for l in range(old.shape[1]):
                gap = new[j, l] - old[j, l]
                total += gap * gap
    return total

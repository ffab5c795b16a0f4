"""The passes of greedy k-means++: what each candidate would gain, and taking the best.

A row keeps its squared distance m to the closest seed and which seed that is. A candidate
whose squared distance to that seed exceeds 4 m cannot be closer (triangle inequality, as
in Raff, "Exact Acceleration of K-Means++ and K-Means||", IJCAI 2021), so late passes read
few rows. The numbers are those of a pass without this test, bit for bit.
"""

import numpy as np

from tilewise.kernels._assign import aligned_empty

from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint16_t
from libc.string cimport memset

from tilewise.kernels._dispatch cimport (
    TW_LANES_DEPTH,
    enter_loop,
    exact_kernels,
    leave_loop,
    tile_kernels,
    tw_exact_kernels,
    tw_tile_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport (
    all_rows,
    Rows,
    address,
    tw_fetch_rows,
    tw_pack_entries_f8,
    tw_row_start,
    tw_rows,
)

cdef enum:
    BLOCK = 64
    # Stored values of CSR rows that are unpacked at a time.
    ENTRIES = 16384
    ALIGNMENT = 64
    SQEUCLIDEAN = 1  # of enum tw_sparse_kernel
    # One bit each in the mask of a row.
    MOST_TRIALS = 16
    # Rows between the prefetch of a row and its use.
    AHEAD = 4

cdef extern from *:
    """
    #define tw_prefetch(address) __builtin_prefetch(address)
    """
    void tw_prefetch(const void*) nogil

# The canonical distance is within 2**-40 of the true one for any depth below 2**12 lanes of
# eight; a margin of 2**-20 leaves no room for it to matter.
cdef double MARGIN = 4.0 * (1.0 + 2.0**-20)
# Below this the rounding of a distance is no longer relative.
cdef double SMALLEST = 1e-280
# Above this squares might overflow in float.
cdef double WIDEST = 1e18

most_trials = MOST_TRIALS

# CSR rows with up to this share of stored entries are measured by them alone (measured at 100
# and 2,000 columns: even between 0.02 and 0.05).
SPARSE_DENSITY = 0.03


cdef struct seeding_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    const tw_tile_kernels* tile
    int64_t shard_rows
    ptrdiff_t step
    const double* weights
    double* closest         # (n)
    int32_t* owner          # (n)
    uint16_t* gained        # (n) bit t: candidate t is closer
    const double* trials    # (n_trials, ldc)
    ptrdiff_t ldc
    const float* rough      # the same in float (n_trials, rough_step); less the origin if double
    ptrdiff_t rough_step
    const double* origin    # (depth) the first seed, for double rows
    const double* reach     # (seeds) how far each seed is from the origin
    double trials_reach     # how far the farthest candidate is
    float* narrowed         # (threads, rough_step)
    int n_trials
    const double* gaps      # (seeds, n_trials) candidate to seed
    const double* nearest   # (seeds) least of gaps
    double* out             # (shards, n_trials) or (shards)
    char* staging
    ptrdiff_t staging_bytes
    # CSR rows by their entries: the workspace of a thread is its staging, in parts
    bint by_entries
    ptrdiff_t entries       # stored values that it has room for
    ptrdiff_t columns
    ptrdiff_t values
    ptrdiff_t norms
    ptrdiff_t products
    double product_error    # error bound of a product, as a share of both squared norms
    int panel_vectors
    int n_panels
    ptrdiff_t width
    const double* panels    # (n_panels, depth, width) the candidates in the lanes
    const int32_t* trial_starts
    const int32_t* trial_columns
    const double* trial_values
    const double* trial_norms


cdef inline bint _too_far(double gap, double closest) noexcept nogil:
    return gap > MARGIN * closest and (closest > SMALLEST or closest == 0.0)


cdef bint _may_gain(const seeding_pass* p, const void* x, int32_t owner, double m, int thread, int* picks,
                    int* left) noexcept nogil:
    """Lists the candidates that may be closer than m, by distances in float; False if that says nothing.

    Rows of doubles are rounded to float less the first seed. With u = 2**-24 that moves a row or
    a candidate by no more than u times its distance from there, and the row's is no more than
    sqrt(m) plus its own seed's.
    """
    cdef double root, widest, within = m
    cdef float* values
    if p.rows.is_double:
        root = sqrt(m)
        widest = root + p.reach[owner] + p.trials_reach
        if not widest < WIDEST:
            return False
        within = root + 1.02 * 2.0**-24 * widest + 1e-37
        within *= within
        values = p.narrowed + thread * p.rough_step
        p.tile.narrow(<const double*>x, p.origin, p.rows.depth, values)
        x = values
    left[0] = p.tile.plausible(<const float*>x, p.rough, p.rough_step, p.n_trials, p.rows.depth, within, picks)
    return True


cdef inline void _lanes(const seeding_pass* p, const void* const* pointers, int first, int n, const double* c,
                        int count, double* out) noexcept nogil:
    """out (count, 8) distances of up to eight of n rows, from `first` on; the last one fills up."""
    cdef const void* eight[8]
    cdef int r
    for r in range(8):
        eight[r] = pointers[first + r if first + r < n else n - 1]
    if p.rows.is_double:
        p.exact.distances_lanes_f8(<const double* const*>eight, c, p.ldc, count, p.rows.depth, out)
    else:
        p.exact.distances_lanes_f4(<const float* const*>eight, c, p.ldc, count, p.rows.depth, out)


cdef void _gain_short(const seeding_pass* p, int n, const int64_t* ids, int thread, double* gain) noexcept nogil:
    """The gains of n short rows: every distance, without a branch, is cheaper than a filter."""
    cdef const void* pointers[BLOCK]
    cdef double gaps[8 * MOST_TRIALS]
    cdef double closest[8]
    cdef double weights[8]
    cdef uint16_t gained[8]
    cdef int start, r, count
    tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
    for r in range(8):
        weights[r] = 1.0
        closest[r] = 0.0
    for start in range(0, n, 8):
        count = 8 if n - start > 8 else n - start
        _lanes(p, pointers, start, n, p.trials, p.n_trials, gaps)
        for r in range(count):
            closest[r] = p.closest[ids[start + r]]
            if p.weights != NULL:
                weights[r] = p.weights[ids[start + r]]
        p.exact.add_gains(count, p.n_trials, gaps, closest, weights, gain, gained)
        for r in range(count):
            p.gained[ids[start + r]] = gained[r]


cdef void _gain_shard_short(const seeding_pass* p, int64_t first, int64_t stop, int thread,
                            double* gain) noexcept nogil:
    """Blocks of rows: one is fetched while the one before is computed."""
    cdef int64_t ids[2][BLOCK]
    cdef int n[2]
    cdef int count, r, at = 0, l
    cdef ptrdiff_t bytes = p.rows.depth * (8 if p.rows.is_double else 4)
    cdef const char* row
    n[0] = n[1] = 0
    while first < stop or n[1 - at]:
        n[at] = 0
        if first < stop:
            count = BLOCK if stop - first > BLOCK else <int>(stop - first)
            memset(p.gained + first, 0, count * sizeof(uint16_t))
            n[at] = p.exact.near_rows(count, first, p.owner, p.closest, p.nearest, ids[at])
            first += count
            if p.rows.direct and p.rows.picks == NULL:
                for r in range(n[at]):
                    row = p.rows.data + ids[at][r] * p.rows.row_stride
                    for l in range(0, bytes, 64):
                        tw_prefetch(row + l)
        at = 1 - at
        if n[at]:
            _gain_short(p, n[at], ids[at], thread, gain)
            n[at] = 0


cdef void _gain_shard(const seeding_pass* p, int64_t shard, int thread) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef int64_t ids[BLOCK]
    cdef double gap[MOST_TRIALS]
    cdef double gain[MOST_TRIALS]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, i
    cdef int picks[MOST_TRIALS]
    cdef int r, t, n, count, left
    cdef uint16_t mask
    cdef double m, weight = 1.0
    cdef const double* far
    # Rows that the first test skipped leave gaps that the hardware does not foresee.
    cdef int lines = p.rows.depth * (8 if p.rows.is_double else 4)
    if lines > 2048:
        lines = 2048
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    for t in range(p.n_trials):
        gain[t] = 0.0
    if p.rows.depth <= TW_LANES_DEPTH:
        _gain_shard_short(p, first, stop, thread, gain)
        first = stop
    while first < stop:
        count = BLOCK if stop - first > BLOCK else <int>(stop - first)
        memset(p.gained + first, 0, count * sizeof(uint16_t))
        n = p.exact.near_rows(count, first, p.owner, p.closest, p.nearest, ids)
        first += count
        if n == 0:
            continue
        tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
        for r in range(n):
            if r + AHEAD < n and p.rows.direct:
                for t in range(0, lines, 64):
                    tw_prefetch(<const char*>pointers[r + AHEAD] + t)
            i = ids[r]
            m = p.closest[i]
            if p.weights != NULL:
                weight = p.weights[i]
            if not _may_gain(p, pointers[r], p.owner[i], m, thread, picks, &left):
                far = p.gaps + <ptrdiff_t>p.owner[i] * p.n_trials
                left = 0
                for t in range(p.n_trials):
                    # Without a branch: which candidate is too far is not foreseeable.
                    picks[left] = t
                    left += not _too_far(far[t], m)
            if left == 0:
                continue
            if p.rows.is_double:
                p.exact.distances_picked_f8(<const double*>pointers[r], p.trials, p.ldc, picks, left,
                                            p.rows.depth, gap)
            else:
                p.exact.distances_picked_f4(<const float*>pointers[r], p.trials, p.ldc, picks, left,
                                            p.rows.depth, gap)
            mask = 0
            for t in range(left):
                if gap[t] < m:
                    mask |= <uint16_t>(1 << picks[t])
                    gain[picks[t]] += weight * (m - gap[t])
            p.gained[i] = mask
    for t in range(p.n_trials):
        p.out[shard * p.n_trials + t] = gain[t]


cdef void _take_shard(const seeding_pass* p, int64_t shard, int thread, int trial, int32_t seed) noexcept nogil:
    cdef const void* pointers[BLOCK]
    cdef int64_t ids[BLOCK]
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows, i
    cdef int r, n, count
    cdef double total = 0.0
    cdef double gaps[8]
    cdef const double* c = p.trials + trial * p.ldc
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    while first < stop:
        count = BLOCK if stop - first > BLOCK else <int>(stop - first)
        n = 0
        for r in range(count):
            if p.gained[first + r] >> trial & 1:
                ids[n] = first + r
                n += 1
        if n:
            tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
        for r in range(n):
            i = ids[r]
            p.owner[i] = seed
            if p.rows.depth <= TW_LANES_DEPTH:
                if r % 8 == 0:
                    _lanes(p, pointers, r, n, c, 1, gaps)
                p.closest[i] = gaps[r % 8]
            elif p.rows.is_double:
                p.closest[i] = p.exact.distance_f8(<const double*>pointers[r], c, p.rows.depth)
            else:
                p.closest[i] = p.exact.distance_f4(<const float*>pointers[r], c, p.rows.depth)
        for r in range(count):
            i = first + r
            total += p.closest[i] * p.weights[i] if p.weights != NULL else p.closest[i]
        first += count
    p.out[shard] = total


cdef double _distance(const double[::1] a, const double[::1] b, const tw_exact_kernels* exact):
    """Upper bound of the distance of two padded rows."""
    return sqrt(exact.distance_f8(&a[0], &b[0], <int>a.shape[0])) * (1 + 2.0**-20) + 1e-150


# ---------------------------------------------------------------- CSR rows


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


cdef void _gain_shard_sparse(const seeding_pass* p, int64_t shard, int thread) noexcept nogil:
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


cdef void _take_shard_sparse(const seeding_pass* p, int64_t shard, int thread, int trial, int32_t seed) noexcept nogil:
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


cdef class Seeding:
    """Closest seed of every row while seeds are added.

    Parameters
    ----------
    rows : Rows
    weights : float64 (n,) or None
    isa : str
    shard_rows, n_threads : int
    """

    cdef seeding_pass p
    cdef Rows rows
    cdef int threads
    cdef int64_t n_shards
    cdef object _keep
    cdef readonly bint by_entries  # CSR rows that are sparse enough; they need no gaps
    cdef object _listed
    cdef object _table
    cdef double[::1] totals
    cdef object first
    cdef list reach

    def __init__(self, Rows rows, const double[::1] weights, *, str isa, int64_t shard_rows, int n_threads):
        all_rows(rows)
        cdef seeding_pass* p = &self.p
        cdef int64_t n = rows.c.n_rows
        if n == 0 or (weights is not None and weights.shape[0] != n):
            raise ValueError("seeding needs at least one row, and one weight per row")
        self.rows = rows
        self.threads = n_threads
        self.n_shards = (n + shard_rows - 1) // shard_rows
        p.rows = &rows.c
        p.exact = exact_kernels(isa)
        p.tile = tile_kernels(isa)
        p.shard_rows = shard_rows
        p.step = (rows.c.depth + 7) // 8 * 8
        p.weights = &weights[0] if weights is not None else NULL
        closest = np.full(n, np.inf)
        owner = np.zeros(n, dtype=np.int32)
        gained = np.ones(n, dtype=np.uint16)
        p.staging_bytes = 0 if rows.c.direct else BLOCK * p.step * 8
        self.by_entries = p.by_entries = rows.is_sparse and rows.density <= SPARSE_DENSITY
        if self.by_entries:
            self._lay_out()
        staging = aligned_empty(max(1, p.staging_bytes * n_threads))
        self.totals = np.zeros(self.n_shards)
        self.reach = []
        p.rough_step = (rows.c.depth + 15) // 16 * 16
        narrowed = np.zeros(max(1, p.rough_step * n_threads), dtype=np.float32)
        p.narrowed = <float*>address(narrowed)
        self._keep = (closest, owner, gained, staging, weights, narrowed)
        p.closest = <double*>address(closest)
        p.owner = <int32_t*>address(owner)
        p.gained = <uint16_t*>address(gained)
        p.staging = <char*>address(staging)

    cdef object _lay_out(self):
        """Workspace and table for CSR rows."""
        cdef seeding_pass* p = &self.p
        cdef int lanes = p.tile.vector_bytes // 8
        p.entries = max(1, self.rows.longest, min(ENTRIES, tw_row_start(p.rows, p.rows.n_rows)))
        # Additions of a product and of both norms, and of a canonical distance, eight times over.
        p.product_error = (self.rows.longest + 64.0) * 2.0**-50
        p.panel_vectors = 1 if lanes >= 8 else 4
        p.width = p.panel_vectors * lanes
        p.columns = (4 * (BLOCK + 1) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        p.values = p.columns + (4 * p.entries + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        p.norms = p.values + (8 * p.entries + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        p.products = p.norms + 8 * BLOCK
        p.staging_bytes = p.products + 8 * BLOCK * ((MOST_TRIALS + p.width - 1) // p.width * p.width)

    cdef object _list_trials(self, seeding_pass* p, const double[:, ::1] trials, bint table):
        """The numbers of the candidates that are not zero; on request also side by side."""
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
            return None
        p.n_panels = <int>((n + p.width - 1) // p.width)
        if self._table is None:
            most = (MOST_TRIALS + p.width - 1) // p.width * p.width
            self._table = aligned_empty(8 * most * max(1, p.rows.depth)).view(np.float64)
        p.panels = <const double*>address(self._table)
        places = (rows // p.width * p.rows.depth + columns) * p.width + rows % p.width
        self._table[places] = values
        return places

    @property
    def closest(self):
        """Squared canonical distance of each row to its closest seed."""
        return self._keep[0]

    cdef object _roughen(self, seeding_pass* p, trials):
        """The candidates in float: as they are for float rows, else less the first seed."""
        rough = np.zeros((p.n_trials, p.rough_step), dtype=np.float32)
        values = trials[:, : p.rows.depth]
        if p.rows.is_double:
            p.trials_reach = max(_distance(self.first, row, p.exact) for row in trials)
            values = values - self.first[: p.rows.depth]
        with np.errstate(over="ignore"):
            rough[:, : p.rows.depth] = values
        return rough

    def gains(self, const double[:, ::1] trials, const double[:, ::1] gaps=None,
              const double[::1] nearest=None):
        """How much each candidate would lower the potential; candidates (t, ldc) are padded.

        gaps is (seeds, t): squared distances of the candidates to the seeds so far, and
        nearest the least of each row of it; neither is needed if `by_entries`.
        """
        cdef seeding_pass p = self.p
        cdef int64_t s
        cdef int threads
        if trials.shape[0] > MOST_TRIALS or (
                not self.by_entries and (gaps is None or gaps.shape[1] != trials.shape[0])):
            raise ValueError(f"at most {MOST_TRIALS} candidates per pass, each with its gaps")
        p.trials = &trials[0, 0]
        p.ldc = trials.shape[1]
        p.n_trials = <int>trials.shape[0]
        places = None
        if self.by_entries:
            places = self._list_trials(&p, trials, True)
        else:
            p.gaps = &gaps[0, 0]
            p.nearest = &nearest[0]
            rough = self._roughen(&p, np.asarray(trials))
            p.rough = <const float*>address(rough)
            if p.rows.is_double:
                reach = np.array(self.reach)
                p.origin = <const double*>address(self.first)
                p.reach = <const double*>address(reach)
        out = np.zeros((self.n_shards, p.n_trials))
        p.out = <double*>address(out)
        threads = enter_loop(self.threads)
        for s in prange(self.n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            if p.by_entries:
                _gain_shard_sparse(&p, s, threadid())
            else:
                _gain_shard(&p, s, threadid())
        leave_loop()
        if places is not None:
            self._table[places] = 0.0
        total = np.zeros(p.n_trials)
        for s in range(self.n_shards):
            total += out[s]
        return total

    def take(self, const double[:, ::1] trials, int trial, int32_t seed):
        """Make one candidate of the last pass a seed; returns the new potential."""
        cdef seeding_pass p = self.p
        cdef int64_t s
        cdef int threads = usable_threads(self.threads)
        cdef double total = 0.0
        p.trials = &trials[0, 0]
        p.ldc = trials.shape[1]
        p.out = &self.totals[0]
        if self.by_entries:
            self._list_trials(&p, trials, False)
        else:
            taken = np.array(trials[trial])
            if seed == 0:
                self.first = taken
                self.reach = []
            self.reach.append(_distance(self.first, taken, p.exact))
        for s in prange(self.n_shards, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            if p.by_entries:
                _take_shard_sparse(&p, s, threadid(), trial, seed)
            else:
                _take_shard(&p, s, threadid(), trial, seed)
        for s in range(self.n_shards):
            total += self.totals[s]
        return total

    def locate(self, double target):
        """First row at which the running sum of weight x distance reaches the target."""
        cdef seeding_pass* p = &self.p
        cdef double reached = 0.0
        cdef int64_t s = 0, i, n = p.rows.n_rows
        while s < self.n_shards - 1 and reached + self.totals[s] < target:
            reached += self.totals[s]
            s += 1
        for i in range(s * p.shard_rows, n):
            reached += p.closest[i] * p.weights[i] if p.weights != NULL else p.closest[i]
            if reached >= target:
                return i
        return n - 1


def weighted_choice(double draw, int64_t n, const double[::1] weights=None):
    """The row that ``RandomState.choice(n, p=weights / weights.sum())`` picks for one draw.

    The same sums in the same order as NumPy's, without its two arrays of n doubles.
    """
    cdef double total = 0.0, running = 0.0, share = 1.0 / n if n else 0.0
    cdef int64_t i, picked = n - 1
    with nogil:
        for i in range(n):
            total += share if weights is None else weights[i]
        for i in range(n):
            running += share if weights is None else weights[i]
            if running / total > draw:
                picked = i
                break
    return picked


def seed_gaps(const double[:, ::1] seeds, Py_ssize_t count, const double[:, ::1] trials, int depth, *,
              str isa, int n_threads):
    """Squared distances (count, t) between padded seeds and candidates, and the least per seed."""
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef Py_ssize_t j, t, n_trials = trials.shape[0]
    cdef int threads = usable_threads(n_threads) if count * n_trials * depth > 100000 else 1
    gaps = np.empty((count, n_trials))
    nearest = np.empty(count)
    cdef double[:, ::1] out = gaps
    cdef double[::1] least = nearest
    for j in prange(count, nogil=True, schedule="static", num_threads=threads):
        exact.distances_f8(&seeds[j, 0], &trials[0, 0], trials.shape[1], <int>n_trials, depth, &out[j, 0])
        least[j] = out[j, 0]
        for t in range(1, n_trials):
            if out[j, t] < least[j]:
                least[j] = out[j, t]
    return gaps, nearest

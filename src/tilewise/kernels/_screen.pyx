"""The passes of k-means++ over dense rows: a screen in low precision, then canonical distances.

The screen lists the pairs of a row and a candidate that may be closer than the row and its seed. It
never hides one that is (docs/exact-labels.md#seeding), so gains and draws are those of a pass that
measures all, bit for bit. There are two ways:

    copy     every row was rounded to bytes once, and a step compares these
    lanes    sixteen rows at a time are turned into the lanes, in float

A row that is at least as close to its seed as half the way from there to every candidate is not even
screened (triangle inequality, as in Raff, "Exact Acceleration of K-Means++ and K-Means||", IJCAI 2021).
What was measured of pairs that gain is kept: the candidate that becomes a seed needs no other pass.
"""

import numpy as np

from tilewise.kernels._workspace import aligned_empty

from libc.math cimport INFINITY, fabs, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from tilewise.kernels._dispatch cimport (
    TW_LANES_DEPTH,
    TW_PLACE_BITS,
    TW_SCREEN_DEPTH,
    TW_SCREEN_GROUP,
    TW_SCREEN_GROUPS,
    TW_SCREEN_PLACES,
    TW_SCREEN_ROWS,
    run_blocks,
    screen_kernels,
    tw_bins,
    tw_candidates,
    tw_bits,
    tw_copied,
    tw_exact_kernels,
    tw_open,
    tw_radius,
)
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows, tw_prefetch
from tilewise.kernels._seeding_pass cimport FOLDED, MOST_TRIALS, fold_gains, seeding_pass
from tilewise.kernels._sums cimport TW_BINS, tw_bins_clear, tw_bins_fold, tw_bins_raise

cdef enum:
    # Bytes of a gap that is kept.
    GAP_BYTES = 12
    # Gaps that are taken together, and gaps between the prefetch of a row's distance and its use.
    TAKEN = 256
    AHEAD = 24
    # Numbers of the rows that the grid of a copy is chosen from.
    SAMPLED = 1 << 15


cdef void _prefetch_open(const seeding_pass* p, const tw_open* b, int groups,
                         const uint16_t* masks) noexcept nogil:
    """Begins to fetch the rows of all open pairs."""
    cdef uint16_t all[TW_SCREEN_GROUPS]
    cdef uint16_t places[TW_SCREEN_PLACES]
    cdef int g, t, i, l, n, bytes = min(2048, p.rows.depth * (8 if p.rows.is_double else 4))
    cdef const char* row
    for g in range(groups):
        all[g] = 0
        for t in range(p.n_trials):
            all[g] |= masks[t * TW_SCREEN_GROUPS + g]
    n = p.screen.list_bits(groups, all, places)
    for i in range(n):
        row = b.data + places[i] * b.row_stride
        tw_prefetch(b.closest + places[i])
        for l in range(0, bytes, 64):
            tw_prefetch(row + l)


cdef void _compare(const seeding_pass* p, int64_t first, int count, const uint16_t* near,
                   uint16_t* masks) noexcept nogil:
    """Screens a block of rows by their copies."""
    cdef tw_copied copied
    copied.steps = p.steps
    copied.rows = p.copied + first * 4 * p.steps
    copied.radius = p.radius + first
    copied.errors = p.errors + first
    copied.halves = p.half_norms + first
    p.screen.compare((count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP, &copied, near, p.candidates, masks)


cdef void _fetch_open(const seeding_pass* p, int64_t first, int count, const uint16_t* masks, const void** pointers,
                      int thread) noexcept nogil:
    """Stages the rows that have open pairs; each pointer stands at the place of its row."""
    cdef int64_t ids[TW_SCREEN_ROWS]
    cdef uint16_t open_rows[TW_SCREEN_GROUPS]
    cdef uint16_t places[TW_SCREEN_PLACES]
    cdef int g, t, i, n, groups = (count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
    for g in range(groups):
        open_rows[g] = 0
        for t in range(p.n_trials):
            open_rows[g] |= masks[t * TW_SCREEN_GROUPS + g]
    n = p.screen.list_bits(groups, open_rows, places)
    for i in range(n):
        ids[i] = first + places[i]
    tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
    for i in range(n - 1, -1, -1):
        pointers[places[i]] = pointers[i]


cdef inline void _prefetch_distances(const seeding_pass* p, int64_t first, int count) noexcept nogil:
    cdef int i
    for i in range(0, count, 8):
        tw_prefetch(p.closest + first + i)


cdef int _turn(const seeding_pass* p, int64_t first, const uint16_t* near, uint16_t* places, const void** pointers,
               uint16_t* masks, int thread) noexcept nogil:
    """Screens those rows of a block that are near, sixteen at a time; returns how many they are."""
    cdef float limits[TW_SCREEN_ROWS]
    cdef int64_t ids[TW_SCREEN_ROWS]
    cdef int i, n = p.screen.list_bits(TW_SCREEN_GROUPS, near, places)
    for i in range(n):
        ids[i] = first + places[i]
    tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
    p.screen.limits(n, places, p.owner + first, p.radius + first, p.reaches, p.beyond, p.grow, limits)
    if p.rows.is_double:
        p.screen.lanes_f8(n, <const double* const*>pointers, limits, &p.rough, masks)
    else:
        p.screen.lanes_f4(n, <const float* const*>pointers, limits, &p.rough, masks)
    return n


cdef void _turn_here(const seeding_pass* p, int64_t first, int count, const uint16_t* near,
                     uint16_t* masks) noexcept nogil:
    """The same of all rows of a block, where they stand one after another."""
    cdef float limits[TW_SCREEN_ROWS]
    cdef const char* x = p.rows.data + first * p.rows.row_stride
    p.screen.limits(count, NULL, p.owner + first, p.radius + first, p.reaches, p.beyond, p.grow, limits)
    if p.rows.is_double:
        p.screen.lanes_here_f8(count, <const double*>x, p.rows.row_stride // 8, near, limits, &p.rough, masks)
    else:
        p.screen.lanes_here_f4(count, <const float*>x, p.rows.row_stride // 4, near, limits, &p.rough, masks)


cdef bint _most_near(int count, const uint16_t* near) noexcept nogil:
    """Whether skipping the other rows of a block would save less than looking for them costs."""
    cdef int g, n = 0
    for g in range((count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP):
        n += tw_bits(near[g])
    return 2 * n > count


cdef void gain_shard(void* work, int64_t first, int rows, int thread) noexcept nogil:
    cdef const seeding_pass* p = <const seeding_pass*>work
    cdef const void* pointers[TW_SCREEN_ROWS]
    cdef uint16_t near[TW_SCREEN_GROUPS]
    cdef uint16_t masks[MOST_TRIALS * TW_SCREEN_GROUPS]
    cdef uint16_t near_places[TW_SCREEN_PLACES]
    cdef uint16_t places[TW_SCREEN_PLACES]
    cdef tw_open b
    cdef int64_t shard = first // p.shard_rows, stop = first + rows
    cdef int t, n, count, groups, since = 0, many = 0
    b.depth, b.trials, b.ldc = p.rows.depth, p.trials, p.ldc
    b.row_stride = p.rows.row_stride
    b.bigs = <const double*>&p.bigs[0]
    b.gain = p.gains + thread * MOST_TRIALS * 16
    b.gaps, b.kept = p.gaps + shard * p.room, p.places + shard * p.room
    b.n_kept, b.room, b.lost = p.n_kept + shard, p.room, p.lost + shard
    if p.room == 0:
        b.lost[0] = 1
    while first < stop:
        count = <int>min(<int64_t>p.block, stop - first)
        groups = (count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
        memset(p.gained + first, 0, groups * TW_SCREEN_GROUP * sizeof(uint16_t))
        memset(near, 0, sizeof(near))
        p.screen.near_rows(count, p.owner + first, p.radius + first, p.halves, near)
        b.places, b.pointers = NULL, NULL
        b.data = p.rows.data + first * p.rows.row_stride
        b.closest, b.gained, b.offset = p.closest + first, p.gained + first, <uint32_t>(first - shard * p.shard_rows)
        b.weights = p.weights + first if p.weights != NULL else NULL
        if p.copied != NULL:
            _compare(p, first, count, near, masks)
            if p.rows.direct:
                _prefetch_open(p, &b, groups, masks)
            else:
                _fetch_open(p, first, count, masks, pointers, thread)
                b.pointers = pointers
        elif p.rows.direct and p.rows.depth <= TW_LANES_DEPTH and _most_near(count, near):
            if many * 16 > count:
                _prefetch_distances(p, first, count)
            _turn_here(p, first, count, near, masks)
        else:
            n = _turn(p, first, near, near_places, pointers, masks, thread)
            groups = (n + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
            b.places, b.pointers = near_places, pointers
        many = 0
        for t in range(p.n_trials):
            n = p.screen.list_bits(groups, masks + t * TW_SCREEN_GROUPS, places)
            many += n
            if n == 0:
                continue
            if p.rows.is_double:
                p.exact.measure_open_f8(&b, t, n, places)
            else:
                p.exact.measure_open_f4(&b, t, n, places)
        first += count
        # No lane takes more than one digit of eight rows.
        since += TW_SCREEN_ROWS // 8
        if since > FOLDED - TW_SCREEN_ROWS:
            fold_gains(p, thread)
            since = 0
    fold_gains(p, thread)


# ---------------------------------------------------------------- a candidate becomes a seed


cdef inline void _own(const seeding_pass* p, int64_t i, double gap) noexcept nogil:
    p.owner[i] = p.seed
    p.closest[i] = gap
    p.radius[i] = tw_radius(gap)


cdef void _take_measured(const seeding_pass* p, int64_t first, int count, int thread) noexcept nogil:
    """Reads the rows of a block that gained."""
    cdef const void* pointers[TW_SCREEN_ROWS]
    cdef int64_t ids[TW_SCREEN_ROWS]
    cdef double gaps[TW_SCREEN_ROWS]
    cdef const double* c = p.trials + p.trial * p.ldc
    cdef uint16_t masks[TW_SCREEN_GROUPS]
    cdef uint16_t places[TW_SCREEN_PLACES]
    cdef int g, r, n, groups = (count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
    for g in range(groups):
        masks[g] = p.gained[first + g * TW_SCREEN_GROUP + p.trial]
    if count % TW_SCREEN_GROUP:
        masks[groups - 1] &= <uint16_t>((1 << count % TW_SCREEN_GROUP) - 1)
    n = p.screen.list_bits(groups, masks, places)
    if n == 0:
        return
    for r in range(n):
        ids[r] = first + places[r]
    p.stale[first // p.shard_rows] = 1
    tw_fetch_rows(p.rows, ids, 0, n, pointers, p.staging + thread * p.staging_bytes, p.step)
    if p.rows.is_double:
        p.exact.distances_same_f8(<const double* const*>pointers, n, c, p.rows.depth, gaps)
    else:
        p.exact.distances_same_f4(<const float* const*>pointers, n, c, p.rows.depth, gaps)
    for r in range(n):
        _own(p, ids[r], gaps[r])


cdef bint _exchange(const seeding_pass* p, tw_bins* total, int n, const double* old, const double* new,
                    const double* weights) noexcept nogil:
    """Takes n numbers out of a total and others in; False if it has to be added up anew."""
    cdef tw_bins less, more
    cdef int i
    tw_bins_clear(&less)
    tw_bins_raise(&less, total.top)
    more = less
    p.exact.bin_values(&less, n, old, weights)
    p.exact.bin_values(&more, n, new, weights)
    if less.top != total.top or more.top != total.top or less.special != 0.0 or more.special != 0.0:
        return False
    for i in range(TW_BINS):
        total.low[i] += more.low[i] - less.low[i]
        total.high[i] += more.high[i] - less.high[i]
    tw_bins_fold(total)
    return True


cdef void _take_kept(const seeding_pass* p, int64_t shard, int64_t first, int64_t stop) noexcept nogil:
    """Takes over the gaps that were kept. Sums are exact: what was added can be taken out again."""
    cdef double old[TAKEN]
    cdef double new[TAKEN]
    cdef double weights[TAKEN]
    cdef const double* gaps = p.gaps + shard * p.room
    cdef const uint32_t* places = p.places + shard * p.room
    cdef int64_t k, i
    cdef int n = 0
    cdef bint total = p.top != 0 and not p.stale[shard]
    for k in range(p.n_kept[shard]):
        if k + AHEAD < p.n_kept[shard] and <int>(places[k + AHEAD] >> TW_PLACE_BITS) == p.trial:
            i = shard * p.shard_rows + (places[k + AHEAD] & ((1 << TW_PLACE_BITS) - 1))
            tw_prefetch(p.closest + i)
            tw_prefetch(p.radius + i)
            tw_prefetch(p.owner + i)
        if <int>(places[k] >> TW_PLACE_BITS) != p.trial:
            continue
        i = shard * p.shard_rows + (places[k] & ((1 << TW_PLACE_BITS) - 1))
        if not first <= i < stop:
            continue
        weights[n] = p.weights[i] if p.weights != NULL else 1.0
        old[n], new[n] = p.closest[i], gaps[k]
        # The largest of the shard may not be the largest any more.
        if not fabs(weights[n] * old[n]) < p.farthest[shard]:
            total = False
        _own(p, i, gaps[k])
        n += 1
        if n == TAKEN:
            total = total and _exchange(p, p.totals + shard, n, old, new, weights)
            n = 0
        if not total:
            p.stale[shard] = 1
    if n and total and not _exchange(p, p.totals + shard, n, old, new, weights):
        p.stale[shard] = 1


cdef void take_shard(void* work, int64_t first, int rows, int thread) noexcept nogil:
    cdef const seeding_pass* p = <const seeding_pass*>work
    cdef int64_t shard = first // p.shard_rows, stop = first + rows
    cdef int count
    _take_kept(p, shard, first, stop)
    while p.lost[shard] and first < stop:
        count = <int>min(<int64_t>p.block, stop - first)
        _take_measured(p, first, count, thread)
        first += count


# ---------------------------------------------------------------- what the screen has of the rows


cdef struct copy_job:
    const seeding_pass* p
    const double* mean
    double unit


cdef void _copy_block(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const copy_job* job = <const copy_job*>work
    cdef const seeding_pass* p = job.p
    cdef const void* pointers[TW_SCREEN_ROWS]
    cdef int g, r, n
    tw_fetch_rows(p.rows, NULL, first, count, pointers, p.staging + thread * p.staging_bytes, p.step)
    for g in range((count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP):
        r = g * TW_SCREEN_GROUP
        n = min(TW_SCREEN_GROUP, count - r)
        if p.rows.is_double:
            p.screen.copy_f8(n, <const double* const*>pointers + r, job.mean, job.unit, p.rows.depth,
                             p.copied + (first + r) * 4 * p.steps, p.errors + first + r, p.half_norms + first + r)
        else:
            p.screen.copy_f4(n, <const float* const*>pointers + r, job.mean, job.unit, p.rows.depth,
                             p.copied + (first + r) * 4 * p.steps, p.errors + first + r, p.half_norms + first + r)


cdef double _distance(const double[::1] a, const double[::1] b, const tw_exact_kernels* exact):
    """Upper bound of the distance of two padded rows."""
    return sqrt(exact.distance_f8(&a[0], &b[0], <int>a.shape[0])) * (1 + 2.0**-20) + 1e-150


cdef class Screen:
    """What the screen keeps of the rows, and shows of the candidates."""

    cdef int attach(self, Rows rows, seeding_pass* p, int64_t n_shards, int kept, str isa, bint vnni) except -1:
        cdef int64_t n = rows.c.n_rows
        self.rows, self.p, self._reaches = rows, p, []
        p.screen = self.kernels = screen_kernels(isa, vnni)
        radius = np.full((n + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP * TW_SCREEN_GROUP, np.inf, dtype=np.float32)
        p.radius = <float*>address(radius)
        if p.shard_rows < 1 << TW_PLACE_BITS:
            p.room = min(p.shard_rows, n) * kept // GAP_BYTES
        gaps = np.empty(max(1, n_shards * p.room))
        places = np.empty(max(1, n_shards * p.room), dtype=np.uint32)
        n_kept = np.zeros(n_shards, dtype=np.int64)
        # Before the first seed all rows gain.
        lost = np.ones(n_shards, dtype=np.uint8)
        p.gaps, p.places = <double*>address(gaps), <uint32_t*>address(places)
        p.n_kept, p.lost = <int64_t*>address(n_kept), <uint8_t*>address(lost)
        self._keep = (n_kept, lost, radius, gaps, places)
        return 0

    cdef object halves(self, nearest):
        """At most half the distance of each seed to its nearest candidate."""
        cdef const double[::1] squares = nearest
        cdef Py_ssize_t i
        out = np.empty(squares.shape[0], dtype=np.float32)
        cdef float[::1] to = out
        for i in range(squares.shape[0]):
            to[i] = <float>(sqrt(squares[i]) * (0.5 * (1 - 2.0**-20)))
        return out

    cdef int copy_rows(self, int n_threads) except -1:
        """Copies all rows; leaves it where their values leave no room for whole numbers."""
        cdef seeding_pass* p = self.p
        cdef copy_job job
        cdef int64_t n = self.rows.c.n_rows
        cdef int depth = self.rows.c.depth
        if depth > TW_SCREEN_DEPTH or depth == 0 or self.rows.is_window or p.block % TW_SCREEN_GROUP or (
                p.shard_rows % TW_SCREEN_GROUP):
            return 0
        some = min(n, max(64, SAMPLED // depth))
        with np.errstate(all="ignore"):
            sample = self.rows.take(np.arange(some) * n // some).astype(np.float64)
            mean = sample.mean(axis=0)
            if not self.rows.c.is_double:
                # As the copies take it off.
                mean = mean.astype(np.float32).astype(np.float64)
            # The rows that have larger values lose those: their error says how much.
            spread = np.quantile(np.abs(sample - mean).max(axis=1), 0.99)
        self.unit = spread / 127
        if not 1e-30 < self.unit < 1e30:
            return 0
        groups = (n + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
        p.steps = (depth + 3) // 4
        copied = aligned_empty(groups * 64 * p.steps)
        errors = np.zeros(groups * TW_SCREEN_GROUP, dtype=np.float32)
        norms = np.zeros(groups * TW_SCREEN_GROUP, dtype=np.float32)
        p.copied = <uint8_t*>address(copied)
        p.errors = <float*>address(errors)
        p.half_norms = <float*>address(norms)
        job.p, job.mean, job.unit = p, <const double*>address(mean), self.unit
        run_blocks(_copy_block, &job, 0, n, p.shard_rows, p.block, n_threads)
        self._copy = (copied, errors, norms, mean)
        return 0

    cdef int show(self, seeding_pass* p, trials, nearest) except -1:
        """The candidates of a pass (t, ldc), padded, and how near each seed has one, as the screen has them."""
        cdef tw_candidates* own
        cdef const double[:, ::1] points = trials
        cdef const double[::1] origin = None
        cdef int depth = self.rows.c.depth, t, l, step
        cdef double far = 0.0, error
        halves = self.halves(nearest)
        p.halves = <const float*>address(halves)
        self._shown = [halves]
        if p.copied != NULL:
            values = np.empty(64 * p.steps, dtype=np.int8)
            bases = np.zeros(MOST_TRIALS, dtype=np.int32)
            errors = np.zeros(MOST_TRIALS, dtype=np.float32)
            self.kernels.copy_trials(
                p.n_trials, &points[0, 0], <ptrdiff_t>points.shape[1], <const double*>address(self._copy[3]),
                self.unit, depth, <int8_t*>address(values), <int32_t*>address(bases), <float*>address(errors))
            self._own = aligned_empty(sizeof(tw_candidates))
            own = <tw_candidates*>address(self._own)
            own.values = <const int8_t*>address(values)
            own.bases = <const int32_t*>address(bases)
            own.errors = <const float*>address(errors)
            own.inverse = <float>(sqrt(0.5) / self.unit * (1 + 2.0**-20))
            own.count = p.n_trials
            p.candidates = own
            self._shown += [values, bases, errors]
            return 0
        step = (depth + 15) // 16 * 16
        rough = np.zeros((p.n_trials, step), dtype=np.float32)
        cdef float[:, ::1] to = rough
        p.reaches = NULL
        if p.rows.is_double:
            origin = self._first
            for t in range(p.n_trials):
                far = max(far, _distance(origin, points[t], p.exact))
            reaches = np.array(self._reaches, dtype=np.float32)
            p.reaches = <const float*>address(reaches)
            p.rough.origin = &origin[0]
            self._shown.append(reaches)
        for t in range(p.n_trials):
            for l in range(depth):
                to[t, l] = <float>(points[t, l] - origin[l] if p.rows.is_double else points[t, l])
        p.beyond = <float>min(1.03 * 2.0**-24 * far + 1e-37, 3e38)
        # Additions one after another, three roundings of a square, and a little more.
        error = (depth + 16) * 2.0**-23
        p.grow = <float>((1 + 2.0**-17) / (1 - error)) if error < 0.5 else <float>INFINITY
        p.rough.values, p.rough.step = <const float*>address(rough), step
        p.rough.count, p.rough.depth = p.n_trials, depth
        self._shown.append(rough)
        return 0

    cdef int follow(self, taken, bint is_first) except -1:
        """Another seed, a padded row."""
        if not self.rows.c.is_double or self._copy is not None:
            return 0
        if is_first:
            self._first, self._reaches = taken, []
        self._reaches.append(_distance(self._first, taken, self.p.exact) * (1 + 2.0**-20))
        return 0

    cdef int forget(self) except -1:
        """No gap is kept."""
        self._keep[0][...] = 0
        self._keep[1][...] = 0
        return 0

    cdef bint gained(self, int trial, int64_t begin, int64_t end):
        """Whether this candidate is closer to one of the rows from begin to end."""
        cdef seeding_pass* p = self.p
        cdef int64_t shard, k, row
        cdef uint32_t place
        for row in range(begin, end, 16):
            if p.gained[row + trial]:
                return True
        for shard in range(begin // p.shard_rows, (end - 1) // p.shard_rows + 1):
            for k in range(p.n_kept[shard]):
                place = p.places[shard * p.room + k]
                row = shard * p.shard_rows + (place & ((1 << TW_PLACE_BITS) - 1))
                if <int>(place >> TW_PLACE_BITS) == trial and begin <= row < end:
                    return True
        return False

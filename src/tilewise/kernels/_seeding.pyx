"""The state of greedy k-means++: what each candidate would gain, taking the best, sums and draws.

A row keeps its squared distance to the closest seed and which seed that is. The passes over the rows
are those of `_screen`, or of `_seeding_csr` where rows have few stored entries.
"""

import numpy as np

from tilewise.kernels._workspace import aligned_empty

from cython.parallel cimport prange
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy, memset

from tilewise.kernels._dispatch cimport (
    TW_SCREEN_GROUP,
    TW_SCREEN_GROUPS,
    TW_SCREEN_ROWS,
    exact_kernels,
    run_blocks,
    tile_kernels,
    tw_bins,
    tw_exact_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport Rows, address, all_rows, check_window
from tilewise.kernels._screen cimport Screen, gain_shard, take_shard
from tilewise.kernels._sums cimport (
    TW_FOLD,
    tw_big,
    tw_bin_exponent,
    tw_bins_clear,
    tw_bins_less,
    tw_bins_merge,
    tw_bins_raise,
    tw_bins_value,
)
from tilewise.kernels._seeding_csr cimport Candidates, gain_shard_sparse, lay_out, take_shard_sparse
from tilewise.kernels._seeding_pass cimport (
    BLOCK,
    MOST_TRIALS,
    gain_bin,
    gain_worth,
    potential_bin,
    seeding_pass,
)

cdef enum:
    # Numbers of rows that are staged at a time.
    STAGED = 1 << 19

most_trials = MOST_TRIALS


cdef void _total_rows(void* work, int64_t first, int count, int _thread) noexcept nogil:
    """Total and largest weight x distance of a stale shard; while no unit is known, the largest alone."""
    cdef const seeding_pass* p = <const seeding_pass*>work
    cdef int64_t shard = first // p.shard_rows
    cdef tw_bins* total = p.totals + shard
    if not p.stale[shard]:
        return
    if p.top == 0 or first % p.shard_rows == 0:
        tw_bins_clear(total)
    if first % p.shard_rows == 0:
        p.farthest[shard] = 0.0
        if p.top:
            tw_bins_raise(total, p.top)
    p.farthest[shard] = max(p.farthest[shard], p.exact.bin_values(
        total, count, p.closest + first, p.weights + first if p.weights != NULL else NULL))


def worth(const int64_t[:, ::1] gains, double most):
    """What `Seeding.gains` of all rows stand for, (t,) float64; most is their largest weight x distance."""
    cdef Py_ssize_t t
    out = np.empty(gains.shape[0])
    cdef double[::1] to = out
    for t in range(gains.shape[0]):
        to[t] = gain_worth(&gains[t, 0], most)
    return out


cdef class Seeding:
    """Closest seed of every row while seeds are added.

    Parameters
    ----------
    rows : Rows
    weights : float64 (n,) or None
    isa : str
    shard_rows, n_threads : int
    by_entries : bool, default=False
        Whether CSR rows are measured by their stored entries alone; they need no distances to seeds.
    copy : bool, default=False
        Whether rows are rounded to bytes once, so that each step compares these first.
    kept : int, default=0
        Bytes per row for gaps that one step finds, so that `take` does not read the rows again.
    vnni : bool, default=True
        False leaves the 8-bit products of some processors with AVX-512 unused.
    """

    cdef seeding_pass p
    cdef Rows rows
    cdef int threads
    cdef int64_t n_shards
    cdef object _keep
    cdef readonly bint by_entries
    cdef Candidates _candidates
    cdef tw_bins whole             # of all shards
    cdef Screen screen

    def __init__(self, Rows rows, const double[::1] weights, *, str isa, int64_t shard_rows, int n_threads,
                 bint by_entries=False, bint copy=False, int kept=0, bint vnni=True):
        all_rows(rows)
        cdef seeding_pass* p = &self.p
        p.end = rows.c.n_rows
        cdef int64_t n = rows.c.n_rows
        if n == 0 or (weights is not None and weights.shape[0] != n):
            raise ValueError("seeding needs at least one row, and one weight per row")
        if by_entries > rows.is_sparse:
            raise ValueError("dense rows have no stored entries")
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
        # Before the first seed every row gains.
        groups = (n + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP
        gained = np.full(groups * TW_SCREEN_GROUP, 1 if by_entries else 0xFFFF, dtype=np.uint16)
        p.block = TW_SCREEN_ROWS if rows.c.direct else max(1, min(TW_SCREEN_ROWS, STAGED // max(1, p.step)))
        if p.block >= TW_SCREEN_GROUP:
            p.block -= p.block % TW_SCREEN_GROUP
        p.staging_bytes = 0 if rows.c.direct else p.block * p.step * 8
        self.by_entries = p.by_entries = by_entries
        if self.by_entries:
            lay_out(p, rows)
            self._candidates = Candidates(rows)
        staging = aligned_empty(max(1, p.staging_bytes * n_threads))
        totals = aligned_empty(self.n_shards * sizeof(tw_bins))
        farthest = np.zeros(self.n_shards)
        stale = np.ones(self.n_shards, dtype=np.uint8)
        gains = np.zeros(n_threads * MOST_TRIALS * 18, dtype=np.int64)
        p.totals = <tw_bins*>address(totals)
        p.farthest = <double*>address(farthest)
        p.stale = <uint8_t*>address(stale)
        p.gains = <int64_t*>address(gains)
        p.highs = p.gains + n_threads * MOST_TRIALS * 16
        self._keep = (closest, owner, gained, staging, weights, totals, farthest, stale, gains)
        p.closest = <double*>address(closest)
        p.owner = <int32_t*>address(owner)
        p.gained = <uint16_t*>address(gained)
        p.staging = <char*>address(staging)
        if not self.by_entries:
            self.screen = Screen()
            self.screen.attach(rows, p, self.n_shards, kept, isa, vnni)
            if copy:
                self.screen.copy_rows(n_threads)

    @property
    def copied(self):
        """Whether there is a copy of the rows in bytes."""
        return self.p.copied != NULL

    @property
    def closest(self):
        """Squared canonical distance of each row to its closest seed."""
        return self._keep[0]

    def near(self, const double[::1] nearest, int64_t begin, int64_t end):
        """Whether some candidate may be closer to one of these rows than its seed is.

        If not, the rows count as seen by `gains`.
        """
        cdef uint16_t masks[TW_SCREEN_GROUPS]
        cdef int64_t at = begin
        cdef int count, g, found = 0
        halves = self.screen.halves(nearest)
        cdef const float[::1] half = halves
        with nogil:
            while at < end and not found:
                count = <int>min(<int64_t>TW_SCREEN_ROWS, end - at)
                self.p.screen.near_rows(count, self.p.owner + at, self.p.radius + at, &half[0], masks)
                for g in range((count + TW_SCREEN_GROUP - 1) // TW_SCREEN_GROUP):
                    found |= masks[g]
                at += count
            if not found:
                memset(self.p.gained + begin, 0, (end - begin + 15) // 16 * 16 * sizeof(uint16_t))
        return found > 0

    def gained(self, int trial, int64_t begin, int64_t end):
        """Whether candidate `trial` of the last pass is closer to one of these rows."""
        if not self.by_entries:
            return self.screen.gained(trial, begin, end)
        return bool(np.any(self._keep[2][begin:end] >> trial & 1))

    cdef int _show(self, seeding_pass* p, trials, bint table) except -1:
        """Candidates of a pass, as rows or, if `by_entries`, by their numbers."""
        cdef const double[:, ::1] points
        p.n_trials = <int>len(trials)
        if self.by_entries:
            self._candidates.hold(p, np.asarray(trials, dtype=np.int64), table)
            return 0
        points = trials
        p.trials = &points[0, 0]
        p.ldc = points.shape[1]
        return 0

    def gains(self, trials, const double[::1] nearest=None, int64_t begin=0, int64_t end=-1, *, double most=-1.0):
        """How much each candidate would lower the potential, over the rows begin to end.

        Candidates (t, ldc) are padded rows; if `by_entries`, they are given by their numbers (t).
        nearest (seeds) is the least squared distance of a candidate to each seed so far; it is
        not needed if `by_entries`. most is the largest weight x distance of all rows, if these are a part.

        Returns
        -------
        ndarray of shape (t, 4), int64
            Exact: those of several runs of rows add up, and `worth` tells what they stand for.
        """
        cdef seeding_pass p = self.p
        cdef int64_t s
        cdef int t, limb, lane
        if len(trials) > MOST_TRIALS or (not self.by_entries and nearest is None):
            raise ValueError(f"at most {MOST_TRIALS} candidates per pass, with their distances to the seeds")
        self._limit(&p, begin, end)
        self._show(&p, trials, True)
        if not self.by_entries:
            self.screen.show(&p, trials, nearest)
            if p.begin == 0:
                self.screen.forget()
        for t in range(2):
            p.bigs[t] = tw_big(tw_bin_exponent(<int>self._bin(most) - t))
        self._keep[8][...] = 0
        if self.rows.is_window:
            check_window(self.rows, p.begin, p.end)
        run_blocks(gain_shard_sparse if p.by_entries else gain_shard, &p, p.begin, p.end, p.shard_rows, p.shard_rows,
                   self.threads)
        if self.by_entries:
            self._candidates.clear()
        out = np.zeros((p.n_trials, 4), dtype=np.int64)
        cdef int64_t[:, ::1] to = out
        for s in range(self.threads):
            for t in range(p.n_trials):
                for limb in range(2):
                    for lane in range(8):
                        to[t, limb] += p.gains[((s * MOST_TRIALS + t) * 2 + limb) * 8 + lane]
                    to[t, 2 + limb] += p.highs[(s * MOST_TRIALS + t) * 2 + limb]
        return out

    def worth(self, const int64_t[:, ::1] gains):
        """What `gains` stand for, (t,) float64."""
        return worth(gains, self._most())

    cdef double _most(self) noexcept nogil:
        cdef double most = 0.0
        cdef int64_t s
        for s in range(self.n_shards):
            most = max(most, self.p.farthest[s])
        return most

    cdef int64_t _bin(self, double most) noexcept nogil:
        return gain_bin(self._most() if most < 0.0 else most)

    cdef int _limit(self, seeding_pass* p, int64_t begin, int64_t end) except -1:
        p.begin, p.end = begin, p.rows.n_rows if end < 0 else end
        if not 0 <= p.begin <= p.end <= p.rows.n_rows or p.begin % BLOCK:
            raise ValueError("seeding takes whole blocks of rows")
        return 0

    def take(self, trials, int trial, int32_t seed, int64_t begin=0, int64_t end=-1):
        """Make one candidate of the last pass a seed, for the rows begin to end; see `potential`."""
        cdef seeding_pass p = self.p
        p.trial, p.seed = trial, seed
        self._limit(&p, begin, end)
        self._show(&p, trials, False)
        if not self.by_entries and begin == 0:
            self.screen.follow(np.array(trials[trial]), seed == 0)
        # Rows that did not gain are not touched.
        if self.rows.is_window and self.gained(trial, p.begin, p.end):
            check_window(self.rows, p.begin, p.end)
        if p.by_entries:
            run_blocks(take_shard_sparse, &p, p.begin, p.end, p.shard_rows, p.shard_rows, self.threads)
        else:
            run_blocks(take_shard, &p, p.begin, p.end, p.shard_rows, p.shard_rows, self.threads)

    def total(self, int64_t top=0):
        """Largest weight x distance, and from bin `top` on the sum of all, as bytes for `Bins`.

        After every row has been through `take`. The sum means nothing while no bin is given.
        """
        cdef seeding_pass* p = &self.p
        cdef int64_t s
        cdef double most = 0.0
        p.top = top
        run_blocks(_total_rows, p, 0, p.rows.n_rows, p.shard_rows, TW_FOLD, self.threads)
        tw_bins_clear(&self.whole)
        tw_bins_raise(&self.whole, top)
        for s in range(self.n_shards):
            most = max(most, p.farthest[s])
            tw_bins_merge(&self.whole, p.totals + s)
            if top:
                p.stale[s] = 0
        return most, (<char*>&self.whole)[:sizeof(tw_bins)]

    def potential(self):
        """The sum of weight x distance over all rows, after every one has been through `take`."""
        cdef double low, out
        if self.p.top == 0:
            self.p.top = seeding_top(self.total()[0], self.p.rows.n_rows, self.p.shard_rows)
        self.total(self.p.top)
        tw_bins_value(&self.whole, &out, &low)
        return out

    def locate(self, double target, const unsigned char[::1] before=None):
        """First row at which the running sum of weight x distance reaches the target.

        before : bytes, optional
            The `total` of the rows that come before these.
        """
        cdef seeding_pass* p = &self.p
        cdef tw_bins reached, wanted, more
        cdef int64_t s = 0, i, stop, n = p.rows.n_rows
        cdef int count
        tw_bins_clear(&reached)
        tw_bins_raise(&reached, p.top)
        wanted = reached
        if before is not None:
            reached = _bins_of(before)
        if not target >= 0.0 or self.whole.special != 0.0:
            return 0 if target < 0.0 else n - 1
        p.exact.bin_values(&wanted, 1, &target, NULL)
        with nogil:
            while s < self.n_shards:
                more = reached
                tw_bins_merge(&more, p.totals + s)
                if not tw_bins_less(&more, &wanted):
                    break
                reached = more
                s += 1
            i, stop = s * p.shard_rows, min(n, (s + 1) * p.shard_rows)
            while i < stop:
                more = reached
                count = <int>min(<int64_t>BLOCK, stop - i)
                p.exact.bin_values(&more, count, p.closest + i, p.weights + i if p.weights != NULL else NULL)
                if not tw_bins_less(&more, &wanted):
                    break
                reached = more
                i += count
            while i < stop:
                p.exact.bin_values(&reached, 1, p.closest + i, p.weights + i if p.weights != NULL else NULL)
                if not tw_bins_less(&reached, &wanted):
                    break
                i += 1
        return min(i, n - 1)


cdef tw_bins _bins_of(const unsigned char[::1] state) except *:
    cdef tw_bins one
    if state.shape[0] != sizeof(tw_bins):
        raise ValueError("these bytes are no sum")
    memcpy(&one, &state[0], sizeof(tw_bins))
    return one


def seeding_top(double most, int64_t n_rows, int64_t shard_rows):
    """The first bin of a potential; most is the largest weight x distance."""
    return potential_bin(most, n_rows, shard_rows)


def locate_among(totals, double target, int64_t top, *, str isa):
    """Which of several runs of rows, in order, the running sum reaches the target in.

    Parameters
    ----------
    totals : list of bytes
        The `Seeding.total` of each.

    Returns
    -------
    int, bytes
        Number of the run, and the total of those before it.
    """
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef tw_bins reached, wanted, more, whole
    cdef Py_ssize_t at, last = len(totals) - 1
    tw_bins_clear(&whole)
    tw_bins_raise(&whole, top)
    reached = wanted = whole
    for total in totals:
        more = _bins_of(total)
        tw_bins_merge(&whole, &more)
    if target >= 0.0 and whole.special == 0.0:
        exact.bin_values(&wanted, 1, &target, NULL)
    for at in range(last):
        if target < 0.0:
            break
        more = _bins_of(totals[at])
        if target >= 0.0 and whole.special == 0.0:
            tw_bins_merge(&more, &reached)
            if not tw_bins_less(&more, &wanted):
                break
            reached = more
    else:
        at = last
    return at, (<char*>&reached)[:sizeof(tw_bins)]


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


cdef double _least(const tw_exact_kernels* exact, const double* seed, const double* trials, ptrdiff_t ldc,
                   int n_trials, int depth) noexcept nogil:
    cdef double gaps[MOST_TRIALS]
    cdef double least
    cdef int t
    exact.distances_f8(seed, trials, ldc, n_trials, depth, gaps)
    least = gaps[0]
    for t in range(1, n_trials):
        if gaps[t] < least:
            least = gaps[t]
    return least


def nearest_to_seeds(const double[:, ::1] seeds, Py_ssize_t count, const double[:, ::1] trials, int depth, *,
                     str isa, int n_threads):
    """The least squared distance of a candidate to each of count seeds; both are padded."""
    cdef const tw_exact_kernels* exact = exact_kernels(isa)
    cdef Py_ssize_t j, n_trials = trials.shape[0]
    cdef int threads = usable_threads(n_threads)
    nearest = np.empty(count)
    cdef double[::1] least = nearest
    if n_trials > MOST_TRIALS:
        raise ValueError(f"at most {MOST_TRIALS} candidates per pass")
    for j in prange(count, nogil=True, schedule="static", num_threads=threads):
        least[j] = _least(exact, &seeds[j, 0], &trials[0, 0], trials.shape[1], <int>n_trials, depth)
    return nearest

"""Greedy k-means++ of few rows: all steps in one call, on one thread.

The numbers are those of `_seeding`, bit for bit. Here every candidate meets every row: that takes less
time than finding out which rows it need not meet, and the distances of a step are kept, so that no row is
read again for the candidate that becomes a seed.
"""

from libc.math cimport isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from tilewise.kernels._dispatch cimport TW_LANES_DEPTH, exact_kernels, tw_bins
from tilewise.kernels._rows cimport Rows, all_rows, tw_fetch_rows
from tilewise.kernels._seeding_pass cimport (
    BLOCK,
    FOLDED,
    MOST_TRIALS,
    fold_gains,
    gain_bin,
    gain_worth,
    potential_bin,
    seeding_pass,
)
from tilewise.kernels._sums cimport (
    tw_big,
    tw_bin_exponent,
    tw_bins_clear,
    tw_bins_less,
    tw_bins_merge,
    tw_bins_raise,
    tw_bins_value,
)
from tilewise.kernels._workspace cimport Workspace


cdef class FewSeeding:
    """Closest seed of each of few rows while seeds are added.

    Parameters
    ----------
    rows : Rows of shape (n, d)
        At least one.
    weights : ndarray of shape (n,), float64, optional
        None below zero, none above one.
    n_trials : int
        Candidates of a step.
    isa : str
    shard_rows : int
        What the first bin of the potential follows from, as in `Seeding`.
    """

    cdef seeding_pass p         # rows, kernels, weights; gains of the candidates
    cdef Rows rows
    cdef const double[::1] weights
    cdef Workspace parts
    cdef double* closest        # (n, filled up) squared distance of each row to its closest seed
    cdef double* gaps           # (n / 8, n_trials, 8) squared distances of the rows to the candidates
    cdef double* points         # (n_trials, step) candidates, with zeros behind them
    cdef char* staging          # (BLOCK, step) rows that are not read where they stand
    cdef tw_bins* totals        # (n / BLOCK) weight x distance of the rows up to the end of each block
    cdef ptrdiff_t step
    cdef int64_t n, n_blocks, shard_rows
    cdef int64_t top            # the bin of the totals
    cdef double most            # the largest weight x distance

    def __init__(self, Rows rows, const double[::1] weights, int n_trials, *, str isa, int64_t shard_rows):
        all_rows(rows)
        cdef int64_t n = rows.c.n_rows
        if n == 0 or (weights is not None and weights.shape[0] != n) or not 1 <= n_trials <= MOST_TRIALS:
            raise ValueError(f"seeding needs a row, a weight for each, and 1 to {MOST_TRIALS} candidates")
        self.rows, self.weights = rows, weights
        self.n, self.n_blocks, self.shard_rows = n, (n + BLOCK - 1) // BLOCK, shard_rows
        self.p.rows = &rows.c
        self.p.exact = exact_kernels(isa)
        self.p.weights = &weights[0] if weights is not None else NULL
        self.p.n_trials = n_trials
        self.step = max(8, (rows.c.depth + 7) // 8 * 8)
        self.parts = Workspace()
        closest = self.parts.add(self.n_blocks * BLOCK * 8)
        gaps = self.parts.add(self.n_blocks * BLOCK * n_trials * 8)
        points = self.parts.add(n_trials * self.step * 8)
        staging = self.parts.add(max(n_trials, 0 if rows.c.direct else BLOCK) * self.step * 8)
        totals = self.parts.add(self.n_blocks * sizeof(tw_bins))
        gains = self.parts.add(n_trials * 18 * sizeof(int64_t))
        cdef char* base = self.parts.make(1)
        self.closest = <double*>(base + <ptrdiff_t>closest)
        self.gaps = <double*>(base + <ptrdiff_t>gaps)
        self.points = <double*>(base + <ptrdiff_t>points)
        self.staging = base + <ptrdiff_t>staging
        self.totals = <tw_bins*>(base + <ptrdiff_t>totals)
        self.p.gains = <int64_t*>(base + <ptrdiff_t>gains)
        self.p.highs = self.p.gains + 16 * n_trials

    @property
    def allocated(self):
        """Bytes of the workspace."""
        return self.parts.total

    cdef int _check(self, int64_t row) except -1:
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        return 0

    def begin(self, int64_t row):
        """Make a row the first seed; returns the potential, the sum of weight x distance."""
        cdef int64_t i
        self._check(row)
        with nogil:
            self._show(&row, 1)
            for i in range(self.n_blocks * BLOCK):
                self.closest[i] = 0.0
            self._measure(1)
            for i in range(self.n):
                self.closest[i] = self.gaps[i]
            self.top = 0
            self._add_up()
            self.top = potential_bin(self.most, self.n, self.shard_rows)
            self._add_up()
        return self._potential()

    def follow(self, const double[:, ::1] draws, int64_t[::1] chosen):
        """Choose the other seeds, one for each row of draws.

        Parameters
        ----------
        draws : ndarray of shape (steps, n_trials), float64
            Uniform numbers from 0 to 1.
        chosen : ndarray of shape (steps,), int64, OUT
            Numbers of rows.
        """
        cdef int64_t at, steps = draws.shape[0]
        if draws.shape[1] != self.p.n_trials or chosen.shape[0] != steps:
            raise ValueError(f"{self.p.n_trials} draws for each seed expected")
        if not isfinite(self._potential()):
            raise ValueError("the potential is not finite")
        with nogil:
            for at in range(steps):
                chosen[at] = self._choose(&draws[at, 0])

    cdef double _potential(self) noexcept nogil:
        cdef double high, low
        tw_bins_value(self.totals + self.n_blocks - 1, &high, &low)
        return high

    cdef int64_t _choose(self, const double* draws) noexcept nogil:
        """The best of the candidates that these draws lead to becomes a seed."""
        cdef int64_t rows[MOST_TRIALS]
        cdef int64_t gains[4]
        cdef double potential = self._potential(), best = 0.0, worth, gap
        cdef int64_t start
        cdef int t, limb, lane, chosen = 0, n_trials = self.p.n_trials
        for t in range(n_trials):
            rows[t] = self._locate(draws[t] * potential)
        memset(self.p.gains, 0, n_trials * 16 * sizeof(int64_t))
        memset(self.p.highs, 0, n_trials * 2 * sizeof(int64_t))
        for limb in range(2):
            self.p.bigs[limb] = tw_big(tw_bin_exponent(<int>gain_bin(self.most) - limb))
        self._show(rows, n_trials)
        self._measure(n_trials)
        fold_gains(&self.p, 0)
        for t in range(n_trials):
            for limb in range(2):
                gains[limb] = 0
                for lane in range(8):
                    gains[limb] += self.p.gains[(2 * t + limb) * 8 + lane]
                gains[2 + limb] = self.p.highs[2 * t + limb]
            worth = gain_worth(gains, self.most)
            if t == 0 or worth > best:
                best = worth
                chosen = t
        for start in range(0, self.n, 8):
            for lane in range(8):
                gap = self.gaps[start * n_trials + 8 * chosen + lane]
                if gap < self.closest[start + lane]:
                    self.closest[start + lane] = gap
        self._add_up()
        return rows[chosen]

    cdef void _show(self, const int64_t* ids, int count) noexcept nogil:
        """Rows become candidates, in double with zeros behind."""
        cdef const void* pointers[MOST_TRIALS]
        cdef double* to = self.points
        cdef int t, l, depth = self.p.rows.depth
        tw_fetch_rows(self.p.rows, ids, 0, count, pointers, self.staging, self.step)
        for t in range(count):
            for l in range(depth):
                to[l] = (<const double*>pointers[t])[l] if self.p.rows.is_double else (<const float*>pointers[t])[l]
            to += self.step

    cdef void _measure(self, int n_trials) noexcept nogil:
        """The distances of all rows to the candidates, and what these gain."""
        cdef const void* pointers[BLOCK]
        cdef double weights[8]
        cdef double* gaps = self.gaps
        cdef int64_t first = 0
        cdef int r, count, n, since = 0
        for r in range(8):
            weights[r] = 1.0
        while first < self.n:
            count = <int>min(<int64_t>BLOCK, self.n - first)
            tw_fetch_rows(self.p.rows, NULL, first, count, pointers, self.staging, self.step)
            for r in range(0, count, 8):
                n = 8 if count - r > 8 else count - r
                self._measure_eight(pointers + r, n, n_trials, gaps)
                if self.top:
                    if self.p.weights != NULL:
                        memcpy(weights, self.p.weights + first + r, n * sizeof(double))
                    self.p.exact.add_gains(n, n_trials, gaps, self.closest + first + r, weights, self.p.bigs,
                                           self.p.gains)
                gaps += 8 * n_trials
            first += count
            since += count
            if since > FOLDED - BLOCK and self.top:
                fold_gains(&self.p, 0)
                since = 0

    cdef void _measure_eight(self, const void** pointers, int n, int n_trials, double* gaps) noexcept nogil:
        """gaps is (n_trials, 8)."""
        cdef const void* eight[8]
        cdef double own[MOST_TRIALS]
        cdef int r, t
        if self.p.rows.depth <= TW_LANES_DEPTH:
            for r in range(8):
                eight[r] = pointers[r if r < n else n - 1]
            if self.p.rows.is_double:
                self.p.exact.distances_lanes_f8(<const double* const*>eight, self.points, self.step, n_trials,
                                                self.p.rows.depth, gaps)
            else:
                self.p.exact.distances_lanes_f4(<const float* const*>eight, self.points, self.step, n_trials,
                                                self.p.rows.depth, gaps)
            return
        for r in range(n):
            if self.p.rows.is_double:
                self.p.exact.distances_f8(<const double*>pointers[r], self.points, self.step, n_trials,
                                          self.p.rows.depth, own)
            else:
                self.p.exact.distances_f4(<const float*>pointers[r], self.points, self.step, n_trials,
                                          self.p.rows.depth, own)
            for t in range(n_trials):
                gaps[8 * t + r] = own[t]

    cdef void _add_up(self) noexcept nogil:
        """Weight x distance of all rows up to the end of each block, and the largest of them."""
        cdef tw_bins* total = self.totals
        cdef int64_t at
        self.most = 0.0
        for at in range(self.n_blocks):
            tw_bins_clear(total + at)
            tw_bins_raise(total + at, self.top)
            self.most = max(self.most, self._bin(total + at, at * BLOCK, min(self.n, (at + 1) * BLOCK)))
            if at:
                tw_bins_merge(total + at, total + at - 1)

    cdef double _bin(self, tw_bins* to, int64_t first, int64_t stop) noexcept nogil:
        return self.p.exact.bin_values(to, <int>(stop - first), self.closest + first,
                                       self.p.weights + first if self.p.weights != NULL else NULL)

    cdef int64_t _locate(self, double target) noexcept nogil:
        """First row at which the running sum of weight x distance reaches the target."""
        cdef tw_bins wanted, reached, more
        cdef int64_t low = 0, high = self.n_blocks, middle, i, stop
        tw_bins_clear(&wanted)
        tw_bins_raise(&wanted, self.top)
        reached = wanted
        self.p.exact.bin_values(&wanted, 1, &target, NULL)
        while low < high:
            middle = (low + high) // 2
            if tw_bins_less(self.totals + middle, &wanted):
                low = middle + 1
            else:
                high = middle
        if low == self.n_blocks:
            return self.n - 1
        if low:
            reached = self.totals[low - 1]
        i, stop = low * BLOCK, min(self.n, (low + 1) * BLOCK)
        while i + 8 < stop:
            more = reached
            self._bin(&more, i, i + 8)
            if not tw_bins_less(&more, &wanted):
                break
            reached = more
            i += 8
        while i < stop - 1:
            self._bin(&reached, i, i + 1)
            if not tw_bins_less(&reached, &wanted):
                break
            i += 1
        return i

"""Sums of rows by cluster, and of single numbers, that do not depend on an order: see c/tw_sums.h."""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport isfinite
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from tilewise.kernels._centers cimport squared_gap
from tilewise.kernels._dispatch cimport exact_kernels, usable_threads
from tilewise.kernels._rows cimport Rows, address, tw_fetch_rows

cdef enum:
    # Blocks of eight columns of a row of sums that are locked together.
    SEGMENT = 512
    # A float column whose magnitudes differ by up to so many powers of two has one limb: its least
    # numbers keep 18 bits, and what its largest are rounded to is a quarter of a unit of theirs in float64.
    NARROW = 32
    # As many as reach from the largest unit whose constant is finite to the least number.
    MOST_LIMBS = 41
    # Stored entries between the prefetch of a sum and its use.
    AHEAD = 8
    # Of so few rows the sums never need a carry.
    FEW = 1024


# ---------------------------------------------------------------- the grid


cdef class Grid:
    """Units of the sums of each column, from its magnitudes.

    Parameters
    ----------
    largest, least : float64 (d,)
        Magnitudes of each column: the largest, and the least other than zero.
    dtype : dtype
        float32 or float64, of the rows.
    weights : tuple of float, optional
        The largest and the least magnitude other than zero of the rows' weights; all weigh one by default.
    """

    def __init__(self, const double[::1] largest, const double[::1] least, dtype, weights=None):
        cdef int64_t d = largest.shape[0], l, b, n_blocks = max(1, (d + 7) // 8)
        cdef double most = 1.0, fewest = 1.0, top
        cdef bint plain = weights is None or weights == (1.0, 1.0)
        cdef int digits = 24 if np.dtype(dtype) == np.float32 and plain else 53
        cdef int most_of_one = digits + NARROW if digits == 24 else TW_LIMB
        cdef int exponent, needed, i
        if weights is not None:
            most, fewest = weights
        limbs = np.ones(n_blocks, dtype=np.int32)
        exponents = np.full(8 * n_blocks, -1074, dtype=np.int16)
        cdef int32_t[::1] counts = limbs
        cdef int16_t[::1] tops = exponents
        for l in range(d):
            top = largest[l] * most
            exponent = tw_exponent(top)
            if not isfinite(top) or exponent > 1021:
                raise ValueError(f"column {l} times the weights of its rows is too large for sums in float64")
            tops[l] = exponent
            if top > 0.0:
                needed = exponent - max(-1074, tw_exponent(least[l]) + tw_exponent(fewest) - 1 - digits)
                if needed > most_of_one:
                    needed = min(needed, exponent + 1074, TW_LIMB * (MOST_LIMBS - 1))
                    counts[l // 8] = max(counts[l // 8], needed // TW_LIMB + 1)
        for l in range(8 * n_blocks):
            # Down to the least unit that there is.
            tops[l] = max(tops[l], -1074 + TW_LIMB * counts[l // 8])
        starts = np.concatenate([[0], np.cumsum(8 * limbs)]).astype(np.int32)
        if int(8 * limbs.sum(dtype=np.int64)) > 2**31 - 1:
            raise ValueError("rows of sums of these columns are too long")
        bigs = np.empty(int(starts[n_blocks]))
        cdef int32_t[::1] at = starts
        cdef double[::1] big = bigs
        for b in range(n_blocks):
            for i in range(counts[b]):
                for l in range(8):
                    big[at[b] + 8 * i + l] = tw_big(tops[8 * b + l] - TW_LIMB * (i + 1))
        self._keep = (limbs, exponents, starts, bigs)
        self.c.depth, self.c.n_blocks = d, n_blocks
        self.c.uniform = limbs[0] if (limbs == limbs[0]).all() else 0
        self.c.all_normal = int(exponents.min()) - TW_LIMB >= -1022
        self.c.limbs = <const int32_t*>address(limbs)
        self.c.exponents = <const int16_t*>address(exponents)
        self.c.starts = <const int32_t*>address(starts)
        self.c.bigs = <const double*>address(bigs)
        self.c.length = bigs.size

    @property
    def limbs(self):
        """Limbs of each eight columns, int32."""
        return self._keep[0]

    @property
    def exponents(self):
        """Of each column, and of what fills up eight: magnitudes are at most 2 to this power, int16."""
        return self._keep[1]


# ---------------------------------------------------------------- one row


cdef void _carry(cluster_sums* s, const tw_exact_kernels* exact, int64_t j, int segment) noexcept nogil:
    cdef int first = segment * s.segment_blocks, stop = first + s.segment_blocks
    exact.carry_row(s.grid, first, min(stop, s.grid.n_blocks), s.table + j * s.grid.length,
                    s.spill + j * 8 * s.grid.n_blocks)
    s.spilt[j] = 1
    if segment == 0 and s.weight_limbs:
        _carry_weight(s.weights + j * 8 * (1 + s.weight_limbs), s.weight_limbs)


cdef void _carry_weight(int64_t* at, int limbs) noexcept nogil:
    cdef int i
    cdef int64_t up
    for i in range(limbs, 0, -1):
        up = at[8 * i] >> TW_LIMB
        at[8 * i] -= up * (<int64_t>1 << TW_LIMB)
        at[8 * (i - 1)] += up


cdef void add_with_care(cluster_sums* s, const tw_exact_kernels* exact, const tw_rows* rows, const void* x,
                        int64_t row, double weight, int sign, int64_t j) noexcept nogil:
    cdef int64_t* to = s.table + j * s.grid.length
    cdef int64_t at, stop, e
    cdef int segment, first, last
    for segment in range(s.n_segments):
        at = j * s.n_segments + segment
        if s.locks != NULL:
            tw_take(s.locks + at)
        if s.pending[at] >= TW_PENDING:
            if s.carries:
                _carry(s, exact, j, segment)
            s.pending[at] = 1
        s.pending[at] += 1
        first = segment * s.segment_blocks
        last = min(first + s.segment_blocks, s.grid.n_blocks)
        if x == NULL:
            row = tw_place(rows, row)
            stop = tw_row_start(rows, row + 1)
            for e in range(tw_row_start(rows, row), stop):
                if e + AHEAD < stop:
                    tw_prefetch(tw_column(s.grid, to, tw_stored_column(rows, e + AHEAD)))
                tw_add_entry(s.grid, weight * tw_stored_value(rows, e), tw_stored_column(rows, e), to)
        elif rows.is_double:
            exact.add_row_f8(s.grid, <const double*>x, weight, first, last, to)
        else:
            exact.add_row_f4(s.grid, <const float*>x, weight, first, last, to)
        if segment == 0:
            s.members[j] += sign
            s.changed[j] = 1
            if s.weight_limbs:
                tw_add_one(weight, s.weight_exponent, s.weight_limbs, s.weights + (j * (1 + s.weight_limbs) + 1) * 8)
        if s.locks != NULL:
            tw_release(s.locks + at)


# ---------------------------------------------------------------- sums by cluster


cdef class Sums:
    """Weighted sums of the rows of each cluster.

    Parameters
    ----------
    grid : Grid
    n_clusters : int
    isa : str
    n_threads, center_threads : int
        Threads that add rows, and threads of loops over the clusters.
    own_bytes : int
        Tables of up to so many bytes are kept once per thread that adds rows.
    weights : tuple of float, optional
        As `Grid` has them; all rows weigh one by default.
    is_sparse : bool, default=False
        Whether rows are added by their stored entries.
    n_rows : int, optional
        Most rows that are in the sums at a time.

    Notes
    -----
    Small tables are kept once per thread; of a large one there is a single copy, whose rows are
    locked while a row of data is added.
    """

    def __init__(self, Grid grid, int n_clusters, *, str isa, int n_threads, int center_threads,
                 int64_t own_bytes, weights=None, is_sparse=False, n_rows=None):
        cdef int t
        cdef int64_t size
        self.grid = grid
        self.exact = exact_kernels(isa)
        self.threads, self.center_threads = n_threads, center_threads
        self.c.grid = &grid.c
        self.c.n_clusters = n_clusters
        self.c.carries = n_rows is None or n_rows > FEW
        self.c.segment_blocks = grid.c.n_blocks if is_sparse else min(SEGMENT, grid.c.n_blocks)
        self.c.n_segments = (grid.c.n_blocks + self.c.segment_blocks - 1) // self.c.segment_blocks
        if weights is not None:
            self.c.weight_exponent = tw_exponent(weights[0])
            needed = self.c.weight_exponent - max(-1074, tw_exponent(weights[1]) - 53)
            if self.c.weight_exponent > 1021:
                raise ValueError("weights of this size are too large for sums in float64")
            self.c.weight_limbs = min(MOST_LIMBS, max(1, (needed + TW_LIMB - 1) // TW_LIMB))
            self.c.weight_exponent = max(self.c.weight_exponent, -1074 + TW_LIMB * self.c.weight_limbs)
        self._keep = [self._make(&self.c)]
        size = 8 * n_clusters * (grid.c.length + 8 * grid.c.n_blocks)
        if n_threads > 1:
            if size <= own_bytes:
                self.parts = <cluster_sums*>calloc(n_threads, sizeof(cluster_sums))
                if self.parts == NULL:
                    raise MemoryError
                self.n_parts = n_threads
                for t in range(n_threads):
                    self.parts[t] = self.c
                    self._keep.append(self._make(&self.parts[t]))
            else:
                locks = np.zeros(n_clusters * self.c.n_segments, dtype=np.uint8)
                self.c.locks = <uint8_t*>address(locks)
                self._keep.append(locks)

    def __dealloc__(self):
        free(self.parts)

    cdef object _make(self, cluster_sums* s):
        """Arrays of zeros, whose pages take no memory before they are written to."""
        cdef int64_t k = s.n_clusters
        table = np.zeros(k * self.grid.c.length, dtype=np.int64)
        spill = np.zeros(k * 8 * self.grid.c.n_blocks if s.carries else 1, dtype=np.int64)
        members = np.zeros(k, dtype=np.int64)
        pending = np.zeros(k * s.n_segments, dtype=np.int32)
        flags = np.zeros((2, k), dtype=np.uint8)
        weights = np.zeros(k * 8 * (1 + s.weight_limbs) if s.weight_limbs else 1, dtype=np.int64)
        flags[1] = 1
        s.table = <int64_t*>address(table)
        s.spill = <int64_t*>address(spill)
        s.members = <int64_t*>address(members)
        s.pending = <int32_t*>address(pending)
        s.spilt = <uint8_t*>address(flags)
        s.changed = s.spilt + k
        s.weights = <int64_t*>address(weights)
        return table, spill, members, pending, flags, weights

    cdef cluster_sums* of_thread(self, int thread) noexcept nogil:
        return &self.c if self.parts == NULL else self.parts + thread

    cdef int gather(self) except -1:
        cdef int64_t j, k = self.c.n_clusters
        cdef int threads
        if self.parts == NULL:
            return 0
        threads = usable_threads(self.center_threads)
        for j in prange(k, nogil=True, schedule="static", num_threads=threads):
            self._gather_one(j)
        return 0

    cdef void _gather_one(self, int64_t j) noexcept nogil:
        cdef cluster_sums* to = &self.c
        cdef cluster_sums* s
        cdef int t, segment
        cdef int64_t l, at, first, stop, length = to.grid.length, blocks = to.grid.n_blocks
        for t in range(self.n_parts):
            s = self.parts + t
            for segment in range(to.n_segments):
                at = j * to.n_segments + segment
                if s.pending[at] == 0:
                    continue
                if to.pending[at] + s.pending[at] > TW_PENDING:
                    if to.carries:
                        _carry(to, self.exact, j, segment)
                    to.pending[at] = 1
                to.pending[at] += s.pending[at]
                s.pending[at] = 0
                first = to.grid.starts[segment * to.segment_blocks]
                stop = to.grid.starts[min((segment + 1) * to.segment_blocks, blocks)]
                for l in range(j * length + first, j * length + stop):
                    to.table[l] += s.table[l]
                memset(s.table + j * length + first, 0, (stop - first) * sizeof(int64_t))
                if segment:
                    continue
                to.changed[j] = 1
                to.members[j] += s.members[j]
                s.members[j] = 0
                at = 8 * (1 + to.weight_limbs) if to.weight_limbs else 0
                for l in range(j * at, (j + 1) * at):
                    to.weights[l] += s.weights[l]
                    s.weights[l] = 0
            if s.spilt[j]:
                to.spilt[j] = 1
                s.spilt[j] = 0
                for l in range(j * 8 * blocks, (j + 1) * 8 * blocks):
                    to.spill[l] += s.spill[l]
                memset(s.spill + j * 8 * blocks, 0, 8 * blocks * sizeof(int64_t))

    cdef double _weight(self, int64_t j) noexcept nogil:
        cdef const int64_t* at
        cdef double high, low
        if not self.c.weight_limbs:
            return <double>self.c.members[j]
        at = self.c.weights + j * 8 * (1 + self.c.weight_limbs)
        tw_value_of(at[0], at + 8, self.c.weight_limbs, self.c.weight_exponent, &high, &low)
        return high

    @property
    def members(self):
        """Rows of each cluster whose weight is not zero, (k,) int64."""
        return self._keep[0][2]

    @property
    def weights(self):
        """Weight of each cluster, (k,) float64."""
        out = np.empty(self.c.n_clusters)
        cdef double[::1] to = out
        cdef int64_t j
        for j in range(self.c.n_clusters):
            to[j] = self._weight(j)
        return out

    @property
    def values(self):
        """The sums, rounded to float64, (k, d)."""
        cdef int64_t k = self.c.n_clusters, j, l
        cdef const tw_grid* grid = &self.grid.c
        cdef double low
        out = np.empty((k, grid.depth))
        cdef double[:, ::1] to = out
        for j in range(k):
            for l in range(grid.depth):
                tw_value_of(self.c.spill[j * 8 * grid.n_blocks + l] if self.c.spilt[j] else 0,
                            self.c.table + j * grid.length + grid.starts[l // 8] + l % 8, grid.limbs[l // 8],
                            grid.exponents[l], &to[j, l], &low)
        return out

    @property
    def buffers(self):
        """Bytes of each buffer, of all threads together."""
        names = ("sums", "spill", "members", "pending", "flags", "weights")
        tables = [arrays for arrays in self._keep if type(arrays) is tuple]
        sizes = {name: sum(table[i].nbytes for table in tables) for i, name in enumerate(names)}
        return sizes | {"locks": sum(array.nbytes for array in self._keep if type(array) is not tuple)}

    @property
    def addresses(self):
        """Where each buffer begins, for who models its cache lines."""
        return {"grid": <size_t>self.c.grid.bigs, "sums": <size_t>self.c.table, "pending": <size_t>self.c.pending,
                "members": <size_t>self.c.members, "changed": <size_t>self.c.changed}

    def move(self, Rows rows, int64_t row, int old, int new, double weight=1.0):
        """Count one row for another cluster than before; -1 for none."""
        cdef const void* x = NULL
        staging = None
        if not -1 <= old < self.c.n_clusters or not -1 <= new < self.c.n_clusters or not 0 <= row < rows.c.n_rows:
            raise IndexError("no such row or cluster")
        if not rows.is_sparse:
            staging = np.zeros(max(1, rows.c.depth), dtype=np.float64)
            tw_fetch_rows(&rows.c, NULL, row, 1, &x, address(staging), 0)
        if old >= 0:
            add_to_cluster(&self.c, self.exact, &rows.c, x, row, -weight, -1, old)
        if new >= 0:
            add_to_cluster(&self.c, self.exact, &rows.c, x, row, weight, 1, new)

    def state(self):
        """What is in the sums: equal arrays for equal rows, whatever the order they came in.

        Returns
        -------
        tuple of ndarray, int64
            Limbs of the sums (k, length) from 0 to 2**50 - 1, what is above them (k, columns), rows (k,),
            and limbs of the weights, empty where all rows weigh one. `add` takes them.
        """
        cdef cluster_sums* s = &self.c
        cdef const tw_exact_kernels* exact = self.exact
        cdef int64_t j, k = s.n_clusters, blocks = s.grid.n_blocks
        cdef int64_t[:, ::1] tables, spills, weighed
        table, spill, members, _pending, _flags, weights = self._keep[0]
        tables = table = table.reshape(k, -1).copy()
        spills = spill = spill.reshape(k, -1).copy() if s.carries else np.zeros((k, 8 * blocks), dtype=np.int64)
        weighed = weights = weights.reshape(k, -1).copy() if s.weight_limbs else np.empty((0, 0), dtype=np.int64)
        with nogil:
            for j in range(k):
                exact.carry_row(s.grid, 0, blocks, &tables[j, 0], &spills[j, 0])
                if s.weight_limbs:
                    _carry_weight(&weighed[j, 0], s.weight_limbs)
        return table, spill, members.copy(), weights

    def add(self, const int64_t[:, ::1] table, const int64_t[:, ::1] spill, const int64_t[::1] members,
            const int64_t[:, ::1] weights):
        """Take in the `state` of other sums on the same grid, with weights of the same sizes."""
        cdef cluster_sums* s = &self.c
        cdef int64_t j, l, k = s.n_clusters, length = s.grid.length, columns = 8 * s.grid.n_blocks
        cdef int64_t limbs = 8 * (1 + s.weight_limbs) if s.weight_limbs else 0
        cdef int64_t* at
        if not s.carries:
            raise ValueError("sums of few rows take in no others")
        if table.shape[0] != k or table.shape[1] != length or spill.shape[0] != k or spill.shape[1] != columns or (
                members.shape[0] != k or weights.shape[0] != (k if limbs else 0) or weights.shape[1] != limbs):
            raise ValueError("these are sums on another grid")
        for j in range(k):
            for l in range(s.n_segments):
                _carry(s, self.exact, j, <int>l)
                s.pending[j * s.n_segments + l] = 2
            for l in range(length):
                s.table[j * length + l] += table[j, l]
            for l in range(columns):
                s.spill[j * columns + l] += spill[j, l]
            at = s.weights + j * limbs
            for l in range(limbs):
                at[l] += weights[j, l]
            s.members[j] += members[j]
            s.spilt[j] = s.changed[j] = 1

    def clear(self):
        """Take everything out."""
        tables = [arrays for arrays in self._keep if type(arrays) is tuple]
        for table, spill, members, pending, flags, weights in tables:
            for array in (table, spill, members, pending, weights):
                array[...] = 0
            flags[0] = 0
            flags[1] = 1

    def touch(self):
        """Let the next average be of all clusters, whatever has changed."""
        self._keep[0][4][1] = 1

    def average(self, const double[:, ::1] old, double[:, ::1] out, *, fill=False):
        """out = sums / weights; returns the squared shifts from old, (k,) float64.

        old are the centres that the average before this one returned, unless `touch` was called or
        this is the first; out may not overlap with it.

        None, with out as it was, if some cluster has no positive weight; with `fill` such clusters take the
        mean of the heaviest cluster, the first of equally heavy ones, or zeros if there is none.
        """
        cdef int64_t j, k = self.c.n_clusters, d = self.grid.c.depth, heaviest = 0
        cdef int threads = usable_threads(self.center_threads)
        cdef double[::1] weights = self.weights
        cdef bint whole = True
        if old.shape[0] != k or out.shape[0] != k or old.shape[1] != d or out.shape[1] != d:
            raise ValueError("centres do not have the shape of these sums")
        for j in range(k):
            whole = whole and weights[j] > 0.0
            if weights[j] > weights[heaviest]:
                heaviest = j
        if not whole and not fill:
            return None
        moved = np.zeros(k)
        cdef double[::1] shifts = moved, taken
        if k == 0 or d == 0:
            return moved
        for j in prange(k, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            if weights[j] > 0.0:
                if self.c.changed[j]:
                    shifts[j] = self._average_one(j, weights[j], &old[j, 0], &out[j, 0])
                elif &old[j, 0] != &out[j, 0]:
                    memcpy(&out[j, 0], &old[j, 0], d * sizeof(double))
                self.c.changed[j] = 0
        for j in range(k):
            if not weights[j] > 0.0:
                target = np.array(out[heaviest]) if weights[heaviest] > 0.0 else np.zeros(d)
                taken = target
                shifts[j] = squared_gap(&old[j, 0], &taken[0], d)
                np.asarray(out)[j] = target
                self.c.changed[j] = 1
        return moved

    cdef double _average_one(self, int64_t j, double weight, const double* old, double* out) noexcept nogil:
        return self.exact.average_row(self.c.grid, self.c.table + j * self.c.grid.length,
                                      self.c.spill + j * 8 * self.c.grid.n_blocks, self.c.spilt[j], weight, old, out)


# ---------------------------------------------------------------- single numbers


cdef class Bins:
    """A sum of numbers in any order.

    Parameters
    ----------
    isa : str
    """

    def __init__(self, str isa):
        self.exact = exact_kernels(isa)
        tw_bins_clear(&self.c)

    def add(self, const double[::1] values, const double[::1] weights=None):
        """Add values[0] * weights[0] + ...; all weigh one by default."""
        cdef int64_t at, n = values.shape[0]
        if weights is not None and weights.shape[0] != n:
            raise ValueError("one weight per value expected")
        for at in range(0, n, TW_FOLD):
            self.exact.bin_values(&self.c, <int>min(<int64_t>TW_FOLD, n - at), &values[at],
                                  &weights[at] if weights is not None else NULL)

    def merge(self, Bins other):
        """Add another sum."""
        tw_bins_merge(&self.c, &other.c)

    @property
    def state(self):
        """What is in the sum, as bytes that `merge_state` takes."""
        return (<char*>&self.c)[:sizeof(tw_bins)]

    def merge_state(self, const unsigned char[::1] state):
        """Add the sum that a `state` came from."""
        cdef tw_bins other
        if state.shape[0] != sizeof(tw_bins):
            raise ValueError("these bytes are no sum")
        memcpy(&other, &state[0], sizeof(tw_bins))
        tw_bins_merge(&self.c, &other)

    @property
    def value(self):
        """The sum, rounded to float64; what infinities and NaN add up to, if there are any."""
        cdef double high, low
        tw_bins_value(&self.c, &high, &low)
        return high

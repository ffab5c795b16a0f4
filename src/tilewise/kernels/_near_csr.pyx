"""Nearest rows, and rows within a radius, from blocks of approximate squared distances.

For sets of rows of which at least one is CSR. A value of a block errs by no more than a share
of itself (docs/exact-neighbors.md). Where that does not decide, canonical distances do: from the
stored entries of both rows or, where one is dense, from both rows made dense.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from tilewise.kernels._candidates cimport LISTS, candidate_lists, sort_pairs
from tilewise.kernels._dispatch cimport (
    enter_loop,
    exact_kernels,
    leave_loop,
    tile_kernels,
    tw_exact_kernels,
    tw_near,
    tw_tile_kernels,
)
from tilewise.kernels._rows cimport Rows, tw_fetch_rows, tw_pack_entries_f8, tw_rows
from tilewise.kernels._workspace cimport Workspace

cdef enum:
    # Rows of Y that are unpacked, or spread out, at a time.
    STAGED = 4
    # Rows of X that a thread takes at a time.
    RUN = 16


cdef struct pairs_pass:
    const tw_rows* x
    const tw_rows* y
    const tw_exact_kernels* exact
    bint merged             # both sides are CSR
    # Where the parts of one thread's workspace start, in bytes.
    ptrdiff_t x_columns
    ptrdiff_t x_values
    ptrdiff_t y_columns
    ptrdiff_t y_values
    ptrdiff_t step          # numbers from one row to the next
    ptrdiff_t gaps          # float64 (LISTS, room)
    ptrdiff_t ids           # int64 (LISTS, room)
    ptrdiff_t total
    char* workspace


cdef void _entries(const tw_rows* rows, int64_t row, int32_t* columns, double* values) noexcept nogil:
    """The entries of a row, and one behind all columns."""
    cdef int32_t starts[2]
    cdef double norm
    tw_pack_entries_f8(rows, &row, 1, 1.0, starts, columns, values, &norm)
    columns[starts[1]] = 2**31 - 1
    values[starts[1]] = 0.0


cdef void _distances(const pairs_pass* p, int64_t row, const int64_t* ids, int64_t count, char* ws,
                     double* out) noexcept nogil:
    """Canonical squared distances of a row of X to rows ids of Y."""
    cdef const void* x
    cdef const void* rows[STAGED]
    cdef int32_t* x_columns = <int32_t*>(ws + p.x_columns)
    cdef int32_t* y_columns = <int32_t*>(ws + p.y_columns)
    cdef double* x_values = <double*>(ws + p.x_values)
    cdef double* y_values = <double*>(ws + p.y_values)
    cdef const int32_t* columns[STAGED]
    cdef const double* values[STAGED]
    cdef int64_t at = 0
    cdef int some, j
    if count == 0:
        return
    if p.merged:
        _entries(p.x, row, x_columns, x_values)
        while at < count:
            some = STAGED if count - at > STAGED else <int>(count - at)
            for j in range(some):
                columns[j], values[j] = y_columns + j * p.step, y_values + j * p.step
                _entries(p.y, ids[at + j], y_columns + j * p.step, y_values + j * p.step)
            p.exact.merged_four(some, x_columns, x_values, columns, values, out + at)
            at += some
        return
    tw_fetch_rows(p.x, NULL, row, 1, &x, x_values, p.step)
    while at < count:
        some = STAGED if count - at > STAGED else <int>(count - at)
        tw_fetch_rows(p.y, ids + at, 0, some, rows, y_values, p.step)
        if p.x.is_double:
            p.exact.between_f8(<const double*>x, <const double* const*>rows, some, p.x.depth, out + at)
        else:
            p.exact.between_f4(<const float*>x, <const float* const*>rows, some, p.x.depth, out + at)
        at += some


cdef class _Pairs:
    """Pairs of rows of X and of Y that values of blocks do not decide.

    Parameters
    ----------
    x, y : Rows
        With equal numbers of columns, of one type, at least one of them CSR.
    isa : str
    n_threads : int
    """

    cdef pairs_pass p
    cdef const tw_tile_kernels* tile
    cdef Rows x, y
    cdef int threads
    cdef Workspace parts

    cdef int _open(self, Rows x, Rows y, int64_t room, str isa, int n_threads) except -1:
        cdef Workspace parts = Workspace()
        if x.c.depth != y.c.depth or x.c.is_double != y.c.is_double:
            raise ValueError("rows of X and Y must have the same type and number of columns")
        if not (x.is_sparse or y.is_sparse):
            raise ValueError("one side must be CSR")
        self.x, self.y, self.threads = x, y, n_threads
        self.tile = tile_kernels(isa)
        self.p.x, self.p.y, self.p.exact = &x.c, &y.c, exact_kernels(isa)
        self.p.merged = x.is_sparse and y.is_sparse
        # One more for the end of the entries.
        self.p.step = ((max(x.longest, y.longest) + 1 if self.p.merged else x.c.depth) + 7) // 8 * 8
        self.p.x_columns = parts.add(4 * self.p.step if self.p.merged else 0)
        self.p.y_columns = parts.add(4 * STAGED * self.p.step if self.p.merged else 0)
        self.p.x_values = parts.add(8 * self.p.step)
        self.p.y_values = parts.add(8 * STAGED * self.p.step)
        self.p.gaps = parts.add(LISTS * room * 8)
        self.p.ids = parts.add(LISTS * room * 8)
        self.p.total = parts.total
        self.p.workspace = parts.make(n_threads)
        self.parts = parts
        return 0

    cdef int _check(self, const double[:, :] block, int64_t x_first, int64_t y_first) except -1:
        if x_first < 0 or x_first + block.shape[0] > self.x.c.n_rows:
            raise ValueError("the block has rows that are not there")
        if y_first < 0 or y_first + block.shape[1] > self.y.c.n_rows:
            raise ValueError("the block has columns that are not there")
        if block.shape[1] > 1 and block.strides[1] != sizeof(double):
            raise ValueError("the rows of the block must be contiguous")
        return 0

# ---------------------------------------------------------------- the k nearest


cdef void _keep_closest(const pairs_pass* p, const tw_near* near, int64_t slot, int64_t row, char* ws) noexcept nogil:
    """Cut a full row to its k closest by (canonical distance, index), in the order they are in."""
    cdef double* scores = <double*>near.scores + slot * near.stride
    cdef int64_t* indices = <int64_t*>near.indices + slot * near.stride
    cdef double* limits = <double*>near.limits
    cdef int64_t count = near.counts[slot], i, kept = 0, last
    cdef double* gaps = <double*>(ws + p.gaps)
    cdef double* in_order = gaps + count
    cdef int64_t* order = <int64_t*>(ws + p.ids)
    cdef double limit
    _distances(p, row, indices, count, ws, gaps)
    memcpy(in_order, gaps, count * sizeof(double))
    memcpy(order, indices, count * sizeof(int64_t))
    sort_pairs(in_order, order, count)
    limit = in_order[near.k - 1]
    last = order[near.k - 1]
    for i in range(count):
        if gaps[i] < limit or (gaps[i] == limit and indices[i] <= last):
            scores[kept] = scores[i]
            indices[kept] = indices[i]
            kept += 1
    near.counts[slot] = <int32_t>kept
    near.triggers[slot] = near.room
    # Later columns must be closer, not only as close: nothing is closer than zero.
    limit = limit * (1.0 + near.share) if limit > 0.0 else -1.0
    if limit < limits[slot]:
        limits[slot] = limit


cdef void _feed(const pairs_pass* p, const tw_tile_kernels* tile, const tw_near* near, int64_t slot, int64_t row,
                const double* values, int count, int64_t first, char* ws) noexcept nogil:
    cdef int at = 0
    while at < count:
        at += tile.feed_f8(near, <int>slot, values + at, count - at, first + at)
        if near.counts[slot] > near.room:
            _keep_closest(p, near, slot, row, ws)


cdef void _finish(const pairs_pass* p, const tw_tile_kernels* tile, const tw_near* near, int64_t slot, int64_t row,
                  char* ws, double* distances, int64_t* indices) noexcept nogil:
    cdef double* gaps = <double*>(ws + p.gaps)
    cdef int64_t* ids = <int64_t*>(ws + p.ids)
    cdef int64_t count
    tile.compact_f8(near, <int>slot)
    count = near.counts[slot]
    memcpy(ids, <int64_t*>near.indices + slot * near.stride, count * sizeof(int64_t))
    _distances(p, row, ids, count, ws, gaps)
    sort_pairs(gaps, ids, count)
    memcpy(distances, gaps, near.k * sizeof(double))
    memcpy(indices, ids, near.k * sizeof(int64_t))


cdef class Nearest(_Pairs):
    """The k closest rows of Y to some rows of X, from blocks in rising order of their columns.

    Parameters
    ----------
    x, y : Rows
    k : int
    group_rows : int
        Rows of X whose candidates are held at the same time.
    share : float
        A column whose value is above 1 + share times another is farther by the canonical distance.
    isa : str
    n_threads : int
    """

    cdef tw_near near
    cdef Workspace candidates
    cdef int64_t x_first, count, group_rows

    def __init__(self, Rows x, Rows y, int64_t k, int64_t group_rows, *, double share, str isa, int n_threads):
        # Twice as many as wanted, so that thinning out is rare; no more than there are.
        cdef int64_t m = y.c.n_rows, room = min(2 * k + 64, max(m, k)), n = max(1, group_rows)
        if not 1 <= k <= m:
            raise ValueError(f"k={k} neighbours of {m} rows")
        if m > 2**31 - 2**20:
            raise ValueError(f"at most {2**31 - 2**20} rows of Y are supported, got {m}")
        # A whole vector is written behind the last value.
        self.near.stride = (room + 32 + 15) // 16 * 16
        self._open(x, y, self.near.stride, isa, n_threads)
        self.near.k, self.near.room, self.near.share = <int>k, <int>room, share
        self.candidates = candidate_lists(&self.near, n)
        self.group_rows, self.count = n, 0

    def begin(self, int64_t x_first, int64_t count):
        """Turn to rows x_first .. x_first + count of X, at most a group."""
        cdef int64_t r, k = self.near.k
        if x_first < 0 or not 0 <= count <= self.group_rows or x_first + count > self.x.c.n_rows:
            raise ValueError("not a group of rows of X")
        self.x_first, self.count = x_first, count
        for r in range(count):
            (<double*>self.near.limits)[r] = INFINITY
            self.near.counts[r] = 0
            self.near.triggers[r] = <int32_t>min(<int64_t>self.near.room, k + k // 8 + k // 2 + 16)

    def update(self, const double[:, :] block, int64_t row, int64_t y_first, *, int n_threads):
        """Take in a block: rows of the group from `row` on, columns from y_first on."""
        cdef int64_t r, rows = block.shape[0], slot
        cdef int count = <int>block.shape[1], threads
        cdef ptrdiff_t step = block.strides[0]
        cdef const char* start
        self._check(block, self.x_first + row, y_first)
        if row < 0 or row + rows > self.count:
            raise ValueError("the block has rows that are not in the group")
        if rows == 0 or count == 0:
            return
        start = <const char*>&block[0, 0]
        threads = enter_loop(min(n_threads, self.threads))
        try:
            for r in prange(rows, nogil=True, schedule="dynamic", chunksize=RUN, num_threads=threads):
                slot = row + r
                _feed(&self.p, self.tile, &self.near, slot, self.x_first + slot, <const double*>(start + r * step),
                      count, y_first, self.p.workspace + threadid() * self.p.total)
        finally:
            leave_loop()

    def result(self, int64_t row, double[:, ::1] distances, int64_t[:, ::1] indices):
        """Write canonical squared distances and indices of rows of the group from `row` on, sorted."""
        cdef int64_t r, rows = distances.shape[0]
        cdef int threads
        if row < 0 or row + rows > self.count or indices.shape[0] != rows or (
                distances.shape[1] != self.near.k or indices.shape[1] != self.near.k):
            raise ValueError("distances and indices must be (rows, k)")
        for r in range(rows):
            if self.near.counts[row + r] < self.near.k:
                raise ValueError(f"row {row + r} has had fewer than {self.near.k} columns")
        if rows == 0:
            return
        threads = enter_loop(self.threads if rows > RUN else 1)
        try:
            for r in prange(rows, nogil=True, schedule="dynamic", chunksize=RUN, num_threads=threads):
                _finish(&self.p, self.tile, &self.near, row + r, self.x_first + row + r,
                        self.p.workspace + threadid() * self.p.total, &distances[r, 0], &indices[r, 0])
        finally:
            leave_loop()

# ---------------------------------------------------------------- within a radius


cdef int64_t _keep_within(const pairs_pass* p, double within, double below, int64_t row, int64_t n, double* values,
                          int64_t* ids, char* ws) noexcept nogil:
    """Of n columns the ones that are within, in the same order, with their values.

    Those above `below` are measured, and have the canonical distance from then on.
    """
    cdef double* gaps = <double*>(ws + p.gaps)
    cdef int64_t* open_ids = <int64_t*>(ws + p.ids)
    cdef int64_t i, at = 0, count = 0, kept = 0
    for i in range(n):
        if values[i] > below:
            open_ids[count] = ids[i]
            count += 1
    if count == 0:
        return n
    _distances(p, row, open_ids, count, ws, gaps)
    for i in range(n):
        if values[i] > below:
            values[i] = gaps[at]
            at += 1
            if values[i] > within:
                continue
        values[kept] = values[i]
        ids[kept] = ids[i]
        kept += 1
    return kept


cdef class Within(_Pairs):
    """The rows of Y whose canonical squared distance to a row of X is at most `within`.

    Parameters
    ----------
    x, y : Rows
    within : float
    above, below : float
        Values above `above` are not within for certain, values up to `below` are.
    columns : int
        Of the widest block.
    isa : str
    n_threads : int
    """

    cdef double within, above, below
    cdef int64_t columns

    def __init__(self, Rows x, Rows y, *, double within, double above, double below, int64_t columns, str isa,
                 int n_threads):
        self._open(x, y, max(1, columns), isa, n_threads)
        self.within, self.above, self.below, self.columns = within, above, below, columns

    def decide(self, int64_t x_first, const int64_t[::1] starts, int64_t[::1] counts, double[::1] values,
               int64_t[::1] ids, *, int n_threads):
        """Of the columns ids of rows x_first + r, from starts[r] on, keep the first counts[r] that are within.

        Values that do not decide are replaced by canonical distances. A row has no more columns
        than the widest block.
        """
        cdef int64_t r, rows = starts.shape[0]
        cdef int threads
        if counts.shape[0] != rows or x_first < 0 or x_first + rows > self.x.c.n_rows or (
                values.shape[0] != ids.shape[0]):
            raise ValueError("starts and counts must have one entry per row of X")
        for r in range(rows):
            if not 0 <= counts[r] <= max(1, self.columns):
                raise ValueError(f"row {r} has {counts[r]} columns, more than the widest block: {self.columns}")
        if rows == 0 or values.shape[0] == 0:
            return
        threads = enter_loop(min(n_threads, self.threads))
        try:
            for r in prange(rows, nogil=True, schedule="dynamic", chunksize=RUN, num_threads=threads):
                counts[r] = _keep_within(&self.p, self.within, self.below, x_first + r, counts[r],
                                         &values[0] + starts[r], &ids[0] + starts[r],
                                         self.p.workspace + threadid() * self.p.total)
        finally:
            leave_loop()

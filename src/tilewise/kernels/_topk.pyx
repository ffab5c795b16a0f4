"""The k lowest values of rows that arrive as ready blocks."""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from tilewise.kernels._candidates cimport candidate_lists, sort_pairs
from tilewise.kernels._dispatch cimport enter_loop, leave_loop, tile_kernels, tw_near, tw_tile_kernels
from tilewise.kernels._workspace cimport Workspace


cdef class TopK:
    """The k lowest values of every row and their columns, ties to the lowest column.

    Blocks of a row come in rising order of their columns. NaN counts as infinity.

    Parameters
    ----------
    n : int
        Rows.
    k : int
    isa : str
    """

    cdef tw_near near
    cdef const tw_tile_kernels* tile
    cdef int64_t n, k
    cdef Workspace candidates

    def __init__(self, int64_t n, int64_t k, *, str isa):
        cdef int64_t room = 2 * k + 64, r
        cdef double* limits
        if n < 0 or not 1 <= k < 2**30:
            raise ValueError(f"{k} lowest of each of {n} rows")
        self.n, self.k = n, k
        self.tile = tile_kernels(isa)
        self.near.k = <int>k
        self.near.room = <int>room
        # A whole vector is written behind the last value; sorting takes twice the room.
        self.near.stride = (2 * room + 31) // 16 * 16
        self.candidates = candidate_lists(&self.near, n)
        limits = <double*>self.near.limits
        for r in range(n):
            limits[r] = INFINITY
            self.near.triggers[r] = <int32_t>min(room, k + k // 2 + 16)

    def update(self, const double[:, :] block, int64_t x_first, int64_t y_first, *, int n_threads):
        """Take in a block: rows from x_first on, columns from y_first on; its rows are contiguous."""
        cdef int64_t r, rows = block.shape[0]
        cdef int count = <int>block.shape[1], threads
        cdef ptrdiff_t step = block.strides[0]
        cdef const char* start
        if x_first < 0 or x_first + rows > self.n:
            raise ValueError("the block has rows that are not there")
        if rows == 0 or count == 0:
            return
        if count > 1 and block.strides[1] != sizeof(double):
            raise ValueError("the rows of the block must be contiguous")
        start = <const char*>&block[0, 0]
        threads = enter_loop(n_threads)
        try:
            for r in prange(rows, nogil=True, schedule="static", num_threads=threads):
                self.tile.feed_f8(&self.near, <int>(x_first + r), <const double*>(start + r * step), count, y_first)
        finally:
            leave_loop()

    def result(self, double[:, ::1] values, int64_t[:, ::1] columns, *, int n_threads):
        """Write the values (n, k), sorted by (value, column), and their columns."""
        cdef int64_t r
        cdef int threads
        if values.shape[0] != self.n or values.shape[1] != self.k or (
                columns.shape[0] != self.n or columns.shape[1] != self.k):
            raise ValueError("values and columns must be (n, k)")
        for r in range(self.n):
            if self.near.counts[r] < self.k:
                raise ValueError(f"row {r} has had fewer than {self.k} columns")
        if self.n == 0:
            return
        threads = enter_loop(n_threads)
        try:
            for r in prange(self.n, nogil=True, schedule="static", num_threads=threads):
                _finish(self.tile, &self.near, r, self.k, &values[r, 0], &columns[r, 0])
        finally:
            leave_loop()


cdef void _finish(const tw_tile_kernels* tile, const tw_near* near, int64_t row, int64_t k, double* values,
                  int64_t* columns) noexcept nogil:
    cdef double* scores = <double*>near.scores + row * near.stride
    cdef int64_t* indices = <int64_t*>near.indices + row * near.stride
    tile.compact_f8(near, <int>row)
    sort_pairs(scores, indices, near.counts[row])
    memcpy(values, scores, k * sizeof(double))
    memcpy(columns, indices, k * sizeof(int64_t))

from libc.stdint cimport int64_t

from tilewise.kernels._dispatch cimport tw_screen_kernels
from tilewise.kernels._rows cimport Rows
from tilewise.kernels._seeding_pass cimport seeding_pass


cdef void gain_shard(void* work, int64_t first, int rows, int thread) noexcept nogil
cdef void take_shard(void* work, int64_t first, int rows, int thread) noexcept nogil


cdef class Screen:
    cdef const tw_screen_kernels* kernels
    cdef Rows rows
    cdef seeding_pass* p
    cdef double unit
    cdef object _keep, _copy, _shown, _own
    # How far seeds are from the first one, for rows of doubles.
    cdef object _first, _reaches

    cdef int attach(self, Rows rows, seeding_pass* p, int64_t n_shards, int kept, str isa, bint vnni) except -1
    cdef object halves(self, nearest)
    cdef int copy_rows(self, int n_threads) except -1
    cdef int show(self, seeding_pass* p, trials, nearest) except -1
    cdef int follow(self, taken, bint is_first) except -1
    cdef bint gained(self, int trial, int64_t begin, int64_t end)
    cdef int forget(self) except -1

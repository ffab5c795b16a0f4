from libc.stdint cimport int64_t

from tilewise.kernels._rows cimport Rows
from tilewise.kernels._seeding_pass cimport seeding_pass


# Sizes of the workspace.
cdef int lay_out(seeding_pass* p, Rows rows) except -1
# The gains of a shard of CSR rows.
cdef void gain_shard_sparse(void* work, int64_t first, int count, int thread) noexcept nogil
# A candidate becomes the seed of the rows of a shard that it gained.
cdef void take_shard_sparse(void* work, int64_t first, int count, int thread) noexcept nogil


# The stored entries of the candidates, also side by side.
cdef class Candidates:
    cdef Rows rows
    cdef object _slots
    cdef object _held
    cdef object _listed
    cdef object _table
    cdef object _row_norms
    cdef int hold(self, seeding_pass* p, numbers, bint table) except -1
    cdef int clear(self) except -1

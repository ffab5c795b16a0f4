from libc.stdint cimport int64_t

from tilewise.kernels._pass cimport assign_pass, offsets_t, shard_report


# Rows that wait for being scored, and how many groups they meet together.
cdef struct collected:
    int rows
    int entries


cdef int rows_that_fit(const assign_pass* p, const collected* c) noexcept nogil
# Look at count rows from `first` on, no more than fit; c is INOUT.
cdef void collect_rows(const assign_pass* p, int64_t first, int count, char* ws, const offsets_t* o,
                       collected* c, shard_report* report) noexcept nogil
# Labels of what has been collected are left in the workspace.
cdef void label_collected(const assign_pass* p, const collected* c, char* ws, const offsets_t* o,
                          shard_report* report) noexcept nogil

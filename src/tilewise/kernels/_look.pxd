from libc.stdint cimport int64_t

from tilewise.kernels._pass cimport assign_pass, offsets_t, shard_report


# Copies the centres to bytes, once they have been placed.
cdef int look_at_centers(assign_pass* p, int threads) except -1
# Says where copies of so many centres lie, and their numbers.
cdef int place_looks(assign_pass* p, int centres, void* values, void* numbers) except -1
# Whether looks have settled enough rows so far to go on.
cdef bint look_pays(const assign_pass* p, int64_t looked, int64_t left, int64_t measured) noexcept nogil
# Labels the rows of a chunk that a look settles, and writes their bounds; the label of the others is -1.
# Those from next_row on may be fetched early if whole is true.
cdef void look_at_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t next_row, bint whole,
                       shard_report* report) noexcept nogil

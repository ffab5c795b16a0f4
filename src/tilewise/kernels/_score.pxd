from libc.stdint cimport int64_t

from tilewise.kernels._pass cimport assign_pass, offsets_t


# Pack n rows, score them against all centres, and label those that the scores settle; the
# label of the others is -1. The rows from next_row on may be fetched early if whole is true.
cdef void score_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t next_row,
                     bint whole) noexcept nogil
# The same in parts, for rows that meet some groups of centres only: n rows packed behind `first`
# others, and the bands of n packed rows.
cdef void pack_rows(const assign_pass* p, int n, const void** pointers, int first, char* ws,
                    const offsets_t* o) noexcept nogil
cdef void measure_bands(const assign_pass* p, int n, char* ws, const offsets_t* o) noexcept nogil

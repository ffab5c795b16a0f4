from libc.stdint cimport int64_t

from tilewise.kernels._pass cimport assign_pass, offsets_t, shard_report


cdef enum:
    # Rows that share one more walk through the panels.
    AGAIN = 32

# Measure the distance of n rows to their own centres; keeps those that this leaves open.
cdef int measure_own(const assign_pass* p, int n, int64_t* ids, const void** pointers) noexcept nogil
# Renew the bounds of n scored rows and label those that the certificate leaves open.
cdef void decide_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, shard_report* report) noexcept nogil
# Label the collected rows that met some groups of centres: `label` is the slot that the scores are
# certain of, or -1, and becomes the centre; upper bounds of those that they were not certain of.
cdef void decide_in_groups(const assign_pass* p, int n, char* ws, const offsets_t* o,
                           shard_report* report) noexcept nogil

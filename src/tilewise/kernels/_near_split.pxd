from libc.stdint cimport int64_t

from tilewise.kernels._candidates cimport near_pass
from tilewise.kernels._dispatch cimport tw_near


# Packs rows of a chunk in parts; how far their scores may be off goes to near.split_errors.
cdef void pack_split_rows(const near_pass* p, int n, const void** pointers, void* packed,
                          const tw_near* near, char* ws) noexcept nogil
# Splits a packed panel of count rows of Y, and notes what its parts leave out.
cdef void split_panel(const near_pass* p, int64_t panel, int count, const float* packed) noexcept nogil
# Fixes, or checks, what the rows of Y leave out after a block is packed; False if it was too low.
cdef bint raise_shares(near_pass* p, int64_t panels) noexcept nogil
# The error bound of scores of parts.
cdef void place_split(near_pass* p) noexcept nogil

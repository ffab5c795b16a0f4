from libc.stdint cimport int64_t

from tilewise.kernels._candidates cimport near_pass
from tilewise.kernels._dispatch cimport tw_near


# The largest coordinate of some rows of Y, by magnitude, after the origin is taken away.
cdef double extent(const near_pass* p, int64_t first, int count, const double* origin,
                   const float* narrow, char* ws) noexcept nogil
# Packs rows of a chunk of X, plain or in parts; their norms go to near.
cdef void pack_rows(const near_pass* p, int n, const void** pointers, void* packed, const tw_near* near,
                    char* ws) noexcept nogil
# Packs one panel of the block of Y.
cdef void pack_panel(void* work, int64_t panel, int _count, int thread) noexcept nogil

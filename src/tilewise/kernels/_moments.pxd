# The one order in which moments of columns add up, in whole passes and in parts of them.

from libc.stdint cimport int64_t

cdef enum:
    # Rows fetched, and for moments merged, at a time. Part of the order of additions of the
    # moments, hence fixed: 128 rows of 784 doubles fit an L2 of 1 MiB.
    BLOCK = 128


# Adds the moments of count rows of d numbers, a block, to those of the seen rows of a shard.
cdef inline void merge_moments(int64_t seen, int64_t count, int d, const double* block_mean,
                               const double* block_squares, const double* block_largest, double* mean,
                               double* squares, double* largest) noexcept nogil:
    cdef double whole = <double>(seen + count), gap
    cdef double share = count / whole
    cdef int l
    for l in range(d):
        gap = block_mean[l] - mean[l]
        mean[l] += gap * share
        squares[l] += block_squares[l] + gap * gap * (seen * share)
        if block_largest[l] > largest[l]:
            largest[l] = block_largest[l]

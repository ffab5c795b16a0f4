"""Rows of X and Y in parts of bfloat16, for the search of neighbours: docs/exact-neighbors.md."""

from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint16_t

from tilewise.kernels._candidates cimport near_pass
from tilewise.kernels._centers cimport split_error, split_eta, split_slack
from tilewise.kernels._dispatch cimport tw_near, tw_split_parts

cdef enum:
    WIDTH = 64  # most columns of a panel


cdef void pack_split_rows(const near_pass* p, int n, const void** pointers, void* packed,
                          const tw_near* near, char* ws) noexcept nogil:
    cdef float* norms = <float*>near.norms
    cdef float* second_norms = <float*>(ws + p.squares_at)
    cdef float* rest_norms = second_norms + p.chunk_rows
    cdef int parts = tw_split_parts(p.products)
    if p.x.is_double:
        p.split.pack_f8(n, p.depth, parts, <const double* const*>pointers, <const double*>p.origin, p.scale,
                        <uint16_t*>packed, norms, second_norms, rest_norms)
    else:
        p.split.pack_f4(n, p.depth, parts, <const float* const*>pointers, <const float*>p.origin,
                        <float>p.scale, <uint16_t*>packed, norms, second_norms, rest_norms)
    p.split.split_errors(n, norms, second_norms, rest_norms, <float>p.second_share, <float>p.rest_share,
                         <float*>near.split_errors)


cdef void split_panel(const near_pass* p, int64_t panel, int count, const float* packed) noexcept nogil:
    cdef float norms[WIDTH]
    cdef float second_norms[WIDTH]
    cdef float rest_norms[WIDTH]
    cdef double slack = split_slack(p.depth), norm
    cdef double* shares = p.shares + 2 * panel
    cdef int j
    p.split.pack_panel(packed, p.depth, tw_split_parts(p.products), <uint16_t*>p.panels + panel * p.split_step,
                       norms, second_norms, rest_norms)
    shares[0] = shares[1] = 0.0
    for j in range(count):
        if norms[j] > 0:
            # The norm below is a sum of float32, too.
            norm = sqrt(norms[j]) / (slack * slack)
            shares[0] = max(shares[0], sqrt(second_norms[j]) / norm)
            shares[1] = max(shares[1], sqrt(rest_norms[j]) / norm)


cdef bint raise_shares(near_pass* p, int64_t panels) noexcept nogil:
    cdef double second = 0.0, rest = 0.0, units = 1.01 * 2.0**-8
    cdef int64_t panel
    for panel in range(panels):
        second = max(second, p.shares[2 * panel])
        rest = max(rest, p.shares[2 * panel + 1])
    if p.second_share < 0.0:
        # The rows of later blocks may leave out a little more.
        p.second_share = 1.25 * second
        p.rest_share = 1.25 * rest
        return True
    if second <= p.second_share and rest <= p.rest_share:
        return True
    # What any number leaves out at most: each part is the last one's error, rounded to 2^-8.
    p.second_share = max(units, second)
    p.rest_share = max(units * units, rest)
    return False


cdef void place_split(near_pass* p) noexcept nogil:
    # Half a squared norm is summed in float32 as for plain scores.
    cdef int chain = p.lanes + (p.depth + p.lanes - 1) // p.lanes + 4
    p.near.alpha = split_error(p.steps, p.products, chain)
    p.near.eta = split_eta(p.depth, p.near.largest_norm)
    p.second_share = p.rest_share = -1.0

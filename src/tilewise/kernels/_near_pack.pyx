"""Rows of X and Y as tiles and panels, shifted and scaled, for the search of neighbours."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from tilewise.kernels._candidates cimport near_pass
from tilewise.kernels._dispatch cimport tw_near
from tilewise.kernels._near_split cimport pack_split_rows, split_panel
from tilewise.kernels._pass cimport score_t
from tilewise.kernels._rows cimport tw_fetch_rows


cdef double extent(const near_pass* p, int64_t first, int count, const double* origin,
                   const float* narrow, char* ws) noexcept nogil:
    cdef const void** rows = <const void**>(ws + p.y_pointers_at)
    tw_fetch_rows(p.y, NULL, first, count, rows, ws + p.y_staging_at, p.step)
    if p.y.is_double:
        return p.tile.extent_f8(<const double* const*>rows, count, p.depth, origin)
    return p.tile.extent_f4(<const float* const*>rows, count, p.depth, narrow)


cdef void _pack_plain(const near_pass* p, int n, const void** pointers, score_t* packed,
                      score_t* norms) noexcept nogil:
    cdef ptrdiff_t segment_step = <ptrdiff_t>p.tile.tile_rows * p.lanes
    cdef ptrdiff_t tile_step = (p.depth + p.lanes - 1) // p.lanes * segment_step
    cdef int tile_rows = p.tile.tile_rows, lanes = p.lanes
    if score_t is float:
        if p.x.is_double:
            p.tile.pack_f8f4(n, p.depth, <const double* const*>pointers, <const double*>p.origin, p.scale,
                             packed, lanes, segment_step, tile_rows, tile_step, norms)
        else:
            p.tile.pack_f4f4(n, p.depth, <const float* const*>pointers, <const float*>p.origin,
                             <float>p.scale, packed, lanes, segment_step, tile_rows, tile_step, norms)
    else:
        if p.x.is_double:
            p.tile.pack_f8f8(n, p.depth, <const double* const*>pointers, <const double*>p.origin, p.scale,
                             packed, lanes, segment_step, tile_rows, tile_step, norms)
        else:
            p.tile.pack_f4f8(n, p.depth, <const float* const*>pointers, <const double*>p.origin, p.scale,
                             packed, lanes, segment_step, tile_rows, tile_step, norms)


cdef void pack_rows(const near_pass* p, int n, const void** pointers, void* packed, const tw_near* near,
                    char* ws) noexcept nogil:
    if p.products:
        pack_split_rows(p, n, pointers, packed, near, ws)
    elif p.score_double:
        _pack_plain(p, n, pointers, <double*>packed, <double*>near.norms)
    else:
        _pack_plain(p, n, pointers, <float*>packed, <float*>near.norms)


cdef void pack_panel(void* work, int64_t panel, int _count, int thread) noexcept nogil:
    cdef const near_pass* p = <const near_pass*>work
    cdef char* ws = p.workspace + thread * p.workspace_bytes
    cdef const void** rows = <const void**>(ws + p.y_pointers_at)
    cdef int64_t first = panel * p.width
    cdef int count = p.width if p.y_count - first > p.width else <int>(p.y_count - first)
    cdef ptrdiff_t at = 0 if p.products else panel * (p.depth + 1) * p.width
    cdef float* plain = <float*>(ws + p.plain_at) if p.products else <float*>p.panels
    tw_fetch_rows(p.y, NULL, p.y_first + first, count, rows, ws + p.y_staging_at, p.step)
    if p.score_double:
        if p.x.is_double:
            p.tile.pack_panel_f8f8(count, p.depth, <const double* const*>rows, <const double*>p.origin,
                                   p.scale, <double*>p.panels + at, p.width)
        else:
            p.tile.pack_panel_f4f8(count, p.depth, <const float* const*>rows, <const double*>p.origin,
                                   p.scale, <double*>p.panels + at, p.width)
    elif p.x.is_double:
        p.tile.pack_panel_f8f4(count, p.depth, <const double* const*>rows, <const double*>p.origin,
                               p.scale, plain + at, p.width)
    else:
        p.tile.pack_panel_f4f4(count, p.depth, <const float* const*>rows, <const float*>p.origin,
                               <float>p.scale, plain + at, p.width)
    if p.products:
        split_panel(p, panel, count, plain)

"""The first look of a pass: bytes rule out most centres, canonical distances decide among the rest.

Rows and centres are copied to bytes, each with a unit of its own and a bound of its error. The closest
copy is measured canonically; by the triangle inequality that bounds how far the copy of a closer centre
may be. A row with few such centres is decided here; any other has its scores made as ever. The proof is in
docs/exact-labels.md#first-look.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY, fabs, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t

from tilewise.kernels._dispatch cimport TW_LOOK_CENTRES, TW_LOOK_ROOM, TW_LOOK_ROWS, TW_SCREEN_GROUP
from tilewise.kernels._pass cimport assign_pass, offsets_t, shard_report

cdef enum:
    # Rows after which looks are judged: two tiles.
    JUDGED = 64


cdef int place_looks(assign_pass* p, int centres, void* values, void* numbers) except -1:
    """Divide the buffers of so many centres, whole panels of them."""
    p.looked.count, p.looked.panels = p.n_clusters, centres // TW_LOOK_CENTRES
    p.looked.steps = (p.depth + 3) // 4
    p.looked.values = <int8_t*>values
    p.looked.bases = <int32_t*>numbers
    p.looked.units = <float*>p.looked.bases + centres
    p.looked.errors = p.looked.units + centres
    p.looked.halves = p.looked.errors + centres
    return 0


cdef int look_at_centers(assign_pass* p, int threads) except -1:
    """Fill what the looks have of the centres."""
    cdef int panel, j
    cdef double error = 0.0
    for panel in prange(p.looked.panels, nogil=True, schedule="static", num_threads=threads):
        p.screen.look_panel(
            min(TW_LOOK_CENTRES, p.n_clusters - panel * TW_LOOK_CENTRES),
            p.centers + <ptrdiff_t>panel * TW_LOOK_CENTRES * p.ldc, p.ldc, p.wide_origin, p.scale, p.depth,
            p.looked.values + <ptrdiff_t>panel * TW_LOOK_CENTRES * 4 * p.looked.steps, &p.looked,
            panel * TW_LOOK_CENTRES)
    for j in range(p.n_clusters):
        error = max(error, p.looked.errors[j])
    p.look_error = error
    return 0


cdef bint look_pays(const assign_pass* p, int64_t looked, int64_t left, int64_t measured) noexcept nogil:
    cdef double spent = left + <double>measured * p.look_measured / p.n_clusters
    return looked < JUDGED or spent <= p.look_most_left * looked


cdef void _copy_rows(const assign_pass* p, int n, const void** pointers, uint8_t* copied, float* units,
                     float* errors, double* squares) noexcept nogil:
    cdef int group, first
    for group in range(TW_LOOK_ROWS // TW_SCREEN_GROUP):
        first = group * TW_SCREEN_GROUP
        if p.rows.is_double:
            p.screen.look_rows_f8(n - first, <const double* const*>pointers + first, p.wide_origin, p.scale, p.depth,
                                  copied + <ptrdiff_t>first * 4 * p.looked.steps, units + first, errors + first,
                                  squares + first)
        else:
            p.screen.look_rows_f4(n - first, <const float* const*>pointers + first, p.wide_origin, p.scale, p.depth,
                                  copied + <ptrdiff_t>first * 4 * p.looked.steps, units + first, errors + first,
                                  squares + first)


cdef inline double _canonical(const assign_pass* p, const void* x, ptrdiff_t j) noexcept nogil:
    if p.rows.is_double:
        return p.exact.distance_f8(<const double*>x, p.centers + j * p.ldc, p.depth)
    return p.exact.distance_f4(<const float*>x, p.centers + j * p.ldc, p.depth)


cdef inline double _margin(const assign_pass* p, double square, double reach) noexcept nogil:
    """More than the scores of a row, and the comparisons with its limit, round in float32."""
    cdef double size = sqrt(square) + p.largest_norm + 2.0 * p.look_error + reach
    return 2.0**-20 * size * size + 1e-36


cdef uint32_t _set_limits(const assign_pass* p, int n, const double* gaps, const float* errors,
                          const double* squares, float* reaches, float* limits) noexcept nogil:
    """What the scores of the centres of each row are compared with; the rows where that has a meaning."""
    cdef uint32_t asked = 0
    cdef double reach, limit
    cdef int r
    for r in range(TW_LOOK_ROWS):
        reaches[r] = limits[r] = 0.0
        # Neither row nor distance may be beyond what float32 holds.
        if r >= n or not errors[r] < 1e14 or not gaps[r] * p.scale * p.scale < 1e28:
            continue
        reach = (sqrt(gaps[r]) * (1.0 + 2.0**-20) + 1e-150) * p.scale + errors[r]
        reaches[r] = <float>(reach * (1.0 + 2.0**-22))
        reach = reaches[r]
        limit = 0.5 * (reach * reach - squares[r]) + _margin(p, squares[r], reach)
        limits[r] = <float>(limit + 2.0**-22 * fabs(limit))
        asked |= <uint32_t>1 << r
    return asked


cdef int32_t _closest(const assign_pass* p, const void* x, int32_t leader, const int32_t* candidates, int count,
                      double* gap, double* other) noexcept nogil:
    """The candidate at the least canonical distance, the lowest index in a tie; and the second least."""
    cdef int32_t label = leader, j
    cdef double distance
    cdef int i
    other[0] = INFINITY
    for i in range(count):
        j = candidates[i]
        if j == leader:
            continue
        distance = _canonical(p, x, j)
        if distance < gap[0] or (distance == gap[0] and j < label):
            other[0] = min(other[0], gap[0])
            gap[0] = distance
            label = j
        else:
            other[0] = min(other[0], distance)
    return label


cdef double _beyond(const assign_pass* p, double second, double error, double square) noexcept nogil:
    """A lower bound of the distance to every centre but the one with the lowest score."""
    cdef double reach = 2.0 * (second - _margin(p, square, 0.0)) + square
    if not second < 1e30:
        return 3e38
    return (sqrt(reach) - error - p.look_error) / p.scale if reach > 0.0 else 0.0


cdef void _set_bounds(const assign_pass* p, int64_t i, double gap, double lower) noexcept nogil:
    # As in _decide: the additive part keeps an upper bound above zero where float underflows.
    lower = lower * (1.0 - 1e-6)
    p.upper[i] = <float>(sqrt(gap) * (1.0 + 1e-6) + 1e-37)
    p.lower[i] = <float>min(lower, 3e38) if lower > 0.0 else 0.0


cdef void _ask_ahead(const assign_pass* p, int n, int first, const void** pointers, int64_t next_row, bint whole,
                     const void** ahead) noexcept nogil:
    """The rows of the tile after this one: of the chunk, or where the next chunk begins."""
    cdef int64_t i, last = p.rows.n_rows - 1
    cdef int r
    ahead[0] = NULL
    for r in range(TW_LOOK_ROWS):
        if first < n:
            ahead[r] = pointers[min(first + r, n - 1)]
        elif whole and p.rows.direct and next_row <= last:
            i = min(next_row + r, last)
            ahead[r] = p.rows.data + (i if p.rows.picks == NULL else p.rows.picks[i]) * p.rows.row_stride


cdef void look_at_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t next_row, bint whole,
                       shard_report* report) noexcept nogil:
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef uint8_t* copied = <uint8_t*>(ws + o.looked_rows)
    cdef float* scores = <float*>(ws + o.looked_scores)
    cdef const void* ahead[TW_LOOK_ROWS]
    cdef float units[TW_LOOK_ROWS]
    cdef float errors[TW_LOOK_ROWS]
    cdef float lowest[TW_LOOK_ROWS]
    cdef float second[TW_LOOK_ROWS]
    cdef float reaches[TW_LOOK_ROWS]
    cdef float limits[TW_LOOK_ROWS]
    cdef double squares[TW_LOOK_ROWS]
    cdef double gaps[TW_LOOK_ROWS]
    cdef int32_t where[TW_LOOK_ROWS]
    cdef int32_t counts[TW_LOOK_ROWS]
    cdef int32_t candidates[TW_LOOK_ROWS * TW_LOOK_ROOM]
    cdef int tile, first, count, r, bytes = p.depth * (8 if p.rows.is_double else 4)
    cdef uint32_t asked
    cdef double beyond, reach = 0.0
    for tile in range((n + TW_LOOK_ROWS - 1) // TW_LOOK_ROWS):
        first = tile * TW_LOOK_ROWS
        count = min(n - first, <int>TW_LOOK_ROWS)
        if not look_pays(p, report.looked, report.left, report.measured):
            for r in range(first, n):
                label[r] = -1
            return
        report.looked += count
        _copy_rows(p, count, pointers + first, copied, units, errors, squares)
        _ask_ahead(p, n, first + TW_LOOK_ROWS, pointers, next_row, whole, ahead)
        p.screen.look(copied, units, &p.looked, scores, lowest, second, where, ahead if ahead[0] != NULL else NULL,
                      bytes)
        if p.rows.is_double:
            p.exact.distances_own_f8(<const double* const*>pointers + first, where, p.centers, p.ldc, count, p.depth,
                                     gaps)
        else:
            p.exact.distances_own_f4(<const float* const*>pointers + first, where, p.centers, p.ldc, count, p.depth,
                                     gaps)
        asked = _set_limits(p, count, gaps, errors, squares, reaches, limits)
        p.screen.look_list(scores, &p.looked, reaches, limits, asked, candidates, counts)
        for r in range(count):
            label[first + r] = -1
            if not asked >> r & 1 or counts[r] > TW_LOOK_ROOM:
                report.left += 1
                continue
            report.measured += counts[r]
            if counts[r] < 2:
                label[first + r] = where[r]
                beyond = _beyond(p, second[r], errors[r], squares[r])
            else:
                # What is not listed is farther than the centre with the lowest score.
                beyond = gaps[r]
                label[first + r] = _closest(p, pointers[first + r], where[r], candidates + r * TW_LOOK_ROOM,
                                            counts[r], &gaps[r], &reach)
                beyond = sqrt(min(beyond, reach))
            if p.upper != NULL:
                _set_bounds(p, ids[first + r], gaps[r], beyond)

"""A pass in which rows meet only those groups of centres that their bounds do not exclude.

Rows that the bounds of all groups leave open are collected, packed and listed under every group that
may hold a closer centre. A group then meets all rows of its list at once. The proof that the others
cannot win stands in docs/exact-labels.md.
"""

from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from tilewise.kernels._decide cimport decide_in_groups, measure_own
from tilewise.kernels._dispatch cimport TW_GROUP_CENTRES
from tilewise.kernels._pass cimport assign_pass, offsets_t, score_t, shard_report
from tilewise.kernels._rows cimport tw_fetch_rows
from tilewise.kernels._score cimport measure_bands, pack_rows

cdef enum:
    # Rows that are worth collecting before those that have been collected are scored.
    FEWEST = 96


cdef int rows_that_fit(const assign_pass* p, const collected* c) noexcept nogil:
    """How many more rows may be looked at before those that have been collected are scored."""
    cdef int64_t room = min(<int64_t>(p.chunk_rows - c.rows), (p.list_entries - c.entries) // p.n_groups)
    if c.rows and (room < FEWEST or not p.rows.direct):
        return 0
    return <int>room


cdef void collect_rows(const assign_pass* p, int64_t first, int count, char* ws, const offsets_t* o,
                       collected* c, shard_report* report) noexcept nogil:
    """Take in those of count rows that the bounds leave open: packed, with the groups that they meet."""
    cdef int64_t* ids = <int64_t*>(ws + o.ids) + c.rows
    cdef const void** pointers = <const void**>(ws + o.pointers) + c.rows
    cdef int32_t* starts = <int32_t*>(ws + o.starts) + c.rows
    cdef int32_t* groups = <int32_t*>(ws + o.groups)
    cdef int r, n = count
    cdef int64_t i
    if p.use_bounds:
        n = p.tile.open_rows(count, first, p.labels, p.upper, p.lower, p.moves, p.largest_move,
                             p.second_move, p.largest_mover, ids)
        report.open += n
        n = p.tile.open_by_groups(n, ids, p.group_bounds, p.drift_above, p.n_groups, p.upper, p.lower)
    else:
        report.open += n
        for r in range(count):
            ids[r] = first + r
    tw_fetch_rows(p.rows, ids, 0, n, pointers, ws + o.staging, p.ldc)
    if p.use_bounds:
        n = measure_own(p, n, ids, pointers)
    for r in range(n):
        i = ids[r]
        starts[r] = c.entries
        c.entries += p.tile.near_groups(
            p.group_bounds + i * p.n_groups, p.drift_above, p.n_groups,
            p.upper[i] if p.use_bounds else <float>INFINITY,
            p.slots[p.labels[i]] // TW_GROUP_CENTRES if p.use_bounds else 0, groups + c.entries)
    starts[n] = c.entries
    pack_rows(p, n, pointers, c.rows, ws, o)
    c.rows += n
    report.scored += n


cdef void _list_by_group(const assign_pass* p, const collected* c, char* ws, const offsets_t* o,
                         int32_t* begins) noexcept nogil:
    """Sort the entries by group; begins is (n_groups + 1), where each group's begin."""
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef const int32_t* groups = <const int32_t*>(ws + o.groups)
    cdef int32_t* places = <int32_t*>(ws + o.places)
    cdef const void** listed = <const void**>(ws + o.listed)
    cdef ptrdiff_t item = 8 if p.score_double else 4
    cdef ptrdiff_t step = (p.depth + p.lanes - 1) // p.lanes * p.lanes * item
    cdef int e, g, r
    memset(begins, 0, (p.n_groups + 1) * sizeof(int32_t))
    for e in range(c.entries):
        begins[groups[e] + 1] += 1
    for g in range(p.n_groups):
        begins[g + 1] += begins[g]
    for r in range(c.rows):
        for e in range(starts[r], starts[r + 1]):
            places[e] = begins[groups[e]]
            begins[groups[e]] += 1
            listed[places[e]] = ws + o.rows + r * step
    # Each has come to where the next one begins.
    for g in range(p.n_groups, 0, -1):
        begins[g] = begins[g - 1]
    begins[0] = 0


cdef void _label_rows(const assign_pass* p, const collected* c, char* ws, const offsets_t* o,
                      shard_report* report, score_t* low) noexcept nogil:
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef const int32_t* groups = <const int32_t*>(ws + o.groups)
    cdef const int32_t* places = <const int32_t*>(ws + o.places)
    cdef const void** listed = <const void**>(ws + o.listed)
    cdef int32_t* begins = <int32_t*>(ws + o.begins)
    cdef int32_t* where = <int32_t*>(ws + o.where)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef float* upper = <float*>(ws + o.upper)
    cdef float* lower = <float*>(ws + o.lower)
    cdef score_t* next = <score_t*>(ws + o.next)
    cdef score_t* norms = <score_t*>(ws + o.norms)
    cdef score_t* band = <score_t*>(ws + o.band)
    cdef score_t* lowest = <score_t*>(ws + o.lowest)
    cdef score_t* second_lowest = <score_t*>(ws + o.second_lowest)
    cdef int width = p.panel_vectors * p.lanes, per_group = TW_GROUP_CENTRES // width, panels, g, at, count, r
    cdef const score_t* packed
    cdef int64_t i
    # Of the squared distance |x|^2 + 2 s: the norm's own rounding, and that of three operations.
    cdef double norm_error = 2.02 * p.alpha + 1.01 * p.nu + (2.0**-50 if p.score_double else 2.0**-21)
    _list_by_group(p, c, ws, o, begins)
    for g in range(p.n_groups):
        at = begins[g]
        count = begins[g + 1] - at
        if count == 0:
            continue
        packed = <const score_t*>p.packed + <ptrdiff_t>g * per_group * width * (p.depth + 1)
        panels = min(per_group, p.n_panels - g * per_group)
        if score_t is float:
            p.tile.meet_group_f4(count, <const float* const*>(listed + at), p.depth, p.depth_block, packed, panels,
                                 g * TW_GROUP_CENTRES, low + at, next + at, where + at)
        else:
            p.tile.meet_group_f8(count, <const double* const*>(listed + at), p.depth, p.depth_block, packed, panels,
                                 g * TW_GROUP_CENTRES, low + at, next + at, where + at)
    measure_bands(p, c.rows, ws, o)
    if score_t is float:
        p.tile.certify_groups_f4(c.rows, starts, places, low, next, where, band, label, lowest, second_lowest)
        p.tile.renew_f4(c.rows, lowest, second_lowest, norms, band, <float>norm_error, 1.0 / p.scale, upper, lower)
    else:
        p.tile.certify_groups_f8(c.rows, starts, places, low, next, where, band, label, lowest, second_lowest)
        p.tile.renew_f8(c.rows, lowest, second_lowest, norms, band, norm_error, 1.0 / p.scale, upper, lower)
    decide_in_groups(p, c.rows, ws, o, report)
    for r in range(c.rows):
        i = ids[r]
        # The distance may have been measured, which is closer.
        if not (p.use_bounds and label[r] == p.labels[i] and p.upper[i] <= upper[r]):
            p.upper[i] = upper[r]
        # renew_groups wants slots.
        (<int32_t*>(ws + o.slot))[r] = p.slots[label[r]]
    if score_t is float:
        p.tile.renew_groups_f4(c.rows, ids, starts, groups, places, low, next, where, <int32_t*>(ws + o.slot), norms,
                               band, <float>norm_error, 1.0 / p.scale, p.drift_below, p.drift_above, p.n_groups,
                               p.group_bounds, p.lower)
    else:
        p.tile.renew_groups_f8(c.rows, ids, starts, groups, places, low, next, where, <int32_t*>(ws + o.slot), norms,
                               band, norm_error, 1.0 / p.scale, p.drift_below, p.drift_above, p.n_groups,
                               p.group_bounds, p.lower)


cdef void label_collected(const assign_pass* p, const collected* c, char* ws, const offsets_t* o,
                          shard_report* report) noexcept nogil:
    """Labels of the collected rows, left in the workspace, and their bounds."""
    report.entries += c.entries
    if p.score_double:
        _label_rows[double](p, c, ws, o, report, <double*>(ws + o.low))
    else:
        _label_rows[float](p, c, ws, o, report, <float*>(ws + o.low))

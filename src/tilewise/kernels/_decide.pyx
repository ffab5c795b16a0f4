"""What scores and bounds leave open, decided by the canonical distance.

Everything here is exact: see docs/exact-labels.md for the proof behind each limit.
"""

from libc.math cimport INFINITY, fabs, isfinite, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from tilewise.kernels._dispatch cimport TW_GROUP_CENTRES, tw_tile_kernels
from tilewise.kernels._pass cimport (
    BLAS,
    CSR,
    ROWS_IN_LANES,
    assign_pass,
    offsets_t,
    score_t,
    shard_report,
)
from tilewise.kernels._rows cimport tw_prefetch, tw_widen_row

cdef enum:
    # Candidates that a row is decided among one by one; with more, all centres are compared,
    # so many per call of the canonical distance.
    BATCH = 64
    SQEUCLIDEAN = 1  # of enum tw_sparse_kernel
    # Rows whose distances to their own centres are taken at a time.
    MEASURED = 64
    # Rows, and bytes of a row, that are fetched before they are needed.
    AHEAD = 6
    FETCHED = 1024


# ---------------------------------------------------------------- bounds


cdef inline float _rounded_up(double value) noexcept nogil:
    # The additive part keeps an upper bound above zero where float underflows.
    return <float>(value * (1.0 + 1e-6) + 1e-37)


cdef bint _settled_roughly(const assign_pass* p, int64_t i, float rough, double error) noexcept nogil:
    """Whether the own distance in float32, squared, says all that can be said; renews the bound.

    Not where squares may underflow or overflow, nor where rounding the centre counts.
    """
    cdef double size, moved = p.narrow_errors[p.labels[i]]
    if not 1e-20 < rough < 1e37:
        return False
    size = sqrt(rough * (1.0 + error))
    p.upper[i] = _rounded_up(size + moved)
    return p.upper[i] < p.lower[i] or moved <= size * 2.0**-10


cdef int measure_own(const assign_pass* p, int n, int64_t* ids, const void** pointers) noexcept nogil:
    """Measure the distance to the own centre; drop the rows that this settles."""
    cdef int32_t own[MEASURED]
    cdef float rough[MEASURED]
    cdef double error = 1.01 * (p.depth * 4.0 / p.tile.vector_bytes + 16.0) * 2.0**-23
    cdef bint narrow = not p.rows.is_double and error < 1e-3
    cdef int r, at = 0, count, kept = 0
    cdef int64_t i
    while at < n:
        count = min(n - at, <int>MEASURED)
        if narrow:
            for r in range(count):
                own[r] = p.labels[ids[at + r]]
            p.tile.own_gaps(count, <const float* const*>(pointers + at), own, p.narrow_centers, p.ldn, p.depth, rough)
        for r in range(at, at + count):
            i = ids[r]
            if not narrow:
                _fetch(p, n, r + AHEAD, pointers)
            if not narrow or not _settled_roughly(p, i, rough[r - at], error):
                p.upper[i] = _rounded_up(sqrt(_canonical(p, pointers[r], p.labels[i])))
            if not p.upper[i] < p.lower[i]:
                ids[kept] = i
                pointers[kept] = pointers[r]
                kept += 1
        at += count
    return kept


cdef inline void _fetch(const assign_pass* p, int n, int r, const void** pointers) noexcept nogil:
    """Ask for the start of row r of n."""
    cdef ptrdiff_t at = 0, size = min(p.depth * (8 if p.rows.is_double else 4), <ptrdiff_t>FETCHED)
    if r < n:
        while at < size:
            tw_prefetch(<const char*>pointers[r] + at)
            at += 64


# ---------------------------------------------------------------- canonical decisions


cdef inline double _canonical(const assign_pass* p, const void* x, ptrdiff_t j) noexcept nogil:
    if p.rows.is_double:
        return p.exact.distance_f8(<const double*>x, p.centers + j * p.ldc, p.depth)
    return p.exact.distance_f4(<const float*>x, p.centers + j * p.ldc, p.depth)


cdef const void* _open_row(const assign_pass* p, int r, char* ws, const offsets_t* o) noexcept nogil:
    """All d numbers of row r of the chunk; of CSR rows the stored ones, in double."""
    if p.layout != CSR:
        return (<const void**>(ws + o.pointers))[r]
    tw_widen_row(p.rows, (<const int64_t*>(ws + o.ids))[r], <double*>(ws + o.wide))
    return ws + o.wide


cdef double _distance(const assign_pass* p, int r, const void* x, ptrdiff_t j, char* ws,
                      const offsets_t* o) noexcept nogil:
    """Canonical distance of row r of the chunk, x, to centre j; of CSR rows to centres that
    are sparse too, from what is not zero in both."""
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef const int32_t* columns = <const int32_t*>(ws + o.columns) + starts[r] if p.layout == CSR else NULL
    if p.layout != CSR:
        return _canonical(p, x, j)
    if p.listed[j] < 0:
        return p.exact.spread_distance(starts[r + 1] - starts[r], columns, <const double*>x, p.centers + j * p.ldc,
                                       p.depth)
    return p.exact.merged(SQEUCLIDEAN, starts[r + 1] - starts[r], columns, <const double*>x, p.listed[j],
                          p.listed_columns + j * p.listed_entries, p.listed_values + j * p.listed_entries)


cdef bint _row_is_finite(const assign_pass* p, int r, const void* x, char* ws, const offsets_t* o) noexcept nogil:
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef int l, n = starts[r + 1] - starts[r] if p.layout == CSR else p.depth
    for l in range(n):
        if p.rows.is_double or p.layout == CSR:
            if not isfinite((<const double*>x)[l]):
                return False
        elif not isfinite((<const float*>x)[l]):
            return False
    return True


cdef int32_t _decide_among_all(const assign_pass* p, int r, const void* x, double* gap, char* ws,
                               const offsets_t* o) noexcept nogil:
    """Lowest index that minimises the canonical distance."""
    cdef double out[BATCH]
    cdef int j, start = 0, count
    cdef int32_t label = 0
    gap[0] = INFINITY
    while start < p.n_clusters:
        count = p.n_clusters - start
        if count > BATCH:
            count = BATCH
        if p.layout == CSR:
            for j in range(count):
                out[j] = _distance(p, r, x, start + j, ws, o)
        elif p.rows.is_double:
            p.exact.distances_f8(<const double*>x, p.centers + start * p.ldc, p.ldc, count, p.depth, out)
        else:
            p.exact.distances_f4(<const float*>x, p.centers + start * p.ldc, p.ldc, count, p.depth, out)
        for j in range(count):
            if out[j] < gap[0]:
                gap[0] = out[j]
                label = start + j
        start += count
    return label


cdef inline double _error(const assign_pass* p, double alpha, double x, double c, double split_error) noexcept nogil:
    return alpha * (x * c + 0.5 * c * c) + split_error * c + p.beta * (x + c) * (x + c) + p.eta * (1.0 + x)


cdef double _limit(const assign_pass* p, double norm, double low, int32_t leader, double split_error,
                   double* again) noexcept nogil:
    """Scores above this cannot belong to the closest centre of the row; in the second look,
    scores above `again`.

    A centre that beats the leader lies within |x| + distance(x, leader) of the origin, so
    one far-away centre does not widen the band of every row.
    """
    cdef double slack = 1.0 + 1e-3 + p.nu
    cdef double x = sqrt(norm) * slack
    cdef double own = _error(p, p.alpha, x, p.norms[leader], split_error)
    cdef double reach = norm * slack + 2.0 * (low + own)
    cdef double c = x + sqrt(reach if reach > 0.0 else 0.0) * (1.0 + 1e-6)
    if not c < p.largest_norm:
        c = p.largest_norm
    again[0] = low + own + _error(p, p.alpha_again, x, c, 0.0)
    return low + own + _error(p, p.alpha, x, c, split_error)


cdef int32_t _closest_of(const assign_pass* p, int r, const void* x, const int32_t* candidates, int count,
                         double* gap, char* ws, const offsets_t* o) noexcept nogil:
    """The candidate with the least canonical distance, the lowest index in a tie."""
    cdef int i
    cdef int32_t label = -1
    cdef double distance
    gap[0] = INFINITY
    for i in range(count):
        distance = _distance(p, r, x, candidates[i], ws, o)
        if label < 0 or distance < gap[0] or (distance == gap[0] and candidates[i] < label):
            gap[0] = distance
            label = candidates[i]
    return label


cdef void _collect_scores(const assign_pass* p, int n, const int* which, const score_t* scores,
                          const score_t* limits, int32_t* candidates, int* counts) noexcept nogil:
    """The same as the tile's collect, on scores that stand in memory."""
    cdef const score_t* half = <const score_t*>p.half_norms
    cdef const score_t* row
    cdef int j, i
    for i in range(n):
        row = scores + <ptrdiff_t>which[i] * p.ld_scores
        counts[i] = 0
        for j in range(p.n_clusters):
            if row[j] + half[j] <= limits[i]:
                if counts[i] == BATCH:
                    counts[i] = -1
                    break
                candidates[i * BATCH + counts[i]] = j
                counts[i] += 1


cdef void _look_again(const assign_pass* p, int n, const int* which, char* ws, const offsets_t* o,
                      const score_t* limits, double* gaps, shard_report* report) noexcept nogil:
    """Label the rows in which some lane hides candidates behind its best."""
    cdef const void* x
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef const score_t* packed = <const score_t*>(ws + o.rows)
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes
    cdef ptrdiff_t tile = p.tile.tile_rows
    cdef const score_t* rows[AGAIN]
    cdef int32_t candidates[AGAIN * BATCH]
    cdef int counts[AGAIN]
    cdef int i, r
    cdef const void* pointers[AGAIN]
    cdef float norms[AGAIN]
    report.rescanned += n
    if p.layout == BLAS or p.layout == CSR:
        _collect_scores(p, n, which, <const score_t*>(ws + o.scratch), limits, candidates, counts)
    else:
        if p.products:
            # Their parts are no use here: packed anew, and scored as plain float32.
            for i in range(n):
                pointers[i] = (<const void**>(ws + o.pointers))[which[i]]
            packed = <const score_t*>(ws + o.again)
            if p.rows.is_double:
                p.tile.pack_f8f4(n, p.depth, <const double* const*>pointers, <const double*>p.origin, p.scale,
                                 <float*>packed, p.lanes, tile * p.lanes, <int>tile, segments * tile * p.lanes, norms)
            else:
                p.tile.pack_f4f4(n, p.depth, <const float* const*>pointers, <const float*>p.origin,
                                 <float>p.scale, <float*>packed, p.lanes, tile * p.lanes, <int>tile,
                                 segments * tile * p.lanes, norms)
        for i in range(n):
            r = i if p.products else which[i]
            rows[i] = packed + (r // tile * segments * tile + r % tile) * p.lanes
        if score_t is float:
            p.tile.collect_f4(n, rows, limits, p.depth, p.depth_block, <const float*>p.packed, p.n_panels,
                              p.panel_vectors, candidates, counts, BATCH)
        else:
            p.tile.collect_f8(n, rows, limits, p.depth, p.depth_block, <const double*>p.packed, p.n_panels,
                              p.panel_vectors, candidates, counts, BATCH)
    for i in range(n):
        r = which[i]
        x = _open_row(p, r, ws, o)
        if counts[i] > 0:
            label[r] = _closest_of(p, r, x, candidates + i * BATCH, counts[i], &gaps[i], ws, o)
        else:
            label[r] = _decide_among_all(p, r, x, &gaps[i], ws, o)


cdef int32_t _decide(const assign_pass* p, int r, const void* x, char* ws, const offsets_t* o, const score_t* best,
                     const score_t* second, double norm, double* gap, score_t* again,
                     shard_report* report) noexcept nogil:
    """Label of row r that the certificate leaves open; best, second are (lanes).

    -1 if a lane hides candidates: those at or below `again` then have to be listed.
    """
    cdef const void* ordinal = ws + o.ordinal + r * p.tile.vector_bytes
    cdef int32_t candidates[64]
    cdef double limit, wide = 0.0, low = INFINITY
    cdef double split_error = (<const float*>(ws + o.split_errors))[r] if p.products else 0.0
    cdef int lane, lead = -1, count = 0
    report.undecided += 1
    if not p.hopeless and norm < 1e30:
        for lane in range(p.lanes):
            if best[lane] < low:
                low = best[lane]
                lead = lane
    if lead < 0:
        report.rescanned += 1
        return _decide_among_all(p, r, x, gap, ws, o)
    limit = _limit(p, norm, low, <int32_t>(_ordinal(p, ordinal, lead) * p.lanes + lead), split_error, &wide)
    for lane in range(p.lanes):
        if not second[lane] > limit:
            # Rounding to the type of the scores must not lower the limit.
            again[0] = <score_t>(wide + 2.0**-23 * fabs(wide))
            return -1
        if best[lane] <= limit:
            candidates[count] = <int32_t>(_ordinal(p, ordinal, lane) * p.lanes + lane)
            count += 1
    return _closest_of(p, r, x, candidates, count, gap, ws, o)


cdef int32_t _decide_in_lane(const assign_pass* p, int r, const void* x, char* ws, const offsets_t* o,
                             double norm, double low, double second_lowest, int64_t leader, double* gap,
                             shard_report* report) noexcept nogil:
    """The same where a row has one lane of its own."""
    cdef double wide = 0.0
    report.undecided += 1
    if not p.hopeless and norm < 1e30 and leader >= 0:
        if second_lowest > _limit(p, norm, low, <int32_t>leader, 0.0, &wide):
            gap[0] = _canonical(p, x, leader)
            return <int32_t>leader
    report.rescanned += 1
    return _decide_among_all(p, r, x, gap, ws, o)


cdef inline int64_t _ordinal(const assign_pass* p, const void* ordinal, int lane) noexcept nogil:
    if p.score_double:
        return (<const int64_t*>ordinal)[lane]
    return (<const int32_t*>ordinal)[lane]


# ---------------------------------------------------------------- the rows of a chunk


cdef int _finish_again(const assign_pass* p, int n, const int* which, char* ws, const offsets_t* o,
                       const score_t* limits, float* upper, shard_report* report) noexcept nogil:
    cdef double gaps[AGAIN]
    cdef int i
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    _look_again(p, n, which, ws, o, limits, gaps, report)
    for i in range(n):
        upper[which[i]] = _rounded_up(sqrt(gaps[i]))
        if gaps[i] == INFINITY:
            _report(report, ids[which[i]])
    return 0


cdef inline void _report(shard_report* report, int64_t row) noexcept nogil:
    """Note a row that has no closest centre: a value is not finite, or every distance overflows."""
    if report.bad_row < 0 or row < report.bad_row:
        report.bad_row = row


cdef void _decide_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* best,
                       score_t* second, shard_report* report) noexcept nogil:
    """Renew the bounds of the scored rows; decide what the certificate left open."""
    cdef const tw_tile_kernels* k = p.tile
    cdef const void* x
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef score_t* norms = <score_t*>(ws + o.norms)
    cdef score_t* band = <score_t*>(ws + o.band)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef int in_lane = p.layout == ROWS_IN_LANES
    cdef score_t* lowest = best if in_lane else <score_t*>(ws + o.lowest)
    cdef score_t* second_lowest = second if in_lane else <score_t*>(ws + o.second_lowest)
    cdef float* upper = <float*>(ws + o.upper)
    cdef float* lower = <float*>(ws + o.lower)
    cdef score_t limits[AGAIN]
    cdef int again[AGAIN]
    cdef double gap = 0.0, norm
    # Of the squared distance |x|^2 + 2 s: the norm's own rounding, and that of three operations.
    cdef double norm_error = 2.02 * p.alpha + 1.01 * p.nu + (2.0**-50 if p.score_double else 2.0**-21)
    cdef int r, n_again = 0
    if p.upper != NULL:
        if score_t is float:
            k.renew_f4(n, lowest, second_lowest, norms, band, <float>norm_error, 1.0 / p.scale, upper, lower)
        else:
            k.renew_f8(n, lowest, second_lowest, norms, band, norm_error, 1.0 / p.scale, upper, lower)
    for r in range(n):
        if label[r] >= 0:
            continue
        norm = norms[r]
        x = _open_row(p, r, ws, o)
        if not isfinite(norm) and not _row_is_finite(p, r, x, ws, o):
            label[r] = 0
            gap = INFINITY
        elif in_lane:
            label[r] = _decide_in_lane(p, r, x, ws, o, norm, best[r], second[r],
                                       _ordinal(p, ws + o.ordinal, r), &gap, report)
        else:
            label[r] = _decide(p, r, x, ws, o, best + r * p.lanes, second + r * p.lanes, norm, &gap,
                               &limits[n_again], report)
            if label[r] < 0:
                again[n_again] = r
                n_again += 1
                gap = 0.0
        if gap == INFINITY:
            _report(report, ids[r])
        # The best score need not be its centre's; such a row is nearly a tie and will be
        # scored again.
        upper[r] = _rounded_up(sqrt(gap))
        lower[r] = 0.0
        if n_again == AGAIN:
            n_again = _finish_again(p, n_again, again, ws, o, limits, upper, report)
    if n_again:
        _finish_again(p, n_again, again, ws, o, limits, upper, report)
    if p.upper == NULL:
        return
    if ids[n - 1] - ids[0] == n - 1:
        memcpy(p.upper + ids[0], upper, n * sizeof(float))
        memcpy(p.lower + ids[0], lower, n * sizeof(float))
    else:
        for r in range(n):
            p.upper[ids[r]] = upper[r]
            p.lower[ids[r]] = lower[r]


cdef void decide_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, shard_report* report) noexcept nogil:
    if p.score_double:
        _decide_rows[double](p, n, ws, o, <double*>(ws + o.best), <double*>(ws + o.second), report)
    else:
        _decide_rows[float](p, n, ws, o, <float*>(ws + o.best), <float*>(ws + o.second), report)


# ---------------------------------------------------------------- rows that met some groups


cdef int32_t _decide_among_groups(const assign_pass* p, int r, const void* x, char* ws, const offsets_t* o,
                                  double norm, double low, int32_t leader, double* gap, score_t* scores,
                                  shard_report* report) noexcept nogil:
    """Lowest index at the least canonical distance among the centres that the row met."""
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef const int32_t* groups = <const int32_t*>(ws + o.groups)
    cdef const int32_t* places = <const int32_t*>(ws + o.places)
    cdef const int32_t* where = <const int32_t*>(ws + o.where)
    cdef const score_t* next = <const score_t*>(ws + o.next)
    cdef int e, at, slot, stop
    cdef int32_t j, label = -1
    cdef bint crowded = False
    cdef double distance, wide = 0.0, limit
    limit = _limit(p, norm, low, leader, 0.0, &wide)
    gap[0] = INFINITY
    for e in range(starts[r], starts[r + 1]):
        at = places[e]
        if not scores[at] <= limit or where[at] < 0:
            continue
        slot = where[at]
        stop = slot + 1
        if not next[at] > limit:
            # The group holds more than its best: all of it is compared.
            slot = groups[e] * TW_GROUP_CENTRES
            stop = min(slot + TW_GROUP_CENTRES, p.n_clusters)
            crowded = True
        while slot < stop:
            j = p.order[slot]
            distance = _canonical(p, x, j)
            if label < 0 or distance < gap[0] or (distance == gap[0] and j < label):
                gap[0] = distance
                label = j
            slot += 1
    report.rescanned += crowded
    return label


cdef void _decide_in_groups(const assign_pass* p, int n, char* ws, const offsets_t* o, shard_report* report,
                            score_t* low) noexcept nogil:
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef const int32_t* starts = <const int32_t*>(ws + o.starts)
    cdef const int32_t* places = <const int32_t*>(ws + o.places)
    cdef const int32_t* where = <const int32_t*>(ws + o.where)
    cdef const score_t* norms = <const score_t*>(ws + o.norms)
    cdef const score_t* lowest = <const score_t*>(ws + o.lowest)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef float* upper = <float*>(ws + o.upper)
    cdef double gap, norm
    cdef int r, e
    cdef int32_t leader
    for r in range(n):
        if label[r] >= 0:
            label[r] = p.order[label[r]]
            continue
        norm = norms[r]
        leader = -1
        for e in range(starts[r], starts[r + 1]):
            if low[places[e]] == lowest[r] and where[places[e]] >= 0:
                leader = p.order[where[places[e]]]
        if not isfinite(norm) and not _row_is_finite(p, r, pointers[r], ws, o):
            label[r] = 0
            gap = INFINITY
        elif p.hopeless or not norm < 1e30 or leader < 0:
            report.undecided += 1
            report.rescanned += 1
            label[r] = _decide_among_all(p, r, pointers[r], &gap, ws, o)
        else:
            report.undecided += 1
            label[r] = _decide_among_groups(p, r, pointers[r], ws, o, norm, lowest[r], leader, &gap, low, report)
        if gap == INFINITY:
            _report(report, ids[r])
        upper[r] = _rounded_up(sqrt(gap))


cdef void decide_in_groups(const assign_pass* p, int n, char* ws, const offsets_t* o,
                           shard_report* report) noexcept nogil:
    if p.score_double:
        _decide_in_groups[double](p, n, ws, o, report, <double*>(ws + o.low))
    else:
        _decide_in_groups[float](p, n, ws, o, report, <float*>(ws + o.low))

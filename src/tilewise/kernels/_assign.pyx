"""One pass over the rows: pack, score, certify or decide, keep bounds, update sums."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, fabs, frexp, isfinite, ldexp, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, sgemm

from tilewise.kernels._dispatch cimport (
    enter_loop,
    exact_kernels,
    leave_loop,
    tile_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport Rows, tw_fetch_rows

cdef enum:
    CENTRES_IN_LANES = 0
    ROWS_IN_LANES = 1
    BLAS = 2
    # Candidates that a row is decided among one by one; with more, all centres are compared,
    # so many per call of the canonical distance.
    BATCH = 64
    # Rows that share one more walk through the panels.
    AGAIN = 32
    ALIGNMENT = 64

LAYOUTS = {"centres-in-lanes": CENTRES_IN_LANES, "rows-in-lanes": ROWS_IN_LANES, "blas": BLAS}

ctypedef fused score_t:
    float
    double


# Where the parts of one thread's workspace start, in bytes.
cdef struct offsets_t:
    ptrdiff_t ids
    ptrdiff_t pointers
    ptrdiff_t staging
    ptrdiff_t packed
    ptrdiff_t norms
    ptrdiff_t band
    ptrdiff_t best
    ptrdiff_t second
    ptrdiff_t ordinal
    ptrdiff_t label
    ptrdiff_t lowest
    ptrdiff_t following
    ptrdiff_t upper
    ptrdiff_t lower
    ptrdiff_t scratch
    ptrdiff_t total


cdef ptrdiff_t _take(ptrdiff_t* total, ptrdiff_t size) noexcept nogil:
    cdef ptrdiff_t start = total[0]
    total[0] = (start + size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return start


cdef offsets_t _offsets(const assign_pass* p) noexcept nogil:
    cdef offsets_t o
    cdef ptrdiff_t total = 0, item = 8 if p.score_double else 4
    cdef ptrdiff_t rows = _padded_rows(p, p.chunk_rows)
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes * p.lanes
    cdef ptrdiff_t state = item if p.layout == ROWS_IN_LANES else p.tile.vector_bytes
    cdef ptrdiff_t data_item = 8 if p.rows.is_double else 4
    o.ids = _take(&total, rows * 8)
    o.pointers = _take(&total, rows * sizeof(void*))
    o.staging = _take(&total, 0 if p.rows.direct else rows * p.ldc * data_item)
    o.packed = _take(&total, rows * segments * item)
    o.norms = _take(&total, rows * item)
    o.band = _take(&total, rows * item)
    o.best = _take(&total, rows * state)
    o.second = _take(&total, rows * state)
    o.ordinal = _take(&total, rows * state)
    o.label = _take(&total, rows * 4)
    o.lowest = _take(&total, rows * item)
    o.following = _take(&total, rows * item)
    o.upper = _take(&total, rows * 4)
    o.lower = _take(&total, rows * 4)
    if p.layout == BLAS:
        o.scratch = _take(&total, rows * p.n_clusters * item)
    elif p.layout == CENTRES_IN_LANES and p.depth > p.depth_block:
        o.scratch = _take(&total, <ptrdiff_t>p.panels_per_block * p.tile.tile_rows
                          * p.panel_vectors * p.tile.vector_bytes)
    else:
        o.scratch = _take(&total, 0)
    o.total = total
    return o


cdef ptrdiff_t _padded_rows(const assign_pass* p, ptrdiff_t count) noexcept nogil:
    cdef ptrdiff_t step = p.tile.tile_rows
    if p.layout == ROWS_IN_LANES:
        step = p.tile.row_panel_vectors * p.lanes
    return (count + step - 1) // step * step


# ---------------------------------------------------------------- bounds


cdef inline float _rounded_up(double value) noexcept nogil:
    # The additive part keeps an upper bound above zero where float underflows.
    return <float>(value * (1.0 + 1e-6) + 1e-37)


cdef int _tighten(const assign_pass* p, int n, int64_t* ids, const void** pointers) noexcept nogil:
    """Measure the distance to the own centre; drop the rows that this settles."""
    cdef int r, kept = 0
    cdef int64_t i
    cdef double gap
    for r in range(n):
        i = ids[r]
        gap = _canonical(p, pointers[r], p.labels[i])
        p.upper[i] = _rounded_up(sqrt(gap))
        if not p.upper[i] < p.lower[i]:
            ids[kept] = i
            pointers[kept] = pointers[r]
            kept += 1
    return kept


# ---------------------------------------------------------------- canonical decisions


cdef inline double _canonical(const assign_pass* p, const void* x, ptrdiff_t j) noexcept nogil:
    if p.rows.is_double:
        return p.exact.distance_f8(<const double*>x, p.centers + j * p.ldc, p.depth)
    return p.exact.distance_f4(<const float*>x, p.centers + j * p.ldc, p.depth)


cdef bint _row_is_finite(const assign_pass* p, const void* x) noexcept nogil:
    cdef int l
    for l in range(p.depth):
        if p.rows.is_double:
            if not isfinite((<const double*>x)[l]):
                return False
        elif not isfinite((<const float*>x)[l]):
            return False
    return True


cdef int32_t _decide_among_all(const assign_pass* p, const void* x, double* gap) noexcept nogil:
    """Lowest index that minimises the canonical distance."""
    cdef double out[BATCH]
    cdef int j, start = 0, count
    cdef int32_t label = 0
    gap[0] = INFINITY
    while start < p.n_clusters:
        count = p.n_clusters - start
        if count > BATCH:
            count = BATCH
        if p.rows.is_double:
            p.exact.distances_f8(<const double*>x, p.centers + start * p.ldc, p.ldc, count, p.depth, out)
        else:
            p.exact.distances_f4(<const float*>x, p.centers + start * p.ldc, p.ldc, count, p.depth, out)
        for j in range(count):
            if out[j] < gap[0]:
                gap[0] = out[j]
                label = start + j
        start += count
    return label


cdef inline double _error(const assign_pass* p, double x, double c) noexcept nogil:
    return p.alpha * (x * c + 0.5 * c * c) + p.beta * (x + c) * (x + c) + p.eta * (1.0 + x)


cdef double _limit(const assign_pass* p, double norm, double low, int32_t leader) noexcept nogil:
    """Scores above this cannot belong to the closest centre of the row.

    A centre that beats the leader lies within |x| + distance(x, leader) of the origin, so
    one far-away centre does not widen the band of every row.
    """
    cdef double slack = 1.0 + 1e-3 + p.nu
    cdef double x = sqrt(norm) * slack
    cdef double own = _error(p, x, p.norms[leader])
    cdef double reach = norm * slack + 2.0 * (low + own)
    cdef double c = x + sqrt(reach if reach > 0.0 else 0.0) * (1.0 + 1e-6)
    if not c < p.largest_norm:
        c = p.largest_norm
    return low + own + _error(p, x, c)


cdef int32_t _closest_of(const assign_pass* p, const void* x, const int32_t* candidates, int count,
                         double* gap) noexcept nogil:
    """The candidate with the least canonical distance, the lowest index in a tie."""
    cdef int i
    cdef int32_t label = -1
    cdef double distance
    gap[0] = INFINITY
    for i in range(count):
        distance = _canonical(p, x, candidates[i])
        if label < 0 or distance < gap[0] or (distance == gap[0] and candidates[i] < label):
            gap[0] = distance
            label = candidates[i]
    return label


cdef void _collect_scores(const assign_pass* p, int n, const int* which, const score_t* scores,
                          const score_t* limits, int32_t* found, int* counts) noexcept nogil:
    """The same as the tile's collect, on scores that stand in memory."""
    cdef const score_t* half = <const score_t*>p.half_norms
    cdef const score_t* row
    cdef int j, i
    for i in range(n):
        row = scores + <ptrdiff_t>which[i] * p.n_clusters
        counts[i] = 0
        for j in range(p.n_clusters):
            if row[j] + half[j] <= limits[i]:
                if counts[i] == BATCH:
                    counts[i] = -1
                    break
                found[i * BATCH + counts[i]] = j
                counts[i] += 1


cdef void _look_again(const assign_pass* p, int n, const int* which, char* ws, const offsets_t* o,
                      const score_t* limits, double* gaps, shard_report* report) noexcept nogil:
    """Label the rows in which some lane hides candidates behind its best."""
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef const score_t* packed = <const score_t*>(ws + o.packed)
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes
    cdef ptrdiff_t tile = p.tile.tile_rows
    cdef const score_t* rows[AGAIN]
    cdef int32_t found[AGAIN * BATCH]
    cdef int counts[AGAIN]
    cdef int i, r
    report.rescanned += n
    if p.layout == BLAS:
        _collect_scores(p, n, which, <const score_t*>(ws + o.scratch), limits, found, counts)
    else:
        for i in range(n):
            r = which[i]
            rows[i] = packed + (r // tile * segments * tile + r % tile) * p.lanes
        if score_t is float:
            p.tile.collect_f4(n, rows, limits, p.depth, p.depth_block, <const float*>p.packed, p.n_panels,
                              p.panel_vectors, found, counts, BATCH)
        else:
            p.tile.collect_f8(n, rows, limits, p.depth, p.depth_block, <const double*>p.packed, p.n_panels,
                              p.panel_vectors, found, counts, BATCH)
    for i in range(n):
        r = which[i]
        if counts[i] > 0:
            label[r] = _closest_of(p, pointers[r], found + i * BATCH, counts[i], &gaps[i])
        else:
            label[r] = _decide_among_all(p, pointers[r], &gaps[i])


cdef int32_t _decide(const assign_pass* p, int r, char* ws, const offsets_t* o, const score_t* best,
                     const score_t* second, double norm, double* gap, score_t* again,
                     shard_report* report) noexcept nogil:
    """Label of row r that the certificate leaves open; best, second are (lanes).

    -1 if a lane hides candidates: those at or below `again` then have to be listed.
    """
    cdef const void* x = (<const void**>(ws + o.pointers))[r]
    cdef const void* ordinal = ws + o.ordinal + r * p.tile.vector_bytes
    cdef int32_t found[64]
    cdef double limit, low = INFINITY
    cdef int lane, lead = -1, count = 0
    report.undecided += 1
    if not p.hopeless and norm < 1e30:
        for lane in range(p.lanes):
            if best[lane] < low:
                low = best[lane]
                lead = lane
    if lead < 0:
        report.rescanned += 1
        return _decide_among_all(p, x, gap)
    limit = _limit(p, norm, low, <int32_t>(_ordinal(p, ordinal, lead) * p.lanes + lead))
    for lane in range(p.lanes):
        if not second[lane] > limit:
            # Rounding to the type of the scores must not lower the limit.
            again[0] = <score_t>(limit + 2.0**-23 * fabs(limit))
            return -1
        if best[lane] <= limit:
            found[count] = <int32_t>(_ordinal(p, ordinal, lane) * p.lanes + lane)
            count += 1
    return _closest_of(p, x, found, count, gap)


cdef int32_t _decide_in_lane(const assign_pass* p, const void* x, double norm, double low,
                             double following, int64_t leader, double* gap,
                             shard_report* report) noexcept nogil:
    """The same where a row has one lane of its own."""
    report.undecided += 1
    if not p.hopeless and norm < 1e30 and leader >= 0:
        if following > _limit(p, norm, low, <int32_t>leader):
            gap[0] = _canonical(p, x, leader)
            return <int32_t>leader
    report.rescanned += 1
    return _decide_among_all(p, x, gap)


cdef inline int64_t _ordinal(const assign_pass* p, const void* ordinal, int lane) noexcept nogil:
    if p.score_double:
        return (<const int64_t*>ordinal)[lane]
    return (<const int32_t*>ordinal)[lane]


# ---------------------------------------------------------------- one chunk


cdef void _pack(const assign_pass* p, int n, const void** pointers, score_t* packed,
                score_t* norms) noexcept nogil:
    cdef const tw_tile_kernels* k = p.tile
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes
    cdef ptrdiff_t row_step = p.lanes, segment_step = k.tile_rows * p.lanes
    cdef ptrdiff_t tile_step = segments * segment_step
    cdef int tile_rows = k.tile_rows
    if p.layout == BLAS:
        tile_rows = n
        row_step = segments * p.lanes
        segment_step = p.lanes
        tile_step = 0
    if p.layout == ROWS_IN_LANES:
        if score_t is float:
            if p.rows.is_double:
                k.pack_lanes_f8f4(n, p.depth, <const double* const*>pointers, <const double*>p.origin,
                                  p.scale, packed, norms)
            else:
                k.pack_lanes_f4f4(n, p.depth, <const float* const*>pointers, <const float*>p.origin,
                                  <float>p.scale, packed, norms)
        else:
            if p.rows.is_double:
                k.pack_lanes_f8f8(n, p.depth, <const double* const*>pointers, <const double*>p.origin,
                                  p.scale, packed, norms)
            else:
                k.pack_lanes_f4f8(n, p.depth, <const float* const*>pointers, <const double*>p.origin,
                                  p.scale, packed, norms)
        return
    if score_t is float:
        if p.rows.is_double:
            k.pack_f8f4(n, p.depth, <const double* const*>pointers, <const double*>p.origin, p.scale,
                        packed, row_step, segment_step, tile_rows, tile_step, norms)
        else:
            k.pack_f4f4(n, p.depth, <const float* const*>pointers, <const float*>p.origin,
                        <float>p.scale, packed, row_step, segment_step, tile_rows, tile_step, norms)
    else:
        if p.rows.is_double:
            k.pack_f8f8(n, p.depth, <const double* const*>pointers, <const double*>p.origin, p.scale,
                        packed, row_step, segment_step, tile_rows, tile_step, norms)
        else:
            k.pack_f4f8(n, p.depth, <const float* const*>pointers, <const double*>p.origin, p.scale,
                        packed, row_step, segment_step, tile_rows, tile_step, norms)


cdef void _score(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* packed,
                 score_t* best, score_t* second) noexcept nogil:
    """Best, second best and where the best came from, per row and lane (or per row)."""
    cdef const tw_tile_kernels* k = p.tile
    cdef int panel, panels, width, m, nn, kk, lda
    cdef ptrdiff_t i, state, padded = _padded_rows(p, n)
    cdef ptrdiff_t panel_step
    cdef const score_t* panels_from
    cdef score_t* scratch = <score_t*>(ws + o.scratch)
    cdef score_t one = 1, zero = 0
    if p.layout == BLAS:
        # Column-major: scores^T (k, n) = row_major (k, depth) times rows^T.
        m = p.n_clusters
        nn = n
        kk = p.depth
        lda = (p.depth + p.lanes - 1) // p.lanes * p.lanes
        if score_t is float:
            sgemm("T", "N", &m, &nn, &kk, &one, <float*>p.row_major, &kk, packed, &lda, &zero, scratch, &m)
            k.scan_f4(n, m, scratch, m, <const float*>p.half_norms, best, second, <int32_t*>(ws + o.ordinal))
        else:
            dgemm("T", "N", &m, &nn, &kk, &one, <double*>p.row_major, &kk, packed, &lda, &zero, scratch, &m)
            k.scan_f8(n, m, scratch, m, <const double*>p.half_norms, best, second, <int64_t*>(ws + o.ordinal))
        return
    state = padded if p.layout == ROWS_IN_LANES else padded * p.lanes
    for i in range(state):
        best[i] = INFINITY
        second[i] = INFINITY
    memset(ws + o.ordinal, 255, state * sizeof(score_t))
    if p.layout == ROWS_IN_LANES:
        if score_t is float:
            k.assign_lanes_f4(packed, <int>(padded // (k.row_panel_vectors * p.lanes)), p.depth,
                              <const float*>p.packed, p.n_panels, 0, best, second, <int32_t*>(ws + o.ordinal))
        else:
            k.assign_lanes_f8(packed, <int>(padded // (k.row_panel_vectors * p.lanes)), p.depth,
                              <const double*>p.packed, p.n_panels, 0, best, second, <int64_t*>(ws + o.ordinal))
        return
    width = p.panel_vectors * p.lanes
    panel_step = <ptrdiff_t>(p.depth + 1) * width
    # Blocks of panels that stay in L2 while every row tile of the chunk meets them.
    panel = 0
    while panel < p.n_panels:
        panels = p.n_panels - panel
        if panels > p.panels_per_block:
            panels = p.panels_per_block
        panels_from = <const score_t*>p.packed + panel * panel_step
        if score_t is float:
            k.assign_f4(packed, <int>(padded // k.tile_rows), p.depth, p.depth_block, panels_from, panels,
                        p.panel_vectors, panel * p.panel_vectors, best, second, <int32_t*>(ws + o.ordinal), scratch)
        else:
            k.assign_f8(packed, <int>(padded // k.tile_rows), p.depth, p.depth_block, panels_from, panels,
                        p.panel_vectors, panel * p.panel_vectors, best, second, <int64_t*>(ws + o.ordinal), scratch)
        panel += panels


cdef void _certify(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* best,
                   score_t* second) noexcept nogil:
    """label is the one centre within twice the error bound of the best score, or -1."""
    cdef const tw_tile_kernels* k = p.tile
    cdef score_t* norms = <score_t*>(ws + o.norms)
    cdef score_t* band = <score_t*>(ws + o.band)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef score_t* lowest = <score_t*>(ws + o.lowest)
    cdef score_t* following = <score_t*>(ws + o.following)
    cdef double c = p.largest_norm
    # 2E = fixed + per_norm |x| + per_square |x|^2, a little enlarged
    cdef score_t per_square = <score_t>(2.02 * p.beta * (1.0 + p.nu))
    cdef score_t per_norm = <score_t>(2.02 * (p.alpha * c + 2.0 * p.beta * c + p.eta) * (1.0 + p.nu))
    cdef score_t fixed = <score_t>(2.02 * (0.5 * p.alpha * c * c + p.beta * c * c + p.eta))
    if p.hopeless:
        fixed = <score_t>INFINITY
    if score_t is float:
        k.bands_f4(n, norms, fixed, per_norm, per_square, band)
    else:
        k.bands_f8(n, norms, fixed, per_norm, per_square, band)
    if p.layout == ROWS_IN_LANES:
        if score_t is float:
            k.certify_lanes_f4(n, best, second, <int32_t*>(ws + o.ordinal), band, label)
        else:
            k.certify_lanes_f8(n, best, second, <int64_t*>(ws + o.ordinal), band, label)
    elif score_t is float:
        k.certify_f4(n, best, second, <int32_t*>(ws + o.ordinal), band, label, lowest, following)
    else:
        k.certify_f8(n, best, second, <int64_t*>(ws + o.ordinal), band, label, lowest, following)


cdef int _finish_again(const assign_pass* p, int n, const int* which, char* ws, const offsets_t* o,
                       const score_t* limits, float* upper, shard_report* report) noexcept nogil:
    cdef double gaps[AGAIN]
    cdef int i
    _look_again(p, n, which, ws, o, limits, gaps, report)
    for i in range(n):
        upper[which[i]] = _rounded_up(sqrt(gaps[i]))
    return 0


cdef void _settle(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* best,
                  score_t* second, shard_report* report) noexcept nogil:
    """Renew the bounds of the scored rows; decide what the certificate left open."""
    cdef const tw_tile_kernels* k = p.tile
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef score_t* norms = <score_t*>(ws + o.norms)
    cdef score_t* band = <score_t*>(ws + o.band)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef int in_lane = p.layout == ROWS_IN_LANES
    cdef score_t* lowest = best if in_lane else <score_t*>(ws + o.lowest)
    cdef score_t* following = second if in_lane else <score_t*>(ws + o.following)
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
            k.renew_f4(n, lowest, following, norms, band, <float>norm_error, 1.0 / p.scale, upper, lower)
        else:
            k.renew_f8(n, lowest, following, norms, band, norm_error, 1.0 / p.scale, upper, lower)
    for r in range(n):
        if label[r] >= 0:
            continue
        norm = norms[r]
        if not isfinite(norm) and not _row_is_finite(p, pointers[r]):
            if report.bad_row < 0 or ids[r] < report.bad_row:
                report.bad_row = ids[r]
            label[r] = 0
            gap = INFINITY
        elif in_lane:
            label[r] = _decide_in_lane(p, pointers[r], norm, best[r], second[r],
                                       _ordinal(p, ws + o.ordinal, r), &gap, report)
        else:
            label[r] = _decide(p, r, ws, o, best + r * p.lanes, second + r * p.lanes, norm, &gap,
                               &limits[n_again], report)
            if label[r] < 0:
                again[n_again] = r
                n_again += 1
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


cdef void _update(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t slot,
                  shard_report* report) noexcept nogil:
    """New labels and what they do to the sums, in row order."""
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef const int32_t* label = <const int32_t*>(ws + o.label)
    cdef int64_t base = slot * p.n_clusters, i
    cdef int32_t old, new
    cdef double weight = 1.0
    cdef int r
    for r in range(n):
        i = ids[r]
        old = p.labels[i]
        new = label[r]
        if old != new:
            report.changed += 1
            p.labels[i] = new
        elif p.update != 2:
            continue
        if p.update == 0:
            continue
        if p.weights != NULL:
            weight = p.weights[i]
            if weight == 0.0:
                continue
        if p.update == 1 and old >= 0:
            _add(p, pointers[r], -weight, -1, base + old)
        _add(p, pointers[r], weight, 1, base + new)


cdef inline void _add(const assign_pass* p, const void* x, double weight, int sign,
                      int64_t at) noexcept nogil:
    p.touched[at] = 1
    p.weight_sums[at] += weight
    p.members[at] += sign
    if p.rows.is_double:
        p.exact.accumulate_f8(<const double*>x, p.shift, weight, p.depth, p.sums + at * p.ldc)
    else:
        p.exact.accumulate_f4(<const float*>x, p.shift, weight, p.depth, p.sums + at * p.ldc)


cdef void _run_chunk(const assign_pass* p, int64_t first, int count, char* ws, const offsets_t* o,
                     int64_t slot, shard_report* report, score_t kind) noexcept nogil:
    cdef int64_t* ids = <int64_t*>(ws + o.ids)
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef score_t* packed = <score_t*>(ws + o.packed)
    cdef score_t* best = <score_t*>(ws + o.best)
    cdef score_t* second = <score_t*>(ws + o.second)
    cdef int r, n = count
    if p.use_bounds:
        n = p.tile.open_rows(count, first, p.labels, p.upper, p.lower, p.moves, p.largest_move,
                             p.second_move, p.largest_mover, ids)
        if n == 0:
            return
    else:
        for r in range(count):
            ids[r] = first + r
    tw_fetch_rows(p.rows, ids, 0, n, pointers, ws + o.staging, p.ldc)
    if p.use_bounds and p.tighten:
        n = _tighten(p, n, ids, pointers)
        if n == 0:
            return
    report.scored += n
    _pack(p, n, pointers, packed, <score_t*>(ws + o.norms))
    _score(p, n, ws, o, packed, best, second)
    _certify(p, n, ws, o, best, second)
    _settle(p, n, ws, o, best, second, report)
    _update(p, n, ws, o, slot, report)


cdef void _run_shard(const assign_pass* p, int64_t shard, int64_t slot, char* ws,
                     const offsets_t* o, shard_report* report) noexcept nogil:
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows
    cdef int count
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    report.changed = report.scored = report.undecided = report.rescanned = 0
    report.bad_row = -1
    while first < stop:
        count = p.chunk_rows if stop - first > p.chunk_rows else <int>(stop - first)
        if p.score_double:
            _run_chunk[double](p, first, count, ws, o, slot, report, 0)
        else:
            _run_chunk[float](p, first, count, ws, o, slot, report, 0)
        first += count


# ---------------------------------------------------------------- centres


cdef double _copy_center(const double* center, const double* origin, int depth, double* to) noexcept nogil:
    """Keep the canonical centre; largest distance from the origin along an axis."""
    cdef double largest = 0.0, size
    cdef int l
    for l in range(depth):
        to[l] = center[l]
        size = fabs(center[l] - origin[l])
        # A NaN here is infinity minus infinity: magnitudes that cannot be scaled.
        if not size <= largest:
            largest = size if size == size else INFINITY
    return largest


cdef void _pack_panel(const assign_pass* p, int panel, const double* origin, double* norms,
                      score_t kind) noexcept nogil:
    """Scale and negate the centres of one panel (or group); bounds of their norms."""
    cdef int width = p.tile.group if p.layout == ROWS_IN_LANES else p.panel_vectors * p.lanes
    cdef int d = p.depth, first = panel * width, q, l, count = p.n_clusters - first
    cdef score_t* half = <score_t*>p.half_norms
    cdef score_t* to = <score_t*>p.packed + <ptrdiff_t>panel * (d + 1) * width
    cdef score_t* row
    cdef const double* c
    cdef double value, square
    if count > width:
        count = width
    for q in range(count):
        c = p.centers + <ptrdiff_t>(first + q) * p.ldc
        row = <score_t*>p.row_major + <ptrdiff_t>(first + q) * d
        square = 0.0
        for l in range(d):
            value = (c[l] - origin[l]) * p.scale if p.scale != 0.0 else 0.0
            square += value * value
            if p.layout == BLAS:
                row[l] = <score_t>-value
            else:
                to[<ptrdiff_t>(1 + l) * width + q] = <score_t>-value
        norms[first + q] = sqrt(square) * (1.0 + 1e-6)
        half[first + q] = <score_t>(0.5 * square)
        if p.layout != BLAS:
            to[q] = half[first + q]
    if p.layout == BLAS:
        return
    for q in range(count, width):
        # A centre that does not exist is infinitely far.
        to[q] = INFINITY
        for l in range(d):
            to[<ptrdiff_t>(1 + l) * width + q] = 0


# ---------------------------------------------------------------- the border to Python


def aligned_empty(Py_ssize_t size):
    """Bytes on a cache-line boundary."""
    buffer = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    start = -buffer.__array_interface__["data"][0] % ALIGNMENT
    return buffer[start:start + size]


cdef void* _pointer(object array) except? NULL:
    return <void*><size_t>array.__array_interface__["data"][0]


cdef class Assignment:
    """One set of rows against one set of centres at a time, by a fixed plan.

    Parameters
    ----------
    rows : Rows
    n_clusters : int
    isa : str
    layout : {"centres-in-lanes", "rows-in-lanes", "blas"}
    score_dtype : dtype
        float32 or float64; labels do not depend on it.
    chunk_rows, shard_rows, panels_per_block, depth_block, n_threads : int
    slots : int
        Shards whose sums are held before they are merged.
    update : bool
        Whether sums are wanted at all.
    """

    cdef assign_pass p
    cdef offsets_t o
    cdef Rows rows
    cdef double* origin
    cdef int threads
    cdef int64_t n_shards, n_slots
    cdef dict _keep

    def __init__(self, Rows rows, int n_clusters, *, str isa, str layout, score_dtype,
                 int chunk_rows, int64_t shard_rows, int panels_per_block, int depth_block,
                 int n_threads, int64_t slots, bint update):
        cdef assign_pass* p = &self.p
        cdef int width
        self.rows = rows
        self.threads = n_threads
        self._keep = {}
        p.rows = &rows.c
        p.tile = tile_kernels(isa)
        p.exact = exact_kernels(isa)
        p.depth = rows.c.depth
        p.n_clusters = n_clusters
        p.layout = LAYOUTS[layout]
        p.score_double = np.dtype(score_dtype) == np.float64
        p.lanes = p.tile.vector_bytes // (8 if p.score_double else 4)
        p.chunk_rows = chunk_rows
        p.shard_rows = shard_rows
        p.ldc = (p.depth + 7) // 8 * 8
        p.panel_vectors = 1 if n_clusters <= p.lanes else p.tile.panel_vectors
        width = p.tile.group if p.layout == ROWS_IN_LANES else p.panel_vectors * p.lanes
        p.n_panels = (n_clusters + width - 1) // width
        p.panels_per_block = min(panels_per_block, p.n_panels)
        p.depth_block = max(p.lanes, (depth_block + p.lanes - 1) // p.lanes * p.lanes)
        self.o = _offsets(p)
        self.n_shards = (rows.c.n_rows + shard_rows - 1) // shard_rows
        self.n_slots = max(1, min(slots, self.n_shards))
        self._make("workspace", self.o.total * n_threads)
        item = 8 if p.score_double else 4
        if p.layout == BLAS:
            p.row_major = self._make("row_major", item * n_clusters * p.depth)
        else:
            p.packed = self._make("packed", item * p.n_panels * (p.depth + 1) * width)
        p.half_norms = self._make("half_norms", item * n_clusters)
        p.centers = <double*>self._make("centers", 8 * n_clusters * p.ldc)
        p.norms = <double*>self._make("norms", 8 * n_clusters)
        p.origin = self._make("origin", 8 * p.depth)
        self.origin = <double*>self._make("origin, wide", 8 * p.depth)
        if update:
            p.sums = <double*>self._make("sums", 8 * self.n_slots * n_clusters * p.ldc)
            p.weight_sums = <double*>self._make("weight_sums", 8 * self.n_slots * n_clusters)
            p.members = <int64_t*>self._make("members", 8 * self.n_slots * n_clusters)
            p.touched = <char*>self._make("touched", self.n_slots * n_clusters)
        self._make("reports", self.n_slots * sizeof(shard_report))

    cdef void* _make(self, str name, Py_ssize_t size) except NULL:
        self._keep[name] = aligned_empty(max(size, 1))
        return _pointer(self._keep[name])

    @property
    def slots(self):
        """Shards per call of `run`."""
        return self.n_slots

    @property
    def workspace_bytes(self):
        """Bytes of workspace per thread."""
        return self.o.total

    def set_centers(self, const double[:, ::1] centers):
        """Pack the centres, choose origin and scale, and fix the error bound."""
        cdef assign_pass* p = &self.p
        cdef int k = p.n_clusters, d = p.depth, chain, exponent = 0, reach
        cdef double unit, largest = 0.0
        cdef bint wide
        if centers.shape[0] != k or centers.shape[1] != d:
            raise ValueError(f"centres of shape ({centers.shape[0]}, {centers.shape[1]}) given, ({k}, {d}) expected")
        cdef int threads = usable_threads(self.threads if k * d > 65536 else 1), j, l, panel
        cdef double share = 1.0 / k
        cdef double* origin = self.origin
        cdef double* norms = p.norms
        wide = p.rows.is_double or p.score_double
        for l in range(d):
            origin[l] = 0.0
        for j in range(k):
            for l in range(d):
                # In shares, so that the mean of huge values does not overflow.
                origin[l] += centers[j, l] * share
        for l in range(d):
            if not p.rows.is_double:
                origin[l] = <float>origin[l]
            if wide:
                (<double*>p.origin)[l] = origin[l]
            else:
                (<float*>p.origin)[l] = <float>origin[l]
        if d:
            for j in prange(k, nogil=True, schedule="static", num_threads=threads):
                norms[j] = _copy_center(&centers[j, 0], origin, d, p.centers + j * p.ldc)
            for j in range(k):
                largest = max(largest, norms[j])
        if largest > 0.0 and isfinite(largest):
            frexp(largest, &exponent)
        # Within +-400 neither the canonical distance nor the bound meets the ends of
        # float64; outside, every row is decided by the canonical distance alone.
        p.hopeless = not isfinite(largest) or abs(exponent) > 400
        reach = 1000 if wide else 100
        p.scale = 0.0 if p.hopeless else ldexp(1.0, -max(-reach, min(reach, exponent)))
        for panel in prange(p.n_panels, nogil=True, schedule="static", num_threads=threads):
            if p.score_double:
                _pack_panel[double](p, panel, origin, norms, 0.0)
            else:
                _pack_panel[float](p, panel, origin, norms, 0.0)
        if p.hopeless:
            p.scale = 1.0
        p.largest_norm = 0.0
        for j in range(k):
            p.largest_norm = max(p.largest_norm, norms[j])
        unit = 2.0**-53 if p.score_double else 2.0**-24
        # Additions one after another in one running score: the whole row for BLAS and short
        # rows; a block of the depth, then one addition per block, in the tile.
        chain = d
        if p.layout == CENTRES_IN_LANES and d > p.depth_block:
            chain = p.depth_block + (d + p.depth_block - 1) // p.depth_block
        # Half the squared norm is summed in double, which only double scores notice.
        p.alpha = 1.02 * (chain + 8 + (d if p.score_double else 0)) * unit
        # Relative error of a packed row's squared norm: additions in a lane, then across.
        p.nu = (d + 3.0 if p.layout == ROWS_IN_LANES else (d + p.lanes - 1) // p.lanes + p.lanes + 2.0) * unit
        p.beta = (d / 8.0 + 12.0) * 2.0**-53
        p.eta = (d + 8.0) * 2.0**-126 * max(1.0, p.largest_norm)

    def run(self, int64_t first_shard, int32_t[::1] labels, *, float[::1] upper=None,
            float[::1] lower=None, const float[::1] moves=None, bint tighten=False,
            int update=0, const double[::1] weights=None, const double[::1] shift=None):
        """Assign the rows of up to `slots` shards, from `first_shard` on.

        Parameters
        ----------
        labels : int32 (n,), INOUT
            -1 where a row has no label yet.
        upper, lower : float32 (n,), INOUT, optional
            Bounds of the distance to the own and to every other centre. Written always;
            used if `moves`, how far each centre moved since they were written, is given.
        tighten : bool
            Measure the distance to the own centre before scoring all.
        update : {0, 1, 2}
            Leave the sums, add what changed, or add every row.
        weights : float64 (n,), optional
        shift : float64 (d,), needed to update
            Taken from every row before it is added.

        Returns
        -------
        tuple of int
            Shards that were run; rows with a new label, rows scored, rows that rounding left
            open, rows compared with every centre again; the first row with a value that is
            not finite, or -1.
        """
        cdef assign_pass p = self.p
        cdef int64_t n = p.rows.n_rows, count = min(self.n_slots, self.n_shards - first_shard)
        cdef int64_t s, changed = 0, scored = 0, undecided = 0, rescanned = 0, bad = -1
        cdef int threads = self.threads
        cdef offsets_t o = self.o
        cdef char* workspace = <char*>_pointer(self._keep["workspace"])
        cdef shard_report* reports = <shard_report*>_pointer(self._keep["reports"])
        if labels.shape[0] != n:
            raise ValueError(f"{labels.shape[0]} labels given for {n} rows")
        if count <= 0:
            return 0, 0, 0, 0, 0, -1
        p.labels = &labels[0]
        p.update = update
        p.tighten = tighten
        p.upper = p.lower = NULL
        p.use_bounds = 0
        if upper is not None:
            if upper.shape[0] != n or lower is None or lower.shape[0] != n:
                raise ValueError("bounds must have one entry per row")
            p.upper = &upper[0]
            p.lower = &lower[0]
            if moves is not None:
                if moves.shape[0] != p.n_clusters:
                    raise ValueError("one move per centre expected")
                p.moves = &moves[0]
                p.use_bounds = update != 2
                _two_largest(moves, &p)
        if update:
            if p.sums == NULL or shift is None or shift.shape[0] != p.depth:
                raise ValueError("an update needs sums and a shift per column")
            p.shift = &shift[0] if p.depth else NULL
            if weights is not None:
                if weights.shape[0] != n:
                    raise ValueError("one weight per row expected")
                p.weights = &weights[0]
        threads = enter_loop(threads if threads < count else <int>count)
        if threads <= 1:
            with nogil:
                for s in range(count):
                    _run_shard(&p, first_shard + s, s, workspace, &o, reports + s)
        else:
            for s in prange(count, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
                _run_shard(&p, first_shard + s, s, workspace + threadid() * o.total, &o, reports + s)
        leave_loop()
        for s in range(count):
            changed += reports[s].changed
            scored += reports[s].scored
            undecided += reports[s].undecided
            rescanned += reports[s].rescanned
            if bad < 0 and reports[s].bad_row >= 0:
                bad = reports[s].bad_row
        return count, changed, scored, undecided, rescanned, bad

    def merge(self, int64_t count, double[:, ::1] sums, double[::1] weight_sums, int64_t[::1] members):
        """Add the sums of the last `count` shards, in shard order, and clear them.

        sums is (k, ldc) with ldc the number of columns rounded up to eight.
        """
        cdef assign_pass* p = &self.p
        cdef int64_t k = p.n_clusters, j
        cdef ptrdiff_t ldc = p.ldc
        cdef int threads = self.threads
        if count > self.n_slots or sums.shape[0] != k or sums.shape[1] != ldc or members.shape[0] != k:
            raise ValueError("sums do not have the shape of this assignment")
        if k * ldc * count < 65536:
            threads = 1
        threads = usable_threads(threads)
        for j in prange(k, nogil=True, schedule="static", num_threads=threads):
            _merge_one(p, j, count, &sums[j, 0] if ldc else NULL, &weight_sums[j], &members[j])


def average_centers(const double[:, ::1] sums, const double[::1] weight_sums, const double[::1] shift,
                    const double[:, ::1] old, double[:, ::1] out):
    """out = sums / weight_sums + shift; returns the squared shifts from old, summed.

    -1, with out unfinished, if some cluster has no positive weight.
    """
    cdef Py_ssize_t j, l, d = old.shape[1]
    cdef double gap, moved = 0.0
    for j in range(old.shape[0]):
        if not weight_sums[j] > 0.0:
            return -1.0
        for l in range(d):
            out[j, l] = sums[j, l] / weight_sums[j] + shift[l]
            gap = out[j, l] - old[j, l]
            moved += gap * gap
    return moved


def center_moves(const double[:, ::1] old, const double[:, ::1] new):
    """Upper bounds, in float32 (k,), of how far each centre moved; None if one is not finite."""
    cdef Py_ssize_t j, l, d = old.shape[1]
    cdef double largest, gap, total
    moves = np.empty(old.shape[0], dtype=np.float32)
    cdef float[::1] out = moves
    for j in range(old.shape[0]):
        largest = total = 0.0
        for l in range(d):
            gap = fabs(new[j, l] - old[j, l])
            if not gap <= largest:
                largest = gap
        if largest == 0.0:
            out[j] = 0.0
            continue
        # Scaled, so that squares neither overflow nor vanish.
        for l in range(d):
            gap = (new[j, l] - old[j, l]) / largest
            total += gap * gap
        # Rounded up, and above zero where float32 would underflow.
        out[j] = <float>(largest * sqrt(total) * (1.0 + 1e-6) + 1e-37)
        if not isfinite(out[j]):
            return None
    return moves


cdef void _merge_one(const assign_pass* p, int64_t j, int64_t count, double* sums, double* weight,
                     int64_t* members) noexcept nogil:
    cdef int64_t s, at
    cdef ptrdiff_t l
    for s in range(count):
        at = s * p.n_clusters + j
        if not p.touched[at]:
            continue
        p.touched[at] = 0
        weight[0] += p.weight_sums[at]
        p.weight_sums[at] = 0.0
        members[0] += p.members[at]
        p.members[at] = 0
        for l in range(p.ldc):
            sums[l] += p.sums[at * p.ldc + l]
            p.sums[at * p.ldc + l] = 0.0


cdef int _two_largest(const float[::1] moves, assign_pass* p) except -1:
    cdef Py_ssize_t j
    p.largest_move = p.second_move = 0.0
    p.largest_mover = -1
    for j in range(moves.shape[0]):
        if not isfinite(moves[j]):
            raise ValueError("moves must be finite")
        if moves[j] > p.largest_move:
            p.second_move = p.largest_move
            p.largest_move = moves[j]
            p.largest_mover = <int32_t>j
        elif moves[j] > p.second_move:
            p.second_move = moves[j]
    return 0

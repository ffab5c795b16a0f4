"""Candidates of rows: canonical distances, their order, and what they decide.

Everything here is exact: see docs/exact-neighbors.md.
"""

from libc.math cimport INFINITY, isfinite, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from tilewise.kernels._dispatch cimport tw_near
from tilewise.kernels._pass cimport score_t
from tilewise.kernels._rows cimport tw_fetch_rows
from tilewise.kernels._workspace cimport Workspace

cdef enum:
    # Sorted runs that merging starts from.
    RUN = 8

# ---------------------------------------------------------------- order


cdef void _sort_run(double* distances, int64_t* indices, int64_t n) noexcept nogil:
    cdef int64_t i, j, index
    cdef double distance
    for i in range(1, n):
        distance = distances[i]
        index = indices[i]
        j = i
        while j > 0 and (distances[j - 1] > distance
                         or (distances[j - 1] == distance and indices[j - 1] > index)):
            distances[j] = distances[j - 1]
            indices[j] = indices[j - 1]
            j -= 1
        distances[j] = distance
        indices[j] = index


cdef void sort_pairs(double* distances, int64_t* indices, int64_t n) noexcept nogil:
    """Sort by (distance, index); the arrays have room for twice n."""
    cdef double* from_d = distances
    cdef double* to_d = distances + n
    cdef double* swap_d
    cdef int64_t* from_i = indices
    cdef int64_t* to_i = indices + n
    cdef int64_t* swap_i
    cdef int64_t start, half, a, b, stop_a, stop_b, to, run = RUN
    cdef bint first
    start = 0
    while start < n:
        _sort_run(distances + start, indices + start, n - start if n - start < RUN else RUN)
        start += RUN
    while run < n:
        start = 0
        while start < n:
            a = start
            stop_a = start + run if start + run < n else n
            b = stop_a
            stop_b = start + 2 * run if start + 2 * run < n else n
            to = start
            while a < stop_a and b < stop_b:
                first = from_d[a] < from_d[b] or (from_d[a] == from_d[b] and from_i[a] < from_i[b])
                to_d[to] = from_d[a] if first else from_d[b]
                to_i[to] = from_i[a] if first else from_i[b]
                a += first
                b += not first
                to += 1
            half = stop_a - a
            memcpy(to_d + to, from_d + a, half * sizeof(double))
            memcpy(to_i + to, from_i + a, half * sizeof(int64_t))
            memcpy(to_d + to + half, from_d + b, (stop_b - b) * sizeof(double))
            memcpy(to_i + to + half, from_i + b, (stop_b - b) * sizeof(int64_t))
            start += 2 * run
        swap_d, swap_i = from_d, from_i
        from_d, from_i = to_d, to_i
        to_d, to_i = swap_d, swap_i
        run *= 2
    if from_d != distances:
        memcpy(distances, from_d, n * sizeof(double))
        memcpy(indices, from_i, n * sizeof(int64_t))

# ---------------------------------------------------------------- canonical distances


cdef inline void _between(const near_pass* p, const void* x, const void** rows, int count,
                          double* out) noexcept nogil:
    if p.x.is_double:
        p.exact.between_f8(<const double*>x, <const double* const*>rows, count, p.depth, out)
    else:
        p.exact.between_f4(<const float*>x, <const float* const*>rows, count, p.depth, out)


cdef void distances_to(const near_pass* p, const void* x, const int64_t* ids, int64_t first, int64_t count,
                       char* ws, double* out) noexcept nogil:
    cdef const void** rows = <const void**>(ws + p.y_pointers_at)
    cdef int64_t start = 0
    cdef int some
    while start < count:
        some = BATCH if count - start > BATCH else <int>(count - start)
        tw_fetch_rows(p.y, ids + start if ids != NULL else NULL, first + start, some, rows,
                      ws + p.y_staging_at, p.step)
        _between(p, x, rows, some, out + start)
        start += some


cdef bint row_is_finite(const near_pass* p, const void* x) noexcept nogil:
    cdef int l
    for l in range(p.depth):
        if p.x.is_double:
            if not isfinite((<const double*>x)[l]):
                return False
        elif not isfinite((<const float*>x)[l]):
            return False
    return True

# ---------------------------------------------------------------- candidates of one row


cdef Workspace candidate_lists(tw_near* near, int64_t rows):
    cdef Workspace parts = Workspace()
    cdef ptrdiff_t scores = parts.add(rows * near.stride * 8), indices = parts.add(rows * near.stride * 8)
    cdef ptrdiff_t limits = parts.add(rows * 8), counts = parts.add(rows * 4), triggers = parts.add(rows * 4)
    cdef char* memory = parts.make(1)
    near.scores, near.indices, near.limits = memory + scores, memory + indices, memory + limits
    near.counts, near.triggers = <int32_t*>(memory + counts), <int32_t*>(memory + triggers)
    return parts


cdef tw_near slot(const near_pass* p, int64_t chunk, int split) noexcept nogil:
    """The candidates of a chunk of rows in one part of Y."""
    cdef tw_near near = p.near
    cdef char* slot = p.slots + (chunk * p.splits + split) * p.slot_bytes
    near.scores = slot
    near.indices = slot + p.indices_at
    near.limits = slot + p.limits_at
    near.counts = <int32_t*>(slot + p.counts_at)
    near.triggers = <int32_t*>(slot + p.triggers_at)
    near.norms = NULL if p.direct else slot + p.norms_at
    near.split_errors = <const float*>(slot + p.split_errors_at) if p.products else NULL
    return near


cdef int64_t index_at(const near_pass* p, const tw_near* near, ptrdiff_t at) noexcept nogil:
    if p.direct or p.score_double:
        return (<const int64_t*>near.indices)[at]
    return (<const int32_t*>near.indices)[at]


cdef void compact_row(const near_pass* p, const tw_near* near, int row) noexcept nogil:
    if p.direct or p.score_double:
        p.tile.compact_f8(near, row)
    else:
        p.tile.compact_f4(near, row)


cdef void _keep_closest(const near_pass* p, const tw_near* near, int row, const void* x, char* ws,
                        int thread, score_t* scores) noexcept nogil:
    """Cut a full row to its k closest by (canonical distance, index), in the order they are in."""
    cdef int64_t count = near.counts[row], i, kept = 0, last
    cdef ptrdiff_t at = row * near.stride
    cdef double* gaps = <double*>(ws + p.gaps_at)
    cdef int64_t* ids = <int64_t*>(ws + p.ids_at)
    cdef double* sorted_d = gaps + count
    cdef int64_t* sorted_i = ids + count
    cdef double limit
    for i in range(count):
        ids[i] = index_at(p, near, at + i)
    distances_to(p, x, ids, 0, count, ws, gaps)
    p.reports[8 * thread + DECIDED] += count
    memcpy(sorted_d, gaps, count * sizeof(double))
    memcpy(sorted_i, ids, count * sizeof(int64_t))
    sort_pairs(sorted_d, sorted_i, count)
    limit = sorted_d[p.k - 1]
    last = sorted_i[p.k - 1]
    for i in range(count):
        if gaps[i] < limit or (gaps[i] == limit and ids[i] <= last):
            scores[at + kept] = scores[at + i]
            if score_t is float:
                (<int32_t*>near.indices)[at + kept] = <int32_t>ids[i]
            else:
                (<int64_t*>near.indices)[at + kept] = ids[i]
            kept += 1
    near.counts[row] = <int32_t>kept
    near.triggers[row] = near.room


cdef void cut_full_rows(const near_pass* p, const tw_near* near, int tile, int count, const void** pointers,
                        int64_t* tally, char* ws, int thread) noexcept nogil:
    """Make room in the full rows of a tile."""
    cdef int row = tile * p.tile_rows, stop = row + p.tile_rows
    if stop > count:
        stop = count
    while row < stop:
        if near.counts[row] > near.room:
            if p.k == 0:
                take_within(p, near, row, pointers[row], tally + row * p.parts, ws, thread)
            elif p.score_double:
                _keep_closest(p, near, row, pointers[row], ws, thread, <double*>near.scores)
            else:
                _keep_closest(p, near, row, pointers[row], ws, thread, <float*>near.scores)
        row += 1


cdef void scan(const near_pass* p, const tw_near* near, const void** pointers, int count, int64_t first,
               int64_t stop, char* ws, int thread) noexcept nogil:
    """Canonical distances of a few rows to rows first .. stop of Y, as candidates."""
    cdef const void** rows = <const void**>(ws + p.y_pointers_at)
    cdef double out[BATCH]
    cdef double broken = 0.0
    cdef int some, r, j
    while first < stop:
        some = BATCH if stop - first > BATCH else <int>(stop - first)
        tw_fetch_rows(p.y, NULL, first, some, rows, ws + p.y_staging_at, p.step)
        for r in range(count):
            _between(p, pointers[r], rows, some, out)
            for j in range(some):
                broken += out[j] * 0.0
            p.tile.feed_f8(near, r, out, some, first)
        first += some
    if broken != 0.0:
        p.reports[8 * thread + OVERFLOWED] = 1

# ---------------------------------------------------------------- the k closest


cdef int chunk_count(const near_pass* p, int64_t chunk) noexcept nogil:
    cdef int64_t left = p.x_count - chunk * p.chunk_rows
    return p.chunk_rows if left > p.chunk_rows else <int>left


cdef const void** fetch_chunk(const near_pass* p, int64_t chunk, char* ws) noexcept nogil:
    cdef const void** pointers = <const void**>ws
    tw_fetch_rows(p.x, NULL, p.x_first + chunk * p.chunk_rows, chunk_count(p, chunk), pointers,
                  ws + p.x_staging_at, p.step)
    return pointers


cdef void _finish_row(const near_pass* p, int64_t chunk, int row, const void* x, char* ws, int thread,
                      double* distances, int64_t* indices) noexcept nogil:
    cdef double* gaps = <double*>(ws + p.gaps_at)
    cdef int64_t* ids = <int64_t*>(ws + p.ids_at)
    cdef int64_t count = 0, i
    cdef int split
    cdef tw_near near
    cdef ptrdiff_t at
    for split in range(p.splits):
        near = slot(p, chunk, split)
        compact_row(p, &near, row)
        at = row * near.stride
        for i in range(near.counts[row]):
            ids[count + i] = index_at(p, &near, at + i)
        if p.direct:
            memcpy(gaps + count, <double*>near.scores + at, near.counts[row] * sizeof(double))
        count += near.counts[row]
    if not p.direct:
        distances_to(p, x, ids, 0, count, ws, gaps)
    sort_pairs(gaps, ids, count)
    memcpy(distances, gaps, p.k * sizeof(double))
    memcpy(indices, ids, p.k * sizeof(int64_t))


cdef bint _scored(const near_pass* p, const tw_near* near, int row) noexcept nogil:
    if p.score_double:
        return (<const double*>near.norms)[row] < 1e30
    return (<const float*>near.norms)[row] < <float>1e30


cdef void report_bad(const near_pass* p, int64_t row, int thread) noexcept nogil:
    """Row `row` of the group has a value that is not finite: a thread keeps the first such row."""
    cdef int64_t* bad = &p.reports[8 * thread + BAD_ROW]
    if bad[0] == 0 or bad[0] > p.x_first + row + 1:
        bad[0] = p.x_first + row + 1


cdef void finish_chunk(void* work, int64_t chunk, int _count, int thread) noexcept nogil:
    """Write the results of a chunk, up to the first row that is not finite."""
    cdef const near_pass* p = <const near_pass*>work
    cdef char* ws = p.workspace + thread * p.workspace_bytes
    cdef const void** pointers = fetch_chunk(p, chunk, ws)
    cdef tw_near near = slot(p, chunk, 0)
    cdef int64_t row, at
    cdef int count = chunk_count(p, chunk), r
    for r in range(count):
        row = chunk * p.chunk_rows + r
        at = row * p.k
        if not p.direct and not _scored(p, &near, r):
            if not row_is_finite(p, pointers[r]):
                report_bad(p, row, thread)
                return
            _scan_whole(p, pointers[r], ws, thread, p.out_distances + at, p.out_indices + at)
            continue
        _finish_row(p, chunk, r, pointers[r], ws, thread, p.out_distances + at, p.out_indices + at)


cdef void _scan_whole(const near_pass* p, const void* x, char* ws, int thread, double* distances,
                      int64_t* indices) noexcept nogil:
    """The k closest of all of Y to a row that no bound holds for."""
    cdef tw_near near = p.near
    cdef double limit = INFINITY
    cdef int32_t count = 0, trigger = near.room
    near.scores = ws + p.gaps_at
    near.indices = ws + p.ids_at
    near.limits = &limit
    near.counts = &count
    near.triggers = &trigger
    near.norms = NULL
    scan(p, &near, &x, 1, 0, p.y.n_rows, ws, thread)
    p.reports[8 * thread + DECIDED] += p.y.n_rows
    p.tile.compact_f8(&near, 0)
    sort_pairs(<double*>near.scores, <int64_t*>near.indices, count)
    memcpy(distances, near.scores, p.k * sizeof(double))
    memcpy(indices, near.indices, p.k * sizeof(int64_t))

# ---------------------------------------------------------------- within a radius


cdef inline double _error(const near_pass* p, double x, double c, double split_error) noexcept nogil:
    cdef double error = p.near.alpha * (x * c + 0.5 * c * c) + split_error * c
    return error + p.near.beta * (x + c) * (x + c) + p.near.eta * (1.0 + x)


cdef void bound_within(const near_pass* p, double norm, double split_error, double* above,
                       double* below) noexcept nogil:
    """Scores above `above` are not within the radius; scores up to `below` are."""
    cdef double unit = 2.0**-53 if p.score_double else 2.0**-24
    cdef double norm_error = 1.01 * p.near.nu + 4.1 * unit
    cdef double x = sqrt(norm) * (1.0 + 1e-3 + p.near.nu) + (2.0**-500 if p.score_double else 2.0**-56)
    cdef double reach = p.scale * sqrt(p.within), square = reach * reach, c
    cdef double most = 1e308 if p.score_double else 3e38
    # Rounding to the type of the scores must not narrow them.
    cdef double slack = 2.0**-51 if p.score_double else 2.0**-22
    if not reach < 1e15:
        above[0], below[0] = most, -INFINITY
        return
    c = x + reach * (1.0 + 1e-6)
    if c > p.near.largest_norm:
        c = p.near.largest_norm
    above[0] = 0.5 * (square * (1.0 + 3.0 * p.near.beta) - norm * (1.0 - norm_error)) + _error(p, x, c, split_error)
    above[0] += slack * (above[0] if above[0] > 0.0 else -above[0])
    # A column with a score up to `below` may be a little longer.
    c = 1.11 * (x + split_error) + 1.01 * reach + 1e-15
    if c > p.near.largest_norm or p.near.alpha > 1e-3:
        c = p.near.largest_norm
    below[0] = 0.5 * (square * (1.0 - 3.0 * p.near.beta) - norm * (1.0 + norm_error))
    below[0] -= 2.0 * _error(p, x, c, split_error)
    below[0] -= slack * (below[0] if below[0] > 0.0 else -below[0])


cdef inline void _take(const near_pass* p, int64_t index, double distance, int64_t* tally) noexcept nogil:
    if distance <= p.within:
        # Data that changed since they were counted must not write beyond.
        if p.fill and tally[0] < p.out_size:
            p.out_distances[tally[0]] = distance
            p.out_indices[tally[0]] = index
        tally[0] += 1


cdef void take_within(const near_pass* p, const tw_near* near, int row, const void* x, int64_t* tally,
                      char* ws, int thread) noexcept nogil:
    """Count or store the candidates of a row that are within the radius, and forget them."""
    cdef double* gaps = <double*>(ws + p.gaps_at)
    cdef int64_t* ids = <int64_t*>(ws + p.ids_at)
    cdef int64_t count = 0, i
    cdef ptrdiff_t at = row * near.stride
    cdef double above, below = -INFINITY, score
    if not p.fill:
        # Those that the score alone decides need no distance.
        bound_within(p, (<double*>near.norms)[row] if p.score_double else (<float*>near.norms)[row],
                     near.split_errors[row] if near.split_errors != NULL else 0.0, &above, &below)
    for i in range(near.counts[row]):
        if not p.fill:
            score = (<double*>near.scores)[at + i] if p.score_double else (<float*>near.scores)[at + i]
            if score <= below:
                tally[0] += 1
                continue
        ids[count] = index_at(p, near, at + i)
        count += 1
    near.counts[row] = 0
    distances_to(p, x, ids, 0, count, ws, gaps)
    p.reports[8 * thread + DECIDED] += count
    for i in range(count):
        _take(p, ids[i], gaps[i], tally)


cdef void scan_within(const near_pass* p, const void* x, int64_t first, int64_t stop, int64_t* tally,
                      char* ws, int thread) noexcept nogil:
    """The same for rows first .. stop of Y, without scores."""
    cdef double out[BATCH]
    cdef double broken = 0.0
    cdef int some, j
    while first < stop:
        some = BATCH if stop - first > BATCH else <int>(stop - first)
        distances_to(p, x, NULL, first, some, ws, out)
        for j in range(some):
            broken += out[j] * 0.0
            _take(p, first + j, out[j], tally)
        first += some
    if broken != 0.0:
        p.reports[8 * thread + OVERFLOWED] = 1

"""Centres: packed for scoring, moved, averaged."""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport INFINITY, fabs, frexp, isfinite, ldexp, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint16_t

from tilewise.kernels._dispatch cimport tw_meet, tw_split_parts, usable_threads
from tilewise.kernels._pass cimport BLAS, CENTRES_IN_LANES, CSR, ROWS_IN_LANES, assign_pass, score_t

cdef enum:
    ENTRIES_BLOCK = 64  # as in c/tw_csr.h
    # Columns of a panel that are packed at a time: 16 KiB of a panel of 64 in float32.
    COLUMNS = 64


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


cdef void _list_center(const assign_pass* p, int j) noexcept nogil:
    """The numbers of a centre other than zero, if they are few."""
    cdef const double* c = p.centers + j * p.ldc
    cdef int32_t* columns = p.listed_columns + <ptrdiff_t>j * p.listed_entries
    cdef double* values = p.listed_values + <ptrdiff_t>j * p.listed_entries
    cdef int l, start, stop = 0, n = 0
    while stop < p.depth and n >= 0:
        start = stop
        stop = min(p.depth, start + COLUMNS)
        # Most stretches of such a centre hold none.
        if p.exact.nonzeros(c + start, stop - start) == 0:
            continue
        for l in range(start, stop):
            if c[l] != 0.0:
                if n == p.listed_entries:
                    n = -1
                    break
                columns[n] = l
                values[n] = c[l]
                n += 1
    p.listed[j] = n


cdef void _pack_columns(const assign_pass* p, int panel, int start, int stop, score_t kind) noexcept nogil:
    """Columns start to stop of one panel for the scores of CSR rows: scaled and negated."""
    cdef int width = p.panel_vectors * p.lanes, first = panel * width, q, l, count = p.n_clusters - first
    cdef score_t* to = <score_t*>p.packed + <ptrdiff_t>panel * p.depth * width
    cdef const double* c
    if count > width:
        count = width
    for q in range(count):
        c = p.centers + <ptrdiff_t>(first + q) * p.ldc
        for l in range(start, stop):
            to[<ptrdiff_t>l * width + q] = <score_t>-(c[l] * p.scale if p.scale != 0.0 else 0.0)


cdef int _place_for_entries(assign_pass* p, const double[:, ::1] centers, int threads) except -1:
    """Norms of centres that CSR rows meet, and their panels where the scores want any.

    The centres stay where they are, and the origin is zero: moving sparse rows would make zeros
    count.
    """
    cdef int k = p.n_clusters, d = p.depth, j, part
    cdef int parts = (d + COLUMNS - 1) // COLUMNS
    cdef double largest = 0.0, square
    cdef double* norms = p.norms
    p.centers = <double*>&centers[0, 0] if d else NULL
    p.ldc = d
    for j in prange(k, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
        if d and (p.stale == NULL or p.stale[j]):
            p.center_norms[j] = p.exact.measure_center(p.centers + j * p.ldc, d, p.largest + j)
            _list_center(p, j)
    for j in range(k):
        largest = max(largest, p.largest[j])
    p.scale = choose_scale(largest, p.rows.is_double or p.score_double)
    p.hopeless = p.scale == 0.0
    for j in range(k):
        square = p.center_norms[j] * p.scale * p.scale if p.scale != 0.0 else 0.0
        norms[j] = sqrt(square) * (1.0 + 1e-6)
        if p.score_double:
            (<double*>p.half_norms)[j] = 0.5 * square
        else:
            (<float*>p.half_norms)[j] = <float>(0.5 * square)
    if p.gathered:
        return 0
    for part in prange(p.n_panels * parts, nogil=True, schedule="static", num_threads=threads):
        j = part % parts * COLUMNS
        if p.score_double:
            _pack_columns[double](p, part // parts, j, min(d, j + COLUMNS), 0.0)
        else:
            _pack_columns[float](p, part // parts, j, min(d, j + COLUMNS), 0.0)
    return 0


cdef void _pack_panel(const assign_pass* p, int panel, const double* origin, double* norms,
                      score_t kind) noexcept nogil:
    """Scale and negate the centres of one panel (or group); bounds of their norms."""
    cdef int width = p.tile.group if p.layout == ROWS_IN_LANES else p.panel_vectors * p.lanes
    cdef int d = p.depth, first = panel * width, q, j, l, count = p.n_clusters - first
    cdef score_t* half = <score_t*>p.half_norms
    cdef score_t* to = <score_t*>p.packed + <ptrdiff_t>panel * (d + 1) * width
    cdef score_t* row
    cdef const double* c
    cdef int start = 0, stop
    cdef double value, square
    if count > width:
        count = width
    for q in range(count):
        norms[p.order[first + q] if p.n_groups else first + q] = 0.0
    # A few columns at a time, so that what is written side by side meets in L1.
    while start < d:
        stop = start + COLUMNS if d - start > COLUMNS else d
        for q in range(count):
            j = p.order[first + q] if p.n_groups else first + q
            c = p.centers + <ptrdiff_t>j * p.ldc
            row = <score_t*>p.row_major + <ptrdiff_t>j * d
            square = norms[j]
            for l in range(start, stop):
                value = (c[l] - origin[l]) * p.scale if p.scale != 0.0 else 0.0
                square += value * value
                if p.layout == BLAS:
                    row[l] = <score_t>-value
                else:
                    to[<ptrdiff_t>(1 + l) * width + q] = <score_t>-value
            norms[j] = square
        start = stop
    for q in range(count):
        j = p.order[first + q] if p.n_groups else first + q
        square = norms[j]
        norms[j] = sqrt(square) * (1.0 + 1e-6)
        half[j] = <score_t>(0.5 * square)
        if p.layout != BLAS:
            to[q] = half[j]
    if p.layout == BLAS:
        return
    for q in range(count, width):
        # A centre that does not exist is infinitely far.
        to[q] = INFINITY
        for l in range(d):
            to[<ptrdiff_t>(1 + l) * width + q] = 0
    if p.products:
        _split_panel(p, panel, count, width, <const float*>to, norms)


cdef void _split_panel(const assign_pass* p, int panel, int count, int width, const float* packed,
                       const double* norms) noexcept nogil:
    """The same panel in parts, and the largest shares of its centres' norms that are left out."""
    cdef float own[64]
    cdef float second_norms[64]
    cdef float rest_norms[64]
    cdef double norm, slack = split_slack(p.depth)
    cdef int q
    p.split.pack_panel(packed, p.depth, tw_split_parts(p.products),
                       <uint16_t*>p.split_panels + panel * p.split_step, own, second_norms, rest_norms)
    p.shares[2 * panel] = p.shares[2 * panel + 1] = 0.0
    for q in range(count):
        norm = norms[panel * width + q]
        if norm > 0.0:
            p.shares[2 * panel] = max(p.shares[2 * panel], slack * sqrt(second_norms[q]) / norm)
            p.shares[2 * panel + 1] = max(p.shares[2 * panel + 1], slack * sqrt(rest_norms[q]) / norm)


cdef double split_slack(int depth) noexcept nogil:
    """Covers what norms of the parts round, added up in float32 one by one."""
    return 1.001 + depth * 2.0**-23


cdef double split_error(int steps, int products, int more) noexcept nogil:
    """alpha of products of parts: one addition per instruction, up to 32 within one, and more."""
    # Magnitudes of the parts add up to up to 1.016 times those of the numbers.
    return 1.03 * score_error(<double>steps * products + 32.0 + more, 2.0**-24)


cdef double split_eta(int depth, double largest_norm) noexcept nogil:
    """eta where squares of parts underflow, and parts below 2^-126 are taken for zero."""
    return (depth + 8.0) * 2.0**-72 * max(1.0, largest_norm)


cdef double choose_scale(double largest, bint wide) noexcept nogil:
    """The power of two that brings coordinates of up to `largest` below one; 0 if no bound holds."""
    cdef int exponent = 0, reach = 1000 if wide else 100
    if largest > 0.0 and isfinite(largest):
        frexp(largest, &exponent)
    # Within +-400 neither the canonical distance nor the bound meets the ends of
    # float64; outside, every row is decided by the canonical distance alone.
    if not isfinite(largest) or abs(exponent) > 400:
        return 0.0
    return ldexp(1.0, -max(-reach, min(reach, exponent)))


cdef double score_error(double additions, double unit) noexcept nogil:
    """alpha for the longest chain of additions that one term of a score goes through."""
    return 1.02 * (additions + 8) * unit


cdef double distance_error(int depth) noexcept nogil:
    """beta: what the canonical distance itself rounds."""
    return (depth / 8.0 + 12.0) * 2.0**-53


cdef int _place_rows(assign_pass* p, const double[:, ::1] centers, double* origin, int threads) except -1:
    """Copy the centres, choose origin and scale, and pack."""
    cdef int k = p.n_clusters, d = p.depth, j, l, panel
    cdef double largest = 0.0
    cdef bint wide = p.rows.is_double or p.score_double
    cdef double share = 1.0 / k
    cdef double* norms = p.norms
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
    p.scale = choose_scale(largest, wide)
    p.hopeless = p.scale == 0.0
    for panel in prange(p.n_panels, nogil=True, schedule="static", num_threads=threads):
        if p.score_double:
            _pack_panel[double](p, panel, origin, norms, 0.0)
        else:
            _pack_panel[float](p, panel, origin, norms, 0.0)
    return 0


cdef int place_centers(assign_pass* p, const double[:, ::1] centers, double* origin, int threads) except -1:
    """Pack the centres, choose origin and scale, and fix the error bound."""
    cdef int k = p.n_clusters, d = p.depth, chain, j, panel
    cdef double unit
    if p.layout == CSR:
        _place_for_entries(p, centers, threads)
    else:
        _place_rows(p, centers, origin, threads)
    if p.hopeless:
        p.scale = 1.0
    p.largest_norm = 0.0
    for j in range(k):
        p.largest_norm = max(p.largest_norm, p.norms[j])
    unit = 2.0**-53 if p.score_double else 2.0**-24
    # Additions one after another in one running score: the whole row for BLAS and short
    # rows; a block of the depth, then one addition per block, in the tile.
    chain = d
    if p.layout == CENTRES_IN_LANES and d > p.depth_block:
        chain = p.depth_block + (d + p.depth_block - 1) // p.depth_block
    if p.layout == CSR:
        # Two chains in each block of entries meet in the total.
        chain = <int>min(p.longest // 2 + 4, ENTRIES_BLOCK // 2 + 4 + p.longest // ENTRIES_BLOCK)
    # Half the squared norm is summed in double, which only double scores notice; that of centres
    # that CSR rows meet is within a few roundings.
    p.alpha = score_error(chain + (0 if not p.score_double else 8 if p.layout == CSR else d), unit)
    # Relative error of a packed row's squared norm: additions in a lane, then across.
    p.nu = (d + 3.0 if p.layout == ROWS_IN_LANES else (d + p.lanes - 1) // p.lanes + p.lanes + 2.0) * unit
    if p.layout == CSR:
        p.nu = (p.longest + 4.0) * 2.0**-53 + 1.01 * unit
    p.alpha_again = p.alpha
    p.beta = distance_error(d)
    p.eta = (d + 8.0) * 2.0**-126 * max(1.0, p.largest_norm)
    if p.products:
        p.alpha = split_error(p.steps, p.products, 0)
        p.eta = split_eta(d, p.largest_norm)
        p.second_share = p.rest_share = 0.0
        for panel in range(p.n_panels):
            p.second_share = max(p.second_share, p.shares[2 * panel])
            p.rest_share = max(p.rest_share, p.shares[2 * panel + 1])
    return 0


cdef double _narrow_center(const double* c, int depth, float* out) noexcept nogil:
    """Round a centre to float32; upper bound of how far that moves it."""
    cdef double square = 0.0, gap
    cdef int l
    for l in range(depth):
        out[l] = <float>c[l]
        gap = c[l] - out[l]
        square += gap * gap
    # Squares below 2^-1022 are covered by the second term; infinity and NaN stay what they are.
    return sqrt(square) * (1.0 + 1e-6) + 1e-140


cdef void narrow_centers(const assign_pass* p, int threads) noexcept:
    """Fill `narrow_centers` and `narrow_errors`."""
    cdef int j
    for j in prange(p.n_clusters, nogil=True, schedule="static", num_threads=threads):
        p.narrow_errors[j] = _narrow_center(p.centers + j * p.ldc, p.depth, p.narrow_centers + j * p.ldn)


cdef double squared_gap(const double* a, const double* b, Py_ssize_t d) noexcept nogil:
    """Squared distance of two centres, in the canonical order."""
    cdef double sums[8]
    cdef double gap
    cdef Py_ssize_t l, i
    for i in range(8):
        sums[i] = 0.0
    for l in range(0, d - 7, 8):
        for i in range(8):
            gap = b[l + i] - a[l + i]
            sums[i] += gap * gap
    for l in range(d // 8 * 8, d):
        gap = b[l] - a[l]
        sums[l % 8] += gap * gap
    return tw_meet(sums)


cdef float _move(const double* old, const double* new, Py_ssize_t d, double total) noexcept nogil:
    """Upper bound of how far a centre moved; total is the square of that."""
    cdef double largest = 0.0, gap
    cdef Py_ssize_t l
    if 1e-200 < total < 1e200:
        # Rounded up: squares far from the ends of the range.
        return <float>(sqrt(total) * (1.0 + 1e-6) + 1e-37)
    for l in range(d):
        gap = fabs(new[l] - old[l])
        if not gap <= largest:
            largest = gap
    if largest == 0.0:
        return 0.0
    # Scaled, so that squares neither overflow nor vanish.
    total = 0.0
    for l in range(d):
        gap = (new[l] - old[l]) / largest
        total += gap * gap
    # Rounded up, and above zero where float32 would underflow.
    return <float>(largest * sqrt(total) * (1.0 + 1e-6) + 1e-37)


def center_moves(const double[:, ::1] old, const double[:, ::1] new, int n_threads=1, const double[::1] shifts=None):
    """Upper bounds, in float32 (k,), of how far each centre moved; None if one is not finite.

    shifts (k) are the squares, if `Sums.average` has found them. With them old and new may be one
    array, which holds the new centres; None if a square then says too little.
    """
    cdef Py_ssize_t j, k = old.shape[0], d = old.shape[1]
    cdef bint gone = k and d and &old[0, 0] == &new[0, 0]
    cdef int threads = usable_threads(n_threads)
    moves = np.zeros(k, dtype=np.float32)
    cdef float[::1] out = moves
    if gone and shifts is not None:
        for j in range(k):
            if shifts[j] != 0.0 and not 1e-200 < shifts[j] < 1e200:
                return None
    if d:
        for j in prange(k, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
            out[j] = _move(&old[j, 0], &new[j, 0], d,
                           squared_gap(&old[j, 0], &new[j, 0], d) if shifts is None else shifts[j])
    for j in range(k):
        if not isfinite(out[j]):
            return None
    return moves

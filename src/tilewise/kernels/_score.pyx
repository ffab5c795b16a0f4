"""Rows packed, scored by the kernel of the layout, and labelled where that settles it.

What every scorer leaves for each row, whatever computed it: `label`, the index of the closest centre
where the scores are certain and -1 where they are not; `lowest` and `second_lowest`, the two least
scores; `band`, twice the bound of their error. `_decide` labels the rows at -1 by the canonical
distance. What the lanes held (`best`, `second`, `ordinal`) spares it most of the centres.
"""

from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint16_t
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm, sgemm

from tilewise.kernels._dispatch cimport (
    TW_SPLIT_ROWS,
    TW_SPLIT_STEP,
    tw_split_kernels,
    tw_split_parts,
    tw_tile_kernels,
)
from tilewise.kernels._pass cimport (
    BLAS,
    CENTRES_IN_LANES,
    CSR,
    ROWS_IN_LANES,
    assign_pass,
    offsets_t,
    padded_rows,
    score_t,
)
from tilewise.kernels._rows cimport tw_pack_entries_f4, tw_pack_entries_f8


cdef void _pack(const assign_pass* p, int n, const void** pointers, score_t* packed,
                score_t* norms) noexcept nogil:
    cdef const tw_tile_kernels* k = p.tile
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes
    cdef ptrdiff_t row_step = p.lanes, segment_step = k.tile_rows * p.lanes
    cdef ptrdiff_t tile_step = segments * segment_step
    cdef int tile_rows = k.tile_rows
    if p.layout == BLAS or p.n_groups:
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
                 score_t* best, score_t* second, const void* const* ahead) noexcept nogil:
    """Best, second best and where the best came from, per row and lane (or per row)."""
    cdef const tw_tile_kernels* k = p.tile
    cdef int panel, panels, width, m, nn, kk, lda
    cdef ptrdiff_t i, state, padded = padded_rows(p, n)
    cdef ptrdiff_t panel_step
    cdef const score_t* panels_from
    cdef score_t* scratch = <score_t*>(ws + o.scratch)
    cdef score_t one = 1, zero = 0
    cdef int data_item = 8 if p.rows.is_double else 4
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
                        p.panel_vectors, panel * p.panel_vectors, best, second, <int32_t*>(ws + o.ordinal), scratch,
                        ahead if panel == 0 else NULL, data_item)
        else:
            k.assign_f8(packed, <int>(padded // k.tile_rows), p.depth, p.depth_block, panels_from, panels,
                        p.panel_vectors, panel * p.panel_vectors, best, second, <int64_t*>(ws + o.ordinal), scratch,
                        ahead if panel == 0 else NULL, data_item)
        panel += panels


cdef void _score_split(const assign_pass* p, int n, char* ws, const offsets_t* o, float* norms,
                       float* best, float* second, const void* const* ahead) noexcept nogil:
    """Rows split into parts of bfloat16, and scored by their products."""
    cdef const tw_split_kernels* k = p.split
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef uint16_t* packed = <uint16_t*>(ws + o.rows)
    cdef float* second_norms = <float*>(ws + o.second_norms)
    cdef float* rest_norms = <float*>(ws + o.rest_norms)
    cdef int parts = tw_split_parts(p.products), panel = 0, panels
    cdef int data_bytes = TW_SPLIT_STEP * (8 if p.rows.is_double else 4)
    cdef ptrdiff_t padded = padded_rows(p, n)
    if p.rows.is_double:
        k.pack_f8(n, p.depth, parts, <const double* const*>pointers, <const double*>p.origin, p.scale, packed,
                  norms, second_norms, rest_norms)
    else:
        k.pack_f4(n, p.depth, parts, <const float* const*>pointers, <const float*>p.origin, <float>p.scale, packed,
                  norms, second_norms, rest_norms)
    k.split_errors(n, norms, second_norms, rest_norms, <float>p.second_share, <float>p.rest_share,
                   <float*>(ws + o.split_errors))
    # Blocks of panels that stay in L2 while every group of rows of the chunk meets them.
    while panel < p.n_panels:
        panels = p.n_panels - panel
        if panels > p.panels_per_block:
            panels = p.panels_per_block
        k.assign(packed, <int>(padded // TW_SPLIT_ROWS), p.steps, p.step_block, p.products,
                 <const uint16_t*>p.split_panels + panel * p.split_step, panels, panel * p.panel_vectors,
                 best, second, <int32_t*>(ws + o.ordinal), <float*>(ws + o.scratch),
                 ahead if panel == 0 else NULL, data_bytes)
        panel += panels


cdef void _score_entries(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* packed,
                         score_t* best, score_t* second) noexcept nogil:
    """The same from the stored entries of CSR rows, centres in the lanes."""
    cdef const tw_tile_kernels* k = p.tile
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef int32_t* starts = <int32_t*>(ws + o.starts)
    cdef int32_t* columns = <int32_t*>(ws + o.columns)
    cdef score_t* norms = <score_t*>(ws + o.norms)
    cdef score_t* scratch = <score_t*>(ws + o.scratch)
    if score_t is float:
        tw_pack_entries_f4(p.rows, ids, n, p.scale, starts, columns, packed, norms)
        k.csr_scores_f4(n, starts, columns, packed, p.depth, <const float*>p.packed, p.n_panels,
                        p.panel_vectors, scratch, p.ld_scores)
        k.scan_f4(n, p.n_clusters, scratch, p.ld_scores, <const float*>p.half_norms, best, second,
                  <int32_t*>(ws + o.ordinal))
    else:
        tw_pack_entries_f8(p.rows, ids, n, p.scale, starts, columns, packed, norms)
        if not p.gathered:
            k.csr_scores_f8(n, starts, columns, packed, p.depth, <const double*>p.packed, p.n_panels,
                            p.panel_vectors, scratch, p.ld_scores)
        elif p.hopeless:
            memset(scratch, 0, n * p.ld_scores * sizeof(double))
        else:
            p.exact.gather_scores(n, starts, columns, packed, p.centers, p.ldc, p.n_clusters, p.scale, scratch,
                                  p.ld_scores)
        k.scan_f8(n, p.n_clusters, scratch, p.ld_scores, <const double*>p.half_norms, best, second,
                  <int64_t*>(ws + o.ordinal))


cdef void _bands(const assign_pass* p, int n, const score_t* norms, score_t* band,
                 const float* split_errors) noexcept nogil:
    """band is twice the error bound of the scores of a row."""
    cdef const tw_tile_kernels* k = p.tile
    cdef double c = p.largest_norm
    cdef score_t per_split_error = <score_t>(2.02 * c)
    cdef int r
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
    if p.products:
        for r in range(n):
            band[r] += per_split_error * split_errors[r]


cdef void _certify(const assign_pass* p, int n, char* ws, const offsets_t* o, score_t* best,
                   score_t* second) noexcept nogil:
    """label is the one centre within twice the error bound of the best score, or -1."""
    cdef const tw_tile_kernels* k = p.tile
    cdef score_t* band = <score_t*>(ws + o.band)
    cdef int32_t* label = <int32_t*>(ws + o.label)
    cdef score_t* lowest = <score_t*>(ws + o.lowest)
    cdef score_t* second_lowest = <score_t*>(ws + o.second_lowest)
    _bands(p, n, <score_t*>(ws + o.norms), band, <const float*>(ws + o.split_errors))
    if p.layout == ROWS_IN_LANES:
        if score_t is float:
            k.certify_lanes_f4(n, best, second, <int32_t*>(ws + o.ordinal), band, label)
        else:
            k.certify_lanes_f8(n, best, second, <int64_t*>(ws + o.ordinal), band, label)
    elif score_t is float:
        k.certify_f4(n, best, second, <int32_t*>(ws + o.ordinal), band, label, lowest, second_lowest)
    else:
        k.certify_f8(n, best, second, <int64_t*>(ws + o.ordinal), band, label, lowest, second_lowest)


cdef const void* const* _next_rows(const assign_pass* p, int64_t first, bint all_open, char* ws,
                                   const offsets_t* o) noexcept nogil:
    """Where the rows after this chunk stand, if they are worth fetching early."""
    cdef const void** ahead = <const void**>(ws + o.ahead)
    cdef int64_t last = p.rows.n_rows - 1, i
    cdef ptrdiff_t r
    if p.layout != CENTRES_IN_LANES or not p.rows.direct or not all_open or first > last:
        return NULL
    for r in range(padded_rows(p, p.chunk_rows)):
        i = first + r if first + r < last else last
        ahead[r] = p.rows.data + (i if p.rows.picks == NULL else p.rows.picks[i]) * p.rows.row_stride
    return ahead


cdef void _score_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t next_row,
                      bint whole, score_t kind) noexcept nogil:
    cdef score_t* packed = <score_t*>(ws + o.rows)
    cdef score_t* best = <score_t*>(ws + o.best)
    cdef score_t* second = <score_t*>(ws + o.second)
    if p.layout == CSR:
        _score_entries(p, n, ws, o, packed, best, second)
    elif p.products:
        _score_split(p, n, ws, o, <float*>(ws + o.norms), <float*>best, <float*>second,
                     _next_rows(p, next_row, whole, ws, o))
    else:
        _pack(p, n, <const void**>(ws + o.pointers), packed, <score_t*>(ws + o.norms))
        _score(p, n, ws, o, packed, best, second, _next_rows(p, next_row, whole, ws, o))
    _certify(p, n, ws, o, best, second)


cdef void score_rows(const assign_pass* p, int n, char* ws, const offsets_t* o, int64_t next_row,
                     bint whole) noexcept nogil:
    if p.score_double:
        _score_rows[double](p, n, ws, o, next_row, whole, 0)
    else:
        _score_rows[float](p, n, ws, o, next_row, whole, 0)


cdef void pack_rows(const assign_pass* p, int n, const void** pointers, int first, char* ws,
                    const offsets_t* o) noexcept nogil:
    """Pack n rows behind the first ones of the workspace, each on its own, with their norms."""
    cdef ptrdiff_t at = (p.depth + p.lanes - 1) // p.lanes * p.lanes * <ptrdiff_t>first
    if n == 0:
        return
    if p.score_double:
        _pack[double](p, n, pointers, <double*>(ws + o.rows) + at, <double*>(ws + o.norms) + first)
    else:
        _pack[float](p, n, pointers, <float*>(ws + o.rows) + at, <float*>(ws + o.norms) + first)


cdef void measure_bands(const assign_pass* p, int n, char* ws, const offsets_t* o) noexcept nogil:
    """Twice the error bound of the scores of n packed rows."""
    if p.score_double:
        _bands[double](p, n, <double*>(ws + o.norms), <double*>(ws + o.band), NULL)
    else:
        _bands[float](p, n, <float*>(ws + o.norms), <float*>(ws + o.band), NULL)

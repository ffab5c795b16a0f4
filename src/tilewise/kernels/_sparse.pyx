"""Matrices of distances in which at least one side is CSR, never made dense whole.

One CSR side is walked row by row; the other side meets it a block at a time, which stays in
L2: as panels of rows in the lanes if it is dense, as an inverted index if it is CSR. Only
stored entries are multiplied:

    squared     |x|^2 + |y|^2 - 2 x.y
    cosine      1 - x.y / (|x| |y|)
    manhattan   sum |x| + sum |y| + sum over common columns (|x - y| - |x| - |y|)

in float64. A pair that cancels, below a share of what it is made from, or that leaves the
range of float64, is measured again from direct differences in the canonical order.
"""

import numpy as np

from libc.math cimport fabs, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from tilewise.kernels._dispatch cimport (
    exact_kernels,
    run_blocks,
    tile_kernels,
    tw_exact_kernels,
    usable_threads,
)
from tilewise.kernels._rows cimport (
    all_rows,
    Rows,
    address,
    tw_fetch_rows,
    tw_pack_entries_f8,
    tw_row_start,
    tw_rows,
)
from tilewise.kernels._workspace cimport Workspace

# As enum tw_sparse_kernel has them.
KERNELS = {"dot": 0, "sqeuclidean": 1, "euclidean": 2, "cosine": 3, "manhattan": 4}

cdef enum:
    COSINE = 3
    MANHATTAN = 4
    # Walked rows, and their entries, that are unpacked at a time.
    WALK_ROWS = 256
    ENTRIES = 65536
    # Entries of an indexed block: from 65536 on each column has several hits, and with twice
    # twelve bytes each they take 6 MiB (measured at 1 %: 35 % faster than 65536).
    INDEX_ENTRIES = 262144
    # Rows of an indexed block: their sums fit in L1.
    INDEX_ROWS = 2048
    # Panels of a dense block: each unpacked entry serves them all.
    PANELS = 4
    # Rows that are turned over at a time where the walked side is Y.
    TURN = 16


cdef struct sparse_pass:
    const tw_exact_kernels* exact
    const tw_rows* walked
    const tw_rows* blocked
    int64_t walked_first
    int64_t walked_rows
    int64_t blocked_first
    const int64_t* bounds       # (blocks + 1) rows of the blocked side
    int parts                   # of the walked side, per block
    int kernel
    int depth
    double share
    bint turned                 # the walked side is Y
    bint out_double
    char* out
    ptrdiff_t out_stride        # bytes
    int vectors
    int lanes
    int block_rows
    ptrdiff_t walked_entries
    ptrdiff_t blocked_entries
    # Where the parts of one thread's workspace start, in bytes.
    ptrdiff_t starts
    ptrdiff_t columns
    ptrdiff_t values
    ptrdiff_t norms
    ptrdiff_t ids
    ptrdiff_t block_starts
    ptrdiff_t block_columns
    ptrdiff_t block_values
    ptrdiff_t block_sizes
    ptrdiff_t heads
    ptrdiff_t index_rows
    ptrdiff_t index_values
    ptrdiff_t panels
    ptrdiff_t row
    ptrdiff_t wide
    ptrdiff_t sums
    ptrdiff_t flags
    ptrdiff_t redo
    ptrdiff_t tile
    ptrdiff_t total
    char* workspace


cdef Workspace _lay_out(sparse_pass* p):
    cdef Workspace parts = Workspace()
    cdef ptrdiff_t d = p.depth, rows = p.block_rows, width = p.vectors * p.lanes
    cdef bint indexed = p.blocked.offsets != NULL
    p.ids = parts.add(8 * max(<ptrdiff_t>WALK_ROWS, rows))
    p.starts = parts.add(4 * (WALK_ROWS + 1))
    p.columns = parts.add(4 * p.walked_entries)
    p.values = parts.add(8 * p.walked_entries)
    p.norms = parts.add(8 * WALK_ROWS)
    p.block_sizes = parts.add(8 * rows)
    p.block_starts = parts.add(4 * (rows + 1))
    p.block_columns = parts.add(4 * p.blocked_entries if indexed else 0)
    p.block_values = parts.add(8 * p.blocked_entries if indexed else 0)
    p.heads = parts.add(4 * (d + 2) if indexed else 0)
    p.index_rows = parts.add(4 * p.blocked_entries if indexed else 0)
    p.index_values = parts.add(8 * p.blocked_entries if indexed else 0)
    p.panels = parts.add(0 if indexed else 8 * d * ((rows + width - 1) // width * width))
    p.row = parts.add(0 if indexed else 8 * d)
    p.wide = parts.add(0 if indexed else 8 * d)
    p.sums = parts.add(8 * (rows if indexed else (rows + width - 1) // width * width * WALK_ROWS))
    p.flags = parts.add(rows)
    p.redo = parts.add(4 * rows)
    p.tile = parts.add(8 * TURN * rows if p.turned else 0)
    p.total = parts.total
    return parts

# ---------------------------------------------------------------- sizes and blocks


cdef double _size(const sparse_pass* p, int64_t n, const int32_t* columns, const double* x,
                  double norm) noexcept nogil:
    """What `finish` wants of a row: its norm, squared or not, or its sum of magnitudes."""
    cdef double sum[4]
    cdef int64_t i
    if p.kernel == COSINE:
        if norm == 0.0:
            for i in range(n):
                if x[i] != 0.0:
                    return 0.0
            return -1.0
        return sqrt(norm)
    if p.kernel != MANHATTAN:
        return norm
    memset(sum, 0, sizeof(sum))
    for i in range(n):
        sum[(columns[i] if columns != NULL else i) & 3] += fabs(x[i])
    return (sum[0] + sum[1]) + (sum[2] + sum[3])


cdef void _unpack(const sparse_pass* p, const tw_rows* rows, int64_t first, int count, char* ws,
                  ptrdiff_t starts, ptrdiff_t columns, ptrdiff_t values, ptrdiff_t sizes) noexcept nogil:
    """Entries and sizes of count rows of a CSR side."""
    cdef int64_t* ids = <int64_t*>(ws + p.ids)
    cdef const int32_t* at = <const int32_t*>(ws + starts)
    cdef double* size = <double*>(ws + sizes)
    cdef int r
    for r in range(count):
        ids[r] = first + r
    tw_pack_entries_f8(rows, ids, count, 1.0, <int32_t*>(ws + starts), <int32_t*>(ws + columns),
                       <double*>(ws + values), size)
    for r in range(count):
        size[r] = _size(p, at[r + 1] - at[r], <const int32_t*>(ws + columns) + at[r],
                        <const double*>(ws + values) + at[r], size[r])


cdef void _index(const sparse_pass* p, int count, char* ws) noexcept nogil:
    """The columns of the unpacked block: which rows have each, and with what value."""
    cdef const int32_t* starts = <const int32_t*>(ws + p.block_starts)
    cdef const int32_t* columns = <const int32_t*>(ws + p.block_columns)
    cdef const double* values = <const double*>(ws + p.block_values)
    cdef int32_t* heads = <int32_t*>(ws + p.heads)
    cdef int32_t* rows = <int32_t*>(ws + p.index_rows)
    cdef double* others = <double*>(ws + p.index_values)
    cdef int r, e, l, at
    # heads[l + 1] counts, then says where column l starts, then where it ends.
    memset(heads, 0, 4 * (<ptrdiff_t>p.depth + 2))
    for e in range(starts[count]):
        heads[columns[e] + 2] += 1
    for l in range(p.depth):
        heads[l + 2] += heads[l + 1]
    for r in range(count):
        for e in range(starts[r], starts[r + 1]):
            at = heads[columns[e] + 1]
            heads[columns[e] + 1] = at + 1
            rows[at] = r
            others[at] = values[e]


cdef void _fetch_wide(const sparse_pass* p, int64_t i, char* ws) noexcept nogil:
    """Row i of the dense side in double."""
    cdef const void* pointer
    cdef double* wide = <double*>(ws + p.wide)
    cdef int l
    tw_fetch_rows(p.blocked, NULL, i, 1, &pointer, ws + p.row, p.depth)
    if p.blocked.is_double:
        for l in range(p.depth):
            wide[l] = (<const double*>pointer)[l]
    else:
        for l in range(p.depth):
            wide[l] = (<const float*>pointer)[l]


cdef void _panels(const sparse_pass* p, int64_t first, int count, char* ws) noexcept nogil:
    """The dense block in panels of rows in the lanes, and sizes."""
    cdef int width = p.vectors * p.lanes, r, l
    cdef double* sizes = <double*>(ws + p.block_sizes)
    cdef const double* wide = <const double*>(ws + p.wide)
    cdef double* to
    cdef double sum[4]
    for r in range(count):
        _fetch_wide(p, first + r, ws)
        to = <double*>(ws + p.panels) + <ptrdiff_t>(r // width) * width * p.depth + r % width
        memset(sum, 0, sizeof(sum))
        for l in range(p.depth):
            to[<ptrdiff_t>l * width] = wide[l]
            sum[l & 3] += wide[l] * wide[l]
        sizes[r] = _size(p, p.depth, NULL, wide, (sum[0] + sum[1]) + (sum[2] + sum[3]))

# ---------------------------------------------------------------- one block against one part


cdef double _again(const sparse_pass* p, int r, int j, int64_t block_first, char* ws) noexcept nogil:
    """Distance of walked row r to row j of the block, from direct differences."""
    cdef const int32_t* starts = <const int32_t*>(ws + p.starts)
    cdef const int32_t* others = <const int32_t*>(ws + p.block_starts)
    cdef const int32_t* columns = <const int32_t*>(ws + p.columns) + starts[r]
    cdef const double* values = <const double*>(ws + p.values) + starts[r]
    cdef int n = starts[r + 1] - starts[r]
    if p.blocked.offsets != NULL:
        return p.exact.merged(p.kernel, n, columns, values, others[j + 1] - others[j],
                              <const int32_t*>(ws + p.block_columns) + others[j],
                              <const double*>(ws + p.block_values) + others[j])
    _fetch_wide(p, block_first + j, ws)
    return p.exact.merged(p.kernel, n, columns, values, p.depth, NULL, <const double*>(ws + p.wide))


cdef void _finish_row(const sparse_pass* p, int r, double size, const double* sums, int64_t block_first, int count,
                      char* to, char* ws) noexcept nogil:
    cdef int32_t* redo = <int32_t*>(ws + p.redo)
    cdef uint8_t* flags = <uint8_t*>(ws + p.flags)
    cdef const double* sizes = <const double*>(ws + p.block_sizes)
    cdef int i, n
    if p.out_double:
        n = p.exact.finish_f8(p.kernel, count, size, sizes, sums, p.share, <double*>to, flags, redo)
        for i in range(n):
            (<double*>to)[redo[i]] = _again(p, r, redo[i], block_first, ws)
    else:
        n = p.exact.finish_f4(p.kernel, count, size, sizes, sums, p.share, <float*>to, flags, redo)
        for i in range(n):
            (<float*>to)[redo[i]] = <float>_again(p, r, redo[i], block_first, ws)


cdef void _turn(const sparse_pass* p, int64_t walked, int n, int64_t block_at, int count,
                const char* tile) noexcept nogil:
    """tile (n, count) goes to out[block_at ..., walked ...] turned over."""
    cdef int i, r
    cdef char* to
    for i in range(count):
        to = p.out + (block_at + i) * p.out_stride
        if p.out_double:
            for r in range(n):
                (<double*>to)[walked + r] = (<const double*>tile)[<ptrdiff_t>r * p.block_rows + i]
        else:
            for r in range(n):
                (<float*>to)[walked + r] = (<const float*>tile)[<ptrdiff_t>r * p.block_rows + i]


cdef int _walk_count(const sparse_pass* p, int64_t at, int64_t stop) noexcept nogil:
    """How many walked rows from `at` on fit the workspace; one always does."""
    cdef int64_t limit = tw_row_start(p.walked, p.walked_first + at) + p.walked_entries
    cdef int n = 1
    while n < WALK_ROWS and at + n < stop and tw_row_start(p.walked, p.walked_first + at + n + 1) <= limit:
        n += 1
    return n


cdef void _run(void* work, int64_t task, int _count, int thread) noexcept nogil:
    cdef const sparse_pass* p = <const sparse_pass*>work
    cdef char* ws = p.workspace + thread * p.total
    cdef int64_t block = task // p.parts, part = task % p.parts
    cdef int64_t at = p.walked_rows * part // p.parts, stop = p.walked_rows * (part + 1) // p.parts
    cdef int64_t block_at = p.bounds[block], block_first = p.blocked_first + block_at
    cdef int count = <int>(p.bounds[block + 1] - block_at), width = p.vectors * p.lanes
    cdef int item = 8 if p.out_double else 4, n, r, e, ld = (count + width - 1) // width * width
    cdef const int32_t* starts = <const int32_t*>(ws + p.starts)
    cdef const int32_t* columns = <const int32_t*>(ws + p.columns)
    cdef const double* values = <const double*>(ws + p.values)
    cdef const double* sizes = <const double*>(ws + p.norms)
    cdef double* sums = <double*>(ws + p.sums)
    cdef char* to
    if at >= stop:
        return
    # 1. the block (L2)
    if p.blocked.offsets != NULL:
        _unpack(p, p.blocked, block_first, count, ws, p.block_starts, p.block_columns, p.block_values, p.block_sizes)
        _index(p, count, ws)
    else:
        _panels(p, block_first, count, ws)
    while at < stop:
        # 2. some walked rows
        n = _walk_count(p, at, stop)
        _unpack(p, p.walked, p.walked_first + at, n, ws, p.starts, p.columns, p.values, p.norms)
        if p.blocked.offsets == NULL:
            p.exact.csr_panels(p.kernel == MANHATTAN, n, starts, columns, values, p.depth,
                               <const double*>(ws + p.panels), ld // width, p.vectors, sums, ld)
        # 3. one row
        for r in range(n):
            if p.blocked.offsets != NULL:
                memset(sums, 0, 8 * count)
                e = starts[r]
                p.exact.csr_index(p.kernel == MANHATTAN, starts[r + 1] - e, columns + e, values + e,
                                  <const int32_t*>(ws + p.heads), <const int32_t*>(ws + p.index_rows),
                                  <const double*>(ws + p.index_values), sums)
            if p.turned:
                to = ws + p.tile + (r % TURN) * <ptrdiff_t>p.block_rows * item
            else:
                to = p.out + (at + r) * p.out_stride + block_at * item
            _finish_row(p, r, sizes[r], sums + (0 if p.blocked.offsets != NULL else <ptrdiff_t>r * ld),
                        block_first, count, to, ws)
            if p.turned and (r % TURN == TURN - 1 or r == n - 1):
                _turn(p, at + r - r % TURN, r % TURN + 1, block_at, count, ws + p.tile)
        at += n

# ---------------------------------------------------------------- the border to Python


def fill_sparse(Rows x, int64_t x_first, Rows y, int64_t y_first, out, *, str kernel, str isa, int n_threads,
                bint walk_y, int panel_vectors):
    """out[i, j] = distance of row x_first + i of x to row y_first + j of y; one of them is CSR.

    Parameters
    ----------
    x, y : Rows
        With equal numbers of columns.
    out : ndarray of shape (n_x, n_y), float32 or float64
        Rows may be any distance apart; the numbers of a row are contiguous.
    kernel : {"euclidean", "sqeuclidean", "cosine", "dot", "manhattan"}
        "dot" is the plain inner product. Rows of zeros have the cosine distance 1.
    walk_y : bool
        Whether the rows of y, which are CSR then, are walked, and x meets them in blocks; or the
        other way round.
    panel_vectors : {1, 2, 4}
        Vectors of rows in a panel of a dense side.

    Notes
    -----
    The numbers do not depend on threads, blocks or instruction set, and those of two CSR sides
    not on which is x. Workspace per thread: entries of some rows of either side, and for a
    dense side up to four panels.
    """
    all_rows(x)
    all_rows(y)
    cdef sparse_pass p
    cdef int64_t n_x = out.shape[0], n_y = out.shape[1], tasks, n_blocks
    cdef Rows walked, blocked
    if kernel not in KERNELS:
        raise ValueError(f"no sparse kernel {kernel!r}: there are {', '.join(KERNELS)}")
    if not (x.is_sparse or y.is_sparse):
        raise ValueError("one side must be CSR")
    if x.c.depth != y.c.depth:
        raise ValueError(f"rows of {x.c.depth} and of {y.c.depth} columns")
    if x_first < 0 or y_first < 0 or x_first + n_x > x.c.n_rows or y_first + n_y > y.c.n_rows:
        raise ValueError("out has more rows or columns than there are rows of x or y")
    if not (y if walk_y else x).is_sparse or panel_vectors not in (1, 2, 4):
        raise ValueError(f"walk_y={walk_y}, panel_vectors={panel_vectors} with these rows")
    if out.dtype not in (np.float32, np.float64) or not out.flags.writeable or not out.flags.aligned:
        raise ValueError("out must be writeable float32 or float64")
    if n_x == 0 or n_y == 0:
        return
    if n_y > 1 and out.strides[1] != out.itemsize:
        raise ValueError("the numbers of a row of out must be contiguous")
    p.turned = walk_y
    walked, blocked = (y, x) if p.turned else (x, y)
    p.walked, p.blocked = &walked.c, &blocked.c
    p.walked_first, p.blocked_first = (y_first, x_first) if p.turned else (x_first, y_first)
    p.walked_rows = n_y if p.turned else n_x
    p.exact = exact_kernels(isa)
    p.lanes = tile_kernels(isa).vector_bytes // 8
    p.kernel = KERNELS[kernel]
    p.depth = x.c.depth
    p.out = <char*>address(out)
    p.out_stride = out.strides[0]
    p.out_double = out.dtype == np.float64
    # The sums err by about d 2**-53 of what they are made from: an eighth of it leaves a few
    # ulp of float64; float32 has 2**-16 to spare.
    p.share = 0.125 if p.out_double else 2.0**-16
    n_blocked = n_x if p.turned else n_y
    p.vectors = panel_vectors
    bounds = _blocks(blocked, p.blocked_first, n_blocked, p.vectors * p.lanes * PANELS)
    cdef const int64_t[::1] view = bounds
    p.bounds = &view[0]
    n_blocks = bounds.size - 1
    p.block_rows = int(np.diff(bounds).max())
    p.walked_entries = _room(walked, p.walked_first, p.walked_rows, ENTRIES)
    p.blocked_entries = _room(blocked, p.blocked_first, n_blocked, INDEX_ENTRIES) if blocked.is_sparse else 0
    p.parts = <int>min(max(1, (4 * n_threads + n_blocks - 1) // n_blocks), p.walked_rows) if n_threads > 1 else 1
    cdef Workspace parts = _lay_out(&p)
    tasks = n_blocks * p.parts
    n_threads = <int>min(<int64_t>usable_threads(n_threads), tasks)
    p.workspace = parts.make(n_threads)
    run_blocks(_run, &p, 0, tasks, 1, 1, n_threads)


def _room(Rows rows, int64_t first, int64_t n, int64_t most):
    """Entries that fit the workspace of a side: those of its longest row at least."""
    stored = tw_row_start(&rows.c, first + n) - tw_row_start(&rows.c, first)
    return max(1, rows.longest, min(most, stored))


def _blocks(Rows rows, int64_t first, int64_t n, int64_t dense_rows):
    """Bounds of the blocks of the side that is not walked, from row `first` on."""
    if not rows.is_sparse:
        return np.append(np.arange(0, n, dense_rows), n)
    room = _room(rows, first, n, INDEX_ENTRIES)
    bounds = [0]
    cdef int64_t at = 0, low, high, middle, limit
    while at < n:
        limit = tw_row_start(&rows.c, first + at) + room
        low, high = at + 1, min(n, at + INDEX_ROWS)
        while low < high:
            middle = low + (high - low + 1) // 2
            if tw_row_start(&rows.c, first + middle) <= limit:
                low = middle
            else:
                high = middle - 1
        at = low
        bounds.append(at)
    return np.array(bounds, dtype=np.int64)

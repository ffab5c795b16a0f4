"""Nearest rows and rows within a radius: pack, score, keep candidates, decide canonically.

Scores only ever exclude a pair: what is returned are canonical distances, and they decide.
"""

import numpy as np

from libc.math cimport INFINITY, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint16_t

from tilewise.kernels._candidates cimport (
    BAD_ROW,
    BATCH,
    DECIDED,
    LISTS,
    OVERFLOWED,
    bound_within,
    chunk_count,
    fetch_chunk,
    finish_chunk,
    near_pass,
    report_bad,
    row_is_finite,
    scan,
    scan_within,
    cut_full_rows,
    slot,
    take_within,
)
from tilewise.kernels._centers cimport choose_scale, distance_error, score_error
from tilewise.kernels._dispatch cimport (
    TW_SPLIT_ROWS,
    TW_SPLIT_STEP,
    exact_kernels,
    run_blocks,
    split_kernels,
    tile_kernels,
    tw_near,
    tw_split_parts,
)
from tilewise.kernels._near_pack cimport extent, pack_panel, pack_rows
from tilewise.kernels._near_split cimport place_split, raise_shares
from tilewise.kernels._pass cimport score_t
from tilewise.kernels._rows cimport Rows, all_rows, address
from tilewise.kernels._workspace cimport Workspace

from tilewise.kernels._workspace import aligned_empty

cdef enum:
    ALIGNMENT = 64

# ---------------------------------------------------------------- one chunk against one block


cdef void _begin_chunk(const near_pass* p, int64_t chunk) noexcept nogil:
    cdef tw_near near
    cdef int split, r
    # First thinned out soon after there are k, so that early columns do not crowd in.
    cdef int64_t trigger = p.k + p.k // 8 + p.k // 2 + 16
    if p.k == 0:
        trigger = 2**31 - 1
    for split in range(p.splits):
        near = slot(p, chunk, split)
        for r in range(p.chunk_rows):
            near.counts[r] = 0
            near.triggers[r] = <int32_t>trigger if p.k == 0 or trigger < near.room else near.room
            if p.direct:
                (<double*>near.limits)[r] = INFINITY
            elif p.score_double:
                (<double*>near.limits)[r] = 1e308
            else:
                (<float*>near.limits)[r] = <float>3e38


cdef void _score_chunk(const near_pass* p, int64_t chunk, int split, int thread, score_t kind) noexcept nogil:
    cdef char* ws = p.workspace + thread * p.workspace_bytes
    cdef tw_near near = slot(p, chunk, split)
    cdef const void** pointers = fetch_chunk(p, chunk, ws)
    cdef int count = chunk_count(p, chunk), r, tile, tiles, panels
    cdef int64_t n_panels = (p.y_count + p.width - 1) // p.width
    cdef int64_t panel = n_panels * split // p.splits, stop = n_panels * (split + 1) // p.splits
    cdef score_t* packed = <score_t*>(ws + p.packed_at)
    cdef score_t* norms = <score_t*>near.norms
    cdef score_t* limits = <score_t*>near.limits
    cdef score_t* scratch = <score_t*>(ws + p.scratch_at)
    cdef const score_t* at
    cdef int64_t* tally = _tally(p, chunk, split)
    cdef int64_t first = p.y_first + panel * p.width, last = p.y_first + stop * p.width
    cdef double above, below
    if last > p.y_first + p.y_count:
        last = p.y_first + p.y_count
    pack_rows(p, count, pointers, packed, &near, ws)
    tiles = (count + p.tile_rows - 1) // p.tile_rows
    for r in range(tiles * p.tile_rows):
        # Where no bound holds nothing is scored: such a row is compared with all of Y instead.
        if r >= count or not norms[r] < <score_t>1e30:
            limits[r] = <score_t>(-INFINITY)
        elif p.k == 0:
            bound_within(p, norms[r], near.split_errors[r] if p.products else 0.0, &above, &below)
            limits[r] = <score_t>above
    while panel < stop:
        panels = p.panels_per_block if stop - panel > p.panels_per_block else <int>(stop - panel)
        at = <const score_t*>p.panels + (0 if p.products else panel * (p.depth + 1) * p.width)
        tile = 0
        while tile < tiles:
            if p.products:
                tile = p.split.select(<const uint16_t*>packed, tiles, tile, p.steps, p.step_block, p.products,
                                      <const uint16_t*>p.panels + panel * p.split_step, panels,
                                      <int32_t>(p.y_first + panel * p.width), &near, <float*>scratch)
            elif score_t is float:
                tile = p.tile.select_f4(packed, tiles, tile, p.depth, p.depth_block, at, panels, p.panel_vectors,
                                        <int32_t>(p.y_first + panel * p.width), &near, scratch)
            else:
                tile = p.tile.select_f8(packed, tiles, tile, p.depth, p.depth_block, at, panels, p.panel_vectors,
                                        p.y_first + panel * p.width, &near, scratch)
            cut_full_rows(p, &near, tile - 1, count, pointers, tally, ws, thread)
        if p.reports[8 * thread + DECIDED] > p.give_up:
            return
        panel += panels
    if p.k:
        return
    for r in range(count):
        if norms[r] < <score_t>1e30:
            take_within(p, &near, r, pointers[r], tally + r * p.parts, ws, thread)
        else:
            _scan_row_within(p, chunk * p.chunk_rows + r, pointers[r], first, last, tally + r * p.parts, ws, thread)


cdef int64_t* _tally(const near_pass* p, int64_t chunk, int64_t split) noexcept nogil:
    """Where the first row of a chunk is counted."""
    return p.tally + chunk * p.chunk_rows * p.parts + p.part + split


cdef void _scan_row_within(const near_pass* p, int64_t r, const void* x, int64_t first, int64_t last,
                           int64_t* tally, char* ws, int thread) noexcept nogil:
    if not row_is_finite(p, x):
        report_bad(p, r, thread)
        return
    scan_within(p, x, first, last, tally, ws, thread)


cdef void _scan_chunk(const near_pass* p, int64_t chunk, int split, int thread) noexcept nogil:
    """The same by canonical distances alone."""
    cdef char* ws = p.workspace + thread * p.workspace_bytes
    cdef tw_near near = slot(p, chunk, split)
    cdef const void** pointers = fetch_chunk(p, chunk, ws)
    cdef int64_t first = p.y_first + p.y_count * split // p.splits
    cdef int64_t last = p.y_first + p.y_count * (split + 1) // p.splits
    cdef int r
    if p.k:
        scan(p, &near, pointers, chunk_count(p, chunk), first, last, ws, thread)
        return
    for r in range(chunk_count(p, chunk)):
        _scan_row_within(p, chunk * p.chunk_rows + r, pointers[r], first, last,
                         _tally(p, chunk, split) + r * p.parts, ws, thread)


cdef struct extents_pass:
    const near_pass* p
    const double* origin    # (depth)
    const float* narrow     # (depth) the same in float
    double* extents         # one per BATCH of rows of Y


cdef void _measure_extent(void* work, int64_t first, int count, int thread) noexcept nogil:
    cdef const extents_pass* s = <const extents_pass*>work
    s.extents[first // BATCH] = extent(s.p, first, count, s.origin, s.narrow,
                                       s.p.workspace + thread * s.p.workspace_bytes)


cdef void _run_task(void* work, int64_t task, int _count, int thread) noexcept nogil:
    cdef const near_pass* p = <const near_pass*>work
    cdef int64_t chunk = task // p.splits
    cdef int split = <int>(task % p.splits)
    if p.direct:
        _scan_chunk(p, chunk, split, thread)
    elif p.score_double:
        _score_chunk[double](p, chunk, split, thread, 0)
    else:
        _score_chunk[float](p, chunk, split, thread, 0)

# ---------------------------------------------------------------- the border to Python


cdef class Search:
    """Rows of X against rows of Y, a group and a block at a time.

    Parameters
    ----------
    x, y : Rows
        Of the same type and number of columns, at least one.
    k : int
        How many neighbours, at most the rows of Y; 0 for all within a radius.
    isa : str
    score_dtype : dtype
        float32 or float64; no result depends on it.
    direct : bool
        Compute canonical distances alone: nothing is packed.
    chunk_rows, group_rows : int
        Rows of X per task, and whose candidates are held at the same time.
    block_rows : int
        Rows of Y that are packed at the same time.
    splits : int
        Parts of a block that are searched at the same time.
    panels_per_block, depth_block, n_threads : int
    products : {0, 3, 6}
        Products of parts of bfloat16 that make a score of float32, 0 for plain scores.
    """

    cdef near_pass p
    cdef Rows x, y
    cdef int threads
    cdef int64_t n_chunks, block_rows, group_rows, packed_first
    cdef bint started
    cdef readonly bint widened
    cdef Workspace slot_parts, thread_parts
    cdef dict _keep
    cdef object origin, _tally_kept

    def __init__(self, Rows x, Rows y, *, int64_t k, str isa, score_dtype, bint direct, int chunk_rows,
                 int64_t group_rows, int64_t block_rows, int splits, int panels_per_block, int depth_block,
                 int n_threads, int products=0):
        all_rows(x)
        all_rows(y)
        cdef near_pass* p = &self.p
        cdef int64_t m = y.c.n_rows
        if x.c.depth != y.c.depth or x.c.is_double != y.c.is_double:
            raise ValueError("rows of X and Y must have the same type and number of columns")
        if not 0 <= k <= m:
            raise ValueError(f"k={k} neighbours of {m} rows")
        if m > 2**31 - 2**20:
            raise ValueError(f"at most {2**31 - 2**20} rows of Y are supported, got {m}")
        if products not in (0, 3, 6) or (products and x.c.depth > 1048576):
            raise ValueError(f"products={products} with {x.c.depth} features")
        self.x, self.y, self.threads, self._keep = x, y, n_threads, {}
        p.x, p.y = &x.c, &y.c
        p.tile, p.exact, p.split = tile_kernels(isa), exact_kernels(isa), split_kernels(isa)
        p.depth = x.c.depth
        p.step = (p.depth + 7) // 8 * 8
        p.direct = direct
        p.score_double = np.dtype(score_dtype) == np.float64
        p.lanes = p.tile.vector_bytes // (8 if p.score_double else 4)
        p.products = 0 if direct or p.score_double or p.depth == 0 else products
        p.tile_rows = TW_SPLIT_ROWS if p.products else p.tile.tile_rows
        p.steps = (p.depth + TW_SPLIT_STEP - 1) // TW_SPLIT_STEP
        p.step_block = max(1, (depth_block + TW_SPLIT_STEP - 1) // TW_SPLIT_STEP)
        p.panel_vectors = 1 if m <= p.lanes and not p.products else p.tile.panel_vectors
        p.width = p.panel_vectors * p.lanes
        p.panels_per_block = max(1, panels_per_block)
        p.depth_block = max(p.lanes, (depth_block + p.lanes - 1) // p.lanes * p.lanes)
        p.splits = max(1, splits)
        p.chunk_rows = (max(1, chunk_rows) + p.tile_rows - 1) // p.tile_rows * p.tile_rows
        self.block_rows = (max(1, block_rows) + p.width - 1) // p.width * p.width
        self.n_chunks = (max(1, group_rows) + p.chunk_rows - 1) // p.chunk_rows
        self.group_rows = self.n_chunks * p.chunk_rows
        p.k = k
        p.near.k = <int>k
        # Twice as many as wanted, so that thinning out is rare; no more than there are.
        p.near.room = <int>(min(2 * k + 64, m) if k else 256)
        p.near.stride = (p.near.room + p.panels_per_block * p.width + p.lanes + 15) // 16 * 16
        self._make_slots()
        self._make_workspace()
        p.scale = 1.0
        self.packed_first = -1

    cdef int _make_slots(self) except -1:
        """Memory for the candidates of a chunk in one part of a block."""
        cdef near_pass* p = &self.p
        cdef ptrdiff_t rows = p.chunk_rows, item = 8 if p.score_double or p.direct else 4
        cdef Workspace parts = Workspace()
        self.slot_parts = parts
        parts.add(rows * p.near.stride * item)
        p.indices_at = parts.add(rows * p.near.stride * item)
        p.limits_at = parts.add(rows * item)
        p.norms_at = parts.add(rows * item)
        p.counts_at = parts.add(rows * 4)
        p.triggers_at = parts.add(rows * 4)
        p.split_errors_at = parts.add(rows * 4 if p.products else 0)
        p.slot_bytes = parts.total
        p.slots = parts.make(self.n_chunks * p.splits)
        return 0

    cdef int _make_workspace(self) except -1:
        """Memory for packed rows of Y, and for each thread."""
        cdef near_pass* p = &self.p
        cdef ptrdiff_t rows = p.chunk_rows, item = 8 if p.score_double or p.direct else 4
        cdef ptrdiff_t staged = p.step * (8 if p.x.is_double else 4)
        cdef ptrdiff_t packed = (p.depth + p.lanes - 1) // p.lanes * p.lanes * rows * item
        cdef ptrdiff_t panel = (p.depth + 1) * p.width * item, blocks = self.block_rows // p.width
        cdef Workspace parts = Workspace()
        self.thread_parts = parts
        if p.products:
            packed = p.steps * TW_SPLIT_STEP * rows * 2 * tw_split_parts(p.products)
            p.split_step = (2 + <ptrdiff_t>p.steps * TW_SPLIT_STEP * tw_split_parts(p.products)) * p.width
        # One thread's workspace begins with the pointers to the rows of its chunk.
        parts.add(rows * sizeof(void*))
        p.x_staging_at = parts.add(0 if p.x.direct else rows * staged)
        p.y_pointers_at = parts.add(max(BATCH, p.width) * sizeof(void*))
        p.y_staging_at = parts.add(0 if p.y.direct else max(BATCH, p.width) * staged)
        p.packed_at = parts.add(0 if p.direct else packed)
        p.scratch_at = parts.add(p.panels_per_block * p.tile_rows * p.width * item)
        p.squares_at = parts.add(8 * rows if p.products else 0)
        p.plain_at = parts.add(panel if p.products else 0)
        # What a row can have at once: its candidates in every part of a block, or those of a scan,
        # which come a batch at a time. Beside them a sorted copy, and room to sort it.
        p.most_candidates = max(p.near.stride * p.splits, <ptrdiff_t>p.near.room + 2 * BATCH)
        p.gaps_at = parts.add(LISTS * p.most_candidates * 8)
        p.ids_at = parts.add(LISTS * p.most_candidates * 8)
        p.workspace_bytes = parts.total
        p.workspace = parts.make(self.threads)
        if not p.direct:
            p.panels = self._make("panels", blocks * (2 * p.split_step if p.products else panel))
            if p.products:
                p.shares = <double*>self._make("shares", 16 * blocks)
        p.reports = <int64_t*>self._make("reports", 64 * self.threads)
        return 0

    cdef void* _make(self, str name, Py_ssize_t size) except NULL:
        self._keep[name] = aligned_empty(max(size, ALIGNMENT))
        return address(self._keep[name])

    @property
    def allocated_bytes(self):
        """Bytes that this object holds beside the data."""
        held = list(self._keep.values()) + [self.slot_parts.buffer, self.thread_parts.buffer]
        return sum(buffer.size for buffer in held)

    @property
    def decided(self):
        """Canonical distances that candidates took while blocks were searched."""
        return sum(self.p.reports[8 * i + DECIDED] for i in range(self.threads))

    @property
    def overflowed(self):
        """Whether some canonical distance was not finite where no scores were computed."""
        return any(self.p.reports[8 * i + OVERFLOWED] for i in range(self.threads))

    @property
    def shares(self):
        """What parts of a row of Y leave out at most, as shares of its norm; -1: not known yet."""
        return self.p.second_share, self.p.rest_share

    def place(self, const double[::1] origin, *, int n_threads):
        """Fix origin, scale and error bound; False if no bound holds or a value is not finite.

        origin (depth) may be any numbers; close to the rows of Y they keep the bound small.
        """
        cdef near_pass* p = &self.p
        cdef int64_t m = p.y.n_rows, b, blocks = (m + BATCH - 1) // BATCH
        cdef double unit, largest = 0.0
        cdef int chain
        cdef extents_pass s
        rounded = np.zeros(p.depth, np.float32) if p.x.is_double else np.asarray(origin).astype(np.float32)
        cdef float[::1] narrow = rounded
        cdef double[::1] wide = np.array(origin) if p.x.is_double else rounded.astype(np.float64)
        cdef double[::1] extents = np.zeros(max(1, blocks))
        cdef bint broken = False
        self.origin = (narrow, wide)
        if p.depth == 0:
            return True
        p.origin = &narrow[0] if not p.x.is_double and not p.score_double else &wide[0]
        if p.direct or m * p.depth == 0:
            return True
        s.p, s.origin, s.narrow, s.extents = p, &wide[0], &narrow[0], &extents[0]
        run_blocks(_measure_extent, &s, 0, m, BATCH, BATCH, min(n_threads, self.threads))
        for b in range(blocks):
            largest = max(largest, extents[b])
            broken |= extents[b] != extents[b]
        p.scale = 0.0 if broken else choose_scale(largest, p.x.is_double or p.score_double)
        # The bound takes every coordinate of a column for below one, and a scale of float32 does
        # not bring values from 2**100 on there.
        if p.scale == 0.0 or not largest * p.scale <= 1.0:
            return False
        unit = 2.0**-53 if p.score_double else 2.0**-24
        chain = p.depth
        if p.depth > p.depth_block:
            chain = p.depth_block + (p.depth + p.depth_block - 1) // p.depth_block
        # Half a squared norm is summed in the type of the scores: squares of one segment, then
        # segments; four more for what packing rounds in each of its squares.
        chain += p.lanes + (p.depth + p.lanes - 1) // p.lanes + 4
        p.near.alpha = score_error(chain, unit)
        p.near.nu = ((p.depth + p.lanes - 1) // p.lanes + p.lanes + 2.0) * unit
        p.near.beta = distance_error(p.depth)
        # Every coordinate of a column is below one.
        p.near.largest_norm = sqrt(<double>p.depth) * (1.0 + 1e-6)
        p.near.eta = (p.depth + 8.0) * 2.0**-126 * max(1.0, p.near.largest_norm)
        if p.products:
            place_split(p)
        return True

    def begin(self, int64_t first, int64_t count):
        """Turn to rows first .. first + count of X, at most a group."""
        cdef near_pass* p = &self.p
        cdef int64_t chunk
        if first < 0 or count < 0 or count > self.group_rows or first + count > p.x.n_rows:
            raise ValueError("not a group of rows of X")
        p.x_first, p.x_count = first, count
        for chunk in range((count + p.chunk_rows - 1) // p.chunk_rows):
            _begin_chunk(p, chunk)

    def within(self, double squared, int64_t[:, ::1] tally, int64_t part, *, double[::1] distances=None,
               int64_t[::1] indices=None):
        """Prepare to count, or store, what lies within a radius.

        squared is the largest canonical squared distance that does. tally (rows of the group,
        parts) is counted up in column `part` and, where a block is split, the columns after it;
        with distances and indices it is where in them the next one goes.
        """
        cdef near_pass* p = &self.p
        if p.k or tally.shape[0] != p.x_count or part < 0 or part + p.splits > tally.shape[1]:
            raise ValueError("tally must have one row per row of the group")
        p.within, p.part, p.parts = squared, part, tally.shape[1]
        p.tally = &tally[0, 0]
        p.fill = distances is not None
        if p.fill and indices.shape[0] != distances.shape[0]:
            raise ValueError("as many distances as indices expected")
        p.out_size = distances.shape[0] if p.fill else 0
        p.out_distances = &distances[0] if p.fill else NULL
        p.out_indices = &indices[0] if p.fill else NULL
        self._tally_kept = (tally, distances, indices)

    @property
    def bad_row(self):
        """The first row of X with a value that is not finite, of those that were finished, or -1."""
        rows = [self.p.reports[8 * i + BAD_ROW] for i in range(self.threads)]
        return min([row for row in rows if row], default=0) - 1

    def block(self, int64_t first, int64_t count, *, int64_t most=2**62):
        """Search rows first .. first + count of Y, at most a block; blocks come in rising order.

        False if some thread needed more than `most` canonical distances and gave up, or, where
        `widened` says so, if the error bound that the group began with was too low: what it has
        found so far is void.
        """
        cdef near_pass* p = &self.p
        cdef int64_t tasks = (p.x_count + p.chunk_rows - 1) // p.chunk_rows * p.splits
        cdef int64_t panels = (count + p.width - 1) // p.width
        if first < 0 or count < 0 or first + count > p.y.n_rows or (count > self.block_rows and not p.direct):
            raise ValueError("not a block of rows of Y")
        if not p.k and p.tally == NULL:
            raise ValueError("within() comes first")
        p.y_first, p.y_count = first, count
        before = self.decided
        self.widened = False
        p.give_up = before + most
        if not p.direct and self.packed_first != first:
            run_blocks(pack_panel, p, 0, panels, 1, 1, self.threads)
            self.packed_first = first
            if p.products and not raise_shares(p, panels):
                self.widened = True
                return False
        run_blocks(_run_task, p, 0, tasks, 1, 1, self.threads)
        return not any(p.reports[8 * i + DECIDED] > p.give_up for i in range(self.threads))

    def result(self, double[:, ::1] distances, int64_t[:, ::1] indices):
        """Write canonical squared distances and indices (rows of the group, k), sorted.

        Returns the first row of X with a value that is not finite, or -1.
        """
        cdef near_pass* p = &self.p
        cdef int i
        if (distances.shape[0] != p.x_count or distances.shape[1] != p.k
                or indices.shape[0] != p.x_count or indices.shape[1] != p.k):
            raise ValueError("distances and indices must have one row per row of the group, k columns")
        if p.x_count == 0:
            return -1
        p.out_distances, p.out_indices = &distances[0, 0], &indices[0, 0]
        for i in range(self.threads):
            p.reports[8 * i + BAD_ROW] = 0
        run_blocks(finish_chunk, p, 0, (p.x_count + p.chunk_rows - 1) // p.chunk_rows, 1, 1, self.threads)
        return self.bad_row

"""One pass over the rows: pack, score, certify or decide, keep bounds, update sums."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t

from tilewise.kernels._centers cimport place_centers
from tilewise.kernels._decide cimport AGAIN, measure_own, settle
from tilewise.kernels._dispatch cimport (
    TW_SPLIT_ROWS,
    TW_SPLIT_STEP,
    enter_loop,
    exact_kernels,
    leave_loop,
    split_kernels,
    tile_kernels,
    tw_split_parts,
    usable_threads,
)
from tilewise.kernels._pass cimport (
    BLAS,
    CENTRES_IN_LANES,
    CSR,
    ROWS_IN_LANES,
    assign_pass,
    offsets_t,
    padded_rows,
    shard_report,
)
from tilewise.kernels._rows cimport (
    Rows,
    address,
    check_window,
    tw_fetch_rows,
    tw_row_start,
)
from tilewise.kernels._score cimport score_rows
from tilewise.kernels._workspace cimport Workspace

from tilewise.kernels._workspace import aligned_empty

cdef enum:
    ALIGNMENT = 64
    # Stored values that a chunk of CSR rows may have, unless one row has more: with their
    # columns half a MiB or so, a quarter of a common L2.
    ENTRIES = 65536
    # Features per running score in the second look at rows that were split: as many as keep its
    # own error small.
    LOOK_BLOCK = 64
    # A centre is listed while at most one in so many of its numbers is not zero.
    LISTED_SHARE = 32
    # Beyond, squared norms of the parts would err too much.
    MOST_SPLIT = 1048576

LAYOUTS = {
    "centres-in-lanes": CENTRES_IN_LANES,
    "rows-in-lanes": ROWS_IN_LANES,
    "blas": BLAS,
    "csr": CSR,
}


cdef offsets_t _offsets(const assign_pass* p, Workspace parts):
    cdef offsets_t o
    cdef ptrdiff_t item = 8 if p.score_double else 4
    cdef ptrdiff_t rows = padded_rows(p, p.chunk_rows)
    cdef ptrdiff_t segments = (p.depth + p.lanes - 1) // p.lanes * p.lanes
    cdef ptrdiff_t state = item if p.layout == ROWS_IN_LANES else p.tile.vector_bytes
    cdef ptrdiff_t data_item = 8 if p.rows.is_double else 4
    cdef ptrdiff_t ldc = (p.depth + 7) // 8 * 8
    o.ids = parts.add(rows * 8)
    o.pointers = parts.add(0 if p.layout == CSR else rows * sizeof(void*))
    o.ahead = parts.add(rows * sizeof(void*) if p.layout == CENTRES_IN_LANES else 0)
    if p.layout == CSR:
        o.staging = parts.total
        o.packed = parts.add(p.entries * item)
        o.columns = parts.add(p.entries * <ptrdiff_t>sizeof(int32_t))
        o.starts = parts.add((rows + 1) * sizeof(int32_t))
        o.wide = parts.add(p.longest * 8)
    else:
        o.staging = parts.add(0 if p.rows.direct else rows * ldc * data_item)
        o.packed = parts.add(0 if p.products else rows * segments * item)
        o.columns = o.starts = o.wide = parts.total
    o.seconds = o.rests = o.drops = o.again = parts.total
    if p.products:
        o.packed = parts.add(rows * p.steps * TW_SPLIT_STEP * tw_split_parts(p.products) * 2)
        o.seconds = parts.add(rows * item)
        o.rests = parts.add(rows * item)
        o.drops = parts.add(rows * item)
        o.again = parts.add((AGAIN + p.tile.tile_rows) * segments * item)
    o.norms = parts.add(rows * item)
    o.band = parts.add(rows * item)
    o.best = parts.add(rows * state)
    o.second = parts.add(rows * state)
    o.ordinal = parts.add(rows * state)
    o.label = parts.add(rows * 4)
    o.lowest = parts.add(rows * item)
    o.following = parts.add(rows * item)
    o.upper = parts.add(rows * 4)
    o.lower = parts.add(rows * 4)
    if p.layout == BLAS or p.layout == CSR:
        o.scratch = parts.add(rows * p.ld_scores * item)
    elif p.products:
        o.scratch = parts.add(<ptrdiff_t>TW_SPLIT_ROWS * p.panels_per_block * p.panel_vectors
                              * p.tile.vector_bytes)
    elif p.layout == CENTRES_IN_LANES and p.depth > p.depth_block:
        o.scratch = parts.add(<ptrdiff_t>p.panels_per_block * p.tile.tile_rows
                              * p.panel_vectors * p.tile.vector_bytes)
    else:
        o.scratch = parts.add(0)
    o.total = parts.total
    return o


# ---------------------------------------------------------------- one chunk


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
                     int64_t slot, shard_report* report) noexcept nogil:
    cdef int64_t* ids = <int64_t*>(ws + o.ids)
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef int r, n = count
    if p.use_bounds:
        n = p.tile.open_rows(count, first, p.labels, p.upper, p.lower, p.moves, p.largest_move,
                             p.second_move, p.largest_mover, ids)
        if n == 0:
            return
    else:
        for r in range(count):
            ids[r] = first + r
    if p.layout != CSR:
        tw_fetch_rows(p.rows, ids, 0, n, pointers, ws + o.staging, p.ldc)
    report.open += n
    if p.use_bounds and p.tighten:
        n = measure_own(p, n, ids, pointers)
        if n == 0:
            return
    report.scored += n
    score_rows(p, n, ws, o, first + count, n == count)
    settle(p, n, ws, o, report)
    _update(p, n, ws, o, slot, report)


cdef int _rows_that_fit(const assign_pass* p, int64_t first, int count) noexcept nogil:
    """How many of count CSR rows have entries that fit the workspace; one always does."""
    cdef int64_t limit, room = p.entries, row
    cdef int low = 1, high = count, middle
    if p.rows.picks != NULL:
        for low in range(count):
            row = p.rows.picks[first + low]
            room -= tw_row_start(p.rows, row + 1) - tw_row_start(p.rows, row)
            if room < 0:
                return low if low else 1
        return count
    limit = tw_row_start(p.rows, first) + p.entries
    while low < high:
        middle = low + (high - low + 1) // 2
        if tw_row_start(p.rows, first + middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


cdef void _run_shard(const assign_pass* p, int64_t shard, int64_t slot, char* ws,
                     const offsets_t* o, shard_report* report) noexcept nogil:
    cdef int64_t first = shard * p.shard_rows, stop = first + p.shard_rows
    cdef int count
    if stop > p.rows.n_rows:
        stop = p.rows.n_rows
    report.changed = report.open = report.scored = report.undecided = report.rescanned = 0
    report.bad_row = -1
    while first < stop:
        count = p.chunk_rows if stop - first > p.chunk_rows else <int>(stop - first)
        if p.layout == CSR:
            count = _rows_that_fit(p, first, count)
        _run_chunk(p, first, count, ws, o, slot, report)
        first += count

# ---------------------------------------------------------------- the border to Python


cdef class Assignment:
    """One set of rows against one set of centres at a time, by a fixed plan.

    Parameters
    ----------
    rows : Rows
    n_clusters : int
    isa : str
    layout : {"centres-in-lanes", "rows-in-lanes", "blas", "csr"}
    score_dtype : dtype
        float32 or float64; labels do not depend on it.
    chunk_rows, shard_rows, panels_per_block, depth_block, n_threads : int
    slots : int
        Shards whose sums are held before they are merged.
    update : bool
        Whether sums are wanted at all; "csr" leaves them to `_csr.sum_rows`.
    panel_columns : int
        "csr": centres side by side, rounded to one, two or four vectors; 1 packs none: scores of
        float64 come from the centres where they stand.
    products : {0, 3, 6}
        "centres-in-lanes": products of parts of bfloat16 that make a score, 0 for plain scores.
        Scores of float64 are plain. depth_block then counts features of these products.
    """

    cdef assign_pass p
    cdef offsets_t o
    cdef Workspace parts
    cdef Rows rows
    cdef double* origin
    cdef int threads
    cdef int64_t n_shards, n_slots
    cdef dict _keep
    cdef const double[:, ::1] given

    def __init__(self, Rows rows, int n_clusters, *, str isa, str layout, score_dtype,
                 int chunk_rows, int64_t shard_rows, int panels_per_block, int depth_block,
                 int n_threads, int64_t slots, bint update, int panel_columns=0, int products=0):
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
        p.split = split_kernels(isa)
        p.layout = LAYOUTS[layout]
        if products not in (0, 3, 6) or (products and (p.layout != CENTRES_IN_LANES or p.depth > MOST_SPLIT)):
            raise ValueError(f"products={products} with layout {layout!r} and {p.depth} features")
        if p.layout == CSR:
            if not rows.is_sparse:
                raise ValueError("layout 'csr' is for CSR rows")
            update = False
            p.gathered = panel_columns == 1
        p.score_double = np.dtype(score_dtype) == np.float64
        if p.gathered and not p.score_double:
            raise ValueError("centres that are not packed have scores of float64")
        p.lanes = p.tile.vector_bytes // (8 if p.score_double else 4)
        p.chunk_rows = chunk_rows
        p.shard_rows = shard_rows
        p.ldc = (p.depth + 7) // 8 * 8
        p.products = 0 if p.score_double or p.depth == 0 else products
        p.panel_vectors = 1 if n_clusters <= p.lanes and not p.products else p.tile.panel_vectors
        if p.layout == CSR:
            p.panel_vectors = 4 if panel_columns > 2 * p.lanes else 2 if panel_columns > p.lanes else 1
            p.entries = max(1, rows.longest, min(ENTRIES, rows.stored))
        width = p.tile.group if p.layout == ROWS_IN_LANES else p.panel_vectors * p.lanes
        p.n_panels = (n_clusters + width - 1) // width
        p.panels_per_block = min(panels_per_block, p.n_panels)
        p.depth_block = max(p.lanes, (depth_block + p.lanes - 1) // p.lanes * p.lanes)
        if p.products:
            p.steps = (p.depth + TW_SPLIT_STEP - 1) // TW_SPLIT_STEP
            p.step_block = max(1, (depth_block + TW_SPLIT_STEP - 1) // TW_SPLIT_STEP)
            p.depth_block = LOOK_BLOCK
            p.split_step = (2 + <ptrdiff_t>p.steps * TW_SPLIT_STEP * tw_split_parts(p.products)) * width
        p.ld_scores = p.n_panels * width if p.layout == CSR and not p.gathered else n_clusters
        p.longest = rows.longest
        self.parts = Workspace()
        self.o = _offsets(p, self.parts)
        self.n_shards = (rows.c.n_rows + shard_rows - 1) // shard_rows
        self.n_slots = max(1, min(slots, self.n_shards))
        self.parts.make(n_threads)
        self._keep["workspace"] = self.parts.buffer
        item = 8 if p.score_double else 4
        if p.layout == BLAS:
            p.row_major = self._make("row_major", item * n_clusters * p.depth)
        elif not p.gathered:
            p.packed = self._make("packed", item * p.n_panels * (p.depth + (p.layout != CSR)) * width)
        if p.products:
            p.split_panels = self._make("split panels", 2 * p.n_panels * p.split_step)
            p.shares = <double*>self._make("shares", 16 * p.n_panels)
        if p.layout == CSR:
            # Initial centres are rows: as sparse as they. Longer lists would cost what all numbers do.
            p.listed_entries = p.depth // LISTED_SHARE
            p.listed = <int32_t*>self._make("listed", 4 * n_clusters)
            p.listed_columns = <int32_t*>self._make("listed columns", 4 * n_clusters * <ptrdiff_t>p.listed_entries)
            p.listed_values = <double*>self._make("listed values", 8 * n_clusters * <ptrdiff_t>p.listed_entries)
            p.center_norms = <double*>self._make("centre norms", 8 * n_clusters)
            p.largest = <double*>self._make("largest", 8 * n_clusters)
        else:
            p.centers = <double*>self._make("centers", 8 * n_clusters * p.ldc)
            p.origin = self._make("origin", 8 * p.depth)
            self.origin = <double*>self._make("origin, wide", 8 * p.depth)
        p.half_norms = self._make("half_norms", item * n_clusters)
        p.norms = <double*>self._make("norms", 8 * n_clusters)
        if update:
            p.sums = <double*>self._make("sums", 8 * self.n_slots * n_clusters * p.ldc)
            p.weight_sums = <double*>self._make("weight_sums", 8 * self.n_slots * n_clusters)
            p.members = <int64_t*>self._make("members", 8 * self.n_slots * n_clusters)
            p.touched = <char*>self._make("touched", self.n_slots * n_clusters)
        self._make("reports", self.n_slots * sizeof(shard_report))

    cdef void* _make(self, str name, Py_ssize_t size) except NULL:
        self._keep[name] = aligned_empty(max(size, ALIGNMENT))
        return address(self._keep[name])

    @property
    def slots(self):
        """Shards per call of `run`."""
        return self.n_slots

    @property
    def workspace_bytes(self):
        """Bytes of workspace per thread."""
        return self.o.total

    @property
    def addresses(self):
        """Where each buffer begins, for who models its cache lines; "workspace" is thread 0's."""
        return {name: <size_t>address(buffer) for name, buffer in self._keep.items()}

    @property
    def center_norms(self):
        """Squared norms of the centres, (k,) float64; None unless the layout is "csr"."""
        if self.p.layout != CSR:
            return None
        return self._keep["centre norms"].view(np.float64)[: self.p.n_clusters]

    def set_centers(self, const double[:, ::1] centers, const uint8_t[::1] stale=None):
        """Pack the centres, choose origin and scale, and fix the error bound.

        With the layout "csr" they are read where they stand until others are set; stale (k) says
        which of them differ from those that were set before, if not all may.
        """
        cdef assign_pass* p = &self.p
        if centers.shape[0] != p.n_clusters or centers.shape[1] != p.depth:
            raise ValueError(
                f"centres of shape ({centers.shape[0]}, {centers.shape[1]}) given, "
                f"({p.n_clusters}, {p.depth}) expected"
            )
        work = p.n_clusters * <int64_t>p.depth
        if stale is not None and stale.shape[0] != p.n_clusters:
            raise ValueError("one mark per centre expected")
        p.stale = &stale[0] if stale is not None and p.layout == CSR and self.given is not None else NULL
        self.given = centers
        place_centers(p, centers, self.origin, usable_threads(self.threads if work > 65536 else 1))

    def run(self, int64_t first_shard, int32_t[::1] labels, *, float[::1] upper=None,
            float[::1] lower=None, const float[::1] moves=None, bint tighten=False,
            int update=0, const double[::1] weights=None, const double[::1] shift=None, int64_t most=0):
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
        most : int, optional
            Limit of the shards that are run.

        Returns
        -------
        tuple of int
            Shards that were run; rows with a new label, rows that the bounds left open, rows
            scored, rows that rounding left open, rows compared with every centre again; the
            first row with a value that is not finite, or -1.
        """
        cdef assign_pass p = self.p
        cdef int64_t n = p.rows.n_rows, count = min(self.n_slots, self.n_shards - first_shard)
        cdef int64_t s, changed = 0, opened = 0, scored = 0, undecided = 0, rescanned = 0, bad = -1
        cdef int threads = self.threads
        cdef offsets_t o = self.o
        if 0 < most < count:
            count = most
        cdef char* workspace = <char*>address(self._keep["workspace"])
        cdef shard_report* reports = <shard_report*>address(self._keep["reports"])
        if labels.shape[0] != n:
            raise ValueError(f"{labels.shape[0]} labels given for {n} rows")
        if count <= 0:
            return 0, 0, 0, 0, 0, 0, -1
        if self.rows.is_window:
            check_window(self.rows, first_shard * p.shard_rows, min(n, (first_shard + count) * p.shard_rows))
        p.labels = &labels[0]
        p.update = update
        # One distance to the own centre reads all columns; scoring, only the stored entries.
        p.tighten = tighten and p.layout != CSR
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
        try:
            if threads <= 1:
                with nogil:
                    for s in range(count):
                        _run_shard(&p, first_shard + s, s, workspace, &o, reports + s)
            else:
                for s in prange(count, nogil=True, schedule="dynamic", chunksize=1, num_threads=threads):
                    _run_shard(&p, first_shard + s, s, workspace + threadid() * o.total, &o, reports + s)
        finally:
            leave_loop()
        for s in range(count):
            changed += reports[s].changed
            opened += reports[s].open
            scored += reports[s].scored
            undecided += reports[s].undecided
            rescanned += reports[s].rescanned
            if bad < 0 and reports[s].bad_row >= 0:
                bad = reports[s].bad_row
        return count, changed, opened, scored, undecided, rescanned, bad

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

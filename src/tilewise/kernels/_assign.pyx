"""One pass over the rows: pack, score, certify or decide, keep bounds, update sums."""

import numpy as np

from libc.math cimport isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from tilewise.kernels._centers cimport place_centers
from tilewise.kernels._decide cimport AGAIN, decide_rows, measure_own
from tilewise.kernels._dispatch cimport (
    TW_SPLIT_ROWS,
    TW_SPLIT_STEP,
    exact_kernels,
    run_blocks,
    split_kernels,
    tile_kernels,
    tw_split_parts,
    tw_tile_kernels,
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
from tilewise.kernels._sums cimport Sums, add_to_cluster, cluster_sums
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
    # Rows whose bounds are tried at a time.
    TRIED = 4096
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
    o.second_norms = o.rest_norms = o.split_errors = o.again = parts.total
    if p.products:
        o.packed = parts.add(rows * p.steps * TW_SPLIT_STEP * tw_split_parts(p.products) * 2)
        o.second_norms = parts.add(rows * item)
        o.rest_norms = parts.add(rows * item)
        o.split_errors = parts.add(rows * item)
        o.again = parts.add((AGAIN + p.tile.tile_rows) * segments * item)
    o.norms = parts.add(rows * item)
    o.band = parts.add(rows * item)
    o.best = parts.add(rows * state)
    o.second = parts.add(rows * state)
    o.ordinal = parts.add(rows * state)
    o.label = parts.add(rows * 4)
    o.lowest = parts.add(rows * item)
    o.second_lowest = parts.add(rows * item)
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


cdef void _update(const assign_pass* p, int n, char* ws, const offsets_t* o, cluster_sums* sums,
                  shard_report* report) noexcept nogil:
    """New labels and what they do to the sums."""
    cdef const void** pointers = <const void**>(ws + o.pointers)
    cdef const int64_t* ids = <const int64_t*>(ws + o.ids)
    cdef const int32_t* label = <const int32_t*>(ws + o.label)
    cdef const void* x = NULL
    cdef int64_t i
    cdef int32_t old, new
    cdef double weight = 1.0
    cdef int r
    for r in range(n):
        i = ids[r]
        old = p.labels[i]
        new = label[r]
        if old == new:
            continue
        report.changed += 1
        p.labels[i] = new
        if sums == NULL:
            continue
        if p.weights != NULL:
            weight = p.weights[i]
            if weight == 0.0:
                continue
        if p.layout != CSR:
            x = pointers[r]
        if old >= 0:
            add_to_cluster(sums, p.exact, p.rows, x, i, -weight, -1, old)
        add_to_cluster(sums, p.exact, p.rows, x, i, weight, 1, new)


cdef void _run_chunk(const assign_pass* p, int64_t first, int count, char* ws, const offsets_t* o,
                     cluster_sums* sums, shard_report* report) noexcept nogil:
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
    decide_rows(p, n, ws, o, report)
    _update(p, n, ws, o, sums, report)


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


cdef struct shards_pass:
    const assign_pass* p
    const offsets_t* o
    char* workspace
    cluster_sums* sums      # the one of all threads, or one per thread; or NULL
    int own_sums
    shard_report* reports   # one per shard
    int64_t first
    int64_t stop
    int64_t shard_rows


cdef void _run_shard(void* work, int64_t shard, int _count, int thread) noexcept nogil:
    cdef const shards_pass* s = <const shards_pass*>work
    cdef const assign_pass* p = s.p
    cdef shard_report* report = s.reports + shard
    cdef int64_t first = s.first + shard * s.shard_rows, stop = min(s.stop, first + s.shard_rows)
    cdef cluster_sums* sums = s.sums + thread * s.own_sums if s.sums != NULL else NULL
    cdef int count
    report.changed = report.open = report.scored = report.undecided = report.rescanned = 0
    report.bad_row = -1
    while first < stop:
        count = p.chunk_rows if stop - first > p.chunk_rows else <int>(stop - first)
        if p.layout == CSR:
            count = _rows_that_fit(p, first, count)
        _run_chunk(p, first, count, s.workspace + thread * s.o.total, s.o, sums, report)
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
    most_shards : int
        Shards of one call of `run`: the interpreter looks for Ctrl-C between two.
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
    cdef int64_t shard_rows, most_shards
    cdef dict _keep
    cdef const double[:, ::1] given

    def __init__(self, Rows rows, int n_clusters, *, str isa, str layout, score_dtype,
                 int chunk_rows, int64_t shard_rows, int panels_per_block, int depth_block,
                 int n_threads, int64_t most_shards, int panel_columns=0, int products=0):
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
            p.gathered = panel_columns == 1
        p.score_double = np.dtype(score_dtype) == np.float64
        if p.gathered and not p.score_double:
            raise ValueError("centres that are not packed have scores of float64")
        p.lanes = p.tile.vector_bytes // (8 if p.score_double else 4)
        p.chunk_rows = chunk_rows
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
        self.shard_rows = shard_rows
        self.most_shards = max(1, most_shards)
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
        self._make("reports", self.most_shards * sizeof(shard_report))

    cdef void* _make(self, str name, Py_ssize_t size) except NULL:
        self._keep[name] = aligned_empty(max(size, ALIGNMENT))
        return address(self._keep[name])

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

    def run(self, int64_t first, int64_t stop, int32_t[::1] labels, *, float[::1] upper=None,
            float[::1] lower=None, const float[::1] moves=None, bint tighten=False,
            Sums sums=None, const double[::1] weights=None):
        """Assign rows from `first` on, as many before `stop` as one call takes.

        Parameters
        ----------
        labels : int32 (n,), INOUT
            -1 where a row has no label yet.
        upper, lower : float32 (n,), INOUT, optional
            Bounds of the distance to the own and to every other centre. Written always;
            used if `moves`, how far each centre moved since they were written, is given.
        tighten : bool
            Measure the distance to the own centre before scoring all.
        sums : Sums, INOUT, optional
            Rows with a new label are counted for it, and no longer for the one before.
        weights : float64 (n,), optional

        Returns
        -------
        tuple of int
            The row to go on from; rows with a new label, rows that the bounds left open, rows
            scored, rows that rounding left open, rows compared with every centre again; the
            first row with a value that is not finite, or -1.
        """
        cdef assign_pass p = self.p
        cdef int64_t n = p.rows.n_rows, s, count, size = self.shard_rows
        cdef int64_t changed = 0, opened = 0, scored = 0, undecided = 0, rescanned = 0, bad = -1
        cdef int threads = self.threads
        cdef shards_pass run
        cdef shard_report* reports = <shard_report*>address(self._keep["reports"])
        if labels.shape[0] != n:
            raise ValueError(f"{labels.shape[0]} labels given for {n} rows")
        if not 0 <= first <= stop <= n:
            raise IndexError(f"rows {first} to {stop} of {n}")
        stop = min(stop, first + size * self.most_shards)
        count = (stop - first + size - 1) // size
        if count <= 0:
            return stop, 0, 0, 0, 0, 0, -1
        if self.rows.is_window:
            check_window(self.rows, first, stop)
        p.labels = &labels[0]
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
                p.use_bounds = 1
                _two_largest(moves, &p)
        if sums is not None:
            if sums.grid.c.depth != p.depth or sums.c.n_clusters != p.n_clusters or (
                    sums.threads < threads):
                raise ValueError("sums of these clusters, columns and threads expected")
            if weights is not None:
                if weights.shape[0] != n:
                    raise ValueError("one weight per row expected")
                p.weights = &weights[0]
        run.p, run.o, run.workspace, run.reports = &p, &self.o, <char*>address(self._keep["workspace"]), reports
        run.first, run.stop, run.shard_rows = first, stop, size
        run.sums = sums.of_thread(0) if sums is not None else NULL
        run.own_sums = sums is not None and sums.parts != NULL
        run_blocks(_run_shard, &run, 0, count, 1, 1, threads)
        for s in range(count):
            changed += reports[s].changed
            opened += reports[s].open
            scored += reports[s].scored
            undecided += reports[s].undecided
            rescanned += reports[s].rescanned
            if bad < 0 and reports[s].bad_row >= 0:
                bad = reports[s].bad_row
        if sums is not None:
            sums.gather()
        return stop, changed, opened, scored, undecided, rescanned, bad


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


def settled(int64_t first, int64_t last, const int32_t[::1] labels, float[::1] upper, float[::1] lower,
            const float[::1] moves, *, str isa):
    """Whether bounds alone settle the rows first to last; if so, the bounds are moved on.

    upper, lower and moves as `Assignment.run` has them.
    """
    cdef const tw_tile_kernels* tile = tile_kernels(isa)
    cdef float above[TRIED]
    cdef float below[TRIED]
    cdef int64_t ids[TRIED]
    cdef int64_t at
    cdef assign_pass p
    cdef int count
    _two_largest(moves, &p)
    if not 0 <= first <= last <= labels.shape[0] or upper.shape[0] != labels.shape[0] or (
            lower.shape[0] != labels.shape[0]):
        raise ValueError("labels and bounds must have one entry per row")
    with nogil:
        at = first
        while at < last:
            count = TRIED if last - at > TRIED else <int>(last - at)
            memcpy(above, &upper[at], count * sizeof(float))
            memcpy(below, &lower[at], count * sizeof(float))
            if tile.open_rows(count, 0, &labels[at], above, below, &moves[0], p.largest_move, p.second_move,
                              p.largest_mover, ids):
                with gil:
                    return False
            at += count
        at = first
        while at < last:
            count = TRIED if last - at > TRIED else <int>(last - at)
            tile.open_rows(count, 0, &labels[at], &upper[at], &lower[at], &moves[0], p.largest_move, p.second_move,
                           p.largest_mover, ids)
            at += count
    return True

"""One pass over the rows: pack, score, certify or decide, keep bounds, update sums."""

import numpy as np

from libc.math cimport INFINITY, isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from tilewise.kernels._centers cimport narrow_centers, place_centers
from tilewise.kernels._decide cimport AGAIN, decide_rows, measure_own
from tilewise.kernels._dispatch cimport (
    TW_GROUP_CENTRES,
    TW_LOOK_ROWS,
    TW_SCREEN_DEPTH,
    TW_SPLIT_ROWS,
    TW_SPLIT_STEP,
    exact_kernels,
    run_blocks,
    screen_kernels,
    split_kernels,
    tile_kernels,
    tw_tile_kernels,
    usable_threads,
)
from tilewise.kernels._groups cimport (
    collect_rows,
    collected,
    label_collected,
    rows_that_fit,
)
from tilewise.kernels._look cimport look_at_centers, look_at_rows, look_pays, place_looks
from tilewise.kernels._pass cimport (
    BLAS,
    CENTRES_IN_LANES,
    CSR,
    ROWS_IN_LANES,
    assign_pass,
    offsets_t,
    shard_report,
)
from tilewise.kernels._rows cimport (
    Rows,
    check_window,
    tw_fetch_rows,
    tw_row_start,
)
from tilewise.kernels._score cimport score_rows
from tilewise.kernels._sums cimport Sums, add_to_cluster, cluster_sums
from tilewise.kernels._workspace cimport Workspace

cdef enum:
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


def _check_nest(nest, Rows rows):
    """ValueError unless sizes were planned for these rows and for the kernels as they are compiled."""
    cdef const tw_tile_kernels* tile = tile_kernels(nest.isa)
    cdef int lanes = tile.vector_bytes // nest.item
    cdef list widths = [lanes, tile.panel_vectors * lanes]
    csr, split, held = nest.layout == "csr", nest.products != 0, nest.workspace
    if (nest.d, nest.data_item) != (rows.n_features, 8 if rows.c.is_double else 4) or csr > rows.is_sparse or (
            rows.longest > nest.longest if csr else not rows.c.direct and not held["staging"]):
        raise ValueError(f"rows of {rows.n_features} columns do not fit the sizes of {nest}")
    tile_rows = tile.tile_rows
    if split:
        tile_rows, widths = TW_SPLIT_ROWS, widths[1:]
    elif csr:
        # One centre at a time only as scores of float64.
        widths = [lanes, 2 * lanes, 4 * lanes, 1 if nest.item == 8 else lanes]
    elif nest.layout == "rows-in-lanes":
        tile_rows, widths = tile.row_panel_vectors * lanes, [tile.group]
    fits = (nest.lanes, nest.tile_rows) == (lanes, tile_rows) and nest.width in widths and nest.products in (0, 3, 6)
    if split:
        fits = fits and nest.layout == "centres-in-lanes" and nest.item == 4 and nest.d <= MOST_SPLIT
        fits = fits and held["again"] >= 4 * nest.d * (AGAIN + tile.tile_rows)
    if nest.groups:
        fits = fits and nest.layout == "centres-in-lanes" and not split and nest.width == widths[1] and (
            nest.groups == -(-nest.k // TW_GROUP_CENTRES) and nest.list_entries >= nest.groups)
    if nest.first_look:
        fits = fits and not csr and nest.d <= TW_SCREEN_DEPTH and (
            held["looked_rows"] >= TW_LOOK_ROWS * ((nest.d + 3) // 4) * 4
            and held["looked_scores"] >= 4 * TW_LOOK_ROWS * nest.looked_centres >= 4 * TW_LOOK_ROWS * nest.k)
    if not fits or nest.shared["reports"] < nest.shards_per_call * <ptrdiff_t>sizeof(shard_report):
        raise ValueError(f"the kernels of {nest.isa} do not have the sizes of {nest}")


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
        if old == new or new < 0:
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


cdef int _left_open(int n, int64_t* ids, const void** pointers, const int32_t* label) noexcept nogil:
    """Keeps the rows that have no label."""
    cdef int r, kept = 0
    for r in range(n):
        if label[r] < 0:
            ids[kept], pointers[kept] = ids[r], pointers[r]
            kept += 1
    return kept


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
    if p.look and look_pays(p, report.looked, report.left, report.measured):
        look_at_rows(p, n, ws, o, first + count, n == count, report)
        _update(p, n, ws, o, sums, report)
        n = _left_open(n, ids, pointers, <const int32_t*>(ws + o.label))
        if n == 0:
            return
    score_rows(p, n, ws, o, first + count, n == count)
    decide_rows(p, n, ws, o, report)
    _update(p, n, ws, o, sums, report)


cdef void _run_in_groups(const assign_pass* p, int64_t first, int64_t stop, char* ws, const offsets_t* o,
                         cluster_sums* sums, shard_report* report) noexcept nogil:
    """Rows of a shard that meet some groups of centres only."""
    cdef collected c
    cdef int count
    c.rows = c.entries = 0
    while first < stop or c.rows:
        count = rows_that_fit(p, &c)
        if first < stop and count:
            count = <int>min(count, stop - first)
            collect_rows(p, first, count, ws, o, &c, report)
            first += count
        elif c.rows:
            label_collected(p, &c, ws, o, report)
            _update(p, c.rows, ws, o, sums, report)
            c.rows = c.entries = 0


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
    ptrdiff_t step          # from one thread's workspace to the next
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
    report.changed = report.open = report.scored = report.undecided = report.rescanned = report.entries = 0
    report.looked = report.left = report.measured = 0
    report.bad_row = -1
    if p.n_groups:
        _run_in_groups(p, first, stop, s.workspace + thread * s.step, s.o, sums, report)
        return
    while first < stop:
        count = p.chunk_rows if stop - first > p.chunk_rows else <int>(stop - first)
        if p.layout == CSR:
            count = _rows_that_fit(p, first, count)
        _run_chunk(p, first, count, s.workspace + thread * s.step, s.o, sums, report)
        first += count

# ---------------------------------------------------------------- the border to Python


cdef class Assignment:
    """One set of rows against one set of centres at a time, by a fixed plan.

    Parameters
    ----------
    rows : Rows
    nest : LoopNest
        Every size, and every buffer by name and bytes, as `tilewise.plan.nest` has them.
    """

    cdef assign_pass p
    cdef offsets_t o
    cdef Workspace parts, shared
    cdef char* workspace
    cdef char* base
    cdef dict starts            # of shared buffers, from base on
    cdef shard_report* reports
    cdef Rows rows
    cdef double* origin
    cdef int threads, center_threads
    cdef int64_t shard_rows, most_shards
    cdef const double[:, ::1] given
    cdef int32_t* order         # of the groups: p.order once it is set
    cdef int32_t* slots
    cdef bint looks             # whether the centres have been copied for first looks
    #: Of the last run: rows that had a first look, that it left open, and candidates it measured.
    cdef readonly tuple look_report
    #: Whether it settled enough rows to go on.
    cdef readonly bint look_pays
    cdef bint narrowed          # whether the centres have been rounded for measure_own

    def __init__(self, Rows rows, nest):
        cdef assign_pass* p = &self.p
        _check_nest(nest, rows)
        self.rows = rows
        self.threads, self.center_threads = nest.n_threads, nest.center_threads
        self.shard_rows, self.most_shards = nest.shard_rows, nest.shards_per_call
        p.rows = &rows.c
        p.tile = tile_kernels(nest.isa)
        p.exact = exact_kernels(nest.isa)
        p.split = split_kernels(nest.isa)
        p.depth, p.n_clusters = nest.d, nest.k
        p.layout = LAYOUTS[nest.layout]
        p.gathered = nest.gathered
        p.score_double = nest.item == 8
        p.lanes, p.chunk_rows = nest.lanes, nest.chunk_rows
        p.panel_vectors = max(1, nest.width // nest.lanes)
        p.n_panels, p.panels_per_block = nest.n_panels, nest.panels_per_block
        p.depth_block = nest.look_block if nest.products else nest.depth_block
        p.ldc = (p.depth + 7) // 8 * 8
        p.products = nest.products
        if p.products:
            p.steps, p.step_block = nest.depth // TW_SPLIT_STEP, nest.depth_block // TW_SPLIT_STEP
            p.split_step = nest.panel_bytes // 2
        p.n_groups, p.list_entries = nest.groups, nest.list_entries
        p.entries, p.longest, p.listed_entries = nest.entries, nest.longest, nest.listed_entries
        p.ld_scores = nest.n_panels * nest.width if p.layout == CSR else nest.k
        self.parts, self.shared = Workspace(), Workspace()
        self.o = {name: self.parts.add(size) for name, size in nest.workspace.items()}
        self.starts = {name: self.shared.add(size) for name, size in nest.shared.items()}
        self.workspace, self.base = self.parts.make(self.threads), self.shared.make(1)
        self.reports = <shard_report*>self._at("reports")
        p.packed = p.row_major = self._at("packed")
        p.split_panels = self._at("split panels")
        p.shares = <double*>self._at("shares")
        p.half_norms = self._at("half norms")
        p.norms = <double*>self._at("norms of centres")
        p.centers = <double*>self._at("canonical centres")
        p.origin = self._at("origin")
        p.wide_origin = self.origin = <double*>self._at("wide origin")
        self.look_report, self.look_pays = (0, 0, 0), True
        p.screen = screen_kernels(nest.isa)
        p.look = nest.first_look
        if p.look:
            p.look_most_left, p.look_measured = nest.look_most_left, nest.look_measured
            place_looks(p, nest.looked_centres, self._at("looked centres"), self._at("looked numbers"))
        p.ldn = (p.depth + 15) // 16 * 16
        p.narrow_centers = <float*>self._at("narrow centres") if nest.shared["narrow centres"] else NULL
        p.narrow_errors = <double*>self._at("narrow errors")
        self.order, self.slots = <int32_t*>self._at("order"), <int32_t*>self._at("slots")
        p.listed = <int32_t*>self._at("lengths of lists")
        p.listed_columns = <int32_t*>self._at("listed columns")
        p.listed_values = <double*>self._at("listed values")
        p.center_norms = <double*>self._at("squared norms")
        p.largest = <double*>self._at("largest")

    cdef void* _at(self, str name) except NULL:
        return self.base + <ptrdiff_t>self.starts[name]

    @property
    def workspace_bytes(self):
        """Bytes of workspace per thread."""
        return self.parts.total

    @property
    def allocated(self):
        """Bytes of all workspaces, and bytes of what threads share."""
        return self.parts.buffer.nbytes, self.shared.buffer.nbytes

    @property
    def addresses(self):
        """Where each buffer begins, for who models its cache lines; "workspace" is thread 0's."""
        shared = {name: <size_t>(self.base + <ptrdiff_t>start) for name, start in self.starts.items()}
        return shared | {"workspace": <size_t>self.workspace}

    @property
    def center_norms(self):
        """Squared norms of the centres, (k,) float64; None unless the layout is "csr"."""
        if self.p.layout != CSR:
            return None
        start = self.starts["squared norms"]
        return self.shared.buffer[start:start + 8 * self.p.n_clusters].view(np.float64)

    def set_groups(self, const int32_t[::1] order, const int32_t[::1] slots):
        """Say which centre lies in which slot of the groups, before centres are set; and the inverse."""
        cdef int j
        if order.shape[0] != self.p.n_clusters or slots.shape[0] != self.p.n_clusters:
            raise ValueError("one slot per centre expected")
        for j in range(self.p.n_clusters):
            if not 0 <= order[j] < self.p.n_clusters or slots[order[j]] != j:
                raise ValueError("every centre has one slot")
            self.order[j], self.slots[j] = order[j], slots[j]
        self.p.order, self.p.slots = self.order, self.slots

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
        if stale is not None and stale.shape[0] != p.n_clusters:
            raise ValueError("one mark per centre expected")
        if p.n_groups and p.order == NULL:
            raise ValueError("the groups of the centres have not been set")
        p.stale = &stale[0] if stale is not None and p.layout == CSR and self.given is not None else NULL
        self.given = centers
        self.narrowed = self.looks = False
        place_centers(p, centers, self.origin, usable_threads(self.center_threads))

    def run(self, int64_t first, int64_t stop, int32_t[::1] labels, *, float[::1] upper=None,
            float[::1] lower=None, const float[::1] moves=None, bint tighten=False,
            Sums sums=None, const double[::1] weights=None, float[::1] group_bounds=None,
            const float[:, ::1] drift=None, bint look=False):
        """Assign rows from `first` on, as many before `stop` as one call takes.

        Parameters
        ----------
        labels : int32 (n,), INOUT
            -1 where a row has no label yet.
        upper, lower : float32 (n,), INOUT, optional
            Bounds of the distance to the own and to every other centre. Written always;
            used if `moves`, how far each centre moved since they were written, is given.
        tighten : bool
            Measure the distance to the own centre before scoring all. The nest decides how many
            centres there must be for that.
        sums : Sums, INOUT, optional
            Rows with a new label are counted for it, and no longer for the one before.
        weights : float64 (n,), optional
        group_bounds : float32 (n * n_groups + 16), INOUT
            Where the nest has groups: lower bounds of the distance to every other centre of each
            group, in whose terms c/tw_groups.h tells. Rows are always measured then.
        drift : float32 (2, at least n_groups, whole vectors)
            How far the centres of each group went: bounds from below and above; minus infinity
            behind them.
        look : bool
            Whether rows have a first look in bytes, where the nest has room for it.

        Returns
        -------
        tuple of int
            The row to go on from; rows with a new label, rows that the bounds left open, rows
            scored, rows that rounding left open, rows compared with every centre again; groups
            that the scored rows met, together; the first row with a value that is not finite, or -1.
        """
        cdef assign_pass p = self.p
        cdef int64_t n = p.rows.n_rows, s, count, size = self.shard_rows
        cdef int64_t looked = 0, left = 0, measured = 0
        cdef int64_t changed = 0, opened = 0, scored = 0, undecided = 0, rescanned = 0, met = 0, bad = -1
        cdef int threads = self.threads
        cdef shards_pass run
        cdef shard_report* reports = self.reports
        if labels.shape[0] != n:
            raise ValueError(f"{labels.shape[0]} labels given for {n} rows")
        if not 0 <= first <= stop <= n:
            raise IndexError(f"rows {first} to {stop} of {n}")
        self.look_report = 0, 0, 0
        stop = min(stop, first + size * self.most_shards)
        count = (stop - first + size - 1) // size
        if count <= 0:
            return stop, 0, 0, 0, 0, 0, 0, -1
        if self.rows.is_window:
            check_window(self.rows, first, stop)
        p.labels = &labels[0]
        # One distance to the own centre reads all columns; scoring, only the stored entries.
        p.tighten = (tighten or (p.n_groups and moves is not None)) and p.layout != CSR
        if p.tighten and not p.rows.is_double and not self.narrowed:
            if p.narrow_centers == NULL:
                raise ValueError("no room was planned for measuring own distances")
            narrow_centers(&self.p, usable_threads(self.center_threads))
            self.narrowed = True
        p.look = p.look and look and not p.n_groups and not p.hopeless
        if p.look and not self.looks:
            look_at_centers(&self.p, usable_threads(self.center_threads))
            self.looks = True
        p.look_error = self.p.look_error
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
        if p.n_groups:
            _use_groups(&p, n, group_bounds, drift)
        if sums is not None:
            if sums.grid.c.depth != p.depth or sums.c.n_clusters != p.n_clusters or (
                    sums.threads < threads):
                raise ValueError("sums of these clusters, columns and threads expected")
            if weights is not None:
                if weights.shape[0] != n:
                    raise ValueError("one weight per row expected")
                p.weights = &weights[0]
        run.p, run.o, run.workspace, run.reports = &p, &self.o, self.workspace, reports
        run.first, run.stop, run.shard_rows = first, stop, size
        run.step = self.parts.total
        run.sums = sums.of_thread(0) if sums is not None else NULL
        run.own_sums = sums is not None and sums.parts != NULL
        run_blocks(_run_shard, &run, 0, count, 1, 1, threads)
        for s in range(count):
            changed += reports[s].changed
            opened += reports[s].open
            scored += reports[s].scored
            undecided += reports[s].undecided
            rescanned += reports[s].rescanned
            met += reports[s].entries
            looked += reports[s].looked
            left += reports[s].left
            measured += reports[s].measured
            if bad < 0 and reports[s].bad_row >= 0:
                bad = reports[s].bad_row
        self.look_report = looked, left, measured
        self.look_pays = not p.look or look_pays(&p, looked, left, measured)
        if sums is not None:
            sums.gather()
        return stop, changed, opened, scored, undecided, rescanned, met, bad


cdef int _use_groups(assign_pass* p, int64_t n, float[::1] bounds, const float[:, ::1] drift) except -1:
    cdef Py_ssize_t lanes = 16, g
    if p.upper == NULL or bounds is None or bounds.shape[0] != n * p.n_groups + lanes:
        raise ValueError("bounds must have one entry per row and group")
    if drift is None or drift.shape[0] != 2 or drift.shape[1] != (p.n_groups + lanes - 1) // lanes * lanes:
        raise ValueError("two drifts per group expected")
    for g in range(p.n_groups, drift.shape[1]):
        if drift[1, g] != -INFINITY:
            raise ValueError("the drift of no group is minus infinity")
    p.group_bounds = &bounds[0]
    p.drift_below, p.drift_above = &drift[0, 0], &drift[1, 0]
    return 0


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

"""Passes over the rows: assign, assign and sum, distances."""

import threading
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from threadpoolctl import ThreadpoolController

from tilewise.kernels import _assign, _centers, _csr, _exact
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, exact_shard_rows

from .matrix import fill_matrix, plan_matrix
from .ranges import overflow
from .stats import raise_nonfinite

__all__ = [
    "Pass", "assign", "assign_inertia", "distances", "farthest_first", "inertia",
    "one_blas_thread", "own_distances",
]  # fmt: skip

# Share of rows that have to be compared with every centre again above which the next pass is
# scored in float64. A second look in the tile's own arithmetic costs about two rows; where rows
# lie in the lanes there is only the canonical distance, which costs about ten.
_RESCAN_LIMIT = {"centres-in-lanes": 0.4, "blas": 0.4, "rows-in-lanes": 0.1, "csr": 0.1}

# What a row costs that a few canonical distances decide, in scores of float32: three of sixteen
# each. The second look at a row takes as many as there are centres, twice.
_OPEN_COST = 24

# Stored entries that are added to sums between two looks for Ctrl-C: about a quarter of a second.
_UNINTERRUPTED_ENTRIES = 2**26


class Pass:
    """Rows, labels and bounds that successive sets of centres are run against.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    n_clusters : int
    plan : Plan
    update : bool, default=False
        Whether passes also sum the rows of each cluster.
    bounds : bool, default=False
        Whether to keep distance bounds of every row, so that later passes skip rows whose
        label cannot change (Hamerly, "Making k-means even faster", SDM 2010).
    weights : ndarray of shape (n,), float64, optional
    shift : ndarray of shape (d,), float64, optional
        Taken from every row before it is summed.
    incremental : bool, default=True
        Let later passes add to the sums only what changed. The sums of every pass are
        made anew otherwise.
    labels : ndarray of shape (n,), int32, optional
        Where labels are written.
    keep_centers : bool, default=True
        Whether the centres of a pass are copied. If not, the caller leaves them as they are until
        the pass after the next has begun; or there are neither bounds nor averages to come.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
    sums : ndarray of shape (k, d), float64
        Weighted sums of row - shift per cluster.
    weight_sums : ndarray of shape (k,), float64
    members : ndarray of shape (k,), int64
        Rows of non-zero weight.
    changed, scored, undecided, rescanned : int
        Of the last pass: rows with a new label, rows that were scored, rows that rounding
        left open, and those among them that were compared with every centre again.
    """

    def __init__(
        self, rows: Rows, n_clusters: int, plan: Plan, *, update=False, bounds=False,
        weights=None, shift=None, incremental=True, labels=None, keep_centers=True,
    ):  # fmt: skip
        n, d = rows.n_rows, rows.n_features
        self.rows, self.plan = rows, plan
        self.labels = np.full(n, -1, dtype=np.int32) if labels is None else labels
        if labels is not None:
            labels[...] = -1
        self._k = n_clusters
        self._update = self._sums_wanted = update
        self._bounds = (
            (np.empty(n, np.float32), np.empty(n, np.float32)) if bounds and n else (None, None)
        )
        self._weights = weights
        self._incremental = incremental
        self._keep_centers = keep_centers
        self._shift = np.zeros(d) if shift is None else shift
        self._score_dtype = plan.score_dtype
        self._products = plan.products
        # Sums over stored entries: a pass of their own, in row order whatever the shards.
        self._by_columns = update and rows.is_sparse
        if self._by_columns:
            if shift is not None and np.any(shift):
                raise ValueError("CSR rows are summed without a shift")
            self._blocks = _csr.column_blocks(rows, plan.n_threads)
        self._centers = self._norms = self._spare = None
        self._averaged = None, None
        self._useless = self._opened = 0
        self._kernel = self._make_kernel()
        if update:
            width = max(8, -(-d // 8) * 8) if d else 0
            self._sums = None if self._by_columns else np.zeros((n_clusters, width))
            self.weight_sums = np.zeros(n_clusters)
            self.members = np.zeros(n_clusters, dtype=np.int64)
        self.changed = self.scored = self.undecided = self.rescanned = 0

    def _make_kernel(self):
        return self._kernel_of(
            self.rows, shard_rows=self.plan.shard_rows, slots=self.plan.slots,
            update=self._sums_wanted and not self._by_columns,
        )  # fmt: skip

    def _kernel_of(self, rows, **shards):
        """What the plan says, for rows in memory and for those of a window."""
        p = self.plan
        return _assign.Assignment(
            rows, self._k, isa=p.isa, layout=p.layout, score_dtype=self._score_dtype,
            chunk_rows=p.chunk_rows, panels_per_block=p.panels_per_block,
            depth_block=p.depth_block, n_threads=p.n_threads, panel_columns=p.panel_columns,
            products=self._products, **shards,
        )  # fmt: skip

    @property
    def center_norms(self):
        """Squared norms of the centres of the last pass, where it needed them; else None."""
        return self._norms

    @property
    def assigned_centers(self):
        """The centres of the last pass."""
        return self._centers

    def finish(self, centers: np.ndarray) -> int:
        """Assign every row to final centres; sums stay as they are."""
        updating, self._update = self._update, False
        try:
            return self.run(centers)
        finally:
            self._update = updating

    def conclude(self, centers: np.ndarray, assign: bool = True) -> float:
        """Assign every row to final centres, if asked to; returns the inertia."""
        if assign:
            self.finish(centers)
        return self.inertia(centers)

    def inertia(self, centers: np.ndarray) -> float:
        """Weighted sum of canonical squared distances to the labelled centres."""
        return inertia(self.rows, centers, self.labels, self._weights, self.plan)

    def said(self, centers: np.ndarray) -> str:
        """What to print of the last pass, after which `centers` were found."""
        return f"inertia {self.inertia(centers)}"

    def farthest(self, centers: np.ndarray, count: int) -> np.ndarray:
        """The rows farthest from their centres, the farthest first; none if all lie on them."""
        gaps = np.empty(self.rows.n_rows)
        own_distances(self.rows, centers, self.labels, None, self.plan, out=gaps)
        if gaps.max() == 0.0:
            return np.empty(0, dtype=np.int64)
        return farthest_first(gaps, None, count)

    def restore(self, centers, sums, weight_sums, members):
        """Go on after a pass over `centers` that left these sums."""
        self.finish(np.ascontiguousarray(centers, dtype=np.float64))
        if not self._by_columns:
            self._sums[:, : self.rows.n_features] = sums
        self.weight_sums[...] = weight_sums
        self.members[...] = members

    def average(self) -> tuple[np.ndarray, float] | None:
        """Means of the clusters and the sum of their squared shifts; None if one is empty.

        They take the place of the sums where every pass makes these anew by columns.
        """
        centers = self._spare
        if self._by_columns:
            centers = self._sums
        elif centers is None:
            centers = np.empty_like(self._centers)
        moved = _centers.average_centers(
            self._sums, self.weight_sums, self._shift, self._centers, centers,
            n_threads=self.plan.n_threads,
        )  # fmt: skip
        if moved is None:
            return None
        self._averaged = centers, moved
        self._spare = None
        if self._by_columns:
            self._sums = None
        total = 0.0
        for square in moved:
            total += float(square)
        return centers, total

    def forget(self):
        """Take nothing for known of the last averages: others have had them in their hands."""
        self._averaged = None, None

    @property
    def sums(self):
        """Weighted sums of row - shift per cluster, (k, d); (k, 0) once means took their place."""
        if self._sums is None:
            return np.empty((self._k, 0))
        return self._sums[:, : self.rows.n_features]

    def run(self, centers: np.ndarray, spare: np.ndarray | None = None, stale=None) -> int:
        """Assign every row to its closest centre; returns how many labels changed.

        Parameters
        ----------
        centers : ndarray of shape (k, d), float64, C-contiguous
        spare : ndarray of shape (k, d), float64, C-contiguous, optional
            Room for sums or means: centres of an earlier pass that nobody wants any more.
        stale : ndarray of shape (k,), uint8, optional
            Which centres differ from those of the last pass, if not all may.

        Raises
        ------
        ValueError
            If a row holds a value that is not finite; as `OutOfRange` if all its squared distances
            overflow.
        """
        moves = self._moves(centers)
        self._spare = spare
        update = 0
        if self._update:
            if not self._by_columns:
                update = 1 if self._incremental else 2
            if self._sums is None:
                self._sums, self._spare = spare, None
            if self._sums is None:
                self._sums = np.zeros_like(centers)
            elif update != 1:
                self._sums[...] = 0.0
            if update != 1:
                self.weight_sums[...] = 0.0
                self.members[...] = 0
        self.changed = self.scored = self.undecided = self.rescanned = 0
        if self.rows.n_rows:
            self._kernel.set_centers(centers, stale)
            self._norms = self._kernel.center_norms
            self._assigning = centers
            with one_blas_thread if self.plan.engine == "blas" else nullcontext():
                self._run_shards(moves, update)
            if self._update and self._by_columns:
                self._sum_columns()
        if self._update and self._weights is not None:
            # What incremental sums leave behind in a cluster without weight is rounding.
            empty = self.members == 0
            self._sums[empty] = 0.0
            self.weight_sums[empty] = 0.0
        if not self._keep_centers:
            self._centers = centers
        elif self._centers is None:
            self._centers = centers.copy()
        else:
            np.copyto(self._centers, centers)
        limit = _RESCAN_LIMIT[self.plan.layout] * max(self.scored, 1000)
        if self._products:
            if self.rescanned + self.undecided * _OPEN_COST / self._k > limit / 2:
                self._products = 0
                self._kernel = self._make_kernel()
        elif self._score_dtype == "float32" and self.rescanned > limit:
            self._score_dtype = "float64"
            self._kernel = self._make_kernel()
        return self.changed

    def _run_shards(self, moves, update):
        upper, lower = self._bounds
        self._opened = 0
        tighten = self._tightens(moves)
        n_shards = -(-self.rows.n_rows // self.plan.shard_rows)
        first = 0
        # The interpreter looks for Ctrl-C between two calls.
        while first < n_shards:
            count, *counts, bad = self._kernel.run(
                first, self.labels, upper=upper, lower=lower, moves=moves,
                tighten=tighten, update=update,
                weights=self._weights, shift=self._shift if update else None,
            )  # fmt: skip
            if bad >= 0:
                raise_nonfinite(self.rows, bad)
                raise overflow(self.rows, self._assigning, bad)
            self._count(counts)
            if update:
                self._kernel.merge(count, self._sums, self.weight_sums, self.members)
            first += count
        self._judge_tightening(tighten)

    def _count(self, counts):
        changed, opened, scored, undecided, rescanned = counts
        self.changed += changed
        self._opened += opened
        self.scored += scored
        self.undecided += undecided
        self.rescanned += rescanned

    def _tightens(self, moves):
        return moves is not None and self._k >= _TIGHTEN_CLUSTERS and self._useless == 0

    def _judge_tightening(self, tighten):
        if self._useless:
            self._useless -= 1
        elif tighten and self._opened - self.scored < _TIGHTEN_GAIN * self._opened:
            self._useless = _TIGHTEN_PAUSE

    def _sum_columns(self):
        rows = self.rows
        stored = max(1.0, rows.density * rows.n_features)
        step = max(1, int(_UNINTERRUPTED_ENTRIES / stored))
        # The interpreter looks for Ctrl-C between two calls.
        for first in range(0, rows.n_rows, step):
            _csr.sum_rows(
                rows, first, min(rows.n_rows, first + step), self.labels, self._sums,
                self.weight_sums, self.members, self._blocks, weights=self._weights,
                n_threads=self.plan.n_threads,
            )  # fmt: skip

    def _moves(self, centers):
        """Upper bounds of how far each centre moved since the last pass, or None."""
        if (
            self._centers is None
            or self._bounds[0] is None
            or (self._update and not self._incremental and not self._by_columns)
        ):
            return None
        # Known of centres that come as they were averaged.
        shifts = None if self._averaged[0] is not centers else self._averaged[1]
        return _centers.center_moves(
            self._centers, centers, n_threads=self.plan.n_threads, shifts=shifts
        )


# From this many clusters on, one distance to the own centre first is cheaper than scoring.
_TIGHTEN_CLUSTERS = 48
# ... if it settles this share of the rows; else it is left out for some passes, since centres
# that still move far settle hardly any.
_TIGHTEN_GAIN = 0.1
_TIGHTEN_PAUSE = 4


class _OneBlasThread:
    """Holds BLAS to one thread while any pass of this process needs it.

    The limit belongs to the process: passes that overlap must not restore it under each other.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = None

    def __enter__(self):
        with self._lock:
            if self._inside == 0:
                self._limit = ThreadpoolController().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *problem):
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()
                self._limit = None


one_blas_thread = _OneBlasThread()


def assign(rows: Rows, centers, plan: Plan, *, labels=None) -> np.ndarray:
    """Label of the closest centre of every row, exact.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    centers : array of shape (k, d)
    plan : Plan
    labels : ndarray of shape (n,), int32, optional
        Where to write them.

    Returns
    -------
    ndarray of shape (n,), int32
    """
    centers = _as_centers(centers)
    run = Pass(rows, centers.shape[0], plan, labels=labels, keep_centers=False)
    run.run(centers)
    return run.labels


def assign_inertia(rows: Rows, centers, weights, plan: Plan) -> tuple[np.ndarray, float]:
    """Exact labels, and the weighted sum of squared distances to the closest centre."""
    centers = _as_centers(centers)
    labels = assign(rows, centers, plan)
    return labels, inertia(rows, centers, labels, weights, plan)


def inertia(rows: Rows, centers, labels, weights, plan: Plan) -> float:
    """Weighted sum of canonical squared distances to the labelled centre."""
    return own_distances(rows, centers, labels, weights, plan)


def farthest_first(gaps: np.ndarray, ids, count: int) -> np.ndarray:
    """Positions of the `count` largest gaps, the largest first, of equal ones the lowest row.

    ids names the row of each gap; None where gap i is row i's.
    """
    if len(gaps) <= count:
        found = np.arange(len(gaps))
    else:
        found = np.flatnonzero(gaps >= np.partition(gaps, -count)[-count])
    named = found if ids is None else ids[found]
    return found[np.lexsort((named, -gaps[found]))[:count]]


def own_distances(rows: Rows, centers, labels, weights, plan: Plan, *, out=None) -> float:
    """The same; out (n,), float64, receives each row's squared distance."""
    return _exact.own_distances(
        rows, _as_centers(centers), labels, weights=weights, out=out, isa=plan.isa,
        shard_rows=exact_shard_rows(rows.n_rows, rows.n_features), n_threads=plan.n_threads,
    )  # fmt: skip


def distances(rows: Rows, centers, plan: Plan, *, squared=False, out=None) -> np.ndarray:
    """Euclidean distances of every row to every centre, by direct differences.

    With the layout "csr" they come from the stored entries, in float64, and from direct
    differences where those would cancel.

    Returns
    -------
    ndarray of shape (n, k), of the type of the rows

    Raises
    ------
    ValueError
        If a row holds a value that is not finite, or `out` has the wrong shape.
    """
    centers = np.asarray(centers, dtype=np.float64)
    if out is None:
        out = np.empty((rows.n_rows, centers.shape[0]), dtype=rows.dtype)
    if out.shape != (rows.n_rows, centers.shape[0]):
        raise ValueError(f"out has shape {out.shape}, ({rows.n_rows}, {centers.shape[0]}) expected")
    if not out.size:
        return out
    others, kernel = Rows(centers), "sqeuclidean" if squared else "euclidean"
    sizes = plan_matrix(rows, others, out.dtype, kernel=kernel, n_threads=plan.n_threads)
    fill_matrix(rows, others, out, kernel=kernel, plan=replace(sizes, isa=plan.isa))
    if not np.isfinite(out[:, 0]).all():
        raise_nonfinite(rows)
    return out


def _as_centers(centers) -> np.ndarray:
    return np.ascontiguousarray(centers, dtype=np.float64)

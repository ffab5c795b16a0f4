"""Passes over the rows: assign, assign and sum, distances."""

import math
from contextlib import nullcontext

import numpy as np
import scipy.sparse as sp

from tilewise.kernels import _assign, _centers, _exact
from tilewise.kernels._rows import Rows
from tilewise.kernels._sums import Bins, Grid, Sums
from tilewise.plan import Plan
from tilewise.plan.groups import GROUPS_AFTER, LATER_AFTER_LOOKS
from tilewise.plan.nest import LoopNest
from tilewise.plan.thresholds import (
    KEPT_PASS_BYTES,
    LOOK_TRIED,
    OWN_CLUSTERS,
    OWN_SUMS_BYTES,
    few_stored,
    own_distance_share,
    worth_threads,
)  # fmt: skip

from .blas import one_blas_thread
from .center_distances import as_centers, distances, farthest_first
from .groups import MOST_EXPECTED, SAMPLED, Groups
from .ranges import overflow
from .stats import column_stats

__all__ = [
    "Bins", "Pass", "assign", "assign_inertia", "open_sums", "weight_sizes",
]  # fmt: skip

# Share of rows that have to be compared with every centre again above which the next pass is
# scored in float64. A second look in the tile's own arithmetic costs about two rows; where rows
# lie in the lanes there is only the canonical distance, which costs about ten.
_RESCAN_LIMIT = {"centres-in-lanes": 0.4, "blas": 0.4, "rows-in-lanes": 0.1, "csr": 0.1}

# What a row costs that a few canonical distances decide, in scores of float32: three of sixteen
# each. The second look at a row takes as many as there are centres, twice.
_OPEN_COST = 24

# Passes for which own distances are left out once they settled too few rows: centres that still
# move far settle hardly any.
_TIGHTEN_PAUSE = 4


class Pass:
    """Rows, labels and bounds that successive sets of centres are run against.

    Rows come in parts: those in memory are one part, those of a source as many as buffers hold.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
    n_clusters : int
    plan : Plan
    sums : bool, default=False
        Whether the rows of each cluster are to be averaged.
    bounds : bool, default=False
        Whether to keep distance bounds of every row, so that later passes skip rows whose
        label cannot change (Hamerly, "Making k-means even faster", SDM 2010).
    weights : ndarray of shape (n,), float64, optional
    stats : Stats, optional
        The columns' magnitudes, which sums need; measured here by default.
    labels : ndarray of shape (n,), int32, optional
        Where labels are written.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
    sums : Sums or None
        Exact sums of the rows of each cluster, which do not depend on an order.
    changed, scored, undecided, rescanned : int
        Of the last pass: rows with a new label, rows that were scored, rows that rounding
        left open, and those among them that were compared with every centre again.
    looks : list of int
        Of the last pass: rows that had a first look in bytes, those among them that it left to the
        scores, and candidates that it measured.

    Notes
    -----
    The centres of a pass are not copied: the caller leaves them as they are until the next one,
    unless `average` wrote the new ones over them.
    """

    def __init__(
        self, rows, n_clusters: int, plan: Plan, *, sums=False, bounds=False, weights=None,
        stats=None, labels=None,
    ):  # fmt: skip
        n = rows.n_rows
        self.rows, self.plan = rows, plan
        self.labels = np.empty(n, dtype=np.int32) if labels is None else labels
        self.labels[...] = -1
        self._k = n_clusters
        self._bounds = (
            (np.empty(n, np.float32), np.empty(n, np.float32)) if bounds and n else (None, None)
        )
        self._weights = weights
        self._score_dtype, self._products = plan.score_dtype, plan.products
        kept = plan.n_threads * plan.workspace_bytes_per_thread + plan.shared_bytes + 8 * n
        #: Whether `renew` may be called: of small runs, which opening a pass makes longer.
        self.renewable = rows.in_memory and kept <= KEPT_PASS_BYTES
        self._centers = self._center_norms = None
        self._averaged = None, None
        self._useless = self._opened = 0
        self._look, self._tried = plan.look, False
        # Groups of centres are made once passes have shown that they may pay.
        self._groups, self._grouped = None, False
        self._waiting, self._spent = bool(bounds and n) and self._may_group(), 0
        self._patience = GROUPS_AFTER * (LATER_AFTER_LOOKS if plan.look else 1)
        self._kernel = self._make_kernel()
        self.sums = sums or None
        if sums is True:
            if stats is None:
                stats = column_stats(rows, plan)
            self.sums = open_sums(
                n_clusters, plan, stats, rows.compute_dtype, sizes=weight_sizes(weights),
                is_sparse=rows.is_sparse, n_rows=n,
            )  # fmt: skip
        self.changed = self.scored = self.undecided = self.rescanned = 0
        self.looks = [0, 0, 0]

    def _may_group(self):
        """Whether bounds of groups may be kept: they are planned for rows that are always there."""
        return bool(self.plan.groups) and self.rows.in_memory

    def _make_kernel(self):
        rows = self.rows.window
        nest = LoopNest.of(
            self.plan, rows, score_dtype=self._score_dtype, products=self._products,
            grouped=self._grouped,
        )  # fmt: skip
        self._own_share = own_distance_share(nest.k, nest.d, nest.lanes, nest.products)
        kernel = _assign.Assignment(rows, nest)
        if self._groups is not None:
            kernel.set_groups(self._groups.order, self._groups.slots)
        return kernel

    @staticmethod
    def hold(centers) -> np.ndarray:
        """Centres where a pass wants them: (k, d) float64, C-contiguous."""
        return as_centers(centers)

    @staticmethod
    def blank(centers) -> np.ndarray:
        """Room for as many others."""
        return np.empty_like(centers)

    @property
    def center_norms(self):
        """Squared norms of the centres of the last pass, where it needed them; else None."""
        return self._center_norms

    # ------------------------------------------------------------ passes

    def assign(self, centers: np.ndarray, stale=None) -> int:
        """Assign every row to its closest centre; returns how many labels changed.

        Parameters
        ----------
        centers : ndarray of shape (k, d), float64, C-contiguous
        stale : ndarray of shape (k,), uint8, optional
            Which centres differ from those of the last pass, if not all may.

        Raises
        ------
        ValueError
            If a row holds a value that is not finite; as `OutOfRange` if all its squared distances
            overflow.
        """
        return self._run(centers, None, stale)

    def assign_and_sum(self, centers: np.ndarray) -> int:
        """The same, and the sums follow the labels."""
        return self._run(centers, self.sums, None)

    def assign_and_measure(self, centers: np.ndarray) -> float:
        """Assign every row to its closest centre and return the inertia, in one reading."""
        return self.assign_and_total(centers).value

    def assign_and_total(self, centers: np.ndarray) -> Bins:
        """The same before it is rounded: the inertia of parts adds up."""
        total, padded = Bins(self.plan.isa), self._padded(centers)

        def add(first, last):
            """Add the distances of these rows."""
            self._measure(padded, first, last, total=total, weights=self._weights)

        self._run(centers, None, None, add)
        return total

    def assign_and_visit(self, centers: np.ndarray, visit, rows: int) -> int:
        """Assign every row, and show each its canonical squared distance, in one reading.

        Parameters
        ----------
        centers : ndarray of shape (k, d), float64, C-contiguous
        visit : callable
            Called as ``visit(first, gaps)`` with the distances of the rows from `first` on, which
            have their labels.
        rows : int
            Most rows that are shown at a time.
        """
        gaps, entries = np.empty(min(rows, self.rows.n_rows)), None
        if few_stored(self.rows, "rows one by one"):
            entries = sp.csr_array(centers)
        padded = self._padded(centers) if entries is not None else _exact.padded(centers)

        def show(first, last):
            """Show the distances of these rows, some at a time."""
            for at in range(first, last, rows):
                stop = min(last, at + rows)
                self._measure(padded, at, stop, out=gaps, entries=entries)
                visit(at, gaps[: stop - at])

        return self._run(centers, None, None, show)

    def _run(self, centers, sums, stale, visit=None):
        moves = self._moves(centers)
        # Where rows are shown as well, the pass is the last one.
        if self._waiting and visit is None and self._spent >= self._patience * self.rows.n_rows:
            moves = self._group(centers, moves)
        self.changed = self.scored = self.undecided = self.rescanned = self._opened = 0
        self._met, self.looks = 0, [0, 0, 0]
        if self._grouped:
            self._groups.move(moves)
        tighten = moves is not None and self._k >= OWN_CLUSTERS and self._useless == 0
        if self.rows.n_rows:
            self._kernel.set_centers(centers, stale)
            self._center_norms = self._kernel.center_norms
            with one_blas_thread if self.plan.engine == "blas" else nullcontext():
                pieces = self._open_pieces(moves) if visit is None else None
                for first, last in self.rows.parts(pieces):
                    self._assign_part(first, last, centers, moves, tighten, sums)
                    if visit is not None:
                        visit(first, last)
        if self._useless:
            self._useless -= 1
        elif tighten and self._opened - self.scored < self._own_share * self._opened:
            self._useless = _TIGHTEN_PAUSE
        self._centers = centers
        self._averaged = None, None
        self._choose_scores()
        self._spent += 0 if moves is None else self.scored
        if self._grouped and moves is not None and not self._groups.pays(self._met, self.scored):
            self._groups, self._grouped = None, False
            self._kernel = self._make_kernel()
        return self.changed

    def _group(self, centers, moves):
        """Sort the centres into groups if that will pay; returns `moves` if not.

        If it will, None: all rows have to be scored.
        """
        n = self.rows.n_rows
        groups = Groups(n, self.plan.groups, centers)
        if self._patience and moves is not None:
            sample = Rows(self.rows.take(np.linspace(0, n - 1, min(n, SAMPLED), dtype=np.int64)))
            try:
                gaps = distances(sample, centers, self.plan)
            except ValueError:
                # The pass itself names the row.
                return moves
            if groups.expected(gaps, moves) > MOST_EXPECTED * self.scored / n:
                self._patience *= 2
                return moves
        self._groups, self._grouped, self._waiting = groups, True, False
        # The buffers of one kernel go before those of the next come.
        self._kernel = None
        self._kernel = self._make_kernel()
        return None

    def _assign_part(self, first, last, centers, moves, tighten, sums):
        upper, lower = self._bounds
        bounds, drift = None, None
        if self._grouped:
            bounds, drift = self._groups.bounds, self._groups.drift
        # Its bounds are looser, so later passes score more rows. Before groups start, centres move
        # so far that nearly all rows are scored anyway (measured, whole fits: 384 x 1024 1.25 times
        # as fast with later looks; 64 x 256, without groups, 0.75 times).
        look = self._look and not self._grouped and (moves is None or self._waiting)
        # The interpreter looks for Ctrl-C between two calls.
        while first < last:
            stop = last
            if look and not self._tried:
                # A first look that does not pay ends after these.
                stop, self._tried = min(last, first + LOOK_TRIED), True
            first, changed, opened, scored, undecided, rescanned, met, bad = self._kernel.run(
                first, stop, self.labels, upper=upper, lower=lower, moves=moves, tighten=tighten,
                sums=sums, weights=None if sums is None else self._weights, group_bounds=bounds,
                drift=drift, look=look,
            )  # fmt: skip
            if look:
                self.looks = [
                    a + b for a, b in zip(self.looks, self._kernel.look_report, strict=True)
                ]
                look = self._look = self._kernel.look_pays
            if bad >= 0:
                self.rows.raise_nonfinite(bad)
                raise overflow(self.rows.visible, centers, bad)
            self.changed += changed
            self._opened += opened
            self.scored += scored
            self.undecided += undecided
            self.rescanned += rescanned
            self._met += met

    def _choose_scores(self):
        """Score the next pass otherwise where rounding left too many rows open."""
        limit = _RESCAN_LIMIT[self.plan.layout] * max(self.scored, 1000)
        if self._products:
            if self.rescanned + self.undecided * _OPEN_COST / self._k > limit / 2:
                self._products = 0
                self._kernel = self._make_kernel()
        elif self._score_dtype == "float32" and self.rescanned > limit:
            self._score_dtype = "float64"
            self._kernel = self._make_kernel()

    def _open_pieces(self, moves):
        """Pieces with rows that the bounds leave open; None for all."""
        rows = self.rows
        if moves is None or not rows.can_skip:
            return None
        upper, lower = self._bounds
        wanted, pieces, left_out = [], 0, 0
        for first, last in rows.pieces():
            if _assign.settled(first, last, self.labels, upper, lower, moves, isa=self.plan.isa):
                pieces += 1
                left_out += last - first
            else:
                wanted.append((first, last))
        rows.skipped(pieces, left_out)
        return wanted

    def _moves(self, centers):
        """Upper bounds of how far each centre moved since the last pass, or None."""
        if self._centers is None or self._bounds[0] is None:
            return None
        threads = worth_threads(self.plan.n_threads, centers.size, "centers")
        averaged, squares = self._averaged
        if averaged is None or (averaged is not self._centers and averaged is not centers):
            return _centers.center_moves(self._centers, centers, n_threads=threads)
        moves = _centers.center_moves(self._centers, averaged, n_threads=threads, shifts=squares)
        if centers is averaged or moves is None:
            return moves
        more = _centers.center_moves(averaged, centers, n_threads=threads)
        return None if more is None else (moves + more) * np.float32(1 + 2.0**-20)

    # ------------------------------------------------------------ averages

    def average(self, out: np.ndarray, relocated=None) -> float | None:
        """Write the means of the clusters to `out`; returns the sum of their squared shifts.

        None, and nothing is written, if a cluster is empty; unless `relocated`, pairs of a row
        and a cluster, tells which rows are to count for which clusters for once. What is still
        empty then takes the mean of the heaviest cluster.

        Parameters
        ----------
        out : ndarray of shape (k, d), float64, C-contiguous
            May be the array of the centres of the last pass.
        relocated : list of (int, int), optional
        """
        moves = []
        for row, cluster in relocated or ():
            weight = 1.0 if self._weights is None else float(self._weights[row])
            view = Rows(self.rows.take([row]))
            moves.append((view, int(self.labels[row]), cluster, weight))
        for view, old, new, weight in moves:
            self.sums.move(view, 0, old, new, weight)
        squares = self.sums.average(self._centers, out, fill=relocated is not None)
        for view, old, new, weight in moves:
            self.sums.move(view, 0, new, old, weight)
        if squares is None:
            return None
        self._averaged = out, squares
        return math.fsum(squares)

    @property
    def weights(self):
        """Weight of each cluster in the sums, (k,) float64."""
        return self.sums.weights

    def close_sums(self):
        """Let go of the sums: nothing is averaged any more, unless after `renew`."""
        if not self.renewable:
            self.sums = None

    def renew(self):
        """Begin another run, with another array of labels: that of the last run stays as it is."""
        self.labels = np.empty_like(self.labels)
        if (self._score_dtype, self._products) != (self.plan.score_dtype, self.plan.products):
            self._score_dtype, self._products = self.plan.score_dtype, self.plan.products
            self._kernel = self._make_kernel()
        self._useless = 0
        self.restart()

    def restart(self):
        """Forget labels and sums: the next pass is a first one."""
        self.labels[...] = -1
        self._centers = None
        if self.sums is not None:
            self.sums.clear()

    def forget(self):
        """Take nothing for known of the last averages: others have had them in their hands."""
        self._averaged = None, None
        if self.sums is not None:
            self.sums.touch()

    # ------------------------------------------------------------ distances

    def inertia(self, centers: np.ndarray) -> float:
        """Weighted sum of canonical squared distances to the labelled centres."""
        total, padded = Bins(self.plan.isa), self._padded(centers)
        for first, last in self.rows.parts():
            self._measure(padded, first, last, total=total, weights=self._weights)
        return total.value

    def progress(self, centers: np.ndarray) -> str:
        """What to print of the last pass, after which `centers` were found."""
        if self.rows.in_memory:
            return f"inertia {self.inertia(centers)}"
        # The inertia would take another reading.
        rate = self.rows.report.rows_per_second
        return f"{self.changed} labels changed, {rate:.0f} rows per second"

    def farthest(self, centers: np.ndarray, count: int) -> np.ndarray:
        """The rows farthest from their centres, the farthest first; none if all lie on them."""
        padded = self._padded(centers)
        gaps, ids = np.empty(0), np.empty(0, dtype=np.int64)
        for first, last in self.rows.parts():
            found = np.empty(last - first)
            self._measure(padded, first, last, out=found)
            keep = farthest_first(found, np.arange(first, last), count)
            gaps, ids = np.append(gaps, found[keep]), np.append(ids, first + keep)
            keep = farthest_first(gaps, ids, count)
            gaps, ids = gaps[keep], ids[keep]
        return ids if gaps.size and gaps[0] > 0.0 else ids[:0]

    def _padded(self, centers):
        """Centres as `own_distances` wants them, made once; entries meet them as they are."""
        return centers if self.rows.is_sparse else _exact.padded(centers)

    def _measure(self, padded, first, last, **wanted):
        _exact.own_distances(
            self.rows.window, first, last, padded, self.labels, isa=self.plan.isa,
            n_threads=self.plan.n_threads, by_entries=few_stored(self.rows, "rows one by one"),
            **wanted,
        )  # fmt: skip


def weight_sizes(weights) -> tuple[float, float] | None:
    """The largest and the least magnitude other than zero of weights; None if there are none."""
    if weights is None:
        return None
    used = np.abs(weights[weights != 0.0])
    return float(used.max(initial=0.0)), float(used.min(initial=np.inf))


def open_sums(
    n_clusters: int, plan: Plan, stats, dtype, *, sizes=None, is_sparse=False, n_rows=None
) -> Sums:
    """Empty sums of the rows of each cluster.

    Parameters
    ----------
    n_clusters : int
    plan : Plan
        Its threads may add rows.
    stats : Stats
        Of all rows that are ever to be added.
    dtype : dtype
        float32 or float64, of the rows.
    sizes : tuple of float, optional
        What `weight_sizes` says of the weights of all rows.
    is_sparse : bool
    n_rows : int, optional
        Most rows that are in the sums at a time.
    """
    grid = Grid(stats.largest, stats.least, dtype, weights=(1.0, 1.0) if sizes is None else sizes)
    return Sums(
        grid, n_clusters, isa=plan.isa, n_threads=plan.n_threads, is_sparse=is_sparse,
        center_threads=worth_threads(plan.n_threads, n_clusters * len(stats.largest), "centers"),
        own_bytes=OWN_SUMS_BYTES, weights=sizes, n_rows=n_rows,
    )  # fmt: skip


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
    centers = as_centers(centers)
    run = Pass(rows, centers.shape[0], plan, labels=labels)
    run.assign(centers)
    return run.labels


def assign_inertia(rows: Rows, centers, weights, plan: Plan) -> tuple[np.ndarray, float]:
    """Exact labels, and the weighted sum of squared distances to the closest centre."""
    centers = as_centers(centers)
    run = Pass(rows, centers.shape[0], plan, weights=weights)
    return run.labels, run.assign_and_measure(centers)

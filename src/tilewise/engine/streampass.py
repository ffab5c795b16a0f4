"""Passes over streamed rows: the numbers of passes over the same rows in memory, bit for bit."""

from contextlib import nullcontext

import numpy as np

from tilewise.kernels import _exact, _seeding, _stream
from tilewise.plan import Plan, exact_shard_rows

from .passes import Pass, farthest_first, one_blas_thread
from .ranges import overflow
from .stats import Stats
from .stream import StreamRows

__all__ = ["StreamPass", "StreamSeeding", "open_pass", "open_seeding", "stream_stats"]

# Multiply-adds between two looks for Ctrl-C, per thread: about a quarter of a second.
_UNINTERRUPTED = 2**34


class StreamPass(Pass):
    """Like `Pass`, for `StreamRows`.

    Rows are assigned a piece at a time by all threads. Sums are then made of the part, every
    thread for some of the clusters: in the order of rows within each shard, and shard after
    shard, as in memory, however parts and shards overlap.
    """

    def __init__(self, rows: StreamRows, n_clusters: int, plan: Plan, **options):
        super().__init__(rows, n_clusters, plan, **options)
        if self._update:
            self._shard = _stream.ShardSums(
                n_clusters, rows.n_features, isa=plan.isa, n_threads=plan.n_threads
            )
            self._before = np.empty(rows.buffer_rows, dtype=np.int32)
        self._gaps = np.empty(rows.buffer_rows)

    def _make_kernel(self):
        p, rows = self.plan, self.rows
        work = max(1, rows.piece_rows * rows.n_features * self._k)
        self._pieces = p.n_threads * max(4, _UNINTERRUPTED // work)
        return self._kernel_of(
            rows.window, shard_rows=rows.piece_rows, slots=self._pieces, update=False
        )

    def _run_shards(self, moves, update):
        self._opened = 0
        self._running = -1
        tighten = self._tightens(moves)
        for first, last in self.rows.parts(self._open_pieces(moves)):
            if update:
                self._before[: last - first] = self.labels[first:last]
            self._assign(first, last, moves, tighten)
            if update:
                self._add(first, last, update)
        if update and self._running >= 0:
            self._shard.merge(self._sums, self.weight_sums, self.members)
        self._judge_tightening(tighten)

    def _open_pieces(self, moves):
        """Pieces with rows that the bounds leave open; None for all."""
        rows = self.rows
        if moves is None or not rows.can_skip:
            return None
        upper, lower = self._bounds
        wanted, pieces, left_out = [], 0, 0
        for first, last in rows.pieces():
            if _stream.settled(first, last, self.labels, upper, lower, moves, isa=self.plan.isa):
                pieces += 1
                left_out += last - first
            else:
                wanted.append((first, last))
        rows.skipped(pieces, left_out)
        return wanted

    def _assign(self, first, last, moves=None, tighten=False):
        upper, lower = self._bounds
        size = self.rows.piece_rows
        at, stop = first // size, -(-last // size)
        # The interpreter looks for Ctrl-C between two calls.
        while at < stop:
            count, *counts, bad = self._kernel.run(
                at, self.labels, upper=upper, lower=lower, moves=moves, tighten=tighten,
                most=stop - at,
            )  # fmt: skip
            if bad >= 0:
                self.rows.raise_nonfinite(bad)
                raise overflow(np.array(self.rows.window.source), self._assigning, bad)
            self._count(counts)
            at += count

    def _add(self, first, last, update):
        size = self.plan.shard_rows
        at = first
        while at < last:
            shard = at // size
            stop = min(last, (shard + 1) * size)
            if shard != self._running:
                if self._running >= 0:
                    self._shard.merge(self._sums, self.weight_sums, self.members)
                self._running = shard
            self._shard.add(
                self.rows.window, at, stop, self._before[at - first :], self.labels,
                self._weights, self._shift, update,
            )  # fmt: skip
            at = stop

    def conclude(self, centers, assign=True) -> float:
        """Labels for final centres, if asked for, and their inertia, in one reading."""
        padded = _exact.padded(centers)
        totals = _ShardTotals(self.rows, self._weights)
        if assign:
            self._kernel.set_centers(centers)
            self._assigning = centers
        with one_blas_thread if self.plan.engine == "blas" and assign else nullcontext():
            for first, last in self.rows.parts():
                if assign:
                    self._assign(first, last)
                totals.add(first, last, self._measure(padded, first, last))
        if assign:
            self._centers = centers.copy()
        return totals.sum()

    def inertia(self, centers) -> float:
        """Weighted sum of squared distances to the labelled centres."""
        return self.conclude(centers, assign=False)

    def said(self, centers) -> str:
        """What to print of the last pass; the inertia would take another."""
        rows = self.rows.report
        return f"{self.changed} labels changed, {rows.rows_per_second:.0f} rows per second"

    def farthest(self, centers, count) -> np.ndarray:
        """The rows farthest from their centres; none if all lie on them."""
        padded = _exact.padded(centers)
        gaps, ids = np.empty(0), np.empty(0, dtype=np.int64)
        for first, last in self.rows.parts():
            found = self._measure(padded, first, last)
            gaps = np.concatenate([gaps, found])
            ids = np.concatenate([ids, np.arange(first, last)])
            keep = farthest_first(gaps, ids, count)
            gaps, ids = gaps[keep], ids[keep]
        return ids if gaps.size and gaps[0] > 0.0 else ids[:0]

    def _measure(self, padded, first, last):
        out = self._gaps[: last - first]
        _stream.own_gaps(
            self.rows.window, first, last, padded, self.labels, out, isa=self.plan.isa,
            n_threads=self.plan.n_threads,
        )  # fmt: skip
        return out


class _ShardTotals:
    """A sum over rows, by shards, in the order of rows."""

    def __init__(self, rows, weights):
        self._size = exact_shard_rows(rows.n_rows, rows.n_features)
        self._totals = [0.0] * -(-rows.n_rows // self._size)
        self._weights = weights

    def add(self, first, last, values):
        at = first
        while at < last:
            shard = at // self._size
            stop = min(last, (shard + 1) * self._size)
            self._totals[shard] = _stream.add_in_order(
                self._totals[shard],
                values[at - first : stop - first],
                None if self._weights is None else self._weights[at:stop],
            )
            at = stop

    def sum(self):
        total = 0.0
        for value in self._totals:
            total += value
        return total


class StreamSeeding:
    """What k-means++ asks of rows, for `StreamRows`; one reading for each `gains` and `take`."""

    by_entries = False

    def __init__(self, rows: StreamRows, weights, plan: Plan, n_threads: int):
        self._rows = rows
        self._state = _seeding.Seeding(
            rows.window, weights, isa=plan.isa, n_threads=n_threads,
            shard_rows=exact_shard_rows(rows.n_rows, rows.n_features),
        )  # fmt: skip
        self.locate = self._state.locate

    def gains(self, points, nearest):
        """How much each candidate would lower the potential."""
        rows, state = self._rows, self._state
        n_shards = -(-rows.n_rows // exact_shard_rows(rows.n_rows, rows.n_features))
        out = np.zeros((n_shards, len(points)))
        open_pieces = [piece for piece in rows.pieces() if state.near(nearest, *piece)]
        self._skip(open_pieces)
        for first, last in rows.parts(open_pieces):
            state.gains(points, nearest, first, last, out)
        total = np.zeros(len(points))
        for gained in out:
            total += gained
        return total

    def take(self, points, trial, seed):
        """Make a candidate a seed; returns the new potential."""
        rows, state = self._rows, self._state
        pieces = [piece for piece in rows.pieces() if state.gained(trial, *piece)]
        self._skip(pieces)
        done, total = 0, 0.0
        for first, last in rows.parts(pieces):
            if first > done:
                state.take(points, trial, seed, done, first)
            total = state.take(points, trial, seed, first, last)
            done = last
        if done < rows.n_rows:
            total = state.take(points, trial, seed, done, rows.n_rows)
        return total

    def _skip(self, pieces):
        rows = self._rows
        if rows.can_skip:
            read = sum(last - first for first, last in pieces)
            rows.skipped(-(-rows.n_rows // rows.piece_rows) - len(pieces), rows.n_rows - read)


def stream_stats(rows: StreamRows, plan: Plan, indices=None) -> tuple[Stats, np.ndarray | None]:
    """Moments of the columns, and the rows by index, in one reading."""
    size = exact_shard_rows(rows.n_rows, rows.n_features)
    moments = _stream.PartMoments(
        rows.n_rows, rows.n_features, shard_rows=size, isa=plan.isa, n_threads=plan.n_threads
    )
    out = order = None
    if indices is not None:
        out = np.empty((len(indices), rows.n_features), dtype=rows.dtype)
        order = np.argsort(indices, kind="stable")
    for first, last in rows.parts():
        moments.add(rows.window, first, last)
        shards = slice(first // size, (last - 1) // size + 1)
        if not np.isfinite(moments.shards[:2, shards]).all():
            # Finite values near the end of the range overflow here too; only the search tells.
            rows.raise_nonfinite()
        if out is not None:
            rows.gather(indices, order, first, last, out)
    mean, squares, largest = _exact.merged_moments(
        moments.shards, rows.n_rows, rows.n_features, size
    )
    return Stats(mean, squares / max(1, rows.n_rows), largest), out


def open_pass(rows, n_clusters: int, plan: Plan, **options) -> Pass:
    """The pass for these rows: `Pass` for `Rows`, `StreamPass` for `StreamRows`."""
    kind = StreamPass if isinstance(rows, StreamRows) else Pass
    return kind(rows, n_clusters, plan, **options)


def open_seeding(rows, weights, plan: Plan, n_threads: int):
    """What k-means++ asks of these rows."""
    if isinstance(rows, StreamRows):
        return StreamSeeding(rows, weights, plan, n_threads)
    return _seeding.Seeding(
        rows, weights, isa=plan.isa, n_threads=n_threads,
        shard_rows=exact_shard_rows(rows.n_rows, rows.n_features),
    )  # fmt: skip

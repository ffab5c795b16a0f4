"""Passes over the parts of a cluster, as the loops of `algorithms` call them."""

import math
import time

import numpy as np

from tilewise import engine

from . import _part, _pieces, _wire
from ._collect import joined
from ._rows import near

__all__ = ["ClusterLabels", "ClusterPass", "column_stats"]

# Centres of up to so many bytes are part of every step: one hop less, and messages stay small.
_INLINE_BYTES = 2**14
# ... of so many together, which the client and the scheduler handle in every pass.
_INLINE_IN_ALL = 2**20


class ClusterLabels:
    """Labels on the workers, piece by piece."""

    def __init__(self, rows, pieces, concluded, found):
        self.rows, self._pieces, self._concluded, self.found = rows, pieces, concluded, found

    def same_partition(self, other, n_clusters) -> bool:
        """Whether these labels and those of another run differ by the names of the clusters."""
        names = self.rows.gather(
            [
                self.rows.submit(_part.renaming, one, two, n_clusters)
                for one, two in zip(self._concluded, other.on(self._pieces), strict=True)
            ]
        )
        if any(own is None for own in names):
            return False
        together = np.max(names, axis=0)
        agree = all(((own < 0) | (own == together)).all() for own in names)
        used = together[together >= 0]
        return bool(agree and len(np.unique(used)) == len(used))

    def on(self, pieces):
        """The labels of these parts, cut as others are."""
        if pieces == self._pieces:
            return self._concluded
        own = self.by_piece()
        return [self.rows.submit(_part.put_together, *(own[i] for i in part)) for part in pieces]

    def by_piece(self):
        """For each partition a future of its labels; None where it has no rows."""
        found = [None] * len(self.rows.sizes)
        for pieces, concluded in zip(self._pieces, self._concluded, strict=True):
            for position, i in enumerate(pieces):
                found[i] = self.rows.submit(_part.part_of_labels, concluded, position)
        return found

    def dask_array(self):
        """Labels as a dask array that stays on the workers, with the partitions of X."""
        from dask import delayed

        none = delayed(np.empty(0, dtype=np.int32))
        blocks = [none if own is None else delayed(own) for own in self.by_piece()]
        return joined(blocks, self.rows.sizes, (), np.int32)


class ClusterPass:
    """Rows on workers against one set of centres after another; see `AssignmentPass`.

    A part answers with the sums of its clusters, which are whole numbers: they add up to the same
    bits, however the rows are divided.
    """

    def __init__(
        self, rows, n_clusters, plan, *, sums=False, bounds=False, weights=None, stats=None
    ):
        self._rows, self._weights = rows, weights
        if sums and stats is None:
            stats = column_stats(rows, plan)
        sizes = None if weights is None else weights.sizes
        self._job = rows.job(n_clusters, bounds=bounds, stats=stats, weight_sizes=sizes)
        self._sent_job = rows.hand_out(self._job, rows.parts(weights), "job")
        self._plan = plan
        self._sums = _wire.open_sums(self._job, plan) if sums else None
        self._centers = self._sent = self._before = None
        self._number = -1
        self._far = {}
        self.changed = 0
        self.labels = None

    hold, blank = staticmethod(engine.Pass.hold), staticmethod(engine.Pass.blank)

    # ------------------------------------------------------------ passes

    def assign_and_sum(self, centers) -> int:
        """Assign every row to its closest centre and sum the rows of each cluster."""
        rows, begin = self._rows, time.perf_counter()
        self._number += 1
        parts = rows.parts(self._weights)
        self._before, self._sent = self._sent, self._send_centers(centers, parts)
        self._centers = centers
        answers = rows.merged(
            [
                rows.submit(
                    _part.step, part.future, *self._at(part), self._number, worker=part.worker
                )
                for part in parts
            ],
            parts,
            _part.merge_steps,
            lambda part: near(self._sent_job, part),
        )
        self._sums.clear()
        self.changed, computing, up, restored = 0, 0.0, 0, 0
        for answer in rows.gather(answers):
            self.changed += answer.changed
            _wire.taken(self._sums, answer.sums)
            computing = max(computing, answer.seconds)
            up += answer.sent
            restored += answer.restored
        report = rows.report
        report.rows, report.parts = rows.n_rows, len(parts)
        report.workers = len({part.worker for part in parts})
        report.seconds.append(time.perf_counter() - begin)
        report.seconds_computing.append(computing)
        report.bytes_down += centers.nbytes * len(parts)
        report.bytes_up += up
        report.restored += restored
        return self.changed

    def assign(self, centers) -> int:
        """Assign every row to its closest centre."""
        self.assign_and_measure(centers)
        return self._rows.n_rows

    def assign_and_measure(self, centers) -> float:
        """Labels of the last centres, which stay on the workers; returns the inertia."""
        rows = self._rows
        parts = rows.parts(self._weights)
        sent = self._send_centers(centers, parts)
        concluded = [
            rows.submit(
                _part.conclude, part.future, near(self._sent_job, part), near(sent, part),
                worker=part.worker,
            )
            for part in parts
        ]  # fmt: skip
        found = rows.gather([rows.submit(_part.measured, one) for one in concluded])
        total = engine.Bins(self._plan.isa)
        for state, _ in found:
            total.merge_state(state)
        met = np.logical_or.reduce([own for _, own in found])
        self.labels = ClusterLabels(rows, [part.pieces for part in parts], concluded, met)
        return total.value

    def inertia(self, centers) -> float:
        """Weighted sum of the squared distances to the closest centres."""
        return self.assign_and_measure(centers)

    def _send_centers(self, centers, parts):
        """Centres for each worker: small ones, which go into the tasks themselves, or futures."""
        own = np.array(centers)
        if own.nbytes <= _INLINE_BYTES and own.nbytes * len(parts) <= _INLINE_IN_ALL:
            return {None: own}
        return self._rows.hand_out(own, parts, "centres")

    def _at(self, part):
        """The job, the centres before and the centres: the copies that are next to a part."""
        return [near(sent, part) for sent in (self._sent_job, self._before, self._sent)]

    # ------------------------------------------------------------ averages

    @property
    def weights(self):
        """Weight of each cluster in the sums, (k,) float64."""
        return self._sums.weights

    def average(self, out, relocated=None):
        """Write the means of the clusters; returns the sum of their squared shifts."""
        moves = []
        for row, cluster in relocated or ():
            label, weight, values = self._far[row]
            moves.append((engine.Rows(values), label, cluster, weight))
        for view, old, new, weight in moves:
            self._sums.move(view, 0, old, new, weight)
        squares = self._sums.average(self._centers, out, fill=relocated is not None)
        return None if squares is None else math.fsum(squares)

    def farthest(self, centers, count):
        """The rows farthest from their centres, the farthest first; none if all lie on them."""
        rows = self._rows
        parts = rows.parts(self._weights)
        answers = [
            rows.submit(
                _part.farthest, part.future, *self._at(part), self._number, count,
                worker=part.worker,
            )
            for part in parts
        ]  # fmt: skip
        answers = rows.merged(answers, parts, _part.merge_farthest, lambda part: count)
        found = _part.merge_farthest(count, *rows.gather(answers))
        gaps, ids, labels, weights, values = found
        self._far = {
            int(row): (int(labels[i]), float(weights[i]), values[i : i + 1])
            for i, row in enumerate(ids)
        }
        return ids if ids.size and gaps[0] > 0.0 else ids[:0]

    def progress(self, centers) -> str:
        """What to print of the last pass."""
        report = self._rows.report
        rate = report.rows / report.seconds[-1] if report.seconds else 0.0
        return f"{self.changed} labels changed, {rate:.0f} rows per second"

    def forget(self):
        """The averages are sent anew in every pass."""

    #: Parts keep their passes.
    renewable = False

    def close_sums(self):
        """Nothing is averaged any more."""
        self._sums = None


def column_stats(rows, plan) -> engine.Stats:
    """Exact moments of the columns; raises for the first value that is not finite."""
    total = engine.Moments(rows.n_features, isa=plan.isa, n_threads=1)
    found = rows.ask(_part.moments, rows.job(1))
    bad = [own for own in found if isinstance(own, _pieces.BadValue)]
    if bad:
        raise rows.bad_value(min(bad, key=lambda error: error.row))
    for sums, sizes in found:
        total.merge(sums, sizes)
    return engine.Stats(*total.means(rows.n_rows), total.largest, total.least)

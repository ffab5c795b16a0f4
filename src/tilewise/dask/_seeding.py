"""Exact k-means++ over all rows of a cluster, in three rounds of tasks for each seed."""

import uuid

import numpy as np

from tilewise import engine

from . import _part

__all__ = ["ClusterSeeding"]

# Seeds that travel together as the result of a task: who has lost its distances takes them all.
_TOGETHER = 64


class ClusterSeeding:
    """Closest seed of every row while seeds are added; see `SeedingPass`.

    Each part keeps the distances of its rows, piece by piece, and how many seeds they are to. Where
    a part has moved, they follow from the seeds.

    Parameters
    ----------
    rows : ClusterRows
    weights : ClusterWeights or None
    plan : Plan
    """

    def __init__(self, rows, weights, plan):
        self._rows, self._weights, self._isa = rows, weights, plan.isa
        self._job = {
            "id": uuid.uuid4().hex, "n_clusters": 1, "n_features": rows.n_features,
            "dtype": rows.compute_dtype.name, "exponent": rows.exponent, "wishes": rows.wishes,
            "weight_exponent": engine.weight_exponent(1.0 if weights is None else weights.sizes[0]),
        }  # fmt: skip
        self._sent_job = rows.submit(_part.same, self._job, name="job")
        self._groups = []  # of seeds, as results of tasks
        self._recent = np.empty((0, rows.n_features))
        self._candidates = self._shown = None
        self._round = 0
        self._top, self._most, self._totals = 0, 0.0, {}

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights."""
        rows = self._rows
        weights = None if self._weights is None else self._weights.array()
        return engine.first_row(rows, weights, random_state)

    def locate(self, target: float) -> int:
        """First row at which the running sum of weight x squared distance reaches the target."""
        pieces = sorted(self._totals)
        at, before = engine.locate_among(
            [self._totals[i] for i in pieces], target, self._top, isa=self._isa
        )
        piece = pieces[at]
        part = next(part for part in self._parts() if piece in part.pieces)
        found = self._submit(_part.locate_seed, part, part.pieces.index(piece), target, before)
        return int(self._rows.starts[piece]) + self._rows.gather([found])[0]

    def gains(self, candidates) -> np.ndarray:
        """How much each row would lower the potential as a seed, (t,) float64."""
        self._candidates, values = np.asarray(candidates), self._rows.take(candidates)
        self._shown, step, found = [], engine.most_trials, []
        for at in range(0, len(values), step):
            group = np.asarray(values[at : at + step], dtype=np.float64)
            self._round += 1
            self._shown.append((self._round, group))
            own = self._ask(_part.seed_gains, group, self._most, self._round)
            found.append(engine.total_gains(np.sum(own, axis=0), self._most))
        return np.concatenate(found)

    def take(self, candidate: int) -> float:
        """Make a candidate of the last `gains`, or the first row, a seed; returns the potential."""
        rows = self._rows
        if self._shown is None:
            number, trial = 0, 0
            group = np.asarray(rows.take([candidate]), dtype=np.float64)
        else:
            at, trial = divmod(
                int(np.flatnonzero(self._candidates == candidate)[0]), engine.most_trials
            )
            number, group = self._shown[at]
        self._recent = np.concatenate([self._recent, group[trial : trial + 1]])
        found = self._ask(_part.seed_totals, group, trial, number, self._top)
        self._most = max(most for own in found for most, _ in own)
        if self._top == 0:
            self._top = engine.potential_bin(self._most, rows.n_rows, rows.n_features)
            found = self._ask(_part.seed_totals, group, trial, number, self._top)
        total = engine.Bins(self._isa)
        self._totals = {}
        for part, own in zip(self._parts(), found, strict=True):
            for piece, (_, state) in zip(part.pieces, own, strict=True):
                self._totals[piece] = state
                total.merge_state(state)
        if len(self._recent) == _TOGETHER:
            self._groups.append(rows.submit(_part.same, self._recent, name="seeds"))
            self._recent = self._recent[:0]
        return total.value

    def _parts(self):
        return self._rows.parts(self._weights)

    def _submit(self, function, part, *args):
        return self._rows.submit(
            function, part.future, self._sent_job, self._recent, self._groups, *args,
            worker=part.worker,
        )  # fmt: skip

    def _ask(self, function, *args):
        return self._rows.gather([self._submit(function, part, *args) for part in self._parts()])

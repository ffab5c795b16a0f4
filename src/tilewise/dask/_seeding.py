"""Starts from all rows of a cluster: k-means++, three rounds of tasks for each seed; k-means||."""

import numpy as np

from tilewise import engine
from tilewise.engine.oversampling import weights_of

from . import _part, _pieces
from ._rows import near

__all__ = ["ClusterOversampling", "ClusterSeeding"]

# Seeds that travel together as the result of a task: who has lost its distances takes them all.
_TOGETHER = 64


class _Start:
    """What both ways to choose a start share: a job that all parts know, and tasks over parts."""

    def __init__(self, rows, weights, plan):
        self._rows, self._weights, self._isa = rows, weights, plan.isa
        most = 1.0 if weights is None else weights.sizes[0]
        job = rows.job(1, weight_exponent=engine.weight_exponent(most))
        self._job = rows.hand_out(job, self._parts(), "job")
        self._groups = []

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights, which come to this process for that."""
        own = None if self._weights is None else self._weights.array()
        return engine.first_row(self._rows, own, random_state)

    def _parts(self):
        return self._rows.parts(self._weights)

    def _submit(self, function, part, *args):
        return self._rows.submit(
            function, part.future, near(self._job, part), *self._taken(part), *args,
            worker=part.worker,
        )  # fmt: skip

    def _ask(self, function, *args, parts=None):
        parts = self._parts() if parts is None else parts
        return self._rows.gather([self._submit(function, part, *args) for part in parts])


class ClusterSeeding(_Start):
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
        super().__init__(rows, weights, plan)
        self._recent = np.empty((0, rows.n_features))
        self._candidates = self._shown = None
        self._known = {}  # rows by their numbers
        self._round = 0
        self._top, self._most, self._totals = 0, 0.0, {}

    def at_once(self, n_trials: int) -> bool:
        """The rows are in many places."""
        return False

    def locate(self, targets) -> np.ndarray:
        """First rows at which the running sum of weight x squared distance reaches the targets."""
        pieces = sorted(self._totals)
        totals = [self._totals[i] for i in pieces]
        parts = {i: part for part in self._parts() for i in part.pieces}
        places, asked = [], []
        for target in targets:
            at, before = engine.locate_among(totals, target, self._top, isa=self._isa)
            piece, part = pieces[at], parts[pieces[at]]
            places.append(int(self._rows.starts[piece]))
            position = part.pieces.index(piece)
            asked.append(self._submit(_part.locate_seed, part, position, target, before, self._top))
        found = self._rows.gather(asked)
        ids = [first + row for first, (row, _) in zip(places, found, strict=True)]
        # The next round needs their values.
        self._known = dict(zip(ids, (values for _, values in found), strict=True))
        return np.array(ids, dtype=np.int64)

    def gains(self, candidates) -> np.ndarray:
        """How much each row would lower the potential as a seed, (t,) float64."""
        self._candidates = np.asarray(candidates)
        if all(int(row) in self._known for row in candidates):
            values = np.concatenate([self._known[int(row)] for row in candidates])
        else:
            values = self._rows.take(candidates)
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
        parts = self._parts()
        found = self._ask(_part.seed_totals, group, trial, number, self._top, parts=parts)
        self._most = max(most for own in found for most, _ in own)
        if self._top == 0:
            self._top = engine.potential_bin(self._most, rows.n_rows, rows.n_features)
            found = self._ask(_part.seed_totals, group, trial, number, self._top, parts=parts)
        total = engine.Bins(self._isa)
        self._totals = {}
        for part, own in zip(parts, found, strict=True):
            for piece, (_, state) in zip(part.pieces, own, strict=True):
                self._totals[piece] = state
                total.merge_state(state)
        if len(self._recent) == _TOGETHER:
            self._groups.append(rows.submit(_pieces.same, self._recent, name="seeds"))
            self._recent = self._recent[:0]
        return total.value

    def _taken(self, part):
        return self._recent, self._groups


class ClusterOversampling(_Start):
    """Closest candidate of every row while more are taken in; see `OversamplingPass`.

    Parameters
    ----------
    rows : ClusterRows
    weights : ClusterWeights or None
    plan : Plan
    """

    def spread(self, points) -> float:
        """Take in more candidates; returns the sum of weight x squared distance to the closest."""
        points = np.asarray(points, dtype=np.float64)
        self._groups.append(self._rows.hand_out(points, self._parts(), "candidates"))
        total = engine.Bins(self._isa)
        for state in self._ask(_part.spread_total):
            total.merge_state(state)
        return total.value

    def draw(self, key: int, share: float) -> np.ndarray:
        """Numbers of the rows that are drawn, ascending."""
        return np.sort(np.concatenate(self._ask(_part.spread_draw, key, share)))

    def counts(self, n_candidates: int) -> np.ndarray:
        """Weight of the rows closest to each candidate, (n_candidates,) float64."""
        parts = self._parts()
        answers = [self._submit(_part.spread_digits, part, n_candidates) for part in parts]
        answers = self._rows.merged(answers, parts, _part.added, lambda part: 0)
        return weights_of(np.sum(self._rows.gather(answers), axis=0))

    def _taken(self, part):
        return ([near(group, part) for group in self._groups],)

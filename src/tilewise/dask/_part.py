"""What runs on the workers: passes over the rows of one of them.

Every function here may be run again, on any worker, with the same answer. What a `Part` keeps of
a pass is a cache with a number; where the number is not the one that a step goes on from, labels
and sums are made again from the centres before.
"""

import threading
import time
from typing import NamedTuple

import numpy as np

from tilewise import engine
from tilewise.plan import plan as plan_of_shape

from . import _wire
from ._pieces import BadValue, PieceRows, counted, kind_of, rows_of, scaled
from ._report import ROW_BYTES

__all__ = [
    "Answer", "Part", "added", "apply", "conclude", "extent", "farthest", "locate_seed",
    "make_part", "measured", "merge_farthest", "merge_steps", "moments", "part_of_labels",
    "put_together", "renaming", "seed_gains", "seed_totals", "spread_digits", "spread_draw",
    "spread_total", "step",
]  # fmt: skip

# Rows that are looked through at a time.
_LOOK_ROWS = 2**15


class Part:
    """The rows that one worker works on, and what it keeps of the last pass over them.

    Parameters
    ----------
    pieces : list of ndarray of shape (n, d)
    firsts : list of int
        Number of the first row of each piece among all rows.
    weights : ndarray of shape (n,), float64, or None
    """

    def __init__(self, pieces, firsts, weights):
        self.pieces, self.firsts, self.weights = pieces, firsts, weights
        # The pieces are results of tasks, too, and counted there.
        self._owned = 0
        self._forget()

    def _forget(self):
        self.lock = threading.Lock()
        self._forget_passes()
        self.number, self.changed, self.restored = -1, 0, 0

    def _forget_passes(self):
        self.job = self.run = self.seeded = self.spreads = self.total = None
        self.round = -1

    @property
    def n_rows(self):
        """Rows of all pieces."""
        return sum(map(len, self.pieces))

    def rows(self, exponent=0):
        """The rows as passes take them."""
        return PieceRows(self.pieces, self.firsts, exponent)

    def plan(self, job):
        """The plan of passes over these rows, on this machine."""
        return plan_of_shape(
            self.n_rows, job["n_features"], job["n_clusters"], job["dtype"], groups=False,
            **job["wishes"],
        )  # fmt: skip

    def __getstate__(self):
        # Moved or spilled without the cache.
        return self.pieces, self.firsts, self.weights

    def __setstate__(self, state):
        self.pieces, self.firsts, self.weights = state
        self._owned = sum(piece.nbytes for piece in self.pieces)
        self._forget()

    def __sizeof__(self):
        return 1024 + self._owned + (ROW_BYTES + 8 * (self.weights is not None)) * self.n_rows

    def advance(self, job, previous, centers, number):
        """Bring labels and sums to where pass `number` leaves them."""
        if self.job != job["id"] or self.run is None:
            self._forget_passes()
            plan = self.plan(job)
            self.run = engine.Pass(
                self.rows(job["exponent"]), job["n_clusters"], plan, bounds=job["bounds"],
                weights=self.weights, sums=_wire.open_sums(job, plan),
            )  # fmt: skip
            self.job, self.number = job["id"], -1
        if self.number == number:
            return
        run, self.restored = self.run, 0
        try:
            if self.number != number - 1 or number == 0:
                run.restart()
                if number > 0:
                    self.restored = 1
                    run.assign_and_sum(previous)
            self.changed = run.assign_and_sum(centers)
        except BaseException:
            self.run = None
            raise
        self.number = number

    def seeding(self, job, recent, groups):
        """What k-means++ keeps of each piece, with these seeds taken."""
        seeds = np.concatenate([*groups, recent])
        if self.job != job["id"] or self.seeded is None:
            self._forget_passes()
            self.job, self.round, plan = job["id"], -1, self.plan(job)
            weights = engine.scaled_weights(self.weights, job["weight_exponent"])
            self.seeded = [
                engine.PartSeeding(rows_of(piece, job["exponent"]), own, plan)
                for piece, own in zip(self.pieces, self.cut(weights), strict=True)
            ]
        for state in self.seeded:
            for seed in seeds[state.n_seeds :]:
                state.take(seed[None], 0, seen=False)
        return self.seeded

    def spread(self, job, groups):
        """What k-means|| keeps of each piece, with these candidates taken in."""
        if self.job != job["id"] or self.spreads is None:
            self._forget_passes()
            self.job, self.round, plan = job["id"], 0, self.plan(job)
            self.spreads = [
                engine.OversamplingPass(
                    rows_of(piece, job["exponent"]), own, plan, first=first,
                    exponent=job["weight_exponent"],
                )
                for piece, own, first in zip(
                    self.pieces, self.cut(self.weights), self.firsts, strict=True
                )
            ]  # fmt: skip
        for points in groups[self.round :]:
            total = engine.Bins(self.plan(job).isa)
            for state in self.spreads:
                total.merge(state.add(points))
            self.total = total.state
            self.round += 1
        return self.spreads

    def cut(self, values):
        """Labels or weights of the rows of each piece, if there are any."""
        if values is None:
            return [None] * len(self.pieces)
        return np.split(values, np.cumsum([len(piece) for piece in self.pieces])[:-1])


def make_part(firsts, weighted, *held):
    """Put the pieces of one worker together; their weights come behind them."""
    pieces, weights = held[: len(firsts)], held[len(firsts) :]
    together = np.concatenate(weights) if weighted else None
    return Part([piece.values for piece in pieces], firsts, together)


# ---------------------------------------------------------------- passes


class Answer(NamedTuple):
    """What a step over one part, or over several, has to say; `sent`: bytes of the parts' sums."""

    changed: int
    sums: dict
    seconds: float
    restored: int
    sent: int


def step(part, job, previous, centers, number):
    """Pass `number` over one part: labels that changed, and the sums of its clusters."""
    begin = time.perf_counter()
    with part.lock:
        part.advance(job, previous, centers, number)
        sums = _wire.pack(part.run.sums, job["n_features"])
        sent = sum(array.nbytes for array in sums.values())
        return Answer(part.changed, sums, time.perf_counter() - begin, part.restored, sent)


def merge_steps(job, *answers):
    """Answers of several parts as one."""
    plan = plan_of_shape(1, job["n_features"], job["n_clusters"], job["dtype"], n_threads=1)
    return Answer(
        sum(answer.changed for answer in answers),
        _wire.merged(job, plan, [answer.sums for answer in answers]),
        max(answer.seconds for answer in answers),
        sum(answer.restored for answer in answers),
        sum(answer.sent for answer in answers),
    )


class Concluded(NamedTuple):
    """Labels of final centres, piece by piece, and what they measure."""

    labels: list
    inertia: bytes
    found: np.ndarray


def conclude(part, job, centers):
    """Labels of all rows for the last centres, and their part of the inertia."""
    with part.lock:
        run, part.run = part.run, None
        if run is None or part.job != job["id"]:
            rows = part.rows(job["exponent"])
            run = engine.Pass(rows, job["n_clusters"], part.plan(job), weights=part.weights)
        run.close_sums()
        total = run.assign_and_total(centers)
    found = np.zeros(job["n_clusters"], dtype=bool)
    found[run.labels] = True
    return Concluded([own.copy() for own in part.cut(run.labels)], total.state, found)


def measured(concluded):
    """Inertia and clusters, without the labels."""
    return concluded.inertia, concluded.found


def part_of_labels(concluded, position):
    """The labels of one piece."""
    return concluded.labels[position]


def put_together(*labels):
    """Labels of several pieces, as those of one part."""
    return Concluded(list(labels), b"", np.empty(0, dtype=bool))


def renaming(one, other, n_clusters):
    """Which label of the other run each label of one run stands for; None if it has several."""
    names = np.full(n_clusters, -1, dtype=np.int32)
    for a, b in zip(one.labels, other.labels, strict=True):
        names[a] = b
    if all(np.array_equal(names[a], b) for a, b in zip(one.labels, other.labels, strict=True)):
        return names
    return None


def farthest(part, job, previous, centers, number, count):
    """The rows farthest from their centres after pass `number`.

    Returns
    -------
    tuple of ndarray
        Squared distances, numbers of the rows, labels, weights, values.
    """
    with part.lock:
        part.advance(job, previous, centers, number)
        rows = part.run.farthest(centers, count)
        weights = np.ones(len(rows)) if part.weights is None else part.weights[rows]
        values = part.run.rows.take(rows)
        labels = part.run.labels[rows]
    own = engine.Rows(np.asarray(values, dtype=np.float64))
    gaps = np.empty(len(rows))
    engine.own_distances(own, centers, labels, None, part.run.plan, out=gaps)
    return gaps, part.rows().numbers(rows), labels, weights, values


def merge_farthest(count, *answers):
    """The farthest rows of several parts, the farthest first; as `farthest` returns them."""
    together = [np.concatenate(own) for own in zip(*answers, strict=True)]
    keep = engine.farthest_first(together[0], together[1], count)
    return tuple(own[keep] for own in together)


def moments(part, job):
    """Exact moments of the columns of one part, as `Moments.merge` takes them.

    A value that is not finite is returned, not raised: the first one of all parts is wanted.
    """
    try:
        return engine.moments_of(part.rows(job["exponent"]), part.plan(job)).state()
    except BadValue as error:
        return error


# ---------------------------------------------------------------- seeds


def seed_gains(part, job, recent, groups, candidates, most, number):
    """What each candidate would gain in this part, (t, 4): they add up."""
    with part.lock:
        states = part.seeding(job, recent, groups)
        part.round = number
        return np.sum([state.gains(candidates, most) for state in states], axis=0)


def seed_totals(part, job, recent, groups, candidates, trial, number, top):
    """Take the last of `recent`, which is one of the candidates; the potential of each piece."""
    with part.lock:
        states = part.seeding(job, recent[:-1], groups)
        n_seeds = len(recent) + sum(map(len, groups))
        for state in states:
            if state.n_seeds < n_seeds:
                state.take(candidates, trial, seen=part.round == number)
        part.round = -1
        return [state.total(top) for state in states]


def locate_seed(part, job, recent, groups, position, target, before, top):
    """Row of a piece at which the running sum reaches the target, and its values, (1, d)."""
    with part.lock:
        state = part.seeding(job, recent, groups)[position]
        state.total(top)  # where the seeds were taken again nobody has added up
        row = state.locate(target, before)
    return row, scaled(counted(part.pieces[position][row : row + 1]), job["exponent"])


def spread_total(part, job, groups):
    """Sum of weight x distance to the closest candidate, as `Bins` take it."""
    with part.lock:
        part.spread(job, groups)
        return part.total


def spread_draw(part, job, groups, key, share):
    """Numbers of the rows of this part that are drawn, among all rows."""
    with part.lock:
        return np.concatenate([own.draw(key, share) for own in part.spread(job, groups)])


def spread_digits(part, job, groups, count):
    """Weights of the candidates' rows in this part: they add up."""
    with part.lock:
        return np.sum([own.digits(count) for own in part.spread(job, groups)], axis=0)


def extent(part):
    """Least magnitude other than zero, and largest, as an array of what there is."""
    looked = (
        counted(p[at : at + _LOOK_ROWS])
        for p in part.pieces for at in range(0, len(p), _LOOK_ROWS)
    )  # fmt: skip
    found = engine.extent(*looked)
    return np.array([size for size in found if 0.0 < size < np.inf])


def apply(model, method, piece, partition):
    """What a fitted model says of the rows of a partition."""
    if not len(piece.values):
        empty = np.empty((0, *np.shape(model.cluster_centers_)[:1]), dtype=kind_of(piece.values))
        return np.empty(0, dtype=np.int32) if method == "predict" else empty
    try:
        return getattr(model, method)(piece.values)
    except ValueError as error:
        raise ValueError(f"partition {partition}: {error}") from None


def added(start, *answers):
    """The sum of arrays of whole numbers."""
    return start + np.sum(answers, axis=0)

"""What is measured of distances between two sets of rows; the rest is as in `suites.py`.

Every figure comes with a check: distances against direct differences in float64 on a sample,
and neighbours against the nearest by those.
"""

import dataclasses
import sys

import data
import memory
import numpy as np
import timing
from running import errors_into, new_record, prepared
from scipy.spatial.distance import cdist

F4 = ("float32",)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Rows of X and of Y, and what is done with them."""

    n_x: int
    n_y: int
    n_features: int
    task: str = "euclidean"
    n_neighbors: int | None = None
    density: float | None = None
    kind: str = "overlapping blobs"
    dtypes: tuple = ("float32", "float64")

    def shape(self):
        """Return the shape as it is asked for on the command line."""
        return f"{self.n_x}x{self.n_y}x{self.n_features}"

    def resized(self, n_x, n_y, n_features):
        """Return the case in other sizes."""
        return dataclasses.replace(self, n_x=n_x, n_y=n_y, n_features=n_features)

    def smaller(self):
        """Return the case with a tenth of the rows of its longer side, if that is long."""
        if max(self.n_x, self.n_y) <= 10_000:
            return self
        longer = "n_x" if self.n_x >= self.n_y else "n_y"
        return dataclasses.replace(self, **{longer: getattr(self, longer) // 10})

    def rows(self, dtype):
        """Return X and Y."""
        if self.density is None:
            return data.pairs(self.kind, self.n_x, self.n_y, self.n_features, dtype)
        return [
            data.sparse(n_rows, self.n_features, self.density, dtype, seed=seed)
            for seed, n_rows in enumerate((self.n_x, self.n_y))
        ]

    def call(self, peer, X, Y):
        """Return the call of a peer that does the task."""
        more = () if self.n_neighbors is None else (self.n_neighbors,)
        return getattr(peer, self.task)(X, Y, *more)


def _nearest(case, numbers):
    """Yield a case for the nearest row, and one for each number of nearest rows."""
    yield dataclasses.replace(case, task="argmin_min")
    for k in numbers:
        if k <= case.n_y:
            yield dataclasses.replace(case, task="argkmin", n_neighbors=k)


BOTH = (Pairs(20_000, 2_000, 64), Pairs(5_000, 5_000, 16), Pairs(5_000, 5_000, 768))
# One query, and a few centres: the two ends of how work can be shared among threads.
EXTREMES = (Pairs(1, 1_000_000, 64), Pairs(1_000_000, 10, 16))
FAR = Pairs(20_000, 2_000, 64, kind="blobs at 1000", dtypes=F4)

MATRIX = (*BOTH, *EXTREMES, FAR)
MANHATTAN = tuple(dataclasses.replace(case, task="manhattan") for case in BOTH)
NEAREST = tuple(
    row
    for case in (*BOTH, Pairs(50_000, 5_000, 128, dtypes=F4), *EXTREMES, FAR)
    for row in _nearest(case, (1, 10, 100))
)
# About three TFLOP: a minute or more for some.
FULL = (Pairs(200_000, 200_000, 32, "argkmin", 10, dtypes=F4),)
# So few dimensions that a matrix costs what writing it costs.
STORE = tuple(Pairs(20_000, 2_000, d) for d in (1, 2, 3, 4, 8))
CSR = tuple(
    row
    for density in (0.01, 0.001)
    for case in [Pairs(20_000, 2_000, 10_000, density=density, kind="CSR")]
    for row in (case, *_nearest(case, (10,)))
) + (Pairs(20_000, 2_000, 10_000, "manhattan", density=0.001, kind="CSR"),)

# So many rows of X, and distances, are checked.
CHECKED_ROWS, CHECKED_PAIRS = 256, 4096
# Two distances that differ by less are told apart by the order of additions alone.
TIE = 1e-12


def _dense(rows):
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def relative_error(told, truth):
    """Return the largest relative error; a distance of zero allows none."""
    told, truth = np.asarray(told, dtype=np.float64), np.asarray(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(told == truth, 0.0, np.abs(told - truth) / truth)
    return float(np.nan_to_num(errors, nan=np.inf).max())


class MatrixCheck:
    """Compares a sample of a matrix of distances."""

    def __init__(self, case, X, Y):
        rng = np.random.default_rng(3)
        n_x = min(case.n_x, 64)
        n_y = min(case.n_y, CHECKED_PAIRS // n_x)
        x, y = (rng.choice(n, m, replace=False) for n, m in ((case.n_x, n_x), (case.n_y, n_y)))
        self.sample = np.ix_(x, y)
        metric = "cityblock" if case.task == "manhattan" else "euclidean"
        self.squares_possible = metric == "euclidean"
        self.truth = cdist(_dense(X[x]), _dense(Y[y]), metric)

    def __call__(self, matrix, squared):
        """Return what the record of a peer says about its matrix."""
        told = np.asarray(matrix)[self.sample].astype(np.float64)
        if squared and self.squares_possible:
            told = np.sqrt(told)
        return {"checked": told.size, "relative_error": relative_error(told, self.truth)}


class NeighborCheck:
    """Compares the neighbours of a sample of rows of X, and how far away they are said to be."""

    def __init__(self, case, X, Y):
        rng = np.random.default_rng(3)
        self.rows = rng.choice(case.n_x, min(case.n_x, CHECKED_ROWS), replace=False)
        k = case.n_neighbors or 1
        x = _dense(X[self.rows])
        self.all = np.empty((len(x), case.n_y))
        # A part of Y at a time: only the distances must fit, not all rows in float64.
        for start in range(0, case.n_y, 10_000):
            part = slice(start, start + 10_000)
            self.all[:, part] = cdist(x, _dense(Y[part]))
        self.nearest = np.sort(np.partition(self.all, k - 1, axis=1)[:, :k], axis=1)

    def __call__(self, answer, squared):
        """Return what the record of a peer says about its neighbours.

        One is wrong if it is nearer or farther than the true one in its place, ties apart.
        """
        told, indices = (np.asarray(part)[self.rows].reshape(len(self.rows), -1) for part in answer)
        told = np.sqrt(told.astype(np.float64)) if squared else told
        truth = np.take_along_axis(self.all, indices.astype(np.int64), axis=1)
        wrong = np.abs(truth - self.nearest) > TIE * self.nearest
        return {
            "checked": wrong.size,
            "wrong_neighbors": int(wrong.sum()),
            "relative_error": relative_error(told, truth),
        }


def _measured(run, suite, case, dtype, rounds):
    """Return the record of one case: times of all peers in turn, and the checks."""
    X, Y = case.rows(dtype)
    record = new_record(suite, case, dtype, per=case.task)
    taking_part = run.taking_part(case.task, dtype, sparse=case.density is not None)
    calls = prepared(record, taking_part, lambda peer: case.call(peer, X, Y))[0]
    if calls:
        samples, answers = timing.in_turn(calls, run.times(rounds))
        check = (NeighborCheck if case.task.startswith("arg") else MatrixCheck)(case, X, Y)
        for peer in taking_part:
            if peer.name in calls:
                told = check(answers.pop(peer.name), peer.squared)
                record["peers"][peer.name] = timing.summary(samples[peer.name]) | told
    return record


def pairwise(run):
    """Yield the time of whole matrices of euclidean distances."""
    for case, dtype in run.cases(MATRIX, MATRIX[:1]):
        yield _measured(run, "pairwise", case, dtype, 7)


def manhattan(run):
    """Yield the time of whole matrices of manhattan distances."""
    for case, dtype in run.cases(MANHATTAN, MANHATTAN[:1]):
        yield _measured(run, "manhattan", case, dtype, 3)


def knn(run):
    """Yield the time of finding the nearest rows."""
    for case, dtype in run.cases(NEAREST, NEAREST[:4]):
        if (case.n_neighbors or 1) <= case.n_y:
            yield _measured(run, "knn", case, dtype, 5)
    for case, dtype in run.cases(FULL) if run.full else ():
        yield _measured(run, "knn", case, dtype, 3)


def csr(run):
    """Yield the time of matrices and of nearest rows where both sides are CSR matrices."""
    for case, dtype in run.cases(CSR, CSR):
        yield _measured(run, "csr", case, dtype, 3)


def store(run):
    """Yield the time of matrices of few dimensions, written into memory that is there."""
    for case, dtype in run.cases(STORE, STORE[:1]):
        X, Y = case.rows(dtype)
        out = np.ones((case.n_x, case.n_y), dtype=dtype)
        record = new_record("store", case, dtype, per="matrix", bytes=out.nbytes)
        check = MatrixCheck(case, X, Y)
        taking_part = run.taking_part("euclidean_into", dtype)
        told = {}

        def into(peer, X=X, Y=Y, out=out, check=check, told=told):
            call = peer.euclidean_into(X, Y, out)
            call()
            told[peer.name] = check(out, peer.squared)
            return call

        calls = prepared(record, taking_part, into)[0]
        if calls:
            samples, _ = timing.in_turn(calls, run.times(9))
            for name in calls:
                record["peers"][name] = timing.summary(samples[name]) | told[name]
        yield record


PAIR_MEMORY_ROWS = (10_000, 20_000, 40_000)
PAIR_MEMORY = (
    Pairs(PAIR_MEMORY_ROWS[-1], PAIR_MEMORY_ROWS[-1], 16, "argkmin", 10, dtypes=F4),
    Pairs(PAIR_MEMORY_ROWS[-1], PAIR_MEMORY_ROWS[-1], 16, "argmin_min", dtypes=F4),
)


def pair_memory(run):
    """Yield the memory of nearest rows beyond data and answer, in three sizes of n × m."""
    if not memory.CLEAR_REFS.exists():
        print("  pair-memory: left out, this system does not tell peaks", file=sys.stderr)
        return
    rows = [count // 10 if run.quick else count for count in PAIR_MEMORY_ROWS]
    for case, dtype in run.cases(PAIR_MEMORY):
        case = case.resized(rows[-1], rows[-1], case.n_features)
        record = new_record("pair-memory", case, dtype, per=case.task, unit="bytes", n_rows=rows)
        more = () if case.n_neighbors is None else (case.n_neighbors,)
        for peer in run.taking_part(case.task, dtype):
            with errors_into(record, peer.name):
                record["peers"][peer.name] = {
                    "extra_bytes": [
                        memory.extra_bytes(
                            peer.name, case.task, (n, n, case.n_features, *more), dtype
                        )
                        for n in rows
                    ]
                }
        yield record


# In the order in which they are run.
SUITES = {
    "pairwise": pairwise,
    "knn": knn,
    "manhattan": manhattan,
    "store": store,
    "csr": csr,
    "pair-memory": pair_memory,
}

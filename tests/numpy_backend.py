"""A backend in plain NumPy and Python's integers: slow, and meant to be read.

It stands where the CPU's compiled passes stand and gives the same bits. Every distance is the
canonical one, every sum is an exact integer that is rounded once. What it does not know - sparse
rows, wide rows, rows that are read - it declines.
"""

import math
from fractions import Fraction

import numpy as np
from exact_sums import moments
from reference import canonical, folded, roots, split_mix

from tilewise import engine
from tilewise.plan import exact_shard_rows, plan

LIMB, LOWEST, HIGHEST = 50, -1124, 41  # see c/tw_sums.h
ONE = 1 << 1200  # what integers count is 2**-1200
WIDE = 256  # from here on rows of few numbers have another formula


# ---------------------------------------------------------------- exact sums


def cut(values, unit):
    """Values rounded to multiples of 2**unit, ties to even."""
    fine = np.frexp(values)[1] - 53 >= unit
    with np.errstate(all="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(values, -unit)), unit)
    return np.where(fine, values, rounded)


def exact(values, groups=None, n_groups=1):
    """Exact sums of the values of each group, as integers."""
    values = np.asarray(values, dtype=np.float64)
    groups = np.zeros(len(values), dtype=int) if groups is None else groups
    parts, exponents = np.frexp(values)
    digits = np.ldexp(parts, 53).astype(np.int64)
    totals = [0] * n_groups
    for exponent in np.unique(exponents):
        own = exponents == exponent
        for half, up in ((digits >> 26, 26), (digits & (2**26 - 1), 0)):
            sums = np.zeros(n_groups, dtype=np.int64)
            np.add.at(sums, groups[own], half[own])
            for j in np.flatnonzero(sums):
                totals[j] += int(sums[j]) << (int(exponent) - 53 + up + 1200)
    return totals


def rounded(number, divisor=1):
    try:
        return float(Fraction(number) / divisor / ONE)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def exponent_of(value):
    return int(np.frexp(value)[1]) if value else -1074


def bin_of(exponent):
    return max(3, (exponent + 1 - LOWEST + LIMB - 1) // LIMB - 1)


def last_unit(top, limbs=3):
    return LOWEST + LIMB * (top - limbs + 1)


def total(values):
    """The sum of values, each cut to the last unit of their bins, rounded once."""
    if not np.isfinite(values).all():
        return float(np.sum(values))
    top = bin_of(exponent_of(np.abs(values).max(initial=0.0)))
    return rounded(exact(cut(values, last_unit(top)))[0])


def units(stats, dtype, weights):
    """The last unit of each column on the grid of its sums."""
    used = np.ones(1) if weights is None else np.abs(weights[weights != 0.0])
    most, fewest = used.max(initial=0.0), used.min(initial=np.inf)
    single = dtype == np.float32 and most == fewest == 1.0
    digits, narrow = (24, 56) if single else (53, 50)
    tops, limbs = [], []
    for largest, least in zip(stats.largest, stats.least, strict=True):
        tops.append(exponent_of(largest * most))
        limbs.append(1)
        if largest * most > 0.0:
            needed = tops[-1] - max(-1074, exponent_of(least) + exponent_of(fewest) - 1 - digits)
            if needed > narrow:
                limbs[-1] = min(needed, tops[-1] + 1074, LIMB * 40) // LIMB + 1
    found = []
    for column, top in enumerate(tops):
        count = max(limbs[column // 8 * 8 : column // 8 * 8 + 8])
        found.append(max(top, -1074 + LIMB * count) - LIMB * count)
    return found


# ---------------------------------------------------------------- rows


class NumpyRows:
    backend = "numpy"
    is_sparse = False
    report = None

    def __init__(self, given, exponent=0, ids=None):
        self.given, self.exponent, self.ids = given, exponent, ids
        single = given.dtype.kind == "f" and given.dtype.itemsize == 4 and not exponent
        self.compute_dtype = self.result_dtype = np.dtype(np.float32 if single else np.float64)
        self.n_features = given.shape[1]

    @property
    def n_rows(self):
        return len(self.given if self.ids is None else self.ids)

    @property
    def X(self):
        """All rows in float64."""
        chosen = self.given if self.ids is None else self.given[self.ids]
        return np.ldexp(chosen.astype(np.float64), self.exponent)

    def take(self, ids):
        return self.X[np.asarray(ids)].astype(self.compute_dtype)

    def picked(self, ids):
        return NumpyRows(self.given, self.exponent, ids)

    def copied(self, ids):
        return NumpyRows(self.take(ids))

    def scaled(self, exponent):
        return NumpyRows(self.given, exponent, self.ids)

    def values(self, size):
        yield self.X

    def magnitudes(self):
        return np.abs(self.X).max(axis=1, initial=0.0)

    def array(self):
        return self.given.astype(self.result_dtype, copy=False)

    def originals(self, ids):
        return np.asarray(self.given[ids])

    def fingerprint(self):
        return {"values": self.X.tobytes().hex()}

    def raise_nonfinite(self):
        bad = np.argwhere(~np.isfinite(self.X))
        if len(bad):
            row, column = bad[0]
            what = "NaN" if np.isnan(self.X[row, column]) else (
                f"infinity or a value too large for {self.result_dtype!r}"
            )  # fmt: skip
            row = row if self.ids is None else self.ids[row]
            raise ValueError(
                f"Input X contains {what}: the first is at row {row}, column {column}."
            )


# ---------------------------------------------------------------- passes


class NumpyPass:
    hold, blank = staticmethod(engine.Pass.hold), staticmethod(engine.Pass.blank)

    def __init__(self, rows, k, weights=None, stats=None):
        self.rows, self.k, self.given = rows, k, weights
        self.labels = np.full(rows.n_rows, -1, dtype=np.int32)
        self.X = rows.X
        self.w = np.ones(len(self.X)) if weights is None else weights
        self.stats = column_stats(rows) if stats is None else stats

    def assign(self, centers):
        self.rows.raise_nonfinite()
        with np.errstate(over="ignore"):
            squares = canonical(self.X, centers)
        lost = np.flatnonzero(np.isinf(squares).all(axis=1))
        if len(lost):
            raise engine.OutOfRange(f"row {lost[0]}")
        labels = squares.argmin(axis=1)
        changed = int(np.count_nonzero(labels != self.labels))
        self.labels[:] = labels
        self.centers = centers
        return changed

    assign_and_sum = assign

    def assign_and_measure(self, centers):
        self.assign(centers)
        return self.inertia(centers)

    def gaps(self, centers):
        return folded(self.X - centers[self.labels])

    def inertia(self, centers):
        return total(self.gaps(centers) * self.w)

    def progress(self, centers):
        return f"inertia {self.inertia(centers)}"

    def farthest(self, centers, count):
        gaps = self.gaps(centers)
        ids = np.lexsort((np.arange(len(gaps)), -gaps))[:count]
        return ids if gaps[ids[0]] > 0.0 else ids[:0]

    def weights_of(self, labels):
        return np.array([rounded(number) for number in exact(self.w, labels, self.k)])

    @property
    def weights(self):
        return self.weights_of(self.labels)

    def average(self, out, relocated=None):
        labels = self.labels.copy()
        for row, cluster in relocated or ():
            labels[row] = cluster
        weights, old = self.weights_of(labels), self.centers.copy()
        if relocated is None and not (weights > 0).all():
            return None
        squares = np.zeros(self.k)
        for column, unit in enumerate(units(self.stats, self.rows.compute_dtype, self.given)):
            sums = exact(cut(self.X[:, column] * self.w, unit), labels, self.k)
            for j in np.flatnonzero(weights > 0):
                out[j, column] = rounded(sums[j], Fraction(weights[j]))
        heaviest = weights.argmax()
        for j in range(self.k):
            squares[j] = folded(out[j] - old[j])
            if not weights[j] > 0:
                out[j] = out[heaviest] if weights[heaviest] > 0 else 0.0
                squares[j] = np.square(out[j] - old[j]).sum()
        return math.fsum(squares)

    def forget(self):
        pass

    def close_sums(self):
        pass

    renewable = True

    def renew(self):
        self.labels = np.full_like(self.labels, -1)


class NumpySeeding:
    def __init__(self, rows, weights):
        self.rows, self.given = rows, weights
        self.w = np.ones(rows.n_rows) if weights is None else weights
        if weights is not None and not 2.0**-64 <= weights.max() <= 1.0:
            self.w = np.ldexp(weights, -exponent_of(weights.max()))
        self.closest = np.full(rows.n_rows, np.inf)
        self.top = None

    def first(self, random_state):
        n = self.rows.n_rows
        if self.given is None:
            return int(random_state.choice(n, p=np.full(n, 1 / n)))
        weights = self.given.astype(self.rows.result_dtype)
        return int(random_state.choice(n, p=weights / weights.sum()))

    def at_once(self, n_trials):
        return False

    def take(self, candidate):
        X = self.rows.X
        self.closest = np.minimum(self.closest, folded(X - X[candidate]))
        products = self.w * self.closest
        if self.top is None:
            shard = exact_shard_rows(*X.shape)
            room = (-(-len(X) // shard)).bit_length() + shard.bit_length()
            self.top = bin_of(min(1024, exponent_of(products.max()) + room))
        if not np.isfinite(products).all():
            return math.inf
        self.cut = cut(products, last_unit(self.top))
        return rounded(exact(self.cut)[0])

    def locate(self, targets):
        return np.array([self._locate(target) for target in targets])

    def _locate(self, target):
        if not target >= 0.0:
            return 0 if target < 0.0 else self.rows.n_rows - 1
        wanted, reached = exact(cut(np.array([target]), last_unit(self.top)))[0], 0
        for row, product in enumerate(self.cut):
            reached += exact([product])[0]
            if reached >= wanted:
                return row
        return self.rows.n_rows - 1

    def gains(self, candidates):
        X = self.rows.X
        top = min(HIGHEST, bin_of(exponent_of((self.w * self.closest).max())))
        found = []
        for candidate in candidates:
            gap = folded(X - X[candidate])
            gain = np.where(gap < self.closest, self.w * (self.closest - gap), 0.0)
            found.append(rounded(exact(cut(gain, last_unit(top, limbs=2)))[0]))
        return np.array(found)


class NumpyOversampling(NumpySeeding):
    def __init__(self, rows, weights):
        super().__init__(rows, weights)
        self.owner = np.zeros(rows.n_rows, dtype=int)
        self.n_points = 0

    def spread(self, points):
        for point in np.asarray(points, dtype=np.float64):
            gaps = folded(self.rows.X - point)
            self.owner[gaps < self.closest] = self.n_points
            self.closest = np.minimum(self.closest, gaps)
            self.n_points += 1
        return total(self.w * self.closest)

    def draw(self, key, share):
        chances = share * (self.w * self.closest)
        return np.array(
            [
                row
                for row, chance in enumerate(chances)
                if (split_mix(key, row) >> 11) / 2**53 < chance
            ],
            dtype=int,
        )

    def counts(self, n_candidates):
        return np.array([rounded(number) for number in exact(self.w, self.owner, n_candidates)])


class NumpyBatch:
    def __init__(self, rows, k, weights=None):
        self.rows, self.k, self.weights = rows, k, weights

    def step(self, centers, moved, counts, stale=None):
        run = NumpyPass(self.rows, self.k, self.weights, stats=())
        inertia = run.assign_and_measure(centers)
        self.labels = run.labels
        moved[...] = centers
        few = self.weights is None and self.rows.compute_dtype == np.float32
        for j in range(self.k):
            own = self.labels == j
            weight = total(run.w[own])
            if not weight > 0.0:
                continue
            counts[j] += weight
            for column in range(self.rows.n_features):
                products = run.X[own, column] * run.w[own]
                top = bin_of(exponent_of(np.abs(products).max()))
                sums = exact(cut(products, last_unit(top, 2 if few else 3)))[0]
                moved[j, column] = moved_by(sums, weight, counts[j], float(moved[j, column]))
        return inertia


def moved_by(sums, weight, count, c):
    """Where a number of a centre goes; only the change is rounded, not the number's own digits."""
    if weight == count:
        return rounded(sums, Fraction(weight))
    high = rounded(sums)
    low = float(Fraction(sums, ONE) - Fraction(high))
    product = weight * c
    rest = float(Fraction(weight) * Fraction(c) - Fraction(product))
    change = high - product
    more = float(Fraction(high) - Fraction(product) - Fraction(change))
    return c + (change + (more + (low - rest))) / count


class NumpyBatches:
    at_rest = False

    def __init__(self, rows, k, weights, batch_size, random_state):
        self.rows, self.k, self.size = rows, k, batch_size
        self.weights, self.random_state, self.n_rows = weights, random_state, rows.n_rows
        w = np.ones(self.n_rows) if weights is None else weights
        w = w.astype(rows.result_dtype)
        self.shares = w / w.sum()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        pass

    def next_batch(self):
        ids = self.random_state.choice(self.n_rows, self.size, p=self.shares, replace=True)
        return NumpyBatch(self.rows.picked(ids), self.k)

    def most_steps(self, epochs):
        return epochs * self.n_rows // self.size

    def epochs(self, steps):
        return math.ceil(steps * self.size / self.n_rows)

    def whole_weight(self):
        return self.n_rows if self.weights is None else self.weights.sum()


# ---------------------------------------------------------------- the backend


def column_stats(rows):
    rows.raise_nonfinite()
    X, sizes = rows.X, np.abs(rows.X)
    least = np.where(sizes > 0, sizes, np.inf).min(axis=0, initial=np.inf)
    return engine.Stats(*moments(X), sizes.max(axis=0, initial=0.0), least)


class NumpyBackend(engine.Cpu):
    name = "numpy"

    @staticmethod
    def few_rows(X, centers, wanted):
        return None

    def open_rows(self, X, request):
        if not isinstance(X, (np.ndarray, list)):
            return None
        if isinstance(X, np.memmap):
            return None
        X = request.check(X)
        return NumpyRows(X) if X.shape[1] < WIDE else None

    def plan(self, rows, n_clusters, *, batch_size=None, **wishes):
        n = rows.n_rows if batch_size is None else batch_size
        return plan(n, rows.n_features, n_clusters, rows.compute_dtype.name, **wishes)

    def column_stats(self, rows, plan, *, origin=None):
        (rows if origin is None else origin).raise_nonfinite()
        return column_stats(rows)

    def largest_finite(self, rows, plan, *, origin=None):
        return self.column_stats(rows, plan, origin=origin).largest

    def sample(self, rows, plan, size, weights, random_state):
        return engine.Sample(rows, weights, column_stats(rows))

    def open_assignment(self, rows, n_clusters, plan, *, weights=None, stats=None, **how):
        return NumpyPass(rows, n_clusters, weights, stats)

    def open_seeding(self, rows, n_seeds, weights, plan):
        return NumpySeeding(rows, weights)

    def open_oversampling(self, rows, weights, plan):
        return NumpyOversampling(rows, weights)

    def open_batch(self, rows, n_clusters, plan, weights=None):
        return NumpyBatch(rows, n_clusters, weights)

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state):
        return NumpyBatches(rows, n_clusters, weights, batch_size, random_state)

    def distances(self, rows, centers, plan):
        rows.raise_nonfinite()
        return roots(rows.X, centers).astype(rows.result_dtype)

"""What tests of neighbours and of rows within a radius share: hostile pairs of sets, and plans."""

import hostile
import numpy as np
import reference

from tilewise.engine import Rows, argkmin, radius
from tilewise.plan import plan_neighbors

#: Types of the scores.
SCORES = ("float32", "float64")
#: Kinds of data, and columns, in which every block and chunk has ties or near ties.
NEARLY_TIED = (("midpoints", 5), ("grid", 30), ("midpoints_far", 130))


def plan_for(rows_x, rows_y, k, isa=None, **changes):
    """A plan of a search by scores, or of a scan where X is short, unless `method` says more."""
    machine = None if isa is None else hostile.machine_with(isa)
    return plan_neighbors(
        rows_x.n_rows, rows_y.n_rows, rows_x.n_features, rows_x.compute_dtype, k=k, machine=machine,
        **{"n_threads": 1, "method": "scan" if rows_x.n_rows < 4 else "scores", **changes},
    )  # fmt: skip


def squared_of(X, Y):
    """Canonical squared distances (n, m)."""
    with np.errstate(all="ignore"):
        return reference.canonical(X.astype(np.float64), Y.astype(np.float64))


def nearest_of(squared, k):
    """The k least of each row of distances, ties to the lowest index, and where they stand."""
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, order, axis=1), order


def pair(name, rng, n, d, m, dtype):
    """Rows of X (n, d) and of Y (m, d) of one type."""
    X, Y = hostile.make(name, rng, n, d, m, dtype)
    with np.errstate(over="ignore"):
        return X, Y.astype(dtype)


def hostile_pairs(name, dtype, most, every=1):
    """Yield (number, generator, X, Y) of one kind of data: every so many of the shapes."""
    seed = hostile.CASES.index((name, dtype))
    rng = np.random.RandomState(seed)
    shapes = list(hostile.shapes(seed, most))
    for number, (n, d, m) in enumerate(shapes[seed % every :: every]):
        yield number, rng, *pair(name, rng, n, d, m, dtype)


def far_clusters(rng, m):
    """Rows of two clusters so far apart that scores in float32 cannot tell those of one apart."""
    centers = np.array([[-1e6] * 20, [1e6] * 20])
    return (centers[rng.randint(2, size=m)] + rng.standard_normal((m, 20))).astype(np.float32)


def compare_nearest(found, expected, what):
    for values, right, name in zip(found, expected, ("distances", "indices"), strict=True):
        assert values.dtype == (np.float64 if name == "distances" else np.int64)
        wrong = np.argwhere(values != right)
        assert not len(wrong), (
            f"{what}: {name} at {wrong[0]} of {right.shape} are {values[tuple(wrong[0])]!r}, "
            f"not {right[tuple(wrong[0])]!r} ({len(wrong)} wrong)"
        )


def check_nearest(X, Y, k, isas=hostile.ISAS, scores=SCORES, **changes):
    """The k nearest, in every way to search."""
    expected = nearest_of(squared_of(X, Y), k)
    rows_x, rows_y = Rows(X), Rows(Y)
    for isa, score, products in hostile.scored_ways(isas, scores):
        plan = plan_for(rows_x, rows_y, k, isa, score_dtype=score, products=products, **changes)
        found = argkmin(rows_x, rows_y, k, plan=plan)
        compare_nearest(found, expected, f"{isa} {score} {products} k={k} {changes}")


def within_of(squared, limit):
    """Offsets, squared distances and indices of what lies within a radius."""
    inside = np.sqrt(squared) <= limit
    offsets = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    return offsets, squared[inside], np.nonzero(inside)[1]


def compare_within(found, expected, what):
    for values, right, name in zip(
        found, expected, ("offsets", "distances", "indices"), strict=True
    ):
        assert values.dtype == (np.float64 if name == "distances" else np.int64)
        assert np.array_equal(values, right), (what, name)


def check_within(X, Y, limit, squared=None, isas=hostile.ISAS, scores=SCORES, **changes):
    """All rows within a radius, in every way to search."""
    expected = within_of(squared_of(X, Y) if squared is None else squared, limit)
    rows_x, rows_y = Rows(X), Rows(Y)
    for isa, score, products in hostile.scored_ways(isas, scores):
        plan = plan_for(rows_x, rows_y, 0, isa, score_dtype=score, products=products, **changes)
        found = radius(rows_x, rows_y, limit, plan=plan)
        compare_within(found, expected, f"{isa} {score} {products} radius={limit} {changes}")

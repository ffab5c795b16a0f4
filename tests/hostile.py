"""Data that rounding, ties and overflow make hard, and every way to run a pass over them."""

import dataclasses
import itertools

import numpy as np

from tilewise import machine, plan
from tilewise.engine import Rows
from tilewise.kernels import _dispatch
from tilewise.plan import Fact

ISAS = _dispatch.available_isas()
ENGINES = ("fused", "blas")
SCORES = ("float32", "float64")
#: Every combination that must agree.
WAYS = list(itertools.product(ISAS, ENGINES, SCORES))
#: ... and scores made of parts of bfloat16: multiplied by AMX where there is AMX, else emulated.
#: Emulations differ in the width of a vector alone.
SPLITS = [(isa, 6 if isa == "avx2" else 3) for isa in ISAS] + [("amx", 6)] * ("amx" in ISAS)

# Around every edge: one, the lanes of every vector, the tiles, the blocks of the depth.
DEPTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 33, 64, 65, 96, 97, 130, 200, 800)
CLUSTERS = (1, 2, 15, 16, 17, 31, 32, 33, 100, 300)
LENGTHS = (0, 1, 2, 11, 12, 13, 63, 64, 65, 383, 384, 385, 1000)


def scored_ways(isas, scores):
    """Yield (instruction set, type of the scores, products of parts) of these that must agree."""
    yield from ((isa, score, 0) for isa in isas for score in scores)
    if "float32" in scores:
        yield from ((isa, "float32", products) for isa, products in SPLITS if isa in isas)


def machine_with(isa):
    """This machine, as if `isa` were its widest instruction set."""
    return dataclasses.replace(machine(), isa=Fact(isa, "test"))


def plan_for(rows, k, isa=None, engine="auto", score_dtype=None, n_threads=1, chunk_size="auto",
             density=None, products=None, groups=None, look=None):  # fmt: skip
    made = plan(
        rows.n_rows,
        rows.n_features,
        k,
        rows.compute_dtype,
        n_threads=n_threads,
        chunk_size=chunk_size,
        engine=engine,
        machine=None if isa is None else machine_with(isa),
        direct=rows.is_direct,
        score_dtype=score_dtype,
        density=density,
        products=products,
        groups=groups,
        look=look,
    )
    if look and made.layout != "csr":
        # The same with a first look.
        made = dataclasses.replace(made, layout="centres-in-lanes", look=True)
    if products and made.layout != "centres-in-lanes":
        # Short rows have a layout of their own, but nothing forbids this one.
        made = dataclasses.replace(made, layout="centres-in-lanes", products=products)
    return made


def plans(X, k, **changes):
    """Yield (name, rows, plan) of every way to run a pass over X."""
    rows = Rows(X)
    for isa, engine, score in WAYS:
        yield f"{isa}-{engine}-{score}", rows, plan_for(rows, k, isa, engine, score, **changes)
    for isa, products in SPLITS:
        split = plan_for(rows, k, isa, products=products, **changes)
        yield f"{isa}-split-{products}", rows, split
    for isa in ISAS if not rows.is_sparse else ():
        yield f"{isa}-look", rows, plan_for(rows, k, isa, look=True, **changes)
    for isa, score in itertools.product(ISAS, SCORES) if rows.is_sparse else ():
        # As if hardly anything were stored, so that the entries are scored one by one.
        sparse = plan_for(rows, k, isa, "fused", score, density=0.0, **changes)
        assert sparse.layout == "csr"
        yield f"{isa}-csr-{score}", rows, sparse
    for isa in ISAS if rows.is_sparse else ():
        # The same against centres where they stand.
        sparse = plan_for(rows, k, isa, "fused", "float64", density=0.0, **changes)
        yield f"{isa}-csr-gathered", rows, dataclasses.replace(sparse, panel_columns=1)


def shapes(seed, most=2_000_000):
    """Yield (n, d, k) so that every edge occurs, none larger than `most` multiply-adds."""
    rng = np.random.RandomState(seed)
    count = len(DEPTHS)
    columns = (
        rng.permutation(np.resize(np.array(values), count))
        for values in (LENGTHS, DEPTHS, CLUSTERS)
    )
    for n, d, k in zip(*columns, strict=True):
        fits = [length for length in LENGTHS if length * d * k <= most and length <= n]
        yield int(max(fits)), int(d), int(k)


def _nudged(values, rng, steps=2):
    """Values moved by up to `steps` units in the last place."""
    values = np.array(values)
    for _ in range(steps):
        way = rng.randint(-1, 2, values.shape)
        limit = np.where(way > 0, np.inf, -np.inf).astype(values.dtype)
        values = np.where(way == 0, values, np.nextafter(values, limit))
    return values


def _random(rng, n, d, k, dtype):
    return rng.standard_normal((n, d)), rng.standard_normal((k, d))


def _midpoints(rng, n, d, k, dtype):
    """Rows halfway between two centres, a few units in the last place aside."""
    centers = rng.standard_normal((k, d)).astype(dtype)
    a, b = rng.randint(k, size=(2, n))
    return _nudged((centers[a] + centers[b]) / dtype(2), rng), centers


def _midpoints_far(rng, n, d, k, dtype):
    X, centers = _midpoints(rng, n, d, k, dtype)
    return _nudged((X + 1e6).astype(dtype), rng), (centers + 1e6).astype(dtype)


def _close_centers(rng, n, d, k, dtype):
    """All centres within rounding of each other."""
    center = rng.standard_normal(d).astype(dtype)
    return rng.standard_normal((n, d)), _nudged(np.tile(center, (k, 1)), rng, 3)


def _duplicates(rng, n, d, k, dtype):
    few = rng.standard_normal((max(1, k // 3), d))
    return rng.standard_normal((n, d)), few[rng.randint(len(few), size=k)]


def _identical_rows(rng, n, d, k, dtype):
    return np.tile(rng.standard_normal(d), (n, 1)), rng.standard_normal((k, d))


def _all_equal(rng, n, d, k, dtype):
    row = rng.standard_normal(d).astype(dtype)
    return np.tile(row, (n, 1)), np.tile(row, (k, 1))


def _offset(rng, n, d, k, dtype):
    return rng.standard_normal((n, d)) + 1e6, rng.standard_normal((k, d)) + 1e6


def _rows_are_centers(rng, n, d, k, dtype):
    centers = rng.standard_normal((k, d)).astype(dtype)
    return _nudged(centers[rng.randint(k, size=n)], rng, 1), centers


def _grid(rng, n, d, k, dtype):
    """Small integers: exact ties everywhere."""
    return rng.randint(0, 4, (n, d)), rng.randint(0, 4, (k, d))


def _half_grid(rng, n, d, k, dtype):
    return rng.randint(0, 3, (n, d)), rng.randint(0, 5, (k, d)) / 2


def _outlier_center(rng, n, d, k, dtype):
    X, centers = _midpoints(rng, n, d, k, dtype)
    centers[rng.randint(k)] *= dtype(1e18 if dtype == np.float32 else 1e140)
    return X, centers


def _outlier_row(rng, n, d, k, dtype):
    X, centers = _midpoints(rng, n, d, k, dtype)
    if n:
        X[rng.randint(n)] *= dtype(1e30 if dtype == np.float32 else 1e250)
    return X, centers


def _mixed_columns(rng, n, d, k, dtype):
    sizes = 10.0 ** rng.uniform(-18, 18, d)
    return rng.standard_normal((n, d)) * sizes, rng.standard_normal((k, d)) * sizes


def _mixed_rows(rng, n, d, k, dtype):
    X, centers = rng.standard_normal((n, d)), rng.standard_normal((k, d))
    return X * 10.0 ** rng.uniform(-30, 30, (n, 1)), centers * 10.0 ** rng.uniform(-18, 18, (k, 1))


def _subnormal(rng, n, d, k, dtype):
    small = np.finfo(dtype).smallest_subnormal
    return rng.randint(-9, 10, (n, d)) * small, rng.randint(-9, 10, (k, d)) * small


def _zeros(rng, n, d, k, dtype):
    return np.zeros((n, d)), np.zeros((k, d))


def _symmetric(rng, n, d, k, dtype):
    """Rows at the origin, centres in pairs c and -c."""
    centers = rng.standard_normal((k, d))
    centers[1::2] = -centers[: k - 1 : 2]
    return np.zeros((n, d)), centers


def _scaled(size):
    def make(rng, n, d, k, dtype):
        X, centers = _midpoints(rng, n, d, k, dtype)
        return X * dtype(size), centers * dtype(size)

    return make


def _limits(rng, n, d, k, dtype):
    """The largest finite values, of both signs."""
    most = np.finfo(dtype).max
    return (rng.randint(-1, 2, size) * most for size in ((n, d), (k, d)))


#: name -> function(rng, n, d, k, dtype) giving rows and centres.
ANY = {
    "random": _random,
    "midpoints": _midpoints,
    "midpoints_far": _midpoints_far,
    "close_centers": _close_centers,
    "duplicates": _duplicates,
    "identical_rows": _identical_rows,
    "all_equal": _all_equal,
    "offset": _offset,
    "rows_are_centers": _rows_are_centers,
    "grid": _grid,
    "half_grid": _half_grid,
    "outlier_center": _outlier_center,
    "outlier_row": _outlier_row,
    "mixed_columns": _mixed_columns,
    "mixed_rows": _mixed_rows,
    "subnormal": _subnormal,
    "zeros": _zeros,
    "symmetric": _symmetric,
    "limits": _limits,
    "1e30": _scaled(1e30),
    "1e-30": _scaled(1e-30),
    "1e-37": _scaled(1e-37),
}
DOUBLE = {
    name: _scaled(float(name))
    for name in ("1e120", "1e150", "1e200", "1e300", "1e-120", "1e-150", "1e-200", "1e-300")
}
CASES = [(name, np.float32) for name in ANY] + [(name, np.float64) for name in (*ANY, *DOUBLE)]
CASE_NAMES = [f"{name}-{dtype.__name__}" for name, dtype in CASES]


def make(name, rng, n, d, k, dtype):
    """Rows (n, d) and float64 centres (k, d) of one kind, all finite."""
    with np.errstate(all="ignore"):
        X, centers = (ANY | DOUBLE)[name](rng, n, d, k, dtype)
        X, centers = np.asarray(X, dtype), np.asarray(centers, dtype).astype(np.float64)
    assert np.isfinite(X).all()
    assert np.isfinite(centers).all()
    return X, centers


def moving(rng, X, centers, passes, mover=None):
    """Yield centres that jump, creep, stand still and, with `mover`, fly away one by one."""
    reach = np.abs(X).max() + np.finfo(np.float64).tiny
    for i in range(passes):
        yield centers
        step = rng.standard_normal(centers.shape) * reach * 10.0 ** -rng.randint(1, 9)
        step *= rng.uniform(size=(len(centers), 1)) < rng.choice([0.0, 0.2, 1.0])
        centers = centers + step
        if mover is not None and i == mover:
            # Where all centres are that far away, large rows have no closest one.
            centers[rng.randint(len(centers))] *= 1e3 if len(centers) > 1 else 1.0

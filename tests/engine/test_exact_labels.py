"""Labels are those of the plain reference, whatever scores them."""

import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cluster_data import DENSE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tilewise import engine


def wanted(X, centers):
    with np.errstate(all="ignore"):
        return reference.assign(reference.Rows(X), centers)


def within_range(X, centers, **changes):
    """The rows that have a closest centre; where all distances of some overflow, that is said."""
    with np.errstate(all="ignore"):
        beyond = np.isinf(reference.nearest(reference.Rows(X), centers)[1])
    if not beyond.any():
        return X
    for _, rows, plan in hostile.plans(X, len(centers), **changes):
        with pytest.raises(engine.OutOfRange, match=rf"first in row {np.argmax(beyond)}\b"):
            engine.assign(rows, centers, plan)
    return X[~beyond]


def check(X, centers, **changes):
    X = within_range(X, centers, **changes)
    expected = wanted(X, centers)
    for way, rows, plan in hostile.plans(X, len(centers), **changes):
        labels = engine.assign(rows, centers, plan)
        assert labels.dtype == np.int32
        wrong = np.flatnonzero(labels != expected)
        assert not len(wrong), (
            f"{way}: row {wrong[0]} of {X.shape} got {labels[wrong[0]]}, not {expected[wrong[0]]}"
        )


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype):
    seed = hostile.CASES.index((name, dtype))
    rng = np.random.RandomState(seed)
    for n, d, k in hostile.shapes(seed):
        check(*hostile.make(name, rng, n, d, k, dtype))


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("chunk_size", [64, 97, 10_000])
def test_hostile_data_in_threads_and_chunks(threads, chunk_size):
    rng = np.random.RandomState(threads)
    for name, d, k in (("midpoints", 5, 40), ("grid", 30, 33), ("midpoints_far", 130, 20)):
        X, centers = hostile.make(name, rng, 3000, d, k, np.float32)
        check(X, centers, n_threads=threads, chunk_size=chunk_size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", hostile.DEPTHS)
def test_every_row_open(dtype, d):
    """More candidates than a row is decided among one by one, spread over many panels."""
    rng = np.random.RandomState(d)
    center = rng.standard_normal(d).astype(dtype)
    for n, k in ((5, 65), (70, 64), (33, 300)):
        centers = np.tile(center, (k, 1)).astype(np.float64)
        centers[rng.randint(k, size=3)] += 1e-12
        X = (center + rng.standard_normal((n, d)) * 1e-3).astype(dtype)
        check(X, centers)


def numbers(dtype):
    """Finite values with a liking for ties, for neighbours and for the ends of the range."""
    info = np.finfo(dtype)
    special = [0.0, -0.0, 1.0, 1 + info.eps, 1 - info.epsneg, 2.0, 0.5, 1e6, 1e6 + 0.25]
    special += [info.smallest_subnormal, info.tiny, info.max, -info.max, 1e30, -1e-30]
    special = [float(dtype(value)) for value in special]
    return st.one_of(
        st.sampled_from(special),
        st.integers(-4, 4).map(float),
        st.floats(allow_nan=False, allow_infinity=False, width=8 * dtype().itemsize),
    )


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n, d, k = draw(st.integers(1, 20)), draw(st.integers(1, 30)), draw(st.integers(1, 40))
    pool = draw(hnp.arrays(dtype, 24, elements=numbers(dtype), fill=st.just(dtype(0))))
    rng = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    few = draw(st.integers(1, 24))
    X, centers = pool[rng.randint(few, size=(n, d))], pool[rng.randint(few, size=(k, d))]
    return X, centers.astype(np.float64)


@given(problems())
@settings(max_examples=300, deadline=None)
def test_any_values(problem):
    check(*problem)


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70),
    st.integers(1, 70),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_any_shape(shape, k, dtype, seed):
    rng = np.random.RandomState(seed)
    name = list(hostile.ANY)[seed % len(hostile.ANY)]
    check(*hostile.make(name, rng, *shape, k, dtype))


TYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?"]
SHAPES = [(1, 1, 3), (130, 3, 5), (100, 20, 33), (150, 41, 17), (65, 130, 9)]


def values_of(dtype, rng, n, d):
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return np.frombuffer(rng.bytes(n * d * dtype.itemsize), dtype).reshape(n, d)
    if dtype.kind == "b":
        return rng.randint(0, 2, (n, d)).astype(bool)
    return (rng.standard_normal((n, d)) * 3).astype(dtype)


@pytest.mark.parametrize("order", ["=", "S"])
@pytest.mark.parametrize("dtype", TYPES)
def test_types_and_byte_orders(dtype, order):
    rng = np.random.RandomState(TYPES.index(dtype))
    for n, d, k in SHAPES:
        X = values_of(dtype, rng, n, d)
        centers = X[rng.randint(n, size=k)].astype(np.float64) * rng.uniform(0.9, 1.1, (k, 1))
        X = X.astype(X.dtype.newbyteorder(order))
        check(X, centers)
        check(np.asfortranarray(X), centers)
        rows = engine.Rows(X)
        for picked in (np.arange(n), rng.randint(n, size=5)):
            assert np.array_equal(rows.take(picked), X[picked].astype(rows.compute_dtype))


LAYOUTS = {
    **DENSE,
    "every_third": lambda X, folder: np.repeat(np.repeat(X, 3, 0), 3, 1)[1::3, 2::3],
    "turned": lambda X, folder: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "upside_down": lambda X, folder: np.ascontiguousarray(X[::-1])[::-1],
    "misaligned": lambda X, folder: _misaligned(X),
    "odd_record": lambda X, folder: _odd_record(X),
    "fortran_swapped": lambda X, folder: np.asfortranarray(X.astype(X.dtype.newbyteorder("S"))),
    "subclass": lambda X, folder: np.ma.masked_array(X),
}


def _misaligned(X):
    buffer = np.zeros(X.nbytes + 1, np.uint8)
    view = np.frombuffer(buffer.data, X.dtype, offset=1, count=X.size).reshape(X.shape)
    view.flags.writeable = True
    view[...] = X
    return view


def _odd_record(X):
    """Rows whose distance in memory is no multiple of the size of a value."""
    record = np.zeros(len(X), np.dtype([("mark", "u1"), ("row", X.dtype, X.shape[1:])]))
    record["row"] = X
    return record["row"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, dtype, tmp_path):
    rng = np.random.RandomState(0)
    for n, d, k in SHAPES:
        X = rng.randint(-500, 500, (n, d)).astype(dtype)
        centers = rng.randint(-500, 500, (k, d)) / 2
        variant = LAYOUTS[layout](X, tmp_path)
        expected = wanted(X, centers)
        for way, rows, plan in hostile.plans(variant, k):
            assert np.array_equal(engine.assign(rows, centers, plan), expected), way


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2", "f2"])
def test_sparse_rows(index, dtype):
    rng = np.random.RandomState(0)
    for n, d, k in SHAPES:
        # Several entries per place, in any order; sums of small integers are exact.
        counts = rng.randint(0, 2 * d, n)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(index)
        columns = rng.randint(d, size=offsets[-1]).astype(index)
        values = rng.randint(-9, 10, offsets[-1]).astype(dtype)
        X = sp.csr_array((values, columns, offsets), shape=(n, d))
        dense = np.zeros((n, d))
        np.add.at(dense, (np.repeat(np.arange(n), counts), columns), values.astype(np.float64))
        centers = rng.randint(-9, 10, (k, d)) / 4
        expected = wanted(dense, centers)
        for way, rows, plan in hostile.plans(X, k):
            assert np.array_equal(engine.assign(rows, centers, plan), expected), way
            assert np.array_equal(rows.take(np.arange(n)), dense)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_value_that_is_not_finite_is_named(bad, dtype):
    rng = np.random.RandomState(3)
    for n, d, k in hostile.shapes(5):
        if not n:
            continue
        X = rng.standard_normal((n, d)).astype(dtype)
        row, column = rng.randint(n), rng.randint(d)
        X[row, column] = bad
        X[row + 1 :] = np.where(rng.uniform(size=X[row + 1 :].shape) < 0.3, bad, X[row + 1 :])
        centers = rng.standard_normal((k, d))
        where = f"row {row}, column {column}"
        for _, rows, plan in hostile.plans(X, k):
            with pytest.raises(ValueError, match=where):
                engine.assign(rows, centers, plan)
            with pytest.raises(ValueError, match=where):
                engine.distances(rows, centers, plan)
            with pytest.raises(ValueError, match=where):
                engine.column_stats(rows, plan)


def test_centers_that_are_not_finite_break_nothing():
    X = np.random.RandomState(0).standard_normal((200, 30))
    for bad in (np.nan, np.inf, -np.inf):
        centers = X[:20].copy()
        centers[3, 4] = bad
        for _, rows, plan in hostile.plans(X, 20):
            labels = engine.assign(rows, centers, plan)
            assert ((labels >= 0) & (labels < 20)).all()
            assert np.array_equal(labels[:3], [0, 1, 2])


def test_passes_turn_to_plain_scores_where_parts_leave_too_much_open():
    rng = np.random.RandomState(0)
    center = rng.standard_normal(64)
    # Centres closer than what the parts leave out, not than what plain scores round.
    centers = center + 3e-4 * rng.standard_normal((80, 64))
    X = (centers[rng.randint(80, size=1200)] + 1e-4 * rng.standard_normal((1200, 64))).astype("f4")
    X[:40] += 10 * rng.standard_normal((40, 64)).astype("f4")
    centers[0] += 10
    rows, expected = engine.Rows(X), wanted(X, centers)
    for isa, products in hostile.SPLITS:
        run = engine.Pass(rows, 80, hostile.plan_for(rows, 80, isa, products=products))
        for _ in range(2):
            run.assign(centers)
            assert np.array_equal(run.labels, expected)
            assert run.undecided > 800
            assert run._products == 0

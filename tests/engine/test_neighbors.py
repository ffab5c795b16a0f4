"""Nearest rows are those of the canonical distance, ties to the lowest index."""

import functools

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from neighbor_cases import (
    NEARLY_TIED,
    far_clusters,
    hostile_pairs,
    nearest_of,
    pair,
    plan_for,
    squared_of,
)
from neighbor_cases import check_nearest as check
from neighbor_cases import compare_nearest as compare

from tilewise.engine import Rows, argkmin, neighbors
from tilewise.plan import plan_neighbors


def wanted(X, Y, k):
    return nearest_of(squared_of(X, Y), k)


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype):
    for number, rng, X, Y in hostile_pairs(name, dtype, 200_000, every=3):
        m = len(Y)
        for k in {1, m, int(rng.randint(1, min(m, 40) + 1))}:
            check(X, Y, k, method="scan" if number % 5 == 4 else "scores")
        check(X, Y, 1, method="assignment")


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("chunk_rows", [1, 13, 100])
@pytest.mark.parametrize("block_rows", [1, 33, 1000])
def test_threads_chunks_and_blocks(threads, chunk_rows, block_rows):
    rng = np.random.RandomState(threads)
    sizes = {"n_threads": threads, "chunk_rows": chunk_rows, "block_rows": block_rows}
    for name, d in NEARLY_TIED:
        X, Y = pair(name, rng, 90, d, 300, np.float32)
        for k in (1, 20):
            check(X, Y, k, isas=hostile.ISAS[-1:], **sizes)
            check(X, Y, k, isas=hostile.ISAS[-1:], method="scan", **sizes)


def test_the_nearest_row_alone_by_assignment():
    rng = np.random.RandomState(0)
    plan = plan_neighbors(5000, 200, 16, k=1)
    assert (plan.method, plan.assignment.n_clusters) == ("assignment", 200)
    for name, d in NEARLY_TIED:
        X, Y = pair(name, rng, 90, d, 300, np.float32)
        for threads in (1, 2, 8):
            check(X, Y, 1, isas=hostile.ISAS[-1:], method="assignment", n_threads=threads)


def test_labels_become_indices_in_their_place():
    rng = np.random.RandomState(1)
    X, Y = rng.standard_normal((50_001, 2)), rng.standard_normal((150, 2))
    rows = Rows(X), Rows(Y)
    ways = [
        plan_neighbors(len(X), len(Y), 2, "f8", k=1, method=way) for way in ("assignment", "scan")
    ]
    found, expected = (argkmin(*rows, 1, plan=plan) for plan in ways)
    compare(found, expected, "50,001 rows")


@pytest.mark.parametrize(("bad", "where"), [("X", 4711), ("Y", 17)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_assignment(bad, where, value):
    X, Y = np.ones((5000, 3), np.float32), np.ones((200, 3), np.float32)
    {"X": X, "Y": Y}[bad][where, 1] = value
    with pytest.raises(ValueError, match=f"{where}"):
        argkmin(Rows(X), Rows(Y), 1)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_short_x_is_shared_out_by_rows_of_y(n, threads):
    rng = np.random.RandomState(n)
    Y = rng.randint(0, 3, (9000, 6)).astype(np.float32)
    X = rng.randint(0, 3, (n, 6)).astype(np.float32)
    plan = plan_for(Rows(X), Rows(Y), 50, n_threads=threads)
    assert plan.splits > 1 or threads == 1 or n == 30
    compare(argkmin(Rows(X), Rows(Y), 50, plan=plan), wanted(X, Y, 50), plan)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [0, 1, 2, 64, 100])
def test_all_rows_equal(d, dtype):
    """Ties fill the candidates of every row again and again."""
    Y = np.ones((1500, d), dtype)
    X = np.ones((40, d), dtype)
    for k in (1, 10, 700, 1500):
        check(X, Y, k, isas=hostile.ISAS[-1:])


def test_far_clusters_that_scores_cannot_tell_apart():
    """Every row of the own cluster is within the error of float32 scores."""
    rng = np.random.RandomState(0)
    Y = far_clusters(rng, 3000)
    X = Y[rng.randint(3000, size=200)]
    check(X, Y, 10)
    check(X, Y, 10, block_rows=700, chunk_rows=50, n_threads=2)


@pytest.mark.parametrize("descending", [False, True])
def test_rows_in_order_of_their_distance(descending):
    """Falling distances are the worst for candidates: each new row is one."""
    Y = np.linspace(0.0, 100.0, 5000, dtype=np.float32)[:, None] * np.ones((1, 7), np.float32)
    Y = np.ascontiguousarray(Y[::-1] if descending else Y)
    X = np.random.RandomState(0).uniform(-1, 0, (30, 7)).astype(np.float32)
    for k in (1, 9, 300):
        check(X, Y, k)


def layouts(values):
    """The same numbers in other kinds of memory."""
    yield "fortran", np.asfortranarray(values)
    yield "big endian", values.astype(values.dtype.newbyteorder(">"))
    strided = np.zeros((2 * len(values), 3 * values.shape[1] + 1), values.dtype)
    strided[::2, 1::3] = values
    yield "strided", strided[::2, 1::3]
    yield "backwards", np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    yield "sparse", sp.csr_array(values)
    read_only = values.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["scores", "scan"])
def test_kinds_of_memory(dtype, method):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 3, (70, 19)).astype(dtype)
    Y = rng.randint(0, 3, (300, 19)).astype(dtype)
    expected = wanted(X, Y, 6)
    for name, other in layouts(X):
        rows = Rows(other), Rows(Y)
        compare(argkmin(*rows, 6, plan=plan_for(*rows, 6, method=method)), expected, name)
    for name, other in layouts(Y):
        rows = Rows(X), Rows(other)
        compare(argkmin(*rows, 6, plan=plan_for(*rows, 6, method=method)), expected, name)


def test_mixed_types_are_widened():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((90, 11)).astype(np.float32)
    Y = rng.standard_normal((200, 11))
    found = argkmin(Rows(X, np.float64), Rows(Y), 4)
    compare(found, wanted(X, Y, 4), "mixed")
    with pytest.raises(ValueError, match="same type"):
        argkmin(Rows(X), Rows(Y), 4)


def test_memory_map(tmp_path):
    values = np.random.RandomState(0).standard_normal((400, 30)).astype(np.float32)
    values.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=(400, 30))
    compare(argkmin(Rows(mapped), Rows(mapped), 5), wanted(values, values, 5), "memory map")


def test_no_rows():
    Y = np.ones((3, 4), np.float32)
    distances, indices = argkmin(Rows(Y[:0]), Rows(Y), 2)
    assert distances.shape == indices.shape == (0, 2)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_k_out_of_range(k):
    Y = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="neighbours"):
        argkmin(Rows(Y), Rows(Y), k)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["scores", "scan"])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite(value, dtype, method, side):
    rng = np.random.RandomState(0)
    both = [rng.standard_normal((100, 9)).astype(dtype) for _ in range(2)]
    both[side][57, 3] = value
    rows = [Rows(values) for values in both]
    with pytest.raises(ValueError, match="row 57, column 3"):
        argkmin(*rows, 5, plan=plan_for(*rows, 5, method=method))


def test_memory_does_not_grow_with_the_rows():
    """What is held beside the data and the result is a matter of threads and k alone."""
    sizes = functools.partial(plan_neighbors, n_features=32, k=10, n_threads=2)
    least = sizes(20_000, 200_000).workspace_bytes
    assert sizes(2_000_000, 200_000_000).workspace_bytes <= 1.1 * least < 40 * 2**20


@pytest.mark.parametrize("k", [1, 12])
def test_later_rows_whose_parts_leave_out_more(k):
    """The bound that the first block sets must not hold for those after it."""
    rng = np.random.RandomState(k)
    d = 40
    whole = rng.randint(-9, 10, (60, d)).astype(np.float32)
    # All of what three parts hold, and no more, but with a second part of half a unit.
    hard = (1 + 2.0**-8 - 2.0**-16) * 2.0 ** rng.randint(-3, 3, (100, d)).astype(np.float32)
    hard = (hard * rng.choice([-1, 1], hard.shape)).astype(np.float32)
    Y = np.concatenate([whole, -whole, hard, -hard])
    # Rows between two others, nearly.
    X = (Y[rng.randint(len(Y), size=150)] + Y[rng.randint(120, len(Y), size=150)]) / 2
    X = hostile._nudged(X.astype(np.float32), rng)
    rows_x, rows_y = Rows(X), Rows(Y)
    for isa, products in hostile.SPLITS:
        plan = plan_for(rows_x, rows_y, k, isa, products=products, block_rows=60)
        search = neighbors._Search(rows_x, rows_y, k, plan)
        search.group(0, 32)
        # The most that any number leaves out, not what the first block did.
        assert search.kernel.shares[0] > 2.0**-8
        compare(argkmin(rows_x, rows_y, k, plan=plan), wanted(X, Y, k), f"{isa} {products} k={k}")


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_all_sizes_of_float32(seed, k):
    """Where some values exceed 2**100, others are still told apart."""
    rng = np.random.default_rng(seed)
    sizes = [10.0 ** rng.uniform(-37, 37, (count, 1)) for count in (127, 48)]
    X = rng.normal(size=(127, 128)) * sizes[0]
    Y = rng.normal(size=(48, 128)) * sizes[1]
    Y[rng.integers(0, 48)] = 4e36 * rng.uniform(-1, 1, 128)
    limit = float(np.finfo(np.float32).max)
    check(*(np.clip(values, -limit, limit).astype(np.float32) for values in (X, Y)), k)

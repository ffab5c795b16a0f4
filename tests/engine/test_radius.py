"""Rows within a radius are those that the returned distance itself puts there."""

import math

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from neighbor_cases import NEARLY_TIED, far_clusters, hostile_pairs, pair, plan_for, squared_of
from neighbor_cases import check_within as check
from neighbor_cases import compare_within as compare
from neighbor_cases import within_of as wanted

from tilewise.engine import Rows, radius
from tilewise.engine.neighbors import largest_within


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype):
    for number, rng, X, Y in hostile_pairs(name, dtype, 100_000, every=4):
        squared = squared_of(X, Y)
        limits = {0.0, math.inf}
        if squared.size:
            # Exactly equal to a distance.
            limits |= {float(np.sqrt(rng.choice(squared.reshape(-1)))) for _ in range(2)}
        for limit in limits:
            check(X, Y, limit, squared, method="scan" if number % 5 == 4 else "scores")


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("chunk_rows", [1, 100])
@pytest.mark.parametrize("block_rows", [1, 33, 1000])
def test_threads_chunks_and_blocks(threads, chunk_rows, block_rows):
    rng = np.random.RandomState(threads)
    sizes = {"n_threads": threads, "chunk_rows": chunk_rows, "block_rows": block_rows}
    for name, d in NEARLY_TIED:
        X, Y = pair(name, rng, 90, d, 300, np.float32)
        limit = float(np.sqrt(np.median(squared_of(X, Y))))
        check(X, Y, limit, isas=hostile.ISAS[-1:], **sizes)
        check(X, Y, limit, isas=hostile.ISAS[-1:], method="scan", **sizes)


@pytest.mark.parametrize("n", [1, 3, 20])
@pytest.mark.parametrize("method", ["scores", "scan"])
def test_short_x_keeps_the_order_of_rows(n, method):
    rng = np.random.RandomState(n)
    Y = rng.randint(0, 3, (9000, 6)).astype(np.float32)
    X = rng.randint(0, 3, (n, 6)).astype(np.float32)
    plan = plan_for(Rows(X), Rows(Y), 0, n_threads=8, block_rows=4096, method=method)
    assert plan.splits > 1
    compare(radius(Rows(X), Rows(Y), 2.0, plan=plan), wanted(squared_of(X, Y), 2.0), plan)


def test_sorted_by_distance_then_index():
    rng = np.random.RandomState(0)
    X, Y = rng.randint(0, 3, (2, 200, 4)).astype(np.float32)
    offsets, distances, indices = radius(Rows(X), Rows(Y), 2.0, sort=True)
    squared = squared_of(X, Y)
    for i in range(200):
        own = slice(offsets[i], offsets[i + 1])
        order = np.argsort(squared[i], kind="stable")
        order = order[np.sqrt(squared[i][order]) <= 2.0]
        assert np.array_equal(indices[own], order)
        assert np.array_equal(distances[own], squared[i][order])


def test_far_clusters_that_scores_cannot_tell_apart():
    rng = np.random.RandomState(0)
    Y = far_clusters(rng, 1000)
    squared = squared_of(Y[:100], Y)
    limit = float(np.sqrt(np.quantile(squared, 0.25)))
    check(Y[:100], Y, limit, squared)
    check(Y[:100], Y, limit, squared, block_rows=200, chunk_rows=50, n_threads=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_strided_and_mixed(dtype):
    rng = np.random.RandomState(0)
    X, Y = rng.randint(0, 3, (2, 80, 19)).astype(dtype)
    expected = wanted(squared_of(X, Y), 4.0)
    for other in (sp.csr_array(X), np.asfortranarray(X), X[::-1].copy()[::-1]):
        compare(radius(Rows(other), Rows(Y), 4.0), expected, type(other))
        compare(radius(Rows(X), Rows(Y), 4.0), expected, "plain")
    for other in (sp.csr_array(Y), np.asfortranarray(Y)):
        compare(radius(Rows(X), Rows(other), 4.0), expected, type(other))


def test_no_rows():
    Y = np.ones((3, 4), np.float32)
    for X, other, n in ((Y[:0], Y, 0), (Y, Y[:0], 3)):
        offsets, distances, indices = radius(Rows(X), Rows(other), 1.0)
        assert np.array_equal(offsets, np.zeros(n + 1))
        assert distances.size == indices.size == 0


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_radius_out_of_range(value):
    Y = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="radius="):
        radius(Rows(Y), Rows(Y), value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["scores", "scan"])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite(value, dtype, method, side):
    rng = np.random.RandomState(0)
    both = [rng.standard_normal((100, 9)).astype(dtype) for _ in range(2)]
    both[side][57, 3] = value
    rows = [Rows(values) for values in both]
    with pytest.raises(ValueError, match="row 57, column 3"):
        radius(*rows, 2.0, plan=plan_for(*rows, 0, method=method))


@given(st.floats(min_value=0.0, allow_nan=False))
def test_largest_within(limit):
    squared = largest_within(limit)
    assert math.sqrt(squared) <= limit
    assert squared == math.inf or math.sqrt(math.nextafter(squared, math.inf)) > limit

"""Values up to a limit, taken from blocks and brought together row by row."""

import hostile
import numpy as np
import pytest

from tilewise.engine.radius_results import RadiusResults, pairs_within, sort_results


def spread(rng, n, m):
    """Values with runs of ties, signed zeros, infinities and what is not a number."""
    values = rng.randint(-3, 4, (n, m)).astype(np.float64)
    for special in (np.nan, np.inf, -np.inf, -0.0):
        values[rng.random_sample((n, m)) < 0.05] = special
    return values


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("threads", [1, 3])
def test_pairs_of_one_block(isa, threads):
    rng = np.random.RandomState(0)
    for n, m in ((1, 1), (3, 7), (5, 8), (40, 33), (200, 130)):
        # A part of a wider array: rows are some way apart.
        block = spread(rng, n, m + 5)[:, :m]
        for limit in (-np.inf, -4.0, 0.0, 1.0, np.inf):
            starts, counts, values, columns = pairs_within(block, limit, 100, isa, threads)
            inside = block <= limit
            np.testing.assert_array_equal(counts, inside.sum(axis=1))
            np.testing.assert_array_equal(starts, np.cumsum(counts) - counts)
            np.testing.assert_array_equal(values, block[inside])
            np.testing.assert_array_equal(columns, np.nonzero(inside)[1] + 100)


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_are_brought_together(sort, threads):
    rng = np.random.RandomState(1)
    whole = spread(rng, 300, 170)
    results = RadiusResults(300, threads)
    for first in range(0, 300, 70):
        for column in range(0, 170, 60):
            block = whole[first : first + 70, column : column + 60]
            pairs = pairs_within(block, 1.0, column, hostile.ISAS[-1], threads)
            results.add(first, *pairs)
    offsets, values, columns = results.result(sort=sort)
    inside = whole <= 1.0
    np.testing.assert_array_equal(np.diff(offsets), inside.sum(axis=1))
    for i in range(300):
        (right,) = np.nonzero(inside[i])
        if sort:
            right = right[np.lexsort((right, whole[i, right]))]
        own = slice(offsets[i], offsets[i + 1])
        np.testing.assert_array_equal(columns[own], right)
        np.testing.assert_array_equal(values[own], whole[i, right])


def test_blocks_with_gaps():
    """Of the pairs that a block has room for only the first of each row may count."""
    results = RadiusResults(3, 1)
    starts, counts = np.array([0, 2, 5]), np.array([1, 0, 2])
    results.add(0, starts, counts, np.arange(8.0), np.arange(8) + 10)
    offsets, values, columns = results.result()
    assert offsets.tolist() == [0, 1, 1, 3]
    assert values.tolist() == [0.0, 5.0, 6.0]
    assert columns.tolist() == [10, 15, 16]


def test_long_rows_are_sorted():
    rng = np.random.RandomState(2)
    offsets = np.concatenate([[0], np.cumsum(rng.randint(0, 3000, 40))])
    values = rng.randint(0, 50, offsets[-1]).astype(np.float64)
    columns = rng.permutation(offsets[-1])
    right = np.lexsort((columns, values, np.repeat(np.arange(40), np.diff(offsets))))
    expected = values[right], columns[right]
    for threads in (1, 3):
        own_values, own_columns = values.copy(), columns.copy()
        sort_results(offsets, own_values, own_columns, threads)
        np.testing.assert_array_equal(own_values, expected[0])
        np.testing.assert_array_equal(own_columns, expected[1])


def test_no_blocks():
    offsets, distances, indices = RadiusResults(3).result()
    assert offsets.tolist() == [0, 0, 0, 0]
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64

"""The lowest values and those within a radius, taken from blocks of distances."""

import hostile
import numpy as np
import pytest

from tilewise.engine import (
    DistanceBlocks,
    Rows,
    argkmin_blocks,
    argmin_blocks,
    fill_matrix,
    radius_blocks,
)
from tilewise.kernels._topk import TopK

METRICS = [
    ("manhattan", {}),
    ("chebyshev", {}),
    ("minkowski", {"p": 3.0}),
    ("manhattan", {"weights": np.linspace(0, 2, 6)}),
    ("euclidean", {}),
]


def lowest(matrix, k):
    order = np.argsort(matrix, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(matrix, order, 1), order


def topk(matrix, k, columns, isa=None, threads=1):
    best = TopK(len(matrix), k, isa=isa or hostile.ISAS[-1])
    for start in range(0, matrix.shape[1], columns):
        # In two parts of the rows, each a view.
        half = len(matrix) // 2
        block = matrix[:, start : start + columns]
        best.update(block[:half], 0, start, n_threads=threads)
        best.update(block[half:], half, start, n_threads=threads)
    values, indices = np.empty((len(matrix), k)), np.empty((len(matrix), k), np.int64)
    best.result(values, indices, n_threads=threads)
    return values, indices


def spread(kind, rng, shape):
    values = rng.standard_normal(shape)
    if kind == "ties":
        return rng.randint(0, 3, shape).astype(np.float64)
    if kind == "falling":
        return -np.arange(float(np.prod(shape))).reshape(shape)
    if kind == "infinite":
        values[rng.uniform(size=shape) < 0.7] = np.inf
    if kind == "huge":
        return values * 10.0 ** rng.uniform(-300, 300, shape)
    if kind == "signed zeros":
        return np.where(values > 0, 0.0, -0.0)
    return values


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("kind", ["plain", "ties", "falling", "infinite", "huge", "signed zeros"])
def test_lowest_values(kind, isa):
    rng = np.random.RandomState(0)
    for n, m in ((1, 1), (3, 17), (40, 700)):
        matrix = spread(kind, rng, (n, m))
        for k in {1, m, min(m, 5), min(m, 90)}:
            for columns in (1, 33, m):
                values, indices = topk(matrix, k, columns, isa)
                right, order = lowest(matrix, k)
                assert np.array_equal(indices, order), (n, m, k, columns)
                assert np.array_equal(values, right)


def test_nan_is_farther_than_any_number():
    matrix = np.array([[np.nan, 2.0, np.inf, 1.0, np.nan]])
    values, indices = topk(matrix, 5, 2)
    assert indices.tolist() == [[3, 1, 0, 2, 4]]
    assert values.tolist() == [[1.0, 2.0, np.inf, np.inf, np.inf]]


def test_what_does_not_fit_is_refused():
    best = TopK(2, 3, isa=hostile.ISAS[-1])
    with pytest.raises(ValueError, match="rows"):
        best.update(np.zeros((2, 4)), 1, 0, n_threads=1)
    with pytest.raises(ValueError, match="contiguous"):
        best.update(np.zeros((4, 2)).T, 0, 0, n_threads=1)
    best.update(np.zeros((2, 2)), 0, 0, n_threads=1)
    with pytest.raises(ValueError, match="fewer than 3"):
        best.result(np.empty((2, 3)), np.empty((2, 3), np.int64), n_threads=1)


@pytest.mark.parametrize(("kernel", "options"), METRICS)
@pytest.mark.parametrize("block_shape", [None, (7, 31), (1, 1), (1000, 1000)])
@pytest.mark.parametrize("threads", [1, 3])
def test_neighbours_by_other_metrics(kernel, options, block_shape, threads):
    rng = np.random.RandomState(0)
    X, Y = Rows(rng.randint(0, 4, (30, 6)) / 2), Rows(rng.randint(0, 4, (120, 6)) / 2)
    matrix = fill_matrix(X, Y, np.empty((30, 120)), kernel=kernel, **options)
    blocks = DistanceBlocks(X, Y, kernel=kernel, **options, n_threads=threads)
    sizes = {"shape": block_shape, "n_threads": threads}
    for k in (1, 10, 120):
        values, indices = argkmin_blocks(blocks, k, **sizes)
        right, order = lowest(matrix, k)
        assert np.array_equal(indices, order)
        assert np.array_equal(values, right)
    limit = float(np.median(matrix))
    inside = matrix <= limit
    found = radius_blocks(blocks, limit, **sizes)
    assert np.array_equal(np.diff(found[0]), inside.sum(axis=1))
    assert np.array_equal(found[1], matrix[inside])
    assert np.array_equal(found[2], np.nonzero(inside)[1])
    found = radius_blocks(blocks, limit, sort=True, **sizes)
    for i in range(30):
        own = slice(found[0][i], found[0][i + 1])
        right, order = lowest(matrix[i : i + 1], int(inside[i].sum()))
        assert np.array_equal(found[2][own], order[0])
        assert np.array_equal(found[1][own], right[0])


def test_the_smallest_by_the_rules_of_numpy():
    """Of equal values the first, and NaN before all numbers, across blocks and groups of rows."""
    rng = np.random.RandomState(0)
    matrix = rng.randint(0, 40, (200, 5000)).astype(np.float64)
    matrix[::3, 2500] = matrix[::7, 4100] = np.nan

    class Source:
        shape, sparse = matrix.shape, (False, False)

        def __call__(self, x_first, y_first, out):
            part = matrix[x_first : x_first + len(out), y_first : y_first + out.shape[1]]
            out[...] = part

    values, indices = argmin_blocks(Source())
    np.testing.assert_array_equal(indices, matrix.argmin(axis=1))
    np.testing.assert_array_equal(values, np.take_along_axis(matrix, indices[:, None], 1)[:, 0])


def test_largest_values_come_first_if_signs_are_changed():
    X = Rows(np.arange(6.0).reshape(3, 2))
    blocks = DistanceBlocks(X, X, kernel="dot", negate=True)
    values, indices = argkmin_blocks(blocks, 2)
    assert indices.tolist() == [[2, 1], [2, 1], [2, 1]]
    assert values.tolist() == [[-5.0, -3.0], [-23.0, -13.0], [-41.0, -23.0]]


def test_no_rows():
    Y = Rows(np.ones((2, 4)))
    none = DistanceBlocks(Rows(np.ones((0, 4))), Y, kernel="manhattan")
    assert argkmin_blocks(none, 2)[0].shape == (0, 2)
    assert radius_blocks(none, 2.0)[0].tolist() == [0]
    with pytest.raises(ValueError, match="neighbours"):
        argkmin_blocks(DistanceBlocks(Y, Y, kernel="manhattan"), 3)

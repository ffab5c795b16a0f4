"""What functions of two sets of rows do with names of columns and with an index."""

import numpy as np
import pytest

from tilewise import (
    argkmin,
    cosine_distances,
    euclidean_distances,
    manhattan_distances,
    pairwise_distances,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    pairwise_distances_chunked,
    radius_neighbors,
)

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

FUNCTIONS = {
    "pairwise_distances": pairwise_distances,
    "fallback": lambda X, Y: pairwise_distances(X, Y, metric="canberra"),
    "callable": lambda X, Y: pairwise_distances(X, Y, metric=lambda x, y: abs(x - y).max()),
    "euclidean_distances": euclidean_distances,
    "manhattan_distances": manhattan_distances,
    "cosine_distances": cosine_distances,
    "argmin": pairwise_distances_argmin,
    "argmin_min": lambda X, Y: pairwise_distances_argmin_min(X, Y)[1],
    "argkmin": lambda X, Y: argkmin(X, Y, 2)[0],
    "radius": lambda X, Y: np.concatenate(radius_neighbors(X, Y, 1.0)[0]),
    "chunked": lambda X, Y: np.concatenate(list(pairwise_distances_chunked(X, Y))),
    "chunked fallback": lambda X, Y: np.concatenate(
        list(pairwise_distances_chunked(X, Y, metric="canberra"))
    ),
}


@pytest.fixture
def frames():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    frame = pd.DataFrame(rows, columns=["a", "b"], index=np.arange(30)[::-1] * 1000)
    return frame[:12], frame[12:]


KINDS = {
    "pandas": lambda frame: frame,
    "table": pa.Table.from_pandas,
    "record batch": pa.RecordBatch.from_pandas,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_no_feature(frames, function, kind):
    X, Y = (KINDS[kind](frame) for frame in frames)
    expected = function(frames[0].to_numpy(), frames[1].to_numpy())
    np.testing.assert_array_equal(function(X, Y), expected)
    np.testing.assert_array_equal(function(X, frames[1].to_numpy()), expected)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_names_in_another_order_are_refused(frames, function, kind):
    X, Y = frames
    for other in KINDS.values():
        with pytest.raises(ValueError, match=r"same order: X has 'a', 'b', Y has 'b', 'a'"):
            function(KINDS[kind](X), other(Y[["b", "a"]]))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_other_names_go_by_position(frames, function):
    X, Y = frames
    expected = function(X.to_numpy(), Y.to_numpy())
    renamed = Y.rename(columns={"a": "x"})
    for other in (renamed, pa.Table.from_pandas(renamed), Y.set_axis([1, 0], axis=1),
                  Y.set_axis(["b", 1], axis=1)):  # fmt: skip
        np.testing.assert_array_equal(function(X, other), expected)


def test_one_table_for_both(frames):
    table = pa.Table.from_pandas(frames[0])
    expected = pairwise_distances(frames[0].to_numpy())
    np.testing.assert_array_equal(pairwise_distances(table), expected)
    np.testing.assert_array_equal(pairwise_distances(table, table), expected)
    assert not pairwise_distances(table, table).diagonal().any()
    expected = pairwise_distances(frames[0].to_numpy(), metric="canberra")
    np.testing.assert_array_equal(pairwise_distances(table, metric="canberra"), expected)

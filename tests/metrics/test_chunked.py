"""The generator of chunks: laziness, sizes, what reduce_func may return."""

import gc
import types
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.metrics

import tilewise
from tilewise.metrics import METRICS, _chunked

X = np.random.RandomState(0).standard_normal((60, 5))
Y = np.random.RandomState(1).standard_normal((40, 5))
ROWS_OF_7 = 7 * 8 * 60 / 2**20


@pytest.fixture
def filled(monkeypatch):
    """First rows of the chunks that were computed, in order."""
    seen = []
    fill = _chunked.Matrix.fill

    def counted(self, out, first=0, **how):
        seen.append((first, len(out)))
        return fill(self, out, first, **how)

    monkeypatch.setattr(_chunked.Matrix, "fill", counted)
    return seen


def test_chunks_are_computed_when_asked_for(filled):
    chunks = tilewise.pairwise_distances_chunked(X, working_memory=ROWS_OF_7)
    assert isinstance(chunks, types.GeneratorType)
    assert filled == []
    next(chunks)
    assert filled == [(0, 7)]
    next(chunks)
    assert filled == [(0, 7), (7, 7)]
    chunks.close()
    assert len(filled) == 2


def test_reduce_func_sees_each_chunk_once_and_only_then():
    starts = []

    def reduce_func(D, start):
        starts.append((start, D.shape))
        return D.sum(axis=1)

    chunks = tilewise.pairwise_distances_chunked(
        X, Y, reduce_func=reduce_func, working_memory=9 * 8 * 40 / 2**20
    )
    assert starts == []
    first = next(chunks)
    assert starts == [(0, (9, 40))]
    rest = list(chunks)
    assert [start for start, _ in starts] == list(range(0, 60, 9))
    wanted = tilewise.pairwise_distances(X, Y).sum(axis=1)
    assert np.array_equal(np.concatenate([first, *rest]), wanted)


def test_chunks_are_let_go(filled):
    """One chunk at a time: the generator keeps none that the caller is done with."""
    alive = []
    for D in tilewise.pairwise_distances_chunked(X, working_memory=ROWS_OF_7):
        alive.append(weakref.ref(D))
        del D
        gc.collect()
        assert sum(ref() is not None for ref in alive[:-1]) == 0


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [None, Y])
def test_chunks_are_the_matrix(metric, dtype, other):
    A = X.astype(dtype)
    B = None if other is None else other.astype(dtype)
    wanted = tilewise.pairwise_distances(A, B, metric=metric)
    for rows in (1, 7, 60, 1000):
        memory = rows * 8 * wanted.shape[1] / 2**20
        chunks = list(
            tilewise.pairwise_distances_chunked(A, B, metric=metric, working_memory=memory)
        )
        assert [len(chunk) for chunk in chunks[:-1]] == [rows] * (len(chunks) - 1)
        found = np.concatenate(chunks)
        assert found.dtype == dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("memory", [0, 0.001, 0.01, 1])
@pytest.mark.parametrize("metric", ["euclidean", "correlation"])
@pytest.mark.filterwarnings("ignore:Could not adhere")
def test_sizes_are_those_of_scikit_learn(memory, metric):
    ours = tilewise.pairwise_distances_chunked(X, Y, metric=metric, working_memory=memory)
    peers = sklearn.metrics.pairwise_distances_chunked(X, Y, metric=metric, working_memory=memory)
    for a, b in zip(ours, peers, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    with sklearn.config_context(working_memory=memory):
        again = list(tilewise.pairwise_distances_chunked(X, Y, metric=metric))
    for a, b in zip(
        again,
        tilewise.pairwise_distances_chunked(X, Y, metric=metric, working_memory=memory),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_too_little_memory_is_said():
    with pytest.warns(
        UserWarning, match=r"Could not adhere to working_memory config. Currently 0MiB, 1MiB"
    ):
        chunks = tilewise.pairwise_distances_chunked(X, working_memory=0)
    assert next(chunks).shape == (1, 60)


@pytest.mark.parametrize(
    "reduce_func",
    [
        lambda D, start: None,
        lambda D, start: list(D),
        lambda D, start: sp.csr_array(D),
        lambda D, start: (sp.dok_matrix(D), D, list(D)),
    ],
)
def test_what_reduce_func_may_return(reduce_func):
    for reduced in tilewise.pairwise_distances_chunked(
        X, reduce_func=reduce_func, working_memory=ROWS_OF_7
    ):
        assert reduced is None or isinstance(reduced, list | tuple) or sp.issparse(reduced)


@pytest.mark.parametrize(
    "reduce_func",
    [
        lambda D, start: D[:-1],
        lambda D, start: (D, D[:-1]),
        lambda D, start: 7,
        lambda D, start: (D, 7),
        lambda D, start: ((1, 2), D),
        lambda D, start: (D[0], list(D) * 2),
    ],
)
def test_what_it_may_not_is_refused_as_in_scikit_learn(reduce_func):
    errors = []
    for module in (tilewise, sklearn.metrics):
        with pytest.raises((TypeError, ValueError)) as raised:
            next(module.pairwise_distances_chunked(X, reduce_func=reduce_func))
        errors.append(raised.value)
    assert type(errors[0]) is type(errors[1])
    assert str(errors[0]) == str(errors[1])


def test_a_chunk_may_be_written_to():
    def reduce_func(D, start):
        D[...] = -1
        return None

    assert all(r is None for r in tilewise.pairwise_distances_chunked(X, reduce_func=reduce_func))
    assert np.array_equal(X, np.random.RandomState(0).standard_normal((60, 5)))


def test_precomputed_comes_whole():
    D = tilewise.pairwise_distances(X)
    chunks = tilewise.pairwise_distances_chunked(D, metric="precomputed", working_memory=0.001)
    assert next(chunks) is D
    assert list(chunks) == []


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "inner_product"])
def test_sparse_rows(metric):
    A = np.where(np.random.RandomState(2).rand(*X.shape) < 0.5, X, 0)
    wanted = tilewise.pairwise_distances(sp.csr_array(A), metric=metric)
    chunks = tilewise.pairwise_distances_chunked(
        sp.csc_array(A), metric=metric, working_memory=ROWS_OF_7
    )
    assert np.array_equal(np.concatenate(list(chunks)), wanted)


def test_mistakes_show_at_the_call():
    with pytest.raises(ValueError, match="Incompatible dimension"):
        tilewise.pairwise_distances_chunked(X, Y[:, 1:])
    with pytest.raises(TypeError, match="takes no parameter 'p'"):
        tilewise.pairwise_distances_chunked(X, metric="manhattan", p=3)
    with pytest.raises(TypeError, match="sparse"):
        tilewise.pairwise_distances_chunked(sp.csr_array(X), metric="canberra")
    bad = X.copy()
    bad[50, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN.* row 50, column 3 of X"):
        list(tilewise.pairwise_distances_chunked(bad, working_memory=ROWS_OF_7))

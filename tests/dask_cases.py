"""What tests of dask collections share: rows in partitions, and calls whose bits are known."""

import numpy as np
import pytest
import scipy.sparse as sp

import tilewise

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

import tilewise.dask as tw  # noqa: E402

ROWS, COLUMNS = 60, 5
SIZES = (7, 0, 1, 0, 40, 12)  # of partitions


def rows_x():
    return np.random.RandomState(0).standard_normal((ROWS, COLUMNS))


def rows_y():
    return np.random.RandomState(1).standard_normal((9, COLUMNS))


def cut(X, sizes=SIZES):
    return np.split(X, np.cumsum(sizes)[:-1])


def array_of(X, sizes=SIZES):
    return da.from_array(X, chunks=(sizes, X.shape[1]))


def unknown(array):
    """The same rows in chunks of unknown sizes."""
    return array[da.ones(array.shape[0], chunks=(array.chunks[0],), dtype=bool)]


def frame_of(X, sizes=SIZES, names=tuple("abcde")):
    frames = [pd.DataFrame(part, columns=names) for part in cut(X, sizes)]
    return dd.from_delayed([dask.delayed(part) for part in frames], meta=frames[0][:0])


def delayed_of(X, sizes=SIZES):
    return [dask.delayed(part) for part in cut(X, sizes)]


KINDS = {
    "array": array_of,
    "unknown": lambda X: unknown(array_of(X)),
    "frame": frame_of,
    "delayed": delayed_of,
    "frames": lambda X: [
        dask.delayed(pd.DataFrame(part, columns=list("abcde"))) for part in cut(X)
    ],
}
CALLS = [
    ("argkmin", (3,), {}),
    ("argkmin", (9,), {}),  # all rows of Y
    ("argkmin", (2,), {"return_distance": False}),
    ("pairwise_distances_argmin", (), {}),
    ("pairwise_distances_argmin_min", (), {}),
    ("radius_neighbors", (2.5,), {}),
    ("radius_neighbors", (2.5,), {"sort_results": True}),
    ("radius_neighbors", (2.5,), {"return_distance": False}),
    ("radius_neighbors", (2.5,), {"return_as": "csr", "sort_results": True}),
    ("radius_neighbors", (2.5,), {"return_as": "csr", "return_distance": False}),
]
CALL_IDS = [f"{name}{''.join(map(str, args))}-{'-'.join(more)}" for name, args, more in CALLS]


def results(found):
    return found if isinstance(found, tuple) else (found,)


def assert_same(found, expected):
    """The same types and bits."""
    found, expected = results(found), results(expected)
    assert len(found) == len(expected)
    for got, right in zip(found, expected, strict=True):
        assert (type(got), got.dtype, got.shape) == (type(right), right.dtype, right.shape)
        if sp.issparse(right):
            for part in ("data", "indices", "indptr"):
                assert_same(getattr(got, part), getattr(right, part))
        elif right.dtype == object:
            for one, other in zip(got, right, strict=True):
                assert_same(one, other)
        else:
            assert got.tobytes() == right.tobytes()


def check(X, whole, Y, name, args, more):
    """Compare with the plain function, and what was promised with what came."""
    lazy = getattr(tw, name)(X, Y, *args, **more)
    assert type(lazy) is tuple or isinstance(lazy, da.Array)
    found = dask.compute(*results(lazy))
    assert_same(found, getattr(tilewise, name)(whole, Y, *args, **more))
    for promised, got in zip(results(lazy), found, strict=True):
        assert isinstance(promised, da.Array)
        assert promised.dtype == promised._meta.dtype == got.dtype
        assert type(promised._meta) is type(got)
        assert promised.ndim == got.ndim == promised._meta.ndim
        assert promised.shape[1:] == got.shape[1:]
        assert promised.numblocks[1:] == (1,) * (got.ndim - 1)
    return results(lazy)


def one_norm(a, b):
    return np.abs(a - b).sum()

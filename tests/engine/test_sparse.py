"""Matrices of distances to CSR rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from hostile import ISAS

from tilewise.engine import Rows, fill_matrix
from tilewise.kernels._sparse import KERNELS, fill_sparse
from tilewise.plan.pairs import walks_y

METRICS = [name for name in KERNELS if name != "dot"]
#: rows of X, rows of Y, columns, share stored: around every block of the kernels.
SHAPES = [
    (1, 1, 1, 1.0),
    (3, 5, 3, 0.5),
    (37, 700, 50, 0.1),
    (700, 37, 50, 0.1),
    (513, 514, 300, 0.02),
    (257, 65, 1, 0.5),
    (600, 2100, 40, 0.3),
    (3, 4, 9, 0.0),
]
SIDES = ["csr, csr", "csr, dense", "dense, csr"]


def fill(x, y, kernel, dtype=np.float64, isa=ISAS[-1], n_threads=1, **sizes):
    wide = np.float64 if dtype == np.float64 else None
    out = np.full((x.shape[0], y.shape[0]), np.nan, dtype)
    x, y = Rows(x, wide), Rows(y, wide)
    walk_y = walks_y(*out.shape, sparse=(x.is_sparse, y.is_sparse))
    fill_sparse(
        x, 0, y, 0, out, kernel=kernel, isa=isa, n_threads=n_threads,
        **{"walk_y": walk_y, "panel_vectors": 4, **sizes},
    )  # fmt: skip
    return out


def sizes_of(x, y):
    """Every choice of the sizes that a plan makes."""
    for walk_y in (False, True):
        if sp.issparse(y if walk_y else x):
            for panel_vectors in (1, 2, 4):
                yield {"walk_y": walk_y, "panel_vectors": panel_vectors}


def as_sides(A, B, sides):
    """The same rows, each side stored as named."""
    left, right = sides.split(", ")
    return (A if left == "csr" else A.toarray()), (B if right == "csr" else B.toarray())


def plain(A, B, kernel):
    """Direct differences in long double; A, B dense."""
    A, B = A.astype(np.longdouble), B.astype(np.longdouble)
    if kernel == "dot":
        return A @ B.T
    if kernel == "cosine":
        lengths = [np.sqrt(np.square(M).sum(1, keepdims=True)) for M in (A, B)]
        zero = (lengths[0] == 0) | (lengths[1].T == 0)
        A, B = (M / np.where(s == 0, 1, s) for M, s in zip((A, B), lengths, strict=True))
    out = np.empty((len(A), len(B)), np.longdouble)
    for i, row in enumerate(A):
        gaps = row - B
        out[i] = np.abs(gaps).sum(1) if kernel == "manhattan" else np.square(gaps).sum(1)
    if kernel == "cosine":
        return np.where(zero, 1, out / 2)
    return np.sqrt(out) if kernel == "euclidean" else out


def unit_rows_round(expected):
    """What the numbers of rows of unit length, each rounded, leave of half a squared gap."""
    return 1e-14 * expected + 2.0**-50 * np.sqrt(expected) + 1e-30


def random_pair(n, m, d, density, dtype, seed=0):
    """Two CSR matrices; the first rows of both are equal, or nearly."""
    rng = np.random.default_rng(seed)
    A, B = (
        sp.random_array((rows, d), density=density, rng=rng, data_sampler=rng.standard_normal)
        for rows in (n, m)
    )
    A, B = A.toarray().astype(dtype), B.toarray().astype(dtype)
    same = min(n, m) // 2
    B[:same] = A[:same]
    near = B[: same // 2]
    near[near != 0] = np.nextafter(near[near != 0], dtype(np.inf))
    return sp.csr_array(A), sp.csr_array(B)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sides", SIDES)
def test_against_plain_differences(sides, kernel, dtype):
    for n, m, d, density in SHAPES:
        A, B = random_pair(n, m, d, density, dtype)
        expected = plain(A.toarray(), B.toarray(), kernel)
        got = fill(*as_sides(A, B, sides), kernel)
        if kernel == "dot":
            size = np.abs(A.toarray()) @ np.abs(B.toarray()).T
            assert (np.abs(got - expected) <= 2.0**-52 * (d + 2) * size).all()
        elif kernel == "cosine":
            assert (np.abs(got - expected) <= unit_rows_round(expected)).all()
        else:
            assert (np.abs(got - expected) <= 1e-14 * expected).all()
        if dtype == np.float32:
            got = fill(*as_sides(A, B, sides), kernel, np.float32)
            if kernel != "dot":
                assert (np.abs(got - expected) <= 1e-6 * expected + 1e-30).all()


@pytest.mark.parametrize("out", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sides", SIDES)
def test_equal_bits_whatever_computes_them(sides, kernel, out):
    for n, m, d, density in SHAPES:
        A, B = random_pair(n, m, d, density, np.float32)
        X, Y = as_sides(A, B, sides)
        wanted = fill(X, Y, kernel, out)
        for isa in ISAS:
            for n_threads in (1, 2, 3):
                assert np.array_equal(fill(X, Y, kernel, out, isa, n_threads), wanted)
        for sizes in sizes_of(X, Y):
            assert np.array_equal(fill(X, Y, kernel, out, **sizes), wanted)
        # Part of the rows, into part of a wider matrix.
        first_x, first_y = n // 3, m // 2
        wide = np.full((n - first_x, m - first_y + 5), 77, out)
        part = wide[:, 2 : 2 + m - first_y]
        types = np.float64 if out == np.float64 else None
        fill_sparse(
            Rows(X, types), first_x, Rows(Y, types), first_y, part,
            kernel=kernel, isa=ISAS[-1], n_threads=2, walk_y=sides == "dense, csr",
            panel_vectors=2,
        )  # fmt: skip
        assert np.array_equal(part, wanted[first_x:, first_y:])
        assert (wide[:, :2] == 77).all()
        assert (wide[:, 2 + m - first_y :] == 77).all()


@pytest.mark.parametrize("out", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", METRICS)
def test_symmetric_with_zeros_on_the_diagonal(kernel, out):
    for n, density in ((50, 0.2), (700, 0.05), (30, 0.0)):
        A, _ = random_pair(n, 1, 60, density, np.float32, seed=n)
        got = fill(A, A, kernel, out)
        assert np.array_equal(got, got.T)
        stored = np.diff(A.indptr) > 0
        own = np.diag(got)
        # Rows of zeros are at cosine distance one from everything.
        assert np.array_equal(own, np.where(stored | (kernel != "cosine"), 0, 1))
        assert (got >= 0).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_indices_in_any_state(kernel):
    rng = np.random.default_rng(3)
    n, d = 90, 23
    counts = rng.integers(0, 2 * d, n)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = rng.integers(d, size=offsets[-1])
    values = rng.integers(-3, 4, offsets[-1]).astype(np.float32)
    dense = np.zeros((n, d), np.float32)
    np.add.at(dense, (np.repeat(np.arange(n), counts), columns), values)
    for index in (np.int32, np.int64):
        X = sp.csr_array((values, columns.astype(index), offsets.astype(index)), shape=(n, d))
        before = [a.copy() for a in (X.data, X.indices, X.indptr)]
        for array in (X.data, X.indices, X.indptr):
            array.flags.writeable = False
        wanted = fill(sp.csr_array(dense), dense, kernel)
        assert np.array_equal(fill(X, dense, kernel), wanted)
        assert np.array_equal(fill(dense, X, kernel), fill(dense, sp.csr_array(dense), kernel))
        assert np.array_equal(
            fill(X, X, kernel), fill(sp.csr_array(dense), sp.csr_array(dense), kernel)
        )
        for array, old in zip((X.data, X.indices, X.indptr), before, strict=True):
            assert array.dtype == old.dtype
            assert np.array_equal(array, old)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", [1e30, 1e-30, 1e-44])
def test_magnitudes_of_float32(sides, size):
    A, B = random_pair(40, 60, 30, 0.3, np.float32)
    A, B = (sp.csr_array(M.toarray() * np.float32(size)) for M in (A, B))
    X, Y = as_sides(A, B, sides)
    for kernel in ("euclidean", "manhattan", "cosine"):
        expected = plain(A.toarray(), B.toarray(), kernel).astype(np.float64)
        got = fill(X, Y, kernel, np.float32)
        tiny = np.finfo(np.float32).smallest_subnormal
        assert (np.abs(got - expected) <= 1e-6 * expected + tiny).all(), kernel


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", [1e150, 1e200, 1e-150, 1e-170, 5e-324])
def test_magnitudes_of_float64(sides, size):
    A, B = random_pair(40, 60, 30, 0.3, np.float64)
    with np.errstate(all="ignore"):
        A, B = (sp.csr_array(M.toarray() * size) for M in (A, B))
    X, Y = as_sides(A, B, sides)
    for kernel in ("manhattan", "cosine"):
        expected = plain(A.toarray(), B.toarray(), kernel)
        got = fill(X, Y, kernel)
        # Subnormal numbers of d columns add without rounding.
        bound = unit_rows_round(expected) if kernel == "cosine" else 1e-14 * expected
        assert (np.abs(got - expected) <= bound).all()
    # Squares that overflow or vanish do so in the canonical distance too.
    for kernel in ("euclidean", "sqeuclidean"):
        wanted = fill_matrix(
            Rows(A.toarray()), Rows(B.toarray()), np.empty((40, 60)), kernel=kernel
        )
        got = fill(X, Y, kernel)
        assert not np.isnan(got).any()
        with np.errstate(invalid="ignore"):
            assert ((got == wanted) | (np.abs(got - wanted) <= 1e-14 * wanted)).all()


def test_near_duplicates_have_canonical_bits():
    rng = np.random.default_rng(5)
    A = sp.random_array((60, 500), density=0.1, rng=rng, format="csr")
    B = A.copy()
    B.data *= 1 + 1e-9 * rng.standard_normal(B.data.size)
    wanted = fill_matrix(
        Rows(A.toarray()), Rows(B.toarray()), np.empty((60, 60)), kernel="euclidean"
    )
    for sides in SIDES:
        got = fill(*as_sides(A, B, sides), "euclidean")
        assert np.array_equal(np.diag(got), np.diag(wanted))
        assert np.diag(got).min() > 0


def test_what_cannot_be_filled_is_refused():
    X = Rows(sp.csr_array(np.eye(4)))
    ways = {"kernel": "euclidean", "isa": ISAS[-1], "n_threads": 1}
    ways |= {"walk_y": False, "panel_vectors": 4}
    with pytest.raises(ValueError, match="one side must be CSR"):
        fill_sparse(Rows(np.eye(4)), 0, Rows(np.eye(4)), 0, np.empty((4, 4)), **ways)
    with pytest.raises(ValueError, match="columns"):
        fill_sparse(X, 0, Rows(np.eye(3)), 0, np.empty((4, 3)), **ways)
    for wrong in ({"walk_y": True}, {"panel_vectors": 3}):
        with pytest.raises(ValueError, match="walk_y"):
            fill_sparse(X, 0, Rows(np.eye(4)), 0, np.empty((4, 4)), **(ways | wrong))
    with pytest.raises(ValueError, match="more rows or columns"):
        fill_sparse(X, 1, X, 0, np.empty((4, 4)), **ways)
    with pytest.raises(ValueError, match="no sparse kernel"):
        fill_sparse(X, 0, X, 0, np.empty((4, 4)), **(ways | {"kernel": "canberra"}))
    with pytest.raises(ValueError, match="contiguous"):
        fill_sparse(X, 0, X, 0, np.empty((4, 8))[:, ::2], **ways)
    with pytest.raises(ValueError, match="float32 or float64"):
        fill_sparse(X, 0, X, 0, np.empty((4, 4), int), **ways)

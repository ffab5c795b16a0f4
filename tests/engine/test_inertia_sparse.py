"""Distances of CSR rows to their own centre, from stored entries, against exact fractions."""

from fractions import Fraction

import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp

from tilewise.engine import Rows, own_distances

# Of a distance that stored entries give, in units of 2**-53: docs/exact-labels.md.
WORST = 60
SIZES = {"plain": 1.0, "small": 1e-70, "large": 1e70}


def make(rng, n, d, k, dtype, scale):
    """Sparse rows, some of them empty, and dense centres of different lengths."""
    values = rng.standard_normal((n, d)) * (rng.random_sample((n, d)) < 0.02) * scale
    values[rng.random_sample(n) < 0.1] = 0
    centers = rng.standard_normal((k, d)) * scale * 10.0 ** rng.uniform(-3, 1, (k, 1))
    return values.astype(dtype), centers.astype(dtype).astype(np.float64)


def measured(X, centers, labels, isa=None, threads=1, weights=None):
    rows = Rows(sp.csr_array(X))
    assert rows.density <= 0.03
    plan = hostile.plan_for(rows, len(centers), isa, n_threads=threads)
    out = np.empty(len(X))
    return own_distances(rows, centers, labels, weights, plan, out=out), out


def exact(x, c):
    return sum((Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(x, c, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_error_is_below_its_bound(size, dtype):
    rng = np.random.RandomState(0)
    scale = SIZES[size] if dtype == np.float64 else SIZES[size] ** 0.2
    X, centers = make(rng, 40, 300, 7, dtype, scale)
    labels = rng.randint(7, size=40).astype(np.int32)
    _, found = measured(X, centers, labels)
    for x, j, value in zip(X, labels, found, strict=True):
        right = exact(x, centers[j])
        assert abs(Fraction(value) - right) <= WORST * right / 2**53


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_cancels_is_canonical(dtype):
    """Rows beside their centre, or equal to it, and rows whose squares leave the range."""
    rng = np.random.RandomState(1)
    X, _ = make(rng, 30, 400, 1, dtype, 1.0)
    X[20:] *= dtype(1e-20) if dtype == np.float32 else 1e-160
    centers = X.astype(np.float64)
    centers[5:20] *= 1 + 1e-5
    labels = np.arange(30, dtype=np.int32)
    _, found = measured(X, centers, labels)
    canonical = np.diagonal(reference.canonical(X.astype(np.float64), centers))
    np.testing.assert_array_equal(found, canonical)
    assert (found[:5] == 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_same_for_all_threads_and_instruction_sets(weighted):
    rng = np.random.RandomState(2)
    X, centers = make(rng, 5000, 90, 9, np.float32, 1.0)
    centers[3] = X[3]
    labels = rng.randint(9, size=5000).astype(np.int32)
    weights = rng.uniform(0, 2, 5000) if weighted else None
    total, found = measured(X, centers, labels, weights=weights)
    np.testing.assert_allclose(total, (found * (1 if weights is None else weights)).sum())
    for isa in hostile.ISAS:
        for threads in (1, 3):
            other = measured(X, centers, labels, isa, threads, weights)
            assert other[0] == total
            np.testing.assert_array_equal(other[1], found)


def test_picked_rows():
    rng = np.random.RandomState(3)
    X, centers = make(rng, 60, 500, 4, np.float64, 1.0)
    labels = rng.randint(4, size=60).astype(np.int32)
    picks = rng.permutation(60)[:25]
    _, whole = measured(X, centers, labels)
    _, found = measured(X[picks], centers, labels[picks])
    np.testing.assert_array_equal(found, whole[picks])

"""One result, bit for bit, however it is computed."""

import os
import subprocess
import sys

import hostile
import numpy as np
import pytest
import scipy.sparse as sp

from tilewise import KMeans
from tilewise.algorithms import lloyd
from tilewise.engine import Rows, column_stats
from tilewise.plan import plan as make_plan


def bits(model):
    return (
        model.cluster_centers_.tobytes(),
        model.labels_.tobytes(),
        model.inertia_,
        model.n_iter_,
    )


def blobs(n, d, dtype, seed=0):
    rng = np.random.RandomState(seed)
    return (rng.standard_normal((n, d)) + 3 * rng.randint(0, 3, (n, 1))).astype(dtype)


#: rows, columns, clusters; every one has at least five shards.
SHAPES = [(10_500, 3, 13), (12_000, 41, 29), (11_000, 17, 6)]


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_chunks_engines_and_orders(n, d, k, weighted, dtype):
    X = blobs(n, d, dtype)
    weights = np.random.RandomState(1).uniform(0, 2, n) if weighted else None
    variants = [
        X, np.asfortranarray(X), X.astype(X.dtype.newbyteorder("S")),
        np.repeat(X, 2, axis=1)[:, ::2],
    ]  # fmt: skip
    whole = make_plan(n, d, k, dtype)
    assert whole.n_shards >= 5
    fits = [{"n_threads": t} for t in (1, 2, 3, 8)]
    fits += [{"chunk_size": c, "n_threads": 2} for c in (whole.tile_rows, whole.tile_rows + 37, n)]
    fits += [{"engine": "blas", "n_threads": t} for t in (1, 3)]
    fits += [{"engine": "blas", "chunk_size": 101}, {"algorithm": "elkan"}]
    runs = [(X, parameters) for parameters in fits] + [(variant, {}) for variant in variants]
    results = {
        bits(KMeans(k, random_state=0, max_iter=12, tol=0, **parameters).fit(rows, None, weights))
        for rows, parameters in runs
    }
    assert len(results) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_indices_and_threads(dtype):
    X = blobs(4_000, 41, dtype)
    X[np.abs(X) < 1.5] = 0
    narrow, wide = sp.csr_array(X), sp.csr_array(X)
    narrow.indices, narrow.indptr = narrow.indices.astype("i4"), narrow.indptr.astype("i4")
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    results = {
        bits(KMeans(20, random_state=0, max_iter=8, **parameters).fit(rows))
        for rows in (narrow, wide, sp.csc_array(X))
        for parameters in ({}, {"n_threads": 3}, {"engine": "blas"}, {"chunk_size": 100})
    }
    assert len(results) == 1


def run_lloyd(X, centers, weights, isa, **changes):
    rows = Rows(X)
    plan = hostile.plan_for(rows, len(centers), isa, **changes)
    stats = column_stats(rows, plan)
    return lloyd(rows, centers, weights=weights, max_iter=10, plan=plan, stats=stats)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_instruction_sets_and_score_types(n, d, k, empty):
    for dtype in (np.float32, np.float64):
        X = blobs(n, d, dtype)
        weights = np.random.RandomState(1).uniform(0, 2, n)
        centers = X[:k].astype(np.float64)
        if empty:  # nothing is close to these
            centers[[0, k // 2, k - 1]] += 1e4
        results = set()
        for isa, engine, score in hostile.WAYS:
            for n_threads in (1, 3):
                found = run_lloyd(
                    X, centers, weights, isa, engine=engine, score_dtype=score, n_threads=n_threads
                )
                results.add(
                    (found.labels.tobytes(), found.centers.tobytes(), found.inertia, found.n_iter)
                )
        assert len(results) == 1


FIT = """
import hashlib, sys
import numpy as np
from tilewise import KMeans
rng = np.random.RandomState(0)
X = rng.standard_normal((10_500, 21)) + 3 * rng.randint(0, 3, (10_500, 1))
for dtype in (np.float32, np.float64):
    for init in ("k-means++", "k-means||", "random"):
        model = KMeans(17, random_state=0, max_iter=10, tol=0, init=init).fit(X.astype(dtype))
        assert model.chunk_plan_.isa == sys.argv[1]
        seen = hashlib.sha256(model.cluster_centers_.tobytes() + model.labels_.tobytes())
        print(seen.hexdigest(), model.inertia_.hex(), model.n_iter_)
"""


def test_instruction_sets_of_whole_processes():
    results = {
        subprocess.run(
            [sys.executable, "-c", FIT, isa], env=os.environ | {"TILEWISE_ISA": isa},
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout
        for isa in hostile.ISAS
    }  # fmt: skip
    assert len(results) == 1


def test_repeated_fits_are_equal():
    X = blobs(10_500, 8, np.float32)
    results = {bits(KMeans(12, random_state=4, n_threads=8).fit(X)) for _ in range(5)}
    assert len(results) == 1

"""Sums on their way: nothing is lost, however many limbs and clusters."""

import itertools

import hostile
import numpy as np
import pytest

from tilewise import engine
from tilewise.dask import _wire


def job_of(X, k, weights=None):
    rows = engine.Rows(X)
    plan = hostile.plan_for(rows, k)
    job = {
        "n_clusters": k, "n_features": X.shape[1], "dtype": rows.compute_dtype.name,
        "stats": engine.column_stats(rows, plan), "weight_sizes": engine.weight_sizes(weights),
    }  # fmt: skip
    return job, plan


def filled(job, plan, X, centers, weights=None):
    """The sums of a pass over some rows, which may start as another number of rows."""
    rows = engine.Rows(X)
    run = engine.Pass(rows, len(centers), plan, weights=weights, sums=_wire.open_sums(job, plan))
    run.assign_and_sum(centers)
    return run.sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [0, 30, 200, 500, "mixed"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 7, 8, 21])
def test_sums_of_parts_are_those_of_all(dtype, spread, weighted, d):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(3000, d))
    if spread == "mixed":  # limbs differ from block to block
        X[:, -1] *= np.exp2(rng.integers(-400, 400, 3000))
    elif dtype == np.float64 or spread <= 30:
        X *= np.exp2(rng.integers(-spread, spread + 1, 3000))[:, None]
    with np.errstate(over="ignore"):
        X = X.astype(dtype)
    X[~np.isfinite(X)] = 1
    weights = rng.uniform(size=3000) if weighted else None
    centers = X[:5].astype(np.float64)
    job, plan = job_of(X, 5, weights)
    whole = filled(job, plan, X, centers, weights)
    cuts = [0, 1, 700, 701, 2900, 3000]
    packed = []
    for first, last in itertools.pairwise(cuts):
        own = None if weights is None else weights[first:last]
        packed.append(_wire.pack(filled(job, plan, X[first:last], centers, own), d))
    together = _wire.open_sums(job, plan)
    _wire.taken(together, _wire.merged(job, plan, packed[:3]))
    _wire.taken(together, _wire.merged(job, plan, packed[3:]))
    assert np.array_equal(together.members, whole.members)
    assert together.weights.tobytes() == whole.weights.tobytes()
    assert together.values.tobytes() == whole.values.tobytes()
    for one, other in zip(together.state(), whole.state(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 12), (np.float64, 16)])
def test_few_bytes(dtype, most):
    """Of a number of centres 8 bytes go down; of its sum no more than 16 come up."""
    X = np.random.default_rng(0).normal(size=(5000, 60)).astype(dtype)
    centers = X[:40].astype(np.float64)
    job, plan = job_of(X, 40)
    packed = _wire.pack(filled(job, plan, X, centers), 60)
    sent = sum(array.nbytes for array in packed.values())
    assert sent <= 40 * 60 * most + 40 * 16
    assert sent + centers.nbytes <= 3 * 40 * 60 * 8 + 40 * 16


def test_sums_on_another_grid_are_refused():
    X = np.random.default_rng(0).normal(size=(500, 6))
    job, plan = job_of(X, 3)
    other, _ = job_of(X, 4)
    sums = filled(job, plan, X, X[:3].copy())
    with pytest.raises(ValueError, match="another grid"):
        _wire.taken(_wire.open_sums(other, plan), _wire.pack(sums, 6))
    few = engine.open_sums(3, plan, job["stats"], np.float64, n_rows=5)
    with pytest.raises(ValueError, match="few rows"):
        few.add(*sums.state())

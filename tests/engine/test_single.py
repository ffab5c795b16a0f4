"""Rows answered one by one: what a pass over them says, or nothing."""

import hostile
import numpy as np
import pytest
import reference

from tilewise import engine
from tilewise.kernels import _single
from tilewise.plan.thresholds import most_single_rows

TYPES = [(a, b) for a in (np.float32, np.float64) for b in (np.float32, np.float64)]


def check(X, centers, isa):
    """Labels and gaps, or None where float64 has no room for them."""
    rows, own = X.astype(np.float64), centers.astype(np.float64)
    with np.errstate(all="ignore"):
        gaps = reference.canonical(rows, own)
    expected = gaps.argmin(axis=1)
    least = gaps.min(axis=1)
    labels = _single.labels_of(X, centers, isa)
    found = _single.gaps_of(X, centers, isa)
    assert (labels is None) == (found is None)
    if labels is None:
        assert X.dtype == np.float64 or centers.dtype == np.float64
        sizes = np.abs(own).max(initial=0.0)
        assert not np.isfinite(least).all() or not (sizes == 0 or 2**-400 <= sizes <= 2**480)
        return False
    assert labels.dtype == np.int32
    assert np.array_equal(labels, expected)
    assert np.array_equal(found, least)
    return True


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype, isa):
    seed = hostile.CASES.index((name, dtype))
    rng = np.random.RandomState(seed)
    for n, d, k in hostile.shapes(seed, 300_000):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        X = np.asarray(X)[:40]
        if not len(X) or X.dtype not in (np.float32, np.float64):
            continue
        with np.errstate(over="ignore"):
            own = centers.astype(X.dtype)
        check(X, centers, isa)
        if np.isfinite(own).all():
            check(X, own, isa)


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize(("row_type", "center_type"), TYPES)
def test_every_depth_and_number_of_centres(row_type, center_type, isa):
    rng = np.random.RandomState(3)
    for d in (*hostile.DEPTHS, 1023, 1024, 1025):
        for k in (1, 2, 3, 4, 5, 15, 16, 17, 100, 1023, 1024, 1025) if d < 34 else (1, 7, 33):
            centers = (rng.standard_normal((k, d)) + 100).astype(center_type)
            X = centers[rng.randint(k, size=35)] + 0.3 * rng.standard_normal((35, d))
            X[:9] = (centers[rng.randint(k, size=9)] + centers[rng.randint(k, size=9)]) / 2
            for n in (1, 2, 35):
                assert check(X[:n].astype(row_type), centers, isa)


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("row_type", [np.float32, np.float64])
def test_ties_go_to_the_first(row_type, isa):
    """Also where equal centres are far apart, in different chunks."""
    centers = np.full((2500, 3), 7, row_type)
    centers[[300, 1500, 2400]] = 1
    for X in (np.ones((40, 3), row_type), np.full((1, 3), 0.5, row_type)):
        assert (_single.labels_of(X, centers, isa) == 300).all()


@pytest.mark.parametrize("isa", hostile.ISAS)
def test_what_is_not_finite_is_left_to_others(isa):
    for row_type, center_type in TYPES:
        centers = np.arange(60, dtype=center_type).reshape(20, 3)
        for value in (np.nan, np.inf, -np.inf):
            X = np.ones((5, 3), row_type)
            X[3, 1] = value
            assert _single.labels_of(X, centers, isa) is None
            assert _single.distances_of(X, centers, isa) is None
            assert _single.labels_of(X[:3], centers, isa) is not None


def test_layouts_of_rows():
    rng = np.random.RandomState(0)
    for row_type, center_type in TYPES:
        X = rng.standard_normal((12, 10)).astype(row_type)
        centers = rng.standard_normal((6, 5)).astype(center_type)
        for view in (X[:, ::2], X[::3, 4::-1], np.asfortranarray(X)[:, 5:]):
            expected = reference.canonical(view.astype(np.float64), centers.astype(np.float64))
            assert np.array_equal(_single.labels_of(view, centers), expected.argmin(axis=1))
            assert np.array_equal(_single.distances_of(view, centers), expected)


def test_what_cannot_be_read_as_it_is():
    X, centers = np.ones((3, 4)), np.ones((2, 4))
    for other in (
        X[:, :3],
        X[0],
        X.astype(">f8"),
        X.astype(int),
        X.astype(np.float16),
        [[1.0] * 4],
    ):
        assert _single.labels_of(other, centers) is None
    for other in (np.asfortranarray(centers), centers.astype(">f8"), centers[:0], centers.tolist()):
        assert _single.labels_of(X, other) is None
    with pytest.raises(ValueError, match="C order"):
        _single.SingleRows(np.asfortranarray(np.ones((2, 4))), np.dtype("f8"))


@pytest.mark.parametrize("wanted", ["labels", "inertia", "distances"])
def test_the_planner_says_how_many(wanted):
    centers = np.random.RandomState(0).standard_normal((20, 6))
    most = most_single_rows(20, 6, "float64")
    X = np.ones((most + 1, 6))
    assert engine.few_rows(X, centers, wanted) is None
    assert engine.few_rows(X[:0], centers, wanted) is None
    assert engine.few_rows(X[:most], centers, wanted) is not None
    assert engine.few_rows(engine.Rows(X[:most]), centers, wanted) is not None
    assert engine.few_rows(engine.Rows(X), centers, wanted) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fewer_rows_for_larger_models(dtype):
    shapes = (1, 1), (16, 16), (256, 64), (1024, 384), (4096, 768)
    found = [most_single_rows(*shape, dtype) for shape in shapes]
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 1
    assert most_single_rows(256, 64, "float64") < most_single_rows(256, 64, "float32")

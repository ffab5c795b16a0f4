"""A first look in bytes: what it settles, what it leaves, and where it ends."""

import hostile
import numpy as np
import pytest
import reference

from tilewise.engine import Pass, Rows

ISAS = hostile.ISAS


def passed(X, centers, isa, **changes):
    rows = Rows(X)
    plan = hostile.plan_for(rows, len(centers), isa, look=True, **changes)
    run = Pass(rows, len(centers), plan, bounds=True)
    run.assign(centers)
    return run, run.looks


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_settles_most_rows(isa, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 48)).astype(dtype)
    centers = X[:100].astype(np.float64)
    run, (looked, left, measured) = passed(X, centers, isa, n_threads=2)
    assert looked == run.scored == 3000
    assert left == 0
    assert 3000 <= measured < 9000
    assert run._look
    assert np.array_equal(run.labels, reference.assign(reference.Rows(X), centers))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_it_ends_where_it_leaves_too_much(isa, n_threads):
    """One column is so large that bytes see nothing of the others."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((40_000, 40)).astype(np.float32)
    X[:, 7] *= 1e5
    centers = rng.standard_normal((80, 40))
    run, (looked, left, _) = passed(X, centers, isa, n_threads=n_threads)
    assert 0.9 * looked < left
    assert looked < 2000
    assert not run._look
    assert np.array_equal(run.labels, reference.assign(reference.Rows(X), centers))
    again = run.labels.copy()
    run.restart()
    run.assign(centers)
    assert run.looks == [0, 0, 0]
    assert np.array_equal(run.labels, again)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_that_it_cannot_hold_are_scored(isa):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((900, 33)).astype(np.float32)
    X[::10] *= 1e25
    centers = rng.standard_normal((50, 33))
    run, (looked, left, _) = passed(X, centers, isa)
    assert (looked, left) == (900, 90)
    assert np.array_equal(run.labels, reference.assign(reference.Rows(X), centers))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(isa, value):
    X = np.random.default_rng(3).standard_normal((500, 40)).astype(np.float32)
    X[123, 39] = X[400, 2] = value
    with pytest.raises(ValueError, match=r"\b123\b"):
        passed(X, X[:60].astype(np.float64), isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_ties_and_duplicates(isa, offset):
    """Of equal centres the first counts, of nearly equal ones the closest."""
    rng = np.random.default_rng(4)
    centers = np.repeat(rng.integers(-3, 4, (100, 26)), 3, axis=0) + offset
    centers[2::3] += rng.uniform(-1, 1, (100, 26)) * 1e-7
    X = (centers[rng.integers(300, size=2000)] + rng.standard_normal((2000, 26)) * 0.5).astype(
        np.float32
    )
    X[:500] = ((centers[:50, None] + centers[None, 40:50]) / 2).reshape(500, 26)
    run, (looked, _, _) = passed(X, centers, isa)
    assert looked == 2000
    assert np.array_equal(run.labels, reference.assign(reference.Rows(X), centers))


@pytest.mark.parametrize("groups", [False, True])
def test_only_passes_that_others_do_not_follow_have_one(groups):
    """With bounds of rows alone, or of groups, later passes do without."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((4000, 40)).astype(np.float32)
    rows, centers = Rows(X), X[:96].astype(np.float64)
    plan = hostile.plan_for(rows, 96, look=True, groups=groups)
    run, looked = Pass(rows, 96, plan, bounds=True, sums=True), []
    for i in range(6):
        # Groups start as soon as they may.
        run._patience = 0 if i == 3 else 1
        run.assign_and_sum(centers)
        looked.append(run.looks[0] / max(1, run.scored))
        centers = run.blank(centers)
        run.average(centers)
    assert looked[0] == 1
    assert looked[1] == groups
    assert looked[3:] == [0, 0, 0]
    assert run._grouped == groups

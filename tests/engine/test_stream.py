"""Passes over rows that are read in parts: the bits of passes over rows in memory."""

import dataclasses

import exact_sums
import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import ArraySource, clouds, streamed

from tilewise.algorithms import LloydState, kmeans_plusplus, lloyd
from tilewise.engine import (
    Pass,
    Rows,
    StreamRows,
    column_stats,
    count_rows,
    own_distances,
)
from tilewise.plan import exact_shard_rows
from tilewise.plan import plan as make_plan


def bits(run):
    return run.labels.tobytes(), run.centers.tobytes(), run.inertia, run.n_iter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(9000, 3), (7001, 41), (384, 5), (1, 2), (20_001, 1)])
@pytest.mark.parametrize("parts", [(384, 384), (1152, 384), (7680, 768)])
def test_moments_are_those_of_rows_in_memory(n, d, dtype, parts):
    X = clouds(n, d, dtype)
    X[n // 2] *= 1e4
    for n_threads in (1, 3):
        plan = make_plan(n, d, 4, dtype, n_threads=n_threads)
        expected = column_stats(Rows(X), plan)
        rows = streamed(X, *parts)
        for random_access in (True, False):
            rows.source.random_access = random_access
            found = column_stats(rows, plan)
            for name in ("mean", "variance", "largest", "least"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def starts(X, k):
    """Centres that leave clusters empty, twice the same one among them."""
    centers = X[:k].astype(np.float64)
    centers[-3:-1] = 1e3
    centers[-1] = centers[0]
    return centers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(9001, 3, 13), (8000, 41, 60), (6000, 17, 6)])
def test_lloyd_is_that_of_rows_in_memory(n, d, k, dtype):
    X = clouds(n, d, dtype)
    rng = np.random.RandomState(1)
    for weights in (None, rng.randint(0, 3, n).astype(float), rng.uniform(0, 1e-9, n)):
        plan = make_plan(n, d, k, dtype, n_threads=1)
        assert plan.n_shards > 2
        stats = column_stats(Rows(X), plan)
        how = {"weights": weights, "max_iter": 9, "stats": stats}
        expected = bits(lloyd(Rows(X), starts(X, k), plan=plan, **how))
        for parts in ((384, 384), (384 * 5, 384), (384 * 6, 768), (384 * 40, 384 * 4)):
            for n_threads in (1, 3):
                for bounds in (True, False):
                    threaded = make_plan(n, d, k, dtype, n_threads=n_threads)
                    rows = streamed(X, *parts, random_access=n_threads == 1)
                    run = lloyd(rows, starts(X, k), plan=threaded, bounds=bounds, **how)
                    assert bits(run) == expected


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("engine", hostile.ENGINES)
def test_instruction_sets_engines_and_chunks(isa, engine):
    X = clouds(5000, 30)
    results = set()
    for score in hostile.SCORES:
        rows = Rows(X)
        plan = hostile.plan_for(rows, 20, isa, engine, score)
        results.add(bits(lloyd(rows, starts(X, 20), plan=plan, max_iter=7)))
        stream = streamed(X, 1152)
        results.add(bits(lloyd(stream, starts(X, 20), plan=plan, max_iter=7)))
        small = dataclasses.replace(plan, chunk_rows=plan.tile_rows)
        results.add(bits(lloyd(stream, starts(X, 20), plan=small, max_iter=7)))
    assert len(results) == 1


def test_products_of_parts():
    X = clouds(5000, 70)
    start = starts(X, 50)
    expected = bits(lloyd(Rows(X), start, plan=hostile.plan_for(Rows(X), 50), max_iter=7))
    for isa, products in hostile.SPLITS:
        plan = hostile.plan_for(Rows(X), 50, isa, products=products)
        for n_threads in (1, 2):
            threaded = dataclasses.replace(plan, n_threads=n_threads)
            for bounds in (True, False):
                run = lloyd(streamed(X, 1152), start, plan=threaded, max_iter=7, bounds=bounds)
                assert bits(run) == expected, (isa, products, n_threads, bounds)


@pytest.mark.parametrize("kind", ["duplicates", "one cluster per row", "one row", "one value"])
def test_ties_and_empty_clusters(kind):
    X = {
        "duplicates": np.repeat(np.arange(6.0)[:, None], 700, axis=0).astype(np.float32),
        "one cluster per row": clouds(400, 3),
        "one row": clouds(1, 3),
        "one value": np.zeros((2000, 2), np.float32),
    }[kind]
    k = {"one cluster per row": 400, "one row": 1}.get(kind, 9)
    centers = np.zeros((k, X.shape[1])) if kind != "one cluster per row" else X.astype(float)
    plan = make_plan(*X.shape, k)
    expected = lloyd(Rows(X), centers, plan=plan, max_iter=20)
    assert bits(lloyd(streamed(X, 384), centers, plan=plan, max_iter=20)) == bits(expected)


def test_a_shard_may_be_longer_than_a_part():
    X = clouds(60_000, 2, seed=3)
    plan = make_plan(60_000, 2, 5, n_threads=1)
    assert plan.shard_rows > 384
    assert exact_shard_rows(60_000, 2) > 384
    expected = lloyd(Rows(X), starts(X, 5), plan=plan, max_iter=4)
    assert bits(lloyd(streamed(X, 384), starts(X, 5), plan=plan, max_iter=4)) == bits(expected)


def test_settled_pieces_are_not_read():
    X = np.sort(clouds(40_000, 2, seed=2), axis=0)
    plan = make_plan(*X.shape, 3, n_threads=1)
    rows = streamed(X, 384 * 10)
    how = {"plan": plan, "max_iter": 30, "stats": column_stats(Rows(X), plan)}
    run = lloyd(rows, X[[0, 20_000, -1]].astype(float), **how)
    report = rows.report
    assert run.n_iter > 5
    assert report.rows_skipped > len(X)
    assert report.rows == rows.source.read_rows
    assert report.rows + report.rows_skipped == (run.n_iter + 1) * len(X)
    sequential = streamed(X, 384 * 10, random_access=False)
    again = lloyd(sequential, X[[0, 20_000, -1]].astype(float), **how)
    assert bits(again) == bits(run)
    assert sequential.report.rows_skipped == 0


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_seeding_is_that_of_rows_in_memory(data):
    n = data.draw(st.integers(30, 3000))
    d = data.draw(st.sampled_from([1, 2, 9, 40]))
    k = data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    X = clouds(n, d, dtype, seed=data.draw(st.integers(0, 99)))
    weights = None
    if data.draw(st.booleans()):
        weights = np.random.RandomState(0).randint(0, 3, n).astype(float)
        weights[0] = 1.0
    plan = make_plan(n, d, k, dtype)
    trials = data.draw(st.sampled_from([None, 1, 20]))
    seeds = [
        kmeans_plusplus(
            rows, k, weights=weights, random_state=np.random.RandomState(5), plan=plan,
            n_local_trials=trials,
        ).tolist()
        for rows in (
            Rows(X), streamed(X, 768), streamed(X, 384, random_access=False)
        )
    ]  # fmt: skip
    assert seeds[0] == seeds[1] == seeds[2]


@pytest.mark.parametrize("random_access", [True, False])
def test_rows_by_index(random_access):
    X = clouds(5000, 4)
    rows = streamed(X, random_access=random_access)
    ids = np.array([4999, 0, 17, 17, 2500])
    np.testing.assert_array_equal(rows.take(ids), X[ids])
    before = rows.source.read_rows
    np.testing.assert_array_equal(rows.take([4999]), X[4999:])
    assert rows.source.read_rows - before == (1 if random_access else 5000)
    with pytest.raises(IndexError):
        rows.take([5000])
    plan = make_plan(*X.shape, 2)
    ids = np.arange(0, 5000, 3)
    taken = np.empty((len(ids), 4), dtype=np.float32)
    order = np.arange(len(ids))
    stats = column_stats(
        rows, plan, gather=lambda first, last: rows.gather(ids, order, first, last, taken)
    )
    np.testing.assert_array_equal(taken, X[ids])
    np.testing.assert_array_equal(stats.mean, column_stats(Rows(X), plan).mean)


def test_inertia_and_the_farthest_rows():
    X = clouds(5000, 7)
    X[1234] = X[4321] = 50.0
    plan = make_plan(*X.shape, 4)
    weights = np.random.RandomState(0).uniform(size=len(X))
    rows = streamed(X)
    runs = [Pass(r, 4, plan, weights=weights) for r in (Rows(X), rows)]
    centers = X[:4].astype(float)
    inertias = [run.assign_and_measure(centers) for run in runs]
    assert inertias[0] == inertias[1] == runs[1].inertia(centers)
    gaps = np.empty(len(X))
    own_distances(Rows(X), centers, runs[0].labels, None, plan, out=gaps)
    assert inertias[0] == exact_sums.total(gaps, weights)
    for run in runs:
        found = run.farthest(centers, 5)
        assert found[:2].tolist() == [1234, 4321]
        np.testing.assert_array_equal(gaps[found], np.sort(gaps)[::-1][:5])
    still = streamed(np.zeros((900, 2), np.float32))
    nothing = Pass(still, 1, make_plan(900, 2, 1))
    nothing.assign(np.zeros((1, 2)))
    assert nothing.farthest(np.zeros((1, 2)), 1).size == 0


def test_a_run_goes_on_from_any_of_its_states():
    X = clouds(6000, 9)
    plan = make_plan(*X.shape, 12)
    stats = column_stats(Rows(X), plan)
    how = {"plan": plan, "max_iter": 12, "stats": stats}
    states = []

    def keep(state):
        arrays = {name: value.copy() for name, value in state.arrays().items()}
        states.append(LloydState.of(arrays))

    expected = bits(lloyd(Rows(X), starts(X, 12), keep=keep, **how))
    assert len(states) > 4
    for state in states:
        for rows in (Rows(X), streamed(X)):
            for bounds in (True, False):
                run = lloyd(rows, None, resume=state, bounds=bounds, **how)
                assert bits(run) == expected


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_are_named_by_their_place(value, said):
    X = clouds(5000, 4)
    X[3010, 2] = X[4000, 1] = value
    rows = streamed(X)
    plan = make_plan(*X.shape, 3)
    place = rf"contains {said}.*shard 3, row 10, column 2"
    with pytest.raises(ValueError, match=place):
        column_stats(rows, plan)
    with pytest.raises(ValueError, match=place):
        Pass(rows, 3, plan).assign(X[:3].astype(float))
    huge = np.full((2000, 1), 1e200)
    with np.errstate(over="ignore"):
        assert np.isfinite(column_stats(streamed(huge), make_plan(2000, 1, 1, "f8")).mean).all()


def test_rows_that_got_fewer():
    rows = streamed(clouds(5000, 4))
    rows.source.X = rows.source.X[:4000]
    with pytest.raises(ValueError, match=r"rows of an array: the rows end after 4000.*5000 before"):
        column_stats(rows, make_plan(5000, 4, 3))


def test_rows_are_counted_where_nobody_knows_them():
    assert count_rows(ArraySource(clouds(77, 3), known=False)) == 77
    source = ArraySource(clouds(77, 3), known=False)
    source.one_shot = True
    with pytest.raises(ValueError, match="once only"):
        count_rows(source)


def test_windows_refuse_rows_that_they_do_not_show():
    X = clouds(2000, 3)
    rows = streamed(X)
    run = Pass(rows, 2, make_plan(2000, 3, 2))
    run._kernel.set_centers(np.zeros((2, 3)))
    for first, last in rows.parts([(384, 768)]):
        assert rows.window.shown == (384, 768) == (first, last)
        for refused in ((0, 384), (0, 768), (384, 769), (383, 500)):
            with pytest.raises(IndexError, match="not shown"):
                run._kernel.run(*refused, run.labels)
        assert run._kernel.run(384, 768, run.labels)[0] == 768
    with pytest.raises(IndexError, match="not shown"):
        run._kernel.run(384, 768, run.labels)


def test_the_report():
    rows = StreamRows(ArraySource(clouds(3000, 4)), 3000, buffer_rows=768, piece_rows=384)
    column_stats(rows, make_plan(3000, 4, 2))
    report = rows.report
    assert (report.passes, report.rows, report.bytes_read) == (1, 3000, 48_000)
    assert report.to_dict()["bound_by"] in ("reading", "computing")
    assert "1 pass read 3,000 rows (46.9 KiB) at " in str(report)
    slow = dataclasses.replace(report, seconds_reading=5.0, seconds_computing=1.0)
    assert slow.bound_by == "reading"

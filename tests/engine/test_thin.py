"""Work on CSR rows that follows their stored entries: the bits of the same rows given dense."""

import tracemalloc

import hostile
import numpy as np
import pytest
import scipy.sparse as sp

from tilewise import KMeans, MiniBatchKMeans
from tilewise.algorithms import MiniBatchState, minibatch_step
from tilewise.engine import BatchPass, Rows, assign, largest_finite
from tilewise.plan import plan as make_plan


def thin(n, d, stored, dtype, seed=0, index=np.int32):
    """Rows of few numbers, some stored as zero, some rows empty, some longer."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n, d), dtype)
    for row in X:
        columns = rng.choice(d, rng.integers(0, 2 * stored), replace=False)
        row[columns] = rng.standard_normal(len(columns))
    X[3, : d // 2] = 1.5
    S = sp.csr_array(X)
    S.data[::7] = 0.0
    S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    assert S.nnz <= 0.03 * n * d
    return S


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(500, 300, 9), (400, 3001, 5), (90, 5000, 40)])
def test_steps_are_those_of_dense_rows(n, d, k, weighted, index, dtype):
    X = thin(n, d, max(2, d // 200), dtype, index=index)
    rng = np.random.RandomState(d)
    weights = rng.uniform(-0.2, 2, n) if weighted else None
    start = X[:k].toarray().astype(np.float64)
    start[k // 2] += 0.25
    wanted = None
    for isa in hostile.ISAS:
        for rows in (Rows(X), Rows(X.toarray())):
            for n_threads in (1, 3):
                ids = np.random.RandomState(1).randint(0, n, n).astype(np.int64)
                plan = hostile.plan_for(
                    rows, k, isa, n_threads=n_threads,
                    density=rows.density if rows.is_sparse else None,
                )  # fmt: skip
                batch = BatchPass(rows, k, plan, ids=ids, weights=weights)
                centers, counts = start.copy(), np.where(np.arange(k) % 3, 5.0, 0.0)
                got = []
                for step in range(3):
                    moved = centers if step else np.empty_like(centers)
                    inertia = batch.step(centers, moved, counts)
                    centers = moved
                    got += [inertia, batch.labels.tobytes(), (centers + 0.0).tobytes()]
                    got.append(counts.tobytes())
                    ids[:] = np.random.RandomState(step + 2).randint(0, n, n)
                wanted = wanted or got
                assert got == wanted


def test_marks_of_moved_centers_change_nothing():
    X = thin(600, 2000, 10, np.float32)
    rows = Rows(X)
    results = []
    for marked in (True, False):
        state = MiniBatchState(X[:12].toarray().astype(np.float64), np.zeros(12))
        plan = make_plan(60, 2000, 12, n_threads=1, density=rows.density)
        ids = np.zeros(60, np.int64)
        batch = BatchPass(rows, 12, plan, ids=ids)
        stale = None
        for step in range(15):
            ids[:] = np.random.RandomState(step).randint(0, 600, 60)
            batch.step(state.centers, state.centers, state.counts, stale if marked else None)
            stale = np.zeros(12, np.uint8)
            stale[batch.labels] = 1
            assert step < 3 or not stale.all() or len(np.unique(batch.labels)) == 12
        results.append((state.centers.tobytes(), state.counts.tobytes(), batch.labels.tobytes()))
    assert results[0] == results[1]


def test_a_fit_of_thin_rows_is_that_of_dense_ones():
    X = thin(800, 700, 5, np.float64)
    fits = [
        MiniBatchKMeans(6, random_state=0, n_init=3, batch_size=100, max_iter=3, **how).fit(rows)
        for rows in (X, X.toarray())
        for how in ({}, {"n_threads": 3}, {"tol": 1e-12})
    ]
    for fit in fits:
        assert np.array_equal(fit.cluster_centers_, fits[0].cluster_centers_)
        assert np.array_equal(fit.labels_, fits[0].labels_)


def test_a_batch_with_a_bad_value_moves_nothing():
    X = thin(300, 400, 3, np.float64)
    X.data[500] = np.nan
    row = int(np.searchsorted(X.indptr, 500, side="right")) - 1
    rows = Rows(X)
    state = MiniBatchState(X[:4].toarray(), np.ones(4))
    before = state.centers.copy()
    with pytest.raises(ValueError, match=rf"NaN.*row {row}, column {X.indices[500]}\b"):
        minibatch_step(
            rows, state, batch_size=300, random_state=None, plan=hostile.plan_for(rows, 4)
        )
    np.testing.assert_array_equal(state.centers, before)
    np.testing.assert_array_equal(state.counts, np.ones(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_values_are_found_among_stored_ones(bad):
    X = thin(200, 300, 4, np.float32)
    X.data[[420, 300]] = bad
    places = [int(np.searchsorted(X.indptr, e, side="right")) - 1 for e in (300, 420)]
    rows = Rows(X)
    what = "NaN" if np.isnan(bad) else "infinity"
    first = (places[0], int(X.indices[300]), what)
    second = (places[1], int(X.indices[420]), what)
    assert rows.locate_nonfinite() == first
    assert rows.locate_nonfinite(places[0] + 1) == second
    assert rows.locate_nonfinite(places[1] + 1) is None
    ids = np.array([0 if places[0] else 1, places[1], places[0]])
    assert rows.picked(ids).locate_nonfinite() == second
    assert rows.picked(ids).locate_nonfinite(2) == first
    assert rows.picked(np.array([places[1] + 1, 199])).locate_nonfinite() is None
    with pytest.raises(ValueError, match=rf"{what}.*row {first[0]}, column {first[1]}\b"):
        largest_finite(rows, make_plan(200, 300, 2, density=rows.density))


def test_centers_are_not_packed_for_few_entries():
    X = thin(300, 30_000, 20, np.float32)
    rows = Rows(X)
    few, many = (make_plan(n, 30_000, 7, n_threads=1, density=rows.density) for n in (300, 100_000))
    assert (few.panel_columns, few.score_dtype) == (1, "float64")
    assert many.panel_columns > 1
    assert "packing" in few.reasons["tile"]
    centers = X[:7].toarray().astype(np.float64)
    assert np.array_equal(assign(rows, centers, few), assign(rows, centers, many))


def peak_of(fit):
    tracemalloc.start()
    try:
        fit()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("model", "arrays"),
    [
        (MiniBatchKMeans(8, n_init=1, batch_size=256, max_iter=1, random_state=0), 2.3),
        (KMeans(8, n_init=1, max_iter=3, random_state=0), 3.6),
    ],
    ids=["mini-batches", "all rows"],
)
def test_memory_is_a_few_arrays_of_centers(model, arrays):
    """However wide the rows: the centres in float64, in float32, and the sums of all rows."""
    n, d = 1000, 2**18
    rng = np.random.default_rng(0)
    X = sp.csr_array(
        (rng.random(n * 50, np.float32), (np.repeat(np.arange(n), 50), rng.integers(0, d, n * 50))),
        shape=(n, d),
    )
    model.fit(X[:50])
    assert peak_of(lambda: model.fit(X)) < arrays * 8 * d * 8 + 2**22

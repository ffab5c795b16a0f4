"""MiniBatchKMeans over sources."""

import numpy as np
import pytest
from stream_data import ArraySource, clouds

from tilewise import MiniBatchKMeans
from tilewise.engine import ReadBatches, Rows, StreamRows, assign_inertia
from tilewise.plan import plan as make_plan


def bits(model):
    return (
        model.cluster_centers_.tobytes(), model._counts.tobytes(), model.inertia_, model.n_steps_,
        model.labels_.tobytes() if hasattr(model, "labels_") else None,
    )  # fmt: skip


def batches_of(source, batch_size, seed=0, n_rows=None, weights=None):
    plan = make_plan(batch_size, source.n_features, 3)
    rows = StreamRows(source, n_rows)
    return ReadBatches(rows, 3, plan, weights, batch_size, np.random.RandomState(seed))


@pytest.mark.parametrize("random_access", [True, False])
def test_an_epoch_has_every_row_once(random_access):
    # Blocks of 1 MiB: 64 columns of float32 make 4096 rows, sixteen of them 65,536.
    n = 150_001
    X = np.arange(n, dtype=np.float32)[:, None].repeat(64, axis=1)
    weights = np.arange(n, dtype=float)
    with batches_of(ArraySource(X, random_access), 1000, n_rows=n, weights=weights) as batches:
        epochs = []
        for _ in range(2):
            seen = []
            while True:
                batch = batches.next_batch()
                assert (batch.values[:, 0] == batch.ids).all()
                assert (batch.weights == batch.ids).all()
                seen.append(batch.ids.copy())
                if batches.at_rest:
                    break
            assert [len(ids) for ids in seen] == [1000] * 150 + [1]
            order = np.concatenate(seen)
            np.testing.assert_array_equal(np.sort(order), np.arange(n))
            epochs.append(order)
        assert (epochs[0] != epochs[1]).mean() > 0.99
        # Neighbours in the file do not share a batch more than a mixture of blocks makes them.
        assert np.abs(np.diff(epochs[0])).mean() > 10_000
        assert batches.passes == 2


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_as_many_rows_as_are_mixed_together(over):
    # Sixteen blocks of 4096 rows; the last batch is smaller than the others.
    n = 16 * 4096 + over
    X = np.arange(n, dtype=np.float32)[:, None].repeat(64, axis=1)
    with batches_of(ArraySource(X), 1000, n_rows=n) as batches:
        seen = []
        while not batches.at_rest:
            batch = batches.next_batch()
            assert (batch.values[:, 0] == batch.ids).all()
            seen.append(batch.ids.copy())
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(n))


def test_batches_larger_than_blocks():
    X = clouds(10_000, 1024)
    with batches_of(ArraySource(X), 6000, n_rows=len(X)) as batches:
        first, last = batches.next_batch().ids.copy(), batches.next_batch().ids.copy()
    assert (len(first), len(last)) == (6000, 4000)
    np.testing.assert_array_equal(np.sort(np.r_[first, last]), np.arange(10_000))


def test_rows_that_come_once_stay_in_order():
    X = clouds(5000, 3)
    source = ArraySource(X, random_access=False, known=False)
    with batches_of(source, 700) as batches:
        np.testing.assert_array_equal(batches.first_rows(1500).source, X[:1500])
        order = []
        while (batch := batches.next_batch()) is not None:
            order.append(batch.values.copy())
    np.testing.assert_array_equal(np.concatenate(order), X)
    assert [len(part) for part in order] == [700] * 7 + [100]


@pytest.mark.parametrize(
    "how", [{"memory_limit": "40MB"}, {"n_threads": 3}, {"chunk_size": 64}, {"engine": "blas"},
            {"verbose": 1}, {"compute_labels": True}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True])
def test_results_depend_on_the_seed_alone(tmp_path, how, weighted):
    X = clouds(20_000, 8)
    np.save(tmp_path / "X.npy", X)
    weights = np.random.RandomState(0).uniform(0, 2, len(X)) if weighted else None
    parameters = {"batch_size": 500, "max_iter": 3, "random_state": 4, "n_init": 1}
    plain, other = (
        MiniBatchKMeans(6, **parameters | more).fit(tmp_path / "X.npy", None, weights)
        for more in ({}, how)
    )
    if how == {"verbose": 1}:
        # Judging the start takes draws of its own, as in memory.
        assert other.n_steps_ > 0
        return
    assert bits(plain) == bits(other)
    different = MiniBatchKMeans(6, **parameters | {"random_state": 5}).fit(
        tmp_path / "X.npy", None, weights
    )
    assert bits(different) != bits(plain)
    labels, inertia = assign_inertia(
        Rows(X), plain.cluster_centers_, weights, make_plan(*X.shape, 6)
    )
    assert plain.inertia_ == inertia
    np.testing.assert_array_equal(plain.labels_, labels)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "array", "callable"])
def test_quality_and_starts(init):
    X = clouds(30_000, 5, clouds=8)

    def some(X, k, random_state):
        return X[random_state.permutation(len(X))[:k]]

    given = {"array": X[:8], "callable": some}.get(init, init)
    model = MiniBatchKMeans(8, init=given, random_state=0, max_iter=4, tol=1e-4)
    in_memory = model.fit(X).inertia_
    streamed = model.fit(ArraySource(X))
    # Random starts may end elsewhere.
    assert streamed.inertia_ < in_memory * (1.15 if "k-means" in init else 4)
    assert streamed.n_iter_ <= 4
    exact = model.inertia_
    assert not hasattr(model.set_params(compute_labels=False).fit(ArraySource(X)), "labels_")
    assert 0.5 < model.inertia_ / exact < 2


def test_epochs_and_stopping_rules():
    X = clouds(4000, 3)
    endless = {"batch_size": 300, "random_state": 0, "max_no_improvement": None}
    model = MiniBatchKMeans(4, max_iter=3, **endless).fit(ArraySource(X))
    assert (model.n_steps_, model.n_iter_) == (3 * 14, 3)
    assert model.stream_report_.rows >= 3 * 4000
    ended = MiniBatchKMeans(4, max_iter=50, **endless | {"max_no_improvement": 3})
    assert ended.fit(ArraySource(X)).n_steps_ < 50 * 14
    settled = MiniBatchKMeans(4, max_iter=50, tol=0.5, **endless).fit(ArraySource(X))
    assert settled.n_steps_ < 50 * 14


def test_generators():
    X = clouds(10_000, 4)

    def rows():
        return (X[i : i + 333] for i in range(0, len(X), 333))

    model = MiniBatchKMeans(5, random_state=0, batch_size=256).fit(rows())
    assert (model.n_steps_, model.n_iter_) == (40, 1)
    assert not hasattr(model, "labels_")
    again = MiniBatchKMeans(5, random_state=0, batch_size=256).fit(iter([X[:5], X[5:]]))
    assert bits(again) == bits(model)
    by_hand = MiniBatchKMeans(
        5, random_state=0, batch_size=256, init=np.array(X[:5]), n_init=1, reassignment_ratio=0
    )
    for i in range(0, len(X), 256):
        by_hand.partial_fit(X[i : i + 256])
    same = MiniBatchKMeans(
        5, random_state=0, batch_size=256, init=np.array(X[:5]), n_init=1, reassignment_ratio=0
    ).fit(rows())
    np.testing.assert_allclose(same.cluster_centers_, by_hand.cluster_centers_, rtol=1e-5)
    with pytest.raises(ValueError, match=r"come once.*no checkpoint"):
        MiniBatchKMeans(5, checkpoint="state.npz").fit(rows())
    with pytest.raises(ValueError, match=r"partial_fit with the weights"):
        MiniBatchKMeans(5).fit(rows(), sample_weight=np.ones(len(X)))
    with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=5"):
        MiniBatchKMeans(5).fit(iter([X[:3]]))
    with pytest.raises(ValueError, match="is too small"):
        MiniBatchKMeans(5, memory_limit=1000).fit(rows())
    with pytest.raises(ValueError, match="is too small"):
        MiniBatchKMeans(5, memory_limit=1000).fit(ArraySource(X))


def test_a_nan_is_named():
    X = clouds(6000, 4)
    X[4321, 1] = np.nan
    for rows in (ArraySource(X), ArraySource(X, random_access=False)):
        model = MiniBatchKMeans(3, random_state=0, init=X[:3], n_init=1, compute_labels=False)
        with pytest.raises(ValueError, match="shard 4, row 321, column 1"):
            model.fit(rows)
        assert not hasattr(model, "cluster_centers_")


@pytest.mark.parametrize("random_access", [True, False])
def test_given_centers_cost_no_reading(random_access):
    X = clouds(4000, 5)
    model = MiniBatchKMeans(
        3, init=X[:3], n_init=1, batch_size=500, max_iter=2, max_no_improvement=None,
        compute_labels=False, random_state=0,
    )  # fmt: skip
    report = model.fit(ArraySource(X, random_access)).stream_report_
    assert (report.passes, report.rows) == (2, 8000)

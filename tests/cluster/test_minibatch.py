"""MiniBatchKMeans: the same draws, steps and results as scikit-learn, and what it lacks."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import DENSE, SPARSE, blobs
from sklearn.cluster import MiniBatchKMeans as PeerMiniBatchKMeans
from sklearn.utils._param_validation import InvalidParameterError

from tilewise import MiniBatchKMeans

# As scikit-learn ---------------------------------------------------------------------------------

CASES = {
    "default": {},
    "small batches": {"batch_size": 64},
    "random": {"init": "random", "batch_size": 100},
    "random twice": {"init": "random", "n_init": 2, "batch_size": 100},
    "tol": {"tol": 1e-2, "max_no_improvement": None, "batch_size": 150},
    "no stop": {"max_no_improvement": None, "max_iter": 4, "batch_size": 90},
    "no labels": {"compute_labels": False, "batch_size": 128},
    "reassigning": {"reassignment_ratio": 0.3, "batch_size": 40},
    "never reassigning": {"reassignment_ratio": 0, "batch_size": 40},
    "small start": {"init_size": 60, "batch_size": 200},
    "whole data": {"batch_size": 5000, "max_iter": 12},
}


def both(X, weights=None, **parameters):
    ours = MiniBatchKMeans(**parameters).fit(X, sample_weight=weights)
    theirs = PeerMiniBatchKMeans(**parameters).fit(X, sample_weight=weights)
    return ours, theirs


def assert_same(ours, theirs, rtol=1e-9):
    assert ours.n_steps_ == theirs.n_steps_
    scale = np.abs(theirs.cluster_centers_).max()
    np.testing.assert_allclose(
        ours.cluster_centers_, theirs.cluster_centers_, rtol=rtol, atol=rtol * scale
    )
    np.testing.assert_allclose(ours._counts, theirs._counts, rtol=rtol)
    assert ours._n_since_last_reassign == theirs._n_since_last_reassign
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=rtol)
    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype
    if hasattr(theirs, "labels_"):
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        assert ours.labels_.dtype == theirs.labels_.dtype == np.int32


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_same_fit_and_same_draws(case, weighted, seed):
    X = blobs(700, 6, 9, seed=seed)
    weights = np.random.RandomState(seed).uniform(0.1, 3, 700) if weighted else None
    generators = np.random.RandomState(seed), np.random.RandomState(seed)
    ours = MiniBatchKMeans(9, random_state=generators[0], **CASES[case])
    theirs = PeerMiniBatchKMeans(9, random_state=generators[1], **CASES[case])
    ours.fit(X, sample_weight=weights)
    theirs.fit(X, sample_weight=weights)
    assert_same(ours, theirs)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours._init_size == theirs._init_size
    assert ours._n_init == theirs._n_init
    assert generators[0].random_sample() == generators[1].random_sample()
    if theirs._ewa_inertia is not None:
        assert ours._ewa_inertia == pytest.approx(theirs._ewa_inertia, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_same_fit_in_single_precision(seed, weighted):
    """scikit-learn rounds to float32 at every step; on separate blobs this decides no label."""
    rng = np.random.RandomState(seed)
    centers = rng.uniform(-60, 60, (7, 5))
    X = (centers[rng.randint(0, 7, 900)] + rng.standard_normal((900, 5))).astype(np.float32)
    weights = rng.uniform(0.1, 3, 900) if weighted else None
    parameters = {"batch_size": 128, "random_state": seed, "max_no_improvement": None}
    ours, theirs = both(X, weights, n_clusters=7, max_iter=3, **parameters)
    assert_same(ours, theirs, rtol=2e-5)
    assert ours.cluster_centers_.dtype == np.float32


@pytest.mark.parametrize("seed", range(4))
def test_same_fit_of_sparse_rows(seed):
    X = blobs(600, 8, 5, seed=seed)
    X[np.random.RandomState(seed).uniform(size=X.shape) < 0.5] = 0
    ours, theirs = both(sp.csr_matrix(X), n_clusters=12, batch_size=80, random_state=seed)
    assert_same(ours, theirs)
    dense = MiniBatchKMeans(12, batch_size=80, random_state=seed).fit(X)
    np.testing.assert_array_equal(dense.cluster_centers_, ours.cluster_centers_)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_partial_fits(sparse, weighted):
    X = blobs(900, 4, 6, seed=1)
    weights = np.random.RandomState(0).uniform(0, 2, 900)
    ours, theirs = (
        kind(11, random_state=3, batch_size=50, reassignment_ratio=0.1)
        for kind in (MiniBatchKMeans, PeerMiniBatchKMeans)
    )
    for start in range(0, 900, 90):
        rows = slice(start, start + 90)
        batch = sp.csr_matrix(X[rows]) if sparse else X[rows]
        w = weights[rows] if weighted else None
        ours.partial_fit(batch, sample_weight=w)
        theirs.partial_fit(batch, sample_weight=w)
        assert_same(ours, theirs)
    assert ours.n_steps_ == 10
    assert not hasattr(ours, "n_iter_")


def test_partial_fit_goes_on_after_fit():
    X = blobs(500, 4, 6)
    ours, theirs = both(X, n_clusters=6, batch_size=60, random_state=0)
    for model in (ours, theirs):
        model.partial_fit(X[:200]).partial_fit(X[200:])
    assert_same(ours, theirs)
    assert ours.n_iter_ == theirs.n_iter_


def test_reassignments_are_told_and_the_same(capsys):
    """Centres that start beside each other leave most of them without rows."""
    X = blobs(600, 3, 5, seed=2)
    init = X[0] + 1e-6 * np.random.RandomState(0).standard_normal((20, 3))
    told = []
    for kind in (MiniBatchKMeans, PeerMiniBatchKMeans):
        model = kind(
            20, init=init, n_init=1, batch_size=100, random_state=1, verbose=1, max_iter=9,
            reassignment_ratio=0.2,
        ).fit(X)  # fmt: skip
        told.append((model, capsys.readouterr().out.splitlines()))
    (ours, our_lines), (theirs, their_lines) = told
    reassigned = [line for line in their_lines if "Reassigning" in line]
    assert len(reassigned) > 2
    assert [line for line in our_lines if "Reassigning" in line] == reassigned
    assert_same(ours, theirs)
    numbers = [[line.split(":")[0] for line in lines] for lines in (our_lines, their_lines)]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(("tol", "ending"), [(0.0, "lack of improvement"), (1.0, "small centers")])
def test_verbose_says_why_it_ended(tol, ending, capsys):
    lines = []
    for kind in (MiniBatchKMeans, PeerMiniBatchKMeans):
        kind(4, tol=tol, verbose=1, random_state=0, batch_size=50).fit(blobs())
        lines.append(capsys.readouterr().out.splitlines()[-1])
    assert lines[0] == lines[1]
    assert ending in lines[0]


def test_more_clusters_than_half_a_batch_are_reassigned_in_parts():
    X = np.random.RandomState(0).standard_normal((200, 3))
    model = MiniBatchKMeans(80, init=X[:80] * 1e-3 + 50, n_init=1, batch_size=30, max_iter=1)
    model.fit(X)
    assert model.n_steps_ > 2
    assert np.isfinite(model.cluster_centers_).all()
    assert (model._counts > 0).any()


def test_a_ratio_above_one_reassigns_every_center():
    """scikit-learn fails here: no centre is left to take a count from."""
    X = blobs(300, 3, 4)
    model = MiniBatchKMeans(4, reassignment_ratio=1.5, batch_size=100, random_state=0).fit(X)
    rows = {tuple(row) for row in X}
    for state in (model, model.partial_fit(X)):
        assert np.isfinite(state.cluster_centers_).all()
        assert (state._counts > 0).all()
    assert any(tuple(center) in rows for center in model.cluster_centers_)


# Sizes and warnings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({}, 240), ({"batch_size": 10}, 30), ({"batch_size": 1}, 12),
        ({"init_size": 70}, 70), ({"init_size": 9999}, 240),
    ],
)  # fmt: skip
def test_rows_that_the_start_is_chosen_from(parameters, size):
    ours, theirs = both(blobs(), n_clusters=4, random_state=0, max_iter=1, **parameters)
    assert ours._init_size == theirs._init_size == size


def test_warnings_point_at_the_caller():
    X = blobs()
    with pytest.warns(RuntimeWarning, match="init_size=2 should be larger than n_clusters=4") as r:
        MiniBatchKMeans(4, init_size=2).fit(X)
    assert r[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="only one init in MiniBatchKMeans") as r:
        MiniBatchKMeans(4, init=X[:4], n_init=3).partial_fit(X)
    assert r[0].filename == __file__


@pytest.mark.parametrize(
    ("init", "n_runs"),
    [
        ("k-means++", 1),
        ("k-means||", 1),
        ("random", 3),
        (blobs()[:4], 1),
        (lambda X, k, random_state: X[:k], 3),
    ],
)
def test_automatic_number_of_starts(init, n_runs):
    assert MiniBatchKMeans(4, init=init).fit(blobs())._n_init == n_runs


def test_a_callable_sees_rows_as_they_are():
    X = (100 * blobs()).astype(np.int16)
    seen = []

    def init(rows, k, random_state):
        seen.append(rows)
        return rows[:k]

    MiniBatchKMeans(4, init=init, init_size=50, n_init=2, random_state=0).fit(X)
    known = {tuple(row) for row in X}
    assert [rows.shape for rows in seen] == [(50, 5), (50, 5)]
    assert all(rows.dtype == np.float64 for rows in seen)
    assert all(tuple(row) in known for rows in seen for row in rows)


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 0}, {"compute_labels": "yes"}, {"max_no_improvement": -1},
        {"init_size": 0}, {"reassignment_ratio": -0.1}, {"max_iter": 0}, {"n_threads": 0},
        {"chunk_size": "all"}, {"engine": "gpu"}, {"tol": -1.0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_wrong_parameters(parameters, method):
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        getattr(MiniBatchKMeans(**parameters), method)(blobs())


# What scikit-learn lacks -------------------------------------------------------------------------


def test_no_labels_after_a_single_step():
    X = blobs()
    model = MiniBatchKMeans(4, max_iter=1, batch_size=240, compute_labels=False, random_state=0)
    model.fit(X)
    assert model.n_steps_ == 1
    assert not hasattr(model, "labels_")
    assert np.isfinite(model.inertia_)
    weighted = model.fit(X, sample_weight=np.full(240, 2.0)).inertia_
    assert weighted == pytest.approx(2 * model.fit(X).inertia_, rel=0.5)


@pytest.mark.parametrize(("first", "second"), [("f4", "f8"), ("f8", "f4"), ("f4", "i2")])
def test_batches_of_other_dtypes(first, second):
    X = (10 * blobs(400)).astype(np.int16)
    model = MiniBatchKMeans(4, random_state=0).partial_fit(X[:200].astype(first))
    model.partial_fit(X[200:].astype(second))
    assert model.cluster_centers_.dtype == first
    same = MiniBatchKMeans(4, random_state=0).partial_fit(X[:200].astype(first))
    same.partial_fit(X[200:].astype(first))
    np.testing.assert_array_equal(model.cluster_centers_, same.cluster_centers_)
    assert model.predict(X.astype(second)).tolist() == same.predict(X.astype(first)).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_are_those_of_predict_far_from_the_origin(dtype):
    X = (blobs(900, 4, 5) + 1000).astype(dtype)
    model = MiniBatchKMeans(5, random_state=0, batch_size=100).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.score(X) == pytest.approx(-model.inertia_, rel=1e-12)
    model.partial_fit(X[:300])
    np.testing.assert_array_equal(model.predict(X[:300]), model.labels_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("sparse", [False, True])
def test_values_that_are_not_finite_are_named(method, sparse):
    X = blobs(500)
    X[333, 2] = np.inf
    data = sp.csr_array(X) if sparse else X
    for init in ("k-means++", "k-means||", "random", blobs()[:4]):
        model = MiniBatchKMeans(4, init=init, n_init=1, batch_size=20, random_state=0)
        with pytest.raises(ValueError, match=r"infinity.*row 333, column 2\b"):
            getattr(model, method)(data)
        assert not hasattr(model, "cluster_centers_")


def test_a_failed_fit_leaves_the_model_that_there_was():
    X = blobs(500)
    model = MiniBatchKMeans(4, random_state=0, batch_size=50).fit(X)
    kept = {name: vars(model)[name] for name in ("cluster_centers_", "labels_", "_counts")}
    bad = X.copy()
    bad[77] = np.nan
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="NaN"):
            getattr(model, method)(bad)
        assert all(vars(model)[name] is value for name, value in kept.items())


def test_refitting_without_labels_leaves_no_old_ones():
    model = MiniBatchKMeans(4).fit(blobs())
    assert not hasattr(model.set_params(compute_labels=False).fit(blobs()), "labels_")


def test_weights_that_are_no_probabilities():
    weights = np.ones(240)
    weights[3] = -1
    with pytest.raises(ValueError, match="non-negative"):
        MiniBatchKMeans(4, init=blobs()[:4]).fit(blobs(), sample_weight=weights)


# Reproducible ------------------------------------------------------------------------------------


def bits(model):
    return (
        model.cluster_centers_.tobytes(), model.labels_.tobytes(), model._counts.tobytes(),
        model.inertia_, model.n_steps_,
    )  # fmt: skip


@pytest.mark.parametrize(("n", "d", "k"), [(9000, 3, 13), (6000, 41, 29), (6000, 17, 70)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_chunks_engines_and_orders(n, d, k, weighted, dtype):
    rng = np.random.RandomState(0)
    X = (rng.standard_normal((n, d)) + 3 * rng.randint(0, 3, (n, 1))).astype(dtype)
    weights = rng.uniform(0, 2, n) if weighted else None
    fits = [(X, {"n_threads": t}) for t in (1, 2, 3, 8)]
    fits += [(X, {"chunk_size": c, "n_threads": 2}) for c in (64, 133, n)]
    fits += [(X, {"engine": "blas", "n_threads": t}) for t in (1, 3)]
    fits += [(np.asfortranarray(X), {}), (X.astype(X.dtype.newbyteorder("S")), {})]
    fits += [(np.repeat(X, 2, axis=1)[:, ::2], {"n_threads": 3})]
    results, resumed = set(), set()
    for rows, parameters in fits:
        model = MiniBatchKMeans(k, random_state=0, batch_size=4096, max_iter=4, **parameters)
        results.add(bits(model.fit(rows, sample_weight=weights)))
        resumed.add(bits(model.partial_fit(rows, sample_weight=weights)))
    assert len(results) == len(resumed) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_layouts(dtype, tmp_path):
    X = blobs(800, dtype=dtype)
    expected = bits(MiniBatchKMeans(6, random_state=0, batch_size=90).fit(X))
    for name, view in DENSE.items():
        data = view(X, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = MiniBatchKMeans(6, random_state=0, batch_size=90).fit(data)
        assert bits(found) == expected, name
    thin = np.where(np.abs(X) < 3, 0, X).astype(dtype)
    expected = bits(MiniBatchKMeans(6, random_state=0, batch_size=90).fit(thin))
    for name, view in SPARSE.items():
        found = MiniBatchKMeans(6, random_state=0, batch_size=90).fit(view(thin))
        assert bits(found) == expected, name

"""The results and warnings of scikit-learn's KMeans, including what is easily missed."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from sklearn.cluster import KMeans as PeerKMeans
from sklearn.cluster import kmeans_plusplus as peer_kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from tilewise import KMeans, algorithms, engine, k_means, kmeans_plusplus


def assert_same_fit(ours, theirs):
    assert np.array_equal(ours.labels_, theirs.labels_)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours._n_init == theirs._n_init
    np.testing.assert_allclose(
        ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    np.testing.assert_allclose(ours._tol, theirs._tol, rtol=1e-9)


PARAMETERS = {
    "defaults": {},
    "four_runs": {"n_init": 4},
    "random": {"init": "random"},
    "random_short": {"init": "random", "n_init": 3, "max_iter": 2},
    "no_tolerance": {"tol": 0},
    "large_tolerance": {"tol": 0.5},
    "one_iteration": {"max_iter": 1},
    "elkan": {"algorithm": "elkan"},
    "array": {"init": blobs(7, seed=9)},
    "callable": {"init": lambda X, k, random_state: X[random_state.permutation(len(X))[:k]].copy()},
}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_same_fit_and_same_draws_as_scikit_learn(name, weighted, seed):
    X = blobs(240, seed=seed)
    weights = np.random.RandomState(seed).uniform(0, 3, len(X)) if weighted else None
    ours, theirs = (
        kind(7, **PARAMETERS[name], random_state=np.random.RandomState(seed)).fit(X, None, weights)
        for kind in (KMeans, PeerKMeans)
    )
    assert_same_fit(ours, theirs)
    # Equal generators afterwards: as many draws, of the same kinds.
    assert ours.random_state.random_sample() == theirs.random_state.random_sample()


@pytest.mark.parametrize("parameters", [{}, {"init": "random", "n_init": 2}])
def test_same_fit_of_sparse_rows(parameters):
    X = blobs(240)
    X[X < 0] = 0
    X = sp.csr_array(X)
    ours, theirs = (kind(5, random_state=3, **parameters).fit(X) for kind in (KMeans, PeerKMeans))
    assert_same_fit(ours, theirs)


@pytest.mark.parametrize("seed", range(20))
def test_same_seeds_as_scikit_learn(seed):
    X = blobs(150, 6, seed=seed)
    weights = np.random.RandomState(seed).uniform(size=150) if seed % 2 else None
    trials = None if seed % 3 else 1
    arguments = {"sample_weight": weights, "random_state": seed, "n_local_trials": trials}
    ours = kmeans_plusplus(X, 12, **arguments)
    theirs = peer_kmeans_plusplus(X, 12, **arguments)
    assert np.array_equal(ours[1], theirs[1])
    assert np.array_equal(ours[0], X[ours[1]])


def test_seeds_keep_the_dtype_of_the_data():
    for X in ([[1, 2], [1, 4], [10, 0]], blobs(dtype=np.float32), sp.csr_array(np.eye(4))):
        centers, indices = kmeans_plusplus(X, 2, random_state=0)
        wanted = X.toarray() if sp.issparse(X) else np.asarray(X)
        assert centers.dtype == wanted.dtype
        assert np.array_equal(centers, wanted[indices])


def test_scaled_norms_change_nothing():
    X = blobs()
    expected = kmeans_plusplus(X, 4, random_state=1)[1]
    for norms in ((X**2).sum(axis=1), np.zeros(len(X))):
        assert np.array_equal(
            kmeans_plusplus(X, 4, random_state=1, x_squared_norms=norms)[1], expected
        )


def test_function_returns_what_the_estimator_finds():
    X = blobs()
    weights = np.linspace(0.5, 2, len(X))
    model = KMeans(4, random_state=5).fit(X, sample_weight=weights)
    found = k_means(X, 4, random_state=5, sample_weight=weights, return_n_iter=True)
    assert np.array_equal(found[0], model.cluster_centers_)
    assert np.array_equal(found[1], model.labels_)
    assert found[2:] == (model.inertia_, model.n_iter_)
    assert len(k_means(X, 4, random_state=5)) == 3


# Runs ------------------------------------------------------------------------------------------


def scripted_runs(monkeypatch, runs):
    """Let the runs of a fit end with the given (labels, inertia)."""
    script = iter(enumerate(runs))

    def lloyd(rows, centers, **kwargs):
        i, (labels, inertia) = next(script)
        return algorithms.LloydResult(np.array(labels, np.int32), inertia, centers, i + 1)

    monkeypatch.setattr(algorithms, "lloyd", lloyd)


@pytest.mark.parametrize(
    ("runs", "winner"),
    [
        ([([0, 0, 1, 2], 5.0), ([0, 1, 1, 2], 4.0)], 1),
        ([([0, 0, 1, 2], 5.0), ([0, 1, 1, 2], 6.0)], 0),
        ([([0, 0, 1, 2], 5.0), ([0, 1, 1, 2], 5.0)], 0),
        ([([0, 0, 1, 2], 5.0), ([2, 2, 0, 1], 4.0)], 0),
        ([([0, 0, 1, 2], 5.0), ([2, 2, 0, 1], 4.0), ([0, 1, 1, 2], 4.5)], 2),
        ([([0, 1, 1, 2], 5.0), ([0, 0, 1, 2], 3.0), ([0, 1, 1, 2], 4.0)], 1),
        # Not a renaming: one cluster of the first run is two clusters of the second.
        ([([0, 0, 1, 1], 5.0), ([0, 2, 1, 1], 4.0)], 1),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_best_of_several_runs(monkeypatch, runs, winner):
    scripted_runs(monkeypatch, runs)
    model = KMeans(3, init="random", n_init=len(runs)).fit(blobs(4))
    assert model.n_iter_ == winner + 1
    assert model.labels_.tolist() == runs[winner][0]
    assert model.inertia_ == runs[winner][1]


def test_more_runs_are_the_best_of_the_single_runs():
    X = blobs(200, seed=2)
    together = np.random.RandomState(0)
    best = KMeans(8, init="random", n_init=6, max_iter=2, random_state=together).fit(X)
    one_by_one = np.random.RandomState(0)
    single = [
        KMeans(8, init="random", n_init=1, max_iter=2, random_state=one_by_one).fit(X)
        for _ in range(6)
    ]
    inertias = [model.inertia_ for model in single]
    assert best.inertia_ == min(inertias) < max(inertias)
    assert np.array_equal(best.labels_, single[np.argmin(inertias)].labels_)


@pytest.mark.parametrize(
    ("init", "n_runs"),
    [
        ("k-means++", 1),
        (np.str_("k-means++"), 1),
        ("k-means||", 1),
        ("random", 10),
        (lambda X, k, random_state: X[:k], 10),
        (blobs(4).tolist(), 1),
    ],
)
def test_automatic_number_of_runs(init, n_runs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert KMeans(4, init=init).fit(blobs())._n_init == n_runs


def test_same_partition():
    rng = np.random.RandomState(0)
    for _ in range(50):
        a = rng.randint(0, 5, 40).astype(np.int32)
        assert engine.Cpu().same_partition(a, rng.permutation(5).astype(np.int32)[a], 5)
        b = a.copy()
        b[7] = (b[7] + 1) % 5
        pairs = set(zip(a, b, strict=True))
        assert engine.Cpu().same_partition(a, b, 5) == (len(pairs) == len(set(a)) == len(set(b)))


# Starts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_a_callable_sees_centred_rows_and_returns_centred_centers(dtype):
    X = (blobs() * 10 + 1000).astype(dtype)
    seen = []

    def init(rows, n_clusters, random_state):
        seen.append(rows)
        return rows[:n_clusters].copy()

    model = KMeans(4, init=init, n_init=1).fit(X)
    assert seen[0].dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_allclose(seen[0], X - X.mean(axis=0, dtype=np.float64), atol=2e-3)
    direct = KMeans(4, init=X[:4]).fit(X)
    assert np.array_equal(model.labels_, direct.labels_)
    np.testing.assert_allclose(model.cluster_centers_, direct.cluster_centers_, rtol=1e-5)


def test_a_callable_sees_sparse_rows_as_they_are():
    X = sp.csr_array(np.arange(12).reshape(6, 2))
    seen = []

    def init(rows, n_clusters, random_state):
        seen.append(rows)
        return rows[:n_clusters].toarray()

    KMeans(2, init=init, n_init=1).fit(X)
    assert seen[0].format == "csr"
    assert seen[0].dtype == np.float64
    assert np.array_equal(seen[0].toarray(), X.toarray())


def test_a_callable_may_return_views_of_what_it_sees():
    X = blobs()
    views = KMeans(4, init=lambda X, k, random_state: X[:k], n_init=2).fit(X)
    copies = KMeans(4, init=lambda X, k, random_state: X[:k].copy(), n_init=2).fit(X)
    assert np.array_equal(views.labels_, copies.labels_)
    assert views.inertia_ == copies.inertia_


def test_initial_centers_are_left_alone():
    X, centers = blobs(), blobs(4, seed=8)
    kept = centers.copy()
    model = KMeans(4, init=centers).fit(X)
    assert np.array_equal(centers, kept)
    assert not np.shares_memory(model.cluster_centers_, centers)


def test_the_start_is_drawn_from_a_subset_on_request():
    X = blobs(100)
    for init in ("k-means++", "k-means||", "random"):
        expected = np.random.RandomState(4).randint(0, 100, 10)
        centers = KMeans(3)._init_centroids(
            X, None, init, np.random.RandomState(4), np.ones(100), init_size=10
        )
        assert all((X[expected] == center).all(axis=1).any() for center in centers)
        more = KMeans(3)._init_centroids(
            X, None, init, np.random.RandomState(4), None, n_centroids=6
        )
        assert more.shape == (6, 5)


# Warnings --------------------------------------------------------------------------------------


def test_warning_of_too_few_clusters_points_at_the_caller():
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 0]])
    message = r"distinct clusters \(3\) found smaller than n_clusters \(4\)"
    with pytest.warns(ConvergenceWarning, match=message) as record:
        model = KMeans(4, random_state=0).fit(X)
    assert record[0].filename == __file__
    assert set(model.labels_) == {0, 1, 2}


def test_warning_of_several_runs_from_given_centers():
    with pytest.warns(RuntimeWarning, match="performing only one init in KMeans") as record:
        model = KMeans(4, init=blobs(4), n_init=3).fit(blobs())
    assert record[0].filename == __file__
    assert model._n_init == 1


def test_warning_of_elkan_with_one_cluster():
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster") as record:
        KMeans(1, algorithm="elkan").fit(blobs())
    assert record[0].filename == __file__


def test_no_warning_at_the_limit_of_iterations():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert KMeans(8, max_iter=1, random_state=0).fit(blobs()).n_iter_ == 1


# Weights ---------------------------------------------------------------------------------------


def test_weights_count_rows():
    X = blobs(60)
    weights = np.random.RandomState(0).randint(1, 5, 60)
    weighted = KMeans(4, init=X[:4]).fit(X, sample_weight=weights)
    repeated = KMeans(4, init=X[:4]).fit(np.repeat(X, weights, axis=0))
    assert np.array_equal(np.repeat(weighted.labels_, weights), repeated.labels_)
    np.testing.assert_allclose(weighted.inertia_, repeated.inertia_)
    np.testing.assert_allclose(weighted.score(X, sample_weight=weights), -repeated.inertia_)


@pytest.mark.parametrize("weight", [1, 2.5, np.float32(0.5), True])
def test_one_number_weighs_all_rows(weight):
    X = blobs()
    plain = KMeans(4, random_state=0).fit(X)
    scaled = KMeans(4, random_state=0).fit(X, sample_weight=weight)
    assert np.array_equal(plain.labels_, scaled.labels_)
    np.testing.assert_allclose(scaled.inertia_, weight * plain.inertia_)
    np.testing.assert_allclose(scaled.score(X, sample_weight=weight), -scaled.inertia_)


def test_negative_weights_do_what_they_do_in_scikit_learn():
    X = blobs(80)
    weights = np.ones(80)
    weights[::9] = -0.25
    ours, theirs = (
        kind(4, init=X[:4], n_init=1).fit(X, sample_weight=weights) for kind in (KMeans, PeerKMeans)
    )
    assert_same_fit(ours, theirs)


def test_weights_are_left_alone():
    weights = np.array([0.5, 0.2, 0.3])
    KMeans(2, random_state=0).fit([[1], [2], [4]], sample_weight=weights)
    assert weights.tolist() == [0.5, 0.2, 0.3]


# Empty clusters --------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_empty_clusters_take_the_farthest_rows(sparse):
    X = np.array([-10.0, -9.5, -9, -8.5, -8, -1, 1, 9, 9.5, 10]).reshape(-1, 1)
    X = sp.csr_array(X) if sparse else X
    init = np.full((3, 1), -10.0)
    model = KMeans(3, init=init, max_iter=1).fit(X)
    # Two of ten rows leave for the empty clusters; the first keeps the mean of the other eight.
    assert model.cluster_centers_.ravel().tolist() == [-4.5, 10.0, 9.5]


def test_empty_clusters_take_the_weight_from_the_donor():
    X = np.array([[-1.0], [1.0]])
    model = KMeans(2, init=[[-1], [10]]).fit(X, sample_weight=[1.9, 0.1])
    assert np.allclose(model.cluster_centers_, [[-1], [1]])
    assert model.labels_.tolist() == [0, 1]


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
def test_more_clusters_than_distinct_rows(algorithm):
    X = np.array([[0.0, 0], [1, 1], [1, 1], [1, 0], [0, 1]])
    with pytest.warns(ConvergenceWarning):
        model = KMeans(5, init=X, algorithm=algorithm).fit(X)
    assert model.n_iter_ == 1
    assert model.inertia_ == 0
    assert model.labels_.tolist() == [0, 1, 1, 3, 4]


# Tolerance and progress ------------------------------------------------------------------------


def test_tolerance_is_relative_to_the_mean_variance_of_the_columns():
    X = blobs() * [1, 10, 0.1, 5, 2] + 1e4
    weights = np.linspace(0, 1, len(X))  # without influence
    model = KMeans(4, tol=1e-3).fit(X, sample_weight=weights)
    np.testing.assert_allclose(model._tol, 1e-3 * X.var(axis=0).mean(), rtol=1e-9)
    assert KMeans(4, tol=0).fit(X)._tol == 0


def test_lloyd_and_elkan_are_the_same():
    X = blobs(dtype=np.float32)
    one, other = (KMeans(6, algorithm=a, random_state=1).fit(X) for a in ("lloyd", "elkan"))
    assert np.array_equal(one.cluster_centers_, other.cluster_centers_)
    assert np.array_equal(one.labels_, other.labels_)
    assert (one.inertia_, one.n_iter_) == (other.inertia_, other.n_iter_)


@pytest.mark.parametrize(("tol", "ending"), [(0, "strict convergence"), (1e-2, "within tolerance")])
def test_verbose(tol, ending, capsys):
    model = KMeans(3, init="random", n_init=1, tol=tol, verbose=1, random_state=42).fit(
        np.random.RandomState(0).normal(size=(2000, 10))
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization complete"
    assert sum(line.startswith("Iteration") for line in lines) == model.n_iter_
    assert lines[1].startswith("Iteration 0, inertia ")
    assert lines[-1].startswith(f"Converged at iteration {model.n_iter_ - 1}: ")
    assert ending in lines[-1]
    KMeans(3, random_state=0).fit(blobs())
    assert capsys.readouterr().out == ""


def test_types_of_the_results():
    model = KMeans(3, random_state=0).fit(blobs())
    assert model.labels_.dtype == np.int32
    assert type(model.inertia_) is float
    assert type(model.n_iter_) is int
    assert model.cluster_centers_.flags.c_contiguous
    assert type(model.score(blobs())) is float

"""Clusters do not depend on the unit of the data, as far as float64 reaches."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from cluster_data import blobs

from tilewise import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus

EXPONENTS = [1015, 700, 560, 500, -500, -560, -900]
X = blobs(200, 3, 3)
WEIGHTS = np.random.default_rng(0).random(200)


def assert_same(scaled, plain, exponent):
    assert np.array_equal(scaled.labels_, plain.labels_)
    assert np.array_equal(scaled.cluster_centers_, np.ldexp(plain.cluster_centers_, exponent))
    assert scaled.n_iter_ == plain.n_iter_
    with np.errstate(all="ignore"):
        inertia = np.ldexp(np.ldexp(plain.inertia_, exponent), exponent)
    assert scaled.inertia_ == pytest.approx(inertia, rel=1e-12)


def by_hand(rows, n_clusters, random_state):
    return rows[: 2 * n_clusters : 2]


INITS = {
    "k-means++": {"init": "k-means++"},
    "k-means||": {"init": "k-means||"},
    "random": {"init": "random", "n_init": 3},
    "callable": {"init": by_hand},
}


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("init", INITS)
@pytest.mark.filterwarnings("ignore:The inertia:RuntimeWarning")
def test_kmeans(init, exponent):
    plain = KMeans(3, random_state=0, **INITS[init]).fit(X, sample_weight=WEIGHTS)
    far = np.ldexp(X, exponent)
    with np.errstate(all="raise"):
        scaled = KMeans(3, random_state=0, **INITS[init]).fit(far, sample_weight=WEIGHTS)
        assert_same(scaled, plain, exponent)
        assert np.array_equal(scaled.predict(far), plain.labels_)
        found = scaled.transform(far)
    assert np.allclose(found, np.ldexp(plain.transform(X), exponent), rtol=1e-12, atol=0.0)
    if exponent in (500, -500):
        assert scaled.score(far, sample_weight=WEIGHTS) == pytest.approx(
            -scaled.inertia_, rel=1e-12
        )


@pytest.mark.parametrize("exponent", [600, -600])
@pytest.mark.filterwarnings("ignore:The inertia:RuntimeWarning")
def test_centres_given(exponent):
    plain = KMeans(3, init=X[:3], n_init=1).fit(X)
    scaled = KMeans(3, init=np.ldexp(X[:3], exponent), n_init=1).fit(np.ldexp(X, exponent))
    assert_same(scaled, plain, exponent)


@pytest.mark.parametrize("exponent", [600, -600])
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.filterwarnings("ignore:The inertia:RuntimeWarning")
def test_sparse_rows(exponent, init):
    rows = sp.random_array((300, 40), density=0.1, rng=np.random.default_rng(0), format="csr")
    plain = KMeans(3, random_state=0, **INITS[init]).fit(rows)
    far = rows.copy()
    far.data = np.ldexp(far.data, exponent)
    scaled = KMeans(3, random_state=0, **INITS[init]).fit(far)
    assert_same(scaled, plain, exponent)
    assert np.array_equal(scaled.predict(far), plain.labels_)
    assert np.allclose(
        scaled.transform(far), np.ldexp(plain.transform(rows), exponent), rtol=1e-9, atol=0.0
    )


@pytest.mark.parametrize("exponent", [600, -600])
@pytest.mark.parametrize("init", [*INITS, "all k-means++", "all k-means||"])
@pytest.mark.filterwarnings("ignore:The inertia:RuntimeWarning")
def test_streamed_rows(exponent, init):
    how = INITS.get(init) or {"init": init.removeprefix("all "), "init_size": "all"}
    far = np.ldexp(X, exponent)

    def batches(rows):
        return lambda: iter(np.array_split(rows, 7))

    plain = KMeans(3, random_state=0, **how).fit(batches(X))
    scaled = KMeans(3, random_state=0, **how).fit(batches(far))
    assert_same(scaled, plain, exponent)
    assert np.array_equal(scaled.predict(batches(far)), plain.labels_)
    assert np.allclose(
        scaled.transform(batches(far)), np.ldexp(plain.transform(X), exponent), rtol=1e-12
    )
    assert scaled.score(batches(far)) == pytest.approx(-scaled.inertia_, rel=1e-12)


@pytest.mark.parametrize("exponent", [600, -600])
def test_functions(exponent):
    far = np.ldexp(X, exponent)
    centers, indices = kmeans_plusplus(far, 4, random_state=0)
    assert np.array_equal(indices, kmeans_plusplus(X, 4, random_state=0)[1])
    assert np.array_equal(centers, far[indices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert np.array_equal(k_means(far, 3, random_state=0)[1], k_means(X, 3, random_state=0)[1])


def test_an_inertia_that_is_too_large_says_so():
    far = np.ldexp(X, 600)
    with pytest.warns(RuntimeWarning, match="inertia.*infinite") as seen:
        model = KMeans(3, random_state=0).fit(far)
    assert model.inertia_ == np.inf
    assert seen[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="inertia.*infinite"):
        assert model.score(far) == -np.inf
    with pytest.warns(RuntimeWarning, match="inertia.*infinite"):
        assert KMeans(3, random_state=0).fit(X).score(X, sample_weight=np.full(200, 1e308)) == (
            -np.inf
        )


@pytest.mark.parametrize("engine", ["fused", "blas"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_ordinary_centres_and_rows_far_away(engine, k):
    model = KMeans(k, random_state=0, engine=engine).fit(X)
    far = X[:20].copy()
    for i, exponent in enumerate((520, 600, 1000, -600)):
        far[i] = np.ldexp(far[i], exponent)
    labels = model.predict(far)
    # From so far away all centres are equally far: the lowest index has it.
    assert labels[:3].tolist() == [0, 0, 0]
    assert labels[3] == model.predict(np.zeros((1, 3)))[0]
    assert labels[4:].tolist() == model.labels_[4:20].tolist()
    distances = model.transform(far)
    assert np.isfinite(distances).all()
    sizes = np.abs(far[:3]).max(axis=1)
    expected = sizes * np.sqrt(np.square(far[:3] / sizes[:, None]).sum(axis=1))
    assert np.allclose(distances[:3], expected[:, None], rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_codes_for_missing_values_are_pointed_at():
    coded = np.vstack([X, np.full((1, 3), np.finfo(float).max)])
    with pytest.warns(RuntimeWarning, match=r"1.8e\+308.*codes for missing values") as seen:
        KMeans(3, random_state=0).fit(coded)
    assert seen[0].filename == __file__


def test_a_far_row_of_its_own_cluster():
    coded = np.vstack([X, np.full((1, 3), 1e200)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # tol is a share of the variance, which this row makes huge.
        init = np.vstack([X[[0, 1, 4]], coded[-1:]])
        model = KMeans(4, init=init, n_init=1, tol=0.0).fit(coded)
    plain = KMeans(3, init=X[[0, 1, 4]], n_init=1, tol=0.0).fit(X)
    assert np.array_equal(model.labels_[:-1], plain.labels_)
    assert model.labels_[-1] == 3


@pytest.mark.parametrize("exponent", [560, -560])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_mini_batches_refuse_what_they_cannot_square(exponent, method):
    far = np.ldexp(X, exponent)
    for init in ("k-means++", "random", far[:3]):
        model = MiniBatchKMeans(3, init=init, random_state=0, n_init=1)
        with pytest.raises(ValueError, match=r"no room for the squares.*2\.0\*\*"):
            getattr(model, method)(far)
        assert not hasattr(model, "cluster_centers_")
    model = MiniBatchKMeans(3, random_state=0, n_init=1).fit(X)
    centers = model.cluster_centers_.copy()
    if exponent > 0:
        with pytest.raises(ValueError, match="no room for the squares"):
            model.partial_fit(far)
    assert np.array_equal(model.cluster_centers_, centers)


def test_mini_batches_refuse_streams_they_cannot_square():
    far = np.ldexp(X, 560)
    for batches in (lambda: iter([far]), iter([far])):
        with pytest.raises(ValueError, match="no room for the squares"):
            MiniBatchKMeans(3, random_state=0, n_init=1).fit(batches)


@pytest.mark.parametrize("exponent", [479, -399])
def test_ordinary_data_are_fitted_as_they_are(exponent, monkeypatch):
    from tilewise.engine import Scale

    def never(self, rows):
        raise AssertionError("scaled")

    plain = KMeans(3, random_state=0).fit(X)
    reach = int(np.frexp(np.abs(X).max())[1])
    monkeypatch.setattr(Scale, "rows", lambda self, rows: never(self, rows) if self else rows)
    assert_same(
        KMeans(3, random_state=0).fit(np.ldexp(X, exponent - reach)), plain, exponent - reach
    )


def test_subnormal_data():
    tiny = np.ldexp(np.round(X * 8), -1074 + 3)
    model = KMeans(3, random_state=0).fit(tiny)
    assert np.array_equal(model.labels_, model.predict(tiny))
    assert len(np.unique(model.labels_)) == 3


@pytest.mark.parametrize("n_init", [1, 2])
def test_checkpoints_hold_scaled_states(n_init, tmp_path):
    path = tmp_path / "state.npz"
    far = np.ldexp(X, 500)

    class Stop(Exception):
        pass

    from tilewise.cluster._checkpoint import Checkpoint

    write = Checkpoint.write

    def stopping(self, **arrays):
        write(self, **arrays)
        raise Stop

    parameters = {"init": "random", "n_init": n_init, "random_state": 0, "tol": 0.0}
    whole = KMeans(3, **parameters).fit(far)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "write", stopping)
        with pytest.raises(Stop):
            KMeans(3, checkpoint=path, **parameters).fit(far)
    resumed = KMeans(3, checkpoint=path, **parameters).fit(far)
    assert np.array_equal(resumed.cluster_centers_, whole.cluster_centers_)
    assert resumed.inertia_ == whole.inertia_

"""Rows of bfloat16 give the bits of the same numbers in float32, and are not copied."""

import tracemalloc

import numpy as np
import pytest
from cluster_data import check_refused_alike
from tensors import Halves, narrowed, widened

import tilewise
from tilewise import KMeans, MiniBatchKMeans
from tilewise._numbers import BFLOAT16, as_real, readable
from tilewise.cluster import _checkpoint
from tilewise.engine import Rows

pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")


def memory(n=300, d=19, seed=0):
    """Bits of rows in a few clusters, subnormal and large numbers and zeros of both signs among."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(6, d))[rng.randint(6, size=n)] * 4 + rng.normal(size=(n, d))
    X = narrowed(X * 10.0 ** rng.randint(-2, 3, size=(n, d)))
    X[::37, 0] = narrowed([1e-40, -3e-39, -0.0, 2.0**-126, 1e4, 0.0][seed % 6])
    return X


def _ml_dtypes(X):
    return X.view(pytest.importorskip("ml_dtypes").bfloat16)


# How rows of bfloat16 may come.
KINDS = {
    "ml_dtypes": _ml_dtypes,
    "tensor": Halves,
    "tensor_with_gradient": lambda X: Halves(X, requires_grad=True),
    "named": lambda X: X.view(BFLOAT16),
}
LAYOUTS = {
    "plain": lambda X: X,
    "fortran": np.asfortranarray,
    "every_second_row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "every_second_column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "one_row": lambda X: X[:1],
}
# ... of which a tensor has no negative strides.
BACKWARDS = {"negative_strides": lambda X: X[::-1, ::-1].copy()[::-1, ::-1]}


def bits(found):
    if isinstance(found, tuple):
        return tuple(map(bits, found))
    found = np.asarray(found)
    return found.dtype, found.shape, found.tobytes()


def fitted(model):
    names = ("cluster_centers_", "labels_", "inertia_", "n_iter_")
    return [bits(getattr(model, name, 0)) for name in names]


CALLS = {
    "kmeans": lambda X, k: fitted(KMeans(k, random_state=1, n_init=2).fit(X)),
    "random": lambda X, k: fitted(KMeans(k, init="random", n_init=1, random_state=1).fit(X)),
    "mini_batch": lambda X, k: fitted(
        MiniBatchKMeans(k, batch_size=64, n_init=1, max_iter=4, random_state=1).fit(X)
    ),
    "partial_fit": lambda X, k: fitted(MiniBatchKMeans(k, n_init=1, random_state=1).partial_fit(X)),
    "fit_predict": lambda X, k: bits(KMeans(k, random_state=1).fit_predict(X)),
    "fit_transform": lambda X, k: bits(KMeans(k, random_state=1).fit_transform(X)),
    "k_means": lambda X, k: bits(tilewise.k_means(X, k, n_init=1, random_state=1)[:2]),
    "kmeans_plusplus": lambda X, k: bits(tilewise.kmeans_plusplus(X, k, random_state=1)),
    "argkmin": lambda X, k: bits(tilewise.argkmin(X, X, k)),
    "argmin": lambda X, k: bits(tilewise.pairwise_distances_argmin(X, X)),
    "argmin_min": lambda X, k: bits(tilewise.pairwise_distances_argmin_min(X, X)),
    "manhattan_argkmin": lambda X, k: bits(tilewise.argkmin(X, X, k, metric="manhattan")),
    "radius": lambda X, k: bits(
        tilewise.radius_neighbors(X, X, 3.0, return_as="csr").toarray()
    ),
    **{
        name: lambda X, k, name=name: bits(tilewise.pairwise_distances(X, metric=name))
        for name in ("euclidean", "sqeuclidean", "manhattan", "cosine", "chebyshev",
                     "nan_euclidean", "braycurtis", "correlation", "jaccard")
    },
    "chunked": lambda X, k: bits(tuple(tilewise.pairwise_distances_chunked(X, working_memory=1))),
    "function": lambda X, k: bits(
        tilewise.pairwise_distances(X, metric=lambda a, b: float(a[0] - b[0]))
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Data was converted to boolean")
@pytest.mark.parametrize("layout", [*LAYOUTS, *BACKWARDS])
@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_float32(kind, layout):
    if layout in BACKWARDS and kind.startswith("tensor"):
        pytest.skip("torch has no negative strides")
    given = (LAYOUTS | BACKWARDS)[layout](memory())
    X, same = KINDS[kind](given), widened(given)
    k = min(5, len(given))
    for name, call in CALLS.items():
        assert call(X, k) == call(same, k), name


@pytest.mark.parametrize(("n", "d", "k"), [(150, 1, 3), (400, 41, 30), (200, 130, 70)])
def test_other_shapes(n, d, k):
    for seed in range(6):
        given = memory(n, d, seed)
        for name in ("kmeans", "mini_batch", "argkmin", "euclidean", "manhattan"):
            X = given.view(BFLOAT16)
            assert CALLS[name](X, k) == CALLS[name](widened(given), k), (name, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_models_answer_rows_of_bfloat16(kind):
    given = memory()
    X, same = KINDS[kind](given), widened(given)
    model = KMeans(5, random_state=0).fit(same)
    assert bits(model.predict(X)) == bits(model.predict(same))
    assert bits(model.transform(X)) == bits(model.transform(same))
    assert model.score(X) == model.score(same)
    few = KINDS[kind](given[:3])
    assert bits(model.predict(few)) == bits(model.predict(same[:3]))
    assert bits(model.transform(few)) == bits(model.transform(same[:3]))
    one = model.predictor()
    assert bits(one.predict(X)) == bits(one.predict(same))
    for i in range(0, 300, 50):
        row = KINDS[kind](given[i])
        assert one(row) == one(same[i])
        assert one.nearest(row) == one.nearest(same[i])
        assert bits(one.distances(row)) == bits(one.distances(same[i]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_of_float32(kind, value):
    given = memory()
    given[123, 3] = narrowed(value)
    X, same = KINDS[kind](given), widened(given)
    model = KMeans(3, random_state=0).fit(widened(memory()))
    calls = (
        KMeans(3).fit, MiniBatchKMeans(3).fit, MiniBatchKMeans(3).partial_fit, model.predict,
        model.transform, model.score, lambda rows: tilewise.kmeans_plusplus(rows, 3),
        lambda rows: tilewise.argkmin(rows, rows, 2), tilewise.euclidean_distances,
        tilewise.manhattan_distances,
    )  # fmt: skip
    check_refused_alike(calls, X, same)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows(kind):
    for call in (KMeans(2).fit, tilewise.euclidean_distances):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            call(KINDS[kind](np.empty((0, 3), np.uint16)))


@pytest.mark.parametrize("kind", KINDS)
def test_streams(kind):
    given = memory(900)
    same = widened(given)

    def batches(make):
        return lambda: (make(given[first : first + 250]) for first in range(0, 900, 250))

    models = [KMeans(5, init=same[:5], n_init=1), MiniBatchKMeans(5, random_state=0, n_init=1)]
    for model in models:
        found = [fitted(model.fit(batches(make))) for make in (KINDS[kind], widened)]
        assert found[0] == found[1]
    assert fitted(models[0]) == fitted(KMeans(5, init=same[:5], n_init=1).fit(same))
    assert bits(models[0].predict(batches(KINDS[kind]))) == bits(models[0].predict(same))


def test_memory_maps_and_files(tmp_path):
    small = pytest.importorskip("ml_dtypes").bfloat16
    given = memory()
    same = widened(given)
    given.tofile(tmp_path / "raw")
    mapped = np.memmap(tmp_path / "raw", dtype=small, mode="r", shape=given.shape)
    wanted = KMeans(5, init=same[:5], n_init=1).fit(same)
    assert fitted(KMeans(5, init=same[:5], n_init=1).fit(mapped)) == fitted(wanted)
    streamed = KMeans(5, init=same[:5], n_init=1, memory_limit="1GB").fit(mapped)
    assert fitted(streamed) == fitted(wanted)
    np.save(tmp_path / "x.npy", given.view(small))
    with pytest.raises(ValueError, match=r"bfloat16.*\.view\(ml_dtypes\.bfloat16\)"):
        KMeans(5).fit(tmp_path / "x.npy")
    loaded = np.load(tmp_path / "x.npy", mmap_mode="r").view(small)
    assert fitted(KMeans(5, init=same[:5], n_init=1).fit(loaded)) == fitted(wanted)


def test_checkpoints_hold_for_the_same_numbers_in_float32():
    given = memory()
    identities = [
        _checkpoint.identity_of(KMeans(3), Rows(rows), None)
        for rows in (given.view(BFLOAT16), widened(given))
    ]
    assert identities[0] == identities[1]


def test_centres_and_weights_may_be_bfloat16():
    given = memory()
    X = widened(given)
    weights = narrowed(np.random.RandomState(0).uniform(1, 2, 300))
    found = [
        fitted(KMeans(5, init=init, n_init=1).fit(X, sample_weight=w))
        for init, w in ((Halves(given[:5]), Halves(weights)), (X[:5], widened(weights)))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_floats_of_one_byte_become_float32(name):
    kind = getattr(pytest.importorskip("ml_dtypes"), name)
    X = np.abs(np.random.RandomState(0).normal(size=(60, 3))).astype(kind)
    for call in ("kmeans", "argkmin", "euclidean"):
        assert CALLS[call](X, 3) == CALLS[call](X.astype(np.float32), 3)


@pytest.mark.parametrize(("name", "held"), [("int4", "i1"), ("uint4", "i1"), ("int2", "i1")])
def test_whole_numbers_of_few_bits_become_bytes(name, held):
    kind = getattr(pytest.importorskip("ml_dtypes"), name)
    X = np.random.RandomState(0).randint(0, 2, size=(60, 3)).astype(np.int8).astype(kind)
    assert as_real(X).dtype == np.dtype(held)
    assert CALLS["kmeans"](X, 2) == CALLS["kmeans"](X.astype(held), 2)


# ---------------------------------------------------------------- memory

N, D = 30_000, 64
MODEL = KMeans(4, init=np.eye(4, D), n_init=1, max_iter=1).fit(np.eye(8, D, dtype=np.float32))

# What allocates little by itself.
DOORS = {
    "kmeans": lambda X: KMeans(4, init=np.eye(4, D), n_init=1, max_iter=2).fit(X),
    # Rows to start from are copied: few enough not to count.
    "mini_batch": lambda X: MiniBatchKMeans(
        4, n_init=1, max_iter=1, random_state=0, batch_size=256, init_size=256
    ).fit(X),
    "partial_fit": lambda X: MiniBatchKMeans(4, init=np.eye(4, D), n_init=1).partial_fit(X),
    "predict": lambda X: MODEL.predict(X),
    "transform": lambda X: MODEL.transform(X),
    "score": lambda X: MODEL.score(X),
    "argmin": lambda X: tilewise.pairwise_distances_argmin(X[:50], X),
    "argkmin": lambda X: tilewise.argkmin(X[:50], X, 3),
    "radius": lambda X: tilewise.radius_neighbors(X[:50], X, 0.1),
    "euclidean": lambda X: tilewise.euclidean_distances(X[:4], X),
    "manhattan": lambda X: tilewise.manhattan_distances(X[:4], X),
    "chebyshev": lambda X: tilewise.pairwise_distances(X[:4], X, metric="chebyshev"),
}


@pytest.mark.parametrize("kind", ["f2", "bfloat16", "i1", "u1", "i2", "u2", "?"])
@pytest.mark.parametrize("door", DOORS)
def test_rows_are_not_expanded(door, kind):
    """Peaks are close to those of rows of the type of the results, which are not copied."""
    values = np.random.RandomState(0).uniform(0, 100, size=(N, D)).astype(np.float32)
    X = narrowed(values).view(BFLOAT16) if kind == "bfloat16" else values.astype(kind)
    same = widened(X.view(np.uint16)) if kind == "bfloat16" else X.astype(np.float64)
    peaks = []
    for rows in (same, X):
        DOORS[door](rows)
        tracemalloc.start()
        DOORS[door](rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Staging takes a chunk; all rows would take 4 N D in float32, and 8 N D in float64.
    assert peaks[1] - peaks[0] < N * D


def test_a_tensor_is_not_copied():
    X = memory()
    assert np.shares_memory(readable(Halves(X), rows=True), X)
    assert readable(Halves(X)).dtype == np.float32

"""Fits on a device have the bits of the CPU's, on data made to tell them apart."""

import numpy as np
import pytest
from backend_data import DATA
from device_cases import (
    INITS,
    KINDS,
    ON_GPU,
    bits,
    in_memory,
    on_device,
    shortened,
    start_cases,
)

from tilewise import KMeans, MiniBatchKMeans, engine, kmeans_plusplus
from tilewise.engine import Request, backend_of, open_rows

CASES = start_cases(every=len(INITS), rest=0)


def data(name, n_rows=40):
    X, k = DATA[name]
    return shortened(X, n_rows), k if ON_GPU or len(X) == k else min(k, 4)


def weights_for(X, k):
    weights = np.random.RandomState(1).randint(0, 4, len(X)) * 0.3
    weights[:k] += 0.1
    return weights


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "init", "weighted"), CASES)
def test_fits_have_the_same_bits(name, init, weighted):
    X, k = data(name)
    weights = weights_for(X, k) if weighted else None
    start = {"array": X[:k], "callable": lambda X, k, random_state: X[-k:]}.get(init, init)
    plain = init in ("array", "callable")
    runs, most = (1 if plain else 2, 300) if ON_GPU else (1, 4)

    def work(X, weights):
        model = KMeans(k, init=start, n_init=runs, max_iter=most, random_state=0)
        model.fit(X, sample_weight=weights)
        return model

    wanted = work(X, weights)
    found = work(on_device(X), on_device(weights))
    assert bits(found) == bits(wanted)
    near = X[::3] if X.dtype != np.uint8 else X[::3].astype(float)
    assert in_memory(found.predict(on_device(near))).tobytes() == wanted.predict(near).tobytes()
    assert in_memory(found.transform(on_device(X))).tobytes() == wanted.transform(X).tobytes()
    assert found.score(on_device(X), sample_weight=on_device(weights)) == wanted.score(
        X, sample_weight=weights
    )


MINIBATCHES = [
    (name, init, weighted)
    for i, name in enumerate(["blobs", "iris", "duplicates", "whole numbers", "many magnitudes"])
    for j, init in enumerate(["k-means++", "k-means||"])
    for weighted in (False, True)
    if ON_GPU or (i + j + weighted) % 2 == 0
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "init", "weighted"), MINIBATCHES)
def test_minibatches_have_the_same_bits(name, init, weighted):
    X, k = data(name)
    weights = np.random.RandomState(1).uniform(0.1, 2, len(X)) if weighted else None
    part = slice(30)

    def work(X, weights):
        model = MiniBatchKMeans(
            k, init=init, batch_size=25, random_state=0, n_init=2 if ON_GPU else 1,
            max_iter=8 if ON_GPU else 2, tol=1e-3,
        )  # fmt: skip
        found = bits(model.fit(X, sample_weight=weights))
        model.partial_fit(X[part], None if weights is None else weights[part])
        return found, bits(model)

    assert work(on_device(X), on_device(weights)) == work(X, weights)


SEEDS = [
    (name, trials)
    for name in ("blobs", "iris", "digits", "duplicates", "huge")
    for trials in (None, 1, 20)
    if ON_GPU or trials is None or (trials == 20 and name == "duplicates")
]


@pytest.mark.parametrize(("name", "trials"), SEEDS)
def test_seeds_are_the_same(name, trials):
    X, k = data(name)
    k = 2 * k if ON_GPU else k
    drawn = np.random.RandomState(2).uniform(0, 5e3, len(X))
    for weights in (None, drawn) if ON_GPU else (drawn if trials else None,):
        wanted = kmeans_plusplus(X, k, sample_weight=weights, random_state=4, n_local_trials=trials)
        found = kmeans_plusplus(
            on_device(X), k, sample_weight=on_device(weights), random_state=4,
            n_local_trials=trials,
        )  # fmt: skip
        assert in_memory(found[1]).tolist() == wanted[1].tolist()
        assert in_memory(found[0]).tobytes() == wanted[0].tobytes()


def rows_of(X):
    return open_rows(X, Request("test", np.asarray, lambda n, names: None))


@pytest.mark.parametrize("name", DATA if ON_GPU else ["blobs", "duplicates", "many magnitudes"])
def test_oversampling_gives_the_same_numbers(name):
    """Step by step: potentials, rows drawn, weights of candidates."""
    X, k = data(name)
    weights = np.random.RandomState(2).uniform(0, 3, len(X)) * (np.arange(len(X)) % 5 > 0)

    def work(X, own):
        rows = rows_of(X)
        backend = backend_of(rows)
        own = backend.open_weights(rows, own, lambda weights, n: weights)
        if rows.result_dtype.name == "float64":
            rows = engine.Scale.of(rows.magnitudes().max()).rows(rows)
        state = backend.open_oversampling(rows, own, backend.plan(rows, k))
        drawn = [np.array([state.first(np.random.RandomState(1))])]
        potentials = [state.spread(rows.take(drawn[0]))]
        for key in (0, 7, 2**64 - 1):
            if potentials[-1] > 0.0:
                drawn.append(state.draw(key, 2 * k / potentials[-1]))
                if len(drawn[-1]):
                    potentials.append(state.spread(rows.take(drawn[-1])))
        ids = np.concatenate(drawn)
        return potentials, ids.tolist(), state.counts(len(ids)).tolist()

    for own in (None, weights, weights * 1e30, weights * 1e-30)[:: 1 if ON_GPU else 2]:
        assert work(on_device(X), on_device(own)) == work(X, own)


@pytest.mark.parametrize("d", [1, 7, 130])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_have_the_same_bits(dtype, d):
    """Of rows far away and of rows that are centres too."""
    X = (np.random.RandomState(d).standard_normal((40, d)) + 1e4).astype(dtype)
    model = KMeans(3, init=X[:3], n_init=1, max_iter=1).fit(X)
    model.cluster_centers_[1] = X[7]
    assert in_memory(model.transform(on_device(X))).tobytes() == model.transform(X).tobytes()


TYPES = [
    "float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "bool",
]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (dtype, kind)
        for i, dtype in enumerate(TYPES)
        for j, kind in enumerate(KINDS)
        if ON_GPU or (i + j) % 2 == 0 or dtype == "bool"
    ],
)
def test_types_are_read_as_they_are(dtype, kind):
    rng = np.random.RandomState(3)
    X = (rng.standard_normal((30, 3)) * 40 + 60).clip(0, 120).astype(dtype)
    if dtype in ("int32", "int64", "uint32"):
        X = X * np.array(2, dtype) ** np.array(20, dtype) + X
    how = {"init": X[:3], "n_init": 1, "max_iter": 2}
    wanted = KMeans(3, **how).fit(X)
    found = KMeans(3, **how).fit(on_device(X, kind))
    assert bits(found) == bits(wanted)
    assert in_memory(found.transform(on_device(X, kind))).tobytes() == wanted.transform(X).tobytes()
    seeds, rows = kmeans_plusplus(on_device(X, kind), 2, random_state=0)
    wanted, wanted_rows = kmeans_plusplus(X, 2, random_state=0)
    assert in_memory(seeds).dtype == X.dtype
    assert in_memory(seeds).tobytes() == wanted.tobytes()
    assert in_memory(rows).tolist() == wanted_rows.tolist()


def test_whole_numbers_of_64_bits():
    X = np.random.RandomState(0).randint(-(2**62), 2**62, (30, 2))
    how = {"init": X[:3].astype(float), "n_init": 1, "max_iter": 2}
    assert bits(KMeans(3, **how).fit(on_device(X))) == bits(KMeans(3, **how).fit(X))


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_numpy_does_not_have(name):
    import torch

    tensor = on_device(np.random.RandomState(3).standard_normal((30, 3)).astype(np.float32) * 9)
    tensor = tensor.to(getattr(torch, name))
    X = in_memory(tensor.float())
    how = {"init": X[:3], "n_init": 1, "max_iter": 2}
    wanted = KMeans(3, **how).fit(X)
    found = KMeans(3, **how).fit(tensor)
    assert bits(found) == bits(wanted)
    seeds, _ = kmeans_plusplus(tensor, 2, random_state=0)
    assert seeds.dtype == tensor.dtype
    assert in_memory(seeds.float()).tobytes() == kmeans_plusplus(X, 2, random_state=0)[0].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_strides_do_not_count(kind, dtype):
    X = np.random.RandomState(5).standard_normal((30, 4)).astype(dtype)
    how = {"init": X[:3], "n_init": 1, "max_iter": 2}
    wanted = bits(KMeans(3, **how).fit(X))
    wide = on_device(np.repeat(np.repeat(X, 2, axis=0), 3, axis=1), kind)
    assert bits(KMeans(3, **how).fit(wide[::2, ::3])) == wanted
    if kind == "torch":
        assert bits(KMeans(3, **how).fit(on_device(X.T).T)) == wanted
    else:
        back = on_device(X[::-1, ::-1], kind)[::-1, ::-1]
        assert bits(KMeans(3, **how).fit(back)) == wanted


def test_views_that_wait_to_be_applied():
    """The imaginary part of a conjugate has the sign of the other one until somebody reads it."""
    import torch

    X = np.random.RandomState(5).standard_normal((40, 2))
    tensor = torch.complex(on_device(X), on_device(-X)).conj().imag
    assert tensor.is_neg()
    how = {"init": X[:3], "n_init": 1, "max_iter": 2}
    assert bits(KMeans(3, **how).fit(tensor)) == bits(KMeans(3, **how).fit(X))

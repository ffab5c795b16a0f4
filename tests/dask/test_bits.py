"""Fits on a cluster have the bits of fits in memory, however the rows are divided."""

import warnings

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from cluster_bits import clouds, in_chunks, same_bits, unknown
from dask import dataframe as dd
from tensors import narrowed, widened

import tilewise
from tilewise._numbers import BFLOAT16
from tilewise.dask import KMeans, MiniBatchKMeans, _pieces

N = 1000
CUTS = {
    "one": [N], "even": [250] * 4, "odd": [1, 333, 7, 659], "empty": [0, 400, 0, 0, 600, 0],
    "many": [10] * 100,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cut", CUTS)
def test_partitions(client, cut, dtype):
    X = clouds(N, 5, dtype=dtype)
    how = {"init": X[:6], "n_init": 1, "tol": 0}
    wanted = tilewise.KMeans(6, **how).fit(X)
    found = KMeans(6, **how).fit(in_chunks(X, CUTS[cut]))
    same_bits(found, wanted)
    assert found.labels_.chunks == (tuple(CUTS[cut]),)
    assert found.stream_report_.passes >= wanted.n_iter_
    assert found.stream_report_.rows == N


@pytest.mark.parametrize("persisted", [True, False])
@pytest.mark.parametrize("sizes", [CUTS["odd"], CUTS["empty"]])
def test_unknown_sizes(client, sizes, persisted):
    X = clouds(N, 5)
    how = {"init": X[:6], "n_init": 1}
    D = unknown(X, sizes)
    found = KMeans(6, **how).fit(D.persist() if persisted else D)
    same_bits(found, tilewise.KMeans(6, **how).fit(X))


def test_shuffled_partitions(client):
    """The order of the partitions changes which row has which number, and no other bit."""
    X = clouds(N, 5)
    blocks = np.split(X, 4)
    how = {"init": X[:6], "n_init": 1}
    wanted = tilewise.KMeans(6, **how).fit(X)
    found = KMeans(6, **how).fit(in_chunks(np.concatenate(blocks[::-1]), [250] * 4))
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.inertia_ == wanted.inertia_
    labels = np.split(found.labels_.compute(), 4)
    assert np.array_equal(np.concatenate(labels[::-1]), wanted.labels_)


@pytest.mark.parametrize("kind", ["array", "number", "dask array", "delayed", "series"])
def test_weights(client, kind):
    X = clouds(N, 5)
    weights = np.random.default_rng(1).uniform(0, 3, N) * (np.arange(N) % 3 > 0)
    if kind == "number":
        weights = 2.5
    sizes = CUTS["odd"]
    given = weights
    if kind in ("dask array", "series"):
        given = da.from_array(weights, chunks=(tuple(sizes),))
    if kind == "series":
        given = dd.from_dask_array(given)
    if kind == "delayed":
        given = [dask.delayed(own) for own in np.split(weights, np.cumsum(sizes)[:-1])]
    how = {"init": X[:6], "n_init": 1, "tol": 0}
    found = KMeans(6, **how).fit(in_chunks(X, sizes), sample_weight=given)
    wanted = tilewise.KMeans(6, **how).fit(X, sample_weight=weights)
    same_bits(found, wanted)
    D = in_chunks(X, sizes)
    assert found.score(D, sample_weight=given) == wanted.score(X, sample_weight=weights)


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("init_size", [None, 300])
def test_starts_are_those_of_a_stream(client, init, init_size):
    X = clouds(N, 5, dtype=np.float32)
    how = {"init": init, "n_init": 3, "random_state": 7, "init_size": init_size}
    D = in_chunks(X, CUTS["odd"])
    wanted = tilewise.KMeans(6, **how).fit(D)
    found = KMeans(6, **how).fit(D)
    same_bits(found, wanted)
    if init_size is None:  # the sample are all rows, in order
        same_bits(found, tilewise.KMeans(6, **how).fit(X))


@pytest.mark.parametrize("case", ["plain", "weights", "huge", "duplicates", "small weights"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_start_from_all_rows(client, case, dtype, init):
    """Both draw on the cluster what they draw in memory."""
    X, weights, k = clouds(N, 5, dtype=dtype), None, 20
    if case == "weights":
        weights = np.random.default_rng(0).uniform(0, 5, N) * (np.arange(N) % 4 > 0)
    elif case == "small weights":
        weights = np.random.default_rng(0).uniform(0, 1e-40, N)
    elif case == "huge":
        X = X * (1e30 if dtype == np.float32 else 1e200)
    elif case == "duplicates":
        X = np.repeat(X[:10], 100, axis=0)
    how = {"init": init, "n_init": 2, "random_state": 5, "init_size": "all", "tol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = tilewise.KMeans(k, **how).fit(X, sample_weight=weights)
        found = KMeans(k, **how).fit(in_chunks(X, CUTS["odd"]), sample_weight=weights)
    same_bits(found, wanted)


def test_many_seeds_travel_in_groups(client):
    X = clouds(N, 3)
    how = {"n_init": 1, "random_state": 5, "init_size": "all", "max_iter": 2}
    wanted = tilewise.KMeans(150, **how).fit(X)
    same_bits(KMeans(150, **how).fit(in_chunks(X, [400, 600])), wanted)


def test_callable_init(client):
    X = clouds(N, 5)
    how = {"init": lambda X, k, random_state: X[-k:], "n_init": 1}
    D = in_chunks(X, CUTS["odd"])
    same_bits(KMeans(6, **how).fit(D), tilewise.KMeans(6, **how).fit(D))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint16, bool, np.int64, ">f4", object])
def test_types(client, dtype):
    X = np.round(clouds(N, 5) * 4).clip(-100, 100)
    X = np.abs(X).astype(dtype) if dtype in (np.uint16, bool) else X.astype(dtype)
    init = np.asarray(X[:40:8], dtype=np.float64)
    how = {"init": init, "n_init": 1}
    same_bits(KMeans(5, **how).fit(in_chunks(X, [500, 500])), tilewise.KMeans(5, **how).fit(X))


@pytest.mark.parametrize("dtype", ["f2", "i1", "u2", "?", "bfloat16"])
def test_narrow_rows_are_held_as_they_are(client, dtype):
    X = np.abs(np.round(clouds(N, 5) * 4).clip(-100, 100))
    X = narrowed(X).view(BFLOAT16) if dtype == "bfloat16" else X.astype(dtype)
    blocks = [dask.delayed(block) for block in np.split(X, [300, 300, 650])]
    for how in ({"random_state": 3}, {"random_state": 3, "init": "k-means||"}):
        how |= {"n_init": 1, "init_size": "all"}
        found = KMeans(5, **how).fit(blocks)
        wide = widened(X.view(np.uint16)) if dtype == "bfloat16" else X.astype(np.float64)
        same_bits(found, KMeans(5, **how).fit([dask.delayed(b) for b in np.split(wide, 4)]))
    same = tilewise.KMeans(5, random_state=3, n_init=1).fit(X)
    assert np.array_equal(np.asarray(found.predict(blocks)), found.to_local().predict(X))
    assert same.cluster_centers_.dtype == found.cluster_centers_.dtype
    piece = _pieces.make_piece(np.asfortranarray(X), 0, None, False)
    assert piece.values.dtype == X.dtype
    assert piece.values.nbytes == X.nbytes


def test_mixed_types_and_orders(client):
    """Parts of several types are one data set in float64; any memory order will do."""
    X = clouds(N, 5, dtype=np.float32).astype(np.float64)
    blocks = [X[:300].astype(np.float32), np.asfortranarray(X[300:600]), X[600:][::1]]
    blocks[2] = np.repeat(blocks[2], 2, axis=0)[::2]
    blocks[0].setflags(write=False)
    how = {"init": X[:6], "n_init": 1}
    found = KMeans(6, **how).fit([dask.delayed(block) for block in blocks])
    same_bits(found, tilewise.KMeans(6, **how).fit(X))


def test_futures(client):
    X = clouds(N, 5)
    futures = [client.submit(lambda block=block: block) for block in np.split(X, 4)]
    how = {"init": X[:6], "n_init": 1}
    same_bits(KMeans(6, **how).fit(futures), tilewise.KMeans(6, **how).fit(X))


def test_data_frames(client):
    X = clouds(N, 3, dtype=np.float32)
    frame = pd.DataFrame(X, columns=list("abc"))
    how = {"init": X[:6], "n_init": 1}
    wanted = tilewise.KMeans(6, **how).fit(frame)
    D = dd.from_pandas(frame, npartitions=3)
    found = KMeans(6, **how).fit(D)
    same_bits(found, wanted)
    assert list(found.feature_names_in_) == list("abc")
    assert np.array_equal(found.predict(D).compute(), wanted.labels_)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(D[["c", "b", "a"]])
    turned = [dask.delayed(frame[:400]), dask.delayed(frame[400:][["c", "a", "b"]])]
    meta = frame[:0]
    same_bits(KMeans(6, **how).fit(dd.from_delayed(turned, meta=meta, verify_meta=False)), wanted)


@pytest.mark.parametrize("form", ["npy", "parquet"])
@pytest.mark.parametrize("folder", [True, False])
def test_files(client, tmp_path, form, folder):
    X = clouds(N, 3)
    paths = []
    for number, block in enumerate(np.split(X, [300, 301, 700])):
        paths.append(tmp_path / f"{number}.{form}")
        if form == "npy":
            np.save(paths[-1], block)
        else:
            pd.DataFrame(block, columns=list("abc")).to_parquet(paths[-1])
    how = {"init": X[:6], "n_init": 1}
    wanted = tilewise.KMeans(6, **how).fit(X)
    given = tmp_path if folder else paths
    found = KMeans(6, **how).fit(given)
    same_bits(found, wanted)
    assert np.array_equal(found.predict(given).compute(), wanted.labels_)


@pytest.mark.parametrize(
    "case", ["duplicates", "k = n", "one row", "far", "huge", "tiny", "outlier"]
)
def test_hostile_data(client, case):
    X = clouds(60, 4)
    k = 7
    if case == "duplicates":
        X = np.repeat(X[:3], 20, axis=0)
    elif case == "k = n":
        k = 60
    elif case == "one row":
        X, k = X[:1], 1
    elif case == "far":
        X = X + 1e9
    elif case in ("huge", "tiny"):
        X = X * (1e200 if case == "huge" else 1e-200)
    elif case == "outlier":
        X[17, 2] = 1e30
    init = X[:k] if case != "duplicates" else np.r_[X[:1], X[:6] + 50]
    how = {"init": init, "n_init": 1, "tol": 0}
    with np.errstate(all="ignore"), pytest.warns() if case in ("duplicates",) else nothing():
        wanted = tilewise.KMeans(k, **how).fit(X)
        found = KMeans(k, **how).fit(in_chunks(X, [len(X) // 3, len(X) - len(X) // 3]))
    same_bits(found, wanted)


class nothing:
    def __enter__(self):
        return self

    def __exit__(self, *problem):
        pass


def test_empty_clusters_take_the_farthest_rows(client):
    X = clouds(N, 4)
    far = X[:3].mean(axis=0) + 1e3 * np.arange(1, 4)[:, None]
    how = {"init": np.r_[X[:3], far], "n_init": 1, "tol": 0}
    for weights in (None, np.random.default_rng(0).uniform(size=N)):
        wanted = tilewise.KMeans(6, **how).fit(X, sample_weight=weights)
        found = KMeans(6, **how).fit(in_chunks(X, CUTS["odd"]), sample_weight=weights)
        same_bits(found, wanted)


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("weighted", [True, False])
def test_mini_batches_are_those_of_a_stream(client, tmp_path, n_init, weighted):
    X = clouds(N, 5, dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    weights = np.random.default_rng(0).uniform(size=N) if weighted else None
    how = {"random_state": 3, "n_init": n_init, "batch_size": 100, "max_iter": 5, "tol": 1e-3}
    wanted = tilewise.MiniBatchKMeans(6, **how).fit(tmp_path / "X.npy", sample_weight=weights)
    found = MiniBatchKMeans(6, **how).fit(in_chunks(X, CUTS["odd"]), sample_weight=weights)
    same_bits(found, wanted)
    assert found.n_steps_ == wanted.n_steps_
    assert found.stream_report_.passes >= 1
    assert found.stream_report_.rows >= N


def test_partial_fit_is_local(client):
    X = clouds(300, 5)
    wanted, found = (
        kind(4, random_state=0) for kind in (tilewise.MiniBatchKMeans, MiniBatchKMeans)
    )
    for batch in np.split(X, 3):
        wanted.partial_fit(batch)
        found.partial_fit(batch)
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_new_rows(client, dtype):
    X = clouds(N, 5, dtype=dtype)
    D = in_chunks(X, CUTS["empty"])
    how = {"init": X[:6], "n_init": 1}
    wanted = tilewise.KMeans(6, **how).fit(X)
    found = KMeans(6, **how).fit(D)
    labels, distances = found.predict(D), found.transform(D)
    assert labels.chunks == (tuple(CUTS["empty"]),)
    assert distances.dtype == dtype
    assert distances.shape == (N, 6)
    assert np.array_equal(labels.compute(), wanted.predict(X))
    assert distances.compute().tobytes() == wanted.transform(X).tobytes()
    assert found.score(D) == wanted.score(X)
    assert np.array_equal(found.predict(X[:7]), wanted.predict(X[:7]))
    assert found.score(X[:7]) == wanted.score(X[:7])
    assert np.array_equal(found.fit_predict(D).compute(), wanted.labels_)
    assert np.array_equal(found.fit_transform(D).compute(), wanted.transform(X))
    assert found.predict(unknown(X, CUTS["odd"])).compute().shape == (N,)


def test_local_models(client, tmp_path):
    X = clouds(N, 5)
    model = KMeans(6, random_state=0, client=client).fit(in_chunks(X, CUTS["odd"]))
    local = model.to_local()
    assert type(local) is tilewise.KMeans
    own = {name: value for name, value in model.get_params().items() if name != "client"}
    assert local.get_params() == {**own, "device": "auto"}  # the workers have no choice
    assert np.array_equal(local.predict(X), model.labels_.compute())
    assert not hasattr(local, "labels_")
    assert type(MiniBatchKMeans(2).to_local()) is tilewise.MiniBatchKMeans


def test_plain_estimators_stay_local_streams(client):
    X = clouds(N, 5)
    model = tilewise.KMeans(6, random_state=0).fit(in_chunks(X, CUTS["odd"]))
    assert isinstance(model.labels_, np.ndarray)

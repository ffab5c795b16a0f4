"""Corners: names of columns, types, starts that are taken up again, estimators as objects."""

import copy
import warnings

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from cluster_bits import clouds, in_chunks, same_bits
from dask import dataframe as dd
from distributed import Client, LocalCluster
from sklearn.base import clone

import tilewise
from tilewise.dask import KMeans, MiniBatchKMeans

N = 600


def frame_of(X, dtype=None):
    return pd.DataFrame(X, columns=list("abc"), dtype=dtype)


# ---------------------------------------------------------------- names


def test_delayed_frames_are_joined_by_name(client):
    F = frame_of(clouds(N, 3))
    how = {"init": F.to_numpy()[:5], "n_init": 1}
    wanted = tilewise.KMeans(5, **how).fit(F)
    turned = [dask.delayed(F[:200]), dask.delayed(F[200:][["c", "a", "b"]])]
    found = KMeans(5, **how).fit(turned)
    same_bits(found, wanted)
    assert list(found.feature_names_in_) == list("abc")
    assert np.array_equal(found.predict(turned).compute(), wanted.labels_)
    assert found.score(turned) == wanted.score(F)
    other = [dask.delayed(F[:200]), dask.delayed(F[200:].rename(columns={"c": "x"}))]
    with pytest.raises(ValueError, match=r"partition 1.*'x'"):
        KMeans(5, **how).fit(other)
    with pytest.raises(ValueError, match=r"partition 1.*'x'"):
        found.predict(other).compute()


def test_files_are_joined_by_name(client, tmp_path):
    F = frame_of(clouds(N, 3))
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    F[:200].to_parquet(paths[0])
    F[200:][["c", "a", "b"]].to_parquet(paths[1])
    how = {"init": F.to_numpy()[:5], "n_init": 1}
    wanted = tilewise.KMeans(5, **how).fit(F)
    found = KMeans(5, **how).fit(paths)
    same_bits(found, wanted)
    assert np.array_equal(found.predict(tmp_path).compute(), wanted.labels_)
    F[200:].rename(columns={"c": "x"}).to_parquet(paths[1])
    with pytest.raises(ValueError, match="'x'"):
        KMeans(5, **how).fit(tmp_path)


def test_no_warnings_of_names_that_were_compared(client):
    F = frame_of(clouds(N, 3))
    D = dd.from_pandas(F, npartitions=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KMeans(3, random_state=0).fit(D)
        with dask.config.set(scheduler="synchronous"):
            model.predict(dd.from_pandas(F, npartitions=2))


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    "given",
    [
        [dask.delayed(np.ones((9, 3)) + 1j)],
        [dask.delayed(frame_of(np.ones((9, 3)) + 1j))],
    ],
)
def test_complex_numbers_are_refused(client, given):
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(2).fit(given)


def test_complex_weights_are_refused(client):
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(2).fit(
            in_chunks(clouds(N, 3), [N]), sample_weight=da.ones(N, dtype=complex, chunks=N)
        )


def test_frames_of_float32_and_bool(client):
    F = frame_of(clouds(N, 3), np.float32).assign(d=lambda F: F.a > 0)
    how = {"init": F.to_numpy(np.float32)[:5], "n_init": 1}
    wanted = tilewise.KMeans(5, **how).fit(F)
    same_bits(KMeans(5, **how).fit([dask.delayed(F[:100]), dask.delayed(F[100:])]), wanted)


@pytest.mark.parametrize("given", [da.zeros((40, 0)), [dask.delayed(np.ones((5, 0)))]])
def test_no_columns(client, given):
    with pytest.raises(ValueError, match=r"Found array with 0 feature\(s\)"):
        KMeans(2).fit(given)


# ---------------------------------------------------------------- starts and scores


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_parts_that_spill_while_the_start_is_chosen(init):
    """Each task finds its part without what the task before kept of it."""
    X = clouds(N, 5)
    how = {"init": init, "n_init": 1, "init_size": "all", "random_state": 0, "max_iter": 3}
    wanted = tilewise.KMeans(12, **how).fit(X)
    low = {
        "distributed.worker.memory.target": 1e-5, "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": False,
    }  # fmt: skip
    quiet = {"dashboard_address": None, "silence_logs": 50}
    with dask.config.set(low), LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit="1GiB", **quiet
    ) as cluster, Client(cluster):  # fmt: skip
        same_bits(KMeans(12, **how).fit(in_chunks(X, [200, 400])), wanted)


def test_random_rows_in_proportion_to_weights(client):
    X = clouds(N, 3)
    weights = np.random.default_rng(0).uniform(size=N)
    how = {"init": "random", "n_init": 2, "init_size": "all", "random_state": 0}
    given = da.from_array(weights, chunks=((200, 400),))
    found = KMeans(5, **how).fit(in_chunks(X, [200, 400]), sample_weight=given)
    same_bits(found, tilewise.KMeans(5, **how).fit(X, sample_weight=weights))


def test_scores_beyond_float64(client):
    X = clouds(N, 3)
    weights = np.random.default_rng(0).uniform(size=N)
    model = KMeans(5, random_state=0).fit(in_chunks(X, [200, 400]))
    with pytest.warns(RuntimeWarning, match="infinite"):
        score = model.score(in_chunks(X * 1e200, [200, 400]), sample_weight=weights)
    assert score == -np.inf


def test_a_checkpoint_knows_its_data_and_no_client(client, cluster, tmp_path, monkeypatch):
    X, path = clouds(N, 3), tmp_path / "state"
    D = in_chunks(X, [200, 400])
    how = {"init": X[:5], "n_init": 1, "tol": 0, "checkpoint": path}
    wanted = tilewise.KMeans(5, **how).fit(X)
    from tilewise.dask import _passes

    real, calls = _passes.ClusterPass.assign_and_sum, []

    def interrupted(self, centers):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, centers)

    monkeypatch.setattr(_passes.ClusterPass, "assign_and_sum", interrupted)
    with pytest.raises(KeyboardInterrupt):
        KMeans(5, **how, client=client).fit(D)
    with pytest.raises(ValueError, match="data"):
        KMeans(5, **how).fit(in_chunks(X + 1, [200, 400]))
    with Client(cluster, set_as_default=False) as other:
        found = KMeans(5, **how, client=other).fit(D)
        assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
        assert found.n_iter_ == wanted.n_iter_


# ---------------------------------------------------------------- estimators as objects


def test_clones_keep_what_was_asked_for(client):
    model = KMeans(3, client=client).set_output(transform="pandas")
    again = clone(model)
    assert again.client is client
    assert again._sklearn_output_config == model._sklearn_output_config
    for made in (copy.copy(model), copy.deepcopy(model)):
        assert made.client is client
        assert made.get_params() == model.get_params()


def test_blocks_are_arrays_whatever_the_output(client):
    D = in_chunks(clouds(N, 3), [200, 400])
    model = KMeans(3, random_state=0).fit(D).set_output(transform="pandas")
    assert isinstance(model.transform(D).blocks[0].compute(), np.ndarray)


def test_models_with_functions_that_cannot_travel(client):
    D = in_chunks(clouds(N, 3), [200, 400])
    lock = __import__("threading").Lock()
    model = KMeans(3, init=lambda X, k, random_state: X[:k] if lock else X, n_init=1).fit(D)
    assert np.array_equal(model.predict(D).compute(), model.labels_.compute())


def test_a_fit_while_the_model_scores(client, monkeypatch):
    """Neither closes the rows of the other."""
    D = in_chunks(clouds(N, 3), [200, 400])
    model = KMeans(3, random_state=0).fit(D)
    before, scores = model.score(D), []
    real = KMeans._plan

    def plan(self, *args, **kwargs):
        if not scores:
            scores.append(None)
            model.fit(D)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(KMeans, "_plan", plan)
    assert model.score(D) == before
    assert "_opened" not in vars(model)


def test_a_fit_within_a_task():
    """The worker's only thread goes to the tasks that the fit waits for."""
    X = clouds(N, 3)
    wanted = tilewise.KMeans(3, init=X[:3], n_init=1).fit(X).inertia_
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as client:

        def fit():
            return KMeans(3, init=X[:3], n_init=1).fit(in_chunks(X, [200, 400])).inertia_

        assert client.submit(fit).result(timeout=60) == wanted


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_what_is_no_client(cluster, kind):
    D = in_chunks(clouds(N, 3), [200, 400])
    for wrong in ("tcp://127.0.0.1:1", cluster):
        with pytest.raises(TypeError, match=r"client must be a distributed\.Client"):
            kind(3, client=wrong).fit(D)


def test_an_asynchronous_client_is_refused(cluster):
    import asyncio

    async def fit():
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(ValueError, match="asynchronous"):
                KMeans(3, client=client).fit(in_chunks(clouds(N, 3), [200, 400]))

    asyncio.run(fit())


def test_a_slip_in_the_memory_limit(client):
    with pytest.raises(ValueError, match="memory_limit='foo' is not a size"):
        KMeans(3, memory_limit="foo").fit(in_chunks(clouds(N, 3), [200, 400]))

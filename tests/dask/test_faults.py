"""Steps that are run again, workers that die, come and go: the bits stay. Errors say where."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
from cluster_bits import clouds, in_chunks, same_bits, unknown
from dask import dataframe as dd
from distributed import Client, LocalCluster
from sklearn.base import clone

import tilewise
from tilewise import engine
from tilewise.dask import KMeans, MiniBatchKMeans, _part, _passes, _pieces, _rows

N = 1200
QUIET = {"dashboard_address": None, "silence_logs": 50}


# ---------------------------------------------------------------- a step, whenever it is run


def job_of(X, k, **more):
    rows = engine.Rows(X)
    plan = tilewise.plan(*X.shape, k, X.dtype.name)
    return {
        "id": "a", "n_clusters": k, "n_features": X.shape[1], "dtype": X.dtype.name,
        "exponent": 0, "bounds": True, "stats": engine.column_stats(rows, plan),
        "weight_sizes": None, "wishes": {"n_threads": 1}, **more,
    }  # fmt: skip


def answer_of(answer):
    sums = {name: (array.dtype.str, array.tobytes()) for name, array in answer.sums.items()}
    return answer.changed, sums


def test_a_step_has_one_answer():
    """Again, out of turn, on a part that was moved, and after other jobs."""
    X = clouds(900, 4)
    job = job_of(X, 5)
    centers = [X[:5].copy(), X[5:10].copy(), X[10:15].copy(), X[:5] + 0.5]
    pieces = [_pieces.Piece(own, True) for own in np.split(X, [100, 100, 700])]

    def part():
        return _part.make_part([0, 100, 100, 700], False, *pieces)

    one = part()
    wanted = []
    for number, now in enumerate(centers):
        before = centers[number - 1] if number else None
        wanted.append(answer_of(_part.step(one, job, before, now, number)))
    other = part()
    for number in (3, 3, 1, 0, 0, 2, 1, 3):
        before = centers[number - 1] if number else None
        found = _part.step(other, job, before, centers[number], number)
        assert answer_of(found) == wanted[number]
        if number == 1:
            other = pickle.loads(pickle.dumps(other))
        if number == 0:
            _part.step(other, job | {"id": "b"}, None, centers[3], 0)
            _part.conclude(other, job, centers[1])
    last = _part.step(pickle.loads(pickle.dumps(other)), job, centers[2], centers[3], 3)
    assert (last.restored, _part.step(one, job, centers[2], centers[3], 3).restored) == (1, 0)


def test_seeds_are_taken_again_where_they_were_lost():
    X = clouds(900, 4)
    job = job_of(X, 5) | {"weight_exponent": 0}
    pieces = [_pieces.Piece(own, True) for own in np.split(X, [100, 700])]
    one, other = (_part.make_part([0, 100, 700], False, *pieces) for _ in range(2))
    for number in range(1, 6):
        seeds, candidates = X[:number], X[number : number + 3]
        top = engine.potential_bin(1e3, 900, 4)
        found = [
            (
                _part.seed_totals(part, job, seeds, [], X[number - 1 :][:2], 0, number - 1, top),
                _part.seed_gains(part, job, seeds, [], candidates, 1e3, number).tolist(),
                _part.locate_seed(part, job, seeds, [], 1, 5.0, None, top)[0],
            )
            for part in (one, other)
        ]
        assert found[0] == found[1]
        other = pickle.loads(pickle.dumps(other))


# ---------------------------------------------------------------- workers


@pytest.fixture
def during(monkeypatch):
    """Calls functions while a pass runs: ``during({number: function})``."""
    real = _passes.ClusterPass.assign_and_sum

    def plan(calls):
        calls = dict(calls)

        def assign_and_sum(self, centers):
            what = calls.pop(self._number + 1, None)
            if what is not None:
                what()
            return real(self, centers)

        monkeypatch.setattr(_passes.ClusterPass, "assign_and_sum", assign_and_sum)
        return calls

    return plan


def lazy(n_blocks=6, n=4000):
    """Rows that tasks make, by a function of a module that workers can import."""
    blocks = [
        da.from_delayed(dask.delayed(clouds)(n, 8, seed=seed), (n, 8), np.float64)
        for seed in range(n_blocks)
    ]
    return da.concatenate(blocks), np.concatenate([clouds(n, 8, seed=s) for s in range(n_blocks)])


def wanted_of(X):
    how = {"init": X[:20:2], "n_init": 1, "tol": 0, "max_iter": 12}
    return how, tilewise.KMeans(10, **how).fit(X)


def kill_one(client, after=0.0):
    pid = next(iter(client.run(os.getpid).values()))

    def kill():
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)

    if after:
        threading.Thread(target=kill).start()
    else:
        kill()


@pytest.mark.parametrize("persisted", [True, False])
def test_killed_workers_with_a_nanny(during, persisted):
    D, X = lazy()
    how, wanted = wanted_of(X)
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as cluster, Client(cluster) as c:
        if persisted:
            D = D.persist()
        calls = during({2: lambda: kill_one(c), 5: lambda: kill_one(c, 0.02)})
        found = KMeans(10, **how).fit(D)
        assert not calls
        same_bits(found, wanted)
        # A death costs a part, and its rows come back to a worker that has others: both are new.
        assert 1 <= found.stream_report_.restored <= 8
        kill_one(c)  # labels follow from what they were made of
        same_bits(found, wanted)


@pytest.mark.parametrize("when", ["start", "finish"])
def test_killed_at_the_ends(monkeypatch, when):
    D, X = lazy()
    how, wanted = wanted_of(X)
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as cluster, Client(cluster) as c:
        name = "column_stats" if when == "start" else "assign_and_measure"
        owner = sys.modules["tilewise.dask._backend"] if when == "start" else _passes.ClusterPass
        real = getattr(owner, name)

        def killing(*args):
            kill_one(c, 0.02)
            return real(*args)

        monkeypatch.setattr(owner, name, killing)
        same_bits(KMeans(10, **how).fit(D), wanted)


def test_killed_worker_without_a_nanny(during):
    D, X = lazy()
    how, wanted = wanted_of(X)
    with LocalCluster(n_workers=0, **QUIET) as cluster:
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address,
            "--no-nanny", "--nthreads", "1", "--no-dashboard",
        ]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        workers = [subprocess.Popen(command, env=env, **quiet) for _ in range(2)]
        try:
            with Client(cluster) as client:
                client.wait_for_workers(2)
                calls = during({3: workers[0].kill})
                found = KMeans(10, **how).fit(D)
                assert not calls
                same_bits(found, wanted)
                assert len(client.nthreads()) == 1
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def test_workers_join_and_retire(during, monkeypatch):
    monkeypatch.setattr(_rows, "_LOOK_SECONDS", 0)
    D, X = lazy()
    how, wanted = wanted_of(X)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, **QUIET
    ) as cluster, Client(cluster) as client:  # fmt: skip

        def grow():
            cluster.scale(3)
            client.wait_for_workers(3)

        def retire():
            client.retire_workers([min(client.nthreads())])

        calls = during({2: grow, 5: retire})
        found = KMeans(10, **how).fit(D)
        assert not calls
        same_bits(found, wanted)
        assert found.stream_report_.workers == 2


def test_workers_that_spill():
    D, X = lazy()
    how, wanted = wanted_of(X)
    low = {
        "distributed.worker.memory.target": 1e-4, "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": False,
    }  # fmt: skip
    with dask.config.set(low), LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="1GiB", **QUIET
    ) as cluster, Client(cluster):  # fmt: skip
        same_bits(KMeans(10, **how).fit(D.persist()), wanted)


def test_parts_follow_the_workers(client):
    """Each worker has its share, and what it holds already stays where it is."""
    X = clouds(N, 4)
    D = in_chunks(X, [100] * 12).persist()
    rows = _rows.open_cluster_rows(D, client, request())
    parts = rows.parts()
    assert sorted(i for part in parts for i in part.pieces) == list(range(12))
    assert len(parts) == 2
    for part in parts:
        assert 400 <= sum(rows.sizes[i] for i in part.pieces) <= 800
    assert rows.parts() is parts


def request():
    return engine.Request("KMeans", None, lambda columns, names: None)


# ---------------------------------------------------------------- what is left behind


def held(client):
    """Names of what the workers hold, without numbers."""
    keys = client.run_on_scheduler(
        lambda dask_scheduler: [
            str(key) for key, task in dask_scheduler.tasks.items() if task.state != "released"
        ]
    )
    return {key.split("-")[1] for key in keys if "tilewise" in key}


def settled(client, wanted):
    for _ in range(100):
        gc.collect()
        if held(client) == wanted:
            break
        time.sleep(0.05)
    assert held(client) == wanted


def test_nothing_is_left_but_labels(client):
    X = clouds(N, 4)
    D = in_chunks(X, [300] * 4).persist()
    model = KMeans(4, random_state=0).fit(D)
    settled(client, {"part_of_labels"})
    assert "_opened" not in vars(model)
    model.score(D)
    assert "_opened" not in vars(model)
    settled(client, {"part_of_labels"})
    del model
    settled(client, set())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_left_after_an_interrupt(client, during, error):
    D = in_chunks(clouds(N, 4), [300] * 4).persist()
    model = KMeans(4, random_state=0).fit(D)
    before = dict(vars(model))

    def stop():
        raise error

    during({1: stop})
    with pytest.raises(error):
        model.set_params(init="random").fit(D)
    assert vars(model) == before | {"init": "random"}
    settled(client, {"part_of_labels"})


def test_ctrl_c_cancels_what_runs(during):
    """A signal while the client waits: the fit ends at once, and so do its tasks."""
    D = in_chunks(clouds(60_000, 64, k=20), [30_000, 30_000])
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as cluster, Client(cluster) as c:
        model = KMeans(3000, init=clouds(3000, 64), n_init=1, tol=0, max_iter=10**6)
        interrupt = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
        # The first pass is under way, and there are many to come.
        during({1: interrupt.start, 2: lambda: time.sleep(30)})
        # A shell has its background jobs ignore the signal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                model.fit(D)
        finally:
            signal.signal(signal.SIGINT, before)
        assert not hasattr(model, "cluster_centers_")
        settled(c, set())


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 517, N - 1])
def test_values_that_are_not_finite(client, value, where):
    X = clouds(N, 4)
    X[where:, 3] = value
    sizes = [500, 0, 17, 683]
    partition = {0: 0, 517: 3, N - 1: 3}[where]
    row = where - [0, 500, 500, 517][partition]
    kind = "NaN" if value != value else "infinity"
    with pytest.raises(
        ValueError,
        match=f"{kind}.*row {row} of partition {partition}, row {where} of all, column 3",
    ):
        KMeans(3, init=clouds(3, 4)).fit(in_chunks(X, sizes))


def test_what_is_not_a_collection(client):
    X = clouds(N, 4)
    D = in_chunks(X, [600, 600])
    cases = [
        (D.rechunk({1: 2}), r"in 2 chunks.*rechunk\({1: -1}\)"),
        (D[:, 0], "Expected 2D array, got 1D"),
        (dd.from_dask_array(D[:, 0]), "a dask Series is one column"),
        (X, "ndarray is none of them"),
        ([dask.delayed(X[:5]), dask.delayed(X[:5, :2])], "partition 1 has 2 columns, partition 0"),
        ([dask.delayed(X[0])], "partition 0 has 1 dimensions"),
        (unknown(X[:0], [0]), "0 sample"),
        (D[:2], "n_samples=2 should be >= n_clusters=3"),
        (dd.from_dict({"a": ["x", "y"]}, npartitions=1), "column 'a' is of type"),
    ]
    for given, match in cases:
        model = KMeans(3, random_state=0)
        with pytest.raises(ValueError, match=match):
            model.fit(given)
        assert not hasattr(model, "cluster_centers_")


def test_weights_that_do_not_fit(client):
    X = clouds(N, 4)
    D = in_chunks(X, [500, 700])
    weights = np.ones(N)
    bad = weights.copy()
    bad[700] = np.nan
    cases = [
        (da.from_array(weights, chunks=600), "600 weights for the 500 rows of partition 0"),
        (da.from_array(weights, chunks=N), "1 partitions, X has 2"),
        (da.from_array(bad, chunks=((500, 700),)), "NaN at position 700"),
        (da.from_array(np.zeros(N), chunks=((500, 700),)), "at least one non-zero"),
        (da.ones((N, 2), chunks=((500, 700), 2)), "got 2D array"),
        (weights[:-1], "sample_weight.shape"),
        (bad, "NaN at position 700"),
    ]
    for given, match in cases:
        with pytest.raises(ValueError, match=match):
            KMeans(3, random_state=0).fit(D, sample_weight=given)


def test_no_client():
    with pytest.raises(ValueError, match="there is no dask client: pass client="):
        KMeans(3).fit(in_chunks(clouds(N, 4), [N]))


def test_closed_client(cluster):
    D = in_chunks(clouds(N, 4), [600, 600])
    with Client(cluster, set_as_default=False) as client:
        model = KMeans(3, client=client, random_state=0).fit(D)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="this dask client is closed"):
        model.fit(D)
    assert vars(model) == before


def test_no_room(client):
    huge = da.zeros((10**9, 100), chunks=(10**6, 100))
    with pytest.raises(ValueError, match="the 2 workers have 4 GiB together"):
        KMeans(3, random_state=0).fit(huge)

    with pytest.raises(ValueError, match=r"partition 1 takes 3\..*no worker has more than 2 GiB"):
        KMeans(3, random_state=0).fit(da.zeros((4 * 10**6, 100), chunks=((10, 3999990), 100)))


def test_lost_scattered_data():
    X = clouds(N, 4)
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as cluster, Client(cluster) as c:
        futures = c.scatter(list(np.split(X, 2)))
        holders = {worker for held in c.who_has(futures).values() for worker in held}
        for worker, pid in c.run(os.getpid).items():
            if worker in holders:
                os.kill(pid, signal.SIGKILL)
        while any(future.status == "finished" for future in futures):
            time.sleep(0.05)
        with pytest.raises(RuntimeError, match="scattered"):
            KMeans(3, random_state=0).fit(futures)


# ---------------------------------------------------------------- the estimators as objects


def test_clones_and_pickles(client):
    model = KMeans(4, random_state=0, client=client)
    assert clone(model).client is client
    model.fit(in_chunks(clouds(N, 4), [600, 600]))
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None
    assert np.array_equal(again.cluster_centers_, model.cluster_centers_)
    assert clone(MiniBatchKMeans(client=client)).client is client


def test_signatures_are_those_of_memory_and_a_client():
    for ours, plain in ((KMeans, tilewise.KMeans), (MiniBatchKMeans, tilewise.MiniBatchKMeans)):
        expected = plain().get_params() | {"client": None}
        del expected["device"]  # a cluster computes on CPUs
        assert ours().get_params() == expected


def test_missing_packages():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "import tilewise\n"
        "assert 'dask' not in sys.modules\n"
        "try: import tilewise.dask\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "tilewise[dask]"' in done.stdout


def test_rounds_are_those_of_the_plan(client, monkeypatch):
    """As many answers are waited for as the plan says, but for a few of each run."""
    D = in_chunks(clouds(N, 4), [600, 600])
    waited = []
    gather = _rows.ClusterRows.gather

    def counted(self, futures):
        waited.append(len(futures))
        return gather(self, futures)

    monkeypatch.setattr(_rows.ClusterRows, "gather", counted)
    for init in ("k-means++", "k-means||"):
        waited.clear()
        how = {"init": init, "n_init": 1, "init_size": "all", "random_state": 0, "max_iter": 1}
        plan = KMeans(30, **how).fit(D).stream_plan_
        # Opening, moments, one pass and the end are eight.
        assert plan.start_rounds <= len(waited) + 3 <= plan.start_rounds + 16


def test_what_a_fit_will_take(client, capsys):
    X = clouds(N, 4)
    D = in_chunks(X, [600, 600])
    model = KMeans(3, init_size="all", n_init=2, random_state=0, verbose=1).fit(D)
    plan, said = model.stream_plan_, capsys.readouterr().out
    assert (plan.n_parts, plan.part_rows, plan.start_rounds) == (2, 600, 3 * 3 * 2)
    assert plan.worker_bytes >= 600 * (4 * 8 + 12)
    for sentence in plan.sentences():
        assert sentence in said
    assert "18 rounds of tasks" in said
    assert str(model.stream_report_) in said
    assert KMeans(3, random_state=0).fit(D).stream_plan_.start_rounds == 1


def test_callbacks_hear_of_every_iteration(client):
    pytest.importorskip("sklearn.callback")
    heard = []

    class Listener:
        def setup(self, estimator, context):
            heard.append("setup")

        def on_fit_task_begin(self, estimator, context, **kwargs):
            heard.append("begin")

        def on_fit_task_end(self, estimator, context, **kwargs):
            heard.append("end")

        def teardown(self, estimator, context):
            heard.append("teardown")

    X = clouds(N, 4)
    model = KMeans(4, init=X[:4], n_init=1, tol=0)
    model.set_callbacks(Listener()).fit(in_chunks(X, [600, 600]))
    assert heard.count("end") == model.n_iter_ + 1


def test_progress_on_a_terminal(client, capsys):
    callback = pytest.importorskip("sklearn.callback")
    X = clouds(N, 4)
    model = KMeans(4, init=X[:4], n_init=1, tol=0).set_callbacks(callback.ProgressBar())
    model.fit(in_chunks(X, [600, 600]))
    assert "KMeans" in capsys.readouterr().out


def test_packed_sums_are_whole(client):
    """What a pass says came back is what its sums weigh."""
    X = clouds(N, 60, dtype=np.float32)
    k = 40
    model = KMeans(k, init=X[:k], n_init=1, max_iter=4, tol=0).fit(in_chunks(X, [600, 600]))
    report = model.stream_report_
    each = (report.bytes_down + report.bytes_up) / report.passes / report.parts
    assert report.bytes_up > 0
    assert each <= 3 * k * 60 * 8 + 100 * k


def test_large_centres_are_no_large_graph(client, recwarn):
    """They are one array, over the size from which dask warns of graphs."""
    X = clouds(N, 40)
    far = np.zeros((2**15, 40)) + 1e3 * np.arange(2**15)[:, None]
    far[:N] = X
    rows = _rows.open_cluster_rows(in_chunks(X, [600, 600]), client, request())
    run = _passes.ClusterPass(rows, len(far), tilewise.plan(N, 40, len(far), "float64"))
    assert far.nbytes > 10**7
    assert run.inertia(far) == 0.0
    assert not [warning for warning in recwarn if "large graph" in str(warning.message)]


def test_rows_are_counted_once(client):
    """A worker reports no more memory than the rows and what a fit keeps of them."""
    X = clouds(N, 64)
    D = in_chunks(X, [600, 600])
    rows = _rows.open_cluster_rows(D, client, request())
    rows.gather([part.future for part in rows.parts()])
    held = client.run_on_scheduler(
        lambda dask_scheduler: sum(
            task.nbytes for task in dask_scheduler.tasks.values() if task.state == "memory"
        )
    )
    assert X.nbytes <= held <= 1.15 * X.nbytes + 16 * 1024

"""Threads of a task that a dask worker runs."""

import os
import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from tilewise import plan
from tilewise.plan.machine import Fact
from tilewise.plan.threads import n_threads

NANNY = {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def task(recorded, monkeypatch):
    """Threads within a task of a worker that says so; without a worker where it is None."""
    config = pytest.importorskip("dask.config")
    # Tests that ran before may have left nannies.
    monkeypatch.setitem(sys.modules, "distributed.nanny", None)

    def run(worker, *, env=NANNY, openmp_limit=1, given=1, requested=None):
        def get_worker():
            if worker is None:
                raise ValueError("No worker found")
            threads, tasks, nanny = worker
            state = SimpleNamespace(nthreads=threads, executing_count=tasks)
            return SimpleNamespace(state=state, nanny=nanny)

        module = SimpleNamespace(get_worker=get_worker)
        monkeypatch.setitem(sys.modules, "distributed.worker", module)
        environment = {"OMP_NUM_THREADS": given} if given else {}
        with config.set({"distributed.nanny.pre-spawn-environ": environment}):
            return n_threads(
                requested, machine=recorded("server_2socket"), env=env, openmp_limit=openmp_limit
            )

    return run


@pytest.mark.parametrize(
    ("threads", "tasks", "expected"),
    [
        (4, 1, Fact(4, "dask worker of 4 threads")),
        (4, 0, Fact(4, "dask worker of 4 threads")),
        (4, 3, Fact(1, "dask worker of 4 threads for 3 tasks")),
        (8, 2, Fact(4, "dask worker of 8 threads for 2 tasks")),
        (2, 5, Fact(1, "dask worker of 2 threads for 5 tasks")),
        (1, 1, Fact(1, "dask worker of 1 thread")),
        (99, 1, Fact(16, "affinity mask")),
    ],
)
def test_the_threads_of_the_worker_are_shared(task, threads, tasks, expected):
    assert task((threads, tasks, "tcp://nanny")) == expected


def test_a_number_that_is_not_the_nannys_counts(task):
    worker = (8, 1, "tcp://nanny")
    env = {"OMP_NUM_THREADS": "3"}
    assert task(worker, env=env, openmp_limit=3) == Fact(3, "OMP_NUM_THREADS")
    # Of a worker without a nanny, somebody else has set it.
    assert task((8, 1, None)) == Fact(1, "OMP_NUM_THREADS")
    # The nanny has been told to set none.
    assert task(worker, given=None) == Fact(1, "OMP_NUM_THREADS")
    # A limit of another size was set in the task.
    assert task(worker, env={"OMP_NUM_THREADS": "4"}, given=4, openmp_limit=2).value == 2


def test_who_asks_is_given(task):
    worker = (8, 1, "tcp://nanny")
    assert task(worker, requested=3) == Fact(3, "n_threads")
    env = {"OMP_NUM_THREADS": "1", "TILEWISE_NUM_THREADS": "5"}
    assert task(worker, env=env) == Fact(5, "TILEWISE_NUM_THREADS")


def test_outside_of_tasks_nothing_changes(task):
    assert task(None) == Fact(1, "OMP_NUM_THREADS")
    assert task(None, env={}, openmp_limit=64) == Fact(16, "affinity mask")


def test_the_process_that_started_a_nanny(task, monkeypatch):
    nanny = SimpleNamespace(pre_spawn_env={"OMP_NUM_THREADS": "1"})
    module = SimpleNamespace(Nanny=SimpleNamespace(_instances=[nanny]))
    monkeypatch.setitem(sys.modules, "distributed.nanny", module)
    assert task(None, openmp_limit=64) == Fact(16, "affinity mask")
    # The runtime was loaded later, or somebody has set a limit.
    assert task(None, openmp_limit=1) == Fact(1, "OMP_NUM_THREADS")
    assert task(None, openmp_limit=3) == Fact(3, "OpenMP limit")
    other = {"OMP_NUM_THREADS": "2"}
    assert task(None, env=other, openmp_limit=64) == Fact(2, "OMP_NUM_THREADS")
    nanny.pre_spawn_env = {}
    assert task(None, openmp_limit=64) == Fact(1, "OMP_NUM_THREADS")


def started(distributed, nanny):
    return distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=nanny, dashboard_address=None
    )


@pytest.mark.slow
@pytest.mark.parametrize("nanny", [False, True])
def test_a_worker_of_two_threads(nanny, monkeypatch):
    distributed = pytest.importorskip("distributed")
    for name in ("OMP_NUM_THREADS", "TILEWISE_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def planned():
        from tilewise import plan

        found = plan(100_000, 10, 10)
        return found.n_threads, found.reasons["n_threads"]

    alone = plan(100_000, 10, 10).n_threads
    # A nanny sets variables in this process too.
    with (
        patch.dict(os.environ),
        started(distributed, nanny) as cluster,
        distributed.Client(cluster) as client,
    ):
        threads, why = client.submit(planned).result(timeout=60)
        here = plan(100_000, 10, 10).n_threads
    assert threads == min(2, here)
    assert here == alone
    assert threads == 1 or "dask worker of 2 threads" in why

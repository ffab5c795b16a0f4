"""Which bound decides the number of threads."""

import importlib
import sys
import types

import numpy as np
import pytest

from tilewise.plan.machine import Fact, Machine
from tilewise.plan.threads import MAX_THREADS, n_threads

LIMIT = 64


def of(machine: Machine, requested=None, *, env=None, openmp_limit=LIMIT) -> Fact:
    return n_threads(requested, machine=machine, env=env or {}, openmp_limit=openmp_limit)


def test_affinity_bounds(recorded):
    assert of(recorded("server_2socket")) == Fact(16, "affinity mask")


def test_quota_rounds_up(recorded):
    assert of(recorded("container_quota")) == Fact(2, "cgroup cpu.max")


def test_tiny_quota_still_runs(recorded):
    facts = recorded("container_quota").to_dict()
    facts["cgroup_cpus"]["value"] = 0.05
    assert of(Machine.from_dict(facts)).value == 1


def test_openmp_limit_bounds(recorded):
    assert of(recorded("server_2socket"), openmp_limit=3) == Fact(3, "OpenMP limit")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", Fact(5, "OMP_NUM_THREADS")),
        (" 4,2", Fact(4, "OMP_NUM_THREADS")),
        ("99", Fact(16, "affinity mask")),
        ("16", Fact(16, "OMP_NUM_THREADS")),
        ("0", Fact(16, "affinity mask")),
        ("many", Fact(16, "affinity mask")),
        ("", Fact(16, "affinity mask")),
    ],
)
def test_omp_num_threads(recorded, text, expected):
    assert of(recorded("server_2socket"), env={"OMP_NUM_THREADS": text}) == expected


def test_our_variable_wins_over_bounds(recorded):
    env = {"TILEWISE_NUM_THREADS": " 7 ", "OMP_NUM_THREADS": "1"}
    found = of(recorded("container_quota"), env=env, openmp_limit=1)
    assert found == Fact(7, "TILEWISE_NUM_THREADS")


@pytest.mark.parametrize("wish", [3, np.int64(3), np.uint8(3)])
def test_argument_wins_over_all(recorded, wish):
    found = of(recorded("guest_2cpu"), wish, env={"TILEWISE_NUM_THREADS": "7"})
    assert found == Fact(3, "n_threads")
    assert type(found.value) is int


@pytest.mark.parametrize("wish", [0, -1, 1.0, "2", True, MAX_THREADS + 1, float("nan")])
def test_bad_argument_says_the_range(recorded, wish):
    with pytest.raises(ValueError, match=rf"n_threads=.* whole number from 1 to {MAX_THREADS}"):
        of(recorded("guest_2cpu"), wish)


@pytest.mark.parametrize("text", ["0", "-2", "1.5", "two", "4,2", str(MAX_THREADS + 1)])
def test_bad_variable_says_the_range(recorded, text):
    with pytest.raises(ValueError, match=r"TILEWISE_NUM_THREADS='.*whole number from 1 to"):
        of(recorded("guest_2cpu"), env={"TILEWISE_NUM_THREADS": text})


def test_blank_variable_is_unset(recorded):
    assert of(recorded("guest_2cpu"), env={"TILEWISE_NUM_THREADS": " "}).value == 2


@pytest.mark.parametrize("wish", [None, 4])
def test_without_openmp_there_is_one_thread(recorded, wish):
    assert of(recorded("silent"), wish) == Fact(1, "built without OpenMP")


def test_without_openmp_a_bad_argument_still_raises(recorded):
    with pytest.raises(ValueError, match="n_threads=0"):
        of(recorded("silent"), 0)


def test_runtime_is_asked_each_time(recorded, monkeypatch):
    fake = types.ModuleType("tilewise.kernels._dispatch")
    fake.pool_lost = lambda: False
    monkeypatch.setattr(
        importlib.import_module("tilewise.kernels"), "_dispatch", fake, raising=False
    )
    monkeypatch.setitem(sys.modules, "tilewise.kernels._dispatch", fake)
    machine = recorded("server_2socket")
    for limit, expected in ((2, 2), (5, 5), (0, 1), (99, 16)):
        fake.omp_max_threads = lambda limit=limit: limit
        assert n_threads(machine=machine, env={}).value == expected

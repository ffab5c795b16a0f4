"""The real kernels under valgrind, beside the simulation; and what is said where it cannot run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilewise
from tilewise.lab import cachegrind
from tilewise.lab.cachegrind import CachegrindError, kernel_sizes, parse, rounded
from tilewise.lab.simulate import CacheConfig, simulate
from tilewise.lab.stages import dense_nest

PROBLEM = cachegrind.available()
needs_valgrind = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))

CASES = [
    (3000, 64, 64, {}, 0.02),  # centres in the lanes, a chunk beyond L1
    (3000, 16, 40, {"update": True}, 0.02),  # rows in the lanes, sums
    (1200, 64, 64, {"dtype": "float64", "update": True}, 0.02),  # sums that L1 loses each time
    (1200, 200, 40, {"chunk_size": 48}, 0.08),  # panels that just do not fit L1
]


@needs_valgrind
@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "k", "choices", "share"), CASES)
def test_simulated_is_what_cachegrind_counts(n, d, k, choices, share):
    """Within 2 % and 1500 lines, with the labels and the addresses that the real pass had.

    The lines are the interpreter's, about 700, and those of the stack, the parameters and the
    tables of kernels, which the trace leaves out: some 60 to 80 for each chunk.
    """
    counted = cachegrind.run(n, d, k, **choices)
    assert counted.undecided == 0
    ours = [level["misses"] for level in counted.simulate().levels]
    for mine, theirs in zip(ours, (counted.d1_misses, counted.ll_misses), strict=True):
        assert abs(mine - theirs) <= share * theirs + 1500
    # Every number of X is read at least once, by vectors of eight.
    assert counted.reads >= n * d / 8
    assert counted.to_dict()["d1_misses"] == counted.d1_misses


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(3000, 64, 64), (700, 3, 200), (500, 130, 9)])
def test_the_driver_runs_the_pass_it_is_asked_for(n, d, k, update):
    """The process that valgrind watches, without valgrind: right labels, nothing undecided."""
    plan = tilewise.plan(n, d, k, n_threads=1)
    z = dense_nest(plan)
    job = {
        "folder": str(Path(tilewise.__file__).parent), "n": n, "d": d, "k": k,
        "dtype": "float32", "update": update, "passes": 2,
        "nest": kernel_sizes(z),
        "known": ["packed", "half norms", "origin", "workspace"],
    }  # fmt: skip
    driver = Path(cachegrind.__file__).with_name("_driver.py")
    libraries = Path(np.__file__).parents[1]
    # Modules built with them do not load without these.
    names = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "PYTHONMALLOC")
    sanitizers = {name: os.environ[name] for name in names if name in os.environ}
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps(job)], capture_output=True, text=True,
        check=False, env={"PYTHONPATH": str(libraries), "OMP_NUM_THREADS": "1"} | sanitizers,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["undecided"], said["right"]) == (0, True)
    at = said["addresses"]
    assert {"X", "labels", "packed", "half norms", "origin", "workspace"} <= set(at)
    assert ("sums" in at) is update
    assert at["workspace"] % 64 == 0
    # Where a real pass had its buffers is where the trace has them, each workspace as a whole.
    ours, real = z.addresses(update=update), z.addresses(update=update, known=at)
    assert real["X"] == at["X"]
    assert real["ids"] == at["workspace"]
    assert real["label"] - real["ids"] == ours["label"] - ours["ids"]


def test_sets_are_rounded_to_what_cachegrind_takes():
    assert rounded(48 << 10, 12) == (48 << 10, 12, 64)
    assert rounded(3 << 19, 24) == (3 << 19, 24, 64)
    assert rounded(1280 << 10, 16) == (1 << 20, 16, 64)


def test_without_early_fetches_their_list_is_still_written():
    """As the kernels write it, and read it while they score; only the fetches are gone."""
    config = CacheConfig.of([(32768, 8), (262144, 8)])
    plan = tilewise.plan(3000, 64, 64, n_threads=1, chunk_size=384)
    misses = [simulate(plan, config, prefetch=on).levels[0]["accesses"] for on in (True, False)]
    assert misses[0] == misses[1]


def test_sums_follow_the_given_clusters():
    config = CacheConfig.of([(32768, 8), (262144, 8)])
    plan = tilewise.plan(1200, 64, 64, "float64", n_threads=1)
    turns, one, drawn = (
        simulate(plan, config, update=True, clusters=clusters).levels[0]["misses_by_buffer"]["sums"]
        for clusters in (np.arange(1200) % 64, np.zeros(1200, dtype=int), None)
    )
    assert one < drawn < turns


def test_output_that_is_not_understood():
    assert parse("events: Ir Dr\nsummary: 10 2\n") == {"Ir": 10, "Dr": 2}
    assert parse("events: Ir\nsummary: 1,234\n") == {"Ir": 1234}
    for text in ("", "events: Ir Dr\n", "summary: 1\n", "events: Ir Dr\nsummary: 1\n"):
        with pytest.raises(CachegrindError):
            parse(text)


def test_without_valgrind(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert cachegrind.available() is not None
    with pytest.raises(CachegrindError, match="cachegrind cannot run: valgrind is"):
        cachegrind.run(100, 8, 4)


@needs_valgrind
@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"isa": "avx512"}, "isa='avx512': valgrind runs 'sse2' and 'avx2'"),
        ({"d1": (49152, 8, 64)}, r"d1=.* power of two of sets, this makes 96"),
        ({"ll": (1000, 8, 64)}, r"ll=.* this makes 1.95"),
        ({"chunk_size": 1}, "chunk_size=1 is out of range"),
    ],
)
def test_impossible_requests(choices, message):
    with pytest.raises(ValueError, match=message):
        cachegrind.run(100, 8, 4, **choices)


@needs_valgrind
@pytest.mark.slow
def test_a_run_that_takes_too_long():
    with pytest.raises(CachegrindError, match=r"stopped after 0\.5 s"):
        cachegrind.run(100, 8, 4, timeout=0.5)

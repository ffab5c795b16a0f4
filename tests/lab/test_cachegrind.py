"""The real kernels under valgrind, beside the simulation; and what is said where it cannot run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilewise
from tilewise.lab import cachegrind
from tilewise.lab.cachegrind import CachegrindError, parse
from tilewise.lab.simulate import CacheConfig, simulate

PROBLEM = cachegrind.available()
needs_valgrind = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))

CASES = [
    (3000, 64, 64, {}),  # centres in the lanes, a chunk beyond L1
    (3000, 16, 40, {"update": True}),  # rows in the lanes, sums
    (1200, 200, 40, {"chunk_size": 48}),  # blocks of the depth
]


@needs_valgrind
@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "k", "choices"), CASES)
def test_simulated_is_what_cachegrind_counts(n, d, k, choices):
    """Within 8 % and 1500 lines.

    The lines are the interpreter's, between the two runs that are compared, and those of the
    stack and the code's constants, which the trace leaves out: about a thousand, whatever the
    size. The per cent are sets that fill otherwise, since the allocator puts buffers elsewhere
    than the trace does.
    """
    counted = cachegrind.run(n, d, k, **choices)
    assert counted.undecided == 0
    result = simulate(
        counted.plan, CacheConfig.of([counted.d1[:2], counted.ll[:2]]),
        prefetch=False, update=choices.get("update", False),
    )  # fmt: skip
    ours = [level["misses"] for level in result.levels]
    for mine, theirs in zip(ours, (counted.d1_misses, counted.ll_misses), strict=True):
        assert abs(mine - theirs) <= 0.08 * theirs + 1500
    # Every number of X is read at least once, by vectors of eight.
    assert counted.reads >= n * d / 8
    assert counted.to_dict()["d1_misses"] == counted.d1_misses


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(3000, 64, 64), (700, 3, 200), (500, 130, 9)])
def test_the_driver_runs_the_pass_it_is_asked_for(n, d, k, update):
    """The process that valgrind watches, without valgrind: right labels, nothing undecided."""
    plan = tilewise.plan(n, d, k, n_threads=1)
    names = ("isa", "layout", "score_dtype", "chunk_rows", "shard_rows", "panels_per_block",
             "depth_block", "n_threads", "slots", "panel_columns")  # fmt: skip
    job = {
        "folder": str(Path(tilewise.__file__).parent), "n": n, "d": d, "k": k,
        "dtype": "float32", "update": update, "passes": 2,
        "sizes": {name: getattr(plan, name) for name in names},
    }  # fmt: skip
    driver = Path(cachegrind.__file__).with_name("_driver.py")
    libraries = Path(np.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps(job)], capture_output=True, text=True,
        check=False, env={"PYTHONPATH": str(libraries), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"undecided": 0, "right": True}


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

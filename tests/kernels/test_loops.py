"""Parallel loops are counted while they run; one that an error ends is counted as ended."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from tilewise import KMeans, argkmin, engine, pairwise_distances, radius_neighbors
from tilewise.kernels import _brute_force, _dispatch, _within, _workspace

SOURCES = Path(__file__).parents[2] / "src" / "tilewise" / "kernels"


class NoMemory:
    """Stands in for what allocates, and fails."""

    def __init__(self, monkeypatch, module):
        self.calls = 0
        monkeypatch.setattr(module, "aligned_empty", self)

    def __call__(self, size):
        self.calls += 1
        raise MemoryError(f"{size} bytes")


def test_no_loop_runs_between_calls():
    X = np.random.default_rng(0).normal(size=(2000, 9))
    KMeans(5, random_state=0, n_init=1).fit(X)
    argkmin(X, X, 3)
    assert _dispatch.loops_running() == 0


def test_sorting_that_runs_out_of_memory(monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 9))
    failing = NoMemory(monkeypatch, _within)
    with pytest.raises(MemoryError):
        radius_neighbors(X, X, 2.0, sort_results=True)
    assert failing.calls
    assert _dispatch.loops_running() == 0


def test_brute_force_that_runs_out_of_memory(monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 3))
    failing = NoMemory(monkeypatch, _brute_force)
    with pytest.raises(MemoryError):
        engine.argkmin(engine.Rows(X), engine.Rows(X[:9]), 3)
    assert failing.calls
    assert _dispatch.loops_running() == 0


def test_sparse_distances_that_run_out_of_memory(monkeypatch):
    X = sp.random(300, 2000, density=0.01, format="csr", random_state=0)
    failing = NoMemory(monkeypatch, _workspace)
    with pytest.raises(MemoryError):
        pairwise_distances(X)
    assert failing.calls
    assert _dispatch.loops_running() == 0


def test_fits_beside_each_other_leave_nothing_behind():
    X = np.random.default_rng(0).normal(size=(5000, 9))

    def fit():
        for seed in range(5):
            KMeans(5, random_state=seed, n_init=1).fit(X)

    threads = [threading.Thread(target=fit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _dispatch.loops_running() == 0


@pytest.mark.skipif(not SOURCES.is_dir(), reason="needs the sources")
def test_every_loop_that_is_entered_is_left():
    """`leave_loop` stands in a `finally`, whose `try` follows at once."""
    pattern = re.compile(r"^( *)\w+ = enter_loop\((?:[^\n]*\n)(?:\1 +[^\n]*\n)*", re.MULTILINE)
    found = 0
    for path in sorted(SOURCES.glob("*.pyx")):
        if path.name == "_dispatch.pyx":
            continue
        text = path.read_text()
        for match in pattern.finditer(text):
            found += 1
            line = text[: match.start()].count("\n") + 1
            indent = match.group(1)
            rest = text[match.end() :]
            assert rest.startswith(f"{indent}try:\n"), f"{path.name}, line {line}"
            after = rest.split(f"\n{indent}finally:\n", 1)
            assert after[1].startswith(f"{indent}    leave_loop()\n"), f"{path.name}, line {line}"
        assert text.count("= enter_loop(") == text.count("finally:\n"), path.name
    assert found > 5


@pytest.mark.skipif(not SOURCES.is_dir(), reason="needs the sources")
def test_no_source_turns_checks_off():
    """What Cython checks is an option of the build; a directive in a source would defeat it."""
    pattern = re.compile(r"boundscheck|wraparound|initializedcheck|nonecheck|^# *cython:", re.M)
    sources = [*SOURCES.glob("*.pyx"), *SOURCES.glob("*.pxd")]
    assert len(sources) > 30
    assert [path.name for path in sources if pattern.search(path.read_text())] == []

"""Matrices that do not fit: refused beforehand, and told where memory runs out all the same."""

import json
import subprocess
import sys
import types

import pytest

from tilewise.lab import _data, materialise
from tilewise.lab._materialise import NO_ROOM
from tilewise.lab._run import Run
from tilewise.lab.experiments import perform

WIDE = {"rows": 200_000, "features": 4, "clusters": 4000, "dtype": "float32", "threads": 1}
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")


def test_a_matrix_larger_than_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(materialise, "room", lambda: (6 * 10**9, "of this machine"))
    said = r"200000 rows x 4000 clusters takes 5\.96 GiB .* memory of this machine is 5\.59 GiB"
    with pytest.raises(ValueError, match=said):
        perform("materialise", WIDE)
    monkeypatch.setattr(materialise, "room", lambda: (6_404_000_000, "of this machine"))
    materialise._check_matrix(WIDE)


@on_linux
def test_the_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    for limit, expected in ((10**6, 10**6), (resource.RLIM_INFINITY, None), (2**61, None)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        found, whose = _data.room()
        assert found == (expected or _data.machine().memory_bytes.value)
        assert ("ulimit" in whose) == (expected is not None)


@on_linux
def test_a_process_without_memory_says_so():
    resource = pytest.importorskip("resource")
    job = WIDE | {"method": "whole", "chunk_rows": 400}
    done = subprocess.run(
        [sys.executable, "-m", "tilewise.lab._materialise", json.dumps(job)],
        capture_output=True, text=True, timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30)),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (NO_ROOM, "", "")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (NO_ROOM, ValueError, "whole at 4 rows ran out of memory; choose fewer rows or clusters"),
        (-9, ValueError, "whole at 4 rows ran out of memory: the system ended its process; choose"),
        (1, RuntimeError, "whole at 4 rows failed: the last line"),
        (None, ValueError, "whole at 4 rows took longer than 600 s"),
    ],
)
def test_a_process_that_fails_is_told(monkeypatch, code, kind, said):
    def ran(command, **options):
        if code is None:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return types.SimpleNamespace(returncode=code, stdout="", stderr="first\nthe last line\n")

    monkeypatch.setattr(subprocess, "run", ran)
    p = {"rows": 4, "features": 2, "clusters": 3, "dtype": "float32", "threads": 1}
    with pytest.raises(kind, match=said):
        materialise.measure(Run(p, 0.1, quick=True))

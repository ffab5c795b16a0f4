"""The benchmark of a cluster: what its tables say of samples, and a small run of it."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def clusters(bench):
    return bench.dask_clusters


def timed(*samples, **more):
    return {"median": sorted(samples)[len(samples) // 2], "min": min(samples),
            "max": max(samples), "samples": list(samples)} | more  # fmt: skip


def of_fits(seconds, **more):
    whole = {"short": [seconds], "long": [10 * seconds]}
    return timed(seconds, whole=whole, iterations=[2, 12], inertia=5.0, **more)


@pytest.fixture
def record(clusters):
    report = {
        "seconds": [9.0, 0.5, 0.5], "seconds_computing": [8.0, 0.4, 0.3], "bytes_down": 3000,
        "bytes_up": 3000, "passes": 3, "parts": 2,
    }  # fmt: skip
    case = {"n": 10, "d": 2, "k": 3, "iterations": [2, 12], "against_one": 1.15,
            "against_rival": 5.0}  # fmt: skip
    found = {
        clusters.ONE: of_fits(0.2), clusters.OURS: of_fits(0.25, report=report),
        clusters.RIVAL: of_fits(1.0),
    }  # fmt: skip
    return {"section": "iterations", "case": case, "found": found, "same_bits": True}


def rows(text):
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {row[1]: row[2:] for row in cells if len(row) == 4}


def result(*records, **more):
    return {"records": list(records), "missing": None, "quiet": {}} | more


def test_figures_stand_beside_what_is_aimed_at(clusters, record):
    found = rows(clusters.table(result(record)))
    assert found["tilewise.dask against one process"] == ["1.25× (1.25–1.25)", "≤ 1.15×"]
    assert found["dask-ml against tilewise.dask"] == ["4.00× (4.00–4.00)", "≥ 5×"]
    assert found["same bits as one process"] == ["yes", "yes"]
    assert found["bytes of a worker and an iteration"] == ["1,000", "≤ 144 (3·k·d·8)"]
    # The first pass places the parts.
    outside = found["of it, outside the slowest part's computing"][0]
    assert outside.endswith("ms (100.0–200.0)")


def test_what_fails_or_differs_is_shown(clusters, record):
    record["same_bits"] = False
    record["found"][clusters.RIVAL] = {"error": "ValueError: no"}
    text = clusters.table(result(record, missing="ImportError: none"))
    found = rows(text)
    assert found["same bits as one process"] == ["NO", "yes"]
    assert found[f"an iteration: {clusters.RIVAL}"][0] == "failed: ValueError: no"
    assert found["dask-ml against tilewise.dask"][0] == "–"
    assert "dask-ml is not measured: ImportError: none" in text
    noisy = clusters.table(result(record, quiet={"busy": 0.5, "steal": 0.0, "load": 1.0}))
    assert "other processes took 50% of the machine" in noisy


def test_rounds_without_a_ratio_are_counted(clusters):
    assert clusters.ratios(timed(1.0, 2.0), timed(2.0, 2.0)) == "0.75× (0.50–1.00)"
    told = clusters.ratios(timed(1.0, -2.0, 3.0), timed(2.0, 2.0, 3.0))
    assert told == "0.75× (0.50–1.00, 1 of 3 rounds too short to tell)"
    assert clusters.ratios(timed(-1.0), timed(1.0)) == "too short to tell"


def test_memory_and_kills(clusters, record):
    mib = 2**20
    worker = {"before": 100 * mib, "with_data": 150 * mib, "peak": 155 * mib, "data": 50 * mib}
    memory = {"section": "memory", "case": record["case"], "workers": [worker]}
    kill = {
        "section": "kill", "case": record["case"], "load": [0.5], "pass": [0.1], "without": [2.0],
        "with": [2.5], "restored": [1], "same_bits": [True],
    }  # fmt: skip
    found = rows(clusters.table(result(memory, kill)))
    assert found["peak of a worker with 50.0 MiB of data, grown since before them"] == [
        "55.0 MiB, data +10.0%", "≤ data +15%"
    ]  # fmt: skip
    assert found["cost of the kill"] == [
        "500.0 ms (500.0–500.0)", "≤ 700 ms (a load and 2 passes)"
    ]  # fmt: skip


def test_a_small_run(clusters, tmp_path):
    pytest.importorskip("distributed")
    out = tmp_path / "found.json"
    command = [
        sys.executable, clusters.__file__, "--quick", "--rounds", "1", "--only", "rounds", "memory",
        "--json", str(out),
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert {own["section"] for own in found["records"]} >= {"empty rounds", "memory"}
    assert found["finished"]
    assert "an empty round" in done.stdout
    again = subprocess.run(
        [sys.executable, clusters.__file__, "--table", str(out)],
        capture_output=True, text=True, check=True, env=env,
    )  # fmt: skip
    assert again.stdout in done.stdout

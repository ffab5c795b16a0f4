"""The benchmark of single rows: its tables, and a small run of it."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def single(bench):
    return bench.single_rows


def timed(seconds):
    return {"median": seconds, "min": seconds / 2, "max": 2 * seconds, "samples": [seconds]}


def test_figures_stand_beside_what_is_aimed_at(single):
    records = [
        {"what": "one row", "d": 16, "k": 4, "dtype": "float32", "n": 1, "aim_us": 0.15,
         "aim_faiss": 20,
         "contenders": {"predictor(row)": timed(1e-7), "faiss IndexFlatL2.search": timed(3e-6)}},
        {"what": "few rows", "d": 16, "k": 4, "dtype": "float64", "n": 8,
         "contenders": {"tilewise": timed(2e-6), "scikit-learn": timed(3e-4)}},
    ]  # fmt: skip
    text = single.table({"records": records})
    assert "| predictor(row) | 0.1 | 0.05 | 0.2 | 1.0 |" in text
    assert "| faiss IndexFlatL2.search | 3 | 1.5 | 6 | 30.0 |" in text
    assert "predictor(row) 0.15 µs, and 20 times faster than faiss" in text
    assert "| 16 × 4, float64 | 8 | 2 | 300 | 150.0 |" in text


@pytest.mark.slow
def test_a_small_run(single, tmp_path):
    path = tmp_path / "result.json"
    run = subprocess.run(
        [sys.executable, single.__file__, "--quick", "--rounds", "1", "--json", path],
        capture_output=True, text=True, timeout=600, env=os.environ,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result = json.loads(path.read_text())
    one = [record for record in result["records"] if record["what"] == "one row"]
    assert [(record["d"], record["k"]) for record in one] == [(16, 16), (64, 256), (384, 1024)]
    for record in result["records"]:
        assert all(found["median"] > 0 for found in record["contenders"].values())
    assert "scikit-learn predict" in run.stdout

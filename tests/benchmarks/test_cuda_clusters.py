"""The benchmark of GPUs: its lines and tables, its readable reference, and a small run of it."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import reference

NEEDED = ("torch", "triton")
needs_torch = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in NEEDED), reason="needs torch and triton"
)


def timed(seconds, **more):
    return {"median": seconds, "min": seconds / 2, "max": 2 * seconds, "samples": [seconds]} | more


RECORDS = [
    {"part": "iterations", "shape": "1Mx128x1024", "bytes": 512 * 10**6, "peers": {
        "tilewise": timed(2e-3, n_iter=[2, 12]), "flashlib": timed(3e-3, n_iter=[2, 9]),
        "cuML": {"error": "ImportError: none"},
    }},
    {"part": "labels", "shape": "1Mx128x1024", "peers": {
        "tilewise": {"wrong": 0, "checked": 20000, "same_labels_as_cpu": True,
                     "same_centers_as_cpu": True, "same_inertia_as_cpu": False},
        "flashlib": {"wrong": 7, "checked": 20000, "unlike_ours": 1234, "rows": 1000000},
    }},
    {"part": "launches", "shape": "4Mx16x64", "kernels": {
        "look": {"per_iteration": 1.0, "seconds": 1e-3},
        "copy": {"per_iteration": 2.0, "seconds": 2e-5},
    }},
    {"part": "fit", "shape": "4Mx16x64", "peers": {
        "tilewise": timed(0.5, n_iter=30, inertia=100.0),
        "flashlib": timed(0.25, n_iter=100, inertia=101.0),
    }},
    {"part": "seeding", "shape": "1Mx128x1024", "rows": 10**6, "cpu_rows": 250_000,
     "cpu_threads": 16, "same_seeds": True,
     "peers": {"tilewise": timed(0.5), "CPU": timed(1.0)}},
    {"part": "argkmin", "shape": "20kx128x1M", "k": 10,
     "peers": {"tilewise": timed(0.1, wrong=0, checked=640)}},
    {"part": "fit", "shape": "2Mx64x256", "error": "OutOfMemoryError: no"},
]  # fmt: skip


def test_tables(bench):
    fact = {"value": "a device", "source": "a test"}
    text = bench.cuda_tables.table(
        {
            "started": "today", "commit": "abc", "versions": {"torch": "2.11"}, "left_out": ["x"],
            "machine": {"cpu": "a CPU", "cpus": 16}, "notes": {"flashlib": "a note"},
            "records": RECORDS, "device": {
                "facts": {"name": fact, "multiprocessors": fact | {"value": 132}},
                "measured": {"copy_tbs": 4.2, "float16_tflops": 790.0},
            },
        }
    )  # fmt: skip
    for line in (
        "a device, 132 multiprocessors; today", "copy 4.20 TB/s", "Left out for want of time: x.",
        "same bits as the CPU: labels, centers", "1,234 of 1,000,000", "flashlib: a note.",
        "3 kernels and copies, 1.02 ms on the device", "100 iterations, inertia 1.01000 of ours",
        "the same seeds from these rows; times 4 that is 8.0 times ours", "0 of 640 wrong",
        "2M × 64 × 256: failed, OutOfMemoryError: no",
    ):  # fmt: skip
        assert line in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    other = "0.171 TB/s of rows, 2 and 9 iterations"
    assert ["flashlib", "3", "1.5 to 6", "1.5", other] in cells
    assert ["tilewise", "2", "1 to 4", "1", "0.256 TB/s of rows"] in cells
    assert ["cuML", "failed", "", "", "ImportError: none"] in cells


@pytest.mark.parametrize("record", RECORDS)
def test_lines_while_it_runs(bench, record):
    first, *others = bench.cuda_tables.lines(record)
    assert first.startswith(f"{record['shape']} {record['part']}")
    names = {} if "error" in record else record.get("peers", record.get("kernels"))
    assert all(any(name in line for line in others) for name in names)


@needs_torch
def test_the_reference(bench):
    import torch

    path = bench.cuda_tables.__file__.replace("tables", "cases")
    spec = importlib.util.spec_from_file_location("cuda_cases", path)
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(40, 21)), rng.normal(size=(9, 21))
    others[5] = others[2]
    found = cases.canonical(torch.from_numpy(rows), torch.from_numpy(others)).numpy()
    assert found.tobytes() == reference.canonical(rows, others).tobytes()
    labels = cases.in_pieces(cases.first_least, torch.from_numpy(rows), torch.from_numpy(others))
    assert np.array_equal(labels.numpy(), found.argmin(1))
    assert cases.sizes_of("1Mx128x4k") == (10**6, 128, 4000)
    with pytest.raises(Exception, match="is not a shape"):
        cases.sizes_of("1Mx128")


@needs_torch
@pytest.mark.slow
def test_a_small_run(bench, tmp_path):
    path = tmp_path / "result.json"
    run = subprocess.run(
        [sys.executable, bench.cuda_tables.__file__.replace("tables", "clusters"),
         "--device", "cpu", "--shapes", "120x8x3", "--seeding", "120x4x3", "--neighbors",
         "20x8x50", "--rounds", "1", "--share", "0", "--cpu-rows", "100", "--json", path],
        capture_output=True, text=True, timeout=600, env=os.environ,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result = json.loads(path.read_text())
    assert result["device"]["facts"]["interpreted"]["value"] is True
    parts = {record["part"]: record for record in result["records"]}
    assert set(parts) == {"iterations", "labels", "assign", "fit", "seeding", "argkmin"}
    assert not [record for record in result["records"] if "error" in record]
    own = parts["labels"]["peers"]["tilewise"]
    assert own["wrong"] == 0
    assert own["same_labels_as_cpu"]
    assert own["same_centers_as_cpu"]
    assert own["same_inertia_as_cpu"]
    assert parts["seeding"]["same_seeds"] is True
    assert parts["argkmin"]["peers"]["tilewise"]["wrong"] == 0
    assert "needs a GPU" in result["missing"]["flashlib"]
    assert "left out: launches (needs a GPU)" in run.stdout

"""``info --devices`` and ``explain --device``: GPUs that are there, recorded, or not there."""

import json
import pathlib
import sys
from types import SimpleNamespace

import pytest

from tilewise.cli._errors import ExitCode

RECORDED = pathlib.Path(__file__).parents[1] / "cuda" / "devices"
SHAPE = ("explain", "--rows", 1_000_000, "--features", 128, "--clusters", 1024)


@pytest.fixture
def no_gpu(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


@pytest.fixture
def one_gpu(monkeypatch):
    from tilewise.cuda import _facts

    facts = _facts.DeviceFacts.from_dict(json.loads((RECORDED / "a100.json").read_text()))
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 1)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(_facts, "device_facts", lambda device: facts)
    return facts


def test_a_recorded_device(invoke):
    done = invoke(*SHAPE, "--device", RECORDED / "h200.json")
    assert done.exit_code == 0
    assert "128 rows x 128 centres per step" in done.stdout
    assert "on NVIDIA H200" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = json.loads(invoke(*SHAPE, "--device", RECORDED / "h200.json", "--json").stdout)
    assert told["facts"]["multiprocessors"]["value"] == 132
    threads = invoke(*SHAPE, "--device", RECORDED / "h200.json", "--json", "--threads", 3)
    assert json.loads(threads.stdout)["host"]["n_threads"] == 3


def test_rows_that_do_not_fit_come_in_parts(invoke, monkeypatch):
    def explained(*how):
        done = invoke(*SHAPE, "--device", RECORDED / "h200.json", *how)
        assert done.exit_code == 0
        return done.stdout if how else " ".join(done.stdout.split())

    fits = explained()
    assert "1000000 x 128 from the host, 1024 clusters" in fits
    assert "Rows that stay: 1,000,000 of 1,000,000 rows, 488 MiB: all fit into" in fits
    assert "Moving: 488 MiB once, in the first pass." in fits
    monkeypatch.setenv("TILEWISE_DEVICE_BYTES", "256MiB")
    plan = json.loads(explained("--json"))
    assert plan["facts"]["free_bytes"] == {"value": 2**28, "source": "TILEWISE_DEVICE_BYTES"}
    assert 0 < plan["resident_rows"] < 10**6
    assert plan["moved_bytes"] == 4 * 128
    parts = explained()
    # Whatever the width of the screen breaks, these are the sentences of the plan.
    for name in ("resident", "staged", "moved"):
        assert plan["reasons"][name] in parts
    left = 10**6 - plan["resident_rows"]
    assert f"Rows that stay: {plan['resident_rows']:,} of 1,000,000 rows" in parts
    assert f"2 buffers of {plan['staged_rows']:,} rows in pinned memory" in parts
    assert f"Moving: each pass moves {left:,} rows" in parts
    doubles = json.loads(explained("--json", "--dtype", "float64"))
    assert doubles["moved_bytes"] == 8 * 128
    assert doubles["resident_rows"] < plan["resident_rows"]


def test_a_device_that_is_too_small(fails, monkeypatch):
    at = (*SHAPE, "--device", RECORDED / "h200.json")
    monkeypatch.setenv("TILEWISE_DEVICE_BYTES", "1MiB")
    assert "1,000,000 rows in 1,024 clusters need more than 1,048,576 bytes" in fails(
        ExitCode.USAGE, *at
    )
    monkeypatch.setenv("TILEWISE_DEVICE_BYTES", "much")
    assert "TILEWISE_DEVICE_BYTES='much' is not a size" in fails(ExitCode.USAGE, *at)


def test_the_device_of_this_machine(invoke, one_gpu, folder):
    done = invoke("info", "--devices")
    assert done.exit_code == 0
    assert "NVIDIA A100" in done.stdout
    assert "2.04 TB/s" in done.stdout
    told = invoke("info", "--devices", "--json").stdout
    assert json.loads(told)["devices"] == [json.loads(json.dumps(one_gpu.to_dict()))]
    here = invoke(*SHAPE, "--device")
    assert "on NVIDIA A100" in here.stdout
    (folder / "other.json").write_text(told)
    assert invoke(*SHAPE, "--device", "other.json").stdout == here.stdout


def test_no_device(invoke, fails, no_gpu):
    assert "torch sees no GPU" in invoke("info", "--devices").stdout
    assert json.loads(invoke("info", "--devices", "--json").stdout)["devices"] == []
    assert "torch sees no GPU: give --device a file" in fails(ExitCode.USAGE, *SHAPE, "--device")


@pytest.mark.parametrize("arguments", [("info", "--devices"), (*SHAPE, "--device")])
def test_no_torch(fails, monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert 'pip install "tilewise[cuda]"' in fails(ExitCode.MISSING_EXTRA, *arguments)


def test_what_cannot_be_explained(fails, folder):
    old = fails(ExitCode.USAGE, *SHAPE, "--device", RECORDED / "gtx1080ti.json")
    assert "compute capability 6.1" in old
    for option in ("--sums", "--measure"):
        mixed = fails(ExitCode.USAGE, *SHAPE, option, "--device", RECORDED / "l4.json")
        assert "leave out --device" in mixed
    assert "none.json: No such file" in fails(ExitCode.NO_INPUT, *SHAPE, "--device", "none.json")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"devices": []}', '{"devices": [3]}', "{"])
def test_a_file_without_facts(invoke, folder, text):
    (folder / "facts.json").write_text(text)
    done = invoke(*SHAPE, "--device", "facts.json")
    assert done.exit_code == ExitCode.BAD_DATA
    assert done.stderr.startswith("tilewise: error: facts.json: ")
    assert "facts of a device" in done.stderr

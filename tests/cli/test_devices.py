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

"""Facts of devices: where they come from, and what is said where nobody tells."""

import dataclasses
import json
import pathlib
from types import SimpleNamespace

import pytest

from tilewise.cuda._facts import (
    VARIABLE,
    DeviceFacts,
    Told,
    device_facts,
    facts_of,
    host_bandwidth,
)

DEVICES = pathlib.Path(__file__).parent / "devices"
NAMES = sorted(path.stem for path in DEVICES.glob("*.json"))


def recorded(name):
    return DeviceFacts.from_dict(json.loads((DEVICES / f"{name}.json").read_text()))


# As torch 2.11 and Triton 3.6 answer for an H200.
TORCH = {
    "name": "NVIDIA H200", "major": 9, "minor": 0, "multi_processor_count": 132,
    "total_memory": 150_754_820_096, "L2_cache_size": 62_914_560,
    "shared_memory_per_block_optin": 232_448, "shared_memory_per_multiprocessor": 233_472,
}  # fmt: skip
DRIVER = {
    "max_shared_mem": 232_448, "multiprocessor_count": 132, "mem_clock_rate": 3_201_000,
    "mem_bus_width": 6144,
}  # fmt: skip


def test_torch_is_asked_first():
    told = Told(SimpleNamespace(**TORCH), DRIVER | {"multiprocessor_count": 99})
    facts = facts_of(told, (9, 0))
    assert facts.multiprocessors.value == 132
    assert facts.multiprocessors.source == "torch's multi_processor_count"
    assert facts.l2_bytes.value == 60 * 2**20
    assert facts.capability.value == "9.0"
    assert (facts.float64_ratio.value, facts.float64_ratio.source) == (
        0.5, "compute capability 9.0",
    )  # fmt: skip
    # 3,201 MHz, two transfers each, 768 bytes wide.
    assert facts.bandwidth.value == pytest.approx(3.201e9 * 2 * 768)
    assert "Triton's mem_clock_rate" in facts.bandwidth.source


def test_what_torch_does_not_tell_is_asked_of_triton():
    few = {name: TORCH[name] for name in ("name", "major", "minor", "total_memory")}
    facts = facts_of(Told(SimpleNamespace(**few), DRIVER), (9, 0))
    assert facts.multiprocessors.source == "Triton's multiprocessor_count"
    assert facts.shared_bytes.value == 232_448
    assert facts.multiprocessor_shared_bytes.value == 233_472
    assert (facts.l2_bytes.value, facts.l2_bytes.source) == (0, "assumed")


def test_what_nobody_tells():
    facts = facts_of(Told(SimpleNamespace(), {}), (13, 7))
    assert facts.multiprocessors.value == 1
    assert facts.shared_bytes.value == 99 * 1024
    assert facts.bandwidth.value is None
    # A device that is not in the table counts as one that has little float64.
    assert facts.float64_ratio.value == 1 / 64
    assert facts.float64_ratio.source.startswith("assumed")
    assert facts.trouble() is None
    other = facts_of(Told(SimpleNamespace(), {}), None)
    assert (other.capability.value, other.trouble()) == (None, None)


def test_too_old_a_device():
    told = recorded("gtx1080ti").trouble()
    assert told.startswith("NVIDIA GeForce GTX 1080 Ti has compute capability 6.1")
    assert "tilewise needs 8.0 or newer" in told
    assert all(recorded(name).trouble() is None for name in NAMES if name != "gtx1080ti")


@pytest.mark.parametrize("name", NAMES)
def test_records_come_back(name):
    facts = recorded(name)
    again = DeviceFacts.from_dict(json.loads(json.dumps(facts.to_dict())))
    assert again == facts
    shown = repr(facts).splitlines()
    assert len(shown) == 1 + len(dataclasses.fields(DeviceFacts))
    assert all(fact["source"] in line for fact, line in zip(
        facts.to_dict().values(), shown[1:], strict=True
    ))  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(DeviceFacts)])
@pytest.mark.parametrize(
    "damage", [None, 3, {"value": 3}, {"value": [], "source": ""}, {"value": -1, "source": ""}]
)
def test_records_that_are_none(name, damage):
    facts = recorded("h200").to_dict() | {name: damage}
    with pytest.raises(ValueError, match=f"no facts of a device: {name} is "):
        DeviceFacts.from_dict(facts)


def test_the_device_of_this_machine():
    torch = pytest.importorskip("torch")
    facts = device_facts()
    assert facts.interpreted.value is not torch.cuda.is_available()
    assert 0 < facts.free_bytes.value <= facts.memory_bytes.value
    assert facts.trouble() is None
    if torch.cuda.is_available():
        assert facts.multiprocessors.value > 1
        assert facts.bandwidth.value > 1e11
        assert facts.shared_bytes.value >= 48 * 1024
    assert device_facts("cpu").interpreted.value


@pytest.mark.parametrize(
    ("speed", "width", "wanted"),
    [
        ("32.0 GT/s PCIe", "16", 63.0e9), ("16.0 GT/s PCIe", "8", 15.75e9), ("5.0 GT/s", "4", 2e9),
        ("Unknown", "16", None), ("8 GT/s", "255", None), ("", "", None), (None, None, None),
    ],
)  # fmt: skip
def test_the_link_to_the_host(tmp_path, speed, width, wanted):
    place = tmp_path / "0000:3b:00.0"
    place.mkdir()
    if speed is not None:
        (place / "max_link_speed").write_text(speed + "\n")
        (place / "max_link_width").write_text(width + "\n")
    properties = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x3B, pci_device_id=0)
    fact = host_bandwidth(properties, tmp_path)
    assert (fact.value is None) == (wanted is None)
    if wanted:
        assert fact.value == pytest.approx(wanted, rel=1e-3)
        assert (
            fact.source
            == f"PCI Express, {speed.split()[0].removesuffix('.0')} GT/s x {width} lanes"
        )
    assert host_bandwidth(SimpleNamespace(), tmp_path).value is None


def test_free_memory_is_overridden(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv(VARIABLE, "3 MiB")
    free = device_facts().free_bytes
    assert (free.value, free.source) == (3 * 2**20, VARIABLE)
    for text in ("0", "-1", "lots"):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(ValueError, match=f"{VARIABLE}="):
            device_facts()
    monkeypatch.setenv(VARIABLE, "")
    assert device_facts().free_bytes.source != VARIABLE


def test_records_of_before():
    facts = recorded("h200").to_dict()
    del facts["host_bandwidth"]
    assert DeviceFacts.from_dict(facts).host_bandwidth.value is None

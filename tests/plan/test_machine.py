"""Facts and their sources, on recorded machines and on this one."""

import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise._sizes import MOST_BYTES, parse_size, sized
from tilewise.plan.machine import Fact, Machine

MACHINES = Path(__file__).parent / "machines"
KIB, MIB, GIB = 1024, 1024**2, 1024**3

# By name: `tilewise.plan` may offer a function called `machine` in front of the module.
module = importlib.import_module("tilewise.plan.machine")

SYSFS_CPUS = "default: all usable CPUs"
CALL = "GetLogicalProcessorInformationEx"

# Every fact and its source, machine by machine; l3_share_bytes is derived.
EXPECTED = {
    "hybrid_laptop": {
        "cpu_model": ("12th Gen Intel(R) Core(TM) i7-1260P", "/proc/cpuinfo"),
        "n_cpus": (16, "affinity mask"),
        "l1d_bytes": (32 * KIB, "sysfs cpu8 index0"),
        "l2_bytes": (512 * KIB, "sysfs cpu8 index2, 2 MiB shared by 4 cores"),
        "l3_bytes": (18 * MIB, "sysfs cpu0 index3"),
        "l3_shared_by": (16, "sysfs cpu0 index3"),
        "l3_share_bytes": (1152 * KIB, "18 MiB / 16 CPUs"),
        "line_bytes": (64, "sysfs cpu0 index0"),
        "page_bytes": (4096, "default"),
        "isa": ("avx2", "CPUID"),
        "hypervisor": (False, "/proc/cpuinfo flags"),
        "memory_bytes": (16062436 * KIB, "/proc/meminfo MemTotal"),
        "openmp": (True, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "cgroup: no quota"),
        "cpus_per_core": (2, "sysfs cpu0 index0"),
    },
    "guest_2cpu": {
        "cpu_model": ("Intel(R) Xeon(R) Processor", "/proc/cpuinfo"),
        "n_cpus": (2, "affinity mask"),
        "l1d_bytes": (48 * KIB, "sysfs cpu0 index0"),
        "l2_bytes": (2 * MIB, "sysfs cpu0 index2"),
        "l3_bytes": (480 * MIB, "sysfs cpu0 index3"),
        "l3_shared_by": (2, "sysfs cpu0 index3"),
        "l3_share_bytes": (512 * KIB, "480 MiB / 2 CPUs, capped: hypervisor"),
        "line_bytes": (64, "sysfs cpu0 index0"),
        "page_bytes": (4096, "default"),
        "isa": ("avx512", "CPUID"),
        "hypervisor": (True, "/proc/cpuinfo flags"),
        "memory_bytes": (24683656 * KIB, "/proc/meminfo MemTotal"),
        "openmp": (True, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "cgroup: no quota"),
        "cpus_per_core": (1, "sysfs cpu0 index0"),
    },
    "apple_m1": {
        "cpu_model": ("Apple M1", "sysctl machdep.cpu.brand_string"),
        "n_cpus": (8, "Python's CPU count"),
        "l1d_bytes": (64 * KIB, "sysctl hw.perflevel1.l1dcachesize"),
        "l2_bytes": (MIB, "sysctl hw.perflevel1.l2cachesize, 4 MiB shared by 4 cores"),
        "l3_bytes": (0, "sysctl: no L3 listed"),
        "l3_shared_by": (8, SYSFS_CPUS),
        "l3_share_bytes": (0, "sysctl: no L3 listed"),
        "line_bytes": (128, "sysctl hw.cachelinesize"),
        "page_bytes": (16384, "sysctl hw.pagesize"),
        "isa": ("neon", "baseline of the build"),
        "hypervisor": (False, "sysctl kern.hv_vmm_present"),
        "memory_bytes": (16 * GIB, "sysctl hw.memsize"),
        "openmp": (False, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "default"),
        "cpus_per_core": (1, "sysctl hw.perflevel0.logicalcpu"),
    },
    "server_2socket": {
        "cpu_model": ("Intel(R) Xeon(R) Silver 4215R CPU @ 3.20GHz", "/proc/cpuinfo"),
        "n_cpus": (16, "affinity mask"),
        "l1d_bytes": (32 * KIB, "sysfs cpu8 index0"),
        "l2_bytes": (MIB, "sysfs cpu8 index2"),
        "l3_bytes": (11 * MIB, "sysfs cpu8 index3"),
        "l3_shared_by": (16, "sysfs cpu8 index3"),
        "l3_share_bytes": (704 * KIB, "11 MiB / 16 CPUs"),
        "line_bytes": (64, "sysfs cpu8 index0"),
        "page_bytes": (4096, "default"),
        "isa": ("avx512", "CPUID"),
        "hypervisor": (False, "/proc/cpuinfo flags"),
        "memory_bytes": (263706184 * KIB, "/proc/meminfo MemTotal"),
        "openmp": (True, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "cgroup: no quota"),
        "cpus_per_core": (2, "sysfs cpu8 index0"),
    },
    "container_quota": {
        "cpu_model": ("AMD Ryzen 7 5800X 8-Core Processor", "/proc/cpuinfo"),
        "n_cpus": (16, "affinity mask"),
        "l1d_bytes": (32 * KIB, "sysfs cpu0 index0"),
        "l2_bytes": (512 * KIB, "sysfs cpu0 index2"),
        "l3_bytes": (32 * MIB, "sysfs cpu0 index3"),
        "l3_shared_by": (16, "sysfs cpu0 index3"),
        "l3_share_bytes": (2 * MIB, "32 MiB / 16 CPUs"),
        "line_bytes": (64, "sysfs cpu0 index0"),
        "page_bytes": (4096, "default"),
        "isa": ("avx2", "CPUID"),
        "hypervisor": (False, "/proc/cpuinfo flags"),
        "memory_bytes": (2 * GIB, "cgroup memory.max"),
        "openmp": (True, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (1.5, "cgroup cpu.max"),
        "cpus_per_core": (2, "sysfs cpu0 index0"),
    },
    "silent": {
        "cpu_model": ("unknown", "default"),
        "n_cpus": (4, "affinity mask"),
        "l1d_bytes": (32 * KIB, "default"),
        "l2_bytes": (256 * KIB, "default"),
        "l3_bytes": (0, "default"),
        "l3_shared_by": (4, SYSFS_CPUS),
        "l3_share_bytes": (0, "default"),
        "line_bytes": (64, "default"),
        "page_bytes": (4096, "default"),
        "isa": ("generic", "baseline of the build"),
        "hypervisor": (False, "default"),
        "memory_bytes": (GIB, "default"),
        "openmp": (False, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "cgroup: no quota"),
        "cpus_per_core": (1, "default"),
    },
    "windows_laptop": {
        "cpu_model": (
            "Intel64 Family 6 Model 142 Stepping 12, GenuineIntel",
            "PROCESSOR_IDENTIFIER",
        ),
        "n_cpus": (8, "Python's CPU count"),
        "l1d_bytes": (32 * KIB, f"{CALL} cpu0 L1"),
        "l2_bytes": (256 * KIB, f"{CALL} cpu0 L2"),
        "l3_bytes": (8 * MIB, f"{CALL} cpu0 L3"),
        "l3_shared_by": (8, f"{CALL} cpu0 L3"),
        "l3_share_bytes": (MIB, "8 MiB / 8 CPUs"),
        "line_bytes": (64, f"{CALL} cpu0 L1"),
        "page_bytes": (4096, "mmap.PAGESIZE"),
        "isa": ("avx2", "CPUID"),
        "hypervisor": (False, "default"),
        "memory_bytes": (17034375168, "GlobalMemoryStatusEx"),
        "openmp": (True, "build"),
        "byte_products": (False, "not asked"),
        "cgroup_cpus": (None, "default"),
        "cpus_per_core": (2, f"{CALL} cpu0 L1"),
    },
}


_OF_PAGES, _OUTER = "assumed: one way per page of L1", "assumed: as outer caches of current cores"
# Ways of L1, L2 and L3 where the record tells them; else the ways of L1 that are assumed.
WAYS = {
    "hybrid_laptop": 8,
    "guest_2cpu": ((12, "sysfs cpu0 index0"), (16, "sysfs cpu0 index2"), (16, "sysfs cpu0 index3")),
    "apple_m1": 4,
    "server_2socket": 8,
    "container_quota": 8,
    "silent": 8,
    "windows_laptop": ((8, f"{CALL} cpu0 L1"), (4, f"{CALL} cpu0 L2"), (16, f"{CALL} cpu0 L3")),
}


def ways_of(name):
    told = WAYS[name]
    if isinstance(told, int):
        told = ((told, _OF_PAGES), (16, _OUTER), (16, _OUTER))
    return dict(zip(("l1d_ways", "l2_ways", "l3_ways"), told, strict=True))


def test_every_record_has_expected_values():
    assert {path.stem for path in MACHINES.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_golden(recorded, name):
    found = recorded(name)
    facts = found.to_dict() | {"l3_share_bytes": found.l3_share_bytes.to_dict()}
    shown = {key: (fact["value"], fact["source"]) for key, fact in facts.items()}
    assert shown == EXPECTED[name] | ways_of(name)


def test_ways_of_an_overridden_size_are_assumed(recorded):
    """The ways of the cache that is there say nothing of the one that is asked for."""
    found = recorded("guest_2cpu", env={"TILEWISE_L1D_BYTES": "32K"})
    assert (found.l1d_ways.value, found.l1d_ways.source) == (8, _OF_PAGES)
    assert (found.l2_ways.value, found.l2_ways.source) == (16, "sysfs cpu0 index2")


@pytest.mark.parametrize("text", ["", "0", "255", "some"])
def test_ways_that_are_no_ways_are_assumed(here, text):
    folder = "devices/system/cpu/cpu0/cache/index0"
    files = {"level": "1", "type": "Data", "size": "48K", "ways_of_associativity": text}
    found = here({"sys": {f"{folder}/{name}": value for name, value in files.items()}})
    assert (found.l1d_bytes.value, found.l1d_ways.value) == (48 * KIB, 12)
    assert found.l1d_ways.source == _OF_PAGES


def test_records_without_ways_are_read(recorded):
    """Results of earlier versions know none."""
    told = recorded("guest_2cpu").to_dict()
    old = Machine.from_dict({k: v for k, v in told.items() if not k.endswith("_ways")})
    assert {name: getattr(old, name).source for name in ("l1d_ways", "l2_ways", "l3_ways")} == {
        "l1d_ways": _OF_PAGES, "l2_ways": _OUTER, "l3_ways": _OUTER,
    }  # fmt: skip


# Which CPUs a process may use changes what it may count on.


@pytest.mark.parametrize(
    ("cpus", "l1d", "l2", "threads"),
    [
        (range(8), 48 * KIB, 1280 * KIB, 2),  # fast cores only
        ([0, 2, 4], 48 * KIB, 1280 * KIB, 1),  # one thread of each
        ([3, 12], 32 * KIB, 512 * KIB, 1),  # a fast and a slow one
        ([9], 32 * KIB, 512 * KIB, 1),  # the cluster's others still use its L2
    ],
)
def test_only_cores_in_the_mask_count(recorded, cpus, l1d, l2, threads):
    found = recorded("hybrid_laptop", affinity=cpus)
    assert found.n_cpus.value == len(cpus)
    assert (found.l1d_bytes.value, found.l2_bytes.value) == (l1d, l2)
    assert found.cpus_per_core.value == threads
    assert found.l3_shared_by.value == 16


def test_l3_share_counts_cpus_outside_the_mask(recorded):
    found = recorded("server_2socket", affinity=[8, 9])
    assert found.n_cpus.value == 2
    assert found.l3_shared_by == Fact(16, "sysfs cpu8 index3, 2 of them usable")
    assert found.l3_share_bytes.value == 704 * KIB


def test_a_core_without_l3_counts_on_none(here):
    caches = [
        {"level": 1, "type": "Data", "size": "32K", "shared": ["0", "1"]},
        {"level": 3, "type": "Unified", "size": "8M", "shared": ["0"]},
    ]
    found = here({"caches": caches}, affinity=[0, 1])
    assert found.l3_bytes == Fact(0, "sysfs: cpu1 has no L3")
    assert found.l3_share_bytes.value == 0
    assert here({}, affinity=[0]).l3_share_bytes.value == 4 * MIB


def test_python_may_grant_fewer_cpus_than_the_mask(recorded):
    assert recorded("hybrid_laptop", cpu_count=3).n_cpus == Fact(3, "Python's CPU count")
    assert recorded("hybrid_laptop", cpu_count=99).n_cpus == Fact(16, "affinity mask")


# How much of L3 is believed.


@pytest.mark.parametrize(
    ("size", "sharers", "guest", "share", "reason"),
    [
        (16 * MIB, 8, False, 2 * MIB, None),
        (96 * MIB, 8, False, 4 * MIB, "largest useful share"),
        (16 * MIB, 1, False, 4 * MIB, "largest useful share"),
        (16 * MIB + 1, 1, False, 512 * KIB, "implausible report"),
        (480 * MIB, 2, False, 512 * KIB, "implausible report"),
        (16 * MIB, 8, True, 512 * KIB, "hypervisor"),
        (2 * MIB, 8, True, 256 * KIB, None),
    ],
)
def test_l3_share(recorded, size, sharers, guest, share, reason):
    facts = recorded("silent").to_dict()
    facts["l3_bytes"] = {"value": size, "source": "sysfs"}
    facts["l3_shared_by"]["value"] = sharers
    facts["hypervisor"]["value"] = guest
    found = Machine.from_dict(facts).l3_share_bytes
    assert found.value == share
    assert found.source.partition(", capped: ")[2] == (reason or "")


def test_l3_override_is_believed_in_a_guest(recorded):
    found = recorded("guest_2cpu", env={"TILEWISE_L3_BYTES": "6MiB"})
    assert found.l3_share_bytes == Fact(3 * MIB, "6 MiB / 2 CPUs")


# Overrides.


@pytest.mark.parametrize("field", ["l1d", "l2", "l3"])
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("64K", 65536),
        (" 64 KiB ", 65536),
        ("1m", MIB),
        ("2GiB", 2 * GIB),
        ("64KB", 64_000),
        ("1.5M", 3 * MIB // 2),
    ],
)
def test_override_wins_and_is_the_source(recorded, field, text, size):
    variable = f"TILEWISE_{field.upper()}_BYTES"
    for name in ("hybrid_laptop", "apple_m1", "silent", "windows_laptop"):
        found = recorded(name, env={variable: text})
        assert getattr(found, f"{field}_bytes") == Fact(size, variable)


@pytest.mark.parametrize("text", ["64XB", "-1", "1.5e3", "lots", "0x10", "K", "2T", "9999G", "٣٢"])
@pytest.mark.parametrize("field", ["L1D", "L2", "L3"])
def test_bad_override_names_variable_value_and_form(recorded, field, text):
    variable = f"TILEWISE_{field}_BYTES"
    with pytest.raises(ValueError, match=variable) as caught:
        recorded("silent", env={variable: text})
    message = str(caught.value)
    assert repr(text) in message
    assert "number of bytes" in message
    assert "KiB" in message


def test_zero_is_a_size_for_l3_only(recorded):
    assert recorded("hybrid_laptop", env={"TILEWISE_L3_BYTES": "0"}).l3_share_bytes.value == 0
    with pytest.raises(ValueError, match="TILEWISE_L2_BYTES='0' is out of range"):
        recorded("hybrid_laptop", env={"TILEWISE_L2_BYTES": "0"})


def test_blank_override_is_no_override(recorded):
    assert recorded("silent", env={"TILEWISE_L2_BYTES": " "}).l2_bytes.source == "default"


def test_isa_override_is_the_source(recorded):
    assert recorded("silent", isa="avx2", env={"TILEWISE_ISA": "avx2"}).isa == Fact(
        "avx2", "TILEWISE_ISA"
    )
    assert (
        recorded("silent", isa="avx2", env={"TILEWISE_ISA": " AVX2"}).isa.source == "TILEWISE_ISA"
    )
    assert recorded("silent", isa="avx2", env={"TILEWISE_ISA": ""}).isa.source == "CPUID"


def test_what_the_kernels_refuse_is_refused(kernels):
    def refuse():
        raise ValueError("TILEWISE_ISA='sse9' is not available here")

    kernels.isa = refuse
    with pytest.raises(ValueError, match="TILEWISE_ISA='sse9'"):
        module.machine()


# Reading and writing.


@pytest.mark.parametrize("name", EXPECTED)
def test_round_trip_through_json(recorded, name):
    found = recorded(name)
    assert Machine.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_from_dict_names_what_is_wrong(recorded):
    facts = recorded("silent").to_dict()
    with pytest.raises(ValueError, match="missing: isa, unknown: speed"):
        Machine.from_dict({k: v for k, v in facts.items() if k != "isa"} | {"speed": {}})
    for name, value in (
        ("l1d_bytes", "32K"),
        ("l1d_bytes", True),
        ("n_cpus", -1),
        ("openmp", 1),
        ("isa", 5),
        ("isa", "sse9"),
        ("cpu_model", None),
        ("cgroup_cpus", "1.5"),
    ):
        with pytest.raises(ValueError, match=name):
            Machine.from_dict(facts | {name: {"value": value, "source": "test"}})
    with pytest.raises(ValueError, match="isa needs a value and a source"):
        Machine.from_dict(facts | {"isa": "avx2"})


def test_repr_is_an_aligned_table(recorded):
    lines = repr(recorded("guest_2cpu")).splitlines()
    assert lines[0] == "Machine"
    assert "  l1d_bytes       48 KiB                      sysfs cpu0 index0" in lines
    assert any(line.split()[:3] == ["l3_share_bytes", "512", "KiB"] for line in lines)
    assert any(line.split()[:2] == ["cgroup_cpus", "none"] for line in lines)
    column = lines[1].index("source")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines[1:])


def test_machine_is_frozen(recorded):
    with pytest.raises(AttributeError):
        recorded("silent").isa = Fact("avx2", "test")


@given(st.integers(0, 1 << 40))
def test_sizes_read_back(size):
    assert parse_size(str(size)) == size
    for unit, factor in (("K", KIB), ("KiB", KIB), ("M", MIB), ("gib", GIB)):
        assert parse_size(f"{size} {unit}") == min(size * factor, MOST_BYTES)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1280 * KIB, "1.25 MiB"),
        (GIB, "1 GiB"),
        (MIB + 12345, "1.01 MiB"),
        (100 * KIB + 1, "100 KiB"),
        (1023 * KIB + 1000, "1,024 KiB"),
    ],
)
def test_sizes_are_written_short(size, text):
    assert sized(size) == text


# This machine.


@pytest.fixture
def kernels(monkeypatch):
    """Stand in for the compiled dispatch."""
    fake = types.ModuleType("tilewise.kernels._dispatch")
    fake.isa = lambda: "sse2"
    fake.has_openmp = lambda: True
    fake.has_byte_products = lambda name: False
    package = importlib.import_module("tilewise.kernels")
    monkeypatch.setattr(package, "_dispatch", fake, raising=False)
    monkeypatch.setitem(sys.modules, "tilewise.kernels._dispatch", fake)
    module._machine.cache_clear()
    yield fake
    module._machine.cache_clear()


def test_this_machine_is_looked_up_once(kernels, monkeypatch):
    monkeypatch.delenv("TILEWISE_ISA", raising=False)
    found = module.machine()
    assert module.machine() is found
    assert found.isa == Fact("sse2", "CPUID")
    assert 1 <= found.n_cpus.value <= os.cpu_count()
    assert found.l1d_bytes.value >= 4 * KIB
    assert found.memory_bytes.value > 16 * MIB


def test_this_machine_follows_the_environment(kernels, monkeypatch):
    monkeypatch.setenv("TILEWISE_L2_BYTES", "3M")
    assert module.machine().l2_bytes == Fact(3 * MIB, "TILEWISE_L2_BYTES")
    monkeypatch.setenv("TILEWISE_L2_BYTES", "nonsense")
    with pytest.raises(ValueError, match="TILEWISE_L2_BYTES"):
        module.machine()
    monkeypatch.delenv("TILEWISE_L2_BYTES")
    assert module.machine().l2_bytes.source != "TILEWISE_L2_BYTES"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_this_machine_follows_its_affinity(kernels):
    before = os.sched_getaffinity(0)
    usable = module.machine().n_cpus
    try:
        os.sched_setaffinity(0, {min(before)})
        assert module.machine().n_cpus.value == 1
    finally:
        os.sched_setaffinity(0, before)
    assert module.machine().n_cpus == usable


def test_commands_that_fail_say_nothing(monkeypatch):
    assert module._run(["tilewise-no-such-command"]) == ""

    def slow(*args, **kwargs):
        raise subprocess.TimeoutExpired("sysctl", 10)

    monkeypatch.setattr(subprocess, "run", slow)
    assert module._run(["sysctl"]) == ""

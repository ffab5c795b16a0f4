"""What each system reports, with holes, limits and broken records."""

import ctypes
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.plan import _windows
from tilewise.plan._caches import bits_set, parse_cpu_list, parse_cpu_map
from tilewise.plan.machine import Fact

MACHINES = Path(__file__).parent / "machines"

KIB, MIB, GIB = 1024, 1024**2, 1024**3

CALL = "GetLogicalProcessorInformationEx"


# Reports with holes.


INDEX = "devices/system/cpu/cpu0/cache/index0"


@pytest.mark.parametrize(
    ("files", "l1d", "source"),
    [
        ({"level": "1", "type": "Unified", "size": "8K"}, 8 * KIB, "sysfs cpu0 index0"),
        ({"level": "1", "type": "Data", "size": "1M"}, MIB, "sysfs cpu0 index0"),
        ({"level": "1", "type": "Instruction", "size": "8K"}, 32 * KIB, "default"),
        ({"level": "1", "type": "Data"}, 32 * KIB, "default"),
        ({"level": "1", "type": "Data", "size": "0K"}, 32 * KIB, "default"),
        ({"level": "1", "type": "Data", "size": "unknown"}, 32 * KIB, "default"),
        ({"level": "x", "type": "Data", "size": "8K"}, 32 * KIB, "default"),
        ({"level": "1", "size": "8K"}, 32 * KIB, "default"),
    ],
)
def test_sysfs_with_holes(here, files, l1d, source):
    found = here({"sys": {f"{INDEX}/{name}": text for name, text in files.items()}})
    assert found.l1d_bytes == Fact(l1d, source)


@pytest.mark.parametrize(
    ("files", "sharers"),
    [
        ({"shared_cpu_list": "0-2,9"}, 4),
        ({"shared_cpu_map": "00000001,0000000f"}, 5),
        ({"shared_cpu_list": "nonsense", "shared_cpu_map": "3"}, 2),
        ({"shared_cpu_list": ""}, 3),  # nobody says: every CPU of the mask
    ],
)
def test_who_shares_l3(here, files, sharers):
    files = {"level": "3", "type": "Unified", "size": "4096K", **files}
    record = {"sys": {f"{INDEX}/{name}": text for name, text in files.items()}}
    assert here(record, affinity=[0, 1, 2]).l3_shared_by.value == sharers


def test_sysconf_is_asked_before_defaults(here):
    told = {
        "SC_LEVEL1_DCACHE_SIZE": 49152,
        "SC_LEVEL2_CACHE_SIZE": 0,
        "SC_LEVEL3_CACHE_SIZE": 12 * MIB,
        "SC_NPROCESSORS_ONLN": 6,
        "SC_PAGE_SIZE": 65536,
        "SC_PHYS_PAGES": 1000,
    }
    found = here({}, sysconf=lambda name: told.get(name, -1))
    assert found.l1d_bytes == Fact(49152, "sysconf SC_LEVEL1_DCACHE_SIZE")
    assert found.l2_bytes == Fact(256 * KIB, "default")
    assert found.l3_share_bytes == Fact(2 * MIB, "12 MiB / 6 CPUs")
    assert found.page_bytes == Fact(65536, "sysconf SC_PAGE_SIZE")
    assert found.memory_bytes == Fact(65536000, "sysconf SC_PHYS_PAGES")


def test_intel_mac_without_performance_levels(recorded):
    lines = [
        "machdep.cpu.brand_string: Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz",
        "hw.l1dcachesize: 32768",
        "hw.l2cachesize: 262144",
        "hw.l3cachesize: 9437184",
        "hw.cachelinesize: 64",
        "hw.cacheconfig: 12 2 2 12 0 0 0 0 0 0",
    ]
    found = recorded("apple_m1", run=lambda command: "\n".join(lines), cpu_count=12)
    assert found.l1d_bytes == Fact(32 * KIB, "sysctl hw.l1dcachesize")
    assert found.l2_bytes == Fact(256 * KIB, "sysctl hw.l2cachesize")
    assert found.l3_share_bytes == Fact(768 * KIB, "9 MiB / 12 CPUs")
    assert found.cpus_per_core.value == 2


def test_macos_that_says_nothing(recorded):
    found = recorded("apple_m1", run=lambda command: "")
    assert found.l1d_bytes == Fact(32 * KIB, "default")
    assert found.hypervisor == Fact(False, "default")


@pytest.mark.parametrize(
    ("files", "guest"),
    [
        ({"hypervisor/type": "xen\n"}, True),
        ({"class/dmi/id/sys_vendor": "QEMU\n"}, True),
        ({"class/dmi/id/sys_vendor": "Amazon EC2", "class/dmi/id/product_name": "m7g.large"}, True),
        (
            {"class/dmi/id/sys_vendor": "Amazon EC2", "class/dmi/id/product_name": "m7g.metal"},
            False,
        ),
        (
            {
                "class/dmi/id/sys_vendor": "Microsoft Corporation",
                "class/dmi/id/product_name": "Virtual Machine",
            },
            True,
        ),
        ({"class/dmi/id/sys_vendor": "Supermicro"}, False),
        ({}, False),
    ],
)
def test_guests_without_a_cpu_flag(here, files, guest):
    cpuinfo = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    found = here({"sys": files, "proc": {"cpuinfo": cpuinfo}})
    assert found.hypervisor.value is guest
    assert found.cpu_model == Fact("ARM implementer 0x41 part 0xd40", "/proc/cpuinfo")


# Control groups.


V1 = {
    "fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
    "fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    "fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "250000",
    "fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
    "fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "fs/cgroup/memory/job/memory.limit_in_bytes": "1073741824",
}


def test_cgroup_version_1(here):
    groups = "4:memory:/job\n3:cpu,cpuacct:/job/step\n0::/\n"
    found = here({"sys": V1, "proc": {"self/cgroup": groups}})
    assert found.cgroup_cpus == Fact(2.5, "cgroup cpu.cfs_quota_us")
    # Nothing else tells the memory's size, so the limit stands alone.
    assert found.memory_bytes == Fact(GIB, "cgroup memory.limit_in_bytes")


def test_cgroup_path_of_the_host_inside_a_container(here):
    mounts = (
        "31 23 0:27 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
        "32 23 0:28 / /proc/acpi ro - tmpfs tmpfs ro\n"
        "broken line\n"
    )
    files = {
        "fs/cgroup/cpu/cpu.cfs_quota_us": "400000",
        "fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "fs/cgroup/cpu/inner/cpu.cfs_quota_us": "50000",
        "fs/cgroup/cpu/inner/cpu.cfs_period_us": "100000",
    }
    outer = {"self/cgroup": "1:cpu:/docker/abc\n", "self/mountinfo": mounts}
    assert here({"sys": files, "proc": outer}).cgroup_cpus.value == 4.0
    inner = {"self/cgroup": "1:cpu:/docker/abc/inner\n"}
    assert here({"proc": inner}).cgroup_cpus.value == 0.5


def test_cgroup_version_2_beside_version_1(here):
    mounts = "40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    files = {"fs/cgroup/unified/a/cpu.max": "300000 100000"}
    proc = {"self/cgroup": "1:cpu:/\n0::/a\n", "self/mountinfo": mounts}
    assert here({"sys": files, "proc": proc}).cgroup_cpus == Fact(3.0, "cgroup cpu.max")


def test_memory_limit_above_the_machine_does_not_count(here):
    proc = {"self/cgroup": "0::/", "meminfo": "MemTotal: 1024 kB\n"}
    found = here({"sys": {"fs/cgroup/memory.max": "2147483648"}, "proc": proc})
    assert found.memory_bytes == Fact(MIB, "/proc/meminfo MemTotal")


@pytest.mark.parametrize("text", ["max 100000", "0 100000", "100000 0", "x y", "", "100000"])
def test_quota_that_is_none(here, text):
    record = {"sys": {"fs/cgroup/cpu.max": text}, "proc": {"self/cgroup": "0::/../x"}}
    assert here(record).cgroup_cpus.value is None


# Windows records, against the layout as a compiler would lay it out.


class GroupAffinity(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint64),
        ("group", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16 * 3),
    )


class CacheRelationship(ctypes.Structure):
    _fields_ = (
        ("level", ctypes.c_uint8),
        ("associativity", ctypes.c_uint8),
        ("line_size", ctypes.c_uint16),
        ("cache_size", ctypes.c_uint32),
        ("type", ctypes.c_int32),
        ("reserved", ctypes.c_uint8 * 18),
        ("group_count", ctypes.c_uint16),
        ("groups", GroupAffinity * 2),
    )


class Record(ctypes.Structure):
    _fields_ = (
        ("relationship", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("cache", CacheRelationship),
    )


def a_record(relationship=2, count=2) -> bytes:
    groups = (GroupAffinity * 2)(GroupAffinity(0b101, 0), GroupAffinity(0b10, 1))
    cache = CacheRelationship(3, 16, 64, 32 * MIB, 0, (ctypes.c_uint8 * 18)(), count, groups)
    return bytes(Record(relationship, ctypes.sizeof(Record), cache))


def test_windows_record_over_two_groups():
    (cache,) = _windows.parse_cache_records(a_record())
    assert (cache.level, cache.kind, cache.size, cache.line) == (3, "Unified", 32 * MIB, 64)
    assert cache.cpus == {0, 2, 65}


def test_windows_record_without_group_count():
    (cache,) = _windows.parse_cache_records(a_record(count=0))
    assert cache.cpus == {0, 2}


def test_windows_passes_over_other_relationships():
    data = a_record(relationship=0) + a_record() + a_record(relationship=3)
    assert len(_windows.parse_cache_records(data)) == 1


def test_windows_record_of_a_32_bit_process():
    head = bytes.fromhex("02000000 34000000 01 08 4000 00800000 02000000") + bytes(18)
    data = head + bytes.fromhex("0100 03000000 0000 000000000000")
    (cache,) = _windows.parse_cache_records(data, pointer_bytes=4)
    assert (cache.level, cache.kind, cache.size, cache.cpus) == (1, "Data", 32 * KIB, {0, 1})


@given(st.integers(0, 71), st.binary(max_size=8))
def test_windows_broken_records_raise_only_value_error(cut, tail):
    try:
        _windows.parse_cache_records(a_record()[:cut] + tail)
    except ValueError:
        return
    assert cut + len(tail) in (0, 72)


def test_windows_broken_records_fall_back(recorded):
    found = recorded("windows_laptop", windows={"cache_records": a_record()[:20]})
    assert found.l1d_bytes == Fact(32 * KIB, "default")


def test_windows_affinity(recorded):
    half = json.loads((MACHINES / "windows_laptop.json").read_text())["windows"]
    half["cache_records"] = bytes.fromhex("".join(half["cache_records"]))
    found = recorded("windows_laptop", windows={**half, "affinity": [4, 5]})
    assert found.n_cpus == Fact(2, "affinity mask")
    assert found.l1d_bytes.source == f"{CALL} cpu4 L1"
    assert found.l3_shared_by == Fact(8, f"{CALL} cpu0 L3, 2 of them usable")


# CPU lists and maps.


@given(st.frozensets(st.integers(0, 300)))
def test_cpu_lists_and_maps(cpus):
    assert parse_cpu_list(",".join(map(str, sorted(cpus)))) == cpus
    bits = sum(1 << cpu for cpu in cpus)
    assert bits_set(bits) == cpus
    words = [f"{bits >> shift & 0xFFFFFFFF:08x}" for shift in range(320, -1, -32)]
    assert parse_cpu_map(",".join(words)) == cpus


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-2", "1-2-3"])
def test_bad_cpu_lists(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_cpu_list(text)

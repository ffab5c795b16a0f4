"""Facts that macOS tells through sysctl.

Performance levels are numbered from the fastest cores to the slowest. An L2 belongs to a
cluster of cores, so a core counts on its share of it. The system-level cache is not reported.
"""

from collections.abc import Callable

from tilewise._sizes import sized

from ._facts import Fact, whole_number

_LEVELS = range(4)
_PER_LEVEL = (
    "physicalcpu",
    "logicalcpu",
    "l1dcachesize",
    "l2cachesize",
    "cpusperl2",
    "l3cachesize",
    "cpusperl3",
)
_GENERAL = (
    "machdep.cpu.brand_string",
    "hw.memsize",
    "hw.pagesize",
    "hw.cachelinesize",
    "hw.logicalcpu",
    "hw.physicalcpu",
    "hw.l1dcachesize",
    "hw.l2cachesize",
    "hw.l3cachesize",
    "hw.cacheconfig",
    "kern.hv_vmm_present",
)
NAMES = (*_GENERAL, *(f"hw.perflevel{level}.{key}" for level in _LEVELS for key in _PER_LEVEL))


def read(run: Callable[[list[str]], str]) -> dict[str, Fact]:
    """Return what ``sysctl`` tells; `run` takes a command and returns its standard output."""
    entries: dict[str, str] = {}
    for line in run(["sysctl", *NAMES]).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries[key.strip()] = value.strip()
    facts: dict[str, Fact] = {}
    for field, key in (
        ("memory_bytes", "hw.memsize"),
        ("page_bytes", "hw.pagesize"),
        ("line_bytes", "hw.cachelinesize"),
    ):
        if _count(entries, key):
            facts[field] = Fact(_count(entries, key), f"sysctl {key}")
    brand = entries.get("machdep.cpu.brand_string")
    if brand:
        facts["cpu_model"] = Fact(brand, "sysctl machdep.cpu.brand_string")
    if "kern.hv_vmm_present" in entries:
        guest = entries["kern.hv_vmm_present"] == "1"
        facts["hypervisor"] = Fact(guest, "sysctl kern.hv_vmm_present")
    facts.update(_general_caches(entries))
    facts.update(_level_caches(entries))
    return facts


def _count(entries: dict[str, str], key: str) -> int:
    return whole_number(entries.get(key, "")) or 0


def _level_caches(entries: dict[str, str]) -> dict[str, Fact]:
    """Return the smallest first and second level among the performance levels."""
    first, second, third, threads = [], [], [], []
    for level in _LEVELS:
        prefix = f"hw.perflevel{level}"
        physical, logical, l1d, l2, per_l2, l3, per_l3 = (
            _count(entries, f"{prefix}.{key}") for key in _PER_LEVEL
        )
        if not physical:
            continue
        smt = max(1, logical // physical)
        threads.append(Fact(smt, f"sysctl {prefix}.logicalcpu"))
        if l1d:
            first.append(Fact(l1d, f"sysctl {prefix}.l1dcachesize"))
        if l2:
            second.append(_shared(l2, max(1, per_l2 // smt), f"sysctl {prefix}.l2cachesize"))
        if l3:
            third.append((l3, per_l3 or logical or physical, prefix))
    facts = {}
    if first:
        facts["l1d_bytes"] = min(first, key=lambda fact: fact.value)
    if second:
        facts["l2_bytes"] = min(second, key=lambda fact: fact.value)
    if threads:
        facts["cpus_per_core"] = max(threads, key=lambda fact: fact.value)
    if third:
        size, sharers, prefix = min(third, key=lambda each: each[0] / each[1])
        facts["l3_bytes"] = Fact(size, f"sysctl {prefix}.l3cachesize")
        facts["l3_shared_by"] = Fact(sharers, f"sysctl {prefix}.cpusperl3")
    return facts


def _general_caches(entries: dict[str, str]) -> dict[str, Fact]:
    """Return what systems without performance levels tell.

    ``hw.cacheconfig`` lists how many CPUs share memory, L1, L2 and L3, in that order.
    """
    words = entries.get("hw.cacheconfig", "").split()
    sharers = [whole_number(word) or 0 for word in words[:4]] + [0] * 4
    facts: dict[str, Fact] = {}
    l1d, l2, l3 = (_count(entries, f"hw.l{n}cachesize") for n in ("1d", "2", "3"))
    if l1d:
        facts["l1d_bytes"] = Fact(l1d, "sysctl hw.l1dcachesize")
    if sharers[1]:
        facts["cpus_per_core"] = Fact(sharers[1], "sysctl hw.cacheconfig")
    if l2:
        cores = max(1, sharers[2] // max(1, sharers[1]))
        facts["l2_bytes"] = _shared(l2, cores, "sysctl hw.l2cachesize")
    if l3:
        facts["l3_bytes"] = Fact(l3, "sysctl hw.l3cachesize")
        logical = _count(entries, "hw.logicalcpu")
        if sharers[3]:
            facts["l3_shared_by"] = Fact(sharers[3], "sysctl hw.cacheconfig")
        elif logical:
            facts["l3_shared_by"] = Fact(logical, "sysctl hw.logicalcpu")
    elif l1d:
        facts["l3_bytes"] = Fact(0, "sysctl: no L3 listed")
    return facts


def _shared(size: int, cores: int, source: str) -> Fact:
    if cores == 1:
        return Fact(size, source)
    return Fact(size // cores, f"{source}, {sized(size)} shared by {cores} cores")

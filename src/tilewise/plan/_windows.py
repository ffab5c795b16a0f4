"""Facts that Windows tells through kernel32.

`collect` makes the calls and returns plain values; `read` turns them into facts. Recorded
values can be read on any system.
"""

import ctypes
import struct
import sys
from collections.abc import Mapping
from typing import Any

from ._caches import Cache, bits_set, core_facts
from ._facts import Fact

_RELATION_CACHE = 2
_KINDS = {0: "Unified", 1: "Instruction", 2: "Data", 3: "Trace"}
# A group holds at most 64 processors: CPU numbers are 64 * group + bit.
_GROUP_CPUS = 64

# SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX: relationship and size in bytes of the record.
_HEADER = struct.Struct("<II")
# CACHE_RELATIONSHIP: level, associativity, line size, cache size, type, reserved, group count.
_CACHE = struct.Struct("<BBHII18xH")


def parse_cache_records(data: bytes, pointer_bytes: int = 8) -> list[Cache]:
    """Read the cache records of ``GetLogicalProcessorInformationEx``.

    Parameters
    ----------
    data : bytes
        Records one after the other, as the call fills its buffer; other relationships are
        passed over.
    pointer_bytes : int, default=8
        Bytes of a processor mask: 8 in a 64-bit process, 4 in a 32-bit one.

    Returns
    -------
    list of Cache

    Raises
    ------
    ValueError
        If a record is cut short or states an impossible size.
    """
    # GROUP_AFFINITY: mask, group number, three reserved words.
    group = struct.Struct("<QH6x" if pointer_bytes == 8 else "<IH6x")
    # The masks begin at the next multiple of their own alignment.
    masks_at = -(-(_HEADER.size + _CACHE.size) // pointer_bytes) * pointer_bytes
    caches = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise ValueError(f"record at byte {offset} is cut short")
        relationship, size = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > len(data):
            raise ValueError(f"record at byte {offset} states {size} bytes")
        if relationship == _RELATION_CACHE:
            if size < masks_at + group.size:
                raise ValueError(f"cache record at byte {offset} has only {size} bytes")
            level, ways, line, bytes_, kind, groups = _CACHE.unpack_from(
                data, offset + _HEADER.size
            )
            cpus: frozenset[int] = frozenset()
            # Systems before group counts leave 0 here and fill one mask.
            for index in range(max(1, groups)):
                at = masks_at + index * group.size
                if at + group.size > size:
                    raise ValueError(f"cache record at byte {offset} lacks mask {index}")
                mask, number = group.unpack_from(data, offset + at)
                cpus |= {number * _GROUP_CPUS + bit for bit in bits_set(mask)}
            origin = f"GetLogicalProcessorInformationEx cpu{min(cpus, default=0)} L{level}"
            caches.append(Cache(level, _KINDS.get(kind, "Other"), bytes_, line, cpus, origin, ways))
        offset += size
    return caches


def read(collected: Mapping[str, Any], mask: frozenset[int] | None) -> dict[str, Fact]:
    """Return facts from what `collect` returned, for the CPUs of `mask` (None: all)."""
    facts: dict[str, Fact] = {}
    records = collected.get("cache_records")
    if records:
        try:
            caches = parse_cache_records(records, collected.get("pointer_bytes", 8))
        except ValueError:
            caches = []
        facts.update(core_facts(caches, mask))
    for field, key, source in (
        ("cpu_model", "processor_identifier", "PROCESSOR_IDENTIFIER"),
        ("memory_bytes", "memory_bytes", "GlobalMemoryStatusEx"),
        ("page_bytes", "page_bytes", "mmap.PAGESIZE"),
    ):
        if collected.get(key):
            facts[field] = Fact(collected[key], source)
    return facts


class _MemoryStatus(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((f"amount{index}", ctypes.c_uint64) for index in range(7)),
    )


def collect(env: Mapping[str, str]) -> dict[str, Any]:
    """Ask the system; what it does not answer is left out. Empty elsewhere than on Windows."""
    if sys.platform != "win32":
        return {}
    import mmap

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    collected: dict[str, Any] = {
        "pointer_bytes": ctypes.sizeof(ctypes.c_void_p),
        "page_bytes": mmap.PAGESIZE,
        "processor_identifier": env.get("PROCESSOR_IDENTIFIER", ""),
    }
    needed = ctypes.c_uint32(0)
    inform = kernel.GetLogicalProcessorInformationEx
    inform.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))
    # The first call fails and says how large a buffer it wants.
    inform(_RELATION_CACHE, None, ctypes.byref(needed))
    buffer = ctypes.create_string_buffer(max(1, needed.value))
    if needed.value and inform(_RELATION_CACHE, buffer, ctypes.byref(needed)):
        collected["cache_records"] = buffer.raw[: needed.value]
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        collected["memory_bytes"] = status.amount0
    mask = _affinity(kernel)
    if mask:
        collected["affinity"] = mask
    return collected


def _affinity(kernel: Any) -> frozenset[int]:
    """Return the process's CPUs; empty where they span groups, which one mask cannot tell."""
    process, system = ctypes.c_size_t(0), ctypes.c_size_t(0)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel.GetProcessAffinityMask
    ask.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.c_void_p)
    if not ask(kernel.GetCurrentProcess(), ctypes.byref(process), ctypes.byref(system)):
        return frozenset()
    group = ctypes.c_uint16(0)
    count = ctypes.c_uint16(1)
    if kernel.GetProcessGroupAffinity(
        ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(count), ctypes.byref(group)
    ):
        base = group.value * _GROUP_CPUS
        return frozenset(base + bit for bit in bits_set(process.value))
    return frozenset()

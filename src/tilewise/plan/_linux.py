"""Facts that Linux tells in /sys and /proc."""

from pathlib import Path

from tilewise._sizes import KIB, parse_size

from ._caches import DATA_KINDS, MOST_CACHE_BYTES, Cache, core_facts, parse_cpu_list, parse_cpu_map
from ._cgroup import cpu_quota, memory_limit, read_text
from ._facts import Fact, whole_number

# Where the CPU carries no hypervisor flag (aarch64), firmware names the maker of the guest.
_GUEST_MAKERS = ("QEMU", "KVM", "VMware", "Xen", "innotek", "VirtualBox", "Parallels", "Google")
_WAYS = "ways_of_associativity"
_GUEST_PRODUCTS = ("KVM", "Virtual Machine", "VirtualBox", "VMware", "HVM domU", "Virtual Platform")


def read(root: Path, proc: Path, mask: frozenset[int] | None) -> dict[str, Fact]:
    """Return the facts found below `root` (/sys) and `proc` (/proc) for the CPUs of `mask`."""
    facts = core_facts(_caches(root, mask), mask)
    facts.update(_processor(proc))
    guest = _guest(root, proc)
    if guest is not None:
        facts["hypervisor"] = guest
    memory = _total_memory(proc)
    limit = memory_limit(root, proc)
    bounds = [fact for fact in (memory, limit) if fact is not None]
    if bounds:
        facts["memory_bytes"] = min(bounds, key=lambda fact: fact.value)
    facts["cgroup_cpus"] = cpu_quota(root, proc) or Fact(None, "cgroup: no quota")
    return facts


def _caches(root: Path, mask: frozenset[int] | None) -> list[Cache]:
    base = root / "devices" / "system" / "cpu"
    if mask is None:
        names = (path.name.removeprefix("cpu") for path in base.glob("cpu[0-9]*"))
        numbers = (whole_number(name) for name in names)
        mask = frozenset(number for number in numbers if number is not None)
    found: dict[tuple, Cache] = {}
    for cpu in sorted(mask):
        for folder in sorted((base / f"cpu{cpu}" / "cache").glob("index*")):
            cache = _cache(folder, cpu, mask)
            if cache is not None:
                # Every CPU that shares an instance lists it; one record is enough.
                found.setdefault((cache.level, cache.kind, cache.cpus), cache)
    return list(found.values())


def _cache(folder: Path, cpu: int, mask: frozenset[int]) -> Cache | None:
    kind = read_text(folder / "type") or ""
    if kind not in DATA_KINDS:
        return None
    level = whole_number(read_text(folder / "level") or "")
    try:
        size = parse_size(read_text(folder / "size") or "")
    except ValueError:
        return None
    if level is None or size > MOST_CACHE_BYTES:
        return None
    line, ways = (_number(folder / name) for name in ("coherency_line_size", _WAYS))
    cpus = _sharers(folder)
    if cpu not in cpus:
        # Nobody says who shares it: first and second level belong to a core, the third to all.
        cpus = mask if level >= 3 else frozenset({cpu})
    return Cache(level, kind, size, line, cpus, f"sysfs cpu{cpu} {folder.name}", ways)


def _number(path: Path) -> int:
    return whole_number(read_text(path) or "") or 0


def _sharers(folder: Path) -> frozenset[int]:
    for name, parse in (("shared_cpu_list", parse_cpu_list), ("shared_cpu_map", parse_cpu_map)):
        text = read_text(folder / name)
        if text:
            try:
                return parse(text)
            except ValueError:
                continue
    return frozenset()


def _cpuinfo(proc: Path) -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, keys in lower case."""
    entries: dict[str, str] = {}
    for line in (read_text(proc / "cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip().lower(), value.strip())
    return entries


def _processor(proc: Path) -> dict[str, Fact]:
    entries = _cpuinfo(proc)
    # "cpu" is POWER's name for it, "uarch" RISC-V's.
    for key in ("model name", "cpu model", "cpu", "uarch"):
        if entries.get(key):
            return {"cpu_model": Fact(entries[key], "/proc/cpuinfo")}
    if "cpu implementer" in entries and "cpu part" in entries:
        name = f"ARM implementer {entries['cpu implementer']} part {entries['cpu part']}"
        return {"cpu_model": Fact(name, "/proc/cpuinfo")}
    return {}


def _guest(root: Path, proc: Path) -> Fact | None:
    """Say whether a hypervisor runs this machine; None when nothing tells."""
    flags = _cpuinfo(proc).get("flags")
    if flags is not None:
        return Fact("hypervisor" in flags.split(), "/proc/cpuinfo flags")
    if read_text(root / "hypervisor" / "type"):
        return Fact(True, "/sys/hypervisor/type")
    maker = read_text(root / "class" / "dmi" / "id" / "sys_vendor")
    product = read_text(root / "class" / "dmi" / "id" / "product_name") or ""
    if maker is None:
        return None
    if maker.startswith("Amazon EC2"):
        # The same maker's name stands on its bare-metal instances.
        return Fact(not product.endswith(".metal"), "/sys/class/dmi/id/product_name")
    guest = maker.startswith(_GUEST_MAKERS) or any(name in product for name in _GUEST_PRODUCTS)
    return Fact(guest, "/sys/class/dmi/id/sys_vendor")


def _total_memory(proc: Path) -> Fact | None:
    for line in (read_text(proc / "meminfo") or "").splitlines():
        words = line.split()
        size = whole_number(words[1]) if len(words) >= 2 and words[0] == "MemTotal:" else None
        if size:
            return Fact(size * KIB, "/proc/meminfo MemTotal")
    return None

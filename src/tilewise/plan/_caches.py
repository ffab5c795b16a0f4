"""Cache instances as Linux and Windows list them, and what one core may count on.

Both systems name every instance with its size and the CPUs that share it. `core_facts` turns
such a list into facts for the smallest core that the process may run on.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tilewise._sizes import sized

from ._facts import Fact, whole_number

# The kinds that hold data; instruction and trace caches do not matter to the plan.
DATA_KINDS = frozenset({"Data", "Unified"})
# More are no report of ways: guests are told of 255, Windows says "fully associative" so.
MOST_WAYS = 64
# No cache of the next decades; what claims to be larger is a slip.
MOST_CACHE_BYTES = 1 << 40
# CPUs are numbered below this: 128 times what Linux can be built for. A longer list is none.
_MOST_CPUS = 1 << 20


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache instance: its size in bytes, every CPU that shares it, its ways (0: untold)."""

    level: int
    kind: str
    size: int
    line: int
    cpus: frozenset[int]
    origin: str
    ways: int = 0


def parse_cpu_list(text: str) -> frozenset[int]:
    """Read a CPU list such as ``0-3,8,10-11``; ValueError when it is not one."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        low = whole_number(first.strip())
        high = whole_number(last.strip()) if dash else low
        if low is None or high is None or not low <= high < _MOST_CPUS:
            raise ValueError(f"{text!r:.60} is not a CPU list")
        cpus.update(range(low, high + 1))
    return frozenset(cpus)


def parse_cpu_map(text: str) -> frozenset[int]:
    """Read a CPU bit map such as ``ffffffff,00000003``, whose last word holds CPUs 0 to 31."""
    if len(text) > _MOST_CPUS // 4:
        raise ValueError(f"{text!r:.60} is not a CPU map")
    bits = 0
    for word in text.strip().split(","):
        bits = (bits << 32) | int(word, 16)
    return bits_set(bits)


def bits_set(bits: int) -> frozenset[int]:
    """Return the positions of the bits that are set."""
    return frozenset(position for position in range(bits.bit_length()) if bits >> position & 1)


def core_facts(caches: Iterable[Cache], mask: frozenset[int] | None) -> dict[str, Fact]:
    """Return the cache facts of the smallest core among the CPUs of `mask`.

    Parameters
    ----------
    caches : iterable of Cache
        Instances of the machine, those outside the mask included or not.
    mask : frozenset of int or None
        CPUs that the process may use; None means every CPU that a cache names.

    Returns
    -------
    dict of str to Fact
        Some of l1d_bytes, l2_bytes, l3_bytes, l3_shared_by, line_bytes, cpus_per_core and the
        ways l1d_ways, l2_ways, l3_ways of the instances that gave the sizes: those that the
        list tells.
    """
    data = [c for c in caches if c.kind in DATA_KINDS and c.size > 0 and c.cpus]
    if mask is None:
        mask = frozenset().union(*(c.cpus for c in data))
    data = [c for c in data if c.cpus & mask]
    levels = {level: [c for c in data if c.level == level] for level in (1, 2, 3)}
    facts: dict[str, Fact] = {}
    if not data:
        return facts

    first = levels[1]
    if first:
        smallest = min(first, key=lambda c: c.size)
        facts["l1d_bytes"] = Fact(smallest.size, smallest.origin)
        facts |= _ways("l1d_ways", smallest)
        crowded = max(first, key=lambda c: len(c.cpus & mask))
        facts["cpus_per_core"] = Fact(len(crowded.cpus & mask), crowded.origin)
    lined = [c for c in (first or data) if c.line > 0]
    if lined:
        longest = max(lined, key=lambda c: c.line)
        facts["line_bytes"] = Fact(longest.line, longest.origin)

    if levels[2]:
        cache = min(levels[2], key=lambda c: _per_core(c, first).value)
        facts["l2_bytes"] = _per_core(cache, first)
        facts |= _ways("l2_ways", cache)
    if levels[3]:
        facts.update(_last_level(levels[3], mask, frozenset().union(*(c.cpus for c in data))))
    elif first:
        facts["l3_bytes"] = Fact(0, f"{first[0].origin.split()[0]}: no L3 listed")
    return facts


def _ways(name: str, cache: Cache) -> dict[str, Fact]:
    return {name: Fact(cache.ways, cache.origin)} if 0 < cache.ways <= MOST_WAYS else {}


def _per_core(cache: Cache, first_level: list[Cache]) -> Fact:
    """Divide a cache among the cores that share it.

    Cores are counted by first-level caches: CPUs of one L1d are threads of one core, and they
    work on the same panel, so they do not divide L2 further.
    """
    threads = max((len(c.cpus) for c in first_level if c.cpus <= cache.cpus), default=1)
    cores = max(1, len(cache.cpus) // threads)
    if cores == 1:
        return Fact(cache.size, cache.origin)
    return Fact(
        cache.size // cores,
        f"{cache.origin}, {sized(cache.size)} shared by {cores} cores",
    )


def _last_level(caches: list[Cache], mask: frozenset[int], listed: frozenset[int]) -> dict:
    """Choose the L3 instance that leaves a CPU least; nothing where some core has none."""
    without = (mask & listed) - frozenset().union(*(c.cpus for c in caches))
    if without:
        # Low-power cores of some hybrids sit outside the L3; the plan is for the smallest core.
        origin = caches[0].origin.split()[0]
        return {"l3_bytes": Fact(0, f"{origin}: cpu{min(without)} has no L3")}
    least = min(caches, key=lambda c: c.size / len(c.cpus))
    usable = len(least.cpus & mask)
    share = least.origin
    if usable < len(least.cpus):
        share += f", {usable} of them usable"
    return {
        "l3_bytes": Fact(least.size, least.origin),
        "l3_shared_by": Fact(len(least.cpus), share),
    } | _ways("l3_ways", least)

"""What the machine is, each fact with the place it came from.

Facts are looked up in layers; the first that knows wins: environment overrides, the operating
system's own account of its caches, ``sysconf``, conservative defaults. Cache sizes are those
of the smallest core that this process may run on. Nothing is measured here.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tilewise._sizes import GIB, KIB, MIB, sized

from . import _darwin, _linux, _windows
from ._caches import MOST_WAYS
from ._facts import Fact, size_override
from .layout import TILES

__all__ = ["ISAS", "Fact", "Machine", "detect", "machine"]

#: Instruction sets that kernels are compiled for, widest first.
ISAS = tuple(TILES)

# The smallest caches of x86-64 and aarch64 application cores of the last ten years; 64-byte
# lines are the common size. Too small costs a few per cent, too large costs cache misses.
_DEFAULTS: dict[str, Any] = {
    "cpu_model": "unknown",
    "l1d_bytes": 32 * KIB,
    "l2_bytes": 256 * KIB,
    "l3_bytes": 0,
    "line_bytes": 64,
    "page_bytes": 4 * KIB,
    "hypervisor": False,
    "memory_bytes": GIB,
    "cgroup_cpus": None,
    "cpus_per_core": 1,
}

# What one CPU may count on of L3 when nothing speaks against the reported size: the slice that
# comes with a core where caches are large (32 MiB for 8 cores of AMD Zen 3 and 4). Blocks
# chosen for L2 gain nothing from more.
_L3_SHARE_CAP = 4 * MIB
# What one CPU may count on where neighbours are unknown. Skylake-SP has the smallest slice of
# current servers, 1.375 MiB a core, 704 KiB for each of its two threads; the power of two below.
_L3_SHARE_CAP_DISTRUSTED = 512 * KIB
# Above this share for each CPU, the report is taken for a guest that was told of the whole
# host's cache: stacked-cache parts reach 12 MiB a core. The few real parts above lose only a
# bonus.
_L3_SHARE_ABSURD = 16 * MIB

# What most L2 and L3 of current x86-64 and aarch64 cores have.
_OUTER_WAYS = 16

# Bounds of overrides. Below 1 KiB no tile fits; above 1 TiB there is a slip of a suffix.
_OVERRIDES = (
    ("l1d_bytes", "TILEWISE_L1D_BYTES", KIB, 1 << 40),
    ("l2_bytes", "TILEWISE_L2_BYTES", KIB, 1 << 40),
    ("l3_bytes", "TILEWISE_L3_BYTES", 0, 1 << 40),
)

_VARIABLES = (
    "TILEWISE_L1D_BYTES",
    "TILEWISE_L2_BYTES",
    "TILEWISE_L3_BYTES",
    "TILEWISE_ISA",
    "TILEWISE_NUM_THREADS",
)

_SYSCONF = (
    ("l1d_bytes", "SC_LEVEL1_DCACHE_SIZE"),
    ("l2_bytes", "SC_LEVEL2_CACHE_SIZE"),
    ("l3_bytes", "SC_LEVEL3_CACHE_SIZE"),
    ("l3_shared_by", "SC_NPROCESSORS_ONLN"),
    ("line_bytes", "SC_LEVEL1_DCACHE_LINESIZE"),
    ("page_bytes", "SC_PAGE_SIZE"),
)


@dataclass(frozen=True, repr=False)
class Machine:
    """Facts about the machine, as `machine` finds them.

    Every attribute is a `Fact` with a ``value`` and a ``source``. Sizes are in bytes.

    Attributes
    ----------
    cpu_model : Fact of str
        Name of the processor.
    n_cpus : Fact of int
        CPUs that this process may run on.
    l1d_bytes : Fact of int
        First-level data cache of the smallest usable core.
    l2_bytes : Fact of int
        Second-level cache that one core may count on; a shared one is divided by its cores.
    l3_bytes : Fact of int
        One instance of the third-level cache, 0 where there is none.
    l3_shared_by : Fact of int
        CPUs that share that instance, those outside the affinity mask included.
    l1d_ways, l2_ways, l3_ways : Fact of int
        Lines that one set of the first, second and third level holds. Only the models of the
        lab use them. Where no system tells, the source says "assumed" and by which rule.
    line_bytes : Fact of int
        Cache line.
    page_bytes : Fact of int
        Memory page.
    isa : Fact of str
        Instruction set of the kernels in use: one of ``ISAS``.
    hypervisor : Fact of bool
        Whether this is a guest.
    memory_bytes : Fact of int
        Memory of the machine, or the control group's limit where that is less.
    openmp : Fact of bool
        Whether the kernels were built with OpenMP.
    byte_products : Fact of bool
        Whether the kernels in use have an instruction that adds up products of bytes.
    cgroup_cpus : Fact of float or None
        CPUs' worth of time that a control-group quota leaves; None without a quota.
    cpus_per_core : Fact of int
        Usable CPUs that are threads of one core and so share its L1 and L2.

    Examples
    --------
    >>> import tilewise
    >>> here = tilewise.machine()
    >>> here.n_cpus.value >= 1
    True
    >>> type(here).from_dict(here.to_dict()) == here
    True
    """

    cpu_model: Fact
    n_cpus: Fact
    l1d_bytes: Fact
    l2_bytes: Fact
    l3_bytes: Fact
    l3_shared_by: Fact
    line_bytes: Fact
    page_bytes: Fact
    isa: Fact
    hypervisor: Fact
    memory_bytes: Fact
    openmp: Fact
    byte_products: Fact
    cgroup_cpus: Fact
    cpus_per_core: Fact
    l1d_ways: Fact
    l2_ways: Fact
    l3_ways: Fact

    @property
    def l3_share_bytes(self) -> Fact:
        """Bytes of L3 that one CPU may count on, as a bonus.

        A guest is often told of the whole host's L3 as if it were its own. The share is
        therefore capped at 4 MiB, and at 512 KiB under a hypervisor or where the report leaves
        more than 16 MiB for each CPU. A size set by ``TILEWISE_L3_BYTES`` is believed.
        """
        size = self.l3_bytes.value
        if size == 0:
            return Fact(0, self.l3_bytes.source)
        sharers = max(1, self.l3_shared_by.value)
        share = size // sharers
        told = f"{sized(size)} / {sharers} CPUs"
        cap, reason = _L3_SHARE_CAP, "largest useful share"
        if not self.l3_bytes.source.startswith("TILEWISE_"):
            if self.hypervisor.value:
                cap, reason = _L3_SHARE_CAP_DISTRUSTED, "hypervisor"
            elif share > _L3_SHARE_ABSURD:
                cap, reason = _L3_SHARE_CAP_DISTRUSTED, "implausible report"
        if share <= cap:
            return Fact(share, told)
        return Fact(cap, f"{told}, capped: {reason}")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the facts as plain values, safe for JSON.

        Returns
        -------
        dict
            ``{"l1d_bytes": {"value": 32768, "source": "sysfs cpu0 index0"}, ...}``.
        """
        return {field.name: getattr(self, field.name).to_dict() for field in fields(self)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Mapping[str, Any]]) -> "Machine":
        """Build a machine from what `to_dict` returned.

        Parameters
        ----------
        facts : mapping
            A mapping with ``value`` and ``source`` for every field. Ways and products of bytes may
            be missing, as in records of earlier versions: they are assumed then, and their source
            says so.

        Returns
        -------
        Machine

        Raises
        ------
        ValueError
            If a field is missing, unknown or has a value of another type.
        """
        names = {field.name for field in fields(cls)}
        wrong = sorted(names.symmetric_difference(facts) - (_NEWER - set(facts)))
        if wrong:
            state = ", ".join(f"{'missing' if n in names else 'unknown'}: {n}" for n in wrong)
            raise ValueError(f"not the facts of a machine ({state})")
        known = {name: _fact(name, facts[name]) for name in names if name in facts}
        return cls(**_assumed(known) | known)

    def __repr__(self) -> str:
        rows = [("fact", "value", "source")]
        for field in fields(self):
            fact = getattr(self, field.name)
            rows.append((field.name, _shown(field.name, fact.value), fact.source))
            if field.name == "l3_shared_by":
                share = self.l3_share_bytes
                rows.append(("l3_share_bytes", _shown("l3_share_bytes", share.value), share.source))
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = (f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)
        return "\n".join(["Machine", *lines])


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return sized(value) if name.endswith("_bytes") else str(value)


# What a recorded fact may be at most: far beyond any machine, and far below what arithmetic on
# sizes cannot hold. Records come from strangers.
_MOST_CPUS, _MOST_CACHE, _MOST_MEMORY = 1 << 20, 1 << 40, 1 << 60
_MOST = {
    "n_cpus": _MOST_CPUS, "l3_shared_by": _MOST_CPUS, "cpus_per_core": _MOST_CPUS,
    "cgroup_cpus": _MOST_CPUS, "l1d_bytes": _MOST_CACHE, "l2_bytes": _MOST_CACHE,
    "l3_bytes": _MOST_CACHE, "page_bytes": _MOST_CACHE, "line_bytes": 1 << 16,
    "memory_bytes": _MOST_MEMORY, "l1d_ways": 1 << 16, "l2_ways": 1 << 16, "l3_ways": 1 << 16,
}  # fmt: skip
_FLAGS = frozenset({"hypervisor", "openmp", "byte_products"})
# What earlier versions did not record.
_NEWER = frozenset({"l1d_ways", "l2_ways", "l3_ways", "byte_products"})


def _assumed(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Ways where no system tells them, and what no kernels told.

    A first level is indexed by the bits of an address that lie within a page, so it has one way
    for each page of its size (48 KiB and 4 KiB: 12; 128 KiB and 16 KiB: 8).
    """
    pages = facts["l1d_bytes"].value // facts["page_bytes"].value
    outer = Fact(_OUTER_WAYS, "assumed: as outer caches of current cores")
    first = Fact(max(1, min(MOST_WAYS, pages)), "assumed: one way per page of L1")
    none = Fact(False, "assumed")
    return {"l1d_ways": first, "l2_ways": outer, "l3_ways": outer, "byte_products": none}


def _fact(name: str, entry: Mapping[str, Any]) -> Fact:
    try:
        value, source = entry["value"], entry["source"]
    except (TypeError, KeyError):
        raise ValueError(f"{name} needs a value and a source, got {entry!r:.60}") from None
    least, most = 0 if name == "l3_bytes" else 1, _MOST.get(name, 0)
    number = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if name == "isa":
        right, wanted = value in ISAS, f"one of {', '.join(ISAS)}"
    elif name == "cpu_model":
        right, wanted = isinstance(value, str), "a text"
    elif name in _FLAGS:
        right, wanted = isinstance(value, bool), "true or false"
    elif name == "cgroup_cpus":
        right = value is None or number or (isinstance(value, float) and 0 < value <= most)
        wanted = f"a positive number of at most {most} or null"
    else:
        right, wanted = number, f"a whole number of at least {least} and at most {most}"
    if not right or not isinstance(source, str):
        raise ValueError(
            f"{name} needs {wanted} and a source, got {value!r:.60} from {source!r:.60}"
        )
    return Fact(value, source)


def machine() -> Machine:
    """Return the facts about this machine, each with its source.

    The answer is kept for the life of the process and looked up again when the affinity mask
    or a ``TILEWISE_`` variable has changed, or after a fork.

    Returns
    -------
    Machine

    Raises
    ------
    ValueError
        If an environment override has a value that cannot be used.

    Notes
    -----
    ``TILEWISE_L1D_BYTES``, ``TILEWISE_L2_BYTES`` and ``TILEWISE_L3_BYTES`` take a number of
    bytes, optionally with K, M, G, KiB, MiB or GiB (powers of 1024) or kB, MB or GB (powers of
    1000); ``TILEWISE_ISA`` takes amx, avx512, avx2, sse2, neon or generic, of which the build has
    some. amx is avx512 with scores from parts of bfloat16 where they pay.

    Examples
    --------
    >>> import tilewise
    >>> tilewise.machine().l1d_bytes.value > 0
    True
    """
    # By name: walking through the whole environment would cost more than a small fit.
    env = tuple((name, os.environ[name]) for name in _VARIABLES if name in os.environ)
    affinity = _affinity()
    # Counting CPUs is slow, and the mask says it all where there is one.
    return _machine(os.getpid(), env, affinity, _cpu_count() if affinity is None else 0)


@functools.lru_cache(maxsize=16)
def _machine(
    pid: int, env: tuple[tuple[str, str], ...], affinity: frozenset[int] | None, cpu_count: int
) -> Machine:
    counted = _cpu_count() if affinity is not None else cpu_count
    return detect(env={**os.environ, **dict(env)}, affinity=affinity, cpu_count=counted)


def detect(
    *,
    root: str | Path = "/sys",
    proc: str | Path = "/proc",
    env: Mapping[str, str] | None = None,
    affinity: Iterable[int] | None = None,
    cpu_count: int | None = None,
    platform: str = sys.platform,
    run: Callable[[list[str]], str] | None = None,
    sysconf: Callable[[str], int] | None = None,
    windows: Mapping[str, Any] | None = None,
    isa: str | None = None,
    openmp: bool | None = None,
) -> Machine:
    """Look up the facts; every way to the outside can be replaced by a recorded one.

    Parameters
    ----------
    root, proc : path, default="/sys", "/proc"
        Where Linux shows its devices and processes.
    env : mapping, optional
        Environment; the process's own by default.
    affinity : iterable of int, optional
        CPUs that the process may use. Default: unknown if `cpu_count` is given, else asked.
    cpu_count : int, optional
        Number of CPUs where no affinity mask is known.
    platform : str
        As ``sys.platform``.
    run : callable, optional
        Takes a command as a list, returns its standard output.
    sysconf : callable, optional
        Takes a name such as ``"SC_PAGE_SIZE"``, returns a number or raises ValueError or OSError.
    windows : mapping, optional
        What ``_windows.collect`` returned.
    isa, openmp : optional
        What the kernels report; asked by default.

    Returns
    -------
    Machine

    Raises
    ------
    ValueError
        If an environment override has a value that cannot be used.
    """
    env = os.environ if env is None else env
    if affinity is None and cpu_count is None:
        affinity, cpu_count = _affinity(), _cpu_count()
    mask = None if affinity is None else frozenset(affinity)

    system: dict[str, Fact] = {}
    if platform.startswith("linux"):
        system = _linux.read(Path(root), Path(proc), mask)
    elif platform == "darwin":
        system = _darwin.read(run or _run)
    elif platform == "win32":
        collected = _windows.collect(env) if windows is None else windows
        mask = frozenset(collected.get("affinity", ())) or mask
        system = _windows.read(collected, mask)

    n_cpus = _usable(mask, cpu_count)
    found = {name: Fact(value, "default") for name, value in _DEFAULTS.items()}
    # Without a word on who shares it, an L3 serves every CPU.
    found["l3_shared_by"] = Fact(n_cpus.value, "default: all usable CPUs")
    found |= _sysconf_facts(sysconf or _sysconf)
    found |= system
    found["n_cpus"] = n_cpus
    found |= _kernel_facts(env, isa, openmp)
    for name, variable, low, high in _OVERRIDES:
        override = size_override(env, variable, low, high)
        if override is not None:
            found[name] = override
            # The ways of the cache that was found say nothing of one that is asked for.
            found.pop(name.replace("_bytes", "_ways"), None)
    return Machine(**_assumed(found) | found)


def _affinity() -> frozenset[int] | None:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return None


def _cpu_count() -> int:
    """Return the CPUs that Python grants: PYTHON_CPU_COUNT speaks here from 3.13 on."""
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return count or 1


def _usable(mask: frozenset[int] | None, cpu_count: int | None) -> Fact:
    counted = Fact(cpu_count, "Python's CPU count") if cpu_count else None
    if not mask:
        return counted or Fact(1, "default")
    if counted and counted.value < len(mask):
        return counted
    return Fact(len(mask), "affinity mask")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _sysconf(name: str) -> int:
    if not hasattr(os, "sysconf"):
        raise OSError("no sysconf here")
    return os.sysconf(name)


def _sysconf_facts(ask: Callable[[str], int]) -> dict[str, Fact]:
    found = {}
    for field, name in _SYSCONF:
        value = _asked(ask, name)
        # glibc answers 0 where it does not know.
        if value > 0:
            found[field] = Fact(value, f"sysconf {name}")
    pages, page = _asked(ask, "SC_PHYS_PAGES"), _asked(ask, "SC_PAGE_SIZE")
    if pages > 0 and page > 0:
        found["memory_bytes"] = Fact(pages * page, "sysconf SC_PHYS_PAGES")
    return found


def _asked(ask: Callable[[str], int], name: str) -> int:
    try:
        return ask(name)
    except (OSError, ValueError):
        return 0


def _kernel_facts(env: Mapping[str, str], isa: str | None, openmp: bool | None) -> dict[str, Fact]:
    """Report what the kernels chose; whether a named set runs here is for them to judge."""
    products = Fact(False, "not asked")
    if isa is None or openmp is None:
        from ..kernels import _dispatch

        if isa is None:
            isa = _dispatch.isa()
            products = Fact(_dispatch.has_byte_products(isa), "CPUID")
        openmp = _dispatch.has_openmp() if openmp is None else openmp
    source = "CPUID" if isa not in ("neon", "generic") else "baseline of the build"
    if env.get("TILEWISE_ISA", "").strip().lower() == isa:
        source = "TILEWISE_ISA"
    return {
        "isa": Fact(isa, source), "openmp": Fact(bool(openmp), "build"), "byte_products": products,
    }  # fmt: skip

"""CPU quota and memory limit of the Linux control groups that hold this process.

A limit binds everything below it, so the answer is the smallest one on the way from the
process's own group up to the root of what is mounted. Versions 1 and 2, and both at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from ._facts import Fact, whole_number

# Version 1 writes "no limit" as the largest multiple of the page size; no machine has 2**60 bytes.
_UNLIMITED = 1 << 60


def read_text(path: Path) -> str | None:
    """Return a small file's text without the blanks around it; None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n\t ")
    except OSError:
        return None


def cpu_quota(root: Path, proc: Path) -> Fact | None:
    """Return the CPUs' worth of time that a quota leaves, or None when there is no quota."""
    return _smallest(root, proc, "cpu", _quota_v2, _quota_v1)


def memory_limit(root: Path, proc: Path) -> Fact | None:
    """Return the memory limit in bytes, or None when there is none."""
    return _smallest(root, proc, "memory", _memory_v2, _memory_v1)


def _quota_v2(folder: Path) -> Fact | None:
    words = (read_text(folder / "cpu.max") or "").split()
    return _cpus(words, "cgroup cpu.max")


def _quota_v1(folder: Path) -> Fact | None:
    words = [read_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    return _cpus(words, "cgroup cpu.cfs_quota_us")


def _cpus(words: list[str], source: str) -> Fact | None:
    """CPUs' worth of time from a quota and a period; None where they are no such numbers."""
    quota, period = map(whole_number, words) if len(words) == 2 else (None, None)
    return Fact(quota / period, source) if quota and period else None


def _memory_v2(folder: Path) -> Fact | None:
    return _bytes(folder / "memory.max")


def _memory_v1(folder: Path) -> Fact | None:
    return _bytes(folder / "memory.limit_in_bytes")


def _bytes(path: Path) -> Fact | None:
    size = whole_number(read_text(path) or "")
    if size is None or not 0 < size < _UNLIMITED:
        return None
    return Fact(size, f"cgroup {path.name}")


Reader = Callable[[Path], Fact | None]


def _smallest(root: Path, proc: Path, controller: str, v2: Reader, v1: Reader) -> Fact | None:
    limits = []
    for line in (read_text(proc / "self" / "cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        if number == "0" and not names:
            reader, wanted = v2, None
        elif controller in names.split(","):
            reader, wanted = v1, controller
        else:
            continue
        for mounted, top in _mounts(root, proc, wanted):
            for folder in _upwards(mounted, top, group):
                limits.append(reader(folder))
    found = [limit for limit in limits if limit is not None]
    return min(found, key=lambda fact: fact.value, default=None)


def _mounts(root: Path, proc: Path, controller: str | None) -> list[tuple[Path, str]]:
    """Return where a hierarchy is mounted, and the group that the mount shows as its top."""
    found = []
    for line in (read_text(proc / "self" / "mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3 or not fields[4].startswith("/sys/"):
            continue
        # The mount table of an injected tree still says /sys, whatever folder stands for it.
        where = root / fields[4].removeprefix("/sys/")
        if (controller is None and kind[0] == "cgroup2") or (
            controller is not None and kind[0] == "cgroup" and controller in kind[2].split(",")
        ):
            found.append((where, fields[3]))
    base = root / "fs" / "cgroup"
    if controller is None:
        return found or [(base, "/"), (base / "unified", "/")]
    return found or [(base / controller, "/"), (base / "cpu,cpuacct", "/")]


def _upwards(mounted: Path, top: str, group: str) -> Iterator[Path]:
    """Yield the folder of a group and of every group above it, the mount's top last.

    Without a namespace of its own a container is told its group's path on the host while its
    mount begins at that group: the mount's top is cut off the path. Folders that are not there
    hold no limit, so a path that leads nowhere still ends at the top.
    """
    below = group
    if top != "/" and (group == top or group.startswith(top + "/")):
        below = group[len(top) :]
    parts = [part for part in below.split("/") if part not in ("", ".", "..")]
    for depth in range(len(parts), -1, -1):
        yield mounted.joinpath(*parts[:depth])

"""Recorded machines, laid out as a tree that `detect` can read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilewise.plan._caches import parse_cpu_list
from tilewise.plan.machine import Machine, detect

MACHINES = Path(__file__).parent / "machines"


def unknown(name: str) -> int:
    """Stand for a sysconf that knows nothing."""
    raise ValueError(f"unrecognized configuration name {name}")


def lay_out(record: dict[str, Any], folder: Path) -> None:
    """Write a record's files below `folder`/sys and `folder`/proc."""
    files = {f"sys/{path}": text for path, text in record.get("sys", {}).items()}
    files |= {f"proc/{path}": text for path, text in record.get("proc", {}).items()}
    taken: dict[int, int] = {}
    for cache in record.get("caches", ()):
        for shared in cache["shared"]:
            for cpu in parse_cpu_list(shared):
                index = taken[cpu] = taken.get(cpu, -1) + 1
                base = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
                files[f"{base}/level"] = f"{cache['level']}\n"
                files[f"{base}/type"] = f"{cache['type']}\n"
                files[f"{base}/size"] = f"{cache['size']}\n"
                files[f"{base}/coherency_line_size"] = "64\n"
                files[f"{base}/shared_cpu_list"] = f"{shared}\n"
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path) -> Callable[..., Machine]:
    """Return ``here(record, **changes)``: the machine that a tree of files describes."""

    def look(record: dict[str, Any], **changes: Any) -> Machine:
        lay_out(record, tmp_path)
        arguments = {
            "root": tmp_path / "sys",
            "proc": tmp_path / "proc",
            "env": {},
            "platform": "linux",
            "affinity": None if "cpu_count" in changes else [0],
            "sysconf": unknown,
            "isa": "generic",
            "openmp": True,
        }
        return detect(**(arguments | changes))

    return look


@pytest.fixture
def recorded(here: Callable[..., Machine]) -> Callable[..., Machine]:
    """Return ``recorded(name, **changes)``: the machine of a record, with `detect`'s arguments."""

    def load(name: str, **changes: Any) -> Machine:
        record = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
        arguments = {"run": lambda command: "\n".join(record["sysctl"]), **record["detect"]}
        if "windows" in record:
            told = dict(record["windows"])
            told["cache_records"] = bytes.fromhex("".join(told["cache_records"]))
            arguments["windows"] = told
        return here(record, **(arguments | changes))

    return load

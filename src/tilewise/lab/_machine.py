"""What a result says of the machine that it was measured on, and of the software."""

import os
import platform
from typing import Any

from tilewise._text import counted
from tilewise._version import __version__
from tilewise._versions import package_versions
from tilewise.plan import machine, n_threads

__all__ = ["describe", "machine_key", "machine_name"]

_SETTINGS = ("TILEWISE_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "GOMP_", "KMP_", "VECLIB_")
# Neither the sentence of a user's folder nor the name of a host belongs into a file for others.
_PRIVATE = ("TILEWISE_TUNING",)


def describe() -> dict[str, Any]:
    """Machine facts, versions, settings and load, as plain values safe for JSON."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "machine": {
            "facts": machine().to_dict(),
            "n_threads": n_threads().to_dict(),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": load,
        },
        "versions": {"tilewise": __version__, "python": platform.python_version()}
        | package_versions(),
        "settings": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_SETTINGS) and name not in _PRIVATE
        },
    }


def machine_key(result: dict[str, Any]) -> tuple:
    """What makes two results ones of the same machine: its model, CPUs, caches, instructions."""
    facts = result["machine"]["facts"]
    names = ("cpu_model", "n_cpus", "l1d_bytes", "l2_bytes", "l3_bytes", "isa")
    return tuple(facts[name]["value"] for name in names)


def machine_name(result: dict[str, Any]) -> str:
    """How a machine is called where there is one line for it.

    Examples
    --------
    >>> from tilewise.lab._machine import machine_name
    >>> facts = {"cpu_model": {"value": "A CPU"}, "n_cpus": {"value": 2}, "isa": {"value": "avx2"}}
    >>> machine_name({"machine": {"facts": facts}})
    'A CPU, 2 CPUs, avx2'
    """
    facts = {name: fact["value"] for name, fact in result["machine"]["facts"].items()}
    return f"{facts['cpu_model']}, {counted(facts['n_cpus'], 'CPU')}, {facts['isa']}"

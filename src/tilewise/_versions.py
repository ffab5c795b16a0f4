"""Versions, machine and thread pools, for a report about a problem."""

import importlib.metadata
import platform
import sys
from typing import Any, TextIO

from ._version import __version__

# What runs the package, in the order printed.
_DISTRIBUTIONS = ("numpy", "scipy", "scikit-learn", "threadpoolctl", "joblib")


def package_versions() -> dict[str, str | None]:
    """Return the versions of tilewise and of what runs it; None for what is not installed."""
    packages: dict[str, str | None] = {"tilewise": __version__}
    for name in _DISTRIBUTIONS:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    return packages


def versions() -> dict[str, Any]:
    """Return versions, machine facts and thread pools as plain values, safe for JSON."""
    import threadpoolctl

    from .kernels import _dispatch
    from .plan.machine import machine
    from .plan.threads import n_threads

    built_with = getattr(_dispatch, "cython_version", None)
    return {
        "packages": package_versions(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "platform": platform.platform(),
        },
        "build": {
            "cython": built_with() if callable(built_with) else built_with,
            "openmp": _dispatch.has_openmp(),
            "isa": _dispatch.isa(),
            "available_isas": list(_dispatch.available_isas()),
        },
        "machine": machine().to_dict(),
        "n_threads": n_threads().to_dict(),
        "thread_pools": threadpoolctl.threadpool_info(),
    }


def show_versions(file: TextIO | None = None) -> None:
    """Print versions, build, machine and thread pools, for a report about a problem.

    Parameters
    ----------
    file : text stream, optional
        Where to print; standard output by default.

    Examples
    --------
    >>> import tilewise
    >>> tilewise.show_versions()  # doctest: +ELLIPSIS
    Packages
      tilewise ...
    """
    from .plan.machine import Machine

    found = versions()
    out = sys.stdout if file is None else file
    for title, section in (
        ("Packages", found["packages"]),
        ("Python", found["python"]),
        ("Build", found["build"]),
    ):
        print(title, file=out)
        width = max(map(len, section))
        for name, value in section.items():
            print(f"  {name:<{width}}  {_shown(value)}", file=out)
    print(repr(Machine.from_dict(found["machine"])), file=out)
    threads = found["n_threads"]
    print(f"Threads\n  {threads['value']} ({threads['source']})", file=out)
    print("Thread pools", file=out)
    for pool in found["thread_pools"]:
        print(
            f"  {pool.get('internal_api', '?')} {pool.get('version') or ''}".rstrip()
            + f", {pool.get('num_threads')} threads, {pool.get('filepath')}",
            file=out,
        )


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)

#!/usr/bin/env python3
"""List the functions of the compiled modules that did not run; fail if a module has none that did.

Usage: kernel_calls.py BUILD [--clear]

BUILD is a build folder of ``-Dcount_calls=true``; a process that ends adds its counts to the files
there. ``--clear`` deletes these files instead. They are read by gcov, or by what GCOV names.
"""

import os
import pathlib
import re
import subprocess
import sys

SOURCES = pathlib.Path(__file__).parents[1] / "src" / "tilewise" / "kernels"
SUMMARY = re.compile(r"Function '(\w+)'\nLines executed:([\d.]+)%")
# What Cython names the body of a function: def (pf) or cdef (f), a fused type, the module.
BODY = r"(?:__pyx_fuse_[\d_]+)?(?:__)?pyx_p?f_8tilewise_7kernels_{}{}_(\w+)"
# Cython writes these; no line of ours calls them.
GENERATED = re.compile(r"__(reduce_cython|setstate_cython|defaults)__$|_pyx_unpickle_")
# Lengths of names, which Cython writes before them.
LENGTH = re.compile(r"(^|_)\d+(?=[A-Za-z_])")


def calls(folder, module):
    """Names of the functions of one module: those that ran, those that did not."""
    counts = sorted(folder.glob(f"**/{module}.*.p/*{module}.pyx.c.gcda"))
    if not counts:
        return set(), set()
    told = subprocess.run(
        [*os.environ.get("GCOV", "gcov").split(), "-n", "-f", str(counts[0].resolve())],
        check=True, capture_output=True, text=True, cwd=folder,
    ).stdout  # fmt: skip
    ran, idle, bodies = set(), set(), re.compile(BODY.format(len(module), module))
    for name, share in SUMMARY.findall(told):
        body = bodies.match(name)
        if body and not GENERATED.search(name):
            function = LENGTH.sub(r"\1", body[1]).lstrip("_")
            (ran if float(share) else idle).add(function)
    return ran, idle - ran


def main(folder, *options):
    """Print what ran and what did not; the exit status is 1 if a module had no call."""
    folder = pathlib.Path(folder)
    if "--clear" in options:
        for path in folder.glob("**/*.gcda"):
            path.unlink()
        return 0
    missing = []
    for source in sorted(SOURCES.glob("*.pyx")):
        ran, idle = calls(folder, source.stem)
        print(f"{source.stem:15} {len(ran):3} functions ran", end="")
        print(f"; not: {', '.join(sorted(idle))}" if idle else "")
        missing += [] if ran else [source.stem]
    if missing:
        print(f"no function ran of {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

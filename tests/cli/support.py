"""Helpers that the tests of the command line share."""

import os
import subprocess
import sys

NAMES = ("height", "width", "depth")


def write_csv(path, X, names=NAMES, delimiter=","):
    """Write rows as text that reads back exactly."""
    lines = [] if names is None else [delimiter.join(names)]
    lines += [delimiter.join(map(repr, row)) for row in X.tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def process(*arguments, code=None, **options):
    """Start the command line in a process of its own."""
    start = ["-m", "tilewise.cli"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        **options,
    )

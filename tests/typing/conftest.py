"""Where checkers find the tilewise that is tested, and where they keep what they have read."""

import os
import site
from pathlib import Path

import pytest

import tilewise


@pytest.fixture(scope="session")
def checker_environment():
    folder = str(Path(tilewise.__file__).parents[1])
    # mypy finds what is installed by itself, and refuses to be told of it.
    paths = [] if folder in site.getsitepackages() else [folder]
    kept = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **os.environ,
        "MYPYPATH": os.pathsep.join(paths),
        "PYTHONPATH": os.pathsep.join(paths + [path for path in kept if path not in paths]),
    }

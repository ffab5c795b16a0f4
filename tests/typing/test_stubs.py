"""The stubs of compiled modules say what is compiled."""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tilewise import kernels

HERE = Path(__file__).parent
FOLDER = Path(kernels.__file__).parent
STUBS = sorted(FOLDER.glob("*.pyi"))


def compiled_modules():
    # Cython sources are not installed; what is compiled is known by its suffix everywhere.
    names = {path.name.partition(".")[0] for path in FOLDER.iterdir()}
    return sorted(
        name for name in names
        if name.startswith("_") and not name.startswith("__")
        and importlib.util.find_spec(f"tilewise.kernels.{name}") is not None
    )  # fmt: skip


def test_every_compiled_module_has_a_stub():
    assert [path.stem for path in STUBS] == compiled_modules()


def constructors():
    """The classes that a stub gives a constructor, with it."""
    for path in STUBS:
        for found in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(found, ast.ClassDef):
                for member in found.body:
                    if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                        yield pytest.param(path.stem, found.name, member.args, id=found.name)


@pytest.mark.parametrize(("module", "name", "arguments"), list(constructors()))
def test_constructors_take_what_the_stub_says(module, name, arguments):
    """Cython hides a constructor's parameters from `inspect`, so stubtest cannot see them."""
    kind = getattr(importlib.import_module(f"tilewise.kernels.{module}"), name)
    signature = re.match(rf"{name}\((.*?)\)\n", inspect.getdoc(kind))[1]
    compiled = []
    for parameter in signature.split(", "):
        declared, has_default, _ = parameter.partition("=")
        if declared != "*":
            compiled.append((declared.split()[-1], bool(has_default)))
    positional = arguments.args[1:]
    optional = len(positional) - len(arguments.defaults)
    stated = [(each.arg, i >= optional) for i, each in enumerate(positional)]
    stated += [
        (each.arg, default is not None)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    assert stated == compiled


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_stubtest(checker_environment):
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-disjoint-bases"]
    command += ["--mypy-config-file", str(HERE / "mypy.ini"), "--ignore-unused-allowlist"]
    command += ["--allowlist", str(HERE / "stubtest-allowlist.txt")]
    command += [f"tilewise.kernels.{path.stem}" for path in STUBS]
    done = subprocess.run(
        command, capture_output=True, text=True, env=checker_environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

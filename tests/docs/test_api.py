"""The API reference names everything that is public. Needs no sphinx."""

import importlib
import pathlib
import re

import pytest

API = pathlib.Path(__file__).parents[2] / "docs" / "api"
LAB = ("experiments", "report", "explain", "simulate", "traffic", "tune", "roofs", "flows",
       "schema", "cachegrind", "figures", "expected", "quiet")  # fmt: skip
PACKAGES = (
    "tilewise", "tilewise.cluster", "tilewise.metrics", "tilewise.sources", "tilewise.dask",
    "tilewise.export",
    *(f"tilewise.lab.{name}" for name in LAB),
)  # fmt: skip
# What estimators keep as attributes, and what they raise, lies in rooms that are not public.
MORE = (
    "tilewise.plan.StreamPlan", "tilewise.engine.StreamReport", "tilewise.plan.LimitTooSmall",
)  # fmt: skip
DIRECTIVE = re.compile(
    r"^\s*\.\. (currentmodule|autofunction|autoclass|autoexception|autodata):: (\S+)", re.MULTILINE
)


def named(folder=API):
    """Full names of everything that a page has a directive for."""
    names = set()
    for page in sorted(folder.glob("*.rst")):
        module = ""
        for kind, name in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind == "currentmodule":
                module = f"{name}."
            else:
                names.add(name if name.startswith("tilewise.") else module + name)
    return names


def found(name):
    """The object behind a full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture(scope="module")
def documented():
    return {name: found(name) for name in named()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package, documented):
    module = importlib.import_module(package)
    public = [name for name in module.__all__ if not name.startswith("__")]
    assert public
    # The same object may be documented where another package has it.
    missing = [
        f"{package}.{name}" for name in public
        if not any(getattr(module, name) is known for known in documented.values())
    ]  # fmt: skip
    assert not missing


def test_what_estimators_keep_is_in_the_reference(documented):
    assert set(MORE) <= set(documented)


def test_every_page_can_be_reached():
    reached = (API / "index.md").read_text(encoding="utf-8")
    reached += "".join(page.read_text(encoding="utf-8") for page in API.glob("*.rst"))
    for page in API.glob("*.rst"):
        assert re.search(rf"^\s*{re.escape(page.stem)}$", reached, re.MULTILINE), page.name


def test_a_name_without_a_page_is_found_out(tmp_path):
    (tmp_path / "a.rst").write_text(
        ".. currentmodule:: tilewise\n\n.. autofunction:: plan\n\n.. autoclass:: tilewise.lab.x.Y\n"
    )
    assert named(tmp_path) == {"tilewise.plan", "tilewise.lab.x.Y"}

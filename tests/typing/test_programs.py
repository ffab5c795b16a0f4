"""What type checkers make of a program that uses tilewise, right and wrong."""

import importlib.util
import inspect
import json
import runpy
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import tilewise
from tilewise import _typing
from tilewise.metrics import METRICS, _fallback

HERE = Path(__file__).parent
# Rooms that no page of the reference shows, but for what estimators hand out.
INNER = ("tilewise.algorithms", "tilewise.engine")
SHOWN = ("tilewise.engine.StreamReport", "tilewise.engine.stream.StreamReport")
RIGHT, WRONG = HERE / "user_program.py", HERE / "wrong_program.py"

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed"
)
needs_pyright = pytest.mark.skipif(
    importlib.util.find_spec("basedpyright") is None, reason="basedpyright is not installed"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def mypy(program, cache, environment):
    """Errors of mypy --strict as (line, message)."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(HERE / "mypy.ini")]
    command += ["--cache-dir", str(cache), "--no-pretty", "--no-error-summary", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = []
    for line in done.stdout.splitlines():
        place, kind, message = line.partition(": error: ")
        if kind:
            found.append((int(place.rpartition(":")[2]), message))
    return found


def pyright(program, environment):
    """Errors of pyright, strict, as (line, message)."""
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    command += ["-p", str(HERE / "pyrightconfig.json"), "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 2, done.stderr
    return [
        (entry["range"]["start"]["line"] + 1, entry["message"])
        for entry in found["generalDiagnostics"]
        if Path(entry["file"]).name == program.name and entry["severity"] == "error"
    ]


def marked():
    """Lines of the wrong program that hold a mistake."""
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.mark.slow
@needs_mypy
def test_mypy_knows_every_type_of_a_program(cache, checker_environment):
    assert mypy(RIGHT, cache, checker_environment) == []


@pytest.mark.slow
@needs_mypy
def test_mypy_finds_every_mistake(cache, checker_environment):
    assert {line for line, _ in mypy(WRONG, cache, checker_environment)} == marked()


@pytest.mark.slow
@needs_pyright
def test_pyright_knows_every_type_of_a_program(checker_environment):
    assert pyright(RIGHT, checker_environment) == []


@pytest.mark.slow
@needs_pyright
def test_pyright_finds_every_mistake(checker_environment):
    assert {line for line, _ in pyright(WRONG, checker_environment)} == marked()


@pytest.mark.slow
@needs_pyright
def test_all_public_names_have_types(checker_environment):
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    command += ["--verifytypes", "tilewise", "--ignoreexternal", "--outputjson"]
    # Asked for a package, it looks along PYTHONPATH alone.
    folder = Path(tilewise.__file__).parent
    environment = {**checker_environment, "PYTHONPATH": str(folder.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    report = json.loads(done.stdout)["typeCompleteness"]
    assert Path(report["packageRootDirectory"]) == folder
    public = [
        symbol
        for symbol in report["symbols"]
        if symbol["isExported"]
        and (not symbol["name"].startswith(INNER) or symbol["name"].startswith(SHOWN))
    ]
    assert {"tilewise.KMeans", "tilewise.argkmin"} <= {symbol["name"] for symbol in public}
    assert [
        symbol["name"]
        for symbol in public
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ] == []


def test_the_program_runs(tmp_path):
    """What the checkers are told of dtypes and dimensions is so."""
    program = runpy.run_path(str(RIGHT))
    labels, (distances, indices), (within, neighbors), matrix = program["results"](tmp_path)
    assert (labels.dtype, labels.ndim) == (np.int32, 1)
    assert (distances.dtype, distances.ndim) == (np.float64, 2)
    assert (indices.dtype, indices.ndim) == (np.intp, 2)
    assert within.dtype == neighbors.dtype == object
    assert (matrix.dtype, matrix.ndim) == (np.float64, 2)


def public_callables():
    for name in tilewise.__all__:
        value = getattr(tilewise, name)
        if callable(value):
            yield name, inspect.unwrap(value)
        if inspect.isclass(value):
            for key, member in inspect.getmembers(value, callable):
                # What scikit-learn's classes bring has no types of ours.
                if not key.startswith("_") and member.__module__.startswith("tilewise"):
                    yield f"{name}.{key}", inspect.unwrap(member)


@pytest.mark.parametrize(("name", "function"), list(public_callables()))
def test_annotations_can_be_evaluated(name, function):
    if inspect.isclass(function):
        function = function.__init__
    hints = typing.get_type_hints(function, localns={"Self": typing.Self})
    assert "return" in hints
    parameters = inspect.signature(function).parameters.values()
    assert {p.name for p in parameters if p.name != "self"} == hints.keys() - {"return"}


def test_names_of_metrics_are_those_that_are_computed():
    spelled = set(typing.get_args(_typing.MetricName))
    aliases = {alias for row in METRICS.values() for alias in row.aliases}
    assert set(METRICS) | aliases | _fallback.NAMES <= spelled
    # Other versions of scikit-learn and SciPy have these.
    assert spelled <= set(METRICS) | aliases | _fallback.NAMES | {
        "matching",
        "wminkowski",
        "sokalmichener",
    }
    others = {alias for row in METRICS.values() for alias in row.neighbor_aliases}
    assert set(typing.get_args(_typing.NeighborName)) == others

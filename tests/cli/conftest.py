"""What the tests of the command line share."""

import numpy as np
import pytest
import recorded_load
from click.testing import CliRunner


@pytest.fixture(scope="module", autouse=True)
def quiet_machine():
    """A machine on which nobody else works, whatever the one does that runs the tests."""
    with recorded_load.a_machine():
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def X():
    """Three groups of rows, well apart, in float64."""
    rng = np.random.default_rng(7)
    middles = np.repeat([[0.0, 0.0, 0.0], [10.0, 0.0, 5.0], [0.0, 20.0, -5.0]], 30, axis=0)
    return middles + rng.normal(size=middles.shape)


@pytest.fixture
def invoke():
    """Run the command line inside this process."""
    from tilewise.cli._app import app

    try:
        runner = CliRunner(mix_stderr=False)  # click before 8.2
    except TypeError:
        runner = CliRunner()

    def run(*arguments):
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def fails(invoke, folder):
    """Run a command that must fail with a code and one line, and leave no file behind."""

    def run(code, *arguments):
        before = sorted(folder.rglob("*"))
        result = invoke(*arguments)
        assert result.exit_code == code, result.output + result.stderr
        assert result.stdout == ""
        prefix = "tilewise: error: "
        assert result.stderr.startswith(prefix)
        assert result.stderr.count("\n") == 1
        assert sorted(folder.rglob("*")) == before
        return result.stderr.removeprefix(prefix).rstrip("\n")

    return run

"""The program as a whole: help, version, info, extras, exit codes, interrupts, terminals."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

import tilewise
from tilewise.cli import _fit, main
from tilewise.cli._errors import MEANINGS, ExitCode

from .support import process

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and terminals")


@pytest.mark.parametrize("arguments", [(), ("fit",), ("predict",), ("info",)])
def test_help_fits_a_terminal_and_tells_all(invoke, arguments):
    result = invoke(*arguments, "--help")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "  Examples:" in lines
    if arguments != ("info",):
        for code, meaning in MEANINGS.items():
            assert f"    {int(code):>3}  {meaning}" in lines


def test_every_exit_code_has_a_meaning():
    assert set(MEANINGS) == set(ExitCode)


def test_version(invoke):
    assert invoke("--version").stdout == f"tilewise {tilewise.__version__}\n"


def test_no_command_is_wrong_usage(invoke):
    result = invoke()
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert "Usage: tilewise" in result.stderr


def test_an_unknown_command(fails):
    assert "'fti'" in fails(ExitCode.USAGE, "fti")


def test_info(invoke):
    facts = tilewise.machine().to_dict()
    told = json.loads(invoke("info", "--json").stdout)
    threads = told["facts"].pop("n_threads")
    assert told["facts"] == json.loads(json.dumps(facts))
    assert threads["value"] >= 1
    assert threads["source"]
    assert told["versions"]["tilewise"] == tilewise.__version__
    table = invoke("info")
    assert table.exit_code == 0
    assert max(map(len, table.stdout.splitlines())) <= 80
    for name in facts:
        assert re.search(rf"^ *{name} ", table.stdout, re.MULTILINE)


def test_info_with_an_override_that_makes_no_sense(fails, monkeypatch):
    monkeypatch.setenv("TILEWISE_NUM_THREADS", "many")
    assert "TILEWISE_NUM_THREADS" in fails(ExitCode.USAGE, "info")


def test_a_defect_is_one_line_unless_debugging(invoke, monkeypatch, X):
    def broken(*arguments, **options):
        raise RuntimeError("a screw came loose")

    np.save("data.npy", X)
    monkeypatch.setattr(_fit, "read_table", broken)
    result = invoke("fit", "data.npy", "-k", 3)
    assert result.exit_code == ExitCode.INTERNAL
    assert result.stderr == (
        "tilewise: error: unexpected RuntimeError: a screw came loose (--debug shows where)\n"
    )
    for arguments in (["--debug", "fit", "data.npy"], ["fit", "data.npy", "--debug"]):
        result = invoke(*arguments, "-k", 3)
        assert result.exit_code == ExitCode.INTERNAL
        assert "Traceback" in result.stderr


def test_main_returns_the_code(capsys):
    assert main(["--version"]) == 0
    assert main(["fit", "no.npy", "-k", "2"]) == ExitCode.NO_INPUT
    out, err = capsys.readouterr()
    assert out == f"tilewise {tilewise.__version__}\n"
    assert err == "tilewise: error: no.npy: No such file or directory\n"


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from tilewise.cli import main; sys.exit(main())"
    )
    child = process("info", code=code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(timeout=100)
    assert child.returncode == ExitCode.MISSING_EXTRA
    assert out == ""
    assert err == (
        f"tilewise: error: the command line needs {package}, which is not installed; "
        'run: pip install "tilewise[cli]"\n'
    )


def test_codes_reach_the_shell(X):
    np.save("data.npy", X)
    expected = {
        ("fit", "data.npy", "-k", 3): ExitCode.OK,
        ("fit", "data.npy"): ExitCode.USAGE,
        ("fit", "data.npy", "-k", 1000): ExitCode.CANNOT_WRITE,
        ("fit", "data.npy", "-k", 1000, "--force"): ExitCode.BAD_DATA,
        ("fit", "no.npy", "-k", 3): ExitCode.NO_INPUT,
    }
    for arguments, code in expected.items():
        child = process(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, err = child.communicate(timeout=100)
        assert child.returncode == code
        assert b"Traceback" not in err


@posix
def test_an_interrupt_leaves_nothing():
    rng = np.random.default_rng(0)
    np.save("data.npy", rng.normal(size=(200_000, 16)))
    child = process(
        "fit", "data.npy", "-k", 200, "--tol", 0, "--max-iter", 1_000_000, "--verbose",
        "--init", "random", "--n-init", 1000,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test runner in the background hands its children an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert child.stderr.readline()  # the plan, told right before the fit begins
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=100)
    assert child.returncode == ExitCode.INTERRUPTED
    assert out == b""
    assert err.endswith(b"tilewise: error: interrupted\n")
    assert b"Traceback" not in err
    assert os.listdir() == ["data.npy"]


def on_a_terminal(*arguments):
    """Run with stderr on a pseudo-terminal; return the exit code, stdout and what was drawn."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    child = process(*arguments, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # what Linux answers when the other side has closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    out, _ = child.communicate(timeout=100)
    return child.returncode, out.decode(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


@posix
def test_progress_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    rng = np.random.default_rng(0)
    np.save("data.npy", rng.normal(size=(50_000, 8)))
    fit = ("fit", "data.npy", "-k", 50, "--max-iter", 40, "--tol", 0, "--force")
    code, out, drawn = on_a_terminal(*fit)
    assert code == 0
    assert "50 clusters" in out
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert re.search(r"iteration \d+ of at most 40", drawn)
        assert re.search(r"at most \d+ s left", drawn)
    else:
        assert "fit" in drawn
    code, _, drawn = on_a_terminal(*fit, "--init", "random", "--n-init", 2)
    assert code == 0
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert "run 2 of 2" in drawn
    for option in ("--json", "--quiet"):
        code, _, drawn = on_a_terminal(*fit, option)
        assert code == 0
        assert "━" not in drawn
        assert "of at most" not in drawn


def test_no_progress_where_there_is_no_terminal(X):
    np.save("data.npy", X)
    child = process("fit", "data.npy", "-k", 3, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0
    assert b"3 clusters" in out
    assert err == b""


def test_a_group_without_a_command_shows_its_help(invoke):
    result = invoke("bench")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr.splitlines()

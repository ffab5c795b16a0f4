"""Ctrl-C while the command is still being loaded: one line, and the code that shells expect."""

import signal
import subprocess

import pytest

from tilewise.cli._errors import ExitCode

from .support import process
from .test_app import posix

# Sends the signal at the very moment when a module is looked for.
INTERRUPTED = """
import os, signal, sys

wanted, sys.argv = sys.argv[1], ["tilewise", "info"]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            sys.meta_path.remove(self)
            print("looked for", flush=True)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
import _tilewise_command
sys.exit(_tilewise_command.main())
"""
MODULES = ["numpy", "scipy", "sklearn", "tilewise", "tilewise.kernels._assign", "click", "rich"]


def started(module, handler):
    """The code, output and errors of a start that a signal meets at a module."""
    child = process(
        module, code=INTERRUPTED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A test runner in the background hands its children an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )  # fmt: skip
    out, err = child.communicate(timeout=100)
    return child.returncode, out, err


@posix
@pytest.mark.timeout(120)
@pytest.mark.parametrize("module", MODULES)
def test_ctrl_c_while_loading_is_one_line(module):
    code, out, err = started(module, signal.default_int_handler)
    assert out == "looked for\n"
    assert err == "tilewise: error: interrupted\n"
    assert code == ExitCode.INTERRUPTED


@posix
@pytest.mark.timeout(120)
def test_an_ignored_signal_stays_ignored():
    code, out, err = started("numpy", signal.SIG_IGN)
    assert code == ExitCode.OK, err
    assert out.startswith("looked for\n")
    assert len(out.splitlines()) > 3

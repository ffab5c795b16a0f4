"""The console script ``tilewise``: quiet when Ctrl-C comes while everything is still loading.

Importing any module of the package imports numpy, scipy and scikit-learn first, which takes a
second or more. So this one stands beside the package and imports nothing of it until Ctrl-C has a
handler.
"""

import contextlib
import os
import signal
import sys

__all__ = ["main"]

# What shells report for SIGINT; tilewise.cli._errors has it too, and is not loaded yet.
_INTERRUPTED = 130
_LINE = b"tilewise: error: interrupted\n"


def _leave(number, frame):
    # Nothing has begun that would have to be cleaned up. An exception would not do: libraries
    # that are half imported turn it into others, or drop it.
    try:
        os.write(2, _LINE)
    finally:
        os._exit(_INTERRUPTED)


def main():
    """Load the command line and run it.

    Returns
    -------
    int
        The exit code: what `tilewise.cli.main` returns, or 130 after Ctrl-C.
    """
    # Where the signal is ignored, as behind nohup, it stays so.
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _leave)
    from tilewise.cli import main as run

    with contextlib.suppress(ImportError):  # run says which extra is missing
        import tilewise.cli._app  # noqa: F401
    try:
        if ours:
            signal.signal(signal.SIGINT, before)
        return run()
    except KeyboardInterrupt:
        sys.stderr.write(_LINE.decode())
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

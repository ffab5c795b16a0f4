"""The command line: ``tilewise info | explain | fit | predict | export | bench | report | tune``.

This folder talks to people and computes nothing. What enters is text (arguments, files). What
leaves is text, files and an exit code. Files are checked here: that they can be read, that every
cell is a number, that shapes and column names agree. The estimator checks its own parameters.

========== =====================================================================
module     what it holds
========== =====================================================================
_app       the command group; every error becomes one line and an exit code
_info      ``tilewise info``
_explain   ``tilewise explain``
_devices   what both say of GPUs
_fit       ``tilewise fit``
_predict   ``tilewise predict``
_export    ``tilewise export``
_bench     ``tilewise bench``: a command for each row of the lab's ``EXPERIMENTS``
_checkout  where a checkout of the source has the program that compares libraries
_report    ``tilewise report``
_tune      ``tilewise tune``
_options   options and output that several commands share
_data      ``READERS``: one row per file format that DATA may have
_csv       the reader of delimited text
_columns   what ``--columns`` selects
_stream    DATA that is read in parts
_model     the model file: arrays and JSON, no pickle
_output    names of output files, atomic writing, JSON
_streams   standard output and standard error, and their failures
_progress  what a terminal shows while a fit runs
_errors    exit codes and the exceptions that carry them
========== =====================================================================

The console script is `_tilewise_command`, beside the package, so that Ctrl-C is quiet even before
this package is imported. A base install has it; click and rich come with the extra ``cli``.
"""

import sys
from collections.abc import Sequence

from ._errors import ExitCode

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name. ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        One of the exit codes that ``tilewise --help`` lists; 69 if click or rich is missing.

    Examples
    --------
    >>> from tilewise.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    tilewise ...
    0
    """
    try:
        from ._app import app
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in ("click", "rich"):
            raise
        print(
            f"tilewise: error: the command line needs {package}, which is not installed; "
            'run: pip install "tilewise[cli]"',
            file=sys.stderr,
        )
        return int(ExitCode.MISSING_EXTRA)
    except KeyboardInterrupt:
        print("tilewise: error: interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    return app.run(argv)

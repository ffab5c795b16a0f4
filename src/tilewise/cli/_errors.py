"""Exit codes, and the exceptions that carry them to the top.

Codes from 64 to 78 follow BSD's ``sysexits.h``; 130 is what shells report for SIGINT.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns."""

    OK = 0
    USAGE = 2
    BAD_DATA = 65
    NO_INPUT = 66
    MISSING_EXTRA = 69
    INTERNAL = 70
    CANNOT_WRITE = 73
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.BAD_DATA: "an input file does not hold what it should",
    ExitCode.NO_INPUT: "an input file is missing or unreadable",
    ExitCode.MISSING_EXTRA: "an optional package is not installed",
    ExitCode.INTERNAL: "an error inside tilewise (--debug shows where)",
    ExitCode.CANNOT_WRITE: "an output file exists already or cannot be written",
    ExitCode.INTERRUPTED: "interrupted; bench, tune, fit --checkpoint keep their results so far",
}


class CommandError(Exception):
    """An error that the user can act on, in one line."""

    code = ExitCode.INTERNAL


class WrongUsage(CommandError):
    code = ExitCode.USAGE


class BadData(CommandError):
    code = ExitCode.BAD_DATA


class NoInput(CommandError):
    code = ExitCode.NO_INPUT


class MissingExtra(CommandError):
    code = ExitCode.MISSING_EXTRA


class CannotWrite(CommandError):
    code = ExitCode.CANNOT_WRITE


class ReaderGone(CannotWrite):
    """The reader of standard output has closed it, as ``head`` does. There is nothing to print."""


def reason(error):
    """Why the operating system refused, in its own words and without the path."""
    return error.strerror or str(error) or type(error).__name__

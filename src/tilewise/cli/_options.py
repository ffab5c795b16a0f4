"""Options that several commands share, and the record of what they say."""

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.text import Text

from .._text import printable
from ..plan._facts import whole_number
from ..plan.threads import MAX_THREADS
from ._data import READERS, Request
from ._errors import MEANINGS, WrongUsage, first_line

# Parameters of the estimator that decide how fast it runs, and nothing else.
HOW = ("n_threads", "chunk_size", "engine")

FILE = click.Path(path_type=Path)


@dataclass
class Settings:
    """What concerns the whole run; the root context carries it."""

    debug: bool = False


class WholeOrAuto(click.ParamType):
    """``auto``, or a whole number of at least one."""

    name = "auto|number"

    def get_metavar(self, param, ctx=None):
        return "[auto|N]"

    def convert(self, value, param, ctx):
        if value == "auto" or isinstance(value, int):
            return value
        number = whole_number(value)
        if not number:
            self.fail(f"{value!r} is neither 'auto' nor a whole number of at least 1", param, ctx)
        return number


class Budget(click.FloatRange):
    """Seconds, from a tenth to a month; ``nan`` is none of them."""

    name = "seconds"

    def __init__(self):
        super().__init__(min=0.1, max=30 * 86400.0)

    def convert(self, value, param, ctx):
        if math.isnan(seconds := super().convert(value, param, ctx)):
            self.fail("nan is no number of seconds", param, ctx)
        return seconds


class Count(click.types.IntParamType):
    """A whole number of things, from 1 to what an index can be."""

    name = "count"

    def convert(self, value, param, ctx):
        count = super().convert(value, param, ctx)
        if not 1 <= count <= 2**62:
            self.fail(f"{count if count < 2**62 else 'this'} is not from 1 to 2**62", param, ctx)
        return count


BUDGET, COUNT = Budget(), Count()

# What sizes the work: every command that has one of these options has it like this.
_SHARED = {
    "rows": {
        "type": COUNT, "metavar": "N", "help": "Rows of the data.",
    },
    "features": {
        "type": COUNT, "metavar": "D", "help": "Features of a row.",
    },
    "clusters": {
        "type": COUNT, "metavar": "K", "help": "Number of clusters.",
    },
    "dtype": {"type": click.Choice(["float32", "float64"]), "help": "Type of the data."},
    "threads": {
        "type": click.IntRange(min=1, max=MAX_THREADS), "metavar": "N", "help": "Threads.",
    },
}  # fmt: skip
ALL_THREADS = "  [default: as many as this process may use]"


def shared_option(name, *aliases, note="", **more):
    """Return the decorator for a size that several commands take.

    Parameters
    ----------
    name : {"rows", "features", "clusters", "dtype", "threads"}
    *aliases : str
        Further names of the option.
    note : str
        What this command adds to the help: its default, for one.
    **more
        For ``click.option``.
    """
    told = _SHARED[name]
    return click.option(f"--{name}", *aliases, **{**told, "help": told["help"] + note, **more})


def is_shared(name):
    """Whether `shared_option` knows a name."""
    return name in _SHARED


def chained(*decorators):
    """Apply decorators so that ``--help`` lists their options in the order written."""

    def decorate(function):
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _set_debug(context, parameter, value):
    if value:
        context.find_root().obj.debug = True


def debug_option(function):
    """``--debug``, which any command takes."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Show where an error arose.",
    )(function)


input_options = chained(
    click.option(
        "--columns",
        metavar="LIST",
        help="Columns to use: names, positions from 0, ranges; like a,b,c or 0,3,8-15.",
    ),
    shared_option("dtype", note=" Others are converted.  [default: as stored; float64 for text]"),
    click.option("--key", help="Which array of a .npz file to read."),
    click.option("--delimiter", metavar="CHAR", help="What separates the cells of a .csv file."),
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether a .csv file begins with names.  [default: if no cell there is a number]",
    ),
)

engine_options = chained(
    click.option(
        "--chunk-size",
        type=WholeOrAuto(),
        default="auto",
        show_default=True,
        help="Rows that are worked on at once.",
    ),
    shared_option("threads", note=ALL_THREADS),
    click.option(
        "--engine",
        type=click.Choice(["auto", "fused", "blas"]),
        default="auto",
        show_default=True,
        help="What computes distances; the result is the same.",
    ),
)

report_options = chained(
    click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout."),
    click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors (and --json)."),
)


def request_of(columns, dtype, key, delimiter, header, wanted=None):
    """Return what the input options say, as readers want it."""
    if delimiter is not None:
        delimiter = {"tab": "\t", "\\t": "\t", "space": " "}.get(delimiter, delimiter)
        if len(delimiter) != 1 or delimiter in '\r\n"':
            raise click.BadParameter("one character, or 'tab'", param_hint="--delimiter")
    return Request(columns, dtype, key, delimiter, header, wanted)


def stem(path):
    """Return the name of DATA without the ending of its format.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tilewise.cli._options import stem
    >>> stem(Path("in/run.2.csv"))
    'run.2'
    """
    return path.stem if path.suffix.lower() in READERS else path.name


def exit_codes():
    """Return the table of exit codes, laid out for ``--help``."""
    rows = "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\nExit codes:\n{rows}"


def examples(*lines):
    """Return example commands, laid out for ``--help``."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def human_line(text, as_json=False):
    """Print a line for people: on stderr where stdout belongs to JSON, and printable always."""
    click.echo(printable(text), err=as_json)


def cells(values):
    """Return a row of a table for the terminal: printable, and no markup."""
    return [Text(printable(value)) for value in values]


def planned(values, n_clusters, how, batch_size=None):
    """Return the plan of a run over rows; `how` holds the parameters called `HOW`."""
    from tilewise import plan

    dtype = "float32" if values.dtype == np.float32 else "float64"
    try:
        rows, columns = values.shape
        return plan(min(rows, batch_size or rows), columns, n_clusters, dtype, **how)
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error


class Clock:
    """Seconds per phase of a command.

    Attributes
    ----------
    seconds : dict of str to float
    """

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def __call__(self, phase):
        """Add the time that the body takes to a phase."""
        begin = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - begin, 6)


def show_warnings(caught):
    """Print recorded warnings, one line each; return their texts."""
    texts = list(
        dict.fromkeys(
            str(item.message).strip().splitlines()[0]
            for item in caught
            if str(item.message).strip()
            and not issubclass(item.category, DeprecationWarning | PendingDeprecationWarning)
        )
    )
    for text in texts:
        human_line(f"tilewise: warning: {text}", True)
    return texts


def show_notes(table):
    """Print what was decided about DATA; return the texts."""
    for note in table.notes:
        click.echo(f"tilewise: note: {note}", err=True)
    return list(table.notes)


def on_terminal(as_json, quiet):
    """Return whether progress may be drawn on stderr."""
    return sys.stderr is not None and sys.stderr.isatty() and not as_json and not quiet

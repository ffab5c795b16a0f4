"""Options and output that several commands share."""

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from rich.text import Text

from .._text import first_line, printable
from ..plan._facts import whole_number
from ..plan.threads import MAX_THREADS
from ._data import READERS, Request
from ._errors import MEANINGS, WrongUsage

# Parameters of the estimator that change how fast it runs, and nothing else.
HOW = ("n_threads", "chunk_size", "engine")
# Options that say how DATA is read.
READING = ("columns", "dtype", "key", "delimiter", "header")

FILE = click.Path(path_type=Path)


class WholeOr(click.ParamType):
    """A word, or a whole number of at least one."""

    def __init__(self, word):
        self.word, self.name = word, f"{word}|number"

    def get_metavar(self, param, ctx=None):
        return f"[{self.word}|N]"

    def convert(self, value, param, ctx):
        if value == self.word or isinstance(value, int):
            return value
        number = whole_number(value)
        if not number:
            self.fail(
                f"{value!r} is neither {self.word!r} nor a whole number of at least 1", param, ctx
            )
        return number


class Budget(click.FloatRange):
    """Seconds, from a tenth to a month; ``nan`` is none of them."""

    name = "seconds"

    def __init__(self):
        super().__init__(min=0.1, max=30 * 86400.0)

    def convert(self, value, param, ctx):
        if math.isnan(seconds := super().convert(value, param, ctx)):
            self.fail("nan is not a number of seconds", param, ctx)
        return seconds


class Count(click.types.IntParamType):
    """A whole number of things, from 1 to what an index can be."""

    name = "count"

    def convert(self, value, param, ctx):
        count = super().convert(value, param, ctx)
        if not 1 <= count <= 2**62:
            self.fail(f"{count if count < 2**62 else 'this'} is not from 1 to 2**62", param, ctx)
        return count


AUTO, BUDGET = WholeOr("auto"), Budget()

# What sizes the work: every command that has one of these options has it like this.
_SHARED = {
    "rows": {"type": Count(), "metavar": "N", "help": "Rows of the data."},
    "features": {"type": Count(), "metavar": "D", "help": "Features of a row."},
    "clusters": {"type": Count(), "metavar": "K", "help": "Number of clusters."},
    "dtype": {"type": click.Choice(["float32", "float64"]), "help": "Type of the data."},
    "threads": {
        "type": click.IntRange(min=1, max=MAX_THREADS), "metavar": "N",
        "help": "Number of threads.",
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
        What this command adds to the help, such as its default.
    **more
        For ``click.option``.
    """
    shared = _SHARED[name]
    return click.option(f"--{name}", *aliases, **{**shared, "help": shared["help"] + note, **more})


def is_shared(name):
    """Whether `shared_option` knows a name."""
    return name in _SHARED


# What stands for the value of an option in its help.
_METAVARS = {click.IntRange: "N", click.FloatRange: "X", Budget: "BUDGET", str: "NAME"}


def option(name, kind, help, *aliases, **more):
    """Return the decorator for an option with a value; the help shows its default.

    Parameters
    ----------
    name : str
    kind : click.ParamType or type
    help : str
    *aliases : str
        Further names of the option, or of the argument that has its value.
    **more
        For ``click.option``.
    """
    how = {"metavar": _METAVARS.get(kind if kind is str else type(kind))} | more
    return click.option(name, *aliases, type=kind, help=help, show_default="default" in more, **how)


def flag(*names, help):
    """Return the decorator for an option without a value."""
    return click.option(*names, is_flag=True, help=help)


def path_option(name, metavar, help, *aliases, **more):
    """Return the decorator for an option that takes a path."""
    return click.option(name, *aliases, type=FILE, metavar=metavar, help=help, **more)


def chained(*decorators):
    """Apply decorators so that ``--help`` lists their options in the order written."""

    def decorate(function):
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _set_debug(context, parameter, value):
    if value:
        context.find_root().obj["debug"] = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
force_option = flag("--force", help="Replace output files that exist.")
quiet_option = flag("--quiet", "-q", help="Print nothing but errors.")
report_options = chained(
    flag("--json", "as_json", help="Print a summary as JSON on stdout."),
    flag("--quiet", "-q", help="Print nothing but errors (and --json)."),
)

input_options = chained(
    option(
        "--columns", str,
        "Columns to use, by name, by position from 0, or by range: a,b,c or 0,3,8-15.",
        metavar="LIST",
    ),
    shared_option("dtype", note=" Others are converted.  [default: as stored; float64 for text]"),
    option("--key", str, "Which array of a .npz file to read."),
    option("--delimiter", str, "What separates the cells of a .csv file.", metavar="CHAR"),
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first row of a .csv file has names.  [default: if it has no number]",
    ),
)  # fmt: skip

engine_options = chained(
    option("--chunk-size", AUTO, "Rows that one thread works on at a time.", default="auto"),
    shared_option("threads", note=ALL_THREADS),
    option(
        "--engine", click.Choice(["auto", "fused", "blas"]),
        "How distances are computed. The result is the same.", default="auto",
    ),
)  # fmt: skip


def request_of(options, wanted=None):
    """Take the options of `READING` out of `options`; return them as readers want them."""
    request = Request(**{name: options.pop(name) for name in READING}, wanted=wanted)
    if request.delimiter is None:
        return request
    delimiter = {"tab": "\t", "\\t": "\t", "space": " "}.get(request.delimiter, request.delimiter)
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise click.BadParameter("give one character, or 'tab'", param_hint="--delimiter")
    return replace(request, delimiter=delimiter)


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


def epilog(*lines, codes=True):
    """Return example commands, and the table of exit codes, laid out for ``--help``."""
    text = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
    if codes:
        rows = "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
        text += f"\n\n\b\nExit codes:\n{rows}"
    return text


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
    """Measures the phases of a command; `seconds` has the time of each by its name."""

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

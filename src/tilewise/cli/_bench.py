"""``tilewise bench EXPERIMENT``: measure, print a table, write JSON, draw."""

import contextlib
import json

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._text import first_line, printable
from ..lab.experiments import EXPERIMENTS, perform
from ..lab.quiet import headline, noise
from ._checkout import comparison
from ._errors import (
    CannotWrite,
    CommandError,
    ExitCode,
    MissingExtra,
    WrongUsage,
    reason,
)
from ._options import (
    BUDGET,
    FILE,
    cells,
    chained,
    debug_option,
    epilog,
    flag,
    force_option,
    human_line,
    is_shared,
    on_terminal,
    option,
    path_option,
    quiet_option,
    shared_option,
)
from ._output import Outputs, to_json
from ._progress import bar

_PLOTS = (".png", ".svg")

common_options = chained(
    option("--seconds", BUDGET, "How long to measure. Each case is measured at least once."),
    flag("--quick", help="Run for about a second, to try it out; the numbers mean little."),
    path_option(
        "--json", "FILE", "Write the result with every sample; - is standard output.", "json_file"
    ),
    path_option(
        "--plot", "FILE", "Draw the figures as .png or .svg; a second one gets -2 in its name."
    ),
    force_option,
    quiet_option,
)

_KINDS = {"count": click.IntRange(min=1), "program": FILE}
_METAVARS = {"count": "N", "shapes": "NxDxK,...", "program": "FOLDER", "text": "LIST"}


@click.group(
    epilog=epilog(
        "tilewise bench chunks",
        "tilewise bench chunks --features 784 --clusters 10 --json a.json",
        "tilewise bench mountain --seconds 60 --plot mountain.png",
        "tilewise report a.json -o a.html",
    ),
)
@debug_option
def bench():
    """Measure what memory and caches cost on this machine.

    Each experiment measures its cases in turn and prints medians. Pass --json to keep every
    sample for `tilewise report`. Press Ctrl-C to stop early and keep what was measured. If other
    programs use the machine meanwhile, the command says so first and compares nothing.
    """


def _command(experiment):
    def run(**options):
        return _run(experiment, **options)

    run.__doc__ = f"{experiment.title}\n\n{experiment.about}"
    options = [_option(p) for p in experiment.parameters]
    name = experiment.name
    lines = f"tilewise bench {name} --quick", f"tilewise bench {name} --json {name}.json"
    return click.command(name, short_help=experiment.title, epilog=epilog(*lines, codes=False))(
        chained(*options, common_options, debug_option)(run)
    )


def _option(p):
    default = "" if p.default is None else f"  [default: {p.default}; --quick: {p.quick}]"
    if p.default == p.quick and p.default is not None:
        default = f"  [default: {p.default}]"
    if is_shared(p.name):
        return shared_option(p.name, note=default)
    # The program that compares libraries is found in a checkout.
    name = "--checkout" if p.kind == "program" else f"--{p.name.replace('_', '-')}"
    if p.kind == "flag":
        return click.option(name, p.name, is_flag=True, default=None, help=p.help)
    kind = click.Choice(p.choices) if p.kind == "choice" else _KINDS.get(p.kind, str)
    return click.option(
        name, p.name, type=kind, default=None, help=p.help + default, metavar=_METAVARS.get(p.kind)
    )


for _experiment in EXPERIMENTS.values():
    bench.add_command(_command(_experiment))


def _run(experiment, seconds, quick, json_file, plot, force, quiet, **parameters):
    to_stdout = json_file is not None and str(json_file) == "-"
    Outputs(_paths(json_file, plot), [], force)  # refuses before anything is measured
    if plot is not None:
        needs("matplotlib")
    if "program" in parameters:
        parameters |= {"program": comparison(parameters["program"])}
    try:
        with progress(on_terminal(to_stdout, quiet)) as watch:
            result = perform(experiment.name, parameters, seconds=seconds, quick=quick, watch=watch)
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error
    except OSError as error:  # such as no folder for temporary files
        raise CannotWrite(f"{error.filename or experiment.name}: {reason(error)}") from error
    # Files first: a result must be kept even if it cannot be drawn or shown.
    try:
        figures = experiment.figures(result)
        written = _write(result, figures, json_file, plot, to_stdout)
    except CommandError:
        raise
    except Exception:
        _write(result, [], json_file, None, to_stdout)
        raise
    if not quiet:
        show(experiment, result, figures, err=to_stdout)
    for path in [] if quiet else written:
        human_line(f"written {path}", to_stdout)
    if result["interrupted"]:
        kept = sum(len(e["samples"]) for e in result["measurements"])
        click.echo(f"tilewise: interrupted; kept {kept} samples", err=True)
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def needs(*packages):
    """Raise a clear error where a package of the extra ``lab`` is missing."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtra(
                f'this needs {package}, which is not installed; run: pip install "tilewise[lab]"'
            ) from error


def _paths(json_file, plot):
    paths = {}
    if json_file is not None and str(json_file) != "-":
        paths["result"] = json_file
    if plot is not None:
        if plot.suffix.lower() not in _PLOTS:
            raise WrongUsage(f"--plot {plot}: the name must end in {' or '.join(_PLOTS)}")
        paths["figure"] = plot
        # The number of figures is not known yet, so check every name that one could get.
        for number in range(2, 10):
            if (path := plot.with_stem(f"{plot.stem}-{number}")).exists():
                paths[f"figure {number}"] = path
    return paths


def _write(result, figures, json_file, plot, to_stdout):
    """Write JSON and figures; return the paths."""
    text = json.dumps(json.loads(to_json(result)), indent=1) + "\n"
    writers, paths = {}, {}
    if not to_stdout and json_file is not None:
        paths["result"] = json_file
        writers["result"] = lambda stream: stream.write(text.encode())
    if plot is not None:
        from ..lab import plots

        for number, figure in enumerate(figures, 1):
            path = plot if number == 1 else plot.with_stem(f"{plot.stem}-{number}")
            paths[f"figure {number}"] = path
            kind = path.suffix.lower().removeprefix(".")
            writers[f"figure {number}"] = lambda stream, f=figure, k=kind: plots.write(f, stream, k)
    outputs = Outputs({}, [], True)
    outputs.paths = paths
    outputs.write(writers)
    if to_stdout:
        click.echo(text, nl=False)
    return list(paths.values())


def show(experiment, result, figures, err=False):
    """Print the table of a result and the first words of each figure."""
    console = Console(markup=False, highlight=False, stderr=err)
    if reasons := noise(result):
        console.print(Text(headline(reasons), style="bold yellow"))
    found = experiment.table(result)
    if not found.rows:
        console.print("nothing was measured")
        return
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(found.columns):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in found.rows:
        table.add_row(*cells(row))
    console.print(table)
    for note in found.notes:
        console.print(printable(note))
    for figure in figures:
        if figure.words and not figure.warning:
            console.print(printable(figure.words[0], keep="\N{NO-BREAK SPACE}"), soft_wrap=False)


@contextlib.contextmanager
def progress(shown):
    """Yield what `perform` calls to tell how far it is, or None where nothing is shown."""
    if not shown:
        yield None
        return
    with bar("preparing", "samples", "left", width=24) as (progress, task):

        def watch(phase, done, total, seconds):
            progress.update(
                task,
                description=phase,
                completed=done,
                total=total,
                samples="warming up" if seconds is None else f"{done} of {total} samples",
                left="" if seconds is None else f"about {seconds:.0f} s left",
            )

        yield watch

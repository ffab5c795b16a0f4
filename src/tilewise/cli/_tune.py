"""``tilewise tune``: measure sizes around the plan's own, and keep what is reliably faster."""

import click

from .._text import counted, first_line
from ..lab.quiet import TOO_NOISY, headline
from ._bench import progress
from ._errors import BadData, CannotWrite, ExitCode, WrongUsage, reason
from ._options import (
    ALL_THREADS,
    BUDGET,
    debug_option,
    epilog,
    flag,
    human_line,
    on_terminal,
    option,
    report_options,
    shared_option,
)
from ._output import print_json


@click.command(
    epilog=epilog(
        "tilewise tune",
        "tilewise tune --shape 1000000x32x64 --dtype float64",
        "tilewise tune --show",
        "tilewise tune --forget",
    ),
)
@click.option(
    "--shape",
    "shapes",
    metavar="NxDxK",
    multiple=True,
    help="Rows x features x clusters to tune for; can be repeated.  [default: four shapes]",
)
@shared_option("dtype", default="float32", show_default=True)
@shared_option("threads", note=ALL_THREADS)
@option("--seconds", BUDGET, "How long to measure, all shapes together.", default=40.0)
@flag("--quick", help="Run for about a second, to try it out; do not trust the result.")
@flag("--show", help="Show the record and measure nothing.")
@flag("--forget", help="Remove what was measured on this machine.")
@report_options
@debug_option
def tune(show, forget, as_json, quiet, **options):
    """Find faster chunk sizes for this machine by measuring.

    The command times chunk sizes around the plan's own. It keeps one that is more than 5 % faster
    in both halves of a comparison, and nothing if other programs use the machine meanwhile.

    Later plans for similar shapes use the record and name it. Results stay the same, bit for bit.
    The record is in the user's cache folder, or in the file that TILEWISE_TUNING names; "off"
    turns it off.
    """
    from ..plan import tuning

    if show and forget:
        raise WrongUsage("--show and --forget exclude each other")
    path = tuning.record_path()
    if path is None:
        raise WrongUsage(tuning.why_no_path())
    try:
        if show:
            return _show(path, as_json, quiet)
        if forget:
            return _forget(path, as_json, quiet)
        return _tune(path, as_json, quiet, **options)
    except OSError as error:
        hint = "" if show else f"; set {tuning.VARIABLE} to a file that can be written"
        raise CannotWrite(f"{error.filename or path}: {reason(error)}{hint}") from error
    except ValueError as error:  # an environment variable with a wrong value
        raise WrongUsage(first_line(error)) from error


def _read(path):
    from ..plan import tuning

    try:
        return tuning.read(path) if path.exists() else []
    except ValueError as error:
        raise BadData(f"{path}: not a tuning record ({error}); remove it yourself") from error


def _show(path, as_json, quiet):
    from tilewise import machine

    from ..plan import tuning

    records, key = _read(path), tuning.machine_key(machine())
    mine = [e for record in records if record["key"] == key for e in record["entries"]]
    if as_json:
        print_json({"path": path, "key": key, "entries": [e.to_dict() for e in mine]})
    if quiet:
        return ExitCode.OK
    if not mine:
        others = sum(len(record["entries"]) for record in records)
        more = f" ({others} of other machines or versions)" if others else ""
        human_line(f"{path}: nothing measured on this machine{more}", as_json)
    for e in mine:
        human_line(
            f"{e.n_samples}x{e.n_features}x{e.n_clusters} {e.dtype}, {e.n_threads} threads: "
            f"{e.chunk_rows} rows per chunk, {e.panels_per_block} panels, "
            f"{100 * e.gain:.0f} % faster than {e.plan_chunk_rows} rows, "
            f"{e.plan_panels_per_block} panels ({e.measured})",
            as_json,
        )
    return ExitCode.OK


def _forget(path, as_json, quiet):
    from ..lab import tune as lab

    _read(path)
    count = lab.forget(path)
    if as_json:
        print_json({"path": path, "forgotten": count})
    if not quiet:
        human_line(f"{path}: removed {count} entries of this machine", as_json)
    return ExitCode.OK


def _tune(path, as_json, quiet, shapes, quick, **options):
    """Measure, keep what was decided, and print it."""
    from ..lab import tune as lab
    from ..lab.roofline import parse_shapes

    _read(path)
    lab.check_place(path)  # before measuring, so that no time is lost
    try:
        shapes = [shape for text in shapes for shape in parse_shapes(text)]
    except ValueError as error:
        raise WrongUsage(f"--shape: {first_line(error)}") from error
    shapes = shapes or (lab.QUICK_SHAPES if quick else lab.SHAPES)
    with progress(on_terminal(as_json, quiet)) as watch:
        results, interrupted = _measure(shapes, quick, watch, **options)
    entries = [result["entry"] for result in results if result["accepted"]]
    decided = [result for result in results if result["decided"]]
    failure = None
    try:
        if decided:
            lab.save(entries, decided, path)
    except (OSError, ValueError) as error:  # the result is shown all the same
        failure = error
    if as_json:
        _print_results(path, results, interrupted)
    if not quiet:
        for line in _lines(results, len(shapes)):
            human_line(line, as_json)
        if entries and failure is None:
            human_line(f"written {path}", as_json)
    if failure is not None:
        raise CannotWrite(f"{path}: could not save the result: {first_line(failure)}") from failure
    if interrupted:
        human_line(
            f"tilewise: interrupted; decided {len(decided)} of {counted(len(shapes), 'shape')}; "
            "the record is unchanged for the others",
            True,
        )
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _measure(shapes, quick, watch, dtype, threads, seconds):
    """Return the results of the shapes, and whether Ctrl-C came before the last of them."""
    from ..lab import tune as lab

    results = []
    share = (1.0 if quick else seconds) / len(shapes)
    try:
        for shape in shapes:
            results.append(
                lab.tune(shape, dtype, n_threads=threads, watch=watch, quick=quick, seconds=share)
            )
            if results[-1]["interrupted"]:
                return results, True
    except KeyboardInterrupt:
        return results, True
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error
    return results, False


def _print_results(path, results, interrupted):
    noise = [
        f"{_name(result)}: {reason}"
        for result in results
        if result.get("quiet") is False
        for reason in result["noise"]
    ]
    known = [result["quiet"] for result in results if result.get("quiet") is not None]
    plain = [
        result | {"entry": result["entry"] and result["entry"].to_dict()} for result in results
    ]
    print_json(
        {
            "path": path,
            "quiet": all(known) if known else None,
            "noise": noise,
            "found": plain,
            "interrupted": interrupted,
        }
    )


def _name(result):
    return "x".join(map(str, result["shape"])) + f" {result['dtype']}"


def _lines(results, count):
    """The results for people: first what was too noisy, then a line for each shape."""
    if noisy := [result for result in results if result.get("quiet") is False]:
        what = f"{len(noisy)} of {count} shapes" if count > 1 else _name(noisy[0])
        yield f"{headline([f'{what}: ' + '; '.join(noisy[0]['noise'])])} Nothing was saved."
    for result in results:
        yield f"{_name(result)}: {_outcome(result)}"


def _outcome(result):
    own = f"the plan's {result['candidates'][0]['chunk_rows']} rows"
    gains = ", ".join(f"{100 * gain:+.1f} % in {kind}" for kind, gain in result["gains"].items())
    rounds = len(result["duel"].get("fit", {}).get("plan", ()))
    if result.get("quiet") is False:
        return f"{TOO_NOISY}; {own} stay, and so does the record"
    if not result["decided"]:
        return f"interrupted {_progress(result, rounds)}; {own} stay"
    if result["accepted"]:
        return (
            f"{_sizes(vars(result['entry']), ' per chunk')}: {100 * result['gain']:.0f} % faster "
            f"in {result['kind']} than {own} ({gains}; {rounds} rounds)"
        )
    if result["rival"] is None:
        return f"{own} stay; they were the fastest of all that was tried"
    return (
        f"{own} stay. {_sizes(result['rival'])}: {gains} over {rounds} rounds. That is too small a "
        "gain, a gain in too few rounds, or a loss elsewhere"
    )


def _progress(result, rounds):
    """What had been measured of a shape when Ctrl-C came."""
    if result["rival"] is not None:
        return f"after {rounds} rounds against {_sizes(result['rival'])}, too few to decide"
    timed = [c for c in result["candidates"] if c["median"] is not None]
    if not timed:
        return "before the first sample"
    best = min(timed, key=lambda c: c["median"])
    return (
        f"in the first measurement: {len(timed)} of {len(result['candidates'])} sizes have "
        f"samples, and {_sizes(best)} look fastest"
    )


def _sizes(chosen, of=""):
    return f"{chosen['chunk_rows']} rows{of}, {chosen['panels_per_block']} panels"

"""``tilewise tune``: measure sizes around the plan's own, and keep what is reliably faster."""

import click

from ..lab.quiet import TOO_NOISY, headline
from ._bench import progress
from ._errors import BadData, CannotWrite, ExitCode, WrongUsage, first_line, reason
from ._options import (
    ALL_THREADS,
    BUDGET,
    debug_option,
    examples,
    exit_codes,
    human_line,
    on_terminal,
    shared_option,
)
from ._output import to_json


@click.command(
    epilog="\n\n".join(
        (
            examples(
                "tilewise tune",
                "tilewise tune --shape 1000000x32x64 --dtype float64",
                "tilewise tune --show",
                "tilewise tune --forget",
            ),
            exit_codes(),
        )
    ),
)
@click.option(
    "--shape",
    "shapes",
    metavar="NxDxK",
    multiple=True,
    help="Rows x features x clusters to tune for; may be repeated.  [default: four shapes]",
)
@shared_option("dtype", default="float32", show_default=True)
@shared_option("threads", note=ALL_THREADS)
@click.option(
    "--seconds",
    type=BUDGET,
    default=40.0,
    show_default=True,
    metavar="BUDGET",
    help="Time to measure for, all shapes together.",
)
@click.option("--quick", is_flag=True, help="Smoke size of seconds; do not trust what it finds.")
@click.option("--show", is_flag=True, help="Show the record and measure nothing.")
@click.option("--forget", is_flag=True, help="Remove what was measured on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors (and --json).")
@debug_option
def tune(shapes, dtype, threads, seconds, quick, show, forget, as_json, quiet):
    """Measure chunk sizes around the plan's own on this machine.

    Only a gain above 5 % that shows in both halves of a duel is kept, and none where others use the
    machine meanwhile. Later plans for shapes
    near the measured one use the record and name it; results stay the same, bit for bit. The
    record lies in the user's cache folder, or where TILEWISE_TUNING says; "off" turns it off.
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
        return _measure(path, shapes, dtype, threads, seconds, quick, as_json, quiet)
    except OSError as error:
        hint = "" if show else f"; set {tuning.VARIABLE} to a file that can be written"
        raise CannotWrite(f"{error.filename or path}: {reason(error)}{hint}") from error
    except ValueError as error:  # an environment variable that makes no sense
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
        click.echo(to_json({"path": path, "key": key, "entries": [e.to_dict() for e in mine]}))
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
    gone = lab.forget(path)
    if as_json:
        click.echo(to_json({"path": path, "forgotten": gone}))
    if not quiet:
        human_line(f"{path}: {gone} entries of this machine forgotten", as_json)
    return ExitCode.OK


def _measure(path, texts, dtype, threads, seconds, quick, as_json, quiet):
    from ..lab import tune as lab
    from ..lab.roofline import parse_shapes

    _read(path)
    lab.check_place(path)  # before the time of a measurement is spent in vain
    try:
        shapes = [shape for text in texts for shape in parse_shapes(text)]
    except ValueError as error:
        raise WrongUsage(f"--shape: {first_line(error)}") from error
    shapes = shapes or (lab.QUICK_SHAPES if quick else lab.SHAPES)
    found, interrupted = [], False
    try:
        with progress(on_terminal(as_json, quiet)) as watch:
            for shape in shapes:
                found.append(
                    lab.tune(
                        shape, dtype, n_threads=threads, watch=watch, quick=quick,
                        seconds=(1.0 if quick else seconds) / len(shapes),
                    )
                )  # fmt: skip
                if found[-1]["interrupted"]:
                    interrupted = True
                    break
    except KeyboardInterrupt:
        interrupted = True
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error
    entries = [told["entry"] for told in found if told["accepted"]]
    decided = [told for told in found if told["decided"]]
    unwritten = None
    try:
        if decided:
            lab.save(entries, decided, path)
    except (OSError, ValueError) as error:  # what was measured is shown all the same
        unwritten = error
    if as_json:
        plain = [told | {"entry": told["entry"] and told["entry"].to_dict()} for told in found]
        calm, reasons = _calm(found)
        head = {"path": path, "quiet": calm, "noise": reasons}
        click.echo(to_json(head | {"found": plain, "interrupted": interrupted}))
    if not quiet:
        if noisy := [told for told in found if told.get("quiet") is False]:
            of = f"{len(noisy)} of {len(shapes)} shapes" if len(shapes) > 1 else _name(noisy[0])
            reasons = "; ".join(noisy[0]["noise"])
            human_line(f"{headline([f'{of}: {reasons}'])} Nothing of it is kept.", as_json)
        for told in found:
            human_line(_told(told), as_json)
        if entries and unwritten is None:
            human_line(f"written {path}", as_json)
    if unwritten is not None:
        raise CannotWrite(
            f"{path}: what was measured could not be kept: {first_line(unwritten)}"
        ) from unwritten
    if interrupted:
        human_line(
            f"tilewise: interrupted; of {len(shapes)} shape{'s' if len(shapes) > 1 else ''} "
            f"{len(decided)} {'was' if len(decided) == 1 else 'were'} decided, and what the record "
            "held of the others stays",
            True,
        )
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _calm(found):
    """Whether the machine was quiet for all shapes, and for which it was not, and why."""
    reasons = [
        f"{_name(told)}: {reason}" for told in found
        if told.get("quiet") is False for reason in told["noise"]
    ]  # fmt: skip
    known = [told["quiet"] for told in found if told.get("quiet") is not None]
    return (all(known) if known else None), reasons


def _name(told):
    return "x".join(map(str, told["shape"])) + f" {told['dtype']}"


def _told(told):
    name = _name(told)
    own = told["candidates"][0]["chunk_rows"]
    gains = ", ".join(f"{100 * gain:+.1f} % in {kind}" for kind, gain in told["gains"].items())
    rounds = len(told["duel"].get("fit", {}).get("plan", ()))
    if told.get("quiet") is False:
        return f"{name}: {TOO_NOISY}; the plan's {own} rows and what the record holds stay"
    if not told["decided"]:
        return f"{name}: interrupted {_so_far(told, rounds)}; the plan's {own} rows stay"
    if told["accepted"]:
        entry = told["entry"]
        return (
            f"{name}: {entry.chunk_rows} rows per chunk, {entry.panels_per_block} panels: "
            f"{100 * told['gain']:.0f} % faster in {told['kind']} than the plan's {own} "
            f"({gains}; {rounds} rounds)"
        )
    if told["rival"] is None:
        return f"{name}: the plan's {own} rows stay; they were the fastest of all that was tried"
    return (
        f"{name}: the plan's {own} rows stay; {told['rival']['chunk_rows']} rows, "
        f"{told['rival']['panels_per_block']} panels gained {gains} over {rounds} rounds, which is "
        "too little, not in most rounds, or a loss elsewhere"
    )


def _so_far(told, rounds):
    """What was measured of a shape before Ctrl-C, and how far that was from a decision."""
    if told["rival"] is not None:
        return (
            f"after {rounds} rounds of a duel with {told['rival']['chunk_rows']} rows, "
            f"{told['rival']['panels_per_block']} panels, too few to decide"
        )
    timed = [c for c in told["candidates"] if c["median"] is not None]
    if not timed:
        return "before the first sample"
    best = min(timed, key=lambda c: c["median"])
    return (
        f"while {len(told['candidates'])} sizes were measured for the first time; of {len(timed)} "
        f"that have samples {best['chunk_rows']} rows, {best['panels_per_block']} panels look "
        "fastest in a fit"
    )

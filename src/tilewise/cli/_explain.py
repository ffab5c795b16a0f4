"""``tilewise explain``: where a run keeps things, what it moves, and which roof binds."""

import warnings

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .._json import read_json
from .._sizes import sized
from .._text import MOST_SHOWN, printable
from ..plan.threads import MAX_THREADS
from ._errors import BadData, NoInput, WrongUsage, first_line, reason
from ._options import (
    FILE,
    cells,
    chained,
    debug_option,
    engine_options,
    examples,
    exit_codes,
    shared_option,
    show_warnings,
)
from ._output import to_json

shape_options = chained(
    shared_option("rows", required=True),
    shared_option("features", required=True),
    shared_option("clusters", required=True),
    shared_option("dtype", default="float32", show_default=True),
)

machine_options = chained(
    click.option(
        "--machine",
        "machine_file",
        type=FILE,
        metavar="FILE",
        help="Explain for another machine: what its `tilewise info --json` printed.",
    ),
    click.option("--measure", is_flag=True, help="Measure this machine's roofs, about 2 s."),
    click.option(
        "--roofs",
        "roofs_file",
        type=FILE,
        metavar="FILE",
        help="Roofs from a result of `tilewise bench roofline`, or from --json of this command.",
    ),
    click.option("--sums", is_flag=True, help="A pass that also sums the rows of each cluster."),
)


@click.command(
    epilog="\n\n".join(
        (
            examples(
                "tilewise explain --rows 200000 --features 64 --clusters 256",
                "tilewise explain --rows 60000 --features 784 --clusters 10 --measure",
                "tilewise explain --rows 1000000 --features 16 --clusters 16 --machine other.json",
            ),
            exit_codes(),
        )
    )
)
@shape_options
@engine_options
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@debug_option
def explain(
    rows, features, clusters, dtype, chunk_size, threads, engine, machine_file, measure,
    roofs_file, sums, as_json,
):  # fmt: skip
    """Explain what a pass over dense rows would cost, before it runs.

    Shows the plan in sentences, the buffers with the cache level each is meant for, the bytes
    that one pass moves between the levels by the formulas of docs/cache-simulation.md, which
    roof binds, and what another choice would change. Nothing is run.
    """
    from ..lab.explain import explain as explained
    from ..lab.roofs import Roofs

    if machine_file is not None and measure:
        raise WrongUsage("--measure measures this machine, --machine describes another one")
    if roofs_file is not None and measure:
        raise WrongUsage("--roofs and --measure both say how fast the machine is: give one")
    machine, recorded_threads = read_machine(machine_file)
    threads = threads if threads is not None else recorded_threads
    choices = {
        "n_threads": threads, "chunk_size": chunk_size, "engine": engine, "machine": machine,
        "update": sums,
    }  # fmt: skip
    try:
        roofs = None if roofs_file is None else read_roofs(roofs_file)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if measure:
                from tilewise import plan

                sizes = plan(rows, features, clusters, dtype, n_threads=threads)
                roofs = Roofs.measure(sizes.n_threads, sizes.score_dtype)
            told = explained(rows, features, clusters, dtype, roofs=roofs, **choices)
        show_warnings(caught)
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error
    if as_json:
        click.echo(to_json(told.to_dict()))
        return
    _show(told)


def read_machine(path):
    """Return the machine of a file and its number of threads; None where no file is given.

    Raises
    ------
    NoInput, BadData
        If the file cannot be read or holds no facts of a machine.
    """
    if path is None:
        return None, None
    from tilewise import Machine

    record = _read(path, "the facts of a machine")
    # What `info` prints, what `bench` records, or the facts alone.
    if isinstance(record, dict) and isinstance(record.get("machine"), dict):
        record = record["machine"]
    if isinstance(record, dict) and isinstance(record.get("facts"), dict):
        record = record["facts"]
    if not isinstance(record, dict):
        raise BadData(f"{path}: not the facts of a machine (an object was expected)")
    facts = dict(record)
    threads = facts.pop("n_threads", None)
    try:
        machine = Machine.from_dict(facts)
    except ValueError as error:
        raise BadData(f"{path}: {first_line(error)}") from error
    count = threads.get("value") if isinstance(threads, dict) else None
    if type(count) is not int or not 1 <= count <= MAX_THREADS:
        count = min(machine.n_cpus.value, MAX_THREADS)
    return machine, count


def read_roofs(path):
    """Return the roofs of a file.

    Raises
    ------
    NoInput, BadData
        If the file cannot be read or holds no roofs.
    """
    from ..lab.roofs import Roofs

    record = _read(path, "a record of roofs")
    if isinstance(record, dict) and isinstance(record.get("roofs"), dict):
        record = record["roofs"]
    if not isinstance(record, dict):
        raise BadData(f"{path}: not a record of roofs (an object was expected)")
    try:
        return Roofs.from_dict(record)
    except ValueError as error:
        raise BadData(f"{path}: {first_line(error)}") from error


def _read(path, what):
    try:
        return read_json(path)
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error
    except ValueError as error:
        raise BadData(f"{path}: not {what} ({first_line(error)})") from error


def _show(told):
    console = Console(markup=False, highlight=False)
    plan = told.plan
    console.print(
        f"{plan.n_samples} x {plan.n_features}, {plan.n_clusters} clusters, {plan.dtype}, on "
        f"{printable(told.machine.cpu_model.value, MOST_SHOWN)}"
    )
    for sentence in plan.sentences():
        console.print(f"  {printable(sentence)}", soft_wrap=False)
    console.print(_ledger(told))
    console.print(_traffic(told))
    # What is said of the traffic and the roofs; the plan and the ledger stand above.
    for sentence in told.sentences()[len(plan.reasons) + len(told.ledger) :]:
        console.print(printable(sentence))


def _ledger(told):
    table = Table(
        box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title="What lives where",
        title_justify="left",
    )  # fmt: skip
    for name, justify in (("buffer", "left"), ("bytes", "right"), ("level", "left"),
                          ("of it", "right"), ("what", "left")):  # fmt: skip
        # Whole words and numbers: only the last column is wrapped.
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "what")
    for buffer in told.ledger:
        row = (
            buffer.name, sized(buffer.bytes), buffer.home, f"{100 * buffer.share:.3g} %",
            buffer.what,
        )  # fmt: skip
        table.add_row(*cells(row))
    return table


def _traffic(told):
    table = Table(box=SIMPLE, pad_edge=False, title="What a pass moves", title_justify="left")
    for name in ("between", "in", "out", "FLOP per byte", "at least", "at most"):
        table.add_column(name, justify="left" if name == "between" else "right")
    for flow, limits in zip(told.traffic.flows, told.spread, strict=True):
        row = (
            f"{flow.inner} and {flow.outer}",
            *(sized(size) for size in (flow.bytes_in, flow.bytes_out)),
            f"{told.traffic.intensity(flow):.3g}",
            *(sized(size) for size in limits),
        )
        table.add_row(*cells(row))
    return table

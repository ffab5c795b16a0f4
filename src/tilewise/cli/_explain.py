"""``tilewise explain``: where a run keeps things, what it moves, and what limits its speed."""

import warnings

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .._json import read_json
from .._sizes import sized
from .._text import MOST_SHOWN, first_line, printable
from ..plan.threads import MAX_THREADS
from ._errors import BadData, NoInput, WrongUsage, reason
from ._options import (
    cells,
    chained,
    debug_option,
    engine_options,
    epilog,
    flag,
    path_option,
    shared_option,
    show_warnings,
)
from ._output import print_json

shape_options = chained(
    shared_option("rows", required=True),
    shared_option("features", required=True),
    shared_option("clusters", required=True),
    shared_option("dtype", default="float32", show_default=True),
)

machine_options = chained(
    path_option(
        "--machine",
        "FILE",
        "Explain for another machine, from the output of `tilewise info --json` there.",
        "machine_file",
    ),
    flag("--measure", help="Measure the speed of this machine first; takes about 2 s."),
    path_option(
        "--roofs",
        "FILE",
        "Use the speeds in a result of `tilewise bench roofline`, or in the JSON of this command.",
        "roofs_file",
    ),
    flag("--sums", help="Explain a pass that also sums the rows of each cluster."),
    click.option(
        "--device",
        "device_file",
        is_flag=False,
        flag_value="",
        metavar="[FILE]",
        help="Explain passes on the GPU of this machine, or on the one whose facts "
        "`tilewise info --devices --json` wrote to FILE: over rows that come from memory or a "
        "file, in parts if they do not fit.",
    ),
)


@click.command(
    epilog=epilog(
        "tilewise explain --rows 200000 --features 64 --clusters 256",
        "tilewise explain --rows 60000 --features 784 --clusters 10 --measure",
        "tilewise explain --rows 1000000 --features 16 --clusters 16 --machine other.json",
        "tilewise explain --rows 1000000 --features 128 --clusters 1024 --device",
    )
)
@shape_options
@engine_options
@machine_options
@flag("--json", "as_json", help="Print everything as JSON on stdout.")
@debug_option
def explain(
    rows,
    features,
    clusters,
    dtype,
    machine_file,
    measure,
    roofs_file,
    device_file,
    as_json,
    **choices,
):
    """Explain what a pass over dense rows will cost, without running it.

    The command prints the plan, the buffers with the cache that each should stay in, the bytes
    that a pass moves between the caches, what limits its speed, and the effect of other choices.
    The bytes come from the formulas of docs/cache-simulation.md.
    """
    from ..lab.explain import explain as explain_pass
    from ..lab.roofs import Roofs

    if machine_file is not None and measure:
        raise WrongUsage("--measure is for this machine, --machine for another one: give one")
    if roofs_file is not None and measure:
        raise WrongUsage("--roofs and --measure both say how fast the machine is: give one")
    given = choices.pop("threads")
    if device_file is not None:
        from ._devices import explain_on_device

        if machine_file or measure or roofs_file or choices.pop("sums"):
            raise WrongUsage(
                "--machine, --measure, --roofs and --sums are for a CPU: leave out --device"
            )
        explain_on_device((rows, features, clusters), dtype, device_file, given, as_json)
        return
    machine, recorded_threads = read_machine(machine_file)
    threads = given if given is not None else recorded_threads
    choices |= {"n_threads": threads, "machine": machine, "update": choices.pop("sums")}
    try:
        roofs = None if roofs_file is None else read_roofs(roofs_file)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if measure:
                from tilewise import plan

                sizes = plan(rows, features, clusters, dtype, n_threads=threads)
                roofs = Roofs.measure(sizes.n_threads, sizes.score_dtype)
            explanation = explain_pass(rows, features, clusters, dtype, roofs=roofs, **choices)
        show_warnings(caught)
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error
    if as_json:
        print_json(explanation.to_dict())
    else:
        _show(explanation)


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

    # What `info` prints, what `bench` records, or the facts alone.
    facts = dict(_read(path, "the facts of a machine", "machine", "facts"))
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

    try:
        return Roofs.from_dict(_read(path, "a record of roofs", "roofs"))
    except ValueError as error:
        raise BadData(f"{path}: {first_line(error)}") from error


def _read(path, what, *wrappers):
    """Read a JSON object, out of the objects of these names where it lies in them."""
    try:
        record = read_json(path)
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error
    except ValueError as error:
        raise BadData(f"{path}: not {what} ({first_line(error)})") from error
    for name in wrappers:
        if isinstance(record, dict) and isinstance(record.get(name), dict):
            record = record[name]
    if not isinstance(record, dict):
        raise BadData(f"{path}: not {what} (an object was expected)")
    return record


def _show(explanation):
    console = Console(markup=False, highlight=False)
    plan = explanation.plan
    console.print(
        f"{plan.n_samples} x {plan.n_features}, {plan.n_clusters} clusters, {plan.dtype}, on "
        f"{printable(explanation.machine.cpu_model.value, MOST_SHOWN)}"
    )
    for sentence in plan.sentences():
        console.print(f"  {printable(sentence)}", soft_wrap=False)
    console.print(_ledger(explanation))
    console.print(_traffic(explanation))
    # The sentences about traffic and roofs; the plan and the ledger were printed above.
    for sentence in explanation.sentences()[len(plan.reasons) + len(explanation.ledger) :]:
        console.print(printable(sentence))


def _ledger(explanation):
    table = Table(
        box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title="What lives where",
        title_justify="left",
    )  # fmt: skip
    for name, justify in (("buffer", "left"), ("bytes", "right"), ("level", "left"),
                          ("of it", "right"), ("what", "left")):  # fmt: skip
        # Whole words and numbers: only the last column is wrapped.
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "what")
    for buffer in explanation.ledger:
        row = (
            buffer.name, sized(buffer.bytes), buffer.home, f"{100 * buffer.share:.3g} %",
            buffer.what,
        )  # fmt: skip
        table.add_row(*cells(row))
    return table


def _traffic(explanation):
    table = Table(box=SIMPLE, pad_edge=False, title="What a pass moves", title_justify="left")
    for name in ("between", "in", "out", "FLOP per byte", "at least", "at most"):
        table.add_column(name, justify="left" if name == "between" else "right")
    for flow, limits in zip(explanation.traffic.flows, explanation.spread, strict=True):
        row = (
            f"{flow.inner} and {flow.outer}",
            *(sized(size) for size in (flow.bytes_in, flow.bytes_out)),
            f"{explanation.traffic.intensity(flow):.3g}",
            *(sized(size) for size in limits),
        )
        table.add_row(*cells(row))
    return table

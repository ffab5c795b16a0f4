"""GPUs on the command line: which there are, and the plan of passes on one of them."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .._json import read_json
from .._text import MOST_SHOWN, first_line, printable
from ._errors import BadData, MissingExtra, NoInput, WrongUsage, reason
from ._options import cells
from ._output import print_json


def devices():
    """The facts of all GPUs that torch sees.

    Raises
    ------
    MissingExtra
        If torch is not installed.
    WrongUsage
        If the environment says of the memory what is no size.
    """
    from ..cuda._facts import device_facts

    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra(
            'GPUs need torch, which is not installed; run: pip install "tilewise[cuda]"'
        ) from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        return [device_facts(f"cuda:{index}") for index in range(count)]
    except ValueError as error:
        raise WrongUsage(first_line(error)) from error


def show_devices(found):
    """Print a table for each device."""
    from ..cuda._facts import device_text

    console = Console(markup=False, highlight=False)
    if not found:
        console.print("torch sees no GPU")
    for facts in found:
        table = Table(box=SIMPLE, pad_edge=False)
        table.add_column("fact", no_wrap=True)
        table.add_column("value")
        table.add_column("source", overflow="fold")
        for name, fact in facts.to_dict().items():
            table.add_row(*cells((name, device_text(name, fact["value"]), fact["source"])))
        console.print(table)


def explain_on_device(shape, dtype, path, threads, as_json):
    """Print the plan of passes on a GPU of this machine, or on one whose facts are in a file.

    It is the plan of rows that come from the host: whether they fit, and in which parts they come.
    """
    from ..cuda._facts import overridden
    from ..cuda._plan import ITEM, Moved, plan_device

    n_rows, n_features, n_clusters = shape
    try:
        facts = overridden(read_device(path)) if path else _first_device()
        problem = facts.trouble()
        if problem:
            raise WrongUsage(problem)
        plan = plan_device(
            *shape, dtype, facts, moved=Moved(n_features * ITEM[dtype]), n_threads=threads
        )
    except (MemoryError, ValueError) as error:
        raise WrongUsage(first_line(error)) from error
    if as_json:
        print_json(plan.to_dict())
        return
    console = Console(markup=False, highlight=False)
    name = printable(facts.name.value, MOST_SHOWN)
    rows = f"{n_rows} x {n_features} from the host"
    console.print(f"{rows}, {n_clusters} clusters, {dtype}, on {name}")
    for sentence in plan.sentences():
        console.print(f"  {printable(sentence)}", soft_wrap=False)


def _first_device():
    found = devices()
    if not found:
        raise WrongUsage(
            "torch sees no GPU: give --device a file that `tilewise info --devices --json` wrote "
            "elsewhere"
        )
    return found[0]


def read_device(path):
    """The facts of a file; of the first device where there are several.

    Raises
    ------
    NoInput, BadData
        If the file cannot be read or holds no facts of a device.
    """
    from ..cuda._facts import DeviceFacts

    try:
        record = read_json(path)
    except OSError as error:
        raise NoInput(f"{path}: {reason(error)}") from error
    except ValueError as error:
        raise BadData(f"{path}: not the facts of a device ({first_line(error)})") from error
    if isinstance(record, dict) and isinstance(record.get("devices"), list):
        record = record["devices"][0] if record["devices"] else None
    if not isinstance(record, dict):
        raise BadData(f"{path}: not the facts of a device (an object was expected)")
    try:
        return DeviceFacts.from_dict(record)
    except ValueError as error:
        raise BadData(f"{path}: {first_line(error)}") from error

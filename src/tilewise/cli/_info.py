"""``tilewise info``: what tilewise knows about this machine, and how it knows."""

import platform

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .._sizes import fact_text
from .._text import first_line
from .._versions import package_versions
from ._errors import WrongUsage
from ._options import cells, debug_option, epilog, flag
from ._output import print_json


@click.command(epilog=epilog("tilewise info", "tilewise info --json", codes=False))
@flag("--devices", "with_devices", help="Show the GPUs that torch sees as well.")
@flag("--json", "as_json", help="Print the facts as JSON.")
@debug_option
def info(with_devices, as_json):
    """Show what the planner knows about this machine, and from where.

    Set an environment variable such as TILEWISE_L2_BYTES or TILEWISE_NUM_THREADS to override a
    fact. The variable is then shown as its source.
    """
    from tilewise import machine
    from tilewise.plan.threads import n_threads

    try:
        facts = machine().to_dict() | {"n_threads": n_threads().to_dict()}
    except ValueError as error:  # an environment variable with a wrong value
        raise WrongUsage(first_line(error)) from error
    versions = _versions()
    if with_devices:
        from ._devices import devices, show_devices

        found = devices()
    if as_json:
        more = {"devices": [own.to_dict() for own in found]} if with_devices else {}
        print_json({"versions": versions, "facts": facts} | more)
        return
    console = Console(markup=False, highlight=False)
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("fact", no_wrap=True)
    table.add_column("value")
    table.add_column("source", overflow="fold")
    for name, fact in facts.items():
        table.add_row(*cells((name, fact_text(name, fact["value"]), fact["source"])))
    console.print(table)
    if with_devices:
        show_devices(found)


def _versions():
    found = package_versions() | {"python": platform.python_version()}
    return {name: found[name] for name in ("tilewise", "python", "numpy", "scipy", "scikit-learn")}

"""``tilewise report FILES``: one page from results of ``tilewise bench``."""

import click

from .._text import first_line
from ._bench import needs
from ._errors import BadData, NoInput, reason
from ._options import (
    FILE,
    debug_option,
    epilog,
    force_option,
    human_line,
    path_option,
    quiet_option,
)
from ._output import Outputs


@click.command(
    epilog=epilog(
        "tilewise report chunks.json -o chunks.html",
        "tilewise report here/*.json there/*.json -o both.html",
    ),
)
@click.argument("files", type=FILE, nargs=-1, required=True)
@path_option("--output", "FILE", "Where to write the page.", "-o", required=True)
@click.option("--title", default="What memory and caches cost", help="Heading of the page.")
@force_option
@quiet_option
@debug_option
def report(files, output, title, force, quiet):
    """Make one HTML page from results of `tilewise bench`.

    Point at a chart to see its numbers, and zoom into it. The text below each chart says what it
    shows. Results of several machines are also drawn together. The page needs no network.
    """
    from ..lab.experiments import EXPERIMENTS
    from ..lab.report import html
    from ..lab.schema import read

    outputs = Outputs({"page": output}, files, force)
    needs("jinja2", "jsonschema", "plotly")
    results = []
    for path in files:
        try:
            results.append(read(path))
        except OSError as error:
            raise NoInput(f"{path}: {reason(error)}") from error
        except ValueError as error:
            raise BadData(f"{path}: not a result of tilewise bench: {first_line(error)}") from error
        name = results[-1]["experiment"]
        if name not in EXPERIMENTS:
            raise BadData(f"{path}: experiment {name!r:.60} is not known to this version")
    try:
        page = html(results, title)
    except ValueError as error:
        raise BadData(first_line(error)) from error
    except (LookupError, TypeError, ArithmeticError, AttributeError) as error:
        # Files may come from strangers. The schema does not check all that figures need.
        what = f"{type(error).__name__}: {first_line(error)}"
        raise BadData(f"{', '.join(map(str, files))}: no page can be made ({what})") from error
    outputs.write({"page": lambda stream: stream.write(page.encode())})
    if not quiet:
        human_line(f"written {output}")

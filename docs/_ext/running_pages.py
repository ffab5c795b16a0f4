"""Pages whose Python blocks run while the site is built, with what they print and draw.

What enters: Markdown pages whose names match `running_pages` in conf.py. What leaves: the same
pages with output and pictures behind each block, and one notebook per page. Blocks of a page run
in order, in one namespace. Under a heading "Run" the results are folded away, so that a reader
can predict before looking.
"""

import contextlib
import fnmatch
import io
import pathlib
import tempfile
import time
import traceback
import zipfile

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from notebooks import FENCE, LESSONS, notebook, write_notebooks
from sphinx.errors import ExtensionError
from sphinx.util import logging

import tilewise
from tilewise.lab.figures import COLORS

logger = logging.getLogger(__name__)

# Pictures are as wide as a phone shows them at the size of text; colours are those of the lab.
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=list(COLORS)),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (6.2, 3.9),
    "font.size": 11,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
}
FOLDED = "<details class='result'><summary>What it gave where this page was built</summary>"
SHOWN = "<div class='result'>"


def facts():
    """Say on which machine the figures of a page were taken, in one sentence."""
    here = tilewise.machine()
    caches = ", ".join(
        f"{name} {getattr(here, fact).value // 1024:,} KiB"
        for name, fact in (("L1", "l1d_bytes"), ("L2", "l2_bytes"))
    )
    cpus = here.n_cpus.value
    return (
        f"{here.cpu_model.value}, {cpus} CPU{'s' * (cpus != 1)}, {caches}, {here.isa.value}; "
        f"tilewise {tilewise.__version__}, {time.strftime('%Y-%m-%d')}"
    )


def run_block(code, line, page, namespace):
    """Run one block; returns what it printed."""
    printed = io.StringIO()
    # The blank lines before make tracebacks name the line of the page.
    program = compile("\n" * (line - 1) + code, str(page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(program, namespace)
    return printed.getvalue()


def take_pictures(name, folder, numbers):
    """Save the open figures and close them; returns (file name, what to say instead)."""
    taken = []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        path = folder / f"{name}-{next(numbers)}.png"
        figure.savefig(path)
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        words = figure.get_suptitle() or "; ".join(titles)
        if not words:
            raise ExtensionError(f"{path.name}: a figure without a title has no text for ears")
        taken.append((path.name, words.replace("\n", " ").replace("]", "")))
    plt.close("all")
    return taken


def with_results(text, name, page, pictures):
    """Run the blocks of a page and return it with their results."""
    namespace, numbers = {"__name__": name.replace("/", "_")}, iter(range(1, 1000))
    parts, place, heading = [], 0, ""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for found in FENCE.finditer(text):
            prose = text[place : found.start()]
            headings = [line for line in prose.splitlines() if line.startswith("## ")]
            heading = headings[-1] if headings else heading
            line = text.count("\n", 0, found.start(1)) + 1
            try:
                with plt.rc_context(STYLE):
                    printed = run_block(found[1], line, page, namespace)
                    shots = take_pictures(name.replace("/", "-"), pictures, numbers)
            except Exception as problem:
                where = "".join(traceback.format_exception(problem, limit=-2))
                raise ExtensionError(f"{page}: the block of line {line} failed\n{where}") from None
            parts += [prose, found[0]]
            place = found.end()
            if printed or shots:
                fold = heading.startswith("## Run")
                parts.append(f"\n{FOLDED if fold else SHOWN}\n")
                if printed:
                    parts.append(f"\n```text\n{printed}```\n")
                parts += [f"\n![{words}](/_generated/{shot})\n" for shot, words in shots]
                parts.append(f"\n{'</details>' if fold else '</div>'}\n\n")
        parts.append(text[place:])
    logger.info("%s ran in %.1f s", name, time.perf_counter() - started)
    return "".join(parts)


def on_read(app, name, source):
    """Replace a running page by itself with results."""
    if not any(fnmatch.fnmatch(name, pattern) for pattern in app.config.running_pages):
        return
    page = pathlib.Path(app.env.doc2path(name))
    generated = pathlib.Path(app.srcdir, "_generated")
    generated.mkdir(exist_ok=True)
    book = generated / f"{page.stem}.ipynb"
    write_notebooks([page], generated)
    head, _, body = source[0].partition("\n\n")
    link = f"{{download}}`This page as a notebook </_generated/{book.name}>`"
    note = f"```{{container}} from-here\n{link} · its figures are from {facts()}\n```\n\n"
    body = with_results(source[0], name, page, generated)[len(head) + 2 :]
    source[0] = f"{head}\n\n{note}{body}"


def pack_course(app):
    """Put the notebooks of all lessons into one archive, and without solutions into another."""
    generated = pathlib.Path(app.srcdir, "_generated")
    lessons = sorted(pathlib.Path(app.srcdir, "course").glob(LESSONS))
    for name, folder, solutions in (
        ("tilewise-course", generated, True),
        ("tilewise-course-without-solutions", generated / "handout", False),
    ):
        books = write_notebooks(lessons, folder, solutions)
        with zipfile.ZipFile(generated / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in books:
                archive.write(path, f"{name}/{path.name}")


def setup(app):
    """Connect the above."""
    app.add_config_value("running_pages", [], "env")
    app.connect("builder-inited", pack_course)
    app.connect("source-read", on_read)
    return {"parallel_read_safe": False}


__all__ = ["STYLE", "notebook", "setup", "with_results"]

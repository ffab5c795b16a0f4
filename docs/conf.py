"""How the documentation is built: `make docs`, or sphinx-build -W -b html docs docs/_build/html."""

import importlib.util
import json
import pathlib
import re

import click

import tilewise
from tilewise.cli._app import app as command_line
from tilewise.lab import plots
from tilewise.lab._machine import machine_name
from tilewise.lab.experiments import EXPERIMENTS, perform

HERE = pathlib.Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"

project = "tilewise"
author = "The tilewise developers"
copyright = author
version = release = tilewise.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
]
exclude_patterns = ["_build", "_lab"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
# Primes in formulas are primes.
smartquotes = False

numpydoc_show_class_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"

html_theme = "pydata_sphinx_theme"
html_title = "tilewise"
html_static_path = ["_static"]
html_css_files = ["tilewise.css"]
html_show_sourcelink = False
html_sidebars = {"**": []}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 3,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "navigation_with_keys": False,
}


def benchmark_tables():
    """Return the tables of the newest committed benchmark, or None where there is none."""
    found = [(json.loads(path.read_text(encoding="utf-8")), path)
             for path in sorted((BENCHMARKS / "results").glob("*.json"))]  # fmt: skip
    if not found:
        return None
    result, path = max(found, key=lambda pair: pair[0]["started"])
    spec = importlib.util.spec_from_file_location("report", BENCHMARKS / "report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    tables = [table for suite in report.TITLES if (table := report.suite_table(result, suite))]
    # The tables bring headings of the third level; they stand below one of the first.
    body = "\n".join(tables).replace("\n### ", "\n## ").removeprefix("#")
    return f"From `benchmarks/results/{path.name}`:\n\n```text\n{report.head(result)}```\n\n{body}"


def commands(group=command_line, path=()):
    """Yield the path of names of every command, those of groups within groups too."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def help_of(path):
    """Return what ``tilewise PATH --help`` prints."""
    command = command_line
    context = click.Context(command_line, info_name="tilewise", terminal_width=88)
    for name in path:
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    context.terminal_width = context.max_content_width = 88
    return f"```text\n{command.get_help(context)}\n```"


# Seconds to measure each experiment for, and what it is told: examples, not benchmarks.
LAB = {
    "chunks": (8, {"engines": "fused", "simulate": True}),
    "dtypes": (3, {}),
    "threads": (5, {"rows": 40_000}),
    "materialise": (8, {"rows": 60_000}),
    "mountain": (8, {"largest_mib": 64}),
    "roofline": (6, {}),
}


def lab_figures(name):
    """Run an experiment on the machine that builds this; return its figures and their words."""
    seconds, parameters = LAB[name]
    result = perform(name, parameters, seconds=seconds)
    folder = HERE / "_lab"
    folder.mkdir(exist_ok=True)
    parts = []
    for figure in EXPERIMENTS[name].figures(result):
        path = folder / f"{figure.key}.svg"
        with path.open("wb") as stream:
            plots.write(figure, stream, "svg")
        parts += [f"![{figure.title}](_lab/{path.name})", *figure.words]
    return "\n\n".join(parts) + f"\n\nMeasured on {machine_name(result)}."


def fill_in(app, docname, source):
    """Replace what stands between markers by what the code says today."""

    def between(marker, text):
        pattern = rf"(<!-- {marker}:start -->\n).*?(<!-- {marker}:end -->)"
        source[0] = re.sub(pattern, lambda found: f"\n{text}\n", source[0], flags=re.DOTALL)

    if docname == "benchmarks" and (tables := benchmark_tables()):
        between("figures", tables)
    if docname == "command-line":
        for path in commands():
            between(" ".join(("help", *path)), help_of(path))
    if docname == "lab":
        for name in LAB:
            between(f"lab {name}", lab_figures(name))


def setup(app):
    """Connect the above."""
    app.connect("source-read", fill_in)

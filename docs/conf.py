"""How the documentation is built: `make docs`, or sphinx-build -W -b html docs docs/_build/html."""

import importlib.util
import json
import pathlib
import re

import click

import tilewise
from tilewise.cli._app import app as command_line

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
exclude_patterns = ["_build"]
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


def help_of(name):
    """Return what ``tilewise NAME --help`` prints."""
    command = command_line.commands[name] if name else command_line
    parent = click.Context(command_line, info_name="tilewise", terminal_width=88)
    context = click.Context(command, info_name=name, parent=parent) if name else parent
    context.terminal_width = context.max_content_width = 88
    return f"```text\n{command.get_help(context)}\n```"


def fill_in(app, docname, source):
    """Replace what stands between markers by what the code says today."""

    def between(marker, text):
        pattern = rf"(<!-- {marker}:start -->\n).*?(<!-- {marker}:end -->)"
        source[0] = re.sub(pattern, lambda found: f"\n{text}\n", source[0], flags=re.DOTALL)

    if docname == "benchmarks" and (tables := benchmark_tables()):
        between("figures", tables)
    if docname == "command-line":
        for name in ("", *command_line.commands):
            between(f"help {name}".strip(), help_of(name))


def setup(app):
    """Connect the above."""
    app.connect("source-read", fill_in)

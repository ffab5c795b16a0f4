"""How the documentation is built: `make docs`, or sphinx-build -W -b html docs docs/_build/html."""

import os
import pathlib
import re
import sys
import warnings

import click

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import cover  # noqa: E402
import lab_figures  # noqa: E402
import recording  # noqa: E402
import results  # noqa: E402
import rooms  # noqa: E402
from recording import STYLE  # noqa: E402

import tilewise  # noqa: E402
from tilewise.cli._app import app as command_line  # noqa: E402

project = "tilewise"
author = "The tilewise developers"
copyright = author
version = release = tilewise.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "running_pages",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_ext",
    "_generated",
    "_recorded",
    "gallery",
    "**/*.ipynb",
    "auto_gallery/*.py",
]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
# Primes in formulas are primes.
smartquotes = False
# A function among the settings of the gallery cannot be kept between builds.
suppress_warnings = ["config.cache"]

# Pages that have behind every Python block what it gave where it was recorded.
running_pages = list(recording.PAGES)

numpydoc_show_class_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"


def gallery_style(gallery_conf, name):
    """Give every program of the gallery the same style, and no window."""
    import matplotlib

    matplotlib.rcParams.update(STYLE)


sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "min_reported_time": 3600,
    "nested_sections": False,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib", gallery_style),
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "tilewise"
html_static_path = ["_static"]
html_css_files = ["tilewise.css"]
html_show_sourcelink = False
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "contributing": [], "tour": []}
html_theme_options = {
    "logo": {
        "text": "tilewise",
        "image_light": "_static/favicon.svg",
        "image_dark": "_static/favicon.svg",
    },
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 1,
    "navigation_with_keys": False,
}


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


def fill_in(app, docname, source):
    """Replace what stands between markers by what the code says today."""

    def between(marker, text):
        pattern = rf"(<!-- {marker}:start -->\n).*?(<!-- {marker}:end -->)"
        source[0] = re.sub(pattern, lambda found: f"\n{text}\n", source[0], flags=re.DOTALL)

    for name in re.findall(r"<!-- page (\S+) -->", source[0]):
        app.env.note_reread()  # whether a page is there may change
        if not (HERE / f"{name}.md").exists():  # a page that this version does not have
            text = re.sub(rf"<!-- page {name} -->.*?<!-- end -->", "", source[0], flags=re.DOTALL)
            source[0] = text.replace(f"\n{name}\n", "\n")
    source[0] = re.sub(r"^<!-- (page \S+|end) -->\n", "", source[0], flags=re.MULTILINE)
    if docname == "benchmarks" and (tables := results.page_of()):
        between("figures", tables)
    if docname == "benchmarks" and (figures := lab_figures.kept_figures(HERE / "_generated")):
        between("lab", figures)
    if docname == "tour":
        for room in rooms.rooms():
            between(f"files {room}", rooms.files_of(room))
            for path in (rooms.SOURCE / room).glob("**/*.[ph]*"):
                app.env.note_dependency(str(path))
    if docname == "command-line":
        for path in commands():
            between(" ".join(("help", *path)), help_of(path))
    if docname == "lab":
        for name in lab_figures.LAB:
            between(f"lab {name}", lab_figures.figures_of(name, HERE / "_generated"))


def draw(app):
    """Draw the pictures that are not a page's own, if what they are drawn from is newer."""
    generated = HERE / "_generated"
    generated.mkdir(exist_ok=True)
    for name, drawing, sources in (
        ("cover.png", cover.draw_cover, [cover.__file__]),
        ("iterations.png", results.chart, [results.__file__, *results.paths()]),
    ):
        newest = max(os.path.getmtime(source) for source in sources)
        path = generated / name
        if not path.exists() or path.stat().st_mtime < newest:
            drawing(path)


def setup(app):
    """Connect the above."""
    # Sphinx cannot keep functions among its settings between builds, and says so.
    warnings.filterwarnings("ignore", message=".*cannot cache unpickleable.*")
    app.connect("builder-inited", draw)
    app.connect("source-read", fill_in)

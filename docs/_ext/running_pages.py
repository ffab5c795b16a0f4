"""Pages whose Python blocks have results: what they printed and drew where they were recorded.

What enters: Markdown pages whose names match `running_pages` in conf.py, and their records in
docs/_recorded (recording.py). What leaves: the same pages with output and pictures behind each
block, and one notebook per page. Nothing is measured while the site is built: a block that differs
from the recorded one stops the build. Under a heading "Run" the results are folded away, so that a
reader can predict before looking.
"""

import fnmatch
import pathlib
import shutil
import zipfile

import recording
from notebooks import FENCE, LESSONS, notebook, write_notebooks
from recording import STYLE
from sphinx.errors import ExtensionError

SHOWN = "<div class='result'>"


def folded(record):
    """Return the opening of a fold that says where its results come from."""
    return (
        "<details class='result'><summary>What it gave where it was recorded "
        f"({record['recorded']})</summary>"
    )


def source_told(record):
    """Return on which machine the figures of a page were taken, and whether it was quiet."""
    told = f"{record['machine']}; tilewise {record['version']}, {record['recorded']}"
    if record["quiet"] is False:
        told += ". **Too noisy to compare times**: " + "; ".join(record["noise"])
    return told


def with_results(text, name, record):
    """Return a page with what its blocks gave when they were recorded."""
    if lines := recording.stale(text, record):
        raise ExtensionError(
            f"{name}: what the block of line {lines[0]} gives is not recorded; run "
            f"`python docs/_ext/recording.py {name}` on a quiet machine"
        )
    parts, place, heading = [], 0, ""
    for found, block in zip(FENCE.finditer(text), record["blocks"], strict=True):
        prose = text[place : found.start()]
        headings = [line for line in prose.splitlines() if line.startswith("## ")]
        heading = headings[-1] if headings else heading
        parts += [prose, found[0]]
        place = found.end()
        if block["printed"] or block["pictures"]:
            fold = heading.startswith("## Run")
            parts.append(f"\n{folded(record) if fold else SHOWN}\n")
            if block["printed"]:
                parts.append(f"\n```text\n{block['printed']}```\n")
            parts += [f"\n![{p['words']}](/_generated/{p['file']})\n" for p in block["pictures"]]
            parts.append(f"\n{'</details>' if fold else '</div>'}\n\n")
    parts.append(text[place:])
    return "".join(parts)


def on_read(app, name, source):
    """Replace a running page by itself with results."""
    if not any(fnmatch.fnmatch(name, pattern) for pattern in app.config.running_pages):
        return
    page = pathlib.Path(app.env.doc2path(name))
    generated = pathlib.Path(app.srcdir, "_generated")
    generated.mkdir(exist_ok=True)
    record = recording.read(name)
    body = with_results(source[0], name, record)
    app.env.note_dependency(str(recording.RECORDED / f"{recording.slug(name)}.json"))
    for block in record["blocks"]:
        for picture in block["pictures"]:
            shutil.copyfile(recording.RECORDED / picture["file"], generated / picture["file"])
    write_notebooks([page], generated)
    head, _, _ = source[0].partition("\n\n")
    link = f"{{download}}`This page as a notebook </_generated/{page.stem}.ipynb>`"
    note = (
        f"```{{container}} from-here\n{link} gives your figures · those on this page are from "
        f"{source_told(record)}\n```\n\n"
    )
    source[0] = f"{head}\n\n{note}{body[len(head) + 2 :]}"


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

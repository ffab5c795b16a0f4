"""Notebooks out of pages: the prose of a Markdown page and its Python blocks, in order.

A page of the course is written once, as Markdown. This module cuts it into the cells of a
notebook; nothing else needs to be installed for it:

    python docs/_ext/notebooks.py docs/course build/notebooks
    python docs/_ext/notebooks.py docs/course build/handout --without-solutions
"""

import argparse
import json
import pathlib
import re

__all__ = ["TAG", "cells_of", "notebook", "write_notebooks"]

FENCE = re.compile(r"^```python\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
OPENS = re.compile(r"<details[^>]*>\s*<summary>(.*?)</summary>\s*", re.DOTALL)
CLOSES = "</details>"
# A link to another page of the site leads nowhere from a notebook: its words stay.
PAGE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")
LESSONS = "[0-9]-*.md"
#: The tag of every cell that gives a solution away, prose and code.
TAG = "solution"


def cells_of(text):
    """Return the cells of a page: (kind, source, whether it belongs to a solution).

    What is folded away on the page is a solution. Prose is cut where a fold begins and where it
    ends, so that no cell holds both a question and its answer.
    """
    cells, place, fold = [], 0, _Fold()
    for found in [*FENCE.finditer(text), None]:
        prose = text[place : found.start() if found else None]
        cells += fold.cut(prose)
        if found:
            cells.append(("code", found[1].strip("\n"), fold.summary is not None))
            place = found.end()
    if fold.summary is not None:
        raise ValueError(f"the fold {fold.summary!r} is not closed")
    return cells


class _Fold:
    """The fold that the end of the prose so far is in, and whether it said something already."""

    def __init__(self):
        self.summary, self.begun = None, False

    def cut(self, prose):
        """Return the cells of some prose, cut where folds open and close."""
        cells = []
        while prose:
            if self.summary is None:
                before, opened, prose = _parted(OPENS, prose)
                cells += _words(before, None)
                if opened:
                    self.summary, self.begun = opened, False
            else:
                inside, closed, prose = prose.partition(CLOSES)
                name = f"{self.summary}, continued" if self.begun else self.summary
                cells += _words(inside, name)
                self.begun = True
                if closed:
                    self.summary = None
        return cells


def _parted(pattern, text):
    """Return what stands before a match, its first group, and what follows."""
    found = pattern.search(text)
    return (text[: found.start()], found[1], text[found.end() :]) if found else (text, None, "")


def _words(text, summary):
    """Return the cell of some prose, of none where it is blank; folded if it has a summary."""
    words = PAGE_LINK.sub(r"\1", text).strip()
    if words and summary is not None:
        # A cell is a document of its own: what opens in it closes in it.
        words = f"<details><summary>{summary}</summary>\n\n{words}\n\n{CLOSES}"
    return [("markdown", words, summary is not None)] if words else []


def notebook(text, solutions=True):
    """Return a page as a notebook of format 4.5, a dict that JSON can hold.

    Without `solutions`, the cells that carry their tag are left out.
    """
    cells = []
    for number, (kind, source, hidden) in enumerate(cells_of(text)):
        if hidden and not solutions:
            continue
        cell = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        if hidden:
            cell["metadata"]["tags"] = [TAG]
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
            if hidden:  # Jupyter shows three dots, and the code when they are clicked
                cell["metadata"]["jupyter"] = {"source_hidden": True}
        cells.append(cell)
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write_notebooks(pages, folder, solutions=True):
    """Write a notebook for each page into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in pages:
        path = folder / f"{page.stem}.ipynb"
        made = notebook(page.read_text(encoding="utf-8"), solutions)
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def main(arguments=None):
    """Write the notebooks of a folder of lessons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=pathlib.Path, help="folder of the pages")
    parser.add_argument("target", type=pathlib.Path, help="folder for the notebooks")
    parser.add_argument("--without-solutions", action="store_true", help="for students")
    told = parser.parse_args(arguments)
    pages = sorted(told.source.glob(LESSONS))
    if not pages:
        parser.error(f"no page named like {LESSONS} in {told.source}")
    for path in write_notebooks(pages, told.target, not told.without_solutions):
        print(path)


if __name__ == "__main__":
    main()

"""Notebooks out of pages: the prose of a Markdown page and its Python blocks, in order.

A page of the course is written once, as Markdown. This module cuts it into the cells of a
notebook; nothing else needs to be installed for it:

    python docs/_ext/notebooks.py docs/course build/notebooks
"""

import json
import pathlib
import re
import sys

__all__ = ["cells_of", "notebook", "write_notebooks"]

FENCE = re.compile(r"^```python\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
OPENS = re.compile(r"<details[^>]*>\s*<summary>(.*?)</summary>", re.DOTALL)
# A link to another page of the site leads nowhere from a notebook: its words stay.
PAGE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")
LESSONS = "[0-9]-*.md"


def cells_of(text):
    """Return the cells of a page: (kind, source, whether it belongs to a solution)."""
    cells, hidden, place = [], "", 0
    for found in [*FENCE.finditer(text), None]:
        prose = text[place : found.start() if found else None]
        opened = OPENS.findall(prose)
        still_hidden = prose.rfind("<details") > prose.rfind("</details>") or (
            bool(hidden) and "</details>" not in prose
        )
        # A cell is a document of its own: what is open at its end is closed there, and opened
        # again behind the code.
        before, after = hidden, (opened[-1] if opened else hidden) if still_hidden else ""
        words = PAGE_LINK.sub(r"\1", prose).strip()
        if before and words.startswith("</details>"):
            words = words.removeprefix("</details>").strip()
        elif before and words:
            words = f"<details><summary>{before}, continued</summary>\n\n{words}"
        if after and words:
            words += "\n\n</details>"
        if words:
            cells.append(("markdown", words, False))
        if found:
            cells.append(("code", found[1].strip("\n"), bool(after)))
            place = found.end()
        hidden = after
    return cells


def notebook(text):
    """Return a page as a notebook of format 4.5, a dict that JSON can hold."""
    cells = []
    for number, (kind, source, hidden) in enumerate(cells_of(text)):
        cell = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
            if hidden:  # Jupyter shows three dots, and the code when they are clicked
                cell["metadata"] = {"jupyter": {"source_hidden": True}, "tags": ["solution"]}
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


def write_notebooks(pages, folder):
    """Write a notebook for each page into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in pages:
        path = folder / f"{page.stem}.ipynb"
        made = notebook(page.read_text(encoding="utf-8"))
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    source, target = map(pathlib.Path, sys.argv[1:])
    for path in write_notebooks(sorted(source.glob(LESSONS)), target):
        print(path)

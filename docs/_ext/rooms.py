"""The files of each room with their own first sentences, for the tour."""

import ast
import pathlib
import re

__all__ = ["SOURCE", "files_of", "rooms"]

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "tilewise"


def rooms():
    """Return the names of the rooms that there are."""
    return sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def first_line(path):
    """Return the first line of what a module says of itself, or None."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = ast.get_docstring(ast.parse(text)) or ""
    else:
        found = (re.match(r'"""(.*?)"""', text, re.DOTALL) or ["", ""])[1]
    return found.strip().partition("\n")[0] or None


def first_sentence(path):
    """Return the first sentence of the first comment of a C header, or None."""
    found = re.search(r"/\*(.*?)\*/", path.read_text(encoding="utf-8"), re.DOTALL)
    words = " ".join(re.sub(r"^ \*", "", found[1], flags=re.MULTILINE).split()) if found else ""
    return re.split(r"(?<=[.:])\s", words)[0].rstrip(":") or None


def files_of(room):
    """Return a table of the files of a room; empty where there is no such room."""
    told = {
        path.name: first_line(path)
        for pattern in ("*.py", "*.pyx")
        for path in sorted((SOURCE / room).glob(pattern))
        if not path.name.startswith("__")
    }
    told |= {f"c/{path.name}": first_sentence(path) for path in (SOURCE / room / "c").glob("*.h")}
    rows = [f"| `{name}` | {what.replace('|', '¦')} |" for name, what in told.items() if what]
    return "\n".join(["| file | what |", "|---|---|", *rows]) if rows else ""

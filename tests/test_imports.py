"""How modules depend on each other: no circles, and every module on the map of its folder."""

import ast
import re
from pathlib import Path

import pytest

import tilewise

# What is installed has no sources of compiled modules.
IN_TREE = Path(__file__).parent.parent / "src" / "tilewise"
ROOT = IN_TREE if IN_TREE.is_dir() else Path(tilewise.__file__).parent
COMPILED = re.compile(
    r"^(?:from (tilewise[\w.]*) (?:c?import) \(?([\w, ]*)|c?import (tilewise[\w.]*))", re.MULTILINE
)


def module_name(path):
    parts = ["tilewise", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {}
for path in sorted(path for ending in ("py", "pyx", "pxd") for path in ROOT.rglob(f"*.{ending}")):
    SOURCES.setdefault(module_name(path), []).append(path)


def statements(body):
    """All statements, those inside functions too: an import that waits is still an import."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from statements(node.orelse)
        else:
            yield node
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from statements(getattr(node, part, []))


def named(package, names):
    """The modules that `from package import names` asks for."""
    return {f"{package}.{n}" if f"{package}.{n}" in SOURCES else package for n in names}


def imports(name):
    """The modules that a module imports, at once or when a function needs them."""
    path = SOURCES[name][0]
    text = "\n".join(part.read_text(encoding="utf-8") for part in SOURCES[name])
    found = set()
    if path.suffix != ".py":
        for package, names, whole in COMPILED.findall(text):
            found |= named(package, re.findall(r"\w+", names)) if package else {whole}
        return found & SOURCES.keys() - {name}
    folder = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in statements(ast.parse(text).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = folder.split(".")[: len(folder.split(".")) + 1 - node.level] if node.level else []
            package = ".".join([*up, *filter(None, [node.module])])
            found |= named(package, [alias.name for alias in node.names])
    return found & SOURCES.keys() - {name}


def circle(graph):
    """Modules that import each other in turn; empty where none do."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        path.append(name)
        for other in sorted(graph[name]):
            if found := visit(other):
                return found
        path.pop()
        done.add(name)
        return []

    for name in sorted(graph):
        if found := visit(name):
            return found
    return []


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_are_found():
    assert "tilewise.lab.figures" in imports("tilewise.lab.quiet")
    assert "tilewise.kernels._rows" in imports("tilewise.kernels._pairs")
    assert "tilewise._text" in imports("tilewise.cli._app")


def test_no_module_imports_itself_through_others():
    assert circle({name: imports(name) for name in SOURCES}) == []


def test_every_folder_is_installed():
    if not IN_TREE.is_dir():
        pytest.skip("needs the source tree")
    listed = re.findall(r"'(\w+)'", (IN_TREE / "meson.build").read_text(encoding="utf-8"))
    assert {path.parent.name for path in IN_TREE.glob("*/__init__.py")} <= set(listed)


@pytest.mark.parametrize("folder", ["cli", "cuda", "dask", "export", "kernels", "lab"])
def test_the_docstring_of_a_folder_names_its_modules(folder):
    init = ROOT / folder / "__init__.py"
    words = set(re.findall(r"\w+", ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))))
    modules = {name.rpartition(".")[2] for name in SOURCES
               if name.startswith(f"tilewise.{folder}.")}  # fmt: skip
    assert modules - {"__main__"} <= words

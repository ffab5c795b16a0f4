"""The code in README.md and docs/ runs: Python blocks as they stand, commands in this process.

What is left out: listings of output (`text`), and a command that holds the terminal.

Blocks of one page run in order, in one namespace and one folder, as a reader would type them.
"""

import contextlib
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

import tilewise
from tilewise import sources

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUILT = {"_build", "_generated", "auto_gallery"}
PAGES = [page for page in PAGES if not BUILT.intersection(page.parts)]
# Lessons run as the notebooks that they are made into: test_course.py.
LESSONS = [page for page in PAGES if page.parent.name == "course" and page.name[0].isdigit()]

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Every other fence is a listing that nobody runs; a misspelt "python" must not become one.
KNOWN_FENCES = {
    "python", "console", "sh", "text", "{toctree}", "{raw} html", "{button-ref} quickstart",
    "{button-ref} course/index", "{include} ../CONTRIBUTING.md",
}  # fmt: skip


def blocks_of(page):
    """Return (kind, number of the first line, code) of each block to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (found[1], text.count("\n", 0, found.start(2)) + 1, found[2])
        for found in BLOCK.finditer(text)
    ]


def run_python(code, line, page, namespace):
    # The blank lines before make tracebacks name the line of the page.
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def run_commands(code):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from tilewise.cli import main

    commands = [line[2:] for line in code.splitlines() if line.startswith("$ ")]
    assert commands, "a console block without a command"
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "tilewise", command
        assert main(arguments) == 0, command


def close_figures():
    """Leave none to the tests that follow in this process."""
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks_of(page) and page not in LESSONS],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_blocks_run(page, tmp_path, capsys, request):
    if page.name == "gpu.md":
        pytest.skip("its arrays live on a GPU: tests/cuda/test_page.py runs it")
    namespace = {"__name__": page.stem}
    if "import matplotlib" in page.read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib").use("Agg")
        request.addfinalizer(close_figures)
    if "to_onnx(" in page.read_text(encoding="utf-8"):
        pytest.importorskip("onnx")
    with contextlib.chdir(tmp_path):
        if page.name == "README.md":  # its commands speak of the reader's own file
            import numpy as np

            np.save("data.npy", np.random.default_rng(0).normal(size=(300, 4)))
        for kind, line, code in blocks_of(page):
            if kind == "python":
                run_python(code, line, page, namespace)
            else:
                run_commands(code)


def test_the_pages_that_must_have_code_have_some():
    names = {page.name for page in PAGES if any(kind == "python" for kind, _, _ in blocks_of(page))}
    assert {
        "README.md",
        "index.md",
        "quickstart.md",
        "neighbors.md",
        "drop-in.md",
        "reproducible.md",
        "ladder.md",
    } <= names
    assert len(LESSONS) == 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_fences_are_known_and_closed(page):
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= KNOWN_FENCES
    assert not any(fences[1::2])
    assert len(fences) % 2 == 0


def test_the_message_in_the_quickstart_is_the_message(capsys):
    page = ROOT / "docs" / "quickstart.md"
    comment = re.search(r"print\(error\) +# (.*)", page.read_text(encoding="utf-8"))[1]
    namespace = {}
    for kind, line, code in blocks_of(page)[:2]:
        assert kind == "python"
        run_python(code, line, page, namespace)
    assert comment in capsys.readouterr().out


def test_links_within_the_pages_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not BUILT.intersection(pathlib.PurePosixPath(target).parts)  # test_site.py looks there
        and not (page.parent / target).exists()
    ]
    assert not broken


def test_the_estimator_links_to_a_page_that_is_there():
    link = tilewise.KMeans()._get_doc_link()
    page = link.partition("/stable/")[2].removesuffix(".html")
    assert (ROOT / "docs" / f"{page}.rst").is_file(), link


def test_every_public_name_is_in_the_reference():
    # tilewise.dask and tilewise.export have names of their own: see test_api.
    named_elsewhere = {"dask", "export"}
    paths = [path for path in (ROOT / "docs/api").glob("*.rst") if path.stem not in named_elsewhere]
    pages = "".join(path.read_text(encoding="utf-8") for path in paths)
    public = set(tilewise.__all__ + tilewise.cluster.__all__) - {"__version__"}
    documented = set(re.findall(r"^\.\. auto(?:class|function):: (\w+)$", pages, re.MULTILINE))
    assert documented == public


def test_every_name_of_the_sources_is_in_the_reference():
    page = (ROOT / "docs/api/sources.rst").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: tilewise\.sources\.(\w+)$", page, re.MULTILINE)
    assert set(documented) == set(sources.__all__)


def test_the_exit_codes_of_the_page_are_those_of_the_program():
    pytest.importorskip("click")
    from tilewise.cli._errors import ExitCode

    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(ExitCode)


def test_the_tour_shows_every_room():
    tour = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "src" / "tilewise").glob("*/__init__.py")}
    assert {"plan", "kernels", "engine", "cluster", "lab"} <= rooms
    for room in rooms:
        assert f"\n## {room}\n" in tour
        assert f"<!-- files {room}:start -->" in tour


SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a reader types and no test can: it takes the terminal.
ENDLESS = {"jupyter lab"}
SHELL_COMMANDS = [
    pytest.param(command, id=f"{page.stem}: {command}")
    for page in PAGES
    for block in SHELL.findall(page.read_text(encoding="utf-8"))
    for command in (line.partition("#")[0].strip() for line in block.splitlines())
    if command
]


@pytest.mark.slow
@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_commands_of_a_shell_run(command, tmp_path, monkeypatch, capsys):
    name, *arguments = shlex.split(command)
    if command in ENDLESS:
        return
    if name == "pip":
        # Installing is what `make` does; that the extras exist is what a page can get wrong.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert arguments[0] == "install"
        named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", arguments[1])
        assert named, command
        assert set((named[1] or "all").split(",")) <= set(project["optional-dependencies"])
    elif name == "jupyter":  # test_course.py runs it, where there is a notebook
        assert arguments[0] == "nbconvert"
    elif name == "python":
        monkeypatch.chdir(tmp_path)
        paths = [str(ROOT / word) if "/" in word else word for word in arguments]
        subprocess.run([sys.executable, *paths], check=True, timeout=600)
        assert list(tmp_path.rglob("*")), "the program wrote nothing"
    else:
        assert name == "tilewise", command
        pytest.importorskip("click")
        pytest.importorskip("rich")
        from tilewise.cli import main

        monkeypatch.setenv("TILEWISE_TUNING", str(tmp_path / "tuning.json"))
        monkeypatch.chdir(tmp_path)
        if arguments[:2] == ["bench", "peers"]:  # which looks for the checkout above
            arguments += ["--checkout", str(ROOT)]
        measures = not {"--show", "--forget"}.intersection(arguments)
        assert main(arguments + ["--quick"] * measures) == 0, capsys.readouterr().err


def test_the_error_on_the_page_is_the_error(tmp_path, monkeypatch, capsys):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from tilewise.cli import main

    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    message = re.search(r"^```text\n(tilewise: error: .*\n)```$", page, re.MULTILINE)[1]
    monkeypatch.chdir(tmp_path)
    rows = ["a,b", *(f"{i},{i}" for i in range(2, 17)), "17,n/a", "18,18"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert main(["fit", "table.csv", "-k", "2", "--quiet"]) == 65
    assert capsys.readouterr().err == message

"""The course: lessons have their parts, and the notebooks made of them run as they are."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import notebooks  # noqa: E402

COURSE = ROOT / "docs" / "course"
LESSONS = sorted(COURSE.glob(notebooks.LESSONS))
LADDER = COURSE.parent / "ladder.md"
each_notebook = pytest.mark.parametrize("page", [*LESSONS, LADDER], ids=lambda page: page.stem)
each_lesson = pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)

# What a fresh interpreter does with a notebook: its cells in order, as Jupyter would.
RUN = """
import json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
names = {"__name__": "notebook"}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
print("figures:", len(plt.get_fignums()))
"""


def exercises_of(page):
    """Return the numbers of the exercises of a lesson."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^\*\*(\d)\.\*\* ", text.partition("## Exercises")[2], re.MULTILINE)


def test_there_are_six_lessons_and_the_index_names_them():
    assert [page.name[0] for page in LESSONS] == list("123456")
    index = (COURSE / "index.md").read_text(encoding="utf-8")
    for page in LESSONS:
        assert f"]({page.name})" in index
        assert f"\n{page.stem}\n" in index


@each_lesson
def test_a_lesson_asks_predicts_runs_and_reveals(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[0]}. ")
    assert "**The question.**" in text.partition("## ")[0]
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Predict", "Run", "Reveal", "Exercises"]
    exercises = exercises_of(page)
    assert exercises == list("123")[: len(exercises)]
    assert len(exercises) >= 2
    tail = text.partition("## Exercises")[2]
    assert tail.count("<details><summary>Solution</summary>") == len(exercises)
    assert tail.count("</details>") == len(exercises)


def test_the_teacher_has_a_word_on_every_exercise():
    page = (COURSE / "teacher.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\d)\.(\d) ", page, re.MULTILINE)
    assert told == [(page.name[0], number) for page in LESSONS for number in exercises_of(page)]


@each_lesson
def test_a_notebook_has_the_blocks_of_its_page(page):
    text = page.read_text(encoding="utf-8")
    book = notebooks.notebook(text)
    cells = book["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [block.strip("\n") for block in notebooks.FENCE.findall(text)]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    for cell in prose:
        assert cell.count("<details") == cell.count("</details>"), cell
        assert not re.search(r"\]\((?!https?:)", cell), "a link that leads nowhere"
    assert len({cell["id"] for cell in cells}) == len(cells)
    # Whatever code stands below the heading of the exercises is a solution, and no other is.
    place = text.index("## Exercises")
    behind = len(notebooks.FENCE.findall(text[place:]))
    hidden = [
        "solution" in cell["metadata"].get("tags", [])
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    assert hidden == [False] * (len(code) - behind) + [True] * behind


def solutions_of(page):
    """Return what the folds of a page hold, and the page without them."""
    text = page.read_text(encoding="utf-8")
    fold = re.compile(r"<details>.*?</details>", re.DOTALL)
    return fold.findall(text), fold.sub("", text)


def lines_of(text):
    """Return the lines of some Markdown that say something, as a notebook shows them."""
    text = re.sub(r"<[^>]*>|^```.*$", "", notebooks.PAGE_LINK.sub(r"\1", text), flags=re.MULTILINE)
    return {line.strip() for line in text.replace("Solution", "").splitlines() if line.strip()}


def sources(cells):
    return ["".join(cell["source"]) for cell in cells]


def assert_no_solution(cells, page):
    """Check that cells hold a whole lesson and not a line that only its solutions have."""
    folds, rest = solutions_of(page)
    assert len(folds) == len(exercises_of(page))
    told = set().union(*map(lines_of, sources(cells)))
    given_away = set().union(*map(lines_of, folds)) - lines_of(rest)
    assert given_away
    assert not told & given_away
    assert told == lines_of(rest)


@each_lesson
def test_cells_without_the_tag_give_no_solution_away(page):
    cells = notebooks.notebook(page.read_text(encoding="utf-8"))["cells"]
    student = [c for c in cells if notebooks.TAG not in c["metadata"].get("tags", [])]
    assert_no_solution(student, page)
    assert not any("Solution" in source or "<details" in source for source in sources(student))
    # And those with it are nothing but solutions.
    folds, _ = solutions_of(page)
    hidden = [c for c in cells if notebooks.TAG in c["metadata"].get("tags", [])]
    assert set().union(*map(lines_of, sources(hidden))) - {", continued"} == set().union(
        *map(lines_of, folds)
    )
    made = notebooks.notebook(page.read_text(encoding="utf-8"), solutions=False)
    assert made["cells"] == student


def teachers_command():
    """The command of the teacher's page that drops what is tagged, as a list of words."""
    page = (COURSE / "teacher.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^jupyter (nbconvert .*)$", page, re.MULTILINE)
    return shlex.split(line)


def test_nbconvert_drops_the_solutions_as_the_teachers_page_says(tmp_path, monkeypatch):
    pytest.importorskip("nbconvert")
    notebooks.write_notebooks(LESSONS, tmp_path / "my-notebooks")
    monkeypatch.chdir(tmp_path)
    *command, pattern = teachers_command()
    books = sorted(map(str, pathlib.Path().glob(pattern)))
    subprocess.run([sys.executable, "-m", *command, *books], check=True, timeout=300)
    for page in LESSONS:
        book = json.loads((tmp_path / "handout" / f"{page.stem}.ipynb").read_text(encoding="utf-8"))
        assert_no_solution(book["cells"], page)


def test_the_command_of_the_teachers_page_names_the_tag():
    assert teachers_command()[-2] == notebooks.TAG


def test_a_fold_that_is_not_closed_is_found_out():
    with pytest.raises(ValueError, match="'Solution' is not closed"):
        notebooks.cells_of("Ask.\n\n<details><summary>Solution</summary>\n\nNever ends.\n")


def test_prose_around_hidden_code_stays_hidden():
    text = (
        "Ask.\n\n<details><summary>Solution</summary>\n\nFirst.\n\n```python\na = 1\n```\n\n"
        "Then [there](page.md).\n\n```python\nb = 2\n```\n\n</details>\n\nAfter.\n"
    )
    assert notebooks.cells_of(text) == [
        ("markdown", "Ask.", False),
        ("markdown", "<details><summary>Solution</summary>\n\nFirst.\n\n</details>", True),
        ("code", "a = 1", True),
        (
            "markdown",
            "<details><summary>Solution, continued</summary>\n\nThen there.\n\n</details>",
            True,
        ),
        ("code", "b = 2", True),
        ("markdown", "After.", False),
    ]


@each_lesson
def test_a_notebook_is_valid(page):
    nbformat = pytest.importorskip("nbformat")
    book = notebooks.notebook(page.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(book))


@pytest.mark.slow
@pytest.mark.parametrize("solutions", [True, False], ids=["teacher", "student"])
@each_lesson
def test_a_notebook_runs_from_start_to_end(page, solutions, tmp_path):
    pytest.importorskip("matplotlib")
    (path,) = notebooks.write_notebooks([page], tmp_path, solutions)
    assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4
    done = subprocess.run(
        [sys.executable, "-c", RUN, path.name],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"figures: (\d+)", done.stdout)[1]) >= 1


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Name of a Jupyter kernel that is this interpreter, whatever the user has installed."""
    for needed in ("matplotlib_inline", "nbclient", "nbformat"):
        pytest.importorskip(needed)
    spec = pytest.importorskip("ipykernel.kernelspec")
    folder = tmp_path / "jupyter" / "kernels" / "lesson"
    spec.write_kernel_spec(str(folder))
    # Jupyter would add the interpreter by the name that it was found under, not by this one.
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    return "lesson"


@pytest.mark.slow
@each_notebook
def test_jupyter_shows_figures_once_and_no_bare_objects(page, kernel, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    (path,) = notebooks.write_notebooks([page], tmp_path)
    book = nbformat.read(path, 4)
    place = tmp_path / "empty"
    place.mkdir()
    NotebookClient(
        book, timeout=300, kernel_name=kernel, resources={"metadata": {"path": str(place)}}
    ).execute()
    assert not list(place.iterdir()), "a lesson leaves files behind"
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        kinds = [out.output_type for out in cell.outputs]
        # A result is the value of a cell's last line: an array or an object that nobody printed.
        assert set(kinds) <= {"stream", "display_data"}, cell.source
        assert all(out.name == "stdout" for out in cell.outputs if out.output_type == "stream")
        drawn = cell.source.count("plt.subplots(")
        shown = [out for out in cell.outputs if "image/png" in out.get("data", {})]
        assert len(shown) == kinds.count("display_data") == drawn, cell.source


@pytest.mark.parametrize("more", [[], ["--without-solutions"]], ids=["teacher", "student"])
def test_the_program_writes_all_notebooks(tmp_path, more):
    program = ROOT / "docs" / "_ext" / "notebooks.py"
    subprocess.run([sys.executable, program, COURSE, tmp_path, *more], check=True, timeout=600)
    assert sorted(path.stem for path in tmp_path.iterdir()) == [page.stem for page in LESSONS]
    told = "".join(path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
    assert ("<summary>Solution</summary>" in told) is not bool(more)


def test_the_program_says_where_there_is_no_page(tmp_path):
    program = ROOT / "docs" / "_ext" / "notebooks.py"
    done = subprocess.run([sys.executable, program, tmp_path, tmp_path / "out"],
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 2
    assert "no page named like" in done.stderr

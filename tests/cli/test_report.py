"""``tilewise report``: files in, one page out, and what is said of files that are no results."""

import json

import pytest

from tilewise.cli._errors import ExitCode
from tilewise.lab.experiments import perform

pytest.importorskip("jinja2")
pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def result():
    small = {"rows": 400, "features": 4, "clusters": 3}
    return perform("dtypes", small, quick=True, seconds=0.1)


def test_one_page(invoke, folder, result):
    (folder / "a.json").write_text(json.dumps(result))
    done = invoke("report", "a.json", "-o", "a.html", "--title", "A <page>")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "written a.html\n"
    page = (folder / "a.html").read_text(encoding="utf-8")
    assert "<h1>A &lt;page&gt;</h1>" in page
    again = invoke("report", "a.json", "-o", "a.html")
    assert again.exit_code == ExitCode.CANNOT_WRITE
    done = invoke("report", "a.json", "a.json", "-o", "a.html", "--force", "--quiet")
    assert (done.exit_code, done.stdout) == (0, "")


def test_what_cannot_be_read(fails, folder, result):
    (folder / "a.json").write_text(json.dumps(result))
    (folder / "b.json").write_text("{")
    (folder / "c.json").write_text(json.dumps(result | {"experiment": "mine"}))
    (folder / "d.json").write_text(json.dumps(result | {"quick": 1}))
    report = ("report", "a.json")
    assert fails(ExitCode.NO_INPUT, *report, "no.json", "-o", "x.html").startswith("no.json: ")
    assert fails(ExitCode.BAD_DATA, *report, "b.json", "-o", "x.html").startswith(
        "b.json: not a result of tilewise bench: line 1: not JSON"
    )
    assert "'mine' is not known" in fails(ExitCode.BAD_DATA, *report, "c.json", "-o", "x.html")
    said = fails(ExitCode.BAD_DATA, "report", "d.json", "-o", "x.html")
    assert "quick: 1 is not of type 'boolean'" in said
    assert "--output" in fails(ExitCode.USAGE, *report)
    assert "a.json" in fails(ExitCode.CANNOT_WRITE, *report, "-o", "a.json", "--force")

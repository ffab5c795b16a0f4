"""Text from files reaches the terminal, JSON and pages without doing anything there."""

import copy
import json
import re
import warnings

import damage
import numpy as np
import pytest

from tilewise.cli._errors import ExitCode
from tilewise.lab.experiments import perform
from tilewise.plan import tuning

#: A command to the terminal, a false second line, a turn of the order of letters, half a
#: character, a NUL, and a name without end.
NAMES = [
    "\x1b]0;title\x07\x1b[31mred",
    "x\ntilewise: error: false",
    "over\rwritten",
    "\u202egnp.exe",
    "half \ud800",
    "nul\x00",
    "\x9b2J",
    "long" * 5000,
]


def clean(text, lines=1):
    """Whether text does no more to a terminal than to show so many lines."""
    return text.count("\n") == lines and text.replace("\n", "").isprintable()


def store(path, centers, **metadata):
    told = {"format": "tilewise-kmeans", "format_version": 1, "tilewise_version": "0"} | metadata
    members = {"centers": centers, "metadata": np.array(json.dumps(told))}
    np.savez(path, **members)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_says_of_its_columns(X, fails, name):
    np.save("x.npy", X[:, :2])
    store("m.npz", X[:3], columns=name)
    said = fails(ExitCode.BAD_DATA, "predict", "m.npz", "x.npy")
    assert "it was fitted with --columns " in said
    assert clean(said, 0)
    assert len(said) < 3000
    (names := ["a", "b", "c"])[1] = name
    store("m.npz", X[:3], feature_names=names)
    np.savetxt("x.csv", X, delimiter=",", header="a,b,c", comments="")
    said = fails(ExitCode.BAD_DATA, "predict", "m.npz", "x.csv")
    assert "no column called" in said
    assert clean(said, 0)
    assert len(said) < 3000


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_a_csv_file(fails, invoke, folder, name):
    cell = name.replace("\ud800", "?")  # such a file would not be UTF-8
    (folder / "x.csv").write_text(f'a,"{cell}"\n1,x\n', encoding="utf-8", newline="")
    for arguments in ((), ("--columns", "c")):
        done = invoke("fit", "x.csv", "-k", 1, *arguments)
        assert done.exit_code in (ExitCode.BAD_DATA, ExitCode.USAGE)
        assert clean(done.stderr)
        assert len(done.stderr) < 3000


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_a_parquet_file(fails, folder, name):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cell = name.replace("\ud800", "?").replace("\x00", "")
    parquet.write_table(pyarrow.table({cell: ["x"], "a": [1.0]}), "x.parquet")
    for more in ((), ("--memory-limit", "1GB")):
        said = fails(ExitCode.BAD_DATA, "fit", "x.parquet", "-k", 1, *more)
        assert clean(said, 0)
        assert len(said) < 3000


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202egnp", "half\udc80"])
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_names_of_files_and_arrays(X, invoke, folder, name, debug):
    content = damage.zipped([(f"{name}.npy".encode(errors="replace").decode(), b"no array")])
    path = f"{name}.npz"
    (folder / path).write_bytes(content)
    done = invoke("fit", path, "-k", 1, *debug)
    assert done.exit_code == ExitCode.BAD_DATA
    lines = done.stderr.splitlines()
    assert done.stderr.count("\n") == len(lines)
    assert all(map(str.isprintable, lines))
    assert len(lines) == 1 or debug


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202egnp", "half\udc80"])
def test_what_is_told_of_a_run(X, invoke, folder, name):
    path = folder / f"{name}.npy"
    with open(path, "wb") as file:
        np.save(file, X)
    done = invoke("fit", path.name, "-k", 3)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert all(map(str.isprintable, done.stdout.splitlines()))
    done = invoke("predict", f"{name}.model.npz", path.name, "--json")
    assert clean(done.stdout)
    assert json.loads(done.stdout)["data"] == path.name
    assert all(map(str.isprintable, done.stderr.splitlines()))


def test_what_is_typed(fails):
    assert clean(fails(ExitCode.USAGE, "fit", "x.npy", "-k", "\x1b[31m"), 0)
    assert clean(fails(ExitCode.USAGE, "\x1b[2J\r"), 0)
    assert clean(fails(ExitCode.NO_INPUT, "fit", "\x1b[2J\n.npy", "-k", 1), 0)


@pytest.fixture(scope="module")
def result():
    small = {"rows": 300, "features": 4, "clusters": 3}
    return perform("dtypes", small, quick=True, seconds=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_of_a_record(invoke, folder, name):
    facts = json.loads(invoke("info", "--json").stdout)["facts"]
    facts["cpu_model"]["value"] = facts["l2_bytes"]["source"] = name
    (folder / "a.json").write_text(json.dumps(facts))
    done = invoke("explain", "--rows", 10, "--features", 2, "--clusters", 2, "--machine", "a.json")
    assert done.exit_code == 0, done.stderr
    assert all(map(str.isprintable, done.stdout.splitlines()))
    # A fact whose place is a text of strangers, and whose value is wrong: both are quoted.
    facts["l2_bytes"]["value"] = name
    (folder / "a.json").write_text(json.dumps(facts))
    done = invoke("explain", "--rows", 10, "--features", 2, "--clusters", 2, "--machine", "a.json")
    assert done.exit_code == ExitCode.BAD_DATA
    assert clean(done.stderr)
    assert len(done.stderr) < 3000


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_results(invoke, folder, result, name):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    spoilt = copy.deepcopy(result)
    spoilt["machine"]["facts"]["cpu_model"] = {"value": name, "source": f"{name}</script><b>"}
    spoilt["machine"]["system"] = spoilt["started"] = name
    spoilt["parameters"]["dtype"] = name
    spoilt["versions"][name] = name
    for entry in spoilt["measurements"]:
        entry["series"] += name
    (folder / "a.json").write_text(json.dumps(spoilt))
    done = invoke("report", "a.json", "-o", "a.html", "--force", "--title", "a\x1b\u202eb")
    assert done.exit_code == 0, done.stderr
    page = (folder / "a.html").read_text(encoding="utf-8")
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # plotly holds all of Unicode
    allowed = "\n\N{NO-BREAK SPACE}"
    strange = {c for c in ours if not c.isprintable() and c not in allowed}
    assert not strange
    assert "</script><b>" not in ours
    if name.isprintable():
        return
    assert name not in ours


@pytest.mark.parametrize("name", NAMES)
def test_results_that_are_none(fails, folder, result, name):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    for change in ({"experiment": name}, {name: 1}, {"format": name}, {"seconds": name}):
        (folder / "a.json").write_text(json.dumps(result | change))
        said = fails(ExitCode.BAD_DATA, "report", "a.json", "-o", "a.html")
        assert said.startswith("a.json: ")
        assert clean(said, 0)
        assert len(said) < 3000


def test_a_tuning_record_with_a_strange_name(invoke, fails, monkeypatch, folder):
    path = folder / "t\x1b[31m\n.json"
    path.write_text("[]")
    monkeypatch.setenv(tuning.VARIABLE, str(path))
    assert clean(fails(ExitCode.BAD_DATA, "tune", "--show"), 0)
    done = invoke("explain", "--rows", 10, "--features", 2, "--clusters", 2)
    assert done.stderr.startswith("tilewise: warning: ")
    assert clean(done.stderr)
    tuning._KEPT.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import tilewise

        tilewise.plan(12, 3, 2)
    assert [str(w.message).isprintable() for w in caught] == [True]

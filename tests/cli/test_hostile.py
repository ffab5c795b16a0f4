"""Streams that fail, sizes and files that make no sense: one line, and the right code."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tilewise.cli import main
from tilewise.cli._errors import ExitCode
from tilewise.cli._streams import checked_streams
from tilewise.lab.experiments import perform

from .support import process

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
SMALL = ("--rows", 300, "--features", 4, "--clusters", 3)
SHAPE = ("explain", "--rows", 1000, "--features", 8, "--clusters", 8)


def stopped(*arguments, stdout):
    """The code and standard error of a process with such a standard output."""
    child = process(*arguments, stdout=stdout, stderr=subprocess.PIPE, text=True)
    _, err = child.communicate(timeout=100)
    return child.returncode, err


@pytest.fixture
def to_full(monkeypatch, capsys):
    """Run the command line inside this process, with a full device for its standard output."""

    monkeypatch.setenv("TILEWISE_TUNING", "tuning.json")

    def run(*arguments):
        device = open("/dev/full", "w")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", device)
            code = main([*map(str, arguments)])
        with contextlib.suppress(OSError):
            device.close()
        return code, capsys.readouterr().err

    return run


@full
@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",), ("--help",), ("info",), ("info", "--json"), SHAPE, (*SHAPE, "--json"),
        ("fit", "data.npy", "-k", 3, "--json"), ("fit", "data.npy", "-k", 3),
        ("bench", "dtypes", "--quick", *SMALL),
        ("bench", "dtypes", "--quick", *SMALL, "--json", "-"),
        ("tune", "--forget", "--json"),
    ],
)  # fmt: skip
def test_standard_output_is_full(arguments, X, to_full, folder):
    np.save("data.npy", X)
    code, err = to_full(*arguments)
    assert code == ExitCode.CANNOT_WRITE
    lines = [line for line in err.splitlines() if line.startswith("tilewise: error")]
    assert lines == ["tilewise: error: standard output: No space left on device"]


@full
def test_labels_are_written_where_their_summary_cannot_be(X, to_full, invoke, folder):
    np.save("data.npy", X)
    assert invoke("fit", "data.npy", "-k", 3).exit_code == 0
    code, err = to_full("predict", "data.model.npz", "data.npy", "--csv")
    assert (code, err.count("\n")) == (ExitCode.CANNOT_WRITE, 1)
    assert len((folder / "data.predicted.csv").read_text().splitlines()) == 91


@full
def test_what_was_measured_is_kept_where_the_table_cannot_be_shown(folder, to_full):
    code, _ = to_full("bench", "dtypes", "--quick", *SMALL, "--json", "a.json")
    assert code == ExitCode.CANNOT_WRITE
    assert json.loads((folder / "a.json").read_text())["measurements"]


@full
def test_the_interpreter_does_not_complain_at_its_end():
    with open("/dev/full", "w") as device:
        code, err = stopped("info", "--json", stdout=device)
    assert code == ExitCode.CANNOT_WRITE
    assert err == "tilewise: error: standard output: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_a_reader_that_has_gone_is_told_nothing():
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        code, err = stopped("--version", stdout=theirs)
    finally:
        os.close(theirs)
    assert (code, err) == (ExitCode.CANNOT_WRITE, "")


def test_without_a_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--version"]) == ExitCode.CANNOT_WRITE
    assert "standard output: it is closed" in capsys.readouterr().err


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with checked_streams():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "--rows", 10**400, "--features", 2, "--clusters", 2), "not from 1 to 2**62"),
        (("explain", "--rows", 5, "--features", 0, "--clusters", 2), "0 is not from 1 to 2**62"),
        ((*SHAPE, "--threads", 10**6), "--threads"),
        (("bench", "dtypes", "--quick", "--rows", 10**12), "do not fit into the"),
        (("bench", "chunks", "--quick", "--clusters", 10**13), "10000000000000 clusters x 16"),
        (("bench", "materialise", "--quick", "--features", 10**13), "do not fit into the"),
        (("bench", "dtypes", "--quick", "--seconds", "nan"), "nan is not a number of seconds"),
        (("bench", "dtypes", "--quick", "--seconds", "inf"), "--seconds"),
        (("tune", "--quick", "--shape", "1000000000000x64x4"), "do not fit into the"),
    ],
)
def test_sizes_out_of_this_world(fails, arguments, said, monkeypatch, folder):
    monkeypatch.setenv("TILEWISE_TUNING", str(folder / "tuning.json"))
    assert said in fails(ExitCode.USAGE, *arguments)


def test_k_above_n_and_one_of_everything_can_be_explained(invoke):
    for n, d, k in ((3, 2, 10), (1, 1, 1), (5, 1, 2), (10**12, 10**4, 10**12), (1, 10**16, 1)):
        done = invoke("explain", "--rows", n, "--features", d, "--clusters", k)
        assert done.exit_code == 0, done.stderr


def test_more_numbers_than_addresses_cannot_be_explained(fails):
    for n, d, k in ((10**12, 10**12, 10**12), (2**62, 2**62, 1), (1, 2**57, 1)):
        error = fails(2, "explain", "--rows", n, "--features", d, "--clusters", k)
        assert "too many: pass a shape of at most" in error


@pytest.mark.parametrize("option", ["--machine", "--roofs"])
@pytest.mark.parametrize(
    ("text", "said"),
    [("", "not JSON"), ('{"facts": {', "not JSON"), ("[]", "an object was expected"),
     ("null", "an object was expected"), ("{}", "not "), ("[" * 100_000, "nested too deeply")],
)  # fmt: skip
def test_records_that_are_none(fails, folder, option, text, said):
    (folder / "a.json").write_text(text)
    told = fails(ExitCode.BAD_DATA, *SHAPE, option, "a.json")
    assert told.startswith("a.json: ")
    assert said in told


@pytest.mark.parametrize("name", ["n_cpus", "l1d_bytes", "l2_bytes", "line_bytes", "page_bytes"])
def test_a_machine_without_something_that_every_machine_has(invoke, fails, folder, name):
    record = json.loads(invoke("info", "--json").stdout)
    record["facts"][name]["value"] = 0
    (folder / "a.json").write_text(json.dumps(record))
    said = fails(ExitCode.BAD_DATA, *SHAPE, "--machine", "a.json")
    assert f"{name} needs a whole number of at least 1" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [("compute_gflops", float("nan")), ("compute_gflops", 10**400), ("threads", float("inf")),
     ("threads", 10**400), ("bandwidth_gbs", {"memory": float("inf")})],
)  # fmt: skip
def test_roofs_beyond_numbers(invoke, fails, folder, name, value):
    roofs = json.loads(invoke(*SHAPE, "--json").stdout)["roofs"]
    (folder / "a.json").write_text(json.dumps(roofs | {name: value}))
    assert "not a record of roofs" in fails(ExitCode.BAD_DATA, *SHAPE, "--roofs", "a.json")


@pytest.mark.parametrize("value", [None, "many", -1])
def test_a_result_with_facts_of_another_type(fails, folder, value):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    small = {"rows": 300, "features": 4, "clusters": 3}
    result = perform("dtypes", small, quick=True, seconds=0.1)
    result["machine"]["facts"]["n_cpus"]["value"] = value
    (folder / "a.json").write_text(json.dumps(result))
    said = fails(ExitCode.BAD_DATA, "report", "a.json", "-o", "a.html")
    assert "machine.facts.n_cpus.value" in said


def test_a_name_that_is_too_long(fails):
    said = fails(ExitCode.CANNOT_WRITE, "bench", "dtypes", *SMALL, "--json", "x" * 300 + ".json")
    assert said.endswith("File name too long")


@pytest.mark.parametrize("arguments", [("info",), SHAPE, ("tune", "--show")])
def test_overrides_that_make_no_sense(fails, monkeypatch, folder, arguments):
    monkeypatch.setenv("TILEWISE_TUNING", str(folder / "tuning.json"))
    monkeypatch.setenv("TILEWISE_L2_BYTES", "plenty")
    assert "TILEWISE_L2_BYTES='plenty'" in fails(ExitCode.USAGE, *arguments)


def test_a_memory_limit_that_cannot_be_kept_is_wrong_usage(invoke, fails, X):
    np.save("data.npy", X)
    limit = ("--memory-limit", "1KB")
    for more in ((), ("--mini-batch", 32)):
        said = fails(ExitCode.USAGE, "fit", "data.npy", "-k", 3, *limit, *more)
        assert said.startswith("data.npy: --memory-limit ")
        assert "is too small" in said
    assert invoke("fit", "data.npy", "-k", 3, "--quiet").exit_code == 0
    predict = ("predict", "data.model.npz", "data.npy", "--memory-limit")
    said = fails(ExitCode.USAGE, *predict, "100")
    assert "the labels of 90 rows alone take 360 bytes; allow more" in said
    assert "out=" not in said
    assert "take 1080 bytes" in fails(ExitCode.USAGE, *predict, "1000", "--distances")


def test_help_says_what_an_interrupt_leaves(invoke):
    assert "fit --checkpoint keep their results" in invoke("fit", "--help").stdout


def test_sizes_have_one_help(invoke):
    commands = (("explain",), ("bench", "chunks"), ("bench", "dtypes"), ("bench", "materialise"))
    for command in commands:
        told = invoke(*command, "--help").stdout
        for line in ("--rows N ", "--features D ", "--clusters K "):
            assert line in told
        for words in ("Rows of the data.", "Features of a row.", "Number of clusters."):
            assert words in told

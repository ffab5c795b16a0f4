"""``tilewise bench``: options, files, tables, plots, Ctrl-C, and what is missing."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import recorded_load

from tilewise.cli import _bench
from tilewise.cli._errors import ExitCode
from tilewise.lab.experiments import EXPERIMENTS
from tilewise.lab.schema import read

from .support import process
from .test_app import on_a_terminal, posix

SMALL = ("--rows", 800, "--features", 6, "--clusters", 5, "--quick", "--seconds", 0.2)


def test_every_experiment_has_a_command_with_its_parameters(invoke):
    group = invoke("bench", "--help")
    assert group.exit_code == 0
    for name, experiment in EXPERIMENTS.items():
        assert f"\n  {name} " in group.stdout
        told = invoke("bench", name, "--help").stdout
        assert max(map(len, told.splitlines())) <= 80
        for p in experiment.parameters:
            option = "checkout" if p.kind == "program" else p.name.replace("_", "-")
            assert f"--{option}" in told
        for option in ("--seconds", "--quick", "--json", "--plot", "--force", "--debug"):
            assert option in told
        assert "  Examples:" in told.splitlines()


def test_a_table_json_and_plots(invoke, folder):
    pytest.importorskip("matplotlib")
    done = invoke("bench", "dtypes", *SMALL, "--json", "out/a.json", "--plot", "out/a.svg")
    assert done.exit_code == 0, done.stderr
    assert "float64" in done.stdout
    assert "written out/a.json" in done.stdout
    result = read("out/a.json")
    assert result["parameters"] == {"rows": 800, "features": 6, "clusters": 5, "threads": 1}
    assert result["seconds"] == 0.2
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["a-2.svg", "a.json", "a.svg"]
    again = invoke("bench", "dtypes", *SMALL, "--json", "out/a.json")
    assert again.exit_code == ExitCode.CANNOT_WRITE
    assert invoke("bench", "dtypes", *SMALL, "--json", "out/a.json", "--force").exit_code == 0


def test_json_on_standard_output_is_alone_there(invoke):
    done = invoke("bench", "chunks", *SMALL, "--engines", "fused", "--json", "-")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["experiment"] == "chunks"
    assert "chunk rows" in done.stderr
    quiet = invoke("bench", "chunks", *SMALL, "--engines", "fused", "--json", "-", "--quiet")
    assert json.loads(quiet.stdout)["experiment"] == "chunks"
    assert quiet.stderr == ""


def test_a_busy_machine_is_told_first_and_nothing_is_compared(invoke):
    with recorded_load.a_machine(others=0.4):
        done = invoke("bench", "chunks", *SMALL, "--engines", "fused", "--json", "a.json")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert told.startswith("Too noisy to tell: other processes used 39 % of 2 CPUs")
    assert "too noisy to tell" in told.partition("quartiles")[2]
    for word in ("best", "times as long", "slower"):
        assert word not in told.replace("to best", "")
    result = read("a.json")
    assert result["quiet"] is False
    assert "39 %" in result["noise"][0]
    again = invoke("report", "a.json", "-o", "a.html")
    if again.exit_code != ExitCode.MISSING_EXTRA:
        page = Path("a.html").read_text(encoding="utf-8")
        assert page.index("Too noisy to tell") < page.index("<nav")


def test_a_quiet_machine_is_not_talked_about(invoke):
    done = invoke("bench", "chunks", *SMALL, "--engines", "fused", "--json", "a.json")
    assert "noisy" not in done.stdout + done.stderr
    assert read("a.json")["quiet"] is True


def test_json_on_standard_output_says_it_there_and_to_people(invoke):
    with recorded_load.a_machine(stolen=0.3):
        done = invoke("bench", "dtypes", *SMALL, "--json", "-")
        silent = invoke("bench", "dtypes", *SMALL, "--json", "-", "--quiet")
    assert json.loads(done.stdout)["quiet"] is False
    assert done.stderr.startswith("Too noisy to tell: the hypervisor took 30 %")
    assert json.loads(silent.stdout)["quiet"] is False
    assert silent.stderr == ""


@pytest.mark.parametrize("where", ["figures", "plots"])
def test_what_was_measured_is_written_whatever_becomes_of_its_figures(invoke, monkeypatch, where):
    plots = pytest.importorskip("tilewise.lab.plots")

    def broken(*arguments):
        raise ArithmeticError("no figure")

    if where == "plots":
        monkeypatch.setattr(plots, "write", broken)
    else:
        row = dataclasses.replace(EXPERIMENTS["dtypes"], figures=broken)
        monkeypatch.setitem(_bench.EXPERIMENTS, "dtypes", row)
        monkeypatch.setitem(_bench.bench.commands, "dtypes", _bench._command(row))
    done = invoke("bench", "dtypes", *SMALL, "--json", "a.json", "--plot", "a.svg")
    assert done.exit_code == ExitCode.INTERNAL
    assert "no figure" in done.stderr
    told = [found["case"]["dtype"] for found in read("a.json")["measurements"]]
    assert told == ["int8", "float16", "float32", "float64"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "chunks", "--rows", 0), "--rows"),
        (("bench", "chunks", "--plot", "a.pdf"), "--plot a.pdf: the name must end in .png or .svg"),
        (("bench", "roofline", "--shapes", "3x3", "--quick"), "'3x3' is not a shape"),
        (("bench", "dtypes", "--seconds", 0), "--seconds"),
        (("bench", "nothing"), "'nothing'"),
        (
            ("bench", "materialise", "--clusters", 10**7, "--features", 1),
            "the whole matrix of 200000 rows x",
        ),
    ],
)
def test_wrong_usage(fails, arguments, said):
    assert said in fails(ExitCode.USAGE, *arguments)


def test_a_plot_that_exists_stops_it_before_it_measures(invoke, folder):
    (folder / "a.png").write_text("mine")
    done = invoke("bench", "threads", "--plot", "a.png")  # would take a minute
    assert done.exit_code == ExitCode.CANNOT_WRITE
    assert "a.png: exists already" in done.stderr


def test_peers_without_a_checkout(fails, folder):
    said = fails(ExitCode.NO_INPUT, "bench", "peers", "--quick", "--checkout", folder)
    assert "no benchmarks/run.py" in said
    assert "--checkout" in said


def test_without_valgrind(fails, monkeypatch):
    cachegrind = pytest.importorskip("tilewise.lab.cachegrind")
    monkeypatch.setattr(cachegrind, "available", lambda: "valgrind is not installed")
    said = fails(ExitCode.USAGE, "bench", "chunks", *SMALL, "--cachegrind")
    assert said == "--cachegrind: valgrind is not installed"


@pytest.mark.slow
def test_valgrind_counts_beside_the_simulator(invoke):
    cachegrind = pytest.importorskip("tilewise.lab.cachegrind")
    if cachegrind.available():
        pytest.skip(cachegrind.available())
    done = invoke("bench", "chunks", *SMALL, "--engines", "fused", "--cachegrind", "--simulate",
                  "--json", "-", "--quiet")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    by = {v["case"]["by"] for v in json.loads(done.stdout)["simulated"]}
    assert by == {"simulator", "cachegrind"}


@pytest.mark.parametrize("package", ["matplotlib", "jinja2", "plotly", "jsonschema"])
def test_without_the_extra_lab(package, folder):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from tilewise.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    (folder / "x.json").write_text("{}")
    arguments = (
        ("bench", "dtypes", *SMALL, "--plot", "a.png")
        if package == "matplotlib"
        else ("report", "x.json", "-o", "a.html")
    )
    child = process(
        *arguments, code=code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = child.communicate(timeout=90)
    assert child.returncode == ExitCode.MISSING_EXTRA, err
    assert out == ""
    assert err == (
        f"tilewise: error: this needs {package}, which is not installed; "
        'run: pip install "tilewise[lab]"\n'
    )


# Tells of each sample, so that the test knows when there is something to keep.
TELLING = """
import sys
from tilewise.lab import _run
real = _run._sample
def told(*arguments):
    value = real(*arguments)
    print("sample", flush=True)
    return value
_run._sample = told
from tilewise.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix
@pytest.mark.timeout(120)
def test_ctrl_c_keeps_what_was_measured():
    child = process(
        "bench", "chunks", "--rows", 3000, "--seconds", 100, "--json", "kept.json",
        code=TELLING, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A test runner in the background hands its children an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    # The sixth may not be put down yet when the signal comes.
    for _ in range(6):
        assert child.stdout.readline() == "sample\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=100)
    assert child.returncode == ExitCode.INTERRUPTED, err
    result = read("kept.json")
    assert result["interrupted"]
    kept = sum(len(entry["samples"]) for entry in result["measurements"])
    assert kept >= 5
    assert f"interrupted; kept {kept} samples" in err
    assert "Traceback" not in err
    assert "written kept.json" in out


@posix
def test_progress_tells_the_time_that_is_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    code, out, drawn = on_a_terminal(
        "bench", "chunks", "--rows", 3000, "--features", 8, "--clusters", 8, "--seconds", 1.5
    )
    assert code == 0
    assert "chunk rows" in out
    assert "of" in drawn
    assert "about" in drawn
    assert "s left" in drawn


def test_info_does_not_wait_for_the_drawing_libraries():
    code = (
        "import sys; from tilewise.cli import main; main(['--version']);"
        "print([m for m in ('matplotlib', 'plotly', 'jinja2', 'jsonschema') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == "[]"

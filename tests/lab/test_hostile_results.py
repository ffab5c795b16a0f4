"""Whatever a burdened machine measures: tables, figures, pictures and the page can be made."""

import io
import json
import re
import warnings

import pytest

from tilewise.lab import _run, schema
from tilewise.lab.charts import chart, drawable
from tilewise.lab.experiments import EXPERIMENTS, perform
from tilewise.lab.figures import NOTHING, Axis, Figure, Mark, Series, Table

from .conftest import SMALL
from .hostile_results import spoiled
from .test_experiments import FAKE

NOT_NUMBERS = re.compile(r"(?<![A-Za-z])[+-]?(?:nan|inf)(?![A-Za-z])")
SEEDS = range(40)
each_experiment = pytest.mark.parametrize("name", list(EXPERIMENTS))


@pytest.fixture(scope="module")
def real(result_of, tmp_path_factory):
    """A result of each experiment; the comparison with others is that of a made-up program."""
    program = tmp_path_factory.mktemp("program") / "run.py"
    program.write_text(FAKE, encoding="utf-8")
    results = {name: result_of(name) for name in SMALL}
    results["peers"] = perform("peers", {"program": str(program)}, quick=True)
    return json.loads(json.dumps(results))


def assert_numbers(texts):
    for text in texts:
        assert not NOT_NUMBERS.search(text), text


@each_experiment
def test_tables_figures_and_charts(real, name):
    experiment = EXPERIMENTS[name]
    for seed in SEEDS:
        result = spoiled(real[name], seed)
        schema.validate(result)
        table = experiment.table(result)
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert_numbers([*table.notes, *(cell for row in table.rows for cell in row)])
        for figure in experiment.figures(result):
            assert figure.words
            assert_numbers(figure.words)
            made = chart(figure)
            json.dumps(made, allow_nan=False)
            for trace in made["data"]:
                assert_numbers([*trace.get("text", ()), *trace.get("customdata", ())])


@each_experiment
def test_pictures(real, name):
    pytest.importorskip("matplotlib")
    from tilewise.lab import plots

    for seed in SEEDS[:: 4 if name == "threads" else 3]:
        for figure in EXPERIMENTS[name].figures(spoiled(real[name], seed)):
            stream = io.BytesIO()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                plots.write(figure, stream, "png")
            assert stream.getvalue().startswith(b"\x89PNG")


@each_experiment
def test_the_page(real, name, monkeypatch):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    from tilewise.lab.report import html

    monkeypatch.setattr("plotly.offline.get_plotlyjs", str)  # four megabytes, each time
    for seed in SEEDS[::2]:
        other = spoiled(real[name], seed + 1)
        other["machine"]["facts"]["cpu_model"]["value"] = "Another CPU"
        told = html([spoiled(real[name], seed), other])
        assert told.count(EXPERIMENTS[name].title) >= 1
        assert_numbers(re.findall(r"<(?:p|td|li)\b[^>]*>([^<]*)<", told))


def entry(samples, unit="s"):
    return {"series": "s", "case": {}, "unit": unit, "repeats": 1, "samples": samples,
            **_run.summary(samples)}  # fmt: skip


def test_what_is_not_above_zero_is_left_out_and_told():
    seen = []

    @_run.above_zero
    def table(result):
        """Something."""
        seen.append(result["measurements"])
        return Table([], [])

    real = [entry([1.0, 2.0]), entry([0.0, 2.0]), entry([0.0, -1.0]), entry([0.0], "bytes")]
    notes = table({"measurements": real}).notes
    assert notes == ["1 measurement was too short to measure and is left out"]
    assert [e["samples"] for e in seen[0]] == [[1.0, 2.0], [2.0], [0.0]]
    assert [e["low"] for e in seen[0]] == [1.0, 2.0, 0.0]
    assert real[1]["samples"] == [0.0, 2.0]
    assert table({"measurements": real[:1]}).notes == []


def test_a_clock_that_stands_still_counts_as_one_tick(monkeypatch):
    monkeypatch.setattr(_run.time, "perf_counter", lambda: 5.0)
    case = _run.Case("s", {}, lambda: None)
    assert 0 < _run._sample(case, 10) <= 0.1


def test_zeros_have_no_place_on_a_logarithmic_axis():
    series = Series("s", [0, 1, 2], [1.0, 0.0, 3.0], [1.0, 0.0, 0.0], [2.0, 3.0, 4.0],
                    texts=["a", "b", "c"])  # fmt: skip
    gone = Series("none", [1], [0.0])
    marks = [Mark("x", 0.0, "start"), Mark("y", 0.0, "floor"), Mark("y", 1.0, "roof")]
    figure = Figure("f", "F", Axis("x"), Axis("y", "log10"), [series, gone], marks)
    shown = drawable(figure)
    (left,) = shown.series
    assert (left.x, left.y, left.low, left.texts) == ([0, 2], [1.0, 3.0], [1.0, 1.0], ["a", "c"])
    assert [mark.label for mark in shown.marks] == ["start", "roof"]
    assert len(drawable(Figure("f", "F", Axis("x"), Axis("y"), [series, gone], marks)).series) == 2
    empty = chart(Figure("f", "F", Axis("x"), Axis("y", "log10"), [gone]))
    assert empty["data"] == []
    assert NOTHING in json.dumps(empty)


def test_a_mark_far_beyond_the_bars_is_inside_of_the_picture():
    pytest.importorskip("matplotlib")
    from tilewise.lab import plots

    figure = Figure("f", "F", Axis("x"), Axis("y"), [Series("s", ["a"], [1e-9])],
                    [Mark("y", 1.0, "tilewise")], kind="bars")  # fmt: skip
    stream = io.BytesIO()
    plots.write(figure, stream)
    assert stream.getvalue().startswith(b"\x89PNG")
    low, high = chart(figure)["layout"]["xaxis"]["range"]
    assert low <= 1.0 <= high

"""On a busy machine figures stay and conclusions go: in tables, words, pictures, pages, tuning."""

import copy
import json
import re
from pathlib import Path

import pytest
import recorded_load

from tilewise.lab import quiet, schema, tune
from tilewise.lab._load import Meter
from tilewise.lab.charts import chart
from tilewise.lab.experiments import EXPERIMENTS, perform
from tilewise.lab.figures import Axis, Conclusion, Figure, Mark, Series, Table
from tilewise.lab.quiet import TOO_NOISY, careful

from .conftest import SMALL
from .hostile_results import spoiled

REASON = "other processes used 63 % of 2 CPUs while it was measured (up to 5 % is quiet)"
NOISY = {"quiet": False, "noise": [REASON]}
QUIET = {"quiet": True, "noise": []}
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "lab"
# What a sentence says that compares times.
COMPARES = re.compile(r"times as (?:long|fast)|% (?:slower|of (?:its|the) roof)|best chunk|seen \d")
# Columns of each table that compare.
COMPARED = {
    "chunks": ["to best"], "dtypes": [], "threads": ["speed-up"], "materialise": [],
    "mountain": [], "roofline": ["of its roof", "expected"], "peers": ["to tilewise"],
}  # fmt: skip


def case(name, library, median):
    samples = [median, 1.1 * median]
    return {"series": library, "unit": "s", "repeats": 1, "samples": samples,
            "case": {"suite": "lloyd", "kind": "blobs", "shape": name, "dtype": "float32"},
            "median": median, "low": median, "high": 1.1 * median, "min": median}  # fmt: skip


@pytest.fixture
def result(result_of, request):
    name = request.param
    if name != "peers":
        return json.loads(json.dumps(result_of(name)))
    base = json.loads(json.dumps(result_of("dtypes")))
    cases = [case(shape, library, seconds) for shape in ("10x2x3", "20x2x3")
             for library, seconds in (("tilewise", 0.1), ("other", 0.2))]  # fmt: skip
    return base | {"experiment": "peers", "measurements": cases, "predicted": [], "facts": {},
                   "parameters": {"suites": "lloyd"}}  # fmt: skip


every = pytest.mark.parametrize("result", [*SMALL, "peers"], indirect=True)


@every
def test_a_noisy_table_compares_nothing(result):
    experiment = EXPERIMENTS[result["experiment"]]
    calm, noisy = experiment.table(result | QUIET), experiment.table(result | NOISY)
    assert noisy.columns == calm.columns
    compared = {calm.columns.index(name) for name in COMPARED[experiment.name]}
    assert set(calm.concluded) == compared
    assert not any(TOO_NOISY in row for row in calm.rows)
    for before, row in zip(calm.rows, noisy.rows, strict=True):
        for at, cell in enumerate(row):
            if at in compared and before[at]:
                assert cell == TOO_NOISY
            elif "best" in before[at]:
                assert cell == before[at].replace("best", "").strip(", ")
            else:
                assert cell == before[at]
    assert not any(isinstance(note, Conclusion) for note in noisy.notes)
    assert not any(COMPARES.search(note) for note in noisy.notes)


@every
def test_noisy_figures_conclude_nothing(result):
    experiment = EXPERIMENTS[result["experiment"]]
    calm = experiment.figures(result | QUIET)
    assert any(isinstance(word, Conclusion) for figure in calm for word in figure.words)
    assert not any(figure.warning for figure in calm)
    figures = experiment.figures(result | NOISY)
    assert figures
    assert any(figure.timed for figure in figures)
    for figure in figures:
        assert (REASON in figure.warning) is figure.timed
        assert not any(COMPARES.search(word) for word in figure.words if figure.timed)
        assert not any(mark.concluded or "(seen)" in mark.label for mark in figure.marks)
        assert "relative to tilewise" not in figure.title
        assert "Speed-up" not in figure.title
        json.dumps(chart(figure), allow_nan=False)


@every
def test_what_is_not_timed_stays(result):
    experiment = EXPERIMENTS[result["experiment"]]
    calm = {f.key: f for f in experiment.figures(result | QUIET) if not f.timed}
    noisy = {f.key: f for f in experiment.figures(result | NOISY) if not f.timed}
    assert noisy == calm
    untimed = {"dtypes": {"dtypes-labels"}, "materialise": {"materialise-memory"}}
    assert untimed.get(experiment.name, set()) <= set(calm)


@every
def test_odd_results_of_busy_machines_can_be_shown(result):
    experiment = EXPERIMENTS[result["experiment"]]
    for seed in range(0, 24, 3):
        odd = spoiled(result, seed) | NOISY
        schema.validate(odd)
        table = experiment.table(odd)
        assert all(len(row) == len(table.columns) for row in table.rows)
        for figure in experiment.figures(odd):
            json.dumps(chart(figure), allow_nan=False)


def test_pictures_say_it(result_of):
    pytest.importorskip("matplotlib")
    import io

    from tilewise.lab import plots

    for load, said in ((NOISY, True), (QUIET, False)):
        figure = EXPERIMENTS["dtypes"].figures(result_of("dtypes") | load)[0]
        stream = io.BytesIO()
        plots.write(figure, stream, "svg")
        assert ("too noisy to tell" in stream.getvalue().decode()) is said


def test_careful_takes_out_what_compares_and_nothing_else():
    figure = Figure("f", "F", Axis("x"), Axis("y"), [Series("s", [1], [2.0])],
                    [Mark("x", 1, "a"), Mark("x", 2, "b", concluded=True)],
                    ["Fact.", Conclusion("Twice as long.")])  # fmt: skip
    table = Table(["a", "b"], [["1", "2×"], ["3", ""]], ["note", Conclusion("more")], (1,))
    (made,) = careful(lambda result: [figure])(NOISY)
    assert (made.words, [mark.label for mark in made.marks]) == (["Fact."], ["a"])
    told = careful(lambda result: table)(NOISY)
    assert told.rows == [["1", TOO_NOISY], ["3", ""]]
    assert told.notes == ["note"]
    assert careful(lambda result: [figure])(QUIET) == [figure]
    assert careful(lambda result: table)(QUIET) == table


# --- measuring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0.0, 0.4])
def test_a_result_says_first_whether_it_was_quiet(others):
    meter = Meter(recorded_load.readings(others=others), recorded_load.calibrations(),
                  sleep=lambda seconds: None)  # fmt: skip
    result = perform("dtypes", SMALL["dtypes"], quick=True, seconds=0.1, meter=meter)
    result = json.loads(json.dumps(result, allow_nan=False))
    schema.validate(result)
    assert result["quiet"] is (others == 0.0)
    assert list(result)[:5] == ["format", "schema_version", "experiment", "quiet", "noise"]
    assert bool(result["noise"]) is (others > 0)
    assert result["load"]["during"]["others"] == pytest.approx(max(0.0, others - 0.01))
    assert result["load"]["calibration"]["count"] > 0


def test_an_interrupt_before_anything_is_measured_is_a_result():
    def read():
        raise KeyboardInterrupt

    result = perform("dtypes", SMALL["dtypes"], quick=True, meter=Meter(read))
    schema.validate(json.loads(json.dumps(result)))
    assert result["interrupted"]
    assert result["quiet"] is None


@pytest.mark.parametrize("name", [path.stem for path in RESULTS.glob("*.json")])
def test_results_of_earlier_versions_still_load(name):
    result = schema.read(RESULTS / f"{name}.json")
    assert quiet.noise(result) == []
    older = {key: value for key, value in result.items() if key not in ("quiet", "noise", "load")}
    schema.validate(older)
    assert EXPERIMENTS[name].table(older).rows
    busy = copy.deepcopy(older)
    busy["machine"]["load_before"] = 7.0
    assert all(figure.warning for figure in EXPERIMENTS[name].figures(busy) if figure.timed)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("quiet", "no", "quiet"), ("noise", "busy", "noise"), ("noise", [1], "noise[0]"),
        ("load", {"during": {"others": "all"}}, "load.during.others"),
        ("load", {"calibration": {"count": -1}}, "load.calibration.count"),
        ("load", {"cpus": 0}, "load.cpus"),
    ],
)  # fmt: skip
def test_a_load_of_another_form_is_refused(result_of, field, value, place):
    with pytest.raises(ValueError, match=re.escape(place)):
        schema.validate(json.loads(json.dumps(result_of("dtypes"))) | {field: value})


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def html(monkeypatch):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    monkeypatch.setattr("plotly.offline.get_plotlyjs", str)  # four megabytes, each time
    from tilewise.lab.report import html

    return html


def test_the_page_says_it_above_everything_else(html, result_of):
    page = html([result_of("dtypes") | NOISY, result_of("mountain") | QUIET])
    assert page.count(REASON) >= 2
    assert page.index("</h1>") < page.index("Too noisy to tell.") < page.index("<nav")
    assert page.index(REASON) < page.index("<nav")
    assert "not quiet" not in html([result_of("dtypes") | QUIET])


def test_the_page_shows_what_strangers_say_of_their_machine_as_text(html, result_of):
    evil = "<script>alert(1)</script>"
    page = html([result_of("dtypes") | {"quiet": False, "noise": [evil]}])
    assert "<script>alert(1)" not in page


def test_machines_are_not_compared_where_one_was_busy(html, result_of):
    other = copy.deepcopy(result_of("chunks")) | NOISY
    other["machine"]["facts"]["cpu_model"]["value"] = "Another CPU"
    page = html([result_of("chunks") | QUIET, other])
    assert "B measured on a busy machine" in page
    assert "times the time" not in page
    assert "B has 1.00 times the time of A" in html([result_of("chunks") | QUIET, other | QUIET])


# --- tuning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0.0, 0.4])
def test_a_busy_machine_tunes_nothing(monkeypatch, others):
    monkeypatch.setattr(tune, "repeatable", lambda ours, theirs: (True, 0.5))
    real = tune.Run.measure

    def measured(self, *arguments):  # the last candidate looks fastest
        return [entry | {"median": 1 / (1 + entry["case"]["number"])}
                for entry in real(self, *arguments)]  # fmt: skip

    monkeypatch.setattr(tune.Run, "measure", measured)
    meter = Meter(recorded_load.readings(others=others), recorded_load.calibrations(),
                  sleep=lambda seconds: None)  # fmt: skip
    told = tune.tune((2000, 64, 64), n_threads=1, seconds=0.2, quick=True, meter=meter)
    calm = others == 0.0
    assert told["quiet"] is told["decided"] is told["accepted"] is calm
    assert (told["entry"] is not None) is calm
    assert bool(told["gains"]) is calm
    assert told["duel"]["fit"]["plan"]  # what was measured stays

"""The figures of README.md and of the benchmarks page are what the committed results give."""

import copy
import importlib
import json
import pathlib
import re
import statistics
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
RATIO = re.compile(r"(\d+\.\d\d)×")


@pytest.fixture
def readme(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "report", bench.report)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("readme")
    yield module
    sys.modules.pop("readme", None)


@pytest.fixture(scope="module")
def lloyd():
    return json.loads((RESULTS / "lloyd.json").read_text(encoding="utf-8"))


def fastest(record):
    """The fastest rival's median over ours, without any of the tools that are tested."""
    own = record["peers"]["tilewise"]["median"]
    rivals = [t["median"] for name, t in record["peers"].items() if name != "tilewise"]
    return min(rivals) / own


def test_readme_has_what_the_results_give(readme, capsys):
    assert readme.main(["--check"]) == 0, capsys.readouterr().out


def test_a_number_that_was_changed_by_hand_is_found(readme, tmp_path, monkeypatch, capsys):
    text = README.read_text(encoding="utf-8")
    mean = re.search(r"Geometric mean of all rows: (\d\.\d\d)×", text)[1]
    path = tmp_path / "README.md"
    path.write_text(text.replace(f"rows: {mean}×", "rows: 9.99×"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", path)
    assert readme.main(["--check"]) == 1
    assert "run python benchmarks/readme.py" in capsys.readouterr().out
    assert readme.main([]) == 0
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("dtype", "name"), [("float32", "f4"), ("float64", "f8")])
def test_readme_and_page_have_one_mean_of_all_rows(bench, lloyd, dtype, name):
    mine = [r for r in lloyd["records"] if r["case"]["dtype"] == dtype]
    mean = statistics.geometric_mean(map(fastest, mine))
    text = README.read_text(encoding="utf-8")
    assert f"{mean:.2f}× in {name} ({len(mine)} rows)" in text
    page = bench.report.suite_table(lloyd, "lloyd")
    assert f"the fastest rival, {dtype}: {mean:.2f}× (least " in page


def test_readme_leaves_no_row_of_iterations_out(bench, lloyd):
    block = README.read_text(encoding="utf-8").partition("<!-- figures:start -->")[2]
    table = block.partition("\n\n|")[2].partition("\n\n")[0]
    shown = sorted(RATIO.findall(table))
    assert shown == sorted(f"{fastest(record):.2f}" for record in lloyd["records"])


def test_a_row_that_was_lost_is_told_in_words(bench, readme, lloyd):
    result = copy.deepcopy(lloyd)
    first, *others = result["records"]
    for record in others:
        record["peers"]["tilewise"]["median"] = 1e-9
    own = first["peers"]["tilewise"]["median"]
    for name, told in first["peers"].items():
        if name != "tilewise":
            told["median"] = own / 2
    _, shape, name = bench.report.labels(first["case"])
    text = " ".join("\n".join(readme.lloyd(result)).split())
    assert f"{shape} in {name} was lost (0.50×)" in text
    assert text.count("was lost") == 1


@pytest.mark.parametrize(("file", "name"), [("lloyd-avx2", "AVX2"), ("lloyd-sse2", "SSE2")])
def test_rows_of_fewer_instructions_are_those_of_the_whole_table(bench, lloyd, file, name):
    result = json.loads((RESULTS / "isa" / f"{file}.json").read_text(encoding="utf-8"))
    facts = bench.report.held(result)
    assert [fact.partition("=")[0] for fact in facts] == ["TILEWISE_ISA", "OPENBLAS_CORETYPE"]
    assert [r["case"] for r in result["records"]] == [r["case"] for r in lloyd["records"]]
    ratios = [
        record["peers"]["scikit-learn"]["median"] / record["peers"]["tilewise"]["median"]
        for record in result["records"]
        if record["case"]["dtype"] == "float32"
    ]
    mean = statistics.geometric_mean(ratios)
    told = (
        f"{name} in f4 {mean:.2f}× ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rows)"
    )
    assert told in " ".join(README.read_text(encoding="utf-8").split())


def test_the_page_shows_every_committed_row(bench):
    for path in (*RESULTS.glob("*.json"), *RESULTS.glob("isa/*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        for suite in {record["suite"] for record in result["records"]}:
            mine = [r for r in result["records"] if r["suite"] == suite]
            table = (
                bench.report.suite_table(result, suite).partition("\n\n|")[2].partition("\n\n")[0]
            )
            assert table.count("\n") == len(mine) + 1, (path.name, suite)


def test_a_row_without_a_ratio_counts_as_one_and_is_marked(bench, readme, lloyd):
    report = bench.report
    mine = [r for r in copy.deepcopy(lloyd["records"]) if r["case"]["dtype"] == "float64"]
    ratios = list(map(fastest, mine))
    for spoil in (
        lambda told: told.update(median=0.0),
        lambda told: [told.clear(), told.update(error="it failed")],
    ):
        records = copy.deepcopy(mine)
        spoil(records[0]["peers"]["tilewise"])
        told = report.mean_of(records)
        assert told.mean == pytest.approx(statistics.geometric_mean([1.0, *ratios[1:]]))
        assert (told.rows, told.as_one) == (len(mine), 1)
        assert report.ratio_cell(records[0]) == "counts as 1"
        text = report.suite_table(lloyd | {"records": records}, "lloyd")
        assert f"{len(mine)} rows, 1 of which count as 1" in text
        assert "| counts as 1 |" in re.sub(" +", " ", text)


def test_a_rival_that_does_not_take_part_is_no_row(bench, lloyd):
    report = bench.report
    records = [r for r in lloyd["records"] if r["case"]["dtype"] == "float64"]
    assert all("faiss" not in r["peers"] for r in records)
    assert report.weight(records[0], "faiss") is None
    assert report.mean_of(records, "faiss") is None
    assert report.ratio_cell(records[0], "faiss") == "–"


def test_a_busy_machine_gives_no_ratio_and_no_mean(bench, lloyd):
    report = bench.report
    for quiet in ({"busy": 0.4}, {"busy": 0.0, "during": {"others": 0.4}}, {"steal": 0.2}):
        noisy = lloyd | {"quiet": {"busy": 0.0, "steal": 0.0, "load": None} | quiet}
        text = report.suite_table(noisy, "lloyd")
        assert text.count(report.TOO_NOISY) == 2 * len(lloyd["records"])
        assert "×" not in text.partition("\n\n### Against")[0].replace(" × ", "")
        assert "no mean" in text
        assert report.head(noisy).startswith("TOO NOISY TO TELL: ")
    assert not report.head(lloyd).startswith("TOO NOISY")

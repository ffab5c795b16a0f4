"""Every experiment at smoke size: a valid result, a table, figures, words; nothing of timing."""

import json
import math
import re

import numpy as np
import pytest

import tilewise
from tilewise.engine import Pass
from tilewise.kernels import _mountain
from tilewise.kernels._rows import Rows
from tilewise.lab import chunks, mountain, roofline, schema
from tilewise.lab._data import blobs
from tilewise.lab.dtypes import plain_labels
from tilewise.lab.experiments import EXPERIMENTS, perform
from tilewise.lab.threads import WORKS

from .conftest import SMALL

NAMES = list(SMALL)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_whole(result_of, name):
    result = result_of(name)
    schema.validate(json.loads(json.dumps(result, allow_nan=False)))
    assert result["experiment"] == name
    assert not result["interrupted"]
    assert result["quick"]
    assert result["measurements"]
    for entry in result["measurements"]:
        assert entry["min"] <= entry["median"] <= max(entry["samples"])
        assert entry["low"] <= entry["median"] <= entry["high"]
        assert all(math.isfinite(sample) and sample >= 0 for sample in entry["samples"])
    given = {k: v for k, v in result["parameters"].items() if k in SMALL[name]}
    assert given == SMALL[name]


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_figures_come_from_the_result_alone(result_of, name):
    result = json.loads(json.dumps(result_of(name)))
    experiment = EXPERIMENTS[name]
    table = experiment.table(result)
    assert table.rows
    assert all(len(row) == len(table.columns) for row in table.rows)
    figures = experiment.figures(result)
    assert figures
    assert len({figure.key for figure in figures}) == len(figures)
    for figure in figures:
        assert figure.words
        assert all(word.strip().endswith((".", "?")) for word in figure.words)
        assert figure.series
        for series in figure.series:
            assert len(series.x) == len(series.y) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_result_that_was_cut_short_can_still_be_read(result_of, name):
    result = json.loads(json.dumps(result_of(name)))
    experiment = EXPERIMENTS[name]
    for kept in (0, 1, 2):
        part = result | {"measurements": result["measurements"][:kept], "interrupted": True,
                         "simulated": []}  # fmt: skip
        if kept == 0:
            part |= {"facts": {}, "predicted": []}
        experiment.table(part)
        experiment.figures(part)


def test_ctrl_c_keeps_what_was_measured():
    def watch(phase, done, total, left):
        if left is not None and done == 4:
            raise KeyboardInterrupt

    result = perform("chunks", SMALL["chunks"] | {"simulate": False}, quick=True, watch=watch)
    assert result["interrupted"]
    assert sum(len(entry["samples"]) for entry in result["measurements"]) == 4
    schema.validate(json.loads(json.dumps(result)))
    assert EXPERIMENTS["chunks"].figures(result)


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="'chunk' is not one of chunks, dtypes"):
        perform("chunk")
    with pytest.raises(ValueError, match="no parameter 'row'"):
        perform("chunks", {"row": 3})


# --- chunks -----------------------------------------------------------------------------------


def test_the_sweep_spans_one_tile_to_the_whole_array(result_of):
    result = result_of("chunks")
    for engine in ("fused", "blas"):
        rows = sorted(
            e["case"]["chunk_rows"] for e in result["measurements"] if e["series"] == engine
        )
        facts = result["facts"]["engines"][engine]
        assert rows[0] == facts["tile_rows"]
        assert rows[-1] == result["parameters"]["rows"]
        assert facts["auto"] in rows
        assert 256 in rows


def test_all_chunk_sizes_and_engines_gave_the_same_labels(result_of):
    found = {e["more"]["labels_crc32"] for e in result_of("chunks")["measurements"] if "more" in e}
    assert len(found) == 1


@pytest.mark.parametrize("engine", ["fused", "blas"])
def test_a_stretched_shard_changes_no_label(engine):
    X, centers = blobs(3000, 6, 5)
    base = tilewise.plan(3000, 6, 5, engine=engine, n_threads=1)
    expected = np.argmin(((X[:, None].astype(float) - centers) ** 2).sum(axis=2), axis=1)
    for chunk in (base.tile_rows, 100 + base.tile_rows, 3000):
        work = Pass(Rows(X), 5, chunks.resized(base, chunk))
        work.assign(centers)
        assert np.array_equal(work.labels, expected)


def test_bytes_per_row_are_the_plans_own():
    per_row = chunks.bytes_per_row(100_000, 64, 256, "float32", "fused")
    one, two = (
        tilewise.plan(100_000, 64, 256, n_threads=1, chunk_size=rows).workspace_bytes_per_thread
        for rows in (384, 1152)
    )
    assert per_row == (two - one) / 768
    # The BLAS engine keeps a score per centre beside.
    assert chunks.bytes_per_row(100_000, 64, 256, "float32", "blas") > per_row + 256 * 4 * 0.9


def test_verdict_says_how_far_the_plan_is_from_the_best():
    def entry(rows, *samples):
        from tilewise.lab._run import summary

        return {"series": "fused", "case": {"chunk_rows": rows}, **summary(list(samples))}

    result = {
        "measurements": [entry(12, 2.0), entry(96, 1.0, 1.1, 1.2), entry(384, 1.2, 1.32, 1.4)],
        "facts": {"engines": {"fused": {"auto": 384}}},
    }
    found = chunks.verdict(result, "fused")
    assert (found["auto"], found["best"]) == (384, 96)
    assert found["behind"] == pytest.approx(0.2)
    assert not found["apart"]  # 1.2 is in both
    assert found["range"] == pytest.approx((0.0, 0.4), abs=0.05)
    assert chunks.verdict(result, "blas") is None


def test_predicted_and_simulated_stand_beside_the_measured(result_of):
    result = result_of("chunks")
    rows = {e["case"]["chunk_rows"] for e in result["measurements"] if e["series"] == "fused"}
    for values, by in ((result["predicted"], "formulas"), (result["simulated"], "simulator")):
        own = {
            v["case"]["chunk_rows"]
            for v in values if v["series"] == "fused" and v["case"]["by"] == by
        }  # fmt: skip
        assert own == rows
    told = EXPERIMENTS["chunks"].table(result)
    named = {name.partition(",")[0]: i for i, name in enumerate(told.columns)}
    own = [row for row in told.rows if row[0] == "fused"]
    assert all(" / " in row[named["L1–L2"]] and "–" not in row[named["L1–L2"]] for row in own)
    words = EXPERIMENTS["chunks"].figures(result)[0].words[0]
    own = re.findall(r"\bauto \([\d,]+ rows, (\w+) engine\)", words)
    assert sorted(own) == ["blas", "fused"]
    firsts = [figure.words[0] for figure in EXPERIMENTS["chunks"].figures(result)]
    assert len(set(firsts)) == len(firsts)
    names = [s.name for s in EXPERIMENTS["chunks"].figures(result)[0].series]
    assert "fused engine" in names
    assert "fused, expected (formulas)" in names
    assert "fused, expected (simulated)" in names


# --- dtypes, materialise, threads ---------------------------------------------------------------


def test_plain_labels_are_the_textbooks(result_of):
    X, centers = blobs(500, 5, 7, "float64")
    expected = np.argmin(((X[:, None] - centers) ** 2).sum(axis=2), axis=1)
    for chunk in (1, 64, 500, 10_000):
        assert np.array_equal(plain_labels(X, centers, chunk), expected)


def test_far_from_the_origin_plain_float32_errs_and_it_is_counted():
    small = {"rows": 3000, "features": 8, "clusters": 30}
    labels = perform("dtypes", small, seconds=0.2)["facts"]["labels"]
    assert [entry["offset"] for entry in labels] == [0.0, 100.0, 1000.0]
    assert labels[-1]["plain_float32"] > labels[0]["plain_float32"]
    assert labels[0]["plain_float64"] == 0


def test_the_whole_matrix_needs_the_memory_of_a_matrix(result_of):
    result = result_of("materialise")
    peaks = {
        (e["series"], e["case"]["rows"]): e["median"]
        for e in result["measurements"] if e["unit"] == "bytes"
    }  # fmt: skip
    if not peaks:
        pytest.skip("this system does not say how much memory a process held")
    rows, clusters = 20_000, 64
    assert peaks["whole", rows] >= rows * clusters * 4
    assert peaks["fused", rows] < rows * clusters * 4 / 2
    assert {e["unit"] for e in result["measurements"]} == {"s", "bytes"}


def test_every_setup_of_jobs_is_there(result_of):
    result = result_of("threads")
    for work in WORKS:
        own = [e for e in result["measurements"] if e["series"] == work]
        assert len(own) == 5
    swept = [e["case"]["threads"] for e in result["measurements"] if "threads" in e["case"]]
    cpus = result["facts"]["cpus"]
    assert 1 <= cpus <= tilewise.machine().n_cpus.value
    assert swept[0] == 1
    assert swept[-1] == 2 * cpus


# --- mountain -----------------------------------------------------------------------------------


def test_reading_and_walking_do_their_work():
    words = mountain.buffer(1 << 16)
    assert words.ctypes.data % 4096 == 0
    assert len(words) == (1 << 16) // 8
    isa = tilewise.machine().isa.value
    for stride in (1, 3, 8):
        for threads in (1, 2):
            assert _mountain.read_seconds(words, stride, 3, isa, threads) > 0
    ring = np.roll(np.arange(64), -1)
    assert _mountain.walk_seconds(ring, 0, 1000) > 0
    with pytest.raises(ValueError, match="is not in list"):
        _mountain.read_seconds(words, 1, 1, "nothing")


# --- roofline, peers ------------------------------------------------------------------------------


def test_shapes_are_read():
    assert roofline.parse_shapes("10x2x3, 4x5x6") == [(10, 2, 3), (4, 5, 6)]
    for wrong in ("", "10x2", "10x0x3", "axbxc", "1x2x3x4"):
        with pytest.raises(ValueError, match="is not a shape"):
            roofline.parse_shapes(wrong)


def test_a_dot_per_shape_and_chunk(result_of):
    dots = [e["case"] for e in result_of("roofline")["measurements"] if e["series"] == "pass"]
    assert {c["shape"] for c in dots} == {"2000x8x8", "600x40x20"}
    assert all(c["memory_bytes"] > 0 for c in dots)
    assert sum(c["auto"] for c in dots) == 2


def test_without_a_program_the_comparison_says_so():
    with pytest.raises(ValueError, match="pass the program that compares libraries"):
        perform("peers")


FAKE = """
import json, sys, time
path = sys.argv[sys.argv.index("--json") + 1]
names = ("tilewise", "other")
record = {"suite": "lloyd", "unit": "s", "case": {"kind": "blobs", "n_samples": 10,
    "n_features": 2, "n_clusters": 3, "dtype": "float32"},
    "peers": {n: {"samples": [0.1 * (i + 1), 0.2 * (i + 1)]} for i, n in enumerate(names)}
    | {"broken": {"error": "no"}}}
open(path, "w").write(json.dumps({"records": [record], "missing": {"third": "no module"}}))
open(__file__ + ".written", "w").close()
if "slow" in sys.argv: time.sleep(600)
if "bad" in sys.argv: sys.exit("it went wrong")
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(FAKE, encoding="utf-8")
    return path


def test_the_comparison_is_taken_over(program):
    result = perform("peers", {"program": str(program)}, quick=True)
    schema.validate(json.loads(json.dumps(result)))
    assert {e["series"] for e in result["measurements"]} == {"tilewise", "other"}
    assert str(program.parent) not in json.dumps(result)
    figure = EXPERIMENTS["peers"].figures(result)[0]
    assert [s.y for s in figure.series] == [[pytest.approx(2.0)]]
    assert any("third" in word for word in figure.words)
    assert len(EXPERIMENTS["peers"].table(result).rows) == 2


def test_differences_lost_in_noise_have_no_bar_and_count_as_one(program):
    result = perform("peers", {"program": str(program)}, quick=True)
    base = {e["series"]: e for e in result["measurements"]}
    kinds = ("blobs", "noise")
    for lost in ("tilewise", "other"):
        for value in (0.0, -1e-6):
            result["measurements"] = [
                e | {"case": e["case"] | {"kind": kind}}
                | ({"median": value} if kind == "noise" and e["series"] == lost else {})
                for kind in kinds for e in base.values()
            ]  # fmt: skip
            (figure,) = EXPERIMENTS["peers"].figures(result)
            assert [s.y for s in figure.series] == [[pytest.approx(2.0)]]
            assert any("1 time was too short to measure" in word for word in figure.words)
            # The mean of 2 and of 1, not of 2 alone.
            assert "took 1.41 times as long" in figure.words[0]
            assert "of 2 cases, 1 of them too short to measure" in figure.words[0]
            assert "counts as 1" in EXPERIMENTS["peers"].table(result).notes[0]
            told = [row[3:] for row in EXPERIMENTS["peers"].table(result).rows]
            assert told.count(["too short to measure", ""]) == 1
            assert sum(ratio.endswith("×") for _, ratio in told) == (2 if lost == "tilewise" else 3)
    result["measurements"] = [e | {"median": 0.0} for e in base.values()]
    assert EXPERIMENTS["peers"].figures(result) == []


def test_a_comparison_that_is_interrupted_keeps_its_records(program):
    def watch(phase, done, total, left):
        if program.with_name("run.py.written").exists():
            raise KeyboardInterrupt

    slow = {"program": str(program), "suites": "lloyd,slow"}
    result = perform("peers", slow, quick=True, watch=watch)
    assert result["interrupted"]
    assert len(result["measurements"]) == 2


def test_a_comparison_that_fails_says_why(program):
    with pytest.raises(RuntimeError, match="it went wrong"):
        perform("peers", {"program": str(program), "suites": "bad"}, quick=True)

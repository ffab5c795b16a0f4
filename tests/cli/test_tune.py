"""``tilewise tune``: what it measures, shows, keeps and forgets."""

import json

import pytest
import recorded_load

import tilewise
from tilewise.cli._errors import ExitCode
from tilewise.lab import _run, tune
from tilewise.plan import tuning

ENTRY = tuning.Entry(
    "float32", "centres-in-lanes", "float32", 2000, 64, 64, 1, 96, 1, 384, 2, 0.12, "2026-01-02"
)
DUEL = {"decided": True, "interrupted": False,
        "gains": {"fit": 0.12, "predict": -0.01}, "kind": "fit",
        "rival": {"chunk_rows": 96, "panels_per_block": 1},
        "duel": {"fit": {"plan": [1.0] * 30, "rival": [1.0] * 30}}}  # fmt: skip
NOISY = {"quiet": False, "noise": ["others were at work"], "gains": {}}
SMALL = ("--shape", "2000x64x64", "--quick", "--threads", 1)


@pytest.fixture
def record(folder, monkeypatch):
    path = folder / "tuning.json"
    monkeypatch.setenv("TILEWISE_TUNING", str(path))
    return path


@pytest.fixture
def found(monkeypatch):
    """Let the measurement find what the test says."""

    def finds(entry):
        def measured(shape, dtype, **options):
            return {"shape": list(shape), "dtype": dtype, "accepted": entry is not None,
                    "candidates": [{"chunk_rows": 384}], "gain": 0.12, "entry": entry,
                    **DUEL}  # fmt: skip

        monkeypatch.setattr(tune, "tune", measured)

    return finds


def test_a_gain_is_stored_and_used(invoke, record, found):
    found(ENTRY)
    done = invoke("tune", *SMALL)
    assert done.exit_code == 0, done.stderr
    assert "96 rows per chunk, 1 panels: 12 % faster in fit than the plan's 384 rows" in " ".join(
        done.stdout.split()
    )
    assert "(+12.0 % in fit, -1.0 % in predict; 30 rounds)" in " ".join(done.stdout.split())
    assert f"written {record}" in done.stdout
    assert str(record) in tilewise.plan(2000, 64, 64).reasons["chunk_rows"]
    shown = invoke("tune", "--show").stdout
    assert "2000x64x64 float32" in shown
    assert json.loads(invoke("tune", "--show", "--json").stdout)["entries"] == [ENTRY.to_dict()]
    assert "1 entries" in invoke("tune", "--forget").stdout
    assert not record.exists()
    assert "nothing measured" in invoke("tune", "--show").stdout


def test_no_gain_stores_nothing(invoke, record, found):
    found(None)
    done = invoke("tune", *SMALL)
    told = " ".join(done.stdout.split())
    assert "the plan's 384 rows stay. 96 rows, 1 panels: +12.0 % in fit, -1.0 %" in told
    assert not record.exists()


def test_a_busy_machine_keeps_nothing_and_forgets_nothing(invoke, record):
    tune.save([ENTRY], [{"dtype": "float32", "shape": [2000, 64, 64]}], record)
    before = record.read_bytes()
    with recorded_load.a_machine(others=0.4):
        done = invoke("tune", *SMALL, "--json")
        plain = invoke("tune", *SMALL)
    assert done.exit_code == plain.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["quiet"] is False
    assert "2000x64x64 float32: other processes used " in told["noise"][0]
    assert list(told)[:3] == ["path", "quiet", "noise"]
    assert told["found"][0]["accepted"] is False
    first, second = plain.stdout.splitlines()
    assert first.startswith("Too noisy to tell: 2000x64x64 float32: other processes used ")
    assert "too noisy to tell; the plan's" in second
    assert record.read_bytes() == before


def test_one_busy_moment_does_not_spoil_the_other_shapes(invoke, record, monkeypatch):
    loads = iter([NOISY, {"quiet": True, "noise": []}])

    def measured(shape, dtype, **options):
        calm = next(loads)
        return {"shape": list(shape), "dtype": dtype, "candidates": [{"chunk_rows": 384}],
                "gain": 0.12, **DUEL, **calm, "accepted": calm["quiet"],
                "decided": calm["quiet"], "entry": ENTRY if calm["quiet"] else None}  # fmt: skip

    monkeypatch.setattr(tune, "tune", measured)
    done = invoke("tune", *SMALL, "--shape", "9x9x9")
    assert done.stdout.startswith("Too noisy to tell: 1 of 2 shapes: others were at work.")
    assert tuning.read(record)[0]["entries"] == [ENTRY]


def test_it_really_measures(invoke, record):
    done = invoke("tune", *SMALL, "--seconds", 0.3, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["path"] == str(record)
    assert len(told["found"][0]["candidates"]) >= 3
    assert "2000x64x64 float32" in done.stderr


def test_an_interrupt_keeps_the_shapes_that_were_done(invoke, record, monkeypatch):
    def measured(shape, dtype, **options):
        if shape[0] == 9:
            raise KeyboardInterrupt
        return {"shape": list(shape), "dtype": dtype, "accepted": True, "gain": 0.12,
                "candidates": [{"chunk_rows": 384}], "entry": ENTRY, **DUEL}  # fmt: skip

    monkeypatch.setattr(tune, "tune", measured)
    done = invoke("tune", *SMALL, "--shape", "9x9x9")
    assert done.exit_code == ExitCode.INTERRUPTED
    assert "decided 1 of 2 shapes" in done.stderr
    assert tuning.read(record)[0]["entries"] == [ENTRY]


def test_an_interrupt_within_a_shape_keeps_its_samples_and_the_older_entry(
    invoke, record, monkeypatch
):
    tune.save([ENTRY], [{"dtype": "float32", "shape": [2000, 64, 64]}], record)
    real, samples = _run._sample, []

    def sampled(*arguments):
        if len(samples) == 3:
            raise KeyboardInterrupt
        samples.append(real(*arguments))
        return samples[-1]

    monkeypatch.setattr(_run, "_sample", sampled)
    done = invoke("tune", *SMALL, "--shape", "9x9x9", "--json")
    assert done.exit_code == ExitCode.INTERRUPTED
    told = json.loads(done.stdout)
    assert told["interrupted"]
    (shape,) = told["found"]  # the second one did not begin
    assert shape["interrupted"]
    assert not shape["decided"]
    assert [s for c in shape["candidates"] for s in c["samples"]] == samples
    count = len(shape["candidates"])  # the instruction set says how many
    assert f"3 of {count} sizes have samples" in " ".join(done.stderr.split())
    assert "decided 0 of 2 shapes" in done.stderr
    assert tuning.read(record)[0]["entries"] == [ENTRY]


def test_wrong_usage(fails, record, monkeypatch):
    assert "'1x2' is not a shape" in fails(ExitCode.USAGE, "tune", "--shape", "1x2")
    assert "exclude" in fails(ExitCode.USAGE, "tune", "--show", "--forget")
    monkeypatch.setenv("TILEWISE_TUNING", "off")
    assert "TILEWISE_TUNING is off, so" in fails(ExitCode.USAGE, "tune")


@pytest.mark.parametrize("option", [(), ("--show",), ("--forget",)])
def test_a_file_that_is_no_record_is_left_alone(fails, record, option):
    record.write_text('{"mine": 1}')
    said = fails(ExitCode.BAD_DATA, "tune", *option, *(() if option else SMALL))
    assert "tuning.json: not a tuning record" in said
    assert record.read_text() == '{"mine": 1}'


def test_explain_warns_of_a_record_in_one_line(invoke, monkeypatch, tmp_path):
    path = tmp_path / "record.json"
    path.write_text("no record")
    monkeypatch.setenv("TILEWISE_TUNING", str(path))
    result = invoke("explain", "--rows", 54321, "--features", 7, "--clusters", 5)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"tilewise: warning: {path} is ignored")


@pytest.fixture
def no_measurement(monkeypatch):
    def measured(*arguments, **options):
        raise AssertionError("measured before it was known where the record can go")

    monkeypatch.setattr(tune, "tune", measured)


def test_without_a_home_it_says_what_to_set(fails, monkeypatch, no_measurement):
    pwd = pytest.importorskip("pwd")

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "TILEWISE_TUNING"):
        monkeypatch.delenv(name, raising=False)
    for option in ((), ("--show",), ("--forget",)):
        said = fails(ExitCode.USAGE, "tune", *option)
        assert "this user has no home folder" in said
        assert "Set TILEWISE_TUNING to the path of a file" in said


@pytest.mark.parametrize("place", ["file/below/tuning.json", "folder"])
def test_a_place_that_holds_no_record_is_refused_before_measuring(
    fails, monkeypatch, folder, no_measurement, place
):
    (folder / "file").write_text("")
    (folder / "folder").mkdir()
    monkeypatch.setenv("TILEWISE_TUNING", str(folder / place))
    said = fails(ExitCode.CANNOT_WRITE, "tune", *SMALL)
    assert str(folder / place.partition("/")[0]) in said
    assert "set TILEWISE_TUNING to a file that can be written" in said


def test_a_folder_without_permission(fails, monkeypatch, folder, record, no_measurement):
    monkeypatch.setattr(tune.os, "access", lambda *arguments: False)
    said = fails(ExitCode.CANNOT_WRITE, "tune", *SMALL)
    assert said.startswith(f"{folder}: no permission to write here; set TILEWISE_TUNING")


def test_what_was_measured_is_shown_where_it_cannot_be_kept(invoke, record, found, monkeypatch):
    found(ENTRY)

    def full(*arguments):
        raise OSError(28, "No space left on device", str(record))

    monkeypatch.setattr(tune, "save", full)
    done = invoke("tune", *SMALL)
    assert done.exit_code == ExitCode.CANNOT_WRITE
    assert "96 rows per chunk" in " ".join(done.stdout.split())
    assert "written" not in done.stdout
    assert "could not save the result" in done.stderr
    assert json.loads(invoke("tune", *SMALL, "--json").stdout)["found"][0]["accepted"]

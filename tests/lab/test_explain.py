"""`explain`: what it says of recorded machines, and that its parts agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import recorded_load

from tilewise import Machine, machine
from tilewise.lab.explain import explain
from tilewise.lab.roofs import Roofs
from tilewise.lab.simulate import CacheConfig

from .conftest import MACHINES

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"

NAMES = sorted(path.stem for path in MACHINES.glob("*.json"))
SHAPES = {
    "embedding": (100_000, 64, 256, "float32"),
    "pixels": (273_280, 3, 64, "float32"),
}


def told(machine, shape, **choices):
    return explain(*SHAPES[shape], machine=machine, n_threads=2, **choices)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_recorded_machines(recorded, name, shape):
    """Each word of it: to look at a change, compare with the files in tests/lab/golden."""
    said = told(recorded(name), shape).sentences()
    expected = (GOLDEN / f"{name}-{shape}.txt").read_text(encoding="utf-8").splitlines()
    assert said == expected


def test_every_recorded_machine_has_its_golden_files():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {
        f"{name}-{shape}" for name in NAMES for shape in SHAPES
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_time_binds(recorded, name):
    for shape in SHAPES:
        result = told(recorded(name), shape, update=True)
        assert result.seconds == max(result.times.values()) == result.times[result.bound]
        assert [flow.inner for flow in result.traffic.flows][:2] == ["L1", "L2"]
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["bound"] == result.bound


def test_bandwidth_binds_where_it_is_low(recorded):
    machine = recorded("guest_2cpu")
    fast = Roofs(1e6, {"L1": 1e6, "L2": 1e6, "memory": 1.0}, 2, "a test")
    slow = Roofs(1.0, {"L1": 1e6, "L2": 1e6, "memory": 1e6}, 2, "a test")
    by_memory, by_arithmetic = (told(machine, "embedding", roofs=r) for r in (fast, slow))
    assert by_memory.bound == "memory"
    assert by_memory.seconds == by_memory.traffic.flows[-1].bytes / 1e9
    assert by_arithmetic.bound == "arithmetic"
    assert by_arithmetic.seconds == 2 * by_arithmetic.traffic.executed / 1e9


def on_amx(recorded):
    facts = recorded("guest_2cpu").to_dict() | {"isa": {"value": "amx", "source": "a test"}}
    return Machine.from_dict(facts)


def test_products_have_a_roof_of_their_own(recorded):
    machine = on_amx(recorded)
    result = told(machine, "embedding")
    assert result.plan.products == 3
    # 1024 operations per cycle, thread and core against 64 in vectors of sixteen.
    assert result.roofs.product_gflops == 16 * result.roofs.compute_gflops
    rate = result.roofs.product_gflops
    assert result.times["arithmetic"] == 2 * result.traffic.executed / rate / 1e9
    said = " ".join(result.sentences())
    assert "32 rows x all 64 features, 2 parts" in said
    assert "each as 3 products of bfloat16 numbers on AMX" in said
    assert "on AMX 512 of bfloat16 numbers" in said
    plain = told(machine, "pixels")
    assert plain.plan.products == 0
    assert plain.times["arithmetic"] == 2 * plain.traffic.executed / 1e9 / (
        plain.roofs.compute_gflops
    )


@pytest.mark.parametrize(("byte_products", "looks"), [(True, True), (False, False)])
def test_a_first_look_is_told(recorded, byte_products, looks):
    facts = recorded("guest_2cpu").to_dict() | {
        name: {"value": value, "source": "a test"}
        for name, value in {"isa": "avx512", "byte_products": byte_products}.items()
    }
    result = told(Machine.from_dict(facts), "embedding")
    assert result.plan.look == looks
    assert ("a pass that scores every row" in " ".join(result.sentences())) == looks


def test_roofs_without_a_rate_of_products(recorded):
    roofs = Roofs(100.0, {"L1": 50.0, "memory": 20.0}, 2, "a test")
    with pytest.raises(ValueError, match="no rate of products of bfloat16 on AMX"):
        told(on_amx(recorded), "embedding", roofs=roofs)
    assert told(on_amx(recorded), "pixels", roofs=roofs).roofs == roofs


def test_changes(recorded):
    result = told(recorded("guest_2cpu"), "embedding")
    changes = {change.what: change for change in result.changes}
    assert list(changes) == [
        "half the chunk", "twice the chunk", "float64 data", "twice the threads",
    ]  # fmt: skip
    half, twice = changes["half the chunk"].plan, changes["twice the chunk"].plan
    assert 2 * half.chunk_rows <= result.plan.chunk_rows
    assert half.chunk_rows > result.plan.chunk_rows // 2 - half.tile_rows
    assert twice.chunk_rows == 2 * result.plan.chunk_rows
    assert changes["float64 data"].flows["L2-memory"] == pytest.approx(2, rel=0.1)
    assert changes["twice the threads"].plan.n_threads == 4
    assert changes["twice the threads"].seconds < result.seconds


def test_changes_that_are_not_possible(recorded):
    one_tile = explain(10_000, 784, 10, machine=recorded("guest_2cpu"), n_threads=2)
    half = one_tile.changes[0]
    assert half.plan is None
    assert "at least one tile of 12 rows" in half.note
    few = explain(100, 64, 8, machine=recorded("guest_2cpu"), n_threads=1)
    assert [change.plan for change in few.changes if change.what == "twice the threads"] == [None]


def test_on_this_machine_the_plan_is_the_one_that_runs():
    """A tuning record counts, and only here."""
    import tilewise

    assert explain(50_000, 40, 30).plan is tilewise.plan(50_000, 40, 30)


def test_nothing_to_explain():
    with pytest.raises(ValueError, match="n_samples=0 leaves nothing"):
        explain(0, 4, 2)
    with pytest.raises(ValueError, match="n_features=0 leaves nothing"):
        explain(4, 0, 2)
    with pytest.raises(ValueError, match="n_clusters=0"):
        explain(4, 4, 0)


# ---------------------------------------------------------------- roofs


def test_measured_roofs_are_rates():
    roofs = Roofs.measure(1)
    levels = {level.name for level in CacheConfig.from_machine().levels}
    assert set(roofs.bandwidth_gbs) == levels | {"memory"}
    assert min(roofs.compute_gflops, *roofs.bandwidth_gbs.values()) > 0
    assert roofs.bandwidth("L3") == roofs.bandwidth_gbs["L3" if "L3" in levels else "memory"]
    on_amx = machine().isa.value == "amx"
    assert (roofs.product_gflops is not None) == on_amx
    assert not on_amx or roofs.product_gflops > roofs.compute_gflops
    assert Roofs.from_dict(json.loads(json.dumps(roofs.to_dict()))) == roofs


def test_roofs_of_a_busy_machine_say_so(result_of):
    with recorded_load.a_machine(others=0.5), pytest.warns(RuntimeWarning, match="Too noisy"):
        roofs = Roofs.measure(1)
    assert "but other processes used" in roofs.source
    noisy = result_of("roofline") | {"quiet": False, "noise": ["others were at work"]}
    assert Roofs.from_dict(noisy).source.endswith("but others were at work")
    assert "but" not in Roofs.from_dict(result_of("roofline")).source
    for odd in ({}, {"load_before": "x"}, {"load_before": 9, "facts": {}}, None):
        part = {key: noisy[key] for key in ("measurements", "parameters")} | {"machine": odd}
        assert Roofs.from_dict(part).compute_gflops > 0


def test_scaling():
    roofs = Roofs(100.0, {"L1": 50.0, "L2": 40.0, "L3": 30.0, "memory": 20.0}, 2, "a test")
    more, less = roofs.scaled(4), roofs.scaled(1)
    assert (more.compute_gflops, more.bandwidth("L2")) == (200.0, 80.0)
    assert (more.bandwidth("L3"), more.bandwidth("memory")) == (30.0, 20.0)
    assert (less.compute_gflops, less.bandwidth("memory")) == (50.0, 10.0)
    assert "scaled from 2 to 4 threads" in more.source
    assert roofs.scaled(2) is roofs
    assert more.product_gflops is None
    faster = Roofs(100.0, {"memory": 20.0}, 2, "a test", 900.0)
    assert faster.scaled(1).product_gflops == 450.0


def test_a_result_of_the_roofline_experiment():
    record = {
        "parameters": {"threads": 2},
        "measurements": [
            {"series": "peak", "case": {}, "samples": [90.0, 100.0]},
            {"series": "peak", "case": {"what": "products"}, "samples": [800.0, 900.0]},
            {"series": "bandwidth", "case": {"level": "L2"}, "samples": [40.0]},
            {"series": "bandwidth", "case": {"level": "memory"}, "samples": [9.0, 10.0]},
            {"series": "pass", "case": {}, "samples": [1.0]},
        ],
    }
    roofs = Roofs.from_dict(record)
    assert (roofs.compute_gflops, roofs.bandwidth_gbs) == (100.0, {"L2": 40.0, "memory": 10.0})
    assert roofs.product_gflops == 900.0


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"compute_gflops": 1, "bandwidth_gbs": {}, "threads": 1, "source": ""},
        {"compute_gflops": 0, "bandwidth_gbs": {"memory": 1}, "threads": 1, "source": ""},
        {"compute_gflops": 1, "bandwidth_gbs": {"memory": "x"}, "threads": 1, "source": ""},
        {"measurements": [], "parameters": {"threads": 1}},
    ],
)
def test_what_is_no_record_of_roofs(record):
    with pytest.raises(ValueError, match="not a record of roofs"):
        Roofs.from_dict(record)


# ---------------------------------------------------------------- the command


@pytest.fixture
def invoke():
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from click.testing import CliRunner

    from tilewise.cli._app import app

    try:
        runner = CliRunner(mix_stderr=False)  # click before 8.2
    except TypeError:
        runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["explain", *map(str, arguments)])


SHAPE = ("--rows", 50_000, "--features", 40, "--clusters", 30)


def test_command_for_people(invoke):
    result = invoke(*SHAPE)
    assert result.exit_code == 0
    for words in ("What lives where", "What a pass moves", "the limit", "packed chunk", "assumed"):
        assert words in result.stdout
    assert result.stderr == ""


def test_command_for_programs(invoke):
    result = invoke(*SHAPE, "--dtype", "float64", "--threads", 1, "--chunk-size", 96, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["plan"]["chunk_rows"] == 96
    assert found["plan"]["dtype"] == "float64"
    assert found["roofs"]["threads"] == 1
    assert found["sentences"]


def test_command_for_another_machine(invoke, recorded, tmp_path):
    machine = recorded("apple_m1")
    file = tmp_path / "facts.json"
    for record in (
        {"versions": {}, "facts": machine.to_dict() | {"n_threads": {"value": 3, "source": "x"}}},
        {"facts": machine.to_dict()},
        machine.to_dict(),
    ):
        file.write_text(json.dumps(record), encoding="utf-8")
        result = invoke(*SHAPE, "--machine", file, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["machine"] == machine.to_dict()
        asked = 3 if "n_threads" in record.get("facts", {}) else machine.n_cpus.value
        direct = explain(50_000, 40, 30, machine=machine, n_threads=asked)
        assert found["sentences"] == direct.sentences()


def test_command_with_recorded_roofs(invoke, tmp_path):
    file = tmp_path / "roofs.json"
    first = json.loads(invoke(*SHAPE, "--threads", 1, "--json").stdout)
    first["roofs"] |= {"compute_gflops": 123.0, "source": "by hand"}
    file.write_text(json.dumps(first), encoding="utf-8")
    again = json.loads(invoke(*SHAPE, "--threads", 1, "--roofs", file, "--json").stdout)
    assert again["roofs"] == first["roofs"]


def test_command_measures(invoke):
    result = invoke(*SHAPE, "--threads", 1, "--measure", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["roofs"]["source"].startswith("measured now")
    assert result.stderr == ""
    with recorded_load.a_machine(others=0.5):
        result = invoke(*SHAPE, "--threads", 1, "--measure", "--json")
    assert "but other processes used" in json.loads(result.stdout)["roofs"]["source"]
    assert result.stderr.startswith("tilewise: warning: Too noisy to tell: other processes used")


@pytest.mark.parametrize(
    ("text", "arguments", "code", "words"),
    [
        (None, ("--rows", 0, "--features", 4, "--clusters", 2), 2, "0 is not from 1 to"),
        (None, ("--rows", 9, "--features", 4), 2, "Missing option '--clusters'"),
        (None, (*SHAPE, "--chunk-size", 1), 2, "chunk_size=1 is out of range"),
        (None, (*SHAPE, "--machine", "none.json"), 66, "none.json: No such file"),
        ("[1]", (*SHAPE, "--machine", "FILE"), 65, "an object was expected"),
        ("{", (*SHAPE, "--machine", "FILE"), 65, "not JSON"),
        ('{"facts": {}}', (*SHAPE, "--machine", "FILE"), 65, "not the facts of a machine"),
        ("{}", (*SHAPE, "--roofs", "FILE"), 65, "not a record of roofs"),
        ("{}", (*SHAPE, "--machine", "FILE", "--measure"), 2, "--measure is for this machine"),
        ("{}", (*SHAPE, "--roofs", "FILE", "--measure"), 2, "give one"),
    ],
)
def test_command_refuses(invoke, tmp_path, monkeypatch, text, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "FILE").write_text(text, encoding="utf-8")
    result = invoke(*arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.startswith("tilewise: error: ")
    assert result.stderr.count("\n") == 1


def test_the_room_needs_no_extra():
    """Predicting and simulating load neither drawing nor the command line."""
    code = (
        "import sys, tilewise\n"
        "before = set(sys.modules)\n"
        "import tilewise.lab.explain, tilewise.lab.simulate, tilewise.lab.cachegrind\n"
        "tilewise.lab.explain.explain(100, 4, 2)\n"
        "extras = {'click', 'rich', 'matplotlib', 'plotly', 'jinja2', 'jsonschema'}\n"
        "wanted = extras & (set(sys.modules) - before)\n"
        "sys.exit(', '.join(sorted(wanted)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

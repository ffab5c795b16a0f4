"""The tuning record as plans see it: used, named, near shapes, and never trusted blindly."""

import dataclasses
import json
import os
import warnings
from pathlib import Path

import damage
import pytest

import tilewise
from tilewise.plan import tuning

ENTRY = tuning.Entry(
    "float32", "centres-in-lanes", "float32", 100_000, 64, 256, 1, 192, 4, 384, 2, 0.12,
    "2026-01-02",
)  # fmt: skip


@pytest.fixture
def record(tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    monkeypatch.setenv("TILEWISE_TUNING", str(path))
    return path


def write(path, *entries, **changes):
    key = tuning.machine_key(tilewise.machine()) | changes
    path.write_text(tuning.to_text([{"key": key, "entries": list(entries)}]), encoding="utf-8")
    # States of the file are told apart by time and size; a test may write twice within a tick.
    stamp = (path.stat().st_mtime_ns // 10**9 + write.count) * 10**9
    write.count += 1
    os.utime(path, ns=(stamp, stamp))


write.count = 1


def untuned(*shape, **options):
    with tuning.ignored():
        return tilewise.plan(*shape, n_threads=1, **options)


def test_a_record_is_used_and_named(record):
    before = tilewise.plan(100_000, 64, 256, n_threads=1)
    assert before == untuned(100_000, 64, 256)
    write(record, ENTRY)
    p = tilewise.plan(100_000, 64, 256, n_threads=1)
    assert p.chunk_rows == 192
    assert p.panels_per_block == min(4, -(-256 // p.panel_columns))
    assert str(record) in p.reasons["chunk_rows"]
    assert "12 % faster than 384" in p.reasons["chunk_rows"]
    assert (p.shard_rows, p.n_shards) == (before.shard_rows, before.n_shards)
    write(record, dataclasses.replace(ENTRY, chunk_rows=96))
    shorter = tilewise.plan(100_000, 64, 256, n_threads=1)
    assert shorter.chunk_rows == 96
    assert shorter.workspace_bytes_per_thread < before.workspace_bytes_per_thread
    record.unlink()
    assert tilewise.plan(100_000, 64, 256, n_threads=1) == before


def test_near_shapes_get_as_many_bytes_of_rows(record):
    write(record, ENTRY)
    for features, rows in ((64, 192), (80, 156), (50, 240), (90, 132)):
        p = tilewise.plan(100_000, features, 256, n_threads=1)
        if ENTRY.layout == p.layout:
            assert p.chunk_rows == pytest.approx(rows, abs=p.tile_rows)
    for shape in ((100_000, 128, 256), (100_000, 64, 64), (100_000, 8, 256)):
        assert tilewise.plan(*shape, n_threads=1) == untuned(*shape)
    assert tilewise.plan(500, 64, 256, n_threads=1).chunk_rows <= untuned(500, 64, 256).shard_rows


def test_the_nearest_of_several_counts(record):
    write(record, dataclasses.replace(ENTRY, n_features=56, chunk_rows=48), ENTRY)
    assert tilewise.plan(100_000, 64, 256, n_threads=1).chunk_rows == 192


def test_what_was_asked_for_comes_first(record):
    write(record, ENTRY)
    shape = (100_000, 64, 256)
    asked = tilewise.plan(*shape, n_threads=1, chunk_size=480)
    assert asked.chunk_rows == 480
    assert asked == untuned(*shape, chunk_size=480)
    for options in ({"engine": "blas"}, {"score_dtype": "float64"}, {"dtype": "float64"}):
        assert tilewise.plan(*shape, n_threads=1, **options) == untuned(*shape, **options)


def test_off_ignores_it(record, monkeypatch):
    write(record, ENTRY)
    monkeypatch.setenv("TILEWISE_TUNING", "off")
    assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


@pytest.mark.parametrize(
    "changes",
    [{"cpu_model": "another"}, {"l2_bytes": 1}, {"isa": "generic?"}, {"version": "0.0.0"}],
)
def test_foreign_records_are_ignored_with_one_warning(record, changes):
    write(record, ENTRY, **changes)
    with pytest.warns(RuntimeWarning, match=r"tuning\.json is ignored: measured on another"):
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tilewise.plan(100_001, 64, 256, n_threads=1)


def spoilt():
    good = {"format": "tilewise-tuning", "schema_version": 1,
            "records": [{"key": {}, "entries": [ENTRY.to_dict()]}]}  # fmt: skip

    def entry(**changes):
        values = ENTRY.to_dict() | changes
        return good | {"records": [{"key": {}, "entries": [values]}]}

    texts = ["", "{", "[" * 100_000, "null", "[]", json.dumps(good | {"format": "x"})]
    return texts + [
        json.dumps(document)
        for document in (
            good | {"schema_version": 9}, good | {"records": None}, good | {"records": [1]},
            good | {"records": [{"key": {}}]}, entry(chunk_rows=0), entry(chunk_rows=-12),
            entry(chunk_rows=1.5), entry(chunk_rows=True), entry(chunk_rows=2**40),
            entry(panels_per_block="2"), entry(gain="much"), entry(layout=3), entry(more=1),
        )
    ]  # fmt: skip


@pytest.mark.parametrize("text", spoilt())
def test_malformed_records_are_ignored_with_a_warning_that_names_the_file(record, text):
    record.write_text(text, encoding="utf-8")
    with pytest.warns(RuntimeWarning, match=r"tuning\.json is ignored: not a tuning record"):
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


def test_a_folder_or_a_binary_file_is_ignored_too(record, tmp_path, monkeypatch):
    record.write_bytes(b"\x00\xff" * 100)
    with pytest.warns(RuntimeWarning, match="not a tuning record"):
        tilewise.plan(10, 4, 3)
    monkeypatch.setenv("TILEWISE_TUNING", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="is ignored"):
        tilewise.plan(11, 4, 3)


def test_other_machines_plan_without_it_and_without_a_warning(record):
    write(record, ENTRY)
    facts = tilewise.machine().to_dict()
    facts["cpu_model"]["value"] = "another"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = tilewise.plan(100_000, 64, 256, n_threads=1, machine=tilewise.Machine.from_dict(facts))
    assert p == untuned(100_000, 64, 256)


def test_where_the_record_lies():
    home = Path("~").expanduser()
    assert tuning.record_path({"TILEWISE_TUNING": " OFF "}) is None
    assert tuning.record_path({"TILEWISE_TUNING": "/a/b.json"}) == Path("/a/b.json")
    default = tuning.record_path({})
    assert default.parts[-2:] != ()
    assert default.name == "tuning.json"
    assert home in default.parents


def test_linux_follows_the_cache_folder(monkeypatch):
    monkeypatch.setattr(tuning.sys, "platform", "linux")
    assert tuning.record_path({"XDG_CACHE_HOME": "/c"}) == Path("/c/tilewise/tuning.json")
    monkeypatch.setattr(tuning.sys, "platform", "win32")
    assert tuning.record_path({"LOCALAPPDATA": "/l"}) == Path("/l/tilewise/tuning.json")


@pytest.fixture
def homeless(monkeypatch):
    """A user as in a container: no home, no line in the password file."""
    pwd = pytest.importorskip("pwd")

    def nobody(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "TILEWISE_TUNING"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_without_a_home_there_is_no_record_and_all_else_works(homeless, monkeypatch, platform):
    monkeypatch.setattr(tuning.sys, "platform", platform)
    assert tuning.record_path() is None
    assert tuning.record_path({"TILEWISE_TUNING": "/a/b.json"}) == Path("/a/b.json")
    assert "this user has no home folder" in tuning.why_no_path()
    assert "is off" in tuning.why_no_path({"TILEWISE_TUNING": "off"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


def test_estimators_work_without_a_home(homeless):
    rows = [[float(i), float(i % 3)] for i in range(30)]
    for kind in (tilewise.KMeans, tilewise.MiniBatchKMeans):
        assert len(set(kind(2, n_init=1, random_state=0).fit(rows).predict(rows))) == 2


@pytest.mark.parametrize("home", [".", "relative/home"])
def test_a_home_or_a_cache_folder_must_be_absolute(monkeypatch, tmp_path, home):
    """A relative one would be another folder, maybe a stranger's, wherever the process stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning.sys, "platform", "linux")
    monkeypatch.setenv("HOME", home)
    assert tuning.record_path({}) is None
    assert tuning.record_path({"XDG_CACHE_HOME": home}) is None
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / ".cache" / "tilewise" / "tuning.json"
    assert tuning.record_path({"XDG_CACHE_HOME": home}) == expected


@pytest.mark.parametrize("kind", ["file for a folder", "nothing there", "too long"])
def test_cache_folders_that_are_none(monkeypatch, tmp_path, kind):
    (tmp_path / "file").write_text("")
    places = {"file for a folder": tmp_path / "file", "nothing there": tmp_path / "no",
              "too long": tmp_path / ("x" * 3000)}  # fmt: skip
    monkeypatch.delenv("TILEWISE_TUNING", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(places[kind]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


@pytest.mark.parametrize("place", ["/dev/zero", "/proc/self/mem"])
def test_a_record_that_is_no_file(monkeypatch, place):
    if not Path(place).exists():
        pytest.skip("needs such a device")
    monkeypatch.setenv("TILEWISE_TUNING", place)
    with pytest.warns(RuntimeWarning, match="is ignored"):
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


NUMBERS = [f for f, kind in tuning.Entry.__annotations__.items() if kind in (int, float)]
TEXTS = [f for f, kind in tuning.Entry.__annotations__.items() if kind is str]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [10**18 * 8, 10**30, 10**400, -1, -(10**400), 1e308, True, None, "1", [1], {}]
)
def test_numbers_of_any_size_in_a_record(record, name, value):
    if (name, value) == ("n_samples", 8 * 10**18):
        value += 10**18
    document = {"format": "tilewise-tuning", "schema_version": 1,
                "records": [{"key": {}, "entries": [ENTRY.to_dict() | {name: value}]}]}  # fmt: skip
    record.write_text(json.dumps(document), encoding="utf-8")
    with pytest.warns(RuntimeWarning) as caught:
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)
    assert len(caught) == 1
    assert "is ignored: not a tuning record" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tilewise.plan(100_001, 64, 256, n_threads=1)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", ["", "\x1b[31m", "x" * 100, "2026-01-02\n", "\u202e", 1, None])
def test_texts_of_any_kind_in_a_record(record, name, value):
    document = {"format": "tilewise-tuning", "schema_version": 1,
                "records": [{"key": {}, "entries": [ENTRY.to_dict() | {name: value}]}]}  # fmt: skip
    record.write_text(json.dumps(document), encoding="utf-8")
    with pytest.warns(RuntimeWarning, match="is ignored: not a tuning record") as caught:
        tilewise.plan(100_000, 64, 256, n_threads=1)
    assert str(caught[0].message).isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": "tilewise-tuning", "schema_version": true, "records": []}', "version True"),
        ('{"format": "tilewise-tuning", "schema_version": NaN, "records": []}', "NaN"),
        ('{"a":' * 50_000, "nested too deeply"),
        (" " * 5_000_000, "more than"),
    ],
)
def test_records_beyond_json(record, text, said):
    record.write_text(text)
    with pytest.warns(RuntimeWarning, match=said):
        assert tilewise.plan(100_000, 64, 256, n_threads=1) == untuned(100_000, 64, 256)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_records_change_nothing_else(record, seed):
    """Whatever a flipped byte makes of a record: a plan is made, with at most one warning."""
    key = tuning.machine_key(tilewise.machine())
    text = tuning.to_text([{"key": key, "entries": [ENTRY]}])
    record.write_bytes(damage.damaged(text.encode(), seed))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        p = tilewise.plan(100_000, 64, 256, n_threads=1)
    assert len(caught) <= 1
    assert all(issubclass(w.category, RuntimeWarning) for w in caught)
    assert p.n_shards == untuned(100_000, 64, 256).n_shards

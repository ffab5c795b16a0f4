"""The tuning record as plans see it: used, named, near shapes, and never trusted blindly."""

import dataclasses
import json
import os
import warnings
from pathlib import Path

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
    assert (p.shard_rows, p.n_shards, p.slots) == (
        before.shard_rows, before.n_shards, before.slots,
    )  # fmt: skip
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

"""Tuning: what is tried, what is accepted, and that nothing but speed changes."""

import concurrent.futures
import dataclasses
import sys

import numpy as np
import pytest

import tilewise
from tilewise.lab import tune
from tilewise.plan import tuning

ENTRY = tuning.Entry(
    "float32", "centres-in-lanes", "float32", 2000, 64, 64, 1, 96, 1, 384, 2, 0.12, "2026-01-02"
)


@pytest.fixture
def record(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "tuning.json"
    monkeypatch.setenv("TILEWISE_TUNING", str(path))
    return path


@pytest.mark.parametrize("shape", [(100_000, 64, 256), (5000, 8, 3), (300, 784, 10), (10, 2, 2)])
def test_candidates_are_plans_that_run(shape):
    base = tilewise.plan(*shape, n_threads=1)
    found = tune.candidates(base)
    assert found[0] is base
    assert len({(p.chunk_rows, p.panels_per_block) for p in found}) == len(found)
    for p in found:
        assert p.tile_rows <= p.chunk_rows <= max(p.shard_rows, p.tile_rows)
        assert p.chunk_rows % p.tile_rows == 0
        assert p.shard_rows == base.shard_rows
        assert 1 <= p.panels_per_block <= max(1, -(-shape[2] // p.panel_columns))


@pytest.mark.parametrize(
    ("plan_samples", "other_samples", "accepted"),
    [
        ([1.06] * 4, [1.0] * 4, True),
        ([1.04] * 4, [1.0] * 4, False),
        ([1.2, 1.2, 1.04, 1.04], [1.0] * 4, False),  # only one half
        ([1.0] * 4, [1.2] * 4, False),
        ([1.2, 9.0, 1.2, 1.2, 1.2, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True),
    ],
)
def test_only_what_repeats_is_accepted(plan_samples, other_samples, accepted):
    assert tune.repeatable(plan_samples, other_samples)[0] is accepted


def test_tuning_measures_every_candidate_and_saves_nothing(record):
    told = tune.tune((2000, 40, 40), n_threads=1, seconds=0.3, quick=True)
    assert len(told["candidates"]) >= 3
    assert all(c["samples"] for c in told["candidates"])
    assert told["accepted"] == (told["entry"] is not None)
    assert not record.exists()


def test_an_accepted_gain_becomes_an_entry(record, monkeypatch):
    monkeypatch.setattr(tune, "repeatable", lambda ours, theirs: (True, 0.5))
    medians = iter(range(100, 0, -1))  # the last candidate looks fastest
    real = tune.Run.measure

    def measured(self, *arguments):
        return [entry | {"median": float(next(medians))} for entry in real(self, *arguments)]

    monkeypatch.setattr(tune.Run, "measure", measured)
    told = tune.tune((2000, 64, 64), n_threads=1, seconds=0.2, quick=True)
    last = told["candidates"][-1]
    assert told["entry"].chunk_rows == last["chunk_rows"]
    assert told["entry"].panels_per_block == last["panels_per_block"]
    tune.save([told["entry"]], [told], record)
    used = tilewise.plan(2000, 64, 64, n_threads=1)
    assert (used.chunk_rows, used.panels_per_block) == (
        last["chunk_rows"], last["panels_per_block"],
    )  # fmt: skip


def test_other_results_are_a_defect_and_stop_it(monkeypatch):
    real = tune._work

    def spoilt(rows, centers, chosen):
        work, call = real(rows, centers, chosen)

        def other():
            call()
            work.labels[0] = chosen.chunk_rows

        return work, other

    monkeypatch.setattr(tune, "_work", spoilt)
    with pytest.raises(RuntimeError, match="other results"):
        tune.tune((1000, 40, 40), n_threads=1, seconds=0.1, quick=True)


def test_save_replaces_the_same_shape_and_keeps_others(record):
    told = {"dtype": "float32", "shape": [2000, 64, 64]}
    tune.save([ENTRY], [told], record)
    wide = dataclasses.replace(ENTRY, n_features=256)
    tune.save([wide], [{"dtype": "float32", "shape": [2000, 256, 64]}], record)
    newer = dataclasses.replace(ENTRY, chunk_rows=48)
    tune.save([newer], [told], record)
    (mine,) = tuning.read(record)
    assert mine["key"] == tuning.machine_key(tilewise.machine())
    assert mine["entries"] == [wide, newer]
    tune.save([], [told], record)  # measured again, and nothing was faster
    assert tuning.read(record)[0]["entries"] == [wide]
    assert [path.name for path in record.parent.iterdir()] == ["tuning.json"]


def test_forget_leaves_other_machines_alone(record):
    tune.save([ENTRY], [{"dtype": "float32", "shape": [2000, 64, 64]}], record)
    key = tuning.machine_key(tilewise.machine()) | {"cpu_model": "another"}
    records = [*tuning.read(record), {"key": key, "entries": [ENTRY]}]
    record.write_text(tuning.to_text(records), encoding="utf-8")
    assert tune.forget(record) == 1
    assert [r["key"] for r in tuning.read(record)] == [key]
    assert tune.forget(record) == 0
    record.write_text(tuning.to_text(records[:1]), encoding="utf-8")
    assert tune.forget(record) == 1
    assert not record.exists()
    assert tune.forget(record) == 0


def test_results_are_the_same_bits_with_a_record(record):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 64)).astype(np.float32)
    plain = tilewise.KMeans(64, random_state=0, max_iter=8, n_threads=1).fit(X)
    tune.save([ENTRY], [{"dtype": "float32", "shape": [2000, 64, 64]}], record)
    tuned = tilewise.KMeans(64, random_state=0, max_iter=8, n_threads=1).fit(X)
    assert tuned.chunk_plan_.chunk_rows == 96 != plain.chunk_plan_.chunk_rows
    assert np.array_equal(tuned.labels_, plain.labels_)
    assert tuned.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
    assert tuned.inertia_ == plain.inertia_


@pytest.mark.skipif(sys.platform == "win32", reason="the later of two writers wins there")
def test_writers_at_the_same_time_lose_nothing(record):
    def write(number):
        entry = dataclasses.replace(ENTRY, n_clusters=64 + number)
        for _ in range(5):
            tune.save([entry], [{"dtype": "float32", "shape": [2000, 64, 64 + number]}], record)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    (found,) = tuning.read(record)
    assert sorted(entry.n_clusters for entry in found["entries"]) == [64, 65, 66, 67]
    assert [path.name for path in record.parent.iterdir()] == [record.name]

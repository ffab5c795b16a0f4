"""Tuning: what is tried, what is accepted, and that nothing but speed changes."""

import concurrent.futures
import dataclasses
import sys
import time

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
        ([1.06] * 8, [1.0] * 8, True),
        ([1.04] * 8, [1.0] * 8, False),
        ([1.2] * 4 + [1.02] * 4, [1.0] * 8, False),  # only one half
        ([1.0] * 8, [1.2] * 8, False),
        ([1.06] * 4, [1.0] * 4, False),  # by chance once in sixteen times
        ([1.2, 9.0] * 4, [1.0] * 8, True),
        ([1.2, 0.9] * 8 + [1.2], [1.0] * 17, False),  # not in most rounds
    ],
)
def test_only_what_repeats_is_accepted(plan_samples, other_samples, accepted):
    assert tune.repeatable(plan_samples, other_samples)[0] is accepted


def test_a_duel_needs_as_many_of_each():
    with pytest.raises(ValueError, match="of 3 against 3"):
        tune.repeatable([1.0] * 3, [1.0] * 3)
    with pytest.raises(ValueError, match="of 5 against 4"):
        tune.repeatable([1.0] * 5, [1.0] * 4)


def _noise(rng, count, kind):
    """Factors of time as machines give them, never far below 1."""
    found = 1 + rng.exponential(0.02, count) + rng.normal(0, 0.02, count)
    if kind == "bursts":
        at = int(rng.geometric(1 / 40))
        while at < count:
            long = int(rng.geometric(1 / 8))
            found[at : at + long] *= 1.2 + 0.8 * rng.random()
            at += long + int(rng.geometric(1 / 40))
    elif kind == "drift":
        found *= 1 + 0.3 * np.sin(np.linspace(0, 6 * rng.random(), count) + 6 * rng.random())
    elif kind == "regimes":
        found *= np.where(rng.random(count) < 0.35, 1.9, 1.0)
    elif kind == "wide":
        found *= np.exp(rng.normal(0, 0.12, count))
    return found


def _duels(kind, gain, rounds, times=400):
    """What `repeatable` says of so many duels against a plan that is truly so much slower."""
    rng = np.random.default_rng(7)
    for _ in range(times):
        pairs = _noise(rng, 2 * rounds, kind).reshape(rounds, 2)
        pairs[::2] = pairs[::2, ::-1]  # the order changes from round to round
        yield tune.repeatable(list(pairs[:, 0] * (1 + gain)), list(pairs[:, 1]))


NOISES = ["plain", "bursts", "drift", "regimes", "wide"]


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("rounds", [12, 48])
def test_equal_plans_pass_in_less_than_a_hundredth_of_duels(kind, rounds):
    assert sum(accepted for accepted, _ in _duels(kind, 0.0, rounds)) < 4


@pytest.mark.parametrize("kind", NOISES)
def test_a_true_gain_is_found_in_most_duels_and_not_exaggerated(kind):
    found = list(_duels(kind, 0.1, 100))
    assert sum(accepted for accepted, _ in found) > 0.8 * len(found)
    assert 0.07 < np.median([gain for _, gain in found]) < 0.105


def test_what_loses_in_the_other_kind_of_pass_is_not_accepted():
    assert tune._judged({"fit": (True, 0.1), "predict": (False, 0.0)}) == (True, "fit", 0.1)
    assert tune._judged({"fit": (False, -0.01), "predict": (True, 0.08)})[:2] == (True, "predict")
    assert not tune._judged({"fit": (True, 0.1), "predict": (False, -0.03)})[0]
    assert not tune._judged({"fit": (False, 0.2), "predict": (False, 0.2)})[0]
    # A larger gain that did not repeat is not the one that is told.
    assert tune._judged({"fit": (False, 0.2), "predict": (True, 0.07)}) == (True, "predict", 0.07)


def test_a_duel_uses_its_time_and_fresh_buffers():
    made, calls = [], []

    def make(kind):
        made.append(kind)
        return [lambda: calls.append((kind, 0)), lambda: calls.append((kind, 1))]

    told = []
    run = tune.Run({}, 1.0, watch=lambda *seen: told.append(seen))
    samples, interrupted = tune._duel(make, {"fit": 2, "predict": 1}, run, 0.0, (1, 2, 3))
    assert not interrupted
    assert {len(own) for pair in samples.values() for own in pair} == {12}
    assert made == ["fit", "predict"] * 2
    assert calls[4:8] == [("fit", 1), ("fit", 1), ("fit", 0), ("fit", 0)]
    assert told[-1][1] < told[-1][2]
    assert told[-1][3] >= 0.0
    end = time.perf_counter() + 600
    longer, _ = tune._duel(make, {"fit": 1, "predict": 1}, run, end, (1, 2, 3))
    assert len(longer["fit"][0]) == 240


@pytest.mark.parametrize(
    ("calls", "rounds"), [(0, 0), (5, 0), (4 + 8, 2), (4 + 11, 2), (4 + 23, 4), (8 + 4 * 9, 8)]
)
def test_an_interrupted_duel_keeps_whole_rounds_of_both_orders(calls, rounds):
    left = iter(range(calls))

    def call():
        if next(left, None) is None:
            raise KeyboardInterrupt

    repeats = {"fit": 1, "predict": 1}
    run = tune.Run({}, 1.0)
    samples, interrupted = tune._duel(lambda kind: [call, call], repeats, run, 0.0, (1, 2, 3))
    assert interrupted
    assert {len(own) for pair in samples.values() for own in pair} == {rounds}


@pytest.mark.parametrize(("rounds", "decided"), [(0, False), (2, False), (10, False), (12, True)])
def test_nothing_is_accepted_on_too_few_rounds(record, monkeypatch, rounds, decided):
    real = tune.Run.measure

    def measured(self, *arguments):  # the last candidate looks fastest
        return [entry | {"median": 1 / (1 + entry["case"]["number"])}
                for entry in real(self, *arguments)]  # fmt: skip

    monkeypatch.setattr(tune.Run, "measure", measured)
    pair = ([2.0] * rounds, [1.0] * rounds)
    monkeypatch.setattr(tune, "_duel", lambda *_: (dict.fromkeys(tune.KINDS, pair), True))
    told = tune.tune((2000, 64, 64), n_threads=1, seconds=0.2)
    assert told["interrupted"]
    assert told["decided"] == told["accepted"] == decided
    assert (told["entry"] is not None) == decided
    assert told["duel"]["fit"] == {"plan": pair[0], "rival": pair[1]}


def test_ctrl_c_keeps_the_candidates_that_were_sampled(record):
    def watch(phase, done, total, left):
        if left is not None and done == 2:
            raise KeyboardInterrupt

    told = tune.tune((2000, 64, 64), n_threads=1, seconds=0.2, quick=True, watch=watch)
    assert told["interrupted"]
    assert not told["decided"]
    assert told["entry"] is None
    kept = [c for c in told["candidates"] if c["samples"]]
    assert len(kept) == 2 < len(told["candidates"])
    assert all((c["median"] is None) == (not c["samples"]) for c in told["candidates"])


def test_tuning_measures_every_candidate_and_saves_nothing(record):
    told = tune.tune((2000, 40, 40), n_threads=1, seconds=0.3, quick=True)
    assert len(told["candidates"]) >= 3
    assert all(c["samples"] and c["predict"]["samples"] for c in told["candidates"])
    assert (told["rival"] is None) == (told["duel"] == {})
    assert told["accepted"] == (told["entry"] is not None)
    assert not record.exists()


def test_an_accepted_gain_becomes_an_entry(record, monkeypatch):
    monkeypatch.setattr(tune, "repeatable", lambda ours, theirs: (True, 0.5))
    real = tune.Run.measure

    def measured(self, *arguments):  # the last candidate looks fastest
        return [entry | {"median": 1 / (1 + entry["case"]["number"])}
                for entry in real(self, *arguments)]  # fmt: skip

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

    def spoilt(rows, centers, chosen, update):
        work, call = real(rows, centers, chosen, update)

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

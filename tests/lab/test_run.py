"""Sampling: in turn, within the budget, and kept when it is interrupted."""

import time

import pytest

from tilewise.lab import _run
from tilewise.lab._run import Case, Run, summary


def cases_that_log(log, count=3, seconds=0.004):
    def make(number):
        def call():
            log.append(number)
            time.sleep(seconds)

        return Case("s", {"number": number}, call)

    return [make(number) for number in range(count)]


def test_cases_take_turns_and_every_one_begins_once():
    log = []
    run = Run({}, seconds=600)  # more than 25 rounds take, on whatever machine
    kept = run.measure("phase", cases_that_log(log))
    rounds = len(kept[0]["samples"])
    assert rounds == 25
    sampled = log[6:]  # the first two of each warm up
    assert sampled[:9] == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert [len(entry["samples"]) for entry in kept] == [rounds] * 3
    assert run.measurements == kept


class Clock:
    """A clock that stands still but for what it is told; the first call is held up now and then."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, 0
        monkeypatch.setattr(_run.time, "perf_counter", lambda: self.now)

    def work(self, seconds, held_up=0.0):
        def call():
            self.now += seconds + (held_up if self.calls == 0 else 0)
            self.calls += 1

        return call


@pytest.mark.parametrize("held_up", [0.0, 0.04])
def test_short_work_is_repeated_and_a_sample_is_the_mean(monkeypatch, held_up):
    clock = Clock(monkeypatch)
    case = Case("s", {}, clock.work(1e-5, held_up))
    kept = Run({}, 1.0, quick=True).measure("p", [case])
    assert kept[0]["repeats"] == pytest.approx(300, abs=1)
    assert 2 * kept[0]["repeats"] < clock.calls < 2 * kept[0]["repeats"] + 6
    assert kept[0]["samples"] == pytest.approx([1e-5] * 2)


def test_long_work_is_done_once_a_sample(monkeypatch):
    clock = Clock(monkeypatch)
    kept = Run({}, 10.0, quick=True).measure("p", [Case("s", {}, clock.work(0.1))])
    assert kept[0]["repeats"] == 1
    assert clock.calls == 3


def test_a_number_that_is_returned_is_the_sample_even_zero():
    kept = Run({}, 0.1, quick=True).measure(
        "p", [Case("s", {}, lambda: 0, "GB/s"), Case("s", {}, lambda: 7.5, "GB/s")]
    )
    assert kept[0]["samples"] == [0.0, 0.0]
    assert kept[1]["samples"] == [7.5, 7.5]


def test_a_budget_that_is_too_small_still_gives_every_case_a_sample():
    kept = Run({}, 0.0).measure("p", cases_that_log([]))
    assert [len(entry["samples"]) for entry in kept] == [1, 1, 1]


def test_cases_without_warm_up_run_once_per_sample():
    log = []
    cases = cases_that_log(log)
    for case in cases:
        case.warm = False
    kept = Run({}, 600).measure("p", cases)
    assert len(log) == sum(len(entry["samples"]) for entry in kept)
    assert len(kept[0]["samples"]) > 1


def test_an_interrupt_keeps_what_was_sampled():
    run = Run({}, 600)
    told = []

    def watch(phase, done, total, left):
        told.append((phase, done, total, left))
        if left is not None and done == 5:
            raise KeyboardInterrupt

    run.watch = watch
    with pytest.raises(KeyboardInterrupt):
        run.measure("phase", cases_that_log([]))
    assert run.interrupted
    assert sum(len(entry["samples"]) for entry in run.measurements) == 5
    assert told[-1][2] > 5
    assert told[-1][3] > 0


def test_an_interrupt_before_the_first_sample_keeps_nothing():
    run = Run({}, 5.0)

    def never():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.measure("phase", [Case("s", {}, never)])
    assert run.measurements == []


def test_summary_uses_quartiles_from_four_samples_on():
    assert summary([5.0]) == {"median": 5.0, "low": 5.0, "high": 5.0, "min": 5.0}
    assert summary([4.0, 1.0, 2.0, 3.0, 5.0]) == {
        "median": 3.0, "low": 2.0, "high": 4.0, "min": 1.0,
    }  # fmt: skip

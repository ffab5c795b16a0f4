"""What else the machine does: read from the system, from recorded readings, and judged."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest
import recorded_load

from tilewise.lab import _load
from tilewise.lab._load import Meter, Reading, others_of
from tilewise.lab.quiet import LIMITS, headline, judged, noise

linux = pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux tells it")


def metered(spread=0.0, **load):
    """A meter after a look before and 20 samples on such a machine."""
    meter = Meter(recorded_load.readings(**load), recorded_load.calibrations(spread),
                  sleep=lambda seconds: None)  # fmt: skip
    meter.before()
    with meter.during():
        for _ in range(20):
            meter._next = 0.0
            meter.calibrate()
    return meter


def test_a_quiet_machine_is_quiet():
    told = metered().verdict()
    assert told["quiet"] is True
    assert told["noise"] == []
    assert told["load"]["during"]["others"] == 0.0
    assert told["load"]["during"]["own"] == pytest.approx(0.5)
    assert told["load"]["calibration"]["count"] == 20


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"others": 0.3}, "other processes used 2"),
        ({"stolen": 0.2}, "the hypervisor took 20 %"),
        ({"spread": 0.5}, "a fixed piece of work varied by 50 % between the quartiles of 20"),
    ],
)
def test_each_disturbance_alone_makes_it_noisy(load, said):
    told = metered(**load).verdict()
    assert told["quiet"] is False
    (reason,) = told["noise"]
    assert reason.startswith(said)
    assert "is quiet)" in reason


@pytest.mark.parametrize("name", ["others", "stolen"])
def test_the_limit_itself_is_quiet(name):
    for share, quiet in ((LIMITS[name], True), (LIMITS[name] + 1e-6, False)):
        assert judged({"cpus": 4, "during": {name: share}})[0] is quiet


def test_a_machine_that_says_nothing_is_not_called_quiet():
    assert judged({}) == (None, [])
    assert judged({"cpus": None, "before": None, "during": None})[0] is None
    few = {"calibration": {"count": 3, "spread": 9.0}}
    assert judged(few) == (None, [])
    many = {"calibration": {"count": 8, "spread": 9.0}}
    assert judged(many)[0] is False


def test_what_ends_when_it_begins_is_looked_at_again():
    ticks = iter([(0, 0.0), (1, 2.0), (1, 2.0), (2, 2.02), (2, 2.02), (3, 2.02)])

    def read():
        at, busy = next(ticks)
        return Reading(float(at), 0.0, 2, busy, 0.0, 2.0 * at)

    meter = Meter(read, sleep=lambda seconds: None)
    meter.before()
    assert meter.facts()["before"]["others"] == pytest.approx(0.0)
    assert len(list(ticks)) == 2  # the third look was not needed


def test_a_machine_that_stays_busy_is_looked_at_three_times():
    slept = []
    meter = Meter(recorded_load.readings(others=0.4), sleep=slept.append)
    meter.before()
    assert len(slept) == 3
    assert meter.facts()["before"]["others"] == pytest.approx(0.39)


def test_own_work_is_nobody_elses():
    first = Reading(0.0, 10.0, 2, 100.0, 0.0, 200.0)
    last = Reading(5.0, 19.9, 2, 110.0, 0.0, 210.0)
    found = others_of([first, last])
    assert found["own"] == pytest.approx(0.99)
    assert found["others"] == pytest.approx(0.008)  # two ticks are rounding
    # Ticks are counted where they fall: more of ours than there were at all is none of others.
    assert others_of([first, dataclasses.replace(last, own=20.5)])["others"] == 0.0


def test_only_the_time_of_measuring_counts():
    seconds = iter([0.0, 1.0, 8.0, 9.0])  # between two phases others work, and nothing is measured

    def read():
        at = next(seconds)
        return Reading(at, 0.0, 2, 14.0 if at >= 8 else 0.0, 0.0, 2 * at)

    meter = Meter(read)
    for _ in range(2):
        with meter.during():
            pass
    during = meter.facts()["during"]
    assert during["seconds"] == 2.0
    assert during["others"] == 0.0


def test_a_time_too_short_for_ticks_says_nothing():
    found = others_of([Reading(0.0, 0.0, 2, 0.0, 0.0, 0.0), Reading(0.01, 0.0, 2, 0.02, 0.0, 0.02)])
    assert found["others"] is None
    assert judged({"cpus": 2, "during": found})[0] is None


def test_load_averages_where_there_is_nothing_else():
    """As on macOS: the average of a minute moves towards what runs, ours included."""

    def average(start, wanted, seconds):
        kept = 2.718281828459045 ** (-seconds / 60)
        return start * kept + wanted * (1 - kept)

    def reading(at, load):
        return Reading(at, 1.0 * at, 4, load_average=load)

    for others in (0.0, 1.0, 3.0):
        end = average(0.7, 1.0 + others, 30.0)
        found = others_of([reading(0.0, 0.7), reading(30.0, end)])
        assert found["others"] == pytest.approx(others / 4, abs=1e-9)
    assert others_of([reading(0.0, 0.7), reading(5.0, 3.0)])["others"] is None
    before = {"cpus": 2, "before": {"load_average": 5.1}}
    assert judged(before)[1] == ["the load average was 5.1 on 2 CPUs when it began"]
    assert judged({"cpus": 2, "before": {"load_average": 1.4}}) == (True, [])


def test_results_of_earlier_versions_know_the_load_average_alone():
    def older(load, cpus=2):
        return {"machine": {"facts": {"n_cpus": {"value": cpus}}, "load_before": load}}

    assert noise(older(None)) == []
    assert noise(older(1.4)) == []  # the run before may be the most of it
    assert noise(older(5.0)) == ["the load average was 5.0 on 2 CPUs when it began"]
    assert noise(older(5.0) | {"quiet": True, "noise": []}) == []
    assert noise({"quiet": None}) == []
    assert noise({"quiet": False}) == ["the result says that its machine was not quiet"]


def test_the_headline():
    assert headline([]) == ""
    assert headline(["a", "b"]).startswith("Too noisy to tell: a; b. ")


def test_calibrations_lie_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_load.time, "perf_counter", lambda: now[0])
    meter = Meter(recorded_load.readings(), lambda: 1.0)
    monkeypatch.setattr(_load, "_APART_SECONDS", 0.05)
    for _ in range(100):
        meter.calibrate()
        now[0] += 0.01
    assert meter.facts()["calibration"]["count"] == 20


# --- this system, whatever runs on it -----------------------------------------------------------

read_system = _load.read_system  # the module's own: what the fixture patches comes later


def test_counters_rise():
    first = read_system()
    sum(range(2_000_000))
    last = read_system()
    assert last.at > first.at
    assert last.own >= first.own > 0
    assert last.cpus >= 1
    assert _load.calibration() > 0


@linux
def test_linux_tells_everything():
    told = dataclasses.asdict(read_system())
    if told["total"] is None:
        pytest.skip("this /proc/stat counts nothing")
    assert all(value is not None for value in told.values())
    assert 0 <= told["busy"] <= told["total"]


@linux
def test_children_are_ours_while_they_live_and_afterwards():
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    begin = read_system().own
    child = subprocess.Popen([sys.executable, "-c", spin + "print(flush=True); input()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    child.stdout.readline()
    alive = read_system().own
    child.communicate(b"\n", timeout=60)
    ended = read_system().own
    assert alive - begin > 0.45
    assert ended - begin > 0.45


@linux
def test_processes_of_others_are_others():
    """A process that is nobody's child here, as another user's program is."""
    if read_system().total is None:
        pytest.skip("this /proc/stat counts nothing")
    spin = "import time\nend = time.process_time() + 1.0\nwhile time.process_time() < end: pass\n"
    own = read_system().own
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {spin!r}])"
    subprocess.run([sys.executable, "-c", start], check=True, timeout=60)
    first = read_system()
    time.sleep(1.5)
    found = others_of([first, read_system()])
    assert found["others"] > 0.2 / first.cpus
    assert read_system().own - own < 0.9


@linux
def test_a_system_without_counters_is_no_error(monkeypatch):
    def nothing(*arguments, **options):
        raise OSError("not here")

    monkeypatch.setattr(_load.Path, "read_text", nothing)
    monkeypatch.setattr(_load.os, "listdir", nothing)
    monkeypatch.setattr(_load.os, "getloadavg", nothing)
    told = read_system()
    assert (told.busy, told.stolen, told.total, told.load_average, told.runnable) == (None,) * 5
    assert told.own > 0


@pytest.mark.parametrize(("stolen", "limit"), [(0.01, 0.0), (0.02, 0.0), (0.03, 0.3), (0.5, 1.0)])
def test_a_tick_that_was_taken_from_an_idle_machine_says_nothing(stolen, limit):
    """Half a second in which nobody wanted anything, on two CPUs."""
    first = Reading(0.0, 10.0, 2, 100.0, 0.0, 200.0)
    last = Reading(0.5, 10.0, 2, 100.0, stolen, 201.0)
    share = others_of([first, last])["stolen"]
    assert share <= limit + 1e-9
    assert (share > LIMITS["stolen"]) == (stolen > 0.02)

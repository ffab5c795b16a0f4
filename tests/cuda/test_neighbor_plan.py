"""Plans of searches for the nearest rows on recorded devices."""

import dataclasses
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._neighbor_plan import Task, look_depth, plan_device_neighbors

DEVICES = pathlib.Path(__file__).parent / "devices"


def recorded(name):
    return DeviceFacts.from_dict(json.loads((DEVICES / f"{name}.json").read_text()))


METHODS = {
    "assignment": [
        Task(10**6, 1024, 128, 1), Task(10**5, 3, 2, 1), Task(132 * 128, 4096, 384, 1),
        Task(10**5, 1000, 16, 1, dtype="float64"),
    ],
    # More neighbours, a Y that is larger than centres have been, too few rows for the device, and
    # more than a pass numbers.
    "look": [
        Task(10**6, 1024, 128, 2), Task(10**6, 4097, 384, 1), Task(132 * 128 - 1, 4096, 384, 1),
        Task(2**31, 1024, 16, 1), Task(1, 10**6, 64, 256),
    ],
    "all distances": [
        Task(10**6, 1023, 128, 2), Task(10**6, 10**6, 8, 257), Task(10**6, 1024, 8, 1, "cosine"),
        Task(10, 100, 3, 1),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "task"), [(method, task) for method, tasks in METHODS.items() for task in tasks]
)
def test_the_way_to_search(method, task):
    plan = plan_device_neighbors(task, recorded("h200"))
    assert plan.method == method
    assert (plan.assignment is not None) == (method == "assignment")
    assert plan.x_rows == task.n_x
    said = plan.sentences()
    assert len(said) == len(plan.reasons)
    assert f"Rows of X: all {task.n_x:,} lie on the device." in said
    start = {"assignment": "one look", "look": "two looks"}.get(method, method)
    assert said[-1].startswith(f"Search: {start}")


def test_the_pass_that_assigns():
    plan = plan_device_neighbors(METHODS["assignment"][0], recorded("h200"))
    made = plan.assignment
    assert (made.n_rows, made.n_features, made.n_clusters) == (10**6, 128, 1024)
    assert "Y has 131,072 coordinates" in plan.reasons["method"]
    assert f"a tile of {made.tile_rows} rows for each of 132" in plan.reasons["method"]
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["assignment"]["n_clusters"] == 1024
    assert told["facts"]["name"]["value"] == "NVIDIA H200"


def test_rows_that_come_in_parts():
    facts = recorded("l4")
    plan = plan_device_neighbors(Task(10**8, 1000, 128, 1, moved_x=512), facts)
    assert plan.x_rows == 65_536
    assert "65,536 of 100,000,000 at a time, 32 MiB" in plan.reasons["x_rows"]
    # The rows of a part have to be enough for the device.
    few = plan_device_neighbors(Task(10**8, 1000, 1024, 1, moved_x=4096), recorded("h200"))
    assert few.x_rows == 8192
    assert plan.method == "assignment"
    assert few.method == "all distances"


def test_others_that_do_not_fit():
    facts = recorded("l4")
    free = facts.free_bytes.value
    row, held = 512, 512 + 2 * 128 + 8
    most = free * 3 // 4 // held
    whole = plan_device_neighbors(Task(10**8, most, 128, 5, moved_x=row, moved_y=row), facts)
    assert whole.y_rows == most
    assert "a float16 copy: they stay in" in whole.reasons["y_rows"]
    assert "once" in whole.reasons["moved"]
    parts = plan_device_neighbors(Task(10**8, most + 1, 128, 5, moved_x=row, moved_y=row), facts)
    assert parts.y_rows == parts.x_rows == 65_536
    assert f"65,536 of {most + 1:,} at a time, 32 MiB" in parts.reasons["y_rows"]
    assert f"Y comes in {-(-(most + 1) // 65_536)} parts, 1,526 times" in parts.reasons["moved"]
    assert facts.free_bytes.source in parts.reasons["y_rows"]
    # What is there stays, and is not moved.
    there = plan_device_neighbors(Task(10**8, most + 1, 128, 5, moved_y=row), facts)
    assert there.x_rows == 10**8
    assert f"Y comes in {-(-(most + 1) // 65_536)} parts, 1 time" in there.reasons["moved"]
    assert "moved" not in plan_device_neighbors(Task(10**8, most + 1, 128, 5), facts).reasons


def test_rows_among_themselves():
    facts = recorded("h200")
    how = {"moved_x": 256, "moved_y": 256, "same": True}
    fits = plan_device_neighbors(Task(10**6, 10**6, 64, 5, **how), facts)
    assert fits.x_rows == fits.y_rows == 10**6
    assert "244 MiB once" in fits.reasons["moved"]
    n = 10**9
    parts = plan_device_neighbors(Task(n, n, 64, 5, **how), facts)
    assert max(parts.x_rows, parts.y_rows) < n


@given(
    n=st.integers(1, 10**9), m=st.integers(1, 10**9), d=st.integers(1, 5000),
    k=st.integers(1, 300), free=st.integers(1, 10**12), x=st.booleans(), y=st.booleans(),
)  # fmt: skip
def test_parts_fit_whatever_is_free(n, m, d, k, free, x, y):
    facts = recorded("h200")
    facts = dataclasses.replace(facts, free_bytes=dataclasses.replace(facts.free_bytes, value=free))
    row = 4 * d
    task = Task(n, m, d, min(k, m), moved_x=x * row, moved_y=y * row)
    plan = plan_device_neighbors(task, facts)
    assert 1 <= plan.x_rows <= n
    assert 1 <= plan.y_rows <= m
    held = 0
    if y:
        packed = 2 * look_depth(d) + 8
        held = m * (row + packed)
        if plan.y_rows < m:
            assert held > free * 3 / 4
            held = plan.y_rows * (2 * row + packed)
    if x:
        held += plan.x_rows * (2 * row + 16 * task.k)
    # One row comes even where there is no room for it: the device says so.
    assert held <= free or 1 in (plan.x_rows, plan.y_rows)
    assert len(plan.sentences()) == len(plan.reasons)

"""Plans of searches for the nearest rows on recorded devices."""

import json
import pathlib

import pytest

from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._neighbor_plan import Task, plan_device_neighbors

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

"""Plans of devices: sizes on recorded devices, and what every plan keeps to."""

import dataclasses
import json
import pathlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._plan import STAGED, Moved, kept_bytes, plan_device, rows_at_once

DEVICES = pathlib.Path(__file__).parent / "devices"
SHAPES = {
    "short": (4_000_000, 16, 64, "float32"),
    "middle": (1_000_000, 128, 1024, "float32"),
    "long": (500_000, 384, 4096, "float32"),
    "double": (100_000, 768, 10, "float64"),
}
SIZES = "depth tile_rows tile_centers tile_depth warps stages exact_rows programs".split()
# In the order of SIZES.
GOLDEN = {
    ("h200", "short"): (16, 128, 64, 16, 8, 3, 32, 528),
    ("h200", "middle"): (128, 128, 128, 128, 8, 3, 32, 528),
    ("h200", "long"): (384, 128, 64, 128, 8, 2, 32, 528),
    ("h200", "double"): (768, 128, 16, 64, 4, 3, 32, 528),
    ("a100", "short"): (16, 128, 64, 16, 8, 3, 32, 432),
    ("a100", "middle"): (128, 128, 128, 128, 8, 3, 32, 432),
    ("a100", "long"): (384, 64, 64, 128, 4, 2, 32, 432),
    ("a100", "double"): (768, 128, 16, 64, 4, 3, 32, 432),
    ("l4", "short"): (16, 128, 64, 16, 8, 3, 32, 232),
    ("l4", "middle"): (128, 128, 128, 128, 8, 2, 32, 232),
    ("l4", "long"): (384, 64, 32, 128, 4, 2, 32, 232),
    ("l4", "double"): (768, 128, 16, 64, 4, 2, 32, 232),
    ("rtx4090", "middle"): (128, 128, 128, 128, 8, 2, 32, 512),
    ("interpreter", "middle"): (128, 256, 128, 128, 8, 1, 256, 1),
}


def recorded(name):
    return DeviceFacts.from_dict(json.loads((DEVICES / f"{name}.json").read_text()))


@pytest.mark.parametrize(("name", "shape"), GOLDEN)
def test_recorded_devices(name, shape):
    plan = plan_device(*SHAPES[shape], recorded(name))
    assert tuple(getattr(plan, size) for size in SIZES) == GOLDEN[name, shape]


@pytest.mark.parametrize("name", sorted({name for name, _ in GOLDEN}))
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_has_a_reason(name, shape):
    facts = recorded(name)
    plan = plan_device(*SHAPES[shape], facts)
    text = "\n".join(plan.sentences())
    assert text.count("\n") + 1 == len(plan.reasons)
    for size in SIZES[1:]:
        assert f"{getattr(plan, size)}" in text
    for fact in (facts.multiprocessors, facts.shared_bytes, facts.float64_ratio, facts.free_bytes):
        assert fact.source in text
    assert ("TB/s" in text) == (facts.bandwidth.value is not None)
    for what in ("predict", "fit", "seeding"):
        assert f"{what} {plan.row_bytes(what)} bytes per row" in plan.reasons["memory"]
    assert repr(plan).startswith(f"Plan for {plan.n_rows} x {plan.n_features}")


def test_json_and_pickle():
    plan = plan_device(*SHAPES["middle"], recorded("h200"))
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["facts"]["name"]["value"] == "NVIDIA H200"
    assert told["host"]["n_threads"] == plan.n_threads
    assert told["reasons"] == plan.reasons
    assert pickle.loads(pickle.dumps(plan)) == plan


@given(
    n=st.integers(0, 10**9), d=st.integers(1, 20_000), k=st.integers(1, 10**6),
    dtype=st.sampled_from(["float32", "float64"]),
    name=st.sampled_from(["h200", "a100", "l4", "rtx4090", "interpreter"]),
)  # fmt: skip
def test_what_kernels_count_on(n, d, k, dtype, name):
    facts = recorded(name)
    plan = plan_device(n, d, k, dtype, facts)
    assert plan.depth >= max(16, d)
    assert plan.depth % plan.tile_depth == 0
    powers = "tile_rows tile_centers tile_depth warps packed_centers decided_rows decided_centers"
    for size in powers.split():
        value = getattr(plan, size)
        assert value & (value - 1) == 0 < value
    assert min(plan.tile_rows, plan.tile_centers, plan.tile_depth, plan.decided_rows) >= 16
    # What one kernel packs or reads at a time must not end beyond what is packed.
    assert plan.padded_clusters % plan.packed_centers == 0
    assert plan.padded_clusters % plan.decided_centers == 0
    assert plan.padded_clusters >= k
    assert plan.programs >= 1
    sizes = dataclasses.asdict(plan)
    other = plan.resized(k + 200)
    assert other.n_clusters == k + 200
    assert other.padded_clusters >= k + 200
    assert other.resized(k) == plan
    assert sizes.keys() == dataclasses.asdict(other).keys()


@pytest.mark.parametrize("what", ["predict", "fit", "seeding"])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_and_clusters_add_up(what, weighted):
    n, d, k, dtype = 4096 * 100, 40, 96, "float32"
    facts = recorded("h200")
    plan = plan_device(n, d, k, dtype, facts)
    own = plan.row_bytes(what, weighted=weighted)
    twice = plan_device(2 * n, d, k, dtype, facts)
    grown = twice.bytes_of(what, weighted=weighted) - plan.bytes_of(what, weighted=weighted)
    assert n * own <= grown < n * (own + 1)
    assert all(size >= 0 for size in plan.ledger(what, weighted=weighted).values())
    assert plan.row_bytes("fit", weighted=True) == plan.row_bytes("fit") + 8


# ---------------------------------------------------------------- rows of the host


@pytest.mark.parametrize("name", ["h200", "a100", "l4", "rtx4090"])
@pytest.mark.parametrize("n", [1, 1000, 10**7, 3 * 10**8])
def test_rows_that_stay_and_rows_that_move(name, n):
    facts = recorded(name)
    free = facts.free_bytes.value
    plan = plan_device(n, 128, 1024, "float32", facts, moved=Moved(512))
    held = plan.resident_rows * 512 + plan.window_bytes
    for what in ("fit", "seeding", "predict"):
        assert held - plan.window_bytes + plan.bytes_of(what, weighted=True) <= free
    said = plan.reasons
    if n * 512 < free / 2:
        assert plan.resident_rows == n
        assert plan.window_bytes == 0
        assert "once" in said["moved"]
    elif n * 512 > free:
        assert 0 < plan.resident_rows < n
        assert plan.window_bytes == STAGED * plan.staged_rows * 512
        assert plan.resident_rows % 128 == plan.staged_rows % 128 == 0
        # More would not fit, with 12 bytes for each row that may be listed.
        most = plan.resident_rows + 128 + STAGED * plan.staged_rows
        assert most * (512 + 12) > free * 15 / 16 - kept_bytes(plan)
        assert f"{n - plan.resident_rows:,} rows" in said["moved"]
        assert "the link bounds such passes" in said["moved"]
    assert f"{plan.staged_rows:,} rows in pinned memory" in said["staged"]
    assert facts.free_bytes.source in said["resident"]
    assert json.loads(json.dumps(plan.to_dict()))["resident_rows"] == plan.resident_rows


def test_the_speed_of_the_link():
    facts = recorded("h200")
    for rate, wanted in ((None, "nobody tells"), (63e9, "63 GB/s (a test) that takes 81.3 ms")):
        link = dataclasses.replace(facts.host_bandwidth, value=rate, source="a test")
        own = dataclasses.replace(facts, host_bandwidth=link)
        plan = plan_device(10**7, 128, 10, "float32", own, moved=Moved(512))
        assert wanted in plan.reasons["moved"]


def test_no_room_for_rows_in_parts():
    facts = recorded("l4")
    plan_device(10**8, 4, 10, "float32", facts, moved=Moved(16))
    with pytest.raises(MemoryError, match=r"1,000,000,000 rows in 10 clusters need more than"):
        plan_device(10**9, 4, 10, "float32", facts, moved=Moved(16))


@given(
    n=st.integers(1, 10**9), d=st.integers(1, 5000), k=st.integers(1, 10**5),
    free=st.integers(1, 10**12),
)  # fmt: skip
def test_parts_fit_whatever_is_free(n, d, k, free):
    facts = recorded("h200")
    facts = dataclasses.replace(facts, free_bytes=dataclasses.replace(facts.free_bytes, value=free))
    try:
        plan = plan_device(n, d, k, "float32", facts, moved=Moved(4 * d))
    except MemoryError:
        return
    assert 0 <= plan.resident_rows <= n
    assert 1 <= plan.staged_rows <= n
    most = max(plan.bytes_of(what, weighted=True) for what in ("fit", "seeding", "predict"))
    assert plan.resident_rows * 4 * d + most <= free
    assert 1 <= rows_at_once(4 * d, 8, free) <= max(1, free)

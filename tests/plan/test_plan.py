"""Plans for recorded machines, and what every plan must keep to."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tilewise
from tilewise.kernels import _dispatch
from tilewise.plan import exact_shard_rows
from tilewise.plan.plan import ENGINES, TILES
from tilewise.plan.shards import shard_rows

SHAPES = {
    "pixels": (273_280, 3, 64, "float32"),
    "embedding": (100_000, 64, 256, "float32"),
    "patches": (60_000, 768, 4096, "float64"),
}
SIZES = "chunk_rows tile_rows panel_columns panels_per_block depth_block n_threads".split()
# With four threads asked for; in the order of SIZES.
GOLDEN = {
    ("hybrid_laptop", "pixels"): (1808, 16, 4, 16, 3, 4),
    ("hybrid_laptop", "embedding"): (384, 6, 16, 2, 64, 4),
    ("hybrid_laptop", "patches"): (48, 6, 16, 2, 64, 4),
    ("guest_2cpu", "pixels"): (2048, 64, 4, 16, 3, 4),
    ("guest_2cpu", "embedding"): (384, 12, 32, 2, 64, 4),
    ("guest_2cpu", "patches"): (384, 12, 32, 2, 64, 4),
    ("apple_m1", "pixels"): (2048, 16, 4, 16, 3, 1),
    ("apple_m1", "embedding"): (384, 12, 8, 2, 64, 1),
    ("apple_m1", "patches"): (192, 12, 8, 2, 64, 1),
    ("server_2socket", "pixels"): (2048, 64, 4, 16, 3, 4),
    ("server_2socket", "embedding"): (384, 12, 32, 2, 64, 4),
    ("server_2socket", "patches"): (96, 12, 32, 2, 64, 4),
    ("container_quota", "pixels"): (1808, 16, 4, 16, 3, 4),
    ("container_quota", "embedding"): (384, 6, 16, 2, 64, 4),
    ("container_quota", "patches"): (48, 6, 16, 2, 64, 4),
    ("silent", "pixels"): (1816, 8, 4, 16, 3, 1),
    ("silent", "embedding"): (384, 6, 8, 2, 64, 1),
    ("silent", "patches"): (48, 6, 8, 2, 64, 1),
    ("windows_laptop", "pixels"): (896, 16, 4, 16, 3, 4),
    ("windows_laptop", "embedding"): (222, 6, 16, 2, 64, 4),
    ("windows_laptop", "patches"): (24, 6, 16, 2, 64, 4),
}


@pytest.mark.parametrize(("name", "shape"), GOLDEN)
def test_recorded_machines(recorded, name, shape):
    plan = tilewise.plan(*SHAPES[shape], n_threads=4, machine=recorded(name))
    assert tuple(getattr(plan, size) for size in SIZES) == GOLDEN[name, shape]


MACHINES = sorted({name for name, _ in GOLDEN})


@pytest.mark.parametrize("name", MACHINES)
def test_shards_are_the_same_on_every_machine(recorded, name):
    machine = recorded(name)
    plans = {shape: tilewise.plan(*SHAPES[shape], machine=machine) for shape in SHAPES}
    assert {shape: (plan.shard_rows, plan.n_shards) for shape, plan in plans.items()} == {
        "pixels": (3072, 89),
        "embedding": (2304, 44),
        "patches": (1536, 40),
    }


@pytest.mark.parametrize("name", MACHINES)
def test_chunks_fit_the_caches(recorded, name):
    machine = recorded(name)
    for n, d, k, dtype in SHAPES.values():
        for score in ("float32", "float64"):
            plan = tilewise.plan(n, d, k, dtype, machine=machine, score_dtype=score)
            item = np.dtype(score).itemsize
            assert plan.chunk_rows * d * item <= max(
                machine.l2_bytes.value, plan.tile_rows * d * item
            )
            assert plan.depth_block * (plan.tile_rows + plan.panel_columns) * item <= (
                machine.l1d_bytes.value
            )
            assert plan.chunk_rows % plan.tile_rows == 0
            assert plan.chunk_rows >= plan.tile_rows


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_explains_itself(recorded, name, engine):
    machine = recorded(name)
    for shape in SHAPES.values():
        plan = tilewise.plan(*shape, machine=machine, engine=engine)
        told = plan.to_dict()
        assert json.loads(json.dumps(told)) == told
        assert told["chunk_rows"] == plan.chunk_rows
        sentences = plan.sentences()
        assert len(sentences) >= 9
        for sentence, reason in zip(sentences, plan.reasons.values(), strict=True):
            assert reason in sentence
            assert reason in repr(plan)
            assert sentence[-1] == "."
            assert "None" not in sentence
        text = " ".join(sentences)
        for number in (plan.chunk_rows, plan.shard_rows, plan.n_shards, plan.tile_rows):
            assert str(number) in text
        # Facts come with the place that they were read from.
        assert machine.l1d_bytes.source in text
        assert machine.l2_bytes.source in text
        assert machine.isa.source in text


def test_an_absurd_l3_changes_nothing(recorded):
    base = recorded("guest_2cpu")
    told = recorded("guest_2cpu", env={"TILEWISE_L3_BYTES": "2M"})
    assert told.l3_bytes.value != base.l3_bytes.value
    for shape in SHAPES.values():
        assert tilewise.plan(*shape, machine=base) == tilewise.plan(*shape, machine=told)


def test_overrides_are_named(recorded):
    machine = recorded("server_2socket", env={"TILEWISE_L2_BYTES": "300K"})
    plan = tilewise.plan(*SHAPES["patches"], machine=machine)
    assert plan.chunk_rows < GOLDEN["server_2socket", "patches"][0]
    assert "TILEWISE_L2_BYTES" in plan.reasons["chunk_rows"]
    plan = tilewise.plan(*SHAPES["patches"], machine=machine, chunk_size=2345, n_threads=3)
    assert plan.chunk_rows == plan.shard_rows == 1536
    assert "chunk_size=2345 (a chunk ends where its shard ends)" in plan.reasons["chunk_rows"]
    assert "n_threads" in plan.reasons["n_threads"]


@pytest.mark.parametrize("isa", _dispatch.available_isas())
def test_tiles_are_those_of_the_kernels(isa):
    names = ("vector_bytes", "tile_rows", "panel_vectors", "row_panel_vectors", "group")
    kernel = _dispatch.tile_shape(isa)
    assert tuple(kernel[name] for name in names) == TILES[isa]


def test_shards_are_whole_tiles():
    multiple = shard_rows(1, 1, 1)
    for vector_bytes, tile_rows, *_ in TILES.values():
        assert multiple % tile_rows == 0
        # Rows in the lanes come in panels of at most four vectors.
        assert multiple % (vector_bytes // 4) == 0


@given(st.integers(0, 10**9), st.integers(0, 10**5), st.integers(1, 10**5))
def test_shards_follow_from_the_shape(n, d, k):
    rows = shard_rows(n, d, k)
    assert rows == shard_rows(n, d, k) > 0
    assert rows % 384 == 0
    assert -(-n // rows) <= 256
    plans = {
        (plan.shard_rows, plan.n_shards)
        for plan in (
            tilewise.plan(n, d, k, dtype, n_threads=threads, engine=engine, score_dtype=score)
            for dtype, threads, engine, score in (
                ("float32", 1, "fused", "float32"),
                ("float64", 7, "blas", "float64"),
            )
        )
    }
    assert plans == {(rows, max(1, math.ceil(n / rows)))}
    assert exact_shard_rows(n, d) == shard_rows(n, d, 16)


@given(
    st.integers(1, 10**8),
    st.integers(1, 3000),
    st.integers(1, 10**4),
    st.sampled_from([1, 2, 16, 64]),
    st.sampled_from(["fused", "blas"]),
)
def test_sizes_hang_together(n, d, k, threads, engine):
    plan = tilewise.plan(n, d, k, n_threads=threads, engine=engine)
    assert 1 <= plan.n_threads <= min(threads, plan.n_shards)
    assert plan.n_threads <= plan.shards_per_call
    assert plan.n_shards * plan.shard_rows >= n > (plan.n_shards - 1) * plan.shard_rows
    assert plan.panel_columns * plan.panels_per_block < k + plan.panel_columns
    assert 1 <= plan.depth_block <= d


@pytest.mark.parametrize("chunk_size", [0, -1, 1, 2.5, True, None, "large", "256", np.nan])
def test_bad_chunk_sizes(chunk_size):
    tile = tilewise.plan(1000, 40, 3).tile_rows
    with pytest.raises(
        ValueError,
        match=rf"chunk_size=.*(\"auto\" or a whole number|at least {tile} rows)",
    ):
        tilewise.plan(1000, 40, 3, chunk_size=chunk_size)


def test_smallest_and_largest_chunk():
    for engine in ("fused", "blas"):
        tile = tilewise.plan(100_000, 40, 3, engine=engine).tile_rows
        with pytest.raises(ValueError, match="out of range"):
            tilewise.plan(100_000, 40, 3, engine=engine, chunk_size=tile - 1)
        assert tilewise.plan(100_000, 40, 3, engine=engine, chunk_size=tile).chunk_rows == tile
        largest = tilewise.plan(100_000, 40, 3, engine=engine, chunk_size=10**12)
        assert largest.chunk_rows == largest.shard_rows
        assert tilewise.plan(100, 40, 3, chunk_size=np.int64(64)).chunk_rows == 64


@pytest.mark.parametrize("engine", ["", "gpu", None, 3])
def test_bad_engines(engine):
    with pytest.raises(ValueError, match="is not one of 'auto', 'fused', 'blas'"):
        tilewise.plan(1000, 40, 3, engine=engine)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((-1, 4, 3), "n_samples"),
        ((10, -1, 3), "n_features"),
        ((10, 4, 0), "n_clusters"),
        ((10.0, 4, 3), "n_samples"),
        ((10, "4", 3), "n_features"),
        ((10, 4, None), "n_clusters"),
        ((10, 4, True), "n_clusters"),
    ],
)
def test_bad_shapes(shape, name):
    with pytest.raises(ValueError, match=f"{name}=.* is out of range"):
        tilewise.plan(*shape)


@pytest.mark.parametrize("n_threads", [0, -2, 1.5, "2", True, 5000])
def test_bad_threads(n_threads):
    with pytest.raises(ValueError, match="is not a whole number from 1 to 4096"):
        tilewise.plan(10_000, 40, 30, n_threads=n_threads)


def test_tiny_work_uses_one_thread(recorded):
    machine = recorded("server_2socket")
    plan = tilewise.plan(150, 4, 3, machine=machine)
    assert plan.n_threads == 1
    assert tilewise.plan(150, 4, 3, machine=machine, chunk_size=128).n_threads == 1

"""The plan of a matrix of distances: every number from a fact, on every machine."""

import itertools
import json

import pytest

from tilewise.plan import plan_pairs
from tilewise.plan.layout import TILES
from tilewise.plan.thresholds import STORED_SHARE

SHAPES = ((0, 0, 0), (1, 1, 1), (1, 1_000_000, 64), (1_000_000, 10, 16), (20_000, 2_000, 64),
          (5_000, 5_000, 768), (100, 100, 1_000_000), (100_000, 3, 2))  # fmt: skip


MACHINES = (
    "hybrid_laptop",
    "guest_2cpu",
    "apple_m1",
    "server_2socket",
    "container_quota",
    "silent",
)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    list(itertools.product(MACHINES, SHAPES, ("float32", "float64"))),
    ids=str,
)
def test_sizes_are_usable(name, shape, dtype, recorded):
    machine = recorded(name)
    p = plan_pairs(*shape, dtype, machine=machine, n_threads=2)
    assert p.n_threads == (2 if machine.openmp.value else 1)
    assert min(p.row_block, p.column_block, p.fetch_rows, p.group) >= 1
    l2 = machine.l2_bytes.value
    row = shape[2] * (4 if dtype == "float32" else 8)
    assert p.column_block == 32 or p.column_block * row <= l2 / 2
    in_lanes = min(p.column_block, p.n_x if p.turned else p.n_y)
    assert p.workspace_bytes_per_thread >= in_lanes * row
    assert json.loads(json.dumps(p.to_dict()))["column_block"] == p.column_block
    assert len(p.sentences()) == len(p.reasons)
    assert all(reason in repr(p) for reason in p.reasons.values())
    assert p == plan_pairs(*shape, dtype, machine=machine, n_threads=2)


def test_few_rows_of_x_lie_in_the_lanes():
    assert plan_pairs(1, 1_000_000, 64).turned
    assert not plan_pairs(1_000_000, 1, 64).turned
    assert not plan_pairs(5_000, 5_000, 64).turned


def test_every_thread_gets_blocks():
    for n_x, n_y in ((1, 1_000_000), (1_000_000, 10), (20_000, 2_000), (2_000, 20_000)):
        p = plan_pairs(n_x, n_y, 64, n_threads=8)
        rows, columns = (n_y, n_x) if p.turned else (n_x, n_y)
        assert -(-rows // p.row_block) * -(-columns // p.column_block) >= 16


def test_large_results_go_past_the_caches():
    assert not plan_pairs(500, 500, 4, n_threads=1).streaming
    assert plan_pairs(100_000, 20_000, 4, n_threads=1).streaming
    assert not plan_pairs(100_000, 20_000, 4, n_threads=1, fresh=True).streaming
    assert plan_pairs(100_000, 20_000, 4, "float64", n_threads=1, fresh=True).streaming


def test_tiny_work_takes_one_thread():
    assert plan_pairs(10, 10, 10).n_threads == 1


def test_refusals():
    with pytest.raises(ValueError, match="n_x=-1 is out of range"):
        plan_pairs(-1, 2, 3)
    with pytest.raises(ValueError, match="n_threads"):
        plan_pairs(1, 2, 3, n_threads=0)


def test_stored_entries_and_their_threshold_are_told():
    for density, method in (
        (None, "dense"), ((None, None), "dense"), ((0.2, None), "csr"), ((0.21, None), "dense"),
        ((0.9, 0.1), "csr"),
    ):  # fmt: skip
        p = plan_pairs(1000, 1000, 50, density=density)
        assert p.method == method
        if density is not None and density != (None, None):
            assert f"{100 * STORED_SHARE['matrix']:g} %" in p.reasons["method"]


def test_panels_of_csr_distances_fit_l2(recorded):
    for name in MACHINES:
        machine = recorded(name)
        for d in (1, 300, 3000, 10**5):
            p = plan_pairs(500, 500, d, density=(0.01, None), machine=machine)
            lanes = TILES[machine.isa.value][0] // 8
            panel = d * p.csr_vectors * lanes * 8
            assert p.csr_vectors == 1 or panel <= machine.l2_bytes.value
            assert p.csr_vectors in (1, 2, 4)

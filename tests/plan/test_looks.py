"""When rows have a first look, what the plan says of it, and the memory that it takes."""

import dataclasses

import hostile
import numpy as np
import pytest

import tilewise
from tilewise.engine import Rows
from tilewise.kernels import _workspace
from tilewise.kernels._assign import Assignment
from tilewise.plan import Fact, Machine, machine
from tilewise.plan.looks import LOOK_CENTRES, LOOK_TILE, look_for
from tilewise.plan.nest import LoopNest
from tilewise.plan.thresholds import LOOK_DEPTH, LOOK_MOST_CLUSTERS, LOOK_ROWS, LOOK_WORK


def machine_with(isa, byte_products):
    return dataclasses.replace(
        machine(), isa=Fact(isa, "test"), byte_products=Fact(byte_products, "test")
    )


@pytest.mark.parametrize(
    ("isa", "byte_products", "products", "look", "said"),
    [
        ("avx512", True, 0, True, "rounded to bytes"),
        ("amx", True, 0, True, "rounded to bytes"),
        ("amx", True, 3, False, "bfloat16"),
        ("avx512", False, 0, False, "AVX-512 VNNI"),
        ("avx2", False, 0, False, "AVX-512 VNNI"),
        ("neon", False, 0, False, "AVX-512 VNNI"),
    ],
)
def test_instruction_sets(isa, byte_products, products, look, said):
    found = look_for(isa, byte_products, 10_000, 384, 1024, products=products)
    assert found.look is look
    assert said in found.reason
    assert look_for(isa, byte_products, 10_000, 384, 1024, products=products, asked=True).look
    assert not look_for(isa, byte_products, 10_000, 384, 1024, asked=False).look


@pytest.mark.parametrize(
    ("n", "d", "k", "look"),
    [
        (LOOK_ROWS, 64, LOOK_WORK // 64, True),
        (LOOK_ROWS - 1, 64, LOOK_WORK // 64, False),
        (LOOK_ROWS, 64, LOOK_WORK // 64 - 1, False),
        (LOOK_ROWS, 64, LOOK_MOST_CLUSTERS, True),
        (LOOK_ROWS, 64, LOOK_MOST_CLUSTERS + 1, False),
        (LOOK_ROWS, LOOK_DEPTH, 20, True),
        (LOOK_ROWS, LOOK_DEPTH + 1, 20, False),
    ],
)
def test_thresholds_are_told(n, d, k, look):
    plan = tilewise.plan(n, d, k, machine=machine_with("avx512", True))
    assert plan.look is look
    told = plan.reasons["look"]
    if not look:
        most = d > LOOK_DEPTH or k > LOOK_MOST_CLUSTERS
        limits = (LOOK_DEPTH, LOOK_MOST_CLUSTERS) if most else (LOOK_WORK, LOOK_ROWS)
        assert all(str(limit) in told for limit in limits)
    if d <= LOOK_DEPTH and k <= LOOK_MOST_CLUSTERS:
        asked = tilewise.plan(n, d, k, machine=machine_with("sse2", False), look=True)
        assert asked.look
    assert not tilewise.plan(n, d, k, machine=machine_with("avx512", True), look=False).look


def test_short_rows_and_stored_entries_have_none():
    assert not tilewise.plan(10_000, 8, 8192, machine=machine_with("avx512", True)).look
    sparse = tilewise.plan(10_000, 500, 500, density=0.01, machine=machine_with("avx512", True))
    assert not sparse.look
    assert "look" not in sparse.reasons


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize(("n", "d", "k"), [(100, 25, 1), (3000, 130, 100), (2000, 33, 1000)])
def test_memory_is_planned(isa, n, d, k):
    X = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    rows = Rows(X)
    plan = hostile.plan_for(rows, k, isa, look=True, groups=False)
    without = hostile.plan_for(rows, k, isa, look=False, groups=False)
    nest = LoopNest.of(plan, rows)
    kernel = Assignment(rows, nest)
    # Under the address sanitizer a gap follows each buffer.
    gaps = _workspace.GUARD * sum(size > 0 for size in nest.workspace.values())
    assert kernel.workspace_bytes == nest.workspace_bytes + gaps
    assert nest.workspace_bytes == plan.workspace_bytes_per_thread
    padded, words = -(-k // LOOK_CENTRES) * LOOK_CENTRES, -(-d // 4) * 4
    more = plan.workspace_bytes_per_thread - without.workspace_bytes_per_thread
    assert 0 <= more - LOOK_TILE * (words + 4 * padded) < 128
    assert plan.shared_bytes - without.shared_bytes == padded * (words + 16)
    for name in ("looked_rows", "looked_scores"):
        small = dataclasses.replace(nest)
        small.__dict__["workspace"] = {**nest.workspace, name: nest.workspace[name] - 4}
        with pytest.raises(ValueError, match="do not have the sizes"):
            Assignment(rows, small)


def test_records_of_machines_may_lack_products_of_bytes():
    facts = machine().to_dict()
    assert facts["byte_products"]["value"] in (True, False)
    assert Machine.from_dict(facts) == machine()
    del facts["byte_products"]
    assert Machine.from_dict(facts).byte_products == Fact(False, "assumed")

"""When plans make scores of parts of bfloat16."""

import dataclasses

import hostile
import pytest

import tilewise
from tilewise.plan import Fact, plan_neighbors
from tilewise.plan.split import split_for


def with_amx():
    return hostile.machine_with("amx")


def test_only_amx_multiplies_parts_unasked():
    for isa in ("avx512", "avx2", "sse2", "neon", "generic"):
        machine = hostile.machine_with(isa)
        assert tilewise.plan(100_000, 256, 1024, machine=machine).products == 0
        assert plan_neighbors(5000, 5000, 768, k=10, machine=machine).products == 0
    plan = tilewise.plan(100_000, 256, 1024, machine=with_amx())
    assert plan.products == 3
    assert plan.isa == "amx"
    assert "bfloat16" in plan.reasons["products"]
    assert plan_neighbors(5000, 5000, 768, k=10, machine=with_amx()).products == 3


@pytest.mark.parametrize(
    ("d", "k"), [(8, 1000), (24, 1000), (31, 1000), (33, 64), (200, 32), (784, 10)]
)
def test_short_rows_and_few_centres_keep_plain_scores(d, k):
    plan = tilewise.plan(100_000, d, k, machine=with_amx())
    assert plan.products == 0
    if d > 24:
        assert "faster only from" in plan.reasons["products"]
    # ... in the very sizes of the instruction set below.
    below = tilewise.plan(100_000, d, k, machine=hostile.machine_with("avx512"))
    assert dataclasses.replace(plan, isa="avx512") == below


def test_few_rows_do_not_repay_splitting_the_others():
    assert plan_neighbors(100, 5000, 768, k=10, machine=with_amx()).products == 0


def test_other_scores_are_plain():
    for changes in ({"engine": "blas"}, {"score_dtype": "float64"}, {"density": 0.01}):
        assert tilewise.plan(100_000, 256, 1024, machine=with_amx(), **changes).products == 0
    assert plan_neighbors(5000, 5000, 768, score_dtype="float64", machine=with_amx()).products == 0
    assert plan_neighbors(5000, 5000, 768, method="scan", machine=with_amx()).products == 0


def test_products_may_be_asked_for_and_must_be_known():
    assert tilewise.plan(1000, 40, 5, products=6).products == 6
    assert tilewise.plan(100_000, 256, 1024, machine=with_amx(), products=0).products == 0
    assert split_for("avx2", 40, 5, 3).row_bytes(33) == 2 * 32 * 2 * 2
    for wrong in (1, 4, -3):
        with pytest.raises(ValueError, match="one of 0, 3, 6"):
            tilewise.plan(1000, 40, 5, products=wrong)


def test_a_machine_with_amx_can_be_described():
    facts = tilewise.machine().to_dict() | {"isa": Fact("amx", "a newer one").to_dict()}
    assert tilewise.plan(10**5, 256, 1024, machine=tilewise.Machine.from_dict(facts)).products == 3

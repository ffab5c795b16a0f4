"""The time that a pass should take: between its slowest roof and the sum of everything."""

import pytest

import tilewise
from tilewise.lab import _traffic
from tilewise.lab._rates import measured_rates
from tilewise.lab.expected import expected_seconds, other_operations
from tilewise.lab.explain import explain
from tilewise.lab.roofs import Roofs

SHAPES = [(1000, 3, 64), (5000, 64, 256), (1, 1, 1)]


@pytest.mark.parametrize("name", ["guest_2cpu", "apple_m1", "silent"])
@pytest.mark.parametrize("engine", ["auto", "blas"])
def test_it_lies_between_the_slowest_roof_and_everything_in_turn(recorded, name, engine):
    for shape in SHAPES:
        for update in (False, True):
            told = explain(*shape, machine=recorded(name), n_threads=2, engine=engine,
                           update=update)  # fmt: skip
            chosen = told.plan.to_dict()
            lanes = told.plan.panel_columns  # at least as many as there are in a vector
            per_second = told.roofs.compute_gflops * 1e9 / 2 / max(lanes, 16)
            everything = sum(told.times.values()) + (
                other_operations(chosen, update=update) / per_second
            )
            assert told.seconds < told.expected < everything * (1 + 1e-9)
            for change in told.changes:
                assert change.plan is None or change.expected > change.seconds


def test_other_operations_by_hand():
    chosen = {
        "n_samples": 10, "n_features": 32, "n_clusters": 48, "dtype": "float32",
        "score_dtype": "float32", "layout": "centres-in-lanes", "isa": "avx512", "products": 0,
    }  # fmt: skip
    # Three vectors of scores of five operations, two of numbers of three, eighty for the row.
    assert other_operations(chosen) == 10 * (3 * 5 + 2 * 3 + 80)
    assert other_operations(chosen, update=True) == 10 * (3 * 5 + 2 * 3 + 80 + 4 * 2)
    assert other_operations(chosen | {"layout": "blas"}) == 10 * (3 * 6 + 2 * 3 + 80)
    assert other_operations(chosen | {"dtype": "float64"}) == 10 * (3 * 5 + 2 * 6 + 80)
    assert other_operations(chosen | {"isa": "amx", "products": 3}) == 10 * (3 * 5 + 2 * 15 + 80)
    narrow = chosen | {"isa": "sse2"}
    assert other_operations(narrow) == 10 * (12 * 7 + 8 * 3 + 80)
    short = chosen | {"layout": "rows-in-lanes"}
    assert other_operations(short) == 10 * (3 * 5 + 2 * 6 + 24)


def test_what_overlaps_with_what():
    times = {"arithmetic": 3.0, "L1": 1.0, "L2": 5.0, "L3": 0.5, "memory": 2.0}
    chosen = tilewise.plan(16, 32, 48, engine="blas").to_dict()

    def seconds(**changed):
        return expected_seconds(times | changed, chosen | {"layout": layout}, 1e12)

    layout = "centres-in-lanes"
    assert seconds() == pytest.approx(7.5)  # transfers, and the work beside them
    assert seconds(arithmetic=9.0) == pytest.approx(10.0)
    layout = "rows-in-lanes"
    assert seconds() == pytest.approx(7.5)
    assert seconds(arithmetic=9.0) == pytest.approx(12.5)  # memory is waited for
    layout = "blas"
    assert seconds() == pytest.approx(11.5)


def test_more_of_anything_takes_longer(recorded):
    machine = recorded("guest_2cpu")
    times = [
        explain(*shape, machine=machine, n_threads=1).expected
        for shape in [(10_000, 64, 64), (20_000, 64, 64), (20_000, 64, 128), (20_000, 200, 128)]
    ]
    assert times == sorted(times)


def test_a_sweep_expects_what_explain_does(result_of):
    """The same machine, rates and shape: what a result says is what `explain` says."""
    result = result_of("chunks")
    found = _traffic.expected(result, result["predicted"], result["facts"]["engines"])
    p = result["parameters"]
    peak, _, levels = measured_rates(result)
    roofs = Roofs.from_dict({
        "compute_gflops": peak, "bandwidth_gbs": levels, "threads": 1, "source": "a test",
        "product_gflops": None,
    })  # fmt: skip
    for engine, facts in result["facts"]["engines"].items():
        if facts["plan"]["products"]:
            continue
        told = explain(p["rows"], p["features"], p["clusters"], p["dtype"], n_threads=1,
                       engine=engine, roofs=roofs)  # fmt: skip
        times = dict(told.times)
        padding = times["arithmetic"] - 2 * told.traffic.multiply_adds / peak / 1e9
        assert padding >= 0
        assert found[engine, facts["auto"]] == pytest.approx(told.expected, abs=padding + 1e-12)

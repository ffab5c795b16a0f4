"""First look, decision and sums of a pass on a device, one by one."""

from dataclasses import replace

import numpy as np
import pytest
from device_cases import PLACE, torch
from reference import canonical

from tilewise import engine
from tilewise.cuda import _passes, _scorer
from tilewise.cuda._backend import Device
from tilewise.cuda._moments import column_stats
from tilewise.cuda._passes import DevicePass, total_of
from tilewise.cuda._rows import DeviceRows
from tilewise.cuda._seeding import DeviceSeeding


def rows_of(X):
    return DeviceRows(torch.from_numpy(np.ascontiguousarray(X)).to(PLACE))


def planned(rows, k, **sizes):
    return replace(Device().plan(rows, k), **sizes)


def exact_labels(X, centers):
    return canonical(np.asarray(X, dtype=np.float64), centers).argmin(axis=1)


def close_rows(n=200, d=24, k=40, seed=0, dtype=np.float32):
    """Rows of which many are almost as close to a second centre."""
    rng = np.random.RandomState(seed)
    centers = rng.standard_normal((k, d))
    first, second = rng.randint(0, k, (2, n))
    middle = (centers[first] + centers[second]) / 2
    X = middle + rng.standard_normal((n, d)) * 1e-5 + (centers[first] - middle) * 1e-5
    return X.astype(dtype), centers


# ---------------------------------------------------------------- looks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_the_first_look_gets_wrong_are_open(dtype):
    X, centers = close_rows(dtype=dtype)
    rows = rows_of(X)
    plan = planned(rows, len(centers))
    run = DevicePass(rows, len(centers), plan)
    seen = {}

    class Spy:
        def __getitem__(self, grid):
            def launch(*args, **sizes):
                look[grid](*args, **sizes)
                seen["labels"] = run.labels.cpu().numpy().copy()
                count = int(run._count[0])
                seen["open"] = np.sort(run._open[:count].cpu().numpy())

            return launch

    look, _passes.look = _passes.look, Spy()
    try:
        run.assign(centers)
    finally:
        _passes.look = look
    wanted = exact_labels(X, centers)
    wrong = np.flatnonzero(seen["labels"] != wanted)
    # Without the bound these would be wrong labels.
    assert len(wrong) >= 5
    assert np.isin(wrong, seen["open"]).all()
    np.testing.assert_array_equal(run.labels.cpu().numpy(), wanted)


def test_rows_far_from_a_second_centre_are_settled_at_once():
    rng = np.random.RandomState(1)
    centers = rng.standard_normal((6, 16)) * 10
    X = (centers[rng.randint(0, 6, 100)] + rng.standard_normal((100, 16)) * 0.1).astype(np.float32)
    rows = rows_of(X)
    run = DevicePass(rows, 6, planned(rows, 6))
    run.assign(centers)
    assert run.undecided == 0
    np.testing.assert_array_equal(run.labels.cpu().numpy(), exact_labels(X, centers))


@pytest.mark.parametrize(
    "sizes",
    [
        {"tile_rows": 16, "tile_centers": 16, "decided_rows": 16, "decided_centers": 16},
        {"tile_rows": 64, "tile_centers": 32, "programs": 3},
        {"tile_rows": 32, "tile_centers": 64, "programs": 1, "exact_rows": 16},
    ],
)
def test_labels_do_not_depend_on_sizes(sizes):
    X, centers = close_rows(n=90)
    rows = rows_of(X)
    run = DevicePass(rows, len(centers), planned(rows, len(centers), **sizes))
    inertia = run.assign_and_measure(centers)
    wanted = exact_labels(X, centers)
    np.testing.assert_array_equal(run.labels.cpu().numpy(), wanted)
    own = canonical(X.astype(np.float64), centers)[np.arange(len(X)), wanted]
    total = engine.Bins(engine.as_rows(X) and Device().plan(rows, 2).host.isa)
    total.add(own)
    assert inertia == total.value


@pytest.mark.parametrize("d", [1, 7, 17, 130, 300, 500, 520])
def test_rows_of_any_length(d):
    X, centers = close_rows(n=40, d=d, k=20)
    rows = rows_of(X)
    run = DevicePass(rows, 20, planned(rows, 20))
    run.assign(centers)
    np.testing.assert_array_equal(run.labels.cpu().numpy(), exact_labels(X, centers))


def test_more_equal_centres_than_are_listed():
    rng = np.random.RandomState(2)
    one = rng.standard_normal((1, 12))
    centers = np.concatenate([one + 5, np.repeat(one, 20, axis=0), one - 5])
    X = (one + rng.standard_normal((30, 12)) * 0.1).astype(np.float32)
    rows = rows_of(X)
    run = DevicePass(rows, 22, planned(rows, 22))
    run.assign(centers)
    assert (run.labels.cpu().numpy() == 1).all()
    assert run.rescanned == 30


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 1e120])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_magnitudes_and_offsets(scale, offset):
    X, centers = close_rows(n=60, dtype=np.float64)
    X, centers = (X + offset) * scale, (centers + offset) * scale
    rows = rows_of(X)
    run = DevicePass(rows, len(centers), planned(rows, len(centers)))
    run.assign(centers)
    np.testing.assert_array_equal(run.labels.cpu().numpy(), exact_labels(X, centers))


def test_rows_without_a_distance():
    X, centers = close_rows(n=30, dtype=np.float64)
    for value, error in ((np.nan, "NaN: the first is at row 7, column 3"), (np.inf, "row 7")):
        bad = X.copy()
        bad[7, 3] = value
        rows = rows_of(bad)
        with pytest.raises(ValueError, match=error):
            DevicePass(rows, len(centers), planned(rows, len(centers))).assign(centers)
    X[4] = 1e200
    rows = rows_of(X)
    with pytest.raises(engine.OutOfRange, match="first in row 4"):
        DevicePass(rows, len(centers), planned(rows, len(centers))).assign(centers)


def test_the_bound_of_the_first_look_covers_float16():
    """What the docstring says of the error holds for scores as NumPy computes them."""
    X, centers = close_rows(n=50)
    y, c = X.astype(np.float64), centers
    h, g = y.astype(np.float16).astype(np.float64), c.astype(np.float16).astype(np.float64)
    exact = 0.5 * (c**2).sum(1) - y @ c.T
    rough = 0.5 * (c**2).sum(1) - h @ g.T
    norm = np.linalg.norm
    limit = (
        norm(y - h, axis=1)[:, None] * norm(c, axis=1).max()
        + norm(h, axis=1)[:, None] * norm(c - g, axis=1).max()
    )
    assert (np.abs(exact - rough) <= limit).all()
    assert (np.abs(exact - rough) > limit / 50).any()
    assert "2**-23" in _scorer.__doc__


# ---------------------------------------------------------------- sums


def columns(kind):
    rng = np.random.RandomState(3)
    X = rng.standard_normal((120, 11))
    if kind == "float32":
        return X.astype(np.float32)
    spread = {"one limb": 0, "two limbs": 6, "three limbs": 20, "many limbs": 120}[kind]
    return X * 10.0 ** rng.uniform(-spread, 1, X.shape)


KINDS = ["float32", "one limb", "two limbs", "three limbs", "many limbs"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_averages_are_those_of_the_cpu(kind, weighted):
    X, k = columns(kind), 5
    rng = np.random.RandomState(4)
    weights = rng.uniform(0, 1e3, len(X)) * (rng.rand(len(X)) > 0.2) if weighted else None
    rows, cpu = rows_of(X), engine.as_rows(X)
    plan = planned(rows, k)
    stats = column_stats(rows, plan)
    own = None if weights is None else torch.from_numpy(weights).to(PLACE)
    run = DevicePass(rows, k, plan, sums=True, weights=own, stats=stats)
    ref = engine.Pass(
        cpu, k, engine.Cpu().plan(cpu, k), sums=True, weights=weights,
        stats=engine.column_stats(cpu, engine.Cpu().plan(cpu, k)),
    )  # fmt: skip
    centers = np.array(X[:k], dtype=np.float64)
    held = run.hold(centers)
    for _ in range(4):
        assert run.assign_and_sum(held) == ref.assign_and_sum(centers)
        ours, theirs = run.blank(held), np.empty_like(centers)
        assert run.average(ours) == ref.average(theirs)
        np.testing.assert_array_equal(run.weights, ref.weights)
        assert np.asarray(ours).tobytes() == theirs.tobytes()
        held, centers = ours, theirs
    ref.forget()
    empty = [(3, 0), (5, 2)]
    ours, theirs = run.blank(held), np.empty_like(centers)
    assert run.average(ours, empty) == ref.average(theirs, empty)
    assert np.asarray(ours).tobytes() == theirs.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_moments_are_those_of_the_cpu(kind):
    X = columns(kind)
    X[:, 4] = 0.0
    rows, cpu = rows_of(X), engine.as_rows(X)
    found = column_stats(rows, planned(rows, 2))
    wanted = engine.column_stats(cpu, engine.Cpu().plan(cpu, 2))
    for name in ("mean", "variance", "largest", "least"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name


@pytest.mark.parametrize("weighted", [False, True])
def test_totals_are_those_of_the_cpu(weighted):
    rng = np.random.RandomState(5)
    values = rng.standard_normal(3000) ** 2 * 10.0 ** rng.uniform(-40, 3, 3000)
    weights = rng.uniform(0, 2, 3000) if weighted else None
    isa = planned(rows_of(np.ones((2, 2))), 2).host.isa
    wanted = engine.Bins(isa)
    wanted.add(values, weights)
    most = np.array([(values if weights is None else values * weights).max()]).view(np.int64)
    place = lambda a: None if a is None else torch.from_numpy(a).to(PLACE)  # noqa: E731
    plan = planned(rows_of(np.ones((2, 2))), 2)
    assert total_of(place(values), place(most), place(weights), plan) == wanted.value


@pytest.mark.parametrize("weighted", [False, True])
def test_draws_from_many_blocks_are_those_of_the_cpu(weighted):
    rng = np.random.RandomState(6)
    X = rng.standard_normal((9000, 1)).astype(np.float32)
    weights = rng.uniform(0, 1, 9000) if weighted else None
    rows, cpu = rows_of(X), engine.as_rows(X)
    own = None if weights is None else torch.from_numpy(weights).to(PLACE)
    ours = DeviceSeeding(rows, own, planned(rows, 2, exact_rows=1024))
    theirs = engine.SeedingPass(cpu, 3, weights, engine.Cpu().plan(cpu, 2))
    potential = ours.take(17)
    assert potential == theirs.take(17)
    targets = np.array([*rng.uniform(0, potential, 12), 0.0, potential, 2 * potential, -1, np.nan])
    found = ours.locate(targets)
    np.testing.assert_array_equal(found, theirs.locate(targets))
    candidates = found[:5]
    gains = ours.gains(candidates)
    assert gains.tobytes() == theirs.gains(candidates).tobytes()
    best = int(candidates[gains.argmax()])
    assert ours.take(best) == theirs.take(best)

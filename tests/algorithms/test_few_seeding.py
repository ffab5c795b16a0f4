"""All steps of k-means++ in one call choose what they choose one by one, to the same state."""

import hostile
import numpy as np
import pytest
import reference
from sklearn.datasets import load_digits, load_iris

from tilewise import KMeans, algorithms, kmeans_plusplus
from tilewise.engine import Cpu, Rows
from tilewise.engine.few_seeding import FewSeeding
from tilewise.engine.seeding import SeedingPass
from tilewise.kernels import _workspace
from tilewise.kernels._seeding_few import FewSeeding as Steps
from tilewise.plan import exact_shard_rows, local_trials, seeds_at_once
from tilewise.plan.few_seeds import at_once_bytes, at_once_reason
from tilewise.plan.thresholds import FEW_DISTANCES, FEW_SEEDS, SERIAL_WORK

VARIANTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda X: np.ascontiguousarray(X[::-1])[::-1],
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
}


def choose(kind, rows, k, weights, plan, seed, n_trials=None):
    """Seeds, potentials where there are any, and the state of the draws afterwards."""
    trials = local_trials(k) if n_trials is None else n_trials
    random_state, state = np.random.RandomState(seed), kind(rows, k, weights, plan)
    chosen = [state.first(random_state)]
    potential = state.take(chosen[0])
    if state.at_once(trials):
        assert kind is FewSeeding
        chosen += state.follow(random_state.uniform(size=(k - 1, trials))).tolist()
    else:
        for _ in range(1, k):
            found = state.locate(random_state.uniform(size=trials) * potential)
            chosen.append(int(found[np.argmax(state.gains(found))]))
            potential = state.take(chosen[-1])
    return chosen, random_state.get_state()[1].tobytes(), random_state.get_state()[2:]


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
@pytest.mark.parametrize("isa", hostile.ISAS)
def test_hostile_rows(name, dtype, isa):
    for seed, (n, d) in enumerate([(70, 1), (200, 3), (129, 24), (64, 25), (150, 70), (9, 8)]):
        rng = np.random.RandomState(seed)
        X, _ = hostile.make(name, rng, n, d, 12, dtype)
        X = VARIANTS[list(VARIANTS)[seed % len(VARIANTS)]](X)
        weights = rng.uniform(size=n) * (rng.uniform(size=n) < 0.8) if seed % 2 else None
        rows = Rows(X)
        k = min(n, 13)
        plan = hostile.plan_for(rows, k, isa)
        one, other = (
            choose(kind, rows, k, weights, plan, seed) for kind in (FewSeeding, SeedingPass)
        )
        assert one == other


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 4033, 4100])
def test_edges_of_blocks(n):
    X = np.random.RandomState(n).standard_normal((n, 3))
    rows, weights = Rows(X), np.random.RandomState(0).uniform(size=n)
    for k in sorted({1, 2, min(n, 5), min(n, 128)}):
        plan = hostile.plan_for(rows, k)
        for own in (None, weights):
            one, other = (choose(kind, rows, k, own, plan, 0) for kind in (FewSeeding, SeedingPass))
            assert one == other
            assert len(one[0]) == k


def test_the_plain_twin_and_every_type():
    X = np.random.RandomState(0).randint(0, 200, (300, 6))
    for dtype in ("u1", "i2", "f2", "f4", "f8", ">f8", "i8", bool):
        for seed in range(3):
            found = kmeans_plusplus(X.astype(dtype), 9, random_state=seed)[1]
            twin = reference.kmeans_plusplus(
                reference.Rows(X.astype(dtype).astype(float)), 9,
                random_state=np.random.RandomState(seed),
            )  # fmt: skip
            if dtype is not bool:  # where rounding in the twin's order of additions decides
                assert np.array_equal(found, twin)


@pytest.mark.parametrize("data", [load_iris, load_digits])
def test_it_is_what_small_fits_use(data, monkeypatch):
    X, used = data().data, []
    follow = FewSeeding.follow
    monkeypatch.setattr(
        FewSeeding, "follow", lambda self, draws: used.append(draws.shape) or follow(self, draws)
    )
    KMeans(5, n_init=3, random_state=0).fit(X)
    assert used == [(4, local_trials(5))] * 3
    used.clear()
    # Others than the usual number of candidates are chosen step by step.
    expected = reference.kmeans_plusplus(
        reference.Rows(X), 5, random_state=np.random.RandomState(1), n_local_trials=2
    )
    assert np.array_equal(kmeans_plusplus(X, 5, random_state=1, n_local_trials=2)[1], expected)
    assert not used


def test_weights_that_the_call_does_not_take():
    """Below zero a running sum may fall; too far below, its sum is infinite."""
    rng = np.random.RandomState(0)
    rows = Rows(rng.standard_normal((90, 4)))
    plan = hostile.plan_for(rows, 6)
    for weights in (rng.uniform(0.0, 1.0, 90), rng.uniform(0.0, 1e300, 90)):
        weights[40] = -1e-3 * weights.max()
        one, other = (kind(rows, 6, weights, plan) for kind in (FewSeeding, SeedingPass))
        assert one.take(3) == other.take(3)
        assert not one.at_once(local_trials(6))
        targets = np.array([0.1, 0.4, 3.0])
        assert np.array_equal(one.locate(targets), other.locate(targets))
        ids = np.array([5, 6, 7])
        assert np.array_equal(one.gains(ids), other.gains(ids))
        assert one.take(6) == other.take(6)


def test_potentials_that_are_not_finite_go_step_by_step():
    X = np.zeros((50, 2))
    X[7] = 1e200
    rows = Rows(X)
    plan = hostile.plan_for(rows, 3)
    one, other = (kind(rows, 3, None, plan) for kind in (FewSeeding, SeedingPass))
    assert one.take(0) == other.take(0) == np.inf
    assert not one.at_once(local_trials(3))
    draws = np.array([0.3, np.inf])
    assert np.array_equal(one.locate(draws), other.locate(draws))
    state = Steps(rows, None, 3, isa=plan.isa, shard_rows=exact_shard_rows(50, 2))
    state.begin(0)
    with pytest.raises(ValueError, match="not finite"):
        state.follow(np.zeros((2, 3)), np.zeros(2, dtype=np.int64))


def test_who_gets_it():
    cpu = Cpu()

    def kind(n, d, k):
        rows = Rows(np.zeros((n, d), dtype=np.float32))
        plan = cpu.plan(rows, k)
        state = cpu.open_seeding(rows, k, None, plan)
        said = plan.reasons["seeding"] == at_once_reason(n, d, k)
        assert said == (type(state) is FewSeeding)
        return type(state)

    most = SERIAL_WORK["one seed"].value
    assert kind(most // 64 - 1, 64, 3) is FewSeeding
    assert kind(most // 64, 64, 3) is SeedingPass
    assert kind(FEW_DISTANCES // 4, 2, 8) is FewSeeding
    assert kind(FEW_DISTANCES // 4 + 1, 2, 8) is SeedingPass
    assert kind(1000, 2, FEW_SEEDS) is FewSeeding
    assert kind(1000, 2, FEW_SEEDS + 1) is SeedingPass
    assert kind(1000, 2, 1) is SeedingPass
    assert not seeds_at_once(1000, 0, 3)


@pytest.mark.parametrize("order", ["C", "F"])
def test_it_keeps_what_the_plan_states(order):
    for n, d, k in ((150, 4, 3), (1797, 64, 10), (8000, 8, 16), (1, 1, 2), (300, 400, 100)):
        rows = Rows(np.asarray(np.ones((n, d)), order=order))
        state = Steps(rows, None, local_trials(k), isa=hostile.ISAS[-1], shard_rows=384)
        planned = at_once_bytes(n, d, k)
        # Under the address sanitizer a gap follows each of its six buffers.
        assert state.allocated <= planned + 6 * _workspace.GUARD
        assert planned <= 1.05 * state.allocated or order == "C" or n < 100


def test_sizes_that_do_not_fit_are_refused():
    rows, how = Rows(np.ones((5, 2))), {"isa": hostile.ISAS[-1], "shard_rows": 384}
    for given in ((rows, np.ones(4), 3), (rows, None, 0), (rows, None, 17)):
        with pytest.raises(ValueError, match="seeding needs a row"):
            Steps(*given, **how)
    with pytest.raises(ValueError, match="seeding needs a row"):
        Steps(Rows(np.ones((0, 2))), None, 3, **how)
    state = Steps(rows, None, 3, **how)
    with pytest.raises(IndexError):
        state.begin(5)
    state.begin(0)
    for draws, chosen in (((4, 2), 4), ((4, 3), 3)):
        with pytest.raises(ValueError, match="3 draws for each seed"):
            state.follow(np.zeros(draws), np.zeros(chosen, dtype=np.int64))


def test_a_seeding_may_begin_again():
    X = load_iris().data
    rows, how = Rows(X), {"isa": hostile.ISAS[-1], "shard_rows": exact_shard_rows(*X.shape)}
    state, draws = Steps(rows, None, 3, **how), np.random.RandomState(0).uniform(size=(4, 3))
    found = []
    for first in (3, 77, 3):
        chosen = np.empty(4, dtype=np.int64)
        state.begin(first)
        state.follow(draws, chosen)
        found.append(chosen)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


@pytest.mark.filterwarnings("ignore:The inertia")
def test_scaled_rows():
    X = load_iris().data
    plain = KMeans(3, n_init=2, random_state=0).fit(X)
    for exponent in (600, -600):
        model = KMeans(3, n_init=2, random_state=0).fit(np.ldexp(X, exponent))
        assert np.array_equal(model.labels_, plain.labels_)
    rows = Rows(X).scaled(3)
    plan = hostile.plan_for(rows, 4)
    one, other = (choose(kind, rows, 4, None, plan, 5) for kind in (FewSeeding, SeedingPass))
    assert one == other


def test_algorithms_draw_the_same_numbers():
    rows, states = Rows(load_iris().data), []
    for n_local_trials in (None, local_trials(7)):
        random_state = np.random.RandomState(3)
        algorithms.kmeans_plusplus(
            rows, 7, random_state=random_state, plan=hostile.plan_for(rows, 7),
            n_local_trials=n_local_trials,
        )  # fmt: skip
        states.append(random_state.random_sample())
    twin = np.random.RandomState(3)
    reference.kmeans_plusplus(reference.Rows(load_iris().data), 7, random_state=twin)
    assert {*states, twin.random_sample()} == {states[0]}

"""Runs of one fit share its plan and, where they are small, one pass."""

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits, load_iris

from tilewise import KMeans, engine
from tilewise.algorithms import lloyd
from tilewise.engine import Cpu, Pass, Rows, column_stats
from tilewise.plan.thresholds import KEPT_PASS_BYTES


def bits(found):
    return found.labels.tobytes(), found.centers.tobytes(), found.inertia, found.n_iter


def starts(X, k, count):
    rng = np.random.RandomState(0)
    X = X.toarray() if sp.issparse(X) else X
    yield X[:k].astype(float)  # as bad as they come, then better ones
    for _ in range(count - 1):
        yield X[rng.permutation(len(X))[:k]].astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["iris", "far", "digits", "csr", "one", "duplicates", "grid"])
def test_a_pass_used_again_finds_what_a_new_one_finds(kind, weighted):
    rng = np.random.RandomState(1)
    X = {
        "iris": lambda: load_iris().data, "far": lambda: load_iris().data.astype("f4") + 1e4,
        "digits": lambda: load_digits().data[:500].astype("f4"),
        "csr": lambda: sp.random_array((300, 200), density=0.02, random_state=0, format="csr"),
        "one": lambda: np.ones((1, 3)), "duplicates": lambda: np.ones((40, 2)),
        "grid": lambda: rng.randint(0, 3, (300, 2)),
    }[kind]()  # fmt: skip
    k = min(5, X.shape[0])
    weights = (
        rng.uniform(size=X.shape[0]) * (rng.uniform(size=X.shape[0]) < 0.7) if weighted else None
    )
    if weighted:
        weights[0] += 1.0
    for isa in hostile.ISAS:
        rows = Rows(X)
        plan = Cpu().plan(rows, k) if isa == hostile.ISAS[-1] else hostile.plan_for(rows, k, isa)
        how = {"plan": plan, "weights": weights, "stats": column_stats(rows, plan), "max_iter": 20}
        spare, kept = None, []
        for start in starts(X, k, 5):
            new = lloyd(rows, start, **how)
            again = lloyd(rows, start, spare=spare, **how)
            assert bits(again) == bits(new)
            if spare is not None:
                assert again.spare is spare
            kept.append((again, bits(again)))
            spare = again.spare
            assert spare is not None
        # Those of earlier runs are still what they were.
        assert all(bits(found) == before for found, before in kept)


def test_a_pass_that_changed_its_scores_begins_with_those_of_the_plan():
    """Centres all alike leave every row open, so the first run ends with scores of float64."""
    X = np.random.RandomState(0).standard_normal((400, 20)).astype("f4")
    rows, k = Rows(X), 6
    plan = hostile.plan_for(rows, k, score_dtype="float32")
    run = Pass(rows, k, plan, sums=True)
    alike = np.tile(X[:1].astype(float), (k, 1))
    run.assign_and_sum(np.nextafter(alike, alike + np.arange(k)[:, None]))
    run.assign_and_sum(alike)
    assert run._score_dtype == "float64"
    before = run.labels
    run.renew()
    assert run._score_dtype == "float32"
    assert run.labels is not before
    assert (run.labels == -1).all()
    assert run.assign_and_sum(X[:k].astype(float)) == len(X)
    fresh = Pass(rows, k, plan, sums=True)
    fresh.assign_and_sum(X[:k].astype(float))
    assert np.array_equal(run.labels, fresh.labels)
    assert np.array_equal(run.sums.values, fresh.sums.values)


def test_only_small_passes_are_kept():
    for n, d, k, small in ((1000, 4, 3, True), (200_000, 4, 3, False), (1000, 500, 400, False)):
        rows = Rows(np.zeros((n, d), dtype="f4"))
        plan = Cpu().plan(rows, k, n_threads=1)
        run = Pass(rows, k, plan, sums=True, bounds=True)
        kernel, bounds = sum(run._kernel.allocated), sum(array.nbytes for array in run._bounds)
        held = kernel + bounds + sum(run.sums.buffers.values())
        assert run.renewable == small
        assert held <= KEPT_PASS_BYTES or not small
        run.close_sums()
        assert (run.sums is not None) == small


class Counted:
    """Calls of a function, which goes on."""

    def __init__(self, monkeypatch, owner, name):
        self.calls, real = 0, getattr(owner, name)

        def called(*args, **how):
            self.calls += 1
            return real(*args, **how)

        monkeypatch.setattr(owner, name, called)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_a_fit_plans_once(init, monkeypatch):
    X = load_iris().data
    plans = Counted(monkeypatch, engine.cpu, "plan")
    passes = Counted(monkeypatch, engine.Cpu, "open_assignment")
    model = KMeans(3, init=init, n_init=7, random_state=0).fit(X)
    # k-means|| plans its own passes over candidates.
    assert plans.calls == 1 or init == "k-means||"
    assert passes.calls == 1
    alone = []
    random_state = np.random.RandomState(0)
    for _ in range(7):
        alone.append(KMeans(3, init=init, n_init=1, random_state=random_state).fit(X))
    best = min(alone, key=lambda one: one.inertia_)
    assert np.isclose(best.inertia_, model.inertia_, rtol=1e-15)

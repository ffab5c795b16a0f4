"""scikit-learn's callbacks, where the installed version has them, and their absence before."""

import numpy as np
import pytest
from cluster_data import blobs
from recorder import HAS_CALLBACKS, Recorder, needs_callbacks
from sklearn.base import clone

from tilewise import KMeans, algorithms


def test_estimators_without_callbacks_get_no_hooks(monkeypatch):
    seen = {}
    lloyd = algorithms.lloyd

    def watched(*args, **kwargs):
        seen.update(kwargs)
        return lloyd(*args, **kwargs)

    monkeypatch.setattr(algorithms, "lloyd", watched)
    model = KMeans(3, random_state=0).fit(blobs())
    assert not {"on_iteration", "on_iteration_begin"} & set(seen)
    assert not any("callback" in name for name in vars(model))
    assert hasattr(model, "set_callbacks") == HAS_CALLBACKS


@needs_callbacks
def test_one_run_is_a_list_of_iterations():
    X, weights = blobs(), np.linspace(1, 2, 240)
    recorder = Recorder()
    model = KMeans(4, random_state=0, max_iter=50).set_callbacks(recorder)
    model.fit(X, sample_weight=weights)
    expected = [("setup", "fit", 0), ("begin", "fit", 0)]
    for i in range(model.n_iter_):
        expected += [("begin", "iteration", i), ("end", "iteration", i)]
    expected += [("end", "fit", 0), ("teardown", "fit", 0)]
    assert recorder.events == expected
    assert recorder.max_subtasks == 50
    for given in recorder.given:
        assert given[0] is X
        assert given[1] is None
        assert given[2]["sample_weight"] is weights


@needs_callbacks
def test_several_runs_are_a_level_of_their_own():
    recorder = Recorder()
    KMeans(4, init="random", n_init=3, random_state=0).set_callbacks(recorder).fit(blobs())
    assert recorder.max_subtasks == 3
    assert recorder.named("run", "begin") == recorder.named("run") == [0, 1, 2]
    assert recorder.named("iteration").count(0) == 3
    assert recorder.named("iteration") == recorder.named("iteration", "begin")


@needs_callbacks
def test_callbacks_do_not_change_results():
    X = blobs()
    for parameters in ({}, {"init": "random", "n_init": 3}):
        plain = KMeans(5, random_state=1, **parameters).fit(X)
        watched = KMeans(5, random_state=1, **parameters).set_callbacks(Recorder()).fit(X)
        assert np.array_equal(plain.cluster_centers_, watched.cluster_centers_)
        assert np.array_equal(plain.labels_, watched.labels_)
        assert (plain.inertia_, plain.n_iter_) == (watched.inertia_, watched.n_iter_)


@needs_callbacks
def test_models_along_the_way_are_those_of_shorter_fits():
    X = blobs(400, 6, 6, dtype=np.float32)
    recorder = Recorder()
    model = KMeans(6, random_state=3, tol=0).set_callbacks(recorder).fit(X)
    steps = [step for name, step in recorder.models if name == "iteration"]
    assert len(steps) == model.n_iter_ > 3
    for i, step in enumerate(steps):
        shorter = KMeans(6, random_state=3, tol=0, max_iter=i + 1).fit(X)
        assert np.array_equal(step.cluster_centers_, shorter.cluster_centers_)
        assert step.cluster_centers_.dtype == np.float32
        assert np.array_equal(step.predict(X), shorter.labels_)
        assert step.n_iter_ == i + 1
        assert step.transform(X).shape == (400, 6)
        assert len(step.get_feature_names_out()) == 6
    name, last = recorder.models[-1]
    assert name == "fit"
    assert np.array_equal(last.labels_, model.labels_)


@needs_callbacks
def test_models_after_runs_are_the_best_so_far():
    X = blobs(seed=2)
    recorder = Recorder()
    KMeans(8, init="random", n_init=5, max_iter=2, random_state=0).set_callbacks(recorder).fit(X)
    scores = [step.score(X) for name, step in recorder.models if name == "run"]
    assert len(scores) == 5
    assert scores == sorted(scores)


@needs_callbacks
def test_stopping_the_iterations():
    X = blobs(400, 6, 6)
    recorder = Recorder(stop="iteration", stop_at=1)
    stopped = KMeans(6, random_state=3, tol=0).set_callbacks(recorder).fit(X)
    shorter = KMeans(6, random_state=3, tol=0, max_iter=2).fit(X)
    assert stopped.n_iter_ == 2
    assert np.array_equal(stopped.cluster_centers_, shorter.cluster_centers_)
    assert np.array_equal(stopped.labels_, stopped.predict(X))
    assert recorder.events[-1][0] == "teardown"


@needs_callbacks
def test_stopping_the_iterations_of_a_run_goes_on_with_the_next_run():
    recorder = Recorder(stop="iteration")
    KMeans(6, init="random", n_init=3, random_state=3).set_callbacks(recorder).fit(blobs())
    assert recorder.named("iteration") == [0, 0, 0]


@needs_callbacks
def test_stopping_the_runs():
    recorder = Recorder(stop="run", stop_at=1)
    model = KMeans(6, init="random", n_init=5, random_state=3).set_callbacks(recorder)
    model.fit(blobs())
    assert recorder.named("run") == [0, 1]
    two = KMeans(6, init="random", n_init=2, random_state=3).fit(blobs())
    assert np.array_equal(model.labels_, two.labels_)


@needs_callbacks
def test_callbacks_are_torn_down_after_errors():
    recorder = Recorder()
    bad = blobs()
    bad[3, 2] = np.nan
    model = KMeans(4, init=lambda X, k, random_state: X[:k, :1]).set_callbacks(recorder)
    with pytest.raises(ValueError, match="number of features"):
        model.fit(blobs())
    assert [event for event, *_ in recorder.events][-1] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")


@needs_callbacks
def test_clones_share_callbacks():
    recorder = Recorder()
    clone(KMeans(3, random_state=0).set_callbacks(recorder)).fit(blobs())
    assert recorder.named("fit") == [0]


@needs_callbacks
@pytest.mark.parametrize(("n_init", "shown"), [(1, []), (2, ["run #0", "run #1"])])
def test_progress_bar(n_init, shown, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    model = KMeans(4, n_init=n_init, random_state=0).set_callbacks(ProgressBar())
    model.fit(blobs())
    out = capsys.readouterr().out
    for name in ["KMeans - fit", *(f"KMeans - {name}" for name in shown)]:
        (line,) = [line for line in out.splitlines() if name in line]
        assert "100%" in line

"""A fitted model stays as it was until a new fit has succeeded."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cluster_data import blobs
from recorder import Recorder, needs_callbacks
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans, algorithms

ROWS = blobs(120, 3, 3)
WIDER = blobs(120, 4, 3, seed=1)
BOTH = pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])


def fitted(Estimator, X=ROWS, **parameters):
    return Estimator(3, random_state=0, n_init=1, **parameters).fit(X)


def state_of(model):
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


def with_nan(X):
    bad = X.copy()
    bad[17, 2] = np.nan
    return bad


def stop(X, n_clusters, random_state):
    raise KeyboardInterrupt


def too_few(X, n_clusters, random_state):
    return X[:1]


def broken_after(n_batches, error):
    """Batches of a source that fails at this batch of the second pass."""
    passes = iter(range(100))

    def batches():
        again = next(passes) > 0
        for i in range(4):
            if again and i == n_batches:
                raise error
            yield WIDER[30 * i : 30 * i + 30]

    return batches


# What is set, and what is fitted then.
FAILURES = {
    "nan": ({}, lambda: with_nan(WIDER)),
    "nan in sparse rows": ({}, lambda: sp.csr_array(with_nan(WIDER))),
    "nan in a frame with names": ({}, lambda: pd.DataFrame(with_nan(WIDER), columns=list("abcd"))),
    "too few rows": ({}, lambda: WIDER[:2]),
    "words": ({}, lambda: [["a", "b"]] * 5),
    "wrong centres from a callable": ({"init": too_few}, lambda: WIDER),
    "wrong centres": ({"init": ROWS[:3]}, lambda: WIDER),
    "Ctrl-C": ({"init": stop}, lambda: WIDER),
    "a source that breaks": ({}, lambda: broken_after(2, OSError("gone"))),
    "Ctrl-C while a source is read": ({}, lambda: broken_after(1, KeyboardInterrupt())),
    "a file that is not there": ({}, lambda: "nowhere.npy"),
    "a wrong parameter": ({"tol": -1.0}, lambda: WIDER),
    "a folder that is not there": ({"checkpoint": "no/such/folder/state"}, lambda: WIDER),
    "a wrong limit": ({"memory_limit": "much"}, lambda: WIDER),
}


@BOTH
@pytest.mark.parametrize("name", FAILURES)
def test_a_refit_that_fails_changes_nothing(Estimator, name):
    parameters, data = FAILURES[name]
    model = fitted(Estimator)
    labels = model.predict(ROWS)
    before = state_of(model.set_params(**parameters))
    with pytest.raises((ValueError, OSError, KeyboardInterrupt)):
        model.fit(data())
    assert state_of(model) == before
    # A wrong limit is wrong for new data too.
    assert np.array_equal(model.set_params(memory_limit=None).predict(ROWS), labels)


@BOTH
@pytest.mark.parametrize("name", FAILURES)
def test_a_first_fit_that_fails_leaves_no_attributes(Estimator, name):
    parameters, data = FAILURES[name]
    model = Estimator(3, random_state=0, n_init=1).set_params(**parameters)
    before = state_of(model)
    with pytest.raises((ValueError, OSError, KeyboardInterrupt)):
        model.fit(data())
    assert state_of(model) == before
    with pytest.raises(NotFittedError):
        model.set_params(memory_limit=None).predict(ROWS)


@BOTH
@pytest.mark.parametrize("when", ["loop", "end"])
def test_no_memory_left(Estimator, when, monkeypatch):
    def empty(*args, **kwargs):
        raise MemoryError

    model = fitted(Estimator)
    before = state_of(model)
    if when == "loop":
        monkeypatch.setattr(algorithms, "lloyd", empty)
        monkeypatch.setattr(algorithms, "minibatch", empty)
    else:
        # What both do last.
        from tilewise.engine import passes

        monkeypatch.setattr(passes.Pass, "_measure", empty)
    with pytest.raises(MemoryError):
        model.fit(WIDER)
    assert state_of(model) == before


@needs_callbacks
@BOTH
@pytest.mark.parametrize("hook", ["setup", "on_fit_task_begin", "on_fit_task_end"])
def test_callbacks_that_fail(Estimator, hook):
    class Failing(Recorder):
        pass

    def fail(self, *args, **kwargs):
        raise RuntimeError(hook)

    model = fitted(Estimator)
    before = state_of(model)
    setattr(Failing, hook, fail)
    model.set_callbacks(Failing())
    with pytest.raises(RuntimeError, match=hook):
        model.fit(WIDER)
    assert state_of(model.set_callbacks()) == before


@needs_callbacks
def test_callbacks_see_the_model_that_is_being_fitted():
    recorder = Recorder()
    model = KMeans(3, random_state=0).fit(pd.DataFrame(ROWS, columns=list("xyz")))
    model.set_callbacks(recorder).fit(WIDER)
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")
    for _, step in recorder.models:
        assert step.n_features_in_ == 4
        assert not hasattr(step, "feature_names_in_")
        assert step.predict(WIDER).shape == (120,)


@BOTH
def test_a_model_answers_as_before_while_it_is_fitted_anew(Estimator):
    seen = []

    def look(X, n_clusters, random_state):
        seen.append((model.predict(ROWS), model.n_features_in_))
        return X[:n_clusters]

    model = fitted(Estimator)
    labels = model.predict(ROWS)
    model.set_params(init=look).fit(WIDER)
    assert seen
    for found, n_features in seen:
        assert np.array_equal(found, labels)
        assert n_features == 3
    assert model.n_features_in_ == model.cluster_centers_.shape[1] == 4


@BOTH
def test_a_refit_forgets_what_the_new_data_do_not_have(Estimator):
    frame = pd.DataFrame(ROWS, columns=["x", "y", "z"])
    model = fitted(Estimator, frame)
    assert list(model.feature_names_in_) == ["x", "y", "z"]
    model.fit(lambda: iter([ROWS]))
    assert not hasattr(model, "feature_names_in_")
    assert hasattr(model, "stream_plan_")
    model.fit(frame)
    assert not hasattr(model, "stream_plan_")


@BOTH
def test_a_checkpoint_of_another_fit(Estimator, tmp_path):
    path = tmp_path / "state.npz"

    model = fitted(Estimator)
    path.write_bytes(b"no checkpoint at all")
    model.set_params(checkpoint=path)
    before = state_of(model)
    with pytest.raises(ValueError, match="checkpoint"):
        model.fit(WIDER)
    assert state_of(model) == before
    assert path.read_bytes() == b"no checkpoint at all"


# ---------------------------------------------------------------- partial_fit


BATCHES = [blobs(40, 3, 3, seed=seed) for seed in range(4)]

BAD_BATCHES = {
    "nan": (lambda: with_nan(BATCHES[0]), None, "NaN"),
    "wider": (lambda: WIDER, None, "expecting 3 features"),
    "weights that do not fit": (lambda: BATCHES[0], np.ones(3), "sample_weight.shape"),
    "no rows": (lambda: BATCHES[0][:0], None, "0 sample"),
}


def halfway(seed=0):
    model = MiniBatchKMeans(3, random_state=seed, reassignment_ratio=0.5)
    return model.partial_fit(BATCHES[0]).partial_fit(BATCHES[1])


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_batch_that_fails_changes_nothing(name):
    data, weights, message = BAD_BATCHES[name]
    model = halfway()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(data(), sample_weight=weights)
    assert state_of(model) == before
    assert model.n_steps_ == 2
    expected = halfway().partial_fit(BATCHES[2])
    model.partial_fit(BATCHES[2])
    assert np.array_equal(model.cluster_centers_, expected.cluster_centers_)
    assert np.array_equal(model._counts, expected._counts)


def test_draws_of_a_batch_that_fails_are_taken_back(monkeypatch):
    generator = np.random.RandomState(5)
    model = MiniBatchKMeans(3, random_state=generator, compute_labels=False)
    model.partial_fit(BATCHES[0])
    assert model._random_state is generator
    before, state = state_of(model), generator.get_state()[1].copy()

    def drawing(rows, state, *, random_state, **others):
        random_state.random_sample(1000)
        state.centers[...] = 7.0
        state.counts[...] = 7.0
        raise MemoryError

    monkeypatch.setattr(algorithms, "minibatch_step", drawing)
    with pytest.raises(MemoryError):
        model.partial_fit(BATCHES[1])
    assert state_of(model) == before
    assert np.array_equal(generator.get_state()[1], state)


def test_a_first_batch_that_fails_leaves_no_attributes():
    model = MiniBatchKMeans(3, random_state=0)
    before = state_of(model)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(with_nan(WIDER))
    assert state_of(model) == before
    model.partial_fit(BATCHES[0])
    assert np.array_equal(
        model.cluster_centers_,
        MiniBatchKMeans(3, random_state=0).partial_fit(BATCHES[0]).cluster_centers_,
    )


# ---------------------------------------------------------------- parameters, results


@BOTH
def test_parameters_are_set_all_or_none(Estimator):
    model = fitted(Estimator)
    before = state_of(model)
    with pytest.raises(ValueError, match="nonsense"):
        model.set_params(n_clusters=7, nonsense=1)
    assert state_of(model) == before
    assert model.set_params(n_clusters=7, tol=0.5) is model
    assert (model.n_clusters, model.tol) == (7, 0.5)


@BOTH
def test_what_others_set_during_a_fit_stays(Estimator):
    def setting(X, n_clusters, random_state):
        model.note = "mine"
        model.verbose = 0
        model.max_iter = 77
        return X[:n_clusters]

    model = fitted(Estimator).set_params(init=setting)
    model.fit(WIDER)
    assert (model.note, model.max_iter) == ("mine", 77)


@BOTH
@pytest.mark.parametrize("method", ["predict", "transform"])
def test_a_file_of_results_stays_if_new_results_fail(Estimator, method, tmp_path):
    path = tmp_path / "result.npy"
    model = fitted(Estimator)
    getattr(model, method)(ROWS, out=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN"):
        getattr(model, method)(with_nan(ROWS), out=path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["result.npy"]

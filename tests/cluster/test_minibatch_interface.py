"""MiniBatchKMeans among scikit-learn's tools: pickles, callbacks, routing, processes."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from cluster_data import blobs
from interrupting import share_after_ctrl_c
from recorder import Recorder, needs_callbacks
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans as PeerMiniBatchKMeans
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import estimator_html_repr
from worker_fit import fit_batches

from tilewise import MiniBatchKMeans, algorithms


def test_parameters_are_scikit_learns_and_some_more():
    ours, theirs = MiniBatchKMeans().get_params(), PeerMiniBatchKMeans().get_params()
    added = {"chunk_size": "auto", "n_threads": None, "engine": "auto", "device": "auto"}
    assert ours == {**theirs, **added, "memory_limit": None, "checkpoint": None}
    changed = {
        name: 7 if isinstance(value, int) else value for name, value in ours.items()
    }  # fmt: skip
    assert clone(MiniBatchKMeans(**changed)).get_params() == changed


def test_fitted_attributes_are_scikit_learns_and_the_plan():
    X = pd.DataFrame(blobs(), columns=list("abcde"))
    for method in ("fit", "partial_fit"):
        ours, theirs = (
            {name for name in vars(getattr(kind(), method)(X)) if name.endswith("_")}
            for kind in (MiniBatchKMeans, PeerMiniBatchKMeans)
        )
        assert ours == theirs | {"chunk_plan_"}
    model = MiniBatchKMeans(3).fit(X)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.get_feature_names_out().tolist() == [f"minibatchkmeans{i}" for i in range(3)]
    assert model.set_output(transform="pandas").transform(X).shape == (240, 3)


def test_the_plan_is_that_of_a_batch():
    plan = MiniBatchKMeans(4, batch_size=100, chunk_size=96, n_threads=1).fit(blobs()).chunk_plan_
    assert (plan.n_samples, plan.chunk_rows, plan.n_threads) == (100, 96, 1)


def state(model):
    return (model.cluster_centers_.tobytes(), model._counts.tobytes(), model.n_steps_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pickles_go_on_where_the_model_stopped(dtype):
    X = blobs(1200, 6, 8, dtype=dtype)
    parameters = {"random_state": np.random.RandomState(3), "reassignment_ratio": 0.3}
    model = MiniBatchKMeans(20, batch_size=50, **parameters)
    for start in range(0, 600, 60):
        model.partial_fit(X[start : start + 60])
    copy = pickle.loads(pickle.dumps(model))
    drawn = []
    for some in (model, copy):
        for start in range(600, 1200, 60):
            some.partial_fit(X[start : start + 60])
        drawn.append(some._random_state.random_sample())
    assert state(model) == state(copy)
    assert drawn[0] == drawn[1]


def test_a_model_that_is_a_memory_map_goes_on(tmp_path):
    X = blobs(400, dtype=np.float32)
    model = MiniBatchKMeans(9, random_state=0, reassignment_ratio=0.5, batch_size=20)
    model.partial_fit(X[:200])
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not mapped.cluster_centers_.flags.writeable
    assert not mapped._counts.flags.writeable
    assert state(mapped.partial_fit(X[200:])) == state(model.partial_fit(X[200:]))
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))


def test_pickles_of_other_versions_warn():
    kept = MiniBatchKMeans(4, random_state=0).fit(blobs()).__getstate__()
    kept["_tilewise_version"] = "0.0.1"
    model = MiniBatchKMeans.__new__(MiniBatchKMeans)
    with pytest.warns(InconsistentVersionWarning, match=r"^MiniBatchKMeans was pickled"):
        model.__setstate__(kept)


def test_weights_are_routed():
    X, weights = blobs(), np.linspace(0, 3, 240)
    with sklearn.config_context(enable_metadata_routing=True):
        model = MiniBatchKMeans(4).set_fit_request(sample_weight=True)
        model.set_partial_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        requests = model.get_metadata_routing()
        for method in ("fit", "partial_fit", "score"):
            assert requests.consumes(method, ["sample_weight"]) == {"sample_weight"}
    counted = MiniBatchKMeans(4, random_state=0).partial_fit(X, sample_weight=weights)
    assert counted._counts.sum() == pytest.approx(weights.sum())
    drawn = MiniBatchKMeans(4, random_state=0, batch_size=100, reassignment_ratio=0)
    drawn.fit(X, sample_weight=weights)
    assert drawn._counts.sum() == 100 * drawn.n_steps_


def test_html_links_to_our_documentation():
    link = "https://tilewise.readthedocs.io/en/stable/api/tilewise.cluster.MiniBatchKMeans.html"
    assert link in estimator_html_repr(MiniBatchKMeans())


def test_convenience_methods():
    X = blobs()
    model = MiniBatchKMeans(4, random_state=2, batch_size=60)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(labels, model.labels_)
    np.testing.assert_array_equal(model.fit_transform(X), model.transform(X))


# Callbacks ---------------------------------------------------------------------------------------


def test_estimators_without_callbacks_get_no_hooks(monkeypatch):
    seen = {}
    minibatch = algorithms.minibatch

    def watched(*args, **kwargs):
        seen.update(kwargs)
        return minibatch(*args, **kwargs)

    monkeypatch.setattr(algorithms, "minibatch", watched)
    MiniBatchKMeans(3, random_state=0).fit(blobs())
    assert "n_steps" in seen
    assert not {"on_iteration", "on_iteration_begin"} & set(seen)


@needs_callbacks
def test_steps_are_iterations_and_models_those_of_shorter_fits():
    X = blobs(400, 6, 6, dtype=np.float32)
    parameters = {"random_state": 3, "batch_size": 100, "max_no_improvement": None}
    recorder = Recorder()
    model = MiniBatchKMeans(6, max_iter=3, **parameters).set_callbacks(recorder).fit(X)
    plain = MiniBatchKMeans(6, max_iter=3, **parameters).fit(X)
    assert state(model) == state(plain)
    assert recorder.max_subtasks == 12
    assert recorder.named("iteration") == recorder.named("iteration", "begin") == list(range(12))
    steps = [step for name, step in recorder.models if name == "iteration"]
    for n_epochs in (1, 2):
        shorter = MiniBatchKMeans(6, max_iter=n_epochs, **parameters).fit(X)
        step = steps[4 * n_epochs - 1]
        np.testing.assert_array_equal(step.cluster_centers_, shorter.cluster_centers_)
        np.testing.assert_array_equal(step.predict(X), shorter.labels_)
        assert (step.n_steps_, step.n_iter_) == (shorter.n_steps_, shorter.n_iter_)


@needs_callbacks
def test_callbacks_may_stop_the_steps():
    recorder = Recorder(stop="iteration", stop_at=1)
    model = MiniBatchKMeans(4, random_state=0, batch_size=20).set_callbacks(recorder).fit(blobs())
    assert model.n_steps_ == 2
    assert recorder.events[-1][0] == "teardown"


# Processes ---------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_fits(backend):
    alone = [fit_batches(seed) for seed in range(6)]
    together = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fit_batches)(seed) for seed in range(6)
    )
    assert together == alone


FORK = """
import os, signal
import numpy as np
from tilewise import MiniBatchKMeans
X = np.random.RandomState(0).standard_normal((20_000, 30)).astype(np.float32)

def fit():
    model = MiniBatchKMeans(40, random_state=0, batch_size=9000, max_iter=5, n_threads=2).fit(X)
    return model.inertia_, model.partial_fit(X).cluster_centers_.tobytes()

before = fit()
child = os.fork()
if not child:
    signal.alarm(80)
    os._exit(0 if fit() == before else 3)
assert os.waitpid(child, 0)[1] == 0
assert fit() == before
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_fit_after_fork():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import numpy as np
from tilewise import MiniBatchKMeans
X = np.random.RandomState(0).standard_normal((300_000, 32)).astype(np.float32)
model = MiniBatchKMeans(64, random_state=0, batch_size=int(sys.argv[1]), n_threads=2,
                        max_iter=int(sys.argv[2]), max_no_improvement=None)

def again():
    global kept
    kept = {name: id(value) for name, value in vars(model).items() if name.endswith("s_")}
    model.fit(X)

print(interrupted(again))
assert {name: id(value) for name, value in vars(model).items() if name.endswith("s_")} == kept
"""


@pytest.mark.timeout(600)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sends SIGINT to itself")
@pytest.mark.parametrize(("batch_size", "max_iter"), [(100, 2), (300_000, 40)])
def test_ctrl_c_ends_a_fit_and_keeps_the_model(batch_size, max_iter):
    # The signal comes after some 15 % of the work: who cannot be interrupted does the rest.
    assert share_after_ctrl_c(INTERRUPTED, batch_size, max_iter) < 0.5

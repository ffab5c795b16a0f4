"""What scikit-learn's tools expect of an estimator: clones, pickles, frames, routing, tags."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from cluster_data import blobs
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans as PeerKMeans
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import tilewise
from tilewise import KMeans

ALL_PARAMETERS = {
    "n_clusters": 3,
    "init": "random",
    "n_init": 2,
    "max_iter": 7,
    "tol": 1e-3,
    "verbose": 0,
    "random_state": 5,
    "copy_x": False,
    "algorithm": "elkan",
    "chunk_size": 64,
    "n_threads": 1,
    "engine": "blas",
    "device": "cpu",
    "memory_limit": "1GB",
    "init_size": 100,
    "checkpoint": None,
}


def test_parameters_are_scikit_learns_and_some_more():
    ours, theirs = KMeans().get_params(), PeerKMeans().get_params()
    added = {"chunk_size": "auto", "n_threads": None, "engine": "auto", "device": "auto"}
    added |= {"memory_limit": None, "init_size": None, "checkpoint": None}
    assert ours == {**theirs, **added}
    assert set(ALL_PARAMETERS) == set(ours)
    with pytest.raises(TypeError, match="positional"):
        KMeans(3, "random")


def test_clones_and_set_params_keep_every_parameter():
    model = KMeans(**ALL_PARAMETERS).fit(blobs())
    copy = clone(model)
    assert copy.get_params() == ALL_PARAMETERS
    assert not hasattr(copy, "labels_")
    assert KMeans().set_params(**ALL_PARAMETERS).get_params() == ALL_PARAMETERS
    assert np.array_equal(copy.fit(blobs()).labels_, model.labels_)


def test_fitted_attributes_are_scikit_learns_and_the_plan():
    X = pd.DataFrame(blobs(), columns=list("abcde"))
    ours = {name for name in vars(KMeans().fit(X)) if name.endswith("_")}
    theirs = {name for name in vars(PeerKMeans().fit(X)) if name.endswith("_")}
    assert ours == theirs | {"chunk_plan_"}


def test_the_plan_is_the_one_that_the_parameters_ask_for():
    plan = KMeans(4, chunk_size=96, n_threads=1).fit(blobs(1000)).chunk_plan_
    assert plan.chunk_rows == 96
    assert plan.n_threads == 1


# Pickles ---------------------------------------------------------------------------------------


def reloaded(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pickle.loads(pickle.dumps(model))


def test_pickles_keep_the_model_and_record_the_version():
    X = blobs()
    model = KMeans(4, random_state=0).fit(X)
    assert model.__getstate__()["_tilewise_version"] == tilewise.__version__
    copy = reloaded(model)
    assert copy.get_params() == model.get_params()
    assert np.array_equal(copy.predict(X), model.labels_)
    assert copy.inertia_ == model.inertia_
    assert vars(copy).keys() == vars(model).keys()
    assert repr(copy.chunk_plan_) == repr(model.chunk_plan_)
    assert reloaded(KMeans(3)).get_params() == KMeans(3).get_params()


@pytest.mark.parametrize("version", ["0.0.1", None])
def test_pickles_of_other_versions_warn(version):
    state = KMeans(4, random_state=0).fit(blobs()).__getstate__()
    state["_tilewise_version"] = version
    if version is None:
        del state["_tilewise_version"]
    model = KMeans.__new__(KMeans)
    before = dict(state)
    with pytest.warns(InconsistentVersionWarning) as record:
        model.__setstate__(state)
    message = str(record[0].message)
    assert message.startswith(f"KMeans was pickled by tilewise {version or 'of unknown version'}")
    assert f"loaded by tilewise {tilewise.__version__}" in message
    assert state == before
    assert not hasattr(model, "_tilewise_version")
    assert model.n_clusters == 4


# Frames and names ------------------------------------------------------------------------------


def test_names_of_the_features():
    X = pd.DataFrame(blobs(), columns=[f"x{i}" for i in range(5)])
    model = KMeans(3, random_state=0).fit(X)
    assert model.get_feature_names_out().tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    assert model.n_features_in_ == 5
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X.to_numpy())
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"x0": "other"}))


@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_output_as_a_data_frame(method):
    X = pd.DataFrame(blobs(), index=np.arange(240) + 1000)
    model = KMeans(3, random_state=0).set_output(transform="pandas").fit(X)
    frame = getattr(model, method)(X)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert frame.index.equals(X.index)
    plain = KMeans(3, random_state=0).fit(X).transform(X)
    assert np.array_equal(frame.to_numpy(), plain)


@pytest.mark.parametrize("weighted", [False, True])
def test_convenience_methods(weighted):
    X = blobs()
    weights = np.linspace(0.1, 3, len(X)) if weighted else None
    model = KMeans(4, random_state=2).fit(X, sample_weight=weights)
    labels = KMeans(4, random_state=2).fit_predict(X, sample_weight=weights)
    assert np.array_equal(labels, model.labels_)
    distances = KMeans(4, random_state=2).fit_transform(X, sample_weight=weights)
    assert np.array_equal(distances, model.transform(X))
    assert np.array_equal(distances.argmin(axis=1), model.labels_)


# Metadata --------------------------------------------------------------------------------------


def test_weights_are_routed():
    X, weights = blobs(), np.linspace(0, 3, 240)
    with sklearn.config_context(enable_metadata_routing=True):
        model = (
            KMeans(4, random_state=0)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, sample_weight=weights)
        routed = pipeline.score(X, sample_weight=weights)
    scaled = StandardScaler().fit_transform(X)
    direct = KMeans(4, random_state=0).fit(scaled, sample_weight=weights)
    assert np.array_equal(pipeline[-1].labels_, direct.labels_)
    assert routed == direct.score(scaled, sample_weight=weights)
    assert routed != direct.score(scaled)


def test_search_over_the_number_of_clusters():
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 4]}, cv=3).fit(blobs())
    assert search.best_params_ == {"n_clusters": 4}


# Tags and documentation ------------------------------------------------------------------------


def test_tags():
    tags = KMeans().__sklearn_tags__()
    assert tags.estimator_type == "clusterer"
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert is_clusterer(KMeans())


def test_html_links_to_our_documentation():
    link = "https://tilewise.readthedocs.io/en/stable/api/tilewise.cluster.KMeans.html"
    for model in (KMeans(), KMeans(3).fit(blobs())):
        html = estimator_html_repr(model)
        assert link in html
        assert "modules/generated" not in html  # where scikit-learn documents its own

"""Names of columns: kept, compared and missed alike, wherever the rows come from."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import KMeans as SklearnKMeans
from stream_data import ArraySource

from tilewise import KMeans, MiniBatchKMeans, k_means, kmeans_plusplus

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")

NAMES = ["age", "income"]


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    ages, incomes = np.repeat([40, 70], 60), np.repeat([1000, 5000], 60)
    rows = np.column_stack([rng.normal(ages, 3), rng.normal(incomes, 30)])
    return pd.DataFrame(rows, columns=NAMES).sample(frac=1, random_state=0)


def parquet(frame, folder):
    path = folder / f"{'-'.join(map(str, frame.columns))}-{len(list(folder.iterdir()))}.parquet"
    frame.to_parquet(path)
    return path


def folder_of_two(frame, folder):
    """Parts with their columns in different orders."""
    inner = folder / f"parts-{len(list(folder.iterdir()))}"
    inner.mkdir()
    frame[:50].to_parquet(inner / "0.parquet")
    frame[50:][frame.columns[::-1]].to_parquet(inner / "1.parquet")
    return inner


def own_source(frame, folder):
    source = ArraySource(frame.to_numpy())
    source.feature_names = list(frame.columns)
    return source


def dask_frame(frame, folder):
    dd = pytest.importorskip("dask.dataframe")
    return dd.from_pandas(frame.reset_index(drop=True), npartitions=3)


NAMED = {
    "pandas": lambda frame, folder: frame,
    "table": lambda frame, folder: pa.Table.from_pandas(frame),
    "record batch": lambda frame, folder: pa.RecordBatch.from_pandas(frame),
    "list of tables": lambda frame, folder: pa.Table.from_pandas(frame).to_batches(50),
    "reader": lambda frame, folder: pa.Table.from_pandas(frame).to_reader(50),
    "dataset": lambda frame, folder: ds.dataset(parquet(frame, folder)),
    "file": parquet,
    "folder": folder_of_two,
    "frames from a callable": lambda frame, folder: lambda: iter([frame[:50], frame[50:]]),
    "own source": own_source,
    "dask frame": dask_frame,
}
UNNAMED = {
    "array": lambda frame, folder: frame.to_numpy(),
    "batches": lambda frame, folder: lambda: iter([frame.to_numpy()]),
    "source": lambda frame, folder: ArraySource(frame.to_numpy()),
    "numbers for names": lambda frame, folder: frame.set_axis([0, 1], axis=1),
}
AGAIN = [kind for kind in NAMED if kind != "reader"]


def methods(model):
    return [model.predict, model.transform, model.score]


def message_of(call, *arguments):
    with pytest.raises(ValueError, match="feature names should match") as caught:
        call(*arguments)
    return str(caught.value)


def fitted(kind, frame, folder):
    estimator = MiniBatchKMeans if kind == "reader" else KMeans
    return estimator(2, random_state=0, n_init=1).fit(NAMED[kind](frame, folder))


@pytest.mark.parametrize("kind", NAMED)
def test_names_are_kept(frame, tmp_path, kind):
    model = fitted(kind, frame, tmp_path)
    assert model.feature_names_in_.dtype == object
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_features_in_ == 2
    right = fitted("pandas", frame, tmp_path).cluster_centers_
    assert np.allclose(np.sort(model.cluster_centers_, axis=0), np.sort(right, axis=0), rtol=0.2)
    assert np.bincount(model.predict(frame)).tolist() == [60, 60]
    model.fit(frame.to_numpy())
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("change", ["order", "other", "one more"])
def test_errors_are_those_of_scikit_learn(frame, tmp_path, kind, change):
    changed = {
        "order": frame[NAMES[::-1]],
        "other": frame.rename(columns={"age": "x"}),
        "one more": frame.assign(more=1.0),
    }[change]
    expected = message_of(SklearnKMeans(2, n_init=1).fit(frame).predict, changed)
    expected = expected.rstrip("\n")
    for model in (fitted("pandas", frame, tmp_path), fitted("file", frame, tmp_path)):
        for method in methods(model):
            if kind == "reader" and method == model.score:
                continue
            assert message_of(method, NAMED[kind](changed, tmp_path)).rstrip("\n") == expected
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                method(NAMED["table" if kind == "reader" else kind](frame, tmp_path))


@pytest.mark.parametrize("kind", AGAIN)
def test_names_on_one_side_only(frame, tmp_path, kind):
    named = fitted(kind, frame, tmp_path)
    plain = KMeans(2, random_state=0, n_init=1).fit(frame.to_numpy())
    for unnamed in UNNAMED.values():
        for method in methods(named):
            with pytest.warns(UserWarning, match="X does not have valid feature names, but KMeans"):
                method(unnamed(frame, tmp_path))
    for method in methods(plain):
        with pytest.warns(UserWarning, match="X has feature names, but KMeans was fitted without"):
            method(NAMED[kind](frame, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for unnamed in UNNAMED.values():
            plain.predict(unnamed(frame, tmp_path))


@pytest.mark.parametrize("kind", ["pandas", "table", "record batch", "dask frame"])
def test_batches_one_by_one(frame, tmp_path, kind):
    model = MiniBatchKMeans(2, random_state=0).partial_fit(NAMED[kind](frame, tmp_path))
    assert model.feature_names_in_.tolist() == NAMES
    centers = model.cluster_centers_.copy()
    for other in ("pandas", kind):
        message_of(model.partial_fit, NAMED[other](frame[NAMES[::-1]], tmp_path))
    assert np.array_equal(model.cluster_centers_, centers)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.partial_fit(frame.to_numpy())
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_steps_ == 2


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("kind", ["file", "folder", "dataset", "dask frame"])
def test_names_of_mini_batches_and_pipelines(frame, tmp_path, estimator, kind):
    model = estimator(2, random_state=0, n_init=1)
    model.fit_predict(NAMED[kind](frame, tmp_path))
    assert model.feature_names_in_.tolist() == NAMES
    assert model.get_feature_names_out().tolist() == [
        f"{estimator.__name__.lower()}{i}" for i in range(2)
    ]
    assert model.set_output(transform="pandas").transform(frame).index.equals(frame.index)


@pytest.mark.parametrize("kind", ["table", "record batch", "dask frame"])
def test_functions_leave_the_index_out(frame, tmp_path, kind):
    X, given = frame.to_numpy(), NAMED[kind](frame, tmp_path)
    assert np.array_equal(
        kmeans_plusplus(given, 2, random_state=0)[0], kmeans_plusplus(X, 2, random_state=0)[0]
    )
    assert k_means(given, 2, random_state=0)[2] == k_means(X, 2, random_state=0)[2]


def test_a_model_that_was_put_together_by_hand(frame, tmp_path):
    model = KMeans(2)
    model.cluster_centers_ = np.array([[40.0, 1000.0], [70.0, 5000.0]])
    expected = (frame["age"] > 55).to_numpy()
    with pytest.warns(UserWarning, match="X has feature names"):
        assert np.array_equal(model.predict(parquet(frame, tmp_path)), expected)


def test_a_checkpoint_knows_the_columns(frame, tmp_path):
    paths = [parquet(frame, tmp_path), parquet(frame[NAMES[::-1]], tmp_path)]

    def fit(path, checkpoint, **kind):
        return KMeans(2, random_state=0, n_init=1, checkpoint=checkpoint, **kind).fit(path)

    class Stop(Exception):
        pass

    from tilewise.cluster import _checkpoint

    class Stopping(_checkpoint.Checkpoint):
        def write(self, **arrays):
            super().write(**arrays)
            raise Stop

    place = tmp_path / "state.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "Checkpoint", Stopping)
        with pytest.raises(Stop):
            fit(paths[0], place)
    with pytest.raises(ValueError, match="written by another fit"):
        fit(paths[1], place)
    assert fit(paths[0], place).feature_names_in_.tolist() == NAMES


def test_missing_values_of_an_arrow_table_are_named(frame):
    table = pa.table({"a": [1.0, None, 2.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"row 1, column 'a': is null"):
        MiniBatchKMeans(2).partial_fit(table)


def test_coordinates_of_xarray(frame):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask.array")
    array = xr.DataArray(frame.to_numpy(), dims=("row", "column"), coords={"column": NAMES})
    for given in (array, array.chunk({"row": 50})):
        model = KMeans(2, random_state=0, n_init=1).fit(given)
        assert model.feature_names_in_.tolist() == NAMES
        assert hasattr(model, "stream_plan_") == (given is not array)
        assert np.array_equal(model.predict(frame), model.labels_)
        for other in (array[:, ::-1], array.chunk({"row": 50})[:, ::-1]):
            message_of(model.predict, other)
    bare = xr.DataArray(frame.to_numpy(), dims=("row", "column"))
    assert not hasattr(KMeans(2).fit(bare), "feature_names_in_")

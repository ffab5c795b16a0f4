"""Rows of dask data frames and of delayed objects, with and without a cluster."""

import json
import os
from unittest.mock import patch

import numpy as np
import pytest
from source_data import read_in_parts, rows_of

from tilewise import KMeans
from tilewise.sources import SourceError, as_source, names_of

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")


@pytest.fixture
def X():
    return rows_of(60, 3, "f8")


def in_partitions(X, count=4, names=("a", "b", "c"), **how):
    return dd.from_pandas(pd.DataFrame(X, columns=names, **how), npartitions=count, sort=False)


def test_any_part_of_a_frame(X):
    source = as_source(in_partitions(X))
    assert (source.n_rows, source.one_shot, source.dtype) == (None, False, np.float64)
    for rows in (7, 60, 100):
        assert read_in_parts(source, rows).tobytes() == X.tobytes()
    assert source.n_rows == 60
    assert "partition" in source.locate(59)
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
    assert source.fingerprint() == as_source(in_partitions(X)).fingerprint()
    assert source.fingerprint() != as_source(in_partitions(X) + 1).fingerprint()


def test_an_index_is_no_feature(X):
    frame = in_partitions(X, index=pd.Index(np.arange(60)[::-1], name="id"))
    source = as_source(frame)
    assert names_of(source) == ("a", "b", "c")
    assert read_in_parts(source, 7).tobytes() == X.tobytes()


def test_opening_computes_nothing(X):
    seen = []

    def noted(part):
        seen.append(len(part))
        return part

    frame = in_partitions(X).map_partitions(noted, meta=pd.DataFrame(X[:0], columns=list("abc")))
    del seen[:]
    source = as_source(frame)
    assert seen == []
    source.read(0, np.empty((1, 3)))
    assert seen == [15]


def test_only_one_partition_is_in_memory(X):
    model = KMeans(2, random_state=0, memory_limit="64MiB").fit(in_partitions(X))
    assert model.stream_plan_ is not None
    assert as_source(in_partitions(X)).held_bytes < X.nbytes
    expected = KMeans(2, random_state=0).fit(pd.DataFrame(X, columns=list("abc")))
    assert np.array_equal(model.labels_, expected.labels_)
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()


def test_types_of_columns(X):
    small = in_partitions(X.astype("f4"))
    assert as_source(small).dtype == np.float32
    assert as_source(small.astype({"a": "int8"})).dtype == np.float64
    assert as_source(in_partitions(X), dtype="f4").dtype == np.float32
    nullable = as_source(in_partitions(X).astype({"a": "Int64", "b": "Float32"}))
    assert read_in_parts(nullable, 7).tobytes() == X.tobytes()
    sparse = as_source(in_partitions(X.astype("f4")).astype("Sparse[float32]"))
    assert sparse.dtype == np.float32
    assert read_in_parts(sparse, 7).tobytes() == X.astype("f4").tobytes()
    with pytest.raises(SourceError, match=r"column 'b' is of type .*, not numbers; leave it out"):
        as_source(in_partitions(X).astype({"b": str}))
    with pytest.raises(SourceError, match="no columns"):
        as_source(in_partitions(X)[[]])
    with pytest.raises(SourceError, match=r"one column.*to_frame"):
        as_source(in_partitions(X)["a"])


def test_chosen_columns(X):
    source = as_source(in_partitions(X).assign(text="x"), columns=["c", "a"])
    assert names_of(source) == ("c", "a")
    assert read_in_parts(source, 7).tobytes() == X[:, [2, 0]].tobytes()
    with pytest.raises(SourceError, match="no column named 'd'"):
        as_source(in_partitions(X), columns=["d"])


def test_partitions_in_another_order(X):
    parts = [pd.DataFrame(X[:20], columns=list("abc")), pd.DataFrame(X[20:], columns=list("abc"))]
    turned = [parts[0], parts[1][["c", "a", "b"]]]
    made = [dask.delayed(part) for part in turned]
    frame = dd.from_delayed(made, meta=parts[0][:0], verify_meta=False)
    assert read_in_parts(as_source(frame), 7).tobytes() == X.tobytes()
    assert read_in_parts(as_source(made), 7).tobytes() == X.tobytes()
    other = [dask.delayed(parts[0]), dask.delayed(parts[1].rename(columns={"c": "x"}))]
    for given in (other, dd.from_delayed(other, meta=parts[0][:0], verify_meta=False)):
        with pytest.raises(SourceError, match=r"partition 1: .*'x'.*'c'"):
            read_in_parts(as_source(given), 7)


def test_delayed_objects(X):
    parts = [dask.delayed(X[:20]), dask.delayed(X[20:20]), dask.delayed(X[20:])]
    for given in (parts, tuple(parts), dask.delayed(X)):
        source = as_source(given)
        assert (source.n_features, source.one_shot) == (3, False)
        for _ in range(2):
            assert read_in_parts(source, 7).tobytes() == X.tobytes()
        assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
    model = KMeans(2, random_state=0, n_init=1).fit(parts)
    assert np.array_equal(model.labels_, KMeans(2, random_state=0, n_init=1).fit(X).labels_)
    with pytest.raises(SourceError, match=r"item 1 is ndarray; wrap it with dask.delayed"):
        as_source([parts[0], X])
    with pytest.raises(SourceError, match="reshape"):
        as_source([dask.delayed(X[:, 0])])


def test_a_part_that_fails(X):
    def failing():
        raise OSError("the disk is gone")

    source = as_source([dask.delayed(X), dask.delayed(failing)()])
    with pytest.raises(SourceError, match=r"partition 1 .from row 60 on.*the disk is gone"):
        read_in_parts(source, 7)


# ---------------------------------------------------------------- on a cluster


@pytest.fixture(params=[False, True], ids=["threads", "nanny"])
def client(request):
    distributed = pytest.importorskip("distributed")
    kind = {"n_workers": 1, "threads_per_worker": 1, "processes": request.param}
    # A nanny sets variables in this process too.
    with (
        patch.dict(os.environ),
        distributed.LocalCluster(dashboard_address=None, **kind) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def label_twice(X):
    model = KMeans(2, random_state=0, n_init=1).fit(X)
    assert (model.predict(X) == model.labels_).all()
    return model.labels_


@pytest.mark.slow
def test_what_a_cluster_holds(client, X):
    expected = label_twice(X)
    array, frame = da.from_array(X, chunks=(25, 3)) + 0, in_partitions(X)
    futures = client.scatter([X[:20], X[20:]])
    for given in (
        array, array.persist(), array.persist() * 1, array[array[:, 0] > -1].persist(), frame,
        frame.persist(), frame.persist() * 1, futures, dask.persist(*map(dask.delayed, futures)),
        da.from_delayed(dask.delayed(client.scatter(X)), X.shape, X.dtype),
    ):  # fmt: skip
        assert np.array_equal(label_twice(given), expected)


@pytest.mark.slow
def test_tasks_that_wait_for_the_cluster(client, X):
    """The worker has one thread, and the task that has it needs others to run."""

    def task(X):  # defined here, so that it travels by value: workers do not have this module
        from tilewise import KMeans

        model = KMeans(2, random_state=0, n_init=1).fit(X)
        assert (model.predict(X) == model.labels_).all()
        return model.labels_

    expected = task(X)
    array, frame = da.from_array(X, chunks=(25, 3)) + 0, in_partitions(X)
    for given in (array.persist(), array.persist() * 1, frame.persist(), array):
        found = client.submit(task, given).result(timeout=60)
        assert np.array_equal(found, expected)

"""Neighbours of the rows of dask collections: the bits of the plain functions, lazily."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
from dask_cases import (
    CALL_IDS,
    CALLS,
    COLUMNS,
    KINDS,
    ROWS,
    SIZES,
    array_of,
    assert_same,
    check,
    cut,
    da,
    dask,
    dd,
    delayed_of,
    frame_of,
    one_norm,
    pd,
    rows_x,
    rows_y,
    tw,
    unknown,
)

import tilewise
from tilewise import metrics

NAMES = ("argkmin", "pairwise_distances_argmin", "pairwise_distances_argmin_min",
         "radius_neighbors")  # fmt: skip


@pytest.fixture
def X():
    return rows_x()


@pytest.fixture
def Y():
    return rows_y()


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("call", CALLS, ids=CALL_IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_of_memory(X, Y, kind, call):
    for promised in check(KINDS[kind](X), X, Y, *call):
        if kind == "array":
            assert promised.chunks[0] == SIZES
        else:
            assert len(promised.chunks[0]) == len(SIZES)
            assert np.isnan(promised.chunks[0]).all()


@pytest.mark.parametrize("call", CALLS, ids=CALL_IDS)
def test_partitions_in_another_order(X, Y, call):
    order = [4, 1, 5, 0, 3, 2]
    parts = [cut(X)[index] for index in order]
    given = da.concatenate([array_of(X).blocks[index] for index in order])
    check(given, np.concatenate(parts), Y, *call)
    check([delayed_of(X)[index] for index in order], np.concatenate(parts), Y, *call)


@pytest.mark.parametrize("sizes", [(60,), (30, 30), (1,) * 60, (0, 60, 0), (59, 1)])
@pytest.mark.parametrize("kind", [array_of, frame_of, delayed_of])
def test_any_partitions(X, Y, kind, sizes):
    for call in CALLS[::3]:
        check(kind(X, sizes), X, Y, *call)


def test_no_rows_at_all(Y):
    nothing = np.empty((0, COLUMNS))
    for given in (da.from_array(nothing), frame_of(nothing, (0, 0)), delayed_of(nothing, (0, 0))):
        distances, indices = dask.compute(*tw.argkmin(given, Y, 2))
        assert (distances.shape, distances.dtype) == ((0, 2), np.float64)
        assert (indices.shape, indices.dtype) == ((0, 2), np.intp)
        graph = tw.radius_neighbors(given, Y, 1.0, return_as="csr").compute()
        assert isinstance(graph, sp.csr_matrix)
        assert graph.shape == (0, 9)


@pytest.mark.parametrize("call", CALLS, ids=CALL_IDS)
def test_tasks_side_by_side(X, Y, call):
    with dask.config.set(scheduler="threads", num_workers=4):
        check(array_of(X), X, Y, *call)
        check(frame_of(X), X, Y, *call)


# ---------------------------------------------------------------- types and layouts


@pytest.mark.parametrize("y_kind", ["f4", "f8", "f2", "i8"])
@pytest.mark.parametrize("x_kind", ["f4", "f8", "f2", "i1", "u1", "u8", "?", ">f4", ">f8"])
def test_types(X, Y, x_kind, y_kind):
    X, Y = (np.abs(rows * 20).astype(kind) for rows, kind in ((X, x_kind), (Y, y_kind)))
    for call in CALLS[::3]:
        check(array_of(X), X, Y, *call)
        check(unknown(array_of(X)), X, Y, *call)


def test_types_of_columns(X, Y):
    frame = pd.DataFrame((X * 20).round().astype("f4"), columns=list("abcde"))
    mixed = frame.astype({"a": "i1", "b": "Float32", "c": "Int16", "d": "bool"})
    kinds = ["f2", "i1", {"a": "i1"}, {"a": "i8"}, "Float32"]
    # dask takes sparse columns for dense ones of the same numbers that it has seen.
    sparse = (frame * 2).astype("Sparse[float32]")
    for whole in (frame, mixed, sparse, *map(frame.astype, kinds)):
        given = dd.from_pandas(whole, npartitions=4)
        for rows in (Y, Y.astype("f4")):
            check(given, whole, rows, "argkmin", (2,), {})
            check(given, whole, rows, "pairwise_distances_argmin_min", (), {"metric": "cosine"})


def test_parts_of_several_types(X, Y):
    kinds = ("f4", "f8", "f2", "i1", "u1")
    parts = [np.abs(X[row : row + 10]).astype(kind) for row, kind in zip((0, 10, 20, 30, 40), kinds,
                                                                         strict=True)]  # fmt: skip
    whole = np.concatenate(parts)
    assert whole.dtype == np.float64
    for call in CALLS:
        check([dask.delayed(part) for part in parts], whole, Y, *call)


def test_parts_have_the_type_of_a_float32_y(X, Y):
    single = X.astype("f4")
    for call in CALLS[::3]:
        check(delayed_of(single), single, Y.astype("f4"), *call)
        check(delayed_of(single), single, Y, *call)
    wrong = [dask.delayed(single[:10]), dask.delayed(X[10:])]
    lazy = tw.argkmin(wrong, Y.astype("f4"), 2)
    with pytest.raises(ValueError, match=r"partition 1 of X: the rows are float64.*pass Y as f"):
        dask.compute(*lazy)


def test_what_dask_says_of_the_type_is_wrong(X, Y):
    single = X.astype("f4")
    said = array_of(single).map_blocks(np.asarray, dtype="f8", meta=np.empty((0, 0)))
    assert said.dtype == np.float64
    check(said, X.astype("f4").astype("f8"), Y.astype("f4"), "argkmin", (3,), {})
    said = array_of(X).map_blocks(np.asarray, dtype="f4", meta=np.empty((0, 0), "f4"))
    lazy = tw.argkmin(said, Y.astype("f4"), 3)
    with pytest.raises(ValueError, match=r"partition \d of X.*the rows are float64"):
        dask.compute(*lazy)


@pytest.mark.parametrize("call", CALLS[::3])
def test_layouts_of_blocks(X, Y, call):
    def read_only(part):
        part = part.copy()
        part.flags.writeable = False
        return part

    for change in (
        np.asfortranarray,
        read_only,
        lambda part: part[::-1][::-1],
        lambda part: np.repeat(part, 2, axis=1)[:, ::2],
        sp.csr_matrix,
        sp.coo_matrix,
        np.ma.masked_array,
        lambda part: part.tolist(),
    ):
        check(array_of(X).map_blocks(change, meta=np.empty((0, 0))), X, Y, *call)
        check([dask.delayed(change)(part) for part in cut(X, (10, 50))], X, Y, *call)


@pytest.mark.parametrize("offset", [1e8, -1e15, 1e150, 1e300])
def test_huge_numbers(X, Y, offset):
    for call in CALLS:
        check(array_of(X + offset), X + offset, Y + offset, *call)
        check(array_of(X * offset), X * offset, Y * offset, *call)


def test_kinds_of_y(X, Y):
    frame = pd.DataFrame(Y, columns=list("abcde"))
    for rows in (Y.tolist(), frame, sp.csr_matrix(Y), sp.coo_matrix(Y), np.asfortranarray(Y)):
        check(array_of(X), X, rows, "argkmin", (3,), {})
        check(frame_of(X), X, rows, "radius_neighbors", (2.0,), {})


def test_y_may_change_after_the_call(X, Y):
    given = Y.copy()
    lazy = tw.argkmin(array_of(X), given, 3)
    given[:] = 0
    assert_same(dask.compute(*lazy), tilewise.argkmin(X, Y, 3))


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("metric", "parameters"),
    [
        *[(name, None) for name in metrics.METRICS if name != "inner_product"],
        ("l2", {"squared": True}),
        ("sqeuclidean", {"w": [1, 2, 0, 3, 0.5]}),
        ("minkowski", {"p": 3}),
        ("p", {"p": 1.5, "w": np.arange(5.0)}),
        ("correlation", None),
        ("seuclidean", {"V": np.arange(1.0, 6.0)}),
        (one_norm, None),
    ],
)
def test_metrics(X, Y, metric, parameters):
    more = {"metric": metric, "metric_kwargs": parameters}
    for kind in (array_of, frame_of, delayed_of):
        check(kind(X), X, Y, "argkmin", (4,), more)
        check(kind(X), X, Y, "pairwise_distances_argmin_min", (), more)
        check(kind(X), X, Y, "radius_neighbors", (1.5,), more)


def test_products(X, Y):
    more = {"metric": "inner_product"}
    check(array_of(X), X, Y, "argkmin", (4,), more)
    with pytest.raises(ValueError, match="similarity"):
        tw.radius_neighbors(array_of(X), Y, 1.0, **more)


def test_missing_values(X, Y):
    X, Y = X.copy(), Y.copy()
    X[::3, 1] = X[10] = Y[4, 2] = np.nan
    more = {"metric": "nan_euclidean"}
    for kind in (array_of, frame_of, delayed_of):
        check(kind(X), X, Y, "argkmin", (4,), more)
        check(kind(X), X, Y, "pairwise_distances_argmin_min", (), more)
    X[50, 3] = np.inf
    with pytest.raises(ValueError, match=r"partition 5 of X.*infinity.*row 2, column 3"):
        tw.pairwise_distances_argmin(array_of(X), Y, **more).compute()


@pytest.mark.filterwarnings("ignore:Data was converted to boolean")
def test_truth_values(Y):
    X = np.random.RandomState(2).uniform(size=(ROWS, COLUMNS)) > 0.5
    check(array_of(X), X, Y > 0, "argkmin", (2,), {"metric": "jaccard"})


# ---------------------------------------------------------------- laziness


SEEN = []


def noted(part):
    """Note which partitions are computed, by their rows, and how often."""
    SEEN.append(len(part))
    return part


def test_nothing_is_computed_at_the_call(X, Y):
    array = array_of(X).map_blocks(noted, meta=X[:0])
    frame = frame_of(X).map_partitions(noted, meta=pd.DataFrame(X[:0], columns=list("abcde")))
    parts = [dask.delayed(noted)(part) for part in cut(X)]
    del SEEN[:]
    for given in (array, unknown(array), frame, parts):
        for name, args, more in CALLS:
            getattr(tw, name)(given, Y, *args, **more)
    assert SEEN == []
    for given in (array, frame, parts):
        lazy = tw.argkmin(given, Y, 2)
        dask.compute(*lazy)
        assert sorted(SEEN) == sorted(SIZES)
        del SEEN[:]
        lazy[1].blocks[5].compute()
        # Delayed parts take their names from the first.
        assert sorted(SEEN) == ([7, 12] if given is parts else [12])
        del SEEN[:]


def test_y_is_sent_once_and_results_are_named_by_what_they_are(X, Y):
    lazy = tw.argkmin(array_of(X), Y, 2)[1]
    again = tw.argkmin(array_of(X), Y.copy(), 2)[1]
    assert lazy.name == again.name
    assert lazy.name.startswith("argkmin-")
    others = [
        tw.argkmin(array_of(X), Y + 1, 2)[1],
        tw.argkmin(array_of(X), Y, 3)[1],
        tw.argkmin(array_of(X), Y, 2)[0],
    ]
    assert len({lazy.name, *(other.name for other in others)}) == 4
    # One task of the graph holds Y; each of the others is small.
    many = Y.repeat(100, axis=0)
    lazy = tw.argkmin(da.zeros((22, COLUMNS), chunks=(1, COLUMNS)), many, 2)[1]
    sizes = sorted(len(pickle.dumps(task)) for task in dict(lazy.dask).values())
    assert sizes[-1] > many.nbytes > 10 * sizes[-2]


def test_threads_are_asked_for_in_the_task(X, Y):
    seen = []

    def said(X, Y, **parameters):
        seen.append(parameters["n_threads"])
        return tilewise.argkmin(X, Y, **parameters)

    for asked in (None, 2):
        with patch.object(metrics, "argkmin", said):
            lazy = tw.argkmin(array_of(X), Y, 2, n_threads=asked)
        dask.compute(*lazy)
        assert set(seen) == {asked}
        del seen[:]


# ---------------------------------------------------------------- on a cluster


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    # A nanny sets variables in this process too.
    with (
        patch.dict(os.environ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_on_workers(client, X, Y, kind):
    with client.as_current(), dask.config.set(scheduler=client):
        for call in CALLS[::2]:
            check(KINDS[kind](X), X, Y, *call)


@pytest.mark.slow
def test_futures_and_persisted_collections(client, X, Y):
    with client.as_current(), dask.config.set(scheduler=client):
        futures = client.map(lambda part: part, cut(X), pure=False)
        persisted = array_of(X).persist()
        stays = frame_of(X).persist()
        for call in CALLS[::2]:
            for given in (futures, tuple(futures), persisted, unknown(persisted), stays):
                check(given, X, Y, *call)
            check(futures[0], X[:7], Y, *call)
        # Results may stay on the workers too.
        lazy = tw.argkmin(persisted, Y, 3)
        kept = client.persist(lazy)
        assert_same(tuple(client.gather(client.compute(kept))), tilewise.argkmin(X, Y, 3))


@pytest.mark.slow
def test_an_error_comes_back_from_a_worker(client, X, Y):
    X = X.copy()
    X[49, 3] = np.nan
    lazy = tw.pairwise_distances_argmin(array_of(X), Y)
    with pytest.raises(ValueError, match=r"partition 5 of X.*row 1, column 3 of the partition"):
        client.compute(lazy).result()


# ---------------------------------------------------------------- what is imported


def run(program):
    folder = str(Path(tilewise.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


@pytest.mark.parametrize("missing", ["dask", "distributed"])
def test_without_the_package(missing):
    done = run(f"import sys; sys.modules[{missing!r}] = None; import tilewise.dask")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        'ImportError: tilewise.dask needs dask and distributed; run: pip install "tilewise[dask]"'
    )


def test_tilewise_does_not_import_dask():
    done = run("import sys, tilewise; print('dask' in sys.modules, 'tilewise.dask' in sys.modules)")
    assert done.stdout.split() == ["False", "False"]


def test_names():
    others = {"ClusterPlan", "ClusterReport", "KMeans", "MiniBatchKMeans"}
    assert set(NAMES) | others == set(tw.__all__)

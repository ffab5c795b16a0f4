"""KMeans over sources: the model of the same rows in memory."""

import re
import tracemalloc
import warnings

import numpy as np
import pytest
from stream_data import ArraySource, clouds

from tilewise import KMeans
from tilewise.plan import parse_bytes, plan, plan_stream, sample_rows
from tilewise.sources import SourceError


def bits(model):
    return (
        model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_, model.n_iter_,
        model.cluster_centers_.dtype,
    )  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Rows, the file that they are in, and a folder of shards."""
    folder = tmp_path_factory.mktemp("rows")
    X = clouds(12_000, 9)
    np.save(folder / "X.npy", X)
    (folder / "shards").mkdir()
    for i, part in enumerate(np.array_split(X, [5000, 5001, 9000])):
        np.save(folder / "shards" / f"part-{i}.npy", part)
    return X, folder


def ways(X, folder):
    """The same rows from elsewhere."""
    shards = sorted((folder / "shards").iterdir())
    return {
        "path": str(folder / "X.npy"),
        "pathlike": folder / "X.npy",
        "folder": folder / "shards",
        "shards": shards,
        "batches": lambda: (X[i : i + 777] for i in range(0, len(X), 777)),
        "source": ArraySource(X),
        "sequential": ArraySource(X, random_access=False),
        "unknown": ArraySource(X, random_access=False, known=False),
    }


@pytest.mark.parametrize(
    "way",
    ["path", "pathlike", "folder", "shards", "batches", "source", "sequential", "unknown"],
)
def test_all_ways_to_give_rows(saved, way):
    X, folder = saved
    model = KMeans(8, random_state=0, max_iter=12).fit(X)
    source = ways(X, folder)[way]
    streamed = KMeans(8, random_state=0, max_iter=12).fit(source)
    assert bits(streamed) == bits(model)
    assert streamed.n_features_in_ == 9
    np.testing.assert_array_equal(streamed.predict(source), model.labels_)
    np.testing.assert_array_equal(streamed.transform(source), model.transform(X))
    assert streamed.score(source) == model.score(X)
    assert streamed.stream_report_.rows >= 12_000 * (model.n_iter_ + 1)


def permuted(X, k, random_state):
    return X[random_state.permutation(len(X))[:k]]


@pytest.mark.parametrize(
    "parameters",
    [
        {"init": "random", "n_init": 2},
        {"n_init": 3, "max_iter": 4},
        {"init": permuted},
        {"init_size": "all", "n_clusters": 5},
        {"init_size": "all", "init": "random"},
        {"init": "k-means||", "n_init": 2},
        {"init": "k-means||", "init_size": "all", "n_init": 2, "memory_limit": 3_000_000},
        {"init": "k-means||", "init_size": "all", "n_clusters": 300, "max_iter": 2},
        {"algorithm": "elkan", "tol": 0},
        {"memory_limit": 3_000_000},
        {"memory_limit": "2.8MiB", "n_threads": 1, "chunk_size": 96},
        {"engine": "blas", "n_threads": 3},
    ],
    ids=lambda named: str(
        {name: getattr(value, "__name__", value) for name, value in named.items()}
    ),
)
@pytest.mark.parametrize("weighted", [False, True])
def test_parameters_mean_what_they_mean_in_memory(saved, parameters, weighted):
    X, folder = saved
    weights = np.random.RandomState(1).randint(0, 3, len(X)).astype(float) if weighted else None
    parameters = {"n_clusters": 8, "random_state": 3, "max_iter": 8} | parameters
    expected = KMeans(**parameters).fit(X, sample_weight=weights)
    found = KMeans(**parameters).fit(folder / "X.npy", sample_weight=weights)
    assert bits(found) == bits(expected)
    assert found.score(folder / "X.npy", None, weights) == expected.score(X, None, weights)


@pytest.mark.parametrize("case", ["empty clusters", "one cluster per row", "duplicates"])
def test_hard_cases(tmp_path, case):
    X = {
        "empty clusters": clouds(3000, 4),
        "one cluster per row": clouds(60, 4),
        "duplicates": np.repeat(np.arange(5.0)[:, None], 500, axis=0),
    }[case]
    init = {
        "empty clusters": np.vstack([X[:3], np.full((4, X.shape[1]), 900.0)]),
        "one cluster per row": X,
        "duplicates": np.zeros((8, 1)),
    }[case]
    np.save(tmp_path / "X.npy", X)
    models = [KMeans(len(init), init=init, n_init=1, tol=0) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        results = {bits(m.fit(x)) for m, x in zip(models, (X, tmp_path / "X.npy"), strict=True)}
    assert len(results) == 1


def test_a_sample_gives_the_start_whatever_the_limit(saved, tmp_path):
    X, folder = saved
    fits = [
        KMeans(8, random_state=1, init_size=300, max_iter=5, **how).fit(folder / "X.npy")
        for how in ({}, {"memory_limit": "1.2MB"}, {"n_threads": 1}, {"verbose": 1})
    ]
    assert len({bits(model) for model in fits}) == 1
    assert bits(fits[0]) != bits(KMeans(8, random_state=1, max_iter=5).fit(X))
    assert bits(fits[0]) != bits(
        KMeans(8, random_state=2, init_size=300, max_iter=5).fit(folder / "X.npy")
    )
    with pytest.raises(ValueError, match=r"init_size=5 should be at least n_clusters=8"):
        KMeans(8, init_size=5).fit(folder / "X.npy")
    with pytest.raises(ValueError, match="callable init"):
        KMeans(8, init_size="all", init=lambda X, k, random_state: X[:k]).fit(folder / "X.npy")
    assert sample_rows(10**9, 64, 10_000, "f4") == 160_000


def test_memory_maps_are_streamed_with_a_limit_only(saved):
    X, folder = saved
    mapped = np.load(folder / "X.npy", mmap_mode="r")
    plain = KMeans(8, random_state=0, max_iter=4).fit(mapped)
    limited = KMeans(8, random_state=0, max_iter=4, memory_limit="4MB").fit(mapped)
    assert bits(plain) == bits(limited)
    assert not hasattr(plain, "stream_report_")
    assert limited.stream_plan_.memory_limit == 4_000_000
    # A fit in memory forgets what it was told of a stream.
    assert not hasattr(limited.fit(X), "stream_report_")


def test_limits_that_cannot_be_kept_say_what_the_least_is(saved):
    X, _folder = saved
    source = ArraySource(X)
    with pytest.raises(
        ValueError, match=r"12000 rows x 9 columns in 8 clusters need at least \d+ bytes"
    ) as raised:
        KMeans(8, memory_limit=1000).fit(source)
    assert source.read_rows == 0
    # What the message says is enough.
    least = int(re.search(r"need at least (\d+) bytes", str(raised.value))[1])
    KMeans(8, memory_limit=least, max_iter=1, random_state=0).fit(source)
    with pytest.raises(ValueError, match="is too small"):
        KMeans(8, memory_limit=least - 1).fit(source)
    for wrong in ("much", "0", "-1GB", "1 XB"):
        with pytest.raises(ValueError, match="is not a size"):
            KMeans(8, memory_limit=wrong).fit(source)
    # One thread: choosing the first centres takes more than a pass.
    for threads in (1, 2):
        whole = plan(12_000, 9, 8, n_threads=threads)
        least = plan_stream(whole).least_bytes
        tight = plan_stream(whole, memory_limit=least)
        assert tight.total_bytes <= least
        assert not tight.bounds
        with pytest.raises(ValueError, match="is too small"):
            plan_stream(whole, memory_limit=least - 1)


@pytest.mark.parametrize("text", ["1GB", "1 gb", "0.5GiB", 2**20, "1048576"])
def test_sizes(text):
    assert parse_bytes(text) == {
        "1GB": 10**9, "1 gb": 10**9, "0.5GiB": 2**29, 2**20: 2**20, "1048576": 2**20,
    }[text]  # fmt: skip


def test_plans_keep_their_limit_and_drop_bounds_first():
    whole = plan(10**8, 64, 256, n_threads=4)
    last = None
    for limit in (None, 2 * 10**9, 10**9, 600 * 10**6):
        found = plan_stream(whole, memory_limit=limit, max_iter=300)
        assert found.total_bytes <= (limit or np.inf)
        assert found.buffer_rows % found.piece_rows == found.piece_rows % 384 == 0
        assert found.bounds == (limit is None or limit >= 2 * 10**9)
        assert len(found.sentences()) == len(found.reasons)
        assert found.init_rows == 131_072
        last = found
    assert "dropped" in last.reasons["bounds"]
    assert "memory_limit" in last.to_dict()


def test_rows_that_come_once_are_refused(saved):
    X, _ = saved
    with pytest.raises(ValueError, match=r"once only.*callable that returns the batches"):
        KMeans(8).fit(iter([X]))
    model = KMeans(8, random_state=0, max_iter=3).fit(X)
    np.testing.assert_array_equal(model.predict(X[i : i + 100] for i in range(0, 12_000, 100)),
                                  model.labels_)  # fmt: skip
    with pytest.raises(ValueError, match="once only"):
        model.score(iter([X]))


def test_wrong_widths_and_empty_sources(saved, tmp_path):
    X, _ = saved
    model = KMeans(2, random_state=0).fit(X)
    np.save(tmp_path / "narrow.npy", X[:, :5])
    np.save(tmp_path / "empty.npy", X[:0])
    with pytest.raises(ValueError, match=r"X has 5 features, but KMeans is expecting 9"):
        model.predict(tmp_path / "narrow.npy")
    with pytest.raises(ValueError, match=r"0 sample"):
        KMeans(2).fit(tmp_path / "empty.npy")
    with pytest.raises(ValueError, match=r"n_samples=12000 should be >= n_clusters=12001"):
        KMeans(12_001).fit(ArraySource(X))


def test_a_nan_in_a_shard_is_named(saved, tmp_path):
    X, _ = saved
    parts = np.array_split(X.copy(), 10)
    parts[7][12, 3] = np.nan
    paths = [tmp_path / f"patches-{i:03}.npy" for i in range(10)]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part)
    place = r"NaN: .*patches-007\.npy, row 12, column 3"
    with pytest.raises(SourceError, match=place):
        KMeans(3).fit(paths)
    model = KMeans(3, random_state=0).fit(X)
    for call in (model.predict, model.transform, model.score):
        with pytest.raises(SourceError, match=place):
            call(paths)


class Failing(ArraySource):
    """A source that goes wrong in a later pass."""

    def __init__(self, X, after, how):
        super().__init__(X)
        self._after, self._how = after, how

    def read(self, first, out):
        if self.read_rows >= self._after:
            if self._how == "truncated":
                self.X = self.X[: first // 2]
            else:
                raise SourceError("X.npy changed while it was read", source="X.npy", row=first)
        return super().read(first, out)


@pytest.mark.parametrize(
    ("how", "said"), [("truncated", "rows end after"), ("changed", "changed while")]
)
def test_sources_that_go_wrong_in_the_second_pass(saved, how, said):
    X, _ = saved
    model = KMeans(3, random_state=0, memory_limit="3MB").fit(X)
    before = bits(model)
    with pytest.raises(SourceError, match=said):
        model.fit(Failing(X, 15_000, how))
    assert bits(model) == before


def test_callbacks_verbose_and_the_plan(saved, capsys):
    _X, folder = saved
    model = KMeans(3, random_state=0, max_iter=3, verbose=1).fit(folder / "X.npy")
    told = capsys.readouterr().out
    assert "Buffers: 2 of" in told
    assert "labels changed" in told
    assert "passes read" in told
    assert str(model.stream_report_) in told
    assert model.stream_plan_.n_samples == 12_000
    assert set(model.stream_report_.to_dict()) >= {"passes", "bound_by", "rows_per_second"}


def fitted_within(limit, path, sample_weight=None, **parameters):
    """The plan of a fit of four clusters that allocated no more than the limit."""
    model = KMeans(4, random_state=0, max_iter=4, memory_limit=limit, **parameters)
    tracemalloc.start()
    model.fit(path, sample_weight=sample_weight)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.stream_plan_.total_bytes <= model.stream_plan_.memory_limit
    assert most <= model.stream_plan_.memory_limit
    return model.stream_plan_


def test_the_memory_of_a_fit_is_planned(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, clouds(200_000, 8))
    KMeans(4, random_state=0, max_iter=2, init_size=1000).fit(path)
    for limit in ("3MB", "16MB"):
        assert fitted_within(limit, path, init_size=1000).bounds == (limit == "16MB")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init_size", [20_000, "all"])
def test_the_memory_of_k_means_parallel_is_planned(tmp_path, init_size, weighted):
    path = tmp_path / "X.npy"
    X = clouds(100_000, 8)
    np.save(path, X)
    how = {"init": "k-means||", "init_size": init_size}
    weights = np.random.RandomState(0).uniform(0, 9, len(X)) if weighted else None
    KMeans(4, random_state=0, max_iter=2, **how).fit(path, sample_weight=weights)
    with pytest.raises(ValueError, match=r"need at least \d+ bytes") as raised:
        KMeans(4, memory_limit=1000, **how).fit(path, sample_weight=weights)
    least = int(re.search(r"need at least (\d+) bytes", str(raised.value))[1])
    plan = fitted_within(least, path, weights, **how)
    assert ("k-means|| over all rows" in plan.reasons["start"]) == (init_size == "all")


def test_k_means_parallel_reads_as_often_as_its_plan_says(saved):
    X, _ = saved
    for random_access in (True, False):
        source = ArraySource(X, random_access=random_access)
        parameters = {"init": "k-means||", "init_size": "all", "random_state": 0, "max_iter": 1}
        model = KMeans(4, memory_limit="3MB", **parameters).fit(source)
        assert "up to 12 times per run" in model.stream_plan_.reasons["start"]
        # Beside these: one for the columns, one to iterate, one for labels and inertia.
        assert model.stream_report_.passes <= 12 + 3

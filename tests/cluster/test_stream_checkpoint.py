"""Fits that are taken up again end as if nothing had happened."""

import os
import subprocess
import sys

import numpy as np
import pytest
from stream_data import ArraySource, clouds

from tilewise import KMeans, MiniBatchKMeans, algorithms
from tilewise.cluster import _checkpoint

RUN = """
import os, sys
import numpy as np
from tilewise import KMeans, MiniBatchKMeans
from tilewise.cluster import _checkpoint

kind, path, checkpoint, after, result = sys.argv[1:]
write, written = _checkpoint.Checkpoint.write, []

def watched(self, **arrays):
    write(self, **arrays)
    written.append(1)
    if len(written) == int(after):
        os._exit(9)

_checkpoint.Checkpoint.write = watched
model = {
    "KMeans": KMeans(9, random_state=1, n_init=2, init="random", max_iter=9, init_size=500,
                     checkpoint=checkpoint, tol=0),
    "MiniBatchKMeans": MiniBatchKMeans(9, random_state=1, batch_size=300, max_iter=6,
                                       max_no_improvement=None, checkpoint=checkpoint),
}[kind].fit(path)
np.savez(result, centers=model.cluster_centers_, labels=model.labels_, inertia=model.inertia_,
         n_iter=model.n_iter_)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["KMeans", "MiniBatchKMeans"])
def test_a_process_that_ends_between_iterations(tmp_path, kind):
    np.save(tmp_path / "X.npy", clouds(5000, 6))
    checkpoint = tmp_path / "state.npz"

    def run(after, result):
        command = [sys.executable, "-c", RUN, kind, tmp_path / "X.npy", checkpoint, after,
                   tmp_path / result]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120
        )

    whole = run(10_000, "whole.npz")
    assert whole.returncode == 0, whole.stderr
    assert not checkpoint.exists()
    for after in (2, 3):
        assert run(after, "no.npz").returncode == 9
        assert checkpoint.exists()
    done = run(10_000, "resumed.npz")
    assert done.returncode == 0, done.stderr
    assert not checkpoint.exists()
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "resumed.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    assert not list(tmp_path.glob(".*.part"))


def interrupted_fit(monkeypatch, model, X, after):
    """Fit until the given number of states have been written, then be interrupted."""
    write, written = _checkpoint.Checkpoint.write, []

    def watched(self, **arrays):
        write(self, **arrays)
        written.append(1)
        if len(written) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "write", watched)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)


def bits(model):
    return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_, model.n_iter_


@pytest.mark.parametrize("after", [1, 3, 7])
@pytest.mark.parametrize("where", ["memory", "source"])
@pytest.mark.parametrize(
    "parameters",
    [{"n_init": 3, "init": "random", "max_iter": 3}, {"init_size": "all"}, {"tol": 0.0}],
    ids=str,
)
def test_ctrl_c_leaves_the_last_iteration(tmp_path, monkeypatch, after, where, parameters):
    X = clouds(4000, 7, clouds=2)
    weights = np.random.RandomState(0).uniform(size=len(X))
    rows = X if where == "memory" else ArraySource(X)
    parameters = {"n_clusters": 12, "random_state": 2, "checkpoint": tmp_path / "s"} | parameters
    expected = KMeans(**parameters | {"checkpoint": None}).fit(rows)
    model = KMeans(**parameters)
    interrupted_fit(monkeypatch, model, rows, after)
    assert (tmp_path / "s").exists()
    assert not hasattr(model, "labels_")
    with pytest.raises(ValueError, match=r"sample_weight was null and is"):
        model.fit(rows, sample_weight=weights)
    other = KMeans(**parameters | {"n_threads": 1, "memory_limit": "20MB", "chunk_size": 96})
    assert bits(other.fit(rows)) == bits(expected)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("where", ["memory", "source"])
def test_mini_batches_go_on(tmp_path, monkeypatch, where):
    X = clouds(4000, 7)
    rows = X if where == "memory" else ArraySource(X)
    parameters = {"n_clusters": 6, "random_state": 2, "max_iter": 5, "batch_size": 256,
                  "max_no_improvement": None}  # fmt: skip
    expected = MiniBatchKMeans(**parameters).fit(rows)
    model = MiniBatchKMeans(**parameters, checkpoint=tmp_path / "s")
    for _ in range(2):
        interrupted_fit(monkeypatch, model, rows, 2)
    assert bits(model.fit(rows)) == bits(expected)
    assert not (tmp_path / "s").exists()


def test_without_a_seed_too(tmp_path, monkeypatch):
    X = clouds(3000, 5, clouds=20)
    model = KMeans(8, n_init=2, checkpoint=tmp_path / "s", tol=0)
    starts = []
    seeding = algorithms.kmeans_plusplus
    monkeypatch.setattr(
        algorithms, "kmeans_plusplus",
        lambda *args, **how: starts.append(seeding(*args, **how)) or starts[-1],
    )  # fmt: skip
    interrupted_fit(monkeypatch, model, ArraySource(X), 2)
    everybodys = np.random.mtrand._rand
    before = everybodys.get_state()[1].copy()
    model.fit(ArraySource(X))
    np.testing.assert_array_equal(everybodys.get_state()[1], before)
    # The second run starts where the generator of the interrupted fit stood.
    assert len(starts) == 2


def test_other_fits_are_refused(tmp_path, monkeypatch):
    X = clouds(3000, 5)
    model = KMeans(4, random_state=0, tol=0, checkpoint=str(tmp_path / "s"))
    interrupted_fit(monkeypatch, model, ArraySource(X), 1)
    changed = X.copy()
    changed[0, 0] += 1
    for other, rows, said in (
        (KMeans(5, random_state=0, tol=0), X, r"parameters\.n_clusters was 4 and is 5"),
        (KMeans(4, random_state=1, tol=0), X, r"parameters\.random_state was 0 and is 1"),
        (KMeans(4, random_state=0, tol=0), changed, r"data\.source\.sum was"),
        (KMeans(4, random_state=0, tol=0), X[:-1], r"data\.shape"),
        (MiniBatchKMeans(4, random_state=0), X, r"estimator was \"KMeans\" and is \"MiniBatch"),
    ):
        other.checkpoint = str(tmp_path / "s")
        with pytest.raises(ValueError, match=said):
            other.fit(ArraySource(rows))
    (tmp_path / "s").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no checkpoint of tilewise"):
        model.fit(ArraySource(X))
    model.checkpoint = tmp_path / "no folder" / "s"
    with pytest.raises(ValueError, match="no such folder"):
        model.fit(ArraySource(X))


def test_arrays_in_memory_are_told_apart(tmp_path, monkeypatch):
    X = clouds(3000, 5)
    model = KMeans(4, random_state=0, tol=0, checkpoint=tmp_path / "s")
    interrupted_fit(monkeypatch, model, X, 1)
    with pytest.raises(ValueError, match=r"data\.values was"):
        model.fit(X + 1)


@pytest.mark.parametrize("kind", ["array", "folder", "text"])
def test_what_is_no_checkpoint_is_left_alone(tmp_path, kind):
    path = tmp_path / "state.npy"
    if kind == "array":
        np.save(path, np.ones((3, 2)))
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("notes")
    with pytest.raises(ValueError, match="is no checkpoint of tilewise"):
        KMeans(2, checkpoint=path).fit(clouds(100, 3))
    assert path.exists()

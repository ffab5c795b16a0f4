"""Lists of files and directories as one source."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of

from tilewise.sources import Prefetch, Shards, SourceError, as_source


def write(folder, sizes, n_features=4, dtype="f4"):
    X = rows_of(sum(sizes), n_features, dtype)
    paths, start = [], 0
    for index, size in enumerate(sizes):
        paths.append(os.path.join(folder, f"part-{index:03}.npy"))
        np.save(paths[-1], X[start : start + size])
        start += size
    return X, paths


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    parts=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=5),
)
def test_any_part_of_any_shards(tmp_path_factory, sizes, parts):
    X, paths = write(tmp_path_factory.mktemp("shards"), sizes)
    source = as_source(paths)
    assert source.n_rows == len(X)
    for first, count in parts:
        out = np.empty((count, 4), "f4")
        got = source.read(first, out)
        assert out[:got].tolist() == X[first : first + count].tolist()
    starts = np.cumsum([0, *sizes])
    for row in range(len(X)):
        shard = int(np.searchsorted(starts, row, "right")) - 1
        assert source.locate(row) == f"{paths[shard]}, row {row - starts[shard]}"
    with Prefetch(source, rows=7) as reader:
        found = [rows.copy() for _, rows in reader]
    assert np.concatenate([X[:0], *found]).tobytes() == X.tobytes()


def test_a_directory_in_the_order_of_names(tmp_path):
    X, _ = write(tmp_path, [5, 0, 7])
    for ignored in ("notes.txt", ".hidden.npy", "_SUCCESS.npy"):
        (tmp_path / ignored).write_text("something else")
    source = as_source(str(tmp_path))
    assert source.name == f"3 shards in {tmp_path}{os.sep}"
    assert read_in_parts(source, 5).tobytes() == X.tobytes()
    assert source.random_access
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()


def test_directories_that_are_no_shards(tmp_path):
    with pytest.raises(SourceError, match=r"neither .npy nor .parquet"):
        as_source(tmp_path)
    (tmp_path / "a.npy").touch()
    (tmp_path / "b.parquet").touch()
    with pytest.raises(SourceError, match=r"both .npy and .parquet files; pass a list"):
        as_source(tmp_path)


def test_shards_of_mixed_storage(tmp_path):
    X, paths = write(tmp_path, [5, 6], dtype="f8")
    np.save(paths[1], np.asfortranarray(X[5:]).astype(">i4"))
    assert read_in_parts(as_source(paths), 4).tobytes() == X.tobytes()


def test_a_shard_of_another_width(tmp_path):
    _, paths = write(tmp_path, [5, 6, 7])
    np.save(paths[1], rows_of(6, 3))
    with pytest.raises(SourceError, match=r"part-001.npy: columns 3, but .*part-000.npy") as caught:
        as_source(paths)
    assert caught.value.shard == paths[1]
    assert caught.value.source == f"3 shards in {tmp_path}{os.sep}"


def test_a_shard_of_another_type(tmp_path):
    _, paths = write(tmp_path, [5, 6, 7])
    np.save(paths[2], rows_of(6, 4, "f8"))
    with pytest.raises(SourceError, match=r"part-002.npy: dtype float64, but .* has float32"):
        as_source(paths)
    assert as_source(paths, dtype="f4").n_rows == 17


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_damaged_shard(tmp_path, content):
    _, paths = write(tmp_path, [5, 6])
    with open(paths[1], "wb") as file:
        file.write(content)
    with pytest.raises(SourceError, match=r"part-001.npy: (is empty|does not begin)"):
        as_source(paths)


def test_a_shard_that_is_missing(tmp_path):
    _, paths = write(tmp_path, [5, 6])
    with pytest.raises(SourceError, match=r"part-009.npy: cannot be read: no such file"):
        as_source([*paths, str(tmp_path / "part-009.npy")])


@pytest.mark.parametrize("damage", ["cut off", "removed", "touched"])
def test_a_shard_that_changes_between_passes(tmp_path, damage):
    _, paths = write(tmp_path, [50, 60, 70])
    source = as_source(paths)
    read_in_parts(source, 30)
    if damage == "cut off":
        os.truncate(paths[1], 128 + 16 * 20)
    elif damage == "removed":
        os.remove(paths[1])
    else:
        os.utime(paths[1], ns=(1, 1))
    seen = []

    def consume():
        with Prefetch(source, rows=30) as parts:
            seen.extend(first for first, _ in parts)

    with pytest.raises(SourceError, match=r"part-001.npy: (changed|cannot be read)") as caught:
        consume()
    assert seen == [0]
    assert caught.value.shard == paths[1]
    assert caught.value.source == source.name
    if damage == "cut off":
        assert caught.value.row == 50


def test_more_shards_than_files_can_be_open(tmp_path):
    resource = pytest.importorskip("resource")
    X, paths = write(tmp_path, [1] * 200)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        source = as_source(paths)
        assert read_in_parts(source, 33).tobytes() == X.tobytes()
        source.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_shards_of_any_sources(tmp_path):
    X, paths = write(tmp_path, [50, 60])
    source = Shards([as_source(paths[1]), as_source(paths[0])], "turned round")
    assert read_in_parts(source, 77).tobytes() == np.concatenate([X[50:], X[:50]]).tobytes()
    assert source.name == "turned round"
    with pytest.raises(SourceError, match="number of rows is not known"):
        Shards([as_source(lambda: [X])])
    with pytest.raises(SourceError, match="no shards"):
        Shards([])

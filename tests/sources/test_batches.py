"""Batches that a program makes, again and again or once."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of

from tilewise.sources import Prefetch, SourceError, as_source


def cut(X, sizes):
    return np.split(X, np.cumsum(sizes)[:-1])


def consume(source, rows=10):
    with Prefetch(source, rows=rows) as parts:
        return [part.copy() for _, part in parts]


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    rows=st.integers(1, 40),
    dtype=st.sampled_from(["f4", "f8", ">f4", "f2", "i4"]),
    jumps=st.lists(st.integers(0, 60), max_size=4),
)
def test_any_batches_in_any_parts(sizes, rows, dtype, jumps):
    X = rows_of(sum(sizes), 3, dtype)
    wanted = X.astype("f4" if dtype in ("f4", ">f4") else "f8")
    source = as_source(lambda: iter(cut(X, sizes)))
    assert (source.n_rows, source.one_shot, source.random_access) == (None, False, False)
    for _ in range(2):
        assert read_in_parts(source, rows).tobytes() == wanted.tobytes()
        assert source.n_rows == len(X)
    for first in jumps:
        out = np.empty((5, 3), source.dtype)
        got = source.read(first, out)
        assert out[:got].tolist() == wanted[first : first + 5].tolist()
    once = as_source(iter(cut(X, sizes)))
    assert once.one_shot
    assert read_in_parts(once, rows).tobytes() == wanted.tobytes()


def test_the_first_batch_is_looked_at_once():
    X, made = rows_of(20, 3), []

    def batches():
        made.append("started")
        yield from cut(X, [4, 16])

    source = as_source(batches)
    assert read_in_parts(source, 6).tobytes() == X.tobytes()
    assert made == ["started"]
    assert "batches()" in source.name
    told = as_source(batches, n_features=3, dtype="f4")
    assert made == ["started"]
    assert read_in_parts(told, 6).tobytes() == X.tobytes()


def test_one_shot_cannot_start_again():
    X = rows_of(20, 3)
    source = as_source(batch for batch in cut(X, [4, 16]))
    out = np.empty((5, 3), "f4")
    assert source.read(0, out) == 5
    assert source.read(8, out) == 5
    with pytest.raises(SourceError, match=r"once only.*pass a callable that returns a new"):
        source.read(0, out)
    finished = as_source(iter([X]))
    read_in_parts(finished, 50)
    assert finished.read(20, out) == 0
    with pytest.raises(SourceError, match="once only"):
        finished.read(0, out)


def test_a_callable_that_returns_what_has_been_read():
    batches = iter([rows_of(20, 3)])
    source = as_source(lambda: batches)
    read_in_parts(source, 7)
    with pytest.raises(SourceError, match="returned the same iterator again"):
        read_in_parts(source, 7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((2, 4)), "4 columns, but 3 are expected"),
        (np.ones(3), r"shape \(3,\); reshape it with \(-1, 1\)"),
        (np.ones((2, 3, 1)), "expected rows and columns"),
        (np.ones((2, 0)), "no columns"),
        (np.ones((2, 3), "f4"), "dtype float32, but the first batch was read as float64"),
        (np.ones((2, 3), "c8"), "expected real numbers, got dtype complex64"),
        (np.array([["a", "b", "c"]]), "expected real numbers"),
        (np.array([[None, 1, 2]], object), "got Python objects"),
        ((np.ones((2, 3)), np.ones(2)), "is a tuple; yield the rows alone"),
        ([[1.0, 2.0], [3.0]], "is no array of numbers"),
        (None, "expected rows and columns|Python objects"),
        (7.0, "expected rows and columns"),
    ],
)
def test_bad_batches(bad, message):
    source = as_source(lambda: iter([np.ones((5, 3)), np.ones((0, 3)), bad]))
    for _ in range(2):  # the same each time it is tried
        with pytest.raises(SourceError, match=message) as caught:
            read_in_parts(source, 10)
        assert "batch 2" in str(caught.value)
        assert caught.value.row == 5
        assert caught.value.source == source.name


def test_a_dtype_that_was_asked_for_takes_all():
    source = as_source(lambda: [np.ones((2, 3), "f8"), np.ones((2, 3), "i4")], dtype="f4")
    assert read_in_parts(source, 3).tolist() == np.ones((4, 3)).tolist()
    source = as_source(lambda: [np.ones((2, 3)), np.full((2, 3), 1e39)], dtype="f4")
    with pytest.raises(SourceError, match=r"batch 1, row 0, column 0: 1e\+39 is too large"):
        read_in_parts(source, 3)


def test_no_rows_at_all():
    for empty in (lambda: [], lambda: [np.ones((0, 3))]):
        with pytest.raises(SourceError, match="has no rows"):
            as_source(empty)
    source = as_source(lambda: [], n_features=3, dtype="f4")
    assert read_in_parts(source, 3).shape == (0, 3)
    assert source.n_rows == 0


def test_a_callable_that_returns_nothing_to_iterate_over():
    with pytest.raises(SourceError, match="must return an iterable"):
        as_source(lambda: 7)
    with pytest.raises(SourceError, match="when called without arguments"):
        as_source(lambda needed: [needed])


@pytest.mark.parametrize("error", [ValueError("no more disk"), OSError(5, "broken"), KeyError("k")])
def test_a_generator_that_raises(error):
    def batches():
        yield np.ones((5, 3))
        yield np.ones((4, 3))
        raise error

    source = as_source(batches)
    seen = []

    def run(source):
        with Prefetch(source, rows=3) as parts:
            seen.extend(first for first, _ in parts)

    for tried in (source, source):
        seen.clear()
        with pytest.raises(SourceError, match=r"batch 2 \(from row 9 on\)") as caught:
            run(tried)
        assert seen == [0, 3, 6]
        assert caught.value.__cause__ is error
        assert caught.value.row == 9
        assert type(error).__name__ in str(caught.value)
    once = as_source(batches())
    with pytest.raises(SourceError, match="batch 2"):
        run(once)
    with pytest.raises(SourceError, match="once only"):
        once.read(9, np.empty((3, 3)))


def test_an_interrupted_generator_does_not_look_like_a_short_one():
    def batches():
        yield np.ones((5, 3))
        raise KeyboardInterrupt

    source = as_source(batches())
    out = np.empty((10, 3))
    with pytest.raises(KeyboardInterrupt):
        source.read(0, out)
    with pytest.raises(SourceError, match="once only"):
        source.read(5, out)
    assert source.n_rows is None


@pytest.mark.parametrize("later", [14, 16])
def test_another_number_of_rows_in_a_later_pass(later):
    sizes = iter([15, later, 15])
    source = as_source(lambda: [rows_of(next(sizes), 3)])
    assert len(read_in_parts(source, 4)) == 15
    what = "14 rows where it had 15" if later == 14 else "more than the 15 rows"
    with pytest.raises(SourceError, match=what):
        read_in_parts(source, 15)
    assert len(read_in_parts(source, 4)) == 15


def test_batches_run_in_the_thread_that_reads():
    threads = set()

    def batches():
        threads.add(threading.current_thread().name)
        yield np.ones((5, 3))

    consume(as_source(batches, n_features=3, dtype="f8"))
    assert threads == {"tilewise-prefetch"}


def test_lists_of_lists_frames_and_views():
    pandas = pytest.importorskip("pandas")
    X = rows_of(12, 3, "f8")
    batches = [X[:4].tolist(), pandas.DataFrame(X[4:8]), np.asfortranarray(X)[8:]]
    assert read_in_parts(as_source(lambda: batches), 5).tobytes() == X.tobytes()


def test_where_a_row_lies():
    source = as_source(lambda: iter(cut(rows_of(20, 3), [4, 0, 16])))
    read_in_parts(source, 20)
    assert source.locate(3) == "rows from a callable, batch 0, row 3"
    assert source.locate(9) == "rows from a callable, batch 2, row 5"
    assert source.fingerprint()["dtype"] == "<f4"


def test_callables_that_raise_when_they_are_called():
    def batches():
        raise OSError("no such sensor")

    with pytest.raises(SourceError, match="no such sensor") as raised:
        as_source(batches)
    assert isinstance(raised.value.__cause__, OSError)

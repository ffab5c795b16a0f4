"""The reader thread: order, errors, and every way of leaving it."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import rows_of

from tilewise.sources import Prefetch, SourceError, _prefetch, aligned_empty, as_source


class Array:
    """A source over an array, written against the protocol alone."""

    one_shot = False
    random_access = True

    def __init__(self, X, fail_at=None, error=None):
        self.X = X
        self.name = "an array"
        self.n_rows, self.n_features = X.shape
        self.dtype = X.dtype
        self.row_bytes = X.itemsize * X.shape[1]
        self.fail_at, self.error = fail_at, error
        self.threads = set()

    def read(self, first, out):
        self.threads.add(threading.current_thread())
        rows = self.X[first : first + len(out)]
        if self.fail_at is not None and first + len(rows) > self.fail_at:
            raise self.error
        out[: len(rows)] = rows
        return len(rows)

    def locate(self, row):
        return f"row {row}"

    def fingerprint(self):
        return {}

    def close(self):
        pass


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "tilewise-prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert readers() == []


def test_the_array_is_a_source():
    source = Array(rows_of(3, 2))
    assert as_source(source) is source


def test_reads_in_another_thread_into_aligned_buffers():
    source = Array(rows_of(1000, 7))
    places, seen = set(), []
    with Prefetch(source, rows=64) as parts:
        assert parts.buffer_bytes == 2 * 64 * 7 * 4
        for first, rows in parts:
            assert rows.flags.c_contiguous
            assert rows.ctypes.data % 64 == 0
            places.add(rows.ctypes.data)
            seen.append((first, rows.copy()))
    assert len(places) == 2
    assert [first for first, _ in seen] == list(range(0, 1000, 64))
    assert np.concatenate([rows for _, rows in seen]).tobytes() == source.X.tobytes()
    assert threading.current_thread() not in source.threads
    assert parts.rows_read == 1000
    assert parts.bytes_read == source.X.nbytes
    assert parts.seconds_reading > 0
    assert parts.seconds_waiting > 0


@settings(max_examples=50, deadline=None)
@given(
    n_rows=st.integers(0, 50),
    parts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=8),
    n_buffers=st.integers(2, 4),
)
def test_any_parts(n_rows, parts, n_buffers):
    X = rows_of(n_rows, 3)
    wanted = []
    for first, count in parts:
        if first >= n_rows:
            break
        wanted.append((first, X[first : first + count].tolist()))
    with Prefetch(Array(X), parts, n_buffers=n_buffers) as reader:
        found = [(first, rows.tolist()) for first, rows in reader]
    assert found == wanted


def test_reads_ahead_but_not_further_than_its_buffers():
    source = Array(rows_of(100, 2))
    read, gate = [], threading.Event()
    inner = source.read

    def counted(first, out):
        read.append(first)
        if len(read) >= 3:
            gate.set()
        return inner(first, out)

    source.read = counted
    with Prefetch(source, rows=10, n_buffers=3) as parts:
        iterator = iter(parts)
        next(iterator)
        assert gate.wait(30)
        time.sleep(0.1)
        assert read == [0, 10, 20]
        assert sum(1 for _ in iterator) == 9


@pytest.mark.parametrize("error", [SourceError("cut off"), KeyError("x"), SystemExit(3)])
def test_an_error_comes_where_its_rows_were_due(error):
    source = Array(rows_of(100, 2), fail_at=55, error=error)
    seen = []

    def consume():
        with Prefetch(source, rows=10) as parts:
            for first, _ in parts:
                seen.append(first)
                time.sleep(0.01)

    with pytest.raises(type(error)) as caught:
        consume()
    assert caught.value is error
    assert seen == [0, 10, 20, 30, 40]


def test_stop_iteration_of_a_source_does_not_look_like_the_end():
    source = Array(rows_of(100, 2), fail_at=25, error=StopIteration())

    def consume():
        with Prefetch(source, rows=10) as parts:
            return list(parts)

    with pytest.raises(RuntimeError):
        consume()


def test_an_error_of_the_parts_is_raised():
    def parts():
        yield 0, 5
        raise LookupError("no more parts")

    seen = []

    def consume():
        with Prefetch(Array(rows_of(100, 2)), parts(), rows=5) as reader:
            seen.extend(first for first, _ in reader)

    with pytest.raises(LookupError, match="no more parts"):
        consume()
    assert seen == [0]


def test_a_part_larger_than_a_buffer():
    def consume():
        with Prefetch(Array(rows_of(100, 2)), [(0, 5), (5, 6)], rows=5) as reader:
            return list(reader)

    with pytest.raises(ValueError, match="6 rows does not fit a buffer of 5"):
        consume()


def test_leaving_early_and_again():
    source = Array(rows_of(1000, 2))
    for _ in range(20):
        with Prefetch(source, rows=3) as parts:
            for first, _rows in parts:
                if first >= 6:
                    break
    with Prefetch(source, rows=3):
        pass
    with Prefetch(source, rows=100) as parts:
        for _ in range(10):  # each loop takes up where the one before stopped
            for _first, _rows in parts:
                break
    assert parts.rows_read == 1000


def test_large_parts_are_read_in_steps(monkeypatch):
    monkeypatch.setattr(_prefetch, "_STEP_BYTES", 100)
    source = Array(rows_of(1000, 7))
    asked = []
    inner = source.read
    source.read = lambda first, out: asked.append((first, len(out))) or inner(first, out)
    with Prefetch(source, [(5, 8), (990, 20)]) as parts:
        found = {first: rows.copy() for first, rows in parts}
    assert found[5].tobytes() == source.X[5:13].tobytes()
    assert found[990].tobytes() == source.X[990:].tobytes()
    assert asked == [(5, 3), (8, 3), (11, 2), (990, 3), (993, 3), (996, 3), (999, 3)]
    assert parts.rows_read == 18


def test_leaving_does_not_wait_for_a_large_part(monkeypatch):
    monkeypatch.setattr(_prefetch, "_STEP_BYTES", 8 * 7 * 4)
    source = Array(rows_of(100_000, 7))
    first_read, steps = threading.Event(), []
    inner = source.read

    def slow(first, out):
        first_read.set()
        steps.append(first)
        time.sleep(0.05)
        return inner(first, out)

    source.read = slow
    with Prefetch(source, rows=100_000):
        assert first_read.wait(30)
    assert len(steps) < 1000  # of 12500


def test_an_error_in_the_consumer_ends_the_reader():
    def consume():
        with Prefetch(Array(rows_of(1000, 2)), rows=3) as parts:
            for first, _rows in parts:
                if first >= 6:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


def test_used_wrongly():
    source = Array(rows_of(10, 2))
    with pytest.raises(RuntimeError, match="inside its with"):
        next(iter(Prefetch(source, rows=3)))
    with Prefetch(source, rows=3) as parts:
        pass
    with pytest.raises(RuntimeError, match="inside its with"):
        next(iter(parts))
    with pytest.raises(RuntimeError, match="used once"):
        parts.__enter__()
    with pytest.raises(ValueError, match="rows must be given"):
        Prefetch(source, iter([(0, 1)]))
    with pytest.raises(ValueError, match="at least 2"):
        Prefetch(source, rows=3, n_buffers=1)
    with pytest.raises(ValueError, match="at least 1"):
        Prefetch(source, rows=0)


def test_one_that_is_forgotten_is_collected():
    parts = Prefetch(Array(rows_of(100, 2)), rows=3).__enter__()
    gone = weakref.ref(parts)
    assert len(readers()) == 1
    del parts
    gc.collect()
    assert gone() is None
    assert readers() == []


def test_aligned_memory():
    for shape, dtype in (((3, 5), "f4"), ((2, 4), "f8"), ((1,), "u1")):
        memory = aligned_empty(shape, dtype)
        assert memory.shape == shape
        assert memory.dtype == dtype
        assert memory.ctypes.data % 64 == 0


def run(program, timeout=60, **options):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )


ENDLESS = """
import os, signal, sys, threading, time
import numpy as np
from tilewise.sources import Prefetch, as_source

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit none

def batches():
    while True:
        yield np.ones((10, 2))

source = as_source(batches)
"""


@pytest.mark.parametrize("wait", ["pass", "next(iterator)", "next(iterator); time.sleep(0.2)"])
def test_a_process_ends_with_a_prefetch_open(wait):
    program = (
        ENDLESS
        + f"""
parts = Prefetch(source, rows=5).__enter__()
iterator = iter(parts)
{wait}
print("end")
"""
    )
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_process_ends_while_a_read_hangs():
    program = (
        ENDLESS
        + """
def hanging():
    yield np.ones((10, 2))
    time.sleep(600)

parts = Prefetch(as_source(hanging), rows=5).__enter__()
print(next(iter(parts))[0])
"""
    )
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "0\n")


@pytest.mark.skipif(os.name == "nt", reason="sends a signal to itself")
def test_control_c_in_the_consumer():
    program = (
        ENDLESS
        + """
begun = threading.Event()

def interrupt():
    begun.wait()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

def slow():
    yield np.ones((5, 2))
    time.sleep(30)
    yield np.ones((5, 2))

threading.Thread(target=interrupt).start()
count = 0
try:
    with Prefetch(as_source(slow if sys.argv[1:] else batches), rows=5) as parts:
        for first, rows in parts:
            count += 1
            begun.set()
except KeyboardInterrupt:
    print(count > 0, [t.name for t in threading.enumerate() if t.name == "tilewise-prefetch"])
"""
    )
    for arguments in ("", "slow"):
        done = run(program.replace("sys.argv[1:]", repr(arguments)))
        assert (done.returncode, done.stdout, done.stderr) == (0, "True []\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child():
    program = (
        ENDLESS
        + """
import warnings
warnings.simplefilter("ignore")
with Prefetch(source, rows=5) as parts:
    iterator = iter(parts)
    next(iterator)
    child = os.fork()
    if child == 0:
        try:
            next(iterator)
        except RuntimeError as error:
            assert "forked" in str(error)
        else:
            os._exit(1)
        parts.__exit__()
        with Prefetch(as_source(batches), rows=5) as own:
            next(iter(own))
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    next(iterator)
print("end")
"""
    )
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_buffers_of_the_caller_stay_until_they_are_given_back():
    X = rows_of(10, 3, "f4")
    pool = aligned_empty((8, 3), "f4")
    with Prefetch(Array(X), rows=2, buffers=[pool[at : at + 2] for at in range(0, 8, 2)]) as parts:
        taken = [parts.take() for _ in range(4)]
        assert [first for first, _, _ in taken] == [0, 2, 4, 6]
        assert all(np.shares_memory(rows, pool) for _, rows, _ in taken)
        np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in taken]), X[:8])
        index = taken[1][2]
        parts.give_back(index)
        first, rows, again = parts.take()
        assert (first, again) == (8, index)
        np.testing.assert_array_equal(rows, X[8:])
        np.testing.assert_array_equal(taken[0][1], X[:2])
        for _, _, held in [taken[0], *taken[2:]]:
            parts.give_back(held)
        assert parts.take() is None

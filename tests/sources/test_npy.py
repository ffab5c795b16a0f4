"""Rows of .npy files and of the files behind memory maps."""

import json
import os
import signal
import struct

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_data import read_in_parts, rows_of

from tilewise.sources import SourceError, _files, as_source

TYPES = ["f4", "f8", ">f4", ">f8", "f2", ">f2", "i1", "u1", "<i4", ">i4", "u8", ">i8", "?", "g"]


def expected(values):
    values = np.asarray(values)
    keep = values.dtype.kind == "f" and values.dtype.itemsize == 4
    return np.ascontiguousarray(values, np.float32 if keep else np.float64)


def save(path, values, version=None):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, values, version=version)
    return str(path)


def assert_same(found, wanted):
    assert found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_and_order(tmp_path, dtype, order):
    X = np.array(rows_of(201, 37, dtype), order=order)
    source = as_source(save(tmp_path / "x.npy", X))
    assert (source.n_rows, source.n_features) == X.shape
    assert source.row_bytes == 37 * X.itemsize
    assert source.random_access
    assert not source.one_shot
    for rows in (1000, 201, 50, 1):
        assert_same(read_in_parts(source, rows), expected(X))


@settings(max_examples=60, deadline=None)
@given(
    X=hnp.arrays(
        st.sampled_from(["f4", "f8", ">f8", "f2", "i2"]),
        st.tuples(st.integers(0, 40), st.integers(1, 20)),
        elements=st.integers(0, 50),
    ),
    order=st.sampled_from("CF"),
    parts=st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)), max_size=6),
)
def test_any_part_in_any_order(tmp_path_factory, X, order, parts):
    path = save(tmp_path_factory.mktemp("parts") / "x.npy", np.array(X, order=order))
    source, wanted = as_source(path), expected(X)
    for first, count in parts:
        out = np.full((count, X.shape[1]), -1, source.dtype)
        got = source.read(first, out)
        assert got == len(wanted[first : first + count])
        assert_same(out[:got], wanted[first : first + count])
        assert (out[got:] == -1).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_larger_than_the_staging_buffer(tmp_path, order):
    X = np.array(rows_of(140_000, 5, "i8"), order=order)
    assert X.nbytes > 4 << 20
    assert_same(read_in_parts(as_source(save(tmp_path / "x.npy", X)), 135_000), expected(X))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_header_versions(tmp_path, version):
    X = rows_of(9, 4)
    assert_same(read_in_parts(as_source(save(tmp_path / "x.npy", X, version)), 4), X)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_maps(tmp_path, order):
    X = np.array(rows_of(5000, 6), order=order)
    path = save(tmp_path / "x.npy", X)
    mapped = np.load(path, mmap_mode="r")
    assert as_source(mapped) is None
    for view in (
        mapped,
        mapped[7:4000],
        mapped[100:101],
        mapped[:, 2:3] if order == "F" else mapped,
    ):
        assert_same(read_in_parts(as_source(view, streamed=True), 999), np.ascontiguousarray(view))
    if order == "F":
        assert_same(
            read_in_parts(as_source(mapped[10:90, 1::2], streamed=True), 33),
            np.ascontiguousarray(mapped[10:90, 1::2]),
        )
    for view in (mapped[::2], mapped[::-1], mapped[:, ::-1]):
        with pytest.raises(SourceError, match="gaps"):
            as_source(view, streamed=True)


def test_memory_maps_behind_an_offset(tmp_path):
    X = rows_of(3000, 5, ">f8")
    path = tmp_path / "raw.bin"
    for offset in (0, 3, 5000):
        path.write_bytes(b"x" * offset + X.tobytes())
        mapped = np.memmap(path, ">f8", "r", offset, X.shape)
        source = as_source(mapped[10:], streamed=True)
        assert_same(read_in_parts(source, 700), X[10:].astype("f8"))


def test_memory_maps_that_are_not_their_file(tmp_path):
    path = save(tmp_path / "x.npy", rows_of(30, 5))
    with pytest.raises(SourceError, match="copy-on-write"):
        as_source(np.load(path, mmap_mode="c"), streamed=True)
    written = np.load(path, mmap_mode="r+")
    written[3] = 77
    out = np.empty((1, 5), "f4")
    as_source(written, streamed=True).read(3, out)
    assert (out == 77).all()


def test_another_dtype_is_delivered_on_request(tmp_path):
    X = rows_of(300, 5, "i4")
    path = save(tmp_path / "x.npy", X)
    assert_same(read_in_parts(as_source(path, dtype="f4"), 77), X.astype("f4"))
    path = save(tmp_path / "y.npy", X.astype("f4"))
    assert_same(read_in_parts(as_source(path, dtype="f8"), 77), X.astype("f8"))
    with pytest.raises(ValueError, match="float32 or float64"):
        as_source(path, dtype="i4")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_number_too_large_for_float32(tmp_path, order):
    X = np.array(rows_of(300, 20, "f8"), order=order)
    X[5, 2] = np.inf
    X[211, 17] = -1e300
    source = as_source(save(tmp_path / "x.npy", X), dtype="f4")
    with pytest.raises(SourceError, match=r"x.npy, row 211, column \d+: -1e\+300 is too") as caught:
        read_in_parts(source, 300)
    assert caught.value.row == 211


def test_nan_and_infinity_pass(tmp_path):
    X = rows_of(4, 3)
    X[1, 1], X[2, 2] = np.nan, -np.inf
    assert_same(read_in_parts(as_source(save(tmp_path / "x.npy", X)), 4), X)


def test_out_is_checked(tmp_path):
    source = as_source(save(tmp_path / "x.npy", rows_of(30, 5)))
    out = np.empty((4, 5), "f4")
    fixed = out.copy()
    fixed.flags.writeable = False
    wrong = [out.astype("f8"), out[:, :4], out.T, out.astype(">f4"), fixed, out.ravel(), [[1.0]]]
    for bad in wrong:
        with pytest.raises(ValueError, match="out must be"):
            source.read(0, bad)
    with pytest.raises(ValueError, match="negative"):
        source.read(-1, out)
    assert source.read(30, out) == 0
    assert source.read(10**12, out) == 0
    assert source.read(0, out[:0]) == 0


def test_names_and_fingerprints(tmp_path):
    path = save(tmp_path / "x.npy", rows_of(30, 5))
    source = as_source(tmp_path / "x.npy")
    assert source.name == path
    assert source.locate(12) == f"{path}, row 12"
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
    assert as_source(path).fingerprint() == source.fingerprint()
    os.utime(path, ns=(1, 1))
    assert as_source(path).fingerprint() != source.fingerprint()


# --- what is wrong with a file ------------------------------------------------------------------


def header(text, version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


GOOD = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"

DAMAGED = {
    "empty": (b"", "is empty"),
    "magic alone": (b"\x93NUMPY", "version 0"),
    "another file": (b"PK\x03\x04 and so on", "does not begin as"),
    "text": (b"1,2,3\n", "does not begin as"),
    "version": (header(GOOD)[:6] + b"\x09\x00" + header(GOOD)[8:], "version 9"),
    "short length": (header(GOOD)[:9], "damaged"),
    "long header": (header(b" " * 60_000), "60000 bytes long"),
    "cut header": (header(GOOD)[:30], "it is cut off"),
    "no dictionary": (header(b"[1, 2]"), "cannot be understood"),
    "no syntax": (header(b"{'descr': "), "cannot be understood"),
    "a call": (header(b"__import__('os').getcwd()"), "cannot be understood"),
    "a key is missing": (header(b"{'descr': '<f4', 'shape': (2, 3)}"), "cannot be understood"),
    "unknown type": (header(GOOD.replace(b"<f4", b"<q9")), "cannot be understood"),
    "negative shape": (header(GOOD.replace(b"(2", b"(-2")), "damaged"),
    "shape of floats": (header(GOOD.replace(b"(2", b"(2.5")), "damaged"),
    "shape of truths": (header(GOOD.replace(b"(2", b"(True")), "damaged"),
    "order": (header(GOOD.replace(b"False", b"'C'")), "damaged"),
    "deep": (header(b"[" * 5000), "cannot be understood"),
    "numbers are missing": (header(GOOD) + b"\0" * 23, "is cut off"),
    "numbers too many": (header(GOOD) + b"\0" * 25, "has data after its numbers"),
    "a huge shape": (header(GOOD.replace(b"(2", b"(" + b"9" * 30)), "is cut off"),
    "one dimension": (header(GOOD.replace(b"(2, 3)", b"(6,)")), r"reshape it with \(-1, 1\)"),
    "no dimension": (header(GOOD.replace(b"(2, 3)", b"()")), "expected rows and columns"),
    "three dimensions": (header(GOOD.replace(b"(2, 3)", b"(1, 2, 3)")), "expected rows and col"),
    "no columns": (header(GOOD.replace(b"(2, 3)", b"(2, 0)")), "no columns"),
    "complex": (header(GOOD.replace(b"<f4", b"<c8")), "expected real numbers, got dtype complex64"),
    "objects": (header(GOOD.replace(b"<f4", b"|O")), "expected real numbers, got Python objects"),
    "text cells": (header(GOOD.replace(b"<f4", b"<U5")), "expected real numbers"),
    "records": (header(GOOD.replace(b"'<f4'", b"[('a', '<f4')]")), "expected real numbers"),
    "dates": (header(GOOD.replace(b"<f4", b"<M8[s]")), "expected real numbers"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(tmp_path, case):
    content, message = DAMAGED[case]
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        as_source(str(path))
    assert str(path) in str(caught.value)
    assert caught.value.source == str(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_byte_of_the_header_is_no_other_exception(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "x.npy"
    content = bytearray(header(GOOD) + b"\0" * 24)
    content[data.draw(st.integers(0, 10 + len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        source = as_source(str(path))
    except SourceError:
        return
    assert read_in_parts(source, 10).shape == (source.n_rows, source.n_features)


def test_no_rows(tmp_path):
    source = as_source(save(tmp_path / "x.npy", rows_of(0, 3)))
    assert source.n_rows == 0
    assert source.read(0, np.empty((2, 3), "f4")) == 0


def test_missing_and_unreadable_files(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"nowhere.npy: cannot be read: no such file"):
        as_source(tmp_path / "nowhere.npy")
    path = save(tmp_path / "x.npy", rows_of(3, 3))

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(SourceError, match=r"x.npy: cannot be read: permission denied; check"):
        as_source(path)


def test_a_directory_named_like_a_file(tmp_path):
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(SourceError, match=r"x.npy: cannot be read: is a directory"):
        as_source(tmp_path / "x.npy")


@pytest.mark.parametrize("order", ["C", "F"])
def test_truncated_after_it_was_opened(tmp_path, order):
    path = save(tmp_path / "x.npy", np.array(rows_of(300, 5), order=order))
    source = as_source(path)
    out = np.empty((100, 5), "f4")
    assert source.read(0, out) == 100
    offset = os.path.getsize(path) - 300 * 5 * 4
    os.truncate(path, offset + 130 * 5 * 4 + 3)
    with pytest.raises(SourceError, match="changed while it was being read: it had") as caught:
        read_on(source, 100)
    if order == "C":
        assert caught.value.row == 130
    os.utime(path, ns=(5, 5))
    with pytest.raises(SourceError, match="changed while it was being read"):
        source.read(0, out)


def read_on(source, first):
    out = np.empty((100, source.n_features), source.dtype)
    while count := source.read(first, out):
        first += count


def test_truncated_and_nobody_can_tell(tmp_path, monkeypatch):
    """Where the size that the system reports stays, the short read alone shows it."""
    path = save(tmp_path / "x.npy", rows_of(300, 5))
    source = as_source(path)
    monkeypatch.setattr("tilewise.sources._files.check_unchanged", lambda *arguments: None)
    os.truncate(path, os.path.getsize(path) - 33)
    with pytest.raises(SourceError, match=r"x.npy: ends at row 298 of 300") as caught:
        read_in_parts(source, 100)
    assert caught.value.row == 298


def test_rewritten_between_passes(tmp_path):
    path = save(tmp_path / "x.npy", rows_of(30, 5))
    source = as_source(path)
    read_in_parts(source, 10)
    save(path, rows_of(30, 5, seed=1))
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(SourceError, match="it was written to; start again"):
        source.read(0, np.empty((3, 5), "f4"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_short_and_failing_reads(tmp_path, monkeypatch, dtype, order):
    X = np.array(rows_of(300, 5, dtype), order=order)
    path = save(tmp_path / "x.npy", X)
    inner = _files._read_some
    calls = []

    def short(file, target, offset):
        calls.append(len(target))
        return inner(file, target[: 1 + len(calls) % 7], offset)

    monkeypatch.setattr(_files, "_read_some", short)
    assert_same(read_in_parts(as_source(path), 170), expected(X))
    assert len(calls) > 300

    source = as_source(path)

    def failing(file, target, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_files, "_read_some", failing)
    with pytest.raises(
        SourceError, match=r"x.npy: cannot be read at byte .*input/output"
    ) as caught:
        source.read(20, np.empty((3, 5), source.dtype))
    assert caught.value.row == 20


def test_without_positional_reads(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    X = rows_of(300, 5)
    assert_same(read_in_parts(as_source(save(tmp_path / "x.npy", X)), 70), X)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_interrupted_system_calls(tmp_path):
    """A timer that fires all the time interrupts reads; none is lost or repeated."""
    X = rows_of(200_000, 16)
    source = as_source(save(tmp_path / "x.npy", X))
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        while len(fired) < 20:
            assert_same(read_in_parts(source, 50_000), X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""JSON from strangers: within bounds, by the letter, or a ValueError that says what is wrong."""

import json
import os

import pytest

from tilewise._json import loads, read_json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1, 2", "line 1: not JSON"),
        ("NaN", "NaN is not a JSON number"),
        ('{"a": Infinity}', "Infinity is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("1e999", "numbers in range"),
        ("9" * 400, "a whole number of 400 digits"),
        ("-" + "9" * 20, "a whole number"),
        ("9" * 10_000, "a whole number of 10000 digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("'a'", "not JSON"),
        ("1 2", "not JSON"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        loads(text)


def test_what_is_read():
    value = {"a": [1, -2.5, True, None, "ü\x00"], "b": {}, "c": 2**62, "d": 1e308}
    assert loads(json.dumps(value)) == value


def test_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1}')
    assert read_json(path) == {"a": 1}
    with pytest.raises(ValueError, match="more than 7 bytes"):
        read_json(path, 7)
    path.write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match="not JSON: it is not UTF-8 text"):
        read_json(path)
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_may_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="not a regular file"):
            read_json(path)

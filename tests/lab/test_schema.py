"""What a result must look like, and what is said of a file that does not."""

import contextlib
import copy
import json
import sys

import damage
import pytest

from tilewise.lab import schema

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture
def result(result_of):
    return copy.deepcopy(result_of("dtypes"))


def broken(result):
    """Ways to spoil a result: what was done, and what the message must name."""

    def changed(*path, value=None, drop=False):
        spoilt = copy.deepcopy(result)
        at = spoilt
        for step in path[:-1]:
            at = at[step]
        if drop:
            del at[path[-1]]
        else:
            at[path[-1]] = value
        return spoilt

    return [
        (changed("format", value="other"), "format"),
        (changed("schema_version", value=2), "schema_version"),
        (changed("machine", drop=True), "machine"),
        (changed("machine", "facts", "isa", drop=True), "isa"),
        (changed("machine", "facts", "isa", value="avx2"), "machine.facts.isa"),
        (changed("quick", value=1), "quick"),
        (changed("seconds", value=-1), "seconds"),
        (changed("versions", "numpy", value=2), "versions.numpy"),
        (changed("measurements", 0, "samples", value=[]), "measurements[0].samples"),
        (changed("measurements", 0, "samples", value=["1"]), "measurements[0].samples[0]"),
        (changed("measurements", 0, "repeats", value=True), "measurements[0].repeats"),
        (changed("measurements", 0, "repeats", value=1.5), "measurements[0].repeats"),
        (changed("measurements", 0, "hostname", value="x"), "hostname"),
        (changed("extra", value=1), "extra"),
        ([], "object"),
    ]


def test_a_result_is_valid(result):
    schema.validate(json.loads(json.dumps(result)))


def test_each_defect_is_named(result):
    for spoilt, place in broken(result):
        with pytest.raises(ValueError, match=r".*") as caught:
            schema.validate(spoilt)
        assert place in str(caught.value)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema.result_schema())


def test_without_jsonschema_it_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"tilewise\[lab\]\""):
        schema.validate(result)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"{\n1", "line 2"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "nested"),
        (b"{}", "'[a-z_]+' is a required property"),
        (b"null", "None is not of type 'object'"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        schema.read(path)


def test_a_file_is_read_back(tmp_path, result):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    assert schema.read(path) == json.loads(json.dumps(result))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seconds",), float("nan")), (("seconds",), float("inf")), (("seconds",), 10**400),
        (("measurements", 0, "samples", 0), 10**400), (("measurements", 0, "repeats"), 10**30),
        (("schema_version",), True), (("machine", "facts", "l2_bytes", "value"), 10**400),
    ],
)  # fmt: skip
def test_numbers_beyond_arithmetic_are_refused(result, tmp_path, place, value):
    at = result
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    path = tmp_path / "a.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(ValueError, match=r"not JSON|schema_version"):
        schema.read(path)


def test_messages_do_not_repeat_a_long_value(result):
    result["format"] = "x" * 10**6
    with pytest.raises(ValueError, match="format") as caught:
        schema.validate(result)
    assert len(str(caught.value)) < 300


def test_damaged_results_are_read_or_refused(result, tmp_path):
    content = json.dumps(result).encode()
    for seed in range(100):
        (tmp_path / "a.json").write_bytes(damage.damaged(content, seed))
        with contextlib.suppress(ValueError):
            assert schema.read(tmp_path / "a.json")["format"] == "tilewise-lab"

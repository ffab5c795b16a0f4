"""Files that nobody meant well: the right exit code and the file's name, whatever is wrong."""

import io
import json
import os

import damage
import numpy as np
import pytest

from tilewise.cli._errors import ExitCode
from tilewise.cli._model import read_model

FIT = ("-k", 3, "--seed", 0, "--max-iter", 2, "--force", "--quiet")
#: What a damaged file may lead to: it can still be read, or it is at fault, or it has become one
#: of which the command line must say more (an archive of two arrays, a CSV with another delimiter).
ENDS = {ExitCode.OK, ExitCode.BAD_DATA, ExitCode.USAGE}


def check(result, path):
    """A clean run, or one line that names the file; nothing unexpected."""
    assert result.exit_code in ENDS, result.stderr
    if result.exit_code:
        assert result.stderr.startswith("tilewise: error: ")
        assert result.stderr.count("\n") == 1
        assert str(path) in result.stderr
        assert "unexpected" not in result.stderr
        assert result.stderr[:-1].isprintable()
    return result.exit_code


@pytest.fixture
def model(X, invoke, folder):
    np.save("good.npy", X)
    assert invoke("fit", "good.npy", *FIT).exit_code == 0
    return folder / "good.model.npz"


@pytest.mark.parametrize("kind", ["npy", *damage.PACKINGS])
def test_damaged_arrays(X, invoke, folder, kind):
    content = damage.saved(X)
    path = folder / ("x.npy" if kind == "npy" else "x.npz")
    if kind != "npy":
        content = damage.zipped([("a.npy", content)], kind)
    codes = []
    for seed in range(40):
        path.write_bytes(damage.damaged(content, seed))
        codes.append(check(invoke("fit", path.name, *FIT), path.name))
    assert codes.count(ExitCode.BAD_DATA) > 10


def test_damaged_arrays_that_are_read_in_parts(X, invoke, folder):
    codes = []
    for seed in range(30):
        (folder / "x.npy").write_bytes(damage.damaged(damage.saved(X), seed))
        done = invoke("fit", "x.npy", *FIT, "--memory-limit", "100MB")
        codes.append(check(done, "x.npy"))
    assert codes.count(ExitCode.BAD_DATA) > 5


def test_damaged_weights(X, invoke, folder):
    np.save("x.npy", X)
    for seed in range(20):
        content = damage.damaged(damage.saved(np.ones(len(X))), seed)
        (folder / "w.npy").write_bytes(content)
        check(invoke("fit", "x.npy", *FIT, "--sample-weight", "w.npy"), ".npy")


def test_damaged_models(model, invoke, folder):
    good, codes = model.read_bytes(), []
    for seed in range(60):
        (folder / "bad.npz").write_bytes(damage.damaged(good, seed))
        done = invoke("predict", "bad.npz", "good.npy", "--force", "--quiet")
        codes.append(check(done, "bad.npz"))
    assert codes.count(ExitCode.BAD_DATA) > 30


def test_damaged_parquet(X, invoke, folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file, codes = io.BytesIO(), []
    parquet.write_table(pyarrow.table({name: X[:, i] for i, name in enumerate("abc")}), file)
    for seed in range(60):
        (folder / "x.parquet").write_bytes(damage.damaged(file.getvalue(), seed))
        limit = ("--memory-limit", "100MB") if seed % 2 else ()
        codes.append(check(invoke("fit", "x.parquet", *FIT, *limit), "x.parquet"))
    assert codes.count(ExitCode.BAD_DATA) > 15


def test_damaged_text(X, invoke, folder):
    content = "\n".join(["a,b,c", *(",".join(map(repr, row)) for row in X.tolist())]).encode()
    for seed in range(60):
        (folder / "x.csv").write_bytes(damage.damaged(content, seed))
        check(invoke("fit", "x.csv", *FIT), "x.csv")


@pytest.mark.parametrize("case", damage.HEADERS)
def test_headers_that_no_array_has(X, fails, folder, case):
    content, _ = damage.HEADERS[case]
    (folder / "x.npy").write_bytes(content)
    np.save("good.npy", X)
    assert fails(ExitCode.BAD_DATA, "fit", "x.npy", *FIT).startswith("x.npy: ")
    weights = ("--sample-weight", "x.npy")
    assert fails(ExitCode.BAD_DATA, "fit", "good.npy", *FIT, *weights).startswith("x.npy: ")
    (folder / "x.npz").write_bytes(damage.zipped([("a.npy", content)]))
    assert fails(ExitCode.BAD_DATA, "fit", "x.npz", *FIT).startswith("x.npz [a]: ")


def spoilt_models(model):
    with np.load(model) as archive:
        centers, metadata = damage.saved(archive["centers"]), damage.saved(archive["metadata"])
        told = json.loads(str(archive["metadata"]))

    def text(**changes):
        return damage.saved(np.array(json.dumps(told | changes)))

    def raw(form):
        return damage.saved(np.array(form))

    good = {"centers.npy": centers, "metadata.npy": metadata}
    return {
        "bytes for centres": good | {"centers.npy": b"\x80\x04N."},
        "bytes for metadata": good | {"metadata.npy": b"{}"},
        "no centres": {"metadata.npy": metadata},
        "no metadata": {"centers.npy": centers},
        "centres of text": good | {"centers.npy": damage.saved(np.array([["1.0"]]))},
        "centres of half": good | {"centers.npy": damage.saved(np.ones((3, 3), "f2"))},
        "complex centres": good | {"centers.npy": damage.saved(np.ones((3, 3), "c8"))},
        "one centre in a row": good | {"centers.npy": damage.saved(np.ones(3))},
        "infinite centres": good | {"centers.npy": damage.saved(np.full((3, 3), np.inf))},
        "records": good | {"centers.npy": damage.saved(np.zeros((3, 3), [("a", "f8")]))},
        "metadata of bytes": good | {"metadata.npy": damage.saved(np.array(b"{}"))},
        "metadata in a list": good | {"metadata.npy": damage.saved(np.array(["{}"]))},
        "metadata of numbers": good | {"metadata.npy": damage.saved(np.array(3))},
        "no JSON": good | {"metadata.npy": raw("{")},
        "deep JSON": good | {"metadata.npy": raw("[" * 50_000)},
        "NaN": good | {"metadata.npy": text(inertia=float("nan"))},
        "version that is true": good | {"metadata.npy": text(format_version=True)},
        "version of 400 digits": good | {"metadata.npy": text(format_version=10**400)},
        "rows of 400 digits": good | {"metadata.npy": text(n_samples=10**400)},
        "rows below none": good | {"metadata.npy": text(n_samples=-1)},
        "rows of text": good | {"metadata.npy": text(n_samples="many")},
        "iterations of a list": good | {"metadata.npy": text(n_iter=[3])},
        "counts of text": good | {"metadata.npy": text(counts=["3", "4", "5"])},
        "too few counts": good | {"metadata.npy": text(counts=[3])},
        "counts of 400 digits": good | {"metadata.npy": text(counts=[10**400] * 3)},
        "counts below none": good | {"metadata.npy": text(counts=[-1] * 3)},
        "inertia of text": good | {"metadata.npy": text(inertia="0")},
    }


SPOILT = [
    "bytes for centres", "bytes for metadata", "no centres", "no metadata", "centres of text",
    "centres of half", "complex centres", "one centre in a row", "infinite centres", "records",
    "metadata of bytes", "metadata in a list", "metadata of numbers", "no JSON", "deep JSON", "NaN",
    "version that is true", "version of 400 digits", "rows of 400 digits", "rows below none",
    "rows of text", "iterations of a list", "counts of text", "too few counts",
    "counts of 400 digits", "counts below none", "inertia of text",
]  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_models_that_are_none(model, fails, folder, case):
    (folder / "bad.npz").write_bytes(damage.zipped(spoilt_models(model)[case].items()))
    said = fails(ExitCode.BAD_DATA, "predict", "bad.npz", "good.npy", "--force")
    assert said.startswith("bad.npz")


def test_every_spoilt_model_is_tried(model):
    assert sorted(spoilt_models(model)) == sorted(SPOILT)
    assert read_model(model).n_samples == 90


@pytest.mark.parametrize("option", ["--machine", "--roofs"])
def test_damaged_records(invoke, folder, option):
    shape = ("explain", "--rows", 1000, "--features", 8, "--clusters", 8)
    told = json.loads(invoke(*shape, "--json").stdout)
    if option == "--machine":
        told = json.loads(invoke("info", "--json").stdout)
    content = json.dumps(told).encode()
    for seed in range(60):
        (folder / "a.json").write_bytes(damage.damaged(content, seed))
        check(invoke(*shape, option, "a.json"), "a.json")


@pytest.mark.parametrize("value", [10**18, 10**400, -1, 1.5, True, None, "many", [1], {}])
def test_facts_of_any_size_and_type(invoke, folder, value):
    record = json.loads(invoke("info", "--json").stdout)
    for name in record["facts"]:
        facts = record["facts"] | {name: {"value": value, "source": "a test"}}
        (folder / "a.json").write_text(json.dumps({"facts": facts}))
        done = invoke("explain", "--rows", 1000, "--features", 8, "--clusters", 8,
                      "--machine", "a.json")  # fmt: skip
        check(done, "a.json")


def test_a_file_where_a_folder_is_expected(X, fails):
    np.save("x.npy", X)
    said = fails(ExitCode.CANNOT_WRITE, "fit", "x.npy", *FIT, "--output-dir", "x.npy/below")
    assert said == f"{os.path.abspath('x.npy')}: not a folder"

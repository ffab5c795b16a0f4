"""``tilewise export``: model files in the forms of `tilewise.export`."""

import json
import os
import re
import subprocess
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tilewise import KMeans, MiniBatchKMeans
from tilewise.cli import _export
from tilewise.cli._errors import MEANINGS, ExitCode
from tilewise.cli._model import Model, read_model
from tilewise.export import FORMS, Form, to_c, to_pmml

from .support import NAMES, process

PMML = "{http://www.dmg.org/PMML-4_4}"


@pytest.fixture
def estimator(X):
    return KMeans(4, random_state=0).fit(X)


def stored(centers, name, names=None):
    with open(name, "wb") as stream:
        Model(centers, "0", feature_names=names).write(stream)
    return Path(name)


@pytest.fixture
def model(estimator):
    return stored(estimator.cluster_centers_, "model.npz")


@pytest.fixture
def named(estimator):
    return stored(estimator.cluster_centers_, "named.npz", NAMES)


@pytest.fixture
def made_up(monkeypatch):
    """A form ".txt" that says what it is given."""

    def to_bytes(model, **options):
        return repr((model.cluster_centers_.shape, sorted(options.items()))).encode()

    monkeypatch.setitem(FORMS, ".txt", Form("made up", "nobody", to_bytes, ("name", "opset")))


def fields(path):
    return [field.get("name") for field in ElementTree.parse(path).iter(f"{PMML}DataField")]


def test_help_fits_a_terminal_and_tells_all(invoke):
    result = invoke("export", "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "  Examples:" in result.stdout.splitlines()
    for code, meaning in MEANINGS.items():
        assert f"    {int(code):>3}  {meaning}" in result.stdout
    for ending in FORMS:
        assert f" {ending}" in result.stdout
    assert " export " in invoke("--help").stdout


def test_a_pmml_document(estimator, model, invoke):
    result = invoke("export", model, "-o", "to/here/model.PMML")
    assert result.exit_code == 0, result.stderr
    content = Path("to/here/model.PMML").read_bytes()
    assert content == to_pmml(estimator).encode()
    size = f"{len(content):,}"
    assert result.stdout == (
        "model.npz: 4 clusters of 3 features, float64\n"
        f"PMML for scoring engines: {Path('to/here/model.PMML')} ({size} bytes)\n"
    )
    assert result.stderr == ""


def test_an_exact_pmml_document(estimator, model, invoke):
    assert invoke("export", model, "-o", "m.pmml", "--exact").exit_code == 0
    assert Path("m.pmml").read_bytes() == to_pmml(estimator, exact=True).encode()


def test_a_fit_is_exported_with_its_names(X, invoke):
    lines = ["a,b,c", *(",".join(map(repr, row)) for row in X.tolist())]
    Path("table.csv").write_text("\n".join(lines), encoding="utf-8")
    assert invoke("fit", "table.csv", "-k", 3, "--columns", "c,a", "-q").exit_code == 0
    assert invoke("export", "table.model.npz", "-o", "table.pmml", "-q").output == ""
    assert fields("table.pmml") == ["c", "a"]
    found = [array.text for array in ElementTree.parse("table.pmml").iter(f"{PMML}Array")]
    centers = np.load("table.centers.npy")
    assert np.array([text.split() for text in found], float).tobytes() == centers.tobytes()


def test_a_model_knows_the_rows_of_its_centres(X, invoke):
    np.save("data.npy", X)
    assert invoke("fit", "data.npy", "-k", 4, "--seed", 0, "-q").exit_code == 0
    whole = read_model(Path("data.model.npz"))
    assert whole.counts == tuple(np.bincount(np.load("data.labels.npy"), minlength=4))
    options = ("-k", 4, "--seed", 0, "-q", "--force", "--mini-batch", 32)
    assert invoke("fit", "data.npy", *options).exit_code == 0
    found = read_model(Path("data.model.npz"))
    fitted = MiniBatchKMeans(4, random_state=0, batch_size=32).fit(X)
    assert found.centers.tobytes() == fitted.cluster_centers_.tobytes()
    assert found.counts == tuple(fitted._counts)


@pytest.mark.parametrize("quiet", [False, True])
def test_json(named, invoke, quiet):
    result = invoke("export", named, "--output", "m.pmml", "--json", *["-q"] * quiet)
    told = json.loads(result.stdout)
    assert set(told.pop("seconds")) == {"read", "export", "write"}
    assert told.pop("version")
    assert told == {
        "model": "named.npz", "form": "PMML", "n_features": 3, "n_clusters": 4,
        "feature_names": list(NAMES), "bytes": os.path.getsize("m.pmml"),
        "outputs": {"model": "m.pmml"}, "warnings": [],
    }  # fmt: skip
    assert (result.stderr == "") == quiet


def test_an_existing_file_needs_force(estimator, model, invoke, fails):
    Path("m.pmml").write_text("older")
    assert "--force" in fails(ExitCode.CANNOT_WRITE, "export", model, "-o", "m.pmml")
    assert Path("m.pmml").read_text() == "older"
    assert invoke("export", model, "-o", "m.pmml", "--force").exit_code == 0
    assert Path("m.pmml").read_bytes() == to_pmml(estimator).encode()


@pytest.mark.parametrize("name", ["m.txt", "m", "m.pmml.gz", ".pmml", "m.npz"])
def test_another_ending_names_those_that_there_are(model, fails, name):
    said = fails(ExitCode.USAGE, "export", model, "-o", name)
    assert said == f"{name}: the name must end in .onnx, .h or .pmml"


def test_a_file_to_write_must_be_named(model, fails):
    assert "--output" in fails(ExitCode.USAGE, "export", model)


def test_options_go_to_the_form(model, made_up, invoke):
    assert invoke("export", model, "-o", "m.txt", "--name", "n", "--opset", 15).exit_code == 0
    assert Path("m.txt").read_text() == "((4, 3), [('name', 'n'), ('opset', 15)])"
    assert invoke("export", model, "-o", "bare.txt").exit_code == 0
    assert Path("bare.txt").read_text() == "((4, 3), [])"


@pytest.mark.parametrize(
    ("output", "options", "shown"),
    [
        ("m.pmml", ["--name", "x"], "PMML has no option --name"),
        ("m.pmml", ["--labels-only"], "PMML has no option --labels-only"),
        ("m.h", ["--exact"], "C has no option --exact"),
        ("m.onnx", ["--rows", "uint8"], "ONNX has no option --rows"),
        ("m.h", ["--precision", "double"], "C has no option --precision"),
        ("m.h", ["--labels-only"], "C has no option --labels-only"),
        ("m.onnx", ["--name", "x"], "ONNX has no option --name"),
    ],
)
def test_an_option_of_another_form(model, fails, output, options, shown):
    assert fails(ExitCode.USAGE, "export", model, "-o", output, *options) == f"{output}: {shown}"


@pytest.mark.parametrize(
    "option", [("--precision", "half"), ("--opset", 0), ("--opset", "x"), ("--rows", "int8")]
)
def test_an_option_with_a_wrong_value(model, fails, option):
    assert option[0] in fails(ExitCode.USAGE, "export", model, "-o", "m.onnx", *option)


def test_a_model_that_is_none(X, model, fails):
    np.save("data.npy", X)
    np.savez("data.npz", X=X)
    Path("cut.npz").write_bytes(model.read_bytes()[:300])
    for name, code in (("data.npy", ExitCode.BAD_DATA), ("data.npz", ExitCode.BAD_DATA),
                       ("cut.npz", ExitCode.BAD_DATA), ("no.npz", ExitCode.NO_INPUT)):  # fmt: skip
        assert fails(code, "export", name, "-o", "m.pmml").startswith(f"{name}: ")


def test_names_that_a_form_cannot_hold(estimator, fails):
    model = stored(estimator.cluster_centers_, "bad.npz", ("a", "b\x1b[2J", "c"))
    said = fails(ExitCode.BAD_DATA, "export", model, "-o", "m.pmml")
    assert said.startswith("bad.npz: ")
    assert "U+001B" in said
    assert said.isprintable()


def test_hostile_names_go_through(estimator, invoke):
    names = ('<a&"b">', "é日本😀", "label")
    model = stored(estimator.cluster_centers_, "odd.npz", names)
    assert invoke("export", model, "-o", "m.pmml").exit_code == 0
    assert tuple(fields("m.pmml")) == names


def test_an_option_that_the_form_refuses(model, fails, monkeypatch):
    def refuse(model, **options):
        raise ValueError("name='1' is no identifier of C\nand more")

    monkeypatch.setitem(FORMS, ".h", Form("C", "compilers", refuse, ("name",)))
    said = fails(ExitCode.USAGE, "export", model, "-o", "m.h", "--name", "1")
    assert said == "name='1' is no identifier of C"


def test_a_missing_extra_is_one_line(model, fails, monkeypatch):
    def missing(model, **options):
        raise ImportError('an ONNX graph needs onnx; run: pip install "tilewise[onnx]"')

    monkeypatch.setitem(FORMS, ".onnx", Form("ONNX", "runtimes", missing))
    said = fails(ExitCode.MISSING_EXTRA, "export", model, "-o", "m.onnx")
    assert said == 'an ONNX graph needs onnx; run: pip install "tilewise[onnx]"'


def test_a_warning_is_a_line(model, invoke, monkeypatch):
    def warn(model):
        warnings.warn("this loses something", stacklevel=2)
        return b"x"

    monkeypatch.setitem(FORMS, ".pmml", Form("PMML", "engines", warn))
    result = invoke("export", model, "-o", "m.pmml", "--json", "-q")
    assert json.loads(result.stdout)["warnings"] == ["this loses something"]
    assert result.stderr == "tilewise: warning: this loses something\n"


def test_options_are_those_of_the_forms():
    told = {parameter.name for parameter in _export.form_options(lambda: None).__click_params__}
    assert told == {name for form in FORMS.values() for name in form.options}


def test_the_form_decides_what_is_imported(model):
    code = (
        "import sys; from tilewise.cli import main\n"
        "code = main(sys.argv[1:]); assert 'onnx' not in sys.modules; sys.exit(code)"
    )
    child = process("export", model, "-o", "m.pmml", code=code)
    assert child.wait(100) == 0


# --- the other two forms ------------------------------------------------------------------------


def test_a_c_header(X, estimator, model, invoke, fails):
    np.save("data.npy", X)
    assert invoke("fit", "data.npy", "-k", 4, "--seed", 0, "-q").exit_code == 0
    assert invoke("export", "data.model.npz", "-o", "m.h").exit_code == 0
    # The rows that each centre stands for come with it, for a device that goes on learning.
    assert Path("m.h").read_bytes() == to_c(estimator).encode()
    assert invoke("export", "data.model.npz", "-o", "other.h", "--name", "photo").exit_code == 0
    text = Path("other.h").read_text(encoding="utf-8")
    assert text == to_c(estimator, "photo")
    assert re.search(r"\bphoto_predict\b", text)
    assert invoke("export", model, "-o", "without.h").exit_code == 0
    whole = KMeans(2, random_state=0, n_init=1).fit([[0.0, 1.0, 2.0], [250.0, 7.0, 3.0]])
    bytes_model = stored(whole.cluster_centers_, "bytes.npz")
    assert invoke("export", bytes_model, "-o", "b.h", "--rows", "uint8").exit_code == 0
    assert "uint8_t" in Path("b.h").read_text(encoding="utf-8")
    assert "1x" in fails(ExitCode.USAGE, "export", model, "-o", "no.h", "--name", "1x")


def test_an_onnx_graph(X, estimator, named, invoke, fails):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    for options in ([], ["--labels-only"], ["--precision", "float32"]):
        done = invoke("export", named, "-o", "m.onnx", "--force", *options)
        assert done.exit_code == 0, done.stderr
        onnx.checker.check_model(onnx.load("m.onnx"))
        session = runtime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        assert outputs[0] == "label"
        assert ("distances" in outputs) == ("--labels-only" not in options)
        entry = session.get_inputs()[0]
        rows = X.astype(np.float64 if entry.type == "tensor(double)" else np.float32)
        labels = session.run(["label"], {entry.name: rows})[0]
        np.testing.assert_array_equal(labels, estimator.predict(rows))
    fails(ExitCode.USAGE, "export", named, "-o", "new.onnx", "--opset", 100_000)


@pytest.mark.parametrize("package", ["onnx"])
def test_an_onnx_graph_without_the_extra(model, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from tilewise.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    child = process("export", model, "-o", "m.onnx", code=code, stderr=subprocess.PIPE, text=True)
    _, said = child.communicate(timeout=100)
    assert child.returncode == ExitCode.MISSING_EXTRA
    assert said.count("\n") == 1
    assert 'pip install "tilewise[onnx]"' in said
    assert not Path("m.onnx").exists()

"""The same graphs in onnxruntime-web, as a page in a browser runs them: WebAssembly, under Node.

`make onnx-web` installs it in build/onnx-web; TILEWISE_NODE_MODULES names another folder
node_modules.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tilewise.export import to_onnx

pytest.importorskip("onnx", reason="the package onnx is not installed")

from onnx_cases import CASES, model_of, narrow

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / "build" / "onnx-web" / "node_modules"
GRAPHS = [
    (("label",), "double"),
    (("label",), "float32"),
    (("label", "distances"), "double"),
]


def no_numbers():
    X, centers = narrow(5)
    X = X[:5].copy()
    X[0, 2], X[1, 0], X[2, 4] = np.nan, np.inf, -np.inf
    return X, centers


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the graphs give for all rows and for the first one alone: a list for each case."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    modules = Path(os.environ.get("TILEWISE_NODE_MODULES", INSTALLED))
    if not (modules / "onnxruntime-web").is_dir():
        pytest.skip(f"no onnxruntime-web in {modules}: run `make onnx-web`")
    folder = tmp_path_factory.mktemp("web")
    asked = []
    for name, case in [*CASES.items(), ("no numbers", no_numbers)]:
        X, centers = case()
        model = model_of(centers)
        X.tofile(folder / f"{name}.rows")
        for number, (outputs, precision) in enumerate(GRAPHS):
            graph = to_onnx(model, X, outputs=outputs, precision=precision)
            (folder / f"{name}-{number}.onnx").write_bytes(graph.SerializeToString())
            asked.append({"name": name, "graph": f"{name}-{number}.onnx", "rows": f"{name}.rows",
                          "type": X.dtype.name, "shape": X.shape})  # fmt: skip
    (folder / "cases.json").write_text(json.dumps(asked))
    command = [node, HERE / "web" / "run.mjs", modules, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for item, answer in zip(asked, json.loads(done.stdout), strict=True):
        found.setdefault(item["name"], []).append(answer)
    return found


@pytest.mark.parametrize("name", CASES)
def test_labels_and_distances(answers, name):
    X, centers = CASES[name]()
    model = model_of(centers)
    labels, distances = model.predict(X), model.transform(X).ravel().astype(np.float64)
    allowed = 1e-6 * distances + np.finfo(X.dtype).smallest_subnormal * (distances > 0)
    assert len(answers[name]) == len(GRAPHS)
    for answer in answers[name]:
        assert np.array_equal(answer["label"], labels)
        assert answer["first"] == labels[0]
    found = np.array(answers[name][2]["distances"], dtype=np.float64)
    # The squares of larger ones overflow.
    usual = distances < 1e150
    assert (np.abs(found - distances)[usual] <= allowed[usual]).all()


def test_what_is_no_number(answers):
    X, centers = no_numbers()
    labels = model_of(centers).predict(X[3:])
    for answer in answers["no numbers"]:
        assert answer["label"] == [-1, -1, -1, *labels]
        assert answer["first"] == -1

"""Names of columns between ``tilewise fit`` and ``tilewise predict``, and columns of an index."""

import json
from pathlib import Path

import numpy as np
import pytest

from tilewise.cli._errors import ExitCode
from tilewise.cli._model import read_model

from .support import NAMES, write_csv

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


@pytest.fixture
def frame(X):
    return pd.DataFrame(X, columns=NAMES).sample(frac=1, random_state=0)


def fit(invoke, data, *more):
    result = invoke("fit", data, "-k", 3, "--seed", 0, "--json", "--force", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def predict(invoke, model, data, *more):
    result = invoke("predict", model, data, "--json", "--force", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def shards(frame, folder):
    """Parts with an index, of which the second has its columns in another order."""
    Path(folder).mkdir()
    frame[:40].to_parquet(f"{folder}/0.parquet")
    frame[40:][[*NAMES[::-1]]].to_parquet(f"{folder}/1.parquet")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("way", ["file", "limit", "folder"])
def test_parquet_keeps_its_names(frame, invoke, way):
    limit = ["--memory-limit", "8MB"] if way == "limit" else []
    frame.to_parquet("data.parquet")
    shards(frame, "parts")
    data = "parts" if way == "folder" else "data.parquet"
    said, _ = fit(invoke, data, *limit)
    assert said["feature_names"] == list(NAMES)
    assert said["n_features"] == 3
    model = f"{Path(data).stem}.model.npz"
    assert read_model(Path(model)).feature_names == NAMES
    labels = np.load(f"{Path(data).stem}.labels.npy")
    # The columns are found by name: in memory, in parts, in a folder and in text.
    turned = frame[[*NAMES[::-1]]].assign(other=1.0)
    turned.to_parquet("turned.parquet")
    turned.to_csv("turned.csv")
    for other, more in (
        ("turned.parquet", []), ("turned.parquet", ["--memory-limit", "8MB"]), ("parts", []),
        ("turned.csv", []),
    ):  # fmt: skip
        said, stderr = predict(invoke, model, other, *more)
        assert said["warnings"] == said["notes"] == []
        assert "warning" not in stderr
        found = np.load(f"{Path(other).stem}.predicted.npy")
        np.testing.assert_array_equal(found, labels)


def test_other_names_are_refused(frame, invoke, fails):
    frame.to_parquet("data.parquet")
    fit(invoke, "data.parquet")
    frame.rename(columns={"width": "breadth"}).to_parquet("other.parquet")
    Path("parts").mkdir()
    frame.rename(columns={"width": "breadth"}).to_parquet("parts/0.parquet")
    for data, more in (("other.parquet", []), ("other.parquet", ["--memory-limit", "8MB"]),
                       ("parts", [])):  # fmt: skip
        message = fails(ExitCode.BAD_DATA, "predict", "data.model.npz", data, *more)
        assert "'width'" in message
        said, _ = predict(invoke, "data.model.npz", data, "--ignore-names", *more)
        assert said["n_features"] == 3
        assert said["warnings"] == []
        Path(f"{Path(data).stem}.predicted.npy").unlink()


def test_parts_with_other_names(frame, fails):
    Path("parts").mkdir()
    frame.to_parquet("parts/0.parquet")
    frame.rename(columns={"width": "breadth"}).to_parquet("parts/1.parquet")
    message = fails(ExitCode.BAD_DATA, "fit", "parts", "-k", 3)
    assert "1.parquet: the columns are 'height', 'breadth', 'depth', but those of" in message
    assert "'height', 'width', 'depth'" in message


def test_names_on_one_side_only(X, frame, invoke):
    np.save("plain.npy", X)
    frame.to_parquet("named.parquet")
    fit(invoke, "plain.npy")
    fit(invoke, "named.parquet")
    limit = ["--memory-limit", "8MB"]
    for more in ([], limit):
        said, stderr = predict(invoke, "named.model.npz", "plain.npy", *more)
        (warning,) = said["warnings"]
        assert "X does not have valid feature names, but KMeans was fitted with" in warning
        assert f"tilewise: warning: {warning}" in stderr
        said, _ = predict(invoke, "plain.model.npz", "named.parquet", *more)
        (warning,) = said["warnings"]
        assert "X has feature names, but KMeans was fitted without feature names" in warning
        said, _ = predict(invoke, "plain.model.npz", "plain.npy", *more)
        assert said["warnings"] == []


def test_a_model_file_is_an_estimator_with_names(frame, invoke):
    frame.to_parquet("named.parquet")
    fit(invoke, "named.parquet")
    estimator = read_model(Path("named.model.npz")).estimator()
    assert estimator.feature_names_in_.tolist() == list(NAMES)
    labels = np.load("named.labels.npy")
    np.testing.assert_array_equal(estimator.predict(frame), labels)
    with pytest.raises(ValueError, match="must be in the same order"):
        estimator.predict(frame[[*NAMES[::-1]]])


# ---------------------------------------------------------------- an index in Parquet


@pytest.mark.parametrize("way", ["file", "limit", "folder"])
@pytest.mark.parametrize("index", ["shuffled", "named", "several"])
def test_the_index_of_a_frame_is_no_feature(frame, invoke, way, index):
    if index == "named":
        frame.index.name = "id"
    if index == "several":
        frame = frame.set_index(pd.MultiIndex.from_arrays([frame.index, frame.index * 2]))
    Path("folder").mkdir()
    frame.to_parquet("folder/data.parquet")
    data = "folder" if way == "folder" else "folder/data.parquet"
    said, stderr = fit(invoke, data, *(["--memory-limit", "8MB"] if way == "limit" else []))
    assert said["feature_names"] == list(NAMES)
    assert said["notes"] == []
    assert "note" not in stderr
    if index == "named" and way == "file":
        said, _ = fit(invoke, data, "--columns", "id,width")
        assert said["feature_names"] == ["id", "width"]


# ---------------------------------------------------------------- an index in text


@pytest.mark.parametrize("index", ["shuffled", "counting", "texts"])
def test_a_first_column_without_a_name(frame, invoke, index):
    if index == "counting":
        frame = frame.reset_index(drop=True)
    if index == "texts":
        frame.index = [f"row {i}" for i in frame.index]
    frame.to_csv("data.csv")
    said, stderr = fit(invoke, "data.csv")
    assert said["feature_names"] == list(NAMES)
    (note,) = said["notes"]
    assert note == (
        "data.csv: the first column has no name, so it is left out as an index; "
        "pass --columns 0-3 to keep all"
    )
    assert stderr.startswith(f"tilewise: note: {note}\n")
    labels = np.load("data.labels.npy")
    said, _ = predict(invoke, "data.model.npz", "data.csv")
    np.testing.assert_array_equal(np.load("data.predicted.npy"), labels)
    assert said["notes"] == said["warnings"] == []
    if index != "texts":
        said, stderr = fit(invoke, "data.csv", "--columns", "0-3")
        assert said["feature_names"] == ["", *NAMES]
        assert said["notes"] == []
    quiet = invoke("fit", "data.csv", "-k", 3, "--quiet", "--force")
    assert quiet.stdout == ""
    assert quiet.stderr == f"tilewise: note: {note}\n"


def test_two_first_columns_without_names(frame, invoke):
    frame.set_index(pd.MultiIndex.from_arrays([frame.index, frame.index * 2])).to_csv("data.csv")
    said, _ = fit(invoke, "data.csv")
    assert said["feature_names"] == list(NAMES)
    assert "the first 2 columns have no names, so they are left out as an index" in said["notes"][0]


def test_a_model_without_names_meets_an_index(X, frame, invoke):
    np.save("plain.npy", X)
    fit(invoke, "plain.npy")
    frame.to_csv("data.csv")
    said, _ = predict(invoke, "plain.model.npz", "data.csv", "--ignore-names")
    assert said["n_features"] == 3
    assert "left out" in said["notes"][0]


@pytest.mark.parametrize(
    ("header", "first", "said"),
    [
        (None, 0, "column index 0 counts the rows from 0 and is used as a feature; "),
        (None, 1, "column index 0 counts the rows from 1 and is used as a feature; "),
        (("Unnamed: 0", *NAMES), 0, "column 'Unnamed: 0' counts the rows from 0 and is "),
        (None, 5, None),
        (("id", *NAMES), 2, None),
    ],
)
def test_a_first_column_that_counts(X, invoke, folder, header, first, said):
    counted = np.column_stack([np.arange(first, first + len(X)), X])
    write_csv(folder / "data.csv", counted, header)
    found, _ = fit(invoke, "data.csv")
    assert found["n_features"] == 4
    if said is None:
        assert found["notes"] == []
        return
    (note,) = found["notes"]
    assert note.startswith(f"data.csv: {said}")
    assert note.endswith("pass --columns 1-3 to leave it out")
    found, _ = fit(invoke, "data.csv", "--columns", "1-3")
    assert found["n_features"] == 3
    assert found["notes"] == []


def test_columns_without_names_elsewhere(X, invoke, folder):
    write_csv(folder / "data.csv", X, ("height", "", "depth"))
    found, _ = fit(invoke, "data.csv")
    assert found["feature_names"] == ["height", "", "depth"]
    assert found["notes"] == []
    write_csv(folder / "data.csv", X, ("", "", ""))
    found, _ = fit(invoke, "data.csv")
    assert found["n_features"] == 3

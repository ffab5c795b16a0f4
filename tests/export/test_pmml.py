"""PMML documents: their structure, and the labels that a scorer reads from them.

The rules of the structure are written here from the specification of PMML 4.4
(https://dmg.org/pmml/v4-4-1/GeneralStructure.html and the pages beside it).
"""

import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn import cluster
from sklearn.datasets import load_digits, load_sample_image, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.image import extract_patches_2d

from tilewise import KMeans, MiniBatchKMeans
from tilewise.export import to_pmml

SCORED = 400  # rows of a set that the scorer is asked for
HOSTILE = ('<a&"b">', "label", "a b\tc\nd\r e", "é日本😀", "squared_distance", " ", "]]>", "'",
           "least", "closest", "distance_1", "distance_1_")  # fmt: skip
NUMBER = r"-?\d+(\.\d+)?([eE][-+]?\d+)?"

# Element: attributes that it must have with what they may say, attributes that it may have, and
# what lies in it, in this order: + behind what may repeat, ? behind what may be missing.
RULES = {
    "PMML": ({"version": r"4\.4"}, {}, "Header DataDictionary ClusteringModel"),
    "Header": ({}, {"description": ".*"}, "Application"),
    "Application": ({"name": ".+"}, {"version": ".+"}, ""),
    "DataDictionary": ({}, {"numberOfFields": r"\d+"}, "DataField+"),
    "DataField": (
        {"name": "(?s:.+)", "optype": "continuous", "dataType": "double"}, {}, "Interval"
    ),
    "Interval": (
        {"closure": "(open|closed)(Open|Closed)"}, {"leftMargin": NUMBER, "rightMargin": NUMBER}, ""
    ),
    "ClusteringModel": (
        {"functionName": "clustering", "modelClass": "centerBased", "numberOfClusters": r"\d+"},
        {"modelName": ".+"},
        "MiningSchema Output LocalTransformations? ComparisonMeasure ClusteringField+ Cluster+",
    ),
    "MiningSchema": ({}, {}, "MiningField+"),
    "MiningField": (
        {"name": "(?s:.+)"},
        {"usageType": "active", "missingValueTreatment": "returnInvalid",
         "invalidValueTreatment": "returnInvalid"},
        "",
    ),
    "Output": ({}, {}, "OutputField+"),
    "OutputField": (
        {"name": ".+", "dataType": "string|double"},
        {"optype": "categorical|continuous",
         "feature": "predictedValue|affinity|transformedValue"},
        "FieldRef?",
    ),
    "LocalTransformations": ({}, {}, "DerivedField+"),
    "DerivedField": (
        {"name": ".+", "optype": "continuous", "dataType": "double"}, {}, "(Apply|FieldRef)"
    ),
    "Apply": (
        {"function": r"\+|-|\*|min|if|lessOrEqual"}, {}, "(Apply|FieldRef|Constant)+"
    ),
    "FieldRef": ({"field": "(?s:.+)"}, {}, ""),
    "Constant": ({}, {"dataType": "double"}, ""),
    "ComparisonMeasure": ({"kind": "distance"}, {"compareFunction": "absDiff"}, "squaredEuclidean"),
    "squaredEuclidean": ({}, {}, ""),
    "ClusteringField": ({"field": "(?s:.+)"}, {}, ""),
    "Cluster": ({}, {"id": r"\d+"}, "Array"),
    "Array": ({"type": "real"}, {"n": r"\d+"}, ""),
}  # fmt: skip


def checked(text):
    """The root of a document that follows the rules, with names that stand for themselves."""
    root = ElementTree.fromstring(text.encode())
    for element in root.iter():
        assert element.tag.startswith("{http://www.dmg.org/PMML-4_4}")
        element.tag = element.tag.partition("}")[2]
    for element in root.iter():
        needed, allowed, within = RULES[element.tag]
        assert set(needed) <= set(element.attrib) <= set(needed) | set(allowed), element.tag
        for name, value in element.attrib.items():
            assert re.fullmatch((needed | allowed)[name], value), (element.tag, name, value)
        order = re.sub(r"(\S+?)([+?]?)( |$)", r"(\1 )\2", within)
        assert re.fullmatch(order, "".join(f"{child.tag} " for child in element)), element.tag
    return root


def names_in(root, tag, attribute="name"):
    return [element.get(attribute) for element in root.iter(tag)]


def centers_in(root):
    return [[float(word) for word in array.text.split()] for array in root.iter("Array")]


def model_of(centers, like=np.float64):
    """A fitted model with these centres."""
    centers = np.asarray(centers, dtype=like)
    model = KMeans(len(centers), random_state=0, n_init=1, max_iter=1)
    rows = np.random.default_rng(0).normal(size=(len(centers) + 1, centers.shape[1]))
    model.fit(rows.astype(like))
    model.cluster_centers_ = centers
    return model


def midway(centers, rng, n_rows, dtype):
    """Rows between two centres that are close to each other: about as far from the one as from
    the other."""
    centers = centers.astype(np.float64)
    first = rng.integers(len(centers), size=n_rows)
    squares = ((centers[first][:, None] - centers) ** 2).sum(axis=2)
    squares[np.arange(n_rows), first] = np.inf
    return ((centers[first] + centers[squares.argmin(axis=1)]) / 2).astype(dtype)


def make_set(name, dtype):
    """A fitted model and rows for it."""
    rng = np.random.default_rng(3)
    if name == "whole numbers":
        rows = np.rint(rng.normal(size=(2000, 8)) * 2).astype(dtype)
        centers = np.rint(rng.normal(size=(20, 8)) * 4) / 2
        centers[7] = centers[3]
        return model_of(centers, dtype), rows
    if name == "digits":
        rows = load_digits().data
    elif name == "patches":
        rows = extract_patches_2d(load_sample_image("china.jpg"), (4, 4), max_patches=2000,
                                  random_state=0).reshape(2000, -1) / 255.0  # fmt: skip
    else:
        rows = make_blobs(2000, n_features=16, centers=24, cluster_std=3.0, random_state=0)[0]
    change = {"+ 1e4": (1, 1e4), "+ 1e6": (1, 1e6), "x 1e30": (1e30, 0), "x 1e-25": (1e-25, 0)}
    scale, offset = change.get(name, (1, 0))
    rows = (rows * scale + offset).astype(dtype)
    model = KMeans(24, random_state=0, n_init=1, max_iter=10).fit(rows)
    if name == "bisectors":
        rows = midway(model.cluster_centers_, rng, 2000, dtype)
    return model, rows


SETS = ("blobs", "digits", "patches", "bisectors", "whole numbers", "+ 1e4", "+ 1e6", "x 1e30",
        "x 1e-25")  # fmt: skip


@pytest.fixture(scope="module")
def scorer():
    """PMML4S: a function that loads a document and scores rows with it."""
    pypmml = pytest.importorskip("pypmml", exc_type=ImportError)
    if shutil.which("java") is None:
        pytest.skip("no java on this machine: PMML documents are not scored")

    def score(text, rows):
        document = pypmml.Model.fromString(text)
        assert len(document.outputNames) == 2
        return document.predict(np.asarray(rows, dtype=np.float64).tolist())

    yield score
    pypmml.PMMLContext.shutdown()


def canonical(row, center):
    """The squared distance in the order of additions that all labels go by."""
    sums = [0.0] * 8
    for column, (x, c) in enumerate(zip(row.tolist(), center.tolist(), strict=True)):
        sums[column % 8] += (x - c) * (x - c)
    a, b, c, d, e, f, g, h = sums
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


def squared_distances(rows, centers):
    differences = np.asarray(rows, np.float64)[:, None] - np.asarray(centers, np.float64)
    return (differences**2).sum(axis=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SETS)
def test_a_scorer_gives_the_labels_of_predict(scorer, name, dtype):
    model, rows = make_set(name, dtype)
    rows = rows[:SCORED]
    expected = model.predict(rows)
    found = scorer(to_pmml(model), rows)
    labels = np.array([int(label) for label, _ in found])
    distances = np.array([distance for _, distance in found])
    squares = squared_distances(rows, model.cluster_centers_)
    np.testing.assert_allclose(distances, squares[np.arange(len(rows)), labels], rtol=1e-12)
    if (name, dtype) != ("bisectors", np.float64):
        np.testing.assert_array_equal(labels, expected)
    # Sums of d squares in two orders: rounding of the difference, the square and d - 1 sums, each.
    depth = rows.shape[1] + 2
    bound = 1 + 2 * depth * np.finfo(np.float64).eps
    assert (squares[np.arange(len(rows)), labels] <= squares.min(axis=1) * bound).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SETS)
def test_formulas_give_the_labels_of_predict_always(scorer, name, dtype):
    model, rows = make_set(name, dtype)
    rows = rows[:150]
    expected = model.predict(rows)
    found = scorer(to_pmml(model, exact=True), rows)
    assert [int(label) for label, _ in found] == expected.tolist()
    centers = model.cluster_centers_[expected].astype(np.float64)
    wanted = [canonical(*pair) for pair in zip(rows.astype(np.float64), centers, strict=True)]
    assert [distance for _, distance in found] == wanted


def test_the_plain_document_is_not_exact(scorer):
    # If this fails, scorers add up in our order, and nobody needs formulas.
    model, rows = make_set("bisectors", np.float64)
    found = scorer(to_pmml(model), rows[:150])
    assert [int(label) for label, _ in found] != model.predict(rows[:150]).tolist()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("n_features", [1, 3, 4, 9, 300])
@pytest.mark.parametrize("n_clusters", [1, 5])
def test_shapes_that_are_rare(scorer, n_features, n_clusters, exact):
    rng = np.random.default_rng(n_features)
    model = model_of(rng.normal(size=(n_clusters, n_features)))
    rows = rng.normal(size=(20, n_features))
    found = scorer(to_pmml(model, exact=exact), rows)
    assert [int(label) for label, _ in found] == model.predict(rows).tolist()


@pytest.mark.parametrize("exact", [False, True])
def test_ties_go_to_the_lowest_label(scorer, exact):
    model = model_of([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    rows = [[1.0, 0.0], [0.0, 0.0], [0.0, -7.0], [-1.0, 0.0], [0.5, 0.5]]
    assert model.predict(rows).tolist() == [1, 1, 1, 3, 1]
    expected = [["1", 0.0], ["1", 1.0], ["1", 50.0], ["3", 0.0], ["1", 0.5]]
    assert scorer(to_pmml(model, exact=exact), rows) == expected


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
def test_a_scorer_refuses_what_is_no_number(scorer, bad, exact):
    text = to_pmml(model_of([[0.0, 0.0], [1.0, 1.0]]), exact=exact)
    import pypmml

    document = pypmml.Model.fromString(text)
    good, refused = document.predict([[1.0, 2.0], [1.0, bad]])
    assert good == ["1", 1.0]
    assert refused[0] is None
    assert np.isnan(refused[1])
    assert document.predict({"x0": 1.0})["label"] is None


@pytest.mark.parametrize("n_features", [1, 2, 3, 1000])
def test_rows_whose_squares_overflow_are_refused(scorer, n_features):
    model = model_of([[-1.0] * n_features, [1.0] * n_features])
    text = to_pmml(model)
    margin = float(next(checked(text).iter("Interval")).get("rightMargin"))
    assert 1e150 < margin < 1e154
    row = [margin] * n_features
    found = scorer(text, [row, np.negative(row), [*row[1:], 2 * margin]])
    assert [label for label, _ in found] == ["0", "0", None]  # both are equally far, rounded
    assert np.isfinite([distance for _, distance in found[:2]]).all()
    far = model_of([[-margin] * n_features, [margin] * n_features])
    assert scorer(to_pmml(far), [row])[0] == ["1", 0.0]
    assert np.isfinite(scorer(to_pmml(far), [np.negative(row)])[0][1])
    model.cluster_centers_[1, 0] = 1.5 * margin
    with pytest.raises(ValueError, match="squared distances are finite for numbers up to"):
        to_pmml(model)


@pytest.mark.parametrize("exact", [False, True])
def test_a_scorer_reads_hostile_names(scorer, exact):
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).normal(size=(60, len(HOSTILE)))
    frame = pandas.DataFrame(rows, columns=list(HOSTILE))
    model = KMeans(4, random_state=0).fit(frame)
    text = to_pmml(model, exact=exact)
    assert [int(label) for label, _ in scorer(text, rows)] == model.predict(frame).tolist()
    import pypmml

    document = pypmml.Model.fromString(text)
    assert tuple(document.inputNames) == HOSTILE
    backwards = dict(reversed(list(zip(HOSTILE, rows[5].tolist(), strict=True))))
    assert int(document.predict(backwards)["label_"]) == model.labels_[5]


def test_a_document_holds_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(40, 6)) * 10.0 ** rng.integers(-300, 150, size=(40, 6))
    centers[0] = [0.1, -0.0, 5e-324, 1.2345678901234567e152, 2**53 + 1, 1e-7]
    root = checked(to_pmml(model_of(centers)))
    assert np.array(centers_in(root)).tobytes() == centers.tobytes()
    narrow = rng.normal(size=(3, 2)).astype(np.float32)
    root = checked(to_pmml(model_of(narrow, np.float32)))
    assert np.array(centers_in(root)).tobytes() == narrow.astype(np.float64).tobytes()


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, cluster.KMeans, cluster.MiniBatchKMeans])
def test_the_structure_follows_the_specification(kind):
    model = kind(3, random_state=0, n_init=1).fit(np.random.default_rng(0).normal(size=(30, 4)))
    root = checked(to_pmml(model))
    fields = ["x0", "x1", "x2", "x3"]
    assert names_in(root, "DataField") == names_in(root, "MiningField") == fields
    assert names_in(root, "ClusteringField", "field") == fields
    assert names_in(root, "OutputField") == ["label", "squared_distance"]
    assert names_in(root, "Cluster", "id") == ["0", "1", "2"]
    assert root.find("DataDictionary").get("numberOfFields") == "4"
    assert root.find("ClusteringModel").get("numberOfClusters") == "3"
    assert names_in(root, "Array", "n") == ["4"] * 3
    assert np.array_equal(centers_in(root), model.cluster_centers_)


def test_the_structure_of_formulas_follows_the_specification():
    model = named(model_of(np.arange(24.0).reshape(2, 12) / 7), HOSTILE)
    root = checked(to_pmml(model, exact=True))
    assert names_in(root, "DerivedField") == ["distance_0", "distance_1__", "least_", "closest_"]
    assert names_in(root, "ClusteringField", "field") == ["closest_"]
    assert centers_in(root) == [[0.0], [1.0]]
    used = {reference.get("field") for reference in root.iter("FieldRef")}
    assert used == {*HOSTILE, "distance_0", "distance_1__", "least_"}
    assert names_in(root, "Apply", "function").count("*") == 24


def named(model, names):
    model.feature_names_in_ = np.array(names, dtype=object)
    return model


def test_names_are_those_of_the_features():
    model = named(model_of(np.eye(len(HOSTILE))), HOSTILE)
    root = checked(to_pmml(model))
    for tag, attribute in (("DataField", "name"), ("MiningField", "name"),
                           ("ClusteringField", "field")):  # fmt: skip
        assert tuple(names_in(root, tag, attribute)) == HOSTILE
    assert names_in(root, "OutputField") == ["label_", "squared_distance_"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "a"], r"'a' \(column 2\) is that of column 0 too"),
        (["a", "", "c"], "column 1 is empty"),
        (["a", "b", "\x00"], r"column 2\) has U\+0000, which XML cannot hold"),
        (["a\x1b[2J", "b", "c"], r"\\x1b.*U\+001B"),
        (["a", "\ud800", "c"], r"U\+D800"),
        (["\uffff", "b", "c"], r"U\+FFFF"),
        (["a", "b"], "2 feature names for 3 columns"),
    ],
)
def test_names_that_no_document_can_have(names, message):
    with pytest.raises(ValueError, match=message) as caught:
        to_pmml(named(model_of(np.eye(3)), names))
    assert str(caught.value).isprintable()


def test_the_file_is_the_document(tmp_path):
    model = named(model_of(np.eye(4)), ["é", "日", "\r\n", "😀"])
    path = tmp_path / "model.pmml"
    text = to_pmml(model, path=path)
    assert path.read_bytes() == text.encode()
    assert to_pmml(model, path=str(path)) == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pmml"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "model.pmml"
    path.write_text("older")
    with pytest.raises(NotFittedError):
        to_pmml(KMeans(2), path=path)
    with pytest.raises(TypeError, match="got dict"):
        to_pmml({}, path=path)
    with pytest.raises(OSError, match="the PMML document could not be written"):
        to_pmml(model_of(np.eye(2)), path=tmp_path / "nowhere" / "model.pmml")
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pmml"]
    broken = model_of(np.eye(2))
    broken.cluster_centers_[1, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        to_pmml(broken)

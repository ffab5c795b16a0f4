"""K-Means as PMML: a document that scoring engines in Java, Scala and databases read.

The document follows PMML 4.4 of the Data Mining Group
(https://dmg.org/pmml/v4-4-1/ClusteringModel.html): a ClusteringModel of class "centerBased", whose
scorer takes the first cluster at the least squared Euclidean distance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tilewise._files import replacing
from tilewise._text import printable
from tilewise._typing import PathLike
from tilewise.export._fitted import FittedModel, fitted

NAMESPACE = "http://www.dmg.org/PMML-4_4"

# What XML 1.0 has no way to write, escaped or not: production [2], Char.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_pmml(model: Any, *, exact: bool = False, path: PathLike | None = None) -> str:
    """Write a fitted K-Means model as a PMML 4.4 document.

    The document has a field of type double for each feature. A scorer gives two outputs: ``label``,
    a text such as "3", because PMML has texts for the names of clusters, and ``squared_distance``
    (double), the squared Euclidean distance to the centre of that label. Centres are written in
    full: a reader gets every bit back. A row with a missing value, NaN, an infinity or a number
    above about 1e150, whose square would overflow, gets no label: the document tells the scorer to
    refuse it.

    Parameters
    ----------
    model : estimator
        A fitted `KMeans` or `MiniBatchKMeans` of tilewise, tilewise.dask or scikit-learn.
    exact : bool, default=False
        Whether to write the distances as formulas too, with the additions in the order of
        ``predict``. The labels are then those of ``predict`` for every row, and the document is
        about ten times as long. See the notes.
    path : str or path-like, optional
        A file to write the document to as well, in UTF-8: the whole of it or nothing.

    Returns
    -------
    str
        The document.

    Raises
    ------
    TypeError
        If `model` is something else.
    sklearn.exceptions.NotFittedError
        If it has not been fitted.
    ValueError
        If its centres are not finite or above about 1e150, or if a feature name is empty, occurs
        twice or has a character that XML cannot hold.
    OSError
        If the file cannot be written. A file that was there before is then unchanged.

    Notes
    -----
    Fields have the names of the features, or ``x0``, ``x1``, ... where the model knows none. An
    output whose name is a feature gets a ``_`` behind it.

    PMML has squared distances. Those below 1e-308 are zero for a scorer, so labels need
    differences above about 1e-150; ``predict`` scales such rows.

    Scorers compute in double, but PMML does not say in which order they add up the squares. So
    without `exact` a row can get another label than from ``predict`` if its two least distances
    agree in the first 15 digits or so. In practice these are float64 rows midway between two
    centres. Distances that are equal term by term, as those of repeated centres are, go to the
    lowest label in any order.

    With `exact`, derived fields hold the distance to each centre, the least one, and the lowest
    label that has it. The clusters of the model are then the labels, as points on a line. This
    needs a scorer with the arithmetic of IEEE 754, as Java has it, without fused multiply-adds.

    Examples
    --------
    >>> from tilewise import KMeans
    >>> from tilewise.export import to_pmml
    >>> model = KMeans(2, random_state=0).fit([[1.0, 2.0], [1.0, 4.0], [9.0, 2.0], [9.0, 4.0]])
    >>> [line.strip() for line in to_pmml(model).splitlines() if "<Array" in line]
    ['<Array n="2" type="real">9.0 3.0</Array>', '<Array n="2" type="real">1.0 3.0</Array>']
    """
    known = fitted(model)
    text = _document(known, _field_names(known), exact)
    if path is not None:
        with replacing(path, "the PMML document") as file:
            file.write(text.encode())
    return text


def _field_names(known: FittedModel) -> tuple[str, ...]:
    names = known.feature_names
    if names is None:
        return tuple(f"x{column}" for column in range(known.n_features))
    if len(names) != known.n_features:
        raise ValueError(f"the model has {len(names)} feature names for {known.n_features} columns")
    seen: dict[str, int] = {}
    for column, name in enumerate(names):
        shown = f"the feature name {printable(name, 60)!r} (column {column})"
        if not name:
            raise ValueError(f"the feature name of column {column} is empty: PMML needs one")
        if found := _NOT_IN_XML.search(name):
            raise ValueError(f"{shown} has U+{ord(found[0]):04X}, which XML cannot hold")
        if name in seen:
            raise ValueError(f"{shown} is that of column {seen[name]} too; fields go by name")
        seen[name] = column
    return names


def _margin(known: FittedModel) -> float:
    """The largest number of a row, a power of two whose squared distances are finite."""
    # d (2 margin)^2 <= 2^1022
    margin = math.ldexp(1.0, (1020 - (known.n_features - 1).bit_length()) // 2)
    largest = float(abs(known.centers).max())
    if largest > margin:
        raise ValueError(
            f"the centres have numbers up to {largest:.3g}; squared distances are finite for "
            f"numbers up to {margin:.3g} only"
        )
    return margin


def _free(name: str, taken: tuple[str, ...]) -> str:
    while name in taken:
        name += "_"
    return name


def _document(known: FittedModel, names: tuple[str, ...], exact: bool) -> str:
    root = Element("PMML", {"xmlns": NAMESPACE, "version": "4.4"})
    header = _add(root, "Header", description=f"{known.name}, {known.n_clusters} clusters")
    _add(header, "Application", name="tilewise", version=known.version)
    margin = _margin(known)
    fields = _add(root, "DataDictionary", numberOfFields=str(len(names)))
    for name in names:
        field = _add(fields, "DataField", name=name, optype="continuous", dataType="double")
        # So infinities are invalid: not every scorer finds them out by itself.
        _add(
            field, "Interval",
            closure="closedClosed", leftMargin=repr(-margin), rightMargin=repr(margin),
        )  # fmt: skip
    model = _add(
        root, "ClusteringModel",
        modelName=known.name, functionName="clustering", modelClass="centerBased",
        numberOfClusters=str(known.n_clusters),
    )  # fmt: skip
    schema = _add(model, "MiningSchema")
    for name in names:
        _add(
            schema, "MiningField",
            name=name, usageType="active",
            missingValueTreatment="returnInvalid", invalidValueTreatment="returnInvalid",
        )  # fmt: skip
    output = _add(model, "Output")
    _add(
        output, "OutputField",
        name=_free("label", names), optype="categorical", dataType="string",
        feature="predictedValue",
    )  # fmt: skip
    distance = _add(
        output, "OutputField",
        name=_free("squared_distance", names), optype="continuous", dataType="double",
        feature="affinity",
    )  # fmt: skip
    if exact:
        formulas = _add(model, "LocalTransformations")
        _add_clusters(
            model, [_free("closest", names)], [[float(j)] for j in range(known.n_clusters)]
        )
        distance.set("feature", "transformedValue")
        _field(distance, _free("least", names))
        indent(root)
        _add_formulas(formulas, known, names)  # indented, they would be twice as long
    else:
        _add_clusters(model, names, known.centers.tolist())
        indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _add_clusters(model: Element, names: Sequence[str], centers: list[list[float]]) -> None:
    measure = _add(model, "ComparisonMeasure", kind="distance", compareFunction="absDiff")
    _add(measure, "squaredEuclidean")
    for name in names:
        _add(model, "ClusteringField", field=name)
    for label, center in enumerate(centers):
        cluster = _add(model, "Cluster", id=str(label))
        # repr has the digits that give the double back, at most 17.
        _add(cluster, "Array", n=str(len(names)), type="real").text = " ".join(map(repr, center))


# --- the distances of tw_order.h as formulas ----------------------------------------------------


def _add_formulas(formulas: Element, known: FittedModel, names: tuple[str, ...]) -> None:
    """Add the canonical distance to each centre, the least one, and the first label that has it."""
    numbers = range(known.n_clusters)
    distances = [_free(f"distance_{number}", names) for number in numbers]
    for name, center in zip(distances, known.centers.tolist(), strict=True):
        terms = [_square(*column) for column in zip(names, center, strict=True)]
        _derived(formulas, name).append(_canonical_sum(terms))
    least = _apply("min", _derived(formulas, _free("least", names)))
    for name in distances:
        _field(least, name)
    # A centre that is farther away stands for a number above all labels.
    closest = _apply("min", _derived(formulas, _free("closest", names)))
    for number, name in zip(numbers, distances, strict=True):
        choice = _apply("if", closest)
        condition = _apply("lessOrEqual", choice)
        _field(condition, name)
        _field(condition, _free("least", names))
        _constant(choice, float(number))
        _constant(choice, float(known.n_clusters))


def _square(name: str, value: float) -> Element:
    # Not "pow": that a power is rounded correctly is no promise of Java's.
    square = _apply("*")
    for _ in range(2):
        difference = _apply("-", square)
        _field(difference, name)
        _constant(difference, value)
    return square


def _canonical_sum(terms: list[Element]) -> Element:
    """The sum in the order of tw_order.h, with sums of nothing left out."""
    sums: list[Element | None] = [None] * 8
    for column, term in enumerate(terms):
        sums[column % 8] = _plus(sums[column % 8], term)
    for half in (4, 2, 1):
        sums = [_plus(sums[i], sums[i + half]) for i in range(half)]
    assert sums[0] is not None
    return sums[0]


def _plus(first: Element | None, second: Element | None) -> Element | None:
    if first is None or second is None:
        return second if first is None else first
    both = _apply("+")
    both.extend((first, second))
    return both


def _derived(parent: Element, name: str) -> Element:
    return _add(parent, "DerivedField", name=name, optype="continuous", dataType="double")


def _apply(function: str, parent: Element | None = None) -> Element:
    attributes = {"function": function}
    return Element("Apply", attributes) if parent is None else _add(parent, "Apply", **attributes)


def _field(parent: Element, name: str) -> None:
    _add(parent, "FieldRef", field=name)


def _constant(parent: Element, value: float) -> None:
    _add(parent, "Constant", dataType="double").text = repr(value)


def _add(parent: Element, tag: str, /, **attributes: str) -> Element:
    return SubElement(parent, tag, attributes)

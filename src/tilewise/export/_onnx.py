"""A fitted model, or a pipeline with fitted models in it, as an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn import cluster
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from tilewise._numbers import readable
from tilewise._onnx_graph import add_graph
from tilewise._onnx_nodes import Nodes, element_type
from tilewise._tables import table_rows
from tilewise._version import __version__
from tilewise.cluster._base import BaseKMeans
from tilewise.cluster._onnx import Conversion
from tilewise.export._fitted import fitted, is_kmeans

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

_OUTPUTS = ("label", "distances", "score")
#: The first opset in which every operator of the graphs takes every type that they have.
_OLDEST = 13
#: Runtimes of 2023 and later read it: onnxruntime from 1.14.
_USUAL = 18
#: What says in the metadata what may be relied on.
_EXACT = (
    "label: the lowest index among the centres at the least squared distance (float64, direct "
    "differences, fixed order of additions); -1 for a row with NaN or infinity. "
    "distances: within 1e-6, relatively."
)


def to_onnx(
    model_or_pipeline: Any,
    X: Any = None,
    *,
    outputs: Sequence[str] = ("label", "distances"),
    precision: Literal["double", "float32"] = "double",
    opset: int | None = None,
) -> onnx.ModelProto:
    """Write a fitted model as an ONNX graph that gives the labels of `predict`.

    The label is exact: the lowest index among the centres at the least squared distance, as
    `predict` computes it, also for ties, for duplicate centres and far from the origin. The graph
    ranks centres by rounded scores whose error is bounded. It compares direct differences in
    float64 where the two lowest scores are too close.

    A graph cannot raise. A row with NaN or infinity gets the label -1, and distances that are NaN
    or infinite. So do distances beyond about 1e150, whose squares overflow. onnxruntime-web cannot
    take zero rows where the graph gives labels.

    Parameters
    ----------
    model_or_pipeline : estimator
        A fitted `KMeans` or `MiniBatchKMeans` of tilewise, tilewise.dask or scikit-learn, or a
        pipeline, a union or a column transformer with such models in it: at the end, where the
        graph gives `outputs`, or before other steps, which get the distances, as `transform`
        gives them. The other steps are converted by skl2onnx and round as it does.
    X : array-like of shape (n_samples, n_features), default=None
        Some rows, of which only type and number of columns matter. By default rows have the type
        of the centres; a pipeline needs `X`. A data frame gives a pipeline one input for each
        column.
    outputs : sequence of {"label", "distances", "score"}, default=("label", "distances")
        What the graph gives for rows (n, d): ``label`` int64 (n,), ``distances`` (n, k), and
        ``score`` (n,), float64: minus the squared distance to the closest centre. Distances are
        float32 for float32 rows and float64 for others, as `transform` gives them; in a pipeline
        they are float64 only for float64 rows. Leave out what you do not need: a label alone is
        faster.
    precision : {"double", "float32"}, default="double"
        Of the scores that rank centres. "float32" is faster for many centres of many columns,
        but the runtime's float32 products must be IEEE 754: no float16, bfloat16 or TF32 in
        their place. Distances need float64 scores: with them, both are the same graph.
    opset : int, default=None
        Version of ONNX's operators: 13 or later, 18 by default.

    Returns
    -------
    onnx.ModelProto
        Write it with ``onnx.save(model, path)``. Its ``metadata_props`` say which version of
        tilewise wrote it, for which model, the names of the columns, and what is exact.

    Raises
    ------
    ImportError
        If `onnx`, or for a pipeline `skl2onnx`, is missing.
    TypeError
        If the model is something else, or `X` has a type that ONNX has no numbers for.
    ValueError
        If an argument is none of those listed, or `X` has another number of columns.
    sklearn.exceptions.NotFittedError
        If the model has not been fitted.

    See Also
    --------
    tilewise.KMeans.predict : The same labels here.

    Notes
    -----
    ``skl2onnx.to_onnx(model, X)`` works for tilewise's estimators, too, alone and in pipelines:
    it writes the same graph with skl2onnx's names of the outputs, ``label`` and ``scores``.

    A row for which scores do not decide needs 8 d bytes for each centre that it compares, a few
    times over. Most often these are two. For a row that is a million million times farther away
    than the centres are from each other, such as one with 1e30 for a missing value, these are
    all: keep batches of such rows small.

    The proof of the error bound is on the page on exact labels; ONNX's operators are described
    on https://onnx.ai/onnx/operators/.

    Examples
    --------
    >>> import numpy as np, tilewise
    >>> from tilewise.export import to_onnx
    >>> X = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], dtype=np.float32)
    >>> model = tilewise.KMeans(2, random_state=0).fit(X)
    >>> graph = to_onnx(model, X, outputs=("label",))  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession(graph.SerializeToString())  # doctest: +SKIP
    >>> session.run(["label"], {"X": X})[0]  # doctest: +SKIP
    array([1, 1, 0, 0])
    """
    wanted = _checked_outputs(outputs)
    if precision not in ("double", "float32"):
        raise ValueError(f"precision must be 'double' or 'float32', got {precision!r}")
    if is_kmeans(model_or_pipeline):
        return _alone(model_or_pipeline, X, wanted, precision, opset)
    if not isinstance(model_or_pipeline, BaseEstimator):
        raise TypeError(
            "model_or_pipeline must be a fitted K-Means or a pipeline with one in it, got "
            f"{type(model_or_pipeline).__name__}"
        )
    return _in_pipeline(model_or_pipeline, X, wanted, precision, opset)


def _checked_outputs(outputs):
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(_OUTPUTS):
        raise ValueError(f"outputs must be some of {_OUTPUTS}, each once, got {outputs!r}")
    return wanted


def _package(name):
    """Import an optional package."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{name} is missing; install it with: pip install "tilewise[onnx]"'
        ) from error


def _checked_opset(opset, newest):
    if opset is None:
        return min(_USUAL, newest)
    if not isinstance(opset, (int, np.integer)) or not _OLDEST <= opset <= newest:
        raise ValueError(
            f"opset must be a whole number between {_OLDEST} and {newest}, the newest one that "
            f"the installed packages write, got {opset!r}"
        )
    return int(opset)


# ---------------------------------------------------------------- a model alone


def _alone(model, X, wanted, precision, opset):
    _package("onnx")
    from onnx import checker, defs, helper

    known = fitted(model)
    opset = _checked_opset(opset, defs.onnx_opset_version())
    dtype = known.centers.dtype if X is None else _row_type(X, known.n_features)
    distance_dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    nodes = Nodes(opset)
    found = add_graph(nodes, "X", known.centers, wanted, precision, distance_dtype)
    kinds = {
        "label": (np.int64, ["n"]),
        "distances": (distance_dtype, ["n", known.n_clusters]),
        "score": (np.float64, ["n"]),
    }
    for name in wanted:
        nodes("Identity", found[name], out=name)
    graph = helper.make_graph(
        nodes.nodes,
        known.name,
        [helper.make_tensor_value_info("X", element_type(dtype), ["n", known.n_features])],
        [helper.make_tensor_value_info(n, element_type(kinds[n][0]), kinds[n][1]) for n in wanted],
        nodes.constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    written = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="tilewise",
        producer_version=__version__,
    )
    _describe(written, [known], precision)
    checker.check_model(written)
    return written


def _row_type(X, n_features):
    """The dtype of the rows that a graph takes."""
    X, _ = table_rows(X)
    X = readable(X)
    if not hasattr(X, "dtype") or not hasattr(X, "shape"):
        X = np.asarray(X)
    if len(X.shape) != 2 or X.shape[1] != n_features:
        raise ValueError(
            f"X has shape {tuple(X.shape)}, but the model has {n_features} features: "
            f"(n_samples, {n_features}) expected"
        )
    dtype = np.dtype(X.dtype).newbyteorder("=")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise TypeError(f"X has dtype {dtype}, which ONNX has no numbers for")
    return dtype


# ---------------------------------------------------------------- a model among others


class _Recording(Conversion):
    """Remembers the models that it converted."""

    def __init__(self, names, precision):
        super().__init__(names, precision)
        self.models = []

    def convert(self, scope, operator, container):
        self.models.append(fitted(operator.raw_operator))
        super().convert(scope, operator, container)


def _in_pipeline(pipeline, X, wanted, precision, opset):
    skl2onnx = _package("skl2onnx")
    from skl2onnx.algebra.type_helper import guess_initial_types

    if X is None:
        raise ValueError("a pipeline needs X, some rows, to know the types of its inputs")
    if not hasattr(X, "iloc"):
        X = np.asarray(table_rows(X)[0])
    if _only_transforms(pipeline):
        wanted = ("distances",)
    conversion = _Recording({name: name for name in wanted}, precision)
    kinds = _kinds_of_kmeans()
    written = skl2onnx.convert_sklearn(
        pipeline,
        name=type(pipeline).__name__,
        initial_types=guess_initial_types(X),
        target_opset=_checked_opset(opset, skl2onnx.get_latest_tested_opset_version()),
        # Arrays, where skl2onnx would give the probabilities of a classifier as dictionaries.
        options={"zipmap": False} if is_classifier(pipeline) else None,
        custom_parsers=dict.fromkeys(kinds, conversion.parse),
        custom_shape_calculators=dict.fromkeys(kinds, conversion.measure),
        custom_conversion_functions=dict.fromkeys(kinds, conversion.convert),
    )
    if not conversion.models:
        raise TypeError(f"{type(pipeline).__name__} has no fitted K-Means that could be converted")
    _describe(written, conversion.models, precision, getattr(pipeline, "feature_names_in_", None))
    return written


def _only_transforms(model):
    """Whether the last step puts columns side by side, so that a K-Means in it gives distances."""
    while isinstance(model, Pipeline) and model.steps:
        model = model.steps[-1][1]
    return isinstance(model, (ColumnTransformer, FeatureUnion))


def _kinds_of_kmeans():
    """Classes that `is_kmeans` takes: skl2onnx asks for the very class of a step."""
    found = [cluster.KMeans, cluster.MiniBatchKMeans, BaseKMeans]
    for kind in found:
        found += [other for other in kind.__subclasses__() if other not in found]
    return found


def _describe(written, models, precision, names=None):
    """Say in the metadata of a graph what wrote it, and what it promises."""
    from onnx import helper

    names = models[0].feature_names if names is None else tuple(map(str, names))
    described = {
        "tilewise.version": __version__,
        "tilewise.models": json.dumps(
            [{"name": m.name, "n_clusters": m.n_clusters, "n_features": m.n_features}
             for m in models]
        ),
        "tilewise.feature_names": json.dumps(names),
        "tilewise.precision": precision,
        "tilewise.exact": _EXACT,
    }  # fmt: skip
    helper.set_model_props(written, described)

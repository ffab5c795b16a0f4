"""What skl2onnx asks an estimator for, and the same for scikit-learn's own K-Means.

skl2onnx takes a parser (which outputs there are), a shape calculator and a converter from the
estimator itself if it has them: nothing needs to be registered. A parser is not told whether
another step follows, and what follows gets *all* outputs, or the first one: labels, where
`transform` gives distances. The shape calculator comes when all steps are known and before the
next one is converted: there, what follows is given the distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tilewise import engine
from tilewise._onnx_graph import add_graph
from tilewise._onnx_nodes import Nodes
from tilewise.cluster import _validation

__all__ = ["Conversion", "OnnxConvertible"]

#: What skl2onnx puts behind the last step where types of outputs are given.
_ENDS = ("SklearnIdentity", "SklearnCast")


class Conversion:
    """The three functions that skl2onnx wants for a K-Means.

    Parameters
    ----------
    names : dict of str to str
        Names of the outputs of a last step, by what they are: label, distances, score.
    precision : {"double", "float32"}
        Of the scores.
    """

    def __init__(self, names: dict[str, str], precision: str):
        self.names = names
        self.precision = precision

    def declare(self, scope: Any, model: Any, inputs: Any) -> list[Any]:
        """Declare the outputs of a last step.

        All as if they were distances: what follows derives the types of its own outputs from the
        first of them.
        """
        check_is_fitted(model, "cluster_centers_")
        return [
            scope.declare_local_variable(name, _kind(model, inputs, "distances"))
            for name in self.names.values()
        ]

    def parse(self, scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
        """Add the operator of a model that has no methods for skl2onnx."""
        operator = scope.declare_local_operator(f"Tilewise{type(model).__name__}", model)
        operator.inputs = inputs
        operator.outputs.extend(self.declare(scope, model, inputs))
        return operator.outputs

    def measure(self, operator: Any) -> None:
        """Set the types of the outputs; give what follows the distances and nothing else."""
        for what, out in self._outputs(operator).items():
            out.type = _kind(operator.raw_operator, operator.inputs, what)
        own = {id(out) for out in operator.outputs}
        for other in operator.scope_inst.operators.values():
            given = list(other.inputs)
            places = [place for place, x in enumerate(given) if id(x) in own]
            ends = other.type in _ENDS and all(out.is_leaf for out in other.outputs)
            if other is operator or not places or ends:
                continue
            given[places[0]] = self._distances(operator)
            other.inputs = [x for place, x in enumerate(given) if place not in places[1:]]

    def _distances(self, operator):
        found = self._outputs(operator).get("distances")
        if found is None:
            kind = _kind(operator.raw_operator, operator.inputs, "distances")
            found = operator.scope_inst.declare_local_variable("distances", kind)
            operator.outputs.append(found)
        return found

    def _outputs(self, operator):
        """The variables of an operator, by what they are."""
        meanings = {name: what for what, name in self.names.items()}
        return {meanings.get(out.raw_name, "distances"): out for out in operator.outputs}

    def convert(self, scope: Any, operator: Any, container: Any) -> None:
        """Add the graph."""
        from skl2onnx.common.data_types import DoubleTensorType

        taken = {id(x) for other in scope.operators.values() for x in other.inputs}
        wanted = {
            what: out
            for what, out in self._outputs(operator).items()
            if out.is_leaf or id(out) in taken
        }
        opset = container.target_opset_any_domain("")
        nodes = Nodes(opset, scope.get_unique_variable_name)
        rows = [x.full_name for x in operator.inputs]
        if len(rows) > 1:
            # Columns that come one by one, each of its own type.
            rows = [nodes("Concat", *(nodes.cast(x, np.float64) for x in rows), axis=1)]
        double = any(isinstance(x.type, DoubleTensorType) for x in operator.inputs)
        centers = _centers(operator.raw_operator)
        found = add_graph(
            nodes, rows[0], centers, tuple(wanted), self.precision,
            np.float64 if double else np.float32,
        )  # fmt: skip
        for what, out in wanted.items():
            # What skl2onnx may have to rename must not come from a node with a graph inside.
            nodes("Identity", found[what], out=out.full_name)
        container.nodes.extend(nodes.nodes)
        container.initializers.extend(nodes.constants)
        container.node_domain_version_pair_sets.add(("", opset))


def _centers(model):
    centers = _validation.check_own_centers(model.cluster_centers_)
    single = np.asarray(engine.on_host(model.cluster_centers_)).dtype == np.float32
    return centers.astype(np.float32) if single else centers


def _kind(model, inputs, what):
    """skl2onnx's type of an output."""
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, guess_tensor_type

    rows = inputs[0].get_first_dimension()
    if what == "label":
        return Int64TensorType([rows])
    if what == "score":
        return DoubleTensorType([rows])
    # float32 where whole numbers come in, as in skl2onnx's own converters.
    types = [type(guess_tensor_type(x.type)) for x in inputs]
    number = DoubleTensorType if DoubleTensorType in types else types[0]
    return number([rows, len(model.cluster_centers_)])


# Named as skl2onnx names the outputs of scikit-learn's K-Means.
_PLAIN = Conversion({"label": "label", "distances": "scores"}, "double")


class OnnxConvertible:
    """Lets ``skl2onnx.to_onnx(model, X)`` convert an estimator, alone and in a pipeline."""

    def onnx_parser(self) -> Any:
        """Tell skl2onnx which outputs the graph has: it calls this, nobody else needs to.

        Returns
        -------
        callable
            Declares ``label`` and ``scores``, the distances.
        """
        return lambda scope=None, inputs=None: _PLAIN.declare(scope, self, inputs)

    def onnx_shape_calculator(self) -> Any:
        """Tell skl2onnx what the next step gets: it calls this, nobody else needs to.

        Returns
        -------
        callable
            Connects the distances with the steps that follow.
        """
        return _PLAIN.measure

    def onnx_converter(self) -> Any:
        """Give skl2onnx what adds the graph: it calls this, nobody else needs to.

        Returns
        -------
        callable
            Adds the graph that `tilewise.export.to_onnx` writes by default.
        """
        return _PLAIN.convert

"""Nodes and constants of an ONNX graph while it is being put together.

The package `onnx` is imported where a node is made: nobody needs it before.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

__all__ = ["Nodes"]


class Nodes:
    """A list of nodes. Calling it adds a node and gives the name of what comes out.

    Parameters
    ----------
    opset : int
        Version of the operators: some take as an input what they took as an attribute before.
    unique : callable, default=None
        Makes a name that nothing else in the whole model has of a name that is wished for.
    constants : list, default=None
        Where constants go; branches share those of the graph around them.
    """

    def __init__(
        self,
        opset: int,
        unique: Callable[[str], str] | None = None,
        constants: list[Any] | None = None,
    ):
        if unique is None:
            numbers = count()
            unique = lambda wish: f"{wish}_{next(numbers)}"  # noqa: E731
        self.opset = opset
        self.unique = unique
        self.nodes: list[Any] = []
        self.constants: list[Any] = [] if constants is None else constants

    def __call__(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        return self.several(kind, *inputs, outputs=[out or self.unique(kind)], **attributes)[0]

    def several(self, kind: str, *inputs: str, outputs: Any, **attributes: Any) -> list[str]:
        """Add a node with more than one output; ``outputs`` holds their names, or how many."""
        from onnx import helper

        if isinstance(outputs, int):
            outputs = [self.unique(kind) for _ in range(outputs)]
        name = self.unique(f"{kind}_node")
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return list(outputs)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        name = self.unique("constant")
        value = np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value))
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def cast(self, x: str, dtype: Any) -> str:
        """Add a change of type."""
        return self("Cast", x, to=element_type(dtype))

    def reduced(self, kind: str, x: str, axis: int | None, keepdims: int = 1) -> str:
        """Add a reduction of one axis, or of all."""
        if axis is None:
            return self(kind, x, keepdims=keepdims)
        if self.opset >= 18:
            return self(kind, x, self.constant([axis], np.int64), keepdims=keepdims)
        return self(kind, x, axes=[axis], keepdims=keepdims)

    def branch(self) -> Nodes:
        """Nodes of a graph inside this one, with the same constants and names."""
        return Nodes(self.opset, self.unique, self.constants)

    def graph(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        """These nodes as a graph inside another; types by name of inputs and outputs."""
        from onnx import helper

        def described(tensors):
            return [
                helper.make_tensor_value_info(name, element_type(dtype), None)
                for name, dtype in tensors.items()
            ]

        return helper.make_graph(
            self.nodes, self.unique("branch"), described(inputs), described(outputs)
        )


def element_type(dtype: Any) -> int:
    """ONNX's number for a dtype of NumPy."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

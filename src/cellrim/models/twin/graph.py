"""Looking around in the graph of an ONNX model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper


class Graph:
    """What makes and what takes each tensor of a graph, as it was when this was made.

    Parameters
    ----------
    proto
        An ``onnx.GraphProto``.

    Attributes
    ----------
    makers
        Name of a tensor to the node that makes it.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.makers: dict[str, Any] = {name: node for node in proto.node for name in node.output}
        self._takers: dict[str, list[Any]] = {}
        for node in proto.node:
            for name in node.input:
                self._takers.setdefault(name, []).append(node)
        self._constants = {constant.name: constant for constant in proto.initializer}

    def takers(self, name: str) -> list[Any]:
        """Nodes that take a tensor, in the graph's order."""
        return self._takers.get(name, [])

    def value(self, name: str) -> NDArray[Any] | None:
        """Return a constant; None if the tensor is none."""
        found = self._constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def add_integers(self, name: str, values: ArrayLike) -> str:
        """Add a constant of integers with one axis and return its name."""
        constant = np.atleast_1d(np.asarray(values, np.int64))
        self.proto.initializer.append(numpy_helper.from_array(constant, name))
        return name

    def replace_nodes(self, nodes: list[Any]) -> None:
        """Make these the nodes of the graph, in this order."""
        del self.proto.node[:]
        self.proto.node.extend(nodes)


def slice_evenly(
    graph: Graph, source: str, parts: list[str], *, axis: int, beside: int = 0
) -> list[Any]:
    """Make nodes that cut a tensor, of any size, into parts of about the same size.

    Parameters
    ----------
    graph
        Gets the constants.
    source
        What is cut.
    parts
        Names that the parts get, in their order along the axis.
    axis
        Along which it is cut.
    beside
        Elements by which parts overlap.
    """
    make = helper.make_node
    where = graph.add_integers(f"{source}/axis", axis)
    overlap = graph.add_integers(f"{source}/beside", beside)
    count = graph.add_integers(f"{source}/parts", len(parts))
    size, inner = f"{source}/size", f"{source}/inner"
    nodes = [
        make("Shape", [source], [size], start=axis, end=axis + 1),
        make("Sub", [size, overlap], [inner]),
    ]
    for number in range(len(parts) + 1):
        factor = graph.add_integers(f"{source}/times{number}", number)
        share, start = f"{source}/share{number}", f"{source}/start{number}"
        nodes += [make("Mul", [inner, factor], [share]), make("Div", [share, count], [start])]
        if number:
            nodes.append(make("Add", [start, overlap], [f"{source}/end{number - 1}"]))
    for number, part in enumerate(parts):
        bounds = [f"{source}/start{number}", f"{source}/end{number}"]
        nodes.append(make("Slice", [source, *bounds, where], [part]))
    return nodes


def attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by their names."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}

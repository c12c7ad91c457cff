"""The float layers at both ends of a quantised graph, in strips: they would take most memory.

A number of float32 at full resolution takes four times the memory of one of 8 bits, and ONNX
Runtime holds several copies of such maps while it computes them. In strips, one after the other,
the network's twin needs half the memory for the same tile, and computes the same numbers
(docs/decisions/0010-int8.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

STRIPS = 8
_ROWS = 2  # axis of the tensors BCYX
_PER_PIXEL = frozenset({"Relu", "QuantizeLinear", "DequantizeLinear"})


def compute_ends_in_strips(model: Any, *, stride: int) -> Any:
    """Cut the chains from the image to the first quantised tensor, and from the last to the maps.

    A chain is cut where it is one 3x3 convolution without stride, then 1x1 convolutions, and what
    each pixel undergoes alone, and nothing else takes what is computed on the way; else it stays.

    Parameters
    ----------
    model
        ONNX model with QuantizeLinear and DequantizeLinear nodes, as ONNX Runtime's static
        quantisation makes it; one image ``BCYX`` in, maps ``BCYX`` out.
    stride
        Images have at least as many rows; not more strips are made.

    Returns
    -------
    onnx.ModelProto
        The same object, changed.
    """
    graph = model.graph
    count = min(STRIPS, stride)
    for chain in (_chain_from_image(graph), _chain_to_maps(graph)):
        if _reaches_over_once(chain) and all(map(_can_be_cut, chain)):
            _cut(graph, chain, count)
    return model


def _chain_from_image(graph: Any) -> list[Any]:
    """Nodes from the image to the first QuantizeLinear; none if the way is not alone."""
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    chain: list[Any] = []
    name = graph.input[0].name
    while not chain or chain[-1].op_type != "QuantizeLinear":
        if len(takers.get(name, [])) != 1:
            return []
        chain += takers[name]
        name = chain[-1].output[0]
    return chain


def _chain_to_maps(graph: Any) -> list[Any]:
    """Nodes from the last DequantizeLinear to the maps; none if the way is not alone."""
    makers = {node.output[0]: node for node in graph.node}
    used = [name for node in graph.node for name in node.input]
    chain: list[Any] = []
    name = graph.output[0].name
    while not chain or chain[-1].op_type != "DequantizeLinear":
        if name not in makers or used.count(name) != bool(chain):
            return []
        chain.append(makers[name])
        name = chain[-1].input[0]
    return chain[::-1]


def _attributes(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _reaches_over_once(chain: list[Any]) -> bool:
    """Say whether of all convolutions the first, and no other, sees more than its own pixel."""
    reaching = [_reaches_over(node) for node in chain if node.op_type == "Conv"]
    return any(reaching[:1]) and not any(reaching[1:])


def _reaches_over(node: Any) -> bool:
    return node.op_type == "Conv" and any(_attributes(node).get("pads", ()))


def _can_be_cut(node: Any) -> bool:
    if node.op_type in _PER_PIXEL:
        return True
    how = _attributes(node)
    return (
        node.op_type == "Conv"
        and set(how.get("strides", (1,))) == {1}
        and set(how.get("dilations", (1,))) == {1}
        and (tuple(how["kernel_shape"]), tuple(how.get("pads", (0,) * 4)))
        in {((1, 1), (0,) * 4), ((3, 3), (1,) * 4)}
    )


def _cut(graph: Any, chain: list[Any], count: int) -> None:
    """Replace a chain by as many, each for its rows and one more on either side."""
    source, target = chain[0].input[0], chain[-1].output[0]
    nodes = [*_padded(graph, chain, source, f"{target}/rows"), *_bounds(graph, target, count)]
    strips = []
    for number in range(count):
        part = f"{target}/{number}"
        bounds = [f"{target}/start{number}", f"{target}/end{number}"]
        axis = _integers(graph, f"{part}/axis", _ROWS)
        nodes.append(helper.make_node("Slice", [f"{target}/rows", *bounds, axis], [part]))
        name = part
        for step, node in enumerate(chain):
            name, before = f"{part}/{step}", name
            nodes.append(_for_strip(node, before, name))
        strips.append(name)
    nodes.append(helper.make_node("Concat", strips, [target], axis=_ROWS))
    place = min(i for i, node in enumerate(graph.node) if node in chain)
    rest = [node for node in graph.node if node not in chain]
    del graph.node[:]
    graph.node.extend([*rest[:place], *nodes, *rest[place:]])


def _padded(graph: Any, chain: list[Any], source: str, target: str) -> list[Any]:
    """Add a row of nothing above and below, which the strips' convolutions do not."""
    rows = _integers(graph, f"{target}/more", (0, 0, 1, 0, 0, 0, 1, 0))
    nothing = f"{target}/nothing"
    if chain[0].op_type == "DequantizeLinear":
        nothing = chain[0].input[2]
    else:
        graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), nothing))
    return [helper.make_node("Pad", [source, rows, nothing], [target])]


def _bounds(graph: Any, name: str, count: int) -> list[Any]:
    """Where each strip starts and ends among the padded rows, of any height."""
    two = _integers(graph, f"{name}/two", 2)
    nodes = [
        helper.make_node("Shape", [f"{name}/rows"], [f"{name}/height"], start=_ROWS, end=_ROWS + 1),
        helper.make_node("Sub", [f"{name}/height", two], [f"{name}/inner"]),
    ]
    for number in range(count + 1):
        share, cut = f"{name}/share{number}", f"{name}/start{number}"
        factor = _integers(graph, f"{name}/times{number}", number)
        parts = _integers(graph, f"{name}/parts{number}", count)
        nodes += [
            helper.make_node("Mul", [f"{name}/inner", factor], [share]),
            helper.make_node("Div", [share, parts], [cut]),
        ]
        if number:
            nodes.append(helper.make_node("Add", [cut, two], [f"{name}/end{number - 1}"]))
    return nodes


def _for_strip(node: Any, source: str, target: str) -> Any:
    """Copy a node; a convolution that reaches over its rows finds them in the strip."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name, copy.input[0], copy.output[0] = target, source, target
    if _reaches_over(node):
        for attribute in copy.attribute:
            if attribute.name == "pads":
                attribute.CopyFrom(helper.make_attribute("pads", (0, 1, 0, 1)))
    return copy


def _integers(graph: Any, name: str, values: int | tuple[int, ...]) -> str:
    """Add a constant of one axis and return its name."""
    constant = np.atleast_1d(np.asarray(values, np.int64))
    graph.initializer.append(numpy_helper.from_array(constant, name))
    return name

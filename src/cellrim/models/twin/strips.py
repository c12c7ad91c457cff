"""The float layers at both ends of a quantised graph, in strips: they would take most memory.

A number of float32 at full resolution takes four times the memory of one of 8 bits, and ONNX
Runtime holds several copies of such maps while it computes them. In strips, one after the other,
the network's twin needs half the memory for the same tile, and computes the same numbers
(docs/decisions/0015-twin.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from cellrim.models.twin.graph import Graph, attributes, slice_evenly

STRIPS = 8
_ROWS = 2  # axis of the tensors BCYX
_BESIDE = 2  # rows of the context, above and below, that a 3x3 convolution needs
_PER_PIXEL = frozenset({"Relu", "QuantizeLinear", "DequantizeLinear"})
_PADS = {(1, 1): (0,) * 4, (3, 3): (1,) * 4}


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
    for find_chain in (_chain_from_image, _chain_to_maps):
        graph = Graph(model.graph)
        chain = find_chain(graph)
        if _reaches_over_once(chain) and all(map(_can_be_cut, chain)):
            _cut(graph, chain, min(STRIPS, stride))
    return model


def _chain_from_image(graph: Graph) -> list[Any]:
    """Nodes from the image to the first QuantizeLinear; none if the way is not alone."""
    chain: list[Any] = []
    name = graph.proto.input[0].name
    while not chain or chain[-1].op_type != "QuantizeLinear":
        if len(graph.takers(name)) != 1:
            return []
        chain += graph.takers(name)
        name = chain[-1].output[0]
    return chain


def _chain_to_maps(graph: Graph) -> list[Any]:
    """Nodes from the last DequantizeLinear to the maps; none if the way is not alone."""
    chain: list[Any] = []
    name = graph.proto.output[0].name
    while not chain or chain[-1].op_type != "DequantizeLinear":
        if name not in graph.makers or len(graph.takers(name)) != len(chain[-1:]):
            return []
        chain.append(graph.makers[name])
        name = chain[-1].input[0]
    return chain[::-1]


def _reaches_over_once(chain: list[Any]) -> bool:
    """Say whether of all convolutions the first, and no other, sees more than its own pixel."""
    reaching = [_reaches_over(node) for node in chain if node.op_type == "Conv"]
    return any(reaching[:1]) and not any(reaching[1:])


def _reaches_over(node: Any) -> bool:
    return node.op_type == "Conv" and any(attributes(node).get("pads", ()))


def _can_be_cut(node: Any) -> bool:
    if node.op_type != "Conv":
        return node.op_type in _PER_PIXEL
    how = attributes(node)
    steps = {*how.get("strides", ()), *how.get("dilations", ())}
    pads = tuple(how.get("pads", (0,) * 4))
    return steps <= {1} and _PADS.get(tuple(how["kernel_shape"])) == pads


def _cut(graph: Graph, chain: list[Any], count: int) -> None:
    """Replace a chain by as many, each for its rows and one more on either side."""
    source, target = chain[0].input[0], chain[-1].output[0]
    rows = f"{target}/rows"
    parts = [f"{target}/{number}" for number in range(count)]
    nodes = [
        *_padded(graph, chain, source, rows),
        *slice_evenly(graph, rows, parts, axis=_ROWS, beside=_BESIDE),
    ]
    strips = []
    for name in parts:
        for node in chain:
            before, name = name, f"{name}/{node.op_type}"
            nodes.append(_for_strip(node, before, name))
        strips.append(name)
    nodes.append(helper.make_node("Concat", strips, [target], axis=_ROWS))
    place = list(graph.proto.node).index(chain[0])
    rest = [node for node in graph.proto.node if node not in chain]
    graph.replace_nodes([*rest[:place], *nodes, *rest[place:]])


def _padded(graph: Graph, chain: list[Any], source: str, target: str) -> list[Any]:
    """Add a row of nothing above and below, which the strips' convolutions do not."""
    rows = graph.add_integers(f"{target}/more", (0, 0, 1, 0, 0, 0, 1, 0))
    if chain[0].op_type == "DequantizeLinear":
        nothing = chain[0].input[2]
    else:
        nothing = f"{target}/nothing"
        zero = numpy_helper.from_array(np.zeros((), np.float32), nothing)
        graph.proto.initializer.append(zero)
    return [helper.make_node("Pad", [source, rows, nothing], [target])]


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

"""Upsampling in a quantised graph, as moves of whole pixels.

ONNX Runtime doubles and shuffles maps of 8-bit integers number by number and in one thread, which
takes a sixth of the time of the U-Net's twin on two threads. Where the channels of a pixel lie side
by side, as its convolutions of 8-bit integers want them anyway, copying whole pixels does the same
(docs/decisions/0015-twin.md). No number changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from cellrim.models.twin.graph import Graph, attributes

_TWICE = 2
_DOUBLING = {
    "mode": b"nearest",
    "nearest_mode": b"floor",
    "coordinate_transformation_mode": b"asymmetric",
}
_SHUFFLE = {"blocksize": _TWICE, "mode": b"CRD"}
_CHANNELS_LAST, _CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def move_whole_pixels(model: Any) -> Any:
    """Rewrite the upsampling between two quantised tensors, where it is one of two kinds.

    These are nearest neighbours at twice the size (``Resize``), and a sub-pixel shuffle of blocks
    of two behind a convolution (``DepthToSpace``), each between DequantizeLinear and QuantizeLinear
    with the same scale and zero point. Everything else stays as it is.

    Parameters
    ----------
    model
        ONNX model with QuantizeLinear and DequantizeLinear nodes, as ONNX Runtime's static
        quantisation makes it, with its own weights.

    Returns
    -------
    onnx.ModelProto
        The same object, changed.
    """
    graph = Graph(model.graph)
    replaced: dict[str, list[Any]] = {}
    reorders: list[Any] = []
    for node in model.graph.node:
        between = _between_equal(graph, node)
        if between is None:
            continue
        source, target = between
        if _is_doubling(graph, node):
            replaced[target] = _double(graph, node.name, source, target)
        elif _is(node, "DepthToSpace", _SHUFFLE):
            conv = _convolution_of(graph, source)
            if conv is not None:
                reorders += _bring_shuffled_pixels_together(graph, conv)
                replaced[target] = _shuffle(graph, node.name, source, target)
    nodes = [new for old in model.graph.node for new in replaced.get(old.output[0], [old])]
    graph.replace_nodes(_needed([*reorders, *nodes], [o.name for o in model.graph.output]))
    return model


def _between_equal(graph: Graph, node: Any) -> tuple[str, str] | None:
    """Names of the 8-bit tensors before and after a node, if both mean the same by a number."""
    before = graph.makers.get(node.input[0]) if node.input else None
    after = graph.takers(node.output[0])
    if before is None or before.op_type != "DequantizeLinear" or len(after) != 1:
        return None
    (quantised,) = after
    if quantised.op_type != "QuantizeLinear":
        return None
    meanings = [[graph.value(name) for name in n.input[1:]] for n in (before, quantised)]
    return (before.input[0], quantised.output[0]) if _equal_constants(*meanings) else None


def _equal_constants(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(
        one is not None and other is not None and np.array_equal(one, other)
        for one, other in zip(ones, others, strict=True)
    )


def _is(node: Any, kind: str, how: dict[str, Any]) -> bool:
    return node.op_type == kind and how.items() <= attributes(node).items()


def _is_doubling(graph: Graph, node: Any) -> bool:
    if not _is(node, "Resize", _DOUBLING) or len(node.input) != 3:
        return False
    scales = graph.value(node.input[2])
    return scales is not None and np.array_equal(scales, (1, 1, _TWICE, _TWICE))


def _convolution_of(graph: Graph, quantised: str) -> Any:
    """Return the convolution with quantised weights that alone makes a tensor; None without."""
    maker = graph.makers.get(quantised)
    conv = graph.makers.get(maker.input[0]) if maker is not None else None
    if conv is None or conv.op_type != "Conv":
        return None
    if len(graph.takers(conv.output[0])) != 1 or len(graph.takers(quantised)) != 1:
        return None
    weights = [graph.makers.get(name) for name in conv.input[1:]]
    rounded = [w for w in weights if w is not None and w.op_type == "DequantizeLinear"]
    return conv if len(rounded) == len(("weight", "bias")) else None


def _bring_shuffled_pixels_together(graph: Graph, conv: Any) -> list[Any]:
    """Reorder a convolution's channels from (channel, row, column) to (row, column, channel).

    The session does it at load, so that the weights can stay those of the float network.
    """
    nodes = []
    for name in conv.input[1:]:
        rounded = graph.makers[name]
        for place, constant in enumerate(rounded.input):
            values = graph.value(constant)
            if values is None or values.ndim == 0:
                continue
            order = np.arange(len(values)).reshape(-1, _TWICE * _TWICE).T.ravel()
            chosen = graph.add_integers(f"{constant}_order", order)
            rounded.input[place] = f"{constant}_together"
            nodes.append(
                helper.make_node("Gather", [constant, chosen], [rounded.input[place]], axis=0)
            )
    return nodes


def _double(graph: Graph, name: str, source: str, target: str) -> list[Any]:
    """Put each pixel beside itself, and each row below itself."""
    axes = graph.add_integers(f"{name}/axes", (2, 4))
    repeats = graph.add_integers(f"{name}/repeats", (1, 1, _TWICE, 1, _TWICE, 1))
    return [
        *_to_pixels(graph, name, source, to=(1, _TWICE, _TWICE, 1), per=(1, 1, 1, 1)),
        helper.make_node("Unsqueeze", [f"{name}/pixels", axes], [f"{name}/spread"]),
        helper.make_node("Tile", [f"{name}/spread", repeats], [f"{name}/moved"]),
        *_from_pixels(name, target),
    ]


def _shuffle(graph: Graph, name: str, source: str, target: str) -> list[Any]:
    """Put the rows of each block below each other; its columns lie side by side already."""
    blocks = _TWICE * _TWICE
    rows = graph.add_integers(f"{name}/rows", (0, 0, 0, _TWICE, -1))  # 0: as before
    return [
        *_to_pixels(graph, name, source, to=(1, _TWICE, _TWICE, 1), per=(1, 1, 1, blocks)),
        helper.make_node("Reshape", [f"{name}/pixels", rows], [f"{name}/spread"]),
        helper.make_node("Transpose", [f"{name}/spread"], [f"{name}/moved"], perm=(0, 1, 3, 2, 4)),
        *_from_pixels(name, target),
    ]


def _to_pixels(
    graph: Graph, name: str, source: str, *, to: tuple[int, ...], per: tuple[int, ...]
) -> list[Any]:
    """Axes BYXC of a tensor, and the shape that it will have: its own times ``to`` over ``per``."""
    factors = graph.add_integers(f"{name}/to", to)
    divisors = graph.add_integers(f"{name}/per", per)
    return [
        helper.make_node("Transpose", [source], [f"{name}/pixels"], perm=_CHANNELS_LAST),
        helper.make_node("Shape", [f"{name}/pixels"], [f"{name}/before"]),
        helper.make_node("Mul", [f"{name}/before", factors], [f"{name}/more"]),
        helper.make_node("Div", [f"{name}/more", divisors], [f"{name}/after"]),
    ]


def _from_pixels(name: str, target: str) -> list[Any]:
    return [
        helper.make_node("Reshape", [f"{name}/moved", f"{name}/after"], [f"{name}/done"]),
        helper.make_node("Transpose", [f"{name}/done"], [target], perm=_CHANNELS_FIRST),
    ]


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """Nodes in their order, without those whose results nobody takes."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]

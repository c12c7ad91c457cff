"""Upsampling in a quantised graph, as moves of whole pixels.

ONNX Runtime doubles and shuffles maps of 8-bit integers number by number and in one thread, which
takes a sixth of the time of the U-Net's twin on two threads. Where the channels of a pixel lie side
by side, as its convolutions of 8-bit integers want them anyway, copying whole pixels does the same
(docs/decisions/0010-int8.md). No number changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

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
    graph = _Graph(model.graph)
    replaced: dict[str, list[Any]] = {}
    for node in list(model.graph.node):
        between = _between_equal(graph, node)
        if between is None:
            continue
        source, target = between
        if _is_doubling(graph, node):
            replaced[target] = _double(graph, node.name, source, target)
        elif _is_shuffle(node) and (conv := _convolution_of(graph, source)) is not None:
            _bring_shuffled_pixels_together(graph, conv)
            replaced[target] = _shuffle(graph, node.name, source, target)
    nodes = [new for old in model.graph.node for new in replaced.get(old.output[0], [old])]
    del model.graph.node[:]
    model.graph.node.extend(_needed(nodes, [o.name for o in model.graph.output]))
    return model


@dataclass
class _Graph:
    """What makes and takes each tensor of a graph."""

    proto: Any
    makers: dict[str, Any] = field(init=False)
    takers: dict[str, list[Any]] = field(init=False)
    constants: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.makers = {name: node for node in self.proto.node for name in node.output}
        self.takers = {}
        for node in self.proto.node:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.constants = {c.name: c for c in self.proto.initializer}

    def value(self, name: str) -> NDArray[Any] | None:
        """Return a constant; None if it is none."""
        found = self.constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def add(self, name: str, values: ArrayLike) -> str:
        """Add a constant of integers and return its name."""
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name


def _between_equal(graph: _Graph, node: Any) -> tuple[str, str] | None:
    """Names of the 8-bit tensors before and after a node, if both mean the same by a number."""
    before = graph.makers.get(node.input[0]) if node.input else None
    after = graph.takers.get(node.output[0], [])
    if before is None or before.op_type != "DequantizeLinear" or len(after) != 1:
        return None
    (quantised,) = after
    if quantised.op_type != "QuantizeLinear":
        return None
    for pair in zip(before.input[1:], quantised.input[1:], strict=True):
        one, other = map(graph.value, pair)
        if one is None or other is None or not np.array_equal(one, other):
            return None
    return before.input[0], quantised.output[0]


def _attribute(node: Any, name: str) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _is_doubling(graph: _Graph, node: Any) -> bool:
    if node.op_type != "Resize" or len(node.input) != 3:
        return False
    scales = graph.value(node.input[2])
    how = {name: _attribute(node, name) for name in _DOUBLING}
    return (
        how == _DOUBLING and scales is not None and np.array_equal(scales, (1, 1, _TWICE, _TWICE))
    )


def _is_shuffle(node: Any) -> bool:
    how = {name: _attribute(node, name) for name in _SHUFFLE}
    return node.op_type == "DepthToSpace" and how == _SHUFFLE


def _convolution_of(graph: _Graph, quantised: str) -> Any:
    """Return the convolution with quantised weights that alone makes a tensor; None without."""
    maker = graph.makers.get(quantised)
    conv = graph.makers.get(maker.input[0]) if maker is not None else None
    alone = conv is not None and len(graph.takers[conv.output[0]]) == 1
    if conv is None or conv.op_type != "Conv" or not alone or len(graph.takers[quantised]) != 1:
        return None
    makers = [graph.makers.get(name) for name in conv.input[1:]]
    rounded = all(m is not None and m.op_type == "DequantizeLinear" for m in makers)
    return conv if rounded and len(makers) == 2 else None


def _bring_shuffled_pixels_together(graph: _Graph, conv: Any) -> None:
    """Reorder a convolution's channels from (channel, row, column) to (row, column, channel).

    The session does it at load, so that the weights can stay those of the float network.
    """
    for name in conv.input[1:]:
        rounded = graph.makers[name]
        for place, constant in enumerate(rounded.input):
            values = graph.value(constant)
            if values is None or values.ndim == 0:
                continue
            order = np.arange(len(values)).reshape(-1, _TWICE * _TWICE).T.ravel()
            chosen = graph.add(f"{constant}_order", order)
            rounded.input[place] = f"{constant}_together"
            node = helper.make_node("Gather", [constant, chosen], [rounded.input[place]], axis=0)
            graph.proto.node.insert(0, node)


def _double(graph: _Graph, name: str, source: str, target: str) -> list[Any]:
    spread, repeats = (2, 4), (1, 1, _TWICE, 1, _TWICE, 1)
    return [
        *_to_pixels(graph, name, source, to=(1, _TWICE, _TWICE, 1), per=(1, 1, 1, 1)),
        helper.make_node(
            "Unsqueeze", [f"{name}/pixels", graph.add(f"{name}/axes", spread)], [f"{name}/spread"]
        ),
        helper.make_node(
            "Tile", [f"{name}/spread", graph.add(f"{name}/repeats", repeats)], [f"{name}/moved"]
        ),
        *_from_pixels(name, target),
    ]


def _shuffle(graph: _Graph, name: str, source: str, target: str) -> list[Any]:
    """Write row 0 and row 1 of each block one below the other; columns lie side by side."""
    blocks = _TWICE * _TWICE
    rows = (0, 0, 0, _TWICE, -1)  # 0: as before
    return [
        *_to_pixels(graph, name, source, to=(1, _TWICE, _TWICE, 1), per=(1, 1, 1, blocks)),
        helper.make_node(
            "Reshape", [f"{name}/pixels", graph.add(f"{name}/rows", rows)], [f"{name}/spread"]
        ),
        helper.make_node("Transpose", [f"{name}/spread"], [f"{name}/moved"], perm=(0, 1, 3, 2, 4)),
        *_from_pixels(name, target),
    ]


def _to_pixels(
    graph: _Graph, name: str, source: str, *, to: tuple[int, ...], per: tuple[int, ...]
) -> list[Any]:
    """Axes BYXC of a tensor, and the shape that it will have: its own times ``to`` over ``per``."""
    return [
        helper.make_node("Transpose", [source], [f"{name}/pixels"], perm=_CHANNELS_LAST),
        helper.make_node("Shape", [f"{name}/pixels"], [f"{name}/before"]),
        helper.make_node("Mul", [f"{name}/before", graph.add(f"{name}/to", to)], [f"{name}/more"]),
        helper.make_node("Div", [f"{name}/more", graph.add(f"{name}/per", per)], [f"{name}/after"]),
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

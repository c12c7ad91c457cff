"""The last layer in a quantised graph, drawn from pixels whose channels lie side by side.

A network with half ends draws four pixels of each map from every place (a 1x1 convolution, then a
sub-pixel shuffle). ONNX Runtime brings the channels of its 8-bit maps into an order for float
convolutions first, and shuffles number by number; a product of matrices takes them as they lie, and
moves of pairs of pixels do the rest (docs/decisions/0015-twin.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from onnx import helper

from cellrim.models.twin.graph import Graph, attributes, slice_evenly
from cellrim.models.twin.strips import STRIPS

_TWICE = 2
_BLOCK = _TWICE * _TWICE
_CHANNELS_LAST = (0, 2, 3, 1)


def draw_maps_from_pixels(model: Any, *, stride: int) -> Any:
    """Rewrite the way from the last 8-bit tensor to the maps, where it is the one described above.

    Parameters
    ----------
    model
        ONNX model with QuantizeLinear and DequantizeLinear nodes, as ONNX Runtime's static
        quantisation makes it; maps ``BCYX`` out.
    stride
        Images have at least as many rows; not more strips are made than places.

    Returns
    -------
    onnx.ModelProto
        The same object, changed; or as it was. The same numbers up to the order of additions.
    """
    graph = Graph(model.graph)
    chain = _chain(graph)
    if chain is None:
        return model
    new = _drawn(graph, chain, min(STRIPS, stride // _TWICE))
    rest = [node for node in model.graph.node if node not in chain]
    graph.replace_nodes([*rest, *new])
    return model


def _chain(graph: Graph) -> tuple[Any, Any, Any] | None:
    """DequantizeLinear, 1x1 convolution with a bias and shuffle; None if the end is another one."""
    shuffle = graph.makers.get(graph.proto.output[0].name)
    if shuffle is None or shuffle.op_type != "DepthToSpace":
        return None
    how = attributes(shuffle)
    conv = graph.makers.get(shuffle.input[0])
    if conv is None or (how["blocksize"], how.get("mode")) != (_TWICE, b"CRD"):
        return None
    before = graph.makers.get(conv.input[0])
    alone = len(graph.takers(conv.input[0])) == 1
    if before is None or before.op_type != "DequantizeLinear" or not alone:
        return None
    return (before, conv, shuffle) if _is_plain(graph, conv) else None


def _is_plain(graph: Graph, conv: Any) -> bool:
    if conv.op_type != "Conv" or len(conv.input) != len(("x", "w", "b")):
        return False
    how = attributes(conv)
    steps = {*how.get("strides", ()), how.get("group", 1), *how["kernel_shape"]}
    bias = graph.value(conv.input[2])
    return steps == {1} and not any(how.get("pads", ())) and bias is not None


def _drawn(graph: Graph, chain: tuple[Any, Any, Any], strips: int) -> list[Any]:
    """Nodes from the 8-bit tensor to the maps, in strips: the float numbers take most memory."""
    before, conv, shuffle = chain
    target = shuffle.output[0]
    bias = graph.value(conv.input[2])
    assert bias is not None
    maps = len(bias) // _BLOCK
    kernel = graph.add_integers(f"{target}/kernel", (0, -1))
    pixels, weights = f"{target}/pixels", f"{target}/weights"
    constants = _Constants(
        quantisation=tuple(before.input[1:]),
        weights=weights,
        bias=conv.input[2],
        pairs=graph.add_integers(f"{target}/pairs", (0, 0, 0, maps * _TWICE, _TWICE)),
        blocks=graph.add_integers(f"{target}/blocks", (maps, _TWICE)),
        maps=graph.add_integers(f"{target}/maps", maps),
        rest=graph.add_integers(f"{target}/rest", -1),
        twice=graph.add_integers(f"{target}/twice", _TWICE),
        axes=tuple(graph.add_integers(f"{target}/axis{i}", i) for i in range(len("BYX"))),
    )
    parts = [f"{target}/{number}" for number in range(strips)]
    return [
        # The weights stay those of the float network; the session folds this at load.
        helper.make_node("Reshape", [conv.input[1], kernel], [f"{weights}/flat"]),
        helper.make_node("Transpose", [f"{weights}/flat"], [weights], perm=(1, 0)),
        helper.make_node("Transpose", [before.input[0]], [pixels], perm=_CHANNELS_LAST),
        *slice_evenly(graph, pixels, parts, axis=1),
        *(node for part in parts for node in _draw_strip(part, constants)),
        helper.make_node("Concat", [f"{part}/maps" for part in parts], [target], axis=2),
    ]


class _Constants(NamedTuple):
    """Names of the tensors that all strips share."""

    quantisation: tuple[str, ...]
    weights: str
    bias: str
    pairs: str
    blocks: str
    maps: str
    rest: str
    twice: str
    axes: tuple[str, ...]


def _draw_strip(strip: str, c: _Constants) -> list[Any]:
    """Nodes from 8-bit pixels ``BYXC`` to maps ``BCYX`` of twice the height and width."""
    make = helper.make_node
    batch, height, half = (f"{strip}/{axis}" for axis in "byx")
    return [
        make("DequantizeLinear", [strip, *c.quantisation], [f"{strip}/pixels"]),
        make("MatMul", [f"{strip}/pixels", c.weights], [f"{strip}/product"]),
        make("Add", [f"{strip}/product", c.bias], [f"{strip}/drawn"]),
        make("Shape", [f"{strip}/drawn"], [f"{strip}/shape"]),
        *(
            make("Gather", [f"{strip}/shape", axis], [size])
            for axis, size in zip(c.axes, (batch, height, half), strict=True)
        ),
        make("Mul", [half, c.twice], [f"{strip}/width"]),
        # Axes: B, Y, X, (map, row of the block), column of the block.
        make("Reshape", [f"{strip}/drawn", c.pairs], [f"{strip}/apart"]),
        make("Transpose", [f"{strip}/apart"], [f"{strip}/lines"], perm=(0, 3, 1, 2, 4)),
        make("Concat", [batch, c.blocks, height, c.rest], [f"{strip}/to_rows"], axis=0),
        make("Reshape", [f"{strip}/lines", f"{strip}/to_rows"], [f"{strip}/rows"]),
        make("Transpose", [f"{strip}/rows"], [f"{strip}/woven"], perm=(0, 1, 3, 2, 4)),
        make("Concat", [batch, c.maps, c.rest, f"{strip}/width"], [f"{strip}/to_maps"], axis=0),
        make("Reshape", [f"{strip}/woven", f"{strip}/to_maps"], [f"{strip}/maps"]),
    ]

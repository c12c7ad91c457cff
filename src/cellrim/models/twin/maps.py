"""The last layer in a quantised graph, drawn from pixels whose channels lie side by side.

A network with half ends draws four pixels of each map from every place (a 1x1 convolution, then a
sub-pixel shuffle). ONNX Runtime brings the channels of its 8-bit maps into an order for float
convolutions first, and shuffles number by number; a product of matrices takes them as they lie, and
moves of pairs of pixels do the rest (docs/decisions/0015-twin.md).
"""

from __future__ import annotations

from typing import Any

from onnx import helper

from cellrim.models.twin.graph import Graph, attributes

_TWICE = 2
_BLOCK = _TWICE * _TWICE
_CHANNELS_LAST = (0, 2, 3, 1)


def draw_maps_from_pixels(model: Any) -> Any:
    """Rewrite the way from the last 8-bit tensor to the maps, where it is the one described above.

    Parameters
    ----------
    model
        ONNX model with QuantizeLinear and DequantizeLinear nodes, as ONNX Runtime's static
        quantisation makes it; maps ``BCYX`` out.

    Returns
    -------
    onnx.ModelProto
        The same object, changed; or as it was. The same numbers up to the order of additions.
    """
    graph = Graph(model.graph)
    chain = _chain(graph)
    if chain is None:
        return model
    dequantise, conv, shuffle = chain
    channels = graph.value(conv.input[2])
    assert channels is not None
    new = _drawn(graph, dequantise, conv, shuffle.output[0], maps=len(channels) // _BLOCK)
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


def _drawn(graph: Graph, before: Any, conv: Any, target: str, *, maps: int) -> list[Any]:
    """Nodes from the 8-bit tensor to the maps."""

    def name(what: str) -> str:
        return f"{target}/{what}"

    kernel = graph.add_integers(name("kernel"), (0, -1))
    pairs = graph.add_integers(name("pairs"), (0, 0, 0, maps * _TWICE, _TWICE))
    blocks = graph.add_integers(name("blocks"), (maps, _TWICE))
    first, second, third = (graph.add_integers(name(f"axis{i}"), i) for i in range(3))
    rest = graph.add_integers(name("rest"), -1)
    twice = graph.add_integers(name("twice"), _TWICE)
    some = graph.add_integers(name("maps"), maps)
    make = helper.make_node
    return [
        # The weights stay those of the float network; the session folds this at load.
        make("Reshape", [conv.input[1], kernel], [name("flat")]),
        make("Transpose", [name("flat")], [name("weights")], perm=(1, 0)),
        make("Transpose", [before.input[0]], [name("pixels8")], perm=_CHANNELS_LAST),
        make("DequantizeLinear", [name("pixels8"), *before.input[1:]], [name("pixels")]),
        make("MatMul", [name("pixels"), name("weights")], [name("product")]),
        make("Add", [name("product"), conv.input[2]], [name("drawn")]),
        make("Shape", [name("drawn")], [name("shape")]),
        make("Gather", [name("shape"), first], [name("batch")]),
        make("Gather", [name("shape"), second], [name("height")]),
        make("Gather", [name("shape"), third], [name("half")]),
        make("Mul", [name("half"), twice], [name("width")]),
        # Axes: B, Y, X, (map, row of the block), column of the block.
        make("Reshape", [name("drawn"), pairs], [name("apart")]),
        make("Transpose", [name("apart")], [name("lines")], perm=(0, 3, 1, 2, 4)),
        make("Concat", [name("batch"), blocks, name("height"), rest], [name("to_rows")], axis=0),
        make("Reshape", [name("lines"), name("to_rows")], [name("rows")]),
        make("Transpose", [name("rows")], [name("woven")], perm=(0, 1, 3, 2, 4)),
        make("Concat", [name("batch"), some, rest, name("width")], [name("to_maps")], axis=0),
        make("Reshape", [name("woven"), name("to_maps")], [target]),
    ]

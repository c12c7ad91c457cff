"""The ranges of a twin's activations: where they stand in its graph, and whose they are.

Tensors have the names of the network's own graph, which names its nodes after the modules of
:class:`cellrim.models.unet.UNet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

Range = tuple[float, float]
"""The least and the largest number that a tensor of 8 bits can hold."""

_SCALE, _ZERO = "_scale", "_zero_point"
# They move numbers and make none: what comes out has the range of what goes in.
_MOVES = ("Resize", "DepthToSpace")


class Fitted(NamedTuple):
    """What a twin has of its own.

    Parameters
    ----------
    ranges
        Name of an activation in ``model.onnx`` to its range.
    biases
        float32 ``(channels,)`` of each convolution, in the order of the graph.
    """

    ranges: Mapping[str, Range]
    biases: Sequence[NDArray[np.float32]]


def ranges_of(twin: Any) -> dict[str, Range]:
    """Return the range of each activation that a quantised ONNX model rounds, by its name."""
    constants = {c.name: numpy_helper.to_array(c) for c in twin.graph.initializer if not c.dims}
    found: dict[str, Range] = {}
    for name, zero in constants.items():
        activation = name.removesuffix(_ZERO)
        scale = constants.get(activation + _SCALE)
        if activation == name or scale is None or zero.dtype != np.uint8:
            continue
        largest = np.iinfo(np.uint8).max
        found[activation] = (-float(scale) * float(zero), float(scale) * (largest - float(zero)))
    return found


def with_moved(nodes: Iterable[Any], ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return these ranges and those of what is made of their activations by moving numbers.

    Parameters
    ----------
    nodes
        Of the graph, in its order.
    ranges
        Name of an activation to its range.
    """
    known = dict(ranges)
    for node in nodes:
        if node.op_type in _MOVES and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    return known


def activation_after(network: Any, module: str) -> str:
    """Name what comes out of a module of the U-Net in the ONNX model of it, as exported."""
    return str(_nodes_of(network, module)[-1].output[0])


def activation_into(network: Any, module: str) -> str:
    """Name what goes into a module of the U-Net in the ONNX model of it, as exported."""
    return str(_nodes_of(network, module)[0].input[0])


def _nodes_of(network: Any, module: str) -> list[Any]:
    """Nodes that a module became; ``down.1.first`` is ``/down.1/first/...``."""
    level, *rest = module.split(".")
    if rest and rest[0].isdigit():  # one of a list
        level, rest = f"{level}.{rest[0]}", rest[1:]
    scope = "".join(f"/{part}" for part in (level, *rest)) + "/"
    return [node for node in network.graph.node if node.name.startswith(scope)]

"""From a network to its twin in 8-bit integers, for processors that are fast at them.

Jacob et al. (CVPR 2018): the ranges of all activations are measured once, on training images, and
weights are rounded with one scale for each output channel. The first layer, which sees the image,
and the last two, which draw the maps, stay in float32 (docs/decisions/0010-int8.md).

Weights are those of ``model.onnx``, rounded. Ranges and biases may be learnt after they were
measured (:mod:`cellrim.training.ranges`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from cellrim.io.atomic import atomic_path
from cellrim.models.card import INT8_NAME, ONNX_NAME, sha256_of
from cellrim.models.twin.maps import draw_maps_from_pixels
from cellrim.models.twin.moves import move_whole_pixels
from cellrim.models.twin.ranges import Fitted, Range, with_moved
from cellrim.models.twin.strips import compute_ends_in_strips

# Modules of :class:`cellrim.models.unet.UNet` that see the image and draw the maps.
OUTERMOST = ("/rim/", "/refine/", "/head/")
# A few extreme activations would make the steps between the others coarse.
_PERCENTILE = 99.999

Rewrite = Callable[[Any, int], Any]
"""Takes a quantised ONNX model and the network's stride, and returns the model."""


def rewritten(model: Any, stride: int) -> Any:
    """Return a quantised graph that computes the same numbers in less time and memory."""
    model = draw_maps_from_pixels(move_whole_pixels(model), stride=stride)
    return compute_ends_in_strips(model, stride=stride)


def quantise(
    folder: Path,
    batches: Iterable[NDArray[np.float32]],
    *,
    stride: int,
    spared: tuple[str, ...] = OUTERMOST,
    rewrite: Rewrite = rewritten,
    fitted: Fitted | None = None,
) -> str:
    """Write the int8 twin of a model folder's network beside it.

    Parameters
    ----------
    folder
        Model folder with ``model.onnx``, as :func:`cellrim.models.export.export_onnx` writes it.
    batches
        float32 ``(B, 3, H, W)`` each, on which activations are measured, but for those that are
        fitted.
    stride
        Of the network: the least height of an image.
    spared
        Beginnings of the names of the nodes that stay in float32.
    rewrite
        What is done to the quantised graph, given the stride, so that it runs faster.
    fitted
        Ranges that are not measured, and other biases than the network's.

    Returns
    -------
    str
        ``sha256`` of the twin, hexadecimal.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        plain, ready, full = (Path(scratch) / f"{n}.onnx" for n in ("plain", "ready", "full"))
        network = float_weights(onnx.load(folder / ONNX_NAME))
        if fitted is not None:
            _set_biases(network.graph, fitted.biases)
        onnx.save(network, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        nodes = onnx.load(ready).graph.node
        kept = [n.name for n in nodes if n.name.startswith(spared)]
        ranges = {} if fitted is None else with_moved(nodes, fitted.ranges)
        _quantise_static(ready, full, batches, kept, ranges)
        twin = rewrite(onnx.load(full), stride).SerializeToString()
    with atomic_path(folder / INT8_NAME) as partial:
        partial.write_bytes(twin)
    return sha256_of(twin)


def _quantise_static(
    ready: Path,
    path: Path,
    batches: Iterable[NDArray[np.float32]],
    spared: list[str],
    ranges: Mapping[str, Range],
) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, left: Iterator[NDArray[np.float32]]) -> None:
            self._left = left

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._left, None)
            return None if batch is None else {"image": batch}

    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in ranges.items()
    }
    quantize_static(
        ready,
        path,
        Reader(iter(batches)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Add", "Relu"],
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": _PERCENTILE, "TensorQuantOverrides": overrides},
        nodes_to_exclude=spared,
    )


def _set_biases(graph: Any, biases: Sequence[NDArray[np.float32]]) -> None:
    constants = {constant.name: constant for constant in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node, bias in zip(convolutions, biases, strict=True):
        constants[node.input[2]].CopyFrom(numpy_helper.from_array(bias, node.input[2]))


def float_weights(model: Any) -> Any:
    """Undo the half-size storage of weights: float16 behind a Cast becomes float32."""
    graph = model.graph
    weights = {w.name: w for w in graph.initializer}
    kept = []
    for node in graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Cast" else None
        if weight is None or weight.data_type != TensorProto.FLOAT16:
            kept.append(node)
            continue
        values = numpy_helper.to_array(weight).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return model

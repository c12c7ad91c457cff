"""From torch weights to a model folder: ONNX with weights of half the size, and its proof."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cellrim.core.normalise import NETWORK_CHANNELS
from cellrim.io.atomic import atomic_path
from cellrim.models.backend import Backend
from cellrim.models.unet import UNet
from cellrim.representation.flow import probability_of

OPSET = 17
# Smaller constants than this stay as they are: they cost nothing.
_LEAST_ELEMENTS = 64


def export_onnx(model: UNet, path: Path) -> None:
    """Write a U-Net as ONNX with dynamic batch, height and width.

    Batch normalisation is folded into the convolutions. Weights are stored as float16 and cast to
    float32 once, when the session folds constants at load: half the file, the same arithmetic.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    size = model.shape.stride * 2
    example = torch.zeros(1, NETWORK_CHANNELS, size, size)
    free = {0: "batch", 2: "height", 3: "width"}
    with atomic_path(path) as partial:
        with warnings.catch_warnings():
            # The exporter of torch 2.13 that needs no further package calls itself deprecated.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.cpu().eval(),
                (example,),
                str(partial),
                input_names=["image"],
                output_names=["maps"],
                dynamic_axes={"image": free, "maps": free},
                opset_version=OPSET,
                dynamo=False,
            )
        onnx.save(halve_weights(onnx.load(partial)), partial)


def halve_weights(model: Any) -> Any:
    """Return the ONNX model with its large float32 weights stored as float16 behind a Cast."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _LEAST_ELEMENTS:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def largest_difference(
    one: Backend, other: Backend, batches: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """Compare two backends on the same batches.

    Returns
    -------
    dict
        ``probability``: largest difference of the foreground probability, 0..1; ``flow`` and
        ``octaves``: largest differences of the flow and of log2 diameter where one of the two
        sees a cell.
    """
    worst = {"probability": 0.0, "flow": 0.0, "octaves": 0.0}
    for batch in batches:
        a, b = one.predict(batch), other.predict(batch)
        p, q = probability_of(a[:, 0]), probability_of(b[:, 0])
        cell = (a[:, 0] > 0) | (b[:, 0] > 0)
        worst["probability"] = max(worst["probability"], float(np.abs(p - q).max()))
        if cell.any():
            flow = np.abs(a[:, 1:3] - b[:, 1:3]).max(axis=1)[cell].max()
            octaves = np.abs(a[:, 3] - b[:, 3])[cell].max()
            worst["flow"] = max(worst["flow"], float(flow))
            worst["octaves"] = max(worst["octaves"], float(octaves))
    return worst

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.twin.quantise import quantise
from cellrim.models.twin.strips import STRIPS, compute_ends_in_strips
from cellrim.models.unet import UNet, UNetShape


def in_strips(made, stride):
    return compute_ends_in_strips(made, stride=stride)


def twin_of(model, folder, name, rewrite):
    random = np.random.default_rng(0)
    batches = [random.random((1, 3, 64, 64), np.float32) for _ in range(4)]
    quantise(folder, batches, stride=model.shape.stride, rewrite=rewrite)
    path = folder / f"{name}.onnx"
    (folder / INT8_NAME).rename(path)
    return path


@pytest.fixture
def exported(tmp_path):
    torch.manual_seed(3)
    model = UNet(UNetShape((16, 24, 32), 8))
    model(torch.randn(4, 3, 64, 64))  # batch statistics that are not the initial ones
    export_onnx(model.eval(), tmp_path / ONNX_NAME)
    return model, tmp_path


def strips_of(path):
    twin = onnx.load(path)
    return [len(n.input) for n in twin.graph.node if n.op_type == "Concat"]


# The least height, one that strips do not divide, several images at once.
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 3, 72, 16), (3, 3, 40, 24)])
def test_strips_give_the_same_numbers(run, exported, shape):
    model, folder = exported
    whole = twin_of(model, folder, "whole", lambda made, _: made)
    cut = twin_of(model, folder, "cut", in_strips)
    assert strips_of(whole) == []
    assert strips_of(cut) == [min(STRIPS, model.shape.stride)] * 2
    image = np.random.default_rng(1).random(shape, np.float32)
    image[:, :, 0] = 1  # what lies at the frame would show a wrong margin
    image[:, :, -1] = 1
    np.testing.assert_array_equal(run(str(cut), image), run(str(whole), image))


def graph_of(*nodes):
    """A model of these nodes between ``image`` and ``maps``; weights ``w3`` and ``w1``."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "c", "y", "x"])
        for name in ("image", "maps")
    ]
    constants = {
        "w3": np.ones((1, 1, 3, 3), np.float32),
        "w1": np.ones((1, 1, 1, 1), np.float32),
        "s": np.float32(0.1),
        "z": np.uint8(0),
    }
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "ends", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(size, source, target, **how):
    how = {"kernel_shape": [size, size], "pads": [size // 2] * 4} | how
    return helper.make_node("Conv", [source, f"w{size}"], [target], **how)


def rounded(source, target):
    return [
        helper.make_node("QuantizeLinear", [source, "s", "z"], [f"{target}_8"]),
        helper.make_node("DequantizeLinear", [f"{target}_8", "s", "z"], [target]),
    ]


@pytest.mark.parametrize(
    "nodes",
    [
        # A second convolution would need the first one's rows beyond the strip.
        [conv(3, "image", "a"), conv(3, "a", "b"), *rounded("b", "c"), conv(1, "c", "maps")],
        [conv(1, "image", "a"), conv(3, "a", "b"), *rounded("b", "c"), conv(1, "c", "maps")],
        # What is computed on the way is taken elsewhere.
        [
            conv(3, "image", "a"),
            *rounded("a", "b"),
            helper.make_node("Add", ["b", "a"], ["c"]),
            conv(3, "c", "maps"),
        ],
        [conv(3, "image", "a", dilations=[2, 2], pads=[2] * 4), *rounded("a", "maps")],
        [conv(3, "image", "maps")],  # nothing is quantised
    ],
)
def test_other_ends_stay_whole(nodes):
    model = graph_of(*nodes)
    before = str(model.graph.node)
    assert str(compute_ends_in_strips(model, stride=32).graph.node) == before

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.twin.moves import move_whole_pixels
from cellrim.models.twin.quantise import quantise
from cellrim.models.unet import UNet, UNetShape


def kinds(model):
    return {node.op_type for node in model.graph.node}


def around(*nodes, scale_after=0.02, constants=()):
    """A graph of these nodes between 8-bit tensors: ``before`` becomes ``after``."""
    first = helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"])
    second = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["before"])
    third = helper.make_node("QuantizeLinear", ["after", "t", "z"], ["r"])
    last = helper.make_node("DequantizeLinear", ["r", "t", "z"], ["maps"])
    constants = [
        numpy_helper.from_array(np.float32(0.02), "s"),
        numpy_helper.from_array(np.float32(scale_after), "t"),
        numpy_helper.from_array(np.uint8(3), "z"),
        *constants,
    ]
    axes, axes_after = ["b", "c", "y", "x"], ["b", "c", "h", "w"]
    graph = helper.make_graph(
        [first, second, *nodes, third, last],
        "upsampling",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, axes_after)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resize(scale_after=0.02, times=2, **changes):
    how = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    node = helper.make_node("Resize", ["before", "", "scales"], ["after"], "up", **(how | changes))
    scales = numpy_helper.from_array(np.float32([1, 1, times, times]), "scales")
    return around(node, scale_after=scale_after, constants=[scales])


@pytest.mark.parametrize("shape", [(1, 5, 3, 4), (2, 3, 7, 1), (1, 1, 1, 1)])
def test_doubling_moves_pixels_and_nothing_else(run, shape):
    image = np.random.default_rng(0).random(shape, np.float32) * 5
    before = resize()
    expected = run(before.SerializeToString(), image)
    after = move_whole_pixels(resize())
    onnx.checker.check_model(after)
    assert "Resize" in kinds(before)
    assert "Resize" not in kinds(after)
    found = run(after.SerializeToString(), image)
    assert found.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
    np.testing.assert_array_equal(found, expected)


def test_other_upsampling_stays_as_it_is():
    linear = resize(mode="linear", coordinate_transformation_mode="half_pixel")
    rounded = resize(nearest_mode="ceil")
    finer = resize(scale_after=0.01)
    threefold = resize(times=3)
    # Without a convolution there are no channels to reorder.
    shuffle = helper.make_node("DepthToSpace", ["before"], ["after"], blocksize=2, mode="CRD")
    for model in (linear, rounded, finer, threefold, around(shuffle)):
        text = str(model.graph.node)
        assert str(move_whole_pixels(model).graph.node) == text


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 64, 96), (1, 3, 160, 32)])
def test_the_twin_computes_the_same_without_its_slow_steps(run, tmp_path, shape):
    torch.manual_seed(2)
    model = UNet(UNetShape((32, 40, 48), 16))
    model(torch.randn(4, 3, 64, 64))  # batch statistics that are not the initial ones
    export_onnx(model.eval(), tmp_path / ONNX_NAME)
    random = np.random.default_rng(0)
    batches = [random.random((1, 3, 64, 64), np.float32) for _ in range(4)]
    twins = {}
    rewrites = {"slow": lambda made, _: made, "moved": lambda made, _: move_whole_pixels(made)}
    for name, rewrite in rewrites.items():
        quantise(tmp_path, batches, stride=model.shape.stride, rewrite=rewrite)
        twins[name] = onnx.load(tmp_path / INT8_NAME)
        (tmp_path / INT8_NAME).rename(tmp_path / f"{name}.onnx")
    assert {"Resize", "DepthToSpace"} <= kinds(twins["slow"])
    assert not {"Resize", "DepthToSpace"} & kinds(twins["moved"])
    image = random.random(shape, np.float32)
    moved, slow = (run(str(tmp_path / f"{name}.onnx"), image) for name in ("moved", "slow"))
    np.testing.assert_array_equal(moved, slow)

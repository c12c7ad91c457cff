from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.twin.maps import draw_maps_from_pixels
from cellrim.models.twin.quantise import quantise
from cellrim.models.unet import UNet, UNetShape


def drawn(made, stride):
    return draw_maps_from_pixels(made, stride=stride)


def kinds(path):
    return {n.op_type for n in onnx.load(path).graph.node}


# Both sizes odd multiples of the stride, several images at once, weights in the twin and beside it.
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 3, 72, 16), (3, 3, 40, 24)])
@pytest.mark.parametrize(
    ("width", "others"),
    [(16, {"half_in": True}), (32, {}), (32, {"half_in": True, "first_block": False})],
    ids=str,
)
def test_the_same_maps(run, tmp_path, shape, width, others):
    torch.manual_seed(3)
    model = UNet(UNetShape((width, 24, 32), 8, half_out=True, **others))
    model(torch.randn(4, 3, 64, 64))  # batch statistics that are not the initial ones
    export_onnx(model.eval(), tmp_path / ONNX_NAME)
    batches = [np.random.default_rng(i).random((1, 3, 64, 64), np.float32) for i in range(4)]
    rewrites = {"before": lambda made, _: made, "after": drawn}
    maps = {}
    for name, rewrite in rewrites.items():
        quantise(tmp_path, batches, stride=model.shape.stride, rewrite=rewrite)
        path = (tmp_path / INT8_NAME).rename(tmp_path / f"{name}.onnx")
        maps[name] = run(str(path), np.random.default_rng(9).random(shape, np.float32))
    assert "DepthToSpace" in kinds(tmp_path / "before.onnx")
    assert "DepthToSpace" not in kinds(tmp_path / "after.onnx")
    assert maps["after"].shape == (shape[0], 4, *shape[2:])
    assert np.ptp(maps["before"]) > 0
    np.testing.assert_allclose(maps["after"], maps["before"], rtol=0, atol=1e-5)


def end(*nodes):
    """A model of an 8-bit tensor ``q``, and these nodes between ``d`` and ``maps``."""
    first = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(0),
        "w": np.ones((8, 3, 1, 1), np.float32),
        "w3": np.ones((8, 3, 3, 3), np.float32),
        "b": np.zeros(8, np.float32),
    }
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "c", "y", "x"])
        for name in ("image", "maps")
    ]
    graph = helper.make_graph([*first, *nodes], "end", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(source="d", weights=("w", "b"), target="c", **how):
    return helper.make_node(
        "Conv", [source, *weights], [target], **({"kernel_shape": [1, 1]} | how)
    )


def shuffle(source="c", **how):
    how = {"blocksize": 2, "mode": "CRD"} | how
    return helper.make_node("DepthToSpace", [source], ["maps"], **how)


def test_this_is_the_end_that_is_rewritten():
    model = end(conv(), shuffle())
    drawn(model, 4)
    onnx.checker.check_model(model)
    assert "MatMul" in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    "nodes",
    [
        [conv(), shuffle(mode="DCR")],
        [conv(weights=("w",)), shuffle()],
        [conv(weights=("w3", "b"), kernel_shape=[3, 3], pads=[1] * 4), shuffle()],
        [conv(strides=[2, 2]), shuffle()],
        [conv(target="maps")],
        [helper.make_node("Relu", ["d"], ["r"]), conv("r"), shuffle()],
        [conv("d2"), shuffle()],
    ],
)
def test_other_ends_stay_as_they_are(nodes):
    doubled = helper.make_node("Add", ["d", "d"], ["d2"])
    model = end(*([doubled] if "d2" in nodes[0].input else []), *nodes)
    before = str(model.graph.node)
    assert str(drawn(model, 4).graph.node) == before

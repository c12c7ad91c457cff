from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.twin.quantise import quantise
from cellrim.models.unet import UNet, UNetShape
from cellrim.training.loop import Trainer
from cellrim.training.rounding import Rounding
from cellrim.training.store import read_index

from .conftest import ALONE

SHAPES = {
    "full": UNetShape((8, 12, 16), rim=8),
    "half in": UNetShape((8, 12, 16), rim=8, half_in=True),
    "half out": UNetShape((8, 12, 16), rim=8, half_out=True),
    "half ends": UNetShape((8, 12, 16), rim=8, half_in=True, half_out=True, first_block=False),
}


def network(shape):
    """A network with random weights, its normalisation that of its activations; patches."""
    torch.manual_seed(0)
    model, patches = UNet(shape), torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        for _ in range(40):
            model(patches)
    model.eval()
    model.training = True  # numbers are rounded, and normalisation is that of the exported network
    return model, patches


def twin_of(model, patches, folder):
    """The network's twin as it is before it is made faster: its graph, and the maps it draws."""
    export_onnx(model.eval(), folder / ONNX_NAME)
    stride = model.shape.stride
    quantise(folder, [patches.numpy()], stride=stride, rewrite=lambda made, _: made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = folder / INT8_NAME
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(path).graph
    return graph, session.run(None, {"image": patches.numpy()})[0]


def rms(difference):
    return float(np.sqrt(np.square(difference).mean()))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_numbers_are_rounded_where_the_twin_rounds_them(shape, tmp_path):
    model, patches = network(shape)
    rounding = Rounding(model)
    with torch.no_grad():
        exact = model(patches).numpy()
        rounding.on = True
        with rounding.weights():
            rounded = model(patches).numpy()
        rounding.on = False
        np.testing.assert_array_equal(model(patches).numpy(), exact)
    graph, twin = twin_of(model, patches, tmp_path)
    made = {output: node.op_type for node in graph.node for output in node.output}
    sources = [made.get(n.input[0]) for n in graph.node if n.op_type == "QuantizeLinear"]
    # What is only moved is rounded again, by the same steps; weights come from a Cast.
    activations = [s for s in sources if s not in ("Cast", "Resize", "DepthToSpace")]
    assert len(activations) == len(rounding.points) == len(set(rounding.points))
    lost = rms(twin - exact)
    assert 0.6 * lost < rms(rounded - exact) < 1.6 * lost


def test_weights_are_rounded_for_a_step_only():
    model, patches = network(SHAPES["full"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rounding = Rounding(model)
    rounding.on = True
    kernel = model.down[1].first[0].weight
    with rounding.weights():
        channel = kernel[0].detach().unique()
        steps = channel / channel.abs().max() * 127
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        model(patches).square().mean().backward()
    assert torch.equal(model.rim[0].weight, before["rim.0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert kernel.grad is not None
    assert kernel.grad.abs().max() > 0


def test_evaluation_is_exact():
    model, patches = network(SHAPES["half out"])
    exact = model.eval()(patches)
    Rounding(model).on = True
    assert torch.equal(model(patches), exact)


def test_the_last_share_of_a_training_is_rounded(trained, recipe):
    places, _, _ = trained
    settings = recipe.training.model_copy(update={"rounded": 0.5})
    recipe = recipe.model_copy(update={"training": settings})
    packed = places.packed_folder
    trainer = Trainer(recipe, packed, read_index(packed), limits=ALONE)
    on = []
    for _ in range(recipe.training.patches // recipe.training.batch):
        trainer.try_steps(1)
        on.append(trainer._rounding.on)
    half = len(on) // 2
    assert on == [False] * (half + 1) + [True] * (half - 1)

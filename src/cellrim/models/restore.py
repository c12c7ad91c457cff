"""From a model folder back to a U-Net that can be trained on: the way of ``export`` reversed.

An exported network has its batch normalisation folded into the convolutions. The arithmetic comes
back exactly; what training needs besides, the mean and variance that each normalisation sees, is
measured again on training patches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from cellrim.errors import ModelError
from cellrim.models.registry import ModelFolder
from cellrim.models.unet import UNet, UNetShape


def restore(folder: ModelFolder) -> UNet:
    """Build the U-Net of a model folder, in evaluation mode.

    Batch normalisations only add the folded bias: call :func:`measure_statistics` before training.

    Raises
    ------
    ModelError
        If the card does not state the architecture, or the network is not a U-Net of it.
    """
    shape = _shape(folder)
    model = UNet(shape).eval()
    convolutions, order = _convolutions(model), _weights(folder)
    if len(convolutions) != len(order):
        raise ModelError(
            f"Expected a network of {len(convolutions)} convolutions in {folder.network}, as the "
            f"card says, but got {len(order)}."
        )
    with torch.no_grad():
        for (convolution, normalisation), (weight, bias) in zip(convolutions, order, strict=True):
            if tuple(convolution.weight.shape) != weight.shape:
                raise ModelError(
                    f"Expected a kernel of {tuple(convolution.weight.shape)} in {folder.network}, "
                    f"as the card says, but got {weight.shape}."
                )
            convolution.weight.copy_(torch.from_numpy(weight))
            if normalisation is None:
                assert convolution.bias is not None
                convolution.bias.copy_(torch.from_numpy(bias))
            else:
                _pass_through(normalisation, torch.from_numpy(bias))
    return model


def measure_statistics(model: UNet, batches: Iterable[Tensor]) -> None:
    """Measure what each batch normalisation sees and set it so that the output stays the same.

    Parameters
    ----------
    model
        From :func:`restore`.
    batches
        float32 ``(B, 3, H, W)`` each: training patches.
    """
    seen: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        values = inputs[0].double()
        sums = seen.setdefault(layer, [torch.zeros(()), torch.zeros(()), torch.zeros(())])
        sums[0] = sums[0] + values.sum((0, 2, 3))
        sums[1] = sums[1] + values.square().sum((0, 2, 3))
        sums[2] = sums[2] + values.numel() / values.shape[1]

    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    model.eval()
    with torch.no_grad():
        for batch in batches:
            model(batch)
        for hook in hooks:
            hook.remove()
        for layer, (total, squares, count) in seen.items():
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0)
            _normalise_alike(layer, mean.float(), variance.float())


def biases_of(model: UNet) -> list[Tensor]:
    """Bias ``(channels,)`` that each convolution of a network from :func:`restore` ends with.

    In the order of the graph that it came from. They are the network's own tensors.
    """
    pairs = _convolutions(model)
    found = [layer.bias if normal is None else normal.bias for layer, normal in pairs]
    return [bias for bias in found if bias is not None]


def _shape(folder: ModelFolder) -> UNetShape:
    architecture = folder.card.architecture
    try:
        return UNetShape(
            widths=tuple(int(w) for w in architecture["widths"]),
            rim=int(architecture["rim"]),
            half_in=bool(architecture.get("half_in", False)),
            half_out=bool(architecture.get("half_out", False)),
            first_block=bool(architecture.get("first_block", True)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"Expected the widths and the rim of the network in the card of {folder.path}, but got "
            f"{architecture}: without them it cannot be trained on."
        ) from error


def _convolutions(model: UNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Convolutions in the order they are computed, each with the normalisation behind it."""
    order: list[nn.Module] = []
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [
        m.register_forward_pre_hook(lambda layer, _: order.append(layer))
        for m in model.modules()
        if isinstance(m, kinds)
    ]
    size = model.shape.stride
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []
    for layer in order:
        if isinstance(layer, nn.Conv2d):
            pairs.append((layer, None))
        elif isinstance(layer, nn.BatchNorm2d):
            pairs[-1] = (pairs[-1][0], layer)
    return pairs


def _weights(folder: ModelFolder) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Kernel and bias of each convolution in the order of the graph."""
    try:
        graph = onnx.load(folder.network).graph
    except Exception as error:
        raise ModelError(f"The network {folder.network} cannot be read: {error}") from error
    constants = {t.name: _array(t) for t in graph.initializer}
    constants |= {
        node.output[0]: constants[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in constants
    }
    try:
        return [
            (constants[node.input[1]], constants[node.input[2]])
            for node in graph.node
            if node.op_type == "Conv"
        ]
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"Expected convolutions with constant kernels and biases in {folder.network}."
        ) from error


def _array(tensor: Any) -> NDArray[np.float32]:
    return numpy_helper.to_array(tensor).astype(np.float32)


def _pass_through(layer: nn.BatchNorm2d, bias: Tensor) -> None:
    """Let a normalisation add the bias and do nothing else."""
    _set(layer, mean=torch.zeros_like(bias), variance=torch.ones_like(bias), gain=1.0, bias=bias)
    layer.weight.mul_(np.sqrt(1 + layer.eps))


def _normalise_alike(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set mean and variance of a normalisation that passes through, keeping what it computes."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    slope = layer.weight / torch.sqrt(layer.running_var + layer.eps)
    bias = layer.bias + slope * (mean - layer.running_mean)
    gain = slope * torch.sqrt(variance + layer.eps)
    _set(layer, mean=mean, variance=variance, gain=gain, bias=bias)


def _set(
    layer: nn.BatchNorm2d, *, mean: Tensor, variance: Tensor, gain: Tensor | float, bias: Tensor
) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    layer.weight.copy_(torch.as_tensor(gain).expand_as(layer.weight))
    layer.bias.copy_(bias)

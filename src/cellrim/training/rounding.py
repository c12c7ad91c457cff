"""Training with rounded numbers, so that the network's twin in 8-bit integers loses little.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference" (CVPR 2018): on the way forward, activations and weights are rounded where the twin
rounds them (:mod:`cellrim.models.twin.quantise`); on the way back rounding is left out ("straight
through"). The weights themselves stay as fine as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cellrim.models.twin.quantise import OUTERMOST
from cellrim.models.unet import Residual, UNet

INTO = "into "
"""Beginning of the name of an activation that goes into a module."""

# Activations take steps of an integer without a sign, weights of one with.
LARGEST_ACTIVATION = 255
_LARGEST_WEIGHT = 127
# Share of a range that is kept when another batch is seen.
_KEEP = 0.98
_LEAST_RANGE = 1e-3

Change = Callable[[Tensor], Tensor]


class Rounding:
    """Rounds a network's numbers as its twin does, while the network trains and it is ``on``.

    Parameters
    ----------
    model
        Gets hooks that do nothing in evaluation mode, nor to a state dictionary.

    Attributes
    ----------
    on
        Whether numbers are rounded; at first they are not.
    points
        Names of the activations that are rounded: of what comes out of a module, or goes into it.
    """

    def __init__(self, model: UNet) -> None:
        self.on = False
        self._kernels = [
            layer.weight
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d) and not _is_spared(name)
        ]
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}
        self.points = rounded_points(model)
        layers = dict(model.named_modules())
        for point in self.points:
            if point.startswith(INTO):
                _before(layers[point.removeprefix(INTO)], self._rounds_at(point, model))
            else:
                _after(layers[point], self._rounds_at(point, model))

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Round the weights for a step forward and back; they are as before when it ends."""
        if not self.on:
            yield
            return
        before = [kernel.detach().clone() for kernel in self._kernels]
        for kernel in self._kernels:
            kernel.data = _rounded_weight(kernel.data)
        try:
            yield
        finally:
            for kernel, fine in zip(self._kernels, before, strict=True):
                kernel.data = fine

    def _rounds_at(self, point: str, model: UNet) -> Change:
        return lambda values: self._round(point, values) if self.on and model.training else values

    def _round(self, point: str, values: Tensor) -> Tensor:
        low, high = (end.float() for end in values.detach().aminmax())
        if point in self._ranges:
            low, high = (
                torch.lerp(new, old, _KEEP)
                for new, old in zip((low, high), self._ranges[point], strict=True)
            )
        self._ranges[point] = low, high
        low = low.clamp(max=0)  # zero is always a step: padding is exact
        step = (high.clamp(min=0) - low).clamp(min=_LEAST_RANGE) / LARGEST_ACTIVATION
        zero = (-low / step).round().int()
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(
            values, step, zero, 0, LARGEST_ACTIVATION
        )
        return rounded


def rounded_points(model: UNet) -> list[str]:
    """Name the activations of a network that its twin rounds, as :class:`Rounding` does."""
    sums = [f"up.{number}" for number in range(len(model.up))]
    if not (model.shape.half_in or model.shape.half_out):
        sums.append("refine")
    points = [name for name, layer in model.named_modules() if _is_rounded(name, layer)]
    return points + [INTO + name for name in sums]


def _after(layer: nn.Module, change: Change) -> None:
    """Change what comes out of a module."""
    layer.register_forward_hook(lambda _, __, output: change(output))


def _before(layer: nn.Module, change: Change) -> None:
    """Change what goes into a module."""
    layer.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))


def _is_spared(name: str) -> bool:
    """Whether a layer's node in the exported graph stays in float32."""
    return f"/{name.replace('.', '/')}/".startswith(OUTERMOST)


def _is_rounded(name: str, layer: nn.Module) -> bool:
    """Whether the twin rounds what comes out of a module."""
    if name in ("rim", "stem", "to_rim"):  # the rim is float32, but the stem takes integers
        return True
    parent, _, last = name.rpartition(".")
    if isinstance(layer, Residual) or parent == "squeeze":
        return True
    return last in ("first", "second", "shortcut") and not isinstance(layer, nn.Identity)


def _rounded_weight(kernel: Tensor) -> Tensor:
    """Round a kernel ``(out, in, H, W)`` with a step for each output channel.

    That batch normalisation is multiplied into the twin's kernels changes nothing: it is a factor
    for each output channel, as the step is.
    """
    largest = kernel.abs().amax((1, 2, 3), keepdim=True)
    step = largest.clamp(min=torch.finfo(kernel.dtype).tiny) / _LARGEST_WEIGHT
    return (kernel / step).round() * step

"""Learning what the twin in 8-bit integers has of its own, beside the network's weights.

The ranges of activations, which decide how coarse their steps are and what is cut off, and the
biases, which make up for what rounding shifts: Esser et al., "Learned step size quantization" (ICLR
2020), with both ends of a range learnt as in Bhalgat et al., "LSQ+" (CVPR Workshops 2020). The
network is the teacher of its twin, and stays as it is (docs/decisions/0020-learnt-ranges.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import cos, pi
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.registry import find_model
from cellrim.models.restore import biases_of, restore
from cellrim.models.twin.ranges import Fitted, Range, activation_after, activation_into, ranges_of
from cellrim.models.unet import UNet
from cellrim.training.losses import pixel_losses
from cellrim.training.recipe import TrainingPart
from cellrim.training.rounding import INTO, LARGEST_ACTIVATION, Rounding, rounded_points

# Of the logarithms of steps, of the zeros, in steps, and of the biases.
_STEP_RATE, _ZERO_RATE, _BIAS_RATE = 5e-3, 0.2, 5e-4
_BETAS = (0.9, 0.99)
_WARMUP = 0.1
# Ranges begin so many times as wide as they were measured. In few images much is cut off, in the
# others steps are too coarse: the way to a balance is shorter from there.
_WIDER = 1.5
# Pixels of cells that a crop is taken to have besides: about one cell, where there may be none.
_LEAST_CELLS = 400
_LEAST_SUM = 1e-12


def fit_twin(folder: Path, batches: Iterable[Tensor], steps: int, settings: TrainingPart) -> Fitted:
    """Learn the ranges and biases with which a twin draws what its network draws.

    Parameters
    ----------
    folder
        Model folder with ``model.onnx``, and ``model.int8.onnx`` with the ranges to begin with.
    batches
        At least as many as ``steps``: images float32 ``(B, 3, H, W)``, normalised.
    steps
        Batches to learn from.
    settings
        Weights of the parts of the loss.
    """
    found = find_model(folder)
    teacher, pupil = (restore(found).requires_grad_(False) for _ in range(2))
    names = activations_of(pupil, onnx.load(folder / ONNX_NAME))
    before = ranges_of(onnx.load(folder / INT8_NAME))
    wider = {name: (_WIDER * low, _WIDER * high) for name, (low, high) in before.items()}
    rounding = LearntRounding(pupil, {point: wider[name] for point, name in names.items()})
    # What batch normalisation became only adds; rounding is on while a network trains.
    pupil.training = rounding.on = True
    groups = [*rounding.groups(), {"params": _free(biases_of(pupil)), "lr": _BIAS_RATE}]
    optimiser = torch.optim.Adam(groups, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    for _, image in zip(range(steps), batches, strict=False):
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            taught = teacher(image)
        with rounding.weights():
            astray = _astray(pupil(image), taught, settings)
            optimiser.zero_grad()
            torch.autograd.backward((astray * _shares(astray)).sum())
        optimiser.step()
        schedule.step()
    ranges = {names[point]: fitted for point, fitted in rounding.ranges().items()}
    return Fitted(ranges, [bias.detach().numpy() for bias in biases_of(pupil)])


class LearntRounding(Rounding):
    """Rounds as :class:`Rounding` does, with ranges that are learnt.

    Parameters
    ----------
    model
        Gets the hooks.
    ranges
        To begin with, of each of the ``points``. One that begins at 0 goes on to: it is of what
        cannot be negative.
    """

    def __init__(self, model: UNet, ranges: Mapping[str, Range]) -> None:
        super().__init__(model)
        self._steps: dict[str, Tensor] = {}  # their logarithms
        self._zeros: dict[str, Tensor] = {}  # the step that is 0
        for point in self.points:
            low, high = ranges[point]
            step = (high - low) / LARGEST_ACTIVATION
            self._steps[point] = torch.tensor(np.log(step), dtype=torch.float32, requires_grad=True)
            self._zeros[point] = torch.tensor(-low / step, requires_grad=low < 0)

    def groups(self) -> list[dict[str, object]]:
        """Return what is learnt, and at which rates, as an optimiser takes it."""
        zeros = [zero for zero in self._zeros.values() if zero.requires_grad]
        return [
            {"params": list(self._steps.values()), "lr": _STEP_RATE},
            {"params": zeros, "lr": _ZERO_RATE},
        ]

    def ranges(self) -> dict[str, Range]:
        """Range of each of the ``points``."""
        found = {}
        for point, logarithm in self._steps.items():
            step, zero = logarithm.exp().item(), _whole(self._zeros[point]).item()
            found[point] = (-zero * step, (LARGEST_ACTIVATION - zero) * step)
        return found

    def _round(self, point: str, values: Tensor) -> Tensor:
        step, zero = self._steps[point].exp(), _whole(self._zeros[point])
        whole = (_nearest(values / step) + zero).clamp(0, LARGEST_ACTIVATION)
        return (whole - zero) * step


def _astray(maps: Tensor, taught: Tensor, settings: TrainingPart) -> Tensor:
    """How far maps ``(B, 4, H, W)`` are from the teacher's, for each pixel of its cells: ``(B,)``.

    The parts are those of :func:`cellrim.training.losses.imitation_loss`, less what the teacher's
    own maps have. Each crop counts alike, however little of it cells cover.
    """
    cell, wanted = torch.sigmoid(taught[:, 0]), taught[:, 1:]
    cross, flow, octaves = pixel_losses(maps, cell, wanted)
    least, _, _ = pixel_losses(taught, cell, wanted)
    inside = settings.flow_weight * flow + settings.diameter_weight * octaves
    total = (cross - least + cell * inside).sum((1, 2))
    return total / (cell.sum((1, 2)) + _LEAST_CELLS)


def _shares(astray: Tensor) -> Tensor:
    """Weights ``(B,)`` of the crops of a batch: those that are further off count more."""
    shares: Tensor = astray.detach() / astray.detach().sum().clamp(min=_LEAST_SUM)
    return shares


def _whole(zero: Tensor) -> Tensor:
    return _nearest(zero.clamp(0, LARGEST_ACTIVATION))


def _nearest(values: Tensor) -> Tensor:
    """Round; on the way back rounding is left out."""
    return values + (values.round() - values).detach()


def _rate(progress: float) -> float:
    """Share of the rates: up, then down along half a cosine."""
    return min(1.0, (progress + 0.01) / _WARMUP) * 0.5 * (1 + cos(pi * min(progress, 1.0)))


def activations_of(model: UNet, network: object) -> dict[str, str]:
    """Name in the graph of the network of each activation that is rounded."""
    return {
        point: activation_into(network, point.removeprefix(INTO))
        if point.startswith(INTO)
        else activation_after(network, point)
        for point in rounded_points(model)
    }


def _free(values: list[Tensor]) -> list[Tensor]:
    return [value.requires_grad_() for value in values]

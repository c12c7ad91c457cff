"""The loss: foreground, flow and diameter, over the pixels somebody has annotated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cellrim.training.recipe import TrainingPart
from cellrim.training.store import CELL, IGNORE


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the loss of one batch; ``total`` is what is minimised (scalars, float32)."""

    total: Tensor
    foreground: Tensor
    flow: Tensor
    diameter: Tensor


def map_loss(maps: Tensor, kind: Tensor, target: Tensor, settings: TrainingPart) -> Losses:
    """Compare predicted maps with the truth.

    Parameters
    ----------
    maps
        float ``(B, 4, H, W)``, the network's output.
    kind
        int8 ``(B, H, W)``: background, cell or ignore.
    target
        float32 ``(B, 3, H, W)``: flow y, flow x, log2 diameter.
    settings
        Weights of the parts.

    Notes
    -----
    Foreground: binary cross-entropy. Flow: squared error over the whole annotated area, 0 being
    right in the background, so that its length becomes a measure of certainty. Diameter: smooth
    absolute error inside cells.
    """
    maps = maps.float()
    known = (kind != IGNORE).float()
    cell = (kind == CELL).float()
    pixels = known.sum().clamp(min=1)
    cross = functional.binary_cross_entropy_with_logits(maps[:, 0], cell, reduction="none")
    foreground = (cross * known).sum() / pixels
    error = (maps[:, 1:3] - target[:, :2]).square().sum(1)
    flow = (error * known).sum() / pixels
    octaves = functional.smooth_l1_loss(maps[:, 3], target[:, 2], reduction="none", beta=0.25)
    diameter = (octaves * cell).sum() / cell.sum().clamp(min=1)
    total = foreground + settings.flow_weight * flow + settings.diameter_weight * diameter
    return Losses(total, foreground, flow, diameter)


def overlap_counts(maps: Tensor, kind: Tensor) -> Tensor:
    """Count true positive, false positive and false negative foreground pixels, float64 (3,)."""
    known = kind != IGNORE
    predicted = (maps[:, 0] > 0) & known
    cell = (kind == CELL) & known
    hit = (predicted & cell).sum()
    return torch.stack([hit, predicted.sum() - hit, cell.sum() - hit]).double()

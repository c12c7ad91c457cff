"""The loss: foreground, flow and diameter, over the pixels somebody has annotated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cellrim.training.recipe import TrainingPart
from cellrim.training.store import CELL, IGNORE

# Cells smaller still weigh no more.
_MOST_OCTAVES = 3.0
# Flows that point apart by at least this, along an axis, belong to two cells.
_APART = 0.35
# Cells no further apart than twice this (pixels) touch, and what is as near to that counts too.
_NEAR = 2


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
    Foreground and flow weigh the pixels of cells smaller than canonical by
    ``(canonical / diameter) ** small_cells``: unweighted, a cell of a third of the diameter
    counts a ninth. Pixels :func:`between_cells` weigh ``contacts`` times more, as in the first
    U-Net (Ronneberger et al., MICCAI 2015): few pixels decide whether two cells are one.
    """
    maps = maps.float()
    cell = (kind == CELL).float()
    smaller = (-target[:, 2]).clamp(0, _MOST_OCTAVES) * cell
    weight = (kind != IGNORE).float() * torch.exp2(settings.small_cells * smaller)
    if settings.contacts:
        weight = weight * (1 + settings.contacts * between_cells(target[:, :2]))
    total_weight = weight.sum().clamp(min=1)
    cross = functional.binary_cross_entropy_with_logits(maps[:, 0], cell, reduction="none")
    foreground = (cross * weight).sum() / total_weight
    error = (maps[:, 1:3] - target[:, :2]).square().sum(1)
    flow = (error * weight).sum() / total_weight
    octaves = functional.smooth_l1_loss(maps[:, 3], target[:, 2], reduction="none", beta=0.25)
    diameter = (octaves * cell).sum() / cell.sum().clamp(min=1)
    total = foreground + settings.flow_weight * flow + settings.diameter_weight * diameter
    return Losses(total, foreground, flow, diameter)


def between_cells(flow: Tensor) -> Tensor:
    """Mark the pixels around places where two cells touch, or almost do.

    Parameters
    ----------
    flow
        float32 ``(B, 2, H, W)``, the true one: it points apart on both sides of such a place, and
        nowhere within a cell.

    Returns
    -------
    Tensor
        float32 ``(B, H, W)``: 1 there, 0 elsewhere.
    """
    apart = torch.zeros_like(flow[:, 0])
    for reach in range(1, _NEAR + 1):
        for axis, along in enumerate(flow.unbind(1), start=1):
            length = along.shape[axis] - 2 * reach
            if length > 0:
                before = along.narrow(axis, 0, length) < -_APART
                behind = along.narrow(axis, 2 * reach, length) > _APART
                apart.narrow(axis, reach, length).add_(before & behind)
    return functional.max_pool2d(apart.clamp(max=1), 2 * _NEAR + 1, stride=1, padding=_NEAR)


def overlap_counts(maps: Tensor, kind: Tensor) -> Tensor:
    """Count true positive, false positive and false negative foreground pixels, float64 (3,)."""
    known = kind != IGNORE
    predicted = (maps[:, 0] > 0) & known
    cell = (kind == CELL) & known
    hit = (predicted & cell).sum()
    return torch.stack([hit, predicted.sum() - hit, cell.sum() - hit]).double()

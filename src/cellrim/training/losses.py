"""The loss: foreground, flow and diameter, over the pixels somebody has annotated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cellrim.training.recipe import TrainingPart
from cellrim.training.store import CELL, IGNORE

# Cells smaller still weigh no more.
_MOST_OCTAVES = 3.0


class Losses(NamedTuple):
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
    counts a ninth.
    """
    cell = (kind == CELL).float()
    return _compared(maps, cell, kind != IGNORE, target, settings)


def imitation_loss(
    maps: Tensor, taught: Tensor, kind: Tensor, target: Tensor, settings: TrainingPart
) -> Losses:
    """Compare maps with those of another network on the same patches, and with the truth.

    Parameters
    ----------
    maps, taught
        float ``(B, 4, H, W)``: of the network that learns, and of the one that it learns from.
    kind, target
        The truth, as in :func:`map_loss`.
    settings
        Weights of the parts; ``annotation`` is the truth's share in what is learnt, the other
        network has the rest.

    Notes
    -----
    As :func:`map_loss`, with what lies between both answers in the place of the annotation: cross-
    entropy and squared error have the same gradient as the weighted sum of two losses. The other
    network alone teaches where nobody has annotated.
    """
    taught = taught.float()
    share = settings.annotation * (kind != IGNORE).float()
    cell = torch.lerp(torch.sigmoid(taught[:, 0]), (kind == CELL).float(), share)
    wanted = torch.lerp(taught[:, 1:], target, share[:, None])
    everywhere = torch.ones_like(kind, dtype=torch.bool)
    return _compared(maps, cell, everywhere, wanted, settings)


def _compared(
    maps: Tensor, cell: Tensor, known: Tensor, target: Tensor, settings: TrainingPart
) -> Losses:
    """Compare maps with the probability of a cell, float ``(B, H, W)``, and the other maps."""
    maps = maps.float()
    smaller = (-target[:, 2]).clamp(0, _MOST_OCTAVES) * cell
    weight = known.float() * torch.exp2(settings.small_cells * smaller)
    total_weight = weight.sum().clamp(min=1)
    cross, error, octaves = pixel_losses(maps, cell, target)
    foreground = (cross * weight).sum() / total_weight
    flow = (error * weight).sum() / total_weight
    diameter = (octaves * cell).sum() / cell.sum().clamp(min=1)
    total = foreground + settings.flow_weight * flow + settings.diameter_weight * diameter
    return Losses(total, foreground, flow, diameter)


def pixel_losses(maps: Tensor, cell: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare maps with what is wanted, pixel by pixel.

    Parameters
    ----------
    maps
        float32 ``(B, 4, H, W)``, a network's output.
    cell
        float32 ``(B, H, W)``: the probability of a cell.
    target
        float32 ``(B, 3, H, W)``: flow y, flow x, log2 diameter.

    Returns
    -------
    tuple of Tensor
        float32 ``(B, H, W)`` each, not weighted: of foreground, flow and diameter.
    """
    cross = functional.binary_cross_entropy_with_logits(maps[:, 0], cell, reduction="none")
    flow = (maps[:, 1:3] - target[:, :2]).square().sum(1)
    octaves = functional.smooth_l1_loss(maps[:, 3], target[:, 2], reduction="none", beta=0.25)
    return cross, flow, octaves


def overlap_counts(maps: Tensor, kind: Tensor) -> Tensor:
    """Count true positive, false positive and false negative foreground pixels, float64 (3,)."""
    known = kind != IGNORE
    predicted = (maps[:, 0] > 0) & known
    cell = (kind == CELL) & known
    hit = (predicted & cell).sum()
    return torch.stack([hit, predicted.sum() - hit, cell.sum() - hit]).double()

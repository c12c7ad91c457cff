"""What a training begins with: the weights of another model, as far as the networks are alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cellrim.errors import RecipeError
from cellrim.models.registry import ModelFolder
from cellrim.models.restore import measure_statistics, restore
from cellrim.models.unet import IN, OUT, UNetShape
from cellrim.training.checkpoint import State, read_checkpoint
from cellrim.training.recipe import Recipe


def shape_of(recipe: Recipe) -> UNetShape:
    """Size of the network that a recipe asks for."""
    part = recipe.model
    return UNetShape(part.widths, part.rim, part.half_in, part.half_out, part.first_block)


@dataclass(frozen=True, slots=True)
class Origin:
    """A network to begin with.

    Parameters
    ----------
    weights
        By their names in :class:`~cellrim.models.unet.UNet`.
    shape
        Size of the network.
    sha256
        Hash of the exported model that it is, or that its own training began with; None without.
    path
        Where it was read.
    """

    weights: State
    shape: UNetShape
    sha256: str | None
    path: Path


def origin_of_checkpoint(path: Path) -> Origin:
    """Take the averaged weights of another training.

    Raises
    ------
    RecipeError
        If the file is no checkpoint.
    """
    before = read_checkpoint(path)
    recipe = Recipe.model_validate_json(before.recipe)
    return Origin(before.average, shape_of(recipe), before.started_from, path)


def origin_of_model(folder: ModelFolder, batches: Iterable[Tensor]) -> Origin:
    """Take the weights of an exported model; the statistics come from batches to train on.

    Raises
    ------
    ModelError
        If the folder holds no network that can be trained on.
    """
    restored = restore(folder)
    measure_statistics(restored, batches)
    return Origin(dict(restored.state_dict()), restored.shape, folder.card.sha256, folder.path)


def borrow(origin: Origin, own: State, shape: UNetShape) -> tuple[State, frozenset[str]]:
    """Take over what another network has, too, and keep one's own for the rest.

    Parameters
    ----------
    origin
        The other network. Its ends may differ.
    own
        Weights of the network that is to begin.
    shape
        Its size.

    Returns
    -------
    weights
        All that the network needs.
    borrowed
        Names of those that came from the origin.

    Raises
    ------
    RecipeError
        If more than the ends differs.
    """
    given = origin.shape
    if (given.widths, given.rim) != (shape.widths, shape.rim):
        raise RecipeError(
            f"Expected a model of {shape}, as the recipe says, but the one in {origin.path} is "
            f"{given}."
        )
    other: tuple[str, ...] = ()
    other += IN if given.half_in != shape.half_in else ()
    other += OUT if given.half_out != shape.half_out else ()
    borrowed = frozenset(k for k in origin.weights if k in own and not k.startswith(other))
    weights = own | {k: origin.weights[k] for k in borrowed}
    if "head.weight" not in borrowed:  # at random, it would draw maps far too large
        weights["head.weight"] = torch.zeros_like(own["head.weight"])
    return weights, borrowed

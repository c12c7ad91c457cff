"""The state of a training between two steps, written so that a kill at any moment loses little."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cellrim.errors import RecipeError
from cellrim.io.atomic import atomic_path

State = dict[str, Tensor]


@dataclass(slots=True)
class Checkpoint:
    """Everything a training resumes from. Patches are made from their number, so no generator.

    ``history`` holds one row per epoch; ``best`` is the score of ``best_model``;
    ``started_from`` the hash of the exported model that training began with, ``borrowed`` the names
    of the weights taken over where that one lacks some, ``start`` its weights where they are to be
    blended with the last ones, ``taught_by`` the hash of the model whose maps were learnt.
    """

    recipe: str
    patches: int
    seconds: float
    model: State
    average: State
    optimiser: dict[str, Any]
    best: float = float("-inf")
    best_model: State = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    started_from: str | None = None
    taught_by: str | None = None
    borrowed: list[str] = field(default_factory=list)
    start: State = field(default_factory=dict)


def blend(first: State, second: State, share: float) -> State:
    """Weights that lie a share of the way from the first to the second; counts are the second's."""
    return {
        name: torch.lerp(first[name], value, share) if value.is_floating_point() else value
        for name, value in second.items()
    }


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint under a temporary name and rename it."""
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    with atomic_path(path) as partial:
        torch.save(fields, partial)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed.

    Raises
    ------
    RecipeError
        If the file is missing, damaged or not a checkpoint.
    """
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**fields)
    except FileNotFoundError as error:
        raise RecipeError(f"Expected a checkpoint at {path}, but there is none.") from error
    except Exception as error:
        raise RecipeError(f"The checkpoint {path} cannot be read: {error}") from error

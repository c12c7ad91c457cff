"""Fine-tuning: a recipe made from a folder of annotated images and the model to go on from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from cellrim.errors import RecipeError
from cellrim.models.registry import ModelFolder
from cellrim.training.recipe import (
    AugmentationPart,
    CardPart,
    DataPart,
    DecodePart,
    ModelPart,
    Recipe,
    TrainingPart,
    ValidationPart,
)

PATCHES = 4_000
"""Length of a fine-tuning: ten minutes on two cores of a laptop, less than one on a GPU."""

_VALIDATIONS = 4
_BLENDS = (0.25, 0.5, 0.75)
# Share of the training over which the learning rate rises.
_WARMUP = 0.1


def fine_tuning_recipe(data: Path, base: ModelFolder, *, patches: int = PATCHES) -> Recipe:
    """Make the recipe that fits a model to one data set.

    The network, the decode options and the calibration of the confidence are the base model's: a
    handful of images is too little to choose them by. The learning rate is a third of that of a
    training from nothing, and blends of old and new weights are judged too, so that what the model
    knows of other images is bent and not broken.

    Parameters
    ----------
    data
        A data set of any format that :func:`cellrim.datasets.open_dataset` reads, such as a folder
        with ``images/`` and ``labels/``.
    base
        The model to go on from.
    patches
        Length of the training.

    Returns
    -------
    Recipe
        Its data path is the folder's name: the data root is the folder's parent.

    Raises
    ------
    RecipeError
        If the folder has no name to call the model by, or the card does not state the network.
    """
    name = model_name(data)
    try:
        model = ModelPart.model_validate(base.card.architecture)
    except ValueError as error:
        raise RecipeError(
            f"Expected the widths and the rim of the network in the card of {base.path}, but got "
            f"{base.card.architecture}: without them it cannot be trained on."
        ) from error
    return Recipe(
        name=name,
        data=(DataPart(path=data.name),),
        model=model,
        training=TrainingPart(patches=patches, learning_rate=3e-4, warmup=round(_WARMUP * patches)),
        augmentation=AugmentationPart(scale_octaves=0.3),
        validation=ValidationPart(every=max(1, patches // _VALIDATIONS), blends=_BLENDS),
        decode=DecodePart(
            options=replace(base.card.decode, min_surest=0.0),  # new images begin unsure
            look=base.card.look,
            calibration=base.card.calibration,
            working_diameter=base.card.working_diameter,
            search=False,
        ),
        card=CardPart(
            licence=f"{base.card.licence} (of {base.card.name}, which this model was made from)",
            limitations=(
                f"Fitted to {name}: on other images {base.card.name} may be the better choice.",
            ),
        ),
    )


def model_name(folder: Path) -> str:
    """Name a model after a folder, in the letters that a model card takes.

    Raises
    ------
    RecipeError
        If no letter or digit is left.

    Examples
    --------
    >>> model_name(Path("My cells (week 2)"))
    'my-cells-week-2'
    """
    name = re.sub(r"[^a-z0-9_.]+", "-", folder.name.lower()).strip("-_.")
    if not name:
        raise RecipeError(
            f"Expected a folder whose name has a letter from a to z or a digit, to name the model "
            f"after, but got {folder.name!r}: rename it."
        )
    return name

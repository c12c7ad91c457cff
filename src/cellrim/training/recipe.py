"""The recipe: everything a training needs, in one TOML file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from cellrim.core.normalise import NETWORK_CHANNELS
from cellrim.errors import RecipeError
from cellrim.models.card import MODEL_NAME
from cellrim.representation.calibration import Calibration
from cellrim.representation.flow import DecodeOptions

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPart(_Part):
    """One data set: where it is (under the data root), how to read it, how often to draw it."""

    path: str
    format: str | None = None
    name: str | None = None
    weight: Positive = 1.0
    only: tuple[str, ...] = ()
    """Modalities to take; all where empty."""
    options: dict[str, str] = Field(default_factory=dict)
    """What the format's reader takes besides, for example ``target = "cells"``."""
    nucleus_channel: Annotated[int, Field(ge=0, lt=NETWORK_CHANNELS)] | None = None
    """The channel that may be dropped, since the cells can be told without it."""
    labelled_by: str | None = None
    """Model that labels the images of a folder that nobody annotated (self-training): what it is
    sure of is the truth, the rest is ignored. None of them is held back."""
    licence: str = "not stated"
    """Of the images of such a folder; that of annotated ones is their format's."""
    complete: bool = False
    """Whether every cell is annotated, so that the ground between may be shown as empty."""


class ModelPart(_Part):
    """The U-Net and the scale it works at."""

    widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    rim: int = 16
    half_in: bool = False
    half_out: bool = False
    """Whether the layers that see the image, or draw the maps, are at half resolution, too."""
    first_block: bool = True
    """Whether there is a block at 1/2 resolution on the way down."""
    canonical_diameter: Positive = 24.0


class TrainingPart(_Part):
    """Optimisation."""

    patches: Annotated[int, Field(gt=0)] = 400_000
    patch_size: Annotated[int, Field(gt=0)] = 192
    batch: Annotated[int, Field(gt=0)] = 16
    learning_rate: Positive = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 3_000
    """Patches over which the learning rate rises."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    flow_weight: Positive = 4.0
    diameter_weight: Positive = 0.2
    small_cells: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Exponent by which pixels of cells smaller than canonical weigh more in the loss."""
    seed: int = 0
    new_layers: Annotated[int, Field(ge=0)] = 0
    """Patches over which only the layers learn that the model begun with (--from) lacks (Kumar et
    al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR
    2022)."""
    teacher: str | None = None
    """Model, by its name or folder, whose maps are learnt in place of the annotation (Beyer et al.,
    "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022)."""
    annotation: Fraction = 0.0
    """Share that the annotation keeps in what is learnt from a teacher (Hinton et al., "Distilling
    the knowledge in a neural network", 2015)."""
    rounded: Fraction = 0.0
    """Share of the training, at its end, in which the network computes with numbers rounded as
    those of its twin in 8-bit integers are."""


class AugmentationPart(_Part):
    """How images are varied; probabilities unless said otherwise."""

    scale_octaves: Positive = 0.4
    """Standard deviation of log2(apparent / canonical diameter)."""
    wide_scale: Fraction = 0.2
    wide_octaves: Range = (-1.6, 1.8)
    """Range of log2(apparent / canonical diameter) of the wide share, which teaches the scale."""
    stretch: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    """Standard deviation of the logarithm of how much patches are lengthened along any axis and
    shortened across it."""
    invert: Fraction = 0.25
    invert_colour: Fraction = 0.05
    gamma: Fraction = 0.5
    contrast: Fraction = 0.7
    illumination: Fraction = 0.3
    shading: Fraction = 0.0
    """Brightness that changes from cell to cell, as stain and thickness do."""
    noise: Fraction = 0.4
    blur: Fraction = 0.25
    shuffle_channels: Fraction = 0.5
    drop_channel: Fraction = 0.15
    to_grey: Fraction = 0.15
    empty: Fraction = 0.03
    """Share of patches with nothing but noise, gradients and glare."""
    background: Fraction = 0.04
    """Share of patches of real background, where a data set is complete."""


class ValidationPart(_Part):
    """The held-back images and when they are looked at."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    every: Annotated[int, Field(gt=0)] = 16_000
    """Patches between validations; one such stretch is an epoch."""
    images_per_set: Annotated[int, Field(gt=0)] = 12
    """Images of each set in the validations on the way; the last one takes all."""
    blends: tuple[Fraction, ...] = ()
    """Shares of the way from the weights that training began with (--from) to the last ones, of
    which blends are judged too in the end (Wortsman et al., "Robust fine-tuning of zero-shot
    models", CVPR 2022)."""


class DecodePart(_Part):
    """How maps become instances in validation, and whether better options are searched for."""

    options: DecodeOptions = DecodeOptions()
    look: DecodeOptions | None = None
    """Those of the looks that estimate the scale; as ``options`` before the search where None."""
    calibration: Calibration = Calibration()
    working_diameter: PositiveFloat | None = None
    """Diameter that cells are brought to when the network finds them; the canonical where None."""
    search: bool = True
    """Find these on all validation images at the end; else they are taken as they are."""
    surest: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Calibrated confidence that the surest cell of an image must have, or it is taken to show
    none; not used where it would cost score."""
    int8_patches: PositiveInt = 32
    """Crops of training images on which the ranges of the twin in int8 are measured; 50 MB each."""
    int8_steps: Annotated[int, Field(ge=0)] = 100
    """Batches of eight crops from which the twin learns its ranges and biases."""
    int8_looks: PositiveInt = 8
    """Looks at each validation set by which a twin is judged: sets of fewer images are seen turned
    and moved, too."""
    int8_draws: PositiveInt = 1
    """Twins made at most, each with the ranges of other crops, until no set loses much by one."""


class CardPart(_Part):
    """What the model card says beside what training finds out."""

    licence: str = "not stated"
    limitations: tuple[str, ...] = ()


class Recipe(_Part):
    """A whole training. Unknown keys are errors."""

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    data: Annotated[tuple[DataPart, ...], Field(min_length=1)]
    model: ModelPart = ModelPart()
    training: TrainingPart = TrainingPart()
    augmentation: AugmentationPart = AugmentationPart()
    validation: ValidationPart = ValidationPart()
    decode: DecodePart = DecodePart()
    card: CardPart = CardPart()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        stride = 2 ** len(self.model.widths)
        if self.training.patch_size % stride:
            raise ValueError(
                f"Expected training.patch_size to be a multiple of {stride} for "
                f"{len(self.model.widths)} levels, but got {self.training.patch_size}."
            )
        return self

    def data_key(self) -> str:
        """Hash of all that decides what the packed data looks like."""
        parts = [d.model_dump(exclude={"weight", "nucleus_channel"}) for d in self.data]
        text = json.dumps([parts, self.validation.fraction])
        text += str(self.model.canonical_diameter)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises
    ------
    RecipeError
        If the file cannot be read, is not TOML, or has a key or value that cannot work.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"Expected TOML in {path}, but {error}.") from error
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in problem['loc']) or 'recipe'}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise RecipeError(f"The recipe {path} cannot work:\n" + "\n".join(lines)) from error

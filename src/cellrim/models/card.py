"""The model card: what a model is, what it was trained on, and what it can and cannot do.

The card is the contract between training and prediction: training writes it beside
``model.onnx``, prediction reads everything it needs to know about the network from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, field
from numpy.typing import NDArray

from cellrim.core.normalise import NETWORK_CHANNELS
from cellrim.errors import ModelError
from cellrim.io.atomic import atomic_path
from cellrim.io.structs import to_json
from cellrim.representation.calibration import Calibration
from cellrim.representation.flow import DecodeOptions

CARD_NAME = "card.json"
ONNX_NAME = "model.onnx"
INT8_NAME = "model.int8.onnx"
MODEL_NAME = r"^[a-z0-9][a-z0-9_.-]*$"
"""What a model may be called, as a regular expression."""

_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[float, Meta(gt=0)]
_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set that a model was trained on.

    Parameters
    ----------
    name, licence
        The data set's short name and its licence.
    images, cells
        How many of them training used; validation images do not count.
    """

    name: str
    licence: str
    images: _Count
    cells: _Count


class Replaced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model whose place another took, and how the two compare.

    Parameters
    ----------
    sha256
        Hash of the ``model.onnx`` that was replaced, hexadecimal.
    views
        Ways to look at each validation image; scores are means over them.
    score_before, score
        Mean over the validation sets of (AP50 + mAP)/2, and of F1 where boxes are compared: of the
        model replaced and of the card's.
    standard_error
        Of their difference, from view to view.
    unseen_before, unseen
        The same score on images of sets that neither model was trained on.
    """

    sha256: _Hash
    views: Annotated[int, Meta(gt=1)]
    score_before: float
    score: float
    standard_error: float
    unseen_before: float
    unseen: float


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything prediction and users need to know about one model.

    Parameters
    ----------
    name, version, created
        Who the model is; ``created`` is an ISO 8601 date or time.
    licence
        Licence of the weights.
    representation
        How maps become instances; the module in :mod:`cellrim.representation`.
    architecture
        Arguments of the network, as training gave them.
    channels
        Input channels of the network.
    canonical_diameter
        Cell diameter the network is trained at, in pixels.
    working_diameter
        Cell diameter images are brought to for the network to find the cells, in pixels: the one
        that scored highest on the validation sets; the canonical one where nothing was tried.
    stride
        Height and width of the input must be multiples of it.
    halo
        Pixels around a tile that only serve as context, at the network's scale.
    decode
        Thresholds found on the validation sets.
    look
        Those of the looks that estimate the scale; as ``decode`` where None.
    calibration
        From what the network says of a cell to the chance that the cell is right, fitted on the
        validation sets; without effect where nothing was fitted.
    training_sets
        What it was trained on.
    recipe
        The text of the recipe.
    patches_seen
        Training patches, counted with repetition; those of ``started_from`` do not count.
    started_from
        ``sha256`` of the model whose weights training began with; None for random ones.
    taught_by
        ``sha256`` of the model whose maps were learnt; None for the annotation.
    validation
        Metrics of each validation set: set name to metric name to value.
    intervals
        Their 95 % bootstrap intervals over images, low and high; sets of one image have none.
    replaced
        The model that it was found better than when it took its place; None for the first one.
    limitations
        What it is known to do badly, one sentence each.
    sha256
        Hash of ``model.onnx``, hexadecimal.
    int8_sha256
        Hash of ``model.int8.onnx``, the network's twin in 8-bit integers; None where there is none.
    """

    format: Literal[1] = 1
    name: Annotated[str, Meta(pattern=MODEL_NAME)]
    version: str
    created: str
    licence: str = "not stated"
    representation: Literal["flow"] = "flow"
    architecture: dict[str, Any] = field(default_factory=dict)
    channels: Annotated[int, Meta(ge=NETWORK_CHANNELS, le=NETWORK_CHANNELS)] = NETWORK_CHANNELS
    canonical_diameter: _Positive
    working_diameter: _Positive | None = None
    stride: Annotated[int, Meta(gt=0)] = 32
    halo: _Count
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    look: DecodeOptions | None = None
    calibration: Calibration = field(default_factory=Calibration)
    training_sets: tuple[TrainingSet, ...] = ()
    recipe: str = ""
    patches_seen: _Count = 0
    started_from: _Hash | None = None
    taught_by: _Hash | None = None
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    replaced: Replaced | None = None
    limitations: tuple[str, ...] = ()
    sha256: _Hash
    int8_sha256: _Hash | None = None

    @property
    def network_diameter(self) -> float:
        """Diameter that cells have when the network finds them, in pixels of its input."""
        return self.working_diameter or self.canonical_diameter

    def calibrated(self, confidence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the chance to be right, 0..1, of cells of which the network says this."""
        chance: NDArray[np.float32] = self.calibration.apply(confidence).astype(np.float32)
        return chance

    @property
    def least_confidence(self) -> float:
        """Calibrated confidence below which the card's decode options drop a cell."""
        raw = self.decode.min_confidence
        return float(self.calibration.apply(raw)) if raw > 0 else 0.0

    @property
    def least_surest(self) -> float:
        """Calibrated confidence that the surest cell of an image must have, or it shows none."""
        raw = self.decode.min_surest
        return float(self.calibration.apply(raw)) if raw > 0 else 0.0

    def least_shown(self, confidence: NDArray[np.float32]) -> float:
        """Calibrated confidence from which cells count, of an image whose cells have these."""
        empty = confidence.max(initial=0) < self.least_surest
        return self.least_surest if empty else self.least_confidence

    def decode_options(self, min_confidence: float | None = None) -> DecodeOptions:
        """Options of the card, with another least confidence where one is given.

        Who asks for a least confidence gets all cells that have it, however unsure the surest is.

        Parameters
        ----------
        min_confidence
            Calibrated, 0..1, as the results have it; 0 keeps every instance.
        """
        if min_confidence is None:
            return self.decode
        inside = 0 < min_confidence < 1  # the logit has no ends
        raw = self.calibration.undo(min_confidence) if inside else min_confidence
        return replace(self.decode, min_confidence=raw, min_surest=0.0)


def read_card(path: Path) -> ModelCard:
    """Read a model card.

    Raises
    ------
    ModelError
        If the file is missing or does not fit; the message names the first field that is wrong.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelCard)
    except OSError as error:
        raise ModelError(f"Cannot read the model card {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise ModelError(f"The model card {path} does not fit: {error}.") from error


def write_card(path: Path, card: ModelCard) -> None:
    """Write a model card as JSON, whole or not at all.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(to_json(card, indent=2) + b"\n")


def sha256_of(data: bytes) -> str:
    """Hash as the card states it."""
    return hashlib.sha256(data).hexdigest()

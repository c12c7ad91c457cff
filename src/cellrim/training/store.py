"""Packed training data: every sample once, near the canonical scale, as memory-mapped arrays.

Memory is bounded by patches, not by the data set. A folder of packed data is all that a training
needs, so it can be carried to another machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.datasets.base import Boxes, Truth
from cellrim.errors import MissingExtraError, RecipeError
from cellrim.io.atomic import atomic_path

INDEX = "index.json"
VERSION = 3
FLOW_UNIT = 127.0
"""Flow components are stored as int8 in this unit."""
OCTAVE_UNIT = 16.0
"""log2 of the diameter in pixels is stored as int8 in this unit."""
BACKGROUND, CELL, IGNORE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sample of the index: where it came from and what is in its files."""

    key: str
    dataset: str
    name: str
    modality: str
    licence: str
    part: str
    """``train``, ``validation``, or ``background`` for a crop of a training image without cells."""
    source: int
    """Which of the recipe's data sets it belongs to."""
    cells: int
    diameter: float
    """Median cell diameter at the scale of the packed image, in pixels; 0 without cells. Of a
    background, that of the image it was cut from."""
    levels: int
    """Number of image files, each half the size of the one before."""
    channels: tuple[int, ...]
    """Numbers of the image's channels that are packed, in this order; a third one may be empty."""


@dataclass(frozen=True, slots=True)
class Index:
    """What is packed, with the hash of the recipe's data that it was packed from."""

    data_key: str
    samples: tuple[PackedSample, ...]
    problems: tuple[str, ...]

    def part(self, name: str) -> tuple[PackedSample, ...]:
        """Return the samples of one part."""
        return tuple(s for s in self.samples if s.part == name)


def write_index(folder: Path, index: Index) -> None:
    """Write the index last: a folder without one is not packed."""
    table = {
        "version": VERSION,
        "data_key": index.data_key,
        "problems": index.problems,
        "samples": [asdict(s) for s in index.samples],
    }
    with atomic_path(folder / INDEX) as path:
        path.write_text(json.dumps(table, indent=1), encoding="utf-8")


def read_index(folder: Path) -> Index | None:
    """Read the index of packed data; None where the folder has none of this version."""
    path = folder / INDEX
    if not path.is_file():
        return None
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if table.get("version") != VERSION:
        return None
    samples = tuple(
        PackedSample(**{**s, "channels": tuple(s["channels"])}) for s in table["samples"]
    )
    return Index(table["data_key"], samples, tuple(table["problems"]))


def image_file(folder: Path, key: str, level: int) -> Path:
    """Where the packed image of one pyramid level lies: one channel if it is grey, else three."""
    return folder / f"{key}.image{level}.npy"


def maps_file(folder: Path, key: str) -> Path:
    """Where the encoded annotation of a training sample lies."""
    return folder / f"{key}.maps.npy"


def truth_file(folder: Path, key: str) -> Path:
    """Where the whole image and truth of a validation sample lie."""
    return folder / f"{key}.truth.npz"


def write_truth(path: Path, image: Image, truth: Truth) -> None:
    """Write a validation sample: the image as it was read, and its truth."""
    arrays: dict[str, NDArray[Any]] = {
        "pixels": image.pixels,
        "channels": np.array(image.channels),
        "labels": truth.labels,
    }
    if truth.ignore is not None:
        arrays["ignore"] = truth.ignore
    if truth.boxes is not None:
        arrays["corners"] = truth.boxes.corners
        arrays["categories"] = np.array(truth.boxes.categories)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_truth(path: Path) -> tuple[Image, Truth]:
    """Read a validation sample.

    Raises
    ------
    RecipeError
        If the file is not there: the packed data is incomplete.
    """
    if not path.is_file():
        raise RecipeError(f"The packed data is incomplete: {path.name} is missing. Pack it again.")
    with np.load(path, allow_pickle=False) as arrays:
        image = Image(arrays["pixels"], tuple(str(c) for c in arrays["channels"]))
        boxes = None
        if "corners" in arrays:
            boxes = Boxes(arrays["corners"], tuple(str(c) for c in arrays["categories"]))
        ignore = arrays.get("ignore")
        return image, Truth(arrays["labels"], ignore, boxes)


def needs_torch() -> None:
    """Check that the ``train`` extra is installed.

    Raises
    ------
    MissingExtraError
        If it is not.
    """
    if find_spec("torch") is None or find_spec("onnx") is None:
        raise MissingExtraError("Training", "train")

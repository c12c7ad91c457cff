"""What a data set is to the rest of cellrim: samples, each an image with its truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels


@dataclass(frozen=True, slots=True)
class Boxes:
    """Bounding boxes in pixels: ``corners`` (n, 4) int, ``y0 x0 y1 x1``, ends exclusive."""

    corners: NDArray[np.int64]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """The annotation of one image, brought to the form that training and evaluation use.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background.
    ignore
        bool, axes ``YX``, True where nobody says what is there (cells without an annotation);
        None where everything is annotated.
    boxes
        The boxes, where the data set ships boxes and the labels are derived from them.
    """

    labels: Labels
    ignore: NDArray[np.bool_] | None = None
    boxes: Boxes | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its annotation and where it came from. Pixels are read when asked for.

    Parameters
    ----------
    dataset, name
        The data set's short name and the image's name, unique within it.
    paths
        The files the sample is made of, images first.
    kind
        How it is annotated: ``outline``, ``labels``, ``masks``, ``rle``, ``coco``, ``boxes`` or
        ``none``.
    group
        Samples of one group (field, movie, plate well) are never split over training and
        validation.
    modality
        ``fluorescence-nuclei``, ``fluorescence-cells``, ``dic``, ``phase-contrast``,
        ``brightfield``, ``histology`` or ``smear``.
    read_image, read_truth
        Read the pixels, and the annotation as labels; ``read_truth`` is None without annotation.
    trainable
        False where the source allows evaluation only: no shipped weight is trained on it.
    """

    dataset: str
    name: str
    paths: tuple[Path, ...]
    kind: str
    group: str
    modality: str
    licence: str
    read_image: Callable[[], Image] = field(repr=False)
    read_truth: Callable[[], Truth] | None = field(repr=False, default=None)
    trainable: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be used: which, and why, in one sentence."""

    record: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found under one path: the format, the usable samples, and what is wrong."""

    dataset: str
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


class Reader(Protocol):
    """A data set format: recognises its files under a root and lists them as samples."""

    name: str
    title: str
    licence: str

    def matches(self, root: Path) -> bool:
        """Whether the folder (or file) looks like this data set, whole or partial."""
        ...

    def read(self, root: Path, **options: Any) -> Listing:
        """List samples and problems without reading more pixels than needed."""
        ...

"""The cells of a large image, in squares on the disk: what is known before they are measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image, thinned
from cellrim.core.normalise import grid_step
from cellrim.core.parts import CellPart, cut_out
from cellrim.io.levels import Level
from cellrim.io.region_readers import RegionImage
from cellrim.prediction.result import Result


@dataclass(frozen=True)
class LargeCells:
    """The cells of a large image, in squares on the disk.

    Parameters
    ----------
    levels
        The label image and its reductions by two, uint32.
    confidence
        float32, one value per cell, 0..1, in the order of the ids.
    boxes
        int64, (n, 4): ``y0 x0 y1 x1`` of each cell, ends exclusive.
    areas
        int64, (n,): pixels of each cell.
    diameter
        Cell diameter used to scale the image, in input pixels.
    image
        The image.
    asked
        Identifies the image and all that was asked for.
    certainty
        How sure the network is of all that could be cells, 0..1; NaN where nothing could.
    devices
        Where the network ran, sorted; several where workers differ.
    """

    levels: tuple[Level, ...] = field(repr=False)
    confidence: NDArray[np.float32] = field(repr=False)
    boxes: NDArray[np.int64] = field(repr=False)
    areas: NDArray[np.int64] = field(repr=False)
    diameter: float
    image: RegionImage = field(repr=False)
    asked: str
    certainty: float = math.nan
    devices: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.confidence)

    @property
    def covered(self) -> float:
        """Share of the image in cells, 0..1."""
        height, width = self.image.shape
        return float(self.areas.sum()) / (height * width)

    def parts(self) -> Iterator[CellPart]:
        """Cut out each cell once, whole, some at a time."""
        level = self.levels[0]
        return cut_out(level.window, level.shape, self.boxes, edge=level.edge)

    @cached_property
    def thinned(self) -> Result:
        """Every n-th pixel of image and labels, about two megapixels, for a look at it."""
        step, size = grid_step(self.image.shape), self.image.pixel_size
        image = Image(
            thinned(self.image, step), self.image.channels, None if size is None else size * step
        )
        labels = self.levels[0].thinned(step)
        return Result(labels, self.confidence, self.diameter / step, image, self.certainty)

"""The cells of a large image, and how they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.errors import OutputError
from cellrim.io.atomic import remove
from cellrim.io.levels import Level, write_tiff_labels
from cellrim.io.ngff import write_ngff_labels
from cellrim.io.region_readers import RegionImage


@dataclass(frozen=True, slots=True)
class LargeResult:
    """The cells of a large image, in squares on the disk.

    Parameters
    ----------
    levels
        The label image and its reductions by two, uint32.
    confidence
        float32, one value per cell, 0..1, in the order of the ids.
    boxes
        int64, (n, 4): ``y0 x0 y1 x1`` of each cell, ends exclusive.
    diameter
        Cell diameter used to scale the image, in input pixels.
    image
        The image.
    asked
        Identifies the image and all that was asked for.
    devices
        Where the network ran, sorted; several where workers differ.
    """

    levels: tuple[Level, ...]
    confidence: NDArray[np.float32]
    boxes: NDArray[np.int64]
    diameter: float
    image: RegionImage
    asked: str
    devices: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.confidence)

    def save_labels(self, path: Path) -> None:
        """Write the label image: OME-Zarr where the name ends with .zarr, else OME-BigTIFF.

        Raises
        ------
        OutputError
            If it cannot be written. Nothing half-written ever has the final name.
        """
        if path.suffix.lower() != ".zarr":
            write_tiff_labels(path, self.levels, pixel_size=self.image.pixel_size)
            return
        unfinished = path.with_name(f".{path.stem}.partial{path.suffix}")
        remove(unfinished)
        about = {"cellrim": __version__, "asked": self.asked, "cells": self.count}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_ngff_labels(
                unfinished, self.levels, pixel_size=self.image.pixel_size, about=about
            )
            remove(path)
            unfinished.replace(path)
        except OSError as error:
            remove(unfinished)
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error

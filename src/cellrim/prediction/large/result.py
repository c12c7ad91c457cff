"""The cells of a large image, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.core.image import Image, thinned
from cellrim.core.normalise import grid_step
from cellrim.core.parts import CellPart, cut_out
from cellrim.errors import OutputError
from cellrim.io.atomic import remove
from cellrim.io.exports import FORMATS, CellList
from cellrim.io.levels import Level, write_tiff_labels
from cellrim.io.ngff import write_ngff_labels
from cellrim.io.region_readers import RegionImage
from cellrim.prediction.result import Result

if TYPE_CHECKING:
    from cellrim.measure.cells import CellTable
    from cellrim.measure.quality import Quality


@dataclass(frozen=True)
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

    def cell_list(self, name: str) -> CellList:
        """Return the cells as the formats of :mod:`cellrim.io.exports` take lists of cells.

        Parameters
        ----------
        name
            Of the image, for files that hold it.
        """
        return CellList(
            name,
            self.levels[0].shape,
            self.count,
            self.parts,
            pixel_size=self.image.pixel_size,
            measure=lambda: self.cells.columns,
        )

    @cached_property
    def cells(self) -> CellTable:
        """One row of measurements per cell, made when first asked for."""
        from cellrim.prediction.large.measured import measure_large

        return measure_large(self)

    @cached_property
    def thinned(self) -> Result:
        """Every n-th pixel of image and labels, about two megapixels, for a look at it."""
        step, size = grid_step(self.image.shape), self.image.pixel_size
        image = Image(
            thinned(self.image, step), self.image.channels, None if size is None else size * step
        )
        labels = self.levels[0].thinned(step)
        return Result(labels, self.confidence, self.diameter / step, image, self.certainty)

    @cached_property
    def quality(self) -> Quality:
        """How far the image can be trusted, measured on a sample of it when first asked for."""
        from cellrim.measure.quality import sample_quality

        diameters = np.sqrt(self.areas * 4 / np.pi)
        return sample_quality(
            self.image,
            self.thinned.image,
            self.thinned.labels,
            diameter=float(np.median(diameters)) if self.count else math.nan,
            certainty=self.certainty,
        )

    def save(self, kind: str, path: str | Path, *, name: str | None = None) -> None:
        """Write the cells in any format that needs no whole label image in memory.

        Parameters
        ----------
        kind
            Of :data:`~cellrim.prediction.large.saving.STREAMED`.
        path
            Where to.
        name
            Of the image, for files that hold it; made of the path where left out.

        Raises
        ------
        InputError
            If the kind cannot be saved.
        OutputError
            If the file cannot be written.
        """
        from cellrim.prediction.large.saving import check_streamed, save_streamed

        check_streamed([kind])
        where = Path(path)
        save_streamed(self, [kind], {kind: where}, name=name or FORMATS[kind].name_of(where))

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

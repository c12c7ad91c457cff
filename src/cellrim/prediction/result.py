"""What a prediction gives back, and how it is saved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.errors import UsageError
from cellrim.io.exports import FORMATS, CellSet
from cellrim.io.labels import write_labels

if TYPE_CHECKING:
    from cellrim.measure.cells import CellTable
    from cellrim.measure.quality import Quality


@dataclass(frozen=True)
class Result:
    """The cells of one image.

    Parameters
    ----------
    labels
        int32, axes ``YX``, at the size of the input; 0 is background, 1..n are cells.
    confidence
        float32, one value per cell, 0..1, in the order of the ids.
    diameter
        Cell diameter used to scale the image, in input pixels: given or estimated.
    image
        The image as it came in, all channels.
    certainty
        How sure the network is of all that could be cells, 0..1; NaN where nothing could.
    """

    labels: Labels
    confidence: NDArray[np.float32]
    diameter: float
    image: Image = field(repr=False)
    certainty: float = math.nan

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.confidence)

    @property
    def covered(self) -> float:
        """Share of the image in cells, 0..1."""
        return float((self.labels > 0).mean())

    def cell_set(self, name: str) -> CellSet:
        """Return the cells as the formats of :mod:`cellrim.io.exports` take them.

        Parameters
        ----------
        name
            Of the image, for files that hold it.
        """
        return CellSet(name, self.labels, self.image, measure=lambda: self.cells.columns)

    def save(self, kind: str, path: str | Path, *, name: str | None = None) -> None:
        """Write the cells in any format.

        Parameters
        ----------
        kind
            A key of :data:`cellrim.io.exports.FORMATS`: ``rois``, ``geojson``, ``coco`` ...
        path
            Where to.
        name
            Of the image, for files that hold it; made of the path where left out.

        Raises
        ------
        UsageError
            If there is no such format.
        OutputError
            If the file cannot be written.
        """
        if kind not in FORMATS:
            raise UsageError(f"Expected a format, one of {', '.join(FORMATS)}, but got {kind!r}.")
        known = FORMATS[kind]
        known.write(Path(path), self.cell_set(name or known.name_of(Path(path))))

    @cached_property
    def cells(self) -> CellTable:
        """One row of measurements per cell, made when first asked for."""
        from cellrim.measure.cells import measure_cells

        return measure_cells(self.labels, self.image, confidence=self.confidence)

    @cached_property
    def quality(self) -> Quality:
        """How far the image can be trusted, measured when first asked for."""
        from cellrim.measure.quality import measure_quality

        return measure_quality(self.image, self.labels, certainty=self.certainty)

    def save_labels(self, path: str | Path) -> None:
        """Write the label image as TIFF (uint16, uint32 where there are more cells).

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_labels(Path(path), self.labels)

    def save_overlay(self, path: str | Path) -> None:
        """Write the image with the outlines of the cells as PNG.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from cellrim.io.overlay import draw_overlay, write_png

        write_png(Path(path), draw_overlay(self.image, self.labels))

    def save_cells(self, path: str | Path) -> None:
        """Write the table of measurements as CSV.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from cellrim.io.tables import write_csv

        write_csv(Path(path), self.cells.columns)

"""The cells of a large image, their measurements, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellrim.errors import InputError
from cellrim.io.exports import FORMATS, CellList
from cellrim.prediction.large.cells import LargeCells
from cellrim.prediction.large.saving import write_labels, write_overlay

if TYPE_CHECKING:
    from cellrim.measure.cells import CellTable
    from cellrim.measure.quality import Quality


class LargeResult(LargeCells):
    """The cells of a large image, and all that is made of them, in bounded memory."""

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
            Of :data:`STREAMED`.
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
        check_streamed([kind])
        where = Path(path)
        write_list = FORMATS[kind].write_list
        if write_list is not None:
            write_list(where, self.cell_list(name or FORMATS[kind].name_of(where)))
        else:
            _WRITERS[kind](self, where)

    def save_labels(self, path: str | Path) -> None:
        """Write the label image: OME-Zarr where the name ends with .zarr, else OME-BigTIFF.

        Raises
        ------
        OutputError
            If it cannot be written. Nothing half-written ever has the final name.
        """
        write_labels(self, Path(path))


def _write_cells(result: LargeResult, path: Path) -> None:
    """Write the table of measurements as CSV.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.tables import write_csv

    write_csv(path, result.cells.columns)


_WRITERS: Mapping[str, Callable[[LargeResult, Path], None]] = {
    "labels": write_labels,
    "overlay": write_overlay,
    "cells": _write_cells,
    "ome-tiff": write_labels,
    "ome-zarr": write_labels,
}

STREAMED = tuple(kind for kind, f in FORMATS.items() if kind in _WRITERS or f.write_list)
"""Kinds that can be saved; labels are written in the form that the path's name says."""


def check_streamed(kinds: Iterable[str]) -> None:
    """Check that these kinds of results can be written of an image that is never in memory whole.

    Raises
    ------
    InputError
        If one cannot.
    """
    unable = [kind for kind in kinds if kind not in STREAMED]
    if unable:
        raise InputError(
            f"Expected to save {', '.join(STREAMED)} of an image that is streamed, but got "
            f"{', '.join(unable)}, which needs the whole label image in memory at once: save "
            "labels, and use cellrim convert on them where there is memory enough."
        )

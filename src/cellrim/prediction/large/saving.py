"""What is written of a large image's labels: label images with pyramids, and pictures."""

from __future__ import annotations

from pathlib import Path

from cellrim._version import __version__
from cellrim.core.image import Image, thinned
from cellrim.errors import OutputError
from cellrim.io.atomic import remove
from cellrim.io.levels import write_tiff_labels
from cellrim.io.ngff import write_ngff_labels
from cellrim.prediction.large.cells import LargeCells

OVERLAY_PIXELS = 2048
"""Longest edge of an overlay."""


def write_overlay(cells: LargeCells, path: Path) -> None:
    """Write the image with the outlines of the cells as PNG, reduced to :data:`OVERLAY_PIXELS`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.overlay import draw_overlay, write_png

    number = next(
        (n for n, level in enumerate(cells.levels) if max(level.shape) <= OVERLAY_PIXELS),
        len(cells.levels) - 1,
    )
    labels = cells.levels[number].thinned(1)
    image = Image(thinned(cells.image, 2**number), cells.image.channels)
    write_png(path, draw_overlay(image, labels))


def write_labels(cells: LargeCells, path: Path) -> None:
    """Write the label image: OME-Zarr where the name ends with .zarr, else OME-BigTIFF.

    Raises
    ------
    OutputError
        If it cannot be written. Nothing half-written ever has the final name.
    """
    if path.suffix.lower() != ".zarr":
        write_tiff_labels(path, cells.levels, pixel_size=cells.image.pixel_size)
        return
    unfinished = path.with_name(f".{path.stem}.partial{path.suffix}")
    remove(unfinished)
    about = {"cellrim": __version__, "asked": cells.asked, "cells": cells.count}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ngff_labels(unfinished, cells.levels, pixel_size=cells.image.pixel_size, about=about)
        remove(path)
        unfinished.replace(path)
    except OSError as error:
        remove(unfinished)
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error

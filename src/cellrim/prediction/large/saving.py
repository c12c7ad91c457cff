"""What is saved of an image whose labels are squares on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cellrim.core.image import Image, thinned
from cellrim.errors import InputError
from cellrim.io.exports import FORMATS
from cellrim.prediction.large.result import LargeResult

OVERLAY_PIXELS = 2048
"""Longest edge of an overlay."""


def save_overlay(result: LargeResult, path: Path) -> None:
    """Write the image with the outlines of the cells as PNG, reduced to :data:`OVERLAY_PIXELS`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.overlay import draw_overlay, write_png

    number = next(
        (n for n, level in enumerate(result.levels) if max(level.shape) <= OVERLAY_PIXELS),
        len(result.levels) - 1,
    )
    labels = result.levels[number].thinned(1)
    image = Image(thinned(result.image, 2**number), result.image.channels)
    write_png(path, draw_overlay(image, labels))


def save_cells(result: LargeResult, path: Path) -> None:
    """Write the table of measurements as CSV.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.tables import write_csv

    write_csv(path, result.cells.columns)


_WRITERS = {
    "labels": LargeResult.save_labels,
    "overlay": save_overlay,
    "cells": save_cells,
    "ome-tiff": LargeResult.save_labels,
    "ome-zarr": LargeResult.save_labels,
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


def save_streamed(
    result: LargeResult, kinds: Sequence[str], paths: Mapping[str, Path], *, name: str
) -> None:
    """Write results of these kinds, each to its path.

    Parameters
    ----------
    result
        The cells.
    kinds
        Of :data:`STREAMED`.
    paths
        Where each kind goes.
    name
        Of the image, for files that hold it.

    Raises
    ------
    InputError
        If a kind cannot be saved.
    OutputError
        If a file cannot be written.
    """
    check_streamed(kinds)
    for kind in kinds:
        write_list = FORMATS[kind].write_list
        if write_list is not None:
            write_list(paths[kind], result.cell_list(name))
        else:
            _WRITERS[kind](result, paths[kind])

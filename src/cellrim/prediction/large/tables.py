"""What is saved of an image whose labels are squares on the disk: labels, measures, a preview."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, relabel
from cellrim.core.tiles import windows
from cellrim.errors import InputError
from cellrim.io.levels import Level
from cellrim.measure.cells import CellTable, measure_cells
from cellrim.prediction.large.result import LargeResult

PREVIEW_PIXELS = 2048
"""Longest edge of a preview."""

# What needs the whole image: others of the cells, the frame, the background, the place in um. They
# are left out, since a square on its own would give wrong values.
_NEED_ALL = (
    "neighbour",
    "nearest_",
    "touches_border",
    "corrected_",
    "centroid_y_um",
    "centroid_x_um",
)
# Columns that are places, and along which axis.
_PLACES = {"_y": 0, "_x": 1, "_y0": 0, "_x0": 1, "_y1": 0, "_x1": 1}


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
            f"{', '.join(unable)}, which needs all cells in memory at once: save labels, and use "
            "cellrim convert on them where there is memory enough."
        )


def save_streamed(result: LargeResult, kinds: Sequence[str], paths: Mapping[str, Path]) -> None:
    """Write results of these kinds, each to its path.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    for kind in kinds:
        STREAMED[kind](result, paths[kind])


def measure_large(result: LargeResult) -> CellTable:
    """Measure each cell, with values of :func:`~cellrim.measure.measure_cells`.

    Each cell is measured whole, with those whose box begins in the same square.
    """
    tables = list(_measured(result))
    if not tables:
        empty = np.zeros((1, 1, len(result.image.channels)), np.uint8)
        table = measure_cells(
            np.zeros((1, 1), np.int32),
            Image(empty, result.image.channels, result.image.pixel_size),
            confidence=result.confidence,
        )
        return CellTable({n: v for n, v in table.columns.items() if not n.startswith(_NEED_ALL)})
    joined = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    order = np.argsort(joined["id"])
    return CellTable({name: values[order] for name, values in joined.items()})


def save_cells(result: LargeResult, path: Path) -> None:
    """Write the table of measurements as CSV.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.tables import write_csv

    write_csv(path, measure_large(result).columns)


def save_preview(result: LargeResult, path: Path) -> None:
    """Write the image with the outlines of the cells as PNG, reduced to :data:`PREVIEW_PIXELS`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from cellrim.io.overlay import draw_overlay, write_png

    number = next(
        (n for n, level in enumerate(result.levels) if max(level.shape) <= PREVIEW_PIXELS),
        len(result.levels) - 1,
    )
    level = result.levels[number]
    labels = read_level(level, slice(0, level.shape[0]), slice(0, level.shape[1]))
    write_png(path, draw_overlay(_thinned(result, 2**number), labels))


def read_level(level: Level, rows: slice, columns: slice) -> Labels:
    """Return some rows and columns of a label image that is read in squares, as int32."""
    edge = level.edge
    labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
    for y in range(rows.start // edge, -(-rows.stop // edge)):
        for x in range(columns.start // edge, -(-columns.stop // edge)):
            square = level.read(y, x)
            top, left = max(rows.start, y * edge), max(columns.start, x * edge)
            bottom = min(rows.stop, y * edge + square.shape[0])
            right = min(columns.stop, x * edge + square.shape[1])
            labels[
                top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
            ] = square[top - y * edge : bottom - y * edge, left - x * edge : right - x * edge]
    return labels


def _measured(result: LargeResult) -> Iterator[dict[str, NDArray[np.generic]]]:
    level = result.levels[0]
    per_row = -(-level.shape[1] // level.edge)
    owner = result.boxes[:, 0] // level.edge * per_row + result.boxes[:, 1] // level.edge
    order = np.argsort(owner, kind="stable")
    bounds = np.flatnonzero(np.diff(owner[order], prepend=-1, append=-2))
    for begin, end in pairwise(bounds):
        ids = np.sort(order[begin:end]) + 1
        top, left = result.boxes[ids - 1, :2].min(axis=0).tolist()
        bottom, right = result.boxes[ids - 1, 2:].max(axis=0).tolist()
        rows, columns = slice(top, bottom), slice(left, right)
        labels = read_level(level, rows, columns)
        labels[~np.isin(labels, ids)] = 0
        image = Image(
            result.image.read(rows, columns), result.image.channels, result.image.pixel_size
        )
        table = measure_cells(relabel(labels), image, confidence=result.confidence[ids - 1])
        columns_of = {n: v for n, v in table.columns.items() if not n.startswith(_NEED_ALL)}
        columns_of["id"] = ids.astype(np.int32)
        for name in columns_of:
            axis = next((a for end_, a in _PLACES.items() if name.endswith(end_)), None)
            if axis is not None and name.startswith(("centroid", "bbox")):
                columns_of[name] = columns_of[name] + (top, left)[axis]
        yield columns_of


def _thinned(result: LargeResult, step: int) -> Image:
    image = result.image
    shape = (-(-image.shape[0] // step), -(-image.shape[1] // step))
    first = image.read(slice(0, 1), slice(0, 1))
    pixels = np.zeros((*shape, first.shape[2]), first.dtype)
    for rows, columns in windows(image.shape, step * max(1, 1024 // step)):
        part = image.read(rows, columns)[::step, ::step]
        y, x = rows.start // step, columns.start // step
        pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
    return Image(pixels, image.channels, image.pixel_size)


STREAMED: dict[str, Callable[[LargeResult, Path], None]] = {
    "labels": LargeResult.save_labels,
    "overlay": save_preview,
    "cells": save_cells,
    "ome-tiff": LargeResult.save_labels,
    "ome-zarr": LargeResult.save_labels,
}
"""What can be saved, and how; labels are written in the form that the path's name says."""

"""Pyramids of label images that are larger than memory, and the TIFF file they are written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.core.tiles import windows
from cellrim.io.atomic import atomic_path


@dataclass(frozen=True, slots=True)
class Level:
    """One size of a label image, read in squares.

    Parameters
    ----------
    shape
        Height and width in pixels.
    edge
        Edge of the squares in pixels.
    read
        Takes the row and the column of a square; returns its labels, cut off at the frame.
    """

    shape: tuple[int, int]
    edge: int
    read: Callable[[int, int], NDArray[np.uint32]]

    def window(self, rows: slice, columns: slice) -> Labels:
        """Return some rows and columns, int32, axes ``YX``."""
        edge = self.edge
        labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
        for y in range(rows.start // edge, -(-rows.stop // edge)):
            for x in range(columns.start // edge, -(-columns.stop // edge)):
                square = self.read(y, x)
                top, left = max(rows.start, y * edge), max(columns.start, x * edge)
                bottom = min(rows.stop, y * edge + square.shape[0])
                right = min(columns.stop, x * edge + square.shape[1])
                labels[
                    top - rows.start : bottom - rows.start,
                    left - columns.start : right - columns.start,
                ] = square[top - y * edge : bottom - y * edge, left - x * edge : right - x * edge]
        return labels

    def thinned(self, step: int) -> Labels:
        """Return every step-th pixel along both axes, int32, axes ``YX``."""
        height, width = (-(-n // step) for n in self.shape)
        labels = np.zeros((height, width), np.int32)
        for rows, columns in windows(self.shape, self.edge):
            square = self.read(rows.start // self.edge, columns.start // self.edge)
            part = square[-rows.start % step :: step, -columns.start % step :: step]
            y, x = -(-rows.start // step), -(-columns.start // step)
            labels[y : y + part.shape[0], x : x + part.shape[1]] = part
        return labels


def write_tiff_labels(path: Path, levels: Sequence[Level], *, pixel_size: float | None) -> None:
    """Write a label image as tiled OME-BigTIFF (uint32) with a pyramid, whole or not at all.

    Parameters
    ----------
    path
        Where to; the folder is created where missing.
    levels
        The label image and its reductions by two.
    pixel_size
        Micrometres per pixel of the first level, if known.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX"}
    if pixel_size is not None:
        metadata |= {f"PhysicalSize{a}": pixel_size for a in "XY"}
        metadata |= {f"PhysicalSize{a}Unit": "µm" for a in "XY"}
    with atomic_path(path) as partial, tifffile.TiffWriter(partial, bigtiff=True, ome=True) as file:
        for number, level in enumerate(levels):
            file.write(
                _whole_tiles(level),
                shape=level.shape,
                dtype=np.uint32,
                tile=(level.edge, level.edge),
                compression="zlib",
                predictor=True,
                photometric="minisblack",
                metadata=metadata if number == 0 else None,
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=0 if number == 0 else 1,
            )


def _whole_tiles(level: Level) -> Iterator[NDArray[np.uint32]]:
    for rows, columns in windows(level.shape, level.edge):
        tile = level.read(rows.start // level.edge, columns.start // level.edge)
        missing = [(0, level.edge - n) for n in tile.shape]
        yield np.pad(tile, missing) if any(after for _, after in missing) else tile

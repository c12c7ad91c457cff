"""Measurements of the cells of a large image: the same table as in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import touching
from cellrim.core.parts import CellPart, whole
from cellrim.measure.cells import CellTable, Columns, channel_names, measure_alone, measure_together
from cellrim.measure.intensity import measure_background
from cellrim.measure.neighbours import Pairs
from cellrim.prediction.large.cells import LargeCells


def measure_large(cells: LargeCells) -> CellTable:
    """Measure each cell as :func:`~cellrim.measure.measure_cells` does.

    What a cell is by itself is measured where it is cut out; neighbours, the frame and the
    background are put to it when all cells are known.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read.
    OutputError
        If a square of the labels cannot be read.
    """
    nothing = whole(np.zeros((1, 1), np.int32))  # has the columns, where no cell has any
    tables, pairs = [_alone(nothing, cells)], [_pairs(nothing)]
    for part in cells.parts():
        tables.append(_alone(part, cells))
        pairs.append(_pairs(part))
    order = np.argsort(np.concatenate([table["id"] for table in tables]))
    alone = {name: np.concatenate([table[name] for table in tables])[order] for name in tables[0]}
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    table = measure_together(
        alone,
        (first, second),
        shape=cells.image.shape,
        pixel_size=cells.image.pixel_size,
        background=_background(cells),
    )
    table.columns["confidence"] = cells.confidence
    return table


def _alone(part: CellPart, cells: LargeCells) -> Columns:
    image, (height, width) = cells.image, part.labels.shape
    rows, columns = (
        slice(start, start + length)
        for start, length in zip(part.origin, (height, width), strict=True)
    )
    pixels = Image(image.read(rows, columns), image.channels, image.pixel_size)
    return measure_alone(part.labels, pixels, origin=part.origin)


def _pairs(part: CellPart) -> Pairs:
    """Cells that touch: each pair comes with the part of its first cell."""
    first, second = touching(part.around)
    mine: NDArray[np.bool_] = np.isin(first, part.ids)
    return first[mine], second[mine]


def _background(cells: LargeCells) -> dict[str, float]:
    thin = cells.thinned
    planes = np.moveaxis(thin.image.pixels, 2, 0)
    names = channel_names(cells.image.channels)
    return {n: measure_background(thin.labels, p) for n, p in zip(names, planes, strict=True)}

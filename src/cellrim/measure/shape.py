"""Size and form of each cell, from its runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, borders
from cellrim.measure.hull import measure_hulls
from cellrim.measure.runs import Runs, find_runs

Columns = dict[str, NDArray[Any]]

# Length that a border pixel adds to the perimeter, by its border neighbours: 2 for each beside it
# and 10 for each diagonal one, after Benkrid and Crookes, "Design and FPGA Implementation of a
# Perimeter Estimator" (2000); the table and its use are those of skimage.measure.perimeter.
_PERIMETER_WEIGHTS = np.zeros(50)
_PERIMETER_WEIGHTS[[4, 6, 14, 16, 24, 26]] = 1
_PERIMETER_WEIGHTS[[20, 32]] = np.sqrt(2)
_PERIMETER_WEIGHTS[[12, 22]] = (1 + np.sqrt(2)) / 2
_BESIDE, _DIAGONAL = 2, 10


def measure_shapes(labels: Labels, runs: Runs) -> Columns:
    """Measure size and form of each cell, in pixels and degrees.

    Parameters
    ----------
    labels
        int32, axes ``YX``.
    runs
        Of these labels.

    Returns
    -------
    dict
        See :data:`cellrim.measure.columns.CELL_COLUMNS`.
    """
    area = runs.area
    perimeter = _perimeters(labels, runs.ids)
    hulls = measure_hulls(runs)
    circularity = np.full(len(area), np.nan)
    np.divide(4 * np.pi * area, perimeter**2, out=circularity, where=perimeter > 0)
    return {
        **_centroids(runs),
        "area": area,
        "diameter": np.sqrt(4 * area / np.pi),
        "perimeter": perimeter,
        **_axes(runs),
        "solidity": area / np.maximum(hulls.area, 1),
        "circularity": np.minimum(circularity, 1),
        "feret_max": hulls.feret_max,
        "feret_min": hulls.feret_min,
        **_boxes(runs),
    }


def bounding_boxes(labels: Labels) -> NDArray[np.int64]:
    """Find the bounding box of each instance.

    Parameters
    ----------
    labels
        int32, axes ``YX``.

    Returns
    -------
    ndarray
        int64, (n, 4): ``y0 x0 y1 x1``, ends exclusive, one row per id that is present, in order.
    """
    return _box_table(find_runs(labels))


def _centroids(runs: Runs) -> Columns:
    middle = runs.start + (runs.length - 1) / 2
    return {
        "centroid_y": runs.total(runs.row * runs.length) / runs.area,
        "centroid_x": runs.total(middle * runs.length) / runs.area,
    }


def _axes(runs: Runs) -> Columns:
    """Axes of the ellipse that has the second moments of the cell."""
    centre = _centroids(runs)
    y = runs.row - centre["centroid_y"][runs.cell]
    x = runs.start + (runs.length - 1) / 2 - centre["centroid_x"][runs.cell]
    n = runs.length
    yy = runs.total(n * y * y) / runs.area
    xx = runs.total(n * x * x + (n**3 - n) / 12) / runs.area
    xy = runs.total(n * y * x) / runs.area
    # Rounding must not turn a round cell into a direction, nor a line into a negative width.
    noise = 1e-12 * (yy + xx)
    xy = np.where(np.abs(xy) <= noise, 0.0, xy)
    uneven = np.where(np.abs(yy - xx) <= noise, 0.0, yy - xx)
    root = np.hypot(uneven / 2, xy)
    large = (yy + xx) / 2 + root
    small = np.maximum((yy + xx) / 2 - root, 0)
    small = np.where(small <= noise, 0.0, small)
    ratio = np.divide(small, large, out=np.ones_like(large), where=large > 0)
    angle = np.where(
        uneven == 0, np.where(xy > 0, np.pi / 4, -np.pi / 4), np.arctan2(2 * xy, uneven) / 2
    )
    return {
        "axis_major": 4 * np.sqrt(large),
        "axis_minor": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - ratio),
        "orientation": np.degrees(angle),
    }


def _boxes(runs: Runs) -> Columns:
    names = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
    return dict(zip(names, _box_table(runs).T, strict=True))


def _box_table(runs: Runs) -> NDArray[np.int64]:
    if not len(runs.ids):
        return np.zeros((0, 4), np.int64)
    first = runs.first
    sides = (
        np.minimum.reduceat(runs.row, first),
        np.minimum.reduceat(runs.start, first),
        np.maximum.reduceat(runs.row, first) + 1,
        np.maximum.reduceat(runs.start + runs.length, first),
    )
    return np.stack(sides, axis=1)


def _perimeters(labels: Labels, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Perimeter of each cell, as ``skimage.measure.perimeter`` of its own mask."""
    border = np.pad(np.where(borders(labels), labels, 0), 1)
    width, marks = border.shape[1], border.ravel()
    at = np.flatnonzero(marks)
    own = marks[at]
    code = np.zeros(len(at), np.uint8)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                linked = marks[at + (dy * width + dx)] == own
                code += np.uint8(_DIAGONAL if dy and dx else _BESIDE) * linked
    lengths = np.bincount(own, weights=_PERIMETER_WEIGHTS[code])
    return lengths[ids].astype(np.float64, copy=False)  # every cell has a border

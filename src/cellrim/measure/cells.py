"""One row of measurements per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, borders
from cellrim.errors import InputError

# Length that a border pixel adds to the perimeter, by its border neighbours: 2 for each beside it
# and 10 for each diagonal one, after Benkrid and Crookes, "Design and FPGA Implementation of a
# Perimeter Estimator" (2000); the table and its use are those of skimage.measure.perimeter.
_PERIMETER_WEIGHTS = np.zeros(50)
_PERIMETER_WEIGHTS[[4, 6, 14, 16, 24, 26]] = 1
_PERIMETER_WEIGHTS[[20, 32]] = np.sqrt(2)
_PERIMETER_WEIGHTS[[12, 22]] = (1 + np.sqrt(2)) / 2
_BESIDE, _DIAGONAL = 2, 10


@dataclass(frozen=True)
class CellTable:
    """Measurements of the cells of one image, one row per cell in the order of the ids.

    Parameters
    ----------
    columns
        Name to one-dimensional array. In pixels, counted from the centre of the first pixel:
        ``id``, ``centroid_y``, ``centroid_x``, ``area``, ``perimeter``, ``bbox_y0``, ``bbox_x0``,
        ``bbox_y1``, ``bbox_x1`` (ends exclusive); in raw intensities ``mean_<channel>`` for each
        channel; ``confidence`` (0..1) where the prediction gives it.
    """

    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["id"])


def measure_cells(
    labels: Labels, image: Image, *, confidence: NDArray[np.float32] | None = None
) -> CellTable:
    """Measure each cell.

    Parameters
    ----------
    labels
        int32, axes ``YX``, of the size of the image; 0 is background. Ids may have gaps, cells may
        have several parts.
    image
        Raw intensities.
    confidence
        One value per cell, 0..1, in the order of the ids.

    Returns
    -------
    CellTable
        One row per id that is present.

    Raises
    ------
    InputError
        If the sizes differ, or the number of confidences is not that of the cells.

    Notes
    -----
    The definitions are those of ``skimage.measure.regionprops``. Sums are taken over the runs of
    pixels in the rows, then over the runs of each cell: linear in pixels, no loop over cells.
    """
    if labels.shape != image.shape:
        raise InputError(
            f"Expected labels of the image's shape {image.shape}, but got {labels.shape}."
        )
    runs = _find_runs(labels)
    count = len(runs.ids)
    if confidence is not None and len(confidence) != count:
        raise InputError(f"Expected {count} confidences, one per cell, but got {len(confidence)}.")
    columns: dict[str, NDArray[Any]] = {"id": runs.ids, **_shapes(runs)}
    columns["perimeter"] = _perimeters(labels, runs.ids)
    columns |= _boxes(runs)
    for name, plane in zip(_names(image.channels), np.moveaxis(image.pixels, 2, 0), strict=True):
        columns[f"mean_{name}"] = runs.sums(plane) / columns["area"]
    if confidence is not None:
        columns["confidence"] = np.asarray(confidence)
    return CellTable(columns)


def bounding_boxes(labels: Labels) -> NDArray[np.int64]:
    """Find the bounding box of each instance.

    Returns
    -------
    ndarray
        int64, (n, 4): ``y0 x0 y1 x1``, ends exclusive, one row per id that is present, in order.
    """
    return np.stack(list(_boxes(_find_runs(labels)).values()), axis=1)


@dataclass(frozen=True)
class _Runs:
    """Horizontal runs of pixels of one cell.

    Parameters
    ----------
    ids
        The ids that are present, ascending.
    cell
        Of each run, the position of its id in ``ids``.
    row, start, length
        Of each run, in pixels.
    bounds
        Flat index of the first pixel of every run, those of the background included.
    kept
        Which of them are runs of cells.
    """

    ids: NDArray[np.int32]
    cell: NDArray[np.intp]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    bounds: NDArray[np.int64]
    kept: NDArray[np.bool_]

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the runs of each cell of one value per run."""
        sums = np.bincount(self.cell, weights=values, minlength=len(self.ids))
        return sums.astype(np.float64, copy=False)

    def sums(self, plane: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the pixels of each cell of an image ``YX``."""
        if not len(self.ids):
            return np.zeros(0)
        flat = np.ascontiguousarray(plane).ravel()
        return self.total(np.add.reduceat(flat, self.bounds, dtype=np.float64)[self.kept])


def _find_runs(labels: Labels) -> _Runs:
    height, width = labels.shape
    begins = np.ones((height, width), bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    bounds = np.flatnonzero(begins)
    value = labels.ravel()[bounds]
    length = np.diff(bounds, append=labels.size)
    kept = value > 0
    ids, cell = np.unique(value[kept], return_inverse=True)
    row, start = np.divmod(bounds[kept], max(width, 1))
    return _Runs(ids, cell.reshape(-1), row, start, length[kept], bounds, kept)


def _shapes(runs: _Runs) -> dict[str, NDArray[Any]]:
    area = runs.total(runs.length)
    return {
        "centroid_y": runs.total(runs.row * runs.length) / area,
        "centroid_x": runs.total((runs.start + (runs.length - 1) / 2) * runs.length) / area,
        "area": area.astype(np.int64),
    }


def _boxes(runs: _Runs) -> dict[str, NDArray[Any]]:
    order = np.argsort(runs.cell, kind="stable")
    first = np.flatnonzero(np.diff(runs.cell[order], prepend=-1))
    row, start, end = (v[order] for v in (runs.row, runs.start, runs.start + runs.length))
    if not len(first):
        return dict.fromkeys(("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"), np.zeros(0, np.int64))
    return {
        "bbox_y0": np.minimum.reduceat(row, first),
        "bbox_x0": np.minimum.reduceat(start, first),
        "bbox_y1": np.maximum.reduceat(row, first) + 1,
        "bbox_x1": np.maximum.reduceat(end, first),
    }


def _perimeters(labels: Labels, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Perimeter of each cell, as ``skimage.measure.perimeter`` of its own mask."""
    padded = np.pad(labels, 1)
    border = np.pad(borders(labels), 1)
    at = np.flatnonzero(border)
    values, marks, width = padded.ravel(), border.ravel(), padded.shape[1]
    own = values[at]
    code = np.zeros(len(at), np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                other = at + dy * width + dx
                linked = marks[other] & (values[other] == own)
                code += (_DIAGONAL if dy and dx else _BESIDE) * linked
    position = np.searchsorted(ids, own)
    lengths = np.bincount(position, weights=_PERIMETER_WEIGHTS[code], minlength=len(ids))
    return lengths.astype(np.float64, copy=False)


def _names(channels: tuple[str, ...]) -> list[str]:
    """Channel names, numbered where one comes twice."""
    return [
        name if name not in channels[:i] else f"{name}_{i + 1}" for i, name in enumerate(channels)
    ]

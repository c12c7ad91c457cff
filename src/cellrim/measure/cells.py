"""One row of measurements per cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, touching
from cellrim.errors import InputError
from cellrim.measure.columns import LENGTHS
from cellrim.measure.compartments import measure_compartments
from cellrim.measure.intensity import STATISTICS, measure_background, measure_intensities
from cellrim.measure.neighbours import Pairs, measure_neighbours
from cellrim.measure.runs import find_runs
from cellrim.measure.shape import measure_shapes

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class CellTable:
    """Measurements of the cells of one image, one row per cell in the order of the ids.

    Parameters
    ----------
    columns
        Name to one-dimensional array; the names are those of
        :data:`cellrim.measure.columns.CELL_COLUMNS`.
    background
        Of each channel, by its name in the columns, the background intensity; NaN where there is
        none.
    """

    columns: dict[str, NDArray[Any]]
    background: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["id"])


def measure_cells(
    labels: Labels,
    image: Image,
    *,
    confidence: NDArray[np.float32] | None = None,
    nuclei: Labels | None = None,
) -> CellTable:
    """Measure each cell.

    Parameters
    ----------
    labels
        int32, axes ``YX``, of the size of the image; 0 is background. Ids may have gaps, cells may
        have several parts.
    image
        Raw intensities, and the pixel size where lengths in micrometres are wanted.
    confidence
        One value per cell, 0..1, in the order of the ids.
    nuclei
        Labels of nuclei with the ids of their cells, for the comparison of nucleus and cytoplasm.

    Returns
    -------
    CellTable
        One row per id that is present.

    Raises
    ------
    InputError
        If the sizes differ, the number of confidences is not that of the cells, or a nucleus has
        no cell.

    Notes
    -----
    The definitions are those of ``skimage.measure.regionprops`` where it has them. Sums are taken
    over the runs of pixels in the rows, then over the runs of each cell: linear in pixels, no loop
    over cells.
    """
    if labels.shape != image.shape:
        raise InputError(
            f"Expected labels of the image's shape {image.shape}, but got {labels.shape}."
        )
    names = channel_names(image.channels)
    planes = dict(zip(names, np.moveaxis(image.pixels, 2, 0), strict=True))
    table = measure_together(
        measure_alone(labels, image),
        touching(labels),
        shape=image.shape,
        pixel_size=image.pixel_size,
        background={name: measure_background(labels, plane) for name, plane in planes.items()},
    )
    if confidence is not None and len(confidence) != len(table):
        raise InputError(
            f"Expected {len(table)} confidences, one per cell, but got {len(confidence)}."
        )
    if nuclei is not None:
        table.columns.update(measure_compartments(labels, nuclei, image, names=names))
    if confidence is not None:
        table.columns["confidence"] = np.asarray(confidence)
    return table


def measure_alone(labels: Labels, image: Image, *, origin: tuple[int, int] = (0, 0)) -> Columns:
    """Measure what depends on a cell's own pixels only, so that any part of an image will do.

    Parameters
    ----------
    labels, image
        As for :func:`measure_cells`: a part of an image that holds the cells whole.
    origin
        The part's first row and column in the image.

    Returns
    -------
    dict
        Shapes, places in the whole image, and intensities.
    """
    runs = find_runs(labels)
    columns: Columns = {"id": runs.ids, **measure_shapes(labels, runs)}
    for axis, start in zip("yx", origin, strict=True):
        for name in (f"centroid_{axis}", f"bbox_{axis}0", f"bbox_{axis}1"):
            columns[name] = columns[name] + start
    names = channel_names(image.channels)
    for name, plane in zip(names, np.moveaxis(image.pixels, 2, 0), strict=True):
        found = measure_intensities(runs, plane)
        columns |= {f"{key}_{name}": values for key, values in found.items()}
    return columns


def measure_together(
    alone: Columns,
    pairs: Pairs,
    *,
    shape: tuple[int, int],
    pixel_size: float | None,
    background: Mapping[str, float],
) -> CellTable:
    """Add what a cell is among the others, in the frame, and over the background.

    Parameters
    ----------
    alone
        Columns of :func:`measure_alone` of all cells of an image, in the order of the ids.
    pairs
        Ids of cells that touch, each pair once: :func:`cellrim.core.labels.touching`.
    shape, pixel_size
        Of the image.
    background
        Of each channel, by its name in the columns.
    """
    bounds = ("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
    top, left, bottom, right = (alone[name] for name in bounds)
    centres = np.stack([alone["centroid_y"], alone["centroid_x"]], axis=1)
    border = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    intensities = {f"{key}_{name}" for name in background for key in STATISTICS}
    columns: Columns = {name: v for name, v in alone.items() if name not in intensities}
    columns |= {"touches_border": border, **measure_neighbours(pairs, alone["id"], centres)}
    if pixel_size is not None:
        columns |= _in_micrometres(columns, pixel_size)
    for name, ground in background.items():
        columns |= {f"{key}_{name}": alone[f"{key}_{name}"] for key in STATISTICS}
        columns[f"corrected_mean_{name}"] = alone[f"mean_{name}"] - ground
        columns[f"corrected_integrated_{name}"] = (
            alone[f"integrated_{name}"] - ground * alone["area"]
        )
    return CellTable(columns, dict(background))


def channel_names(channels: tuple[str, ...]) -> list[str]:
    """Channel names, numbered where one comes twice.

    Examples
    --------
    >>> channel_names(("dna", "actin", "dna"))
    ['dna', 'actin', 'dna_3']
    """
    return [
        name if name not in channels[:i] else f"{name}_{i + 1}" for i, name in enumerate(channels)
    ]


def _in_micrometres(columns: Columns, size: float) -> Columns:
    lengths = {f"{name}_um": columns[name] * size for name in LENGTHS}
    return {"area_um2": columns["area"] * size**2, **lengths}

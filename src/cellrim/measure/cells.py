"""One row of measurements per cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.errors import InputError
from cellrim.measure.columns import LENGTHS
from cellrim.measure.compartments import measure_compartments
from cellrim.measure.intensity import measure_background, measure_intensities
from cellrim.measure.neighbours import measure_neighbours
from cellrim.measure.runs import Runs, find_runs
from cellrim.measure.shape import measure_shapes


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
    runs = find_runs(labels)
    count = len(runs.ids)
    if confidence is not None and len(confidence) != count:
        raise InputError(f"Expected {count} confidences, one per cell, but got {len(confidence)}.")
    columns: dict[str, NDArray[Any]] = {"id": runs.ids, **measure_shapes(labels, runs)}
    centres = np.stack([columns["centroid_y"], columns["centroid_x"]], axis=1)
    columns |= measure_neighbours(labels, runs.ids, centres)
    if image.pixel_size is not None:
        columns |= _in_micrometres(columns, image.pixel_size)
    names = channel_names(image.channels)
    background = {}
    for name, plane in zip(names, np.moveaxis(image.pixels, 2, 0), strict=True):
        background[name] = measure_background(labels, plane)
        columns |= _channel_columns(runs, plane, name=name, background=background[name])
    if nuclei is not None:
        columns |= measure_compartments(labels, nuclei, image, names=names)
    if confidence is not None:
        columns["confidence"] = np.asarray(confidence)
    return CellTable(columns, background)


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


def _in_micrometres(columns: dict[str, NDArray[Any]], size: float) -> dict[str, NDArray[Any]]:
    lengths = {f"{name}_um": columns[name] * size for name in LENGTHS}
    return {"area_um2": columns["area"] * size**2, **lengths}


def _channel_columns(
    runs: Runs, plane: NDArray[Any], *, name: str, background: float
) -> dict[str, NDArray[Any]]:
    found = measure_intensities(runs, plane)
    columns = {f"{key}_{name}": values for key, values in found.items()}
    columns[f"corrected_mean_{name}"] = found["mean"] - background
    columns[f"corrected_integrated_{name}"] = found["integrated"] - background * runs.area
    return columns

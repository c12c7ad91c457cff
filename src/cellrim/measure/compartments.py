"""Nucleus and rest of each cell, where both have labels with the same ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.errors import InputError
from cellrim.measure.intensity import measure_intensities
from cellrim.measure.runs import find_runs


def measure_compartments(
    cells: Labels, nuclei: Labels, image: Image, *, names: list[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Compare the nucleus of each cell with its cytoplasm, which is the cell without its nucleus.

    Parameters
    ----------
    cells, nuclei
        int32, axes ``YX``, of the size of the image; a nucleus has the id of its cell. Pixels of a
        nucleus outside of its cell belong to the nucleus; those that another nucleus has in the
        cell belong to no compartment.
    image
        Raw intensities.
    names
        Of the channels in the names of the columns; the image's own where left out.

    Returns
    -------
    dict
        One value for each id of ``cells``, see :data:`cellrim.measure.columns.CELL_COLUMNS`. NaN
        where there is no nucleus or no cytoplasm; its area is 0 then.

    Raises
    ------
    InputError
        If the sizes differ, or a nucleus has no cell.
    """
    if not cells.shape == nuclei.shape == image.shape:
        raise InputError(
            f"Expected labels of the image's shape {image.shape}, but got cells of "
            f"{cells.shape} and nuclei of {nuclei.shape}."
        )
    ids = find_runs(cells).ids
    strays = np.setdiff1d(find_runs(nuclei).ids, ids)
    if len(strays):
        raise InputError(
            f"Expected each nucleus to have the id of its cell, but no cell has id {strays[0]} "
            f"({len(strays)} such nuclei)."
        )
    cytoplasm = np.where(nuclei > 0, 0, cells).astype(np.int32)
    areas = {}
    means: dict[str, list[NDArray[np.float64]]] = {}
    for part, labels in (("nucleus", nuclei), ("cytoplasm", cytoplasm)):
        runs = find_runs(labels)
        at = np.searchsorted(ids, runs.ids)
        areas[part] = np.zeros(len(ids), np.int64)
        areas[part][at] = runs.area
        planes = np.moveaxis(image.pixels, 2, 0)
        means[part] = [np.full(len(ids), np.nan) for _ in planes]
        for column, plane in zip(means[part], planes, strict=True):
            column[at] = measure_intensities(runs, plane)["mean"]
    whole = areas["nucleus"] + areas["cytoplasm"]
    columns: dict[str, NDArray[Any]] = {
        "nucleus_area": areas["nucleus"],
        "cytoplasm_area": areas["cytoplasm"],
        "nucleus_fraction": _ratio(areas["nucleus"], whole),
    }
    for number, name in enumerate(names or image.channels):
        inside, outside = means["nucleus"][number], means["cytoplasm"][number]
        columns[f"nucleus_mean_{name}"] = inside
        columns[f"cytoplasm_mean_{name}"] = outside
        columns[f"nucleus_cytoplasm_ratio_{name}"] = _ratio(inside, outside)
    return columns


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; NaN where the divisor is 0 or unknown."""
    result = np.full(len(top), np.nan)
    np.divide(top, bottom, out=result, where=np.nan_to_num(bottom) != 0)
    return result

"""One row of numbers per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cellrim.core.image import Readable
from cellrim.measure.cells import CellTable

Number = float | int | None

_MEDIANS = (
    "area",
    "area_um2",
    "diameter",
    "diameter_um",
    "circularity",
    "eccentricity",
    "solidity",
    "nearest_distance",
    "confidence",
)


# Of a stack: what is the same in every plane, and what is added up.
_SHARED = ("height", "width", "pixel_size_um")
_COUNTS = ("planes", "cells", "cells_at_border")


def summarise(table: CellTable, image: Readable) -> dict[str, Number]:
    """Sum the cells of an image up.

    Parameters
    ----------
    table
        The measured cells.
    image
        The image they were measured in, in memory or not.

    Returns
    -------
    dict
        See :data:`cellrim.measure.columns.IMAGE_COLUMNS`, all but the names of image and source;
        None where a number is not known.
    """
    height, width = image.shape
    columns, count, size = table.columns, len(table), image.pixel_size
    summary: dict[str, Number] = {
        "height": height,
        "width": width,
        "planes": 1,
        "pixel_size_um": size,
        "cells": count,
        "cells_at_border": int(np.count_nonzero(columns["touches_border"])),
        "confluence": float(columns["area"].sum()) / (height * width),
        "cells_per_megapixel": count / (height * width) * 1e6,
        "cells_per_mm2": None if size is None else count / (height * width * size**2) * 1e6,
    }
    for name in _MEDIANS:
        if name in columns or name.endswith(("_um", "_um2")):
            summary[f"median_{name}"] = _median(table, name)
    for channel, background in table.background.items():
        summary[f"background_{channel}"] = _known(background)
        for name in (f"mean_{channel}", f"corrected_mean_{channel}"):
            summary[f"median_{name}"] = _median(table, name)
    return summary


def summarise_stack(planes: Sequence[Mapping[str, Number]]) -> dict[str, Number]:
    """Sum the planes of a stack up.

    Parameters
    ----------
    planes
        :func:`summarise` of each; at least one.

    Returns
    -------
    dict
        Counts are added up; of any other number, the mean over the planes where it is known.
    """
    summary: dict[str, Number] = {}
    for name, value in planes[0].items():
        values = [plane[name] for plane in planes]
        known = [v for v in values if v is not None]
        if name in _SHARED:
            summary[name] = value
        elif name in _COUNTS:
            summary[name] = sum(known)
        else:
            summary[name] = float(np.mean(known)) if known else None
    return summary


def _median(table: CellTable, name: str) -> Number:
    """Median of the numbers in a column; None where there is none."""
    values = table.columns.get(name)
    if values is None:
        return None
    known = values[~np.isnan(values)]
    return _known(float(np.median(known))) if len(known) else None


def _known(value: float) -> Number:
    return value if np.isfinite(value) else None

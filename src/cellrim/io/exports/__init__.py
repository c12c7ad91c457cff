"""Every format that cells are saved in: one module and one line each."""

from __future__ import annotations

from pathlib import Path

from cellrim.errors import UsageError
from cellrim.io.exports import (
    cellpose,
    coco,
    geojson,
    ometiff,
    omezarr,
    outlines,
    plain,
    rle,
    rois,
)
from cellrim.io.exports.base import CellList, CellSet, CellStack, Format

__all__ = ["FORMATS", "CellList", "CellSet", "CellStack", "Format", "find_format"]

FORMATS: dict[str, Format] = {
    f.kind: f
    for f in (
        plain.LABELS,
        plain.OVERLAY,
        plain.TABLE,
        rois.FORMAT,
        geojson.FORMAT,
        coco.FORMAT,
        rle.FORMAT,
        outlines.FORMAT,
        cellpose.FORMAT,
        ometiff.FORMAT,
        omezarr.FORMAT,
    )
}
"""Formats by what ``--save`` calls them."""

# How names end that do not end as cellrim lets them; the first that fits counts.
_ENDINGS = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "labels",
    ".tiff": "labels",
    ".png": "labels",
    ".npy": "labels",
    ".zip": "rois",
    ".geojson": "geojson",
    ".json": "coco",
    ".svg": "outlines",
    ".zarr": "ome-zarr",
    ".csv": "rle",
}


def find_format(path: Path) -> Format:
    """Tell the format of a file by its name.

    Raises
    ------
    UsageError
        If no format has such names.

    Examples
    --------
    >>> find_format(Path("a_seg.npy")).kind, find_format(Path("a.npy")).kind
    ('cellpose', 'labels')
    """
    name = path.name.lower()
    for found in FORMATS.values():
        if name.endswith(found.ending):
            return found
    for ending, kind in _ENDINGS.items():
        if name.endswith(ending):
            return FORMATS[kind]
    raise UsageError(
        f"Expected a file whose name tells its format ({', '.join(_ENDINGS)}), but got {path}: "
        f"say the format, one of {', '.join(FORMATS)}."
    )

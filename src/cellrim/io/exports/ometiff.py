"""OME-TIFF label image with the pixel size: Fiji (Bio-Formats), QuPath, napari, OMERO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellSet, Format, ShapeOf, stored
from cellrim.io.exports.plain import read_labels_or_stack, write_stack

_MICROMETRE = "µm"


def _write(path: Path, cells: CellSet) -> None:
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", "Name": f"{cells.name} cells"}
    if cells.micrometres is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = cells.micrometres
            metadata[f"PhysicalSize{axis}Unit"] = _MICROMETRE
    with atomic_path(path) as partial:
        tifffile.imwrite(
            partial,
            stored(cells.labels),
            ome=True,
            compression="zlib",
            predictor=True,
            photometric="minisblack",
            metadata=metadata,
        )


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    for cells in read_labels_or_stack(path, FORMAT.name_of(path)):
        yield replace(cells, pixel_size=cells.pixel_size or _pixel_size(path))


def _pixel_size(path: Path) -> float | None:
    """Micrometres, as this format writes them; None for anything else."""
    import tifffile

    with tifffile.TiffFile(path) as tiff, suppress(KeyError, TypeError, ValueError):
        pixels = tifffile.xml2dict(tiff.ome_metadata or "<OME/>")["OME"]["Image"]["Pixels"]
        if pixels["PhysicalSizeXUnit"] == _MICROMETRE:
            return float(pixels["PhysicalSizeX"])
    return None


FORMAT = Format(
    kind="ome-tiff",
    ending="_labels.ome.tif",
    title="label image with the pixel size; Fiji, QuPath, napari, OMERO",
    write=_write,
    read=_read,
    write_stack=write_stack,
)

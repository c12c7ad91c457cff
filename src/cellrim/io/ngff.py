"""OME-Zarr (OME-NGFF): images in, part by part, and label images out, with a pyramid.

Reads versions 0.1 to 0.5. Writes 0.4 (zarr format 2), which all tools of today read.
https://ngff.openmicroscopy.org/0.4/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import image_from_array
from cellrim.core.tiles import windows
from cellrim.errors import ImageReadError, OutputError
from cellrim.io.images import open_stack
from cellrim.io.levels import Level
from cellrim.io.region_readers import one_plane, unreadable
from cellrim.io.sources import to_yxc
from cellrim.io.zarrs import require_zarr, zarr_source

_VERSION = "0.4"


class ZarrRegions:
    """The full resolution of an OME-Zarr image of one plane.

    Raises
    ------
    ImageReadError
        If it is no zarr, has no multiscale metadata, or more than one plane.
    MissingExtraError
        If zarr is not installed.
    """

    def __init__(self, path: Path) -> None:
        zarr = require_zarr()
        self.path = path
        with open_stack(path) as stack:
            self.shape = one_plane(path, stack)
            self.channels = stack.channels
            self.pixel_size = stack.calibration.pixel_size
        self._axes = zarr_source(path).axes.lower()
        node = zarr.open(store=path, mode="r")
        while "multiscales" not in (about := dict(node.attrs).get("ome", dict(node.attrs))):
            node = node["0"]  # bioformats2raw's folder around the one image
        self._array: Any = node[about["multiscales"][0]["datasets"][0]["path"]]

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        part = {"y": rows, "x": columns, "c": slice(None)}
        try:
            values = np.asarray(self._array[tuple(part.get(axis, 0) for axis in self._axes)])
        except Exception as error:  # a broken chunk raises many types
            raise ImageReadError(unreadable(self.path, rows, columns, error)) from error
        left = "".join(axis for axis in self._axes if axis in part)
        return image_from_array(to_yxc(values, left.upper()), axes="YXC").pixels


def write_ngff_labels(
    path: Path, levels: Sequence[Level], *, pixel_size: float | None, about: Mapping[str, Any]
) -> None:
    """Write a label image as OME-NGFF 0.4.

    Parameters
    ----------
    path
        The folder; must not be there. Half-written if the process dies: rename it when done.
    levels
        The label image and its reductions by two.
    pixel_size
        Micrometres per pixel of the first level, if known.
    about
        Goes into the metadata, to say how the labels were made.

    Raises
    ------
    OutputError
        If it cannot be written.
    MissingExtraError
        If zarr is not installed.
    """
    zarr = require_zarr()
    from numcodecs import Blosc

    try:
        group = zarr.open_group(store=path, mode="w-", zarr_format=2)
        for number, level in enumerate(levels):
            array = group.create_array(
                name=str(number),
                shape=level.shape,
                chunks=(level.edge, level.edge),
                dtype="uint32",
                fill_value=0,
                compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            for rows, columns in windows(level.shape, level.edge):
                array[rows, columns] = level.read(
                    rows.start // level.edge, columns.start // level.edge
                )
        # The metadata come last: without them nobody takes the folder for an image.
        group.attrs.update(_label_metadata(path.name, levels, pixel_size, about))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def _label_metadata(
    name: str, levels: Sequence[Level], pixel_size: float | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    datasets = []
    for number, level in enumerate(levels):
        factors = [a / b for a, b in zip(levels[0].shape, level.shape, strict=True)]
        scale = [float(round(f)) * (pixel_size or 1.0) for f in factors]
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    return {
        "multiscales": [
            {
                "version": _VERSION,
                "name": name,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
                "datasets": datasets,
                "type": "mode",
                "metadata": dict(about),
            }
        ],
        "image-label": {"version": _VERSION},
    }

"""OME-Zarr (NGFF 0.4): the labels under the image they belong to; napari, Fiji, OMERO.

Where there is no image, the labels are a label image of their own. For images larger than memory,
see ``cellrim segment`` with an OME-Zarr output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import as_labels
from cellrim.core.normalise import measure_range
from cellrim.errors import ImageReadError, InputError
from cellrim.io.atomic import atomic_folder
from cellrim.io.exports.base import CellSet, Format, ShapeOf, stored
from cellrim.io.zarrs import require_zarr

_VERSION = "0.4"
_LABELS = "cells"
_CHUNK = 1024
# The smallest level of a pyramid is not larger than this.
_SMALLEST = 512
_COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def _write(path: Path, cells: CellSet) -> None:
    zarr = require_zarr()
    with atomic_folder(path) as partial:
        root = zarr.open_group(store=str(partial), mode="w", zarr_format=2)
        group = root
        if cells.image is not None:
            _write_image(root, cells.image, name=cells.name)
            parent = root.create_group("labels")
            parent.attrs["labels"] = [_LABELS]
            group = parent.create_group(_LABELS)
        _write_pyramid(group, stored(cells.labels), axes="yx", size=cells.micrometres, name=_LABELS)
        label: dict[str, Any] = {"version": _VERSION}
        if cells.image is not None:
            label["source"] = {"image": "../../"}
        group.attrs["image-label"] = label


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    zarr = require_zarr()
    try:
        root = zarr.open_group(store=str(path), mode="r")
        group = _label_group(root)
        multiscales = dict(group.attrs)["multiscales"][0]
        dataset = multiscales["datasets"][0]
        pixels = np.asarray(group[dataset["path"]])
        size = _pixel_size(multiscales)
    except Exception as error:  # zarr raises many types on broken folders
        raise ImageReadError(
            f"Cannot read {path}: expected an OME-Zarr with labels, but got another or a broken "
            f"one ({type(error).__name__}: {error})."
        ) from error
    try:
        planes = pixels.reshape(pixels.shape[-2:]) if pixels.ndim > 2 else pixels
        labels = as_labels(planes)
    except (InputError, ValueError) as error:
        raise ImageReadError(
            f"Cannot use {path}: expected one plane of labels, but got shape {pixels.shape}."
        ) from error
    yield CellSet(FORMAT.name_of(path), labels, pixel_size=size)


def _label_group(root: Any) -> Any:
    """Find the labels: those under the image, or the group itself."""
    if "labels" in root:
        names = dict(root["labels"].attrs)["labels"]
        return root["labels"][_LABELS if _LABELS in names else names[0]]
    return root


def _write_image(root: Any, image: Image, *, name: str) -> None:
    pixels = np.ascontiguousarray(np.moveaxis(image.pixels, 2, 0))
    _write_pyramid(root, pixels, axes="cyx", size=image.pixel_size, name=name)
    intensity = measure_range(image.pixels)
    root.attrs["omero"] = {
        "name": name,
        "version": _VERSION,
        "channels": [
            {
                "label": channel,
                "color": _COLOURS[number % len(_COLOURS)],
                "active": True,
                "window": {"start": low, "end": high, "min": low, "max": high},
            }
            for number, (channel, low, high) in enumerate(
                zip(image.channels, intensity.low, intensity.high, strict=True)
            )
        ],
    }


def _write_pyramid(
    group: Any, pixels: NDArray[Any], *, axes: str, size: float | None, name: str
) -> None:
    """Write levels, each every second pixel of the one before, which keeps ids whole."""
    datasets = []
    for level in range(_levels(pixels.shape)):
        step = 2**level
        part = np.ascontiguousarray(pixels[..., ::step, ::step])
        chunks = (1,) * (part.ndim - 2) + tuple(min(_CHUNK, n) for n in part.shape[-2:])
        array = group.create_array(
            str(level),
            shape=part.shape,
            dtype=part.dtype,
            chunks=chunks,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        array[...] = part
        scale = [1.0] * (part.ndim - 2) + [step * (size or 1.0)] * 2
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    group.attrs["multiscales"] = [
        {
            "version": _VERSION,
            "name": name,
            "axes": [_axis(axis, known=size is not None) for axis in axes],
            "datasets": datasets,
        }
    ]


def _levels(shape: tuple[int, ...]) -> int:
    levels = 1
    while max(shape[-2:]) / 2 ** (levels - 1) > _SMALLEST:
        levels += 1
    return levels


def _axis(axis: str, *, known: bool) -> dict[str, str]:
    if axis == "c":
        return {"name": axis, "type": "channel"}
    unit = {"unit": "micrometer"} if known else {}
    return {"name": axis, "type": "space", **unit}


def _pixel_size(multiscales: dict[str, Any]) -> float | None:
    if multiscales["axes"][-1].get("unit") != "micrometer":
        return None
    transformation = multiscales["datasets"][0]["coordinateTransformations"][0]
    return float(transformation["scale"][-1])


FORMAT = Format(
    kind="ome-zarr",
    ending="_labels.ome.zarr",
    title="image and labels in one folder; napari, Fiji, OMERO",
    write=_write,
    read=_read,
    package="zarr",
    extra="big",
)

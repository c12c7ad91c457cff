"""OME-Zarr (OME-NGFF) out: label images and the images they belong to, with a pyramid.

Writes 0.4 (zarr format 2), which all tools of today read: https://ngff.openmicroscopy.org/0.4/.
Metadata come last: without them nobody takes a folder for an image. :mod:`cellrim.io.zarrs` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.core.normalise import measure_range
from cellrim.core.stack import Calibration, Index
from cellrim.core.tiles import windows
from cellrim.errors import OutputError
from cellrim.io.levels import Level
from cellrim.io.zarrs import require_zarr

LABELS = "cells"
"""Name of the label image that stands under the image it belongs to."""

_VERSION = "0.4"
# The order that the format wants.
_AXES = "TCZYX"
_KINDS = {"T": "time", "C": "channel"}
_CHUNK = 1024
# The smallest level of a pyramid is not larger than this.
_SMALLEST = 512
_COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def write_ngff(
    path: Path,
    labels: Iterable[tuple[Index, Labels]],
    *,
    name: str,
    lengths: Mapping[str, int],
    dtype: DTypeLike,
    calibration: Calibration,
    images: Iterable[tuple[Index, Image]] | None = None,
) -> None:
    """Write label images a plane at a time, under the image they belong to where it is given.

    Parameters
    ----------
    path
        The folder; must not be there. Half-written if the process dies: rename it when done.
    labels
        Label images ``YX``, and where each lies.
    name
        Of the image, for whoever opens it.
    lengths
        Length of each axis: ``Y`` and ``X``, and ``T`` and ``Z`` where there are several planes.
    dtype
        Of the labels in the file.
    calibration
        Pixel size and steps, written where they are known.
    images
        The planes of the image, all of one size, type and channels.

    Raises
    ------
    MissingExtraError
        If zarr is not installed.
    """
    zarr = require_zarr()
    root = zarr.open_group(store=str(path), mode="w", zarr_format=2)
    about: dict[str, Any] = {"version": _VERSION}
    stored = ((index, plane.astype(dtype, copy=False)) for index, plane in labels)
    if images is None:
        _write_planes(root, stored, lengths, dtype=dtype, calibration=calibration, name=name)
        root.attrs["image-label"] = about
        return
    _write_images(root, images, lengths, calibration=calibration, name=name)
    parent = root.create_group("labels")
    group = parent.create_group(LABELS)
    _write_planes(group, stored, lengths, dtype=dtype, calibration=calibration, name=LABELS)
    group.attrs["image-label"] = about | {"source": {"image": "../../"}}
    parent.attrs["labels"] = [LABELS]


def write_ngff_labels(
    path: Path, levels: Sequence[Level], *, pixel_size: float | None, about: Mapping[str, Any]
) -> None:
    """Write one label image that is larger than memory.

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
    try:
        group = zarr.open_group(store=path, mode="w-", zarr_format=2)
        for number, level in enumerate(levels):
            array = _create(group, number, level.shape, np.uint32, chunk=level.edge)
            for rows, columns in windows(level.shape, level.edge):
                array[rows, columns] = level.read(
                    rows.start // level.edge, columns.start // level.edge
                )
        multiscale = _multiscale(path.name, "YX", len(levels), Calibration(pixel_size))
        multiscale |= {"type": "mode", "metadata": dict(about)}
        group.attrs.update({"multiscales": [multiscale], "image-label": {"version": _VERSION}})
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def _write_images(
    group: Any,
    images: Iterable[tuple[Index, Image]],
    lengths: Mapping[str, int],
    *,
    calibration: Calibration,
    name: str,
) -> None:
    """Write the planes of an image, and how its channels are to be shown."""
    planes = iter(images)
    index, first = next(planes)
    low, high = [np.inf] * len(first.channels), [-np.inf] * len(first.channels)

    def measured() -> Iterator[tuple[Index, NDArray[Any]]]:
        for at, image in chain([(index, first)], planes):
            intensity = measure_range(image.pixels)
            low[:] = np.fmin(low, intensity.low).tolist()
            high[:] = np.fmax(high, intensity.high).tolist()
            yield at, np.moveaxis(image.pixels, 2, 0)

    sizes = {**lengths, "C": len(first.channels)}
    dtype = first.pixels.dtype
    _write_planes(group, measured(), sizes, dtype=dtype, calibration=calibration, name=name)
    group.attrs["omero"] = {
        "name": name,
        "version": _VERSION,
        "channels": [
            {
                "label": channel,
                "color": _COLOURS[number % len(_COLOURS)],
                "active": True,
                "window": {
                    "start": low[number],
                    "end": high[number],
                    "min": low[number],
                    "max": high[number],
                },
            }
            for number, channel in enumerate(first.channels)
        ],
    }


def _write_planes(
    group: Any,
    planes: Iterable[tuple[Index, NDArray[Any]]],
    lengths: Mapping[str, int],
    *,
    dtype: DTypeLike,
    calibration: Calibration,
    name: str,
) -> None:
    """Write planes, ``YX`` or ``CYX``, and of each every second pixel, which keeps ids whole."""
    axes = "".join(a for a in _AXES if a in lengths)
    outer = tuple(lengths[a] for a in axes[:-2])
    shapes = _halves((lengths["Y"], lengths["X"]))
    arrays = [
        _create(group, level, (*outer, *shape), dtype, chunk=_CHUNK)
        for level, shape in enumerate(shapes)
    ]
    for index, plane in planes:
        at = tuple(slice(None) if a == "C" else index.along(a) for a in axes[:-2])
        for level, array in enumerate(arrays):
            step = 2**level
            array[(*at, slice(None), slice(None))] = plane[..., ::step, ::step]
    group.attrs["multiscales"] = [_multiscale(name, axes, len(arrays), calibration)]


def _create(group: Any, level: int, shape: tuple[int, ...], dtype: DTypeLike, *, chunk: int) -> Any:
    """Make the array of one level: a chunk is a square of one plane."""
    from numcodecs import Blosc

    return group.create_array(
        name=str(level),
        shape=shape,
        chunks=(1,) * (len(shape) - 2) + tuple(min(chunk, n) for n in shape[-2:]),
        dtype=dtype,
        fill_value=0,
        compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _halves(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes of the levels, each half of the one before."""
    shapes = [shape]
    while max(shapes[-1]) > _SMALLEST:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def _multiscale(name: str, axes: str, levels: int, calibration: Calibration) -> dict[str, Any]:
    """Say what the axes are, where the levels are, and how large their pixels."""
    edge = calibration.pixel_size
    steps = {"T": calibration.time_step, "Z": calibration.z_step, "Y": edge, "X": edge}
    return {
        "version": _VERSION,
        "name": name,
        "axes": [_axis(a, known=steps.get(a) is not None) for a in axes],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [
                            (steps.get(a) or 1.0) * (2.0**level if a in "YX" else 1.0) for a in axes
                        ],
                    }
                ],
            }
            for level in range(levels)
        ],
    }


def _axis(axis: str, *, known: bool) -> dict[str, str]:
    kind = _KINDS.get(axis, "space")
    unit = {"time": "second", "space": "micrometer"}.get(kind)
    return {"name": axis.lower(), "type": kind} | ({"unit": unit} if unit and known else {})

"""Files of microscope makers (CZI, ND2, LIF, OIB, ...) through the readers of bioio."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.stack import Calibration, Index
from cellrim.errors import ImageReadError, MissingExtraError
from cellrim.io.files import reason
from cellrim.io.sources import (
    Scene,
    Source,
    are_axes,
    asked_axes,
    pick_scene,
    positive,
    square_pixel,
)

VENDOR_SUFFIXES = (".czi", ".nd2", ".lif", ".oib", ".oif")
"""Suffixes of the makers' files, by which they are told."""


def vendor_source(
    path: Path, *, axes: str | None = None, scene: Scene | None = None, calibrated: bool = True
) -> Source:
    """Open a file with the bioio reader that knows its suffix.

    Parameters
    ----------
    path
        The file.
    axes
        Axes in the place of those that the reader names.
    scene
        Which image (scene, position, series), as for :func:`~cellrim.io.sources.pick_scene`.
    calibrated
        Whether to read pixel size and steps.

    Raises
    ------
    MissingExtraError
        If bioio or the reader of this format is not installed.
    ImageReadError
        If the file holds several scenes and none is chosen.
    """
    return bioio_source(path, _reader(path), axes=axes, scene=scene, calibrated=calibrated)


def vendor_scenes(path: Path) -> tuple[str, ...]:
    """Names of the scenes of a file.

    Raises
    ------
    MissingExtraError
        If bioio or the reader of this format is not installed.
    """
    return tuple(str(name) for name in _reader(path).scenes)


def _reader(path: Path) -> Any:
    """Open a file with the reader that bioio puts first for its suffix.

    The others are not asked where it refuses: some make a whole file with fewer planes out of one
    that is cut off.
    """
    suffix = path.suffix.lower()
    try:
        from bioio.plugins import get_plugins

        plugins = get_plugins(use_cache=True).get(suffix)
    except ImportError as error:
        raise MissingExtraError(f"Reading {suffix} files", "formats") from error
    if not plugins:
        raise MissingExtraError(f"Reading {suffix} files", "formats")
    try:
        reader: Any = plugins[0].metadata.get_reader()
        return reader(path)
    except Exception as error:  # readers raise many types on broken files
        why = reason(error.__cause__ or error.__context__ or error)
        raise ImageReadError(
            f"Cannot read {path}: the file is broken, or not of the form that {suffix} says "
            f"({why}). Copy it anew, or export the image as OME-TIFF."
        ) from error


def bioio_source(
    path: Path,
    reader: Any,
    *,
    axes: str | None = None,
    scene: Scene | None = None,
    calibrated: bool = True,
) -> Source:
    """Turn an open bioio reader into a source; the other arguments are :func:`vendor_source`'s."""
    reader.set_scene(pick_scene(path, [str(name) for name in reader.scenes], scene))
    lazy = reader.dask_data
    own, shape = str(reader.dims.order), tuple(int(n) for n in lazy.shape)
    if axes is not None:
        own, shape = asked_axes(path, axes, own, shape)
    elif not are_axes(own):
        raise ImageReadError(
            f"Cannot read {path}: expected axes out of TCZYX, but got {own} with the lengths "
            f"{shape}. Say them with --axes, or export the image as OME-TIFF."
        )

    def read(index: Index) -> tuple[NDArray[Any], str]:
        at = tuple(index.along(a) if a in "TZ" else slice(None) for a in own)
        left = "".join(a for a in own if a not in "TZ")
        return np.asarray(lazy[at].compute(scheduler="synchronous")), left

    return Source(
        own,
        shape,
        read=read,
        channels=_channels(reader, own, shape),
        calibration=_calibration(path, reader, own, shape) if calibrated else Calibration(),
    )


def _channels(reader: Any, axes: str, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    names = tuple(str(name) for name in reader.channel_names or ())
    count = shape[axes.index("C")] if "C" in axes else 1
    several = "S" in axes and shape[axes.index("S")] > 1
    return names if len(names) == count and len(set(names)) == count and not several else None


def _calibration(path: Path, reader: Any, axes: str, shape: tuple[int, ...]) -> Calibration:
    sizes = reader.physical_pixel_sizes  # bioio gives micrometres
    time: Any = getattr(reader, "time_interval", None)
    if isinstance(time, timedelta):
        time = time.total_seconds()
    steps = {"Z": sizes.Z, "T": None if time is None else float(time)}
    several = {a for a, n in zip(axes, shape, strict=True) if n > 1}
    z_step, time_step = (positive(steps[a]) if a in several else None for a in "ZT")
    pixel_size = square_pixel(path, sizes.Y, sizes.X) if _is_measured(reader) else None
    return Calibration(pixel_size, z_step, time_step)


def _is_measured(reader: Any) -> bool:
    """Whether the pixel size was measured: Nikon's files say so, and have 1 where it was not."""
    own = reader.xarray_dask_data.attrs.get("unprocessed")
    metadata = own.get("metadata") if isinstance(own, dict) else None
    channels = getattr(metadata, "channels", None)
    return not channels or all(channels[0].volume.axesCalibrated[:2])

"""Files of microscope makers (CZI, ND2, LIF, OIB, ...) through the readers of bioio."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.stack import Calibration, Index
from cellrim.errors import ImageReadError, MissingExtraError
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
"""Suffixes that are searched for in folders; by name, any file that bioio reads can be given."""


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
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise MissingExtraError(f"Reading {path.suffix} files", "formats") from error
    try:
        return BioImage(path).reader
    except UnsupportedFileFormatError as error:
        raise ImageReadError(
            f"Cannot read {path}: no reader for {path.suffix} files is installed, or it does not "
            f"know this one ({_first_line(error)}). Install the readers with "
            "pip install 'cellrim[formats]', or export the image as OME-TIFF."
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
        calibration=_calibration(path, reader) if calibrated else Calibration(),
    )


def _channels(reader: Any, axes: str, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    names = tuple(str(name) for name in reader.channel_names or ())
    count = shape[axes.index("C")] if "C" in axes else 1
    several = "S" in axes and shape[axes.index("S")] > 1
    return names if len(names) == count and len(set(names)) == count and not several else None


def _calibration(path: Path, reader: Any) -> Calibration:
    sizes = reader.physical_pixel_sizes  # bioio gives micrometres
    step: Any = getattr(reader, "time_interval", None)
    if isinstance(step, timedelta):
        step = step.total_seconds()
    return Calibration(
        square_pixel(path, sizes.Y, sizes.X),
        positive(sizes.Z),
        positive(None if step is None else float(step)),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

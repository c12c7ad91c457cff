"""Label images in and out: TIFF, PNG and npy."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, as_labels
from cellrim.core.stack import NOT_CALIBRATED, Calibration
from cellrim.errors import ImageReadError, InputError
from cellrim.io.atomic import atomic_path
from cellrim.io.files import is_png, is_tiff, read_bytes
from cellrim.io.tiffs import open_tiff, single_series

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")

_NPY_MAGIC = b"\x93NUMPY"
_PNG_GREY = 0
_MINISWHITE = 0


def read_labels(path: str | Path) -> Labels:
    """Read a label image.

    Parameters
    ----------
    path
        A TIFF file of whole numbers, a grey PNG of up to 16 bits, or an npy file without pickled
        objects.

    Returns
    -------
    Labels
        int32, axes ``YX``; 0 is background. Ids are kept as they are.

    Raises
    ------
    ImageReadError
        If the file is missing, broken, or not one plane of whole numbers >= 0.
    """
    path = Path(path)
    data = read_bytes(path)
    try:
        if is_tiff(data):
            values = _read_tiff(path)
        elif is_png(data):
            values = _read_png(path, data)
        elif data.startswith(_NPY_MAGIC):
            values = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            raise ImageReadError(
                f"Cannot read {path}: expected a label image as TIFF, PNG or npy, but its first "
                f"bytes are {data[:8]!r}."
            )
        return as_labels(values)
    except ImageReadError:
        raise
    except InputError as error:
        raise ImageReadError(f"Cannot use {path} as a label image: {error}") from error
    except Exception as error:  # decoders raise many types on broken files
        raise ImageReadError(f"Cannot read {path}: the file is broken ({error}).") from error


def write_labels(path: str | Path, labels: Labels) -> None:
    """Write a label image as a deflated TIFF, whole or not at all.

    Parameters
    ----------
    path
        Where to; the folder is created where missing.
    labels
        Axes ``YX``. Stored as uint16, or as uint32 where an id is above 65535.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import tifffile

    checked = as_labels(labels)
    wide = bool(checked.size) and int(checked.max()) > np.iinfo(np.uint16).max
    stored = checked.astype(np.uint32 if wide else np.uint16)
    with atomic_path(Path(path)) as partial:
        tifffile.imwrite(
            partial,
            stored,
            compression="zlib",
            predictor=True,
            photometric="minisblack",
            metadata={"axes": "YX"},
        )


def write_label_stack(
    path: Path,
    planes: Iterable[Labels],
    *,
    axes: str,
    lengths: tuple[int, ...],
    shape: tuple[int, int],
    largest: int,
    calibration: Calibration = NOT_CALIBRATED,
) -> None:
    """Write label images as one OME-TIFF with named axes, a plane at a time.

    Parameters
    ----------
    path
        Where to; the folder is created where missing.
    planes
        Label images ``YX``, the last of the axes fastest.
    axes, lengths
        Axes of the planes, such as ``TZ``, and how many there are along each.
    shape
        Height and width of each.
    largest
        The largest id: above 65535, uint32 is stored in place of uint16.
    calibration
        Pixel size and steps, written where they are known.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import tifffile

    dtype = np.dtype(np.uint32 if largest > np.iinfo(np.uint16).max else np.uint16)
    stored = (plane.astype(dtype) for plane in planes)
    with atomic_path(path) as partial:
        tifffile.imwrite(
            partial,
            stored,
            shape=(*lengths, *shape),
            dtype=dtype,
            ome=True,
            compression="zlib",
            predictor=True,
            photometric="minisblack",
            metadata={"axes": f"{axes}YX", **_ome_calibration(calibration)},
        )


def _ome_calibration(calibration: Calibration) -> dict[str, float | str]:
    metadata: dict[str, float | str] = {}
    edge, step = calibration.pixel_size, calibration.z_step
    for axis, size in (("X", edge), ("Y", edge), ("Z", step)):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if calibration.time_step is not None:
        metadata |= {"TimeIncrement": calibration.time_step, "TimeIncrementUnit": "s"}
    return metadata


def _read_tiff(path: Path) -> NDArray[Any]:
    with open_tiff(path) as tiff:
        pixels: NDArray[Any] = single_series(path, tiff).asarray()
        if pixels.dtype == np.bool_ and tiff.pages.first.photometric == _MINISWHITE:
            pixels = ~pixels
        return pixels


def _read_png(path: Path, data: bytes) -> NDArray[Any]:
    import imagecodecs

    bits, colour = data[24], data[25]  # IHDR: depth and colour type
    if colour != _PNG_GREY:
        raise ImageReadError(
            f"Cannot use {path} as a label image: expected a grey PNG whose values are the ids, "
            "but it has colours. Save the ids as a 16-bit grey PNG or a TIFF."
        )
    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    if bits < 8:  # libpng spreads 1, 2 and 4 bits over 0..255
        pixels = pixels // (255 // ((1 << bits) - 1))
    return pixels

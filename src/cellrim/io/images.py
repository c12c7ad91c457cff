"""Image files in: pictures, TIFF, OME-Zarr and makers' files, as they were taken.

The form is told by the first bytes and not by the suffix. Values are never rescaled. What a file
leaves open, such as what the pages of a stack are, is an error that says what to do and never a
guess. A format is one module that gives a :class:`~cellrim.io.sources.Source`, and one line in
:data:`READERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import RGB, Image, image_from_array
from cellrim.core.stack import PLANE_AXES, Index, Stack
from cellrim.errors import CellrimError, ImageReadError
from cellrim.io.bitmaps import is_bitmap
from cellrim.io.files import first_bytes, is_jpeg, is_png, is_tiff, read_bytes, reason
from cellrim.io.pictures import picture_source
from cellrim.io.sources import ONE_SCENE, Scene, Source, describe_axes, to_yxc
from cellrim.io.tiffs import open_tiff, single_series, tiff_scenes, tiff_source
from cellrim.io.vendors import VENDOR_SUFFIXES, vendor_scenes, vendor_source
from cellrim.io.zarrs import is_zarr, zarr_scenes, zarr_source

__all__ = [
    "IMAGE_SUFFIXES",
    "READERS",
    "STACK_SUFFIXES",
    "Reader",
    "collapse_grey",
    "is_png",
    "is_tiff",
    "is_zarr",
    "open_stack",
    "open_tiff",
    "read_bytes",
    "read_image",
    "scene_names",
    "single_series",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".dib", ".tif", ".tiff")
"""Suffixes of the files that need no extra."""

STACK_SUFFIXES = VENDOR_SUFFIXES
"""Further suffixes that are searched for in folders, read with the extra ``formats``."""

PixelSize = float | Literal["read", "none"]
"""A pixel size in micrometres, or whether to read the file's."""


class Opens(Protocol):
    """Opens one image of a file."""

    def __call__(
        self, path: Path, *, axes: str | None, scene: Scene | None, calibrated: bool
    ) -> Source:
        """Open it with the axes asked for, or the file's; calibrated as the file says, or not."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """One file format.

    Parameters
    ----------
    name
        For people.
    knows
        Whether the reader is for a path whose first bytes (empty of a folder) are these.
    open
        Opens one image in it.
    scenes
        Names of the images in it.
    """

    name: str
    knows: Callable[[Path, bytes], bool]
    open: Opens
    scenes: Callable[[Path], tuple[str, ...]] = lambda _: ONE_SCENE


READERS = (
    Reader(
        "OME-Zarr",
        lambda path, _: is_zarr(path) or (path.is_dir() and path.suffix.lower() == ".zarr"),
        zarr_source,
        zarr_scenes,
    ),
    Reader(
        "TIFF",
        lambda _, data: is_tiff(data),
        tiff_source,
        tiff_scenes,
    ),
    Reader(
        "PNG, JPEG or BMP",
        lambda _, data: is_png(data) or is_jpeg(data) or is_bitmap(data),
        picture_source,
    ),
    Reader(
        "CZI, ND2, LIF, OIB or OIF",
        lambda path, _: path.suffix.lower() in VENDOR_SUFFIXES,
        vendor_source,
        vendor_scenes,
    ),
)
"""Every format, the first that knows a file reads it."""


def read_image(
    path: str | Path,
    *,
    axes: str | None = None,
    pixel_size: PixelSize = "read",
    scene: Scene | None = None,
) -> Image:
    """Read one plane of a microscope image.

    Parameters
    ----------
    path
        A file of one of the formats in :data:`READERS`, with one plane.
    axes
        Axes in the place of those of the file, such as ``CYX``; needed where it names none.
    pixel_size
        In micrometres; else ``read`` that of the file, or leave it open with ``none``.
    scene
        Which image of a file that holds several, by its name or its number counted from 0.

    Returns
    -------
    Image
        The pixels as stored. Palettes are expanded, alpha is dropped, white-is-zero is turned so
        that large values are bright, and three equal channels (a grey image stored as RGB) become
        one. The pixel size is set where the metadata give it.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, broken, of another form, or holds more than one plane.
    """
    with open_stack(path, axes=axes, pixel_size=pixel_size, scene=scene) as stack:
        if len(stack) != 1:
            sizes = describe_axes(stack.axes + "YX", (*stack.lengths, *stack.shape))
            raise ImageReadError(
                f"Cannot read {path} as one plane: it is a stack {sizes}. Read it with "
                "open_stack, or save one plane as a file of its own."
            )
        return collapse_grey(stack.read(Index()))


@contextmanager
def open_stack(
    path: str | Path,
    *,
    axes: str | None = None,
    pixel_size: PixelSize = "read",
    scene: Scene | None = None,
) -> Iterator[Stack]:
    """Open a microscope image of any number of planes, to read a plane at a time.

    Parameters
    ----------
    path, axes, pixel_size, scene
        As for :func:`read_image`.

    Yields
    ------
    Stack
        Its planes can be read until the block ends. Planes are as :func:`read_image` gives them,
        but keep three equal channels, so that all have the same.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, broken or of another form, if nothing says what its axes
        are or which of several images is meant, or, when a plane is read, if the plane is broken.
    MissingExtraError
        If its format needs an extra that is not installed.
    """
    path = Path(path)
    source = _opened(path, axes, scene, calibrated=pixel_size == "read")
    try:
        yield _stack(path, source, pixel_size)
    finally:
        source.close()


def collapse_grey(image: Image) -> Image:
    """Return one channel where three colours are equal: grey that was stored as RGB.

    Channels that have names of their own stay, so that they can be asked for.
    """
    pixels = image.pixels
    if image.channels != RGB:
        return image
    for view in (pixels[::16, ::16], pixels):  # a thin grid tells most colour images at once
        if not (_equal(view[..., 0], view[..., 1]) and _equal(view[..., 0], view[..., 2])):
            return image
    return Image(np.ascontiguousarray(pixels[:, :, :1]), ("grey",), image.pixel_size)


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def scene_names(path: str | Path) -> tuple[str, ...]:
    """Names of the images in a file: its scenes, series or positions.

    Returns
    -------
    tuple of str
        At least one; names may be empty or alike.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, broken or of another form.
    MissingExtraError
        If its format needs an extra that is not installed.
    """
    path = Path(path)
    try:
        return _reader_of(path).scenes(path)
    except CellrimError:
        raise
    except Exception as error:  # decoders raise many types on broken files
        raise _broken(path, error) from error


def _reader_of(path: Path) -> Reader:
    data = b"" if path.is_dir() else first_bytes(path)
    reader = next((r for r in READERS if r.knows(path, data)), None)
    if reader is None:
        names = ", ".join(r.name for r in READERS)
        found = f"its first bytes are {data[:8]!r}" if data else "it is a folder"
        raise ImageReadError(
            f"Cannot read {path}: expected an image ({names}), but {found}. Export it as TIFF."
        )
    return reader


def _opened(path: Path, axes: str | None, scene: Scene | None, *, calibrated: bool) -> Source:
    reader = _reader_of(path)
    try:
        source = reader.open(path, axes=axes, scene=scene, calibrated=calibrated)
    except CellrimError:
        raise
    except Exception as error:  # decoders raise many types on broken files
        raise _broken(path, error) from error
    if 0 in source.shape:
        source.close()
        raise ImageReadError(f"Cannot read {path}: it has no pixels (shape {source.shape}).")
    return source


def _stack(path: Path, source: Source, pixel_size: PixelSize) -> Stack:
    several = [a for a in source.axes if a in PLANE_AXES and source.length(a) > 1]
    channels = _channel_names(source)
    calibration = source.calibration
    if isinstance(pixel_size, int | float):
        calibration = replace(calibration, pixel_size=float(pixel_size))

    def read(index: Index) -> Image:
        try:
            pixels = to_yxc(*source.read(index))
        except CellrimError:
            raise
        except Exception as error:  # decoders raise many types on broken files
            raise _broken(path, error) from error
        if pixels.dtype.kind not in "buif":
            raise ImageReadError(
                f"Cannot read {path}: expected real numbers, but it holds {pixels.dtype}."
            )
        return image_from_array(
            pixels, axes="YXC", channels=channels, pixel_size=calibration.pixel_size
        )

    return Stack(
        "".join(several),
        tuple(source.length(a) for a in several),
        (source.length("Y"), source.length("X")),
        channels,
        read=read,
        calibration=calibration,
    )


def _channel_names(source: Source) -> tuple[str, ...]:
    count = math.prod(source.length(a) for a in "CS")
    if source.channels is not None and len(source.channels) == count:
        return source.channels
    named = {1: ("grey",), 3: RGB}
    return named.get(count, tuple(f"channel {i}" for i in range(count)))


def _broken(path: Path, error: Exception) -> ImageReadError:
    return ImageReadError(f"Cannot read {path}: the file is broken ({reason(error)}).")

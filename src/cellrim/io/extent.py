"""How large an image becomes when it is decoded, told from the file's header alone.

A file of a few kilobytes can hold an image that fills any memory. Whoever takes files from others
asks here before anything is decoded.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cellrim.errors import ImageReadError
from cellrim.io.bitmaps import bitmap_shape, is_bitmap
from cellrim.io.images import is_png, is_tiff

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_HEAD = 4096
# Channels that are as good as free beside what segmentation itself needs for a pixel.
_FREE_CHANNELS = 4
# JPEG markers with the image's size: start of frame of every kind.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# TIFF compressions whose decoders write no more than a strip's or tile's own size: none, CCITT,
# LZW, deflate, PackBits, LZMA, Zstandard.
_BOUNDED = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000})
_JPEG_IN_TIFF = 7


@dataclass(frozen=True, slots=True)
class Extent:
    """Size of a decoded image.

    Parameters
    ----------
    height, width
        Of one plane, in pixels.
    values
        Numbers that decoding makes, all channels and planes.
    """

    height: int
    width: int
    values: int

    @property
    def pixels(self) -> int:
        """Pixels that count against a limit: of one plane, or a quarter of all values if more."""
        return max(self.height * self.width, -(-self.values // _FREE_CHANNELS))


def read_extent(path: Path) -> Extent:
    """Read from an image file's header how large the image becomes. Decodes nothing.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP, DIB or TIFF file.

    Returns
    -------
    Extent
        At least what :func:`cellrim.io.images.read_image` decodes.

    Raises
    ------
    ImageReadError
        If the file is of another form, its header is broken, or it is a TIFF with a compression
        that does not say how large it becomes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if is_tiff(head):
                return _of_tiff(path)
            if is_png(head):
                return _of_png(head)
            if head.startswith(b"\xff\xd8\xff"):
                return _of_jpeg(file)
            if is_bitmap(head):
                height, width = bitmap_shape(head)
                return Extent(height, width, height * width * 3)
    except ImageReadError:
        raise
    except Exception as error:  # struct, tifffile and the file system raise many types
        raise ImageReadError(f"Cannot read {path}: its header is broken ({error}).") from error
    if not head:
        raise ImageReadError(f"Cannot read {path}: the file is empty.")
    raise ImageReadError(
        f"Cannot read {path}: expected a PNG, JPEG, BMP or TIFF image, but its first bytes are "
        f"{head[:8]!r}. Export it as TIFF."
    )


def _of_png(head: bytes) -> Extent:
    width, height = struct.unpack_from(">II", head, 16)
    return Extent(height, width, height * width * _FREE_CHANNELS)


def _of_jpeg(file: BinaryIO, start: int = 0) -> Extent:
    """Walk the segments to the start of the frame; a preview lies inside of one and is skipped."""
    position = start + 2
    while True:
        file.seek(position)
        segment = file.read(10)
        marker, length = struct.unpack_from(">HH", segment)
        if marker == 0xFFFF:  # fill bytes may precede a marker
            position += 1
            continue
        if marker >> 8 != 0xFF or marker == 0xFFDA:
            raise ValueError("there is no frame before the data")
        if marker & 0xFF in _FRAMES:
            height, width, channels = struct.unpack_from(">HHB", segment, 5)
            return Extent(height, width, height * width * channels)
        position += 2 + length


def _of_tiff(path: Path) -> Extent:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        values = max(math.prod(series.shape) for series in tiff.series)
        # Each strip or tile is decoded whole, however little of it lies within the image.
        values = max(values, math.prod(page.shape), math.prod(page.chunks))
        _check_bounded(path, tiff, page)
        return Extent(page.imagelength, page.imagewidth, values)


def _check_bounded(path: Path, tiff: TiffFile, page: TiffPage) -> None:
    if page.compression in _BOUNDED:
        return
    if page.compression != _JPEG_IN_TIFF:
        name = getattr(page.compression, "name", page.compression)
        raise ImageReadError(
            f"Cannot read {path}: TIFFs compressed with {name} are not taken here, since they do "
            "not say how large they become. Save it with LZW or deflate."
        )
    most = math.prod(page.chunks)
    for each in tiff.pages:
        for offset in each.dataoffsets:
            with path.open("rb") as file:
                found = _of_jpeg(file, offset)
            if found.height * found.width > most:
                raise ImageReadError(
                    f"Cannot read {path}: a JPEG inside of it is larger than the TIFF says."
                )

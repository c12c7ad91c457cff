"""Image files in: PNG, JPEG, Windows bitmaps and TIFF, as they were taken.

The form is told by the first bytes and not by the suffix. Values are never rescaled. What a file
leaves open, such as what the pages of a stack are, is an error that says what to do and never a
guess.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image, image_from_array
from cellrim.errors import ImageReadError
from cellrim.io.bitmaps import decode_bitmap, is_bitmap

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".dib", ".tif", ".tiff")

# Units of length in OME and ImageJ metadata, in micrometres.
_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "\\u00b5m": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
}

Decoded = tuple[NDArray[Any], str, "tuple[str, ...] | None", "float | None"]


def read_image(path: Path) -> Image:
    """Read one plane of a microscope image.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP, DIB (a bitmap with or without its file header) or TIFF file.

    Returns
    -------
    Image
        The pixels as stored. Palettes are expanded, alpha is dropped, white-is-zero is turned so
        that large values are bright, and three equal channels (a grey image stored as RGB) become
        one. The pixel size is set where ImageJ or OME metadata give it.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, broken, of another form, or holds more than one plane.
    """
    data = read_bytes(path)
    decode = _decoder(data)
    if decode is None:
        raise ImageReadError(
            f"Cannot read {path}: expected a PNG, JPEG, BMP or TIFF image, but its first bytes "
            f"are {data[:8]!r}. Export it as TIFF."
        )
    try:
        pixels, axes, channels, pixel_size = decode(path, data)
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise many types on broken files
        raise ImageReadError(f"Cannot read {path}: the file is broken ({error}).") from error
    if 0 in pixels.shape:
        raise ImageReadError(f"Cannot read {path}: it has no pixels (shape {pixels.shape}).")
    if pixels.dtype.kind not in "buif":
        raise ImageReadError(
            f"Cannot read {path}: expected real numbers, but it holds {pixels.dtype}."
        )
    image = image_from_array(pixels, axes=axes, channels=channels, pixel_size=pixel_size)
    return collapse_grey(image)


def collapse_grey(image: Image) -> Image:
    """Return one channel where three are equal: grey that was stored as RGB."""
    pixels = image.pixels
    if pixels.shape[2] != 3:
        return image
    for view in (pixels[::16, ::16], pixels):  # a thin grid tells most colour images at once
        if not (_equal(view[..., 0], view[..., 1]) and _equal(view[..., 0], view[..., 2])):
            return image
    return Image(np.ascontiguousarray(pixels[:, :, :1]), ("grey",), image.pixel_size)


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises
    ------
    ImageReadError
        If it is missing, a folder, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not data:
        raise ImageReadError(f"Cannot read {path}: the file is empty.")
    return data


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF or BigTIFF file does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_png(data: bytes) -> bool:
    """Whether the bytes begin as a PNG file does."""
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _decoder(data: bytes) -> Callable[[Path, bytes], Decoded] | None:
    if is_tiff(data):
        return _decode_tiff
    if is_png(data):
        return _decode_png
    if data.startswith(b"\xff\xd8\xff"):
        return _decode_jpeg
    if is_bitmap(data):
        return _decode_bitmap
    return None


def _decode_png(_path: Path, data: bytes) -> Decoded:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # PNG's fourth (or second) is always alpha
        pixels = pixels[:, :, :-1]
    return _with_axes(pixels)


def _decode_jpeg(_path: Path, data: bytes) -> Decoded:
    import imagecodecs

    # libjpeg fills the rest of a cut file with grey and says nothing.
    if data.find(b"\xff\xd9", _jpeg_scan_start(data)) < 0:
        raise ValueError("the end of the JPEG data is missing")
    return _with_axes(imagecodecs.jpeg_decode(data))


def _jpeg_scan_start(data: bytes) -> int:
    """Find the first scan behind the header segments, which may embed a whole preview."""
    position = 2
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # fill bytes may precede a marker
            position += 1
            continue
        if marker == 0xFFDA:
            return position
        position += 2 + length
    raise ValueError("the JPEG header is cut off")


def _decode_bitmap(_path: Path, data: bytes) -> Decoded:
    return _with_axes(decode_bitmap(data))


def _with_axes(pixels: NDArray[Any]) -> Decoded:
    return pixels, "YX" if pixels.ndim == 2 else "YXC", None, None


def _decode_tiff(path: Path, _data: bytes) -> Decoded:
    with open_tiff(path) as tiff:
        series = single_series(path, tiff)
        pixels = series.asarray()
        axes = _tiff_axes(path, series)
        page = tiff.pages.first
        pixels = _tiff_values(path, page, pixels)
        pixels, axes = _without_alpha(page, *_expand_palette(page, pixels, axes))
        return pixels, axes, _tiff_channels(tiff, pixels, axes), _pixel_size(tiff)


def open_tiff(path: Path) -> TiffFile:
    """Open a TIFF file and check that all of the data of its first page is there.

    Raises
    ------
    ImageReadError
        If the structure is broken or data is cut off.
    """
    import tifffile

    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:  # tifffile raises many types on broken files
        raise ImageReadError(f"Cannot read {path}: the TIFF is broken ({error}).") from error
    try:
        missing = _missing_data(tiff)
    except Exception as error:
        tiff.close()
        raise ImageReadError(f"Cannot read {path}: the TIFF is broken ({error}).") from error
    if missing is not None:
        tiff.close()
        raise ImageReadError(f"Cannot read {path}: the file is cut off or broken, {missing}.")
    return tiff


def _missing_data(tiff: TiffFile) -> str | None:
    """Say which data of the first page is not in the file, which tifffile would fill with zeros."""
    page = tiff.pages.first
    size = tiff.filehandle.size
    pieces = math.prod(page.chunked)
    end = max(
        (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0
    )
    # Some writers give the offset of the first strip only, and store the rest behind it.
    if len(page.dataoffsets) == 1 < pieces and page.compression == 1:
        end, pieces = page.dataoffsets[0] + page.nbytes, 1
    if not page.dataoffsets or len(page.dataoffsets) < pieces:
        return f"expected {pieces} pieces of data, but it has {len(page.dataoffsets)}"
    if end > size:
        return f"expected at least {end} bytes, but it has {size}"
    return None


def single_series(path: Path, tiff: TiffFile) -> TiffPageSeries:
    """Return the one image in a TIFF file; the smaller levels of a pyramid do not count.

    Raises
    ------
    ImageReadError
        If there are several images.
    """
    if len(tiff.series) != 1:
        raise ImageReadError(
            f"Cannot read {path}: expected one image, but the TIFF holds {len(tiff.series)} "
            "separate ones. Save the one to use as a file of its own."
        )
    return tiff.series[0]


def _tiff_axes(path: Path, series: TiffPageSeries) -> str:
    axes: str = series.axes
    known = {"YX": "YX", "YXS": "YXC", "SYX": "CYX", "CYX": "CYX", "YXC": "YXC"}
    if axes in known:
        return known[axes]
    sizes = ", ".join(f"{a} {n}" for a, n in zip(axes, series.shape, strict=True))
    if axes in ("QYX", "IYX"):
        raise ImageReadError(
            f"Cannot read {path}: the TIFF is a stack of {series.shape[0]} pages, and nothing "
            "says whether they are channels, slices or times. Save one plane, or save the "
            "channels with axes metadata (ImageJ or OME, axes CYX)."
        )
    raise ImageReadError(
        f"Cannot read {path}: expected one plane with axes YX and channels, but got {axes} "
        f"({sizes}). Save each plane as a file of its own."
    )


def _tiff_values(path: Path, page: TiffPage, pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn white-is-zero around and refuse colour models that are no intensities."""
    import tifffile

    kinds = tifffile.PHOTOMETRIC
    jpeg_colour = page.photometric == kinds.YCBCR and page.compression in (6, 7)
    known = (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB, kinds.PALETTE)
    if page.photometric not in known and not jpeg_colour:
        name = getattr(page.photometric, "name", page.photometric)
        raise ImageReadError(
            f"Cannot read {path}: expected grey or RGB, but the TIFF is {name}. Convert it to RGB."
        )
    if page.photometric != kinds.MINISWHITE:
        return pixels
    if pixels.dtype == np.bool_:
        return ~pixels
    if pixels.dtype.kind == "u":
        bits = page.bitspersample
        top = (1 << bits) - 1 if isinstance(bits, int) else np.iinfo(pixels.dtype).max
        turned: NDArray[Any] = pixels.dtype.type(top) - pixels
        return turned
    return pixels  # floats and signed numbers have no white


def _expand_palette(page: TiffPage, pixels: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    colours = page.colormap
    if colours is None or page.photometric != 3 or axes != "YX":
        return pixels, axes
    # The TIFF standard wants 16-bit colours; some writers store 8-bit ones.
    table = colours if colours.max() < 256 else colours >> 8
    return np.ascontiguousarray(table.astype(np.uint8).T)[pixels], "YXC"


def _without_alpha(page: TiffPage, pixels: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    import tifffile

    alpha = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
    if axes == "YX" or page.samplesperpixel < 2 or not page.extrasamples:
        return pixels, axes
    first_extra = page.samplesperpixel - len(page.extrasamples)
    kept = [
        c
        for c in range(page.samplesperpixel)
        if c < first_extra or page.extrasamples[c - first_extra] not in alpha
    ]
    return pixels[..., kept] if axes == "YXC" else pixels[kept], axes


def _tiff_channels(tiff: TiffFile, pixels: NDArray[Any], axes: str) -> tuple[str, ...] | None:
    """Channel names from OME metadata, where there is one for each channel."""
    if axes == "YX" or not tiff.ome_metadata:
        return None
    count = pixels.shape[axes.index("C")]
    names = re.findall(r"<(?:\w+:)?Channel\b[^>]*?\bName=\"([^\"]+)\"", tiff.ome_metadata)
    return tuple(names) if len(names) == count and len(set(names)) == count else None


def _pixel_size(tiff: TiffFile) -> float | None:
    """Micrometres per pixel, or None where the file does not say it for certain.

    The resolution tags of plain TIFF files are printing resolutions (72 or 96 to the inch) far
    more often than they are sizes, so they do not count.
    """
    if tiff.ome_metadata:
        size = [_ome_size(tiff.ome_metadata, axis) for axis in "XY"]
    elif tiff.imagej_metadata:
        unit = _MICROMETRES.get(str(tiff.imagej_metadata.get("unit", "")).lower())
        tags = tiff.pages.first.tags
        size = [_imagej_size(tags.get(f"{axis}Resolution"), unit) for axis in "XY"]
    else:
        return None
    x, y = size
    if x is None or y is None or abs(x - y) > 0.01 * x:
        return None
    return x


def _ome_size(xml: str, axis: str) -> float | None:
    found = re.search(rf"\bPhysicalSize{axis}=\"([^\"]+)\"", xml)
    unit = re.search(rf"\bPhysicalSize{axis}Unit=\"([^\"]+)\"", xml)
    factor = _MICROMETRES.get(unit.group(1)) if unit else 1.0  # the OME schema's default unit
    if not found or factor is None:
        return None
    try:
        value = float(found.group(1)) * factor
    except ValueError:
        return None
    return value if 0 < value < np.inf else None


def _imagej_size(tag: Any, unit: float | None) -> float | None:
    if tag is None or unit is None:
        return None
    numerator, denominator = tag.value
    return float(denominator / numerator * unit) if numerator and denominator else None

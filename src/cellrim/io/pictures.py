"""PNG, JPEG and Windows bitmaps: one plane, grey or RGB."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cellrim.io.bitmaps import decode_bitmap
from cellrim.io.files import is_jpeg, is_png, read_bytes
from cellrim.io.sources import ONE_SCENE, Scene, Source, array_source, asked_axes, pick_scene


def picture_source(
    path: Path,
    *,
    axes: str | None = None,
    scene: Scene | None = None,
    calibrated: bool = True,  # noqa: ARG001 - as every reader
) -> Source:
    """Read a PNG, JPEG, BMP or DIB file.

    Parameters
    ----------
    path
        The file.
    axes
        Axes in place of ``YX`` or ``YXS``.
    scene
        Which image, as for :func:`~cellrim.io.sources.pick_scene`: such a file holds but one.
    calibrated
        Without effect: such files say no size.

    Raises
    ------
    ImageReadError
        If the axes do not fit, or there is no such scene.
    ValueError
        If the file is broken; decoders raise other types too.
    """
    pick_scene(path, ONE_SCENE, scene)
    pixels = _decode(read_bytes(path))
    own = "YX" if pixels.ndim == 2 else "YXS"
    if axes is not None:
        own, _ = asked_axes(path, axes, own, pixels.shape)
    return array_source(pixels, own)


def _decode(data: bytes) -> NDArray[Any]:
    if is_png(data):
        return _decode_png(data)
    return _decode_jpeg(data) if is_jpeg(data) else decode_bitmap(data)


def _decode_png(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # PNG's fourth (or second) is always alpha
        pixels = pixels[:, :, :-1]
    return pixels if pixels.ndim == 2 or pixels.shape[2] > 1 else pixels[:, :, 0]


def _decode_jpeg(data: bytes) -> NDArray[Any]:
    import imagecodecs

    # libjpeg fills the rest of a cut file with grey and says nothing.
    if data.find(b"\xff\xd9", _jpeg_scan_start(data)) < 0:
        raise ValueError("the end of the JPEG data is missing")
    pixels: NDArray[Any] = imagecodecs.jpeg_decode(data)
    return pixels


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

"""Resizing without aliasing, at a cost linear in pixels.

Along each axis a pixel is a sum of its neighbours with triangle weights whose width follows the
reduction (Pillow's "bilinear" filter does the same for 8 bits). Pixel centres are at half pixels:
the centre of output pixel i lies at ``(i + 0.5) * size_in / size_out - 0.5``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError

FLOAT_PIXELS = 4_000_000
"""Pixels of an image that are floats at one time: bounds the memory where cells are large."""

# Numbers that are summed up at a time.
_BLOCK = 2**16


def scaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Shape of an image of this shape times ``scale``; at least one pixel."""
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def resize(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image.

    Parameters
    ----------
    image
        float32, axes ``YXC``.
    shape
        Height and width wanted.

    Returns
    -------
    ndarray
        float32, axes ``YXC``; the image itself where it has that shape.

    Raises
    ------
    InputError
        If a size is below one.
    """
    if min(shape) < 1:
        raise InputError(f"Expected at least one pixel, but got shape {shape}.")
    if image.shape[:2] == tuple(shape):
        return image
    for axis in _axis_order(image.shape, shape):
        image = _resize_axis(image, axis, shape[axis])
    return np.ascontiguousarray(image)


def nearest_pixels(plane: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Resize labels or a mask: each new pixel is the one that its centre lies in.

    Parameters
    ----------
    plane
        Axes ``YX``, of any dtype.
    shape
        Height and width wanted.
    """
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(np.intp)
        for n, size in zip(shape, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def resize_window(
    read: Callable[[slice, slice], NDArray[np.float32]],
    shape_in: tuple[int, int],
    *,
    shape: tuple[int, int],
    window: tuple[slice, slice],
) -> NDArray[np.float32]:
    """Return a part of a resized image, from only those pixels that it depends on.

    Parameters
    ----------
    read
        Takes rows and columns within ``shape_in``; returns float32 pixels ``YXC``.
    shape_in
        Height and width of the whole image.
    shape
        Height and width that the whole image is resized to.
    window
        Rows and columns of the resized image that are wanted.

    Returns
    -------
    ndarray
        float32, axes ``YXC``; equal to ``resize(whole, shape)[window]``.

    Raises
    ------
    InputError
        If a size is below one.
    """
    if min(shape) < 1:
        raise InputError(f"Expected at least one pixel, but got shape {shape}.")
    sources = [_source(n, m, part) for n, m, part in zip(shape_in, shape, window, strict=True)]
    image = read(*sources)
    for axis in _axis_order(shape_in, shape):
        if shape_in[axis] != shape[axis]:
            taps = _triangle_taps(shape_in[axis], shape[axis], window[axis])
            image = _weighted(image, axis, taps, begin=sources[axis].start)
    return np.ascontiguousarray(image)


def resize_by_strips(
    read: Callable[[slice, slice], NDArray[np.float32]],
    shape_in: tuple[int, int],
    *,
    shape: tuple[int, int],
    window: tuple[slice, slice],
    pixels: int = FLOAT_PIXELS,
) -> NDArray[np.float32]:
    """As :func:`resize_window`, strip by strip, so that few pixels are floats at a time.

    Parameters
    ----------
    read, shape_in, shape, window
        As there.
    pixels
        About as many of the image are read at once.
    """
    rows, columns = window
    per_row = (columns.stop - columns.start) * (shape_in[0] / shape[0]) * (shape_in[1] / shape[1])
    height = max(1, int(pixels / max(per_row, 1)))
    strips = [
        resize_window(
            read, shape_in, shape=shape, window=(slice(y, min(y + height, rows.stop)), columns)
        )
        for y in range(rows.start, rows.stop, height)
    ]
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def _source(size_in: int, size_out: int, part: slice) -> slice:
    """Which pixels along one axis a part of the resized image depends on."""
    if size_in == size_out:
        return part
    source = _triangle_taps(size_in, size_out, part).source
    return slice(int(source.min()), int(source.max()) + 1)


def _axis_order(shape_in: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int]:
    """Put the axis that shrinks most first: less work for the other."""
    return (0, 1) if shape[0] / shape_in[0] <= shape[1] / shape_in[1] else (1, 0)


def _resize_axis(image: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    if image.shape[axis] == size:
        return image
    return _weighted(image, axis, _triangle_taps(image.shape[axis], size, slice(0, size)))


class _Taps(NamedTuple):
    """Which pixels along an axis each new pixel is made of.

    Parameters
    ----------
    source
        intp, (taps, n): indices of pixels; those of weight 0 stand within the axis too.
    weight
        float32, (taps, n): they add up to 1 for each of the n new pixels.
    """

    source: NDArray[np.intp]
    weight: NDArray[np.float32]


def _weighted(
    image: NDArray[np.float32], axis: int, taps: _Taps, *, begin: int = 0
) -> NDArray[np.float32]:
    """Sum up pixels along an axis; the image begins at pixel ``begin`` of it."""
    moved = np.moveaxis(image, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    result = np.zeros((taps.source.shape[1], flat.shape[1]), np.float32)
    # A block of rows at a time stays in the cache over all taps.
    height = max(1, _BLOCK // max(1, flat.shape[1]))
    for start in range(0, len(result), height):
        rows = slice(start, start + height)
        for source, weight in zip(taps.source[:, rows], taps.weight[:, rows], strict=True):
            part = flat[source - begin]
            part *= weight[:, np.newaxis]
            result[rows] += part
    return np.moveaxis(result.reshape(-1, *moved.shape[1:]), 0, axis)


def _triangle_taps(size_in: int, size_out: int, part: slice) -> _Taps:
    """Say what pixels ``part`` of a resized axis are made of."""
    step = size_in / size_out
    reach = max(step, 1.0)
    centre = (np.arange(part.start, part.stop) + 0.5) * step - 0.5
    first = np.floor(centre - reach).astype(np.intp) + 1
    source = first + np.arange(int(np.ceil(2 * reach)))[:, np.newaxis]
    weight = np.maximum(1 - np.abs(source - centre) / reach, 0)
    weight[(source < 0) | (source >= size_in)] = 0
    weight /= weight.sum(axis=0)
    nearest = np.clip(np.rint(centre).astype(np.intp), 0, size_in - 1)
    return _Taps(np.where(weight > 0, source, nearest), weight.astype(np.float32))

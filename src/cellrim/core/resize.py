"""Resizing without aliasing, at a cost linear in pixels.

Each axis is one sparse matrix of triangle weights whose width follows the reduction (Pillow's
"bilinear" filter does the same for 8 bits). Pixel centres are at half pixels: the centre of
output pixel i lies at ``(i + 0.5) * size_in / size_out - 0.5``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError

FLOAT_PIXELS = 4_000_000
"""Pixels of an image that are floats at one time: bounds the memory where cells are large."""


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
            weights = _triangle_weights(shape_in[axis], shape[axis], window[axis])
            part = sources[axis]
            image = _weighted(image, axis, weights[:, part.start : part.stop])
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
    columns = _triangle_weights(size_in, size_out, part).indices
    return slice(int(columns.min()), int(columns.max()) + 1)


def _axis_order(shape_in: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int]:
    """Put the axis that shrinks most first: less work for the other."""
    return (0, 1) if shape[0] / shape_in[0] <= shape[1] / shape_in[1] else (1, 0)


def _resize_axis(image: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    if image.shape[axis] == size:
        return image
    return _weighted(image, axis, _triangle_weights(image.shape[axis], size, slice(0, size)))


def _weighted(image: NDArray[np.float32], axis: int, weights: Any) -> NDArray[np.float32]:
    size = weights.shape[0]
    moved = np.moveaxis(image, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    result: NDArray[np.float32] = np.moveaxis(
        (weights @ flat).reshape(size, *moved.shape[1:]), 0, axis
    )
    return result


def _triangle_weights(size_in: int, size_out: int, part: slice) -> Any:
    """Rows ``part`` of the sparse float32 matrix (size_out, size_in) whose rows add up to 1."""
    from scipy import sparse

    step = size_in / size_out
    reach = max(step, 1.0)
    centre = (np.arange(part.start, part.stop) + 0.5) * step - 0.5
    first = np.floor(centre - reach).astype(np.int64) + 1
    column = first[:, np.newaxis] + np.arange(int(np.ceil(2 * reach)) + 1)
    weight = np.maximum(1 - np.abs(column - centre[:, np.newaxis]) / reach, 0)
    weight[(column < 0) | (column >= size_in)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(len(centre)), column.shape[1])
    used = weight.ravel() > 0
    return sparse.csr_matrix(
        (weight.ravel()[used].astype(np.float32), (row[used], column.ravel()[used])),
        shape=(len(centre), size_in),
    )

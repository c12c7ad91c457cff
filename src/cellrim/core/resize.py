"""Resizing without aliasing, at a cost linear in pixels.

Each axis is one sparse matrix of triangle weights whose width follows the reduction (Pillow's
"bilinear" filter does the same for 8 bits). Pixel centres are at half pixels: the centre of
output pixel i lies at ``(i + 0.5) * size_in / size_out - 0.5``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError


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
    # The axis that shrinks most goes first: less work for the other.
    order = (0, 1) if shape[0] / image.shape[0] <= shape[1] / image.shape[1] else (1, 0)
    for axis in order:
        image = _resize_axis(image, axis, shape[axis])
    return np.ascontiguousarray(image)


def _resize_axis(image: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    if image.shape[axis] == size:
        return image
    weights = _triangle_weights(image.shape[axis], size)
    moved = np.moveaxis(image, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    result: NDArray[np.float32] = np.moveaxis(
        (weights @ flat).reshape(size, *moved.shape[1:]), 0, axis
    )
    return result


def _triangle_weights(size_in: int, size_out: int) -> Any:
    """Sparse float32 matrix (size_out, size_in) whose rows add up to 1."""
    from scipy import sparse

    step = size_in / size_out
    reach = max(step, 1.0)
    centre = (np.arange(size_out) + 0.5) * step - 0.5
    first = np.floor(centre - reach).astype(np.int64) + 1
    column = first[:, np.newaxis] + np.arange(int(np.ceil(2 * reach)) + 1)
    weight = np.maximum(1 - np.abs(column - centre[:, np.newaxis]) / reach, 0)
    weight[(column < 0) | (column >= size_in)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(size_out), column.shape[1])
    used = weight.ravel() > 0
    return sparse.csr_matrix(
        (weight.ravel()[used].astype(np.float32), (row[used], column.ravel()[used])),
        shape=(size_out, size_in),
    )

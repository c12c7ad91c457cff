"""COCO segmentations: polygons and run lengths to masks and back.

https://cocodataset.org/#format-data. Polygons are filled by the rule of the reference
implementation (``rleFrPoly`` in maskApi.c of https://github.com/cocodataset/cocoapi), pixel for
pixel, so that areas agree with every tool that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import DatasetError, InputError
from cellrim.io.polygons import trace_labels
from cellrim.io.rle import Mask, compress_counts, decode_coco, encode_coco

# The reference draws edges on a grid this much finer than the pixels.
_FINER = 5
_MIN_POLYGON_NUMBERS = 6
# Far outside of any image, and near enough that the finer grid stays within 32 bits.
_MAX_COORDINATE = 1e6


def decode_segmentation(segmentation: Any, shape: tuple[int, int]) -> Mask:
    """Decode the ``segmentation`` of a COCO annotation.

    Parameters
    ----------
    segmentation
        A list of polygons, each ``[x0, y0, x1, y1, ...]``, of which the union is meant, or
        ``{"size": [height, width], "counts": ...}`` with a list or a compressed string.
    shape
        Height and width of the image.

    Returns
    -------
    ndarray
        bool, axes ``YX``.

    Raises
    ------
    DatasetError
        If it is none of these, is malformed, or is of another size than the image.
    """
    if isinstance(segmentation, Mapping):
        return _decode_counts(segmentation, shape)
    if isinstance(segmentation, list) and segmentation:
        mask = np.zeros(shape, bool)
        for polygon in segmentation:
            mask |= fill_polygon(polygon, shape)
        return mask
    raise DatasetError(
        "Expected a segmentation of polygons or run lengths, "
        f"but got {type(segmentation).__name__} {str(segmentation)[:40]}."
    )


def encode_segmentation(mask: Mask, *, compressed: bool = True) -> dict[str, Any]:
    """Encode a mask as the ``segmentation`` of a COCO annotation, by run lengths.

    Parameters
    ----------
    mask
        bool, axes ``YX``. Holes and parts are kept.
    compressed
        Whether ``counts`` is a string or a list.

    Raises
    ------
    InputError
        If the mask is not a bool array with axes ``YX``.
    """
    return segmentation_of_counts(encode_coco(mask), mask.shape[:2], compressed=compressed)


def segmentation_of_counts(
    counts: NDArray[np.int64], shape: tuple[int, int], *, compressed: bool = True
) -> dict[str, Any]:
    """Write COCO counts as the ``segmentation`` of an annotation.

    Parameters
    ----------
    counts
        See :func:`cellrim.io.rle.encode_coco`.
    shape
        Height and width of the image.
    compressed
        Whether ``counts`` becomes a string or a list.
    """
    return {
        "size": [int(shape[0]), int(shape[1])],
        "counts": compress_counts(counts) if compressed else counts.tolist(),
    }


def fill_polygon(polygon: Sequence[float], shape: tuple[int, int]) -> Mask:
    """Fill a polygon as the reference implementation does.

    Parameters
    ----------
    polygon
        ``[x0, y0, x1, y1, ...]`` in pixels; the centre of the first pixel is (0.5, 0.5). Parts
        outside of the image are cut off; where the line crosses itself, even-odd is inside.
    shape
        Height and width of the image.

    Returns
    -------
    ndarray
        bool, axes ``YX``.

    Raises
    ------
    DatasetError
        If there are fewer than three corners, an odd number of values, or other than numbers.
    """
    x, y = _corners(polygon)
    u, v = _edge_points(np.trunc(_FINER * x + 0.5), np.trunc(_FINER * y + 0.5))
    toggles = _crossings(u, v, shape)
    size = shape[0] * shape[1]
    odd = np.bincount(toggles, minlength=size + 1)[:size] % 2
    inside = np.cumsum(odd) % 2 == 1
    return np.ascontiguousarray(inside.reshape(shape, order="F"))


def trace_polygons(mask: Mask) -> list[list[float]]:
    """Trace the outlines of a mask without holes along its pixel edges.

    :func:`fill_polygon` of each, together, gives exactly the mask again.

    Parameters
    ----------
    mask
        bool, axes ``YX``.

    Returns
    -------
    list
        One polygon ``[x0, y0, x1, y1, ...]`` for each 4-connected part, corners only.

    Raises
    ------
    InputError
        If the mask is not a bool array with axes ``YX``, or has a hole, for which COCO has no
        polygons: use :func:`encode_segmentation`.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(
            f"Expected a bool mask with axes YX, but got {mask.dtype} of shape {mask.shape}."
        )
    parts = [part for o in trace_labels(mask.astype(np.int32), simple=False) for part in o.parts]
    if any(len(part) > 1 for part in parts):
        raise InputError("Expected a mask without holes, but got one: use run lengths.")
    return [ring.astype(float).ravel().tolist() for (ring,) in parts]


def _decode_counts(segmentation: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(counts, list | str):
        raise DatasetError(f"Expected counts as list or string, but got {type(counts).__name__}.")
    if size != list(shape):
        raise DatasetError(f"Expected run lengths of size {list(shape)}, but got {size}.")
    return decode_coco(counts, shape)


def _corners(polygon: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        values = np.asarray(polygon, np.float64)
    except (ValueError, TypeError) as error:
        raise DatasetError("Expected a polygon of numbers, but got others.") from error
    if values.ndim != 1 or len(values) % 2 or len(values) < _MIN_POLYGON_NUMBERS:
        raise DatasetError(
            "Expected a polygon of at least three corners, x and y in turn, "
            f"but got values of shape {values.shape}."
        )
    if not (np.abs(values) < _MAX_COORDINATE).all():
        raise DatasetError("Expected corners near the image, but got values beyond 1e6 or NaN.")
    return values[::2], values[1::2]


def _edge_points(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Walk all edges of the closed polygon on the finer grid, one step of the longer axis each."""
    dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
    steps = np.maximum(np.abs(dx), np.abs(dy)).astype(np.int64)
    edge = np.repeat(np.arange(len(x)), steps + 1)
    done = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    flat = np.abs(dx) >= np.abs(dy)
    backward = np.where(flat, dx < 0, dy < 0)
    # The reference always draws from the lower end, which decides how halves are rounded.
    x0, y0 = np.where(backward, x + dx, x), np.where(backward, y + dy, y)
    rise = np.divide(
        np.where(flat, dy, dx), np.where(flat, dx, dy), out=np.zeros_like(x), where=steps > 0
    )
    t = np.where(backward[edge], steps[edge] - done, done)
    x_on, y_on = x0[edge], y0[edge]
    sloped = np.trunc(np.where(flat[edge], y_on, x_on) + rise[edge] * t + 0.5)
    u = np.where(flat[edge], x_on + t, sloped)
    v = np.where(flat[edge], sloped, y_on + t)
    return u, v


def _crossings(
    u: NDArray[np.float64], v: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Where columns are entered or left, as positions along the columns of the image."""
    height, width = shape
    crossed = np.flatnonzero(u[1:] != u[:-1]) + 1
    column = (np.minimum(u[crossed], u[crossed - 1]) + 0.5) / _FINER - 0.5
    on_column = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    crossed, column = crossed[on_column], column[on_column]
    row = (np.minimum(v[crossed], v[crossed - 1]) + 0.5) / _FINER - 0.5
    row = np.ceil(np.clip(row, 0, height))
    positions: NDArray[np.int64] = (column * height + row).astype(np.int64)
    return positions

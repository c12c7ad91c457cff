"""Label images: 0 is background, 1..n are instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellrim.errors import InputError

Labels = NDArray[np.int32]


def as_labels(array: ArrayLike) -> Labels:
    """Check a label image and return it as int32.

    Parameters
    ----------
    array
        Axes ``YX``, integer or bool dtype, or floats that are whole numbers; values >= 0.

    Raises
    ------
    InputError
        If the axes, the dtype or a value do not fit.

    Examples
    --------
    >>> as_labels([[0, 1], [2, 2]]).dtype
    dtype('int32')
    """
    labels: NDArray[Any] = np.asarray(array)
    if labels.ndim != 2:
        raise InputError(f"Expected a label image with axes YX, but got shape {labels.shape}.")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise InputError("Expected whole numbers in a label image, but got fractions or NaN.")
    elif labels.dtype.kind not in "iub":
        raise InputError(f"Expected integers in a label image, but got dtype {labels.dtype}.")
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise InputError(
            f"Expected labels between 0 and 2**31 - 1, but got {labels.min()} to {labels.max()}."
        )
    return labels.astype(np.int32, copy=False)


def relabel(labels: Labels) -> Labels:
    """Return the label image with ids 1..n without gaps, in the order of the old ids.

    Examples
    --------
    >>> relabel(np.array([[0, 7], [3, 7]], np.int32))
    array([[0, 2],
           [1, 2]], dtype=int32)
    """
    if labels.size == 0:
        return labels.copy()
    if labels.max() > labels.size:  # a table of all ids would be larger than the image
        ids = np.unique(labels)
        compact: Labels = (np.searchsorted(ids, labels) + (ids[0] > 0)).astype(np.int32)
        return compact
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    table = np.cumsum(present, dtype=np.int32)
    table[~present] = 0
    result: Labels = table[labels]
    return result


def halve(labels: NDArray[Any]) -> NDArray[Any]:
    """Return a label image of half the size: the commonest label of each 2x2 pixels.

    Parameters
    ----------
    labels
        Axes ``YX``, any whole numbers. An odd edge is continued by its last row or column.

    Returns
    -------
    ndarray
        The dtype of ``labels``. Where no label is commoner than the others, the first in reading
        order.

    Examples
    --------
    >>> halve(np.array([[1, 2, 0], [2, 3, 0], [5, 5, 6]]))
    array([[2, 0],
           [5, 6]])
    """
    height, width = labels.shape
    even = np.pad(labels, ((0, height % 2), (0, width % 2)), mode="edge")
    a, b, c, d = even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]
    second = (a != b) & (a != c) & (a != d)  # a stands alone: b where it does not
    third = second & (b != c) & (b != d) & (c == d)
    second &= (b == c) | (b == d)
    result: NDArray[Any] = np.where(third, c, np.where(second, b, a))
    return result


def areas(labels: Labels) -> NDArray[np.int64]:
    """Area in pixels of each instance that is present, in the order of the ids."""
    counts = np.bincount(labels[labels > 0])  # most pixels are background, and need not be counted
    return counts[counts > 0].astype(np.int64)


def borders(labels: Labels) -> NDArray[np.bool_]:
    """Mark the pixels of instances that lie beside another label or the frame (4 neighbours).

    Examples
    --------
    >>> int(borders(np.ones((3, 4), np.int32)).sum())
    10
    """
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    marked: NDArray[np.bool_] = (centre > 0) & (
        (padded[:-2, 1:-1] != centre)
        | (padded[2:, 1:-1] != centre)
        | (padded[1:-1, :-2] != centre)
        | (padded[1:-1, 2:] != centre)
    )
    return marked


def median_diameter(labels: Labels) -> float:
    """Median over the instances of the diameter of the disc of equal area, in pixels.

    NaN where there is no instance.
    """
    sizes = areas(labels)
    return float(np.median(np.sqrt(sizes * 4 / np.pi))) if len(sizes) else float("nan")


def touching(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of ids (smaller, larger) that share an edge or a corner of a pixel, each pair once.

    Examples
    --------
    >>> touching(np.array([[1, 0, 3], [2, 3, 0]], np.int32))
    (array([1, 1, 2]), array([2, 3, 3]))
    """
    width = int(labels.max(initial=0)) + 1
    keys = []
    for a, b in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        apart = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a[apart], b[apart]), np.maximum(a[apart], b[apart])
        keys.append(np.unique(low.astype(np.int64) * width + high))
    pairs = np.unique(np.concatenate(keys))
    return pairs // width, pairs % width

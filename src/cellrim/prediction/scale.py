"""How large are the cells? The network says so itself.

Its fourth map is log2(diameter / canonical diameter). A reduced view of the image goes through
the network, the image is rescaled by what it says, and so on until the answer settles. The cost
is bounded whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cellrim.core.resize import resize, scaled_shape

SMALLEST_SCALE, LARGEST_SCALE = 1 / 16, 8.0

MAX_PASSES = 4
VIEW_PIXELS = 150_000
"""Pixels through the network in one pass; four passes make 0.6 megapixel."""

# Where nothing is found at scale 1, cells may be far larger (or smaller) than the network knows.
_FALLBACKS = (0.5, 0.25, 2.0)
# Training jitters the scale by more than this, so that a smaller change brings nothing.
_SETTLED = np.log2(1.2)
# Fewer foreground pixels than this are specks and no evidence.
_LEAST_FOREGROUND = 24
# Places tried along each axis for a view that does not hold the whole image.
_PLACES = 3
# The map is only trusted this far beyond the canonical diameter, in octaves.
_TRUSTED = 3.0

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def estimate_scale(image: NDArray[np.float32], predict: Predict) -> float:
    """Estimate by which factor to resize an image so that its cells have the canonical diameter.

    Parameters
    ----------
    image
        float32, axes ``YXC``, normalised.
    predict
        Takes such an image, returns float32 maps ``CYX``.

    Returns
    -------
    float
        Between :data:`SMALLEST_SCALE` and :data:`LARGEST_SCALE`; 1 where no cell is found.
    """
    fallbacks = iter(_FALLBACKS)
    scale, found = 1.0, 1.0
    for _ in range(MAX_PASSES):
        octaves = log2_diameter(predict(view(image, scale)))
        if octaves is None:
            scale = next(fallbacks, 1.0)
            continue
        found = float(np.clip(scale * 2.0**-octaves, SMALLEST_SCALE, LARGEST_SCALE))
        if abs(np.log2(found / scale)) < _SETTLED:
            break
        scale = found
    return found


def log2_diameter(maps: NDArray[np.float32]) -> float | None:
    """Median of log2(diameter / canonical) over the cells in the maps.

    Each foreground pixel counts by its probability and by one over the area it claims for its
    cell, so that each cell counts about once.

    Parameters
    ----------
    maps
        float32, axes ``CYX``.

    Returns
    -------
    float or None
        None where there is too little foreground to tell.
    """
    foreground = maps[0] > 0
    if np.count_nonzero(foreground) < min(_LEAST_FOREGROUND, foreground.size):
        return None
    octaves = np.clip(maps[3][foreground].astype(np.float64), -_TRUSTED, _TRUSTED)
    probability = 1 / (1 + np.exp(-maps[0][foreground].astype(np.float64)))
    return weighted_median(octaves, probability * 4.0**-octaves)


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value below and above which lie half of the weights.

    Examples
    --------
    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def view(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Return the image, or the liveliest part of it, at a scale and of a bounded size.

    Parameters
    ----------
    image
        float32, axes ``YXC``.
    scale
        Factor of the size.

    Returns
    -------
    ndarray
        float32, axes ``YXC``, about :data:`VIEW_PIXELS` pixels at most.
    """
    height, width = image.shape[:2]
    rows, columns = _view_shape(height, width, VIEW_PIXELS / scale**2)
    tops = np.unique(np.linspace(0, height - rows, _PLACES).round().astype(int))
    lefts = np.unique(np.linspace(0, width - columns, _PLACES).round().astype(int))
    parts = [image[y : y + rows, x : x + columns] for y in tops for x in lefts]
    part = parts[0] if len(parts) == 1 else max(parts, key=_liveliness)
    return resize(part, scaled_shape((rows, columns), scale))


def _view_shape(height: int, width: int, pixels: float) -> tuple[int, int]:
    edge = np.sqrt(pixels)
    rows = min(height, max(1, int(edge)))
    columns = min(width, max(1, int(pixels / rows)))
    rows = min(height, max(1, int(pixels / columns)))
    return rows, columns


def _liveliness(part: NDArray[np.float32]) -> float:
    step = max(1, min(part.shape[:2]) // 256)
    return float(part[::step, ::step].std())

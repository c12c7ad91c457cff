"""Slower, and the same whichever way an image lies: maps of 8 orientations and 2 scales averaged.

The image goes through the network in each of the eight ways a square can lie and at two sizes.
The maps are turned and resized back, flow vectors included, and averaged. The maps of a flipped
image are then the flipped maps.

Vectors that differ have a shorter mean, and short flow counts as doubt, so that far fewer cells
would reach the confidence that was chosen for one look. The mean flow therefore keeps the mean
length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.resize import resize, scaled_shape
from cellrim.prediction.segmenter import Segmenter
from cellrim.representation.flow import MAPS

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# Where the mean flow is shorter, looks contradict each other and it is left short.
_LEAST_LENGTH = np.float32(0.05)

SCALES = (1.0, 1.25)
"""Sizes at which the network looks, times the network's scale."""


class AccurateSegmenter(Segmenter):
    """A segmenter that looks sixteen times; all else is that of :class:`Segmenter`.

    Takes about 20 times as long, the estimate of the scale included.
    """

    accurate = True

    def _run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return averaged_maps(image, super()._run)


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways a square can lie: y and x exchanged, then flipped along y and x."""

    exchanged: bool
    flip_y: bool
    flip_x: bool

    def turn(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn an image ``YXC``."""
        if self.exchanged:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[self._flips])

    def turn_back(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn maps ``CYX`` of a turned image back, the flow vectors too; a new array."""
        maps = self.place_back(maps).copy()
        if self.flip_y:
            maps[1] *= -1
        if self.flip_x:
            maps[2] *= -1
        return maps[[0, 2, 1, 3]] if self.exchanged else maps

    def place_back(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Put the pixels of planes ``CYX`` of a turned image back where they were; a view."""
        planes = planes[:, *self._flips]
        return planes.swapaxes(1, 2) if self.exchanged else planes

    @property
    def _flips(self) -> tuple[slice, slice]:
        return slice(None, None, -1 if self.flip_y else 1), slice(
            None, None, -1 if self.flip_x else 1
        )


ORIENTATIONS = tuple(Orientation(*flags) for flags in product((False, True), repeat=3))


def averaged_maps(
    image: NDArray[np.float32], run: Run, *, scales: tuple[float, ...] = SCALES
) -> NDArray[np.float32]:
    """Average the maps over orientations and scales.

    Parameters
    ----------
    image
        float32, axes ``YXC``, at the network's scale.
    run
        Takes such an image, returns float32 maps ``CYX``.
    scales
        Sizes to look at, times that of the image.

    Returns
    -------
    ndarray
        float32, axes ``CYX``, of the size of the image.
    """
    total = np.zeros((len(MAPS) + 1, *image.shape[:2]), np.float32)
    for scale in scales:
        resized = resize(image, scaled_shape(image.shape[:2], scale))
        turned = sum(_with_length(o.turn_back(run(o.turn(resized)))) for o in ORIENTATIONS)
        total += _at_size(np.asarray(turned, np.float32), image.shape[:2], scale)
    total /= len(scales) * len(ORIENTATIONS)
    maps, length = total[:-1], total[-1]
    maps[1:3] *= length / np.maximum(np.hypot(maps[1], maps[2]), _LEAST_LENGTH)
    return maps


def _with_length(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add the length of the flow to maps ``CYX``."""
    return np.concatenate([maps, np.hypot(maps[1], maps[2])[np.newaxis]])


def _at_size(
    maps: NDArray[np.float32], shape: tuple[int, ...], scale: float
) -> NDArray[np.float32]:
    """Bring summed maps ``CYX`` of a resized image to the image's size."""
    resized = resize(np.moveaxis(maps, 0, 2), (shape[0], shape[1]))
    result: NDArray[np.float32] = np.ascontiguousarray(np.moveaxis(resized, 2, 0))
    # The diameter is that of what the network saw.
    result[3] -= np.float32(len(ORIENTATIONS) * np.log2(scale))
    return result

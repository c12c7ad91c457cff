"""Crops of training images as prediction shows them to the network: at its scale, not varied.

Training patches are rotated and zoomed between pixels, which softens the sharpest contrasts. What
prediction shows is resized once, and its extremes are what the twin's ranges must hold.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim.core.normalise import to_network
from cellrim.core.resize import resize_window, scaled_shape
from cellrim.prediction.accurate import ORIENTATIONS
from cellrim.training.patches import groups_of, opened
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index, image_file

# Standard deviation of log2(apparent / canonical diameter): the scale is an estimate.
_OCTAVES = 0.15


class Crops:
    """Cuts crop ``i`` of a recipe's training images; sets are drawn as often as in training.

    Raises
    ------
    RecipeError
        If a data set of the recipe has no training image in the index.
    """

    def __init__(self, recipe: Recipe, folder: Path, index: Index) -> None:
        self._recipe = recipe
        self._folder = folder
        self._groups, self._chances = groups_of(recipe, index)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """Cut a crop: float32 ``(3, P, P)``, normalised."""
        rng = np.random.default_rng([self._recipe.training.seed, number])
        group = self._groups[int(rng.choice(len(self._groups), p=self._chances))]
        sample = group[int(rng.integers(len(group)))]
        size = self._recipe.training.patch_size
        scale = 2.0 ** float(rng.normal(0, _OCTAVES))
        if sample.diameter > 0:
            scale *= self._recipe.model.canonical_diameter / sample.diameter
        pixels = opened(image_file(self._folder, sample.key, 0))
        shape = scaled_shape((pixels.shape[0], pixels.shape[1]), scale)
        rows, columns = (_window(length, size, rng) for length in shape)
        read = partial(_read, pixels)
        crop = resize_window(read, pixels.shape[:2], shape=shape, window=(rows, columns))
        missing = [(0, size - length) for length in crop.shape[:2]]
        crop = np.pad(crop, [*missing, (0, 0)], mode="symmetric")
        turned = ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))].turn(to_network(crop))
        return np.ascontiguousarray(turned.transpose(2, 0, 1))


def _window(length: int, size: int, rng: np.random.Generator) -> slice:
    """Place for a crop along one axis; all of it where that is shorter."""
    start = int(rng.integers(max(length - size, 0) + 1))
    return slice(start, min(start + size, length))


def _read(pixels: NDArray[np.generic], rows: slice, columns: slice) -> NDArray[np.float32]:
    return np.asarray(pixels[rows, columns], np.float32)

"""Training patches: drawn evenly over the sets, zoomed, rotated and flipped with their maps.

The maps are encoded once per image when the data is packed. Under a rotation, a flip and a zoom a
unit flow stays a unit flow and only turns with the image, so transforming it is exact and costs a
hundredth of encoding each patch; cells cut by the patch keep pointing to their true centre. A
stretch carries straight ways to straight ways, so it is exact wherever the way to the centre is.
Patch ``i`` depends on the recipe's seed and ``i`` alone: a resumed training sees what an
uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import RecipeError
from cellrim.training.augment import Pixels, empty_image, vary
from cellrim.training.recipe import Recipe
from cellrim.training.store import (
    CELL,
    FLOW_UNIT,
    IGNORE,
    OCTAVE_UNIT,
    Index,
    PackedSample,
    image_file,
    maps_file,
)

# Tries to centre a patch on a cell before any place will do.
_TRIES = 8
# Packed files kept open at once.
_OPEN_FILES = 2_000


@dataclass(frozen=True, slots=True)
class Patch:
    """One training example.

    ``image`` float32 ``(3, P, P)``; ``kind`` int8 ``(P, P)`` with background, cell, ignore;
    ``maps`` float32 ``(3, P, P)``: flow y, flow x, log2(diameter / canonical).
    """

    image: NDArray[np.float32]
    kind: NDArray[np.int8]
    maps: NDArray[np.float32]


@lru_cache(maxsize=_OPEN_FILES)
def opened(path: Path) -> NDArray[np.generic]:
    """Open a packed array, to be read where it is looked at."""
    array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


class PatchSource:
    """Makes patch ``i`` of a recipe from packed data.

    Raises
    ------
    RecipeError
        If a data set of the recipe has no training image in the index.
    """

    targets = 3
    """Number of target maps of a patch."""

    def __init__(self, recipe: Recipe, folder: Path, index: Index) -> None:
        self._recipe = recipe
        self._folder = folder
        self._groups, self._chances = groups_of(recipe, index)
        background: dict[int, list[PackedSample]] = {}
        for sample in index.part("background"):
            background.setdefault(sample.source, []).append(sample)
        self._background: list[Sequence[PackedSample]] = list(background.values())

    def __getitem__(self, number: int) -> Patch:
        """Make patch ``number``."""
        rng = np.random.default_rng([self._recipe.training.seed, number])
        size = self._recipe.training.patch_size
        settings = self._recipe.augmentation
        if rng.random() < settings.empty:
            image = empty_image(size, rng)
            kind = np.zeros((size, size), np.int8)
            nothing = np.zeros((self.targets, size, size), np.float32)
            return Patch(image.transpose(2, 0, 1), kind, nothing)
        if self._background and rng.random() < settings.background:
            group = self._background[int(rng.integers(len(self._background)))]
            octaves = float(rng.uniform(*settings.wide_octaves))
        else:
            group = self._groups[int(rng.choice(len(self._groups), p=self._chances))]
            octaves = self._octaves(rng)
        sample = group[int(rng.integers(len(group)))]
        image, kind, maps = self._cut(sample, rng, octaves=octaves)
        image = vary(image, settings, rng, nucleus=self._nucleus(sample))
        return Patch(np.ascontiguousarray(image.transpose(2, 0, 1)), kind, maps)

    def _nucleus(self, sample: PackedSample) -> int | None:
        """Where the nuclear channel, if the recipe names one, is among those that are packed."""
        channel = self._recipe.data[sample.source].nucleus_channel
        return sample.channels.index(channel) if channel in sample.channels else None

    def _cut(
        self, sample: PackedSample, rng: np.random.Generator, *, octaves: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]:
        maps = opened(self._maps_file(sample))
        canonical = self._recipe.model.canonical_diameter
        zoom = 2.0**octaves
        if sample.diameter > 0:
            zoom *= canonical / sample.diameter
        turn = random_turn(rng)
        if self._recipe.augmentation.stretch:
            turn = turn @ random_stretch(rng, self._recipe.augmentation.stretch)
        size = self._recipe.training.patch_size
        place = _place(maps[:, :, 0], size / zoom, rng)
        where = grid(size, turn / zoom, place)
        level = int(np.clip(np.floor(np.log2(1 / zoom) + 0.25), 0, sample.levels - 1))
        pixels = opened(image_file(self._folder, sample.key, level))
        image = bilinear(pixels, (where + 0.5) / 2**level - 0.5)
        kind, target = self._target(maps, where, turn, zoom=zoom)
        target[-1] += np.float32(np.log2(zoom / canonical))
        target[-1][kind != CELL] = 0
        return image, kind, target

    def _maps_file(self, sample: PackedSample) -> Path:
        return maps_file(self._folder, sample.key)

    def _target(
        self,
        maps: NDArray[np.generic],
        where: NDArray[np.float32],
        turn: NDArray[np.float64],
        *,
        zoom: float,
    ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Kind (P, P) and target maps (targets, P, P) of a patch, the last log2 of the diameter."""
        del zoom  # a unit flow has no length to zoom
        return nearest_maps(maps, where, turn)

    def _octaves(self, rng: np.random.Generator) -> float:
        settings = self._recipe.augmentation
        if rng.random() < settings.wide_scale:
            return float(rng.uniform(*settings.wide_octaves))
        return float(np.clip(rng.normal(0, settings.scale_octaves), -1.0, 1.0))


def groups_of(
    recipe: Recipe, index: Index
) -> tuple[list[Sequence[PackedSample]], NDArray[np.float64]]:
    """Return the training images of each of the recipe's data sets, and their chances to be drawn.

    Raises
    ------
    RecipeError
        If a data set has none in the index.
    """
    groups: list[Sequence[PackedSample]] = []
    for number, part in enumerate(recipe.data):
        group = tuple(s for s in index.part("train") if s.source == number)
        if not group:
            raise RecipeError(f"No training image of {part.path!r} could be packed.")
        groups.append(group)
    weights = np.array([part.weight for part in recipe.data])
    return groups, weights / weights.sum()


def random_turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation or reflection (2, 2), half of the time by multiples of 90 degrees."""
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        angle = np.pi / 2 * rng.integers(4)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    if rng.random() < 0.5:
        turn = turn[:, ::-1]
    return turn


def random_stretch(rng: np.random.Generator, deviation: float) -> NDArray[np.float64]:
    """Return a matrix (2, 2) that lengthens along any axis and shortens across it, area unchanged.

    ``deviation`` is the standard deviation of the logarithm of how much it lengthens.
    """
    longer = np.exp(np.clip(rng.normal(0, deviation), -2 * deviation, 2 * deviation))
    angle = rng.uniform(0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    axes = np.array([[c, -s], [s, c]])
    stretch: NDArray[np.float64] = axes @ np.diag([longer, 1 / longer]) @ axes.T
    return stretch


def _place(kinds: NDArray[Any], extent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centre of a patch: on a cell if one is found, moved inside so that little is mirrored."""
    shape = np.array(kinds.shape)
    place = rng.random(2) * shape
    for _ in range(_TRIES):
        y, x = place.astype(int)
        if kinds[y, x] == CELL:
            break
        place = rng.random(2) * shape
    margin = np.minimum(extent * rng.uniform(0.3, 0.5), shape / 2)
    jitter = rng.uniform(-0.25, 0.25, 2) * extent
    result: NDArray[np.float64] = np.clip(place + jitter, margin, shape - margin)
    return result


def grid(size: int, matrix: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float32]:
    """Source coordinates (2, size, size) of each pixel of a patch centred at ``place``."""
    steps = np.arange(size) - (size - 1) / 2
    y = matrix[0, 0] * steps[:, None] + matrix[0, 1] * steps[None, :] + place[0]
    x = matrix[1, 0] * steps[:, None] + matrix[1, 1] * steps[None, :] + place[1]
    return np.stack([y, x]).astype(np.float32)


def bilinear(pixels: NDArray[np.generic], where: Pixels) -> Pixels:
    """Sample ``(Y, X, C)`` pixels at coordinates ``(2, P, P)``; mirrored beyond the frame."""
    height, width = pixels.shape[:2]
    y = _mirror(where[0], height)
    x = _mirror(where[1], width)
    y0, x0 = np.floor(y), np.floor(x)
    fy, fx = (y - y0)[..., None], (x - x0)[..., None]
    y0, x0 = y0.astype(np.intp), x0.astype(np.intp)
    y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
    top, left = int(y0.min()), int(x0.min())
    window = np.asarray(pixels[top : int(y1.max()) + 1, left : int(x1.max()) + 1], np.float32)
    flat = window.reshape(-1, window.shape[2])
    above, below = (y0 - top) * window.shape[1], (y1 - top) * window.shape[1]
    x0, x1 = x0 - left, x1 - left
    upper = _blend(flat.take(above + x0, axis=0), flat.take(above + x1, axis=0), fx)
    lower = _blend(flat.take(below + x0, axis=0), flat.take(below + x1, axis=0), fx)
    return _blend(upper, lower, fy)


def _blend(a: Pixels, b: Pixels, share: Pixels) -> Pixels:
    """Go from ``a`` to ``b`` by a share, using up both."""
    b -= a
    b *= share
    a += b
    return a


def _mirror(at: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    period = max(2 * (length - 1), 1)
    folded = np.abs(at) % period
    result: NDArray[np.float32] = np.clip(np.minimum(folded, period - folded), 0, length - 1)
    return result


def nearest_maps(
    maps: NDArray[np.generic], where: NDArray[np.float32], turn: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Sample packed maps and turn their flow with the patch.

    Returns
    -------
    kind
        int8 ``(P, P)``; ignored beyond the frame.
    maps
        float32 ``(3, P, P)``: flow y, flow x, log2(diameter in packed pixels).
    """
    picked, inside = nearest(maps, where)
    kind = np.where(inside, picked[..., 0], IGNORE).astype(np.int8)
    flow = picked[..., 1:3].astype(np.float32) / np.float32(FLOW_UNIT)
    out = np.empty((3, *kind.shape), np.float32)
    # where = turn @ patch coordinates / zoom, so directions go back by the inverse.
    back = np.linalg.inv(turn).astype(np.float32)
    out[0] = flow[..., 0] * back[0, 0] + flow[..., 1] * back[0, 1]
    out[1] = flow[..., 0] * back[1, 0] + flow[..., 1] * back[1, 1]
    length = np.hypot(out[0], out[1])
    out[:2] /= np.maximum(length, 1e-6)
    out[2] = picked[..., 3].astype(np.float32) / np.float32(OCTAVE_UNIT)
    return kind, out


def nearest(
    maps: NDArray[np.generic], where: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pick maps ``(Y, X, C)`` at coordinates ``(2, P, P)``, and say which are inside the frame."""
    height, width = maps.shape[:2]
    y, x = np.rint(where[0]).astype(np.intp), np.rint(where[1]).astype(np.intp)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return maps[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], inside

"""(b) Distance and boundary with a watershed.

The network says how deep inside its cell a pixel is (0 at the rim, 1 at the deepest place) and
whether it lies on the rim. Seeds are connected deep places without rims; a watershed floods the
foreground from them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from representations.base import (
    SURE,
    Maps,
    Options,
    Representation,
    cross_entropy,
    drop_small,
    logit,
    mean_over,
    relative,
    rim_distance,
)
from scipy import ndimage
from skimage.segmentation import watershed
from torch import Tensor

from cellrim.core.labels import Labels, relabel

RIM = 1.5
"""Pixels at most so far from the outside are rim, at the scale of the maps."""
DEPTH_WEIGHT = 4.0
LEAST_SEED = 3
# Depths far from the rim need not be told apart: stored in quarters of a pixel.
_FARTHEST = 31.0


class Watershed(Representation):
    name: ClassVar[str] = "watershed"
    count: ClassVar[int] = 2
    units: ClassVar[tuple[float, ...]] = (4.0, 127.0)
    tried: ClassVar[dict[str, tuple[float, ...]]] = {
        "depth": (0.5, 0.1, 0.2, 0.3, 0.4),
        "rim": (0.5, 0.3),
    }

    def describe(self, labels: Labels) -> Maps:
        pieces, distance = rim_distance(labels)
        return np.stack([np.minimum(distance, _FARTHEST), relative(pieces, distance)])

    def target(self, packed: Maps, turn: NDArray[np.float64], *, zoom: float) -> Maps:
        del turn
        return rim_and_depth(packed, zoom)

    def loss(self, maps: Tensor, cell: Tensor, known: Tensor, target: Tensor) -> Tensor:
        del cell
        return rim_and_depth_loss(maps, known, target)

    def perfect(self, target: Maps) -> Maps:
        return np.stack([np.where(target[0] > 0, SURE, -SURE), target[1]])

    def decode(self, maps: Maps, options: Options) -> Labels:
        foreground = maps[0] > 0
        seeds = seeds_of(maps[1], maps[2], foreground, options)
        grown = watershed(-maps[2], seeds, mask=foreground)
        return relabel(drop_small(grown.astype(np.int32)))


def rim_and_depth(packed: Maps, zoom: float) -> Maps:
    """Rim (0 or 1) and relative depth from packed distance and depth."""
    rim = (packed[0] > 0) & (packed[0] * zoom <= RIM)
    return np.stack([rim, packed[1]]).astype(np.float32)


def rim_and_depth_loss(maps: Tensor, known: Tensor, target: Tensor) -> Tensor:
    rim = mean_over(cross_entropy(maps[:, 0], target[:, 0]), known)
    depth = mean_over((maps[:, 1] - target[:, 1]).square(), known)
    return rim + DEPTH_WEIGHT * depth


def seeds_of(rim: Maps, depth: Maps, foreground: NDArray[np.bool_], options: Options) -> Labels:
    """Connected deep places (ids 1..n) off the rims, specks left out."""
    limit = float(logit(np.array(options["rim"])))
    places = foreground & (rim < limit) & (depth > options["depth"])
    seeds, _ = ndimage.label(places, structure=np.ones((3, 3), bool))
    return relabel(drop_small(seeds.astype(np.int32), LEAST_SEED))

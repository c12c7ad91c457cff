"""(c) Star-convex polygons: 32 distances to the rim, with the true StarDist code around them.

Schmidt et al., MICCAI 2018: ``stardist`` computes the distances, picks the polygons (non-maximum
suppression) and draws them; none of that needs TensorFlow. The network has our two common maps
besides, and StarDist's object probability: the distance to the rim, normalised in each cell.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from representations.base import (
    LEAST_AREA,
    Maps,
    Options,
    Representation,
    cross_entropy,
    drop_small,
    logit,
    mean_over,
    relative,
    rim_distance,
    sigmoid,
)
from stardist.geometry import polygons_to_label, star_dist
from stardist.nms import non_maximum_suppression
from torch import Tensor

from cellrim.core.labels import Labels, relabel

RAYS = 32
RADIUS = 12.0
"""Distances are predicted in this unit of pixels, the canonical radius."""
DISTANCE_WEIGHT = 0.2 * RADIUS
"""StarDist's own weight, 0.2 for a pixel."""


class Star(Representation):
    name: ClassVar[str] = "star"
    count: ClassVar[int] = 1 + RAYS
    units: ClassVar[tuple[float, ...]] = (127.0, *(2.0,) * RAYS)
    dtype: ClassVar[type] = np.uint8
    tried: ClassVar[dict[str, tuple[float, ...]]] = {
        "probability": (0.3, 0.2, 0.4),
        "overlap": (0.4,),
    }

    def describe(self, labels: Labels) -> Maps:
        pieces, distance = rim_distance(labels)
        rays = star_dist(pieces, RAYS).transpose(2, 0, 1)
        return np.concatenate([relative(pieces, distance)[np.newaxis], rays]).astype(np.float32)

    def target(self, packed: Maps, turn: NDArray[np.float64], *, zoom: float) -> Maps:
        rays = turned_rays(packed[1:], turn)
        return np.concatenate([packed[:1], rays * np.float32(zoom / RADIUS)])

    def loss(self, maps: Tensor, cell: Tensor, known: Tensor, target: Tensor) -> Tensor:
        del cell
        deep = target[:, 0]
        probability = mean_over(cross_entropy(maps[:, 0], deep), known)
        off = (maps[:, 1:] - target[:, 1:]).abs().mean(1)
        distance = (off * deep).sum() / deep.sum().clamp(min=1)
        return probability + DISTANCE_WEIGHT * distance

    def perfect(self, target: Maps) -> Maps:
        return np.concatenate([logit(target[:1]), target[1:]])

    def decode(self, maps: Maps, options: Options) -> Labels:
        shape = (maps.shape[1], maps.shape[2])
        return self.labels(maps, shape, options)

    def labels(self, maps: Maps, shape: tuple[int, int], options: Options) -> Labels:
        """Draw the polygons at the size wanted: they need no maps between the pixels."""
        rays = np.maximum(maps[2:-1], 0).transpose(1, 2, 0) * np.float32(RADIUS)
        points, sure, chosen = non_maximum_suppression(
            rays,
            sigmoid(maps[1]),
            b=0,
            prob_thresh=options["probability"],
            nms_thresh=options["overlap"],
        )
        if not len(points):
            return np.zeros(shape, np.int32)
        scale = np.array(shape) / maps.shape[1:]
        drawn = polygons_to_label(
            chosen, (points + 0.5) * scale - 0.5, shape, prob=sure, scale_dist=tuple(scale)
        )
        return relabel(drop_small(drawn.astype(np.int32), max(1, int(LEAST_AREA * scale.prod()))))


def turned_rays(rays: Maps, turn: NDArray[np.float64]) -> Maps:
    """Distances (RAYS, Y, X) of the packed image as those of the turned patch.

    Ray k points along (sin, cos) of 2 pi k / RAYS in (y, x). Between two rays the distance is
    interpolated; quarter turns and reflections are exact.
    """
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    ahead = turn @ np.stack([np.sin(angle), np.cos(angle)])
    at = np.arctan2(ahead[0], ahead[1]) / (2 * np.pi) * RAYS
    low = np.floor(at + 1e-6).astype(int)
    weight = np.clip(at - low, 0, 1).astype(np.float32)[:, np.newaxis, np.newaxis]
    one, other = rays[low % RAYS], rays[(low + 1) % RAYS]
    # A ray of 0 is background: nothing to interpolate.
    return np.where((one > 0) & (other > 0), one * (1 - weight) + other * weight, 0)

"""What a representation is here: labels to maps, a loss, and maps to labels.

All share two maps, so that only what is between them differs: the first is the foreground logit,
the last log2 of the cell's diameter (an auxiliary task, as in the product).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from cellrim.core.labels import Labels
from cellrim.core.resize import resize
from cellrim.prediction.rescale import labels_at_size
from cellrim.representation.encode import encode, pieces_of, rim_of

SURE = 10.0
"""Logit of a network that is certain."""
LEAST_AREA = 24
"""Smaller instances are dropped, as in the product; pixels at the scale of the maps."""

Options = Mapping[str, float]
Maps = NDArray[np.float32]


class Representation(ABC):
    """One way to write a label image as maps.

    Class attributes: ``name``; ``count``, the number of own maps; ``units``, one for each packed
    own map: values are stored as whole numbers of 1/unit; ``dtype`` of the packed maps;
    ``tried``, the decode options that are tried, the first of each being the default.
    """

    name: ClassVar[str]
    count: ClassVar[int]
    units: ClassVar[tuple[float, ...]]
    dtype: ClassVar[type] = np.int8
    tried: ClassVar[dict[str, tuple[float, ...]]]

    @property
    def outputs(self) -> int:
        """Channels of the network's head."""
        return self.count + 2

    @property
    def defaults(self) -> Options:
        """The first option of each."""
        return {name: values[0] for name, values in self.tried.items()}

    @abstractmethod
    def describe(self, labels: Labels) -> Maps:
        """Own maps (units, Y, X) of a label image, as they are packed; lengths in its pixels."""

    def target(self, packed: Maps, turn: NDArray[np.float64], *, zoom: float) -> Maps:
        """Own maps (units, P, P) of a patch as the loss wants them (count, P, P).

        The patch is the packed image turned by ``turn`` (2, 2), a rotation or reflection, and
        ``zoom`` times as large.
        """
        del turn, zoom
        return packed

    @abstractmethod
    def loss(self, maps: Tensor, cell: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """Loss of the own maps (B, count, H, W); ``cell`` and ``known`` are 0 or 1, (B, H, W)."""

    def perfect(self, target: Maps) -> Maps:
        """Own maps that a perfect network would give for a target."""
        return target

    @abstractmethod
    def decode(self, maps: Maps, options: Options) -> Labels:
        """Instances of maps (outputs, Y, X), at their size."""

    def labels(self, maps: Maps, shape: tuple[int, int], options: Options) -> Labels:
        """Instances at another size, with outlines from the interpolated foreground."""
        probability = sigmoid(maps[0])
        return labels_at_size(self.decode(maps, options), probability, shape, threshold=0.5)

    def encode(self, labels: Labels, *, foreground: Maps | None = None) -> Maps:
        """Maps (outputs, Y, X) of a perfect network.

        ``foreground`` is the probability where a pixel is partly covered; else 0 or 1.
        """
        whole = np.eye(2)
        own = self.perfect(self.target(self.describe(labels), whole, zoom=1.0))
        common = encode(labels, 1.0)
        first = common[0]
        if foreground is not None:
            first = logit(foreground)
        return np.concatenate([first[np.newaxis], own, common[3:]]).astype(np.float32)


def sigmoid(x: Any) -> Any:
    """Logit to probability."""
    return 1 / (1 + np.exp(-np.asarray(x, np.float32)))


def logit(probability: NDArray[Any]) -> Maps:
    """Probability to logit, at most :data:`SURE`."""
    edge = sigmoid(-SURE)
    inside = np.clip(probability, edge, 1 - edge)
    return np.log(inside / (1 - inside)).astype(np.float32)


def coverage(labels: Labels, shape: tuple[int, int]) -> Maps:
    """Share of each pixel of a smaller or larger image that is foreground."""
    return resize((labels > 0).astype(np.float32)[..., np.newaxis], shape)[..., 0]


def rim_distance(labels: Labels) -> tuple[Labels, Maps]:
    """Connected pieces, and the distance of each of their pixels to the next outside its piece.

    The frame of the image is no outside.
    """
    pieces = pieces_of(labels)
    distance = ndimage.distance_transform_edt(~rim_of(pieces)).astype(np.float32) + 1
    return pieces, np.where(pieces > 0, distance, 0).astype(np.float32)


def relative(pieces: Labels, distance: Maps) -> Maps:
    """Distance as a share of the largest one in each piece, 0..1."""
    largest = np.zeros(int(pieces.max()) + 1, np.float32)
    np.maximum.at(largest, pieces.ravel(), distance.ravel())
    return distance / np.maximum(largest, 1)[pieces]


def drop_small(labels: Labels, least: int = LEAST_AREA) -> Labels:
    """Leave out instances of fewer pixels."""
    keep = np.bincount(labels.ravel()) >= least
    keep[0] = False
    return np.where(keep[labels], labels, 0).astype(np.int32)


def mean_over(error: Tensor, where: Tensor) -> Tensor:
    """Mean of an error (B, H, W) over the pixels where a mask is 1."""
    return (error * where).sum() / where.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each pixel."""
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")

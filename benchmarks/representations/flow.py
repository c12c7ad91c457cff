"""(a) The flow to the centre, as in the product: the product's own code."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from representations.base import LEAST_AREA, Maps, Options, Representation, mean_over
from torch import Tensor

from cellrim.core.labels import Labels
from cellrim.representation.encode import encode
from cellrim.representation.flow import DecodeOptions, decode

WEIGHT = 4.0
"""The product's weight of the flow."""


class Flow(Representation):
    name: ClassVar[str] = "flow"
    count: ClassVar[int] = 2
    units: ClassVar[tuple[float, ...]] = (127.0, 127.0)
    tried: ClassVar[dict[str, tuple[float, ...]]] = {
        "sink_radius": (3, 1, 2),
        "foreground": (0.5, 0.4, 0.6),
    }

    def describe(self, labels: Labels) -> Maps:
        return encode(labels, 1.0)[1:3]

    def target(self, packed: Maps, turn: NDArray[np.float64], *, zoom: float) -> Maps:
        del zoom
        return turned(packed, turn)

    def loss(self, maps: Tensor, cell: Tensor, known: Tensor, target: Tensor) -> Tensor:
        del cell
        return flow_loss(maps, known, target)

    def decode(self, maps: Maps, options: Options) -> Labels:
        return decode(
            maps,
            DecodeOptions(
                foreground_threshold=options["foreground"],
                sink_radius=int(options["sink_radius"]),
                min_area=LEAST_AREA,
            ),
        )


def turned(flow: Maps, turn: NDArray[np.float64]) -> Maps:
    """Vectors (2, Y, X) of the packed image as those of the patch."""
    back = turn.T.astype(np.float32)
    return np.tensordot(back, flow, axes=1)


def flow_loss(maps: Tensor, known: Tensor, target: Tensor) -> Tensor:
    return WEIGHT * mean_over((maps - target).square().sum(1), known)

"""Other ways to look at an image that are as good as any: turned, and moved by a few pixels.

What a network finds moves from view to view by chance: numbers are rounded otherwise, and its
coarse pixels lie elsewhere. What is judged by several views is judged with less of that chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.prediction.accurate import ORIENTATIONS, Orientation

# The stride of the networks: moved so far, an image lies as before.
_STRIDE = 32


@dataclass(frozen=True)
class View:
    """An image turned, then moved down and right by some pixels."""

    orientation: Orientation
    down: int = 0
    right: int = 0

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Show an image ``YXC``; where it was moved from, its mirror image."""
        frame = ((self.down, 0), (self.right, 0), (0, 0))
        return np.pad(self.orientation.turn(pixels), frame, mode="symmetric")

    def back(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Bring labels ``YX`` of the view back to the image."""
        moved = labels[np.newaxis, self.down :, self.right :]
        return np.ascontiguousarray(self.orientation.place_back(moved)[0])


PLAIN = View(ORIENTATIONS[0])
"""The image as it is."""


def make_views(count: int) -> list[View]:
    """Return that many views: the image as it is, its other orientations, then moved ones."""
    return list(islice(_views(), count))


def _views() -> Iterator[View]:
    yield from map(View, ORIENTATIONS)
    rng = np.random.default_rng(0)
    while True:
        for orientation in ORIENTATIONS:
            yield View(orientation, *rng.integers(1, _STRIDE, 2).tolist())

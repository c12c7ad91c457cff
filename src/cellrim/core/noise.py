"""How strong the noise of an image is, measured on the image itself.

J. Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996):
the second difference along both axes cancels all that is smooth. Of its magnitude a low quantile
is taken instead of the mean, so that edges count for nothing as long as a fifth of the pixels is
away from any. Where the noise is less than the step between grey values it comes out as 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUANTILE = 0.2
# That quantile of the magnitude of the mask's response to Gaussian noise of standard deviation 1.
_RESPONSE = 6 * 0.25335
# Of larger images a regular grid of about so many places is measured: the others say the same.
_PLACES = 250_000


class NoiseTally:
    """Measures the noise of each channel of an image that comes in parts.

    Parameters
    ----------
    shape
        Height and width of the whole image.
    channels
        Numbers of the channels to measure.
    """

    def __init__(self, shape: tuple[int, int], channels: Sequence[int]) -> None:
        self._channels = list(channels)
        self._step = max(1, math.isqrt(shape[0] * shape[1] // _PLACES))
        self._found: list[NDArray[np.float32]] = []

    def add(self, pixels: NDArray[Any]) -> None:
        """Take in one part, axes ``YXC``, with all channels of the image."""
        lines = pixels.shape[0] - 2
        if lines < 1 or pixels.shape[1] < 3:
            return
        above, middle, below = (
            pixels[k : lines + k : self._step][..., self._channels].astype(np.float32)
            for k in range(3)
        )
        places = pixels.shape[1] - 2
        with np.errstate(over="ignore", invalid="ignore"):
            bent = above - 2 * middle + below
            left, middle, right = (bent[:, k : places + k : self._step] for k in range(3))
            both = np.abs(left - 2 * middle + right)
        self._found.append(both.reshape(-1, len(self._channels)))

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of the noise of each channel, in units of the pixels.

        0 for a channel of which nothing is finite, and where there was too little to measure.
        """
        found = np.concatenate([np.zeros((0, len(self._channels)), np.float32), *self._found])
        return tuple(_low(column[np.isfinite(column)]) / _RESPONSE for column in found.T)


def _low(values: NDArray[np.float32]) -> float:
    return float(np.quantile(values, _QUANTILE)) if values.size else 0.0

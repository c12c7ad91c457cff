"""From raw intensities to what the network sees: three channels, brought to one range.

The range is measured once on the whole image, so that tiles agree with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError

NETWORK_CHANNELS = 3
LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.8
# Values this far outside of the measured range carry no shape, only glare and dead pixels.
CLIP = (-0.5, 2.0)
# A range of fewer standard deviations of the noise than this is not stretched over the whole of
# 0..1: what would be seen is noise and dust (docs/decisions/0011-one-form.md).
LEAST_CONTRAST = 16.0
# More pixels than this do not change a percentile by a visible amount.
MAX_MEASURED_PIXELS = 2_000_000


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """Low and high intensity of each channel, in raw units; equal where a channel is constant.

    Where the low one is above the high one, bright and dark are exchanged.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def constant(self) -> bool:
        """Whether no channel shows anything."""
        return self.low == self.high

    def select(self, positions: Sequence[int]) -> IntensityRange:
        """Return the range of only these channels, in this order."""
        return IntensityRange(
            tuple(self.low[k] for k in positions), tuple(self.high[k] for k in positions)
        )


def measure_range(pixels: NDArray[Any]) -> IntensityRange:
    """Measure the intensity range of each channel.

    Parameters
    ----------
    pixels
        Axes ``YXC``. NaN and infinities are left out.

    Returns
    -------
    IntensityRange
        The 1st and 99.8th percentile of each channel; 0 and 0 for a channel without a finite
        value. Large images are thinned by a regular grid.
    """
    step = grid_step((pixels.shape[0], pixels.shape[1]))
    return range_of([pixels[::step, ::step, c] for c in range(pixels.shape[2])])


def grid_step(shape: tuple[int, int]) -> int:
    """Return the step of the regular grid that an image of this shape is measured on."""
    return max(1, int(np.ceil(np.sqrt(shape[0] * shape[1] / MAX_MEASURED_PIXELS))))


def range_of(
    channels: Sequence[NDArray[Any]],
    *,
    inverted: bool = False,
    noise: Sequence[float] | None = None,
) -> IntensityRange:
    """Measure the intensity range of each channel by the pixels of the grid, in any order.

    Parameters
    ----------
    channels
        The pixels of each channel.
    inverted
        Whether to exchange bright and dark: the range is that of the negative image.
    noise
        Standard deviation of the noise of each channel, to which the range is then wide enough
        (:data:`LEAST_CONTRAST`); nothing is known of it where None.
    """
    percentiles = (LOW_PERCENTILE, HIGH_PERCENTILE)
    if inverted:
        percentiles = (100 - HIGH_PERCENTILE, 100 - LOW_PERCENTILE)
    low, high = [], []
    for values, deviation in zip(channels, noise or [0.0] * len(channels), strict=True):
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size == 0:
            low.append(0.0)
            high.append(0.0)
            continue
        a, b = percentiles_of(values, percentiles)
        if a == b:  # a few bright cells on a constant ground
            a, b = float(values.min()), float(values.max())
        elif b - a < LEAST_CONTRAST * deviation:
            ground = float(np.median(values))
            wider = LEAST_CONTRAST * deviation / (b - a)
            a, b = ground - wider * (ground - a), ground + wider * (b - ground)
        low.append(float(a))
        high.append(float(b))
    low, high = (high, low) if inverted else (low, high)
    return IntensityRange(tuple(low), tuple(high))


def percentiles_of(values: NDArray[Any], percentiles: Sequence[float]) -> NDArray[Any]:
    """Return what ``numpy.percentile`` returns, for integers of 8 and 16 bits by counting.

    Parameters
    ----------
    values
        At least one, any axes and real dtype; not NaN.
    percentiles
        0..100.

    Notes
    -----
    Sorting, even in part, takes ten times as long as counting.
    """
    if values.dtype not in (np.uint8, np.uint16):
        by_sorting: NDArray[Any] = np.percentile(values, percentiles)
        return by_sorting
    up_to = np.cumsum(np.bincount(values.ravel()))
    place = (values.size - 1) * (np.asarray(percentiles, np.float64) / 100)
    before = np.floor(place)
    after = np.minimum(before + 1, values.size - 1)
    a, b = (np.searchsorted(up_to, at, side="right").astype(np.float64) for at in (before, after))
    share = place - before
    # As numpy does it, to the last bit.
    return np.where(share < 0.5, a + (b - a) * share, b - (b - a) * (1 - share))


def normalise(pixels: NDArray[Any], intensity: IntensityRange) -> NDArray[np.float32]:
    """Bring each channel to 0..1 over its range, clipped a little outside of it.

    Parameters
    ----------
    pixels
        Axes ``YXC``, any real dtype; NaN becomes 0.
    intensity
        The range measured on the whole image. A range from high to low gives the negative.

    Returns
    -------
    ndarray
        float32, axes ``YXC``. A constant channel is all zero.
    """
    low = np.asarray(intensity.low, np.float32)
    span = np.asarray(intensity.high, np.float32) - low
    scale = np.divide(1.0, span, out=np.zeros_like(span), where=span != 0)
    result: NDArray[np.float32] = pixels.astype(np.float32)
    result -= low
    result *= scale
    if pixels.dtype.kind == "f":
        np.nan_to_num(result, copy=False, nan=0.0, posinf=CLIP[1], neginf=CLIP[0])
    return np.clip(result, *CLIP, out=result)


def to_network(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring one, two or three channels to the three that the network takes.

    One channel is repeated, two get an empty third. The network is trained with channels in any
    order, so no channel has a fixed meaning.

    Parameters
    ----------
    normalised
        float32, axes ``YXC``.

    Returns
    -------
    ndarray
        float32, axes ``YXC``; to be read only, since one channel is not copied.

    Raises
    ------
    InputError
        If there are more than three channels: which to use is then the caller's choice.
    """
    count = normalised.shape[2]
    if count == NETWORK_CHANNELS:
        return normalised
    if count == 1:
        return np.broadcast_to(normalised, (*normalised.shape[:2], NETWORK_CHANNELS))
    if count == 2:
        # Channel by channel in memory, as the network takes it, not to be copied again.
        planes = np.zeros((NETWORK_CHANNELS, *normalised.shape[:2]), np.float32)
        planes[:count] = np.moveaxis(normalised, 2, 0)
        return np.moveaxis(planes, 0, 2)
    raise InputError(
        f"Expected one to three channels, but got {count}: choose which to use, "
        "for example channels=(0, 2)."
    )

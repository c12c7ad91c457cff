"""What the whole image says of its channels, gathered part by part: it need not be in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Readable
from cellrim.core.noise import NoiseTally
from cellrim.core.normalise import IntensityRange, grid_step, range_of
from cellrim.core.tiles import windows

# Edge of the parts that are read at a time.
_EDGE = 2048
# A grid of every so many pixels tells most channels apart at once.
_THIN = 16
# The range of pure noise is 5.2 of its standard deviations.
_NOISE = 7.0


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What some channels of an image show.

    Parameters
    ----------
    channels
        Their numbers in the image.
    constant
        Those whose pixels all have one value.
    copies
        Pairs whose pixels are the same, the smaller number first.
    grid
        Pixels on the regular grid that intensities are measured on, one row per channel.
    noise
        Standard deviation of the noise of each channel, in units of the pixels.
    """

    channels: tuple[int, ...]
    constant: frozenset[int]
    copies: frozenset[tuple[int, int]]
    grid: NDArray[Any]
    noise: tuple[float, ...]

    def of(self, channels: Sequence[int]) -> Survey:
        """Return what only these channels show, in this order."""
        return replace(
            self,
            channels=tuple(channels),
            grid=self.values(channels),
            noise=self._noise(channels),
        )

    @property
    def showing(self) -> tuple[int, ...]:
        """Channels that show something of their own: not constant, and no copy of one before.

        Those that show noise only are left out too, where another shows more.
        """
        kept: list[int] = []
        for c in self.channels:
            copied = any((min(c, other), max(c, other)) in self.copies for other in kept)
            if c not in self.constant and not copied:
                kept.append(c)
        if len(kept) < 2:
            return tuple(kept)
        return tuple([c for c in kept if not self._is_noise(c)] or kept)

    def _is_noise(self, channel: int) -> bool:
        shown = range_of(list(self.values([channel])))
        return shown.high[0] - shown.low[0] < _NOISE * self._noise([channel])[0]

    def _noise(self, channels: Sequence[int]) -> tuple[float, ...]:
        return tuple(self.noise[self.channels.index(c)] for c in channels)

    def values(self, channels: Sequence[int]) -> NDArray[Any]:
        """Return the pixels on the grid, one row per channel, in this order."""
        return self.grid[[self.channels.index(c) for c in channels]]

    def intensity(self, channels: Sequence[int], *, inverted: bool = False) -> IntensityRange:
        """Return the intensity range of some channels, in this order, wide enough for their noise.

        Parameters
        ----------
        channels
            Numbers in the image.
        inverted
            Whether to exchange bright and dark.
        """
        return range_of(list(self.values(channels)), inverted=inverted, noise=self._noise(channels))


def survey(
    image: Readable,
    channels: Sequence[int],
    *,
    report: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look at every pixel of some channels once.

    Parameters
    ----------
    image
        The image.
    channels
        Numbers of the channels to look at, all different.
    report
        Called after each part with the number of parts done, and of all.

    Returns
    -------
    Survey
        The same whether the image is in memory or not.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read.
    """
    asked, step = list(channels), grid_step(image.shape)
    parts = list(windows(image.shape, _EDGE))
    first = image.read(slice(0, 1), slice(0, 1))[0, 0]
    constant = set(asked)
    copies = set(combinations(sorted(asked), 2))
    grid: list[NDArray[Any]] = []
    noise = NoiseTally(image.shape, asked)
    for number, (rows, columns) in enumerate(parts, start=1):
        pixels = image.read(rows, columns)
        constant = {c for c in constant if _equal(pixels[..., c], first[c])}
        copies = {(a, b) for a, b in copies if _equal(pixels[..., a], pixels[..., b])}
        thinned = pixels[-rows.start % step :: step, -columns.start % step :: step]
        noise.add(pixels)
        grid.append(np.moveaxis(thinned, 2, 0)[asked].reshape(len(asked), -1))
        if report is not None:
            report(number, len(parts))
    return Survey(
        channels=tuple(asked),
        constant=frozenset(constant),
        copies=frozenset(copies),
        grid=np.concatenate(grid, 1),
        noise=noise.deviations,
    )


def _equal(plane: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether a plane equals another, or everywhere one value; NaN is the same as NaN."""
    nan = plane.dtype.kind == "f"
    for grid in (slice(None, None, _THIN), slice(None)):
        compared = np.broadcast_to(other, plane.shape)[grid, grid]
        if not np.array_equal(plane[grid, grid], compared, equal_nan=nan):
            return False
    return True

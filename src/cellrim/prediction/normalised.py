"""An image as the network sees it: normalised, at the network's scale, part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Readable
from cellrim.core.normalise import IntensityRange, normalise
from cellrim.core.resize import FLOAT_PIXELS, resize_by_strips
from cellrim.core.tiles import Part, reflected

_FLOAT_PIXELS = FLOAT_PIXELS


class NormalisedImage:
    """An image, normalised, read part by part; a :class:`~cellrim.prediction.scale.Viewable`.

    Parameters
    ----------
    image
        The image, in memory or not.
    channels
        Which of its channels to use, in which order.
    intensity
        Their range on the whole image.
    """

    def __init__(
        self, image: Readable, channels: tuple[int, ...], intensity: IntensityRange
    ) -> None:
        self.shape = image.shape
        self._image, self._channels, self._intensity = image, list(channels), intensity

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return some rows and columns, axes ``YXC``."""
        return self._normalised(self._image.read(rows, columns))

    def thinned(self, part: Part, *, step: int) -> NDArray[np.float32]:
        """Return every step-th pixel of some rows and columns, axes ``YXC``."""
        rows, columns = part
        width = columns.stop - columns.start
        height = max(step, _FLOAT_PIXELS // width // step * step)
        return np.concatenate(
            [
                self._normalised(
                    self._image.read(slice(y, min(y + height, rows.stop)), columns)[::step, ::step]
                )
                for y in range(rows.start, rows.stop, height)
            ]
        )

    def resized(self, part: Part, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return some rows and columns brought to a size, axes ``YXC``."""
        rows, columns = part
        inner = (rows.stop - rows.start, columns.stop - columns.start)

        def read(y: slice, x: slice) -> NDArray[np.float32]:
            return self.read(
                slice(y.start + rows.start, y.stop + rows.start),
                slice(x.start + columns.start, x.stop + columns.start),
            )

        return resize_by_strips(
            read, inner, shape=shape, window=_whole(shape), pixels=_FLOAT_PIXELS
        )

    def window(self, tile: Part, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return a part of the image brought to a size, continued by reflection beyond it."""
        index = [reflected(part, n) for part, n in zip(tile, shape, strict=True)]
        rows, columns = (slice(int(i.min()), int(i.max()) + 1) for i in index)
        pixels = resize_by_strips(
            self.read, self.shape, shape=shape, window=(rows, columns), pixels=_FLOAT_PIXELS
        )
        for axis, (i, start) in enumerate(zip(index, (rows.start, columns.start), strict=True)):
            if len(i) != pixels.shape[axis]:
                pixels = np.take(pixels, i - start, axis=axis)
        return pixels

    def _normalised(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # the clip takes care of infinities
            return normalise(pixels[:, :, self._channels], self._intensity)


def _whole(shape: tuple[int, int]) -> Part:
    return slice(0, shape[0]), slice(0, shape[1])

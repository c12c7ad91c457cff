"""The image as cellrim sees it: pixels with axes ``YXC``, channel names, pixel size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellrim.core.tiles import windows
from cellrim.errors import InputError

AXES = ("YX", "YXC", "CYX")

RGB = ("red", "green", "blue")
"""Names of the channels of a colour image."""

# Edge of the squares in which an image is read that need not be in memory.
_EDGE = 2048


@dataclass(frozen=True, slots=True)
class Image:
    """One plane of a microscope image.

    Parameters
    ----------
    pixels
        Array with axes ``YXC``; dtype uint8, uint16 or float32. Channels are samples of the same
        field: grey has one, RGB three. No alpha channel.
    channels
        One name per channel.
    pixel_size
        Edge of a pixel in micrometres, where the file says so.

    Raises
    ------
    InputError
        If the axes, the dtype or the number of channel names do not fit.
    """

    pixels: NDArray[Any]
    channels: tuple[str, ...]
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3:
            raise InputError(f"Expected pixels with axes YXC, but got shape {self.pixels.shape}.")
        if self.pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise InputError(
                f"Expected uint8, uint16 or float32 pixels, but got {self.pixels.dtype}."
            )
        if self.pixels.shape[2] != len(self.channels):
            raise InputError(
                f"Expected {self.pixels.shape[2]} channel names, but got {self.channels}."
            )
        if self.pixels.size == 0:
            raise InputError(f"Expected at least one pixel, but got shape {self.pixels.shape}.")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``, as images on the disk do."""
        return self.pixels[rows, columns]

    def select(self, channels: tuple[int, ...]) -> Image:
        """Return the image with only these channels, in this order.

        Raises
        ------
        InputError
            If a channel does not exist.
        """
        count = len(self.channels)
        if not channels or not all(0 <= c < count for c in channels):
            raise InputError(
                f"Expected channels between 0 and {count - 1}, but got {list(channels)}."
            )
        picked = list(channels)
        return replace(
            self,
            pixels=np.ascontiguousarray(self.pixels[:, :, picked]),
            channels=tuple(self.channels[c] for c in picked),
        )


class Readable(Protocol):
    """An image that is read part by part, in memory or not."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """One name per channel."""
        ...

    @property
    def pixel_size(self) -> float | None:
        """Edge of a pixel in micrometres, where known."""
        ...

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        ...


def thinned(image: Readable, step: int) -> NDArray[Any]:
    """Return every step-th pixel along both axes, axes ``YXC``; the rest is in memory in turns.

    Parameters
    ----------
    image
        The image, in memory or not.
    step
        At least 1; the first pixel is always among them.

    Examples
    --------
    >>> thinned(image_from_array(np.arange(12.0).reshape(3, 4)), 2)[..., 0]
    array([[ 0.,  2.],
           [ 8., 10.]], dtype=float32)
    """
    height, width = (-(-n // step) for n in image.shape)
    first = image.read(slice(0, 1), slice(0, 1))
    pixels = np.empty((height, width, first.shape[2]), first.dtype)
    for rows, columns in windows(image.shape, step * max(1, _EDGE // step)):
        part = image.read(rows, columns)[::step, ::step]
        y, x = rows.start // step, columns.start // step
        pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
    return pixels


def image_from_array(
    array: ArrayLike,
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    pixel_size: float | None = None,
) -> Image:
    """Make an :class:`Image` of an array.

    Parameters
    ----------
    array
        Two- or three-dimensional; any real dtype. Values are kept, never rescaled: bool becomes
        uint8, other integers the narrowest of uint8, uint16 and float32 that holds the dtype.
    axes
        ``YX``, ``YXC`` or ``CYX``. May be left out for two dimensions only, since an array of
        three is ambiguous.
    channels
        Channel names; ``grey``, ``red green blue`` or ``channel 0`` ... where left out.
    pixel_size
        Micrometres per pixel, if known.

    Raises
    ------
    InputError
        If the array is empty or complex, or the axes are missing, unknown or of another length.

    Examples
    --------
    >>> image_from_array(np.zeros((4, 5), np.uint8)).pixels.shape
    (4, 5, 1)
    """
    pixels = np.asarray(array)
    if axes is None:
        if pixels.ndim != 2:
            raise InputError(
                f"Expected axes for an array of shape {pixels.shape}, but got none: "
                "say axes='YXC' or axes='CYX'."
            )
        axes = "YX"
    if axes not in AXES:
        raise InputError(f"Expected axes to be one of {', '.join(AXES)}, but got {axes!r}.")
    if pixels.ndim != len(axes):
        raise InputError(
            f"Expected {len(axes)} dimensions for axes {axes}, but got shape {pixels.shape}."
        )
    if axes == "YX":
        pixels = pixels[:, :, np.newaxis]
    elif axes == "CYX":
        pixels = np.moveaxis(pixels, 0, 2)
    count = pixels.shape[2]
    if channels is None:
        names = {1: ("grey",), 3: RGB}
        channels = names.get(count, tuple(f"channel {i}" for i in range(count)))
    return Image(np.ascontiguousarray(_supported(pixels)), channels, pixel_size)


def _supported(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype in (np.uint8, np.uint16, np.float32):
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.integer) or np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32)
    raise InputError(f"Expected real numbers, but got dtype {pixels.dtype}.")

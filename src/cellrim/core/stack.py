"""Many planes of one file: time points and slices, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from cellrim.core.image import Image
from cellrim.errors import InputError

PLANE_AXES = "TZ"
"""Axes along which an image file holds several planes: time and depth, OME letters."""

Projection = Literal["max"]


@dataclass(frozen=True, slots=True)
class Index:
    """Where a plane lies in its stack, counted from 0; 0 along an axis the stack lacks."""

    t: int = 0
    z: int = 0

    def along(self, axis: str) -> int:
        """Position along ``T`` or ``Z``."""
        return {"T": self.t, "Z": self.z}[axis]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a file says about its sampling; None where it does not.

    Parameters
    ----------
    pixel_size
        Edge of a pixel, which is square, in micrometres.
    z_step
        Distance of two slices in micrometres.
    time_step
        Time between two frames in seconds.
    """

    pixel_size: float | None = None
    z_step: float | None = None
    time_step: float | None = None


NOT_CALIBRATED = Calibration()


@dataclass(frozen=True, slots=True)
class Stack:
    """The planes of one image file. Holds no pixels: each plane is read when asked for.

    Parameters
    ----------
    axes
        Axes with several planes, slowest first as in the file: "", ``T``, ``Z``, ``TZ`` or ``ZT``.
    lengths
        Planes along each of them.
    shape
        Height and width of every plane, in pixels.
    channels
        One name per channel, the same for every plane.
    read
        Reads one plane, all channels.
    calibration
        Pixel size, distance of the slices and time between the frames.

    Raises
    ------
    InputError
        If the axes and the lengths do not fit.
    """

    axes: str
    lengths: tuple[int, ...]
    shape: tuple[int, int]
    channels: tuple[str, ...]
    read: Callable[[Index], Image] = field(repr=False)
    calibration: Calibration = NOT_CALIBRATED

    def __post_init__(self) -> None:
        known = set(self.axes) <= set(PLANE_AXES) and len(set(self.axes)) == len(self.axes)
        if not known or len(self.lengths) != len(self.axes) or min(self.lengths, default=1) < 1:
            raise InputError(
                f"Expected axes out of {PLANE_AXES} with a length each, but got "
                f"{self.axes!r} and {self.lengths}."
            )

    def __len__(self) -> int:
        """Count the planes."""
        return int(np.prod(self.lengths, dtype=np.int64))

    def length(self, axis: str) -> int:
        """Planes along ``T`` or ``Z``; 1 where the stack lacks the axis."""
        return self.lengths[self.axes.index(axis)] if axis in self.axes else 1

    def indices(self) -> Iterator[Index]:
        """Go over the planes in the order of the file."""
        for at in np.ndindex(self.lengths):
            named = dict(zip(self.axes.lower(), at, strict=True))
            yield Index(**named)

    def project(self, how: Projection) -> Stack:
        """Return the stack with one plane in place of its slices, the brightest of each pixel.

        Slices are read one at a time, so that two of them are held at most.
        """
        if how != "max":
            raise InputError(f"Expected the projection 'max', but got {how!r}.")
        if "Z" not in self.axes:
            return self
        depth, kept = self.length("Z"), self.axes.index("Z")

        def read(index: Index) -> Image:
            first = self.read(Index(index.t, 0))
            pixels = first.pixels
            for z in range(1, depth):
                pixels = np.fmax(pixels, self.read(Index(index.t, z)).pixels)
            return replace(first, pixels=pixels)

        return replace(
            self,
            axes=self.axes.replace("Z", ""),
            lengths=self.lengths[:kept] + self.lengths[kept + 1 :],
            read=read,
        )


def stack_of(image: Image) -> Stack:
    """Return an image as a stack of one plane."""
    return Stack(
        "",
        (),
        image.shape,
        image.channels,
        read=lambda _: image,
        calibration=Calibration(image.pixel_size),
    )

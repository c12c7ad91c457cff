"""Tiles: how a large image goes through the network piece by piece, without seams.

Tiles start at multiples of the network's stride, so that pixels fall on the same places of its
grid whatever the tiling, and overlap by a halo whose results are thrown away. Each pixel's result
comes from exactly one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError

Part = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile.

    Parameters
    ----------
    read
        Rows and columns that go through the network, halo included. May end outside of the
        image, where it continues by reflection.
    core
        Rows and columns of the image whose result comes from this tile.
    """

    read: tuple[slice, slice]
    core: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core, counted from the beginning of ``read``."""
        (ry, rx), (cy, cx) = self.read, self.core
        return (
            slice(cy.start - ry.start, cy.stop - ry.start),
            slice(cx.start - rx.start, cx.stop - rx.start),
        )


def plan_tiles(shape: tuple[int, int], *, size: int, halo: int, multiple: int) -> tuple[Tile, ...]:
    """Cut an image into the tiles that read the fewest pixels.

    Halos are read twice, so the cut matters: an image of 2048 x 2048 costs 16 % more than itself in
    two long tiles and 33 % in four square ones (halo 160).

    Parameters
    ----------
    shape
        Height and width of the image, in pixels.
    size
        What goes through the network at once has at most the pixels of a square of this edge,
        rounded down to ``multiple``.
    halo
        Context around each core; rounded up to ``multiple``. The frame of the image gets none, so
        that it looks the same to the network whatever the tiling.
    multiple
        Edges of all tiles are multiples of it.

    Returns
    -------
    tuple of Tile
        Row by row; the cores cover each pixel exactly once.

    Raises
    ------
    InputError
        If the image is empty, or a square tile is too small to have a core.

    Examples
    --------
    >>> [t.core[1] for t in plan_tiles((60, 100), size=64, halo=8, multiple=8)]
    [slice(0, 48, None), slice(48, 100, None)]
    """
    if min(shape) < 1:
        raise InputError(f"Expected at least one pixel, but got shape {shape}.")
    halo = -(-halo // multiple) * multiple
    edge = size // multiple * multiple
    if edge < 2 * halo + multiple:
        raise InputError(
            f"Expected tiles of at least {2 * halo + multiple} pixels (halo {halo}), "
            f"but got {size}."
        )
    down, across = (_cuts(n, edge, halo, multiple) for n in shape)
    fitting = [(y, x) for y in down for x in across if y.longest * x.longest <= edge**2]
    rows, columns = min(fitting, key=lambda cut: cut[0].total * cut[1].total)
    return tuple(
        Tile((read_y, read_x), (core_y, core_x))
        for read_y, core_y in rows.parts
        for read_x, core_x in columns.parts
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """One way to cut an axis: what is read and what is kept of each part."""

    parts: list[tuple[slice, slice]]
    longest: int
    total: int


def _cuts(length: int, edge: int, halo: int, multiple: int) -> list[_Cut]:
    """Cuts of an axis into equal parts, from one part to twice as many as squares need."""
    units = -(-length // multiple)
    squares = -(-units * multiple // (edge - 2 * halo))
    return [_cut(length, halo, multiple, count) for count in range(1, min(units, 2 * squares) + 1)]


def _cut(length: int, halo: int, multiple: int, count: int) -> _Cut:
    units = -(-length // multiple)
    frame = units * multiple
    bounds = [round(i * units / count) * multiple for i in range(count + 1)]
    parts = [
        (slice(max(0, a - halo), min(frame, b + halo)), slice(a, min(b, length)))
        for a, b in pairwise(bounds)
    ]
    read = [part.stop - part.start for part, _ in parts]
    return _Cut(parts, max(read), sum(read))


def read_tile(image: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """Return the pixels of a tile, continued by reflection where it ends outside of the image.

    Parameters
    ----------
    image
        Axes ``YX`` or ``YXC``.
    tile
        One of :func:`plan_tiles` for the image's shape.
    """
    for axis, part in enumerate(tile.read):
        length = image.shape[axis]
        if part.stop <= length:
            image = image[(slice(None),) * axis + (part,)]
        else:
            image = np.take(image, reflected(part, length), axis=axis)
    return image


def reflected(part: slice, length: int) -> NDArray[np.intp]:
    """Return the indices of a range that goes on as in a mirror; the ends are not repeated.

    Examples
    --------
    >>> reflected(slice(2, 7), 5)
    array([2, 3, 4, 3, 2])
    """
    period = max(1, 2 * (length - 1))
    index = np.arange(part.start, part.stop) % period
    return np.minimum(index, period - index) if length > 1 else index * 0


def stitch(
    image: NDArray[Any],
    tiles: tuple[Tile, ...],
    *,
    channels: int,
    run: Callable[[NDArray[Any]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Run a function over the tiles of an image and put the results together.

    Parameters
    ----------
    image
        Axes ``YX`` or ``YXC``.
    tiles
        From :func:`plan_tiles`.
    channels
        Number of maps the function returns.
    run
        Takes a tile's pixels, axes as the image; returns float32 maps ``CYX`` of its size.

    Returns
    -------
    ndarray
        float32, axes ``CYX``, the size of the image.
    """

    def core_of(tile: Tile) -> NDArray[np.float32]:
        return run(read_tile(image, tile))[:, *tile.inner]

    if len(tiles) == 1:  # nothing to put together
        return np.ascontiguousarray(core_of(tiles[0]))
    maps = np.empty((channels, *image.shape[:2]), np.float32)
    for tile in tiles:
        maps[:, *tile.core] = core_of(tile)
    return maps


def windows(shape: tuple[int, int], edge: int) -> Iterator[tuple[slice, slice]]:
    """Cut an image into squares of this edge, row by row."""
    height, width = shape
    for y, x in product(range(0, height, edge), range(0, width, edge)):
        yield slice(y, min(y + edge, height)), slice(x, min(x + edge, width))

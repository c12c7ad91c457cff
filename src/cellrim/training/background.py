"""Background of real images, shown alone: what a network must not take for cells.

An image without a cell is stretched until dust, debris and the grain of the ground have the
contrast of cells. A network that has only seen ground beside cells, in the range that the cells
set, has never met it so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.datasets.base import Truth

Square = tuple[slice, slice]

# Pixels between a crop and the nearest cell: outlines by hand leave out a little.
MARGIN = 8
LEAST_EDGE = 64
MOST_PER_IMAGE = 4


def background_crops(image: Image, truth: Truth) -> Iterator[Image]:
    """Cut the largest squares without a cell out of an image of which every cell is annotated."""
    occupied = truth.labels > 0
    if truth.ignore is not None:
        occupied = occupied | truth.ignore
    for rows, columns in empty_squares(occupied):
        pixels = np.ascontiguousarray(image.pixels[rows, columns])
        yield Image(pixels, image.channels, image.pixel_size)


def empty_squares(occupied: Labels | NDArray[np.bool_]) -> list[Square]:
    """Find the largest squares without an occupied pixel, a margin from any, not overlapping.

    Parameters
    ----------
    occupied
        Axes ``YX``, nonzero where something is.

    Returns
    -------
    list
        Rows and columns of at most four squares of at least 64 pixels edge, largest first.
    """
    taken = ndimage.binary_dilation(occupied, np.ones((3, 3), bool), iterations=MARGIN)
    squares: list[Square] = []
    for _ in range(MOST_PER_IMAGE):
        # The chessboard distance d at a pixel: the square of edge 2d - 1 around it is free.
        free = ndimage.distance_transform_cdt(np.pad(~taken, 1), "chessboard")[1:-1, 1:-1]
        y, x = np.unravel_index(int(free.argmax()), free.shape)
        reach = int(free[y, x]) - 1
        if 2 * reach + 1 < LEAST_EDGE:
            break
        square = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
        taken[square] = True
        squares.append(square)
    return squares

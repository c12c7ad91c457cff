"""The squares that the labels of a large image are written in."""

from __future__ import annotations

from cellrim.core.tiles import Part, windows

EDGE = 1024
"""Edge of the squares, in pixels."""

At = tuple[int, int]
"""A square's place: which of the rows of squares, and which of the columns."""


def squares(shape: tuple[int, int]) -> list[At]:
    """Return the places of all squares of an image of this shape, row by row."""
    return [(y.start // EDGE, x.start // EDGE) for y, x in windows(shape, EDGE)]


def square(at: At, shape: tuple[int, int]) -> Part:
    """Return the rows and columns of one square of an image of this shape."""
    rows, columns = (
        slice(i * EDGE, min((i + 1) * EDGE, n)) for i, n in zip(at, shape, strict=True)
    )
    return rows, columns


def square_of(pixel: tuple[int, int]) -> tuple[At, tuple[int, int]]:
    """Return the square that a pixel lies in, and where in it."""
    y, x = pixel
    return (y // EDGE, x // EDGE), (y % EDGE, x % EDGE)

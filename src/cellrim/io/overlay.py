"""Pictures for people: an image with the outlines of its cells, and PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import RGB, Image
from cellrim.core.labels import Labels, median_diameter, relabel, touching
from cellrim.core.normalise import IntensityRange, measure_range, normalise
from cellrim.errors import InputError
from cellrim.io.atomic import atomic_path

Rgb = NDArray[np.uint8]

# Hues far from each other in every order, so that neighbours in the palette are told apart too.
# Light colours for dark images, dark ones for light images.
_LIGHT = np.array(
    [
        (255, 214, 0),
        (0, 229, 255),
        (255, 82, 160),
        (118, 255, 3),
        (255, 128, 0),
        (178, 136, 255),
        (29, 233, 182),
        (255, 82, 82),
    ],
    np.uint8,
)
_DARK = np.array(
    [
        (0, 84, 255),
        (214, 0, 28),
        (0, 121, 41),
        (150, 0, 190),
        (0, 106, 120),
        (190, 62, 0),
        (60, 40, 170),
        (160, 0, 96),
    ],
    np.uint8,
)
# Of the mean brightness (0..1) from which on an image counts as light.
_LIGHT_IMAGE = 0.6
# One channel white; two magenta and green, which colour-blind people can tell apart.
_CHANNEL_COLOURS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((1, 1, 1),),
    2: ((1, 0, 1), (0, 1, 0)),
    3: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
_MORE_COLOURS = (
    (0, 0.45, 1),
    (0, 1, 0),
    (1, 0, 0),
    (1, 0, 1),
    (1, 1, 0),
    (0, 1, 1),
    (1, 0.5, 0),
)
# A line is one pixel for each of these many pixels of the image's longer edge ...
_EDGE_PER_LINE = 1000
# ... but never more than this part of the cell's diameter.
_LINE_OF_DIAMETER = 1 / 10
# Pixels that are stretched at once: floats of so many stay in the processor's cache.
_STRIP_PIXELS = 100_000
# Higher levels of compression take several times as long for a few percent of the size.
_PNG_LEVEL = 2
_COLOUR_ROUNDS = 16


def draw_overlay(image: Image, labels: Labels, *, nuclei: Labels | None = None) -> Rgb:
    """Draw a thin outline inside of each cell on the image.

    Parameters
    ----------
    image
        Any image; stretched for display by :func:`display`.
    labels
        int32, axes ``YX``, of the size of the image; 0 is background.
    nuclei
        int32, axes ``YX``, of the size of the image, with the ids of their cells; drawn too, each
        in the colour of its cell, and where it has none white (black on a light image).

    Returns
    -------
    ndarray
        uint8, axes ``YXC``, red green blue. Cells that touch have different colours (wherever
        eight colours suffice). Outlines are open where a cell is cut by the frame.

    Raises
    ------
    InputError
        If the sizes differ.

    Notes
    -----
    All cells are drawn at once: the cost is linear in pixels.
    """
    for given in (labels,) if nuclei is None else (labels, nuclei):
        if given.shape != image.shape:
            raise InputError(
                f"Expected labels of the image's shape {image.shape}, but got {given.shape}."
            )
    picture = display(image)
    step = max(1, min(image.shape) // 512)
    light = picture[::step, ::step].mean() > _LIGHT_IMAGE * 255
    compact = relabel(labels)
    line = outlines(compact, width=_line_width(compact))
    colours = (_DARK if light else _LIGHT)[_colour_numbers(compact)]
    picture[line] = colours[compact[line]]
    if nuclei is not None:
        _draw_nuclei(picture, nuclei, labels, colours=colours, light=bool(light))
    return picture


def _draw_nuclei(
    picture: Rgb, nuclei: Labels, labels: Labels, *, colours: Rgb, light: bool
) -> None:
    """Draw into the picture. ``colours`` has a row for 0 and for each cell in order of the ids."""
    line = outlines(nuclei)
    ids = np.unique(labels[labels > 0])
    at = np.searchsorted(ids, nuclei[line])
    known = at < len(ids)
    known[known] = ids[at[known]] == nuclei[line][known]
    alone = np.uint8(0 if light else 255)
    picture[line] = np.where(known[:, None], colours[np.where(known, at + 1, 0)], alone)


def display(image: Image) -> Rgb:
    """Turn an image of any channels and range into RGB for the eye.

    Parameters
    ----------
    image
        One channel becomes grey, two magenta and green, four and more the sum of their colours,
        each stretched from its 1st to its 99.8th percentile. RGB of 8 bits stays as it is; RGB of
        other types is stretched by one range for its three channels, which keeps the hues.

    Returns
    -------
    ndarray
        uint8, axes ``YXC``, red green blue; a new array. NaN is black.
    """
    pixels = image.pixels
    true_colour = image.channels == RGB
    if true_colour and pixels.dtype == np.uint8:
        return pixels.copy()
    intensity = measure_range(pixels)
    if true_colour:
        intensity = IntensityRange((min(intensity.low),) * 3, (max(intensity.high),) * 3)
    colours = _channel_colours(pixels.shape[2])
    result = np.empty((*image.shape, 3), np.uint8)
    for rows in _strips(image.shape):
        stretched = np.clip(normalise(pixels[rows], intensity), 0, 1)
        mixed = stretched if len(colours) == 1 else stretched @ colours  # one channel is white
        result[rows] = (np.minimum(mixed, 1) * 255 + 0.5).astype(np.uint8)
    return result


def outlines(labels: Labels, *, width: int = 1) -> NDArray[np.bool_]:
    """Mark the pixels of each instance that lie within ``width`` of another label.

    Parameters
    ----------
    labels
        Axes ``YX``.
    width
        Width of the line in pixels, >= 1.

    Returns
    -------
    ndarray
        bool, axes ``YX``; False in the background. The frame of the image is no other label.
    """
    inner = np.ones(labels.shape, bool)
    down = labels[1:] == labels[:-1]
    right = labels[:, 1:] == labels[:, :-1]
    inner[1:] &= down
    inner[:-1] &= down
    inner[:, 1:] &= right
    inner[:, :-1] &= right
    for step in range(1, width):
        inner = _eroded(inner, diagonal=step % 2 == 1)  # by turns, so that corners stay round
    return ~inner & (labels > 0)


def write_png(path: Path, rgb: NDArray[Any]) -> None:
    """Write a PNG file, whole or not at all.

    Parameters
    ----------
    path
        Where to; the folder is created where missing.
    rgb
        uint8 or uint16, axes ``YX`` (grey) or ``YXC`` (three channels).

    Raises
    ------
    InputError
        If the dtype or the axes do not fit.
    OutputError
        If the file cannot be written.
    """
    import imagecodecs

    if rgb.dtype not in (np.uint8, np.uint16):
        raise InputError(f"Expected uint8 or uint16 pixels for a PNG, but got {rgb.dtype}.")
    if rgb.ndim != 2 and not (rgb.ndim == 3 and rgb.shape[2] == 3):
        raise InputError(f"Expected a grey or RGB picture, but got shape {rgb.shape}.")
    with atomic_path(path) as partial:
        # All filters tried for each row take half as long again and save a twentieth.
        data = imagecodecs.png_encode(
            np.ascontiguousarray(rgb), level=_PNG_LEVEL, filter=imagecodecs.PNG.FILTER.UP
        )
        partial.write_bytes(data)


def _channel_colours(count: int) -> NDArray[np.float32]:
    if count in _CHANNEL_COLOURS:
        return np.array(_CHANNEL_COLOURS[count], np.float32)
    table = np.array(_MORE_COLOURS, np.float32)
    return table[np.arange(count) % len(table)]


def _strips(shape: tuple[int, int]) -> Iterator[slice]:
    height, width = shape
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _eroded(mask: NDArray[np.bool_], *, diagonal: bool) -> NDArray[np.bool_]:
    """Erode by a square or a cross of 3 pixels; what is outside of the frame counts as inside."""
    rows = mask.copy()
    rows[1:] &= mask[:-1]
    rows[:-1] &= mask[1:]
    source = rows if diagonal else mask
    result = rows.copy()
    result[:, 1:] &= source[:, :-1]
    result[:, :-1] &= source[:, 1:]
    return result


def _line_width(labels: Labels) -> int:
    """Width of the outlines: seen when the whole picture is shown, and thin beside the cells."""
    by_image: int = round(max(labels.shape) / _EDGE_PER_LINE)
    if by_image < 2 or not labels.any():
        return 1
    by_cells = int(median_diameter(labels) * _LINE_OF_DIAMETER)
    return max(1, min(by_image, by_cells))


def _colour_numbers(labels: Labels) -> NDArray[np.intp]:
    """Give each id the number of a colour, 0..7, so that touching instances differ.

    All instances start with their id modulo the palette. Then, some rounds long, one of each
    touching pair of one colour takes a colour that none of its neighbours has: the larger id and
    the smaller by turns, since one that has neighbours of all colours has to wait for the other.
    Two that move in one round may meet again; that is left to the next round.
    """
    count = len(_LIGHT)
    first, second = touching(labels)
    numbers = np.arange(int(labels.max(initial=0)) + 1) % count
    for turn in range(_COLOUR_ROUNDS):
        clash = numbers[first] == numbers[second]
        if not clash.any():
            break
        moving = np.unique((first if turn % 2 else second)[clash])
        taken = np.zeros((len(numbers), count), bool)
        taken[first, numbers[second]] = True
        taken[second, numbers[first]] = True
        wish = (np.arange(count) + moving[:, np.newaxis]) % count
        free = ~np.take_along_axis(taken[moving], wish, 1)
        choice = np.take_along_axis(wish, free.argmax(1)[:, np.newaxis], 1)[:, 0]
        numbers[moving] = np.where(free.any(1), choice, numbers[moving])
    return numbers

"""Corrections of a label image by hand: delete, merge, split, draw.

The functions compute a :class:`Change`, the new content of one rectangle, and touch nothing. All
coordinates are those of the picture: x to the right, y down, the centre of the first pixel at
(0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line as pixels_of_line

from cellrim.core.labels import Labels
from cellrim.errors import InputError
from cellrim.io.coco import fill_polygon

Point = tuple[float, float]
"""x, y."""

DRAWN_CONFIDENCE = 1.0
"""Confidence of cells that a person drew, split or merged."""

# Cells farther apart than this (pixels) are not joined: the gap would be guessed.
_JOINED_GAP = 4
# What a new border cuts off a neighbour is kept only when it is the neighbour's largest piece.
_SMALLEST_CELL = 4
_CROSS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels; ends exclusive."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True, slots=True)
class Change:
    """New content of one rectangle of a label image.

    Parameters
    ----------
    box
        Where.
    labels
        int32, axes ``YX``, of the shape of the box.
    confidence
        Ids that get another confidence; None for ids that are gone.
    """

    box: Box
    labels: Labels
    confidence: Mapping[int, float | None] = field(default_factory=dict)


# --------------------------------------------------------------------------- the corrections


def delete(labels: Labels, ids: Iterable[int]) -> Change:
    """Take cells away.

    Raises
    ------
    InputError
        If there is no such cell.
    """
    gone = _present(labels, ids)
    box = _box_of(labels, gone)
    part = labels[box.slices].copy()
    part[np.isin(part, gone)] = 0
    return Change(box, part, dict.fromkeys(gone))


def merge(labels: Labels, ids: Iterable[int]) -> Change:
    """Make one cell of several that touch or nearly touch; it keeps the smallest id.

    A narrow gap between them is filled.

    Raises
    ------
    InputError
        If there are fewer than two, one does not exist, or they lie apart.
    """
    joined = _present(labels, ids)
    if len(joined) < 2:
        raise InputError("Expected two cells or more to merge, but got one: select another one.")
    box = _box_of(labels, joined, margin=_JOINED_GAP)
    part = labels[box.slices].copy()
    mask = np.isin(part, joined)
    if ndimage.label(mask, np.ones((3, 3)))[1] > 1:
        mask |= _closed(mask) & (part == 0)
        mask = _pieces_with(mask, part, joined)
        if ndimage.label(mask, np.ones((3, 3)))[1] > 1:
            raise InputError(
                "Expected cells that touch, but these lie apart: redraw one of them instead."
            )
    part[mask] = joined[0]
    return Change(box, part, {joined[0]: DRAWN_CONFIDENCE, **dict.fromkeys(joined[1:])})


def split(labels: Labels, line: Sequence[Point], *, cell: int | None = None) -> Change:
    """Cut a cell along a line; the largest piece keeps the id.

    Parameters
    ----------
    labels
        int32, axes ``YX``.
    line
        Two points or more. Its ends are prolonged if they stop short of the cell's border.
    cell
        Which cell; the one that holds most of the line where left out.

    Raises
    ------
    InputError
        If the line crosses no cell from border to border.
    """
    if len(line) < 2:
        raise InputError("Expected a line of at least two points: draw across a cell.")
    points = np.asarray(line, float)
    if cell is None:
        cell = cell_below(labels, line)
    _present(labels, [cell])
    box = _box_of(labels, [cell], margin=1)
    part = labels[box.slices].copy()
    mask = part == cell
    points = points - (box.x0, box.y0)
    pieces = _cut(mask, points)
    if pieces is None:
        reach = float(np.hypot(*box.shape)) / 2
        pieces = _cut(mask, _prolonged(points, reach))
    if pieces is None:
        raise InputError(
            "Expected a line across the cell, but it does not part it: draw from one side of the "
            "cell to the other."
        )
    fresh = int(labels.max()) + 1
    sizes = np.bincount(pieces.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")
    names = np.zeros(len(sizes) + 1, np.int32)
    names[order + 1] = [cell, *range(fresh, fresh + len(sizes) - 1)]
    part[mask] = names[pieces[mask]]
    return Change(box, part, {int(name): DRAWN_CONFIDENCE for name in names[1:]})


def draw(labels: Labels, polygon: Sequence[Point], *, cell: int | None = None) -> Change:
    """Draw a new cell, or an existing one anew.

    What is drawn wins over cells below it. What is left of those keeps only its largest piece, and
    one of which nearly nothing is left is gone.

    Parameters
    ----------
    labels
        int32, axes ``YX``.
    polygon
        Three points or more; the part outside of the image is cut off.
    cell
        The cell that is drawn anew; a new one where left out.

    Raises
    ------
    InputError
        If the cell does not exist, or the polygon holds no pixel of the image.
    """
    if len(polygon) < 3:
        raise InputError("Expected an outline of at least three points: draw around the cell.")
    points = np.asarray(polygon, float)
    drawn_box = _box_of_points(points, labels.shape)
    if cell is not None:
        _present(labels, [cell])
    inside = fill_polygon((points - (drawn_box.x0, drawn_box.y0)).ravel().tolist(), drawn_box.shape)
    if not inside.any():
        raise InputError("Expected an outline around at least one pixel of the image.")
    below = np.unique(labels[drawn_box.slices][inside])
    touched = {int(i) for i in below if i > 0} | ({cell} if cell is not None else set())
    box = _joined(drawn_box, _box_of(labels, sorted(touched))) if touched else drawn_box
    part = labels[box.slices].copy()
    own = int(labels.max()) + 1 if cell is None else cell
    part[part == own] = 0
    at = (drawn_box.y0 - box.y0, drawn_box.x0 - box.x0)
    window = part[at[0] : at[0] + inside.shape[0], at[1] : at[1] + inside.shape[1]]
    window[inside] = own
    confidence: dict[int, float | None] = {own: DRAWN_CONFIDENCE}
    for other in touched - {own}:
        if not _keep_largest_piece(part, other):
            confidence[other] = None
    return Change(box, part, confidence)


def replace_all(
    labels: Labels, new: Labels, old_confidence: Iterable[int], sure: NDArray[np.float32]
) -> Change:
    """Put another label image in the place of all of this one, as a change that can be undone.

    Parameters
    ----------
    labels, new
        int32, axes ``YX``, of one shape.
    old_confidence
        The ids of the old cells.
    sure
        float32, confidence of the new cells 1..n.
    """
    confidence: dict[int, float | None] = dict.fromkeys(old_confidence)
    confidence |= {i: float(v) for i, v in enumerate(sure, start=1)}
    return Change(Box(0, 0, *labels.shape), new, confidence)


# --------------------------------------------------------------------------- geometry


def _present(labels: Labels, ids: Iterable[int]) -> list[int]:
    """Check that the cells exist; sorted, each once."""
    wanted = sorted(set(ids))
    if not wanted:
        raise InputError("Expected at least one cell: select one.")
    found = set(np.unique(labels[np.isin(labels, wanted)]).tolist())
    missing = [i for i in wanted if i not in found or i < 1]
    if missing:
        raise InputError(f"There is no cell {missing[0]} any more.")
    return wanted


def _box_of(labels: Labels, ids: Sequence[int], *, margin: int = 0) -> Box:
    mask = np.isin(labels, ids)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = labels.shape
    return Box(
        max(0, int(rows[0]) - margin),
        max(0, int(columns[0]) - margin),
        min(height, int(rows[-1]) + 1 + margin),
        min(width, int(columns[-1]) + 1 + margin),
    )


def _box_of_points(points: NDArray[np.float64], shape: tuple[int, ...]) -> Box:
    height, width = shape
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    x0, x1 = (int(np.clip(v, 0, width)) for v in (low[0], high[0]))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (low[1], high[1]))
    if x1 <= x0 or y1 <= y0:
        raise InputError("Expected an outline around at least one pixel of the image.")
    return Box(y0, x0, y1, x1)


def _joined(a: Box, b: Box) -> Box:
    return Box(min(a.y0, b.y0), min(a.x0, b.x0), max(a.y1, b.y1), max(a.x1, b.x1))


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill gaps of up to ``_JOINED_GAP`` pixels; the frame opens nothing."""
    steps = (_JOINED_GAP + 1) // 2
    padded = np.pad(mask, steps)
    closed: NDArray[np.bool_] = ndimage.binary_closing(padded, np.ones((3, 3)), iterations=steps)
    return closed[steps:-steps, steps:-steps]


def _pieces_with(mask: NDArray[np.bool_], part: Labels, ids: Sequence[int]) -> NDArray[np.bool_]:
    """Keep the connected pieces that hold one of the cells."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    keep = np.zeros(count + 1, bool)
    keep[np.unique(pieces[np.isin(part, ids)])] = True
    keep[0] = False
    result: NDArray[np.bool_] = keep[pieces]
    return result


def _line_pixels(
    points: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels below a line through the points that lie in the image, row and column."""
    limit = 4 * max(shape)
    corners = np.clip(np.floor(points), -limit, limit).astype(np.int64)
    parts = [
        pixels_of_line(a[1], a[0], b[1], b[0])  # type: ignore[no-untyped-call]
        for a, b in pairwise(corners)
    ]
    row = np.concatenate([p[0] for p in parts])
    column = np.concatenate([p[1] for p in parts])
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return row[inside], column[inside]


def cell_below(labels: Labels, line: Sequence[Point]) -> int:
    """Return the cell that holds most of a line.

    Raises
    ------
    InputError
        If there is none.
    """
    ids = labels[_line_pixels(np.asarray(line, float), labels.shape)]
    ids = ids[ids > 0]
    if not len(ids):
        raise InputError("Expected a line across a cell, but there is no cell below it.")
    return int(np.bincount(ids).argmax())


def _prolonged(points: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Go on at both ends, in the direction that the line has over its last stretch."""
    ends = []
    for end, inner in ((points[0], points[1:]), (points[-1], points[-2::-1])):
        far = inner[min(len(inner) - 1, 3)]
        length = float(np.hypot(*(end - far))) or 1.0
        ends.append(end + (end - far) / length * reach)
    return np.vstack([ends[0], points, ends[1]])


def _cut(mask: NDArray[np.bool_], points: NDArray[np.float64]) -> Labels | None:
    """Label the pieces of a mask on both sides of a line, the line's pixels given to the nearest.

    None if the line leaves it in one piece. Parts of a cell that lay apart before stay with the
    largest piece's side they are nearest to, since only pieces that the line touches count.
    """
    wall = np.zeros(mask.shape, bool)
    wall[_line_pixels(points, mask.shape)] = True
    # The line is connected by corners, so pieces must be connected by edges to be apart.
    pieces, count = ndimage.label(mask & ~wall, _CROSS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    beside = np.unique(pieces[ndimage.binary_dilation(wall & mask, np.ones((3, 3)))])
    parted = np.zeros(count + 1, bool)
    parted[beside] = True
    parted &= sizes >= _SMALLEST_CELL
    parted[0] = False
    if parted.sum() < 2:
        return None
    names = np.zeros(count + 1, np.int32)
    names[parted] = np.arange(1, int(parted.sum()) + 1)
    named = names[pieces]
    _, (y, x) = ndimage.distance_transform_edt(named == 0, return_indices=True)
    result: Labels = np.where(mask, named[y, x], 0).astype(np.int32)
    return result


def _keep_largest_piece(part: Labels, cell: int) -> bool:
    """Leave a cell its largest piece, in place; False if nothing worth keeping is left."""
    mask = part == cell
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    if count == 0 or sizes.max() < _SMALLEST_CELL:
        part[mask] = 0
        return False
    part[mask & (pieces != int(sizes.argmax()) + 1)] = 0
    return True

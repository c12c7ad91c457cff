"""Convex hulls of all cells at once: their area and the Feret diameters.

The hull is that of ``skimage.morphology.convex_hull_image``: around the middles of the four edges
of each pixel. Coordinates are doubled so that these are whole numbers and every test is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.measure.runs import Runs

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hulls:
    """Measurements of the convex hulls, one value per cell.

    Parameters
    ----------
    area
        Pixels whose centre is in the hull.
    feret_max, feret_min
        Longest and shortest distance in pixels of two parallel lines that hold the hull.
    """

    area: Ints
    feret_max: Floats
    feret_min: Floats


@dataclass(frozen=True)
class _Rows:
    """What a cell covers of a row from its first to its last column, ordered by cell and row."""

    cell: Ints
    row: Ints
    left: Ints
    right: Ints


def measure_hulls(runs: Runs) -> Hulls:
    """Measure the convex hull of each cell.

    Parameters
    ----------
    runs
        Of a label image.
    """
    count = len(runs.ids)
    if count == 0:
        return Hulls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    filled = _fill(_extents(runs))
    area = np.bincount(filled.cell, weights=filled.right - filled.left + 1, minlength=count)
    longest, shortest = _ferets(filled, count)
    return Hulls(area.astype(np.int64), longest, shortest)


def _extents(runs: Runs) -> _Rows:
    """First and last column of each cell in each of its rows."""
    fresh = (np.diff(runs.cell, prepend=-1) != 0) | (np.diff(runs.row, prepend=-1) != 0)
    first = np.flatnonzero(fresh)
    last = np.append(first[1:], len(fresh)) - 1
    right = runs.start[last] + runs.length[last] - 1
    return _Rows(runs.cell[first], runs.row[first], runs.start[first], right)


def _fill(rows: _Rows) -> _Rows:
    """Rows of the pixels whose centre lies in the hull, also where the cell itself has a gap."""
    cell, row, left = _first_columns(*_chain(rows.cell, rows.row, rows.left))
    _, _, negative = _first_columns(*_chain(rows.cell, rows.row, -rows.right))
    some = left <= -negative  # a thin hull may pass between two pixels
    return _Rows(cell[some], row[some], left[some], -negative[some])


def _chain(cell: Ints, row: Ints, left: Ints) -> tuple[Ints, Ints, Ints]:
    """Give the left side of the hulls: cell, doubled y and doubled x of corners from the top down.

    The right side is the left one of the mirrored columns.
    """
    # Of each pixel the middle of its outer edge; the middles of its upper and lower edge only at
    # the ends and at steps of two columns and more, since between others they lie in a dent.
    kept = np.ones((len(cell), 3), bool)
    beside = (cell[1:] == cell[:-1]) & (row[1:] == row[:-1] + 1)
    step = np.diff(left)
    kept[1:, 0] = ~beside | (step <= -2)
    kept[:-1, 2] = ~beside | (step >= 2)
    at, edge = np.nonzero(kept)
    y = 2 * row[at] + edge - 1
    x = 2 * left[at] - (edge == 1)
    return _without_dents(cell[at], y, x)


def _without_dents(cell: Ints, y: Ints, x: Ints) -> tuple[Ints, Ints, Ints]:
    """Remove points that are not left of the line between their neighbours, until none is.

    Such a point is never a corner of the hull, so all of them can go at once. Cells that have
    none left are put aside.
    """
    done: list[tuple[Ints, Ints, Ints]] = []
    while len(cell):
        middle = (cell[2:] == cell[:-2]).nonzero()[0] + 1
        before, after = middle - 1, middle + 1
        chord = (y[middle] - y[before]) * (x[after] - x[before])
        dent = (x[middle] - x[before]) * (y[after] - y[before]) >= chord
        dented = middle[dent]
        again = np.zeros(cell[-1] + 1, bool)
        again[cell[dented]] = True
        still = again[cell]
        done.append((cell[~still], y[~still], x[~still]))
        still[dented] = False
        cell, y, x = cell[still], y[still], x[still]
    cells, ys, xs = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.argsort(cells, kind="stable")
    return cells[order], ys[order], xs[order]


def _first_columns(cell: Ints, y: Ints, x: Ints) -> tuple[Ints, Ints, Ints]:
    """First column of each row that is not left of the chain: cell, row, column."""
    edge = (cell[1:] == cell[:-1]).nonzero()[0]
    y0, x0 = y[edge], x[edge]
    height, step = y[edge + 1] - y0, x[edge + 1] - x0
    first = -(-y0 // 2)
    count = -(-y[edge + 1] // 2) - first
    at = np.repeat(np.arange(len(edge)), count)
    row = first[at] + np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    numerator = x0[at] * height[at] + (2 * row - y0[at]) * step[at]
    column = -(-numerator // (2 * height[at]))
    return cell[edge][at], row, column


def _ferets(rows: _Rows, count: int) -> tuple[Floats, Floats]:
    """Longest and shortest caliper of the hull of each cell.

    Each edge of a hull is held against the corner across it (rotating calipers); the corner is
    found by the angle of its edges.
    """
    cell, y, x = _corners(rows)
    following = _following(cell)
    dy, dx = y[following] - y, x[following] - x
    angle = np.arctan2(dy, dx) % (2 * np.pi)
    order = np.lexsort((angle, cell))
    key = cell[order] * 8 + angle[order]  # 8: more than a full turn
    across = np.searchsorted(key, cell * 8 + (angle + np.pi) % (2 * np.pi))
    first = np.searchsorted(cell, cell)
    number = np.searchsorted(cell, cell, side="right") - first
    longest = np.zeros(len(cell), np.int64)
    width = np.zeros(len(cell))
    for step in (-1, 0, 1):  # its neighbours too, since angles are rounded
        other = order[first + (across - first + step) % number]
        for at in (np.arange(len(cell)), following):
            distance = (y[other] - y[at]) ** 2 + (x[other] - x[at]) ** 2
            longest = np.maximum(longest, distance)
        width = np.maximum(width, np.abs(dx * (y[other] - y) - dy * (x[other] - x)))
    width /= np.hypot(dy, dx)
    start = np.searchsorted(cell, np.arange(count))
    most = np.sqrt(np.maximum.reduceat(longest, start)) / 2
    return most, np.minimum.reduceat(width, start) / 2


def _corners(rows: _Rows) -> tuple[Ints, Ints, Ints]:
    """Corners of the hulls around rows: cell, doubled y and x, in the order of the walk."""
    left = _chain(rows.cell, rows.row, rows.left)
    right = _chain(rows.cell, rows.row, -rows.right)
    cell = np.concatenate([right[0], left[0]])
    y = np.concatenate([right[1], left[1]])
    x = np.concatenate([-right[2], left[2]])
    side = np.repeat([0, 1], [len(right[0]), len(left[0])])
    order = np.lexsort((np.where(side, -y, y), side, cell))
    cell, y, x = cell[order], y[order], x[order]
    # Both sides may end in the same corner.
    before = np.empty_like(order)
    before[_following(cell)] = np.arange(len(order))
    kept = (y != y[before]) | (x != x[before])
    return cell[kept], y[kept], x[kept]


def _following(cell: Ints) -> Ints:
    """Position of the next corner of the same hull."""
    following = np.arange(1, len(cell) + 1)
    last = np.append(cell[1:] != cell[:-1], True)
    following[last] = np.searchsorted(cell, cell[last])
    return following

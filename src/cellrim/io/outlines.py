"""Outline images to label images: which enclosed regions are cells, and whose the lines are.

Two customs exist. Either touching cells share one line, and every region that a line closes is a
cell; or each cell has a closed line of its own, and then the regions between two lines, and the
background inside of a ring of cells, are closed too and are no cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from cellrim.core.labels import Labels, relabel
from cellrim.errors import InputError

# Which of the regions between walls are cells.
Rule = Callable[[NDArray[np.bool_]], Labels]

# A line is one pixel wide and two at its corners; what is farther from a cell is not its rim.
LINE_REACH = 2.0
# A shorter contact is where lines cross, a longer one is a wall between two regions.
MIN_WALL = 5
MIN_OWN_LINE_AREA = 100
MIN_SHARED_LINE_AREA = 50


def line_mask(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which pixels of an outline image are the line.

    Any value above 0 counts, since lines are not everywhere drawn at full intensity. Where those
    are the majority the image is read as its negative (1-bit TIFF with MinIsWhite, which libraries
    do not agree on).

    Parameters
    ----------
    pixels
        Axes ``YX`` or ``YXC``, any real dtype or bool.

    Returns
    -------
    ndarray
        bool, axes ``YX``; True on the line.

    Raises
    ------
    InputError
        If the array has neither two nor three dimensions.
    """
    if pixels.ndim not in (2, 3):
        raise InputError(f"Expected axes YX or YXC, but got shape {pixels.shape}.")
    drawn = pixels != 0
    if drawn.ndim == 3:
        drawn = drawn.any(axis=2)
    line: NDArray[np.bool_] = ~drawn if drawn.mean() > 0.5 else drawn
    return line


def shared_line_labels(line: NDArray[np.bool_], *, min_area: int = MIN_SHARED_LINE_AREA) -> Labels:
    """Label cells of which touching ones share one line.

    Every 4-connected region that is not the largest is a cell; the frame closes lines that end at
    it. Lines that bound no cell so far are closed over gaps of up to two pixels (three outlines of
    BBBC030 have one). The line belongs to the nearest cell, so that touching cells touch.

    Parameters
    ----------
    line
        bool, axes ``YX``; True on the outlines.
    min_area
        Regions with fewer pixels inside of their line are specks and are dropped.

    Returns
    -------
    ndarray
        int32, axes ``YX``; 0 is background, 1..n are cells.

    Examples
    --------
    >>> line = np.zeros((5, 7), bool)
    >>> line[[0, -1]] = line[:, [0, 3, 6]] = True
    >>> shared_line_labels(np.pad(line, 3), min_area=1)[5, 3:-3]
    array([1, 1, 1, 1, 2, 2, 2], dtype=int32)
    """
    return _labels(line, partial(_all_but_the_largest, min_area=min_area))


def own_line_labels(line: NDArray[np.bool_], *, min_area: int = MIN_OWN_LINE_AREA) -> Labels:
    """Label cells that each have a closed line of their own (the rule of BBBC009).

    The largest 4-connected region has depth 0, and each line that is crossed adds one: at odd depth
    lies a cell, at even depth background. A line is crossed where one single pixel of it separates
    two regions. Each region is entered from the neighbour with the longest such contact that leads
    to the background (a maximum spanning tree), since a contact of a few pixels is where two lines
    cross and not a wall. The line belongs to its cell.

    Parameters
    ----------
    line
        bool, axes ``YX``; True on the outlines.
    min_area
        Regions with fewer pixels inside of their line are dropped, after the depths are known.

    Returns
    -------
    ndarray
        int32, axes ``YX``; 0 is background, 1..n are cells.
    """
    return _labels(line, partial(_at_odd_depth, min_area=min_area))


def outline_labels(line: NDArray[np.bool_], *, min_area: int = MIN_SHARED_LINE_AREA) -> Labels:
    """Label cells by whichever of the two customs the outlines follow.

    With a line of its own around each cell, every line has a cell on one side and background on
    the other, so the regions can be given two colours such that no line has one colour on both
    sides. Two touching cells that share a line and both lie on the background cannot.

    Parameters
    ----------
    line
        bool, axes ``YX``; True on the outlines.
    min_area
        Regions with fewer pixels inside of their line are dropped.

    Returns
    -------
    ndarray
        int32, axes ``YX``; 0 is background, 1..n are cells.
    """
    regions, sizes = _regions(line)
    depth, edges, lengths = _depths(regions, sizes)
    walls = edges[lengths >= MIN_WALL]
    shared = depth[walls[:, 0]] % 2 == depth[walls[:, 1]] % 2
    rule = shared_line_labels if shared.any() else own_line_labels
    return rule(line, min_area=min_area)


def _labels(line: NDArray[np.bool_], rule: Rule) -> Labels:
    """Label the regions that the rule keeps, with their lines; close loose lines before."""
    cells = rule(line)
    loose = line & (_with_lines(cells, line) == 0)
    if not loose.any():
        return _with_lines(cells, line)
    walls = _close_gaps(line, loose, cells, rule)
    cells = rule(walls)
    return _with_lines(cells, line | (walls & ndimage.binary_dilation(cells > 0)))


def _close_gaps(
    line: NDArray[np.bool_], loose: NDArray[np.bool_], cells: Labels, rule: Rule
) -> NDArray[np.bool_]:
    """Give walls that close gaps of up to two pixels in loose lines.

    Thick lines close the gaps; where that makes a region, the inner half of their thickness is
    given back to it.
    """
    around = np.ones((3, 3), bool)
    thick = line | (ndimage.binary_dilation(loose, around) & (cells == 0))
    inside = ndimage.binary_dilation(rule(thick) > 0, around)
    walls: NDArray[np.bool_] = line | (thick & ~inside)
    return walls


def _all_but_the_largest(walls: NDArray[np.bool_], *, min_area: int) -> Labels:
    regions, sizes = _regions(walls)
    cell = sizes >= min_area
    cell[[0, int(sizes.argmax())]] = False
    return _kept(regions, cell)


def _at_odd_depth(walls: NDArray[np.bool_], *, min_area: int) -> Labels:
    regions, sizes = _regions(walls)
    depth, _, _ = _depths(regions, sizes)
    return _kept(regions, (depth % 2 == 1) & (sizes >= min_area))


def _regions(line: NDArray[np.bool_]) -> tuple[Labels, NDArray[np.int64]]:
    """4-connected regions off the line, and the pixels of each; the line itself counts none."""
    regions, _ = ndimage.label(~line)
    sizes = np.bincount(regions.ravel()).astype(np.int64)
    sizes[0] = 0
    return regions, sizes


def _depths(
    regions: Labels, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the lines between each region and the largest one; 0 where there is no way.

    Returns the count of each region, and the contacts: pairs of regions, and their lengths.
    """
    depth = np.zeros(len(sizes), np.int64)
    pairs = np.concatenate([_contacts(regions), _contacts(regions.T)])
    edges, lengths = np.unique(pairs, axis=0, return_counts=True)
    if len(edges) == 0:
        return depth, edges, lengths
    # The longest contacts must be the cheapest, and no weight may be 0.
    weights = (lengths.max() + 1 - lengths).astype(float)
    graph = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(len(sizes), len(sizes)))
    tree = minimum_spanning_tree(graph.tocsr())
    order, parent = breadth_first_order(tree, int(sizes.argmax()), directed=False)
    for region in order[1:]:
        depth[region] = depth[parent[region]] + 1
    return depth, edges, lengths


def _contacts(regions: Labels) -> NDArray[np.int64]:
    """Pairs of regions (n, 2), lower first, one for each line pixel that lies between them in y."""
    above, line, below = regions[:-2], regions[1:-1], regions[2:]
    apart = (line == 0) & (above > 0) & (below > 0) & (above != below)
    return np.sort(np.stack([above[apart], below[apart]], axis=1).astype(np.int64), axis=1)


def _kept(regions: Labels, cell: NDArray[np.bool_]) -> Labels:
    """Keep the regions for which ``cell`` is true, numbered anew."""
    return relabel(np.where(cell[regions], regions, 0).astype(np.int32))


def _with_lines(cells: Labels, line: NDArray[np.bool_]) -> Labels:
    """Give each pixel of the line to the nearest cell, where one is near."""
    if not cells.any():
        return cells
    distance, (y, x) = ndimage.distance_transform_edt(cells == 0, return_indices=True)
    rim = line & (distance <= LINE_REACH)
    return np.where(rim, cells[y, x], cells).astype(np.int32)

"""Labels to polygons along the pixel edges and back, for all cells of an image at once.

The polygons run along the edges of the pixels, in x and y counted from the upper left corner of
the image, so that filling them gives the same pixels again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.errors import InputError

Ints = NDArray[np.int64]
Ring = NDArray[np.int64]
"""Corners (n, 2), x and y; the last is joined to the first."""
Part = list[Ring]
"""A 4-connected piece of a cell: its outer ring, clockwise as displayed, then its holes."""


@dataclass(frozen=True)
class CellOutline:
    """The polygons of one cell.

    Parameters
    ----------
    id
        As in the label image.
    parts
        One for each 4-connected piece.
    """

    id: int
    parts: list[Part]

    @property
    def rings(self) -> list[Ring]:
        """All rings, outer ones and holes."""
        return [ring for part in self.parts for ring in part]


@dataclass(frozen=True)
class Outlines:
    """The polygons of many cells in flat arrays: cell by cell, part by part, outer rings first.

    Parameters
    ----------
    ids
        int64, (n,): the cells, ascending.
    corners
        int64, (k, 2), x and y: the corners of all rings, ring after ring.
    rings
        int64, (r + 1,): where each ring begins in ``corners``, and the end.
    cells
        int64, (n + 1,): where each cell begins in the rings, and the end.
    outer
        bool, (r,): whether a ring is the outer one of a part, with which the part begins.
    """

    ids: Ints
    corners: Ints
    rings: Ints
    cells: Ints
    outer: NDArray[np.bool_]

    def texts(
        self, point: str, *, between: str, ring: tuple[str, str], closed: bool = False
    ) -> list[str]:
        """Write each ring as text.

        Parameters
        ----------
        point
            Template of a corner, ``"%d %d"`` for x and y.
        between, ring
            What stands between corners, and in front of and behind a ring.
        closed
            Whether the first corner comes again at the end.

        Returns
        -------
        list of str
            One for each ring, in their order.
        """
        numbers = self.corners.ravel().tolist()
        texts = []
        for begin, end in pairwise((2 * self.rings).tolist()):
            values = numbers[begin:end]
            if closed:
                values += values[:2]
            template = between.join([point] * (len(values) // 2))
            texts.append(ring[0] + template % tuple(values) + ring[1])
        return texts

    def __iter__(self) -> Iterator[CellOutline]:
        cuts, outer = self.rings.tolist(), self.outer.tolist()
        for number, (begin, end) in zip(
            self.ids.tolist(), pairwise(self.cells.tolist()), strict=True
        ):
            parts: list[Part] = []
            for ring in range(begin, end):
                if outer[ring]:
                    parts.append([])
                parts[-1].append(self.corners[cuts[ring] : cuts[ring + 1]])
            yield CellOutline(number, parts)


def trace_labels(labels: Labels, *, simple: bool = True) -> list[CellOutline]:
    """Trace the outlines of all cells, each as an object of its own.

    The parameters are those of :func:`trace_outlines`.

    Returns
    -------
    list
        In the order of the ids.
    """
    return list(trace_outlines(labels, simple=simple))


def trace_outlines(
    labels: Labels, *, simple: bool = True, origin: tuple[int, int] = (0, 0)
) -> Outlines:
    """Trace the outlines of all cells.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background.
    simple
        Whether rings that touch themselves are cut in two, an outer one and a hole.
    origin
        Row and column of the first pixel, where ``labels`` is a part of an image.

    Returns
    -------
    Outlines
        No ring crosses itself, none touches itself where ``simple``, and rings of one part touch at
        corners only, so that geometry libraries find them valid. A cell's rings are the same in
        whatever part of an image it is traced.

    Notes
    -----
    All edges of the image are linked to rings at once; there is no loop over cells, rings or edges.
    """
    edges = _find_edges(labels)
    if not len(edges.start):
        nothing = np.zeros(0, np.int64)
        return Outlines(nothing, nothing.reshape(0, 2), nothing[:1], nothing[:1], nothing > 0)
    following = _link(edges)
    order, ring = _cycles(_split(edges, following, labels) if simple else following)
    rings = _Rings.of(edges, order, ring)
    component = _components(labels, edges, order, rings)
    return _ordered(rings, component, origin)


def fill_rings(
    rings: Sequence[NDArray[np.float64] | Ring], owners: Sequence[int], shape: tuple[int, int]
) -> Labels:
    """Fill polygons: a pixel belongs to those whose inside holds its centre, even-odd.

    Parameters
    ----------
    rings
        Corners (n, 2), x and y in pixels from the upper left corner of the image. What reaches
        out of the image is cut off.
    owners
        The id, >= 1, that each ring belongs to; the rings of one id are filled together. Where
        cells overlap, the one that comes later wins.
    shape
        Height and width.

    Returns
    -------
    Labels
        int32, axes ``YX``. Exact for the rings of :func:`trace_labels`.

    Raises
    ------
    InputError
        If cells lie outside of the image as a whole: they belong to one of another size.
    """
    if not len(rings):
        return np.zeros(shape, np.int32)
    rank = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    cell = np.array([rank[owner] for owner in owners])
    ids = np.array(list(rank), np.int64)
    sizes = np.array([len(ring) for ring in rings])
    points = np.concatenate([np.asarray(ring, np.float64) for ring in rings])
    _check_inside(points, cell, sizes, shape)
    following = np.arange(1, len(points) + 1)
    following[np.cumsum(sizes) - 1] = np.cumsum(sizes) - sizes
    row, column, number = _crossings(points, points[following], np.repeat(cell, sizes), shape[0])
    order = np.lexsort((column, row, number))
    row, number = row[order[::2]], number[order[::2]]
    start = np.clip(np.ceil(column[order[::2]] - 0.5), 0, shape[1]).astype(np.int64)
    stop = np.clip(np.ceil(column[order[1::2]] - 0.5), 0, shape[1]).astype(np.int64)
    return paint_runs(row * shape[1] + start, stop - start, ids[number], shape)


def _check_inside(
    points: NDArray[np.float64], cell: NDArray[np.intp], sizes: Ints, shape: tuple[int, int]
) -> None:
    """Check that every cell has a part within the image, by its box.

    ``cell`` and ``sizes`` are the cell and the number of points of each ring.
    """
    height, width = shape
    count = int(cell.max()) + 1
    begin = np.cumsum(sizes) - sizes
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, cell, np.minimum.reduceat(points, begin))
    np.maximum.at(high, cell, np.maximum.reduceat(points, begin))
    outside = ((low >= (width, height)) | (high <= 0)).any(axis=1)
    if outside.any():
        raise InputError(
            f"Expected cells within an image of {height} x {width} pixels (height, width), but "
            f"{np.count_nonzero(outside)} of {count} lie outside: is it the image they are of?"
        )


def paint_runs(starts: Ints, lengths: Ints, ids: Ints, shape: tuple[int, int]) -> Labels:
    """Paint runs of pixels into a label image.

    Parameters
    ----------
    starts, lengths
        Flat indices along the rows, and pixels; runs may cross the ends of rows.
    ids
        The id of each run. Where runs overlap, the later one wins.
    shape
        Height and width.
    """
    at = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    labels = np.zeros(shape[0] * shape[1], np.int32)
    labels[at] = np.repeat(ids, lengths)
    return labels.reshape(shape)


@dataclass(frozen=True)
class _Edges:
    """Pixel edges between a cell and anything else, with the cell on the right hand.

    Parameters
    ----------
    direction
        0 right, 1 down, 2 left, 3 up.
    start, end
        Lattice points, as flat indices of a lattice of ``stride`` columns.
    label
        The cell on the right hand.
    """

    direction: Ints
    start: Ints
    end: Ints
    label: Ints
    stride: int


def _find_edges(labels: Labels) -> _Edges:
    padded = np.pad(labels, 1)
    stride = padded.shape[1]
    flat = padded.ravel()
    # Of each direction: the pixel on the right hand and on the left hand of an edge that starts
    # at lattice point p, which is the upper left corner of pixel p.
    hands = ((0, -stride), (-1, 0), (-stride - 1, -1), (-stride, -stride - 1))
    inner = np.arange(stride + 1, flat.size)
    parts = []
    step = (1, stride, -1, -stride)
    for number, (right, left) in enumerate(hands):
        own = flat[inner + right]
        at = np.flatnonzero((own > 0) & (own != flat[inner + left]))
        start = inner[at]
        parts.append((np.full(len(at), number), start, start + step[number], own[at]))
    direction, start, end, label = (np.concatenate(p) for p in zip(*parts, strict=True))
    return _Edges(direction, start, end, label.astype(np.int64), stride)


def _link(edges: _Edges) -> Ints:
    """Position of the edge that follows each edge around its cell.

    Where two pixels touch by a corner only, the walk stays at its pixel.
    """
    size = int(max(edges.start.max(), edges.end.max())) + 1
    key = edges.direction * size + edges.start  # ascending, as the edges are found
    following = np.full(len(key), -1)
    for turn in (-1, 0, 1):  # the last that exists wins: right turns first of all
        wanted = (edges.direction + turn) % 4 * size + edges.end
        found = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        there = (key[found] == wanted) & (edges.label[found] == edges.label)
        following = np.where(there, found, following)
    return following


def _split(edges: _Edges, following: Ints, labels: Labels) -> Ints:
    """Cut rings that touch themselves in two where they do.

    There, both ways through the point belong to one ring. Exchanging what follows makes two rings
    of it; rings in a plane do not interlace, so all points can be dealt with at once.
    """
    flat = np.pad(labels, 1).ravel()
    at, own = edges.end, edges.label
    # Of the four pixels around the point, two in a diagonal are the cell's and no other is.
    a, b, c, d = (flat[at + step] == own for step in (-edges.stride - 1, -edges.stride, -1, 0))
    crossed = np.flatnonzero((a == d) & (b == c) & (a != b))
    if not len(crossed):
        return following
    _, ring_of = _connected(following)
    order = crossed[np.lexsort((edges.end[crossed], edges.label[crossed]))]
    one, other = order[::2], order[1::2]  # two edges of the cell end at each such point
    touch = ring_of[one] == ring_of[other]
    one, other = one[touch], other[touch]
    result = following.copy()
    result[one], result[other] = following[other], following[one]
    return result


def _connected(following: Ints) -> tuple[int, NDArray[np.int32]]:
    """Count the cycles of a permutation, and say in which one each element is."""
    from scipy.sparse.csgraph import connected_components

    count, cycle = connected_components(_graph(following), directed=True, connection="weak")
    return int(count), cycle


def _graph(following: Ints) -> Any:
    """Graph with an arrow from each element to the one that follows it."""
    from scipy.sparse import csr_array

    count = len(following)
    arrows = (np.ones(count, np.int8), following.astype(np.int32), np.arange(count + 1))
    return csr_array(arrows, shape=(count, count))


def _cycles(following: Ints) -> tuple[Ints, Ints]:
    """Order the elements of a permutation cycle by cycle: elements, and the cycle of each.

    Each cycle begins at its smallest element, and the one with the smallest comes first. Where one
    ends, the next is hung on, so that a single search walks through all of them.
    """
    from scipy.sparse.csgraph import breadth_first_order

    count, cycle = _connected(following)
    everything = np.arange(len(following))
    smallest = np.empty(count, np.int64)
    smallest[cycle[::-1]] = everything[::-1]  # the last that is written stays
    begins = np.sort(smallest)
    before = np.empty_like(everything)
    before[following] = everything
    chain = following.copy()
    ends = before[begins]
    chain[ends] = np.append(begins[1:], ends[-1])
    order = breadth_first_order(_graph(chain), int(begins[0]), return_predecessors=False)
    first = np.zeros(len(following), bool)
    first[begins] = True
    return order.astype(np.int64), np.cumsum(first[order]) - 1


@dataclass(frozen=True)
class _Rings:
    """Corners of rings, one ring after another.

    Parameters
    ----------
    corners
        (n, 2), x and y.
    cuts
        Where each ring begins in ``corners``, and the end.
    first
        Of each ring, the position of its first edge in the order of the walk.
    label
        Of each ring, the cell.
    outer
        Of each ring, whether it is no hole.
    """

    corners: Ints
    cuts: Ints
    first: Ints
    label: Ints
    outer: NDArray[np.bool_]

    @classmethod
    def of(cls, edges: _Edges, order: Ints, ring: Ints) -> _Rings:
        """Take the corners of the walks, which go along pixel edges."""
        first = np.searchsorted(ring, np.arange(ring[-1] + 1))
        y, x = np.divmod(edges.start[order], edges.stride)
        before = np.arange(-1, len(order) - 1)
        before[first] = np.append(first[1:], len(order)) - 1
        direction = edges.direction[order]
        corner = direction != direction[before]
        # Twice the area to the right of the walk: only vertical edges add to it.
        turned = np.where(direction == 1, -x, np.where(direction == 3, x, 0))
        area = -np.add.reduceat(turned, first)
        corners = np.stack([x[corner] - 1, y[corner] - 1], axis=1)
        cuts = np.append(np.add.reduceat(corner.astype(np.int64), first).cumsum(), 0)
        return cls(corners, np.roll(cuts, 1), first, edges.label[order][first], area > 0)


def _components(labels: Labels, edges: _Edges, order: Ints, rings: _Rings) -> Ints:
    """Say to which 4-connected piece of its cell each ring belongs."""
    if rings.outer.all():
        return np.arange(len(rings.first))
    from skimage.measure import label

    found = label(labels, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    pieces = np.pad(found, 1).ravel()
    edge = order[rings.first]
    right = np.array([0, -1, -edges.stride - 1, -edges.stride])
    component: Ints = pieces[edges.start[edge] + right[edges.direction[edge]]].astype(np.int64)
    return component


def _ordered(rings: _Rings, component: Ints, origin: tuple[int, int]) -> Outlines:
    """Put the rings into the order of cells and parts, outer rings first."""
    order = np.lexsort((~rings.outer, component, rings.label))
    begin, size = rings.cuts[:-1][order], np.diff(rings.cuts)[order]
    cuts = np.append(0, np.cumsum(size))
    at = np.repeat(begin - cuts[:-1], size) + np.arange(cuts[-1])
    label = rings.label[order]
    first = np.flatnonzero(np.diff(label, prepend=0))
    return Outlines(
        ids=label[first],
        corners=rings.corners[at] + np.array(origin[::-1]),
        rings=cuts,
        cells=np.append(first, len(label)),
        outer=rings.outer[order],
    )


def _crossings(
    begin: NDArray[np.float64], end: NDArray[np.float64], cell: Ints, height: int
) -> tuple[Ints, NDArray[np.float64], Ints]:
    """Where edges cross the middle of a row of pixels: row, x, and the edge's cell."""
    down = end[:, 1] > begin[:, 1]
    top = np.where(down[:, np.newaxis], begin, end)
    bottom = np.where(down[:, np.newaxis], end, begin)
    first = np.clip(np.ceil(top[:, 1] - 0.5), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(bottom[:, 1] - 0.5), 0, height).astype(np.int64)
    count = stop - first
    edge = np.repeat(np.arange(len(begin)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    rise = bottom[edge, 1] - top[edge, 1]
    part = (row + 0.5 - top[edge, 1]) / rise
    column = top[edge, 0] + part * (bottom[edge, 0] - top[edge, 0])
    return row, column, cell[edge]

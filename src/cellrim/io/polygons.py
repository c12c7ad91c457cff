"""Labels to polygons along the pixel edges and back, for all cells of an image at once.

The polygons run along the edges of the pixels, in x and y counted from the upper left corner of
the image, so that filling them gives the same pixels again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.errors import InputError

Ints = NDArray[np.int64]
Indices = NDArray[np.signedinteger[Any]]
"""int32 where that holds them, else int64."""
Ring = Indices
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
        int32 or int64, (k, 2), x and y: the corners of all rings, ring after ring.
    rings
        int64, (r + 1,): where each ring begins in ``corners``, and the end.
    cells
        int64, (n + 1,): where each cell begins in the rings, and the end.
    outer
        bool, (r,): whether a ring is the outer one of a part, with which the part begins.
    """

    ids: Ints
    corners: Indices
    rings: Ints
    cells: Ints
    outer: NDArray[np.bool_]

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
    if not len(edges):
        nothing = np.zeros(0, np.int64)
        return Outlines(nothing, nothing.reshape(0, 2), nothing[:1], nothing[:1], nothing > 0)
    rings = _Rings.of(edges, *_cycles(_link(edges, simple=simple)))
    return _ordered(rings, labels.ravel()[rings.pixel], origin)


@dataclass(frozen=True)
class Polygons:
    """Polygons of any corners, as they come out of files, in flat arrays.

    Parameters
    ----------
    points
        float64, (k, 2): the corners of all rings, x and y in pixels from the upper left corner of
        the image.
    sizes
        int64, (r,): how many corners each ring has; rings of less than three hold nothing.
    owners
        int64, (r,): the id, >= 1, that each ring belongs to.
    """

    points: NDArray[np.float64]
    sizes: Ints
    owners: Ints

    @classmethod
    def of(cls, cells: Iterable[tuple[int, NDArray[np.float64], Sequence[int]]]) -> Polygons:
        """Join cells: of each the id, the corners of its rings, and the sizes of its rings."""
        found = list(cells)
        rings = [len(sizes) for _, _, sizes in found]
        return cls(
            np.concatenate([np.zeros((0, 2)), *(points for _, points, _ in found)]),
            np.array([size for _, _, sizes in found for size in sizes], np.int64),
            np.repeat(np.array([owner for owner, _, _ in found], np.int64), rings),
        )


def fill_polygons(polygons: Polygons, shape: tuple[int, int]) -> Labels:
    """Fill polygons: a pixel belongs to those whose inside holds its centre, even-odd.

    Parameters
    ----------
    polygons
        The rings of one id are filled together. What reaches out of the image is cut off. Where
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
    some = polygons.sizes > 2
    points, sizes = polygons.points[np.repeat(some, polygons.sizes)], polygons.sizes[some]
    if not len(sizes):
        return np.zeros(shape, np.int32)
    ids, first, cell = np.unique(polygons.owners[some], return_index=True, return_inverse=True)
    cell = np.argsort(np.argsort(first))[cell]  # in the order in which they come
    ids = ids[np.argsort(first)]
    _check_inside(points, cell, sizes, shape)
    following = np.arange(1, len(points) + 1)
    following[np.cumsum(sizes) - 1] = np.cumsum(sizes) - sizes
    row, column, number = _crossings(points, points[following], np.repeat(cell, sizes), shape[0])
    order = np.lexsort((column, number * shape[0] + row))
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
    """Pixel edges between a piece of a cell and anything else, with the piece on the right hand.

    Ordered by direction, then by where they start.

    Parameters
    ----------
    starts
        Of each direction, right, down, left and up, the lattice points where edges start: flat
        indices of a lattice of ``stride`` columns.
    pieces
        The 4-connected piece of a cell that each pixel belongs to, 0 for background: flat, with a
        margin of one pixel. The upper left corner of pixel p is lattice point p.
    stride
        Columns of the lattice.
    """

    starts: tuple[Indices, Indices, Indices, Indices]
    pieces: Indices
    stride: int

    def __len__(self) -> int:
        return sum(map(len, self.starts))

    @property
    def steps(self) -> tuple[int, int, int, int]:
        """What an edge of each direction adds to a lattice point."""
        return 1, self.stride, -1, -self.stride

    @property
    def around(self) -> tuple[tuple[int, int, int], ...]:
        """Of each direction, three pixels around the point where an edge ends.

        The one on the right hand, the one in front of it, and the one in front on the left hand,
        each as what is to be added to the point.
        """
        corners = (-1, 0, -self.stride, -self.stride - 1)  # lower left, and on against the clock
        return tuple(
            (corners[turn], corners[(turn + 1) % 4], corners[(turn + 2) % 4])
            for turn in (0, 3, 2, 1)
        )


def _find_edges(labels: Labels) -> _Edges:
    from skimage.measure import label

    found = label(labels, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    pieces = np.pad(found.astype(np.int32), 1)
    stride = pieces.shape[1]
    flat = pieces.ravel()

    def between(apart: int) -> tuple[Indices, Indices]:
        """Pixels that differ from the one so far before, where they are a cell's, and it is."""
        at = np.flatnonzero(flat[apart:] != flat[:-apart]).astype(_index_type(flat.size)) + apart
        return at[flat[at] > 0], at[flat[at - apart] > 0]

    right, left = between(stride)
    up, down = between(1)
    return _Edges((right, down, left + 1, up + stride), flat, stride)


def _index_type(size: int) -> type[np.signedinteger[Any]]:
    """Type that holds a position among the edges of so many lattice points."""
    return np.int32 if 4 * size < np.iinfo(np.int32).max else np.int64


def _link(edges: _Edges, *, simple: bool) -> Indices:
    """Position of the edge that follows each edge around its piece.

    Where two pixels of a piece touch by a corner only, the walk stays at its pixel, or crosses to
    the other one where rings are to be ``simple``. Both ways through the point are the same ring's,
    as it is one piece around what is, by corners too, one part of its surroundings: where the walk
    stays, it comes by twice; where it crosses, there are two rings, an outer one and a hole.
    """
    keys = np.concatenate([starts + n * edges.pieces.size for n, starts in enumerate(edges.starts)])
    wanted = []
    for direction, (starts, step, around) in enumerate(
        zip(edges.starts, edges.steps, edges.around, strict=True)
    ):
        end = starts + step
        own, front, left = (edges.pieces[end + there] for there in around)
        if simple:
            turn = np.where(left == own, -1, np.where(front == own, 0, 1))
        else:
            turn = np.where(front != own, 1, np.where(left == own, -1, 0))
        wanted.append(((direction + turn) % 4).astype(end.dtype) * edges.pieces.size + end)
    return np.searchsorted(keys, np.concatenate(wanted)).astype(np.int32)


def _graph(following: Indices) -> Any:
    """Graph with an arrow from each element to the one that follows it."""
    from scipy.sparse import csr_array

    count = len(following)
    arrows = (np.ones(count, np.int8), following.astype(np.int32), np.arange(count + 1))
    return csr_array(arrows, shape=(count, count))


def _cycles(following: Indices) -> tuple[Indices, Ints]:
    """Order the elements of a permutation cycle by cycle: elements, and where each cycle begins.

    Each cycle begins at its smallest element, and the one with the smallest comes first. Where one
    ends, the next is hung on, so that a single search walks through all of them.
    """
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    count, cycle = connected_components(_graph(following), connection="strong")
    everything = np.arange(len(following), dtype=np.int32)
    smallest = np.empty(count, np.int32)
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
    return order, np.flatnonzero(first[order])


@dataclass(frozen=True)
class _Rings:
    """Corners of rings, one ring after another.

    Parameters
    ----------
    corners
        (n, 2), x and y.
    cuts
        Where each ring begins in ``corners``, and the end.
    pixel
        Of each ring, a pixel of its piece: a flat index of the label image.
    piece
        Of each ring, its piece.
    outer
        Of each ring, whether it is no hole.
    """

    corners: Indices
    cuts: Ints
    pixel: Ints
    piece: Indices
    outer: NDArray[np.bool_]

    @classmethod
    def of(cls, edges: _Edges, order: Indices, first: Ints) -> _Rings:
        """Take the corners of the walks, which begin at the ``first`` of the ordered edges."""
        start = np.concatenate(edges.starts)[order]
        direction = np.repeat(np.arange(4, dtype=np.int8), [len(s) for s in edges.starts])[order]
        y, x = np.divmod(start, edges.stride)
        corner = np.diff(direction, prepend=-1) != 0
        corner[first] = direction[first] != direction[np.append(first[1:], len(order)) - 1]
        # Twice the area to the right of the walk: only vertical edges add to it.
        turned = np.where(direction == 1, x, np.where(direction == 3, -x, 0))
        area = np.add.reduceat(turned, first, dtype=np.int64)
        begin = start[first]  # where an edge goes to the right, above a pixel of the piece
        return cls(
            corners=np.stack([x[corner] - 1, y[corner] - 1], axis=1),
            cuts=np.append(0, np.add.reduceat(corner, first, dtype=np.int64).cumsum()),
            pixel=(y[first] - 1).astype(np.int64) * (edges.stride - 2) + x[first] - 1,
            piece=edges.pieces[begin],
            outer=area > 0,
        )


def _ordered(rings: _Rings, label: Labels, origin: tuple[int, int]) -> Outlines:
    """Put the rings, ``label`` the cell of each, into the order of cells and parts, outer first."""
    order = np.lexsort((~rings.outer, rings.piece, label))
    begin, size = rings.cuts[:-1][order], np.diff(rings.cuts)[order]
    cuts = np.append(0, np.cumsum(size))
    at = np.repeat(begin - cuts[:-1], size) + np.arange(cuts[-1])
    label = label[order]
    first = np.flatnonzero(np.diff(label, prepend=0))
    return Outlines(
        ids=label[first].astype(np.int64),
        corners=rings.corners[at] + np.array(origin[::-1], rings.corners.dtype),
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

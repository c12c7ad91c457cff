"""Labels to polygons along the pixel edges and back, for all cells of an image at once.

The polygons run along the edges of the pixels, in x and y counted from the upper left corner of
the image, so that filling them gives the same pixels again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels

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


def trace_labels(labels: Labels, *, simple: bool = True) -> list[CellOutline]:
    """Trace the outlines of all cells.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background.
    simple
        Whether rings that touch themselves are cut in two, an outer one and a hole.

    Returns
    -------
    list
        In the order of the ids. No ring crosses itself, none touches itself where ``simple``, and
        rings of one part touch at corners only, so that geometry libraries find them valid.

    Notes
    -----
    All edges of the image are linked to rings at once by pointer doubling; the only loop goes over
    the finished rings.
    """
    edges = _find_edges(labels)
    if not len(edges.start):
        return []
    following = _link(edges)
    order, ring = _cycles(_split(edges, following) if simple else following)
    rings = _Rings.of(edges, order, ring)
    component = _components(labels, edges, order, rings)
    return list(_assemble(rings, component))


def fill_rings(
    rings: Sequence[NDArray[np.float64] | Ring], owners: Sequence[int], shape: tuple[int, int]
) -> Labels:
    """Fill polygons: a pixel belongs to those whose inside holds its centre, even-odd.

    Parameters
    ----------
    rings
        Corners (n, 2), x and y in pixels from the upper left corner of the image. What lies
        outside of the image is cut off.
    owners
        The id, >= 1, that each ring belongs to; the rings of one id are filled together. Where
        cells overlap, the one that comes later wins.
    shape
        Height and width.

    Returns
    -------
    Labels
        int32, axes ``YX``. Exact for the rings of :func:`trace_labels`.
    """
    if not len(rings):
        return np.zeros(shape, np.int32)
    rank = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    cell = np.array([rank[owner] for owner in owners])
    ids = np.array(list(rank), np.int64)
    sizes = np.array([len(ring) for ring in rings])
    points = np.concatenate([np.asarray(ring, np.float64) for ring in rings])
    following = np.arange(1, len(points) + 1)
    following[np.cumsum(sizes) - 1] = np.cumsum(sizes) - sizes
    row, column, number = _crossings(points, points[following], np.repeat(cell, sizes), shape[0])
    order = np.lexsort((column, row, number))
    row, number = row[order[::2]], number[order[::2]]
    start = np.clip(np.ceil(column[order[::2]] - 0.5), 0, shape[1]).astype(np.int64)
    stop = np.clip(np.ceil(column[order[1::2]] - 0.5), 0, shape[1]).astype(np.int64)
    return paint_runs(row * shape[1] + start, stop - start, ids[number], shape)


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
    key = edges.start * 4 + edges.direction
    order = np.argsort(key)
    ordered = key[order]
    following = np.full(len(key), -1)
    for turn in (-1, 0, 1):  # the last that exists wins: right turns first of all
        wanted = edges.end * 4 + (edges.direction + turn) % 4
        found = order[np.minimum(np.searchsorted(ordered, wanted), len(key) - 1)]
        there = (key[found] == wanted) & (edges.label[found] == edges.label)
        following = np.where(there, found, following)
    return following


def _split(edges: _Edges, following: Ints) -> Ints:
    """Cut rings that touch themselves in two where they do.

    There, both ways through the point belong to one ring. Exchanging what follows makes two rings
    of it; rings in a plane do not interlace, so all points can be dealt with at once.
    """
    walk, ring = _cycles(following)
    ring_of = np.empty(len(following), np.int64)
    ring_of[walk] = ring
    order = np.lexsort((edges.end, edges.label))
    same = (edges.end[order][1:] == edges.end[order][:-1]) & (
        edges.label[order][1:] == edges.label[order][:-1]
    )
    a, b = order[:-1][same], order[1:][same]
    touch = ring_of[a] == ring_of[b]
    a, b = a[touch], b[touch]
    result = following.copy()
    result[a], result[b] = following[b], following[a]
    return result


def _cycles(following: Ints) -> tuple[Ints, Ints]:
    """Order the elements of a permutation cycle by cycle: elements, and the cycle of each.

    By pointer doubling: first the smallest element of each cycle, then how far it is ahead.
    """
    count = len(following)
    everything = np.arange(count)
    first, jump = everything.copy(), following
    while True:
        lower = np.minimum(first, first[jump])
        if np.array_equal(lower, first):
            break
        first, jump = lower, jump[jump]
    is_first = first == everything
    last = is_first[following]  # the walk ends before it begins anew
    ahead = np.where(last, 0, 1)
    jump = np.where(last, everything, following)
    while not last[jump].all():
        ahead, jump = ahead + ahead[jump], jump[jump]
    order = np.lexsort((-ahead, first))
    return order, np.cumsum(is_first[order]) - 1


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


def _assemble(rings: _Rings, component: Ints) -> Iterator[CellOutline]:
    """Gather rings to parts and parts to cells, outer rings first."""
    order = np.lexsort((~rings.outer, component, rings.label))
    cuts = rings.cuts.tolist()
    current: CellOutline | None = None
    for number, cell, outer in zip(
        order.tolist(), rings.label[order].tolist(), rings.outer[order].tolist(), strict=True
    ):
        ring = rings.corners[cuts[number] : cuts[number + 1]]
        if current is None or current.id != cell:
            if current is not None:
                yield current
            current = CellOutline(cell, [])
        if outer:
            current.parts.append([ring])
        else:
            current.parts[-1].append(ring)
    if current is not None:
        yield current


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

"""Decoding block by block, with the same instances as :func:`~cellrim.representation.flow.decode`.

An image is cut into blocks that do not overlap. Within each, paths are followed as far as they go:
to where they end, or to the pixel at which they leave the block. What is left to know of a block
is small: where paths leave it, what lies along its edges, and sums over its pixels. Putting those
together joins each path with its continuation next door, so that a cell is one cell whatever the
blocks, on a corner of four and larger than any of them included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.components import connected
from cellrim.core.labels import Labels
from cellrim.representation.flow import (
    DecodeOptions,
    follow,
    foreground_of,
    group_sinks,
    next_node,
    pixel_confidence,
)

SUMS = ("area", "probability", "length", "y", "x")
"""Order of the sums over the pixels of a piece; y and x are coordinates in the whole image."""

# Paths that cross more seams than 2**20 do not exist.
_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """What the other blocks need to know of one.

    A block's pixels belong to pieces, numbered from 1: those whose paths end inside first, then
    those whose paths leave through one pixel.

    Parameters
    ----------
    exits
        int64, (e, 2): the pixel beyond the edge to which the paths of each of the last e pieces
        go; y, x in the whole image, as all coordinates here.
    sinks, sink_pieces
        int64, (s, 2) and (s,): ends of paths near the edge, and the pieces they belong to.
    edges, edge_pieces
        int64, (k, 2) and (k,): the foreground pixels along the edge, and their pieces.
    sums
        float64, (5, n): :data:`SUMS` of each of the n pieces.
    """

    exits: NDArray[np.int64]
    sinks: NDArray[np.int64]
    sink_pieces: NDArray[np.int64]
    edges: NDArray[np.int64]
    edge_pieces: NDArray[np.int64]
    sums: NDArray[np.float64]

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return int(self.sums.shape[1])


SUMMARY_KEYS = tuple(field.name for field in fields(BlockSummary))
"""Names of what a summary holds, in its order."""

Ways = NDArray[np.int64]
"""int64, (w, 5): y and x of a pixel, y and x of the next on its path, and its piece. The pixels of
a block that lie on a path through it, from its edge to beyond its edge."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The instances of the whole image.

    Parameters
    ----------
    tables
        For each block uint32, (pieces + 1,): the instance of each piece; 0 for the background and
        for what is too small or too doubtful.
    sums
        float64, (5, n): :data:`SUMS` of the instances 1..n, which are numbered by their
        centroids, from the top and from the left.
    """

    tables: tuple[NDArray[np.uint32], ...]
    sums: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """How sure the network is of each instance, 0..1."""
        return _confidence(self.sums).astype(np.float32)


def decode_block(
    maps: NDArray[np.float32],
    core: tuple[slice, slice],
    *,
    origin: tuple[int, int],
    options: DecodeOptions,
) -> tuple[Labels, BlockSummary, Ways]:
    """Follow the paths within one block.

    Parameters
    ----------
    maps
        float32, axes ``CYX``: the maps of the block and of one pixel around it, wherever the image
        goes on there.
    core
        Rows and columns of the block in ``maps``.
    origin
        The first pixel of ``maps`` in the whole image.
    options
        Thresholds.

    Returns
    -------
    pieces
        int32, axes ``YX``, the size of the core; 0 is background.
    summary
        What :func:`join_blocks` needs.
    ways
        What it needs besides of blocks through which paths go round and round.
    """
    foreground = foreground_of(maps, options)
    nodes = np.flatnonzero(foreground)
    width = foreground.shape[1]
    y, x = np.divmod(nodes, width)
    inside = _within(y, core[0]) & _within(x, core[1])
    step = next_node(maps, foreground, nodes)
    here = np.arange(len(nodes), dtype=np.int32)
    ends = follow(np.where(inside, step, here).astype(np.int32))
    stays = inside & inside[ends]
    leaves = inside & ~inside[ends]
    pieces = np.zeros(len(nodes), np.int32)
    pieces[stays] = group_sinks(ends[stays], nodes, foreground.shape, options.sink_radius)
    groups = int(pieces.max(initial=0))
    doors, through = np.unique(ends[leaves], return_inverse=True)
    pieces[leaves] = through.reshape(-1) + groups + 1
    image = np.zeros(foreground.shape, np.int32)
    image.ravel()[nodes] = pieces
    at = np.stack([y + origin[0], x + origin[1]], axis=1).astype(np.int64)
    at_edge = inside & (_depth(y, x, core) == 0)
    edge = np.flatnonzero(at_edge)
    way = _ways(step, np.flatnonzero(at_edge & leaves), inside)
    deepest = int(_depth(y[way], x[way], core).max(initial=0))
    sinks = np.unique(ends[stays])
    # As far from what lies on a way through the block, or at its edge, as two ends can be apart.
    near = sinks[_depth(y[sinks], x[sinks], core) <= deepest + 2 * options.sink_radius + 1]
    summary = BlockSummary(
        exits=at[doors],
        sinks=at[near],
        sink_pieces=pieces[near].astype(np.int64),
        edges=at[edge],
        edge_pieces=pieces[edge].astype(np.int64),
        sums=_sums(maps, nodes[inside], pieces[inside], at[inside], groups + len(doors)),
    )
    return image[core], summary, np.hstack([at[way], at[step[way]], pieces[way, np.newaxis]])


def join_blocks(
    blocks: Sequence[BlockSummary],
    ways: Callable[[int], Ways],
    *,
    width: int,
    options: DecodeOptions,
) -> Joined:
    """Put the pieces of all blocks together.

    Parameters
    ----------
    blocks
        From :func:`decode_block`; they cover the image without overlap.
    ways
        Returns those of a block by its number. Asked for few: only where paths go round and round.
    width
        Width of the whole image.
    options
        Thresholds.
    """
    counts = np.array([block.pieces for block in blocks], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    exits, targets = _follow_exits(blocks, starts, width)
    rings, ring_owners = _rings(ways, starts, exits, targets, width)
    lost = targets < 0  # paths that lead nowhere end beyond the edge
    ends = np.concatenate(
        [*(b.sinks for b in blocks), np.concatenate([b.exits for b in blocks])[lost], rings]
    )
    owners = np.concatenate(
        [
            *(b.sink_pieces + s - 1 for b, s in zip(blocks, starts[:-1], strict=True)),
            exits[lost],
            ring_owners,
        ]
    )
    first, second = _near_ends(ends, owners, options.sink_radius)
    goes_on = targets >= 0
    owner = connected(
        int(starts[-1]),
        np.concatenate([exits[goes_on], first]),
        np.concatenate([targets[goes_on], second]),
    )
    pieces = np.concatenate([np.zeros((len(SUMS), 0)), *(block.sums for block in blocks)], axis=1)
    total = int(owner.max(initial=-1)) + 1
    sums: NDArray[np.float64] = np.stack(
        [np.bincount(owner, weights=row, minlength=total) for row in pieces]
    ).astype(np.float64)
    keep = options.keeps(sums[0], _confidence(sums))
    centre = sums[3:] / np.maximum(sums[0], 1)
    kept = np.flatnonzero(keep)
    order = kept[np.lexsort((centre[1, kept], centre[0, kept]))]
    table = np.zeros(total, np.uint32)
    table[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    final = table[owner]
    tables = tuple(
        np.concatenate([np.zeros(1, np.uint32), final[a:b]]) for a, b in pairwise(starts)
    )
    return Joined(tables, sums[:, order])


def _within(values: NDArray[np.intp], part: slice) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (values >= part.start) & (values < part.stop)
    return result


def _depth(y: NDArray[np.intp], x: NDArray[np.intp], core: tuple[slice, slice]) -> NDArray[np.intp]:
    """Distance of pixels of a block from its edge: 0 along it, negative beyond."""
    rows, columns = core
    depth: NDArray[np.intp] = np.minimum.reduce(
        [y - rows.start, rows.stop - 1 - y, x - columns.start, columns.stop - 1 - x]
    )
    return depth


def _ways(
    step: NDArray[np.int32], entries: NDArray[np.intp], inside: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Nodes of a block on the paths from some of them to beyond its edge."""
    on_way = np.zeros(len(step), bool)
    front: NDArray[Any] = entries
    while len(front):
        on_way[front] = True
        front = np.unique(step[front])
        front = front[inside[front] & ~on_way[front]]
    return np.flatnonzero(on_way)


def _sums(
    maps: NDArray[np.float32],
    nodes: NDArray[np.intp],
    pieces: NDArray[np.int32],
    at: NDArray[np.int64],
    count: int,
) -> NDArray[np.float64]:
    probability, length = pixel_confidence(maps, nodes)
    values = (np.ones(len(nodes)), probability, length, at[:, 0], at[:, 1])
    sums = [np.bincount(pieces - 1, weights=v, minlength=count) for v in values]
    return np.stack(sums).astype(np.float64)


def _confidence(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    area = np.maximum(sums[0], 1)
    result: NDArray[np.float64] = (sums[1] / area) * (sums[2] / area)
    return result


def _follow_exits(
    blocks: Sequence[BlockSummary], starts: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Global numbers of all pieces that leave their block, and of those they go on in.

    -1 where the pixel beyond the edge is background for its own block: the last digits of a map
    may differ between two tiles.
    """
    edges = np.concatenate([_flat(b.edges, width) for b in blocks])
    owners = np.concatenate(
        [b.edge_pieces + s - 1 for b, s in zip(blocks, starts[:-1], strict=True)]
    )
    order = np.argsort(edges)
    edges, owners = edges[order], owners[order]
    wanted = np.concatenate([_flat(b.exits, width) for b in blocks])
    exits = np.concatenate(
        [
            np.arange(end - len(b.exits), end, dtype=np.int64)
            for b, end in zip(blocks, starts[1:], strict=True)
        ]
    )
    place = np.searchsorted(edges, wanted)
    found = place < len(edges)
    found[found] = edges[place[found]] == wanted[found]
    targets = np.full(len(exits), -1, np.int64)
    targets[found] = owners[place[found]]
    return exits, targets


def _rings(
    ways: Callable[[int], Ways],
    starts: NDArray[np.int64],
    exits: NDArray[np.int64],
    targets: NDArray[np.int64],
    width: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of paths that come back to themselves through several blocks, and their pieces.

    Paths end on each of them, as on those of a ring within a block.
    """
    turning = exits[_in_cycles(int(starts[-1]), exits, targets)]
    rows = [np.zeros((0, 5), np.int64)]
    for number in np.unique(np.searchsorted(starts, turning, side="right") - 1).tolist():
        found = ways(number)
        piece = found[:, 4] + starts[number] - 1
        rows.append(np.column_stack([found[:, :4], piece])[np.isin(piece, turning)])
    pixels = np.concatenate(rows)
    pixels = pixels[np.argsort(_flat(pixels, width))]
    here, there = _flat(pixels, width), _flat(pixels[:, 2:], width)
    place = np.searchsorted(here, there)
    known = place < len(here)
    known[known] = here[place[known]] == there[known]
    # One more place, which leads to itself, stands for everything that is on no such way.
    step = np.append(np.where(known, place, len(here)), len(here))
    for _ in range(_DOUBLINGS):
        step = step[step]
    ring = np.unique(step)
    ring = ring[ring < len(here)]
    return pixels[ring, :2], pixels[ring, 4]


def _near_ends(
    at: NDArray[np.int64], owner: NDArray[np.int64], radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of pieces whose paths end so close together that they are one cell."""
    if len(at) == 0:
        return owner, owner
    from scipy.spatial import cKDTree  # takes a while to import

    pairs = cKDTree(at).query_pairs(2 * radius + 1 + 0.5, p=np.inf, output_type="ndarray")
    close = _close_offsets(radius)
    offset = at[pairs[:, 1]] - at[pairs[:, 0]] + (2 * radius + 1)
    pairs = pairs[close[offset[:, 0], offset[:, 1]]]
    return owner[pairs[:, 0]], owner[pairs[:, 1]]


def _in_cycles(
    count: int, exits: NDArray[np.int64], targets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which exits lie on a path that comes back to itself."""
    goes_to = np.arange(count, dtype=np.int64)
    goes_to[exits] = np.where(targets >= 0, targets, exits)
    for _ in range(_DOUBLINGS):
        goes_to = goes_to[goes_to]
    is_exit = np.zeros(count, bool)
    is_exit[exits[targets >= 0]] = True
    turning = np.zeros(count, bool)
    turning[goes_to] = True
    result: NDArray[np.bool_] = (turning & is_exit)[exits]
    return result


def _close_offsets(radius: int) -> NDArray[np.bool_]:
    """Mark offsets between two sinks that dilation and 8-connected labelling would join."""
    steps = np.arange(-2 * radius - 1, 2 * radius + 2)
    beyond = np.maximum(np.abs(steps) - 1, 0)  # the last step may be a diagonal one
    result: NDArray[np.bool_] = beyond[:, np.newaxis] + beyond <= 2 * radius
    return result


def _flat(at: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    result: NDArray[np.int64] = at[:, 0] * width + at[:, 1]
    return result

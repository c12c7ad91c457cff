"""Labels to maps: what the network learns, as :mod:`cellrim.representation.flow` describes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as connected_components

from cellrim.core.labels import Labels
from cellrim.representation.flow import MAPS

_SURE_LOGIT = 10.0
_FAR = np.float32(1e9)
# A distance that still falls by less than this (pixels) no longer turns the gradient visibly.
_SETTLED = np.float32(1e-3)
# Straight neighbours in opposite pairs (y, then x), then the diagonals.
_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
# Pieces below this share of their instance are slips of a pen.
_SPECK = 0.1


def encode(labels: Labels, canonical_diameter: float) -> NDArray[np.float32]:
    """Turn a label image into the maps the network learns.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background. An instance of several pieces (8-connected) is
        encoded piece by piece; pieces under a tenth of it are slips of a pen and left out.
    canonical_diameter
        The cell diameter the network is trained at, in pixels.

    Returns
    -------
    ndarray
        float32, axes ``CYX`` with the channels of :data:`MAPS`. Flow and diameter are 0 in the
        background; the flow has length 1 in cells, except at the centre of each, where it is 0.
    """
    maps = np.zeros((len(MAPS), *labels.shape), np.float32)
    pieces = pieces_of(labels)
    foreground = pieces > 0
    maps[0] = np.where(foreground, _SURE_LOGIT, -_SURE_LOGIT)
    if not foreground.any():
        return maps
    nodes = np.flatnonzero(foreground)
    neighbours = _same_piece_neighbours(pieces, nodes)
    distance = _geodesic_distance(neighbours, _centres(pieces, nodes))
    flow = _downhill(distance, neighbours)
    flat = maps.reshape(len(MAPS), -1)
    flat[1, nodes], flat[2, nodes] = flow
    flat[3, nodes] = _log2_diameter(labels.ravel()[nodes], canonical_diameter)
    return maps


def pieces_of(labels: Labels) -> Labels:
    """Label each connected piece of each instance with an id of its own, without the specks."""
    pieces: Labels = connected_components(  # type: ignore[no-untyped-call]
        labels, connectivity=2
    ).astype(np.int32)
    inside = np.flatnonzero(labels)
    owner = np.zeros(int(pieces.max()) + 1, np.int32)
    owner[pieces.ravel()[inside]] = labels.ravel()[inside]
    piece_area = np.bincount(pieces.ravel())
    cell_area = np.bincount(labels.ravel())
    speck = piece_area < _SPECK * cell_area[owner]
    speck[0] = False
    if speck.any():
        pieces[speck[pieces]] = 0
    return pieces


def _log2_diameter(ids: NDArray[np.int32], canonical: float) -> NDArray[np.float32]:
    area = np.bincount(ids)
    ratio = np.log2(np.sqrt(np.maximum(area, 1) * 4 / np.pi) / canonical)
    result: NDArray[np.float32] = ratio.astype(np.float32)[ids]
    return result


def _same_piece_neighbours(pieces: Labels, nodes: NDArray[np.intp]) -> NDArray[np.int32]:
    """Index into ``nodes`` of each of the eight neighbours; ``len(nodes)`` for "not my cell"."""
    height, width = pieces.shape
    none = len(nodes)
    index = np.full((height + 2, width + 2), none, np.int32)
    padded = np.zeros((height + 2, width + 2), np.int32)
    inner = np.full(height * width, none, np.int32)
    inner[nodes] = np.arange(none, dtype=np.int32)
    index[1:-1, 1:-1] = inner.reshape(height, width)
    padded[1:-1, 1:-1] = pieces
    y, x = np.divmod(nodes, width)
    mine = pieces.ravel()[nodes]
    out = np.empty((len(_NEIGHBOURS), none), np.int32)
    for k, (dy, dx) in enumerate(_NEIGHBOURS):
        at = (y + 1 + dy, x + 1 + dx)
        out[k] = np.where(padded[at] == mine, index[at], none)
    return out


def _centres(pieces: Labels, nodes: NDArray[np.intp]) -> NDArray[np.int32]:
    """One node per piece: near the centroid, and far from the rim where the two disagree.

    The key is the distance to the centroid less twice the distance to the rim: the centroid
    itself for convex cells, the middle of the spine for a crescent, the neck of a dumbbell.
    """
    width = pieces.shape[1]
    y, x = np.divmod(nodes, width)
    ids = pieces.ravel()[nodes]
    count = np.maximum(np.bincount(ids), 1)
    centre_y = np.bincount(ids, weights=y) / count
    centre_x = np.bincount(ids, weights=x) / count
    to_rim = ndimage.distance_transform_edt(~rim_of(pieces)).ravel()[nodes]
    key = np.hypot(y - centre_y[ids], x - centre_x[ids]) - 2 * to_rim
    order = np.lexsort((key, ids))
    first = np.r_[True, np.diff(ids[order]) > 0]
    result: NDArray[np.int32] = order[first].astype(np.int32)
    return result


def rim_of(pieces: Labels) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour outside of their own piece; beyond the frame counts as inside."""
    rim = np.zeros(pieces.shape, bool)
    vertical = pieces[1:] != pieces[:-1]
    horizontal = pieces[:, 1:] != pieces[:, :-1]
    rim[1:] |= vertical
    rim[:-1] |= vertical
    rim[:, 1:] |= horizontal
    rim[:, :-1] |= horizontal
    return rim


def _geodesic_distance(
    neighbours: NDArray[np.int32], centres: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Distance inside the cell to its centre, for each node and one dummy that is far away.

    Solves the eikonal equation by updating the nodes around those that changed (a moving front),
    so that the work is about linear in pixels.
    """
    count = neighbours.shape[1]
    distance = np.full(count + 1, _FAR, np.float32)
    distance[centres] = 0
    changed: NDArray[np.intp] = centres.astype(np.intp)
    touched = np.zeros(count + 1, bool)
    while len(changed):
        touched[:] = False
        touched[neighbours[:, changed]] = True
        touched[count] = False
        active = np.flatnonzero(touched)
        better = _eikonal_update(distance[neighbours[:, active]])
        falls = better < distance[active] - _SETTLED
        changed = active[falls]
        distance[changed] = better[falls]
    return distance


def _eikonal_update(around: NDArray[np.float32]) -> NDArray[np.float32]:
    """First-order upwind solution from the distances of the eight neighbours, axes (8, n)."""
    vertical = np.minimum(around[0], around[1])
    horizontal = np.minimum(around[2], around[3])
    gap = np.abs(vertical - horizontal)
    one_sided = np.minimum(vertical, horizontal) + 1
    root = np.sqrt(np.maximum(2 - np.minimum(gap, 2) ** 2, 0))
    two_sided = (vertical + horizontal + root) / 2
    straight = np.where(gap < 1, two_sided, one_sided)
    diagonal = around[4:].min(axis=0) + np.float32(np.sqrt(2))
    result: NDArray[np.float32] = np.minimum(straight, diagonal)
    return result


def _downhill(
    distance: NDArray[np.float32], neighbours: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute unit vectors (y, x) downhill, only ever towards pixels of the same cell."""
    here = distance[:-1]
    around = distance[neighbours]
    fall = np.maximum(here - around, 0)
    fall[around >= _FAR] = 0
    flow_y = np.where(fall[0] > fall[1], -fall[0], fall[1])
    flow_x = np.where(fall[2] > fall[3], -fall[2], fall[3])
    stuck = (flow_y == 0) & (flow_x == 0) & (here > 0)
    if stuck.any():  # connected to its cell by a corner only
        way = fall[4:, stuck].argmax(axis=0)
        steps = np.asarray(_NEIGHBOURS[4:], np.float32)
        flow_y[stuck], flow_x[stuck] = steps[way, 0], steps[way, 1]
    length = np.hypot(flow_y, flow_x)
    length[length == 0] = 1
    return flow_y / length, flow_x / length

"""Which cells touch, and how far the nearest one is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def measure_neighbours(
    pairs: Pairs, ids: NDArray[np.int32], centres: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Measure where each cell is among the others.

    Parameters
    ----------
    pairs
        Ids of cells that touch, each pair once: :func:`cellrim.core.labels.touching`.
    ids
        The ids that are present, ascending.
    centres
        float64, (n, 2): centroid y and x of each.

    Returns
    -------
    dict
        ``neighbours``: number of cells that touch it, by an edge or a corner of a pixel;
        ``neighbour_distance``: mean distance of its centroid to theirs, NaN where none touches;
        ``nearest_id`` and ``nearest_distance``: the cell whose centroid is nearest, 0 and NaN where
        there is no other. Distances in pixels.
    """
    count = len(ids)
    first, second = (np.searchsorted(ids, side) for side in pairs)
    distance = np.hypot(*(centres[first] - centres[second]).T)
    both = np.concatenate([first, second])
    neighbours = np.bincount(both, minlength=count)
    total = np.bincount(both, weights=np.tile(distance, 2), minlength=count)
    mean = np.full(count, np.nan)
    np.divide(total, neighbours, out=mean, where=neighbours > 0)
    nearest, nearest_distance = _nearest(centres)
    return {
        "neighbours": neighbours.astype(np.int64),
        "neighbour_distance": mean,
        "nearest_id": np.where(nearest >= 0, np.append(ids, 0)[nearest], 0).astype(np.int64),
        "nearest_distance": nearest_distance,
    }


def _nearest(centres: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Position and distance of the nearest other centre; -1 and NaN where there is none."""
    if len(centres) < 2:
        return np.full(len(centres), -1), np.full(len(centres), np.nan)
    from scipy.spatial import KDTree

    distance, position = KDTree(centres).query(centres, k=2)
    # Of centres in one place, either may come first.
    second = (position[:, 0] == np.arange(len(centres))).astype(np.int64)[:, np.newaxis]
    chosen = np.take_along_axis(position, second, 1)[:, 0].astype(np.int64)
    return chosen, np.take_along_axis(distance, second, 1)[:, 0]

"""How far the outlines of matched instances lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, borders, relabel

_QUANTILE = 0.95


def boundary_distances(
    predicted: Labels,
    truth: Labels,
    *,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances between the outlines of pairs of instances.

    Parameters
    ----------
    predicted, truth
        int32, axes ``YX``, of one shape.
    pairs
        Predicted and true instance of each pair, counted from 0 in the order of the ids; an
        instance is in one pair at most.

    Returns
    -------
    mean, hausdorff95
        float64, one value per pair, in pixels. Mean: average over the outline pixels of both of
        the distance to the nearest outline pixel of the other. Hausdorff95: the larger of the 95th
        percentiles of these distances in each direction. Outline pixels are those of the instance
        beside another label or the frame.

    Notes
    -----
    All pairs share one tree: with the pair as a third coordinate, and pairs further apart than the
    image is wide, the nearest point is always one of the same pair.

    References
    ----------
    Taha and Hanbury, "Metrics for evaluating 3D medical image segmentation", BMC Medical Imaging
    15:29, 2015: average and quantile Hausdorff distance.
    """
    count = len(pairs[0])
    if not count:
        return np.zeros(0), np.zeros(0)
    far = 2.0 * sum(predicted.shape)
    first = _points(predicted, pairs[0], far=far)
    second = _points(truth, pairs[1], far=far)
    there, back = _nearest(first, second), _nearest(second, first)
    pair_of = [np.rint(p[:, 2] / far).astype(np.int64) for p in (first, second)]
    sums = np.zeros(count)
    sizes = np.zeros(count)
    tails = []
    for pair, distance in zip(pair_of, (there, back), strict=True):
        sums += np.bincount(pair, weights=distance, minlength=count)
        sizes += np.bincount(pair, minlength=count)
        tails.append(_quantiles(pair, distance))
    return sums / sizes, np.maximum(*tails)


def _points(labels: Labels, instances: NDArray[np.int64], *, far: float) -> NDArray[np.float64]:
    """Outline pixels of these instances: y, x and the pair times ``far``."""
    compact = relabel(labels)
    pair = np.full(int(compact.max(initial=0)) + 1, -1)
    pair[instances + 1] = np.arange(len(instances))
    y, x = np.nonzero(borders(compact))
    of = pair[compact[y, x]]
    kept = of >= 0
    return np.stack([y[kept], x[kept], of[kept] * far], axis=1).astype(np.float64)


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
    distance: NDArray[np.float64] = tree.query(points)[0]
    return distance


def _quantiles(group: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """95th percentile of each group, interpolated as numpy does; no group is empty."""
    ordered = values[np.lexsort((values, group))]
    sizes = np.bincount(group)
    first = np.cumsum(sizes) - sizes
    place = _QUANTILE * (sizes - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, sizes - 1)
    a, b = ordered[first + low], ordered[first + high]
    result: NDArray[np.float64] = a + (b - a) * (place - low)
    return result

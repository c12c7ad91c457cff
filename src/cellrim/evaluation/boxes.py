"""Boxes against boxes: overlap and one-to-one matching. Boxes may overlap, instances may not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellrim.evaluation.overlap import TWENTIETHS, reached

# Pairs of boxes compared at once: bounds the memory.
_BLOCK = 4_000_000


def box_pairs(
    predicted: NDArray[np.int64], truth: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs of boxes with an IoU of 0.5 and more.

    Parameters
    ----------
    predicted, truth
        int64, (n, 4): ``y0 x0 y1 x1``, ends exclusive.

    Returns
    -------
    predicted, truth, shared, union
        Of each pair: the positions of the boxes, and the pixels in both and in either.
    """
    step = max(1, _BLOCK // max(1, len(truth)))
    found = [
        _block_pairs(predicted[start : start + step], truth, start)
        for start in range(0, len(predicted), step)
    ]
    if not found:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, empty
    first, second, shared, union = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, shared, union


def match_boxes(
    pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
) -> list[NDArray[np.int64]]:
    """Match boxes one to one at each threshold: as many as possible, then of the largest IoU.

    Parameters
    ----------
    pairs
        From :func:`box_pairs`.
    shape
        Number of predicted and of true boxes.

    Returns
    -------
    list of ndarray
        Positions in the pairs, for each threshold of ``overlap.THRESHOLDS``.
    """
    first, second, shared, union = pairs
    enough = reached(shared, union)
    iou = shared / np.maximum(union, 1)
    return [_assign(first, second, iou, enough[:, k], shape) for k in range(len(TWENTIETHS))]


def _areas(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas: NDArray[np.int64] = sides[:, 0] * sides[:, 1]
    return areas


def _block_pairs(
    predicted: NDArray[np.int64], truth: NDArray[np.int64], start: int
) -> tuple[NDArray[np.int64], ...]:
    low = np.maximum(predicted[:, np.newaxis, :2], truth[np.newaxis, :, :2])
    high = np.minimum(predicted[:, np.newaxis, 2:], truth[np.newaxis, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = _areas(predicted)[:, np.newaxis] + _areas(truth) - shared
    first, second = np.nonzero((2 * shared >= union) & (shared > 0))
    return first + start, second, shared[first, second], union[first, second]


def _assign(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    iou: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Optimal one-to-one assignment among the allowed pairs.

    Each box that takes part gets a partner of its own that stands for "none". That costs more than
    all that other pairs could save by it, so the number of matches comes first.
    """
    chosen = np.flatnonzero(allowed)
    if not len(chosen):
        return chosen
    from scipy import sparse
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    used, row = np.unique(first[chosen], return_inverse=True)
    count = len(used)
    none = np.arange(count)
    cost = np.concatenate([2 - iou[chosen], np.full(count, count + 3.0)])
    rows = np.concatenate([row.reshape(-1), none])
    columns = np.concatenate([second[chosen], shape[1] + none])
    table = sparse.csr_matrix((cost, (rows, columns)), shape=(count, shape[1] + count))
    partner = min_weight_full_bipartite_matching(table)[1]
    taken: NDArray[np.int64] = chosen[partner[row.reshape(-1)] == second[chosen]]
    return taken

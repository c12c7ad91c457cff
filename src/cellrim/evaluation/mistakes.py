"""What became of each cell: found, missed, split, merged or invented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.datasets.base import Truth
from cellrim.evaluation.boxes import box_pairs, match_boxes
from cellrim.evaluation.counts import mostly_in
from cellrim.evaluation.overlap import find_overlap, match, split_pairs
from cellrim.measure.shape import bounding_boxes

FOUND, MISSED, INVENTED, SPLIT, MERGED, IGNORED = range(6)
"""What an instance can be; see :class:`Verdict`."""

Kinds = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What each instance of an image is.

    Parameters
    ----------
    truth
        uint8, one per true instance in the order of the ids (of the boxes, where those are
        compared): found, missed, split, or merged with others.
    predicted
        The same of the predicted ones: found, invented, a part of a split, merging several, or
        ignored, which costs nothing.
    """

    truth: Kinds
    predicted: Kinds


def judge(predicted: Labels, truth: Truth, *, ignore_border: bool = True) -> Verdict:
    """Say what each instance is, at an IoU of 0.5.

    Parameters
    ----------
    predicted
        int32, axes ``YX``; ids may have gaps.
    truth
        Of the same size. Where it has boxes, boxes are compared, and there are no splits.
    ignore_border
        Whether predicted instances that touch the frame and have no true box cost nothing.

    Notes
    -----
    A split or merged cell stays split or merged if one of its parts matches. The numbers of found
    ones may therefore be smaller than the true positives.
    """
    if truth.boxes is not None:
        return _judge_boxes(predicted, truth, ignore_border=ignore_border)
    overlap = find_overlap(predicted, truth.labels)
    matches = match(overlap)
    splits, merges = split_pairs(overlap)
    true = np.full(len(overlap.truth_areas), MISSED, np.uint8)
    found = np.full(len(overlap.predicted_areas), INVENTED, np.uint8)
    found[mostly_in(predicted, truth.ignore)] = IGNORED
    for pairs, kind in ((matches, FOUND), (splits, SPLIT), (merges, MERGED)):
        true[overlap.truth[pairs]] = kind
        found[overlap.predicted[pairs]] = kind
    return Verdict(true, found)


def _judge_boxes(predicted: Labels, truth: Truth, *, ignore_border: bool) -> Verdict:
    assert truth.boxes is not None
    corners = bounding_boxes(predicted)
    frame = np.array(predicted.shape * 2)
    wanted = np.clip(truth.boxes.corners.reshape(-1, 4), 0, frame)
    pairs = box_pairs(corners, wanted)
    best = match_boxes(pairs, (len(corners), len(wanted)))[0]
    free = mostly_in(predicted, truth.ignore)
    if ignore_border:
        free |= (corners[:, :2] == 0).any(axis=1) | (corners[:, 2:] == frame[:2]).any(axis=1)
    true = np.full(len(wanted), MISSED, np.uint8)
    found = np.where(free, IGNORED, INVENTED).astype(np.uint8)
    true[pairs[1][best]] = FOUND
    found[pairs[0][best]] = FOUND
    return Verdict(true, found)


def box_lines(corners: NDArray[np.int64], shape: tuple[int, int], *, width: int) -> Labels:
    """Draw boxes as a label image of frames, the first box with id 1; later ones lie above.

    Parameters
    ----------
    corners
        int64, (n, 4): ``y0 x0 y1 x1``, ends exclusive.
    shape
        Of the image.
    width
        Of the lines, in pixels.
    """
    result = np.zeros(shape, np.int32)
    for k, (y0, x0, y1, x1) in enumerate(np.maximum(corners, 0).tolist(), start=1):
        result[y0 : y0 + width, x0:x1] = k
        result[max(y1 - width, y0) : y1, x0:x1] = k
        result[y0:y1, x0 : x0 + width] = k
        result[y0:y1, max(x1 - width, x0) : x1] = k
    return result

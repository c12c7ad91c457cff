"""Compare one image with its truth: counts of instances and pixels, which add up.

``count_image`` and ``count_boxes`` turn one image into :class:`Counts`, ``+`` and ``sum`` pool
them, and ``scores`` turns counts into metrics.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, as_labels, relabel
from cellrim.datasets.base import Boxes
from cellrim.errors import InputError
from cellrim.evaluation.boundary import boundary_distances
from cellrim.evaluation.boxes import box_pairs, match_boxes
from cellrim.evaluation.overlap import (
    Overlap,
    aggregated_jaccard,
    count_splits,
    find_overlap,
    match,
    reached,
)
from cellrim.evaluation.scores import Scores, scores
from cellrim.evaluation.tally import Counts
from cellrim.measure.shape import bounding_boxes

__all__ = ["Counts", "Scores", "count_boxes", "count_image", "scores"]


def count_image(
    predicted: Labels,
    truth: Labels,
    *,
    ignore: NDArray[np.bool_] | None = None,
    name: str | None = None,
    boundaries: bool = True,
) -> Counts:
    """Compare a predicted label image with the true one.

    Parameters
    ----------
    predicted, truth
        Axes ``YX``, of one shape; 0 is background, ids may have gaps.
    ignore
        bool, axes ``YX``, True where nobody says what is there. Predicted instances with more than
        half of their pixels there and without a match are no false positives, and these pixels
        leave the pixel counts. The IoU of instances is still that of all of their pixels: what is
        ignored are mostly other cells, and to swallow one is a mistake.
    name
        The image's name, for error messages.
    boundaries
        Whether to compare the outlines of matched instances, which takes most of the time.

    Returns
    -------
    Counts
        The counts of one image.

    Raises
    ------
    InputError
        If the shapes differ or an array is no label image.
    """
    p, t = _checked(predicted, "predicted", name), _checked(truth, "true", name)
    _check_shape(p.shape, t.shape, name=name, what="a true label image")
    hidden = _checked_ignore(ignore, p.shape, name)
    overlap = find_overlap(p, t)
    free = mostly_in(p, hidden)
    matches = match(overlap)
    tp, fp, fn = _instances(overlap, matches, free)
    aji = aggregated_jaccard(overlap, free=free)
    splits, merges = count_splits(overlap)
    mean, tail = np.zeros(0), np.zeros(0)
    if boundaries:
        pairs = overlap.predicted[matches], overlap.truth[matches]
        mean, tail = boundary_distances(p, t, pairs=pairs)
    pixels = _pixels(p > 0, t > 0, hidden)
    return Counts(
        images=1,
        masks=1,
        tp=tp,
        fp=fp,
        fn=fn,
        iou_sum=float(overlap.iou[matches].sum()),
        count_error=abs(fp[0] - fn[0]),
        pixel_tp=pixels[0],
        pixel_fp=pixels[1],
        pixel_fn=pixels[2],
        aji_shared=aji[0],
        aji_union=aji[1],
        splits=splits,
        merges=merges,
        measured=len(mean),
        boundary_sum=float(mean.sum()),
        hausdorff_sum=float(tail.sum()),
    )


def count_boxes(
    predicted: Labels,
    boxes: Boxes,
    *,
    ignore_border: bool = False,
    ignore: NDArray[np.bool_] | None = None,
    name: str | None = None,
) -> Counts:
    """Compare the bounding boxes of predicted instances with true boxes.

    Parameters
    ----------
    predicted
        Axes ``YX``; 0 is background, ids may have gaps.
    boxes
        True boxes in pixels; cut off at the frame.
    ignore_border
        Whether predicted instances that touch the frame and have no box are no false positives:
        many annotations leave out the cells that are cut by the frame.
    ignore
        bool, axes ``YX``, as for :func:`count_image`.
    name
        The image's name, for error messages.

    Returns
    -------
    Counts
        Instances by the IoU of their boxes; ``masks`` and what needs pixels are 0.

    Raises
    ------
    InputError
        If an array has another shape or is no label image.
    """
    p = _checked(predicted, "predicted", name)
    hidden = _checked_ignore(ignore, p.shape, name)
    found = bounding_boxes(p)
    frame = np.array(p.shape * 2)
    true = np.clip(np.asarray(boxes.corners, np.int64).reshape(-1, 4), 0, frame)
    free = mostly_in(p, hidden)
    if ignore_border:
        free |= (found[:, :2] == 0).any(axis=1) | (found[:, 2:] == frame[:2]).any(axis=1)
    pairs = box_pairs(found, true)
    matches = match_boxes(pairs, (len(found), len(true)))
    tp = tuple(len(m) for m in matches)
    fp = tuple(int((~free).sum() - (~free[pairs[0][m]]).sum()) for m in matches)
    fn = tuple(len(true) - n for n in tp)
    best = matches[0]
    return Counts(
        images=1,
        tp=tp,
        fp=fp,
        fn=fn,
        iou_sum=float((pairs[2][best] / pairs[3][best]).sum()),
        count_error=abs(fp[0] - fn[0]),
    )


def _checked(labels: Labels, which: str, name: str | None) -> Labels:
    try:
        return as_labels(labels)
    except InputError as error:
        raise InputError(f"Cannot use the {which} labels{_of(name)}: {error}") from error


def _check_shape(
    got: tuple[int, ...], expected: tuple[int, ...], *, name: str | None, what: str
) -> None:
    if got != expected:
        raise InputError(
            f"Expected {what} of the predicted one's shape {got}{_of(name)}, but got {expected}."
        )


def _of(name: str | None) -> str:
    return f" of {name}" if name else ""


def _checked_ignore(
    ignore: NDArray[np.bool_] | None, shape: tuple[int, ...], name: str | None
) -> NDArray[np.bool_] | None:
    if ignore is None:
        return None
    _check_shape(shape, ignore.shape, name=name, what="a mask of ignored pixels")
    return ignore.astype(bool, copy=False)


def mostly_in(labels: Labels, hidden: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Of each instance: whether more than half of its pixels are hidden."""
    compact = relabel(labels).ravel()
    area = np.bincount(compact, minlength=1)[1:]
    if hidden is None:
        return np.zeros(len(area), bool)
    inside = np.bincount(compact[hidden.ravel()], minlength=len(area) + 1)[1:]
    result: NDArray[np.bool_] = 2 * inside > area
    return result


def _instances(
    overlap: Overlap, matches: NDArray[np.int64], free: NDArray[np.bool_]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Count true positives, false positives and false negatives at each threshold."""
    enough = reached(overlap.shared[matches], overlap.union[matches])
    paid = ~free[overlap.predicted[matches]]
    tp = enough.sum(axis=0)
    fp = (~free).sum() - enough[paid].sum(axis=0)
    fn = len(overlap.truth_areas) - tp
    return tuple(tp.tolist()), tuple(fp.tolist()), tuple(fn.tolist())


def _pixels(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], hidden: NDArray[np.bool_] | None
) -> tuple[int, int, int]:
    if hidden is not None:
        predicted, truth = predicted & ~hidden, truth & ~hidden
    both = int(np.count_nonzero(predicted & truth))
    return both, int(np.count_nonzero(predicted)) - both, int(np.count_nonzero(truth)) - both

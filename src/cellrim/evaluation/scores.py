"""From counts to the numbers people compare. ``docs/metrics.md`` defines each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.evaluation.overlap import THRESHOLDS
from cellrim.evaluation.tally import Counts, columns_of

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics of one image or of many pooled.

    Ratios are 0..1, and 1 where there is nothing to find and nothing is found. NaN means not
    measured: pixel metrics where the truth are boxes, distances where nothing matches.

    Parameters
    ----------
    ap50, ap75, ap90
        TP / (TP + FP + FN) at IoU 0.5, 0.75, 0.9.
    map
        The mean of that over 0.5:0.05:0.95.
    f1, precision, recall
        At IoU 0.5.
    pq, sq, rq
        Panoptic, segmentation and recognition quality.
    aji
        Aggregated Jaccard index.
    dice, iou
        Of the pixels in cells, whichever the cell.
    boundary, hausdorff95
        Mean and 95 % Hausdorff distance of the outlines of matches, in pixels.
    count_error
        Mean over the images of the absolute error of the number of instances.
    splits, merges
        Numbers of true instances split and of predicted ones that merge several.
    """

    ap50: float
    ap75: float
    ap90: float
    map: float
    f1: float
    precision: float
    recall: float
    pq: float
    sq: float
    rq: float
    aji: float
    dice: float
    iou: float
    boundary: float
    hausdorff95: float
    count_error: float
    splits: float
    merges: float


def scores(counts: Counts) -> Scores:
    """Turn counts into metrics.

    Examples
    --------
    >>> scores(Counts(images=1, tp=(2,) * 10, fp=(1,) * 10, fn=(1,) * 10)).ap50
    0.5
    """
    return Scores(**{name: float(value) for name, value in score_rows(counts.as_row()).items()})


def score_rows(rows: Array) -> dict[str, Array]:
    """Turn many rows of counts into metrics at once.

    Parameters
    ----------
    rows
        float64; the last axis as :meth:`Counts.as_row`.

    Returns
    -------
    dict
        The fields of :class:`Scores` in their order; the leading axes of ``rows``.
    """
    c = columns_of(rows)
    tp, fp, fn = c["tp"][..., 0], c["fp"][..., 0], c["fn"][..., 0]
    ap = ap_curve(rows)
    nothing = (tp + fp + fn) == 0
    halves = tp + (fp + fn) / 2
    named = {
        "ap50": ap[..., THRESHOLDS.index(0.5)],
        "ap75": ap[..., THRESHOLDS.index(0.75)],
        "ap90": ap[..., THRESHOLDS.index(0.9)],
        "map": ap.mean(axis=-1),
        "f1": _ratio(tp, halves, 1.0),
        "precision": _ratio(tp, tp + fp, nothing),
        "recall": _ratio(tp, tp + fn, nothing),
        "pq": _ratio(c["iou_sum"], halves, 1.0),
        "sq": _ratio(c["iou_sum"], tp, nothing),
        "rq": _ratio(tp, halves, 1.0),
    }
    return named | _pixel_scores(c) | _other_scores(c)


def ap_curve(rows: Array) -> Array:
    """AP at each threshold: the leading axes of ``rows``, then the thresholds."""
    c = columns_of(rows)
    return _ratio(c["tp"], c["tp"] + c["fp"] + c["fn"], 1.0)


def _pixel_scores(c: dict[str, Array]) -> dict[str, Array]:
    tp, wrong = c["pixel_tp"], c["pixel_fp"] + c["pixel_fn"]
    named = {
        "aji": _ratio(c["aji_shared"], c["aji_union"], 1.0),
        "dice": _ratio(2 * tp, 2 * tp + wrong, 1.0),
        "iou": _ratio(tp, tp + wrong, 1.0),
    }
    return {name: np.where(c["masks"] > 0, value, np.nan) for name, value in named.items()}


def _other_scores(c: dict[str, Array]) -> dict[str, Array]:
    masks = c["masks"] > 0
    return {
        "boundary": _ratio(c["boundary_sum"], c["measured"], np.nan),
        "hausdorff95": _ratio(c["hausdorff_sum"], c["measured"], np.nan),
        "count_error": _ratio(c["count_error"], c["images"], np.nan),
        "splits": np.where(masks, c["splits"], np.nan),
        "merges": np.where(masks, c["merges"], np.nan),
    }


def _ratio(above: Array, below: Array, empty: float | NDArray[np.bool_]) -> Array:
    """Divide; ``empty`` where there is nothing to divide by."""
    safe = np.where(below > 0, below, 1.0)
    result: Array = np.where(below > 0, above / safe, empty)
    return result

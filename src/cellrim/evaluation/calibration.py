"""Is the confidence of a cell the chance that it is right? Reliability, and a map that repairs it.

A cell is right where it is matched at an IoU of 0.5. A confidence is calibrated where, of the
cells with a confidence of 0.8, four out of five are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from cellrim.core.labels import Labels
from cellrim.datasets.base import Truth
from cellrim.errors import InputError
from cellrim.evaluation.boxes import box_pairs, match_boxes
from cellrim.evaluation.counts import mostly_in
from cellrim.evaluation.overlap import find_overlap, match
from cellrim.measure.cells import bounding_boxes
from cellrim.representation.calibration import Calibration, logit

BINS = 10

Spacing = Literal["mass", "width"]
"""Bins of as many cells each, or of the same range of confidence each."""

# The slope of the fitted map never leaves this range: it must rise, and a step is no map.
_SLOPES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Cells of about the same confidence.

    Parameters
    ----------
    low, high
        Smallest and largest confidence the bin is for.
    cells
        How many cells are in it.
    said
        Their mean confidence; NaN where there are none.
    right
        The share of them that is right; NaN where there are none.
    """

    low: float
    high: float
    cells: int
    said: float
    right: float


def judge(labels: Labels, truth: Truth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which predicted instances are right, and which of them anybody can judge.

    Parameters
    ----------
    labels
        int32, axes ``YX``, ids 1..n without gaps.
    truth
        The annotation; where it is boxes, boxes are compared.

    Returns
    -------
    right
        bool, (n,): matched at an IoU of 0.5.
    judged
        bool, (n,): False for instances in ignored regions, and with boxes for those at the frame,
        unless they are matched; as in :func:`~cellrim.evaluation.counts.count_image` and
        :func:`~cellrim.evaluation.counts.count_boxes`.
    """
    free = mostly_in(labels, truth.ignore)
    if truth.boxes is None:
        overlap = find_overlap(labels, truth.labels)
        matched = overlap.predicted[match(overlap)]
    else:
        found, frame = bounding_boxes(labels), np.array(labels.shape * 2)
        true = np.clip(np.asarray(truth.boxes.corners, np.int64).reshape(-1, 4), 0, frame)
        free = free | (found[:, :2] == 0).any(axis=1) | (found[:, 2:] == frame[:2]).any(axis=1)
        pairs = box_pairs(found, true)
        matched = pairs[0][match_boxes(pairs, (len(found), len(true)))[0]]
    right = np.zeros(len(free), bool)
    right[matched] = True
    return right, right | ~free


def reliability(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    bins: int = BINS,
    spacing: Spacing = "mass",
) -> list[Bin]:
    """Compare what is said with what is right, in bins of confidence.

    Parameters
    ----------
    confidence
        (n,), 0..1.
    right
        bool, (n,).
    bins
        How many.
    spacing
        Bins of equal ``mass`` (their bounds are the confidences found) or equal ``width``.

    Raises
    ------
    InputError
        If the lengths differ, or a confidence is not from 0 to 1.
    """
    said, right = _checked(confidence, right)
    if spacing == "width":
        bounds = np.linspace(0, 1, bins + 1)
        place = np.minimum((said * bins).astype(int), bins - 1)
    else:
        rank = np.empty(len(said), int)
        rank[np.argsort(said, kind="stable")] = np.arange(len(said))
        place = rank * bins // max(len(said), 1)
        bounds = np.quantile(said, np.linspace(0, 1, bins + 1)) if len(said) else np.zeros(bins + 1)
    cells = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (said, right)]
    with np.errstate(invalid="ignore"):
        means = [total / cells for total in sums]
    return [
        Bin(float(low), float(high), int(n), float(a), float(b))
        for low, high, n, a, b in zip(bounds[:-1], bounds[1:], cells, *means, strict=True)
    ]


def expected_error(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    bins: int = BINS,
    spacing: Spacing = "mass",
) -> float:
    """Compute the expected calibration error: the mean over the cells of what their bin is off.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015. Arguments as for :func:`reliability`; NaN without cells.

    Examples
    --------
    >>> expected_error(np.array([0.5, 0.5]), np.array([True, False]), bins=1)
    0.0
    """
    table = [b for b in reliability(confidence, right, bins=bins, spacing=spacing) if b.cells]
    if not table:
        return float("nan")
    return sum(b.cells * abs(b.said - b.right) for b in table) / sum(b.cells for b in table)


def fit(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    weights: NDArray[np.floating] | None = None,
) -> Calibration:
    """Find the rising map under which what was seen is most likely.

    Parameters
    ----------
    confidence
        (n,), 0..1, raw.
    right
        bool, (n,).
    weights
        Weight of each cell (n,); 1 where left out.

    Returns
    -------
    Calibration
        The identity where all cells are right or all are wrong: that says nothing about a slope.

    Raises
    ------
    InputError
        If the lengths differ, or a confidence is not from 0 to 1.

    Notes
    -----
    Targets are drawn in by one cell on each side, as Platt proposes, so that a perfect separation
    has a finite slope.
    """
    said, right = _checked(confidence, right)
    good = int(right.sum())
    if good in (0, len(right)):
        return Calibration()
    each = np.ones(len(said)) if weights is None else np.asarray(weights, np.float64)
    target = np.where(right, (good + 1) / (good + 2), 1 / (len(right) - good + 2))
    x = logit(said)

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = numbers[0] * x + numbers[1]
        value = each @ (np.logaddexp(0, z) - target * z)
        slip = each * (special.expit(z) - target)
        return float(value / each.sum()), np.array([slip @ x, slip.sum()]) / each.sum()

    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=(_SLOPES, (None, None))
    )
    return Calibration(float(found.x[0]), float(found.x[1]))


def _checked(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    said, truth = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if said.shape != truth.shape or said.ndim != 1:
        raise InputError(
            f"Expected as many outcomes as confidences, but got {truth.shape} and {said.shape}."
        )
    if not ((said >= 0) & (said <= 1)).all():
        raise InputError("Expected confidences from 0 to 1, but got others or NaN.")
    return said, truth

"""Metrics of many images with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.evaluation.overlap import THRESHOLDS
from cellrim.evaluation.scores import ap_curve, score_rows
from cellrim.evaluation.tally import Counts

LEVEL = 0.95
RESAMPLES = 1000
# Random draws held at once: bounds the memory.
_BLOCK = 4_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric and the bounds of its interval; NaN where not measured, bounds also with one image.

    Parameters
    ----------
    value
        Of the images as they are.
    low, high
        Bounds of the 95 % percentile bootstrap interval over images.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Metrics of a set of images.

    Parameters
    ----------
    counts
        The pooled counts.
    pooled
        Metric to interval, of the pooled counts: each cell weighs the same.
    mean
        Metric to interval, of the mean over images: each image weighs the same. Images where a
        metric is not measured are left out of its mean.
    ap
        Pooled AP at each of ``overlap.THRESHOLDS``.
    """

    counts: Counts
    pooled: dict[str, Interval]
    mean: dict[str, Interval]
    ap: tuple[Interval, ...]


def summarise(counts: Sequence[Counts], *, resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """Pool images and average them, with 95 % bootstrap intervals over images.

    Parameters
    ----------
    counts
        One per image.
    resamples
        Number of bootstrap samples, each as many images drawn with replacement.
    seed
        Of the draws: the same images give the same intervals.

    Notes
    -----
    Percentile method (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13).
    Images are drawn as if independent: where several show one field, the intervals are too narrow.
    A draw is how often each image is taken, so that all draws are products of two matrices.
    """
    total = sum(counts, Counts())
    if not counts:
        return Summary(total, {}, {}, ())
    rows = np.stack([c.as_row() for c in counts])
    each = _table(score_rows(rows))
    drawn_pooled, drawn_mean, drawn_ap = [], [], []
    for weights in _draws(len(rows), resamples, seed):
        sums = weights @ rows
        drawn_pooled.append(_table(score_rows(sums)))
        drawn_ap.append(ap_curve(sums))
        drawn_mean.append(_weighted_mean(weights, each))
    row = total.as_row()
    names = list(score_rows(row))
    enough = len(rows) > 1
    pooled = _intervals(_table(score_rows(row)), drawn_pooled, enough=enough)
    mean = _intervals(_weighted_mean(np.ones((1, len(rows))), each)[0], drawn_mean, enough=enough)
    ap = _intervals(ap_curve(row), drawn_ap, enough=enough)
    return Summary(
        total,
        dict(zip(names, pooled, strict=True)),
        dict(zip(names, mean, strict=True)),
        tuple(ap),
    )


def curve_of(summary: Summary) -> tuple[Array, Array, Array]:
    """AP over ``overlap.THRESHOLDS``: values, lower and upper bounds."""
    ap = summary.ap or (Interval(np.nan, np.nan, np.nan),) * len(THRESHOLDS)
    table = np.array([(i.value, i.low, i.high) for i in ap])
    return table[:, 0], table[:, 1], table[:, 2]


def _draws(images: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield how often each image is drawn: (draws, images), some draws at a time."""
    rng = np.random.default_rng(seed)
    share = np.full(images, 1 / images)
    block = max(1, _BLOCK // images)
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        yield rng.multinomial(images, share, size=count).astype(np.float64)


def _table(named: dict[str, Array]) -> Array:
    """Put the metrics on a last axis."""
    return np.stack(list(named.values()), axis=-1)


def _weighted_mean(weights: Array, values: Array) -> Array:
    """Mean over images (draws, metrics), without those where a metric is NaN."""
    known = np.isfinite(values)
    below = weights @ known.astype(np.float64)
    above = weights @ np.where(known, values, 0.0)
    mean: Array = np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)
    return mean


def _intervals(values: Array, drawn: list[Array], *, enough: bool) -> list[Interval]:
    bounds = np.full((2, len(values)), np.nan)
    if enough and drawn:
        bounds = _percentiles(np.concatenate(drawn))
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values, *bounds, strict=True)]


def _percentiles(draws: Array) -> Array:
    """Bounds (2, metrics) over the draws where a metric is measured; NaN where it never is."""
    bounds = np.full((2, draws.shape[1]), np.nan)
    known = np.isfinite(draws).any(axis=0)
    if known.any():
        tail = (1 - LEVEL) / 2
        bounds[:, known] = np.nanquantile(draws[:, known], (tail, 1 - tail), axis=0)
    return bounds

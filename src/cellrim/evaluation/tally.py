"""Additive counts: one image, a data set and a cluster share the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.evaluation.overlap import THRESHOLDS

_NONE = (0,) * len(THRESHOLDS)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted in one or many images. Counts add up with ``+`` and ``sum``.

    Parameters
    ----------
    images
        Number of images.
    masks
        Number of them whose truth is a label image, not boxes: the counts from ``pixel_tp`` on
        come from these.
    tp, fp, fn
        Matched, superfluous and missed instances at each of ``overlap.THRESHOLDS``.
    iou_sum
        Sum of the IoU of the matches at 0.5.
    count_error
        Sum over the images of the absolute difference between the numbers of predicted and true
        instances.
    pixel_tp, pixel_fp, pixel_fn
        Pixels in cells of both, of the prediction alone, of the truth alone.
    aji_shared, aji_union
        Numerator and denominator of the aggregated Jaccard index, in pixels.
    splits, merges
        True instances that are split, predicted ones that merge several.
    measured
        Number of matches at 0.5 whose outlines are compared.
    boundary_sum, hausdorff_sum
        Sums over these of the mean and of the 95 % Hausdorff distance of the outlines, in pixels.
    """

    images: int = 0
    masks: int = 0
    tp: tuple[int, ...] = _NONE
    fp: tuple[int, ...] = _NONE
    fn: tuple[int, ...] = _NONE
    iou_sum: float = 0.0
    count_error: int = 0
    pixel_tp: int = 0
    pixel_fp: int = 0
    pixel_fn: int = 0
    aji_shared: int = 0
    aji_union: int = 0
    splits: int = 0
    merges: int = 0
    measured: int = 0
    boundary_sum: float = 0.0
    hausdorff_sum: float = 0.0

    @property
    def predicted(self) -> int:
        """Number of predicted instances that count."""
        return self.tp[0] + self.fp[0]

    @property
    def truth(self) -> int:
        """Number of true instances."""
        return self.tp[0] + self.fn[0]

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        sums: dict[str, Any] = {
            f.name: _plus(getattr(self, f.name), getattr(other, f.name)) for f in _FIELDS
        }
        return Counts(**sums)

    def __radd__(self, other: int) -> Counts:
        """Let ``sum`` begin with its zero."""
        return self if other == 0 else NotImplemented

    def as_row(self) -> NDArray[np.float64]:
        """All counts in one float64 vector, in the order of the fields."""
        return np.concatenate(
            [np.atleast_1d(np.asarray(getattr(self, f.name), np.float64)) for f in _FIELDS]
        )


_FIELDS = fields(Counts)


def columns_of(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Name the last axis of rows made by :meth:`Counts.as_row`.

    Returns
    -------
    dict
        Field name to values: the leading axes of ``rows``, and for ``tp``, ``fp`` and ``fn`` the
        thresholds as the last.
    """
    named, start = {}, 0
    for field in _FIELDS:
        if isinstance(field.default, tuple):
            named[field.name] = rows[..., start : start + len(THRESHOLDS)]
            start += len(THRESHOLDS)
        else:
            named[field.name] = rows[..., start]
            start += 1
    return named


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(x + y for x, y in zip(a, b, strict=True))
    return a + b
